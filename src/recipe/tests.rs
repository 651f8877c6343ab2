//! What a recipe means, against mergekit's own answers; what a wrong one is told is in `tests/refusals.rs`.

mod path;
mod refusals;

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
    let blocks =
        (0..layout.len()).flat_map(|b| ["attn_q", "ffn_up", "attn_norm"].map(|m| format!("blk.{b}.{m}.weight")));
    let tensors = ["token_embd.weight", "output_norm.weight"].map(str::to_owned).into_iter().chain(blocks);
    tensors.map(|name| recipe.resolve(&layout, &name, "llama").unwrap()).collect()
}

fn at(recipe: &Recipe, blocks: u32, tensor: &str) -> Resolved {
    let layout = recipe.layout(&vec![blocks; recipe.models.len()]).unwrap();
    recipe.resolve(&layout, tensor, "llama").unwrap()
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
        assert_eq!((again.tokenizer, again.chat_template), (recipe.tokenizer, recipe.chat_template));
    }
}

#[test]
fn adapters_are_part_of_a_model_and_written_back_with_it() {
    let text = "
merge_method: task_arithmetic
base_model: a.gguf
parameters: {weight: 1}
models:
  - model: a.gguf+x.gguf
  - {model: {model: a.gguf, lora: [x.gguf, odd]}}
  - {model: {model: odd, lora: x.gguf}}
  - {model: {model: a.gguf+x.gguf+}}
";
    let recipe = parse(text);
    let parts = |recipe: &Recipe| -> Vec<(PathBuf, Vec<PathBuf>)> {
        recipe.models.iter().map(|m| (m.path.clone(), m.adapters.clone())).collect()
    };
    let dir = |name: &str| Path::new("dir").join(name);
    let (a, x, odd) = (dir("a.gguf"), dir("x.gguf"), dir("odd"));
    let want = [
        (a.clone(), vec![x.clone()]),
        (a.clone(), vec![x.clone(), odd.clone()]),
        (odd, vec![x]),
        (dir("a.gguf+x.gguf+"), vec![]),
        (a, vec![]),
    ];
    assert_eq!(parts(&recipe), want);
    let yaml = recipe.to_yaml(written).unwrap();
    assert_eq!(parts(&parse(&yaml)), want, "{yaml}");
    assert!(yaml.contains("model: a.gguf+x.gguf\n"), "{yaml}");
}

#[test]
fn a_recipe_over_a_longer_list_of_models_says_the_same() {
    let text = "
merge_method: linear
parameters: {weight: 1}
models: [{model: a.gguf+x.gguf}, {model: b.gguf}]
path: [{}, {model: c.gguf, layer: 1}]
tokenizer:
  source: b.gguf
  tokens:
    p: {source: a.gguf+x.gguf}
    q: {source: {kind: zero}}
    r: {source: {kind: model_token, model: b.gguf, token: s}, force: true}
    t: {source: {kind: model_token, model: c.gguf, token_id: 7}}
";
    let recipe = parse(text);
    assert_eq!(recipe.models.len(), 3);
    let mut models = vec![ModelRef::plain("d.gguf", "dir/d.gguf")];
    models.extend(recipe.models.iter().rev().cloned());
    let longer = recipe.clone().renumbered(models.clone(), &[3, 2, 1]);
    assert_eq!(longer.models, models);
    assert_eq!(longer.tokenizer.as_ref().unwrap().source, TokenizerSource::Model(2));
    assert_eq!(longer.to_yaml(written).unwrap(), recipe.to_yaml(written).unwrap());
    assert_eq!(longer.to_json(written).unwrap(), recipe.to_json(written).unwrap());
    let again = parse(&longer.to_json(written).unwrap().to_string());
    assert_eq!((again.models, again.tokenizer), (recipe.models, recipe.tokenizer));
}

