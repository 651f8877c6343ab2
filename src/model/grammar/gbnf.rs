//! Grammars in GBNF, llama.cpp's notation, read into plain rules over single characters.

mod classes;
mod repeat;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

/// Brackets open at once: each is a call of the parser to itself.
const MAX_NESTING: usize = 128;
/// Most that `{m,n}` may ask for.
const MAX_REPETITIONS: u64 = 100_000;
/// Every character but NUL, which no answer holds; the gap is the surrogates, which are no characters.
const ANY: [(u32, u32); 2] = [(1, 0xd7ff), (0xe000, 0x10_ffff)];

/// A grammar. Groups and repetitions have become rules of their own.
#[derive(Debug, Default)]
pub(super) struct Gbnf {
    /// The alternatives of each rule.
    pub rules: Vec<Vec<Vec<Symbol>>>,
    /// The rule that an answer follows as a whole.
    pub root: usize,
    /// Sets of characters, none empty: ranges with both their ends, in order and apart from each other.
    pub classes: Vec<Vec<(u32, u32)>>,
}

/// What alternatives are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Symbol {
    /// Text that follows this rule.
    Rule(usize),
    /// One character of this class.
    Class(usize),
}

/// Reads `text`. Errors name the line and what is wrong in it.
pub(super) fn parse(text: &str) -> Result<Gbnf, String> {
    let mut parser = Parser { text, ..Parser::default() };
    parser.space(true);
    while parser.peek().is_some() {
        parser.rule()?;
    }
    let undefined = parser.names.iter().filter(|(_, name)| !name.defined).min_by_key(|(_, name)| name.used_at);
    if let Some((name, Name { used_at, .. })) = undefined {
        return Err(parser.error_at(*used_at, &format!("there is no rule `{name}`")));
    }
    let root = parser.names.get("root").ok_or("there is no rule `root`, which every grammar begins with")?;
    Ok(Gbnf { root: root.rule, ..parser.grammar })
}

impl Gbnf {
    /// Which rules allow the empty text.
    pub(super) fn nullable(&self) -> Vec<bool> {
        let alternatives =
            || self.rules.iter().enumerate().flat_map(|(rule, all)| all.iter().map(move |one| (rule, one)));
        // How many rules of each alternative are not known to be nullable, and which alternatives wait for a rule.
        let mut waiting: Vec<usize> = alternatives().map(|(_, one)| one.len()).collect();
        let mut users = vec![Vec::new(); self.rules.len()];
        for (index, (owner, alternative)) in alternatives().enumerate() {
            for symbol in alternative {
                if let Symbol::Rule(rule) = symbol {
                    users[*rule].push((index, owner));
                }
            }
        }
        let mut nullable = vec![false; self.rules.len()];
        let mut found: Vec<usize> = alternatives().filter(|(_, one)| one.is_empty()).map(|(rule, _)| rule).collect();
        while let Some(rule) = found.pop() {
            if std::mem::replace(&mut nullable[rule], true) {
                continue;
            }
            for (index, owner) in &users[rule] {
                waiting[*index] -= 1;
                if waiting[*index] == 0 {
                    found.push(*owner);
                }
            }
        }
        nullable
    }
}

#[derive(Default)]
struct Parser<'a> {
    text: &'a str,
    /// Where it reads, in bytes; always between two characters.
    at: usize,
    nesting: usize,
    names: HashMap<&'a str, Name>,
    class_numbers: HashMap<Vec<(u32, u32)>, usize>,
    /// The rules for a symbol so many times, and at most so many times.
    exactly: HashMap<(Symbol, u64), Symbol>,
    /// See `exactly`.
    at_most: HashMap<(Symbol, u64), Symbol>,
    grammar: Gbnf,
}

/// A rule that has a name.
struct Name {
    rule: usize,
    used_at: usize,
    defined: bool,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Whether `wanted` comes now; if so it is read.
    fn take(&mut self, wanted: &str) -> bool {
        let found = self.text[self.at..].starts_with(wanted);
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    /// The longest piece of characters that are `wanted`.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let piece = &rest[..rest.find(|c| !wanted(c)).unwrap_or(rest.len())];
        self.at += piece.len();
        piece
    }

