//! What scales do, beside a forward pass of a llama and a Gemma 3 written out in f64.

use ggraft::recipe::PathScale;

use super::*;
use crate::support::TINY_BLOCKS;

/// One block passed in the forward pass below, and what enters it multiplied by `scale`.
#[derive(Clone, Copy)]
struct Step<'a> {
    model: &'a Tiny,
    layer: u32,
    scale: f64,
}

/// Tokens that a windowed layer of [`gemma`] sees, the current one counted.
const WINDOW: usize = 5;
/// Base of the rotary angles of its other layers; llama.cpp's default for windowed ones, and for llama, is [`BASE`].
const GLOBAL_BASE: f32 = 1e6;
const BASE: f64 = 10_000.0;
const EPSILON: f64 = 1e-5;

/// What enters a block from the stream `rest` and the feed-forward output `added` of the block before.
type Enter = fn(scale: f64, rest: f64, added: f64) -> f64;
const MLP_OUTPUT: Enter = |scale, rest, added| rest + scale * added;
const RESIDUAL: Enter = |scale, rest, added| scale * (rest + added);
const UNSCALED: Enter = |_, rest, added| rest + added;

/// The summed negative log-likelihood of `text` after its first token, in f64 and without ggraft or llama.cpp.
///
/// A llama: RMS norms, rotary positions, grouped heads, SwiGLU. A Gemma 3 has norms of queries and keys and behind both outputs, GELU,
/// other pairs in its rotations, and layers that see only a window. The embedding is the first block's model's, the last norm the last's.
fn reference(path: &[Step], enter: Enter, text: &[LlamaToken]) -> f64 {
    let first = path[0].model;
    let table = tensor(first, "token_embd.weight").unwrap();
    let width = tensor(first, "output_norm.weight").unwrap().len();
    let gemma = is_gemma(first);
    let by = if gemma { (width as f64).sqrt() } else { 1.0 };
    let embed = |t: &LlamaToken| table[t.0 as usize * width..][..width].iter().map(|x| by * f64::from(*x)).collect();
    let mut added: Vec<Vec<f64>> = text.iter().map(embed).collect();
    let mut rest = vec![vec![0.0; width]; text.len()];
    for Step { model, layer, scale } in path {
        let w = |part: &str| tensor(model, &format!("blk.{layer}.{part}.weight"));
        let norm = |part: &str, x: &[f64]| w(part).map_or(x.to_vec(), |weight| normed(x, weight));
        let apply = |part: &str, x: &[f64]| times(w(part).unwrap(), x);
        // As the file of the model says: the first of every two.
        let windowed = gemma && layer % 2 == 0;
        let base = if gemma && !windowed { f64::from(GLOBAL_BASE) } else { BASE };
        let heads = |part: &str, norm_part: &str, x: &[f64], at: usize| -> Vec<Vec<f64>> {
            let turned = |head: &[f64]| rotated(&norm(norm_part, head), at, base, gemma);
            apply(part, x).chunks(width / 4).map(turned).collect()
        };
        let x: Vec<Vec<f64>> = rest
            .iter()
            .zip(&added)
            .map(|(r, a)| r.iter().zip(a).map(|(r, a)| enter(*scale, *r, *a)).collect())
            .collect();
        let h: Vec<Vec<f64>> = x.iter().map(|x| norm("attn_norm", x)).collect();
        let keys: Vec<_> = h.iter().enumerate().map(|(at, h)| heads("attn_k", "attn_k_norm", h, at)).collect();
        let values: Vec<Vec<f64>> = h.iter().map(|h| apply("attn_v", h)).collect();
        for at in 0..text.len() {
            let seen = if windowed { (at + 1).saturating_sub(WINDOW) } else { 0 }..at + 1;
            let mut mixed = Vec::new();
            for (number, query) in heads("attn_q", "attn_q_norm", &h[at], at).iter().enumerate() {
                let group = number / 2;
                let size = query.len();
                let score = |j: usize| (dot(query, &keys[j][group]) / (size as f64).sqrt()).exp();
                let total: f64 = seen.clone().map(score).sum();
                let value =
                    |i: usize| seen.clone().map(|j| score(j) / total * values[j][group * size + i]).sum::<f64>();
                mixed.extend((0..size).map(value));
            }
            let out = norm("post_attention_norm", &apply("attn_output", &mixed));
            rest[at] = x[at].iter().zip(out).map(|(x, out)| x + out).collect();
            let h = norm("ffn_norm", &rest[at]);
            let gate = apply("ffn_gate", &h);
            let activated =
                gate.iter().zip(apply("ffn_up", &h)).map(|(g, up)| if gemma { gelu(*g) } else { silu(*g) } * up);
            added[at] = norm("post_ffw_norm", &apply("ffn_down", &activated.collect::<Vec<f64>>()));
        }
    }
    let last = tensor(path[path.len() - 1].model, "output_norm.weight").unwrap();
    let surprise = |at: usize| {
        let x: Vec<f64> = rest[at].iter().zip(&added[at]).map(|(r, a)| r + a).collect();
        let logits = times(table, &normed(&x, last));
        logits.iter().map(|l| l.exp()).sum::<f64>().ln() - logits[text[at + 1].0 as usize]
    };
    (0..text.len() - 1).map(surprise).sum()
}

