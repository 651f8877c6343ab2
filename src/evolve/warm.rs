//! Another study's candidates in, the distribution that a search of the same genes starts from out: WS-CMA-ES.
//!
//! Nomura, Watanabe, Akimoto, Ozaki, Onishi: *Warm Starting CMA-ES for Hyperparameter Optimization* (arXiv 2012.06932). The best tenth of
//! what the other study scored stands for where good genes are likely; each of them is blurred by a normal of [`BLUR`], and the start is
//! the normal distribution nearest to that mixture (section 4.2): the mean of the points, and their covariance plus the blur's. Of switches
//! and choices it is the nearest Bernoulli distribution in the same sense: how often each is on among these candidates, which CatCMA keeps
//! a margin from certainty.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::catcma::{self, CatCma};
use super::cmaes::{CmaError, CmaEs, CmaOptions, MAX_GENES};
use super::linalg::add_outer;
use super::space::Optimiser;
use super::{Algorithm, EvolveError, Journal, Stages};

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
    /// What the study in `folder`, written `written`, tells of what `stages` search first.
    ///
    /// # Errors
    /// [`EvolveError::WarmStart`] if its genes are others or it has too few candidates, or whatever is wrong with its journal.
    pub fn read(folder: &Path, written: &str, stages: &Stages) -> Result<Self, EvolveError> {
        let refuse = |problem: String| Err(EvolveError::WarmStart { folder: written.to_owned(), problem });
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
                } + "; name a study of the same space and models, the same method and layer groups, or path settings",
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

    /// The optimiser that starts there, over `genes` genes of which the first `switches` are switches.
    ///
    /// # Errors
    /// [`EvolveError::WarmStart`] if the points are not of that space, as in a journal that somebody has changed, or `algorithm` has no
    /// such start.
    pub(super) fn optimiser(
        &self,
        algorithm: Algorithm,
        [switches, genes]: [usize; 2],
        options: CmaOptions,
    ) -> Result<Optimiser, EvolveError> {
        let refuse = |problem| Err(EvolveError::WarmStart { folder: self.folder.clone(), problem });
        if self.points.is_empty() || self.points.iter().any(|p| p.len() != genes || !p.iter().all(|x| x.is_finite())) {
            return refuse(format!("it should give points of {genes} genes"));
        }
        match algorithm {
            Algorithm::CmaEs | Algorithm::LraCmaEs if genes > MAX_GENES => {
                Err(CmaError::Genes { genes, max: MAX_GENES }.into())
            }
            Algorithm::CmaEs | Algorithm::LraCmaEs => {
                let start = nearest_normal(&self.points);
                let options = CmaOptions { adapt_rates: algorithm == Algorithm::LraCmaEs, ..options };
                Ok(Optimiser::CmaEs(CmaEs::around(start.mean, &start.covariance, options)?.into()))
            }
            Algorithm::CatCma => {
                Ok(Optimiser::CatCma(CatCma::new(nearest_start(&self.points, switches), options)?.into()))
            }
            Algorithm::SepCmaEs | Algorithm::Nsga2 => {
                refuse(format!("`algorithm: {}` cannot start from one", algorithm.name()))
            }
        }
    }
}

/// The normal distribution with the least divergence from the mixture of one normal around each of `points`.
pub(super) fn nearest_normal(points: &[Vec<f64>]) -> Normal {
    let (n, count, mean) = (points[0].len(), points.len() as f64, mean(points));
    let mut covariance = vec![0.0; n * n];
    for point in points {
        let step: Vec<f64> = point.iter().zip(&mean).map(|(x, m)| x - m).collect();
        add_outer(&mut covariance, 1.0 / count, &step);
    }
    covariance.iter_mut().step_by(n + 1).for_each(|variance| *variance += BLUR * BLUR);
    Normal { mean, covariance }
}

/// The same for a search whose first genes are `switches`: each is on as often as in `points`, though never for certain, and the others
/// share one step size, the geometric mean of their deviations as in [`CmaEs::around`].
fn nearest_start(points: &[Vec<f64>], switches: usize) -> catcma::Start {
    let (count, mean) = (points.len() as f64, mean(points));
    // A search by a threshold has numbers here.
    let on = |switch: usize| points.iter().filter(|point| point[switch] > 0.5).count() as f64 / count;
    let uncertain = |p: f64| p.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON);
    let variance = |gene: usize| {
        let squares = points.iter().map(|point| (point[gene] - mean[gene]).powi(2)).sum::<f64>();
        squares / count + BLUR * BLUR
    };
    let genes = mean.len() - switches;
    let logs = (switches..mean.len()).map(|gene| variance(gene).ln()).sum::<f64>();
    catcma::Start {
        switches: (0..switches).map(|switch| uncertain(on(switch))).collect(),
        genes: mean[switches..].to_vec(),
        sigma: (0.5 * logs / genes.max(1) as f64).exp(),
    }
}

fn mean(points: &[Vec<f64>]) -> Vec<f64> {
    (0..points[0].len()).map(|gene| points.iter().map(|p| p[gene]).sum::<f64>() / points.len() as f64).collect()
}
