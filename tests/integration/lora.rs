//! LoRA adapters as parents: what llama.cpp computes with an adapter, what dense matrices come to, and what cannot be.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr;

use ggraft::ggml::CODECS;
use ggraft::gguf::{Metadata, TensorInfo, Value, encode_header};
use ggraft_kernels::{GgmlType, Program, Source, Term, run};
use llama_cpp_sys_2 as sys;

use crate::exact::{assert_exact, export, perplexities};
use crate::mistakes::recipe_refused;
use crate::support::{Folder, Random, Tiny, ggraft, perplexity_task, values};

const WIDTH: u64 = 64;

/// A llama with an output matrix of its own: llama.cpp cannot put an adapter on a tied one.
fn base(seed: u64) -> Tiny {
    let mut tiny = Tiny::llama(WIDTH as u32, seed);
    let shape = tiny.tensors[0].0.shape.clone();
    tiny.add("output.weight", &shape, drawn(seed + 1000, shape[0] * shape[1]));
    tiny
}

fn drawn(seed: u64, count: u64) -> Vec<f32> {
    let mut random = Random(seed);
    (0..count).map(|_| 0.2 * random.next()).collect()
}

fn convert(from: GgmlType, data: &[u8], to: GgmlType, count: usize) -> Vec<u8> {
    let same = Program::Sum { terms: vec![Term { source: 0, coefficient: 1.0 }], constant: 0.0 };
    let mut out = vec![0; to.row_size(count).unwrap()];
    run(&same, &[Source::new(from, data)], to, 0..count, &mut out, &CODECS);
    out
}

/// An adapter that a test can bend before it is written.
#[derive(Clone)]
struct Adapter {
    metadata: Metadata,
    tensors: Vec<(TensorInfo, Vec<f32>)>,
}

impl Adapter {
    /// On `targets` of [`base`], drawn from `seed`.
    fn new(targets: &[&str], rank: u64, alpha: f32, ty: GgmlType, seed: u64) -> Self {
        let mut metadata = Metadata::default();
        metadata.insert("general.type", "adapter");
        metadata.insert("general.architecture", "llama");
        metadata.insert("adapter.type", "lora");
        metadata.insert("adapter.lora.alpha", alpha);
        let mut adapter = Self { metadata, tensors: Vec::new() };
        let model = base(0);
        for (i, name) in targets.iter().enumerate() {
            let info = &model.tensors.iter().find(|(info, _)| info.name == *name).unwrap().0;
            let [columns, rows] = info.shape[..] else { panic!("{name} is no matrix") };
            let looked_up = *name == "token_embd.weight";
            let shapes = if looked_up { [[rank, rows], [rank, columns]] } else { [[columns, rank], [rank, rows]] };
            for (half, shape) in ["lora_a", "lora_b"].iter().zip(shapes) {
                let values = drawn(seed + 10 * i as u64 + half.len() as u64 + shape[1], shape[0] * shape[1]);
                adapter.add(&format!("{name}.{half}"), &shape, ty, values);
            }
        }
        adapter
    }

    fn add(&mut self, name: &str, shape: &[u64], ty: GgmlType, values: Vec<f32>) {
        self.tensors.push((TensorInfo::new(name, shape, ty).unwrap(), values));
    }

    fn write(&self, path: &Path) -> PathBuf {
        let infos: Vec<TensorInfo> = self.tensors.iter().map(|(info, _)| info.clone()).collect();
        let encoded = encode_header(&self.metadata, &infos, 32).unwrap();
        let mut bytes = encoded.bytes;
        let start = bytes.len();
        bytes.resize(start + encoded.data_len as usize, 0);
        for (info, (_, values)) in encoded.tensors.iter().zip(&self.tensors) {
            let source: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let data = convert(GgmlType::F32, &source, info.ty, values.len());
            bytes[start + info.offset as usize..][..data.len()].copy_from_slice(&data);
        }
        fs::write(path, bytes).unwrap();
        path.to_owned()
    }
}

