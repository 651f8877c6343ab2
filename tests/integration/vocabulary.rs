//! Models of different vocabularies: what is merged speaks the tokens that the recipe asks for, and scores as its file does.

use std::collections::HashMap;
use std::path::PathBuf;

use ggraft::gguf::{Metadata, Parent, Strings};

use crate::exact::{assert_exact, export, perplexities};
use crate::mistakes::recipe_refused;
use crate::support::{Folder, Random, Tiny, ggraft, perplexity_task, values};

const WIDTH: usize = 64;
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const TABLES: [&str; 2] = ["token_embd.weight", "output.weight"];

/// A token with its type and its row in each table.
#[derive(Clone)]
struct Word {
    text: Vec<u8>,
    kind: i32,
    rows: [Vec<f32>; 2],
}

/// A tiny llama with an output of its own, and its words.
fn model(seed: u64) -> (Tiny, Vec<Word>) {
    let mut tiny = Tiny::llama(WIDTH as u32, seed);
    let shape = tiny.tensors[0].0.shape.clone();
    let mut random = Random(seed + 100);
    tiny.add("output.weight", &shape, (0..shape[0] * shape[1]).map(|_| 0.1 * random.next()).collect());
    let words = words(&tiny);
    (tiny, words)
}

fn words(tiny: &Tiny) -> Vec<Word> {
    let kinds = tiny.metadata.get(TYPES).unwrap().as_array().unwrap();
    let table = |name: &str| &tiny.tensors.iter().find(|(info, _)| info.name == name).unwrap().1;
    let word = |(id, text): (usize, &[u8])| Word {
        text: text.to_vec(),
        kind: kinds.get(id).unwrap().as_f64().unwrap() as i32,
        rows: TABLES.map(|name| table(name)[id * WIDTH..][..WIDTH].to_vec()),
    };
    tiny.metadata.strings(TOKENS).unwrap().iter().enumerate().map(word).collect()
}

/// `tiny` with these words.
fn speaking(tiny: &Tiny, words: &[Word]) -> Tiny {
    let mut tiny = tiny.clone();
    tiny.metadata.insert(TOKENS, words.iter().map(|word| word.text.as_slice()).collect::<Strings>());
    tiny.metadata.insert(TYPES, words.iter().map(|word| word.kind).collect::<Vec<i32>>());
    for (i, name) in TABLES.iter().enumerate() {
        tiny.tensors.retain(|(info, _)| info.name != *name);
        let rows = words.iter().flat_map(|word| word.rows[i].clone()).collect();
        tiny.add(name, &[WIDTH as u64, words.len() as u64], rows);
    }
    tiny
}

fn shuffled(words: &[Word], seed: u64) -> Vec<Word> {
    let mut random = Random(seed);
    let mut words = words.to_vec();
    for i in (1..words.len()).rev() {
        words.swap(i, ((random.next() + 1.0) / 2.0 * (i + 1) as f32) as usize % (i + 1));
    }
    words
}

fn special(text: &str, seed: u64) -> Word {
    let mut random = Random(seed);
    let rows = TABLES.map(|_| (0..WIDTH).map(|_| 0.1 * random.next()).collect());
    Word { text: text.into(), kind: 3, rows }
}

/// `a.gguf` and `b.gguf`, whose vocabularies share most tokens in different orders; `same.gguf` is `a.gguf` in another order, with one
/// token more.
pub fn folder() -> Folder {
    let folder = Folder::new();
    let (tiny, words) = model(1);
    tiny.write(&folder.path("a.gguf"));
    let same = [shuffled(&words, 5), vec![special("<|new|>", 6)]].concat();
    speaking(&tiny, &same).write(&folder.path("same.gguf"));
    let (tiny, words) = model(2);
    // Without the last merged tokens, whose texts then come apart in what they were merged from.
    let fewer = shuffled(&words[..words.len() - 20], 7);
    let other = [vec![special("<|user|>", 8)], fewer, vec![special("<|new|>", 9)]].concat();
    speaking(&tiny, &other).write(&folder.path("b.gguf"));
    folder
}

fn tokens(file: &PathBuf) -> Vec<Vec<u8>> {
    Parent::open(file).unwrap().metadata().strings(TOKENS).unwrap().iter().map(<[u8]>::to_vec).collect()
}

const BLEND: &str = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a.gguf}, {model: b.gguf}]\n";

