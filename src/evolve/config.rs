//! The evolve file: YAML in mergekit-evolve's vocabulary in, a checked [`Config`] out. Opens no other file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::EvolveError;
use super::genome::{GenomeSpec, Start};
use crate::recipe::{MethodSpec, ModelRef, OutType};
use crate::yaml::{self, Place, hint};

/// The longest evolve file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The paper's number of trials.
const DEFAULT_BUDGET: usize = 1000;
/// The paper's step size: genes are searched within 3 sigma of their start, which is half of [0, 1] to either side.
const DEFAULT_SIGMA: f64 = 1.0 / 6.0;
/// Candidates whose search score is checked on all search questions before one of them is called best.
const DEFAULT_FINALISTS: usize = 5;
/// Top-level keys of a recipe: what they describe is described by the genome here.
const RECIPE_KEYS: [(&str, &str); 5] = [
    ("merge_method", "genome"),
    ("models", "genome"),
    ("slices", "genome"),
    ("base_model", "genome"),
    ("task", "tasks"),
];
/// mergekit-evolve's default metric, which its files often spell out.
const MERGEKIT_METRIC: &str = "acc,none";
/// Methods whose parameters a genome can carry, as in mergekit-evolve.
const METHODS: [&str; 5] = ["linear", "task_arithmetic", "ties", "dare_ties", "slerp"];

/// What to search, on which questions, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file itself.
    pub file: PathBuf,
    /// Its text, which a resumed search must find unchanged.
    pub text: String,
    /// The space of recipes.
    pub genome: GenomeSpec,
    /// What makes a recipe good.
    pub tasks: Vec<Goal>,
    /// How the space is searched.
    pub search: Search,
}

