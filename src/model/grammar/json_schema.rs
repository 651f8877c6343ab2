//! JSON schemas made ready for llguidance: `oneOf` becomes `anyOf`, and those are refused whose alternatives would multiply without end.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// Parts of schemas after alternatives have been combined with each other, as `allOf` and keywords side by side ask for.
const MAX_COMBINATIONS: u64 = 200_000;
/// Entries of `patternProperties` in a whole schema: each is compared with each.
const MAX_PATTERNS: usize = 32;
/// Entries of `properties` in a whole schema: what an object may go on with is another set after each of them.
const MAX_PROPERTIES: usize = 2000;
/// The same where their number is bounded: llguidance writes down every choice of them.
const MAX_COUNTED_PROPERTIES: usize = 100;
/// What stands between the parts of an answer: at most one blank, or new lines and the indentation after them, as llama.cpp allows it.
const BLANKS: &str = r" |\n{1,2}[ \t]{0,20}";

/// The schema as llguidance compiles it in bounded time.
pub(super) fn prepare(schema: &Value) -> Result<Value, String> {
    let mut schema = schema.clone();
    loosen(&mut schema);
    let mut scale = Scale { root: &schema, known: HashMap::new(), patterns: 0, properties: 0, counted: false };
    scale.weigh(&schema)?;
    scale.check()?;
    if let Value::Object(keys) = &mut schema {
        // Instructions to llguidance are ours to give.
        keys.insert("x-guidance".to_owned(), json!({ "whitespace_pattern": BLANKS }));
    }
    Ok(schema)
}

/// Replaces `oneOf` by `anyOf`, as llama.cpp reads it: whether an answer follows one alternative only, no grammar can tell.
fn loosen(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(loosen),
        Value::Object(keys) => {
            if let Some(options) = keys.remove("oneOf") {
                match keys.contains_key("anyOf") {
                    false => _ = keys.insert("anyOf".to_owned(), options),
                    true => match keys.entry("allOf").or_insert_with(|| json!([])) {
                        Value::Array(all) => all.push(json!({ "anyOf": options })),
                        other => *other = Value::Null,
                    },
                }
            }
            for (key, value) in keys {
                match (key.as_str(), value) {
                    // Here the keys are names, and here the values are data.
                    ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(named)) => {
                        named.values_mut().for_each(loosen);
                    }
                    ("enum" | "const" | "default" | "examples", _) => {}
                    (_, value) => loosen(value),
                }
            }
        }
        _ => {}
    }
}

/// How much llguidance makes of a schema.
#[derive(Clone, Copy)]
struct Weight {
    /// Parts.
    parts: u64,
    /// Whether parts are added to another schema's, not multiplied with them, where both have to be followed.
    plain: bool,
}

const ONE: Weight = Weight { parts: 1, plain: true };

impl Weight {
    fn plus(self, other: Self) -> Self {
        Self { parts: self.parts.saturating_add(other.parts), plain: self.plain && other.plain }
    }

    /// Of both together.
    fn and(self, other: Self) -> Self {
        match self.plain && other.plain {
            true => self.plus(other),
            false => Self { parts: self.parts.saturating_mul(other.parts), plain: false },
        }
    }

    fn not_plain(self) -> Self {
        Self { plain: false, ..self }
    }
}

struct Scale<'a> {
    root: &'a Value,
    /// Schemas that are referred to; those under way count as one part, since llguidance refuses to combine them with themselves.
    known: HashMap<&'a str, Weight>,
    /// Entries of `patternProperties` and of `properties`, and whether the number of an object's properties is bounded anywhere.
    patterns: usize,
    properties: usize,
    counted: bool,
}

impl<'a> Scale<'a> {
    fn check(&self) -> Result<(), String> {
        let properties = if self.counted { MAX_COUNTED_PROPERTIES } else { MAX_PROPERTIES };
        for (found, what, limit) in
            [(self.properties, "`properties`", properties), (self.patterns, "`patternProperties`", MAX_PATTERNS)]
        {
            if found > limit {
                let counted = if self.counted { " beside `minProperties` or `maxProperties`" } else { "" };
                return Err(format!("it has {found} {what}, the limit is {limit}{counted}"));
            }
        }
        Ok(())
    }

    fn weigh(&mut self, schema: &'a Value) -> Result<Weight, String> {
        let Value::Object(keys) = schema else { return Ok(ONE) };
        let mut together = vec![self.weigh_own(keys)?];
        for (key, value) in keys {
            match (key.as_str(), value) {
                ("allOf", Value::Array(schemas)) => {
                    for schema in schemas {
                        together.push(self.weigh(schema)?);
                    }
                }
                ("anyOf", Value::Array(schemas)) => together.push(self.sum(schemas)?.not_plain()),
                ("enum", Value::Array(values)) => {
                    let parts = values.iter().map(count).fold(Weight { parts: 0, plain: false }, Weight::plus);
                    together.push(parts.not_plain());
                }
                ("const", value) => together.push(count(value)),
                ("$ref", Value::String(path)) => together.push(self.weigh_target(path)?),
                _ => {}
            }
        }
        let combined = together.len() > 2 || together.len() == 2 && together[0].parts > 1;
        let weight = together.into_iter().reduce(Weight::and).unwrap_or(ONE);
        if combined && weight.parts > MAX_COMBINATIONS {
            return Err(format!("its alternatives have more than {MAX_COMBINATIONS} combinations"));
        }
        Ok(weight)
    }

