//! What Python gives Jinja templates and minijinja does not: its methods, its JSON, its way to print values.
//!
//! Still different, and in no template that we know: tuples are written as lists, lists joined to text by `~` are quoted otherwise, and
//! `%` does not format text.

use std::fmt::{self, Write};
use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, ValueKind, from_args};
use minijinja::{Error, ErrorKind, Output, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Value as Json;

use super::MAX_RENDERED_BYTES;

/// Deepest value that is written.
const MAX_DEPTH: usize = 100;
/// Widest indent of JSON, and longest separator.
const MAX_INDENT: usize = 64;

/// A value for templates.
pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(fields) => Value::from_object(Dict(fields.iter().map(|(k, v)| (k.as_str(), value(v))).collect())),
        plain => Value::from_serialize(plain),
    }
}

/// A map whose methods come before its keys: JSON schemas have fields called `items`, and templates call `schema.items()`.
#[derive(Debug)]
struct Dict(Value);

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.as_object()?.get_value(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.0.as_object().map_or(Enumerator::Empty, |map| map.enumerate())
    }

    fn call_method(self: &Arc<Self>, state: &State, method: &str, args: &[Value]) -> Result<Value, Error> {
        unknown_method_callback(state, &self.0, method, args)
    }
}

/// Methods of Python's types: minijinja's own collection, and ours where that has none or another result.
pub(super) fn method(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return unknown_method_callback(state, value, method, args);
    };
    // Positions count characters, not bytes.
    let position = |at: Option<usize>| at.map_or(Value::from(-1), |at| Value::from(text[..at].chars().count()));
    match (method, args) {
        ("find", [_]) => Ok(position(text.find(from_args::<(&str,)>(args)?.0))),
        ("rfind", [_]) => Ok(position(text.rfind(from_args::<(&str,)>(args)?.0))),
        ("count", [_]) => Ok(Value::from(text.matches(from_args::<(&str,)>(args)?.0).count())),
        ("removeprefix", _) => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        ("removesuffix", _) => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        ("rsplit", _) => {
            let (separator, most): (&str, Option<i64>) = from_args(args)?;
            if separator.is_empty() {
                return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
            }
            let pieces = most.and_then(|n| usize::try_from(n).ok()).map_or(usize::MAX, |n| n.saturating_add(1));
            let mut parts: Vec<&str> = text.rsplitn(pieces, separator).collect();
            parts.reverse();
            Ok(parts.into_iter().map(Value::from).collect())
        }
        ("isalnum" | "isalpha" | "isdigit" | "isnumeric" | "isspace" | "islower" | "isupper", [])
            if text.is_empty() =>
        {
            Ok(Value::from(false))
        }
        _ => unknown_method_callback(state, value, method, args),
    }
}

/// The test `number`: Python's `bool` is one.
pub(super) fn is_number(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
}

/// The test `iterable`: what is not there is an empty list to Jinja, but `none` is not.
pub(super) fn is_iterable(value: &Value) -> bool {
    value.kind() == ValueKind::Iterable || is_sequence(value)
}

/// The test `sequence`: whatever Python can index and count.
pub(super) fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
}

/// What `{{ value }}` writes.
pub(super) fn print(out: &mut Output, _: &State, value: &Value) -> Result<(), Error> {
    write_top(out, value)
}

/// The filter `length`: what is not there has none of it.
pub(super) fn length(value: &Value) -> Result<usize, Error> {
    let unsized_value = || Error::new(ErrorKind::InvalidOperation, format!("a {} has no length", value.kind()));
    if value.is_undefined() { Ok(0) } else { value.len().ok_or_else(unsized_value) }
}

/// The filter `string`.
pub(super) fn to_text(value: &Value) -> Result<Value, Error> {
    let mut text = Capped(String::new());
    write_top(&mut text, value)?;
    Ok(text.0.into())
}

/// The filter `tojson`: Python's `json.dumps` with Hugging Face's defaults. Jinja's own escapes for HTML.
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let bad = |what: &str| Error::new(ErrorKind::InvalidOperation, format!("tojson: {what}"));
    let given = |name| options.get::<Option<Value>>(name).map(|given| given.filter(|value| !value.is_none()));
    let short = |text: &str| Some(text.to_owned()).filter(|text| text.len() <= MAX_INDENT);
    let indent = match given("indent")? {
        None => None,
        Some(indent) => {
            let of_width = || indent.as_usize().filter(|width| *width <= MAX_INDENT).map(|width| " ".repeat(width));
            let text = indent.as_str().map_or_else(of_width, short);
            Some(text.ok_or_else(|| bad(&format!("an indent has 0 to `{MAX_INDENT}` letters")))?)
        }
    };
    let (comma, colon) = match given("separators")? {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => {
            let part = |i| pair.get_item_by_index(i).ok().as_ref().and_then(Value::as_str).and_then(short);
            part(0).zip(part(1)).ok_or_else(|| bad("`separators` are two short strings"))?
        }
    };
    let ascii = given("ensure_ascii")?.is_some_and(|value| value.is_true());
    let sorted = given("sort_keys")?.is_some_and(|value| value.is_true());
    options.assert_all_used()?;
    let mut text = Capped(String::new());
    write_value(&mut text, &Style { json: true, comma, colon, indent, ascii, sorted }, value, 0)?;
    Ok(text.0.into())
}

