//! Token tables by token: random vocabularies against the rules read literally, copies, and what does not go together.

use std::collections::BTreeMap;

use ggraft_kernels::GgmlType;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{Family, assert_close, is_copy, planned, recipe};
use crate::gguf::tests::Tiny;
use crate::gguf::{Header, Strings};
use crate::plan::{Home, Plan, PlanError};

const NAMES: [&str; 3] = ["a.gguf", "b.gguf", "c.gguf"];
const WIDTH: usize = 32;

/// [`Tiny::llama`] with these tokens, tables of type `ty`, an output of its own and a bias on it.
fn speaking(tokens: &[String], ty: GgmlType) -> Tiny {
    let mut tiny = Tiny::llama();
    tiny.metadata.insert("tokenizer.ggml.tokens", tokens.iter().map(String::as_bytes).collect::<Strings>());
    tiny.metadata.insert("llama.vocab_size", tokens.len() as u32);
    let count = tokens.len() as u64;
    tiny.remove("token_embd.weight");
    tiny.add("token_embd.weight", &[WIDTH as u64, count], ty);
    tiny.add("output.weight", &[WIDTH as u64, count], ty);
    tiny.add("output.bias", &[count], GgmlType::F32);
    tiny
}

/// The model and the row that a rule names, or zeros.
type Chosen = Option<(usize, usize)>;

fn texts(tokens: &str) -> Vec<String> {
    tokens.split(' ').map(str::to_owned).collect()
}

struct Random(ChaCha12Rng);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0.next_u32() as usize % limit
    }

    /// Some of the texts `t0` to `t19` in random order, some of them more likely than others.
    fn tokens(&mut self) -> Vec<String> {
        let mut tokens: Vec<String> = (0..20).filter(|t| self.below(20) >= *t / 2).map(|t| format!("t{t}")).collect();
        for i in (1..tokens.len()).rev() {
            tokens.swap(i, self.below(i + 1));
        }
        tokens
    }
}

/// The tokens in the header of the file that `plan` would make, and the size in that of its virtual model.
fn headers(family: &Family, plan: &Plan) -> (Vec<String>, u32) {
    let parsed = |bytes: &[u8]| Header::parse(bytes, bytes.len() as u64 + plan.data_bytes).unwrap().metadata;
    let full = parsed(&plan.full_header(family.parents()).unwrap());
    let tokens: Vec<String> = full
        .strings("tokenizer.ggml.tokens")
        .unwrap()
        .iter()
        .map(|text| String::from_utf8(text.to_vec()).unwrap())
        .collect();
    assert_eq!(full.u32("llama.vocab_size"), Some(tokens.len() as u32));
    (tokens, parsed(&plan.bare_header).u32("llama.vocab_size").unwrap())
}

