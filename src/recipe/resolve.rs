//! From a recipe and the parents' block counts to the numbers: which layers meet in which output block, and every
//! parameter of the method for every source of one tensor.

use std::collections::BTreeMap;

use super::methods::{BaseRule, ParameterSpec};
use super::names::{TensorName, split_block};
use super::{MAX_BLOCKS, Parameters, Recipe, RecipeError, Slice, Source};

/// Parameter values by name; truth values are 0 or 1.
pub type Values = BTreeMap<&'static str, f64>;

/// Where one output block comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSite {
    /// Index of its slice.
    pub slice: usize,
    /// Its position in the slice, from 0.
    pub index: u32,
    /// Layers the slice has.
    pub length: u32,
    /// The layer each source of the slice gives, in their order.
    pub layers: Vec<u32>,
}

/// A part of the merged model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Before the blocks: the embeddings. They follow the first slice.
    Before,
    /// This output block.
    Block(usize),
    /// After the blocks: the final norm and the output matrix. They follow the last slice.
    After,
}

/// The parameters of one output tensor, none left open.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Its sources in the recipe's order.
    pub sources: Vec<ResolvedSource>,
    /// Which of the sources is the base, for methods that have one.
    pub base: Option<usize>,
    /// The parameters that are one value per tensor.
    pub shared: Values,
}

/// One source of one output tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedSource {
    /// Index into [`Recipe::models`].
    pub model: usize,
    /// The layer it gives; `None` outside the blocks.
    pub layer: Option<u32>,
    /// The per-model parameters; empty for a base, which has none.
    pub parameters: Values,
}

impl Site {
    /// Where the tensor of this GGUF name belongs.
    pub fn of(tensor: &str) -> Self {
        match split_block(tensor) {
            Some((block, _)) => Self::Block(block as usize),
            None if tensor.starts_with("token_") || tensor.contains("_embd") => Self::Before,
            None => Self::After,
        }
    }
}

impl Recipe {
    /// The merge's blocks, bottom to top, given how many blocks each of the models has; none without `slices`.
    ///
    /// # Errors
    /// Ranges beyond a model's blocks, sources of different length in one slice, too many blocks.
    pub fn layout(&self, block_counts: &[u32]) -> Result<Vec<BlockSite>, RecipeError> {
        let mut blocks = Vec::new();
        for (index, slice) in self.slices.iter().enumerate() {
            let ranges =
                slice.sources.iter().map(|source| self.range(source, block_counts)).collect::<Result<Vec<_>, _>>()?;
            let length = self.common_length(slice, &ranges)?;
            let count = blocks.len().saturating_add(length as usize);
            if count > MAX_BLOCKS {
                let problem = RecipeError::TooMany { what: "output blocks", count, limit: MAX_BLOCKS };
                return Err(self.error(slice.place, problem));
            }
            blocks.extend((0..length).map(|i| BlockSite {
                slice: index,
                index: i,
                length,
                layers: ranges.iter().map(|(start, _)| start + i).collect(),
            }));
        }
        Ok(blocks)
    }

    fn range(&self, source: &Source, block_counts: &[u32]) -> Result<(u32, u32), RecipeError> {
        let block_count = block_count(block_counts, source.model)?;
        let (start, end) = source.layer_range.unwrap_or((0, block_count));
        if end > block_count {
            let model = self.model_name(source.model);
            let problem = RecipeError::RangeOutside { key: "layer_range", model, start, end, block_count };
            return Err(self.error(source.place, problem));
        }
        if start >= end {
            return Err(self.error(source.place, RecipeError::Empty("layer_range")));
        }
        Ok((start, end))
    }

    fn common_length(&self, slice: &Slice, ranges: &[(u32, u32)]) -> Result<u32, RecipeError> {
        let lengths = || slice.sources.iter().zip(ranges.iter().map(|(start, end)| end - start));
        let Some((first, length)) = lengths().next() else {
            return Err(self.error(slice.place, RecipeError::Empty("sources")));
        };
        match lengths().find(|&(_, other)| other != length) {
            None => Ok(length),
            Some((other, other_layers)) => {
                let (first, other_name) = (self.model_name(first.model), self.model_name(other.model));
                let problem =
                    RecipeError::UnequalLengths { first, first_layers: length, other: other_name, other_layers };
                Err(self.error(other.place, problem))
            }
        }
    }