#[test]
fn recipes_over_different_vocabularies_score_as_their_exported_files_bit_for_bit() {
    let folder = folder();
    let task = perplexity_task(&folder, 5);
    let ties = "merge_method: ties\nbase_model: a.gguf\nparameters: {weight: 1, density: 0.6}\nmodels: [{model: b.gguf}, {model: same.gguf}]\n";
    let slices = "merge_method: passthrough\nslices:\n  - sources: [{model: a.gguf, layer_range: [0, 2]}]\n  - sources: [{model: b.gguf, layer_range: [1, 2]}]\n";
    let recipes = [
        ("union", format!("{BLEND}tokenizer_source: union\n")),
        ("first", format!("{BLEND}tokenizer_source: a.gguf\n")),
        ("second", format!("{BLEND}tokenizer_source: b.gguf\nout_type: f16\n")),
        (
            "rules",
            format!(
                "{BLEND}tokenizer:\n  source: union\n  pad_to_multiple_of: 64\n  tokens:\n    <|new|>: {{source: {{kind: zero}}, force: true}}\n    <|user|>: {{source: {{kind: model_token, model: a.gguf, token_id: 17}}}}\n    \"!\": {{source: b.gguf, force: true}}\n"
            ),
        ),
        ("ties", format!("{ties}tokenizer_source: union\n")),
        ("ties_base", format!("{ties}tokenizer_source: base\n")),
        ("stack", format!("{slices}tokenizer_source: union\n")),
        (
            "path",
            format!(
                "{BLEND}tokenizer_source: union\npath: [{{}}, {{model: b.gguf, layer: 1}}, {{layer: 0, scale: 0.9}}]\n"
            ),
        ),
    ];
    let recipes = recipes.map(|(name, text)| (name.to_owned(), text));
    let scores = assert_exact(&folder, &recipes, &task);
    assert!((0..scores.len()).all(|i| !scores[..i].contains(&scores[i])), "{scores:?}");

    let (a, b) = (tokens(&folder.path("a.gguf")), tokens(&folder.path("b.gguf")));
    let united = [a.clone(), vec![b"<|user|>".to_vec(), b"<|new|>".to_vec()]].concat();
    assert_eq!(tokens(&folder.path("union.gguf")), united);
    assert_eq!(tokens(&folder.path("first.gguf")), a);
    assert_eq!(tokens(&folder.path("second.gguf")), b);
    let padded = tokens(&folder.path("rules.gguf"));
    assert_eq!((padded.len() % 64, &padded[..united.len()]), (0, &united[..]));
    let json = ggraft(["inspect", "--json", folder.path("union.yaml").to_str().unwrap()]).json();
    let table = json["tensors"].as_array().unwrap().iter().find(|t| t["name"] == "output.weight").unwrap();
    assert_eq!(table["shape"][1], united.len());
}

/// Every method over a union is the same method over models that have all tokens, each with the rows that the rules give it; models without
/// an output matrix of their own give their embeddings to it.
#[test]
fn methods_merge_a_union_as_they_merge_models_that_speak_it() {
    let folder = Folder::new();
    let all = [model(1), model(2), model(3)];
    let mut kept: [Vec<Word>; 3] = all.each_ref().map(|(_, words)| words.clone());
    kept[1] = [vec![special("<|b|>", 8)], shuffled(&kept[1][..kept[1].len() - 20], 7)].concat();
    kept[2] = [shuffled(&kept[2][..kept[2].len() - 30], 9), vec![special("<|c|>", 10)]].concat();
    // The first and the last are tied.
    for words in [0, 2] {
        kept[words].iter_mut().for_each(|word| word.rows[1] = word.rows[0].clone());
    }
    let texts = |words: &[Word]| words.iter().map(|word| word.text.clone()).collect::<Vec<_>>();
    let mut union = texts(&kept[0]);
    for text in kept.iter().flat_map(|words| texts(words)) {
        if !union.contains(&text) {
            union.push(text);
        }
    }
    for (m, name) in ["a", "b", "c"].iter().enumerate() {
        let mut own = speaking(&all[m].0, &kept[m]);
        if m != 1 {
            own.tensors.retain(|(info, _)| info.name != TABLES[1]);
        }
        own.write(&folder.path(&format!("{name}.gguf")));
        let word = |text: &Vec<u8>| {
            let has: Vec<Option<&Word>> = kept.iter().map(|words| words.iter().find(|w| w.text == *text)).collect();
            let owners: Vec<&Word> = has.iter().flatten().copied().collect();
            // Its own; else that of the base, which is the first; else the mean of all.
            let rows = match (has[m].or(has[0]), owners.as_slice()) {
                (Some(word), _) => word.rows.clone(),
                (None, [only]) => only.rows.clone(),
                (None, _) => unreachable!("each new token is one model's"),
            };
            Word { text: text.clone(), kind: owners[0].kind, rows }
        };
        let words: Vec<Word> = union.iter().map(word).collect();
        speaking(&all[m].0, &words).write(&folder.path(&format!("{name}_all.gguf")));
    }
    for (method, parameters) in [
        ("ties", "{weight: 0.8, density: 0.4}"),
        ("sce", "{select_topk: 0.5}"),
        ("model_stock", "{filter_wise: true}"),
        ("della", "{weight: 0.8, density: 0.5, epsilon: 0.2, rescale: true}"),
    ] {
        let text = format!(
            "merge_method: {method}\nbase_model: a.gguf\nmodels: [{{model: b.gguf}}, {{model: c.gguf}}]\nparameters: {parameters}\nout_type: f32\n"
        );
        let recipes = [format!("{text}tokenizer_source: union\n"), text.replace(".gguf", "_all.gguf")];
        let files = ["rows", "dense"].map(|name| folder.path(&format!("{name}.gguf")));
        for (recipe, out) in recipes.iter().zip(&files) {
            export(&folder.write("recipe.yaml", recipe), out, &[]);
        }
        for table in TABLES {
            let [rows, dense] = files.each_ref().map(|file| values(file, table));
            assert_eq!(rows.len(), dense.len(), "{method} {table}");
            let differ = rows.iter().zip(&dense).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
            assert!(differ == 0, "{differ} of {} values of {table} differ by {method}", rows.len());
        }
    }
}

