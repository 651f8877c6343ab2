//! A live model and a `Task` in, one result per question and their summary out. Knows nothing of genomes.

mod choice;
mod error;
mod generate;
mod perplexity;
pub mod stats;
#[cfg(test)]
mod tests;

use std::f64::consts::LN_2;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use choice::{Continuations, log_likelihoods};
pub use error::ScoreError;
pub use generate::{Answer, generate};
pub use perplexity::negative_log_likelihoods;

use crate::generate::{Request, Work};
use crate::model::{ContextSize, Live, LlamaToken, Message, ModelError, Vocabulary};
use crate::tasks::{Generate, Kind, Metric, Task, TextMetric};
use serde_json::Map;
use stats::Estimate;

/// llama.cpp rounds contexts up to this many tokens.
const CONTEXT_STEP: usize = 256;

/// What a model did on a task.
#[derive(Clone, Debug)]
pub struct Score {
    /// What was measured: `number`, `exact`, ..., `accuracy`, ..., `perplexity` or `bits_per_byte`.
    pub metric: &'static str,
    /// The value with its uncertainty; for accuracies and `rouge_l` from 0 to 1.
    pub estimate: Estimate,
    /// One value per question, higher is better: 1 or 0 for right or wrong, or what lies between for `rouge_l`; the mean log-likelihood of
    /// a prompt's tokens, or the negative bits per byte.
    pub items: Vec<f64>,
    /// In a generate task, what the model wrote to each question, as far as its score depends on it; empty otherwise.
    pub answers: Vec<String>,
    /// In a choice task, the log-likelihood of each choice of each question; empty otherwise.
    pub choices: Vec<Vec<f64>>,
    /// Questions on which the model computed no numbers, which count as wrong where answers are right or wrong.
    pub failed: usize,
    /// Tokens computed and the time for them: prompts apart from answers.
    pub work: Work,
    /// Wall time.
    pub elapsed: Duration,
}

impl Score {
    /// What a search maximises: the share of right answers, the mean log-likelihood of a token, or the negative bits per byte.
    pub fn fitness(&self) -> f64 {
        fitness_of(self.metric, self.estimate.value)
    }
}

/// The [`Score::fitness`] of a value of `metric`.
pub fn fitness_of(metric: &str, value: f64) -> f64 {
    match metric {
        PERPLEXITY => -value.ln(),
        BITS_PER_BYTE => -value,
        _ => value,
    }
}

/// The value of `metric` that has this [`Score::fitness`].
pub fn value_of(metric: &str, fitness: f64) -> f64 {
    match metric {
        PERPLEXITY => (-fitness).exp(),
        BITS_PER_BYTE => -fitness,
        _ => fitness,
    }
}

/// Whether a metric tells how likely texts are: it is no share of 1, and lower is better.
pub fn is_likelihood(metric: &str) -> bool {
    [PERPLEXITY, BITS_PER_BYTE].contains(&metric)
}

/// The name of the metric of perplexity tasks; lower is better.
pub const PERPLEXITY: &str = "perplexity";
/// The name of their other metric; lower is better.
pub const BITS_PER_BYTE: &str = "bits_per_byte";

/// Who is told how far a score is, and may end it.
pub struct Progress<'a> {
    on_step: &'a mut dyn FnMut(usize, usize) -> bool,
}

impl<'a> Progress<'a> {
    /// `on_step` is called with questions done and questions in all, and says whether to go on.
    pub fn new(on_step: &'a mut dyn FnMut(usize, usize) -> bool) -> Self {
        Self { on_step }
    }

    fn report(&mut self, done: usize, total: usize) -> Result<(), ScoreError> {
        if (self.on_step)(done, total) { Ok(()) } else { Err(ScoreError::Cancelled) }
    }
}

/// What a user allows a context to be.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Most sequences side by side.
    pub parallel: u32,
    /// Tokens of each; what the task needs if `None`.
    pub tokens: Option<u32>,
}

/// A task in one model's tokens, ready to be asked as often as there are recipes.
pub struct Prepared {
    task: Arc<Task>,
    /// For each question, its prompt's tokens, with those of its choices if it has any.
    prompts: Vec<Continuations>,
    /// In a perplexity task, the bytes of text that each prompt's tokens after the first stand for.
    bytes: Vec<usize>,
    /// Most letters of the language asked for that one token can bring.
    letters_per_token: usize,
}

