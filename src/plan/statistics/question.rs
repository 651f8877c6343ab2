//! What can be asked about sources, and answers as the plain numbers that a file keeps.

use std::sync::Arc;

use ggraft_kernels::stats::{LEVELS, Order};
use ggraft_kernels::{Cut, Lines, MaskKey, Ranks};

use super::{By, Sources};

/// One thing to know; floats by their bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Question {
    /// Inner products of all pairs.
    Gram { offset: u32 },
    /// The same for every line.
    LineGrams { lines: Lines },
    /// The ladder of cuts.
    Order { by: By },
    /// Sums before each of its rungs, of which there are so many.
    Sums { by: By, rungs: usize },
    /// Sums before each level of a random mask.
    Levels { key: MaskKey, ranks: Option<Ranks> },
    /// Quartiles of importance, and each row's divergence.
    Importance,
    /// Differences in common and alone.
    Overlaps { epsilon: u32 },
}

/// What is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// To [`Question::Order`].
    Order(Arc<Order>),
    /// To every other question.
    Numbers(Arc<[f64]>),
}

/// Numbers of one rung in a file.
const RUNG: usize = 4;

impl Answer {
    /// How many numbers it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Order(order) => 1 + RUNG * order.rungs.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// As a file keeps it: whole numbers up to 2^53 are exact.
    pub fn write(&self) -> Vec<f64> {
        match self {
            Self::Numbers(numbers) => numbers.to_vec(),
            Self::Order(order) => {
                let rung = |(cut, kept): &(Cut, u64)| {
                    [f64::from(cut.above), f64::from(cut.from), cut.ties_end as f64, *kept as f64]
                };
                std::iter::once(order.positive as f64).chain(order.rungs.iter().flat_map(rung)).collect()
            }
        }
    }

    /// From a file, if it could be the answer to this question about these sources.
    pub fn read(question: &Question, of: &Sources, numbers: &[f64]) -> Option<Self> {
        if let Question::Order { .. } = question {
            return Some(Self::Order(Arc::new(order(of.elements, numbers)?)));
        }
        let n = of.data.len();
        let rows = of.elements / of.row;
        let fits = match question {
            Question::Gram { .. } => numbers.len() == n * n,
            Question::LineGrams { lines } => {
                numbers.len() == n * (n + 1) / 2 * if *lines == Lines::Rows { rows } else { of.row }
            }
            Question::Order { .. } => false,
            Question::Sums { by, rungs } => numbers.len() == (rungs + 1) * of.sums(*by),
            Question::Levels { .. } => numbers.len() == LEVELS + 1,
            Question::Importance => numbers.len() == 3 + rows,
            Question::Overlaps { .. } => numbers.len() == 2 * (n - 1),
        };
        (fits && numbers.iter().all(|n| n.is_finite())).then(|| Self::Numbers(numbers.into()))
    }
}

/// A ladder that rises to `elements`.
fn order(elements: usize, numbers: &[f64]) -> Option<Order> {
    let whole = |n: f64| (0.0..=elements as f64).contains(&n).then_some(n as u64).filter(|i| *i as f64 == n);
    let bits = |n: f64| (0.0..=f64::from(u32::MAX)).contains(&n).then_some(n as u32).filter(|i| f64::from(*i) == n);
    let (positive, rungs) = numbers.split_first()?;
    let (rungs, []) = rungs.as_chunks::<RUNG>() else { return None };
    let rung = |[above, from, ties_end, kept]: &[f64; RUNG]| {
        Some((Cut { above: bits(*above)?, from: bits(*from)?, ties_end: whole(*ties_end)? }, whole(*kept)?))
    };
    let rungs = rungs.iter().map(rung).collect::<Option<Vec<(Cut, u64)>>>()?;
    let rising = rungs.windows(2).all(|pair| pair[0].1 < pair[1].1);
    let complete = rungs.last().is_some_and(|(_, kept)| *kept == elements as u64);
    (rising && complete).then_some(Order { positive: whole(*positive)?, rungs })
}