    /// Of all keywords that do not choose between schemas or combine them.
    fn weigh_own(&mut self, keys: &'a Map<String, Value>) -> Result<Weight, String> {
        let mut weight = ONE;
        for (key, value) in keys {
            let part = match (key.as_str(), value) {
                ("properties", Value::Object(named)) => {
                    self.properties += named.len();
                    self.sum(named.values())?
                }
                ("patternProperties", Value::Object(named)) => {
                    self.patterns += named.len();
                    self.sum(named.values())?.not_plain()
                }
                ("prefixItems" | "items" | "additionalItems", Value::Array(schemas)) => self.sum(schemas)?.not_plain(),
                ("items", schema) => self.weigh(schema)?,
                ("additionalItems" | "additionalProperties", Value::Object(_)) => self.weigh(value)?.not_plain(),
                // Regular expressions that a text has to follow together are multiplied as alternatives are.
                ("pattern" | "format", Value::String(text)) => Weight { parts: text.len() as u64 + 8, plain: false },
                ("type", Value::Array(types)) => Weight { parts: types.len() as u64, plain: types.len() == 1 },
                ("minProperties" | "maxProperties", _) => {
                    self.counted = true;
                    continue;
                }
                _ => continue,
            };
            weight = weight.plus(part);
        }
        Ok(weight)
    }

    fn sum(&mut self, schemas: impl IntoIterator<Item = &'a Value>) -> Result<Weight, String> {
        schemas.into_iter().try_fold(ONE, |sum, schema| Ok(sum.plus(self.weigh(schema)?)))
    }

    fn weigh_target(&mut self, path: &'a str) -> Result<Weight, String> {
        if let Some(known) = self.known.get(path) {
            return Ok(*known);
        }
        self.known.insert(path, ONE.not_plain());
        // Exactly as llguidance looks for it; what it does not find, it says itself.
        let names =
            path.strip_prefix("#/").unwrap_or_default().split('/').filter(|name| !name.is_empty() || path.len() > 2);
        let target = names.into_iter().try_fold(self.root, |value, name| match value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            value => value.get(name),
        });
        let weight = target.map(|schema| self.weigh(schema)).transpose()?.unwrap_or(ONE);
        self.known.insert(path, weight);
        Ok(weight)
    }
}

/// A value as a schema for itself.
fn count(value: &Value) -> Weight {
    match value {
        Value::Array(items) => items.iter().map(count).fold(ONE, Weight::plus),
        Value::Object(keys) => keys.values().map(count).fold(ONE, Weight::plus),
        _ => ONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_becomes_any_of_where_it_is_a_keyword() {
        let loose = |mut schema: Value| {
            loosen(&mut schema);
            schema
        };
        assert_eq!(loose(json!({ "oneOf": [{ "oneOf": [true] }] })), json!({ "anyOf": [{ "anyOf": [true] }] }));
        let both = loose(json!({ "anyOf": [1], "oneOf": [2], "allOf": [3] }));
        assert_eq!(both, json!({ "anyOf": [1], "allOf": [3, { "anyOf": [2] }] }));
        let named = json!({ "properties": { "oneOf": { "type": "null" } }, "enum": [{ "oneOf": [] }] });
        assert_eq!(loose(named.clone()), named);
    }

    #[test]
    fn alternatives_multiply_only_where_they_meet() {
        let many = |n: usize, schema: &dyn Fn(usize) -> Value| (0..n).map(schema).collect::<Value>();
        let property = |name: String| json!({ "properties": { name: {} } });
        let any = |n: usize, prefix: &str| json!({ "anyOf": many(n, &|i| property(format!("{prefix}{i}"))) });
        for (schema, fine) in [
            (any(1500, "a"), true),
            (json!({ "allOf": [any(100, "a"), any(100, "b")] }), true),
            (json!({ "allOf": many(4, &|i| any(100, &i.to_string())) }), false),
            (json!({ "allOf": many(100, &|i| property(i.to_string())) }), true),
            (json!({ "properties": { "a": any(900, "a"), "b": any(900, "b") } }), true),
            (json!({ "$ref": "#/x", "allOf": [{ "$ref": "#/x" }], "x": any(900, "a") }), false),
            (json!({ "$ref": "#/x", "x": { "properties": { "a": { "$ref": "#/x" } } } }), true),
            (json!({ "enum": many(9000, &|i| json!(i)), "type": "integer" }), true),
            (json!({ "enum": many(900, &|i| json!(i)), "anyOf": many(900, &|i| json!({ "const": i })) }), false),
            (json!({ "allOf": many(9, &|i| json!({ "pattern": i.to_string() })) }), false),
            (json!({ "patternProperties": { "a": {}, "b": {} } }), true),
            (
                json!({ "items": { "patternProperties": (0..33).map(|i| (i.to_string(), json!({}))).collect::<Value>() } }),
                false,
            ),
            (json!({ "properties": (0..2000).map(|i| (i.to_string(), json!({}))).collect::<Value>() }), true),
            (json!({ "properties": (0..2001).map(|i| (i.to_string(), json!({}))).collect::<Value>() }), false),
            (
                json!({ "properties": (0..101).map(|i| (i.to_string(), json!({}))).collect::<Value>(), "minProperties": 1 }),
                false,
            ),
        ] {
            assert_eq!(prepare(&schema).is_ok(), fine, "{}", &schema.to_string()[..100]);
        }
    }
}
