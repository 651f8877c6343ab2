//! `tokenizer_source` and `tokenizer`: as written they go in, a [`Tokenizer`] comes out that knows models by their number.

use serde::{Serialize, Serializer};
use serde_saphyr::{FlowMap, Spanned};

use super::load::{Loader, Result};
use super::reference::Written;
use super::{ModelRef, Place, RecipeError, schema};
use crate::yaml::hint;

/// The largest number that the vocabulary's size is rounded up to a multiple of.
const MAX_PAD: u32 = 1 << 16;
/// Tokens that one recipe may have rules for.
const MAX_RULES: usize = 1 << 16;

/// Whose tokens the merged model has, and where the rows of its token tables come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tokenizer {
    /// The tokens, in their order.
    pub source: TokenizerSource,
    /// Rows that the recipe chooses itself, by token.
    pub tokens: Vec<TokenRule>,
    /// What the number of tokens is rounded up to a multiple of, with unused ones.
    pub pad_to_multiple_of: Option<u32>,
}

/// Where the tokens come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenizerSource {
    /// The base model's, or the first model's if there is no base; then what each other model has besides.
    Union,
    /// Those of one model.
    Model(usize),
}

impl TokenizerSource {
    /// The end of a message about `written`, which is neither a word for a source nor one of `models`.
    pub fn hint(written: &str, models: &[ModelRef]) -> String {
        hint(written, ["union", "base"].into_iter().chain(models.iter().map(|model| model.written.as_str())))
    }
}

/// The row of one token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenRule {
    /// The token's text, as the vocabulary spells it.
    pub token: String,
    /// What the row is for models that lack the token.
    pub row: TokenRow,
    /// Whether models that have the token get this row too.
    pub force: bool,
}

/// One row of a token table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TokenRow {
    /// Zeros.
    Zero,
    /// The same token's in this model.
    Model(usize),
    /// Another token's in this model.
    Token(usize, String),
    /// The row of this number in this model.
    Id(usize, u32),
}

impl From<TokenizerSource> for Tokenizer {
    fn from(source: TokenizerSource) -> Self {
        Self { source, tokens: Vec::new(), pad_to_multiple_of: None }
    }
}

impl Tokenizer {
    /// Gives every model that it names another number.
    pub(super) fn renumber(&mut self, renumber: impl Fn(&mut usize)) {
        if let TokenizerSource::Model(model) = &mut self.source {
            renumber(model);
        }
        for rule in &mut self.tokens {
            match &mut rule.row {
                TokenRow::Zero => {}
                TokenRow::Model(model) | TokenRow::Token(model, _) | TokenRow::Id(model, _) => renumber(model),
            }
        }
    }

    /// Every model that it names.
    pub(super) fn models(&self) -> impl Iterator<Item = usize> {
        let source = match self.source {
            TokenizerSource::Union => None,
            TokenizerSource::Model(model) => Some(model),
        };
        let of_row = |rule: &TokenRule| match rule.row {
            TokenRow::Zero => None,
            TokenRow::Model(model) | TokenRow::Token(model, _) | TokenRow::Id(model, _) => Some(model),
        };
        source.into_iter().chain(self.tokens.iter().filter_map(of_row))
    }
}

