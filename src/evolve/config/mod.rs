//! The evolve file: YAML in mergekit-evolve's vocabulary in, a checked [`Config`] out. Opens no other file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_saphyr::Spanned;

use super::genome::{GenomeSpec, Start};
use super::path::PathSpec;
use super::{EvolveError, Objectives, Race};
use crate::recipe::{ModelRef, beside};
use crate::yaml::{self, Kind, Place};

mod compare;
mod objectives;
mod questions;
mod schema;
mod search;
mod spaces;

pub use compare::Compared;
use schema::{FileForm, PathForm};

/// The longest evolve file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Top-level keys of a recipe: what they describe is described by the genome here.
const RECIPE_KEYS: [(&str, &str); 5] = [
    ("merge_method", "genome"),
    ("models", "genome"),
    ("slices", "genome"),
    ("base_model", "genome"),
    ("task", "tasks"),
];
/// What to search, on which questions, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file itself.
    pub file: PathBuf,
    /// Its text, which a resumed search must find unchanged.
    pub text: String,
    /// The models of all recipes.
    pub models: Vec<ModelRef>,
    /// The space of merges, unless only paths are searched.
    pub genome: Option<GenomeSpec>,
    /// The space of paths, unless only merges are searched.
    pub path: Option<PathSpec>,
    /// What makes a recipe good.
    pub tasks: Vec<Goal>,
    /// Recipes that are tested beside the best one.
    pub compare: Vec<Compared>,
    /// Most questions of each task to search on.
    pub limit: Option<usize>,
    /// Whether tasks must put their questions into chat templates, if the file says so.
    pub chat: Option<bool>,
    /// What is searched for at once, if it is more than the sum of the tasks.
    pub objectives: Option<Objectives>,
    /// How the space is searched; of two the first.
    pub search: Search,
    /// How the space of paths is searched.
    pub path_search: Option<Search>,
    /// The out folder of a study of the same genes, from whose best candidates the search starts: as written, and where it is.
    pub warm_start: Option<(String, PathBuf)>,
}

/// One task that recipes are scored on.
#[derive(Clone, Debug)]
pub struct Goal {
    /// How to ask and judge.
    pub task: PathBuf,
    /// What the file calls it, where that is no path.
    pub name: Option<String>,
    /// What the file says that it measures, in lm-evaluation-harness's words.
    pub metric: Option<String>,
    /// Where the file says so.
    pub place: Place,
    /// Share in the fitness, which is the sum of weight times score.
    pub weight: f64,
    /// Questions for the search; the task's own data if `None`.
    pub search: Option<PathBuf>,
    /// Questions that the search never sees; some of the task's own if `None`.
    pub test: Option<PathBuf>,
}

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Candidates in all.
    pub budget: usize,
    /// Candidates per generation; CMA-ES's own default if `None`.
    pub population: Option<usize>,
    /// First step size.
    pub sigma: f64,
    /// The optimiser; the space's own default if `None`.
    pub algorithm: Option<Algorithm>,
    /// Where genes start.
    pub start: Start,
    /// Seed of everything random.
    pub seed: u64,
    /// Search questions per generation, taken in turn; all of them if `None`.
    pub minibatch: Option<usize>,
    /// Whether minibatches and parts of races have the same share of the questions that the same models get right.
    pub stratify: bool,
    /// Whether candidates race, and how.
    pub race: Option<Race>,
    /// Times that the optimiser begins anew, with twice the population, when it has nothing left to learn.
    pub restarts: usize,
    /// Candidates that are scored again on all search questions at the end.
    pub finalists: usize,
}

/// Which recipes are searched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    /// Merges.
    Parameter,
    /// Paths through the models.
    DataFlow,
    /// Merges, then paths through the best one and models.
    Hybrid,
}

/// An optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// CMA-ES; of a path's switches, those above a threshold are on.
    #[default]
    CmaEs,
    /// The same with variances alone, for many genes.
    SepCmaEs,
    /// The same with learning rates that follow the noise.
    LraCmaEs,
    /// CatCMA with margin, for the switches of paths and for choices.
    CatCma,
    /// NSGA-II, for several objectives.
    Nsga2,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 5] = [Self::CmaEs, Self::SepCmaEs, Self::LraCmaEs, Self::CatCma, Self::Nsga2];

    /// Its name in `algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CmaEs => "cma_es",
            Self::SepCmaEs => "sep_cma_es",
            Self::LraCmaEs => "lra_cma_es",
            Self::CatCma => "cat_cma",
            Self::Nsga2 => "nsga2",
        }
    }
}

impl Config {
    /// Every task's share in the fitness.
    pub fn weights(&self) -> Vec<f64> {
        self.tasks.iter().map(|task| task.weight).collect()
    }

    /// Candidates of all spaces together.
    pub fn budget(&self) -> usize {
        let weights = self.genome.as_ref().map_or(0, |_| self.search.budget);
        weights.saturating_add(self.path_search.map_or(0, |search| search.budget))
    }

    /// How many of the models, from the first on, are merged or walked through; a base may follow.
    pub fn searched(&self) -> usize {
        self.genome.as_ref().map_or(self.models.len(), |genome| genome.searched)
    }

