//! The folder of a search that is shown beside the models: its candidates as recipes over the server's own files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use thiserror::Error;

use super::parents::{Parents, ParentsError};
use crate::evolve::{EvolveError, Journal, Measure, REPORT_FILE, Stamp, Study as Search};
use crate::recipe::{Recipe, RecipeError};

/// Longest report that is shown.
const MAX_REPORT_BYTES: u64 = 64 << 20;
/// What the best recipe is called among the candidates.
const BEST: &str = "best";

/// Why a study cannot be shown.
#[derive(Debug, Error)]
pub enum StudyError {
    /// No such candidate.
    #[error("the study has no candidate `{id}`; ids are `best` and STAGE-NUMBER, as `/v1/study` lists them")]
    NoSuchCandidate {
        /// As asked for.
        id: String,
    },
    /// The search has not written one yet.
    #[error("the study has no report yet; it is written when the search ends")]
    NoReport,
    /// A model of the search that is not served.
    #[error("`{name}` of the study is not among the files of this server; serve the model that was searched, too")]
    Missing {
        /// As the search calls it.
        name: String,
    },
    /// The files are not what they were.
    #[error(transparent)]
    Parents(#[from] ParentsError),
    /// The search cannot be read.
    #[error(transparent)]
    Evolve(#[from] EvolveError),
    /// A recipe of it is impossible.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
}

/// A folder and what was last read from it.
pub struct Study {
    folder: PathBuf,
    read: Mutex<Option<(Stamp, Arc<Search>)>>,
}

/// What there is to see.
#[derive(Serialize)]
pub struct Overview {
    name: String,
    /// What values are called.
    measure: &'static str,
    lower_is_better: bool,
    best: Option<&'static str>,
    candidates: Vec<Shown>,
    tested: Vec<Tested>,
    report: bool,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    stage: usize,
    evaluation: usize,
    /// What the search makes as high as it can.
    score: Option<f64>,
    /// The same as people read it.
    value: Option<f64>,
    swap_seconds: f64,
}

#[derive(Serialize)]
struct Tested {
    name: String,
    score: f64,
    ci95: [f64; 2],
}

impl Study {
    /// The search in `folder`, read once to see that it can be.
    ///
    /// # Errors
    /// [`StudyError`], also if a model of it is not among `parents`.
    pub fn open(folder: &Path, parents: &Parents) -> Result<Self, StudyError> {
        let study = Self { folder: folder.to_owned(), read: Mutex::new(None) };
        let search = study.search()?;
        for (name, digest) in &search.identity.models {
            if parents.searched(digest).is_none() {
                return Err(StudyError::Missing { name: name.clone() });
            }
        }
        Ok(study)
    }

    /// The search as its journal is now.
    fn search(&self) -> Result<Arc<Search>, StudyError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Journal::stamp(&self.folder);
        if let Some((then, search)) = &*read
            && *then == stamp
        {
            return Ok(Arc::clone(search));
        }
        let search = Arc::new(Search::read(&self.folder)?);
        *read = Some((stamp, Arc::clone(&search)));
        Ok(search)
    }

    /// All candidates and the test.
    ///
    /// # Errors
    /// [`StudyError::Evolve`] if the journal has been damaged.
    pub fn overview(&self) -> Result<Overview, StudyError> {
        let search = self.search()?;
        let weights = search.config.weights();
        let measure = Measure::of(search.journal(), &weights);
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        let shown = search.candidates().map(|c| Shown {
            id: format!("{}-{}", c.stage, c.evaluation),
            stage: c.stage,
            evaluation: c.evaluation,
            score: finite(c.trial.fitness),
            value: finite(measure.value(c.trial.fitness)),
            swap_seconds: c.trial.swap_seconds,
        });
        let tested = search.outcome.tested.iter().map(|t| {
            let (score, ci95) = t.trial.summary(&weights);
            Tested { name: t.name.clone(), score, ci95 }
        });
        Ok(Overview {
            name: self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            measure: measure.name(),
            lower_is_better: measure.lower_is_better(),
            best: search.outcome.best.as_ref().map(|_| BEST),
            candidates: shown.collect(),
            tested: tested.collect(),
            report: self.folder.join(REPORT_FILE).is_file(),
        })
    }

    /// Candidate `id` as a recipe over the server's files, with its search score.
    ///
    /// # Errors
    /// [`StudyError::NoSuchCandidate`], [`StudyError::Missing`], or whatever is wrong with the journal.
    pub fn recipe(&self, id: &str, parents: &Parents) -> Result<(Recipe, f64), StudyError> {
        let search = self.search()?;
        let unknown = || StudyError::NoSuchCandidate { id: id.to_owned() };
        let (mut recipe, score) = if id == BEST {
            let best = search.outcome.best.as_ref().ok_or_else(unknown)?;
            (best.recipe.clone(), best.search.fitness)
        } else {
            let (stage, evaluation) = id.split_once('-').ok_or_else(unknown)?;
            let (stage, evaluation) =
                (stage.parse().map_err(|_| unknown())?, evaluation.parse().map_err(|_| unknown())?);
            let (recipe, trial) = search.recipe(stage, evaluation)?.ok_or_else(unknown)?;
            (recipe, trial.fitness)
        };
        for (model, (name, digest)) in recipe.models.iter_mut().zip(&search.identity.models) {
            *model = parents.searched(digest).ok_or_else(|| StudyError::Missing { name: name.clone() })?;
        }
        Ok((recipe, score))
    }

    /// The report that the search has written.
    ///
    /// # Errors
    /// [`StudyError::NoReport`] if there is none, or none that can be read.
    pub fn report(&self) -> Result<String, StudyError> {
        let mut html = String::new();
        let file = File::open(self.folder.join(REPORT_FILE)).map_err(|_| StudyError::NoReport)?;
        file.take(MAX_REPORT_BYTES).read_to_string(&mut html).map_err(|_| StudyError::NoReport)?;
        Ok(html)
    }
}
