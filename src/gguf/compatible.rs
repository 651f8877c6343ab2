//! Whether parents fit together: opened [`Parent`]s go in, one [`Difference`] per obstacle comes out.
//!
//! Merging tensor by tensor means something only if element (i, j) of a tensor does the same work in every parent and
//! one graph computes with the result. So the metadata that shape the graph, the vocabulary, and the tensors' names and
//! shapes are compared; types are not, every type can be blended with every other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use super::header::{TensorInfo, block_of};
use super::hyperparameters::{help_with, setting, suffixes};
use super::parent::Parent;
use super::value::{Strings, Value, quoted};

/// What a difference keeps from being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocks {
    /// Every merge of these parents, layer schedules included.
    EveryMerge,
    /// Merges of whole models; a schedule that takes whole layers from each parent is free to go on.
    WholeModel,
    /// Blending the token tables (`token_embd`, `output`); the layers may be blended if one parent gives the tables.
    TokenTables,
    /// The same, unless their rows are matched by token.
    TokenRows,
    /// Nothing; the merged model follows one parent, and the user should know.
    Nothing,
}

/// One thing in which parents differ; its `Display` is one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// A metadata key, or a tensor's name with `*` for the number of its block.
    pub key: String,
    /// What it keeps from being done.
    pub blocks: Blocks,
    /// For each parent, in the order given, its path and what it has.
    pub values: Vec<(PathBuf, String)>,
    /// What would help.
    pub help: &'static str,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<_> =
            self.values.iter().map(|(path, value)| format!("{value} in `{}`", path.display())).collect();
        write!(f, "`{}` differs: {}; {}", self.key, values.join(", "), self.help)
    }
}

/// Everything in which `parents` differ that matters to a merge: first the architecture and its settings, then the
/// vocabulary, then the tensors of the blocks that all parents have and those outside the blocks. Where llama.cpp's
/// default is known, a key that is left out counts as that default; where it is not, only the parents that have the key
/// are compared.
pub fn differences(parents: &[&Parent]) -> Vec<Difference> {
    let mut list = List { parents, found: Vec::new() };
    let blocks = parents.iter().map(|parent| parent.block_count()).min().unwrap_or(0);
    compare_architecture(&mut list);
    compare_settings(blocks, &mut list);
    compare_vocabulary(&mut list);
    compare_tensors(blocks, &mut list);
    list.found
}

/// The differences found so far, and the parents that have them.
struct List<'a> {
    parents: &'a [&'a Parent],
    found: Vec<Difference>,
}

