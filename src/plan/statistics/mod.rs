//! Numbers that depend on the parents alone, worked out when first asked for and kept for every later recipe.
//!
//! With a [`Cache`] they are kept in a file as well, under the content of the tensors they are about.

mod cache;
mod content;
mod question;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ggraft_kernels::stats::{self, Order, Score};
use ggraft_kernels::{Cut, Keep, Lines, MaskKey, Ranks, Source, keep_threshold};

use super::SourceRef;
use crate::ggml::CODECS;

pub use cache::{Cache, CacheError};
use content::Contents;
use question::{Answer, Question};

/// What has been learnt of the parents; one per set of them.
#[derive(Default)]
pub(super) struct Statistics {
    known: Mutex<Known>,
    /// Whether every order statistic is worked out exactly, at the price of passes over the parents.
    pub exact: bool,
    /// Where answers are kept between runs.
    pub cache: Option<Cache>,
    contents: Contents,
}

#[derive(Default)]
struct Known {
    answers: HashMap<Key, Answer>,
    numbers: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    question: Question,
    of: Vec<SourceRef>,
    slice: usize,
}

/// Sources of one tensor, or of one slice of it, that something is asked about.
pub(super) struct Sources<'a> {
    /// Which they are.
    pub refs: Vec<SourceRef>,
    /// Their bytes.
    pub data: Vec<Source<'a>>,
    /// Which slice of the tensor.
    pub slice: usize,
    /// Elements of each.
    pub elements: usize,
    /// Elements of a row.
    pub row: usize,
}

/// A cut near the one asked for.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// The cut.
    pub cut: Cut,
    rung: Option<usize>,
}

/// What elements are ordered by: the first of the sources is the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum By {
    /// The magnitude of the second's difference to it.
    Magnitude,
    /// The variance of all others' differences to it.
    Variance,
}

/// Most numbers that are kept: 4 GiB of them, which only very large parents with very many experts have.
const MAX_NUMBERS: usize = 1 << 29;

impl Statistics {
    /// Inner products of all pairs after `offset` is taken off every element: row-major.
    pub fn gram(&self, of: &Sources, offset: f32) -> Arc<[f64]> {
        self.numbers(of, Question::Gram { offset: offset.to_bits() }, || {
            stats::gram(&of.data, of.elements, offset, &CODECS)
        })
    }

    /// [`stats::line_grams`].
    pub fn line_grams(&self, of: &Sources, lines: Lines) -> Arc<[f64]> {
        self.numbers(of, Question::LineGrams { lines }, || {
            stats::line_grams(&of.data, of.elements, of.row, lines, &CODECS)
        })
    }

    /// A cut that keeps `k` elements, give or take a thousandth of all; none are kept only if fewer than one were asked for.
    pub fn cut(&self, of: &Sources, by: By, k: usize) -> Found {
        if k == 0 || self.exact {
            return Found { cut: stats::exact_cut(&of.score(by), of.elements, k, &CODECS), rung: None };
        }
        let order = self.order(of, by);
        let rung = order.nearest(k as u64);
        Found { cut: rung.map_or(Cut::NOTHING, |rung| order.rungs[rung].0), rung }
    }

    /// How many elements have a score above zero.
    pub fn positive(&self, of: &Sources, by: By) -> usize {
        self.order(of, by).positive as usize
    }

    fn order(&self, of: &Sources, by: By) -> Arc<Order> {
        let compute = || Answer::Order(Arc::new(Order::new(&of.score(by), of.elements, &CODECS)));
        match self.know(of, Question::Order { by }, compute) {
            Answer::Order(order) => order,
            Answer::Numbers(_) => unreachable!("the answer to another question"),
        }
    }

    /// [`stats::sums_before`] the cut, then those over all elements; before nothing, nothing.
    pub fn sums(&self, of: &Sources, by: By, found: Found) -> [Vec<f64>; 2] {
        let width = of.sums(by);
        if found.cut == Cut::NOTHING {
            return [vec![0.0; width], vec![0.0; width]];
        }
        let numbers = match found.rung {
            None => stats::sums_before(&of.score(by), &[found.cut], of.elements, &CODECS).into(),
            Some(_) => {
                let order = self.order(of, by);
                self.numbers(of, Question::Sums { by, rungs: order.rungs.len() }, || {
                    let cuts: Vec<Cut> = order.rungs.iter().map(|(cut, _)| *cut).collect();
                    stats::sums_before(&of.score(by), &cuts, of.elements, &CODECS)
                })
            }
        };
        let at = |cut: usize| numbers[cut * width..(cut + 1) * width].to_vec();
        [at(found.rung.unwrap_or(0)), at(numbers.len() / width - 1)]
    }

