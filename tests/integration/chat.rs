//! Chats from the front door: whose template is used, what it is given, and what it may refuse.

use std::fs;
use std::path::{Path, PathBuf};

use ggraft::gguf::Strings;
use ggraft::model::{LlamaToken, Message, ModelError, Vocabulary, log_to_stderr};
use serde_json::{Map, json};

use crate::support::{Folder, Output, Tiny, ggraft, quickstart};

const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content|trim }}{{ eos_token }}\n{% endfor %}\
                        {% if add_generation_prompt %}assistant:{% endif %}";

/// llama.cpp's type of tokens like `<s>`.
const CONTROL: i32 = 3;

/// A model with this template of its own, whose last token begins every sequence.
fn model(folder: &Folder, template: &str) -> PathBuf {
    let mut tiny = Tiny::llama(32, 1);
    tiny.metadata.insert("tokenizer.chat_template", template);
    let mut tokens: Vec<&[u8]> = tiny.metadata.strings("tokenizer.ggml.tokens").unwrap().iter().collect();
    let bos = tokens.len() - 1;
    tokens[bos] = b"<s>";
    let tokens: Strings = tokens.into_iter().collect();
    let mut kinds = vec![1; bos + 1];
    (kinds[0], kinds[bos]) = (CONTROL, CONTROL);
    tiny.metadata.insert("tokenizer.ggml.tokens", tokens);
    tiny.metadata.insert("tokenizer.ggml.token_type", kinds);
    tiny.metadata.insert("tokenizer.ggml.bos_token_id", bos as u32);
    tiny.metadata.insert("tokenizer.ggml.add_bos_token", true);
    let path = folder.path("model.gguf");
    tiny.write(&path);
    path
}

fn vocabulary(template: &str) -> Vocabulary {
    log_to_stderr(false);
    Vocabulary::load(&model(&Folder::new(), template), None).unwrap()
}

fn special(vocabulary: &Vocabulary, token: Option<LlamaToken>) -> String {
    String::from_utf8(vocabulary.piece(token.unwrap(), true)).unwrap()
}

#[test]
fn a_chat_is_rendered_with_the_files_template_and_begins_with_one_bos() {
    let vocabulary = vocabulary(TEMPLATE);
    assert!(vocabulary.has_chat_template() && vocabulary.adds_bos());
    assert_eq!(vocabulary.chat_template(), Some(TEMPLATE));
    let (bos, eos) = (vocabulary.bos().unwrap(), special(&vocabulary, vocabulary.eos()));
    let turns = [Message::new("user", " Hi "), Message::new("assistant", "Ho"), Message::new("user", "Hu")];
    let prompt = vocabulary.render_chat(&turns, &Map::new()).unwrap();
    assert_eq!(prompt, format!("user: Hi{eos}\nassistant: Ho{eos}\nuser: Hu{eos}\nassistant:"));
    let tokens = vocabulary.tokenize(&prompt);
    assert_eq!(tokens.iter().filter(|token| **token == bos).count(), 1);
    assert_eq!(tokens.iter().filter(|token| Some(**token) == vocabulary.eos()).count(), 3);
    let begun = vocabulary.render_chat(&turns[..2], &Map::new()).unwrap();
    assert_eq!(begun, format!("user: Hi{eos}\nassistant:Ho"));
}

#[test]
fn a_template_of_ones_own_comes_first_and_shares_the_tokenizer() {
    let vocabulary = vocabulary(TEMPLATE);
    let own = vocabulary.with_chat_template(Some("{{ tools|length }}{{ mine }}".to_owned()));
    let variables = json!({"tools": [1, 2], "mine": "!"});
    let turn = [Message::new("user", "Hi")];
    assert_eq!(own.render_chat(&turn, variables.as_object().unwrap()).unwrap(), "2!");
    assert!(own.same_tokenizer(&vocabulary) && !own.same_tokenizer(&self::vocabulary(TEMPLATE)));
    assert_eq!(own.with_chat_template(None).chat_template(), Some(TEMPLATE));
}

#[test]
fn a_vocabulary_knows_its_tokens() {
    let vocabulary = vocabulary(TEMPLATE);
    assert_eq!(vocabulary.trained_context(), Some(256));
    let (bos, eos) = (vocabulary.bos().unwrap(), vocabulary.eos().unwrap());
    assert!(vocabulary.is_end(eos) && !vocabulary.is_end(bos));
    assert_eq!(vocabulary.piece(bos, false), b"");
    let text = special(&vocabulary, Some(bos));
    assert_eq!(vocabulary.tokenize_with(&text, false, true), [bos]);
    assert_eq!(vocabulary.tokenize_with(&text, true, true), [bos, bos]);
    assert!(!vocabulary.tokenize_with(&text, false, false).contains(&bos));
    let joined = |special: bool| -> Vec<u8> {
        vocabulary.tokenize("a 日本").iter().flat_map(|token| vocabulary.piece(*token, special)).collect()
    };
    assert_eq!(String::from_utf8(joined(false)).unwrap().trim(), "a 日本");
    assert!(joined(true).starts_with(text.as_bytes()));
    for number in [-1, i32::MAX, vocabulary.len() as i32] {
        assert_eq!(vocabulary.piece(LlamaToken(number), true), b"");
    }
}