#[test]
fn one_model_in_two_orders_of_tokens_merges_to_itself() {
    let folder = folder();
    let task = perplexity_task(&folder, 5);
    let text = "merge_method: linear\nparameters: {weight: 1}\nbase_model: a.gguf\nmodels: [{model: same.gguf}, {model: a.gguf}]\ntokenizer_source: base\nout_type: f32\n";
    let scores = perplexities(&[folder.path("a.gguf"), folder.write("both.yaml", text)], &task);
    assert_eq!(scores[0].to_bits(), scores[1].to_bits(), "{scores:?}");
    // With the rows of another model of the same words, it is another one.
    let other = perplexities(&[folder.write("other.yaml", text.replace("same", "b"))], &task);
    assert!((other[0] / scores[0] - 1.0).abs() > 1e-3, "{other:?} {scores:?}");
}

#[test]
fn a_token_of_one_parent_is_one_token_of_the_union_with_its_row() {
    let folder = folder();
    let prompt_tokens = |recipe: &str| {
        let path = folder.write("recipe.yaml", recipe);
        let json = ggraft(["run", path.to_str().unwrap(), "-p", "<|user|>", "-n", "1", "--json"]).json();
        json["prompt_tokens"].as_u64().unwrap()
    };
    assert_eq!(prompt_tokens(&format!("{BLEND}tokenizer_source: union\n")), 1);
    assert!(prompt_tokens(&format!("{BLEND}tokenizer_source: a.gguf\n")) > 1);

    let recipe = folder.write("recipe.yaml", format!("{BLEND}tokenizer_source: union\nout_type: f32\n"));
    let out = folder.path("out.gguf");
    export(&recipe, &out, &[]);
    let vocabularies = ["a", "b"].map(|name| {
        let all = tokens(&folder.path(&format!("{name}.gguf")));
        all.into_iter().enumerate().map(|(id, text)| (text, id)).collect::<HashMap<Vec<u8>, usize>>()
    });
    for table in TABLES {
        let own = ["a", "b"].map(|name| values(&folder.path(&format!("{name}.gguf")), table));
        let merged = values(&out, table);
        for (id, text) in tokens(&out).iter().enumerate() {
            let rows: Vec<&[f32]> =
                (0..2).filter_map(|m| Some(&own[m][vocabularies[m].get(text)? * WIDTH..][..WIDTH])).collect();
            for (i, value) in merged[id * WIDTH..][..WIDTH].iter().enumerate() {
                let want = rows.iter().map(|row| row[i]).sum::<f32>() / rows.len() as f32;
                assert!((value - want).abs() < 1e-6, "{table} {id} {i}: {value} is not {want}");
            }
        }
    }
}

/// A vocabulary of scored pieces, as SentencePiece makes them: bytes, letters and these words with their scores.
fn pieces(words: &[(&str, f32)]) -> Metadata {
    let mut list: Vec<(String, f32, i32)> =
        vec![("<unk>".into(), 0.0, 2), ("<s>".into(), 0.0, 3), ("</s>".into(), 0.0, 3)];
    list.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    list.extend(words.iter().map(|(word, score)| ((*word).to_owned(), *score, 1)));
    list.extend(('a'..='z').chain(['\u{2581}']).map(|letter| (letter.to_string(), -100.0, 1)));
    let mut metadata = Metadata::default();
    metadata.insert("tokenizer.ggml.model", "llama");
    metadata.insert(TOKENS, list.iter().map(|(text, ..)| text.as_bytes()).collect::<Strings>());
    metadata.insert("tokenizer.ggml.scores", list.iter().map(|(_, score, _)| *score).collect::<Vec<f32>>());
    metadata.insert(TYPES, list.iter().map(|(.., kind)| *kind).collect::<Vec<i32>>());
    metadata
}

