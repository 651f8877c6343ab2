//! Which type a blend is written in.

use ggraft_kernels::GgmlType;

use super::{Family, planned, recipe};
use crate::gguf::TensorInfo;
use crate::gguf::tests::Tiny;
use crate::plan::PlanError;
use crate::plan::types::destination;
use crate::recipe::OutType;

fn info(name: &str, shape: &[u64], ty: GgmlType) -> TensorInfo {
    TensorInfo::new(name, shape, ty).unwrap()
}

#[test]
fn matrices_get_the_type_asked_for() {
    let matrix = info("blk.0.attn_q.weight", &[256, 4], GgmlType::Q4_K);
    for (out, want) in [
        (OutType::Q8_0, GgmlType::Q8_0),
        (OutType::F16, GgmlType::F16),
        (OutType::BF16, GgmlType::BF16),
        (OutType::F32, GgmlType::F32),
        (OutType::Same, GgmlType::Q4_K),
    ] {
        assert_eq!(destination(&matrix, out).unwrap(), want, "{out:?}");
    }
}

#[test]
fn vectors_routers_and_convolutions_stay_in_full_precision() {
    for out in OutType::ALL {
        for (name, shape) in [
            ("output_norm.weight", &[64][..]),
            ("blk.3.attn_q.bias", &[64]),
            ("blk.3.ffn_gate_inp.weight", &[64, 8]),
            ("blk.3.attn_q_norm.weight", &[64, 8]),
            ("blk.3.ssm_conv1d.weight", &[64, 4]),
        ] {
            assert_eq!(destination(&info(name, shape, GgmlType::F16), out).unwrap(), GgmlType::F32, "{name} {out:?}");
        }
    }
}

#[test]
fn rows_that_are_not_whole_blocks_fall_back_to_f16() {
    let odd = info("blk.0.ffn_up.weight", &[40, 8], GgmlType::F32);
    assert_eq!(destination(&odd, OutType::Q8_0).unwrap(), GgmlType::F16);
    assert_eq!(destination(&odd, OutType::BF16).unwrap(), GgmlType::BF16);
    assert_eq!(destination(&odd, OutType::Same).unwrap(), GgmlType::F32);
}

#[test]
fn same_of_a_type_that_needs_an_importance_matrix_is_refused() {
    for ty in [GgmlType::IQ2_XXS, GgmlType::IQ2_XS, GgmlType::IQ1_S] {
        let matrix = info("blk.0.ffn_up.weight", &[256, 4], ty);
        let error = destination(&matrix, OutType::Same).unwrap_err();
        assert!(matches!(error, PlanError::DestinationType { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("blk.0.ffn_up.weight") && message.contains(ty.name()), "{message}");
        assert_eq!(destination(&matrix, OutType::Q8_0).unwrap(), GgmlType::Q8_0, "it can still be read");
    }
}

#[test]
fn same_follows_the_base_and_copies_keep_their_type() {
    let mut other = Tiny::llama();
    for tensor in other.tensors.iter_mut().filter(|t| t.name.contains("attn_q")) {
        *tensor = info(&tensor.name, &tensor.shape, GgmlType::Q5_1);
    }
    let family = Family::of(&[&Tiny::llama(), &other]);
    let ty = |text: &str| planned(&family.plan(text), "blk.0.attn_q.weight").info.ty;
    let models = [("a.gguf", "weight: 1"), ("b.gguf", "weight: 1")];
    assert_eq!(ty(&recipe("linear", &models, "out_type: same")), GgmlType::Q8_0, "the first source has it");
    let based = recipe("task_arithmetic", &models, "base_model: b.gguf\nout_type: same");
    assert_eq!(ty(&based), GgmlType::Q5_1, "the base has it");
    assert_eq!(ty(&recipe("passthrough", &[("a.gguf", "")], "out_type: f16")), GgmlType::Q8_0, "a copy is a copy");
}