    /// Reads over blanks and comments, and with `newlines` over the ends of lines.
    fn space(&mut self, newlines: bool) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t') || newlines && matches!(c, '\r' | '\n'));
            if !self.take("#") {
                return;
            }
            self.take_while(|c| !matches!(c, '\r' | '\n'));
        }
    }

    fn error_at(&self, at: usize, message: &str) -> String {
        let line = self.text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1;
        format!("line {line}: {message}")
    }

    fn error<T>(&self, message: &str) -> Result<T, String> {
        Err(self.error_at(self.at, message))
    }

    /// What comes now, for errors.
    fn found(&self) -> String {
        self.peek().map_or("the end".to_owned(), |c| if c == '\n' { "a new line".to_owned() } else { format!("`{c}`") })
    }

    fn rule(&mut self) -> Result<(), String> {
        let start = self.at;
        let name = self.take_while(is_name);
        if name.is_empty() {
            return self.error(&format!("a rule begins with its name, not with {}", self.found()));
        }
        self.space(false);
        if !self.take("::=") {
            return self.error(&format!("`::=` follows the name `{name}` of a rule, not {}", self.found()));
        }
        self.space(true);
        let alternatives = self.alternatives(false)?;
        let rule = self.named(name, start);
        self.grammar.rules[rule] = alternatives;
        if let Some(name) = self.names.get_mut(name) {
            name.defined = true;
        }
        match self.peek() {
            None | Some('\r' | '\n') => self.space(true),
            Some(_) => return self.error(&format!("the rule `{name}` goes on with {}", self.found())),
        }
        Ok(())
    }

    /// The rule called `name`, which may be defined later.
    fn named(&mut self, name: &'a str, used_at: usize) -> usize {
        let next = self.grammar.rules.len();
        let rule = self.names.entry(name).or_insert(Name { rule: next, used_at, defined: false }).rule;
        if rule == next {
            self.grammar.rules.push(Vec::new());
        }
        rule
    }

    /// Inside of brackets, ends of lines are blanks.
    fn alternatives(&mut self, inside: bool) -> Result<Vec<Vec<Symbol>>, String> {
        let mut alternatives = vec![self.sequence(inside)?];
        while self.take("|") {
            self.space(true);
            alternatives.push(self.sequence(inside)?);
        }
        Ok(alternatives)
    }

    fn sequence(&mut self, inside: bool) -> Result<Vec<Symbol>, String> {
        let mut sequence = Vec::new();
        // Where the last item begins, which `*` and its like repeat; a string is one item.
        let mut item = None;
        while let Some(next) = self.peek() {
            let begin = sequence.len();
            match next {
                '"' => sequence.extend(self.string()?),
                '[' => sequence.push(self.class()?),
                '.' => {
                    self.next();
                    sequence.push(self.class_of(ANY.to_vec()));
                }
                '(' => sequence.push(self.group()?),
                c if is_name(c) => {
                    let at = self.at;
                    let name = self.take_while(is_name);
                    sequence.push(Symbol::Rule(self.named(name, at)));
                }
                '*' | '+' | '?' | '{' => {
                    let Some(begin) = item else {
                        return self.error(&format!("nothing comes before `{next}` that it could repeat"));
                    };
                    let (least, most) = self.repetition()?;
                    let repeated = sequence.split_off(begin);
                    if !repeated.is_empty() {
                        let symbol = self.single(repeated);
                        sequence.push(self.repeat(symbol, least, most));
                    }
                    self.space(inside);
                    continue;
                }
                '<' | '!' => return self.error("tokens cannot be named here; write their text in quotes"),
                _ => break,
            }
            item = Some(begin);
            self.space(inside);
        }
        Ok(sequence)
    }

    fn group(&mut self) -> Result<Symbol, String> {
        let start = self.at;
        self.next();
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.error(&format!("more than {MAX_NESTING} brackets are open at once"));
        }
        self.space(true);
        let alternatives = self.alternatives(true)?;
        if !self.take(")") {
            return match self.peek() {
                None => Err(self.error_at(start, "this `(` is never closed")),
                Some(_) => self.error(&format!("{} stands where `)` could", self.found())),
            };
        }
        self.nesting -= 1;
        Ok(self.rule_of(alternatives))
    }

    /// How often at least, and at most.
    fn repetition(&mut self) -> Result<(u64, Option<u64>), String> {
        match self.next() {
            Some('*') => return Ok((0, None)),
            Some('+') => return Ok((1, None)),
            Some('?') => return Ok((0, Some(1))),
            _ => self.space(true),
        }
        let least = self.number()?;
        self.space(true);
        let most = match self.take(",") {
            false => Some(least),
            true => {
                self.space(true);
                let bounded = self.peek().is_some_and(|c| c.is_ascii_digit());
                bounded.then(|| self.number()).transpose()?
            }
        };
        self.space(true);
        if !self.take("}") {
            return self.error(&format!("`}}` belongs here, not {}", self.found()));
        }
        if let Some(most) = most.filter(|most| *most < least) {
            return self.error(&format!("`{{{least},{most}}}` asks for more at least than at most"));
        }
        Ok((least, most))
    }

    fn number(&mut self) -> Result<u64, String> {
        let digits = self.take_while(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return self.error(&format!("a number of repetitions belongs here, not {}", self.found()));
        }
        match digits.parse() {
            Ok(number) if number <= MAX_REPETITIONS => Ok(number),
            _ => self.error(&format!("{digits} repetitions are more than the limit of {MAX_REPETITIONS}")),
        }
    }

    fn rule_of(&mut self, alternatives: Vec<Vec<Symbol>>) -> Symbol {
        self.grammar.rules.push(alternatives);
        Symbol::Rule(self.grammar.rules.len() - 1)
    }

    fn single(&mut self, sequence: Vec<Symbol>) -> Symbol {
        match sequence[..] {
            [symbol] => symbol,
            _ => self.rule_of(vec![sequence]),
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}