    /// Every parameter of the output tensor `tensor`: its GGUF name, with the output block's number.
    ///
    /// Filters on per-model parameters are tried on the name that the tensor has in that model, with that model's layer
    /// number; filters on shared ones on the output name. `arch` is the models' `general.architecture`.
    ///
    /// # Errors
    /// A required parameter that nothing sets here; a block that `layout` does not have.
    pub fn resolve(&self, layout: &[BlockSite], tensor: &str, arch: &str) -> Result<Resolved, RecipeError> {
        let (slice, t, layers) = match Site::of(tensor) {
            Site::Before => (0, 0.0, None),
            Site::After => (self.slices.len().saturating_sub(1), 0.0, None),
            Site::Block(index) => {
                let missing = || RecipeError::NoSuch { what: "output block", index, count: layout.len() };
                let at = layout.get(index).ok_or_else(missing)?;
                let t = if at.length > 1 { f64::from(at.index) / f64::from(at.length - 1) } else { 1.0 };
                (at.slice, t, Some(&at.layers))
            }
        };
        let slice = self.slices.get(slice).ok_or(RecipeError::Empty("slices"))?;
        let base = self.base_of(slice).filter(|_| self.method.base != BaseRule::Ignored);
        let find = |spec: &ParameterSpec, source: Option<&Source>, name: &TensorName| {
            let levels = [source.map(|source| &source.parameters), Some(&slice.parameters), Some(&self.parameters)];
            self.find(spec, levels, t, name)
        };
        let mut sources = Vec::with_capacity(slice.sources.len());
        for (i, source) in slice.sources.iter().enumerate() {
            let layer = layers.and_then(|layers| layers.get(i)).copied();
            let name = layer.map_or_else(|| TensorName::new(tensor, arch), |l| TensorName::at_layer(tensor, l, arch));
            let mut parameters = Values::new();
            for spec in self.method.parameters.iter().filter(|spec| spec.per_model && base != Some(source.model)) {
                let value = find(spec, Some(source), &name)?.ok_or_else(|| {
                    let target = format!("model `{}`", self.model_name(source.model));
                    self.error(source.place, missing(spec, target, tensor))
                })?;
                parameters.insert(spec.name, value);
            }
            sources.push(ResolvedSource { model: source.model, layer, parameters });
        }
        let name = TensorName::new(tensor, arch);
        let mut shared = Values::new();
        for spec in self.method.parameters.iter().filter(|spec| !spec.per_model) {
            let value = find(spec, None, &name)?
                .ok_or_else(|| self.error(slice.place, missing(spec, "this slice".to_owned(), tensor)))?;
            shared.insert(spec.name, value);
        }
        let base = base.and_then(|base| sources.iter().position(|source| source.model == base));
        Ok(Resolved { sources, base, shared })
    }

    /// The first level that has a value for this tensor decides, then the default.
    fn find(
        &self,
        spec: &ParameterSpec,
        levels: [Option<&Parameters>; 3],
        t: f64,
        name: &TensorName,
    ) -> Result<Option<f64>, RecipeError> {
        for setting in levels.into_iter().flatten().filter_map(|level| level.get(spec.name)) {
            if let Some(value) = setting.at(t, |filter| name.matches(filter)) {
                // A gradient between whole numbers need not be one itself.
                return match spec.objection(value) {
                    None => Ok(Some(value)),
                    Some(why) => Err(self.error(setting.place, RecipeError::bad_value(spec.name, value, why))),
                };
            }
        }
        Ok(spec.default)
    }
}

/// How many blocks the model of this index has.
pub(super) fn block_count(block_counts: &[u32], index: usize) -> Result<u32, RecipeError> {
    let missing = RecipeError::NoSuch { what: "model", index, count: block_counts.len() };
    block_counts.get(index).copied().ok_or(missing)
}

fn missing(spec: &ParameterSpec, target: String, tensor: &str) -> RecipeError {
    RecipeError::MissingParameter { parameter: spec.name, target, tensor: tensor.to_owned() }
}
