//! The bytes of tokens in, an answer's text out: whole characters, and nothing of a stop string.

use std::collections::VecDeque;

use super::Token;

/// The text of one answer as its tokens come.
pub(super) struct Text {
    bytes: Vec<u8>,
    /// How many of the bytes have been given out.
    given: usize,
    /// Tokens that have not been given out, each with where its bytes begin.
    held: VecDeque<(usize, Token)>,
    stop: Vec<String>,
}

impl Text {
    pub(super) fn new(mut stop: Vec<String>) -> Self {
        stop.retain(|stop| !stop.is_empty());
        Self { bytes: Vec::new(), given: 0, held: VecDeque::new(), stop }
    }

    /// Takes a token with its bytes; returns whether a stop string is complete now, which then is cut off with all after it.
    pub(super) fn push(&mut self, token: Token, piece: &[u8]) -> bool {
        let start = self.bytes.len();
        self.held.push_back((start, token));
        self.bytes.extend_from_slice(piece);
        // A stop string that was complete before would have ended the answer then.
        let found = |stop: &String| {
            let from = start.saturating_sub(stop.len() - 1);
            find(&self.bytes[from..], stop.as_bytes()).map(|at| from + at)
        };
        let Some(cut) = self.stop.iter().filter_map(found).min() else { return false };
        self.bytes.truncate(cut);
        // Tokens that stand behind the cut are no part of the answer; one that only ends there is.
        self.held.retain(|(start, _)| *start < cut);
        true
    }

    /// The next token whose text is certain; with `all`, also what ends in the middle of a character or begins like a stop string.
    pub(super) fn pop(&mut self, all: bool) -> Option<Token> {
        let end = self.held.get(1).map_or(self.bytes.len(), |(next, _)| *next);
        if !all && end > self.certain() {
            return None;
        }
        let (_, mut token) = self.held.pop_front()?;
        // A character goes to the token that completes it, and the last token takes what is left.
        let last = all && self.held.is_empty();
        let whole = if last { end } else { self.given + whole_characters(&self.bytes[self.given..end]) };
        token.text = String::from_utf8_lossy(&self.bytes[self.given..whole]).into_owned();
        self.given = whole;
        Some(token)
    }

    /// How many bytes are whole characters that no later token can take back.
    fn certain(&self) -> usize {
        let rest = &self.bytes[self.given..];
        let begun = |stop: &String| {
            let longest = rest.len().min(stop.len() - 1);
            (1..=longest).rev().find(|n| rest.ends_with(&stop.as_bytes()[..*n])).unwrap_or(0)
        };
        let begun = self.stop.iter().map(begun).max().unwrap_or(0);
        self.given + whole_characters(rest).min(rest.len() - begun)
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// Length of `bytes` without a character that has only begun: tokens may end in the middle of one.
fn whole_characters(bytes: &[u8]) -> usize {
    let mut from = 0;
    loop {
        match std::str::from_utf8(&bytes[from..]) {
            Ok(_) => return bytes.len(),
            Err(e) => match e.error_len() {
                // Bytes that are no character will never be one.
                Some(bad) => from += e.valid_up_to() + bad,
                None => return from + e.valid_up_to(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LlamaToken;

    /// What comes out for `pieces`, one list of (token, text) per piece and one for the end.
    fn run(stop: &[&str], pieces: &[&[u8]]) -> (Vec<Vec<(i32, String)>>, bool) {
        let mut text = Text::new(stop.iter().map(|s| (*s).to_owned()).collect());
        let mut all = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            let token = Token { id: LlamaToken(i as i32), text: String::new(), likelihood: None };
            let stopped = text.push(token, piece);
            let mut drain = |all| std::iter::from_fn(|| text.pop(all)).map(|t| (t.id.0, t.text)).collect::<Vec<_>>();
            if stopped {
                all.push(drain(true));
                return (all, true);
            }
            all.push(drain(false));
        }
        all.push(std::iter::from_fn(|| text.pop(true)).map(|t| (t.id.0, t.text)).collect());
        (all, false)
    }

    fn t(id: i32, text: &str) -> (i32, String) {
        (id, text.to_owned())
    }

    #[test]
    fn plain_text_comes_token_by_token() {
        assert_eq!(
            run(&[], &[b"a", b"", b"bc"]),
            (vec![vec![t(0, "a")], vec![t(1, "")], vec![t(2, "bc")], vec![]], false)
        );
    }

    #[test]
    fn characters_come_whole() {
        let e = "é".as_bytes();
        let (out, _) = run(&[], &[&e[..1], &e[1..], b"x"]);
        assert_eq!(out, [vec![], vec![t(0, ""), t(1, "é")], vec![t(2, "x")], vec![]]);
        let (out, _) = run(&[], &[b"a", &e[..1]]);
        assert_eq!(out, [vec![t(0, "a")], vec![], vec![t(1, "\u{fffd}")]], "the end gives it out as it is");
        let (out, _) = run(&[], &[&[0xff], b"x"]);
        assert_eq!(out, [vec![t(0, "\u{fffd}")], vec![t(1, "x")], vec![]]);
    }

    #[test]
    fn what_may_be_a_stop_string_is_held_back() {
        let (out, stopped) = run(&["###"], &[b"a#", b"#", b"b"]);
        assert!(!stopped);
        assert_eq!(out, [vec![], vec![], vec![t(0, "a#"), t(1, "#"), t(2, "b")], vec![]]);
        let (out, stopped) = run(&["###", "b"], &[b"a#", b"##c"]);
        assert!(stopped);
        assert_eq!(out, [vec![], vec![t(0, "a")]]);
        let (out, _) = run(&["###"], &[b"a##"]);
        assert_eq!(out, [vec![], vec![t(0, "a##")]], "the end gives it out");
    }

    #[test]
    fn the_earliest_stop_string_cuts() {
        let (out, stopped) = run(&["cd", "b"], &[b"a", b"bcd"]);
        assert!(stopped);
        assert_eq!(out, [vec![t(0, "a")], vec![]]);
        let (out, stopped) = run(&[""], &[b"a"]);
        assert!(!stopped && out[0] == [t(0, "a")], "an empty stop string is none");
    }
}
