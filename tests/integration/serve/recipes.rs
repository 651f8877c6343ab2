//! Recipes over HTTP: changed live, added and removed, over adapters and unions of vocabularies, and what they may name.

use super::*;
use crate::{lora, vocabulary};

#[test]
fn a_recipe_is_changed_live_and_answers_as_the_new_one() {
    let folder = Folder::new();
    let server = Server::quickstart(&["--max-live", "1"]);
    let shown = server.get("/v1/recipes/recipe").ok();
    let (before, yaml) = (server.answer("recipe", 48), shown["yaml"].as_str().unwrap());
    assert!(yaml.contains("math-Q8_0.gguf") && !yaml.contains('/'), "names, no paths: {yaml}");
    for (math, ja) in [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)] {
        let text_of = recipe(math, ja);
        let put = server.put("recipe", &text_of).ok();
        assert_eq!(put["swap"]["reloaded"], false, "{put}");
        assert!(put["swap"]["bytes_written"].as_u64().unwrap() > 1_500_000 && put["live"] == true, "{put}");
        let object = server.answer("recipe", 32);
        assert_eq!(object["system_fingerprint"], put["fingerprint"]);
        assert_eq!(text(&object), alone(&folder, &text_of, 32), "math {math}, ja {ja}");
    }
    // The recipe as it was shown, in either notation, is the recipe that it was.
    for (kind, body) in [("application/yaml", yaml.to_owned()), ("application/json", shown["recipe"].to_string())] {
        let put = server.ask("PUT", "/v1/recipes/recipe", &[("content-type", kind)], &body).ok();
        assert_eq!(put["fingerprint"], shown["fingerprint"], "{kind}");
        let again = server.answer("recipe", 48);
        assert_eq!(text(&again), text(&before));
    }
    // One of another shape is loaded anew.
    let put = server.put("recipe", &(recipe(0.3, 0.2) + "out_type: f16\n")).ok();
    assert_eq!(put["swap"]["reloaded"], true);
}

/// What requests at temperature 0 say, whatever the model makes of the prompt.
fn said(server: &Server, model: &str) -> String {
    text(
        &server
            .post(
                "/v1/completions",
                &json!({ "model": model, "prompt": "<|user|>A", "max_tokens": 8, "temperature": 0 }),
            )
            .ok(),
    )
    .to_owned()
}

fn said_alone(recipe: &Path) -> String {
    let args = ["run", recipe.to_str().unwrap(), "-p", "<|user|>A", "-n", "8", "--json"];
    ggraft(args).json()["text"].as_str().unwrap().to_owned()
}

