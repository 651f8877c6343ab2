//! Gemma stores its norms plus one: merges must come out as if computed on the real values.

use ggraft_kernels::GgmlType;

use super::{Family, assert_close, draw, example, recipe};
use crate::gguf::tests::Tiny;
use crate::recipe::methods::BaseRule;
use crate::recipe::{METHODS, MethodSpec};

const NORM: &str = "blk.0.attn_norm.weight";
/// A norm in which few elements change much.
const RARE: &str = "blk.0.ffn_norm.weight";

/// The tiny llama under another architecture's name, with a bias.
fn tiny(arch: &str) -> Tiny {
    let mut tiny = Tiny::called(arch);
    tiny.add("blk.0.attn_q.bias", &[32], GgmlType::F32);
    tiny.add(RARE, &[500], GgmlType::F32);
    tiny
}

/// Parents whose norms are stored with `offset` on top.
fn family(arch: &str, offset: f32) -> Family {
    Family::with(&tiny(arch), 3, |parent, name, count| {
        // Correlated, so that the angle between the two is neither straight nor flat.
        let (shared, own) = (draw(name, count), draw(&format!("{parent} {name}"), count));
        let stored = if name.ends_with("_norm.weight") { offset } else { 0.0 };
        let own = own.iter().map(|o| if name == RARE { o.powi(7) } else { *o });
        shared.iter().zip(own).map(|(s, o)| 0.5 * s + 0.5 * o + stored).collect()
    })
}

/// Recipes for which an offset matters: their coefficients do not add up to 1, or follow from angles.
fn sensitive() -> Vec<String> {
    let models = |a, b| [("a.gguf", a), ("b.gguf", b)];
    vec![
        recipe("slerp", &models("", ""), "base_model: a.gguf\nparameters: {t: 0.3}\nout_type: f32"),
        recipe("slerp", &models("", ""), "base_model: b.gguf\nparameters: {t: 0.3}\nout_type: f32"),
        recipe("linear", &models("weight: 0.7", "weight: 0.9"), "parameters: {normalize: false}\nout_type: f32"),
        recipe("nuslerp", &models("weight: 0.7", "weight: 0.3"), "out_type: f32"),
        recipe("multislerp", &models("weight: 0.7", "weight: 0.3"), "out_type: f32"),
        recipe("karcher", &models("", ""), "out_type: f32"),
        recipe("passthrough", &[("a.gguf", "scale: 0.5")], "out_type: f32"),
    ]
}

#[test]
fn norms_merge_as_their_real_values() {
    let (gemma, plain) = (family("gemma3", 1.0), family("llama", 0.0));
    for text in sensitive() {
        let stored = gemma.merged(&gemma.plan(&text), NORM);
        let want: Vec<f32> = plain.merged(&plain.plan(&text), NORM).iter().map(|v| v + 1.0).collect();
        assert_close(&stored, &want, 2e-6);
        let naive = family("llama", 1.0);
        let naive = naive.merged(&naive.plan(&text), NORM);
        assert!(naive.iter().zip(&want).any(|(n, w)| (n - w).abs() > 0.05), "the offset would not show in\n{text}");
    }
}

/// Softmax does not see what is added to all of a row, so the importance is that of the real values.
#[test]
fn arcee_fusion_takes_the_same_elements_with_and_without_the_offset() {
    let (gemma, plain) = (family("gemma3", 1.0), family("llama", 0.0));
    let fusion = MethodSpec::find("arcee_fusion").unwrap();
    let text = example(fusion, |_| None, "out_type: f32");
    let real = plain.merged(&plain.plan(&text), RARE);
    let base = plain.values(0, RARE);
    let taken = real.iter().zip(&base).filter(|(r, b)| (*r - *b).abs() > 0.01).count();
    assert!((20..200).contains(&taken), "{taken} of {} taken", real.len());
    let want: Vec<f32> = real.iter().map(|r| r + 1.0).collect();
    assert_close(&gemma.merged(&gemma.plan(&text), RARE), &want, 2e-6);
}

#[test]
fn slerp_of_real_values_is_the_textbook_formula() {
    let gemma = family("gemma3", 1.0);
    let plan = gemma.plan(&sensitive()[0]);
    let real = |parent| gemma.values(parent, NORM).iter().map(|v| f64::from(*v) - 1.0).collect::<Vec<f64>>();
    let (a, b) = (real(0), real(1));
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let angle = (dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()).acos();
    assert!((0.2..2.9).contains(&angle), "an arc, not a line: {angle}");
    let (to_a, to_b) = ((0.7 * angle).sin() / angle.sin(), (0.3 * angle).sin() / angle.sin());
    let want: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (to_a * a + to_b * b + 1.0) as f32).collect();
    assert_close(&gemma.merged(&plan, NORM), &want, 2e-6);
}

#[test]
fn every_gemma_has_the_offset_and_its_matrices_and_biases_do_not() {
    let text = recipe("passthrough", &[("a.gguf", "scale: 0.5")], "out_type: f32");
    for arch in ["gemma", "gemma2", "gemma3", "gemma-embedding", "qwen3next"] {
        let family = family(arch, 1.0);
        let plan = family.plan(&text);
        for name in ["blk.1.attn_norm.weight", "output_norm.weight"] {
            let want: Vec<f32> = family.values(0, name).iter().map(|v| (v - 1.0) * 0.5 + 1.0).collect();
            assert_close(&family.merged(&plan, name), &want, 1e-6);
        }
        for name in ["blk.1.attn_q.weight", "blk.0.attn_q.bias", "token_embd.weight"] {
            let want: Vec<f32> = family.values(0, name).iter().map(|v| v * 0.5).collect();
            assert_close(&family.merged(&plan, name), &want, 1e-6);
        }
    }
}

#[test]
fn differences_to_a_base_do_not_see_the_offset() {
    let (gemma, other) = (family("gemma3", 1.0), family("llama", 1.0));
    for method in METHODS.iter().filter(|method| method.base != BaseRule::Ignored && method.name != "slerp") {
        let text = example(method, |_| None, "out_type: f32");
        let (got, want) = (gemma.merged(&gemma.plan(&text), NORM), other.merged(&other.plan(&text), NORM));
        // Some get a constant for the offset, which has to come to nothing.
        assert_close(&got, &want, 2e-7);
    }
    let averaged = recipe("linear", &[("a.gguf", "weight: 1"), ("b.gguf", "weight: 3")], "out_type: f32");
    assert_close(&gemma.merged(&gemma.plan(&averaged), NORM), &other.merged(&other.plan(&averaged), NORM), 1e-6);
}