const ATTENTION: [&str; 4] =
    ["blk.0.attn_q.weight", "blk.0.attn_v.weight", "blk.1.attn_k.weight", "blk.1.attn_output.weight"];
const REST: [&str; 4] = ["blk.0.ffn_up.weight", "blk.1.ffn_down.weight", "output.weight", "token_embd.weight"];

/// `base.gguf` and `other.gguf` with three adapters of different types, ranks and targets: `x.gguf`, `y.gguf`, `z.gguf`.
pub fn folder() -> Folder {
    let folder = Folder::new();
    base(1).write(&folder.path("base.gguf"));
    base(2).write(&folder.path("other.gguf"));
    Adapter::new(&ATTENTION, 4, 8.0, GgmlType::F32, 3).write(&folder.path("x.gguf"));
    Adapter::new(&REST, 7, 5.0, GgmlType::F16, 4).write(&folder.path("y.gguf"));
    let both = [ATTENTION, REST].concat();
    Adapter::new(&both, 32, 16.0, GgmlType::Q8_0, 5).write(&folder.path("z.gguf"));
    folder
}

fn one(model: &str) -> String {
    format!("merge_method: passthrough\nmodels: [{{model: {model}}}]\nout_type: f32\n")
}

/// What llama.cpp itself computes from `model` with `adapters` on it: the logits behind every token.
fn logits(model: &Path, adapters: &[PathBuf], tokens: &[i32]) -> Vec<f32> {
    let c_path = |path: &Path| CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: plain C calls on objects made and freed here: the batch reads one array entry per token while it is decoded, and logits are
    // copied before the context goes.
    unsafe {
        let mut params = sys::llama_model_default_params();
        params.use_extra_bufts = false;
        let model = sys::llama_model_load_from_file(c_path(model).as_ptr(), params);
        assert!(!model.is_null());
        let mut params = sys::llama_context_default_params();
        (params.n_ctx, params.n_threads) = (256, 1);
        // F16 in the cache and in flash attention would round more than anything compared here.
        (params.type_k, params.type_v) = (sys::GGML_TYPE_F32, sys::GGML_TYPE_F32);
        params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
        let context = sys::llama_init_from_model(model, params);
        let mut loaded: Vec<_> =
            adapters.iter().map(|path| sys::llama_adapter_lora_init(model, c_path(path).as_ptr())).collect();
        assert!(!context.is_null() && loaded.iter().all(|adapter| !adapter.is_null()));
        let mut scales = vec![1.0; loaded.len()];
        assert_eq!(sys::llama_set_adapters_lora(context, loaded.as_mut_ptr(), loaded.len(), scales.as_mut_ptr()), 0);
        let mut batch = sys::llama_batch_init(tokens.len() as i32, 0, 1);
        batch.n_tokens = tokens.len() as i32;
        for (i, token) in tokens.iter().enumerate() {
            *batch.token.add(i) = *token;
            *batch.pos.add(i) = i as i32;
            *batch.n_seq_id.add(i) = 1;
            **batch.seq_id.add(i) = 0;
            *batch.logits.add(i) = 1;
        }
        assert_eq!(sys::llama_decode(context, batch), 0);
        let count = sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(model)) as usize;
        let all = (0..tokens.len() as i32)
            .flat_map(|i| std::slice::from_raw_parts(sys::llama_get_logits_ith(context, i), count).to_vec())
            .collect();
        sys::llama_set_adapters_lora(context, ptr::null_mut(), 0, ptr::null_mut());
        sys::llama_batch_free(batch);
        sys::llama_free(context);
        sys::llama_model_free(model);
        all
    }
}

