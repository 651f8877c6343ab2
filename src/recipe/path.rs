//! The path of tokens through blocks: hops as written go in, one [`PathBlock`] per block passed comes out, with its gains.
//!
//! Data flow space of Akiba et al. 2403.13187, section 3.2. A hop's scale multiplies what enters it, which the paper's text and its
//! released model do in two different ways ([`PathScale`]). Neither needs its own weights: what follows the residual stream normalises
//! it first, so that a scale is a gain on what the blocks add to it.

use super::check::empty_range;
use super::resolve::block_count;
use super::{MAX_BLOCKS, Recipe, RecipeError};
use crate::yaml::Place;

/// The largest gain, and the inverse of the smallest that blocks share: norms square the stream in f32, and add an epsilon that a stream
/// divided by much more would no longer stand above.
pub const MAX_GAIN: f64 = 1e5;

/// One entry of a recipe's `path`: some blocks of one model, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// Index into [`Recipe::models`]; `None` for the merge that the recipe describes.
    pub model: Option<usize>,
    /// First layer, and the one after the last; all layers if `None`.
    pub layers: Option<(u32, u32)>,
    /// What enters each of these blocks is multiplied by it.
    pub scale: f64,
    /// Where it stands in the file.
    pub place: Place,
}

/// What the scale of a hop multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathScale {
    /// The feed-forward output of the hop before, or the embedding at the first hop; the rest of the residual stream passes as it is.
    /// This is what the paper's released model computes.
    #[default]
    MlpOutput,
    /// The whole residual stream: `x <- scale * x`. This is what the paper's text says.
    Residual,
}

/// One block of the model that a path describes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathBlock {
    /// Index into [`Recipe::models`]; `None` for the merge.
    pub model: Option<usize>,
    /// Which of its blocks.
    pub layer: u32,
    /// What the hops' scales come to here.
    pub gain: Gain,
}

/// What a block's outputs are multiplied by before they are added to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// For the attention's.
    pub attention: f32,
    /// For the feed-forward network's.
    pub feed_forward: f32,
}

impl PathScale {
    /// Every form, the default first.
    pub const ALL: [Self; 2] = [Self::MlpOutput, Self::Residual];

    /// Its name in `path_scale`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MlpOutput => "mlp_output",
            Self::Residual => "residual",
        }
    }
}

impl Gain {
    /// No change.
    pub const ONE: Self = Self { attention: 1.0, feed_forward: 1.0 };
}

impl Recipe {
    /// The blocks that the path passes, in order, given how many blocks each of the models and the merge has. Without a path they are the
    /// merge's.
    ///
    /// # Errors
    /// Layers that a model does not have, more blocks than [`MAX_BLOCKS`], scales that come to more than [`MAX_GAIN`].
    pub fn path_blocks(&self, block_counts: &[u32], merged: u32) -> Result<Vec<PathBlock>, RecipeError> {
        if self.path.is_empty() {
            return Ok((0..merged).map(|layer| PathBlock { model: None, layer, gain: Gain::ONE }).collect());
        }
        let mut blocks = Vec::new();
        let (mut scales, mut places) = (Vec::new(), Vec::new());
        for hop in &self.path {
            let block_count = hop.model.map_or(Ok(merged), |model| block_count(block_counts, model))?;
            let (start, end) = hop.layers.unwrap_or((0, block_count));
            if end > block_count {
                let model = hop.model.map_or_else(|| "the merge".to_owned(), |model| self.model_name(model));
                let problem = RecipeError::RangeOutside { key: "layers", model, start, end, block_count };
                return Err(self.error(hop.place, problem));
            }
            let count = blocks.len() + end.saturating_sub(start) as usize;
            if count > MAX_BLOCKS {
                let problem = RecipeError::TooMany { what: "blocks on the path", count, limit: MAX_BLOCKS };
                return Err(self.error(hop.place, problem));
            }
            blocks.extend((start..end).map(|layer| PathBlock { model: hop.model, layer, gain: Gain::ONE }));
            scales.resize(count, hop.scale);
            places.resize(count, hop.place);
        }
        for (index, (block, gain)) in blocks.iter_mut().zip(gains(self.path_scale, &scales)).enumerate() {
            let fits = |gain: f64| gain.abs() <= MAX_GAIN;
            if !(fits(gain[0]) && fits(gain[1]) && fits(1.0 / gain[0])) {
                let value = format!("too far from 1 at block {index} of the path");
                let expected =
                    format!("the gain that all scales come to there must be within {MAX_GAIN:e} of 1, up or down");
                return Err(self.error(places[index], RecipeError::bad_value("scale", value, expected)));
            }
            block.gain = Gain { attention: gain[0] as f32, feed_forward: gain[1] as f32 };
        }
        if blocks.is_empty() {
            return Err(self.error(Place::default(), RecipeError::Empty("path")));
        }
        Ok(blocks)
    }

    /// Whether the embeddings and the output matrix may come from different models: those of the first and the last block.
    pub fn splits_token_tables(&self) -> bool {
        let ends = match (self.slices.as_slice(), self.path.as_slice()) {
            ([], [first, .., last]) if self.base_model.is_none() => (first.model, last.model),
            ([first, .., last], _) => (first.sources.first().map(|s| s.model), last.sources.first().map(|s| s.model)),
            _ => return false,
        };
        ends.0 != ends.1
    }

    /// What is wrong with `hop` before any model is known.
    pub(super) fn hop_problem(&self, index: usize, hop: &Hop) -> Option<RecipeError> {
        let divides = self.path_scale == PathScale::Residual || index == 0;
        if hop.model.is_none() && self.slices.is_empty() {
            return Some(RecipeError::HopWithoutModel);
        }
        if let Some(problem) = empty_range("layers", hop.layers) {
            return Some(problem);
        }
        let expected = match hop.scale {
            scale if !scale.is_finite() => "it must be a finite number",
            scale if divides && scale <= 0.0 && self.path_scale == PathScale::MlpOutput => {
                "the scale of the first hop, which the embedding is multiplied by, must be above 0"
            }
            scale if divides && scale <= 0.0 => "with `path_scale: residual` it must be above 0",
            _ => return None,
        };
        Some(RecipeError::bad_value("scale", hop.scale, expected))
    }
}

/// The gains of all blocks, for attention and feed-forward network. The stream after block `t` stays divided by everything that has
/// multiplied it so far, which the norm behind it does not see; what a block adds is divided by the same instead.
fn gains(form: PathScale, scales: &[f64]) -> Vec<[f64; 2]> {
    let mut product = 1.0;
    let gain = |(t, scale): (usize, &f64)| match form {
        PathScale::Residual => {
            product *= scale;
            [1.0 / product; 2]
        }
        PathScale::MlpOutput => [1.0 / scales[0], scales.get(t + 1).unwrap_or(&1.0) / scales[0]],
    };
    scales.iter().enumerate().map(gain).collect()
}
