//! GBNF as it is read: classes, repetitions, ends of lines, mistakes.

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
        parse("# head\r\nroot ::= (\n a # first\n | b-2\n)  |\r\n \"x\" \n\n\na ::= # none\n\"q\"\nb-2::=a").unwrap();
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
