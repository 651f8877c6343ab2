//! Grammars that answers follow: GBNF and JSON schemas compiled for llguidance, which bounds the work of every step.

mod gbnf;
mod json_schema;
#[cfg(test)]
mod tests;
mod watchdog;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::derivre::RegexAst;
use llguidance::earley::lexerspec::LexerSpec;
use llguidance::earley::{Grammar as Rules, SlicedBiasComputer, SymbolProps};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Logger, Matcher, ParserFactory, panic_utils};
use serde_json::Value;

use super::{LlamaToken, ModelError, Vocabulary};
use gbnf::{Gbnf, Symbol};
use watchdog::{STEP_LIMIT, Watched};

/// Longest grammar or JSON schema in bytes.
pub const MAX_GRAMMAR_BYTES: usize = 64 << 10;
/// Rules and characters of a compiled grammar; llguidance counts them in 16 bits.
const MAX_SYMBOLS: usize = 60_000;
/// Different characters and classes in GBNF: the lexer's states are as wide.
const MAX_CLASSES: usize = 4096;
/// Cells of those states, which bound the memory of an answer.
const MAX_CELLS: usize = 20_000_000;
/// States of a lexer that has few of them.
const MAX_STATES: usize = 20_000;
/// Schemas refer to each other in chains as long as their text allows, and compiling one calls itself for each link.
const STACK_BYTES: usize = 64 << 20;
/// Longest token in bytes that can be part of an answer: llguidance's tree of tokens is no deeper.
pub(super) const MAX_TOKEN_BYTES: usize = 1000;

/// A grammar compiled for one vocabulary. A clone shares it.
#[derive(Clone)]
pub struct Grammar {
    /// Never moves: each answer begins with a copy of it.
    start: Arc<Matcher>,
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").finish_non_exhaustive()
    }
}

impl Grammar {
    /// An answer that follows the rule `root` of the GBNF grammar `text`.
    ///
    /// # Errors
    /// [`ModelError::Grammar`] if it is no GBNF, is beyond the limits, or allows no text at all.
    pub fn gbnf(text: &str, vocabulary: &Vocabulary) -> Result<Self, ModelError> {
        check_length("grammar", text)?;
        let grammar = gbnf::parse(text).map_err(|reason| ModelError::Grammar { reason })?;
        let states = MAX_STATES.min(MAX_CELLS / grammar.classes.len().max(1));
        compile(vocabulary, states, || rules(&grammar))
    }

    /// An answer in JSON that follows `schema`.
    ///
    /// # Errors
    /// [`ModelError::Grammar`] if it is no JSON schema, is beyond the limits, or asks for what no grammar can check.
    pub fn json_schema(schema: &Value, vocabulary: &Vocabulary) -> Result<Self, ModelError> {
        check_length("schema", &schema.to_string())?;
        compile(vocabulary, MAX_STATES, || {
            let schema = json_schema::prepare(schema).map_err(anyhow::Error::msg)?;
            Ok(GrammarInit::Serialized(TopLevelGrammar::from_json_schema(schema)))
        })
    }
}

fn check_length(what: &str, text: &str) -> Result<(), ModelError> {
    match text.len() {
        ..=MAX_GRAMMAR_BYTES => Ok(()),
        bytes => Err(ModelError::Grammar {
            reason: format!("the {what} has {bytes} bytes, the limit is {MAX_GRAMMAR_BYTES}"),
        }),
    }
}

fn compile(
    vocabulary: &Vocabulary,
    max_lexer_states: usize,
    grammar: impl FnOnce() -> anyhow::Result<GrammarInit> + Send,
) -> Result<Grammar, ModelError> {
    let factory = vocabulary.grammars()?;
    let matcher = || {
        let limits = ParserLimits { max_lexer_states, ..limits() };
        let (log, abilities) = (Logger::new(0, 0), InferenceCapabilities::default());
        let mut parser = factory.create_parser_from_init_ext(grammar()?, log, abilities, limits)?;
        anyhow::ensure!(parser.is_accepting() || parser.parser.can_advance(), "no text follows it");
        anyhow::Ok(Matcher::new(Ok(parser)))
    };
    let compiled = thread::scope(|scope| {
        let thread =
            thread::Builder::new().name("grammar".to_owned()).stack_size(STACK_BYTES).spawn_scoped(scope, matcher)?;
        thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it cannot be compiled")))
    });
    Ok(Grammar { start: Arc::new(compiled.map_err(|error| refused(&error))?) })
}

/// llguidance's errors go on with its state in further lines.
fn refused(error: &anyhow::Error) -> ModelError {
    let text = format!("{error:#}");
    let reason = match text.lines().next().unwrap_or_default() {
        "NoExtensionBias" => "no text can follow what was generated so far",
        line if line.starts_with("panic") => "it is too much for the engine",
        line => line,
    };
    ModelError::Grammar { reason: reason.to_owned() }
}

