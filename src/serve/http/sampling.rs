//! The fields that say how to generate, common to chat and completions: named as OpenAI's API and llama.cpp's server name them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde::Deserialize;
use serde_json::Value;
use tokio::task::block_in_place;

use super::body::OneOrMany;
use super::error::ApiError;
use crate::generate::{PromptLikelihoods, Request};
use crate::model::{Grammar, LlamaToken, ModelError, Sampling, Vocabulary};
use crate::serve::revision::Revision;

/// Choices of one prompt.
const MAX_CHOICES: usize = 128;
/// Most likely tokens shown beside each.
pub(super) const MAX_TOP: usize = 100;
/// Stop strings, and bytes of each.
const MAX_STOPS: usize = 64;
/// See [`MAX_STOPS`].
const MAX_STOP_BYTES: usize = 1024;
/// Tokens with a bias.
const MAX_BIASES: usize = 4096;

/// As they come; what is missing has llama.cpp's default.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Fields {
    temperature: Option<f32>,
    top_k: Option<i32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repeat_penalty: Option<f32>,
    repeat_last_n: Option<i32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    seed: Option<i64>,
    logit_bias: Option<LogitBias>,
    stop: Option<OneOrMany>,
    response_format: Option<ResponseFormat>,
    grammar: Option<String>,
    json_schema: Option<Value>,
    n: Option<usize>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "an object of token ids and biases, or a list of `[id, bias]` belongs here")]
enum LogitBias {
    Object(BTreeMap<String, f32>),
    List(Vec<(i32, Bias)>),
}

/// llama.cpp's server takes `false` for never.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a number or `false` belongs here")]
enum Bias {
    Number(f32),
    Flag(bool),
}

#[derive(Debug, Deserialize)]
struct ResponseFormat {
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<Value>,
    schema: Option<Value>,
}

impl Fields {
    /// How many answers each prompt gets.
    pub fn choices(&self) -> Result<usize, ApiError> {
        match self.n.unwrap_or(1) {
            n @ 1..=MAX_CHOICES => Ok(n),
            n => Err(ApiError::field("n", format!("{n} is not from 1 to {MAX_CHOICES}"))),
        }
    }

