//! A `Recipe` and its opened parents in, a [`Plan`] out: the virtual GGUF's header and one kernel program per tensor. Runs none of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use ggraft_kernels::{LowRank, Program, Source, Tensor};

use crate::gguf::{
    Blocks, Difference, Encoded, Metadata, Parent, TensorInfo, TensorView, block_of, differences, encode_header,
};
use crate::recipe::{self, MethodSpec, ModelRef, Recipe, Slice, Tokenizer};

mod architectures;
mod compile;
mod content;
mod error;
mod methods;
mod path;
mod schedule;
mod statistics;
mod types;
mod union;
mod vocabulary;

#[cfg(test)]
pub(crate) mod tests;

pub use content::Content;
pub use error::PlanError;
use statistics::Statistics;
pub use statistics::{Cache, CacheError};
use vocabulary::Vocabulary;

/// The key of a model's kind, and of the difference that explains all others.
const ARCHITECTURE: &str = "general.architecture";

/// One tensor of one parent, by position in the parents' list and in the parent's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceRef {
    /// Which parent.
    pub parent: usize,
    /// Which of its tensors.
    pub tensor: usize,
    /// Whose rows it has: its own if 0, else those of the [`Lookup`] of this number.
    rows: usize,
}

/// Where the rows of a token table are looked up.
#[derive(Debug)]
struct Lookup {
    /// Tells it from all others over the same parents; not 0.
    number: usize,
    vocabulary: Arc<Vocabulary>,
    /// The table of each parent.
    tables: Vec<SourceRef>,
    /// Elements of a row.
    width: usize,
}

/// One tensor of the merged model.
#[derive(Clone, Debug)]
pub struct PlannedTensor {
    /// Name, shape, type, and place in the data section.
    pub info: TensorInfo,
    /// How to make it from its sources.
    pub program: Program,
    /// What the program reads, in the program's order.
    pub sources: Vec<SourceRef>,
    /// Where its bytes are while the model runs in memory; a file has all of them in their own places.
    pub home: Home,
    /// For a table of tokens that are not each parent's own.
    lookup: Option<Arc<Lookup>>,
}

/// Where a tensor of a model in memory lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// In its own place of the data section.
    Own,
    /// In a pool behind all hops that share it, at this offset.
    Pool(u64),
    /// In the parent that it is a copy of.
    Parent,
    /// In an accelerator's memory.
    Device,
}

/// A merged model that does not exist yet.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to call it in messages.
    pub name: String,
    /// In the order of the data section.
    pub tensors: Vec<PlannedTensor>,
    /// The header of the virtual model, vocabulary left out: llama.cpp then loads many times faster, to the same logits. Equal headers
    /// mean equal shape, so that one plan can be filled into the memory of another.
    pub bare_header: Vec<u8>,
    /// Size of the data section in bytes.
    pub data_bytes: u64,
    /// Size in bytes of the pool that tensors are shared in.
    pub pool_bytes: u64,
    /// The parent that the vocabulary follows.
    pub vocabulary: usize,
    /// The vocabulary, if it is not that parent's own.
    made: Option<Arc<Vocabulary>>,
    /// The recipe's own chat template.
    pub chat_template: Option<String>,
    metadata: Metadata,
    /// What of the recipe finds nothing in these models.
    pub warnings: Vec<String>,
}

/// The parents of a set of recipes: proven to be siblings once, with what has been learnt of them.
pub struct Siblings {
    parents: Vec<Parent>,
    differences: Vec<Difference>,
    statistics: Statistics,
    vocabularies: Mutex<Vocabularies>,
}

/// What has been made of the parents' vocabularies, by what was asked for and the base.
#[derive(Default)]
struct Vocabularies {
    known: HashMap<(Tokenizer, Option<usize>), Option<Arc<Vocabulary>>>,
    /// The number of the last one made.
    last: usize,
}

/// Vocabularies that are remembered: a search has one, and a server cannot be made to keep every one that it is asked for.
const MAX_VOCABULARIES: usize = 16;

impl Siblings {
    /// Takes opened parents, refusing those that no recipe could merge.
    ///
    /// # Errors
    /// [`PlanError::Different`] with one line per difference.
    pub fn new(parents: Vec<Parent>) -> Result<Self, PlanError> {
        let all: Vec<&Parent> = parents.iter().collect();
        let differences = differences(&all);
        refuse(&differences, |blocks| blocks == Blocks::EveryMerge)?;
        Ok(Self { parents, differences, statistics: Statistics::default(), vocabularies: Mutex::default() })
    }