/// The grammar with one symbol for each rule and each class. llguidance's lexer takes the longest text that a terminal matches,
/// which GBNF does not; with one character for each terminal there is nothing to choose.
fn rules(grammar: &Gbnf) -> anyhow::Result<GrammarInit> {
    let classes = grammar.classes.len();
    anyhow::ensure!(
        classes <= MAX_CLASSES,
        "it has {classes} different characters and classes, the limit is {MAX_CLASSES}"
    );
    let symbols = grammar.rules.len() + classes;
    anyhow::ensure!(
        symbols < MAX_SYMBOLS,
        "it has {symbols} rules, repetitions and characters, the limit is {MAX_SYMBOLS}"
    );
    let mut lexer = LexerSpec::new()?;
    let grammar_id = lexer.setup_lexeme_class(RegexAst::NoMatch)?;
    let properties = |is_start| SymbolProps { grammar_id, is_start, ..SymbolProps::default() };
    let mut rules = Rules::new(None);
    let start = rules.fresh_symbol_ext("start", properties(true));
    let classes = grammar.classes.iter().enumerate().map(|(number, ranges)| {
        let symbol = rules.fresh_symbol_ext(&format!("class {number}"), properties(false));
        let lexeme = lexer.add_greedy_lexeme(String::new(), character(ranges), false, None, usize::MAX)?;
        rules.make_terminal(symbol, lexeme, &lexer)?;
        Ok(symbol)
    });
    let classes = classes.collect::<anyhow::Result<Vec<_>>>()?;
    let names =
        (0..grammar.rules.len()).map(|number| rules.fresh_symbol_ext(&format!("rule {number}"), properties(false)));
    let names: Vec<_> = names.collect();
    let nullable = grammar.nullable();
    for (rule, alternatives) in grammar.rules.iter().enumerate() {
        for alternative in alternatives.iter().filter(|alternative| !alternative.is_empty()) {
            let symbols = alternative.iter().map(|symbol| match symbol {
                Symbol::Rule(rule) => names[*rule],
                Symbol::Class(class) => classes[*class],
            });
            rules.add_rule(names[rule], symbols.collect())?;
        }
        // llguidance would find this out as well, but in as many rounds as rules can build on each other.
        if nullable[rule] {
            rules.add_rule(names[rule], vec![])?;
        }
    }
    rules.add_rule(start, vec![names[grammar.root]])?;
    Ok(GrammarInit::Internal(rules, lexer))
}

fn character(ranges: &[(u32, u32)]) -> RegexAst {
    let ranges = ranges.iter().map(|(low, high)| format!("\\x{{{low:x}}}-\\x{{{high:x}}}"));
    RegexAst::Regex(format!("[{}]", ranges.collect::<String>()))
}

/// What grammars are compiled with: the text of each token of a vocabulary, empty where none can be part of an answer, and those
/// tokens that end one.
pub(super) fn factory(pieces: &[Vec<u8>], ends: &[u32]) -> Result<ParserFactory, String> {
    panic_utils::catch_unwind(AssertUnwindSafe(|| {
        let first_end = ends.first().copied().unwrap_or(llguidance::toktrie::INVALID_TOKEN);
        let trie = TokTrie::from(&TokRxInfo::new(u32::try_from(pieces.len())?, first_end), pieces);
        let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(ends) };
        let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        ParserFactory::new(&tokens, InferenceCapabilities::default(), &SlicedBiasComputer::json_slices())
    }))
    .map_err(|error| error.to_string())
}

fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 20_000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 500_000,
        step_max_items: 5_000_000,
        max_lexer_states: MAX_STATES,
        max_grammar_size: MAX_SYMBOLS,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

/// How far one answer has come in a grammar.
pub(super) struct Follower {
    matcher: Matcher,
    watched: Arc<Watched>,
}

impl Follower {
    pub(super) fn new(grammar: &Grammar) -> Self {
        Self::within(grammar, STEP_LIMIT)
    }

    /// No step may take longer than `limit`.
    fn within(grammar: &Grammar, limit: Duration) -> Self {
        // A copy of its own also of what llguidance remembers of its lexer: no answer waits for another or fails with it.
        let matcher = grammar.start.deep_clone().into_cancellable();
        let watched = Watched::new(matcher.cancellation_handle().unwrap_or_default(), limit);
        Self { matcher, watched }
    }

    /// Whether `token` can be next.
    pub(super) fn allows(&mut self, token: LlamaToken) -> Result<bool, ModelError> {
        let token = number(token)?;
        self.step(|matcher| matcher.validate_tokens(&[token])).map(|valid| valid == 1)
    }

    /// All tokens that can be next; once the grammar is complete, those that end an answer.
    pub(super) fn allowed(&mut self) -> Result<SimpleVob, ModelError> {
        self.step(Matcher::compute_mask_or_eos)
    }

    /// Goes on with `token`, which is allowed.
    pub(super) fn accept(&mut self, token: LlamaToken) -> Result<(), ModelError> {
        let token = number(token)?;
        self.step(|matcher| if matcher.is_stopped() { Ok(()) } else { matcher.consume_token(token) })
    }

    fn step<T>(&mut self, work: impl FnOnce(&mut Matcher) -> anyhow::Result<T>) -> Result<T, ModelError> {
        let matcher = &mut self.matcher;
        let done = self.watched.during(|| work(matcher));
        done.map_err(|error| match self.matcher.is_cancelled() {
            true => {
                let limit = self.watched.limit.as_secs_f32();
                ModelError::Grammar { reason: format!("a step in it takes longer than {limit} s") }
            }
            false => refused(&error),
        })
    }
}

fn number(token: LlamaToken) -> Result<u32, ModelError> {
    u32::try_from(token.0).map_err(|_| ModelError::Grammar { reason: format!("there is no token {}", token.0) })
}