fn run(model: &Path) -> Output {
    let model = model.to_str().unwrap();
    ggraft(["run", model, "-p", "Hi", "-n", "1", "--chat", "--json"])
}

#[test]
fn the_program_renders_a_models_and_a_recipes_template() {
    let folder = Folder::new();
    let path = model(&folder, TEMPLATE);
    let vocabulary = Vocabulary::load(&path, None).unwrap();
    let tokens = |text: &str| json!(vocabulary.tokenize(text).len());
    let eos = special(&vocabulary, vocabulary.eos());
    assert_eq!(run(&path).json()["prompt_tokens"], tokens(&format!("user: Hi{eos}\nassistant:")));
    let recipe =
        "merge_method: passthrough\nmodels: [{model: model.gguf}]\nchat_template: \"{{ messages[0].content * 5 }}\"\n";
    assert_eq!(run(&folder.write("recipe.yaml", recipe)).json()["prompt_tokens"], tokens("HiHiHiHiHi"));
}

#[test]
fn templates_that_do_not_render_are_refused_in_their_own_words() {
    let folder = Folder::new();
    let path = model(&folder, "{{ raise_exception('only tools may speak') }}");
    let name = path.display();
    let wanted = format!("error: `{name}`: chat template: it refuses these messages: only tools may speak\n");
    assert_eq!(run(&path).error(2), wanted);
    let refused = run(&model(&folder, "\n{% if %}"));
    let text = refused.error(2);
    assert!(
        text.starts_with(&format!("error: `{name}`: chat template: syntax error:")) && text.contains("chat_template:2"),
        "{text}"
    );
    let base = quickstart("base-Q8_0.gguf");
    let wanted =
        format!("error: `{}`: chat template: the model has none; set `chat_template` in a recipe\n", base.display());
    assert_eq!(run(&base).error(2), wanted);
}

#[test]
fn tasks_ask_in_chats() {
    let folder = Folder::new();
    let path = model(&folder, "{% for m in messages %}{{ raise_exception('asked: ' ~ m.content) }}{% endfor %}");
    folder.write("data.jsonl", "{\"q\": \"1+1\", \"a\": \"2\"}\n");
    let task =
        "data: data.jsonl\nkind: generate\nprompt: \"{{ q }}=\"\nanswer: \"{{ a }}\"\nmax_tokens: 2\nmetric: exact\n";
    let score = |chat: bool| {
        let task = folder.write("task.yaml", format!("{task}chat: {chat}\n"));
        ggraft([Path::new("score"), &path, Path::new("--task"), &task, Path::new("--json")])
    };
    assert_eq!(score(false).json()["results"][0]["n"], 1);
    let wanted = format!("error: `{}`: chat template: it refuses these messages: asked: 1+1=\n", path.display());
    assert_eq!(score(true).error(2), wanted);
}

#[test]
fn a_missing_template_is_an_error_of_its_kind() {
    let none = Vocabulary::load(&quickstart("base-Q8_0.gguf"), None).unwrap();
    assert!(!none.has_chat_template() && none.chat_template().is_none());
    let error = none.render_chat(&[], &Map::new()).unwrap_err();
    assert!(matches!(error, ModelError::ChatTemplate { .. }), "{error}");
}

/// `make test` downloads the model and names its folder in `GGRAFT_TEST_MODELS`; without it there is nothing to test.
#[test]
fn smollm2_chats_in_its_own_template() {
    let Some(models) = std::env::var_os("GGRAFT_TEST_MODELS") else {
        eprintln!(
            "skipped: GGRAFT_TEST_MODELS does not name a folder with SmolLM2-135M-Instruct.gguf; `make test` does"
        );
        return;
    };
    log_to_stderr(false);
    let vocabulary = Vocabulary::load(&Path::new(&models).join("SmolLM2-135M-Instruct.gguf"), None).unwrap();
    assert_eq!(vocabulary.trained_context(), Some(8192));
    let same = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/chat/smollm2.jinja");
    assert_eq!(vocabulary.chat_template(), Some(fs::read_to_string(same).unwrap().as_str()));
    let prompt = vocabulary.render_chat(&[Message::new("user", "Hi")], &Map::new()).unwrap();
    let special = vocabulary.tokenize(&prompt).into_iter().filter(|token| vocabulary.piece(*token, false).is_empty());
    // `<|im_start|>` thrice and `<|im_end|>` twice.
    assert_eq!(special.count(), 5, "{prompt}");
}
