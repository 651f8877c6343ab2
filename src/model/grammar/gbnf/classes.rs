//! Characters, strings and classes of GBNF, read into sets of characters.

use super::{ANY, Parser, Symbol};

impl Parser<'_> {
    pub(super) fn string(&mut self) -> Result<Vec<Symbol>, String> {
        let start = self.at;
        self.next();
        let mut characters = Vec::new();
        while !self.take("\"") {
            let character = self.character(start, "string")?;
            characters.push(self.checked_class(vec![(character, character)])?);
        }
        Ok(characters)
    }

    pub(super) fn class(&mut self) -> Result<Symbol, String> {
        let start = self.at;
        self.next();
        let negated = self.take("^");
        let mut ranges = Vec::new();
        while !self.take("]") {
            let low = self.character(start, "class")?;
            let rest = &self.text[self.at..];
            let high = match rest.starts_with('-') && !rest.starts_with("-]") {
                true => {
                    self.next();
                    self.character(start, "class")?
                }
                false => low,
            };
            ranges.push((low, high));
        }
        if negated {
            ranges = without(&ranges);
        }
        self.checked_class(ranges)
    }

    /// One character of a `what` that began at `start`, with llama.cpp's escapes; it may be a number that is no character's.
    fn character(&mut self, start: usize, what: &str) -> Result<u32, String> {
        let unclosed = format!("this {what} is never closed");
        let Some(character) = self.next() else { return Err(self.error_at(start, &unclosed)) };
        if character != '\\' {
            return Ok(character.into());
        }
        let Some(escape) = self.next() else { return Err(self.error_at(start, &unclosed)) };
        let digits = match escape {
            'n' => return Ok('\n'.into()),
            'r' => return Ok('\r'.into()),
            't' => return Ok('\t'.into()),
            '\\' | '"' | '[' | ']' | '-' => return Ok(escape.into()),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return self.error(&format!("`\\{escape}` is no escape")),
        };
        let number = self.text.get(self.at..self.at + digits).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match number.and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
            Some(number) => {
                self.at += digits;
                Ok(number)
            }
            None => self.error(&format!("`\\{escape}` needs {digits} hexadecimal digits")),
        }
    }

    fn checked_class(&mut self, ranges: Vec<(u32, u32)>) -> Result<Symbol, String> {
        let ranges = characters(&ranges);
        match ranges.is_empty() {
            true => self.error("no character matches this"),
            false => Ok(self.class_of(ranges)),
        }
    }

    pub(super) fn class_of(&mut self, ranges: Vec<(u32, u32)>) -> Symbol {
        let next = self.grammar.classes.len();
        let class = *self.class_numbers.entry(ranges.clone()).or_insert(next);
        if class == next {
            self.grammar.classes.push(ranges);
        }
        Symbol::Class(class)
    }
}

/// The characters in `ranges`, in order and apart from each other.
fn characters(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let within = |(low, high): (u32, u32)| ANY.map(|(first, last)| (low.max(first), high.min(last)));
    let mut parts: Vec<_> = ranges.iter().copied().flat_map(within).filter(|(low, high)| low <= high).collect();
    parts.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (low, high) in parts {
        match joined.last_mut() {
            Some((_, end)) if low <= *end + 1 => *end = high.max(*end),
            _ => joined.push((low, high)),
        }
    }
    joined
}

/// All characters but those in `ranges`.
fn without(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut rest = Vec::new();
    let mut next = 0;
    for (low, high) in characters(ranges) {
        rest.push((next, low - 1));
        next = high + 1;
    }
    rest.push((next, u32::MAX));
    rest
}
