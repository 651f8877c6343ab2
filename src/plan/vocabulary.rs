//! The merged model's tokens, and for each parent where the rows of its token tables come from: recipe and parents in, row maps out.
//!
//! A row of `token_embd` or `output` means a token, so rows are matched by the token's text. What a parent lacks is filled as mergekit
//! fills it: by the recipe's own rule, else from the only model that has the token, else from the base, else with the mean of all that
//! have it. Ids of the model whose vocabulary is followed stay what they are.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use ggraft_kernels::RowMap;

use super::PlanError;
use super::union::{self, Origin};
use crate::gguf::{Metadata, Parent};
use crate::recipe::{TokenRow, TokenRule, Tokenizer, TokenizerSource};

/// The texts of a vocabulary.
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";

/// The matrix that llama.cpp computes logits with, and the one that it takes where there is none.
pub(super) const OUTPUT: &str = "output.weight";
/// See [`OUTPUT`].
pub(super) const EMBEDDING: &str = "token_embd.weight";

/// Tensors with a row for each token; where one has a single dimension, an element.
pub(super) const TOKEN_TABLES: [&str; 4] = [EMBEDDING, OUTPUT, "output.bias", "per_layer_token_embd.weight"];

/// A vocabulary that not all parents have.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// Tells it from the other vocabularies of the same parents; from 1.
    pub id: usize,
    /// Number of tokens.
    pub len: usize,
    /// The tokenizer's metadata, if no parent has just these tokens.
    pub metadata: Option<Metadata>,
    /// For each parent, what its tables' rows are; table `i` is that of parent `i`.
    maps: Vec<RowMap>,
    /// Whether a parent's own rows are just these.
    as_they_are: Vec<bool>,
}

/// One parent's tokens.
pub(super) struct Tokens<'a> {
    pub texts: Vec<Cow<'a, [u8]>>,
    ids: HashMap<Vec<u8>, u32>,
}

/// The parent whose vocabulary `tokenizer` follows.
pub(super) fn followed(tokenizer: &Tokenizer, base: Option<usize>) -> usize {
    match tokenizer.source {
        TokenizerSource::Union => base.unwrap_or(0),
        TokenizerSource::Model(model) => model,
    }
}

impl Vocabulary {
    /// What `tokenizer` comes to; `None` if all parents have it already.
    pub fn new(
        tokenizer: &Tokenizer,
        base: Option<usize>,
        parents: &[Parent],
        id: usize,
    ) -> Result<Option<Self>, PlanError> {
        let leader = followed(tokenizer, base);
        let wanted = parents[leader].metadata().strings(TOKENS);
        let alike = wanted.is_some() && parents.iter().all(|parent| parent.metadata().strings(TOKENS) == wanted);
        if alike && tokenizer.tokens.is_empty() && tokenizer.pad_to_multiple_of.is_none_or(|pad| pad == 1) {
            return Ok(None);
        }
        union::refuse_other_spelling(parents, leader)?;
        let all = parents.iter().map(Tokens::of).collect::<Result<Vec<_>, _>>()?;
        let mut origins: Vec<Origin> = all[leader].ids().map(|id| Origin::Parent { parent: leader, id }).collect();
        if tokenizer.source == TokenizerSource::Union {
            union::refuse_other_meanings(parents, &all, leader)?;
            let mut known: HashSet<&[u8]> = all[leader].texts.iter().map(|text| &**text).collect();
            for (parent, tokens) in all.iter().enumerate() {
                let new = tokens.ids().filter(|id| known.insert(&tokens.texts[*id as usize]));
                origins.extend(new.map(|id| Origin::Parent { parent, id }));
            }
        }
        let pad = tokenizer.pad_to_multiple_of.unwrap_or(1) as usize;
        let len = origins.len().next_multiple_of(pad.max(1));
        origins.resize(len, Origin::Padding);

        let metadata =
            if len == all[leader].texts.len() { None } else { Some(union::metadata(parents, &all, leader, &origins)?) };
        let maps = Rows::new(&tokenizer.tokens, base, parents, &all, &origins)?.maps(&all, &origins);
        let is_own =
            |(parent, map): (usize, &RowMap)| map.len() == all[parent].texts.len() && map.is_identity(parent as u32);
        let as_they_are = maps.iter().enumerate().map(is_own).collect();
        Ok(Some(Self { id, len, metadata, maps, as_they_are }))
    }

    /// Where the rows of `parent` come from.
    pub fn map(&self, parent: usize) -> &RowMap {
        &self.maps[parent]
    }

    /// Whether the rows of `parent` are its own in their own order.
    pub fn keeps(&self, parent: usize) -> bool {
        self.as_they_are[parent]
    }
}

