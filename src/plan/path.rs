//! A compiled merge and a path through blocks in, the tensors of every hop out: each weight once, each hop with its own gains.

use std::collections::HashMap;

use ggraft_kernels::{GgmlType, Program};

use super::architectures::{GainVia, gain_via};
use super::{Home, PlanError, PlannedTensor};
use crate::ggml::CODECS;
use crate::gguf::TensorInfo;
use crate::recipe::{Gain, PathBlock};

/// The weights that a llama.cpp tensor may point at start at a multiple of this many bytes (ggml's `TENSOR_ALIGNMENT`).
pub(super) const ALIGNMENT: u64 = 32;
/// Only mixtures of experts have a router.
const ROUTER: &str = "ffn_gate_inp.weight";

/// A merged model's tensors, in the order of the file.
pub(super) struct Merge {
    /// Before the blocks.
    pub before: Vec<PlannedTensor>,
    /// Each block's tensors.
    pub blocks: Vec<Vec<PlannedTensor>>,
    /// Behind the blocks.
    pub after: Vec<PlannedTensor>,
}

impl Merge {
    /// All tensors, each merged in its own place.
    pub fn in_place(self) -> Vec<PlannedTensor> {
        self.before.into_iter().chain(self.blocks.into_iter().flatten()).chain(self.after).collect()
    }

    /// Whether two blocks are the same.
    pub fn repeats(&self) -> bool {
        let same = |a: &[PlannedTensor], b: &[PlannedTensor]| {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| {
                    a.program == b.program && a.sources == b.sources && a.info.ty == b.info.ty && part(a) == part(b)
                })
        };
        self.blocks.iter().enumerate().any(|(i, block)| self.blocks[..i].iter().any(|other| same(block, other)))
    }

    /// Finds every tensor a home that it shares with its like: a copy stays in the parent's file, what has to be computed gets a place
    /// in a pool, laid out by the merge alone so that another path finds it where it was. Returns the pool's size in bytes.
    pub fn share(&mut self, aligned: impl Fn(&PlannedTensor) -> bool) -> u64 {
        let mut places = HashMap::new();
        let mut size = 0;
        for tensor in self.before.iter_mut().chain(self.blocks.iter_mut().flatten()).chain(&mut self.after) {
            if matches!(tensor.program, Program::Copy { .. }) && aligned(tensor) {
                tensor.home = Home::Parent;
                continue;
            }
            // Programs hold floats, which are compared by their digits.
            let key = format!("{:?} {:?} {}", tensor.program, tensor.sources, tensor.info.ty);
            let place = *places.entry(key).or_insert(size);
            tensor.home = Home::Pool(place);
            if place == size {
                size += tensor.info.bytes.next_multiple_of(ALIGNMENT);
            }
        }
        size
    }

    /// The model that passes through `path`, in the order of its file. `block_of` gives the tensors of a parent's block.
    ///
    /// # Errors
    /// [`PlanError::Gain`] if a hop has a gain and the architecture has no place for it.
    pub fn along(
        self,
        path: &[PathBlock],
        architecture: &str,
        block_of: impl Fn(usize, u32) -> Result<Vec<PlannedTensor>, PlanError>,
    ) -> Result<Vec<PlannedTensor>, PlanError> {
        let attention = path.iter().any(|block| block.gain.attention != 1.0);
        let feed_forward = path.iter().any(|block| block.gain.feed_forward != 1.0);
        let refuse = |reason| PlanError::Gain { architecture: architecture.to_owned(), reason };
        let via = if attention || feed_forward { Some(gain_via(architecture).map_err(refuse)?) } else { None };
        let mut tensors = self.before;
        for (number, block) in path.iter().enumerate() {
            let mut own = match block.model {
                None => self.blocks[block.layer as usize].clone(),
                Some(parent) => block_of(parent, block.layer)?,
            };
            if let Some(via) = via {
                if own.iter().any(|tensor| part(tensor) == ROUTER) {
                    return Err(refuse("has a mixture of experts, whose sum llama.cpp adds without a gain"));
                }
                for (sublayer, wanted) in [(&ATTENTION, attention), (&FEED_FORWARD, feed_forward)] {
                    if wanted && !sublayer.give(&mut own, (sublayer.of)(block.gain), via)? {
                        return Err(refuse(
                            "lacks the norms behind its outputs in this file, which would carry a gain",
                        ));
                    }
                }
            }
            for mut tensor in own {
                tensor.info.name = format!("blk.{number}.{}", part(&tensor));
                tensors.push(tensor);
            }
        }
        tensors.extend(self.after);
        Ok(tensors)
    }
}

/// One of the two parts of a block that add to the residual stream.
struct Sublayer {
    of: fn(Gain) -> f32,
    /// Multiplies the output where the file has it.
    scale: &'static str,
    /// Added after that scale has done its work (src/llama-graph.cpp `build_attn`); the feed-forward network's comes before it.
    bias: Option<&'static str>,
    /// The norm behind the output, in architectures with one.
    norm: &'static str,
}

const ATTENTION: Sublayer = Sublayer {
    of: |gain| gain.attention,
    scale: "attn_output.scale",
    bias: Some("attn_output.bias"),
    norm: "post_attention_norm.weight",
};
const FEED_FORWARD: Sublayer =
    Sublayer { of: |gain| gain.feed_forward, scale: "ffn_down.scale", bias: None, norm: "post_ffw_norm.weight" };

impl Sublayer {
    /// Puts `gain` into the tensors of one block. Where any hop has a gain every hop gets one, be it 1, so that the shape of the model
    /// does not depend on the gains. Returns whether there was a place for it.
    fn give(&self, block: &mut Vec<PlannedTensor>, gain: f32, via: GainVia) -> Result<bool, PlanError> {
        if via == GainVia::PostNorms {
            return multiply(block, self.norm, gain);
        }
        if !multiply(block, self.scale, gain)? {
            let info = TensorInfo::new(format!("blk.0.{}", self.scale), vec![1], GgmlType::F32)?;
            let program = Program::Sum { terms: Vec::new(), constant: gain };
            block.push(PlannedTensor { info, program, sources: Vec::new(), home: Home::Own, lookup: None });
        }
        if let Some(bias) = self.bias {
            multiply(block, bias, gain)?;
        }
        Ok(true)
    }
}

/// Multiplies the vector called `name`, if the block has it; it is then the hop's own.
fn multiply(block: &mut [PlannedTensor], name: &str, gain: f32) -> Result<bool, PlanError> {
    let Some(tensor) = block.iter_mut().find(|tensor| part(tensor) == name) else { return Ok(false) };
    // What a merge computes can be decoded; what is copied may be of any type.
    if matches!(tensor.program, Program::Copy { .. }) && !CODECS.decodes(tensor.info.ty) {
        return Err(PlanError::SourceType { tensor: tensor.info.name.clone(), ty: tensor.info.ty.name() });
    }
    tensor.info = TensorInfo::new(tensor.info.name.as_str(), tensor.info.shape.clone(), GgmlType::F32)?;
    tensor.program = Program::Scaled { program: Box::new(tensor.program.clone()), factor: gain };
    tensor.home = Home::Own;
    Ok(true)
}

/// A block tensor's name without the block.
fn part(tensor: &PlannedTensor) -> &str {
    tensor.info.name.splitn(3, '.').nth(2).unwrap_or(&tensor.info.name)
}