#[test]
fn adapters_are_parents_too_and_are_known_by_name() {
    let folder = lora::folder();
    let ties = "merge_method: ties\nbase_model: base.gguf\nparameters: {weight: 1, density: 0.5}\n\
                models: [{model: base.gguf+x.gguf}, {model: base.gguf+y.gguf+z.gguf}]\n";
    let linear =
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: base.gguf+x.gguf}, {model: other.gguf}]\n";
    let files = [folder.write("ties.yaml", ties), folder.write("linear.yaml", linear)];
    let server = Server::start(&files.each_ref().map(|file| file.to_str().unwrap()));
    for (id, file) in ["ties", "linear"].iter().zip(&files) {
        assert_eq!(said(&server, id), said_alone(file), "{id}");
    }
    let shown = server.get("/v1/recipes/ties").ok();
    let yaml = shown["yaml"].as_str().unwrap();
    assert!(yaml.contains("base.gguf+y.gguf+z.gguf") && !yaml.contains('/'), "{yaml}");
    for (kind, body) in [("application/yaml", yaml.to_owned()), ("application/json", shown["recipe"].to_string())] {
        let put = server.ask("PUT", "/v1/recipes/ties", &[("content-type", kind)], &body).ok();
        assert_eq!((&put["fingerprint"], &put["swap"]["reloaded"]), (&shown["fingerprint"], &false.into()), "{kind}");
    }
    let known = server.get("/v1/recipes").ok();
    let names = |key: &str| -> Vec<String> {
        known[key].as_array().unwrap().iter().map(|k| k["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("parents"), ["base.gguf", "base.gguf+x.gguf", "base.gguf+y.gguf+z.gguf", "other.gguf"]);
    assert_eq!(names("adapters"), ["x.gguf", "y.gguf", "z.gguf"]);

    // Known files in other company, and in another spelling.
    let mapped = "{model: {model: other.gguf, lora: [z.gguf, x.gguf]}}";
    for (text, path) in
        [(linear.replace("{model: other.gguf}", mapped), "mapped"), (linear.replace("+x", "+z"), "other")]
    {
        let put = server.put("linear", &text).ok();
        assert_ne!(put["fingerprint"], shown["fingerprint"]);
        assert_eq!(said(&server, "linear"), said_alone(&folder.write(&format!("{path}.yaml"), &text)), "{path}");
    }
    let without = server.put("ties", &ties.replace("+z.gguf", "")).ok();
    assert_ne!(without["fingerprint"], shown["fingerprint"]);
    for (name, what) in [
        ("base.gguf+w.gguf", "no adapter called `w.gguf`"),
        ("base.gguf+./x.gguf", "no adapter called `./x.gguf`"),
        ("base.gguf+other.gguf", "no adapter called `other.gguf`"),
        ("x.gguf", "no model called `x.gguf`"),
        ("x.gguf+base.gguf", "no model called `x.gguf`"),
    ] {
        let reply = server.put("ties", &ties.replace("base.gguf+x.gguf", name));
        assert!(reply.error(400).contains(what), "{name}: {reply:?}");
    }
    let absolute = format!("base.gguf+{}", folder.path("x.gguf").display());
    assert!(server.put("ties", &ties.replace("base.gguf+x.gguf", &absolute)).error(400).contains("no adapter called"));
}

#[test]
fn a_union_of_vocabularies_is_spoken_by_all_its_recipes() {
    let folder = vocabulary::folder();
    let blend = |weight: f64, more: &str| {
        format!(
            "merge_method: linear\nmodels: [{{model: a.gguf, parameters: {{weight: 1}}}}, {{model: b.gguf, parameters: {{weight: {weight}}}}}]\n{more}\n"
        )
    };
    let union = folder.write("union.yaml", blend(0.5, "tokenizer_source: union"));
    let first = folder.write("first.yaml", blend(0.5, "tokenizer_source: a.gguf"));
    let server = Server::start(&[union.to_str().unwrap(), first.to_str().unwrap(), "--max-live", "1"]);
    assert_eq!((said(&server, "union"), said(&server, "first")), (said_alone(&union), said_alone(&first)));
    let shown = server.get("/v1/recipes/union").ok();
    let tokens = |id: &str| server.get(&format!("/v1/models/{id}")).ok()["meta"]["vocabulary_size"].as_u64().unwrap();
    assert!(tokens("union") > tokens("first"));
    let count = |id: &str| {
        let body = json!({ "model": id, "content": "<|user|>", "add_special": false });
        server.post("/tokenize", &body).ok()["tokens"].as_array().unwrap().len()
    };
    assert!(count("union") == 1 && count("first") > 1);
    // The same tokens: the new weights go where the old ones were.
    said(&server, "union");
    let text = blend(2.0, "tokenizer_source: union");
    assert_eq!(server.put("union", &text).ok()["swap"]["reloaded"], false);
    assert_eq!(said(&server, "union"), said_alone(&folder.write("other.yaml", &text)));
    // The first model's tokens come first, and others are among them only where the recipe names their model.
    let turned = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: b.gguf}, {model: a.gguf}]\ntokenizer: {source: union, pad_to_multiple_of: 64, tokens: {\"!\": {source: a.gguf, force: true}}}\n";
    let made = server.put("turned", turned).ok();
    assert_eq!(tokens("turned") % 64, 0, "{made}");
    assert_eq!(said(&server, "turned"), said_alone(&folder.write("turned.yaml", turned)));
    let alone = "merge_method: passthrough\nmodels: [{model: b.gguf}]\ntokenizer_source: union\n";
    server.put("alone", alone).ok();
    assert_eq!(said(&server, "alone"), said_alone(&folder.write("alone.yaml", alone)));
    for (kind, body) in [
        ("application/yaml", shown["yaml"].as_str().unwrap().to_owned()),
        ("application/json", shown["recipe"].to_string()),
        ("application/yaml", made["yaml"].as_str().unwrap().to_owned()),
    ] {
        let of = if body.contains("pad_to") { &made } else { &shown };
        let want = &of["fingerprint"];
        let put = server.ask("PUT", "/v1/recipes/union", &[("content-type", kind)], &body).ok();
        assert_eq!(&put["fingerprint"], want, "{kind}: {body}");
    }
}

#[test]
fn recipes_come_and_go_and_what_a_change_costs_is_told_before() {
    let server = Server::quickstart(&[]);
    let plan = |id: &str, body: &str| {
        server.ask("POST", &format!("/v1/recipes/{id}/plan"), &[("content-type", "application/yaml")], body)
    };
    let same = plan("recipe", "").ok();
    assert_eq!((&same["reload"], &same["block_count"]), (&false.into(), &8.into()));
    let wider = plan("recipe", &(recipe(0.3, 0.2) + "out_type: f16\n")).ok();
    assert_eq!(wider["reload"], true);
    assert!(wider["bytes_written"].as_u64() > same["bytes_written"].as_u64());
    assert_eq!(server.get("/v1/recipes/recipe").ok()["fingerprint"], same["fingerprint"], "nothing has changed");
    // A new one, a path this time.
    let path = "path:\n- {model: base-Q8_0.gguf, layers: [0, 8]}\n- {model: math-Q8_0.gguf, layer: 7, scale: 0.5}\n";
    let made = server.put("mine", path);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json()["block_count"], 9);
    assert!(text(&server.answer("mine", 8)).len() > 1);
    let ids = |server: &Server| {
        let list = server.get("/v1/recipes").ok();
        list["data"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&server), ["recipe", "base-Q8_0", "mine"]);
    assert_eq!(server.ask("DELETE", "/v1/recipes/mine", &[], "").status, 204);
    assert_eq!(ids(&server), ["recipe", "base-Q8_0"]);
    server.post("/v1/completions", &greedy("mine", 4)).error(404);
    assert!(server.ask("DELETE", "/v1/recipes/recipe", &[], "").error(409).contains("from the start"));
    assert!(server.put("base-Q8_0", path).error(409).contains("is a file"));
    let methods = server.get("/v1/recipes").ok()["methods"].clone();
    assert!(methods.as_array().unwrap().iter().any(|m| m["name"] == "task_arithmetic"));
}

#[test]
fn recipes_over_http_name_only_what_is_served() {
    let server = Server::quickstart(&[]);
    let outside = quickstart("ja-Q8_0.gguf");
    for name in [outside.to_str().unwrap(), "../quickstart/ja-Q8_0.gguf", "./ja-Q8_0.gguf", "/etc/passwd", "ja-Q8_0"] {
        let reply = server.put("recipe", &recipe(0.3, 0.2).replace("ja-Q8_0.gguf", name));
        assert!(reply.error(400).contains("has no model called"), "{name}: {reply:?}");
    }
    for (recipe, what) in [
        ("merge_method: linear\nmodels: [{model: base-Q8_0.gguf, parameters: {wieght: 1}}]", "x.yaml:2"),
        ("merge_method: lineer", "`linear`"),
        ("][", "x.yaml:1"),
        ("", "x.yaml:1"),
        ("merge_method: linear\nmodels: [{model: base-Q8_0.gguf}]\nchat_template: '{{ 1 }}'", "weight"),
    ] {
        let message = server.put("x", recipe).error(400);
        assert!(message.contains(what), "{message}");
    }
    let template = format!("{}chat_template: '{{{{ 1 }}}}'\n", recipe(0.3, 0.2));
    assert!(server.put("recipe", &template).error(400).contains("`chat_template`"));
    for id in ["a%20b", "a%2Fb", "%2e%2e%2fx", &"x".repeat(200)] {
        let reply = server.put(id, &recipe(0.3, 0.2));
        assert!(reply.error(400).contains("cannot be a model's id"), "{reply:?}");
    }
}

#[test]
fn a_recipe_that_computes_no_numbers_says_so_and_the_next_one_works() {
    let server = Server::quickstart(&[]);
    let good = text(&server.answer("recipe", 16)).to_owned();
    let yaml = server.get("/v1/recipes/recipe").ok()["yaml"].as_str().unwrap().to_owned();
    let huge = "merge_method: linear\nmodels: [{model: base-Q8_0.gguf, parameters: {weight: 1e30}}]\nparameters: {normalize: false}\nout_type: f16\n";
    server.put("recipe", huge).ok();
    let reply = server.post("/v1/completions", &greedy("recipe", 4));
    assert!(reply.error(422).contains("NaN"), "{reply:?}");
    server.put("recipe", &yaml).ok();
    assert_eq!(text(&server.answer("recipe", 16)), good);
}
