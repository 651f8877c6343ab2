//! What a recipe means, against mergekit's own answers, and what a wrong one is told.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::names::TensorName;
use super::*;

const FILE: &str = "dir/r.yaml";

fn reference(key: &str) -> Vec<Json> {
    let all: Json = serde_json::from_str(include_str!("../../tests/data/recipe_reference.json")).unwrap();
    all[key].as_array().unwrap().clone()
}

fn parse(text: &str) -> Recipe {
    Recipe::parse(text, Path::new(FILE)).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refusal(text: &str) -> String {
    Recipe::parse(text, Path::new(FILE)).expect_err(text).to_string()
}

fn written(path: &Path) -> String {
    path.strip_prefix("dir").unwrap().display().to_string()
}

/// A setting read from the JSON form of the reference, through the YAML reader (JSON is YAML).
fn setting(json: &Json) -> Setting {
    let text = format!("{{merge_method: linear, models: [{{model: a}}], parameters: {{weight: {json}}}}}");
    parse(&text).parameters.remove("weight").unwrap()
}

/// Every parameter of every tensor that matters, for models of `blocks` blocks: equal lists mean equal merges.
fn resolved(recipe: &Recipe, blocks: u32) -> Vec<Resolved> {
    let layout = recipe.layout(&vec![blocks; recipe.models.len()]).unwrap();
    let ends = [(Site::Before, "token_embd.weight".to_owned()), (Site::After, "output_norm.weight".to_owned())];
    let block = |b: usize| ["attn_q", "ffn_up", "attn_norm"].map(|m| (Site::Block(b), format!("blk.{b}.{m}.weight")));
    let tensors = ends.into_iter().chain((0..layout.len()).flat_map(block));
    tensors.map(|(site, name)| recipe.resolve(&layout, site, &name, "llama").unwrap()).collect()
}

fn at(recipe: &Recipe, blocks: u32, tensor: &str) -> Resolved {
    let layout = recipe.layout(&vec![blocks; recipe.models.len()]).unwrap();
    let site = match names::split_block(tensor) {
        Some((block, _)) => Site::Block(block as usize),
        None if tensor.starts_with("token_embd") => Site::Before,
        None => Site::After,
    };
    recipe.resolve(&layout, site, tensor, "llama").unwrap()
}

#[test]
fn gradients_give_the_values_mergekit_gave() {
    let cases = reference("gradient_cases");
    assert_eq!(cases.len(), 16);
    for case in cases {
        let layers = case["num_layers"].as_u64().unwrap() as u32;
        let text =
            format!("{{merge_method: linear, models: [{{model: a, parameters: {{weight: {}}}}}]}}", case["setting"]);
        let recipe = parse(&text);
        for (i, expected) in case["values"].as_array().unwrap().iter().enumerate() {
            let value = at(&recipe, layers, &format!("blk.{i}.ffn_up.weight")).sources[0].parameters["weight"];
            assert!((value - expected.as_f64().unwrap()).abs() < 1e-15, "{text} layer {i}: {value} is not {expected}");
        }
    }
}

#[test]
fn filters_give_the_values_mergekit_gave() {
    let gguf = |hf: &str| {
        let names = [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.norm.weight", "output_norm.weight"),
            ("model.layers.3.self_attn.q_proj.weight", "blk.3.attn_q.weight"),
            ("model.layers.3.mlp.down_proj.weight", "blk.3.ffn_down.weight"),
            ("model.layers.3.input_layernorm.weight", "blk.3.attn_norm.weight"),
        ];
        TensorName::new(names.iter().find(|(name, _)| *name == hf).unwrap().1, "llama")
    };
    let cases = reference("filter_cases");
    assert_eq!(cases.len(), 6);
    for case in cases {
        let name = gguf(case["tensor"].as_str().unwrap());
        assert_eq!(name.hf.as_deref(), case["tensor"].as_str());
        let value = setting(&case["setting"]).at(case["t"].as_f64().unwrap(), |filter| name.matches(filter));
        assert_eq!(value, case["value"].as_f64(), "{case}");
    }
}

#[test]
fn recipes_that_mergekit_evolve_writes_load_and_resolve() {
    for case in reference("genome_cases") {
        let recipe = parse(&case["config"].to_string());
        let all = resolved(&recipe, 30);
        assert_eq!(all.len(), 2 + 3 * 30);
        let first = &case["config"]["slices"][0]["sources"][0]["parameters"]["weight"];
        if let Some(weight) = first.as_f64() {
            assert_eq!(all[0].sources[0].parameters["weight"], weight);
        }
        if recipe.method.name == "ties" {
            assert_eq!((all[0].base, all[0].sources.len()), (Some(2), 3));
            assert!(all[0].sources[2].parameters.is_empty(), "a base has no weight of its own");
            assert_eq!(all[0].shared["normalize"], f64::from(case["config"]["parameters"]["normalize"] == true));
        }
        if recipe.method.name == "slerp" {
            assert_eq!((all[0].shared["t"], all[1].shared["t"]), (0.1372357435131657, 0.33976289495787876));
            assert_eq!(recipe.models[recipe.base_of(&recipe.slices[1]).unwrap()].written, "base");
        }
    }
}

#[test]
fn what_is_written_back_loads_to_the_same_merge() {
    let examples = [SLERP, TIES, FRANKENMERGE, DARE].map(str::to_owned);
    let genomes = reference("genome_cases").into_iter().map(|case| case["config"].to_string());
    for text in examples.into_iter().chain(genomes) {
        let recipe = parse(&text);
        let yaml = recipe.to_yaml(written).unwrap();
        let again = parse(&yaml);
        assert_eq!(resolved(&again, 32), resolved(&recipe, 32), "{yaml}");
        assert_eq!(again.models.len(), recipe.models.len());
        assert_eq!((again.out_type, again.base_model), (recipe.out_type, recipe.base_model), "{yaml}");
        assert_eq!((again.tokenizer_source, &again.chat_template), (recipe.tokenizer_source, &recipe.chat_template));
    }
}

#[test]
fn a_recipe_built_in_code_survives_the_way_through_yaml() {
    let model = |name: &str| ModelRef { written: name.to_owned(), path: Path::new("dir").join(name) };
    let awkward = ["y", "1.5", "null", "a: b #c", "it's \"quoted\" {x}.gguf", "~", "*star", "\u{e9}\t.gguf"];
    let numbers = vec![0.1 + 0.2, f64::MIN_POSITIVE, -0.0, 1e22, 2.0 / 3.0];
    let weight = Setting::filtered([
        (Some("self_attn: 'x'".to_owned()), Curve::Numbers(numbers.clone())),
        (Some("mlp".to_owned()), Curve::Numbers(vec![1.0])),
        (None, Curve::Numbers(vec![-0.25])),
    ]);
    let source = |model| Source {
        model,
        parameters: [("weight".to_owned(), weight.clone()), ("density".to_owned(), 0.3.into())].into(),
        ..Source::default()
    };
    let slice = Slice { sources: (0..awkward.len()).map(source).collect(), ..Slice::default() };
    let models = awkward.map(model).to_vec();
    let recipe = Recipe {
        base_model: Some(2),
        parameters: [("normalize".to_owned(), Curve::Steps(vec![true, false]).into())].into(),
        out_type: OutType::Same,
        tokenizer_source: Some(1),
        chat_template: Some("{% if x %}\n  a: b\n{% endif %}\n\n".to_owned()),
        ..Recipe::new(MethodSpec::find("ties").unwrap(), models, vec![slice])
    };
    let recipe = recipe.checked().unwrap();
    let again = parse(&recipe.to_yaml(written).unwrap());
    assert_eq!(resolved(&again, 7), resolved(&recipe, 7));
    assert_eq!(again.slices[0].sources[0].parameters["weight"].rules[0].curve, Curve::Numbers(numbers));
    assert_eq!(again.models.iter().map(|m| m.written.as_str()).collect::<Vec<_>>(), awkward);
    assert_eq!((again.out_type, again.tokenizer_source), (OutType::Same, Some(1)));
    assert_eq!(again.chat_template, recipe.chat_template);
}

const SLERP: &str = "
slices:
  - sources:
      - {model: a.gguf, layer_range: [0, 32]}
      - {model: b.gguf, layer_range: [0, 32]}
merge_method: slerp
base_model: a.gguf
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - value: 0.5
dtype: bfloat16
";

const TIES: &str = "
models:
  - model: base.gguf
    # no parameters necessary for base model
  - model: math.gguf
    parameters:
      density: [1, 0.7, 0.1] # density gradient
      weight: 1.0
  - model: {model: ja.gguf}
    parameters:
      density: 0.33
      weight:
        - filter: mlp
          value: 0.5
        - value: 0
merge_method: ties
base_model: ./base.gguf
parameters: {normalize: true, int8_mask: yes}
tokenizer_source: base
out_type: F16
";

const FRANKENMERGE: &str = "
merge_method: passthrough
slices:
  - sources:
      - model: a.gguf
        layer_range: [0, 24]
  - sources:
      - model: b.gguf
        layer_range: [8, 32]
        parameters:
          scale:
            - filter: layers.20.mlp.down_proj
              value: 0.25
            - filter: o_proj
              value: 0.0
            - value: 1.0
";

const DARE: &str = "
merge_method: dare_ties
base_model: base.gguf
models:
  - {model: a.gguf, parameters: {weight: 0.5, density: 0.53}}
  - {model: b.gguf, parameters: &same {weight: [0.25], density: 0.5}}
  - {model: c.gguf, parameters: *same}
chat_template: chatml
tokenizer: {source: b.gguf}
";

#[test]
fn slerp_takes_its_t_by_filter_and_gradient() {
    let recipe = parse(SLERP);
    let t = |tensor: &str| at(&recipe, 32, tensor).shared["t"];
    assert_eq!([t("blk.0.attn_v.weight"), t("blk.31.attn_v.weight"), t("blk.0.ffn_gate.weight")], [0.0, 1.0, 1.0]);
    assert_eq!([t("blk.9.attn_norm.weight"), t("token_embd.weight"), t("output.weight")], [0.5; 3]);
    assert!((t("blk.10.attn_output.weight") - 0.4419354838709677).abs() < 1e-15);
    assert_eq!(at(&recipe, 32, "output.weight").base, Some(0));
    assert!(recipe.warnings[0].starts_with("dir/r.yaml:15:8: `dtype` has no effect"), "{:?}", recipe.warnings);
}

#[test]
fn ties_fills_defaults_and_asks_its_base_for_nothing() {
    let recipe = parse(TIES);
    assert_eq!((recipe.models.len(), recipe.base_model, recipe.tokenizer_source), (3, Some(0), Some(0)));
    assert_eq!(recipe.models[0].path, PathBuf::from("dir/base.gguf"));
    assert_eq!(recipe.out_type, OutType::F16);
    let end = at(&recipe, 5, "blk.4.ffn_up.weight");
    assert_eq!(end.base, Some(0));
    assert_eq!(end.sources[0].parameters, Values::new());
    assert_eq!(end.sources[1].parameters, Values::from([("density", 0.1), ("weight", 1.0)]));
    assert_eq!(end.sources[2].parameters, Values::from([("density", 0.33), ("weight", 0.5)]));
    let shared = [("int8_mask", 1.0), ("lambda", 1.0), ("normalize", 1.0), ("rescale", 0.0)];
    assert_eq!(end.shared, Values::from(shared));
    // Everything outside the blocks sees the first entry of a gradient, the final norm too.
    assert_eq!(at(&recipe, 5, "output_norm.weight").sources[1].parameters["density"], 1.0);
    assert_eq!(at(&recipe, 5, "blk.2.attn_q.weight").sources[2].parameters["weight"], 0.0);
}

#[test]
fn a_frankenmerge_counts_layers_on_and_filters_by_the_source_layer() {
    let recipe = parse(FRANKENMERGE);
    let layout = recipe.layout(&[32, 32]).unwrap();
    assert_eq!(layout.len(), 48);
    assert_eq!(layout[30], BlockSite { slice: 1, index: 6, length: 24, layers: vec![14] });
    let scale = |tensor: &str| at(&recipe, 32, tensor).sources[0].parameters["scale"];
    // Output block 36 is layer 20 of `b.gguf`; output block 20 is layer 20 of `a.gguf`, which has no filters.
    assert_eq!([scale("blk.36.ffn_down.weight"), scale("blk.20.ffn_down.weight")], [0.25, 1.0]);
    assert_eq!([scale("blk.36.attn_output.weight"), scale("blk.36.ffn_up.weight")], [0.0, 1.0]);
    assert_eq!(at(&recipe, 32, "token_embd.weight").sources[0].model, 0);
    assert_eq!(at(&recipe, 32, "output.weight").sources[0].model, 1);
    assert_eq!(at(&recipe, 32, "blk.36.ffn_up.weight").sources[0].layer, Some(20));
}

#[test]
fn a_base_that_is_not_listed_becomes_the_last_source() {
    let recipe = parse(DARE);
    let tensor = at(&recipe, 2, "blk.0.ffn_up.weight");
    assert_eq!((tensor.base, tensor.sources.len()), (Some(3), 4));
    assert_eq!(tensor.sources[2].parameters, Values::from([("density", 0.5), ("weight", 0.25)]));
    assert_eq!(tensor.shared["rescale"], 1.0);
    assert_eq!(recipe.models[recipe.tokenizer_source.unwrap()].written, "b.gguf");
    let linear = parse("{merge_method: linear, base_model: b, models: [{model: a}], parameters: {weight: 0.5}}");
    assert_eq!((at(&linear, 1, "output.weight").sources.len(), at(&linear, 1, "output.weight").base), (2, None));
}

#[test]
fn source_goes_before_slice_before_recipe_before_default_and_a_filter_may_fall_through() {
    let recipe = parse(
        "
merge_method: task_arithmetic
base_model: b
slices:
  - sources: [{model: b, layer_range: [0, 2]}, {model: a, layer_range: [0, 2], parameters: {weight: {filter: mlp, value: 1}}}]
    parameters: {weight: [{filter: self_attn, value: 2}], lambda: 0.5}
  - sources: [{model: b, layer_range: [2, 3]}, {model: a, layer_range: [2, 3], parameters: {lambda: 7}}]
parameters: {weight: 3, normalize: [false, true]}
",
    );
    let weight = |tensor: &str| at(&recipe, 3, tensor).sources[1].parameters["weight"];
    assert_eq!([weight("blk.0.ffn_up.weight"), weight("blk.0.attn_q.weight")], [1.0, 2.0]);
    assert_eq!([weight("blk.0.attn_norm.weight"), weight("blk.2.ffn_up.weight")], [3.0, 3.0]);
    let shared = |tensor: &str, name| at(&recipe, 3, tensor).shared[name];
    assert_eq!([shared("blk.1.ffn_up.weight", "lambda"), shared("blk.2.ffn_up.weight", "lambda")], [0.5, 1.0]);
    assert_eq!([0, 1, 2].map(|b| shared(&format!("blk.{b}.ffn_up.weight"), "normalize")), [0.0, 1.0, 1.0]);
    assert_eq!(recipe.warnings.len(), 1);
    assert!(recipe.warnings[0].contains("7:93: `lambda` is one value for all models"), "{:?}", recipe.warnings);
}

#[test]
fn hugging_face_filters_catch_what_they_mean_and_nothing_else() {
    let cases = [
        ("llama", "blk.0.ffn_norm.weight", "post_attention_layernorm", true),
        ("gemma3", "blk.0.ffn_norm.weight", "post_attention_layernorm", false),
        ("gemma3", "blk.0.ffn_norm.weight", "pre_feedforward_layernorm", true),
        ("gemma2", "blk.0.post_attention_norm.weight", "post_attention_layernorm", true),
        ("gemma2", "blk.0.post_ffw_norm.weight", "post_feedforward", true),
        ("qwen2", "blk.0.attn_k.bias", "self_attn.k_proj.bias", true),
        ("qwen3", "blk.0.attn_q_norm.weight", "self_attn.q_norm", true),
        ("qwen3moe", "blk.7.ffn_down_exps.weight", "mlp.experts", true),
        ("llama", "blk.7.ffn_gate_exps.weight", "mlp", false),
        ("llama", "blk.7.ffn_gate_exps.weight", "block_sparse_moe.experts.w1", true),
        ("phi3", "blk.0.attn_qkv.weight", "self_attn.qkv_proj", true),
        ("phi3", "blk.0.ffn_up.weight", "gate_up_proj", true),
        ("llama", "output.weight", "lm_head", true),
        ("llama", "token_embd.weight", "embed_tokens", true),
        ("llama", "blk.1.attn_q.weight", "layers.1.", true),
        ("llama", "blk.10.attn_q.weight", "layers.1.", false),
        // Written for GGUF.
        ("llama", "blk.3.attn_q.weight", "blk.3.", true),
        ("llama", "blk.3.ffn_down.weight", "ffn_", true),
        ("llama", "rope_freqs.weight", "rope", true),
        // `attn` is a part of `self_attn`, as every mergekit user knows it, not of `attn_norm`.
        ("llama", "blk.3.attn_q.weight", "attn", true),
        ("llama", "blk.3.attn_norm.weight", "attn", false),
        ("llama", "blk.3.attn_norm.weight", "attn_norm", true),
    ];
    for (arch, tensor, filter, expected) in cases {
        assert_eq!(TensorName::new(tensor, arch).matches(filter), expected, "{arch} {tensor} {filter}");
    }
}

#[test]
fn every_wrong_recipe_is_told_where_and_why() {
    let linear = |rest: &str| format!("merge_method: linear\nmodels:\n  - model: a\n    parameters:\n      {rest}\n");
    let sliced = |rest: &str| format!("merge_method: linear\nslices:\n  - sources:\n    - {rest}\n");
    let ties = |rest: &str| format!("merge_method: ties\nmodels: [{{model: a, parameters: {{weight: 1}}}}]\n{rest}\n");
    let cases = [
        ("a: [", "1:1: unknown key `a`"),
        ("merge_method: [a\n", "1:15: text belongs here"),
        ("", "1:1:"),
        ("- linear\n", "1:1: `key: value` pairs belong here"),
        ("merge_method: linear\n---\nmerge_method: linear\n", "3:1: only single YAML document"),
        ("models: []\n", "1:1: the key `merge_method` is missing"),
        ("merge_method: linear\nmerge_method: ties\n", "2:1: the key `merge_method` is given twice"),
        (
            "merge_method: liner\nmodels: [{model: a}]\n",
            "1:15: `merge_method` is `liner`: no such method: did you mean `linear`?",
        ),
        (
            "merge_method: quantum\n",
            "1:15: `merge_method` is `quantum`: no such method; known: `linear`, `slerp`, `task_arithmetic`",
        ),
        ("merge_method: linear\nmodel: a\n", "2:1: unknown key `model`: did you mean `models`?"),
        ("merge_method: linear\n", "1:15: a recipe has either `models` or `slices`; this one has neither"),
        (
            "merge_method: linear\nmodels: [{model: a}]\nslices: []\n",
            "3:9: a recipe has either `models` or `slices`; this one has both",
        ),
        ("merge_method: linear\nmodules: {x: 1}\n", "2:10: `modules` is not supported yet"),
        ("merge_method: linear\nmodels: []\n", "2:9: `models` is empty"),
        ("merge_method: linear\nslices: []\n", "2:9: `slices` is empty"),
        ("merge_method: linear\nmodels: 3\n", "2:9: a list belongs here"),
        ("merge_method: linear\nmodels:\n  - model: ''\n", "3:12: `model` is ``"),
        (
            "merge_method: linear\nmodels:\n  - model: a.gguf+lora\n",
            "3:12: the LoRA suffix of `a.gguf+lora` is not supported yet",
        ),
        ("merge_method: linear\nmodels:\n  - {model: {model: a, lora: b}}\n", "3:24: unknown key `lora`"),
        ("merge_method: linear\nmodels:\n  - {model: a}\n  - {model: ./a}\n", "4:5: `a` is listed twice"),
        (
            "merge_method: linear\nmodels: [{model: a}]\nout_type: q4_k\n",
            "3:11: `out_type` is `q4_k`: it must be `q8_0`, `f16`",
        ),
        (
            "merge_method: linear\nmodels: [{model: a}]\ntokenizer_source: union\n",
            "3:19: the vocabulary of `union` is not supported yet; take one model's",
        ),
        (
            "merge_method: linear\nmodels: [{model: a}]\ntokenizer_source: base\n",
            "3:19: `tokenizer_source` is `base`: there is no `base_model`",
        ),
        (
            "merge_method: linear\nmodels: [{model: a}]\ntokenizer: {source: a, tokens: {}}\n",
            "3:12: building a new vocabulary is not supported yet",
        ),
        (
            "merge_method: linear\nmodels: [{model: a}]\ntokenizer_source: a\ntokenizer: {source: a}\n",
            "4:12: `tokenizer` is given too",
        ),
        (
            "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\nbase_model: b\n",
            "3:13: `linear` has no base: `base_model` counts as one more input",
        ),
        (
            "merge_method: slerp\nmodels: [{model: a}, {model: b}]\nparameters: {t: 0.5}\n",
            "2:9: `slerp` merges relative to a base model",
        ),
        (
            "merge_method: slerp\nbase_model: c\nmodels: [{model: a}, {model: b}]\n",
            "3:9: `slerp` takes exactly 2 of the models in a slice, the base model counted; here are 3",
        ),
        ("merge_method: passthrough\nmodels: [{model: a}, {model: b}]\n", "2:9: `passthrough` takes exactly 1 of"),
        (
            "merge_method: ties\nbase_model: b\nslices:\n  - sources: [{model: a}]\n",
            "4:5: the base model `b` is not among the sources",
        ),
        (&linear("weigth: 1"), "5:7: `linear` has no parameter `weigth`: did you mean `weight`?"),
        (&linear("t: 1"), "5:7: `linear` has no parameter `t`; known: `weight`, `normalize`"),
        (&linear("weight: .nan"), "5:15: `.nan` is not a finite number"),
        (&linear("weight: [1, -.inf]"), "5:19: `-.inf` is not a finite number"),
        (&linear("weight: 1e999"), "5:15: `1e999` is not a finite number"),
        (&linear("weight: much"), "5:15: `weight` is `much`: it must be a number"),
        (&linear("weight:"), "5:13: `weight` is empty: it must be a number"),
        (&linear("weight: []"), "5:15: `weight` is an empty list"),
        (&linear("weight: yes"), "5:15: `weight` is a truth value: it must be a number"),
        (&linear("weight: [1, true]"), "5:19: `weight` is a mixture"),
        (&linear("weight: [1, [2]]"), "5:19: `weight` is a list in a list"),
        (&linear("weight: [1, {value: 2}]"), "5:19: `weight` is a filter among plain values"),
        (&linear("weight: [{value: 2}, 1]"), "5:28: `weight` is a plain value among filters"),
        (&linear("weight: {filter: a, value: {value: 2}}"), "5:34: `weight` is a filter among plain values"),
        (&linear("weight: {filter: a, valu: 1}"), "5:27: unknown key `valu`: did you mean `value`?"),
        (&linear("weight: {filter: a}"), "5:16: the key `value` is missing"),
        (&linear("weight: {filter: [a], value: 1}"), "5:24: text belongs here"),
        (&linear("weight: *gone"), "5:15: this alias has no anchor"),
        (&linear("weight: 1\n      weight: 2"), "6:7: the key `weight` is given twice"),
        (&ties("base_model: b\nparameters: {density: 1.5}"), "4:23: `density` is 1.5: it must be from 0 to 1"),
        (&ties("base_model: b\nparameters: {density: [0.5, -0.1]}"), "4:23: `density` is -0.1: it must be from 0 to 1"),
        (
            &ties("base_model: b\nparameters: {normalize: 1}"),
            "4:25: `normalize` is a number: it must be `true` or `false`",
        ),
        (&ties("base_model: b\nparameters: 3"), "4:1: invalid type: integer `3`, expected parameters by name"),
        (&ties("parameters: {lambda: 1}"), "2:9: `ties` merges relative to a base model: set `base_model`"),
        (
            &sliced("{model: a, layer_range: [3, 3]}"),
            "4:7: `layer_range` is [3, 3]: its first layer must come before its end",
        ),
        (&sliced("{model: a, layer_range: [0, -1]}"), "4:35: a whole number from 0 up belongs here"),
        (&sliced("{model: a, layer_range: [0, 2.5]}"), "4:35: a whole number from 0 up belongs here"),
        (&sliced("{model: a, layer_range: [0, 1, 2]}"), "4:18: 3 entries where"),
        (&sliced("{model: a, layer_rnge: [0, 1]}"), "4:18: unknown key `layer_rnge`: did you mean `layer_range`?"),
        (&sliced("{layer_range: [0, 1]}"), "the key `model` is missing"),
        ("merge_method: linear\nslices:\n  - sources: []\n", "3:5: `sources` is empty"),
        ("merge_method: linear\nx\u{1b}[31m: 1\n", "r.yaml:2:1: unexpected character: `\\u{1b}'"),
    ];
    for (text, expected) in cases {
        let message = refusal(text);
        assert!(message.starts_with("dir/r.yaml:") && message.contains(expected), "{text}\n  {message}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
    }
}

#[test]
fn layers_that_the_models_do_not_have_are_refused_with_their_place() {
    let recipe = parse(FRANKENMERGE);
    let refused = |counts: &[u32]| recipe.layout(counts).unwrap_err().to_string();
    assert_eq!(refused(&[32, 30]), "dir/r.yaml:8:9: `layer_range` [8, 32) of `b.gguf` ends beyond its 30 layers");
    assert_eq!(refused(&[32]), "there is no model 1; there are 1");
    let uneven = "{merge_method: linear, parameters: {weight: 1}, models: [{model: a}, {model: b}]}";
    let message = parse(uneven).layout(&[4, 5]).unwrap_err().to_string();
    assert!(message.ends_with("`a` brings 4 layers to this slice and `b` 5; they must be equally many"), "{message}");
    assert!(parse(uneven).layout(&[0, 0]).unwrap_err().to_string().contains("`layer_range` is empty"));
    assert!(parse(uneven).layout(&[u32::MAX; 2]).unwrap_err().to_string().contains("the limit is 16384"));
}

#[test]
fn a_parameter_that_nothing_sets_is_named_with_model_tensor_and_place() {
    let recipe =
        parse("merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: {filter: mlp, value: 1}}\n");
    let layout = recipe.layout(&[1]).unwrap();
    let resolve = |site, tensor| recipe.resolve(&layout, site, tensor, "llama");
    let message = resolve(Site::Block(0), "blk.0.attn_q.weight").unwrap_err().to_string();
    let expected = "dir/r.yaml:3:5: missing required parameter `weight` for model `a` at tensor `blk.0.attn_q.weight`";
    assert_eq!(message, expected);
    assert!(resolve(Site::Block(0), "blk.0.ffn_up.weight").is_ok());
    let message = resolve(Site::Block(1), "blk.1.ffn_up.weight").unwrap_err().to_string();
    assert_eq!(message, "there is no output block 1; there are 1");
    let slerp = parse("{merge_method: slerp, base_model: a, models: [{model: a}, {model: b}]}");
    let message = slerp.resolve(&[], Site::Before, "token_embd.weight", "llama").unwrap_err().to_string();
    assert!(message.contains("missing required parameter `t` for this slice"), "{message}");
}

#[test]
fn hostile_files_end_in_an_error_and_soon() {
    let mut bomb =
        "merge_method: linear\nmodels: [{model: a}]\nparameters:\n  weight: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            .to_owned();
    for i in 1..12 {
        let aliases = vec![format!("*a{}", i - 1); 9].join(", ");
        bomb.push_str(&format!("  w{i}: &a{i} [{aliases}]\n"));
    }
    let started = std::time::Instant::now();
    let message = refusal(&bomb);
    assert!(message.starts_with("dir/r.yaml:9:") && message.contains("replayed_events"), "{message}");
    let deep = |open: &str, close: &str| {
        let value = format!("{}1{}", open.repeat(50_000), close.repeat(50_000));
        format!("merge_method: linear\nmodels: [{{model: a}}]\nparameters: {{weight: {value}}}\n")
    };
    assert!(refusal(&deep("[", "]")).starts_with("dir/r.yaml:3:"));
    assert!(refusal(&deep("{value: ", "}")).starts_with("dir/r.yaml:3:"));
    let many: String = (0..=MAX_MODELS).map(|i| format!("  - model: m{i}\n")).collect();
    assert!(refusal(&format!("merge_method: linear\nmodels:\n{many}")).contains("67:12: 65 models; the limit is 64"));
    let slices = "  - sources: [{model: a, layer_range: [0, 1]}]\n".repeat(MAX_SLICES + 1);
    assert!(
        refusal(&format!("merge_method: passthrough\nslices:\n{slices}")).contains("1025 slices; the limit is 1024")
    );
    let long = format!("merge_method: linear # {}\n", "x".repeat(1 << 20));
    assert!(refusal(&long).contains("longer than 1048576 bytes"));
    assert!(started.elapsed().as_secs() < 20);
}

#[test]
fn a_recipe_built_in_code_is_checked_like_a_file() {
    let model = || ModelRef { written: "a".to_owned(), path: "a".into() };
    let build = |source: Source| {
        let slice = Slice { sources: vec![source], ..Slice::default() };
        Recipe::new(MethodSpec::find("linear").unwrap(), vec![model()], vec![slice]).checked()
    };
    let weigh = |setting: Setting| Source { parameters: [("weight".to_owned(), setting)].into(), ..Source::default() };
    assert!(build(weigh(0.5.into())).is_ok());
    let refused = |source| build(source).unwrap_err().to_string();
    assert_eq!(refused(weigh(f64::NAN.into())), "`weight` is NaN: it must be a finite number");
    assert_eq!(refused(weigh(true.into())), "`weight` is a truth value: it must be a number");
    assert_eq!(refused(weigh(Curve::Numbers(vec![]).into())), "`weight` is an empty list: it needs at least one value");
    assert_eq!(refused(weigh(Setting::filtered([]))), "`weight` is an empty list: it needs at least one value");
    assert_eq!(refused(Source { model: 3, ..Source::default() }), "there is no model 3; there are 1");
}

/// A method with what none of the six has: an optional base that is not counted, and a whole-number parameter.
static EXOTIC: MethodSpec = MethodSpec {
    name: "exotic",
    summary: "",
    reference: "",
    base: methods::BaseRule::Optional,
    inputs: methods::Inputs { with_base: false, min: 1, max: Some(2) },
    parameters: &[methods::ParameterSpec {
        name: "rounds",
        per_model: false,
        kind: methods::Kind::Int,
        default: Some(10.0),
        range: (0.0, 100.0),
        doc: "",
    }],
};

fn exotic(sources: usize, base_model: Option<usize>, rounds: Vec<f64>) -> Result<Recipe, RecipeError> {
    let model = |i: usize| ModelRef { written: format!("m{i}"), path: format!("m{i}").into() };
    let slice = Slice {
        sources: (0..sources).map(|model| Source { model, ..Source::default() }).collect(),
        ..Slice::default()
    };
    let parameters = [("rounds".to_owned(), Curve::Numbers(rounds).into())].into();
    Recipe { base_model, parameters, ..Recipe::new(&EXOTIC, (0..4).map(model).collect(), vec![slice]) }.checked()
}

#[test]
fn a_whole_number_parameter_refuses_the_fractions_of_a_gradient() {
    let recipe = exotic(1, None, vec![1.0, 2.0]).unwrap();
    let layout = recipe.layout(&[3; 4]).unwrap();
    let rounds = |b: usize| recipe.resolve(&layout, Site::Block(b), "blk.0.ffn_up.weight", "llama");
    assert_eq!([rounds(0).unwrap().shared["rounds"], rounds(2).unwrap().shared["rounds"]], [1.0, 2.0]);
    assert_eq!(rounds(1).unwrap_err().to_string(), "`rounds` is 1.5: it must be a whole number");
    let message = exotic(1, None, vec![2.5]).unwrap_err().to_string();
    assert_eq!(message, "`rounds` is 2.5: it must be a whole number");
}

#[test]
fn an_optional_base_is_no_input_but_must_be_there_if_it_is_named() {
    let refused = |sources, base| exotic(sources, base, vec![1.0]).unwrap_err().to_string();
    assert!(exotic(2, None, vec![1.0]).is_ok() && exotic(3, Some(0), vec![1.0]).is_ok());
    let message = "`exotic` takes 1 to 2 of the models in a slice, the base model not counted; here are 3";
    assert_eq!(refused(3, None), message);
    assert!(refused(1, Some(0)).ends_with("here are 0"));
    assert!(refused(2, Some(3)).starts_with("the base model `m3` is not among the sources"));
    assert_eq!(
        refused(1, Some(9)),
        "the base model `model 9` is not among the sources of this slice: add it, with the layers that belong there"
    );
}

#[test]
fn the_method_table_is_complete_and_without_doubles() {
    let mut names: Vec<_> = METHODS.iter().map(|method| method.name).collect();
    assert_eq!(names, ["linear", "slerp", "task_arithmetic", "ties", "dare_ties", "passthrough"]);
    names.dedup();
    for method in METHODS {
        for (i, spec) in method.parameters.iter().enumerate() {
            assert!(!spec.doc.is_empty() && method.parameters[..i].iter().all(|other| other.name != spec.name));
            assert!(spec.default.is_none_or(|value| spec.objection(value).is_none()), "{} {}", method.name, spec.name);
        }
    }
}

#[test]
fn a_file_is_read_from_its_folder_and_a_missing_one_is_named() {
    let folder = std::env::temp_dir().join(format!("ggraft-recipe-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("r.yaml");
    std::fs::write(&file, "{merge_method: passthrough, models: [{model: sub/a.gguf}]}").unwrap();
    let recipe = Recipe::load(&file).unwrap();
    assert_eq!((&recipe.models[0].path, &recipe.file), (&folder.join("sub/a.gguf"), &file));
    assert_eq!(recipe.models[0].written, "sub/a.gguf");
    std::fs::remove_dir_all(&folder).unwrap();
    let message = Recipe::load(&file).unwrap_err().to_string();
    assert!(message.starts_with("cannot read the recipe `") && message.contains("r.yaml`: "), "{message}");
}
