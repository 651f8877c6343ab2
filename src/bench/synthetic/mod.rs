//! A recipe in, parents for it out that no file holds: weights drawn at random in the shape of a real model, in memory.
//!
//! Drawing and quantizing billions of weights would take minutes. So a few million are drawn once, and once again how each parent differs
//! from the others; every row is a run of these from a random place, the same place in every parent. The parents then are as
//! fine-tunes of one base are: equal but for small differences at every weight.

mod shape;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::collections::HashMap;

use ggraft_kernels::{GgmlType, QK_K};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;

use super::kernels::encode;
use crate::gguf::{TensorInfo, encode_header};
use crate::image::{Image, ImageError};
use crate::plan::PlanError;
use crate::recipe::Recipe;

pub use shape::{SHAPES, Shape};

/// Standard deviation of matrices, as large models have it.
const SPREAD: f32 = 0.02;
/// Standard deviation of what a parent differs by from the base.
const DIFFERENCE: f32 = 0.002;
/// What norms vary by around 1, in matrices' deviations.
const NORM_SPREAD: f32 = 5.0;

/// Weights drawn for each parent.
const POOL: usize = 1 << 22;
/// Weights drawn, or quantized, by one task.
const PART: usize = 1 << 16;
/// Rows start at multiples of this many weights: whole blocks of every type.
const STEP: usize = QK_K;
/// Bytes laid out by one task.
const CHUNK: usize = 1 << 20;
/// GGUF's default.
const ALIGNMENT: u32 = 32;

/// What to make parents of.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic {
    /// How large.
    pub shape: &'static Shape,
    /// The type of matrices, one that can be encoded; where a row is not whole blocks of it, Q8_0, or else F16.
    pub ty: GgmlType,
    /// The same seed makes the same bytes.
    pub seed: u64,
}

impl Synthetic {
    /// A parent for each model of `recipe`, which names them from then on; they are there as long as the images are.
    ///
    /// # Errors
    /// [`ImageError::Memory`] if there is no room.
    pub fn parents(&self, recipe: &mut Recipe) -> Result<Vec<Image>, ImageError> {
        let mut images = Vec::new();
        for (number, model) in recipe.models.iter_mut().enumerate() {
            let differs = recipe.base_model != Some(number);
            let image = self.parent(differs.then_some(number as u64))?;
            model.path = image.path();
            images.push(image);
        }
        Ok(images)
    }

    /// The base, or the fine-tune of this number.
    fn parent(&self, fine_tune: Option<u64>) -> Result<Image, ImageError> {
        let tensors = self.shape.tensors(self.ty);
        let header = encode_header(&self.shape.metadata(), &tensors, ALIGNMENT).map_err(PlanError::from)?;
        let mut image = Image::anonymous(header.bytes, header.data_len)?;
        let pool = Pool::draw(self.seed, fine_tune, &tensors);
        for (number, info) in (0..).zip(&header.tensors) {
            let data = &mut image.data_mut()[info.offset as usize..][..info.bytes as usize];
            if info.shape.len() == 1 {
                self.norm(&pool, number, data);
            } else {
                self.rows(&pool, number, info, data);
            }
            if info.name == self.shape.logits() {
                // Its logit is 0, and some other token's is higher: nothing ends before it was to.
                let row = info.row_bytes() as usize;
                data[vocabulary::EOS as usize * row..][..row].fill(0);
            }
        }
        Ok(image)
    }

    /// Weights around 1.
    fn norm(&self, pool: &Pool, tensor: u64, data: &mut [u8]) {
        let data = data.as_chunks_mut().0;
        for from in self.places(tensor, 0, data.len()).take(1) {
            for (out, weight) in data.iter_mut().zip(&pool.weights[from..]) {
                *out = (1.0 + NORM_SPREAD * weight).to_le_bytes();
            }
        }
    }

    /// Runs of the pool.
    fn rows(&self, pool: &Pool, tensor: u64, info: &TensorInfo, data: &mut [u8]) {
        let encoded = &pool.encoded[&info.ty];
        let (width, row) = (info.shape[0] as usize, info.row_bytes() as usize);
        let rows = (CHUNK / row).max(1);
        data.par_chunks_mut(rows * row).enumerate().for_each(|(i, chunk)| {
            for (out, place) in chunk.chunks_exact_mut(row).zip(self.places(tensor, i * rows, width)) {
                let from = info.ty.row_size(place).expect("a multiple of every block");
                out.copy_from_slice(&encoded[from..from + row]);
            }
        });
    }

    /// Where in the pool the rows of a tensor begin, from row `first` on: the same in every parent.
    fn places(&self, tensor: u64, first: usize, width: usize) -> impl Iterator<Item = usize> {
        let mut random = stream(self.seed, u64::MAX - tensor);
        random.set_word_pos(2 * first as u128);
        let count = ((POOL - width) / STEP + 1) as u64;
        std::iter::repeat_with(move || (random.next_u64() % count) as usize * STEP)
    }
}

/// Weights of one parent, as they are and in the types of its matrices.
struct Pool {
    weights: Vec<f32>,
    encoded: HashMap<GgmlType, Vec<u8>>,
}

impl Pool {
    fn draw(seed: u64, fine_tune: Option<u64>, tensors: &[TensorInfo]) -> Self {
        let mut weights = vec![0.0; POOL];
        add_normal(seed, 0, SPREAD, &mut weights);
        if let Some(number) = fine_tune {
            add_normal(seed, number + 1, DIFFERENCE, &mut weights);
        }
        let mut encoded = HashMap::new();
        for info in tensors.iter().filter(|info| info.shape.len() > 1) {
            encoded.entry(info.ty).or_insert_with(|| {
                let part = info.ty.row_size(PART).expect("whole blocks of every type");
                let mut bytes = vec![0; part * (POOL / PART)];
                let parts = bytes.par_chunks_mut(part).zip(weights.par_chunks(PART));
                parts.for_each(|(out, weights)| encode(info.ty, weights, out));
                bytes
            });
        }
        Self { weights, encoded }
    }
}

/// Adds numbers with this standard deviation, number `drawn` of all that are drawn with the seed.
fn add_normal(seed: u64, drawn: u64, spread: f32, weights: &mut [f32]) {
    weights.par_chunks_mut(PART).enumerate().for_each(|(i, part)| {
        let mut random = stream(seed, drawn << 32 | i as u64);
        part.iter_mut().for_each(|weight| *weight += spread * normal(&mut random));
    });
}

/// The sum of eight uniform numbers, brought to mean 0 and deviation 1: as good as normal, and fast.
fn normal(random: &mut ChaCha8Rng) -> f32 {
    let words = [random.next_u64(), random.next_u64()];
    let sum: u32 = words.iter().flat_map(|w| [0, 16, 32, 48].map(|at| (w >> at) as u32 & 0xffff)).sum();
    // Eight times the variance of 0..65536, of which the last is not reached.
    const DEVIATION: f32 = 53_509.92;
    (sum as f32 - 4.0 * 65_535.0) / DEVIATION
}

fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(number);
    random
}