fn with_pieces(seed: u64, words: &[(&str, f32)]) -> Tiny {
    let mut tiny = Tiny::llama(WIDTH as u32, seed);
    let mut metadata = Metadata::default();
    let own = tiny.metadata.iter().filter(|(key, _)| !key.starts_with("tokenizer."));
    own.for_each(|(key, value)| metadata.insert(key, value.clone()));
    pieces(words).iter().for_each(|(key, value)| metadata.insert(key, value.clone()));
    tiny.metadata = metadata;
    let count = tiny.metadata.strings(TOKENS).unwrap().len();
    tiny.tensors.retain(|(info, _)| info.name != TABLES[0]);
    let mut random = Random(seed);
    tiny.add(TABLES[0], &[WIDTH as u64, count as u64], (0..count * WIDTH).map(|_| 0.1 * random.next()).collect());
    tiny
}

#[test]
fn scored_vocabularies_unite_and_keep_their_scores() {
    let folder = Folder::new();
    with_pieces(1, &[("th", -1.0), ("the", -2.0), ("an", -3.0)]).write(&folder.path("a.gguf"));
    with_pieces(2, &[("an", -3.0), ("and", -4.0), ("th", -1.0), ("in", -5.0)]).write(&folder.path("b.gguf"));
    with_pieces(3, &[("an", -3.5)]).write(&folder.path("c.gguf"));
    folder.write("data.jsonl", "{\"text\": \"the band in the hand and the sand in the land\"}\n");
    let task = folder.write("task.yaml", "data: data.jsonl\nkind: perplexity\nprompt: \"{{ text }}\"\n");
    let recipes = ["union", "a.gguf", "b.gguf"]
        .map(|source| (source.replace('.', "_"), format!("{BLEND}tokenizer_source: {source}\n")));
    assert_exact(&folder, &recipes, &task);
    let union = tokens(&folder.path("union.gguf"));
    assert_eq!(union[union.len() - 2..], [b"and".to_vec(), b"in".to_vec()]);
    let count = |recipe: &str| {
        ggraft(["run", folder.path(recipe).to_str().unwrap(), "-p", "band", "-n", "1", "--json"]).json()["prompt_tokens"].as_u64()
    };
    // `an` and `d` to `and` needs the second model's piece.
    assert_eq!(
        (count("union.yaml"), count("b_gguf.yaml")),
        (count("b_gguf.yaml"), count("a_gguf.yaml").map(|n| n - 1))
    );
    let other = BLEND.replace("b.gguf", "c.gguf");
    recipe_refused(
        &folder,
        &format!("{other}tokenizer_source: union\n"),
        &["score `an` differently: -3 and -3.5", "c.gguf"],
    );
}

#[test]
fn what_does_not_go_together_is_refused_with_what_would_help() {
    let folder = folder();
    recipe_refused(&folder, BLEND, &["`tokenizer.ggml.tokens` differs", "b.gguf", "`tokenizer_source: union`"]);
    let (tiny, words) = model(3);
    let mut other = speaking(&tiny, &shuffled(&words, 4));
    other.metadata.insert("tokenizer.ggml.pre", "llama-bpe");
    other.write(&folder.path("b.gguf"));
    recipe_refused(
        &folder,
        &format!("{BLEND}tokenizer_source: union\n"),
        &["cut text differently", "b.gguf", "llama-bpe"],
    );
    recipe_refused(
        &folder,
        &format!("{BLEND}tokenizer_source: onion\n"),
        &["FILE:4:19: ", "`onion`", "did you mean `union`?"],
    );
}

#[test]
fn a_search_speaks_the_union_of_its_models() {
    let folder = folder();
    let task = perplexity_task(&folder, 4);
    let text = "genome:\n  models: [a.gguf, b.gguf]\n  merge_method: linear\n  tokenizer_source: union\n\
                tasks: [{task: perplexity.yaml, test: perplexity.jsonl}]\nsearch: {budget: 8, population: 4, seed: 3}\n";
    let (config, out) = (folder.write("evolve.yaml", text), folder.path("out"));
    let args = ["evolve".as_ref(), config.as_os_str(), "--json".as_ref(), "--out".as_ref(), out.as_os_str()];
    let found = ggraft(args).json();
    let parents = found["parents"].as_array().unwrap();
    let own = perplexities(&[folder.path("a.gguf"), folder.path("b.gguf")], &task);
    for (parent, own) in parents.iter().zip(own) {
        let score = parent["test_score"].as_f64().unwrap();
        assert!((score / own - 1.0).abs() < 1e-9, "{parent} is not {own}, what it scores with its own tokens");
    }
    let best = perplexities(&[out.join("best.yaml")], &task)[0];
    let score = found["best"]["test_score"].as_f64().unwrap();
    assert!((score / best - 1.0).abs() < 1e-9, "{score} in the search, {best} from `best.yaml`");
}