#[test]
fn rows_of_random_vocabularies_are_what_the_rules_say() {
    let mut random = Random(ChaCha12Rng::seed_from_u64(7));
    for round in 0..60 {
        let vocabularies: Vec<Vec<String>> = (0..3).map(|_| random.tokens()).collect();
        let types = [GgmlType::F32, GgmlType::F16, GgmlType::Q8_0];
        let tinies: Vec<Tiny> = vocabularies.iter().map(|tokens| speaking(tokens, types[random.below(3)])).collect();
        let family = Family::of(&tinies.iter().collect::<Vec<_>>());
        let base = Some(random.below(4)).filter(|base| *base < 3);
        let followed = Some(random.below(4)).filter(|model| *model < 3);
        let leader = followed.or(base).unwrap_or(0);

        let mut want = vocabularies[leader].clone();
        if followed.is_none() {
            for token in vocabularies.iter().flatten() {
                if !want.contains(token) {
                    want.push(token.clone());
                }
            }
        }
        let tokens = want.clone();
        let pad = [1, 1, 8][random.below(3)];
        while !want.len().is_multiple_of(pad) {
            want.push(format!("[PAD{}]", want.len()));
        }
        // A rule of each kind for random tokens, forced or not: model and row, or zeros.
        let mut rules: BTreeMap<&str, (String, Chosen, bool)> = BTreeMap::new();
        for kind in 0..4 {
            let (token, model, force) = (&tokens[random.below(tokens.len())], random.below(3), random.below(2) == 0);
            let id = random.below(vocabularies[model].len());
            let name = NAMES[model];
            let (source, row) = match kind {
                0 => ("{kind: zero}".to_owned(), None),
                1 => (format!("{{kind: model_token, model: {name}, token_id: {id}}}"), Some((model, id))),
                2 => (
                    format!("{{kind: model_token, model: {name}, token: {}}}", vocabularies[model][id]),
                    Some((model, id)),
                ),
                _ => match vocabularies[model].iter().position(|own| own == token) {
                    Some(id) => (name.to_owned(), Some((model, id))),
                    None => continue,
                },
            };
            rules.insert(token, (format!("{token}: {{source: {source}, force: {force}}}"), row, force));
        }
        let rule_texts: Vec<&str> = rules.values().map(|(text, ..)| text.as_str()).collect();
        let source = followed.map_or("union", |model| NAMES[model]);
        let weights = [0.5, -0.25, 2.0];
        let models: Vec<(&str, String)> = NAMES.into_iter().zip(weights.map(|w| format!("weight: {w}"))).collect();
        let models: Vec<(&str, &str)> = models.iter().map(|(name, weight)| (*name, weight.as_str())).collect();
        let mut more = format!(
            "out_type: f32\nparameters: {{normalize: false}}\ntokenizer: {{source: {source}, tokens: {{{}}}, pad_to_multiple_of: {pad}}}\n",
            rule_texts.join(", ")
        );
        if let Some(base) = base {
            more += &format!("base_model: {}\n", NAMES[base]);
        }
        let text = recipe("linear", &models, &more);
        let plan = family.plan(&text);
        assert_eq!(headers(&family, &plan), (want.clone(), want.len() as u32), "round {round}\n{text}");

        for (table, width) in [("token_embd.weight", WIDTH), ("output.weight", WIDTH), ("output.bias", 1)] {
            let own: Vec<Vec<f32>> = (0..3).map(|parent| family.values(parent, table)).collect();
            let row = |(model, id): (usize, usize)| own[model][id * width..][..width].to_vec();
            let find =
                |model: usize, token: &str| vocabularies[model].iter().position(|t| t == token).map(|id| (model, id));
            let row_of = |model: usize, token: &str| -> Vec<f32> {
                let owners: Vec<(usize, usize)> = (0..3).filter_map(|owner| find(owner, token)).collect();
                let rule = rules.get(token).map(|(_, row, force)| (row, *force));
                let found = match (rule, find(model, token)) {
                    (Some((chosen, force)), own) if force || own.is_none() => *chosen,
                    (_, Some(own)) => Some(own),
                    (_, None) if owners.len() == 1 => Some(owners[0]),
                    (_, None) => match base.and_then(|base| find(base, token)) {
                        Some(base) => Some(base),
                        None => {
                            let mean =
                                |i: usize| owners.iter().map(|o| row(*o)[i]).sum::<f32>() / owners.len().max(1) as f32;
                            return (0..width).map(mean).collect();
                        }
                    },
                };
                found.map_or(vec![0.0; width], row)
            };
            let want: Vec<f32> = want
                .iter()
                .flat_map(|token| {
                    let rows: Vec<Vec<f32>> = (0..3).map(|model| row_of(model, token)).collect();
                    (0..width)
                        .map(move |i| (0..3).map(|m| weights[m] as f32 * rows[m][i]).sum::<f32>())
                        .collect::<Vec<_>>()
                })
                .collect();
            assert_close(&family.merged(&plan, table), &want, 4e-6);
        }
    }
}

#[test]
fn one_models_rows_in_another_order_are_copied_byte_for_byte() {
    let tinies = ["s p r q", "p q r s"].map(|tokens| speaking(&texts(tokens), GgmlType::Q8_0));
    let family = Family::of(&[&tinies[0], &tinies[1]]);
    let more = "path: [{}, {model: b.gguf, layer: 0}]\ntokenizer_source: b.gguf";
    let plan = family.plan(&recipe("passthrough", &[("a.gguf", "")], more));
    for (table, width) in [("token_embd.weight", WIDTH), ("output.weight", WIDTH), ("output.bias", 1)] {
        let tensor = planned(&plan, table);
        assert!(is_copy(tensor) && tensor.home != Home::Parent, "{tensor:?}");
        let own = family.values(0, table);
        let want: Vec<f32> = [1, 3, 2, 0].iter().flat_map(|row| own[row * width..][..width].to_vec()).collect();
        assert_eq!(family.merged(&plan, table), want);
    }
    assert_eq!(headers(&family, &plan).0, texts("p q r s"));
}