impl Loader<'_> {
    /// What the recipe says of its tokenizer in either place, once its models are known.
    pub(super) fn tokenizer(
        &self,
        source: Option<Spanned<schema::Reference>>,
        tokenizer: Option<Spanned<schema::Tokenizer>>,
        base_model: Option<usize>,
    ) -> Result<Option<Tokenizer>> {
        let written = match (source, tokenizer) {
            (Some(source), None) => return Ok(Some(self.tokenizer_source(&source, base_model)?.into())),
            (None, None) => return Ok(None),
            (Some(_), Some(both)) => {
                return Err(self.bad_value(&both, "tokenizer", "given too", "`tokenizer_source` says it already"));
            }
            (None, Some(written)) => written,
        };
        if written.value.tokens.len() > MAX_RULES {
            let (count, limit) = (written.value.tokens.len(), MAX_RULES);
            return Err(self.error(&written, RecipeError::TooMany { what: "tokens", count, limit }));
        }
        let schema::Tokenizer { source, tokens, pad_to_multiple_of } = written.value;
        let source = source.map(|source| self.tokenizer_source(&source, base_model)).transpose()?;
        let rule = |(token, rule): (String, Spanned<schema::Token>)| {
            let schema::Token { source, force } = rule.value;
            Ok(TokenRule { row: self.token_row(&token, source)?, token, force })
        };
        let tokens = tokens.into_iter().map(rule).collect::<Result<_>>()?;
        if let Some(pad) = pad_to_multiple_of.as_ref().filter(|pad| !(1..=MAX_PAD).contains(&pad.value)) {
            return Err(self.bad_value(
                pad,
                "pad_to_multiple_of",
                pad.value,
                format_args!("it must be from 1 to {MAX_PAD}"),
            ));
        }
        let source = source.unwrap_or(TokenizerSource::Union);
        Ok(Some(Tokenizer { source, tokens, pad_to_multiple_of: pad_to_multiple_of.map(|pad| pad.value) }))
    }

    fn tokenizer_source(
        &self,
        source: &Spanned<schema::Reference>,
        base_model: Option<usize>,
    ) -> Result<TokenizerSource> {
        match (source.value.to_string().as_str(), base_model) {
            ("union", _) => Ok(TokenizerSource::Union),
            // Without a base model the first one stands for it, as in mergekit.
            ("base", base) => Ok(TokenizerSource::Model(base.unwrap_or(0))),
            (other, _) => match self.position(&self.read(source)?) {
                Some(model) => Ok(TokenizerSource::Model(model)),
                None => {
                    let hint = TokenizerSource::hint(other, &self.models);
                    let expected = format!("it must be `union`, `base` or a model of this recipe{hint}");
                    Err(self.bad_value(source, "tokenizer_source", format_args!("`{other}`"), expected))
                }
            },
        }
    }

    fn token_row(&self, token: &str, source: Spanned<schema::TokenSource>) -> Result<TokenRow> {
        let Spanned { value, referenced, defined } = source;
        let (kind, model, token_text, token_id) = match value {
            schema::TokenSource::Model(model) => {
                return self.listed(token, &Spanned { value: model, referenced, defined }).map(TokenRow::Model);
            }
            schema::TokenSource::Kind { kind, model, token, token_id } => (kind, model, token, token_id),
        };
        let bad = |value: &str, expected: &str| {
            let problem = RecipeError::bad_value(token, format_args!("`{value}`"), expected);
            Err(problem.at(self.file, Place::from(referenced)))
        };
        match (kind.as_str(), model, token_text, token_id) {
            ("zero", None, None, None) => Ok(TokenRow::Zero),
            ("zero", ..) => bad("zero", "a row of zeros has no `model` and no `token`"),
            ("model_token", Some(model), text, id) => {
                let model = self.listed(token, &Spanned { value: model, referenced, defined })?;
                match (text, id) {
                    (Some(text), None) => Ok(TokenRow::Token(model, text)),
                    (None, Some(id)) => Ok(TokenRow::Id(model, id)),
                    _ => bad("model_token", "it needs either `token` or `token_id`"),
                }
            }
            ("model_token", None, ..) => bad("model_token", "it needs a `model`"),
            _ => bad(&kind, "`kind` must be `zero` or `model_token`"),
        }
    }

    /// The number of a model that the recipe merges.
    fn listed(&self, key: &str, reference: &Spanned<schema::Reference>) -> Result<usize> {
        let model = self.read(reference)?;
        self.position(&model).ok_or_else(|| {
            let expected = "it must be one of the models of this recipe";
            self.bad_value(reference, key, format_args!("`{}`", model.written), expected)
        })
    }
}

/// A tokenizer as it is written back.
#[derive(Serialize)]
pub(super) struct TokenizerOut {
    source: TokenizerSourceOut,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    tokens: Entries,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_to_multiple_of: Option<u32>,
}

/// A word of ours or a model.
pub(super) enum TokenizerSourceOut {
    Union,
    Model(Written),
}

/// Rules in their order.
struct Entries(Vec<(String, FlowMap<RuleOut>)>);

#[derive(Serialize)]
struct RuleOut {
    source: RowOut,
    force: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RowOut {
    Model(Written),
    Kind {
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<Written>,
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        token_id: Option<u32>,
    },
}

impl TokenizerSource {
    pub(super) fn out(self, path: impl Fn(usize) -> Written) -> TokenizerSourceOut {
        match self {
            Self::Union => TokenizerSourceOut::Union,
            Self::Model(model) => TokenizerSourceOut::Model(path(model)),
        }
    }
}

impl Tokenizer {
    /// Whether `tokenizer_source` says it all.
    pub(super) fn is_source_alone(&self) -> bool {
        self.tokens.is_empty() && self.pad_to_multiple_of.is_none()
    }

    pub(super) fn out(&self, path: impl Fn(usize) -> Written + Copy) -> TokenizerOut {
        let rule = |TokenRule { token, row, force }: &TokenRule| {
            let kind = |model, token, token_id| RowOut::Kind {
                kind: "model_token",
                model: Some(path(model)),
                token,
                token_id,
            };
            let source = match row {
                TokenRow::Zero => RowOut::Kind { kind: "zero", model: None, token: None, token_id: None },
                TokenRow::Model(model) => RowOut::Model(path(*model)),
                TokenRow::Token(model, text) => kind(*model, Some(text.clone()), None),
                TokenRow::Id(model, id) => kind(*model, None, Some(*id)),
            };
            (token.clone(), FlowMap(RuleOut { source, force: *force }))
        };
        TokenizerOut {
            source: self.source.out(path),
            tokens: Entries(self.tokens.iter().map(rule).collect()),
            pad_to_multiple_of: self.pad_to_multiple_of,
        }
    }
}

impl Serialize for TokenizerSourceOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Union => serializer.serialize_str("union"),
            Self::Model(model) => model.serialize(serializer),
        }
    }
}

impl Entries {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, rule)| (token, rule)))
    }
}