    /// Opens and checks the models of a recipe.
    ///
    /// # Errors
    /// [`PlanError::Parent`] naming the file, [`PlanError::Different`].
    pub fn open<'a>(models: impl IntoIterator<Item = &'a ModelRef>) -> Result<Self, PlanError> {
        let open = |model: &ModelRef| Parent::open_with(&model.path, &model.adapters);
        Self::new(models.into_iter().map(open).collect::<Result<_, _>>()?)
    }

    /// The same with every order statistic exact, where otherwise densities are met to within a thousandth. Each new density costs passes
    /// over the parents.
    pub fn exact(mut self) -> Self {
        self.statistics.exact = true;
        self
    }

    /// The same with what `cache` knows of the parents, and adding to that.
    pub fn cached(mut self, cache: Cache) -> Self {
        self.statistics.cache = Some(cache);
        self
    }

    /// Writes what has been learnt to the cache, if there is one.
    ///
    /// # Errors
    /// [`CacheError`] naming the file.
    pub fn save_cache(&self) -> Result<(), CacheError> {
        self.statistics.cache.as_ref().map_or(Ok(()), Cache::save)
    }

    /// The parents, in the recipe's order.
    pub fn parents(&self) -> &[Parent] {
        &self.parents
    }

    /// Compiles `recipe`, whose models are these parents in this order.
    ///
    /// # Errors
    /// [`PlanError`] naming the tensor or layer.
    pub fn plan(&self, recipe: &Recipe) -> Result<Plan, PlanError> {
        let whole_models = recipe.slices.iter().flat_map(|s| &s.sources).all(|s| s.layer_range.is_none());
        let blends = recipe.slices.iter().any(|s| s.sources.len() > 1);
        let untied = self.parents.iter().any(|parent| parent.position("output.weight").is_some());
        refuse(&self.differences, |blocks| match blocks {
            Blocks::EveryMerge => true,
            Blocks::WholeModel => whole_models && blends,
            Blocks::TokenTables => blends || untied && recipe.splits_token_tables(),
            Blocks::TokenRows => recipe.tokenizer.is_none() && (blends || untied && recipe.splits_token_tables()),
            Blocks::Nothing => false,
        })?;
        let vocabulary = self.vocabulary(recipe)?;
        compile::compile(recipe, &self.parents, &self.statistics, vocabulary)
    }

    /// The vocabulary that `recipe` asks for, if not all parents have it. A search asks for the same one again and again.
    fn vocabulary(&self, recipe: &Recipe) -> Result<Option<Arc<Vocabulary>>, PlanError> {
        let Some(tokenizer) = &recipe.tokenizer else { return Ok(None) };
        let mut vocabularies = self.vocabularies.lock().unwrap_or_else(PoisonError::into_inner);
        let Vocabularies { known, last } = &mut *vocabularies;
        let key = (tokenizer.clone(), recipe.base_model);
        if let Some(vocabulary) = known.get(&key) {
            return Ok(vocabulary.clone());
        }
        let made = Vocabulary::new(tokenizer, recipe.base_model, &self.parents, *last + 1)?.map(Arc::new);
        // Numbers are never given again: statistics and shared weights are known by them.
        *last += 1;
        if known.len() == MAX_VOCABULARIES {
            known.clear();
        }
        known.insert(key, made.clone());
        Ok(made)
    }

    /// Compiles parent `model` alone, with what is on it.
    ///
    /// # Errors
    /// As [`Siblings::plan`].
    pub fn plan_alone(&self, model: usize) -> Result<Plan, PlanError> {
        let passthrough = MethodSpec::find("passthrough").expect("a method of the table");
        let models = self.parents.iter().map(|parent| ModelRef::plain(parent.label(), parent.path())).collect();
        let slice = Slice { sources: vec![recipe::Source { model, ..recipe::Source::default() }], ..Slice::default() };
        self.plan(&Recipe { base_model: Some(model), ..Recipe::new(passthrough, models, vec![slice]) })
    }

    /// Whether parents differ in nothing that could keep some of them from being merged.
    pub fn are_alike(&self) -> bool {
        self.differences.iter().all(|d| d.blocks == Blocks::Nothing)
    }

    /// Differences that keep nothing from being done, but that a user should know of.
    pub fn remarks(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|d| d.blocks == Blocks::Nothing)
    }
}