/// Text up to the limit of what is rendered: a list may hold one that holds one, each of them twice.
struct Capped(String);

impl Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len().saturating_add(text.len()) > MAX_RENDERED_BYTES {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// How lists, maps and what is in them are written.
struct Style {
    /// As JSON, or else as Python's `repr`.
    json: bool,
    comma: String,
    colon: String,
    indent: Option<String>,
    ascii: bool,
    sorted: bool,
}

/// Python's `str`: only what is inside of lists and maps is quoted.
fn write_top(out: &mut dyn Write, value: &Value) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return out.write_str(text).map_err(too_long);
    }
    let (comma, colon) = (", ".to_owned(), ": ".to_owned());
    write_value(out, &Style { json: false, comma, colon, indent: None, ascii: false, sorted: false }, value, 0)
}

fn write_value(out: &mut dyn Write, style: &Style, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("a value has more than `{MAX_DEPTH}` levels")));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?;
            write_all(out, style, ["[", "]"], depth, items, |out, item| write_value(out, style, &item, depth + 1))
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sorted {
                keys.sort();
            }
            write_all(out, style, ["{", "}"], depth, keys.into_iter(), |out, key| {
                // JSON has no other keys than strings.
                let as_text = style.json && key.kind() != ValueKind::String;
                let key_text = if as_text { &to_text(&key)? } else { &key };
                write_value(out, style, key_text, depth + 1)?;
                out.write_str(&style.colon).map_err(too_long)?;
                write_value(out, style, &value.get_item(&key)?, depth + 1)
            })
        }
        _ => write_scalar(out, style, value).map_err(too_long),
    }
}

fn write_all(
    out: &mut dyn Write,
    style: &Style,
    brackets: [&str; 2],
    depth: usize,
    items: impl Iterator<Item = Value>,
    mut write: impl FnMut(&mut dyn Write, Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let new_line = |out: &mut dyn Write, depth: usize| match &style.indent {
        Some(indent) => write!(out, "\n{}", indent.repeat(depth)),
        None => Ok(()),
    };
    out.write_str(brackets[0]).map_err(too_long)?;
    let mut empty = true;
    for item in items {
        if !empty {
            out.write_str(&style.comma).map_err(too_long)?;
        }
        empty = false;
        new_line(out, depth + 1).map_err(too_long)?;
        write(out, item)?;
    }
    if !empty {
        new_line(out, depth).map_err(too_long)?;
    }
    out.write_str(brackets[1]).map_err(too_long)
}

fn write_scalar(out: &mut dyn Write, style: &Style, value: &Value) -> fmt::Result {
    match value.kind() {
        ValueKind::String if style.json => write_json_string(out, value.as_str().unwrap_or_default(), style.ascii),
        ValueKind::String => write_repr_string(out, value.as_str().unwrap_or_default()),
        ValueKind::Bool if style.json => out.write_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::None | ValueKind::Undefined if style.json => out.write_str("null"),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => out.write_str(&float(number, style.json)),
            Err(_) => write!(out, "{value}"),
        },
        _ => write!(out, "{value}"),
    }
}

fn write_json_string(out: &mut dyn Write, text: &str, ascii: bool) -> fmt::Result {
    let quoted = serde_json::to_string(text).map_err(|_| fmt::Error)?;
    if !ascii {
        return out.write_str(&quoted);
    }
    for c in quoted.chars() {
        if c.is_ascii() {
            out.write_char(c)?;
        } else {
            c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
        }
    }
    Ok(())
}

fn write_repr_string(out: &mut dyn Write, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            c if c == quote || c == '\\' => write!(out, "\\{c}")?,
            c if c.is_control() => write!(out, "\\x{:02x}", u32::from(c))?,
            c => out.write_char(c)?,
        }
    }
    out.write_char(quote)
}

/// A float as Python writes it. Rust agrees on the digits and on when an exponent is shorter, but not on how it looks.
fn float(number: f64, json: bool) -> String {
    let text = format!("{number:?}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None if json => text.replace("inf", "Infinity"),
        None => text.replace("NaN", "nan"),
    }
}

fn too_long(_: fmt::Error) -> Error {
    Error::new(
        ErrorKind::WriteFailure,
        format!("a value is longer than `{MAX_RENDERED_BYTES}` bytes, which is the limit"),
    )
}
