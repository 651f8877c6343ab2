//! Experts that GGUF stacks into one tensor are merged as the separate matrices that they are.

use ggraft_kernels::{GgmlType, Program};

use super::{Family, draw, example, planned};
use crate::gguf::tests::Tiny;
use crate::recipe::{METHODS, MethodSpec};

const STACK: &str = "blk.0.ffn_gate_exps.weight";
const EXPERTS: usize = 3;
const ROW: u64 = 96;
const ROWS: u64 = 20;
const COUNT: usize = (ROW * ROWS) as usize;

fn expert(i: usize) -> String {
    format!("blk.0.expert{i}.weight")
}

/// The same matrices twice: stacked, and as tensors of their own. They are of different size, as experts are.
fn family(ty: GgmlType) -> Family {
    let mut tiny = Tiny::llama();
    tiny.add(STACK, &[ROW, ROWS, EXPERTS as u64], ty);
    (0..EXPERTS).for_each(|i| tiny.add(&expert(i), &[ROW, ROWS], ty));
    let matrix = |parent: usize, i: usize| -> Vec<f32> {
        let own = draw(&format!("{parent} {i}"), COUNT);
        let shared = draw(&expert(i), COUNT);
        own.iter().zip(shared).map(|(own, shared)| (shared + 0.3 * own) * (1.0 + i as f32)).collect()
    };
    Family::with(&tiny, 3, |parent, name, count| match name {
        STACK => (0..EXPERTS).flat_map(|i| matrix(parent, i)).collect(),
        _ => match (0..EXPERTS).find(|i| name == expert(*i)) {
            Some(i) => matrix(parent, i),
            None => draw(&format!("{parent} {name}"), count),
        },
    })
}

fn is_random(method: &MethodSpec) -> bool {
    method.name.starts_with("dare") || method.name.starts_with("della")
}

#[test]
fn every_method_merges_each_expert_as_a_matrix_of_its_own() {
    for ty in [GgmlType::F32, GgmlType::Q8_0] {
        let family = family(ty);
        for method in METHODS.iter().filter(|method| !is_random(method)) {
            // Both kinds of lines as well, where a method has them.
            for lines in [false, true] {
                let set = |spec: &crate::recipe::methods::ParameterSpec| match spec.name {
                    "filter_wise" | "nuslerp_row_wise" => Some(lines.to_string()),
                    "nuslerp_flatten" => Some((!lines).to_string()),
                    _ => None,
                };
                let plan = family.plan(&example(method, set, "out_type: f32"));
                let stacked = family.merged(&plan, STACK);
                for i in 0..EXPERTS {
                    let own = family.merged(&plan, &expert(i));
                    assert_eq!(stacked[i * COUNT..(i + 1) * COUNT], own, "{} of expert {i}", method.name);
                }
            }
        }
    }
}

#[test]
fn what_is_the_same_for_all_experts_is_one_program() {
    let family = family(GgmlType::Q8_0);
    for (name, sliced) in [("linear", false), ("task_arithmetic", false), ("slerp", true), ("ties", true)] {
        let plan = family.plan(&example(MethodSpec::find(name).unwrap(), |_| None, ""));
        assert_eq!(matches!(planned(&plan, STACK).program, Program::Slices { .. }), sliced, "{name}");
    }
}

#[test]
fn random_masks_differ_by_expert_and_each_keeps_its_density_and_norm() {
    let mut tiny = Tiny::llama();
    tiny.add(STACK, &[256, 64, EXPERTS as u64], GgmlType::F32);
    let count = 256 * 64;
    let family = Family::with(
        &tiny,
        3,
        |parent, name, n| {
            if name == STACK && parent == 0 { vec![0.0; n] } else { draw(name, n) }
        },
    );
    let delta = family.values(1, STACK);
    for method in METHODS.iter().filter(|method| is_random(method)) {
        let text = example(method, |spec| (spec.name == "normalize").then(|| "false".to_owned()), "out_type: f32");
        let one = text.replace(
            "  - {model: c.gguf, parameters: {weight: 0.7, density: 0.5",
            "  - {model: c.gguf, parameters: {weight: 0, density: 1",
        );
        let merged = family.merged(&family.plan(&one), STACK);
        let masks: Vec<Vec<bool>> = merged.chunks(count).map(|m| m.iter().map(|v| *v != 0.0).collect()).collect();
        for i in 0..EXPERTS {
            let part = i * count..(i + 1) * count;
            let norm = |values: &[f32]| values.iter().map(|v| f64::from(v.abs())).sum::<f64>();
            let ratio = norm(&merged[part.clone()]) / norm(&delta[part]) / 0.7;
            assert!((ratio - 1.0).abs() < 1e-5, "{}: expert {i} has {ratio} of its norm", method.name);
            let kept = masks[i].iter().filter(|kept| **kept).count() as f64;
            let sigma = (count as f64 / 4.0).sqrt();
            assert!((kept - count as f64 / 2.0).abs() < 5.0 * sigma, "{}: {kept} of {count}", method.name);
            for other in &masks[..i] {
                let same = masks[i].iter().zip(other).filter(|(a, b)| a == b).count() as f64;
                assert!((same - count as f64 / 2.0).abs() < 6.0 * sigma, "{}: {same} of {count} alike", method.name);
            }
        }
    }
}
