//! Who and what gets in: mistakes, keys, host names, the page, and what is refused before anything listens.

use super::*;

#[test]
fn mistakes_get_clear_answers() {
    let server = Server::quickstart(&["--max-body", "4000"]);
    let post = |body: &str| server.ask("POST", "/v1/completions", &[("content-type", "application/json")], body);
    for (body, what) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "JSON object"),
        ("{}", "`prompt`"),
        (r#"{"prompt": 5}"#, "prompt"),
        (r#"{"prompt": []}"#, "`prompt`"),
        (r#"{"prompt": ""}"#, "empty"),
        (r#"{"prompt": [640]}"#, "no token 640"),
        (r#"{"prompt": [-1]}"#, "no token -1"),
        (r#"{"prompt": "a", "max_tokens": "x"}"#, "`max_tokens`"),
        (r#"{"prompt": "a", "temperature": "x"}"#, "`temperature`"),
        (r#"{"prompt": "a", "temperature": -1}"#, "`temperature`"),
        (r#"{"prompt": "a", "top_p": 2}"#, "`top_p`"),
        (r#"{"prompt": "a", "n": 0}"#, "`n`"),
        (r#"{"prompt": "a", "logprobs": 1000}"#, "`logprobs`"),
        (r#"{"prompt": "a", "logit_bias": {"x": 1}}"#, "`x` is no token id"),
        (r#"{"prompt": "a", "stop": [1]}"#, "`stop`"),
        (r#"{"prompt": "a"} {"#, "trailing"),
    ] {
        let message = post(body).error(400);
        assert!(message.contains(what), "{body}: {message}");
    }
    let deep = format!(r#"{{"prompt": {}1{}}}"#, "[".repeat(1000), "]".repeat(1000));
    assert!(post(&deep).error(400).contains("recursion"));
    let long = post(&json!({ "prompt": "a b ".repeat(400) }).to_string());
    assert!(long.error(400).contains("context of 256"), "{long:?}");
    assert_eq!(long.json()["error"]["code"], "context_length_exceeded");
    assert!(post(&"x".repeat(5000)).error(413).contains("4000 bytes"));
    assert!(
        server
            .ask("POST", "/v1/completions", &[("content-type", "text/plain")], "{}")
            .error(415)
            .contains("application/json")
    );
    assert!(server.post("/v1/completions", &greedy("nobody", 1)).error(404).contains("`recipe`, `base-Q8_0`"));
    server.get("/v1/nothing").error(404);
    for path in ["/v1/models/%ff", "/v1/recipes/%ff", "/playground/%ff", "/tokenizer_info?model=%ff"] {
        assert!((400..500).contains(&server.get(path).status), "{path}");
        assert!(server.get(path).json()["error"]["message"].is_string(), "{path}");
    }
    // What is announced too long is refused before it comes.
    let mut stream = server.connect();
    write!(stream, "POST /v1/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n", server.address).unwrap();
    assert!(read(stream).error(413).contains("4000 bytes"));
    server.get("/v1/completions").error(405);
    server.get("/v1/study").error(404);
    // Unknown fields are no mistake.
    server.post("/v1/completions", &json!({ "prompt": "a", "max_tokens": 1, "user": "me", "best": [1] })).ok();
}

#[test]
fn only_who_has_the_key_and_the_right_name_gets_in() {
    let server = Server::quickstart(&["--api-key", "secret"]);
    server.get("/health").ok();
    assert_eq!(server.get("/").status, 200);
    for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", "secret")]] {
        assert!(server.ask("GET", "/v1/models", headers, "").error(401).contains("Bearer"));
    }
    server.ask("GET", "/v1/models", &[("authorization", "Bearer secret")], "").ok();
    drop(server);
    let server = Server::quickstart(&["--cors-origin", "https://page.example"]);
    assert!(server.ask("GET", "/v1/models", &[("host", "evil.example")], "").error(403).contains("`evil.example`"));
    let cors = |origin| server.ask("GET", "/v1/models", &[("origin", origin)], "").head;
    assert!(cors("https://page.example").contains("access-control-allow-origin: https://page.example"));
    assert!(!cors("https://other.example").contains("access-control-allow-origin"));
}

#[test]
fn the_page_comes_from_the_program_itself() {
    let server = Server::quickstart(&[]);
    let page = server.get("/");
    assert!(page.status == 200 && page.head.contains("content-type: text/html"), "{}", page.head);
    assert!(page.head.contains("content-security-policy: default-src 'self'"), "{}", page.head);
    // Everything that the page and its scripts load is there, and nothing comes from elsewhere.
    let mut todo: Vec<String> = vec!["/".to_owned()];
    let mut seen = Vec::new();
    while let Some(path) = todo.pop() {
        if seen.contains(&path) {
            continue;
        }
        let text = server.get(&path);
        assert_eq!(text.status, 200, "{path}");
        assert!(!text.body.contains("https://") || path.ends_with(".js"), "{path}");
        for quoted in text.body.split(['"', '\'']) {
            let name = quoted.strip_prefix("./").or(quoted.strip_prefix("playground/")).unwrap_or_default();
            if (name.ends_with(".js") || name.ends_with(".css")) && !name.contains('/') {
                todo.push(format!("/playground/{name}"));
            }
        }
        seen.push(path);
    }
    assert!(seen.len() > 3, "{seen:?}");
    server.get("/playground/../Cargo.toml").error(404);
    server.get("/playground/nothing.js").error(404);
}

#[test]
fn what_cannot_be_served_is_refused_before_anything_listens() {
    let folder = Folder::new();
    let refuse = |args: &[&str]| {
        let done = ggraft([&["serve", "--port", "0"], args].concat());
        done.error(2).to_owned()
    };
    let broken =
        folder.write("x.yaml", "merge_method: linear\nmodels: [{model: nothing.gguf, parameters: {weight: 1}}]\n");
    assert!(refuse(&[broken.to_str().unwrap()]).contains("nothing.gguf"));
    let base = quickstart("base-Q8_0.gguf");
    let template = format!("merge_method: passthrough\nmodels: [{{model: {base:?}}}]\nchat_template: '{{% if %}}'\n");
    assert!(refuse(&[folder.write("y.yaml", template).to_str().unwrap()]).contains("chat template"));
    let recipe = quickstart("recipe.yaml");
    let recipe = recipe.to_str().unwrap();
    assert!(refuse(&[recipe, "--study", folder.path("none").to_str().unwrap()]).contains("journal.sqlite"));
    assert!(refuse(&[recipe, "--cors-origin", "*"]).contains("`*`"));
    assert!(refuse(&[recipe, "--api-key", ""]).contains("--api-key"));
    let server = Server::quickstart(&[]);
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    let taken = ggraft(["serve", recipe, "--port", &port]);
    assert!(taken.error(1).contains("cannot listen on 127.0.0.1"), "{taken:?}");
}
