//! Made parents: sound files, the stated sizes and statistics, one base and small differences, a vocabulary that reads text.

use ggraft_kernels::{Program, Source, Term, run};

use super::*;
use crate::ggml::CODECS;
use crate::gguf::Parent;
use crate::model::Vocabulary;

const TIES: &str = "merge_method: ties\nbase_model: base.gguf\nmodels: [{model: a.gguf}, {model: b.gguf}]\n";

fn made(shape: &str, ty: GgmlType, seed: u64) -> (Vec<Parent>, Vec<Image>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.yaml");
    std::fs::write(&path, TIES).unwrap();
    let mut recipe = Recipe::load(&path).unwrap();
    let shape = Shape::find(shape).unwrap();
    let images = Synthetic { shape, ty, seed }.parents(&mut recipe).unwrap();
    assert!(!recipe.models.iter().any(|model| model.path.ends_with(&model.written)));
    (recipe.models.iter().map(|model| Parent::open(&model.path).unwrap()).collect(), images)
}

fn values(parent: &Parent, name: &str) -> Vec<f32> {
    let view = parent.tensor(name).unwrap();
    let (count, mut out) = (view.info.elements() as usize, vec![0; 4 * view.info.elements() as usize]);
    let program = Program::Sum { terms: vec![Term { source: 0, coefficient: 1.0 }], constant: 0.0 };
    run(&program, &[Source::new(view.info.ty, view.data)], GgmlType::F32, 0..count, &mut out, &CODECS);
    out.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn mean_and_deviation(values: impl Iterator<Item = f32> + Clone) -> [f64; 2] {
    let count = values.clone().count() as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / count;
    [mean, (values.map(|x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count).sqrt()]
}

#[track_caller]
fn assert_near(found: f64, wanted: f64, relative: f64) {
    assert!((found - wanted).abs() <= relative * wanted, "{found}, not {wanted}");
}

/// The recipe's order of models: `a`, `b`, and the base behind them.
#[test]
fn parents_are_one_base_and_small_differences_of_the_stated_size() {
    for (ty, norm) in [(GgmlType::Q8_0, 0.02), (GgmlType::F16, 0.02), (GgmlType::Q4_K, 0.05)] {
        let (parents, _images) = made("llama-4m", ty, 1);
        let [a, b, base] = &parents[..] else { panic!("three parents") };
        for name in ["token_embd.weight", "blk.0.attn_k.weight", "blk.3.ffn_down.weight"] {
            assert_eq!(base.tensor(name).unwrap().info.ty, ty);
            let [base, a, b] = [base, a, b].map(|parent| values(parent, name));
            let [mean, deviation] = mean_and_deviation(base.iter().copied());
            assert!(mean.abs() < 2e-4, "{name}: {mean}");
            assert_near(deviation, f64::from(SPREAD), norm);
            let difference = |x: &[f32], y: &[f32]| {
                mean_and_deviation(x.iter().zip(y).map(|(x, y)| x - y).collect::<Vec<_>>().into_iter())[1]
            };
            // What quantizing adds: in 4 bits it is as large as the differences.
            let slack = if ty == GgmlType::Q4_K { 0.7 } else { 0.05 };
            assert_near(difference(&a, &base), f64::from(DIFFERENCE), slack);
            assert_near(difference(&b, &base), f64::from(DIFFERENCE), slack);
            assert!(difference(&a, &b) > 1.2 * difference(&a, &base), "{name}: differences must not be the same");
        }
        let norms: Vec<f32> = (0..4).flat_map(|i| values(base, &format!("blk.{i}.ffn_norm.weight"))).collect();
        let [mean, deviation] = mean_and_deviation(norms.iter().copied());
        assert_near(mean, 1.0, 0.02);
        assert_near(deviation, f64::from(NORM_SPREAD * SPREAD), 0.1);
    }
}

#[test]
fn the_seed_alone_decides_the_bytes() {
    let data = |seed| {
        let (parents, _images) = made("llama-4m", GgmlType::Q8_0, seed);
        parents
            .iter()
            .map(|p| (0..p.tensors().len()).map(|i| p.view(i).data.to_vec()).collect())
            .collect::<Vec<Vec<_>>>()
    };
    let once = data(7);
    assert_eq!(once, data(7));
    assert_ne!(once, data(8));
    assert!(once[0] != once[1] && once[1] != once[2]);
}

#[test]
fn shapes_have_the_sizes_of_their_models() {
    let weights = |name: &str| -> u64 {
        Shape::find(name).unwrap().tensors(GgmlType::Q8_0).iter().map(TensorInfo::elements).sum()
    };
    assert_eq!(weights("llama-7b"), 7_241_732_096);
    assert_eq!(weights("llama-1b"), 1_100_048_384);
    assert_eq!(weights("llama-135m"), 134_515_008);
    for shape in &SHAPES {
        assert_eq!(Shape::find(shape.name), Some(shape));
        for ty in [GgmlType::F16, GgmlType::Q4_K] {
            encode_header(&shape.metadata(), &shape.tensors(ty), ALIGNMENT).unwrap();
        }
    }
    // A row of 576 is 2.25 blocks of 256.
    let small = Shape::find("llama-135m").unwrap().tensors(GgmlType::Q4_K);
    let ty = |name: &str| small.iter().find(|info| info.name == name).unwrap().ty;
    assert_eq!([ty("blk.0.attn_q.weight"), ty("blk.0.ffn_down.weight")], [GgmlType::Q8_0, GgmlType::Q4_K]);
}

#[test]
fn the_vocabulary_reads_text_and_writes_it_again() {
    let (parents, _images) = made("llama-4m", GgmlType::Q8_0, 0);
    let vocabulary = Vocabulary::load(parents[0].path(), None).unwrap();
    assert_eq!(vocabulary.len(), 2048);
    assert!(vocabulary.is_end(vocabulary.eos().unwrap()) && vocabulary.adds_bos());
    let text = "any words, ja 3";
    let tokens = vocabulary.tokenize(text);
    assert!(tokens.len() < text.len(), "{tokens:?}");
    let written: Vec<u8> = tokens.iter().flat_map(|token| vocabulary.piece(*token, false)).collect();
    assert_eq!(String::from_utf8(written).unwrap().trim_start(), text);
}
