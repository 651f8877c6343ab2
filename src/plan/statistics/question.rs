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

#[cfg(test)]
mod tests {
    use ggraft_kernels::{GgmlType, Source};

    use super::*;
    use crate::plan::SourceRef;

    /// Two sources of 2 rows of 3 elements, which nobody looks at.
    fn sources() -> Sources<'static> {
        let source = Source::new(GgmlType::F32, &[0; 24]);
        let refs = vec![SourceRef { parent: 0, tensor: 0, rows: 0 }, SourceRef { parent: 1, tensor: 0, rows: 0 }];
        Sources { refs, data: vec![source.clone(), source], slice: 0, elements: 6, row: 3 }
    }

    #[test]
    fn answers_come_back_from_their_numbers() {
        let order = Order { positive: 4, rungs: vec![(Cut { above: 9, from: 8, ties_end: 3 }, 2), (Cut::ALL, 6)] };
        let answer = Answer::Order(Arc::new(order));
        let question = Question::Order { by: By::Magnitude };
        assert_eq!(Answer::read(&question, &sources(), &answer.write()), Some(answer.clone()));
        assert_eq!(answer.len(), answer.write().len());
        let gram = Answer::Numbers([1.0, 0.5, 0.5, 2.0].into());
        assert_eq!(Answer::read(&Question::Gram { offset: 0 }, &sources(), &gram.write()), Some(gram));
    }

    #[test]
    fn numbers_that_cannot_be_an_answer_are_not_taken_for_one() {
        let order = |numbers: &[f64]| Answer::read(&Question::Order { by: By::Magnitude }, &sources(), numbers);
        let whole = [4.0, 9.0, 8.0, 3.0, 2.0, 0.0, 0.0, 0.0, 6.0];
        assert!(order(&whole).is_some());
        for (at, wrong) in
            [(0, 7.0), (0, f64::NAN), (1, -1.0), (2, 1e10), (3, 0.5), (4, 6.0), (8, 5.0), (8, f64::INFINITY)]
        {
            let mut bent = whole;
            bent[at] = wrong;
            assert!(order(&bent).is_none(), "{wrong} at {at}");
        }
        assert!(order(&[]).is_none() && order(&whole[..1]).is_none() && order(&whole[..7]).is_none());
        let questions = [
            (Question::Gram { offset: 0 }, 4),
            (Question::LineGrams { lines: Lines::Rows }, 6),
            (Question::LineGrams { lines: Lines::Columns }, 9),
            (Question::Sums { by: By::Variance, rungs: 4 }, 5),
            (Question::Levels { key: MaskKey { seed: [0; 2], stream: [0; 2] }, ranks: None }, LEVELS + 1),
            (Question::Importance, 5),
            (Question::Overlaps { epsilon: 0 }, 2),
        ];
        for (question, len) in questions {
            let read = |numbers: &[f64]| Answer::read(&question, &sources(), numbers);
            assert!(read(&vec![1.0; len]).is_some(), "{question:?}");
            assert!(read(&vec![1.0; len + 1]).is_none() && read(&vec![1.0; len - 1]).is_none(), "{question:?}");
            assert!(read(&vec![f64::NAN; len]).is_none(), "{question:?}");
        }
    }
}