impl Prepared {
    /// Tokenizes every question of `task`.
    ///
    /// # Errors
    /// [`ScoreError::EmptyPrompt`] for a prompt without tokens, [`ScoreError::EmptyChoice`] for a choice without any, or a chat template
    /// that is missing.
    pub fn new(task: Arc<Task>, vocabulary: &Vocabulary) -> Result<Self, ScoreError> {
        let tokenize = |question: &crate::tasks::Question| {
            let as_chat = || vocabulary.render_chat(&[Message::new("user", &question.prompt)], &Map::new());
            let rendered = if task.chat { &as_chat()? } else { &question.prompt };
            let tokens = match (&task.kind, &question.choices) {
                (Kind::Choice(kind), Some(choices)) => {
                    Continuations::new(vocabulary, rendered, &kind.delimiter, &choices.texts)
                }
                _ => Continuations { context: vocabulary.tokenize(rendered), choices: Vec::new() },
            };
            let least = if matches!(task.kind, Kind::Perplexity(_)) { 2 } else { 1 };
            if tokens.context.len() < least {
                return Err(ScoreError::EmptyPrompt { task: task.name.clone(), line: question.line, least });
            }
            if let Some(choice) = tokens.choices.iter().position(Vec::is_empty) {
                return Err(ScoreError::EmptyChoice { task: task.name.clone(), line: question.line, choice });
            }
            Ok(tokens)
        };
        let prompts = task.questions.iter().map(tokenize).collect::<Result<Vec<_>, _>>()?;
        let mut bytes = Vec::new();
        if let Kind::Perplexity(TextMetric::BitsPerByte) = task.kind {
            let of =
                |prompt: &Continuations| prompt.context[1..].iter().map(|t| vocabulary.piece(*t, false).len()).sum();
            // Some vocabularies put a space before a text, which is none of its bytes.
            bytes =
                prompts.iter().map(of).zip(&task.questions).map(|(n, q): (usize, _)| n.min(q.prompt.len())).collect();
        }
        let gate = match &task.kind {
            Kind::Generate(kind) => kind.language.filter(|gate| gate.language.by_script()),
            Kind::Choice(_) | Kind::Perplexity(_) => None,
        };
        // One more for a character that it completes.
        let letters_per_token =
            gate.map_or(0, |gate| vocabulary.texts().map(|text| gate.own_letters(&text) + 1).max().unwrap_or(0));
        Ok(Self { task, prompts, bytes, letters_per_token })
    }

    /// The task.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// The task, to be prepared for another vocabulary.
    pub fn shared_task(&self) -> Arc<Task> {
        Arc::clone(&self.task)
    }

    /// The context that the task needs.
    pub fn context_size(&self, room: Room) -> ContextSize {
        let longest = self.prompts.iter().map(Continuations::longest).max().unwrap_or(0);
        let needed = (longest + self.max_tokens()).next_multiple_of(CONTEXT_STEP);
        let sequences = match self.task.kind {
            Kind::Generate(_) | Kind::Choice(_) => {
                room.parallel.min(u32::try_from(self.prompts.len()).unwrap_or(u32::MAX)).max(1)
            }
            Kind::Perplexity(_) => 1,
        };
        ContextSize { sequences, tokens: room.tokens.unwrap_or(u32::try_from(needed).unwrap_or(u32::MAX)) }
    }

    fn max_tokens(&self) -> usize {
        match &self.task.kind {
            Kind::Generate(generate) => generate.max_tokens,
            Kind::Choice(_) | Kind::Perplexity(_) => 0,
        }
    }

