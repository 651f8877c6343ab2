//! Messages in, the prompt that a model was trained on out: its chat template, rendered as Hugging Face's `apply_chat_template` does.
//!
//! Templates are written for Jinja2 in Python and come with the model, so what they may use is not ours to choose: see [`python`].

mod clock;
mod python;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::{LazyLock, OnceLock};

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use regex::Regex;
use serde_json::{Map, Value as Json};
use thiserror::Error;

/// Longest prompt that a template may render to.
const MAX_RENDERED_BYTES: usize = 16 << 20;
/// Instructions that one rendering may take, so that a template with nested loops ends. Like any Jinja, it does not bound the memory of
/// what a template builds on its way: templates are part of a model, and to be trusted as much.
const MAX_FUEL: u64 = 1_000_000;
/// Macros that may call each other: templates describe nested JSON schemas so, and each takes some of the thread's stack.
const MAX_RECURSION: usize = 100;
/// The name of the template in messages.
const NAME: &str = "chat_template";

/// What a template sees besides the messages.
pub(super) type Variables = Map<String, Json>;

/// One turn of a chat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
    /// More that a template may read, such as `tool_calls`, `name` or `reasoning_content`.
    pub more: Map<String, Json>,
}

impl Message {
    /// A message of a role and a content.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), more: Map::new() }
    }
}

/// A chat template, compiled when it is first used.
pub(super) struct ChatTemplate {
    source: String,
    compiled: OnceLock<Result<Environment<'static>, String>>,
}

impl ChatTemplate {
    pub(super) fn new(source: String) -> Self {
        Self { source, compiled: OnceLock::new() }
    }

    /// The Jinja text.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Says what is wrong with the template, before there are messages.
    pub(super) fn check(&self) -> Result<(), String> {
        self.compiled().map(|_| ())
    }

    fn compiled(&self) -> Result<&Environment<'static>, String> {
        self.compiled.get_or_init(|| compile(&self.source)).as_ref().map_err(String::clone)
    }

    /// Renders `messages` and the beginning of the assistant's answer. `variables` are what the template sees besides, such as `tools`,
    /// `bos_token` or `enable_thinking`. If the assistant spoke last, its message is what the answer begins with.
    ///
    /// # Errors
    /// The reason, in words.
    pub(super) fn render(&self, messages: &[Message], variables: Variables) -> Result<String, String> {
        render(self.compiled()?, messages, variables)
    }
}

/// Raised by the template itself.
#[derive(Debug, Error)]
#[error("{0}")]
struct Raised(String);

/// An environment as Hugging Face makes it, with the template in it.
fn compile(source: &str) -> Result<Environment<'static>, String> {
    // Marks what the assistant says for training; here it is only a scope.
    static GENERATION: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("a constant that tests compile")
    });
    let source = GENERATION.replace_all(source, "{%${1} ${2}with ${3}%}").into_owned();
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(MAX_FUEL));
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_formatter(python::print);
    environment.set_unknown_method_callback(python::method);
    environment.add_filter("tojson", python::to_json);
    environment.add_filter("string", python::to_text);
    environment.add_filter("length", python::length);
    environment.add_filter("count", python::length);
    environment.add_test("number", python::is_number);
    environment.add_test("iterable", python::is_iterable);
    environment.add_test("sequence", python::is_sequence);
    environment.add_function("strftime_now", clock::strftime_now);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message)))
    });
    environment.add_template_owned(NAME, source).map_err(|e| e.to_string())?;
    Ok(environment)
}

fn render(environment: &Environment, messages: &[Message], variables: Variables) -> Result<String, String> {
    let (before, begun) = match messages.split_last() {
        Some((last, before)) if last.role == "assistant" => (before, last.content.as_str()),
        _ => (messages, ""),
    };
    let turns = before.iter().map(|message| {
        let mut turn = Map::new();
        turn.insert("role".into(), message.role.as_str().into());
        turn.insert("content".into(), message.content.as_str().into());
        turn.extend(message.more.clone());
        Json::Object(turn)
    });
    // These two are always defined in Hugging Face's, and templates compare them with `none`.
    let mut all: Variables = ["tools", "documents"].into_iter().map(|name| (name.to_owned(), Json::Null)).collect();
    all.extend(variables);
    all.insert("messages".into(), turns.collect());
    all.insert("add_generation_prompt".into(), true.into());
    let context: Value = all.iter().map(|(name, value)| (name.as_str(), python::value(value))).collect();
    let mut out = Capped { bytes: Vec::new(), full: false };
    let template = environment.get_template(NAME).map_err(|e| e.to_string())?;
    let done = template.render_captured_to(context, &mut out).map(drop);
    if out.full || out.bytes.len().saturating_add(begun.len()) > MAX_RENDERED_BYTES {
        return Err(format!("it renders to more than `{MAX_RENDERED_BYTES}` bytes, which is the limit"));
    }
    done.map_err(reason)?;
    let mut text = String::from_utf8(out.bytes).map_err(|e| e.to_string())?;
    text.push_str(begun);
    Ok(text)
}

/// Why a rendering ended: the template's own words where it has some.
fn reason(error: Error) -> String {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return format!("it refuses these messages: {message}");
        }
        if cause.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::OutOfFuel) {
            return format!("it takes more than `{MAX_FUEL}` instructions, which is the limit");
        }
        source = cause.source();
    }
    error.to_string()
}

/// Keeps what is written, up to the limit.
struct Capped {
    bytes: Vec<u8>,
    full: bool,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > MAX_RENDERED_BYTES {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
