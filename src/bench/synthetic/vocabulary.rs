//! A number of tokens in, metadata of a tokenizer that llama.cpp loads out: bytes, and all short words in order of length.

use crate::gguf::{Array, Metadata, Strings, Value};

/// Ends a text.
pub(super) const EOS: u32 = 2;

/// The first tokens, with llama.cpp's numbers for their kinds (`llama_token_type`): unknown, and two control tokens.
const SPECIAL: [(&str, i32); 3] = [("<unk>", 2), ("<s>", 3), ("</s>", 3)];
/// The kind of a byte, and of a word.
const BYTE: i32 = 6;
const WORD: i32 = 1;

/// Adds a vocabulary of `count` tokens.
pub(super) fn add(metadata: &mut Metadata, count: usize) {
    let bytes = (0..=255).map(|byte| (format!("<0x{byte:02X}>"), BYTE));
    let special = SPECIAL.iter().map(|(text, kind)| ((*text).to_owned(), *kind));
    let tokens: Vec<(String, i32)> = special.chain(bytes).chain((0..).map(|i| (word(i), WORD))).take(count).collect();
    let texts: Strings = tokens.iter().map(|(text, _)| text.as_bytes()).collect();
    // The earlier a word, the sooner the tokenizer joins its parts.
    let scores: Vec<f32> = (0..count).map(|i| -(i as f32)).collect();
    metadata.insert("tokenizer.ggml.model", "llama");
    metadata.insert("tokenizer.ggml.tokens", texts);
    metadata.insert("tokenizer.ggml.scores", scores);
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(tokens.iter().map(|t| t.1).collect())));
    for (key, token) in [("unknown", 0), ("bos", 1), ("eos", EOS)] {
        metadata.insert(&format!("tokenizer.ggml.{key}_token_id"), token);
    }
    metadata.insert("tokenizer.ggml.add_bos_token", true);
}

/// Word `number` of `▁`, `a`, ..., `z`, `▁▁`, `▁a`, ...: whatever a word begins with is a word too, as joining needs it.
fn word(number: usize) -> String {
    const LETTERS: [char; 27] = [
        '▁', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u',
        'v', 'w', 'x', 'y', 'z',
    ];
    let mut letters = Vec::new();
    let mut left = number + 1;
    while left > 0 {
        left -= 1;
        letters.push(LETTERS[left % LETTERS.len()]);
        left /= LETTERS.len();
    }
    letters.iter().rev().collect()
}