fn refuse(differences: &[Difference], fatal: impl Fn(Blocks) -> bool) -> Result<(), PlanError> {
    let mut fatal: Vec<_> = differences.iter().filter(|d| fatal(d.blocks)).cloned().collect();
    if fatal.first().is_some_and(|d| d.key == ARCHITECTURE) {
        // All else follows from it.
        fatal.truncate(1);
    }
    if fatal.is_empty() { Ok(()) } else { Err(PlanError::Different(fatal)) }
}

impl PlannedTensor {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        // Fits: the same number of elements is mapped from a parent.
        usize::try_from(self.info.elements()).expect("a mapped tensor")
    }

    /// Whether it carries the gain of one hop.
    pub fn is_gain(&self) -> bool {
        self.sources.is_empty() || matches!(self.program, Program::Scaled { .. })
    }

    /// Bytes of parents that the program reads.
    pub fn source_bytes(&self, parents: &[Parent]) -> u64 {
        let bytes = |r: &SourceRef| {
            let TensorView { info, data, low_rank } = parents[r.parent].view(r.tensor);
            let table = match &self.lookup {
                Some(lookup) if r.rows != 0 => {
                    info.bytes / info.elements().div_ceil(lookup.width as u64) * lookup.rows()
                }
                _ => data.len() as u64,
            };
            table + low_rank.iter().map(LowRank::bytes).sum::<usize>() as u64
        };
        self.sources.iter().map(bytes).sum()
    }

    /// What the program reads, in its order.
    pub fn source_data<'a>(&'a self, parents: &'a [Parent]) -> Vec<Source<'a>> {
        self.sources.iter().map(|r| source(*r, self.lookup.as_deref(), parents)).collect()
    }
}

impl Lookup {
    /// Number of rows.
    fn rows(&self) -> u64 {
        self.vocabulary.len as u64
    }
}

fn tensor(r: SourceRef, parents: &[Parent]) -> Tensor<'_> {
    let TensorView { info, data, low_rank } = parents[r.parent].view(r.tensor);
    Tensor::new(info.ty, data, low_rank)
}

fn source<'a>(r: SourceRef, lookup: Option<&'a Lookup>, parents: &'a [Parent]) -> Source<'a> {
    match lookup.filter(|_| r.rows != 0) {
        None => Source::Tensor(tensor(r, parents)),
        Some(Lookup { vocabulary, tables, width, .. }) => Source::Rows {
            width: *width,
            tables: tables.iter().map(|table| tensor(*table, parents)).collect(),
            map: vocabulary.map(r.parent),
            first: 0,
        },
    }
}

impl Plan {
    /// The tensors that a first fill has to compute: those shared in the pool once, those that stay in their parents not at all.
    pub fn work(&self) -> impl Iterator<Item = &PlannedTensor> {
        let mut seen = HashSet::new();
        self.tensors.iter().filter(move |tensor| match tensor.home {
            Home::Own => true,
            Home::Pool(at) => seen.insert(at),
            Home::Parent | Home::Device => false,
        })
    }

    /// Bytes of parents that a first fill reads, each source counted as often as it is read.
    pub fn source_bytes(&self, parents: &[Parent]) -> u64 {
        self.work().map(|t| t.source_bytes(parents)).sum()
    }

    /// Bytes that a first fill writes.
    pub fn written_bytes(&self) -> u64 {
        self.work().map(|t| t.info.bytes).sum()
    }

    /// Bytes of weights that the running model reads, each block counted once.
    pub fn weight_bytes(&self) -> u64 {
        let mut seen = HashSet::new();
        let in_parents = self.tensors.iter().filter(|t| t.home == Home::Parent && seen.insert(&t.sources));
        self.written_bytes() + in_parents.map(|t| t.info.bytes).sum::<u64>()
    }

    /// Whether any tensor lives elsewhere than in its own place.
    pub fn shares(&self) -> bool {
        self.tensors.iter().any(|t| t.home != Home::Own)
    }

    /// The same with every tensor in its own place.
    pub fn unshared(mut self) -> Self {
        self.tensors.iter_mut().for_each(|tensor| tensor.home = Home::Own);
        self.pool_bytes = 0;
        self
    }

    /// Number of blocks.
    pub fn block_count(&self) -> usize {
        self.blocks().len()
    }

    /// Number of blocks that differ in their weights: a block used twice counts once, with whatever gains.
    pub fn unique_blocks(&self) -> usize {
        self.blocks().into_iter().map(|block| format!("{block:?}")).collect::<HashSet<_>>().len()
    }

