//! What the server says: completions, streams, likelihoods, chats, answers by a schema, embeddings.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;

#[test]
fn models_answer_as_they_do_alone_and_the_server_ends_in_good_order() {
    let server = Server::quickstart(&[]);
    let models = server.get("/v1/models").ok();
    let ids: Vec<&str> = models["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["recipe", "base-Q8_0"]);
    for (id, file) in [("recipe", "recipe.yaml"), ("base-Q8_0", "base-Q8_0.gguf")] {
        let object = server.answer(id, 48);
        assert_eq!(text(&object), run_text(&quickstart(file), 48), "{id}");
        assert_eq!(object["choices"][0]["finish_reason"], "stop");
        let model = server.get(&format!("/v1/models/{id}")).ok();
        assert_eq!(object["system_fingerprint"], model["meta"]["fingerprint"]);
        assert_eq!((object["object"].as_str(), object["model"].as_str()), (Some("text_completion"), Some(id)));
    }
    // Who names no model gets the first.
    let object = server.post("/v1/completions", &json!({ "prompt": "a", "max_tokens": 1 })).ok();
    assert_eq!(object["model"], "recipe");
    assert_eq!(server.get("/health").ok()["status"], "ok");
    let (status, stderr) = server.stop();
    assert!(status.success(), "{status}: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_stream_says_the_same_piece_by_piece() {
    let server = Server::quickstart(&[]);
    let whole = server.answer("recipe", 48);
    let mut request = greedy("recipe", 48);
    request["stream"] = true.into();
    request["stream_options"] = json!({ "include_usage": true });
    let reply = server.post("/v1/completions", &request);
    assert!(reply.head.contains("content-type: text/event-stream"), "{}", reply.head);
    let events = reply.events();
    let pieces = |e: &Value| e["choices"][0]["text"].as_str().unwrap_or_default().to_owned();
    assert_eq!(events.iter().map(pieces).collect::<String>(), text(&whole));
    let usage = events.last().unwrap();
    assert_eq!(
        (&usage["choices"], &usage["usage"]["completion_tokens"]),
        (&json!([]), &whole["usage"]["completion_tokens"])
    );
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert!(events.iter().all(|e| e["system_fingerprint"] == whole["system_fingerprint"] && e["id"] == usage["id"]));
}

#[test]
fn several_prompts_and_choices_come_in_order() {
    let server = Server::quickstart(&["-np", "3"]);
    let prompts = ["問: アヤは", "Question: Tom has", "問: ケンは", "Question: Ann"];
    let one = |prompt: &str| {
        let body = json!({ "prompt": prompt, "max_tokens": 6, "temperature": 0, "echo": true });
        text(&server.post("/v1/completions", &body).ok()).to_owned()
    };
    let want: Vec<String> = prompts.iter().map(|p| one(p)).collect();
    let body = json!({ "prompt": prompts, "max_tokens": 6, "temperature": 0, "echo": true, "n": 2 });
    let object = server.post("/v1/completions", &body).ok();
    let choices = object["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 8);
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["text"], want[index / 2]);
        assert!(choice["text"].as_str().unwrap().starts_with(prompts[index / 2]));
    }
    // Other seeds for each choice, the same for the same request.
    let drawn = |seed: u64| {
        let body = json!({ "prompt": QUESTION, "max_tokens": 12, "temperature": 2, "n": 3, "seed": seed, "top_k": 0, "min_p": 0, "top_p": 1 });
        let object = server.post("/v1/completions", &body).ok();
        (0..3).map(|i| object["choices"][i]["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = drawn(5);
    assert_eq!(first, drawn(5));
    assert!(first[0] != first[1] || first[1] != first[2], "{first:?}");
}

#[test]
fn prompt_likelihoods_are_what_harnesses_need() {
    let server = Server::quickstart(&[]);
    let tokens =
        server.post("/tokenize", &json!({ "prompt": QUESTION, "add_special_tokens": false })).ok()["tokens"].clone();
    let count = tokens.as_array().unwrap().len();
    let ask = |body: Value| server.post("/v1/completions", &body).ok();
    let base = json!({ "prompt": [tokens, [5, 6, 7]], "temperature": 0, "logprobs": 1, "echo": true });
    for (max_tokens, extra) in [(1, 1), (0, 0)] {
        let mut body = base.clone();
        body["max_tokens"] = max_tokens.into();
        // The end of the answer is made the first token, which must be there all the same.
        body["logit_bias"] = json!([[0, 0.0]]);
        let object = ask(body);
        for (choice, prompt) in [(0, count), (1, 3)] {
            let table = &object["choices"][choice]["logprobs"];
            for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
                assert_eq!(table[list].as_array().unwrap().len(), prompt + extra, "{list} of {table}");
            }
            assert!(table["token_logprobs"][0].is_null() && table["top_logprobs"][0].is_null());
            for i in 1..prompt + extra {
                let (name, value) = (table["tokens"][i].as_str().unwrap(), &table["token_logprobs"][i]);
                assert_eq!(&table["top_logprobs"][i][name], value, "token {i} of {table}");
                assert!(value.as_f64().unwrap() <= 0.0);
            }
        }
    }
    // An end token that is forced counts as an entry too.
    let info = server.get("/tokenizer_info").ok();
    let eos = info["eos_token"].as_str().unwrap();
    let id = server.post("/tokenize", &json!({ "content": eos, "add_special": false })).ok()["tokens"][0].clone();
    let mut body = json!({ "prompt": [5, 6, 7], "temperature": 0, "logprobs": 1, "echo": true, "max_tokens": 1 });
    body["logit_bias"] = json!({ id.to_string(): 100 });
    let object = ask(body);
    let table = &object["choices"][0]["logprobs"];
    assert_eq!((table["tokens"].as_array().unwrap().len(), table["tokens"][3].as_str()), (4, Some(eos)));
    assert_eq!(object["choices"][0]["finish_reason"], "stop");
}

#[test]
fn prompt_likelihoods_add_up_to_the_perplexity_that_score_prints() {
    let folder = Folder::new();
    let server = Server::quickstart(&[]);
    let task = crate::support::perplexity_task(&folder, 1);
    let data = std::fs::read_to_string(folder.path("perplexity.jsonl")).unwrap();
    let row: Value = serde_json::from_str(data.lines().next().unwrap()).unwrap();
    let prompt = format!("{}{}", row["prompt"].as_str().unwrap(), row["reference"].as_str().unwrap());
    let body = json!({ "prompt": prompt, "logprobs": 0, "echo": true, "max_tokens": 0 });
    let object = server.post("/v1/completions", &body).ok();
    let logs: Vec<f64> = object["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap()[1..]
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect();
    let ours = (-logs.iter().sum::<f64>() / logs.len() as f64).exp();
    let recipe = quickstart("recipe.yaml");
    let score = ggraft(["score", recipe.to_str().unwrap(), "--task", task.to_str().unwrap(), "--json"]).json();
    let want = score["results"][0]["value"].as_f64().unwrap();
    // The likelihoods are rounded to f32.
    assert!((ours / want - 1.0).abs() < 1e-6, "{ours}, {want}");

    let ask = |body| server.post("/v1/completions", &body);
    ask(json!({ "prompt": "a", "n": 2, "best_of": 2, "max_tokens": 1 })).ok();
    assert!(ask(json!({ "prompt": "a", "best_of": 3 })).error(400).contains("`best_of`"));
    assert!(ask(json!({ "prompt": "a", "suffix": "b" })).error(400).contains("`suffix`"));
}

#[test]
fn chats_need_a_template_and_go_on_where_the_assistant_stopped() {
    let server =
        Server::start(&[quickstart("chat.yaml").to_str().unwrap(), quickstart("base-Q8_0.gguf").to_str().unwrap()]);
    let user = QUESTION.trim_start_matches("問: ").trim_end_matches("\n答:");
    let chat = |body: Value| {
        let mut all = json!({ "temperature": 0, "stop": "\n" });
        all.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        server.post("/v1/chat/completions", &all)
    };
    let whole = chat(json!({ "messages": [{ "role": "user", "content": user }] })).ok();
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["role"], "assistant");
    let content = message["content"].as_str().unwrap();
    assert_eq!(content, text(&server.answer("chat", 48)), "the template asks as the training did");
    let begun: String = content.chars().take(6).collect();
    let parts = json!([{ "type": "text", "text": user }]);
    let messages = json!([{ "role": "user", "content": parts }, { "role": "assistant", "content": begun }]);
    let rest = chat(json!({ "messages": messages })).ok();
    assert_eq!(begun.clone() + rest["choices"][0]["message"]["content"].as_str().unwrap(), content);
    // As a stream, with likelihoods.
    let body = json!({ "messages": messages, "stream": true, "logprobs": true, "top_logprobs": 2 });
    let events = chat(body).events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let delta = |e: &Value| e["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned();
    assert_eq!(begun + &events.iter().map(delta).collect::<String>(), content);
    let logprobs: Vec<&Value> =
        events.iter().flat_map(|e| e["choices"][0]["logprobs"]["content"].as_array().into_iter().flatten()).collect();
    assert!(!logprobs.is_empty() && logprobs.iter().all(|l| l["top_logprobs"].as_array().unwrap().len() == 2));
    assert!(chat(json!({ "messages": [] })).error(400).contains("`messages`"));
    let image = json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "x" } }] }]);
    assert!(chat(json!({ "messages": image })).error(400).contains("`image_url`"));
    let none = chat(json!({ "model": "base-Q8_0", "messages": [{ "role": "user", "content": "a" }] }));
    assert!(none.error(400).contains("chat template"), "{none:?}");
}