    /// Whether the answer comes piece by piece.
    pub fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Whether a stream ends with an account.
    pub fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|o| o.include_usage).unwrap_or(false)
    }

    /// Strings that end an answer.
    fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops: Vec<String> = self.stop.clone().map(Vec::from).unwrap_or_default();
        if stops.len() > MAX_STOPS || stops.iter().any(|s| s.len() > MAX_STOP_BYTES) {
            let limits = format!("more than {MAX_STOPS} strings, or one of more than {MAX_STOP_BYTES} bytes");
            return Err(ApiError::field("stop", limits));
        }
        Ok(stops)
    }

    /// How tokens are chosen, but for the seed; compiles the grammar if there is one.
    pub fn sampling(&self, vocabulary: &Vocabulary) -> Result<Sampling, ApiError> {
        let default = Sampling::llama_cpp();
        let within = |name: &str, value: Option<f32>, default: f32, low: f32, high: f32| match value {
            None => Ok(default),
            Some(value) if (low..=high).contains(&value) => Ok(value),
            Some(value) => Err(ApiError::field(name, format!("{value} is not from {low} to {high}"))),
        };
        Ok(Sampling {
            temperature: within("temperature", self.temperature, default.temperature, 0.0, Sampling::MAX_TEMPERATURE)?,
            top_k: self.top_k.unwrap_or(default.top_k).max(0),
            top_p: within("top_p", self.top_p, default.top_p, 0.0, 1.0)?,
            min_p: within("min_p", self.min_p, default.min_p, 0.0, 1.0)?,
            repeat_penalty: within("repeat_penalty", self.repeat_penalty, default.repeat_penalty, 0.01, 100.0)?,
            repeat_last_n: self.repeat_last_n.unwrap_or(default.repeat_last_n).clamp(0, 1 << 16),
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, 0.0, -100.0, 100.0)?,
            presence_penalty: within("presence_penalty", self.presence_penalty, 0.0, -100.0, 100.0)?,
            logit_bias: self.biases(vocabulary)?,
            grammar: self.grammar(vocabulary)?,
            seed: 0,
        })
    }

    /// Another one for each prompt if none is asked for.
    fn seed(&self) -> u32 {
        match self.seed {
            Some(seed) if seed >= 0 => (seed & i64::from(u32::MAX)) as u32,
            // Every `RandomState` has other keys: a random number without a generator of our own.
            _ => RandomState::new().build_hasher().finish() as u32,
        }
    }

    fn biases(&self, vocabulary: &Vocabulary) -> Result<Vec<(LlamaToken, f32)>, ApiError> {
        let bad = |message: String| ApiError::field("logit_bias", message);
        let biases: Vec<(i32, f32)> = match &self.logit_bias {
            None => Vec::new(),
            Some(LogitBias::Object(object)) => {
                let id = |text: &String| text.parse().map_err(|_| bad(format!("`{text}` is no token id")));
                object.iter().map(|(text, bias)| Ok((id(text)?, *bias))).collect::<Result<_, ApiError>>()?
            }
            Some(LogitBias::List(list)) => {
                let number = |bias: &Bias| match bias {
                    Bias::Number(number) => Ok(*number),
                    Bias::Flag(false) => Ok(f32::NEG_INFINITY),
                    Bias::Flag(true) => Err(bad("`true` is no bias".to_owned())),
                };
                list.iter().map(|(id, bias)| Ok((*id, number(bias)?))).collect::<Result<_, ApiError>>()?
            }
        };
        if biases.len() > MAX_BIASES {
            return Err(bad(format!("{} tokens, the limit is {MAX_BIASES}", biases.len())));
        }
        if let Some((id, bias)) = biases.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
            return Err(bad(format!("{bias} for token {id} is no bias")));
        }
        biases.into_iter().map(|(id, bias)| Ok((token(id, vocabulary).map_err(bad)?, bias))).collect()
    }

    /// The grammar that is asked for, in whichever of the ways that OpenAI and llama.cpp have for it.
    fn grammar(&self, vocabulary: &Vocabulary) -> Result<Option<Grammar>, ApiError> {
        let object = || Ok(Some(serde_json::json!({ "type": "object" })));
        let schema = match &self.response_format {
            None => self.json_schema.clone(),
            Some(format) => match (format.kind.as_str(), &format.json_schema, &format.schema) {
                ("text", ..) => Ok(self.json_schema.clone()),
                // llama.cpp's server takes a schema here.
                ("json_object", _, Some(schema)) => Ok(Some(schema.clone())),
                ("json_object", ..) => object(),
                ("json_schema", Some(wrapped), _) => match wrapped.get("schema") {
                    Some(schema) => Ok(Some(schema.clone())),
                    None => Err(ApiError::field("response_format.json_schema.schema", "it is missing")),
                },
                ("json_schema", None, Some(schema)) => Ok(Some(schema.clone())),
                ("json_schema", None, None) => Err(ApiError::field("response_format.json_schema", "it is missing")),
                (other, ..) => {
                    let message = format!("`{other}` is not `text`, `json_object` or `json_schema`");
                    Err(ApiError::field("response_format.type", message))
                }
            }?,
        };
        if schema.is_some() && self.grammar.is_some() {
            return Err(ApiError::field("grammar", "a JSON schema is given as well; leave one out"));
        }
        let text = self.grammar.as_deref().filter(|text| !text.trim().is_empty());
        // Large ones take their time.
        let compiled = block_in_place(|| match (schema, text) {
            (Some(schema), None) => Grammar::json_schema(&schema, vocabulary).map(Some),
            (None, Some(text)) => Grammar::gbnf(text, vocabulary).map(Some),
            _ => Ok(None),
        });
        Ok(compiled?)
    }

    /// The requests for `prompt`, one for each choice, as far as the context allows. `sampling` is [`Self::sampling`]; `max_tokens` is what was asked for, negative for as many
    /// as there is room for.
    pub fn requests(
        &self,
        prompt: Vec<LlamaToken>,
        max_tokens: i64,
        sampling: &Sampling,
        revision: &Revision,
        likelihoods: Option<usize>,
        prompt_likelihoods: Option<usize>,
    ) -> Result<Vec<Request>, ApiError> {
        let limit = revision.context as usize;
        let room = limit.saturating_sub(prompt.len());
        if prompt.is_empty() {
            return Err(ModelError::EmptyPrompt.into());
        }
        if prompt.len() > limit || room == 0 && max_tokens != 0 {
            return Err(ModelError::TooLong { prompt: prompt.len(), wanted: 1, limit: revision.context }.into());
        }
        let max_tokens = usize::try_from(max_tokens).unwrap_or(room).min(room);
        let seed = self.seed();
        let stop = self.stops()?;
        let request = |choice: usize| Request {
            prompt: prompt.clone(),
            max_tokens,
            sampling: Sampling { seed: seed.wrapping_add(choice as u32), ..sampling.clone() },
            stop: stop.clone(),
            likelihoods,
            prompt_likelihoods: prompt_likelihoods.map(PromptLikelihoods::all),
        };
        Ok((0..self.choices()?).map(request).collect())
    }
}

/// The token `id`, if there is one.
pub(super) fn token(id: i32, vocabulary: &Vocabulary) -> Result<LlamaToken, String> {
    match usize::try_from(id) {
        Ok(index) if index < vocabulary.len() => Ok(LlamaToken(id)),
        _ => Err(format!("there is no token {id}; the vocabulary has {}", vocabulary.len())),
    }
}