impl<'a> List<'a> {
    /// What `value` gives for each parent.
    fn each<T>(&self, value: impl Fn(&'a Parent) -> T) -> Vec<T> {
        self.parents.iter().map(|parent| value(parent)).collect()
    }

    /// Adds a difference, `values` being one for each parent.
    fn add(&mut self, key: impl Into<String>, blocks: Blocks, values: Vec<String>, help: &'static str) {
        let paths = self.each(|parent| parent.path().to_owned());
        self.found.push(Difference { key: key.into(), blocks, values: paths.into_iter().zip(values).collect(), help });
    }

    /// The full key where all parents share the architecture, else the part they share.
    fn key(&self, suffix: &str) -> String {
        match self.parents.first() {
            Some(first) if all_equal(&self.each(Parent::architecture)) => first.arch_key(suffix),
            _ => suffix.to_owned(),
        }
    }
}

fn all_equal<T: PartialEq>(values: &[T]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

fn compare_architecture(list: &mut List<'_>) {
    let architectures = list.each(|parent| format!("`{}`", parent.architecture()));
    if !all_equal(&architectures) {
        let help = "one graph computes one architecture; use parents fine-tuned from one base model";
        list.add("general.architecture", Blocks::EveryMerge, architectures, help);
    }
    let counts = list.each(|parent| parent.block_count().to_string());
    if !all_equal(&counts) {
        let help = "layers do not pair up; take whole layers from each with `slices` or `path`";
        list.add(list.key("block_count"), Blocks::WholeModel, counts, help);
    }
}

fn compare_settings(blocks: u32, list: &mut List<'_>) {
    for suffix in suffixes(list.parents) {
        let values = list.each(|parent| setting(parent, suffix, blocks as usize));
        let known: Vec<_> = values.iter().flatten().collect();
        if !all_equal(&known) {
            // A list with one entry per block goes along with the blocks that a layer schedule takes.
            let lists = known.iter().any(|value| matches!(value, Value::Array(_)));
            let blocks = if lists { Blocks::WholeModel } else { Blocks::EveryMerge };
            list.add(
                list.key(suffix),
                blocks,
                values.iter().map(|value| shown(value.as_ref())).collect(),
                help_with(suffix),
            );
        }
    }
}

/// What helps where token tables have different rows.
const MATCH_ROWS: &str = "a row means different tokens; match them by token with `tokenizer_source: union`, `base` or one of the \
                          models, or take the token tables from one parent";

fn compare_vocabulary(list: &mut List<'_>) {
    let one_table =
        "tokens are spelt differently; take the token tables from one parent, or use parents with one tokenizer";
    let follows = "weights are not affected; the merged model follows `tokenizer_source`, or the base model";
    let key = "tokenizer.ggml.tokens";
    let tokens = list.each(|parent| parent.metadata().strings(key));
    if !all_equal(&tokens) {
        let reference = tokens.first().copied().flatten();
        let values = tokens.iter().map(|tokens| describe_tokens(*tokens, reference)).collect();
        list.add(key, Blocks::TokenRows, values, MATCH_ROWS);
    }
    for (key, blocks, help) in [
        ("tokenizer.ggml.model", Blocks::TokenTables, one_table),
        ("tokenizer.ggml.pre", Blocks::Nothing, follows),
        ("tokenizer.ggml.bos_token_id", Blocks::Nothing, follows),
        ("tokenizer.ggml.eos_token_id", Blocks::Nothing, follows),
    ] {
        let values = list.each(|parent| shown(parent.metadata().get(key)));
        if !all_equal(&values) {
            list.add(key, blocks, values, help);
        }
    }
}

fn compare_tensors(blocks: u32, list: &mut List<'_>) {
    let groups = list.each(|parent| by_pattern(parent, blocks));
    let patterns: BTreeSet<_> = groups.iter().flat_map(BTreeMap::keys).collect();
    let none = BTreeMap::new();
    for pattern in patterns {
        let members: Vec<_> = groups.iter().map(|group| group.get(pattern).unwrap_or(&none)).collect();
        let names: Vec<Vec<_>> = members.iter().map(|own| own.keys().collect()).collect();
        if !all_equal(&names) {
            let (blocks, help) = absence(pattern);
            list.add(pattern, blocks, names.iter().map(|own| describe_presence(pattern, own.len())).collect(), help);
        }
        let shapes = |name: &&str| -> Vec<_> { members.iter().map(|own| own.get(*name).copied().map(shape)).collect() };
        let unequal = |shapes: &Vec<Option<&[u64]>>| !all_equal(&shapes.iter().flatten().collect::<Vec<_>>());
        if let Some(shapes) = names.iter().flatten().copied().map(shapes).find(unequal) {
            let (blocks, help) = misfit(pattern, &shapes);
            let values = shapes.iter().map(|shape| shape.map_or("nothing".into(), |shape| format!("{shape:?}")));
            list.add(pattern, blocks, values.collect(), help);
        }
        if is_rope_table(pattern) {
            let data = list.each(|parent| parent.tensor(pattern).map(|tensor| tensor.data));
            if !all_equal(&data.iter().flatten().collect::<Vec<_>>()) {
                list.add(pattern, Blocks::EveryMerge, list.each(|_| "its own content".into()), help_with("rope."));
            }
        }
    }
}

/// The tensors outside the blocks and those of the first `blocks` blocks by name, grouped by [`pattern_of`].
fn by_pattern(parent: &Parent, blocks: u32) -> BTreeMap<String, BTreeMap<&str, &TensorInfo>> {
    let mut groups = BTreeMap::<_, BTreeMap<_, _>>::new();
    for info in parent.tensors().iter().filter(|info| block_of(&info.name).is_none_or(|block| block < blocks)) {
        groups.entry(pattern_of(&info.name)).or_default().insert(info.name.as_str(), info);
    }
    groups
}

/// `blk.*.attn_q.weight` for `blk.7.attn_q.weight`, other names as they are.
fn pattern_of(name: &str) -> String {
    match (block_of(name), name.splitn(3, '.').nth(2)) {
        (Some(_), Some(tail)) => format!("blk.*.{tail}"),
        _ => name.to_owned(),
    }
}

/// What it keeps from being done if not all parents have a tensor, and what would help.
fn absence(pattern: &str) -> (Blocks, &'static str) {
    if pattern == "output.weight" {
        let help = "the merged model gets an output of its own, to which a tied model gives its `token_embd.weight`";
        (Blocks::Nothing, help)
    } else if is_rope_table(pattern) {
        (Blocks::EveryMerge, help_with("rope."))
    } else {
        (Blocks::EveryMerge, "there is nothing to blend it with; use parents fine-tuned from one base model")
    }
}

/// What it keeps from being done if a tensor's shapes differ, and what would help.
fn misfit(pattern: &str, shapes: &[Option<&[u64]>]) -> (Blocks, &'static str) {
    let row_sizes: Vec<_> = shapes.iter().flatten().map(|shape| (shape.len(), shape.first())).collect();
    let per_token = matches!(pattern, "token_embd.weight" | "output.weight" | "per_layer_token_embd.weight");
    if per_token && all_equal(&row_sizes) || pattern == "output.bias" {
        (Blocks::TokenRows, MATCH_ROWS)
    } else {
        (Blocks::EveryMerge, "elements do not pair up; use parents of one size and one base model")
    }
}

/// Frequencies that rotary embedding takes from a tensor: `rope_freqs`, `rope_factors_long`, `rope_factors_short`.
fn is_rope_table(name: &str) -> bool {
    name.starts_with("rope_f")
}

/// The shape without the trailing ones, which ggml does not tell apart from none.
fn shape(info: &TensorInfo) -> &[u64] {
    let len = info.shape.iter().rposition(|&ne| ne != 1).map_or(1, |last| last + 1);
    info.shape.get(..len).unwrap_or(&info.shape)
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

fn describe_presence(pattern: &str, count: usize) -> String {
    match count {
        0 if pattern == "output.weight" => "tied to `token_embd.weight`".to_owned(),
        0 => "nothing".to_owned(),
        1 => "a tensor".to_owned(),
        count => format!("{count} tensors"),
    }
}

/// How many tokens there are, and how many are not those of the first parent.
fn describe_tokens(tokens: Option<&Strings>, reference: Option<&Strings>) -> String {
    let Some(tokens) = tokens else { return "no tokens".to_owned() };
    let pairs = reference.into_iter().flat_map(|reference| tokens.iter().zip(reference.iter()).enumerate());
    let mut differing = pairs.filter(|(_, (own, other))| own != other);
    let count = format!("{} tokens", tokens.len());
    match differing.next() {
        None => count,
        Some((id, (own, other))) => {
            let others = differing.count() + 1;
            format!("{count} ({others} differ, first {} for {} at id {id})", quoted(own), quoted(other))
        }
    }
}
