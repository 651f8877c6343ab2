//! The recipe stage: YAML in mergekit's vocabulary goes in, a [`Recipe`] comes out that knows every parameter of every
//! tensor: gradients, filters, precedence and defaults resolved as mergekit resolves them.
//!
//! Opens the recipe file and nothing else: models are paths here, and how many blocks each has is told to
//! [`Recipe::layout`]. A recipe may as well be built in code ([`Recipe::new`], then [`Recipe::checked`]).

mod check;
mod emit;
mod error;
mod load;
pub mod methods;
pub mod names;
mod path;
mod reference;
mod resolve;
mod schema;
pub mod setting;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use crate::yaml::Place;
pub use error::RecipeError;
pub use methods::{METHODS, MethodSpec};
pub use names::TensorName;
pub use path::{Gain, Hop, MAX_GAIN, PathBlock, PathScale};
pub use reference::{MAX_ADAPTERS, ModelRef, beside};
pub use resolve::{BlockSite, Resolved, ResolvedSource, Site, Values};
pub use setting::{Curve, Filter, Rule, Setting};
pub use tokenizer::{TokenRow, TokenRule, Tokenizer, TokenizerSource};

/// Models one recipe may name.
pub const MAX_MODELS: usize = 64;
/// Slices one recipe may have.
pub const MAX_SLICES: usize = 1024;
/// Blocks the merged model may have.
pub const MAX_BLOCKS: usize = crate::gguf::MAX_BLOCKS as usize;

/// Parameters by name, as written at one level: the recipe, a slice, or a source.
pub type Parameters = BTreeMap<String, Setting>;

/// A merged model, described.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// How tensors are merged.
    pub method: &'static MethodSpec,
    /// Every model the recipe names, in the order it names them; elsewhere a model is its index here.
    pub models: Vec<ModelRef>,
    /// The base model of slices that name none themselves.
    pub base_model: Option<usize>,
    /// The merged model's layers, bottom to top; empty only if a path takes all blocks from the models as they are.
    pub slices: Vec<Slice>,
    /// The path of tokens through the merge's and the models' blocks; if empty, it is the merge's blocks in order.
    pub path: Vec<Hop>,
    /// What the path's scales multiply.
    pub path_scale: PathScale,
    /// Parameters for all slices.
    pub parameters: Parameters,
    /// The type of blended matrices.
    pub out_type: OutType,
    /// The vocabulary that the merged model gets; left open if `None`, for models that share one.
    pub tokenizer: Option<Tokenizer>,
    /// A chat template instead of the parents': Jinja text, or a name mergekit knows (`auto`, `chatml`, ...).
    pub chat_template: Option<String>,
    /// The file it came from, for messages; empty if it came from none.
    pub file: PathBuf,
    /// What was accepted but will have no effect, one sentence each.
    pub warnings: Vec<String>,
}

/// A run of output layers made from equally many layers of each source.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// The models it is made from, each at most once.
    pub sources: Vec<Source>,
    /// Its own base model; the recipe's if `None`.
    pub base_model: Option<usize>,
    /// Parameters for all sources of this slice.
    pub parameters: Parameters,
    /// Where it stands in the file.
    pub place: Place,
}

/// One model's part in a slice.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Index into [`Recipe::models`].
    pub model: usize,
    /// First layer, and the one after the last; all layers if `None`.
    pub layer_range: Option<(u32, u32)>,
    /// Parameters for this model in this slice.
    pub parameters: Parameters,
    /// Where it stands in the file.
    pub place: Place,
}

/// The type of the matrices that a merge computes; what has a single source at weight 1 is copied as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutType {
    /// ggml's `Q8_0`.
    #[default]
    Q8_0,
    /// `F16`.
    F16,
    /// `BF16`.
    BF16,
    /// `F32`.
    F32,
    /// The type the tensor has in the base model, or else in its first source.
    Same,
}

impl OutType {
    /// Every type.
    pub const ALL: [Self; 5] = [Self::Q8_0, Self::F16, Self::BF16, Self::F32, Self::Same];

    /// Its name in `out_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "q8_0",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F32 => "f32",
            Self::Same => "same",
        }
    }
}

impl Recipe {
    /// A recipe with defaults for everything else; set what differs, then let [`Recipe::checked`] look at it.
    pub fn new(method: &'static MethodSpec, models: Vec<ModelRef>, slices: Vec<Slice>) -> Self {
        Self {
            method,
            models,
            base_model: None,
            slices,
            path: Vec::new(),
            path_scale: PathScale::default(),
            parameters: Parameters::new(),
            out_type: OutType::default(),
            tokenizer: None,
            chat_template: None,
            file: PathBuf::new(),
            warnings: Vec::new(),
        }
    }

    /// The base model of `slice`: its own, or else the recipe's.
    pub fn base_of(&self, slice: &Slice) -> Option<usize> {
        slice.base_model.or(self.base_model)
    }

    /// Where the recipe first names a model that this file belongs to.
    pub fn place_of(&self, file: &Path) -> Option<Place> {
        let has = |model: usize| self.models.get(model).is_some_and(|model| model.files().any(|other| other == file));
        let sources = self.slices.iter().flat_map(|slice| &slice.sources).map(|s| (Some(s.model), s.place));
        let hops = self.path.iter().map(|hop| (hop.model, hop.place));
        sources.chain(hops).find(|(model, _)| model.is_some_and(has)).map(|(_, place)| place)
    }

    /// The same recipe over a longer list of models, of which model `i` is `numbers[i]`. The files that `models` name may be others.
    ///
    /// # Panics
    /// If a model of the recipe has no number, or one that is not in `models`.
    pub fn renumbered(mut self, models: Vec<ModelRef>, numbers: &[usize]) -> Self {
        assert!(numbers.iter().all(|number| *number < models.len()), "{numbers:?} are no numbers of these models");
        let renumber = |model: &mut usize| *model = numbers[*model];
        self.models = models;
        self.base_model.iter_mut().for_each(renumber);
        self.tokenizer.iter_mut().for_each(|tokenizer| tokenizer.renumber(renumber));
        self.path.iter_mut().flat_map(|hop| &mut hop.model).for_each(renumber);
        for slice in &mut self.slices {
            slice.base_model.iter_mut().for_each(renumber);
            slice.sources.iter_mut().for_each(|source| renumber(&mut source.model));
        }
        self
    }

    /// What the recipe calls a model, for messages.
    fn model_name(&self, model: usize) -> String {
        self.models.get(model).map_or_else(|| format!("model {model}"), |m| m.written.clone())
    }
}
