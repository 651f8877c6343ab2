//! A model in, how fast it is merged and runs out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::copy::Copy;
use super::speed::{Asked, ONE_TEXT, Speed, speed};
use crate::disk;
use crate::image::{Fill, export_in_memory};
use crate::model::{Device, DeviceCopy, Live, ModelError, Settings, devices};
use crate::open::{Kind, Model, Virtual};
use crate::plan::PlanError;
use crate::recipe::{Curve, Parameters, Recipe};
use crate::score::ScoreError;

/// Why a measurement came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// llama.cpp failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// It failed at the questions.
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

/// The figures. Times of repeated work are sorted.
#[derive(Debug)]
pub struct Figures {
    /// One per repeat: merging the recipe into the live model. Empty for a plain file.
    pub swaps: Vec<Duration>,
    /// One per repeat: planning and merging the recipe with other numbers, as a search does after its first candidate. Empty for a plain
    /// file.
    pub later_swaps: Vec<Duration>,
    /// What a swap reads and writes.
    pub fill: Fill,
    /// One per repeat: copying as many bytes on as many threads. Empty for a plain file.
    pub copies: Vec<Duration>,
    /// If layers are offloaded.
    pub device: Option<OnDevice>,
    /// Opening, merging and loading, until the first token could be decoded.
    pub load: Duration,
    /// Of the model.
    pub speed: Speed,
    /// Of the same model as an exported file, if that was asked for.
    pub exported: Option<Speed>,
    /// What was asked of one candidate.
    pub asked: Asked,
    /// Answering that.
    pub questions: Duration,
    /// Tokens of the answers.
    pub answer_tokens: usize,
    /// Planning and merging a recipe with other numbers, and answering: one candidate of a search. `None` for a plain file.
    pub candidate: Option<Duration>,
    /// Bytes written to disk meanwhile, as the kernel counts them.
    pub disk_write_bytes: Option<u64>,
}

/// What is known of the devices.
#[derive(Debug)]
pub struct OnDevice {
    /// All that take layers.
    pub names: Vec<String>,
    /// One per repeat: the first one copying as many bytes as a swap moves within its own memory. Empty for a plain file, and where it has
    /// no room.
    pub copies: Vec<Duration>,
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

/// Measures `model`; everything that repeats is run `repeat` times. With `export`, the recipe also runs as the file that it could be
/// exported to, in memory, beside the virtual model: that takes as much memory again.
///
/// # Errors
/// [`BenchError`] with llama.cpp's reason.
pub fn measure(model: &Model, settings: Settings, repeat: usize, export: bool) -> Result<Figures, BenchError> {
    let disk_before = disk::written_bytes();
    let start = Instant::now();
    let vocabulary = model.vocabulary()?;
    let (mut live, mut swap) = model.start(Arc::clone(&vocabulary), settings, ONE_TEXT)?;
    let load = start.elapsed();

    let mut swaps = Vec::new();
    let mut later_swaps = Vec::new();
    if let Kind::Recipe(v) = &model.kind {
        for _ in 0..repeat {
            swap = live.swap(&v.plan, v.siblings.parents())?;
            swaps.push(swap.elapsed);
        }
        for i in 1..=repeat {
            later_swaps.push(swap_turned(&mut live, v, i)?);
        }
        swaps.sort();
        later_swaps.sort();
    }
    let moved = swap.fill.bytes_read + swap.fill.bytes_written;
    let copies = if swaps.is_empty() { Vec::new() } else { sorted(repeat, Copy::of(moved), Copy::time) };
    let device = settings.offloads().then(|| on_device(devices(), moved, repeat));

    let mut exported = match &model.kind {
        Kind::Recipe(v) if export => {
            let image = export_in_memory(&v.plan, v.siblings.parents()).map_err(ModelError::from)?;
            Some((Live::of_file(&image.path(), vocabulary, settings, ONE_TEXT)?, image))
        }
        _ => None,
    };
    // Processors take their time, and have always shown the speed of one round.
    let rounds = (export || device.is_some()).then_some(repeat);
    let (speed, speed_exported) = in_turn(&mut live, exported.as_mut().map(|(live, _)| live), rounds)?;
    drop(exported);

    let asked = if device.is_some() { Asked::LARGE } else { Asked::SMALL };
    live.resize(asked.size())?;
    let swapped = match &model.kind {
        Kind::Recipe(v) => Some(swap_turned(&mut live, v, repeat + 1)?),
        Kind::File(_) => None,
    };
    let (questions, answer_tokens) = asked.answer(&mut live)?;
    let disk_write_bytes = disk_before.and_then(|before| Some(disk::written_bytes()?.saturating_sub(before)));
    Ok(Figures {
        swaps,
        later_swaps,
        fill: swap.fill,
        copies,
        device,
        load,
        speed,
        exported: speed_exported,
        asked,
        questions,
        answer_tokens,
        candidate: swapped.map(|swapped| swapped + questions),
        disk_write_bytes,
    })
}

/// Medians of so many rounds after one that is not counted, since devices compile and choose kernels in it; without a number, of one round.
/// The two models take turns, so that a machine that slows down does so for both.
fn in_turn(
    live: &mut Live,
    mut other: Option<&mut Live>,
    rounds: Option<usize>,
) -> Result<(Speed, Option<Speed>), ModelError> {
    let (mut speeds, mut others) = (Vec::new(), Vec::new());
    for round in 0..=rounds.unwrap_or(0) {
        let (one, another) = (speed(live)?, other.as_deref_mut().map(speed).transpose()?);
        if round > 0 || rounds.is_none() {
            speeds.push(one);
            others.extend(another);
        }
    }
    Ok((Speed::median(&speeds), other.is_some().then(|| Speed::median(&others))))
}

/// Plans and merges the `i`th of the recipes that a search might try next.
fn swap_turned(live: &mut Live, v: &Virtual, i: usize) -> Result<Duration, BenchError> {
    let recipe = turned(&v.recipe, 1.0 - TURN * i as f64);
    let start = Instant::now();
    live.swap(&v.siblings.plan(&recipe)?, v.siblings.parents())?;
    Ok(start.elapsed())
}

/// The devices' names, and how long the first one takes to move as many bytes.
fn on_device(devices: Vec<Device>, moved: u64, repeat: usize) -> OnDevice {
    let names = devices.iter().map(|device| device.name()).collect();
    let copy = devices.first().filter(|_| moved > 0).and_then(|device| device.copy(moved));
    let copies = copy.map_or_else(Vec::new, |copy| sorted(repeat, copy, DeviceCopy::time));
    OnDevice { names, copies }
}

/// The times that `time` takes, shortest first.
fn sorted<T>(repeat: usize, mut of: T, time: impl Fn(&mut T) -> Duration) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..repeat).map(|_| time(&mut of)).collect();
    times.sort();
    times
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
