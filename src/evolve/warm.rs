//! Another study's candidates in, the distribution that a search of the same genes starts from out: WS-CMA-ES.
//!
//! Nomura, Watanabe, Akimoto, Ozaki, Onishi: *Warm Starting CMA-ES for Hyperparameter Optimization* (arXiv 2012.06932). The best tenth of
//! what the other study scored stands for where good genes are likely; each of them is blurred by a normal of [`BLUR`], and the start is
//! the normal distribution nearest to that mixture (section 4.2): the mean of the points, and their covariance plus the blur's.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::linalg::add_outer;
use super::{EvolveError, Journal, Stages};

/// Share of the candidates that the start is made from (the paper's gamma).
const SHARE: f64 = 0.1;
/// Standard deviation, in each gene, of what lies around a good candidate (the paper's alpha, for genes within [0, 1], where ours start).
const BLUR: f64 = 0.1;
/// Fewer candidates than this say nothing about where the good ones are.
const LEAST: usize = 10;

/// What was learnt from another study, whole, so that it may go on or be deleted meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WarmStart {
    /// The study's folder, as written.
    pub folder: String,
    /// How many candidates it had.
    pub candidates: usize,
    /// Its best ones, the best first.
    pub points: Vec<Vec<f64>>,
}

/// A normal distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Normal {
    /// Its mean.
    pub mean: Vec<f64>,
    /// Its covariance, row by row.
    pub covariance: Vec<f64>,
}

impl WarmStart {
    /// What the study in `folder`, written `written`, tells of the weights that `stages` searches.
    ///
    /// # Errors
    /// [`EvolveError::WarmStart`] if its genes are others or it has too few candidates, or whatever is wrong with its journal.
    pub fn read(folder: &Path, written: &str, stages: &Stages) -> Result<Self, EvolveError> {
        let refuse = |problem: String| Err(EvolveError::WarmStart { folder: written.to_owned(), problem });
        if stages.genome.is_none() {
            return refuse("only weights can start from another study, and this search has paths alone".to_owned());
        }
        let journal = Journal::read(folder)?;
        let theirs = journal.identity().and_then(|identity| identity.genes.first()).map_or(&[][..], Vec::as_slice);
        let ours = stages.gene_names().swap_remove(0);
        if theirs != ours {
            let other = ours.iter().zip(theirs).find(|(ours, theirs)| ours != theirs);
            return refuse(
                match other {
                    Some((ours, theirs)) => {
                        format!("its genes are others, for example `{theirs}` where this search has `{ours}`")
                    }
                    None => format!("it has {} genes and this search has {}", theirs.len(), ours.len()),
                } + "; name a study of the same models, method and layer groups",
            );
        }
        let scored = journal.candidates().filter(|c| c.stage == 0 && c.trial.fitness.is_finite());
        let mut scored: Vec<(f64, &[f64])> = scored.map(|c| (c.trial.fitness, c.genes)).collect();
        if scored.len() < LEAST {
            return refuse(format!("it has {} scored candidates; at least {LEAST} are needed", scored.len()));
        }
        if let Some((_, genes)) = scored.iter().find(|(_, genes)| genes.len() != ours.len()) {
            return refuse(format!("a candidate of it has {} genes instead of {}", genes.len(), ours.len()));
        }
        // Stable: of equals, the one that was scored first.
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let best = (scored.len() as f64 * SHARE).ceil() as usize;
        let points = scored.iter().take(best).map(|(_, genes)| genes.to_vec()).collect();
        Ok(Self { folder: written.to_owned(), candidates: scored.len(), points })
    }

    /// Where a search of `genes` genes starts.
    ///
    /// # Errors
    /// [`EvolveError::WarmStart`] if the points are not of that space, as in a journal that somebody has changed.
    pub fn start(&self, genes: usize) -> Result<Normal, EvolveError> {
        if self.points.is_empty() || self.points.iter().any(|p| p.len() != genes || !p.iter().all(|x| x.is_finite())) {
            let problem = format!("it should give points of {genes} genes");
            return Err(EvolveError::WarmStart { folder: self.folder.clone(), problem });
        }
        Ok(nearest_normal(&self.points))
    }
}

/// The normal distribution with the least divergence from the mixture of one normal around each of `points`.
pub(super) fn nearest_normal(points: &[Vec<f64>]) -> Normal {
    let (n, count) = (points[0].len(), points.len() as f64);
    let mean: Vec<f64> = (0..n).map(|gene| points.iter().map(|p| p[gene]).sum::<f64>() / count).collect();
    let mut covariance = vec![0.0; n * n];
    for point in points {
        let step: Vec<f64> = point.iter().zip(&mean).map(|(x, m)| x - m).collect();
        add_outer(&mut covariance, 1.0 / count, &step);
    }
    covariance.iter_mut().step_by(n + 1).for_each(|variance| *variance += BLUR * BLUR);
    Normal { mean, covariance }
}
