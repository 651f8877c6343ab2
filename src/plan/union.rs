//! Several vocabularies in, one that has the tokens of all out: refused where one text would mean different things.

use std::collections::{HashMap, HashSet};

use super::PlanError;
use super::vocabulary::{TOKENS, Tokens};
use crate::gguf::{Array, Metadata, Parent, Strings, Value};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const EXTRA_SPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

/// Tokenizers of which it is known what more tokens do: byte-pair encoding by rank and by score.
const KNOWN: [&str; 2] = ["gpt2", "llama"];

/// llama.cpp's kinds of tokens (include/llama.h `llama_token_type`).
const NORMAL: i32 = 1;
/// Matched as a whole, before anything else; see [`NORMAL`].
const CONTROL: i32 = 3;
/// Matched as a whole too; see [`NORMAL`].
const USER_DEFINED: i32 = 4;
/// See [`NORMAL`].
const UNUSED: i32 = 5;
/// Why some differences matter.
const CUT: &str = "cut text differently before it is tokenized";
/// What llama.cpp's converter scores padding with.
const PADDING_SCORE: f32 = -1000.0;

/// Where a token of the merged model comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A token of a parent, the first that has it.
    Parent {
        /// Which parent.
        parent: usize,
        /// Its id there.
        id: u32,
    },
    /// Nothing: it rounds the number of tokens up.
    Padding,
}

/// Refuses tokenizers that spell one text in different ways, so that none of their tokens can be told to be the same.
pub(super) fn refuse_other_spelling(parents: &[Parent], leader: usize) -> Result<(), PlanError> {
    parents.iter().try_for_each(|other| alike(&parents[leader], other, MODEL, "spell tokens differently"))
}

/// Refuses two parents that differ in `key`.
fn alike(first: &Parent, other: &Parent, key: &str, why: &str) -> Result<(), PlanError> {
    let [ours, theirs] =
        [first, other].map(|p| p.metadata().get(key).map_or_else(|| "nothing".into(), Value::to_string));
    if ours == theirs { Ok(()) } else { Err(disagree(first, other, &format!("{why}: `{key}` is {ours} and {theirs}"))) }
}

/// Refuses vocabularies that cut or read one text in different ways: `leader` is the one whose tokens come first.
pub(super) fn refuse_other_meanings(parents: &[Parent], all: &[Tokens], leader: usize) -> Result<(), PlanError> {
    let first = &parents[leader];
    let model = first.metadata().str(MODEL).unwrap_or_default();
    if !KNOWN.contains(&model) {
        return Err(PlanError::Tokens(format!(
            "what more tokens would do to a tokenizer of model `{model}` is not known; take one model's vocabulary with `tokenizer_source`"
        )));
    }
    for (other, tokens) in parents.iter().zip(all) {
        alike(first, other, PRE, CUT)?;
        for (key, default) in [(SPACE_PREFIX, model == "llama"), (EXTRA_SPACES, false)] {
            let [ours, theirs] =
                [first, other].map(|p| p.metadata().get(key).and_then(Value::as_bool).unwrap_or(default));
            if ours != theirs {
                return Err(disagree(first, other, &format!("{CUT}: `{key}` is {ours} and {theirs}")));
            }
        }
        let kinds = [first, other].map(|parent| numbers(parent, TYPES));
        let scores = [first, other].map(|parent| numbers(parent, SCORES));
        for (text, id) in tokens.texts.iter().zip(0..) {
            let Some(ours) = all[leader].id(text) else { continue };
            let at = |lists: &[Option<Vec<f64>>; 2], missing: f64| {
                let value = |list: &Option<Vec<f64>>, id: u32| {
                    list.as_ref().and_then(|list| list.get(id as usize)).copied().unwrap_or(missing)
                };
                [value(&lists[0], ours), value(&lists[1], id)]
            };
            let [kind, theirs] = at(&kinds, NORMAL.into());
            let whole = |kind: f64| kind == f64::from(CONTROL) || kind == f64::from(USER_DEFINED);
            if kind != theirs && !(whole(kind) && whole(theirs)) {
                let text = text.escape_ascii();
                return Err(disagree(
                    first,
                    other,
                    &format!("read `{text}` differently: `{TYPES}` is {kind} and {theirs}"),
                ));
            }
            let [score, theirs] = at(&scores, 0.0);
            // Only normal tokens are put together from others, by score; byte-pair merges have ranks instead.
            if model == "llama" && kind == f64::from(NORMAL) && score != theirs {
                let text = text.escape_ascii();
                return Err(disagree(first, other, &format!("score `{text}` differently: {score} and {theirs}")));
            }
        }
    }
    merges(parents, leader).map(drop)
}

fn disagree(first: &Parent, other: &Parent, what: &str) -> PlanError {
    let [one, two] = [first, other].map(|parent| parent.path().display());
    PlanError::Tokens(format!(
        "`{one}` and `{two}` {what}; use models with one tokenizer, or take one model's tokens with `tokenizer_source`"
    ))
}