    /// Asks `live` the questions at `chosen`, in that order.
    ///
    /// # Errors
    /// [`ScoreError`] if a prompt does not fit, llama.cpp fails, or `progress` ends it.
    pub fn score(&self, live: &mut Live, chosen: &[usize], progress: &mut Progress) -> Result<Score, ScoreError> {
        let start = Instant::now();
        self.refuse_too_long(live.size().tokens, chosen)?;
        let prompts = || chosen.iter().map(|q| self.prompts[*q].context.clone());
        let (mut texts, mut choices) = (Vec::new(), Vec::new());
        let (metric, estimate, items, failed, work) = match &self.task.kind {
            Kind::Generate(kind) => {
                let request = |prompt| Request { stop: kind.stop.clone(), ..Request::greedy(prompt, kind.max_tokens) };
                let requests: Vec<Request> = prompts().map(request).collect();
                let settled = |index: usize, text: &str, left| self.settled(kind, chosen[index], text, left);
                let (answers, work) = generate(live, &requests, &settled, progress)?;
                let judge = |(q, a): (&usize, &Answer)| kind.judge(&self.task.questions[*q], &a.text);
                let items: Vec<f64> = chosen.iter().zip(&answers).map(judge).collect();
                let estimate = if kind.metric == Metric::RougeL { stats::mean(&items) } else { accuracy(&items) };
                let failed = answers.iter().filter(|answer| answer.failed).count();
                texts = answers.into_iter().map(|a| a.text).collect();
                (kind.metric.name(), estimate, items, failed, work)
            }
            Kind::Choice(kind) => {
                let questions: Vec<&Continuations> = chosen.iter().map(|q| &self.prompts[*q]).collect();
                let (logs, work) = log_likelihoods(live, &questions, progress)?;
                choices = logs;
                let judge = |(q, logs): (&usize, &Vec<f64>)| kind.judge(&self.task.questions[*q], logs);
                let items: Vec<f64> = chosen.iter().zip(&choices).map(judge).collect();
                let failed = choices.iter().filter(|logs| logs.iter().any(|log| log.is_nan())).count();
                (kind.metric.name(), accuracy(&items), items, failed, work)
            }
            Kind::Perplexity(metric) => {
                let prompts: Vec<Vec<LlamaToken>> = prompts().collect();
                let (sums, work) = negative_log_likelihoods(live, &prompts, progress)?;
                let sums: Vec<(f64, usize)> = match metric {
                    TextMetric::Perplexity => sums,
                    TextMetric::BitsPerByte => {
                        let bits = |((nll, _), q): ((f64, usize), &usize)| (nll / LN_2, self.bytes[*q]);
                        sums.into_iter().zip(chosen).map(bits).collect()
                    }
                };
                let estimate = match metric {
                    TextMetric::Perplexity => stats::perplexity(&sums),
                    TextMetric::BitsPerByte => stats::ratio(&sums),
                };
                let items = sums.iter().map(|(sum, size)| -sum / *size as f64).collect();
                let failed = sums.iter().filter(|(sum, _)| sum.is_nan()).count();
                (metric.name(), estimate, items, failed, work)
            }
        };
        Ok(Score { metric, estimate, items, answers: texts, choices, failed, work, elapsed: start.elapsed() })
    }

    /// Refuses the first question of `chosen` that has no room in a context of `limit` tokens.
    fn refuse_too_long(&self, limit: u32, chosen: &[usize]) -> Result<(), ScoreError> {
        let wanted = self.max_tokens();
        let fits = |q: &&usize| self.prompts[**q].longest().saturating_add(wanted) <= limit as usize;
        let Some(q) = chosen.iter().find(|q| !fits(q)) else { return Ok(()) };
        Err(ScoreError::TooLong {
            task: self.task.name.clone(),
            line: self.task.questions[*q].line,
            problem: ModelError::TooLong { prompt: self.prompts[*q].longest(), wanted, limit }.into(),
        })
    }

    /// Whether nothing that may follow `text` in `left` tokens changes the score of question `q`.
    fn settled(&self, kind: &Generate, q: usize, text: &str, left: usize) -> bool {
        // What is held back because a stop string or a character may be beginning belongs to tokens that are counted already.
        let held = kind.stop.iter().map(String::len).max().unwrap_or(0) + 4;
        let more = left.saturating_mul(self.letters_per_token).saturating_add(held);
        kind.settled(&self.task.questions[q], text, more).is_some()
    }

    /// Asks all questions.
    ///
    /// # Errors
    /// As [`Prepared::score`].
    pub fn score_all(&self, live: &mut Live, progress: &mut Progress) -> Result<Score, ScoreError> {
        self.score(live, &(0..self.prompts.len()).collect::<Vec<_>>(), progress)
    }
}

/// The share of `items` that are 1.
pub fn accuracy(items: &[f64]) -> Estimate {
    stats::accuracy(items.iter().filter(|item| **item == 1.0).count(), items.len())
}

/// Room for all of `sizes`, which scorings one after another need.
pub fn largest_size(sizes: impl IntoIterator<Item = ContextSize>) -> ContextSize {
    sizes.into_iter().fold(ContextSize { sequences: 1, tokens: 1 }, |a, b| ContextSize {
        sequences: a.sequences.max(b.sequences),
        tokens: a.tokens.max(b.tokens),
    })
}
