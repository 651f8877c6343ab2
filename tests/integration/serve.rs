//! The server from outside: the built program on a port of its own, asked over plain sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Folder, ggraft, program, quickstart};
use crate::{lora, vocabulary};

/// Long enough for anything here on a busy machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(120);
const QUESTION: &str = "問: アヤは本を18個持っていました。25個買いました。アヤは今本を何個持っていますか。\n答:";

/// A running server, ended with the test.
struct Server {
    child: Child,
    address: String,
    stderr: Mutex<Option<thread::JoinHandle<String>>>,
}

/// What it answered.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// The message of an error with this status.
    fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let error = &self.json()["error"];
        assert!(error["type"].is_string() && error.get("code").is_some() && error.get("param").is_some(), "{self:?}");
        error["message"].as_str().unwrap().to_owned()
    }

    /// The objects of a stream, which must end with `[DONE]`.
    fn events(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{self:?}");
        let mut lines: Vec<&str> = self.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(lines.pop(), Some("[DONE]"), "{self:?}");
        lines.into_iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut child = program()
            .args(["serve", "--port", "0", "--json", "-c", "256"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stdout = child.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut server = Self { child, address: String::new(), stderr: Mutex::new(Some(reader)) };
        let mut text = String::new();
        for line in BufReader::new(stdout).lines() {
            text += &line.unwrap();
            if let Ok(object) = serde_json::from_str::<Value>(&text) {
                server.address = object["url"].as_str().unwrap().trim_start_matches("http://").to_owned();
                return server;
            }
        }
        panic!("it did not start: {}", server.stderr.lock().unwrap().take().unwrap().join().unwrap());
    }

    /// The quickstart's recipe and base.
    fn quickstart(more: &[&str]) -> Self {
        let (recipe, base) = (quickstart("recipe.yaml"), quickstart("base-Q8_0.gguf"));
        Self::start(&[&[recipe.to_str().unwrap(), base.to_str().unwrap()], more].concat())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.address);
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        read(self.open(method, path, headers, body))
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "")
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, &[("content-type", "application/json")], &body.to_string())
    }

    fn put(&self, id: &str, recipe: &str) -> Reply {
        self.ask("PUT", &format!("/v1/recipes/{id}"), &[("content-type", "application/yaml")], recipe)
    }

    /// The greedy continuation of the question.
    fn answer(&self, model: &str, max_tokens: usize) -> Value {
        self.post("/v1/completions", &greedy(model, max_tokens)).ok()
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
        line.trim().parse().unwrap()
    }

    /// Asks it to stop, and waits until it has.
    fn stop(mut self) -> (ExitStatus, String) {
        send_signal(&self.child, "TERM");
        let status = self.child.wait().unwrap();
        let reader = self.stderr.lock().unwrap().take().unwrap();
        (status, reader.join().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send_signal(child: &Child, name: &str) {
    let done = std::process::Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

fn greedy(model: &str, max_tokens: usize) -> Value {
    json!({ "model": model, "prompt": QUESTION, "max_tokens": max_tokens, "temperature": 0, "stop": ["\n"] })
}

/// Reads a whole answer, chunks joined.
fn read(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Reply { status, head: head.to_ascii_lowercase(), body }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body += &after[..size];
        rest = after[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    body
}

/// A recipe over the quickstart's models, as a client writes it.
fn recipe(math: f64, ja: f64) -> String {
    format!(
        "merge_method: task_arithmetic\nbase_model: base-Q8_0.gguf\nmodels:\n- {{model: math-Q8_0.gguf, parameters: {{weight: {math}}}}}\n\
         - {{model: ja-Q8_0.gguf, parameters: {{weight: {ja}}}}}\n"
    )
}

/// What the same recipe says when it is run alone.
fn alone(folder: &Folder, text: &str, max_tokens: usize) -> String {
    let path = |name: &str| quickstart(name).to_str().unwrap().to_owned();
    let text = ["math-Q8_0.gguf", "ja-Q8_0.gguf", "base-Q8_0.gguf"]
        .iter()
        .fold(text.to_owned(), |text, name| text.replace(name, &path(name)));
    let file = folder.write("alone.yaml", text);
    run_text(&file, max_tokens)
}

fn run_text(model: &Path, max_tokens: usize) -> String {
    let n = max_tokens.to_string();
    let out = ggraft(["run", model.to_str().unwrap(), "-p", QUESTION, "-n", &n, "--json"]).json();
    let text = out["text"].as_str().unwrap();
    text.split('\n').next().unwrap().to_owned()
}

fn text(object: &Value) -> &str {
    object["choices"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {object}"))
}

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
    assert_eq!(a.len(), 256);
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
        assert!(put["swap"]["bytes_written"].as_u64().unwrap() > 5_000_000 && put["live"] == true, "{put}");
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

#[test]
fn running_answers_end_on_the_weights_they_began_on() {
    let server = Server::quickstart(&["-np", "2", "--max-live", "1"]);
    let prompt = "問: ";
    let long =
        json!({ "model": "recipe", "prompt": prompt, "max_tokens": 150, "temperature": 0, "logit_bias": [[0, false]] });
    let want = server.post("/v1/completions", &long).ok();
    let mut streamed = long.clone();
    streamed["stream"] = true.into();
    let mut first =
        server.open("POST", "/v1/completions", &[("content-type", "application/json")], &streamed.to_string());
    // It runs as soon as something of it has come.
    let mut byte = [0; 1];
    first.read_exact(&mut byte).unwrap();
    let put = server.put("recipe", &recipe(1.0, 0.0)).ok();
    let after = server.answer("recipe", 8);
    assert_eq!(after["system_fingerprint"], put["fingerprint"]);
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).unwrap();
    let reply = String::from_utf8([&byte[..], &rest].concat()).unwrap();
    let events: Vec<Value> = reply
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|line| *line != "[DONE]")
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said: String = events.iter().map(|e| e["choices"][0]["text"].as_str().unwrap_or_default()).collect();
    assert_eq!(said, text(&want));
    assert!(events.iter().all(|e| e["system_fingerprint"] == want["system_fingerprint"]));
    assert_ne!(put["fingerprint"], want["system_fingerprint"]);
}

#[test]
fn clients_of_two_recipes_share_one_place_and_get_their_own_answers() {
    let folder = Folder::new();
    let server = Server::quickstart(&["--max-live", "1", "-np", "2"]);
    let texts = [recipe(0.3, 0.2), recipe(0.8, 0.0)];
    for (id, text) in ["one", "two"].into_iter().zip(&texts) {
        assert_eq!(server.put(id, text).status, 201);
    }
    let want: Vec<String> = texts.iter().map(|text| alone(&folder, text, 24)).collect();
    assert_ne!(want[0], want[1]);
    let before = server.metric("ggraft_swap_seconds_count");
    thread::scope(|scope| {
        for client in 0..4 {
            let (server, want) = (&server, &want);
            scope.spawn(move || {
                for _ in 0..8 {
                    let which = client % 2;
                    let object = server.answer(["one", "two"][which], 24);
                    assert_eq!(text(&object), want[which]);
                }
            });
        }
    });
    let swaps = server.metric("ggraft_swap_seconds_count") - before;
    assert!(swaps < 24.0, "{swaps} swaps for 32 requests");
    assert_eq!(server.metric("ggraft_live_models"), 1.0);
}

#[test]
fn who_hangs_up_frees_the_slot() {
    let server = Server::quickstart(&["-np", "1"]);
    for stream in [true, false] {
        let body = json!({ "prompt": "問: ", "max_tokens": 250, "temperature": 0, "stream": stream, "logit_bias": [[0, false]] });
        let mut gone =
            server.open("POST", "/v1/completions", &[("content-type", "application/json")], &body.to_string());
        if stream {
            gone.read_exact(&mut [0; 1]).unwrap();
        } else {
            wait_until(|| server.metric("ggraft_running") > 0.0);
        }
        drop(gone);
        wait_until(|| server.metric("ggraft_running") == 0.0);
    }
    let generated = server.metric("ggraft_generated_tokens_total");
    assert!(generated < 500.0, "{generated} tokens were generated for nobody");
    server.answer("recipe", 2);
}

fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it never happened");
        thread::yield_now();
    }
}

#[test]
fn too_many_are_turned_away_with_a_time_to_come_back() {
    let server = Server::quickstart(&["-np", "1", "--max-waiting", "100"]);
    let long =
        json!({ "prompt": "問: ", "max_tokens": 250, "temperature": 0, "stream": true, "logit_bias": [[0, false]] });
    let open = |n: usize| {
        let mut body = long.clone();
        body["n"] = n.into();
        server.open("POST", "/v1/completions", &[("content-type", "application/json")], &body.to_string())
    };
    let _running = open(100);
    wait_until(|| server.metric("ggraft_waiting") > 50.0);
    let mut more = long.clone();
    more["n"] = 100.into();
    let reply = server.post("/v1/completions", &more);
    assert!(reply.error(429).contains("limit of 100"), "{reply:?}");
    assert!(reply.head.contains("retry-after:"), "{}", reply.head);
    more["n"] = 101.into();
    assert!(server.post("/v1/completions", &more).error(400).contains("the limit is 100"));
}

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
        (r#"{"prompt": [674]}"#, "no token 674"),
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
fn a_study_is_shown_and_its_candidates_can_be_talked_to() {
    let folder = Folder::new();
    let task = crate::support::target_task(&folder, "target_search.jsonl", 8);
    let models = ["math", "ja", "base"].map(|n| quickstart(&format!("{n}-Q8_0.gguf")));
    let evolve = folder.write(
        "evolve.yaml",
        format!(
            "genome: {{models: [{:?}, {:?}], base_model: {:?}, merge_method: task_arithmetic}}\n\
             tasks: [{{task: {task:?}, search: target_search.jsonl, test: target_search.jsonl}}]\n\
             search: {{budget: 6, seed: 1}}\n",
            models[0], models[1], models[2]
        ),
    );
    let out = folder.path("study");
    let (out, evolve) = (out.to_str().unwrap(), evolve.to_str().unwrap());
    let searched = ggraft(["evolve", evolve, "--out", out, "--json"]).json();
    let best = format!("{out}/best.yaml");
    let server = Server::start(&[&best, "--study", out]);
    let study = server.get("/v1/study").ok();
    assert_eq!((study["name"].as_str(), study["report"].as_bool()), (Some("study"), Some(true)));
    let candidates = study["candidates"].as_array().unwrap();
    assert_eq!(candidates.len() as u64, searched["evaluations"].as_u64().unwrap());
    assert_eq!(study["tested"].as_array().unwrap().last().unwrap()["score"], searched["best"]["test_score"]);
    let shown = server.get("/v1/study/best").ok();
    assert_eq!(shown["score"], searched["best"]["search_score"]);
    // The best of the study is the recipe that is served.
    let put = server.put("again", shown["yaml"].as_str().unwrap()).ok();
    assert_eq!(put["fingerprint"], server.get("/v1/recipes/best").ok()["fingerprint"]);
    let third = server.get(&format!("/v1/study/{}", candidates[2]["id"].as_str().unwrap())).ok();
    assert_eq!(third["score"], candidates[2]["score"]);
    server.put("third", third["yaml"].as_str().unwrap()).ok();
    server.answer("third", 4);
    for id in ["nobody", "0-99", "9-0", "0--1", "..%2fx"] {
        server.get(&format!("/v1/study/{id}")).error(404);
    }
    let report = server.get("/study/report");
    assert!(report.status == 200 && report.body.contains("Search of"), "{report:?}");
}

#[test]
fn a_study_of_adapters_names_them_as_the_server_does() {
    let folder = lora::folder();
    crate::support::perplexity_task(&folder, 2);
    let text = "genome: {models: [base.gguf+x.gguf, other.gguf+y.gguf], merge_method: linear}\n\
                tasks: [{task: perplexity.yaml, test: perplexity.jsonl}]\nsearch: {budget: 4, population: 4, seed: 3}\n";
    let (evolve, out) = (folder.write("evolve.yaml", text), folder.path("out"));
    let (evolve, out) = (evolve.to_str().unwrap(), out.to_str().unwrap());
    ggraft(["evolve", evolve, "--out", out, "--json"]).json();
    let server = Server::start(&[&format!("{out}/best.yaml"), "--study", out]);
    let shown = server.get("/v1/study/best").ok();
    let yaml = shown["yaml"].as_str().unwrap();
    assert!(yaml.contains("base.gguf+x.gguf") && yaml.contains("other.gguf+y.gguf") && !yaml.contains('/'), "{yaml}");
    let put = server.put("again", yaml).ok();
    assert_eq!(put["fingerprint"], server.get("/v1/recipes/best").ok()["fingerprint"]);
    let plain = folder.write(
        "plain.yaml",
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: base.gguf}, {model: other.gguf}]\n",
    );
    let done = ggraft(["serve", "--port", "0", plain.to_str().unwrap(), "--study", out]);
    assert!(done.error(2).contains("`base.gguf+x.gguf` of the study is not among"), "{done:?}");
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
