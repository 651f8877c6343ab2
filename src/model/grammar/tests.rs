//! Grammars over the quickstart's vocabulary: the same tokens as llama.cpp allows, and an end to all hostile ones.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::json;

use super::*;
use crate::model::log_to_stderr;

fn vocabulary() -> &'static Vocabulary {
    static VOCABULARY: OnceLock<Vocabulary> = OnceLock::new();
    VOCABULARY.get_or_init(|| {
        log_to_stderr(false);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart/base-Q8_0.gguf");
        Vocabulary::load(&file, None).unwrap()
    })
}

fn gbnf(text: &str) -> Result<Grammar, ModelError> {
    Grammar::gbnf(text, vocabulary())
}

const JSON: &str = r#"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws
string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"#;

const GRAMMARS: &[(&str, &str)] = &[
    ("json", JSON),
    (
        "arithmetic",
        r#"root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*"#,
    ),
    (
        "chess",
        r#"root ::= (
    "1. " move " " move "\n"
    ([1-9] [0-9]? ". " move " " move "\n")+
)
move ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?"#,
    ),
    (
        "list",
        "root ::= item+\n\n# Excludes various line break characters\nitem ::= \"- \" [^\\r\\n\\x0b\\x0c]+ \"\\n\"",
    ),
    (
        "japanese",
        r#"root ::= jp-char+ ([ \t\n] jp-char+)*
jp-char ::= hiragana | katakana | punctuation | cjk
hiragana ::= [ぁ-ゟ]
katakana ::= [ァ-ヿ]
punctuation ::= [、-〾]
cjk ::= [一-鿿]"#,
    ),
    (
        "c",
        r#"root ::= (declaration)*
declaration ::= dataType identifier "(" parameter? ")" "{" statement* "}"
dataType  ::= "int" ws | "float" ws | "char" ws
identifier ::= [a-zA-Z_] [a-zA-Z_0-9]*
parameter ::= dataType identifier
statement ::=
    ( dataType identifier ws "=" ws expression ";" ) |
    ( identifier ws "=" ws expression ";" ) |
    ( identifier ws "(" argList? ")" ";" ) |
    ( "return" ws expression ";" ) |
    ( "while" "(" condition ")" "{" statement* "}" ) |
    ( singleLineComment ) | ( multiLineComment )
condition ::= expression relationOperator expression
relationOperator ::= ("<=" | "<" | "==" | "!=" | ">=" | ">")
expression ::= term (("+" | "-") term)*
term ::= factor(("*" | "/") factor)*
factor ::= identifier | number | unaryTerm | funcCall | parenExpression
unaryTerm ::= "-" factor
funcCall ::= identifier "(" argList? ")"
parenExpression ::= "(" ws expression ws ")"
argList ::= expression ("," ws expression)*
number ::= [0-9]+
singleLineComment ::= "//" [^\n]* "\n"
multiLineComment ::= "/*" ( [^*] | ("*" [^/]) )* "*/"
ws ::= ([ \t\n]+)"#,
    ),
    ("overlapping", r#"root ::= [a-z]+ "ab" | "a" "b" "c" | [a-m] [b-z] [^x] "!""#),
    (
        "keywords",
        r#"root ::= word (" " word)*
word ::= "if" | "in" | "int" | [a-z]+ | "i" [0-9]"#,
    ),
    ("repetition", r#"root ::= "a"{3} "b"{2,} "c"{0,4} ("de" | "f"){1,3} [g-i]{2,9}? ."#),
    ("counted", r#"root ::= ("ab"{2}){3} ("x"? "y"){0,17} "z"{14,33}"#),
    (
        "nullable",
        r#"root ::= a b? c* ("" | "d") e
a ::= | "a" a
b ::= c c
c ::= "c"?
e ::= ("" | ) | "e" "#,
    ),
    ("ambiguous", r#"root ::= "a" root? root?"#),
    ("right", r#"root ::= [0-9] root | "." "#),
    ("any", "root ::= .{1,40}"),
    (
        "unicode",
        r#"root ::= ("é" | "ö" [ü-ÿ] | "日" "本"? | "\u3042\U0001F600" | "😀"{2} | [α-ω]+ | [\U0001F300-\U0001F5FF])+"#,
    ),
    ("escapes", r#"root ::= "\x41\t\r\n\\\"\[\]" ([\]\[\\"] | [^\n\r\t -~])+ "\u00e9""#),
    ("without", r#"root ::= [^0-9a-f \n]+ "0""#),
];

/// The tokens that both look at alike after `pending`, which begins a character. llama.cpp takes the names of control tokens for text,
/// lets bytes through that UTF-8 does not go on with, and ends answers inside of a character.
fn compared(pending: &[u8]) -> Vec<LlamaToken> {
    let tokens = (0..i32::try_from(vocabulary().len()).unwrap()).map(LlamaToken);
    let looks_alike = |token: &LlamaToken| {
        let piece = vocabulary().piece(*token, false);
        let bytes = [pending, &piece].concat();
        let utf8 = std::str::from_utf8(&bytes).map_or_else(|e| e.error_len().is_none(), |_| true);
        vocabulary().is_end(*token) && pending.is_empty() || !piece.is_empty() && utf8
    };
    tokens.filter(looks_alike).collect()
}

#[test]
fn the_same_tokens_follow_as_in_llama_cpp() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut below = |n: usize| usize::try_from(random.next_u64() % n as u64).unwrap();
    let (mut steps, mut ends, mut partial) = (0, 0, 0);
    for (name, text) in GRAMMARS {
        let grammar = gbnf(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        for _ in 0..6 {
            let mut follower = Follower::new(&grammar);
            let mut oracle = vocabulary().llama_cpp_grammar(text);
            let (mut written, mut pending): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
            for _ in 0..40 {
                let tokens = compared(&pending);
                let mut all =
                    LlamaTokenDataArray::from_iter(tokens.iter().map(|t| LlamaTokenData::new(*t, 0.0, 0.0)), false);
                all.apply_sampler(&mut oracle);
                let want: Vec<LlamaToken> =
                    all.data.iter().filter(|data| data.logit() != f32::NEG_INFINITY).map(|data| data.id()).collect();
                let mask = follower.allowed().unwrap_or_else(|e| panic!("{name}: {e}"));
                let allowed = |token: &&LlamaToken| mask.is_allowed(token.0.cast_unsigned());
                let got: Vec<LlamaToken> = tokens.iter().filter(allowed).copied().collect();
                let show = |tokens: &[LlamaToken], others: &[LlamaToken]| {
                    let only = tokens.iter().filter(|token| !others.contains(token)).take(20);
                    only.map(|t| format!("{t} {:?}", String::from_utf8_lossy(&vocabulary().piece(*t, true))))
                        .collect::<Vec<_>>()
                };
                assert!(
                    got == want,
                    "{name}: after {:?}, only we allow {:?}, only llama.cpp {:?}",
                    String::from_utf8_lossy(&written),
                    show(&got, &want),
                    show(&want, &got)
                );
                for _ in 0..20 {
                    let token = tokens[below(tokens.len())];
                    let ended = follower.matcher.is_stopped();
                    assert_eq!(follower.allows(token).unwrap(), got.contains(&token) && !ended, "{name}: {token}");
                }
                steps += 1;
                partial += usize::from(!pending.is_empty());
                let texts: Vec<LlamaToken> = got.iter().copied().filter(|token| !vocabulary().is_end(*token)).collect();
                if texts.is_empty() || got.len() > texts.len() && below(8) == 0 {
                    ends += 1;
                    follower.accept(*got.iter().find(|token| vocabulary().is_end(**token)).unwrap()).unwrap();
                    break;
                }
                let token = texts[below(texts.len())];
                follower.accept(token).unwrap_or_else(|e| panic!("{name}: {e}"));
                oracle.accept(token);
                let piece = vocabulary().piece(token, false);
                written.extend(&piece);
                pending.extend(&piece);
                let whole = std::str::from_utf8(&pending).map_or_else(|e| e.valid_up_to(), str::len);
                pending.drain(..whole);
            }
        }
    }
    assert!(steps > 1500 && ends > 30 && partial > 20, "{steps} steps, {ends} ends, {partial} inside of a character");
}

#[test]
fn classes_exclude_whole_characters_only() {
    // llama.cpp refuses all characters that begin with the same bytes as one excluded.
    let grammar = gbnf(r"root ::= [^\u2028]").unwrap();
    let tokens = (0..i32::try_from(vocabulary().len()).unwrap()).map(LlamaToken);
    let byte = |byte: u8| tokens.clone().find(|token| vocabulary().piece(*token, false) == [byte]).unwrap();
    let mut follower = Follower::new(&grammar);
    for next in [0xe2, 0x80] {
        assert!(follower.allows(byte(next)).unwrap());
        follower.accept(byte(next)).unwrap();
    }
    assert!(follower.allows(byte(0xa7)).unwrap());
    assert!(!follower.allows(byte(0xa8)).unwrap());
}

#[test]
fn answers_are_what_their_schema_says() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let short = json!({ "type": "string", "maxLength": 3 });
    let tree = json!({
        "$ref": "#/$defs/tree",
        "$defs": { "tree": {
            "type": "object", "properties": { "v": { "type": "boolean" }, "next": { "$ref": "#/$defs/tree" } }, "required": ["v"],
            "additionalProperties": false
        } }
    });
    fn is_tree(value: &Value) -> bool {
        value["v"].is_boolean() && value.get("next").is_none_or(is_tree)
    }
    let within = |value: &Value, low: i64, high: i64| value.as_i64().is_some_and(|n| (low..=high).contains(&n));
    let is_short = |value: &Value| value.as_str().is_some_and(|text| text.chars().count() <= 3);
    type Follows<'a> = &'a dyn Fn(&Value) -> bool;
    let cases: [(Value, Follows); 8] = [
        (json!({ "enum": ["yes", "いいえ", 3, null, [1], { "a": "b" }] }), &|v| {
            [json!("yes"), json!("いいえ"), json!(3), Value::Null, json!([1]), json!({ "a": "b" })].contains(v)
        }),
        (json!({ "type": "integer", "minimum": -7, "maximum": 1200 }), &|v| within(v, -7, 1200)),
        (json!({ "type": "array", "items": short, "minItems": 2, "maxItems": 4 }), &|v| {
            v.as_array().is_some_and(|items| (2..=4).contains(&items.len()) && items.iter().all(is_short))
        }),
        (
            json!({ "oneOf": [{ "type": "integer", "minimum": 0, "maximum": 5 }, { "const": 3 }, { "type": "null" }] }),
            &|v| v.is_null() || within(v, 0, 5),
        ),
        (json!({ "type": "string", "pattern": "^[a-c]{2}あ+$", "maxLength": 6 }), &|v| {
            v.as_str().is_some_and(|text| text.chars().count() <= 6 && text.ends_with('あ'))
        }),
        (tree, &|v| is_tree(v)),
        (
            json!({ "allOf": [{ "type": "object", "properties": { "a": { "maximum": 9 } }, "required": ["a"] }, {
            "properties": { "a": { "type": "integer", "minimum": 0 } }, "additionalProperties": false
        }] }),
            &|v| within(&v["a"], 0, 9),
        ),
        (json!({ "type": "object", "maxProperties": 0 }), &|v| *v == json!({})),
    ];
    for (schema, follows) in cases {
        let grammar = Grammar::json_schema(&schema, vocabulary()).unwrap_or_else(|e| panic!("{schema}: {e}"));
        let mut whole = 0;
        for _ in 0..20 {
            let (mut follower, mut text) = (Follower::new(&grammar), Vec::new());
            for _ in 0..200 {
                let allowed = follower.allowed().unwrap();
                let tokens = (0..i32::try_from(vocabulary().len()).unwrap()).map(LlamaToken);
                let next: Vec<LlamaToken> = tokens.filter(|t| allowed.is_allowed(t.0.cast_unsigned())).collect();
                let token = next[usize::try_from(random.next_u64() % next.len() as u64).unwrap()];
                follower.accept(token).unwrap();
                if vocabulary().is_end(token) {
                    let answer = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{schema}: {text:?}: {e}"));
                    assert!(follows(&answer), "{schema}: {answer}");
                    whole += 1;
                    break;
                }
                text.extend(vocabulary().piece(token, false));
            }
        }
        assert!(whole > 10, "{schema}: only {whole} answers ended");
    }
}

/// Stands in all reports on grammars that compile.
const GOES_ON: &str = ", longest step";

/// A few tokens at random in a grammar, whose report has to hold `want`. What is to end in a certain way gets there without a watch, so
/// that no other end comes first on a machine that is busy.
fn walk(name: &str, want: &str, compile: impl FnOnce() -> Result<Grammar, ModelError>) {
    let report = walked(name, ["", GOES_ON].contains(&want), compile);
    assert!(report.contains(want), "{report}; not {want:?}");
}

fn walked(name: &str, is_watched: bool, compile: impl FnOnce() -> Result<Grammar, ModelError>) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let start = Instant::now();
    let timed = |what: &str, start: Instant| {
        let time = start.elapsed();
        assert!(time < Duration::from_secs(15), "{name}: {what} took {time:?}");
        time
    };
    let compiled = compile();
    let compiling = timed("compiling", start);
    let mut report = format!("{name}: compiled in {compiling:?}");
    let grammar = match compiled {
        Ok(grammar) => grammar,
        Err(error) => return format!("{report}, {error}"),
    };
    let limit = if is_watched { STEP_LIMIT } else { Duration::MAX };
    let mut follower = Follower::within(&grammar, limit);
    let mut longest = Duration::ZERO;
    for step in 0..100 {
        let begin = Instant::now();
        let allowed = match follower.allowed() {
            Ok(allowed) => allowed,
            Err(error) => {
                longest = longest.max(timed("a step", begin));
                report += &format!(", step {step}: {error}");
                break;
            }
        };
        let tokens = (0..i32::try_from(vocabulary().len()).unwrap()).map(LlamaToken);
        let text = |t: &LlamaToken| allowed.is_allowed(t.0.cast_unsigned()) && !vocabulary().is_end(*t);
        let next: Vec<_> = tokens.filter(text).collect();
        if next.is_empty() {
            report += &format!(", step {step}: the end");
            break;
        }
        let token = next[usize::try_from(random.next_u64() % next.len() as u64).unwrap()];
        if let Err(error) = follower.accept(token) {
            report += &format!(", step {step}: {error}");
            break;
        }
        longest = longest.max(timed("a step", begin));
        if is_watched && start.elapsed() > Duration::from_secs(1) {
            report += &format!(", step {step}: enough");
            break;
        }
    }
    report + &format!("{GOES_ON} {longest:?}")
}

/// Text of about the most bytes that a grammar may have.
fn full(piece: &str) -> String {
    piece.repeat((MAX_GRAMMAR_BYTES - 100) / piece.len())
}

fn numbered(count: usize, piece: &dyn Fn(usize) -> String) -> String {
    (0..count).map(piece).collect()
}

#[test]
fn hostile_grammars_come_to_an_end() {
    let kanji = |i: usize| char::from_u32(0x4e00 + u32::try_from(i).unwrap()).unwrap();
    let ambiguous = |first: &str, more: &str, last: &str| {
        let rules = numbered(900, &|i| format!("\ny{i} ::= [{last}] | [d-f] y{i}"));
        format!("root ::= x\nx ::= [{first}]{}{rules}", numbered(900, &|i| format!(" | [{more}] x y{i}?")))
    };
    // What has no words to look for depends on the machine's speed.
    for (name, text, want) in [
        ("optionals", r#"root ::= (("a"?){50}){50}"#.to_owned(), GOES_ON),
        ("optionals of optionals", format!("root ::= {}\"a\"{}", "(".repeat(8), "?){50}".repeat(8)), GOES_ON),
        ("stars", r#"root ::= ((((("a"*)*)*)*)*)*"#.to_owned(), GOES_ON),
        ("ambiguous", r#"root ::= "a" root? root?"#.to_owned(), GOES_ON),
        ("ambiguous on both sides", "root ::= [a-z ] root? root? | root [a-z]* root".to_owned(), GOES_ON),
        ("left", r#"root ::= root root | root "a" | root? | "a""#.to_owned(), GOES_ON),
        ("left of all", "root ::= root root root | . | ".to_owned(), GOES_ON),
        ("deep", format!("root ::= {}\"a\"{}", "(".repeat(128), ")".repeat(128)), "step 1: the end"),
        ("deeper", format!("root ::= {}\"a\"{}", "(".repeat(129), ")".repeat(129)), "128 brackets"),
        ("deep and repeated", format!("root ::= {}.{}", "(".repeat(128), ")+".repeat(128)), ""),
        ("too long", "#".repeat(MAX_GRAMMAR_BYTES + 1), "65537 bytes"),
        ("alternatives", format!("root ::= \"a\"{}", full("|\"a\"")), ""),
        ("alternatives in many ways", format!("root ::= .{}", "|. .?".repeat(10_000)), "max is 20000"),
        ("alternatives with more", format!("root ::= x+\nx ::= .{}", full("|. x")), ""),
        ("characters", format!("root ::= ([a]{})+", numbered(4000, &|i| format!("|[{}]", kanji(i)))), GOES_ON),
        (
            "too many characters",
            format!("root ::= [a]{}", numbered(4100, &|i| format!("|[{}]", kanji(i)))),
            "limit is 4096",
        ),
        ("overlaps", format!("root ::= ([a]{})+", numbered(4000, &|i| format!("|[^{}]", kanji(i)))), ""),
        (
            "chain",
            format!("root ::= r0{}\nr4600::=\"a\"", numbered(4600, &|i| format!("\nr{i}::=r{}", i + 1))),
            "the end",
        ),
        (
            "nullable chain",
            format!("root::=r0{}\nr3000::=\"a\"?", numbered(3000, &|i| format!("\nr{i}::=r{} r{0}", i + 1))),
            "",
        ),
        ("cubic", ambiguous("b", "a", "c"), ""),
        ("cubic of classes", ambiguous("b ", "a-z", "c-e"), ""),
        ("long", format!("root ::= \"{}\"", "あ".repeat(20_000)), GOES_ON),
        ("counts", "root ::= ((.{0,1000}){0,1000}){0,1000}".to_owned(), ""),
        ("large counts", r#"root ::= [a-z]{0,100000} [a-z]{0,99999} "x"{0,8888}"#.to_owned(), GOES_ON),
        (
            "dead end",
            "root ::= \"a\" x\nx ::= x".to_owned(),
            "step 1: the answer cannot follow this grammar: no text can follow",
        ),
        ("nothing", "root ::= root".to_owned(), "no text follows it"),
        ("endless", r#"root ::= "a" root"#.to_owned(), GOES_ON),
        ("empty", r#"root ::= """#.to_owned(), "step 0: the end"),
    ] {
        walk(name, want, || gbnf(&text));
    }
}

#[test]
fn hostile_schemas_come_to_an_end() {
    let many = |count: usize, schema: &dyn Fn(usize) -> Value| (0..count).map(schema).collect::<Value>();
    let named = |count: usize, schema: &dyn Fn(usize) -> Value| -> Value {
        (0..count).map(|i| (format!("p{i}"), schema(i))).collect()
    };
    let nested =
        |depth, outer: &dyn Fn(Value) -> Value| (0..depth).fold(json!({ "type": "string" }), |inner, _| outer(inner));
    // A chain of definitions, each of which refers to the next.
    let chain = |length: usize, link: &dyn Fn(Value) -> Value| {
        let mut all = named(length, &|i| link(json!({ "$ref": format!("#/$defs/p{}", i + 1) })));
        all[format!("p{length}")] = json!({ "properties": { "a": { "type": "null" }, "b": {} } });
        json!({ "$ref": "#/$defs/p0", "$defs": all })
    };
    let pattern = |text: String| json!({ "type": "string", "pattern": text });
    let anything = |_: usize| json!({});
    for (name, schema, want) in [
        ("enum", json!({ "enum": many(9000, &|i| json!(i.to_string())) }), "the end"),
        ("enum of numbers", json!({ "enum": many(9000, &|i| json!(i * 7)) }), "the end"),
        ("too long", json!({ "enum": many(12_000, &|i| json!(i * 7)) }), "the limit is 65536"),
        ("nested anyOf", nested(60, &|s| json!({ "anyOf": [s, { "items": { "type": "integer" } }] })), GOES_ON),
        ("nested items", nested(60, &|s| json!({ "items": s })), GOES_ON),
        ("pattern", pattern("^((a?){50}){50}$".to_owned()), GOES_ON),
        ("pattern of much", pattern("(.*a.{1000}){20}".to_owned()), GOES_ON),
        ("pattern of repetitions", pattern(format!("^{}a{}$", "(".repeat(6), "{1,100})".repeat(6))), GOES_ON),
        ("wide pattern", pattern(format!("x{}", numbered(6000, &|i| format!("|.*{i}b")))), GOES_ON),
        ("wide repeated pattern", pattern(format!("^(x{})*$", numbered(4000, &|i| format!("|{i}+.?b")))), GOES_ON),
        ("patterns", json!({ "anyOf": many(1000, &|i| pattern(format!("[^{}]{{{}}}", i % 10, 1000 + i))) }), ""),
        ("patterns together", json!({ "allOf": many(1500, &|i| pattern(format!("a{i}b"))) }), "combinations"),
        ("itself", json!({ "$ref": "#" }), "no text follows it"),
        (
            "loop",
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
            "no text follows it",
        ),
        (
            "loop of allOf",
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/a" }, { "type": "null" }] } } }),
            "circular",
        ),
        ("chain", chain(1800, &|next| next), GOES_ON),
        ("chain of items", chain(1500, &|next| json!({ "items": next })), GOES_ON),
        ("doubling", chain(60, &|next| json!({ "anyOf": [next, next] })), GOES_ON),
        (
            "doubling together",
            chain(60, &|next| json!({ "allOf": [next, next, { "anyOf": [true, true] }] })),
            "combinations",
        ),
        (
            "products",
            json!({ "allOf": many(30, &|i| json!({ "anyOf": [{ "minimum": i }, { "minLength": i }] })) }),
            "combinations",
        ),
        ("minItems", json!({ "type": "array", "minItems": 1_000_000_000 }), GOES_ON),
        ("most minItems", json!({ "minItems": u64::MAX, "items": { "maxItems": u64::MAX - 1 } }), GOES_ON),
        ("minLength", json!({ "type": "string", "minLength": 1_000_000_000 }), GOES_ON),
        ("minProperties", json!({ "type": "object", "minProperties": u64::MAX }), GOES_ON),
        ("multipleOf", json!({ "type": "integer", "multipleOf": 4_000_000_007_u64 }), "too much for the engine"),
        ("large multipleOf", json!({ "type": "integer", "multipleOf": 99_991, "minimum": 0 }), ""),
        ("range", json!({ "type": "integer", "minimum": -1e300, "maximum": 1e300 }), "too much for the engine"),
        (
            "ranges",
            json!({ "anyOf": many(900, &|i| json!({ "minimum": i as f64 * 0.731, "maximum": i as f64 * 12345.6 })) }),
            "",
        ),
        ("properties", json!({ "type": "object", "properties": named(2000, &anything) }), GOES_ON),
        ("too many", json!({ "type": "object", "properties": named(2001, &anything) }), "limit is 2000"),
        (
            "counted",
            json!({ "type": "object", "properties": named(101, &anything), "minProperties": 1 }),
            "limit is 100",
        ),
        ("patternProperties", json!({ "patternProperties": named(32, &|i| pattern(format!("x{i}"))) }), ""),
        ("patterns of names", json!({ "patternProperties": { "(.*a.{20}){3}": {}, "(.*b.{20}){3}": {} } }), "disjoint"),
        ("oneOf", json!({ "oneOf": many(3000, &|i| json!({ "const": i })) }), "the end"),
        ("contradiction", json!({ "type": "string", "enum": [1, 2] }), "the answer cannot follow"),
        ("false", json!(false), "Unsatisfiable"),
        ("no schema", json!({ "type": "foo" }), "Invalid type: foo"),
        ("not", json!({ "not": { "type": "string" } }), "Unimplemented keys: [\"not\"]"),
    ] {
        walk(name, want, || Grammar::json_schema(&schema, vocabulary()));
    }
}
