//! The server from outside: the built program on a port of its own, asked over plain sockets.

mod answers;
mod door;
mod load;
mod recipes;
mod study;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Folder, ggraft, program, quickstart};

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