/// One task that recipes are scored on.
#[derive(Clone, Debug)]
pub struct Goal {
    /// How to ask and judge.
    pub task: PathBuf,
    /// Share in the fitness, which is the sum of weight times score.
    pub weight: f64,
    /// Questions for the search; the task's own data if `None`.
    pub search: Option<PathBuf>,
    /// Questions that the search never sees.
    pub test: PathBuf,
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
    /// Where genes start.
    pub start: Start,
    /// Seed of everything random.
    pub seed: u64,
    /// Search questions per generation, taken in turn; all of them if `None`.
    pub minibatch: Option<usize>,
    /// Candidates that are scored again on all search questions at the end.
    pub finalists: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    genome: Genome,
    tasks: Spanned<Vec<Spanned<TaskForm>>>,
    #[serde(default)]
    search: SearchForm,
    limit: Option<Spanned<usize>>,
    num_fewshot: Option<Spanned<IgnoredAny>>,
    shuffle: Option<IgnoredAny>,
    random_init: Option<Spanned<bool>>,
    apply_chat_template: Option<Spanned<IgnoredAny>>,
    fewshot_as_multiturn: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Genome {
    models: Spanned<Vec<String>>,
    merge_method: Spanned<String>,
    base_model: Option<String>,
    tokenizer_source: Option<Spanned<String>>,
    #[serde(default)]
    layer_granularity: u32,
    normalize: Option<bool>,
    #[serde(default)]
    allow_negative_weights: bool,
    #[serde(default)]
    filters: Vec<String>,
    #[serde(default)]
    smooth: bool,
    out_type: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskForm {
    name: Option<Spanned<String>>,
    task: Option<Spanned<String>>,
    weight: Option<Spanned<f64>>,
    metric: Option<Spanned<String>>,
    search: Option<String>,
    test: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchForm {
    space: Option<Spanned<String>>,
    algorithm: Option<Spanned<String>>,
    population: Option<Spanned<usize>>,
    sigma: Option<Spanned<f64>>,
    start: Option<Spanned<StartForm>>,
    budget: Option<Spanned<usize>>,
    seed: Option<u64>,
    minibatch: Option<Spanned<usize>>,
    finalists: Option<Spanned<usize>>,
    race: Option<Spanned<IgnoredAny>>,
    objectives: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StartForm {
    Named(String),
    Values(Values),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    weight: Option<f64>,
    density: Option<f64>,
    t: Option<f64>,
}

impl Config {
    /// Reads and checks the evolve file at `path`; relative paths in it start at its folder.
    ///
    /// # Errors
    /// [`EvolveError`] with file, line and column.
    pub fn load(path: &Path) -> Result<Self, EvolveError> {
        let failed = |source| EvolveError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        File::open(path).and_then(|f| f.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)).map_err(failed)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(EvolveError::TooLong { path: path.to_owned(), limit: MAX_FILE_BYTES });
        }
        Self::parse(text, path)
    }

    /// The same for text already at hand.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: String, file: &Path) -> Result<Self, EvolveError> {
        let form: FileForm = yaml::read_knowing(&text, &RECIPE_KEYS).map_err(|e| invalid(file, e.place, e.message))?;
        let check = Check { file };
        check.mergekit_leftovers(&form)?;
        let search = check.search(&form.search, form.random_init.as_ref())?;
        let genome = check.genome(form.genome)?;
        if form.tasks.value.is_empty() {
            return check.refuse(&form.tasks, "`tasks` is empty: name at least one task file");
        }
        let tasks = form.tasks.value.into_iter().map(|t| check.goal(t)).collect::<Result<_, _>>()?;
        Ok(Self { file: file.to_owned(), text, genome, tasks, search })
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
        self.file.parent().unwrap_or(Path::new("")).join(written)
    }

    /// Keys of mergekit-evolve that ask for what belongs into a task file here.
    fn mergekit_leftovers(&self, form: &FileForm) -> Result<(), EvolveError> {
        let moved = "belongs into the task file here";
        if let Some(at) = &form.limit {
            return self.refuse(at, format!("`limit` {moved}; `search: minibatch` sets the questions per generation"));
        }
        for (key, at) in [
            ("num_fewshot", &form.num_fewshot),
            ("apply_chat_template", &form.apply_chat_template),
            ("fewshot_as_multiturn", &form.fewshot_as_multiturn),
        ] {
            if let Some(at) = at {
                return self.refuse(at, format!("`{key}` {moved}, as `shots`, `chat` and the `prompt` template"));
            }
        }
        // `shuffle` says in which order questions are drawn; `seed` of a task file does.
        let _ = &form.shuffle;
        Ok(())
    }

    fn genome(&self, form: Genome) -> Result<GenomeSpec, EvolveError> {
        let name = &form.merge_method;
        let method = METHODS.iter().find(|m| **m == name.value).and_then(|m| MethodSpec::find(m));
        let Some(method) = method else {
            return self
                .refuse(name, format!("no genome for `{}`{}", name.value, hint(&name.value, METHODS.into_iter())));
        };
        let mut models: Vec<ModelRef> =
            form.models.value.iter().map(|m| ModelRef { written: m.clone(), path: self.path(m) }).collect();
        let repeated = |i: usize| models[..i].iter().any(|m| m.path == models[i].path);
        if models.len() < 2 {
            return self.refuse(&form.models, "a genome needs at least two models");
        }
        if let Some(i) = (0..models.len()).find(|i| repeated(*i)) {
            return self.refuse(&form.models, format!("`{}` is named twice", models[i].written));
        }
        let searched = models.len();
        let base = form.base_model.map(|written| {
            let path = self.path(&written);
            models.iter().position(|m| m.path == path).unwrap_or_else(|| {
                models.push(ModelRef { written, path });
                models.len() - 1
            })
        });
        if base.is_none() && matches!(name.value.as_str(), "task_arithmetic" | "ties" | "dare_ties") {
            return self.refuse(name, format!("`{}` needs a `base_model`", name.value));
        }
        if name.value == "slerp" {
            if base.is_some_and(|b| b >= searched) {
                return self
                    .refuse(name, "a genome for slerp picks its base among `models`; name the base model there");
            }
            if form.smooth || !form.filters.is_empty() {
                return self.refuse(name, "a genome for slerp has no `smooth` and no `filters`");
            }
        }
        let tokenizer_source = match form.tokenizer_source {
            None => None,
            Some(written) if written.value == "base" && base.is_some() => base,
            Some(written) => match models.iter().position(|m| m.path == self.path(&written.value)) {
                Some(model) => Some(model),
                None => return self.refuse(&written, "`tokenizer_source` must be `base` or one of the models"),
            },
        };
        let out_type = match form.out_type {
            None => OutType::default(),
            Some(written) => match OutType::ALL.into_iter().find(|t| t.name() == written.value) {
                Some(ty) => ty,
                None => {
                    let hint = hint(&written.value, OutType::ALL.iter().map(|t| t.name()));
                    return self.refuse(&written, format!("no `out_type` is called `{}`{hint}", written.value));
                }
            },
        };
        Ok(GenomeSpec {
            models,
            searched,
            method,
            base,
            tokenizer_source,
            layer_granularity: form.layer_granularity,
            normalize: form.normalize,
            allow_negative_weights: form.allow_negative_weights,
            filters: form.filters,
            smooth: form.smooth,
            out_type,
        })
    }

    fn goal(&self, form: Spanned<TaskForm>) -> Result<Goal, EvolveError> {
        let named = form.value.task.as_ref().or(form.value.name.as_ref());
        let Some(task) = named else {
            return self.refuse(&form, "a task needs `task: FILE.yaml`");
        };
        if !task.value.ends_with(".yaml") && !task.value.ends_with(".yml") {
            let message = format!(
                "`{}` is no task file: ggraft scores tasks described in a `.yaml`, not benchmarks by name",
                task.value
            );
            return self.refuse(task, message);
        }
        if let Some(metric) = form.value.metric.as_ref().filter(|m| m.value != MERGEKIT_METRIC) {
            let message = format!(
                "`metric: {}` belongs into the task file here, which says how answers are judged",
                metric.value
            );
            return self.refuse(metric, message);
        }
        let weight = form.value.weight.as_ref().map_or(1.0, |w| w.value);
        if !weight.is_finite() {
            return self.refuse(&form, format!("`weight: {weight}` must be a finite number"));
        }
        let Some(test) = &form.value.test else {
            let message = "`test` is missing: the result is reported on questions that the search never saw; name a data file like the task's own";
            return self.refuse(&form, message);
        };
        let search = form.value.search.as_deref().map(|s| self.path(s));
        Ok(Goal { task: self.path(&task.value), weight, search, test: self.path(test) })
    }

    fn search(&self, form: &SearchForm, random_init: Option<&Spanned<bool>>) -> Result<Search, EvolveError> {
        if let Some(at) = random_init.filter(|r| r.value) {
            return self.refuse(at, "`random_init` is not supported; set `search: start`");
        }
        for (key, at) in [("race", &form.race), ("objectives", &form.objectives)] {
            if let Some(at) = at {
                return self.refuse(at, format!("`{key}` is not supported yet; remove it"));
            }
        }
        if let Some(at) = form.space.as_ref().filter(|s| s.value != "parameter") {
            return self.refuse(at, format!("`space: {}` is not supported yet; `parameter` is", at.value));
        }
        if let Some(at) = form.algorithm.as_ref().filter(|a| a.value != "cma_es") {
            return self.refuse(at, format!("`algorithm: {}` is not supported yet; `cma_es` is", at.value));
        }
        let above_zero = |key: &str, at: &Option<Spanned<usize>>| match at {
            Some(at) if at.value == 0 => self.refuse(at, format!("`{key}: 0` must be above 0")),
            other => Ok(other.as_ref().map(|n| n.value)),
        };
        let sigma = match &form.sigma {
            Some(at) if !(at.value.is_finite() && at.value > 0.0) => {
                return self.refuse(at, format!("`sigma: {}` must be a finite number above 0", at.value));
            }
            other => other.as_ref().map_or(DEFAULT_SIGMA, |s| s.value),
        };
        if let Some(at) = form.population.as_ref().filter(|p| p.value < 2) {
            return self.refuse(at, format!("`population: {}` must be at least 2", at.value));
        }
        Ok(Search {
            budget: above_zero("budget", &form.budget)?.unwrap_or(DEFAULT_BUDGET),
            population: form.population.as_ref().map(|p| p.value),
            sigma,
            start: self.start(form.start.as_ref())?,
            seed: form.seed.unwrap_or(0),
            minibatch: above_zero("minibatch", &form.minibatch)?,
            finalists: above_zero("finalists", &form.finalists)?.unwrap_or(DEFAULT_FINALISTS),
        })
    }

    fn start(&self, form: Option<&Spanned<StartForm>>) -> Result<Start, EvolveError> {
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
}