#[test]
fn merged_weights_compute_what_llama_cpp_computes_with_the_adapters() {
    ggraft::model::log_to_stderr(false);
    let folder = folder();
    let tokens: Vec<i32> = (0..40).map(|i| 10 + i * i % 300).collect();
    let plain = logits(&folder.path("base.gguf"), &[], &tokens);
    // Activations meet a factor in its own type, for llama.cpp rounds them to that; a merged matrix in F32 does not ask for it.
    for (names, tolerance) in [(&["x"][..], 1e-6), (&["y"], 1e-3), (&["z"], 2e-2), (&["x", "y", "z"], 2e-2)] {
        let adapters: Vec<PathBuf> = names.iter().map(|name| folder.path(&format!("{name}.gguf"))).collect();
        let chain: String = names.iter().map(|name| format!("+{name}.gguf")).collect();
        let merged = folder.path("merged.gguf");
        export(&folder.write("one.yaml", one(&format!("base.gguf{chain}"))), &merged, &[]);
        let (want, got) = (logits(&folder.path("base.gguf"), &adapters, &tokens), logits(&merged, &[], &tokens));
        let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let (error, effect) = (distance(&want, &got), distance(&want, &plain));
        assert!(
            error < tolerance * effect,
            "{names:?}: logits differ by {error}, the adapter changes them by {effect}"
        );
    }
}

/// `base + sum scale * B * A` in f64 of every tensor that an adapter changes.
fn dense(base: &Tiny, adapters: &[&Dense]) -> Tiny {
    let mut dense = base.clone();
    for (info, values) in &mut dense.tensors {
        for adapter in adapters {
            let Some((a, b, rank)) = adapter.of(&info.name) else { continue };
            let (columns, looked_up) = (info.shape[0] as usize, info.name == "token_embd.weight");
            for (i, value) in values.iter_mut().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let term = |k: usize| {
                    let (a, b) = if looked_up {
                        (b[column * rank + k], a[row * rank + k])
                    } else {
                        (a[k * columns + column], b[row * rank + k])
                    };
                    f64::from(a) * f64::from(b)
                };
                let sum: f64 = (0..rank).map(term).sum();
                *value = (f64::from(*value) + adapter.alpha / rank as f64 * sum) as f32;
            }
        }
    }
    dense
}

/// An adapter's decoded tensors.
struct Dense {
    alpha: f64,
    tensors: Vec<(TensorInfo, Vec<f32>)>,
}

impl Dense {
    fn new(adapter: &Adapter) -> Self {
        let rounded = |(info, values): &(TensorInfo, Vec<f32>)| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let there = convert(GgmlType::F32, &bytes, info.ty, values.len());
            let back = convert(info.ty, &there, GgmlType::F32, values.len());
            (info.clone(), back.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        };
        let alpha = adapter.metadata.f64("adapter.lora.alpha").unwrap();
        Self { alpha, tensors: adapter.tensors.iter().map(rounded).collect() }
    }

    fn of(&self, name: &str) -> Option<(&[f32], &[f32], usize)> {
        let half = |half: &str| self.tensors.iter().find(|(info, _)| info.name == format!("{name}.{half}"));
        let ((_, a), (info, b)) = (half("lora_a")?, half("lora_b")?);
        Some((a, b, info.shape[0] as usize))
    }
}

