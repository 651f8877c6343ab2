//! `search` in; how each space is searched out.

use serde_saphyr::Spanned;

use super::schema::{PathForm, RaceForm, RaceSettings, SearchForm, StartForm, Values};
use super::{Algorithm, Check, Search, Space};
use crate::evolve::genome::{GenomeSpec, Start};
use crate::evolve::{EvolveError, Race};
use crate::yaml::hint;

/// The paper's number of trials.
const DEFAULT_BUDGET: usize = 1000;
/// The paper's step size: genes are searched within 3 sigma of their start, which is half of [0, 1] to either side.
const DEFAULT_SIGMA: f64 = 1.0 / 6.0;
/// Most parts of a race: each needs a swap.
const MAX_RUNGS: usize = 64;
/// Candidates whose search score is checked on all search questions before one of them is called best.
const DEFAULT_FINALISTS: usize = 5;

impl Check<'_> {
    pub(super) fn space(&self, name: Option<&Spanned<String>>) -> Result<Space, EvolveError> {
        let Some(at) = name else { return Ok(Space::Parameter) };
        match at.value.as_str() {
            "parameter" => Ok(Space::Parameter),
            "data_flow" => Ok(Space::DataFlow),
            "hybrid" => Ok(Space::Hybrid),
            other => {
                let hint = hint(other, ["parameter", "data_flow", "hybrid"].into_iter());
                self.refuse(at, format!("no `space` is called `{other}`{hint}"))
            }
        }
    }

    pub(super) fn search(
        &self,
        form: &SearchForm,
        space: Space,
        random_init: Option<&Spanned<bool>>,
    ) -> Result<Search, EvolveError> {
        if let Some(at) = random_init.filter(|r| r.value) {
            return self.refuse(at, "`random_init` is not supported; set `search: start`");
        }
        if let Some(at) = form.start.as_ref().filter(|_| space == Space::DataFlow) {
            return self
                .refuse(at, "`start` is where weights start; paths start at the first model's own, see `path: flips`");
        }
        let algorithm = match &form.algorithm {
            None => None,
            Some(at) => match Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == at.value) {
                None => {
                    let hint = hint(&at.value, Algorithm::ALL.iter().map(|algorithm| algorithm.name()));
                    return self.refuse(at, format!("`algorithm: {}`{hint}", at.value));
                }
                known => known,
            },
        };
        let algorithm = match (&form.objectives, &form.algorithm, algorithm) {
            (Some(_), None, _) => Some(Algorithm::Nsga2),
            (Some(_), Some(at), Some(other)) if other != Algorithm::Nsga2 => {
                return self.refuse(at, format!("several `objectives` are searched by `nsga2`, not by `{}`", at.value));
            }
            (None, Some(at), Some(Algorithm::Nsga2)) => {
                return self.refuse(at, "`algorithm: nsga2` needs several `objectives`");
            }
            _ => algorithm,
        };
        let stratify = form.stratify.as_ref().filter(|at| at.value);
        let race = self.race(form.race.as_ref())?;
        if let Some(at) = stratify.filter(|_| form.minibatch.is_none() && race.is_none()) {
            return self.refuse(
                at,
                "`stratify` says which questions a `minibatch` or a part of a `race` has; this search asks every candidate all of them",
            );
        }
        Ok(Search {
            budget: self.at_least(1, "budget", &form.budget)?.unwrap_or(DEFAULT_BUDGET),
            population: self.at_least(2, "population", &form.population)?,
            sigma: self.above_zero("sigma", &form.sigma)?.unwrap_or(DEFAULT_SIGMA),
            algorithm,
            start: self.start(form.start.as_ref())?,
            seed: form.seed.unwrap_or(0),
            minibatch: self.at_least(1, "minibatch", &form.minibatch)?,
            stratify: stratify.is_some(),
            race,
            restarts: form.restarts.unwrap_or(0),
            finalists: self.at_least(1, "finalists", &form.finalists)?.unwrap_or(DEFAULT_FINALISTS),
        })
    }

    /// Whether the algorithm named can search these genes.
    pub(super) fn suits(
        &self,
        genome: &GenomeSpec,
        named: Option<&Spanned<String>>,
        algorithm: Option<Algorithm>,
    ) -> Result<(), EvolveError> {
        let choices = genome.methods.len() > 1 || genome.out_types.len() > 1;
        match (named, algorithm) {
            (Some(at), Some(Algorithm::CatCma)) if !choices => {
                let message = "`algorithm: cat_cma` is for the switches of paths and for choices; leave it out, search another `space`, \
                               or name several methods in `merge_method`";
                self.refuse(at, message)
            }
            (Some(at), Some(other)) if choices && !matches!(other, Algorithm::CatCma | Algorithm::Nsga2) => {
                let message = format!(
                    "`algorithm: {}` searches numbers alone; leave it out for choices among methods or types",
                    at.value
                );
                self.refuse(at, message)
            }
            _ => Ok(()),
        }
    }

    fn race(&self, form: Option<&Spanned<RaceForm>>) -> Result<Option<Race>, EvolveError> {
        let Some(at) = form else { return Ok(None) };
        let RaceForm::Settings(RaceSettings { rungs, alpha }) = &at.value else {
            return Ok(matches!(at.value, RaceForm::Flag(true)).then_some(Race::DEFAULT));
        };
        let race = Race { rungs: rungs.unwrap_or(Race::DEFAULT.rungs), alpha: alpha.unwrap_or(Race::DEFAULT.alpha) };
        if !(2..=MAX_RUNGS).contains(&race.rungs) {
            return self.refuse(at, format!("`rungs: {}` must be from 2 to {MAX_RUNGS}", race.rungs));
        }
        if !(race.alpha > 0.0 && race.alpha < 1.0) {
            return self.refuse(at, format!("`alpha: {}` must be above 0 and below 1", race.alpha));
        }
        Ok(Some(race))
    }

    pub(super) fn path_search(&self, form: &PathForm, search: &Search) -> Result<Search, EvolveError> {
        Ok(Search {
            budget: self.at_least(1, "budget", &form.budget)?.unwrap_or(search.budget),
            population: self.at_least(2, "population", &form.population)?.or(search.population),
            sigma: self.above_zero("sigma", &form.sigma)?.unwrap_or(search.sigma),
            ..*search
        })
    }

    pub(super) fn start(&self, form: Option<&Spanned<StartForm>>) -> Result<Start, EvolveError> {
        let Some(at) = form else { return Ok(Start::PAPER) };
        match &at.value {
            StartForm::Named(name) => match name.as_str() {
                "paper" => Ok(Start::PAPER),
                "mergekit" => Ok(Start::Mergekit),
                other => {
                    self.refuse(at, format!("`start: {other}` must be `paper`, `mergekit`, or values by parameter"))
                }
            },
            StartForm::Values(Values { weight, density, t }) => {
                let of = |v: &Option<f64>| v.unwrap_or(0.5);
                let start = Start::At { weight: of(weight), density: of(density), t: of(t) };
                match [weight, density, t].into_iter().flatten().find(|v| !v.is_finite()) {
                    Some(v) => self.refuse(at, format!("a start of `{v}` must be a finite number")),
                    None => Ok(start),
                }
            }
        }
    }

    pub(super) fn at_least(
        &self,
        least: usize,
        key: &str,
        at: &Option<Spanned<usize>>,
    ) -> Result<Option<usize>, EvolveError> {
        match at {
            Some(at) if at.value < least => self.refuse(at, format!("`{key}: {}` must be at least {least}", at.value)),
            other => Ok(other.as_ref().map(|n| n.value)),
        }
    }

    pub(super) fn above_zero(&self, key: &str, at: &Option<Spanned<f64>>) -> Result<Option<f64>, EvolveError> {
        match at {
            Some(at) if !(at.value.is_finite() && at.value > 0.0) => {
                self.refuse(at, format!("`{key}: {}` must be a finite number above 0", at.value))
            }
            other => Ok(other.as_ref().map(|n| n.value)),
        }
    }
}