#[test]
fn a_vocabulary_that_all_have_changes_nothing() {
    let tiny = speaking(&texts("p q r s"), GgmlType::Q8_0);
    let family = Family::of(&[&tiny, &tiny]);
    let models = [("a.gguf", "weight: 1"), ("b.gguf", "weight: 2")];
    let plain = family.plan(&recipe("linear", &models, ""));
    for more in ["tokenizer_source: union", "tokenizer_source: b.gguf", "tokenizer: {pad_to_multiple_of: 1}"] {
        let plan = family.plan(&recipe("linear", &models, more));
        assert!(plan.bare_header == plain.bare_header && plan.made.is_none(), "{more}");
        assert!(plan.tensors.iter().all(|t| t.lookup.is_none()));
    }
    let padded = family.plan(&recipe("linear", &models, "tokenizer: {pad_to_multiple_of: 4}"));
    assert!(padded.bare_header == plain.bare_header && padded.tensors[0].sources[0].rows == 0);
}

#[test]
fn statistics_are_those_of_the_rows_in_use() {
    let tinies = ["p q r s", "s p"].map(|tokens| speaking(&texts(tokens), GgmlType::F32));
    let family = Family::of(&[&tinies[0], &tinies[1]]);
    let text = |source| {
        recipe(
            "ties",
            &[("b.gguf", "weight: 1, density: 0.5")],
            &format!("base_model: a.gguf\nout_type: f32\ntokenizer_source: {source}"),
        )
    };
    // Recipes name models in the order of the family.
    let text = |source| text(source).replace("models:\n", "models:\n  - {model: a.gguf}\n");
    let plans = ["a.gguf", "b.gguf", "union"].map(|source| family.plan(&text(source)));
    let table = "token_embd.weight";
    for (plan, count) in plans.iter().zip([4, 2, 4]) {
        let merged = family.merged(plan, table);
        assert_eq!(merged.len(), count * WIDTH);
        let base: Vec<f32> = {
            let own = family.values(0, table);
            if count == 2 {
                [3, 0].iter().flat_map(|row: &usize| own[row * WIDTH..][..WIDTH].to_vec()).collect()
            } else {
                own
            }
        };
        let changed = merged.iter().zip(&base).filter(|(m, b)| m != b).count();
        // Half of all elements are kept, but what the second model lacks it has from the base.
        assert_eq!(changed, (count * WIDTH / 2).min(2 * WIDTH), "{count}");
    }
}

#[test]
fn vocabularies_that_do_not_go_together_are_refused_with_the_reason() {
    let tiny = |tokens: &str, bend: &dyn Fn(&mut Tiny)| {
        let mut tiny = speaking(&texts(tokens), GgmlType::F32);
        bend(&mut tiny);
        tiny
    };
    let set = |key: &'static str, value: crate::gguf::Value| move |t: &mut Tiny| t.metadata.insert(key, value.clone());
    let list = |texts: &str| -> crate::gguf::Value { texts.split(',').map(str::as_bytes).collect::<Strings>().into() };
    let models = [("a.gguf", "weight: 1"), ("b.gguf", "weight: 2")];
    let refused = |first: &Tiny, second: &Tiny, more: &str, parts: &[&str]| {
        let error = Family::of(&[first, second]).try_plan(&recipe("linear", &models, more)).unwrap_err();
        let message = error.to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} not all in: {message}");
        error
    };
    let (plain, union) = (tiny("p q r", &|_| ()), "tokenizer_source: union");
    let with = |bend: &dyn Fn(&mut Tiny)| tiny("p q s", bend);
    refused(&plain, &with(&|_| ()), "", &["`tokenizer.ggml.tokens` differs", "tokenizer_source: union"]);
    let error = refused(
        &plain,
        &with(&set("tokenizer.ggml.model", "llama".into())),
        union,
        &["`tokenizer.ggml.model` differs"],
    );
    assert!(matches!(error, PlanError::Different(_)));
    // Where nothing is blended, rows of the one would still be looked up by the words of the other.
    let stacked = format!("{}tokenizer_source: b.gguf", super::stack(&[("a.gguf", 0, 1), ("b.gguf", 1, 2)]));
    let other = with(&set("tokenizer.ggml.model", "llama".into()));
    let tied = |mut tiny: Tiny| {
        tiny.remove("output.weight");
        tiny
    };
    let error = Family::of(&[&tied(plain.clone()), &tied(other)]).try_plan(&stacked).unwrap_err();
    assert!(error.to_string().contains("spell tokens differently: `tokenizer.ggml.model`"), "{error}");
    refused(
        &plain,
        &with(&set("tokenizer.ggml.pre", "default".into())),
        union,
        &["cut text differently", "\"qwen2\" and \"default\""],
    );
    let spaced = set("tokenizer.ggml.add_space_prefix", true.into());
    refused(&plain, &with(&spaced), union, &["`tokenizer.ggml.add_space_prefix` is false and true"]);
    let kinds = set("tokenizer.ggml.token_type", vec![1, 3, 1].into());
    refused(&plain, &with(&kinds), union, &["read `q` differently", "is 1 and 3"]);
    let bert = |t: &mut Tiny| t.metadata.insert("tokenizer.ggml.model", "bert");
    refused(&tiny("p q", &bert), &tiny("q r", &bert), union, &["model `bert` is not known", "tokenizer_source"]);
    let spm = |scores: Vec<f32>| {
        move |t: &mut Tiny| {
            t.metadata.insert("tokenizer.ggml.model", "llama");
            t.metadata.insert("tokenizer.ggml.scores", scores.clone());
        }
    };
    let (first, second) = (tiny("p q r", &spm(vec![0.0, -1.0, -2.0])), tiny("p q s", &spm(vec![0.0, -1.5, -2.0])));
    refused(&first, &second, union, &["score `q` differently: -1 and -1.5"]);
    let merged = |merges: &'static str| set("tokenizer.ggml.merges", list(merges));
    let (first, second) = (tiny("p q r", &merged("p q,q r,r s")), tiny("p q s", &merged("x y,q r,p q")));
    refused(&first, &second, union, &["merge `p q` and `q r` in different orders"]);
    refused(
        &with(&|t| drop(t.metadata.remove("tokenizer.ggml.tokens"))),
        &plain,
        union,
        &["has no `tokenizer.ggml.tokens`"],
    );
    let short = with(&|t| {
        t.remove("token_embd.weight");
        t.add("token_embd.weight", &[32, 2], GgmlType::F32);
    });
    refused(&plain, &short, union, &["b.gguf", "3 tokens, but 2 rows in `token_embd.weight`"]);
    let rule = |rule: &str| format!("tokenizer: {{tokens: {{{rule}}}}}");
    refused(&plain, &with(&|_| ()), &rule("z: {source: {kind: zero}}"), &["rule for `z`", "no such token"]);
    refused(&plain, &with(&|_| ()), &rule("s: {source: a.gguf}"), &["rule for `s`", "a.gguf` has no token `s`"]);
    let row = "s: {source: {kind: model_token, model: a.gguf, token_id: 3}}";
    refused(&plain, &with(&|_| ()), &rule(row), &["a.gguf` has no token 3; its tokens are 0 to 2"]);
}

