//! The YAML of a recipe as written, every value with its place. Key names are mergekit's; `path`, `path_scale` and `out_type` are ours.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_saphyr::Spanned;

use crate::yaml::OneOrMore;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub merge_method: Option<Spanned<String>>,
    pub models: Option<Spanned<Vec<Spanned<Model>>>>,
    pub slices: Option<Spanned<Vec<Spanned<Slice>>>>,
    pub modules: Option<Spanned<IgnoredAny>>,
    pub base_model: Option<Spanned<Reference>>,
    #[serde(default)]
    pub parameters: Parameters,
    pub dtype: Option<Spanned<IgnoredAny>>,
    pub out_dtype: Option<Spanned<IgnoredAny>>,
    pub tokenizer_source: Option<Spanned<Reference>>,
    pub tokenizer: Option<Spanned<Tokenizer>>,
    pub chat_template: Option<String>,
    pub out_type: Option<Spanned<String>>,
    pub path: Option<Spanned<Vec<Spanned<Hop>>>>,
    pub path_scale: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub model: Spanned<Reference>,
    #[serde(default)]
    pub parameters: Parameters,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slice {
    pub sources: Spanned<Vec<Spanned<Source>>>,
    pub base_model: Option<Spanned<Reference>>,
    #[serde(default)]
    pub parameters: Parameters,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub model: Spanned<Reference>,
    pub layer_range: Option<Spanned<[u32; 2]>>,
    #[serde(default)]
    pub parameters: Parameters,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hop {
    pub model: Option<Spanned<Reference>>,
    pub layer: Option<Spanned<u32>>,
    pub layers: Option<Spanned<[u32; 2]>>,
    pub scale: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokenizer {
    pub source: Option<Spanned<Reference>>,
    #[serde(default)]
    pub tokens: BTreeMap<String, Spanned<Token>>,
    pub pad_to_multiple_of: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub source: Spanned<TokenSource>,
    #[serde(default)]
    pub force: bool,
}

/// A model, or `{kind: zero}`, or `{kind: model_token, model, token | token_id}`.
pub(super) enum TokenSource {
    Model(Reference),
    Kind { kind: String, model: Option<Reference>, token: Option<String>, token_id: Option<u32> },
}

/// mergekit's REF: a path, perhaps with `+` and that of an adapter, or `{model: path, lora: path}`.
pub(super) enum Reference {
    Word(String),
    Map { model: String, lora: Vec<String> },
}

/// Parameters in the order written; an empty `parameters:` is no parameters.
#[derive(Default)]
pub(super) struct Parameters(pub Vec<(Spanned<String>, Spanned<Value>)>);

/// The value of a parameter before anything is known about the parameter.
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Spanned<Value>>),
    Rule(Box<Rule>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub filter: Option<Spanned<String>>,
    pub value: Spanned<Value>,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Map { model, lora } => {
                f.write_str(model)?;
                lora.iter().try_for_each(|lora| write!(f, "+{lora}"))
            }
        }
    }
}

// Hand-written because `#[serde(untagged)]` would lose the places of everything inside.

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Map {
            model: String,
            #[serde(default)]
            lora: OneOrMore,
        }
        impl<'de> Visitor<'de> for Either {
            type Value = Reference;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a GGUF file")
            }
            fn visit_str<E: de::Error>(self, path: &str) -> Result<Reference, E> {
                Ok(Reference::Word(path.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reference, A::Error> {
                let Map { model, lora: OneOrMore(lora) } = Map::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Reference::Map { model, lora })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for TokenSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Map {
            kind: Option<String>,
            model: Option<Reference>,
            #[serde(default)]
            lora: OneOrMore,
            token: Option<String>,
            token_id: Option<u32>,
        }
        impl<'de> Visitor<'de> for Either {
            type Value = TokenSource;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a model, or `{kind: ..}`")
            }
            fn visit_str<E: de::Error>(self, path: &str) -> Result<TokenSource, E> {
                Ok(TokenSource::Model(Reference::Word(path.to_owned())))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TokenSource, A::Error> {
                let Map { kind, model, lora: OneOrMore(lora), token, token_id } =
                    Map::deserialize(MapAccessDeserializer::new(map))?;
                match (kind, model) {
                    (Some(kind), model) if lora.is_empty() => Ok(TokenSource::Kind { kind, model, token, token_id }),
                    (None, Some(Reference::Word(model))) if token.is_none() && token_id.is_none() => {
                        Ok(TokenSource::Model(Reference::Map { model, lora }))
                    }
                    _ => Err(de::Error::custom(
                        "`{model, lora}`, `{kind: zero}` or `{kind: model_token, ..}` belongs here",
                    )),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Parameters;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("parameters by name")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Parameters, E> {
                Ok(Parameters::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Parameters(entries))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, `true` or `false`, a list, or `{filter, value}`")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Value, E> {
                Ok(Value::Bool(on))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Value, E> {
                Ok(Value::Number(n as f64))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Value, E> {
                Ok(Value::Number(n as f64))
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Value, E> {
                Ok(Value::Number(n))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    list.push(item);
                }
                Ok(Value::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                Ok(Value::Rule(Box::new(Rule::deserialize(MapAccessDeserializer::new(map))?)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