/// The tokenizer of the tokens `origins`: that of `leader` with the lists of tokens, scores, types and merges gone on with.
pub(super) fn metadata(
    parents: &[Parent],
    all: &[Tokens],
    leader: usize,
    origins: &[Origin],
) -> Result<Metadata, PlanError> {
    let mut metadata = Metadata::default();
    let own = parents[leader].metadata().iter();
    own.filter(|(key, _)| super::schedule::is_vocabulary(key))
        .for_each(|(key, value)| metadata.insert(key, value.clone()));

    let taken: HashSet<&[u8]> = all.iter().flat_map(|tokens| &tokens.texts).map(|text| &**text).collect();
    let text = |(id, origin): (usize, &Origin)| match *origin {
        Origin::Parent { parent, id } => all[parent].texts[id as usize].to_vec(),
        Origin::Padding => {
            let named = |n: usize| format!("[PAD{id}{}]", "_".repeat(n)).into_bytes();
            (0..).map(named).find(|name| !taken.contains(&**name)).expect("finitely many names are taken")
        }
    };
    let texts: Vec<Vec<u8>> = origins.iter().enumerate().map(text).collect();
    metadata.insert(TOKENS, texts.iter().map(Vec::as_slice).collect::<Strings>());

    let of_each = |key: &str, missing: f64, padding: f64| -> Option<Vec<f64>> {
        let lists: Vec<Option<Vec<f64>>> = parents.iter().map(|parent| numbers(parent, key)).collect();
        lists.iter().any(Option::is_some).then(|| {
            let value = |origin: &Origin| match *origin {
                Origin::Parent { parent, id } => {
                    lists[parent].as_ref().and_then(|list| list.get(id as usize)).copied().unwrap_or(missing)
                }
                Origin::Padding => padding,
            };
            origins.iter().map(value).collect()
        })
    };
    if let Some(scores) = of_each(SCORES, 0.0, PADDING_SCORE.into()) {
        metadata.insert(SCORES, scores.into_iter().map(|score| score as f32).collect::<Vec<f32>>());
    }
    // Without a list all tokens are normal; what pads must not be.
    let kinds = of_each(TYPES, NORMAL.into(), UNUSED.into()).unwrap_or_else(|| {
        origins.iter().map(|origin| f64::from(if *origin == Origin::Padding { UNUSED } else { NORMAL })).collect()
    });
    metadata.insert(TYPES, kinds.into_iter().map(|kind| kind as i32).collect::<Vec<i32>>());

    let grown = origins.iter().any(|origin| matches!(origin, Origin::Parent { parent, .. } if *parent != leader));
    if let Some(merges) = merges(parents, leader)?.filter(|_| grown) {
        metadata.insert(MERGES, merges.into_iter().collect::<Strings>());
    }
    Ok(metadata)
}

/// The merges of all parents, if the leader has any.
fn merges(parents: &[Parent], leader: usize) -> Result<Option<Vec<&[u8]>>, PlanError> {
    let Some(first) = parents[leader].metadata().strings(MERGES) else { return Ok(None) };
    let mut merges: Vec<&[u8]> = first.iter().collect();
    for other in parents.iter().enumerate().filter(|(index, _)| *index != leader).map(|(_, other)| other) {
        let more: Vec<&[u8]> = other.metadata().strings(MERGES).into_iter().flat_map(Strings::iter).collect();
        merges = interleaved(&merges, &more).map_err(|pair| {
            let [one, two] = pair.map(<[u8]>::escape_ascii);
            let what = format!("merge `{one}` and `{two}` in different orders, so that text is cut differently");
            disagree(&parents[leader], other, &what)
        })?;
    }
    Ok(Some(merges))
}

/// Both lists of merges in one that keeps the order of each; between two that both have, those of `first` stand before those of
/// `second`. Fails with two merges that the lists have in different orders.
fn interleaved<'a>(first: &[&'a [u8]], second: &[&'a [u8]]) -> Result<Vec<&'a [u8]>, [&'a [u8]; 2]> {
    let places: HashMap<&[u8], usize> = first.iter().enumerate().rev().map(|(place, merge)| (*merge, place)).collect();
    let mut merged = Vec::with_capacity(first.len().max(second.len()));
    let mut waiting = Vec::new();
    let mut seen = HashSet::new();
    let mut next = 0;
    for merge in second.iter().filter(|merge| seen.insert(**merge)) {
        match places.get(merge) {
            None => waiting.push(*merge),
            Some(place) if *place < next => return Err([merge, first[next - 1]]),
            Some(place) => {
                merged.extend(&first[next..*place]);
                merged.append(&mut waiting);
                merged.push(merge);
                next = place + 1;
            }
        }
    }
    merged.extend(&first[next..]);
    merged.append(&mut waiting);
    Ok(merged)
}

/// A list of numbers of any type.
fn numbers(parent: &Parent, key: &str) -> Option<Vec<f64>> {
    let list: &Array = parent.metadata().get(key)?.as_array()?;
    list.iter().map(|value| value.as_f64()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_keep_the_order_of_both_lists() {
        let list =
            |text: &'static str| text.split(' ').filter(|m| !m.is_empty()).map(str::as_bytes).collect::<Vec<_>>();
        for (first, second, want) in [
            ("a b c", "a b c", Some("a b c")),
            ("a b c", "", Some("a b c")),
            ("", "x y", Some("x y")),
            ("a b", "x a y b z", Some("x a y b z")),
            ("a p b q", "x a y b z", Some("x a p y b q z")),
            ("a b c d", "d x", Some("a b c d x")),
            ("a b a c", "x a x c", Some("x a b a c")),
            ("a b", "b a", None),
            ("a b c d", "x c y b", None),
        ] {
            let (first, second) = (list(first), list(second));
            assert_eq!(interleaved(&first, &second).ok(), want.map(list), "{first:?} {second:?}");
        }
        assert_eq!(interleaved(&list("a b c"), &list("c a")), Err([&b"a"[..], b"c"]));
    }
}
