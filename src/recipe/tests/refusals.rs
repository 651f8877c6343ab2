//! What a wrong recipe is told: the file, the line and column, the value and what to do.

use super::*;

fn refusal(text: &str) -> String {
    Recipe::parse(text, Path::new(FILE)).expect_err(text).to_string()
}

#[test]
fn every_wrong_recipe_is_told_where_and_why() {
    let linear = |rest: &str| format!("merge_method: linear\nmodels:\n  - model: a\n    parameters:\n      {rest}\n");
    let sliced = |rest: &str| format!("merge_method: linear\nslices:\n  - sources:\n    - {rest}\n");
    let ties = |rest: &str| format!("merge_method: ties\nmodels: [{{model: a, parameters: {{weight: 1}}}}]\n{rest}\n");
    #[rustfmt::skip]
    let cases = [
        ("a: [", "1:1: unknown key `a`"),
        ("merge_method: [a\n", "1:15: `merge_method`: a single value belongs here, not a list"),
        ("", "1:1:"),
        ("- linear\n", "1:1: `key: value` pairs belong here"),
        ("merge_method: linear\n---\nmerge_method: linear\n", "3:1: only single YAML document"),
        ("models: []\n", "1:1: the key `merge_method` is missing"),
        ("merge_method: linear\nmerge_method: ties\n", "2:1: the key `merge_method` is given twice"),
        ("merge_method: liner\nmodels: [{model: a}]\n", "1:15: `merge_method` is `liner`: no such method: did you mean `linear`?"),
        ("merge_method: quantum\n", "1:15: `merge_method` is `quantum`: no such method; known: `linear`, `slerp`, `nuslerp`"),
        ("merge_method: linear\nmodel: a\n", "2:1: unknown key `model`: did you mean `models`?"),
        ("merge_method: linear\n", "1:15: a recipe has either `models` or `slices`; this one has neither"),
        ("merge_method: linear\nmodels: [{model: a}]\nslices: []\n", "3:9: a recipe has either `models` or `slices`; this one has both"),
        ("merge_method: linear\nmodules: {x: 1}\n", "2:10: `modules` is not supported yet"),
        ("merge_method: linear\nmodels: []\n", "2:9: `models` is empty"),
        ("merge_method: linear\nslices: []\n", "2:9: `slices` is empty"),
        ("merge_method: linear\nmodels: 3\n", "2:9: `models`: a list belongs here"),
        ("merge_method: linear\nmodels:\n  model: a\n", "3:3: `models`: a list belongs here"),
        ("merge_method: linear\nmodels: [a]\n", "2:10: `models`: `key: value` pairs belong here, such as `model: a`"),
        ("merge_method: linear\nmodels:\n  - a\n", "3:5: `key: value` pairs belong here, such as `model: a`"),
        ("merge_method:\n  a: b\n", "2:3: `merge_method`: a single value belongs here, not `key: value` pairs"),
        ("name: t\nkind: generate\n", "1:1: this is a task file: `ggraft score MODEL --task` takes it"),
        ("# a search\ngenome:\n  models: [a]\n", "2:1: this is an evolve file: `ggraft evolve` takes it"),
        ("merge_method: linear\nmodels:\n  - model: ''\n", "3:12: `model` is ``"),
        ("merge_method: linear\nmodels:\n  - model: a.gguf+\n", "3:12: `model` is `a.gguf+`: it must be the path of a GGUF file, or `model.gguf+adapter.gguf`"),
        ("merge_method: linear\nmodels:\n  - {model: {model: a, lorra: b}}\n", "3:24: unknown key `lorra`: did you mean `lora`?"),
        ("merge_method: linear\nmodels:\n  - {model: {model: a, lora: {x: y}}}\n", "expected a text, or a list of texts"),
        ("merge_method: linear\nmodels:\n  - {model: {model: a, lora: ''}}\n", "3:13: `model` is `a+`: it must be"),
        ("merge_method: linear\nmodels:\n  - {model: {model: a, lora: [b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b]}}\n", "3:13: 17 adapters on one model; the limit is 16"),
        ("merge_method: linear\nmodels:\n  - {model: a.gguf+b.gguf}\n  - {model: {model: ./a.gguf, lora: [./b.gguf]}}\n", "4:5: `a.gguf+b.gguf` is listed twice"),
        ("merge_method: linear\nmodels:\n  - {model: a}\n  - {model: ./a}\n", "4:5: `a` is listed twice"),
        ("merge_method: linear\nmodels: [{model: a}]\nout_type: q4_k\n", "3:11: `out_type` is `q4_k`: it must be `q8_0`, `f16`"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer_source: onion\n", "3:19: `tokenizer_source` is `onion`: it must be `union`, `base` or a model of this recipe: did you mean `union`?"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer_source: mistral.gguf\n", "model of this recipe; known: `union`, `base`, `a`"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer: {sauce: a}\n", "3:13: unknown key `sauce`: did you mean `source`?"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer: {pad_to_multiple_of: 0}\n", "3:33: `pad_to_multiple_of` is 0: it must be from 1 to 65536"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer: {tokens: {t: {force: true}}}\n", "the key `source` is missing"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer: {tokens: {t: {source: b}}}\n", "`t` is `b`: it must be one of the models of this recipe"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer: {tokens: {t: {source: {kind: one}}}}\n", "`t` is `one`: `kind` must be `zero` or `model_token`"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer: {tokens: {t: {source: {kind: zero, model: a}}}}\n", "`t` is `zero`: a row of zeros has no `model`"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer: {tokens: {t: {source: {kind: model_token, token: u}}}}\n", "it needs a `model`"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer: {tokens: {t: {source: {kind: model_token, model: a}}}}\n", "it needs either `token` or `token_id`"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer: {tokens: {t: {source: {token_id: 3}}}}\n", "`{kind: model_token, ..}` belongs here"),
        ("merge_method: linear\nmodels: [{model: a}]\ntokenizer_source: a\ntokenizer: {source: a}\n", "4:12: `tokenizer` is given too"),
        ("merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\nbase_model: b\n", "3:13: `linear` has no base: `base_model` counts as one more input"),
        ("merge_method: slerp\nmodels: [{model: a}, {model: b}]\nparameters: {t: 0.5}\n", "2:9: `slerp` merges relative to a base model"),
        ("merge_method: slerp\nbase_model: c\nmodels: [{model: a}, {model: b}]\n", "3:9: `slerp` takes exactly 2 of the models in a slice, the base model counted; here are 3"),
        ("merge_method: passthrough\nmodels: [{model: a}, {model: b}]\n", "2:9: `passthrough` takes exactly 1 of"),
        ("merge_method: ties\nbase_model: b\nslices:\n  - sources: [{model: a}]\n", "4:5: the base model `b` is not among the sources"),
        (&linear("weigth: 1"), "5:7: `linear` has no parameter `weigth`: did you mean `weight`?"),
        (&linear("t: 1"), "5:7: `linear` has no parameter `t`; known: `weight`, `normalize`"),
        (&linear("weight: .nan"), "5:15: `.nan` is not a finite number"),
        (&linear("weight: [1, -.inf]"), "5:19: `-.inf` is not a finite number"),
        (&linear("weight: 1e999"), "5:15: `1e999` is not a finite number"),
        (&linear("weight: much"), "5:15: `weight` is `much`: it must be a number"),
        (&linear("weight:"), "5:13: `weight` is empty: it must be a number"),
        (&linear("weight: []"), "5:15: `weight` is an empty list"),
        (&linear("weight: '0.5'"), "5:15: `weight` is the text `0.5`: remove the quotes"),
        (&linear("weight: [1, '1e-3']"), "5:19: `weight` is the text `1e-3`: remove the quotes"),
        (&linear("weight: 1\n      normalize: 'false'"), "6:18: `normalize` is the text `false`: remove the quotes"),
        (&linear("weight: yes"), "5:15: `weight` is a truth value: it must be a number"),
        (&linear("weight: [1, true]"), "5:19: `weight` is a mixture"),
        (&linear("weight: [1, [2]]"), "5:19: `weight` is a list in a list"),
        (&linear("weight: [1, {value: 2}]"), "5:19: `weight` is a filter among plain values"),
        (&linear("weight: [{value: 2}, 1]"), "5:28: `weight` is a plain value among filters"),
        (&linear("weight: {filter: a, value: {value: 2}}"), "5:34: `weight` is a filter among plain values"),
        (&linear("weight: {filter: a, valu: 1}"), "5:27: unknown key `valu`: did you mean `value`?"),
        (&linear("weight: {filter: a}"), "5:16: the key `value` is missing"),
        (&linear("weight: {filter: [a], value: 1}"), "5:24: `filter`: a single value belongs here, not a list"),
        (&linear("weight: *gone"), "5:15: this alias has no anchor"),
        (&linear("weight: 1\n      weight: 2"), "6:7: the key `weight` is given twice"),
        (&ties("base_model: b\nparameters: {density: 1.5}"), "4:23: `density` is 1.5: it must be from 0 to 1"),
        (&ties("base_model: b\nparameters: {density: [0.5, -0.1]}"), "4:23: `density` is -0.1: it must be from 0 to 1"),
        (&ties("base_model: b\nparameters: {normalize: 1}"), "4:25: `normalize` is a number: it must be `true` or `false`"),
        (&ties("base_model: b\nparameters: 3"), "4:1: invalid type: integer `3`, expected parameters by name"),
        (&ties("parameters: {lambda: 1}"), "2:9: `ties` merges relative to a base model: set `base_model`"),
        (&sliced("{model: a, layer_range: [3, 3]}"), "4:7: `layer_range` is [3, 3]: its first layer must come before its end"),
        (&sliced("{model: a, layer_range: [0, -1]}"), "4:35: `layer_range`: a whole number from 0 up belongs here"),
        (&sliced("{model: a, layer_range: [0, 2.5]}"), "4:35: `layer_range`: a whole number from 0 up belongs here"),
        (&sliced("{model: a, layer_range: [0, 1, 2]}"), "4:18: `layer_range`: a list of 2 belongs here, not of 3"),
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
    assert!(parse(uneven).layout(&[u32::MAX; 2]).unwrap_err().to_string().contains("the limit is 512"));
}

#[test]
fn a_parameter_that_nothing_sets_is_named_with_model_tensor_and_place() {
    let recipe =
        parse("merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: {filter: mlp, value: 1}}\n");
    let layout = recipe.layout(&[1]).unwrap();
    let resolve = |tensor| recipe.resolve(&layout, tensor, "llama");
    let message = resolve("blk.0.attn_q.weight").unwrap_err().to_string();
    let expected = "dir/r.yaml:3:5: missing required parameter `weight` for model `a` at tensor `blk.0.attn_q.weight`";
    assert_eq!(message, expected);
    assert!(resolve("blk.0.ffn_up.weight").is_ok());
    let message = resolve("blk.1.ffn_up.weight").unwrap_err().to_string();
    assert_eq!(message, "there is no output block 1; there are 1");
    let slerp = parse("{merge_method: slerp, base_model: a, models: [{model: a}, {model: b}]}");
    let message = slerp.resolve(&[], "token_embd.weight", "llama").unwrap_err().to_string();
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
    let model = || ModelRef::plain("a", "a");
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
    let model = |i: usize| ModelRef::plain(format!("m{i}"), format!("m{i}"));
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
    let rounds = |b: usize| recipe.resolve(&layout, &format!("blk.{b}.ffn_up.weight"), "llama");
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
