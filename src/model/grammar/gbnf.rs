//! Grammars in GBNF, llama.cpp's notation, read into plain rules over single characters.

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

    fn string(&mut self) -> Result<Vec<Symbol>, String> {
        let start = self.at;
        self.next();
        let mut characters = Vec::new();
        while !self.take("\"") {
            let character = self.character(start, "string")?;
            characters.push(self.checked_class(vec![(character, character)])?);
        }
        Ok(characters)
    }

    fn class(&mut self) -> Result<Symbol, String> {
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

    fn class_of(&mut self, ranges: Vec<(u32, u32)>) -> Symbol {
        let next = self.grammar.classes.len();
        let class = *self.class_numbers.entry(ranges.clone()).or_insert(next);
        if class == next {
            self.grammar.classes.push(ranges);
        }
        Symbol::Class(class)
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

    fn repeat(&mut self, symbol: Symbol, least: u64, most: Option<u64>) -> Symbol {
        match (least, most) {
            (1, Some(1)) => symbol,
            (least, Some(most)) if least == most => self.exactly(symbol, least),
            (0, Some(most)) => self.at_most(symbol, most),
            (0, None) => {
                // Recursion on the left keeps the engine's work for each character the same, however long the text becomes.
                let all = self.grammar.rules.len();
                self.rule_of(vec![vec![Symbol::Rule(all), symbol], vec![]])
            }
            (1, None) => {
                let all = self.grammar.rules.len();
                self.rule_of(vec![vec![Symbol::Rule(all), symbol], vec![symbol]])
            }
            (least, most) => {
                let first = self.exactly(symbol, least);
                let more = self.repeat(symbol, 0, most.map(|most| most - least));
                self.rule_of(vec![vec![first, more]])
            }
        }
    }

    /// By doubling: the number of rules grows with the logarithm of `times`.
    fn exactly(&mut self, symbol: Symbol, times: u64) -> Symbol {
        if times == 1 {
            return symbol;
        }
        if let Some(known) = self.exactly.get(&(symbol, times)) {
            return *known;
        }
        let sequence = match times {
            0 => vec![],
            2 => vec![symbol, symbol],
            _ => {
                let pair = self.exactly(symbol, 2);
                let pairs = self.exactly(pair, times / 2);
                [pairs, symbol][..1 + (times % 2) as usize].to_vec()
            }
        };
        let rule = self.rule_of(vec![sequence]);
        self.exactly.insert((symbol, times), rule);
        rule
    }

    /// As pairs and perhaps one more, so that there is one way only to each number.
    fn at_most(&mut self, symbol: Symbol, times: u64) -> Symbol {
        if let Some(known) = self.at_most.get(&(symbol, times)) {
            return *known;
        }
        let alternatives = match times {
            0 => vec![vec![]],
            1 => vec![vec![symbol], vec![]],
            _ => {
                let pair = self.exactly(symbol, 2);
                let one = self.at_most(symbol, 1);
                let pairs = self.at_most(pair, (times - 1) / 2);
                let mut alternatives = vec![vec![pairs, one]];
                if times.is_multiple_of(2) {
                    alternatives.push(vec![self.exactly(pair, times / 2)]);
                }
                alternatives
            }
        };
        let rule = self.rule_of(alternatives);
        self.at_most.insert((symbol, times), rule);
        rule
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ranges_of_characters() {
        let class = |text: &str| parse(&format!("root ::= {text}")).unwrap().classes.remove(0);
        let codes = |text: &str| text.chars().map(|c| (c.into(), c.into())).collect::<Vec<(u32, u32)>>();
        assert_eq!(class("[ca-bx]"), [('a'.into(), 'c'.into()), ('x'.into(), 'x'.into())]);
        assert_eq!(class("[a-]"), codes("-a"));
        assert_eq!(class("[-a]"), codes("-a"));
        assert_eq!(class(r#"[\]\[\\\-\"]"#), [codes("\""), codes("-"), vec![(0x5b, 0x5d)]].concat());
        assert_eq!(class(r"[\x41\u3042\U0001F600\n\t\r]")[..2], [(9, 10), (13, 13)]);
        assert_eq!(class("."), ANY);
        assert_eq!(class("[^a]"), [(1, 0x60), (0x62, 0xd7ff), (0xe000, 0x10_ffff)]);
        assert_eq!(class(r"[\u0000-\UFFFFFFFF]"), ANY);
        assert_eq!(class(r"[^\ud000-\udfff]"), [(1, 0xcfff), (0xe000, 0x10_ffff)]);
    }

    #[test]
    fn repetitions_count_right_and_stay_small() {
        // The lengths that a rule of only one character allows.
        fn lengths(grammar: &Gbnf, symbol: Symbol, limit: usize) -> Vec<bool> {
            let mut found = vec![vec![false; limit + 1]; grammar.rules.len()];
            let one: Vec<bool> = (0..=limit).map(|n| n == 1).collect();
            loop {
                let before = found.clone();
                for (rule, alternatives) in grammar.rules.iter().enumerate() {
                    for alternative in alternatives {
                        let mut sums: Vec<bool> = (0..=limit).map(|n| n == 0).collect();
                        for symbol in alternative {
                            let next = match symbol {
                                Symbol::Rule(rule) => &before[*rule],
                                Symbol::Class(_) => &one,
                            };
                            sums = (0..=limit).map(|n| (0..=n).any(|m| sums[m] && next[n - m])).collect();
                        }
                        for (known, new) in found[rule].iter_mut().zip(sums) {
                            *known |= new;
                        }
                    }
                }
                if found == before {
                    return match symbol {
                        Symbol::Rule(rule) => found[rule].clone(),
                        Symbol::Class(_) => one,
                    };
                }
            }
        }
        for (text, want) in [
            ("{0}", 0..=0),
            ("{1}", 1..=1),
            ("{5}", 5..=5),
            ("{2,7}", 2..=7),
            ("{0,6}", 0..=6),
            ("{ 3 , 12 }", 3..=12),
            ("{3,}", 3..=20),
            ("*", 0..=20),
            ("+", 1..=20),
            ("?", 0..=1),
            ("{2}{3}", 6..=6),
            ("?{4}", 0..=4),
        ] {
            let grammar = parse(&format!(r#"root ::= "a"{text}"#)).unwrap();
            let found = lengths(&grammar, Symbol::Rule(grammar.root), 20);
            let want: Vec<bool> = (0..=20).map(|n| want.contains(&n)).collect();
            assert_eq!(found, want, "{text}");
        }
        assert!(parse(r#"root ::= "a"{99999,100000}"#).unwrap().rules.len() < 40);
    }

    #[test]
    fn new_lines_end_rules_but_not_inside_of_brackets_or_after_bars() {
        let grammar =
            parse("# head\r\nroot ::= (\n a # first\n | b-2\n)  |\r\n \"x\" \n\n\na ::= # none\n\"q\"\nb-2::=a")
                .unwrap();
        assert_eq!(grammar.rules[grammar.root].len(), 2);
        assert!(parse("root ::= \"a\"\n\"b\"").is_err());
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, want) in [
            ("", "no rule `root`"),
            ("a ::= \"b\"", "no rule `root`"),
            ("nonsense", "line 1: `::=` follows the name `nonsense` of a rule, not the end"),
            ("root ::= (", "line 1: this `(` is never closed"),
            ("root ::= \"a\"\n  \"b\"", "line 2: a rule begins with its name, not with `\"`"),
            ("root ::= \"a\"\nb ::= ( \"a\" | ] )", "line 2: `]` stands where `)` could"),
            ("root ::= \"a\" )", "line 1: the rule `root` goes on with `)`"),
            ("root ::= a\na ::= b\n", "line 2: there is no rule `b`"),
            ("root ::= \"abc", "line 1: this string is never closed"),
            ("root ::= \"\\", "line 1: this string is never closed"),
            ("\n\nroot ::= [a", "line 3: this class is never closed"),
            ("root ::= \"\\q\"", "line 1: `\\q` is no escape"),
            ("root ::= \"\\u12g4\"", "line 1: `\\u` needs 4 hexadecimal digits"),
            ("root ::= \"\\xあ\"", "line 1: `\\x` needs 2 hexadecimal digits"),
            ("root ::= \"\\x00\"", "line 1: no character matches this"),
            ("root ::= [z-a]", "line 1: no character matches this"),
            ("root ::= []", "line 1: no character matches this"),
            ("root ::= * \"a\"", "line 1: nothing comes before `*`"),
            ("root ::= \"a\" | +", "line 1: nothing comes before `+`"),
            ("root ::= \"a\"{,3}", "line 1: a number of repetitions belongs here, not `,`"),
            ("root ::= \"a\"{3,2}", "line 1: `{3,2}` asks for more"),
            ("root ::= \"a\"{3", "line 1: `}` belongs here, not the end"),
            ("root ::= \"a\"{99999999999999999999}", "99999999999999999999 repetitions are more"),
            ("root ::= <think>", "line 1: tokens cannot be named"),
            ("root ::= !<[3]>", "line 1: tokens cannot be named"),
            ("\0", "line 1: a rule begins with its name"),
            (&format!("root ::= {}", "(".repeat(129)), "line 1: more than 128 brackets"),
        ] {
            let error = parse(text).map(|_| ()).unwrap_err();
            assert!(error.contains(want), "{text:?}: {error}");
        }
    }
}