#[test]
fn every_method_merges_adapters_as_it_merges_dense_models() {
    let folder = folder();
    let base = base(1);
    let [x, y] = [Adapter::new(&ATTENTION, 4, 8.0, GgmlType::F32, 3), Adapter::new(&REST, 7, 5.0, GgmlType::F16, 4)]
        .map(|adapter| Dense::new(&adapter));
    dense(&base, &[&x]).write(&folder.path("dense_x.gguf"));
    dense(&base, &[&y]).write(&folder.path("dense_y.gguf"));
    dense(&base, &[&x, &y]).write(&folder.path("dense_xy.gguf"));
    let two = |method: &str, more: &str| {
        format!(
            "merge_method: {method}\nbase_model: base.gguf\nmodels: [{{model: X, parameters: {{weight: 0.7}}}}, {{model: Y, parameters: {{weight: 0.6}}}}]\n{more}\nout_type: f32\n"
        )
    };
    let of_three = |method: &str, base: &str, more: &str| {
        format!(
            "merge_method: {method}\n{base}\nmodels: [{{model: X}}, {{model: Y}}, {{model: XY}}]\n{more}\nout_type: f32\n"
        )
    };
    let recipes = [
        one("X"),
        one("XY"),
        "merge_method: linear\nmodels: [{model: X, parameters: {weight: 3}}, {model: Y, parameters: {weight: 1}}]\nout_type: f32\n".to_owned(),
        "merge_method: slerp\nbase_model: X\nmodels: [{model: XY}]\nparameters: {t: 0.3}\nout_type: f32\n".to_owned(),
        two("task_arithmetic", ""),
        two("multislerp", "").replace("base_model: base.gguf", ""),
        two("ties", "parameters: {density: 0.5}"),
        two("dare_ties", "parameters: {density: 0.5}"),
        two("della", "parameters: {density: 0.5, epsilon: 0.2, rescale: true}"),
        two("breadcrumbs_ties", "parameters: {density: 0.5, gamma: 0.05}"),
        of_three("sce", "base_model: base.gguf", "parameters: {select_topk: 0.5}"),
        two("nuslerp", "parameters: {nuslerp_flatten: false}"),
        of_three("model_stock", "base_model: base.gguf", "parameters: {filter_wise: true}"),
        of_three("karcher", "", ""),
        of_three("ramplus_tl", "base_model: base.gguf", "parameters: {epsilon: 0.01, r: 0.2, alpha: 0.5}"),
        "merge_method: nearswap\nbase_model: X\nmodels: [{model: XY}]\nparameters: {t: 0.01}\nout_type: f32\n".to_owned(),
        "merge_method: arcee_fusion\nbase_model: X\nmodels: [{model: XY}]\nout_type: f32\n".to_owned(),
    ];
    let forms = [
        [("XY", "base.gguf+x.gguf+y.gguf"), ("X", "base.gguf+x.gguf"), ("Y", "base.gguf+y.gguf")],
        [("XY", "dense_xy.gguf"), ("X", "dense_x.gguf"), ("Y", "dense_y.gguf")],
    ];
    for recipe in recipes {
        let merged = forms.map(|names| {
            let out = folder.path(&format!("{}.gguf", names[0].1.len()));
            let text = names.iter().fold(recipe.clone(), |text, (from, to)| {
                text.replace(&format!("model: {from}"), &format!("model: {to}"))
            });
            export(&folder.write("recipe.yaml", text), &out, &[]);
            out
        });
        for (info, _) in &base.tensors {
            let [low_rank, dense] = merged.each_ref().map(|file| values(file, &info.name));
            // Where the order of two nearly equal differences turns, or a sign of nearly nothing, one element falls out of a mask.
            let far = low_rank.iter().zip(&dense).filter(|(a, b)| (*a - *b).abs() > 2e-6).count();
            let masked = ["ties", "della", "sce", "arcee", "ram"].iter().any(|method| recipe.contains(method));
            assert!(far <= if masked { low_rank.len() / 500 } else { 0 }, "{far} of {}: {recipe}", info.name);
        }
    }
}