    /// A random mask that keeps a share `density` of the second source's difference to the first, give or take a thousandth, and what
    /// brings its L1 norm back to that of the whole if `rescale`. With ranks, `density` is that of a row's smallest element.
    pub fn random(&self, of: &Sources, key: MaskKey, ranks: Option<Ranks>, density: f64, rescale: bool) -> (Keep, f32) {
        let keep = |threshold| match ranks {
            None => Keep::Random { key, threshold },
            Some(ranks) => Keep::Ranked { key, threshold, ranks },
        };
        let [base, source] = [&of.data[0], &of.data[1]];
        if self.exact {
            let keep = keep(keep_threshold(density));
            let factor = if rescale { stats::rescale(base, source, of.elements, keep, &CODECS) } else { 1.0 };
            return (keep, factor);
        }
        let level = ((density * stats::LEVELS as f64).round() as usize).clamp(1, stats::LEVELS);
        let factor = if rescale {
            let sums = self.numbers(of, Question::Levels { key, ranks }, || {
                stats::kept_by_level(base, source, of.elements, key, ranks, &CODECS)
            });
            stats::ratio(sums[stats::LEVELS], sums[level])
        } else {
            1.0
        };
        (keep(stats::level_threshold(level)), factor)
    }

    /// Each row's divergence from the base's row, and the three quartiles of importance.
    pub fn importance(&self, of: &Sources) -> (Arc<[f32]>, [f64; 3]) {
        let numbers = self.numbers(of, Question::Importance, || {
            let [base, source] = [&of.data[0], &of.data[1]];
            let wide = stats::divergences(base, source, of.elements, of.row, &CODECS);
            let divergences: Vec<f32> = wide.iter().map(|d| *d as f32).collect();
            let score = Score::Importance { base, source, row: of.row, divergences: &divergences };
            let positions = [0.25, 0.5, 0.75].map(|f| (f * (of.elements - 1) as f64) as usize);
            let quartiles = stats::quantiles(&score, of.elements, &positions, &CODECS);
            quartiles.into_iter().chain(divergences.iter().copied()).map(f64::from).collect()
        });
        let (quartiles, divergences) = numbers.split_at(3);
        (divergences.iter().map(|d| *d as f32).collect(), [quartiles[0], quartiles[1], quartiles[2]])
    }

    /// [`stats::overlaps`], the first source being the base.
    pub fn overlaps(&self, of: &Sources, epsilon: f32) -> Vec<[f64; 2]> {
        let numbers = self.numbers(of, Question::Overlaps { epsilon: epsilon.to_bits() }, || {
            stats::overlaps(&of.data[0], &of.data[1..], of.elements, epsilon, &CODECS).concat()
        });
        numbers.as_chunks().0.to_vec()
    }

    /// The answer to a question that has numbers for an answer.
    fn numbers(&self, of: &Sources, question: Question, compute: impl FnOnce() -> Vec<f64>) -> Arc<[f64]> {
        match self.know(of, question, || Answer::Numbers(compute().into())) {
            Answer::Numbers(numbers) => numbers,
            Answer::Order(_) => unreachable!("the answer to another question"),
        }
    }

    /// Two threads that miss at once both compute, to the same result; the lock is never held while computing.
    fn know(&self, of: &Sources, question: Question, compute: impl FnOnce() -> Answer) -> Answer {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key { question, of: of.refs.clone(), slice: of.slice };
        if let Some(known) = lock().answers.get(&key) {
            return known.clone();
        }
        let answer = match &self.cache {
            None => compute(),
            Some(cache) => {
                let name = self.contents.name(&key.question, of);
                cache.recall(&name).and_then(|numbers| Answer::read(&key.question, of, &numbers)).unwrap_or_else(|| {
                    let answer = compute();
                    cache.learn(name, answer.write());
                    answer
                })
            }
        };
        let mut known = lock();
        if known.numbers + answer.len() > MAX_NUMBERS {
            *known = Known::default();
        }
        known.numbers += answer.len();
        known.answers.insert(key, answer.clone());
        answer
    }
}

impl<'a> Sources<'a> {
    /// How many sums [`Statistics::sums`] gives: the L1 norm, or the squares of each difference.
    fn sums(&self, by: By) -> usize {
        if by == By::Magnitude { 1 } else { self.data.len() - 1 }
    }

    fn score(&'a self, by: By) -> Score<'a> {
        match by {
            By::Magnitude => Score::Difference { base: &self.data[0], source: &self.data[1] },
            By::Variance => Score::Variance { base: &self.data[0], sources: &self.data[1..] },
        }
    }
}
