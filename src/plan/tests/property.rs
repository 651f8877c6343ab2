//! Any shape, type and parameters: a merge or an error, never a panic, never a NaN, and the same bytes from any number of threads.

use ggraft_kernels::{GgmlType, run};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{Family, PlanError, draw, example};
use crate::ggml::CODECS;
use crate::gguf::tests::Tiny;
use crate::plan::Plan;
use crate::recipe::METHODS;
use crate::recipe::methods::{Kind, ParameterSpec};

const ROUNDS: u64 = 12;
const TYPES: [GgmlType; 8] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::BF16,
    GgmlType::Q8_0,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q4_K,
    GgmlType::Q6_K,
];

struct Dice(std::cell::RefCell<ChaCha12Rng>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed).into())
    }

    fn below(&self, n: usize) -> usize {
        (self.0.borrow_mut().next_u32() as usize) % n
    }

    /// From 0 to 1, both ends often enough.
    fn share(&self) -> f64 {
        match self.below(8) {
            0 => 0.0,
            1 => 1.0,
            _ => self.below(1 << 20) as f64 / f64::from(1 << 20),
        }
    }
}

/// The tiny llama with a matrix, a vector and stacked experts of random shape.
fn shape(dice: &Dice) -> Tiny {
    let mut tiny = Tiny::llama();
    let ty = TYPES[dice.below(TYPES.len())];
    let row = match ty.block_size() {
        1 => [1, 7, 33, 640, 2050, 5000][dice.below(6)],
        block => (block * (1 + dice.below(9))) as u64,
    };
    tiny.add("blk.0.matrix.weight", &[row, 1 + dice.below(40) as u64], ty);
    tiny.add("blk.1.more_norm.weight", &[1 + dice.below(5000) as u64], GgmlType::F32);
    tiny.add("blk.1.ffn_up_exps.weight", &[row, 1 + dice.below(6) as u64, 1 + dice.below(4) as u64], ty);
    tiny
}

/// Weights as fine-tunes have them, and the odd ones that formulas divide by.
fn values(kind: usize, parent: usize, name: &str, n: usize) -> Vec<f32> {
    let (shared, own) = (draw(name, n), draw(&format!("{parent} {name}"), n));
    let pair = shared.iter().zip(&own);
    match (kind + if parent == 0 { 0 } else { name.len() }) % 7 {
        0 => shared,
        1 => vec![0.0; n],
        2 => pair.map(|(s, o)| (s * 3.0).round() + (o * 1.2).round()).collect(),
        3 => pair.map(|(s, o)| s + 1e-6 * o).collect(),
        4 => shared.iter().map(|s| -s).collect(),
        5 => pair.map(|(s, o)| if *o > 0.9 { *o } else { *s }).collect(),
        _ => own,
    }
}

fn value(dice: &Dice, spec: &ParameterSpec) -> Option<String> {
    let (low, high) = spec.range;
    Some(match spec.kind {
        Kind::Bool => (dice.below(2) == 1).to_string(),
        Kind::Int => dice.below(12).to_string(),
        // Mostly within what della can do.
        Kind::Float if spec.name == "epsilon" => (dice.share() * 0.4).to_string(),
        Kind::Float if low >= 0.0 && high <= 1.0 => dice.share().to_string(),
        Kind::Float if low >= 0.0 => (2.0 * dice.share()).to_string(),
        Kind::Float => (3.0 * dice.share() - 1.0).to_string(),
    })
}

fn bytes(family: &Family, plan: &Plan, cuts: usize) -> Vec<Vec<u8>> {
    let of = |tensor: &crate::plan::PlannedTensor| {
        let mut out = vec![0; tensor.info.bytes as usize];
        let sources = tensor.source_data(family.parents());
        let row = tensor.info.shape[0] as usize;
        // In pieces of whole rows, which are whole blocks of every type here.
        let piece = (tensor.elements() / row).div_ceil(cuts) * row;
        for start in (0..tensor.elements()).step_by(piece) {
            let end = (start + piece).min(tensor.elements());
            let at = |element: usize| tensor.info.ty.row_size(element).unwrap();
            run(&tensor.program, &sources, tensor.info.ty, start..end, &mut out[at(start)..at(end)], &CODECS);
        }
        out
    };
    plan.tensors.iter().map(of).collect()
}

#[test]
fn any_merge_ends_well_and_does_not_depend_on_threads_or_pieces() {
    let pools = [1, 3].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap());
    let mut merged = 0;
    for seed in 0..ROUNDS * METHODS.len() as u64 {
        let dice = Dice::new(seed);
        let method = &METHODS[seed as usize % METHODS.len()];
        let (tiny, kind) = (shape(&dice), dice.below(7));
        let family = || Family::with(&tiny, 3, |parent, name, n| values(kind, parent, name, n));
        let out_type = ["f32", "q8_0"][dice.below(2)];
        let text = example(method, |spec| value(&dice, spec), &format!("out_type: {out_type}"));
        let cuts = 2 + dice.below(5);
        let results = pools.each_ref().map(|pool| {
            pool.install(|| {
                let family = family();
                let plan = family.try_plan(&text)?;
                Ok((bytes(&family, &plan, 1), bytes(&family, &plan, cuts), plan))
            })
        });
        match results {
            [Ok((whole, pieces, plan)), Ok((other, other_pieces, _))] => {
                assert!(whole == pieces && whole == other && whole == other_pieces, "seed {seed}:\n{text}");
                for (tensor, bytes) in plan.tensors.iter().zip(&whole) {
                    let values = super::decode(tensor.info.ty, bytes);
                    let bad = values.iter().find(|v| !v.is_finite());
                    assert_eq!(bad, None, "seed {seed}: `{}` of\n{text}", tensor.info.name);
                }
                merged += 1;
            }
            [Err(PlanError::Undefined { .. }), Err(PlanError::Undefined { .. })] => {}
            [Err(error), _] | [_, Err(error)] => panic!("seed {seed}: {error}\n{text}"),
        }
    }
    assert!(merged * 3 > ROUNDS * METHODS.len() as u64 * 2, "only {merged} merges");
}
