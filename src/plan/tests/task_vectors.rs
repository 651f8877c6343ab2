//! What random and magnitude masks keep: how many, which, and the same at every run.

use ggraft_kernels::GgmlType;

use super::{Family, draw, recipe};
use crate::gguf::tests::Tiny;
use crate::plan::Plan;

const ROW: u64 = 256;
const ROWS: u64 = 64;
const COUNT: usize = (ROW * ROWS) as usize;

/// A llama with many equal matrices: `blk.{0,1}.m{0..}.weight`.
fn many(matrices: usize, ty: GgmlType) -> Tiny {
    let mut tiny = Tiny::llama();
    for i in 0..matrices {
        tiny.add(&format!("blk.{}.m{i}.weight", i % 2), &[ROW, ROWS], ty);
    }
    tiny
}

fn matrix(i: usize) -> String {
    format!("blk.{}.m{i}.weight", i % 2)
}

/// The base is zero and the others one, so that a merge shows its masks.
fn zeros_and_ones(matrices: usize, parents: usize) -> Family {
    Family::with(&many(matrices, GgmlType::F32), parents, |parent, _, count| {
        vec![f32::from(u8::from(parent > 0)); count]
    })
}

/// Parent `b` against the base `a`, unscaled.
fn masked(method: &str, density: f64) -> String {
    let models = [("a.gguf", ""), ("b.gguf", &*format!("weight: 1, density: {density}"))];
    recipe(method, &models, "base_model: a.gguf\nparameters: {normalize: false, rescale: false}\nout_type: f32")
}

fn kept(family: &Family, plan: &Plan, name: &str) -> Vec<bool> {
    family.merged(plan, name).iter().map(|v| *v != 0.0).collect()
}

fn count(mask: &[bool]) -> f64 {
    mask.iter().filter(|k| **k).count() as f64
}

#[test]
fn dare_ties_drops_the_same_elements_at_every_run() {
    let run = || {
        let family = Family::of(&[&many(2, GgmlType::Q8_0), &many(2, GgmlType::Q8_0)]);
        let plan = family.plan(&masked("dare_ties", 0.4));
        (family.merged(&plan, &matrix(0)), family.merged(&plan, &matrix(1)))
    };
    assert_eq!(run(), run());
}

#[test]
fn dare_ties_keeps_its_density_in_every_tensor_without_bias() {
    const MATRICES: usize = 60;
    let family = zeros_and_ones(MATRICES, 2);
    for density in [0.1, 0.5, 0.93] {
        let plan = family.plan(&masked("dare_ties", density));
        let deviation = (COUNT as f64 * density * (1.0 - density)).sqrt();
        let scores: Vec<f64> = (0..MATRICES)
            .map(|i| (count(&kept(&family, &plan, &matrix(i))) - COUNT as f64 * density) / deviation)
            .collect();
        assert!(scores.iter().all(|z| z.abs() < 4.5), "{density}: {scores:?}");
        let mean = scores.iter().sum::<f64>() / MATRICES as f64;
        assert!(mean.abs() * (MATRICES as f64).sqrt() < 4.0, "{density}: mean score {mean}");
        let variance = scores.iter().map(|z| z * z).sum::<f64>() / MATRICES as f64;
        assert!((0.4..2.0).contains(&variance), "{density}: variance {variance} of scores that should have 1");
    }
}

#[test]
fn dare_ties_masks_of_tensors_and_models_are_independent() {
    let family = zeros_and_ones(2, 3);
    let plan = family.plan(
        &masked("dare_ties", 0.3)
            .replace("base_model", "  - {model: c.gguf, parameters: {weight: 2, density: 0.3}}\nbase_model"),
    );
    let values = [0, 1].map(|i| family.merged(&plan, &matrix(i)));
    let has =
        |tensor: usize, weight: u32| values[tensor].iter().map(|v| *v as u32 & weight != 0).collect::<Vec<bool>>();
    let masks = [has(0, 1), has(0, 2), has(1, 1), has(1, 2)];
    let deviation = (COUNT as f64 * 0.09 * 0.91).sqrt();
    for (i, first) in masks.iter().enumerate() {
        for second in &masks[..i] {
            let both = first.iter().zip(second).filter(|(a, b)| **a && **b).count() as f64;
            assert!((both - 0.09 * COUNT as f64).abs() < 5.0 * deviation, "{both} of {COUNT} in both");
        }
    }
}

#[test]
fn dare_ties_rescales_to_the_norm_of_the_whole_vector() {
    let tiny = many(1, GgmlType::F32);
    let family = Family::with(&tiny, 2, |p, name, n| if p == 0 { vec![0.0; n] } else { draw(name, n) });
    let plan = family.plan(&masked("dare_ties", 0.25).replace("rescale: false", "rescale: true"));
    let norm = |values: &[f32]| values.iter().map(|v| f64::from(v.abs())).sum::<f64>();
    let (whole, merged) = (norm(&family.values(1, &matrix(0))), norm(&family.merged(&plan, &matrix(0))));
    assert!((merged / whole - 1.0).abs() < 1e-5, "L1 norm {merged}, the whole vector has {whole}");
}

#[test]
fn ties_keeps_exactly_the_share_asked_for_among_equal_magnitudes() {
    for ty in [GgmlType::Q8_0, GgmlType::Q4_0] {
        // Few levels, so that nearly every element is tied with thousands of others.
        let levels = [-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0];
        let level = |v: &f32| levels[((v + 1.0) * 3.5) as usize % 7];
        let family = Family::with(&many(1, ty), 2, |p, name, n| {
            if p == 0 { vec![0.0; n] } else { draw(name, n).iter().map(level).collect() }
        })
        .exact();
        let vector = family.values(1, &matrix(0));
        assert!(vector.iter().all(|v| *v != 0.0), "a zero would not count as kept");
        for density in [0.00001, 0.001, 0.1, 0.33, 0.5, 0.77, 0.9999] {
            let plan = family.plan(&masked("ties", density));
            let kept = kept(&family, &plan, &matrix(0));
            let want = ((density * COUNT as f64) as usize).max(1);
            assert_eq!(count(&kept) as usize, want, "{ty} at density {density}");
            let magnitudes = |of: bool| vector.iter().zip(&kept).filter(move |(_, k)| **k == of).map(|(v, _)| v.abs());
            let (smallest, largest) =
                (magnitudes(true).fold(f32::MAX, f32::min), magnitudes(false).fold(0.0, f32::max));
            assert!(smallest >= largest, "{ty} at {density}: kept {smallest}, dropped {largest}");
        }
        assert_eq!(count(&kept(&family, &family.plan(&masked("ties", 0.0)), &matrix(0))), 0.0);
        assert_eq!(family.merged(&family.plan(&masked("ties", 1.0)), &matrix(0)), vector);
    }
}