    /// Reads and checks the evolve file at `path`; relative paths in it start at its folder.
    ///
    /// # Errors
    /// [`EvolveError`] with file, line and column.
    pub fn load(path: &Path) -> Result<Self, EvolveError> {
        let failed = |source| EvolveError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        File::open(path).and_then(|f| f.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)).map_err(failed)?;
        Self::parse(text, path)
    }

    /// The same for text already at hand.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: String, file: &Path) -> Result<Self, EvolveError> {
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(EvolveError::TooLong { path: file.to_owned(), limit: MAX_FILE_BYTES });
        }
        let form: FileForm =
            yaml::read(&text, Kind::Evolve, &RECIPE_KEYS).map_err(|e| invalid(file, e.place, e.message))?;
        let check = Check { file };
        check.mergekit_leftovers(&form)?;
        let limit = check.at_least(1, "limit", &form.limit)?;
        let chat = form.apply_chat_template.as_ref().map(|at| at.value);
        let space = check.space(form.search.space.as_ref())?;
        let mut search = check.search(&form.search, space, form.random_init.as_ref())?;
        let (mut genome, mut models) = match space {
            Space::DataFlow => (None, check.walked(form.genome)?),
            Space::Parameter | Space::Hybrid => {
                let spec = check.genome(form.genome)?;
                if space == Space::Parameter {
                    check.suits(&spec, form.search.algorithm.as_ref(), search.algorithm)?;
                }
                let models = spec.models.clone();
                (Some(spec), models)
            }
        };
        let (mut path, mut path_search) = (None, None);
        match (space, form.path) {
            (Space::Parameter, None) => {}
            (Space::Parameter, Some(at)) => {
                let message = "`path` says how paths are searched; that needs `search: space: data_flow` or `hybrid`";
                return check.refuse(&at, message);
            }
            (_, form) => {
                let form = form.map_or_else(PathForm::default, |path| path.value);
                path_search = Some(check.path_search(&form, &search)?);
                path = Some(check.path_spec(form, genome.as_ref(), &mut models)?);
                // If one is named, it is the paths'.
                search.algorithm = None;
            }
        }
        if let Some(spec) = &mut genome {
            // Every recipe has the same models, so that one set of open parents serves all.
            spec.models.clone_from(&models);
        }
        if form.tasks.value.is_empty() {
            return check.refuse(&form.tasks, "`tasks` is empty: name at least one task file");
        }
        if form.tasks.value.iter().all(|task| task.value.weight.as_ref().is_some_and(|weight| weight.value == 0.0)) {
            let message = "every task has `weight: 0`, so that every recipe would be as good as any other";
            return check.refuse(&form.tasks, message);
        }
        let warm_start = form.search.warm_start.as_ref().map(|at| (at.value.clone(), check.path(&at.value)));
        let names: Vec<String> = form.tasks.value.iter().map(|t| check.task_name(&t.value)).collect();
        let tasks = form.tasks.value.into_iter().map(|t| check.goal(t)).collect::<Result<_, _>>()?;
        let objectives = check.objectives(&form.search, space, &names)?;
        let compare = check.compare(form.compare, &models)?;
        Ok(Self {
            file: file.to_owned(),
            text,
            models,
            genome,
            path,
            tasks,
            compare,
            limit,
            chat,
            objectives,
            search,
            path_search,
            warm_start,
        })
    }
}

fn invalid(file: &Path, place: Place, message: impl Into<String>) -> EvolveError {
    EvolveError::Invalid { file: file.to_owned(), place, message: message.into() }
}

struct Check<'a> {
    file: &'a Path,
}

impl Check<'_> {
    fn refuse<T, U>(&self, at: &Spanned<T>, message: impl Into<String>) -> Result<U, EvolveError> {
        Err(invalid(self.file, at.referenced.into(), message))
    }

    fn path(&self, written: &str) -> PathBuf {
        beside(self.file, written)
    }

    /// Every recipe once, and none that is called as a model is.
    fn compare(&self, written: Vec<Spanned<String>>, models: &[ModelRef]) -> Result<Vec<Compared>, EvolveError> {
        let mut compare: Vec<Compared> = Vec::new();
        for at in written {
            let is_named = compare.iter().any(|other| other.name == at.value);
            if is_named || models.iter().any(|model| model.written == at.value) {
                return self.refuse(&at, format!("`{}` is compared anyway", at.value));
            }
            compare.push(Compared { path: self.path(&at.value), place: at.referenced.into(), name: at.value });
        }
        Ok(compare)
    }

    /// Keys of mergekit-evolve that ask for what belongs into a task file here.
    fn mergekit_leftovers(&self, form: &FileForm) -> Result<(), EvolveError> {
        if let Some(at) = &form.num_fewshot {
            return self.refuse(at, "`num_fewshot` belongs into the task file here, as `shots`");
        }
        if let Some(at) = form.fewshot_as_multiturn.as_ref().filter(|at| at.value) {
            return self.refuse(at, "`fewshot_as_multiturn` is not supported: examples stand in one message");
        }
        // `shuffle` says in which order questions are drawn; `seed` of a task file does.
        let _ = &form.shuffle;
        Ok(())
    }
}