#[test]
fn answers_follow_a_json_schema() {
    let server = Server::quickstart(&[]);
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
    let body = json!({ "prompt": QUESTION, "max_tokens": 60, "temperature": 0, "response_format": format });
    let object = server.post("/v1/completions", &body).ok();
    let answer: Value = serde_json::from_str(text(&object)).unwrap_or_else(|e| panic!("{e}: {object}"));
    assert!(answer["n"].is_i64(), "{answer}");
    let grammar =
        |grammar: &str| server.post("/v1/completions", &json!({ "prompt": "a", "grammar": grammar, "temperature": 0 }));
    assert_eq!(text(&grammar(r#"root ::= "ab" "c""#).ok()), "abc");
    assert!(grammar("root ::= (").error(400).contains("grammar"));
    assert!(grammar(&format!("root ::= {}", "(".repeat(1000))).error(400).contains("128 brackets"));
    let unknown = json!({ "prompt": "a", "response_format": { "type": "xml" } });
    assert!(server.post("/v1/completions", &unknown).error(400).contains("`xml`"));
}

#[test]
fn embeddings_are_unit_vectors_in_either_encoding() {
    let server = Server::quickstart(&[]);
    let ask = |body: Value| server.post("/v1/embeddings", &body);
    let object = ask(json!({ "input": ["問: アヤは本", "Question: Tom", "問: アヤは本"] })).ok();
    let vector = |i: usize| -> Vec<f64> {
        object["data"][i]["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let (a, b, c) = (vector(0), vector(1), vector(2));
    assert_eq!(a.len(), 128);
    for v in [&a, &b] {
        assert!((v.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5);
    }
    assert_eq!(a, c);
    assert!(a != b);
    let encoded = ask(json!({ "input": "問: アヤは本", "encoding_format": "base64" })).ok();
    let bytes = BASE64_STANDARD.decode(encoded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let decoded: Vec<f64> = bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect();
    assert!(decoded.iter().zip(&a).all(|(x, y)| (x - y).abs() < 1e-6));
    assert!(ask(json!({ "input": [] })).error(400).contains("`input`"));
    assert!(ask(json!({ "input": "" })).error(400).contains("empty"));
    assert!(ask(json!({ "input": "a", "encoding_format": "x" })).error(400).contains("`x`"));
    assert!(ask(json!({ "input": "a b ".repeat(500) })).error(400).contains("does not fit"));
}