#[test]
fn recipes_over_adapters_score_as_their_exported_files_bit_for_bit() {
    let folder = folder();
    let task = perplexity_task(&folder, 5);
    let recipes = [
        ("chained", "merge_method: passthrough\nmodels: [{model: base.gguf+x.gguf+y.gguf}]\n"),
        ("mapped", "merge_method: passthrough\nmodels: [{model: {model: base.gguf, lora: [z.gguf, y.gguf]}}]\n"),
        (
            "linear",
            "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: base.gguf+x.gguf}, {model: other.gguf}, {model: base.gguf+z.gguf}]\n",
        ),
        (
            "ties",
            "merge_method: ties\nbase_model: base.gguf\nparameters: {weight: 1, density: 0.4}\nmodels: [{model: base.gguf+x.gguf}, {model: base.gguf+y.gguf}]\n",
        ),
        (
            "dare",
            "merge_method: dare_linear\nbase_model: base.gguf\nparameters: {weight: 0.5, density: 0.4}\nmodels: [{model: {model: base.gguf, lora: x.gguf}}, {model: base.gguf+z.gguf}]\n",
        ),
        (
            "slices",
            "merge_method: passthrough\nslices:\n  - sources: [{model: base.gguf+x.gguf, layer_range: [0, 2]}]\n  - sources: [{model: base.gguf+y.gguf, layer_range: [1, 2]}]\n  - sources: [{model: base.gguf+y.gguf, layer_range: [1, 2]}]\n",
        ),
        (
            "path",
            "path: [{model: base.gguf+z.gguf}, {model: base.gguf+x.gguf, layer: 1, scale: 0.9}, {model: base.gguf, layer: 0}, {model: base.gguf+x.gguf, layer: 1}]\n",
        ),
        (
            "hybrid",
            "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: base.gguf+x.gguf}, {model: other.gguf}]\npath: [{}, {model: base.gguf+y.gguf, layer: 1}, {layer: 0}]\n",
        ),
    ];
    let recipes = recipes.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let values = assert_exact(&folder, &recipes, &task);
    assert!((0..values.len()).all(|i| !values[..i].contains(&values[i])), "{values:?}");

    let inspected = ggraft(["inspect", "--json", folder.path("chained.yaml").to_str().unwrap()]).json();
    let parent = inspected["parents"][0]["path"].as_str().unwrap();
    assert!(["base.gguf+", "x.gguf+", "y.gguf"].iter().all(|part| parent.contains(part)), "{parent}");
    let path = ggraft(["inspect", "--json", folder.path("path.yaml").to_str().unwrap()]).json();
    assert_eq!(
        (&path["block_count"], &path["unique_blocks"]),
        (&5.into(), &4.into()),
        "a block of an adapter counts once"
    );
    let said = ggraft(["run", folder.path("linear.yaml").to_str().unwrap(), "-p", "A", "-n", "4", "--json"]).json();
    assert_eq!(said["generated_tokens"], 4);
}

#[test]
fn what_is_no_adapter_for_this_model_is_refused_by_name() {
    let folder = folder();
    let good = Adapter::new(&ATTENTION, 4, 8.0, GgmlType::F32, 3);
    let refused = |bend: &dyn Fn(&mut Adapter), parts: &[&str]| {
        let mut adapter = good.clone();
        bend(&mut adapter);
        adapter.write(&folder.path("bad.gguf"));
        recipe_refused(&folder, &one("base.gguf+bad.gguf"), &[&["bad.gguf`"], parts].concat());
    };
    let set = |key: &'static str, value: Value| move |a: &mut Adapter| a.metadata.insert(key, value.clone());
    refused(&set("general.architecture", "qwen2".into()), &["adapter for a \"qwen2\"", "\"llama\""]);
    refused(&set("adapter.type", "control_vector".into()), &["another kind", "control_vector", "only `lora`"]);
    refused(&set("adapter.lora.alpha", f32::INFINITY.into()), &["`adapter.lora.alpha` inf"]);
    refused(&set("adapter.alora.invocation_tokens", vec![1u32, 2].into()), &["activated LoRA"]);
    refused(&set("split.count", 2u16.into()), &["split set"]);
    refused(&|a| drop(a.metadata.remove("adapter.lora.alpha")), &["`adapter.lora.alpha` not given"]);
    refused(&|a| drop(a.metadata.remove("general.type")), &["is no adapter", "`general.type` is not given"]);
    refused(&|a| a.tensors.clear(), &["without a single pair"]);
    refused(&|a| drop(a.tensors.remove(1)), &["no `blk.0.attn_q.weight.lora_b`"]);
    refused(&|a| a.tensors[0].0.name = "blk.0.attn_q.bias".into(), &["`blk.0.attn_q.bias`", "neither"]);
    let renamed = |name: &'static str| {
        move |a: &mut Adapter| {
            a.tensors[0].0.name = format!("{name}.lora_a");
            a.tensors[1].0.name = format!("{name}.lora_b");
        }
    };
    refused(&renamed("blk.7.attn_q.weight"), &["tensor `blk.7.attn_q.weight`", "does not have", "base.gguf"]);
    refused(&renamed("blk.0.ffn_down.weight"), &["`blk.0.ffn_down.weight`", "[64, 4]", "[4, 64]", "[128, 64]"]);
    refused(&renamed("output_norm.weight"), &["`output_norm.weight`", "do not make [64]"]);
    let big = Adapter::new(&ATTENTION[..1], 65, 8.0, GgmlType::F32, 3);
    refused(&|a| *a = big.clone(), &["rank 65 at tensor `blk.0.attn_q.weight`", "at most 64"]);

    recipe_refused(&folder, &one("base.gguf+other.gguf"), &["other.gguf`", "is no adapter"]);
    recipe_refused(
        &folder,
        &one("x.gguf"),
        &["x.gguf`", "is an adapter, not a model", "`model: model.gguf+adapter.gguf`"],
    );
    recipe_refused(&folder, &one("x.gguf+base.gguf"), &["x.gguf`", "is an adapter, not a model"]);
    recipe_refused(&folder, &one("base.gguf+gone.gguf"), &["gone.gguf`"]);
    recipe_refused(&folder, &one("base.gguf+"), &["FILE:2:", "`base.gguf+`", "path of a GGUF file"]);
    let out = folder.path("x.gguf");
    let recipe = folder.write("recipe.yaml", one("base.gguf+x.gguf"));
    let done = ggraft(["export".as_ref(), recipe.as_os_str(), "-o".as_ref(), out.as_os_str()]);
    assert!(done.error(2).contains("is a parent of this recipe"), "{done:?}");
}