#[test]
fn a_recipe_built_in_code_survives_the_way_through_yaml() {
    let model = |name: &str| ModelRef::plain(name, Path::new("dir").join(name));
    let awkward = ["y", "1.5", "null", "a: b #c", "it's \"quoted\" {x}.gguf", "~", "*star", "\u{e9}\t.gguf"];
    let numbers = vec![0.1 + 0.2, f64::MIN_POSITIVE, -0.0, 1e22, 2.0 / 3.0];
    let weight = Setting::filtered([
        (Some("self_attn: 'x'".into()), Curve::Numbers(numbers.clone())),
        (Some("mlp".into()), Curve::Numbers(vec![1.0])),
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
        tokenizer: Some(Tokenizer {
            source: TokenizerSource::Model(1),
            tokens: [
                ("<|a|>", TokenRow::Zero, false),
                ("null", TokenRow::Model(3), true),
                ("b: c", TokenRow::Id(2, 7), false),
            ]
            .into_iter()
            .chain([("d", TokenRow::Token(0, "\u{120}x".to_owned()), true)])
            .map(|(token, row, force)| TokenRule { token: token.to_owned(), row, force })
            .collect(),
            pad_to_multiple_of: Some(64),
        }),
        chat_template: Some("{% if x %}\n  a: b\n{% endif %}\n\n".to_owned()),
        ..Recipe::new(MethodSpec::find("ties").unwrap(), models, vec![slice])
    };
    let recipe = recipe.checked().unwrap();
    let again = parse(&recipe.to_yaml(written).unwrap());
    assert_eq!(resolved(&again, 7), resolved(&recipe, 7));
    assert_eq!(again.slices[0].sources[0].parameters["weight"].rules[0].curve, Curve::Numbers(numbers));
    assert_eq!(again.models.iter().map(|m| m.written.as_str()).collect::<Vec<_>>(), awkward);
    let sorted = |recipe: &Recipe| {
        let mut tokenizer = recipe.tokenizer.clone().unwrap();
        tokenizer.tokens.sort_by(|a, b| a.token.cmp(&b.token));
        tokenizer
    };
    assert_eq!((again.out_type, sorted(&again)), (OutType::Same, sorted(&recipe)));
    let union = Recipe { tokenizer: Some(TokenizerSource::Union.into()), ..recipe.clone() };
    assert_eq!(parse(&union.to_yaml(written).unwrap()).tokenizer, union.tokenizer);
    assert_eq!(again.chat_template, recipe.chat_template);
}

#[test]
fn one_slice_over_all_layers_is_written_as_models_only_where_that_means_the_same() {
    let common = "merge_method: linear, parameters: {weight: 2}";
    let cases = [
        ("models: [{model: a}, {model: b}], base_model: b", "models:"),
        ("slices: [{sources: [{model: a}], parameters: {weight: 1}}]", "slices:"),
        ("slices: [{sources: [{model: a}, {model: b}], base_model: b}]", "slices:"),
        ("slices: [{sources: [{model: a}]}], base_model: b", "slices:"),
    ];
    for (rest, form) in cases {
        let recipe = parse(&format!("{{{common}, {rest}}}"));
        let yaml = recipe.to_yaml(written).unwrap();
        let again = parse(&yaml);
        assert!(yaml.contains(form), "{yaml}");
        assert_eq!(resolved(&again, 2), resolved(&recipe, 2), "{yaml}");
        assert_eq!(again.base_of(&again.slices[0]), recipe.base_of(&recipe.slices[0]), "{yaml}");
    }
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
    let tokenizer = Some(TokenizerSource::Model(0).into());
    assert_eq!((recipe.models.len(), recipe.base_model, &recipe.tokenizer), (3, Some(0), &tokenizer));
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
    let Some(Tokenizer { source: TokenizerSource::Model(model), .. }) = recipe.tokenizer else { panic!("{recipe:?}") };
    assert_eq!(recipe.models[model].written, "b.gguf");
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
fn the_method_table_has_all_twenty_methods_with_defaults_they_would_accept() {
    let names: Vec<_> = METHODS.iter().map(|method| method.name).collect();
    let all = "linear slerp nuslerp multislerp karcher task_arithmetic ties dare_linear dare_ties breadcrumbs breadcrumbs_ties della \
               della_linear model_stock sce nearswap arcee_fusion passthrough ram ramplus_tl";
    assert_eq!(names.join(" "), all);
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