#[test]
fn united_tokenizers_go_on_with_every_list() {
    let mut first = speaking(&texts("p q r"), GgmlType::F32);
    let mut second = speaking(&texts("s q t p"), GgmlType::F32);
    for (tiny, scores, kinds, merges) in [
        (&mut first, vec![0f32, -1.0, -2.0], vec![1, 4, 1], "p q,q r"),
        (&mut second, vec![-5f32, -1.0, -6.0, 0.0], vec![4, 3, 1, 1], "s t,p q,t p"),
    ] {
        tiny.metadata.insert("tokenizer.ggml.scores", scores);
        tiny.metadata.insert("tokenizer.ggml.token_type", kinds);
        tiny.metadata.insert("tokenizer.ggml.merges", merges.split(',').map(str::as_bytes).collect::<Strings>());
        tiny.metadata.insert("tokenizer.chat_template", merges);
    }
    let family = Family::of(&[&first, &second]);
    let models = [("a.gguf", "weight: 1"), ("b.gguf", "weight: 2")];
    let plan = family.plan(&recipe("linear", &models, "tokenizer: {pad_to_multiple_of: 6}"));
    let bytes = plan.vocabulary_header(family.parents()).unwrap();
    let metadata = Header::parse(&bytes, bytes.len() as u64).unwrap().metadata;
    let strings = |key: &str| -> Vec<&[u8]> { metadata.strings(key).unwrap().iter().collect() };
    assert_eq!(strings("tokenizer.ggml.tokens"), [&b"p"[..], b"q", b"r", b"s", b"t", b"[PAD5]"]);
    assert_eq!(strings("tokenizer.ggml.merges"), [&b"s t"[..], b"p q", b"q r", b"t p"]);
    let shown = |key: &str| metadata.get(key).unwrap().to_string();
    assert_eq!(shown("tokenizer.ggml.scores"), "[0, -1, -2, -5, -6, -1000]");
    assert_eq!(shown("tokenizer.ggml.token_type"), "[1, 4, 1, 4, 1, 5]");
    assert_eq!(metadata.str("tokenizer.chat_template"), Some("p q,q r"));
    let own = family.plan(&recipe("linear", &models, "tokenizer_source: b.gguf"));
    assert!(!own.makes_vocabulary() && own.vocabulary == 1);
}
