//! A live model in, how fast it reads and writes out: one long text, or many questions at once.

use std::time::{Duration, Instant};

use crate::generate::Request;
use crate::model::{ContextSize, Live, LlamaBatch, LlamaToken, ModelError};
use crate::score::{Progress, ScoreError, generate};

/// Tokens of the long prompt and of the continuation behind the two speeds.
const PROMPT_TOKENS: usize = 512;
/// See [`PROMPT_TOKENS`].
const GENERATED_TOKENS: usize = 64;

/// Room for one long text.
pub(super) const ONE_TEXT: ContextSize =
    ContextSize { sequences: 1, tokens: (PROMPT_TOKENS + GENERATED_TOKENS) as u32 };

/// Tokens per second.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Of a prompt of 512 tokens.
    pub prompt: f64,
    /// Of 64 that follow, one after the other.
    pub generated: f64,
}

impl Speed {
    /// Each median by itself.
    pub(super) fn median(of: &[Self]) -> Self {
        let median = |speed: fn(&Self) -> f64| {
            let mut all: Vec<f64> = of.iter().map(speed).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Self { prompt: median(|s| s.prompt), generated: median(|s| s.generated) }
    }
}

/// Measures `live`, which has room for [`ONE_TEXT`].
pub(super) fn speed(live: &mut Live) -> Result<Speed, ModelError> {
    let token = tokens(live);
    live.truncate(0, 0);
    let mut batch = LlamaBatch::new(live.batch_size(), 1);
    let start = Instant::now();
    let prompt: Vec<usize> = (0..PROMPT_TOKENS).collect();
    for chunk in prompt.chunks(live.batch_size()) {
        batch.clear();
        for i in chunk {
            batch.add(token(*i), *i as i32, &[0], i + 1 == PROMPT_TOKENS).expect("chunks fit the batch");
        }
        live.decode(&mut batch)?;
    }
    wait(live, &batch);
    let prompt = PROMPT_TOKENS as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for i in PROMPT_TOKENS..PROMPT_TOKENS + GENERATED_TOKENS {
        batch.clear();
        batch.add(token(i), i as i32, &[0], true).expect("one token fits");
        live.decode(&mut batch)?;
        wait(live, &batch);
    }
    Ok(Speed { prompt, generated: GENERATED_TOKENS as f64 / start.elapsed().as_secs_f64() })
}

/// Devices compute after `decode` has returned; who reads the logits waits for them.
fn wait(live: &Live, batch: &LlamaBatch) {
    std::hint::black_box(live.logits(batch.n_tokens() - 1));
}

/// Any tokens cost the same; these are spread over the vocabulary.
fn tokens(live: &Live) -> impl Fn(usize) -> LlamaToken + use<> {
    let count = live.vocabulary().len().max(1);
    move |i| LlamaToken((i * 7919 % count) as i32)
}

/// Questions to be answered side by side, as the evaluation of one candidate.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// How many.
    pub questions: usize,
    /// Tokens of each.
    pub prompt: usize,
    /// Most tokens of each answer.
    pub answer: usize,
}

impl Asked {
    /// A small evaluation, since processors take their time.
    pub(super) const SMALL: Self = Self { questions: 32, prompt: 32, answer: 32 };
    /// What a search on a device may ask of every candidate.
    pub(super) const LARGE: Self = Self { questions: 64, prompt: 32, answer: 256 };

    /// Room for all of them.
    pub(super) fn size(self) -> ContextSize {
        ContextSize { sequences: self.questions as u32, tokens: (self.prompt + self.answer) as u32 }
    }

    /// Answers them: how long that took, and how many tokens came out, which are fewer where the model ends answers early.
    pub(super) fn answer(self, live: &mut Live) -> Result<(Duration, usize), ScoreError> {
        let token = tokens(live);
        let request =
            |q: usize| Request::greedy((q * self.prompt..(q + 1) * self.prompt).map(&token).collect(), self.answer);
        let requests: Vec<Request> = (0..self.questions).map(request).collect();
        let start = Instant::now();
        let (answers, _) = generate(live, &requests, &|_, _, _| false, &mut Progress::new(&mut |_, _| true))?;
        Ok((start.elapsed(), answers.iter().map(|answer| answer.tokens).sum()))
    }
}