    /// What each block is made of before any gain, in order.
    fn blocks(&self) -> Vec<Vec<(&Program, &[SourceRef])>> {
        let mut blocks = Vec::new();
        // What comes from no parent is a gain.
        for tensor in self.tensors.iter().filter(|t| !t.sources.is_empty()) {
            if let Some(block) = block_of(&tensor.info.name) {
                let program = match &tensor.program {
                    Program::Scaled { program, .. } => program,
                    program => program,
                };
                blocks.resize_with(blocks.len().max(block as usize + 1), Vec::new);
                blocks[block as usize].push((program, tensor.sources.as_slice()));
            }
        }
        blocks
    }

    /// The header of the whole model, vocabulary included, as an exported file has it.
    ///
    /// # Errors
    /// [`PlanError::Header`] if GGUF cannot hold it.
    pub fn full_header(&self, parents: &[Parent]) -> Result<Vec<u8>, PlanError> {
        let infos: Vec<TensorInfo> = self.tensors.iter().map(|t| t.info.clone()).collect();
        Ok(encode_header(&self.full_metadata(parents), &infos, schedule::ALIGNMENT)?.bytes)
    }

    /// [`vocabulary_header`] of the merged model, the recipe's own chat template left out.
    ///
    /// # Errors
    /// [`PlanError::Header`] if GGUF cannot hold it.
    pub fn vocabulary_header(&self, parents: &[Parent]) -> Result<Vec<u8>, PlanError> {
        let followed = &parents[self.vocabulary];
        vocabulary_header(followed, self.made_metadata().unwrap_or(followed.metadata()))
    }

    /// Whether no parent's file has the vocabulary.
    pub fn makes_vocabulary(&self) -> bool {
        self.made_metadata().is_some()
    }

    fn made_metadata(&self) -> Option<&Metadata> {
        self.made.as_ref()?.metadata.as_ref()
    }

    fn full_metadata(&self, parents: &[Parent]) -> Metadata {
        let mut metadata = self.metadata.clone();
        let followed = &parents[self.vocabulary];
        let vocabulary = self.made_metadata().unwrap_or(followed.metadata());
        for (key, value) in vocabulary.iter().filter(|(key, _)| schedule::is_vocabulary(key)) {
            metadata.insert(key, value.clone());
        }
        if let Some(template) = &self.chat_template {
            metadata.insert("tokenizer.chat_template", template.as_str());
        }
        let size = followed.arch_key("vocab_size");
        if let Some(tokens) = vocabulary.strings(vocabulary::TOKENS).filter(|_| metadata.get(&size).is_some()) {
            metadata.insert(&size, tokens.len() as u32);
        }
        metadata
    }
}

/// A header without tensors that llama.cpp can load the tokenizer of `vocabulary` from, for a model like `parent`. Equal headers mean equal
/// tokenizers.
///
/// # Errors
/// [`PlanError::Header`] if GGUF cannot hold it.
pub fn vocabulary_header(parent: &Parent, vocabulary: &Metadata) -> Result<Vec<u8>, PlanError> {
    let mut metadata = Metadata::default();
    metadata.insert(ARCHITECTURE, parent.architecture());
    if let Some(length) = parent.arch("context_length") {
        metadata.insert(&parent.arch_key("context_length"), length.clone());
    }
    for (key, value) in vocabulary.iter().filter(|(key, _)| schedule::is_vocabulary(key)) {
        metadata.insert(key, value.clone());
    }
    Ok(encode_header(&metadata, &[], schedule::ALIGNMENT)?.bytes)
}

/// The header and the tensors' places, with what llama.cpp computes from and nothing else: of the vocabulary only its size, of `general.*`
/// only the architecture. Names and licences would make two merges of one shape look different.
fn bare(metadata: &Metadata, infos: &[TensorInfo], tokens: Option<u32>) -> Result<Encoded, PlanError> {
    let mut bare = Metadata::default();
    for (key, value) in metadata.iter().filter(|(key, _)| *key == ARCHITECTURE || !key.starts_with("general.")) {
        bare.insert(key, value.clone());
    }
    bare.insert("tokenizer.ggml.model", "no_vocab");
    if let (Some(tokens), Some(architecture)) = (tokens, metadata.str(ARCHITECTURE)) {
        bare.insert(&format!("{architecture}.vocab_size"), tokens);
    }
    Ok(encode_header(&bare, infos, schedule::ALIGNMENT)?)
}