#[test]
fn norms_in_an_adapter_are_left_out_aloud() {
    let folder = folder();
    let mut adapter = Adapter::new(&ATTENTION, 4, 8.0, GgmlType::F32, 3);
    adapter.add("blk.0.attn_norm.weight", &[64], GgmlType::F32, vec![2.0; 64]);
    adapter.write(&folder.path("norms.gguf"));
    let merged = ["x", "norms"].map(|name| {
        let out = folder.path(&format!("merged_{name}.gguf"));
        let recipe = folder.write("recipe.yaml", one(&format!("base.gguf+{name}.gguf")));
        let done = ggraft(["export".as_ref(), recipe.as_os_str(), "-o".as_ref(), out.as_os_str()]);
        assert_eq!(done.code(), 0);
        assert_eq!(done.stderr.contains("`blk.0.attn_norm.weight`"), name == "norms", "{done:?}");
        fs::read(out).unwrap()
    });
    assert!(merged[0] == merged[1], "a norm had an effect");
}

#[test]
fn a_search_over_adapters_scores_each_with_its_own() {
    let folder = folder();
    let task = perplexity_task(&folder, 4);
    let text = "genome:\n  models: [base.gguf+x.gguf, base.gguf+y.gguf]\n  base_model: base.gguf\n  merge_method: task_arithmetic\n\
                tasks: [{task: perplexity.yaml, test: perplexity.jsonl}]\nsearch: {budget: 8, population: 4, seed: 3}\n";
    let (config, out) = (folder.write("evolve.yaml", text), folder.path("out"));
    let args = ["evolve".as_ref(), config.as_os_str(), "--json".as_ref(), "--out".as_ref(), out.as_os_str()];
    let found = ggraft(args).json();
    let alone = ["x", "y"].map(|name| {
        let recipe = one(&format!("base.gguf+{name}.gguf")).replace("f32", "q8_0");
        folder.write(&format!("{name}.yaml"), recipe)
    });
    let want = perplexities(&alone, &task);
    let parents = found["parents"].as_array().unwrap();
    for (parent, want) in parents.iter().zip(want) {
        let score = parent["test_score"].as_f64().unwrap();
        assert!((score / want - 1.0).abs() < 1e-9, "{parent} is not {want}");
    }
    let best = fs::read_to_string(out.join("best.yaml")).unwrap();
    assert!(["base.gguf+", "x.gguf", "y.gguf"].iter().all(|part| best.contains(part)), "{best}");
    perplexities(&[out.join("best.yaml")], &task);
}