fn tensor<'a>(model: &'a Tiny, name: &str) -> Option<&'a [f32]> {
    model.tensors.iter().find(|(info, _)| info.name == name).map(|(_, data)| data.as_slice())
}

fn is_gemma(model: &Tiny) -> bool {
    model.metadata.str("general.architecture") == Some("gemma3")
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn times(matrix: &[f32], x: &[f64]) -> Vec<f64> {
    matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
}

fn normed(x: &[f64], weight: &[f32]) -> Vec<f64> {
    let size = (dot(x, x) / x.len() as f64 + EPSILON).sqrt();
    x.iter().zip(weight).map(|(x, w)| x / size * f64::from(*w)).collect()
}

/// Rotary positions: pairs of neighbours, or in Gemma of an element of the first half and one of the second.
fn rotated(x: &[f64], at: usize, base: f64, halves: bool) -> Vec<f64> {
    let mut out = x.to_vec();
    for i in 0..x.len() / 2 {
        let (a, b) = if halves { (i, i + x.len() / 2) } else { (2 * i, 2 * i + 1) };
        let (sin, cos) = (at as f64 * base.powf(-2.0 * i as f64 / x.len() as f64)).sin_cos();
        (out[a], out[b]) = (x[a] * cos - x[b] * sin, x[a] * sin + x[b] * cos);
    }
    out
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

/// A tiny llama whose norms are not all 1 and whose answers depend on every part.
fn llama(seed: u64) -> Tiny {
    let mut tiny = Tiny::llama(64, seed);
    let mut random = Random(seed + 100);
    for (info, data) in &mut tiny.tensors {
        match info.shape.len() {
            1 => data.iter_mut().for_each(|x| *x += 0.3 * random.next()),
            _ => data.iter_mut().for_each(|x| *x *= 2.0),
        }
    }
    tiny
}

/// The same model as a Gemma 3, with the norms that it then has and a window in its first layer.
fn gemma(seed: u64) -> Tiny {
    let mut tiny = as_architecture(llama(seed), "gemma3");
    tiny.metadata.insert("gemma3.attention.sliding_window", WINDOW as u32);
    tiny.metadata.insert("gemma3.attention.sliding_window_pattern", 2u32);
    tiny.metadata.insert("gemma3.rope.freq_base", GLOBAL_BASE);
    let mut random = Random(seed + 200);
    for block in 0..TINY_BLOCKS {
        for (part, size) in
            [("attn_q_norm", 16), ("attn_k_norm", 16), ("post_attention_norm", 64), ("post_ffw_norm", 64)]
        {
            let data = (0..size).map(|_| 1.0 + 0.3 * random.next()).collect();
            tiny.add(&format!("blk.{block}.{part}.weight"), &[size], data);
        }
    }
    tiny
}

/// How far each of `enters`, in the reference, is from what a path of scales through two models, with repeats, computes: the largest
/// relative difference in the log-likelihood of a text.
fn distances(models: &[Tiny; 2], form: PathScale, enters: &[Enter]) -> Vec<f64> {
    let folder = Folder::new();
    let order = [(0, 0, 1.3), (1, 1, 0.7), (0, 0, 1.2), (1, 1, 0.6), (0, 1, 1.4), (1, 0, 0.8), (1, 0, 0.9)];
    let names = ["a.gguf", "b.gguf"];
    for (model, name) in models.iter().zip(names) {
        model.write(&folder.path(name));
    }
    let hops =
        order.map(|(model, layer, scale)| format!("  - {{model: {}, layer: {layer}, scale: {scale}}}\n", names[model]));
    let text = format!("path:\n{}path_scale: {}\n", hops.concat(), form.name());
    let opened = Opened::new(&text, &folder.path("recipe.yaml"));
    let texts = texts(5, 16);
    let ours = likelihoods(&mut opened.run(&opened.plan), &texts);
    let steps = order.map(|(model, layer, scale)| Step { model: &models[model], layer, scale });
    let distance = |enter: &Enter| {
        let far = texts.iter().zip(&ours).map(|(text, ours)| (ours / reference(&steps, *enter, text) - 1.0).abs());
        far.fold(0.0, f64::max)
    };
    enters.iter().map(distance).collect()
}

#[test]
fn scales_do_what_a_forward_pass_in_f64_does_with_them() {
    for models in [[llama(1), llama(2)], [gemma(1), gemma(2)]] {
        let name = models[0].metadata.str("general.architecture").unwrap().to_owned();
        let mlp_output = distances(&models, PathScale::MlpOutput, &[MLP_OUTPUT, RESIDUAL, UNSCALED]);
        let residual = distances(&models, PathScale::Residual, &[RESIDUAL, MLP_OUTPUT, UNSCALED]);
        for far in [mlp_output, residual] {
            // llama.cpp keeps keys and values in f16, whose 11 bits round them by up to 5e-4: 5e-5 is measured of the sums.
            assert!(far[0] < 1e-4, "{name}: {far:?}");
            assert!(far[1] > 1e-2 && far[2] > 1e-2, "{name}: {far:?}");
        }
    }
}