impl<'a> Tokens<'a> {
    /// Proves that each token, of which none is there twice in a [`Parent`], has a row.
    fn of(parent: &'a Parent) -> Result<Self, PlanError> {
        let refuse = |problem: String| PlanError::Tokens(format!("`{}` {problem}", parent.path().display()));
        let strings = parent.metadata().strings(TOKENS).ok_or_else(|| refuse(format!("has no `{TOKENS}`")))?;
        let texts: Vec<Cow<[u8]>> = strings
            .iter()
            .enumerate()
            // The name that llama.cpp gives a token without one.
            .map(|(id, text)| if text.is_empty() { format!("[EMPTY_{id}]").into_bytes().into() } else { text.into() })
            .collect();
        let rows = parent.tensor(EMBEDDING).map_or(0, |table| table.info.rows());
        if rows != texts.len() as u64 {
            return Err(refuse(format!("has {} tokens, but {rows} rows in `{EMBEDDING}`", texts.len())));
        }
        let mut ids = HashMap::with_capacity(texts.len());
        for (text, id) in texts.iter().zip(0u32..) {
            ids.insert(text.to_vec(), id);
        }
        Ok(Self { texts, ids })
    }

    /// Every id.
    fn ids(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.texts.len() as u32
    }

    /// The id of the token with this text.
    pub fn id(&self, text: &[u8]) -> Option<u32> {
        self.ids.get(text).copied()
    }
}

/// The recipe's rules with every row found.
struct Rows {
    base: Option<usize>,
    /// By output token: the row, if it is not zeros, and whether it is for all.
    rules: HashMap<usize, (Option<(u32, u32)>, bool)>,
}

impl Rows {
    fn new(
        rules: &[TokenRule],
        base: Option<usize>,
        parents: &[Parent],
        all: &[Tokens],
        origins: &[Origin],
    ) -> Result<Self, PlanError> {
        let text_of = |origin: &Origin| match *origin {
            Origin::Parent { parent, id } => Some(&*all[parent].texts[id as usize]),
            Origin::Padding => None,
        };
        let places: HashMap<&[u8], usize> = if rules.is_empty() {
            HashMap::new()
        } else {
            origins.iter().enumerate().filter_map(|(place, origin)| Some((text_of(origin)?, place))).collect()
        };
        let mut found = HashMap::new();
        for TokenRule { token, row, force } in rules {
            let refuse = |problem: String| PlanError::Tokens(format!("the rule for `{token}`: {problem}"));
            let Some(place) = places.get(token.as_bytes()) else {
                return Err(refuse("the merged vocabulary has no such token".to_owned()));
            };
            let row_of = |model: usize, text: &str| match all[model].id(text.as_bytes()) {
                Some(id) => Ok((model as u32, id)),
                None => Err(refuse(format!("`{}` has no token `{text}`", parents[model].path().display()))),
            };
            let row = match row {
                TokenRow::Zero => None,
                TokenRow::Model(model) => Some(row_of(*model, token)?),
                TokenRow::Token(model, text) => Some(row_of(*model, text)?),
                TokenRow::Id(model, id) => match all[*model].texts.len() {
                    count if (*id as usize) < count => Some((*model as u32, *id)),
                    count => {
                        let path = parents[*model].path().display();
                        return Err(refuse(format!("`{path}` has no token {id}; its tokens are 0 to {}", count - 1)));
                    }
                },
            };
            found.insert(*place, (row, *force));
        }
        Ok(Self { base, rules: found })
    }

    /// One map for each parent.
    fn maps(&self, all: &[Tokens], origins: &[Origin]) -> Vec<RowMap> {
        let mut maps = vec![RowMap::default(); all.len()];
        for (place, origin) in origins.iter().enumerate() {
            let own: Vec<Option<u32>> = match *origin {
                Origin::Parent { parent, id } => {
                    let text = &all[parent].texts[id as usize];
                    all.iter().map(|tokens| tokens.id(text)).collect()
                }
                Origin::Padding => vec![None; all.len()],
            };
            let owners: Vec<(u32, u32)> = (0u32..).zip(&own).filter_map(|(p, id)| Some((p, (*id)?))).collect();
            let rule = self.rules.get(&place);
            for (parent, map) in maps.iter_mut().enumerate() {
                match (rule, own[parent]) {
                    (Some((row, true)), _) | (Some((row, false)), None) => map.push(*row),
                    (_, Some(id)) => map.push([(parent as u32, id)]),
                    (None, None) => map.push(self.fill(&own, &owners)),
                }
            }
        }
        maps
    }

    /// What a parent that lacks a token gets: the only row there is, the base's, or the mean of all.
    fn fill(&self, own: &[Option<u32>], owners: &[(u32, u32)]) -> Vec<(u32, u32)> {
        match self.base.and_then(|base| Some((base as u32, own[base]?))) {
            Some(base) if owners.len() > 1 => vec![base],
            _ => owners.to_vec(),
        }
    }
}
