//! A model in, how fast it is merged and runs out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::copy::Copy;
use crate::disk;
use crate::generate::Request;
use crate::image::Fill;
use crate::model::{ContextSize, LlamaBatch, LlamaToken, Settings};
use crate::open::{Kind, Model};
use crate::plan::PlanError;
use crate::recipe::{Curve, Parameters, Recipe};
use crate::score::{Progress, ScoreError, generate};

/// Why a measurement came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// llama.cpp failed.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// A candidate has no result.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Parameters that searches turn.
const TURNED: [&str; 6] = ["weight", "density", "gamma", "t", "lambda", "select_topk"];
/// By which part candidates turn them, one after the other.
const TURN: f64 = 1e-3;

/// Tokens of the long prompt and of the continuation behind the two speeds.
const PROMPT_TOKENS: usize = 512;
/// See [`PROMPT_TOKENS`].
const GENERATED_TOKENS: usize = 64;
/// A small candidate evaluation to compare a swap with: short questions, decoded side by side.
const QUESTIONS: u32 = 32;
/// Tokens of each short question, and of each answer.
const SHORT_TOKENS: usize = 32;

/// The figures. Times of repeated work are sorted.
#[derive(Debug)]
pub struct Figures {
    /// One per repeat: merging the recipe into the live model. Empty for a plain file.
    pub swaps: Vec<Duration>,
    /// One per repeat: planning and merging the recipe with other numbers, as a search does after its first candidate. Empty for a plain
    /// file.
    pub candidates: Vec<Duration>,
    /// What a swap reads and writes.
    pub fill: Fill,
    /// One per repeat: copying as many bytes on as many threads. Empty for a plain file.
    pub copies: Vec<Duration>,
    /// Opening, merging and loading, until the first token could be decoded.
    pub load: Duration,
    /// Tokens per second of one long prompt.
    pub prompt_speed: f64,
    /// Tokens per second of one continuation.
    pub generate_speed: f64,
    /// Answering 32 short questions.
    pub questions: Duration,
    /// Bytes written to disk meanwhile, as the kernel counts them.
    pub disk_write_bytes: Option<u64>,
}

impl Figures {
    /// Minimum, median and maximum of sorted times, in seconds.
    pub fn spread(sorted: &[Duration]) -> Option<[f64; 3]> {
        let at = |i: usize| sorted.get(i).map(Duration::as_secs_f64);
        Some([at(0)?, at(sorted.len() / 2)?, at(sorted.len().checked_sub(1)?)?])
    }

    /// Bytes read and written by a merge or copy that took `sorted`'s median, per second, in 10^9. `None` where a swap reads nothing: a
    /// path through blocks that are in memory already.
    pub fn gb_per_second(&self, sorted: &[Duration]) -> Option<f64> {
        let [_, median, _] = Self::spread(sorted).filter(|_| self.fill.bytes_read > 0)?;
        Some((self.fill.bytes_read + self.fill.bytes_written) as f64 / median.max(1e-12) / 1e9)
    }
}

/// Measures `model`; everything that repeats is run `repeat` times.
///
/// # Errors
/// [`BenchError`] with llama.cpp's reason.
pub fn measure(model: &Model, settings: Settings, repeat: usize) -> Result<Figures, BenchError> {
    let disk_before = disk::written_bytes();
    let start = Instant::now();
    let vocabulary = model.vocabulary().map_err(ScoreError::from)?;
    let size = ContextSize { sequences: 1, tokens: (PROMPT_TOKENS + GENERATED_TOKENS) as u32 };
    let (mut live, mut swap) = model.start(Arc::clone(&vocabulary), settings, size).map_err(ScoreError::from)?;
    let load = start.elapsed();

    let mut swaps = Vec::new();
    let mut copies = Vec::new();
    let mut candidates = Vec::new();
    if let Kind::Recipe(v) = &model.kind {
        for _ in 0..repeat {
            swap = live.swap(&v.plan, v.siblings.parents()).map_err(ScoreError::from)?;
            swaps.push(swap.elapsed);
        }
        for i in 1..=repeat {
            let recipe = turned(&v.recipe, 1.0 - TURN * i as f64);
            let start = Instant::now();
            live.swap(&v.siblings.plan(&recipe)?, v.siblings.parents()).map_err(ScoreError::from)?;
            candidates.push(start.elapsed());
        }
        candidates.sort();
        let mut copy = Copy::of(swap.fill.bytes_read + swap.fill.bytes_written);
        copies = (0..repeat).map(|_| copy.time()).collect();
        copies.sort();
        swaps.sort();
    }

    // Any tokens cost the same; these are spread over the vocabulary.
    let token = |i: usize| LlamaToken((i * 7919 % vocabulary.len().max(1)) as i32);
    let start = Instant::now();
    let mut batch = LlamaBatch::new(live.batch_size(), 1);
    let prompt: Vec<usize> = (0..PROMPT_TOKENS).collect();
    for chunk in prompt.chunks(live.batch_size()) {
        batch.clear();
        for i in chunk {
            batch.add(token(*i), *i as i32, &[0], i + 1 == PROMPT_TOKENS).expect("chunks fit the batch");
        }
        live.decode(&mut batch).map_err(ScoreError::from)?;
    }
    let prompt_speed = PROMPT_TOKENS as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for i in PROMPT_TOKENS..PROMPT_TOKENS + GENERATED_TOKENS {
        batch.clear();
        batch.add(token(i), i as i32, &[0], true).expect("one token fits");
        live.decode(&mut batch).map_err(ScoreError::from)?;
    }
    let generate_speed = GENERATED_TOKENS as f64 / start.elapsed().as_secs_f64();

    live.resize(ContextSize { sequences: QUESTIONS, tokens: 2 * SHORT_TOKENS as u32 }).map_err(ScoreError::from)?;
    let request =
        |q: usize| Request::greedy((q * SHORT_TOKENS..(q + 1) * SHORT_TOKENS).map(token).collect(), SHORT_TOKENS);
    let requests: Vec<Request> = (0..QUESTIONS as usize).map(request).collect();
    let start = Instant::now();
    generate(&mut live, &requests, &|_, _, _| false, &mut Progress::new(&mut |_, _| true))?;
    let questions = start.elapsed();
    let disk_write_bytes = disk_before.and_then(|before| Some(disk::written_bytes()?.saturating_sub(before)));
    Ok(Figures {
        swaps,
        candidates,
        fill: swap.fill,
        copies,
        load,
        prompt_speed,
        generate_speed,
        questions,
        disk_write_bytes,
    })
}

/// The recipe with every number that searches turn multiplied by `factor`.
fn turned(recipe: &Recipe, factor: f64) -> Recipe {
    let mut recipe = recipe.clone();
    let turn = |parameters: &mut Parameters| {
        let settings = parameters.iter_mut().filter(|(name, _)| TURNED.contains(&name.as_str()));
        for rule in settings.flat_map(|(_, setting)| &mut setting.rules) {
            if let Curve::Numbers(numbers) = &mut rule.curve {
                numbers.iter_mut().for_each(|n| *n *= factor);
            }
        }
    };
    turn(&mut recipe.parameters);
    for slice in &mut recipe.slices {
        turn(&mut slice.parameters);
        slice.sources.iter_mut().for_each(|source| turn(&mut source.parameters));
    }
    recipe
}
