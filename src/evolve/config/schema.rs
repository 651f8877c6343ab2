//! The YAML of an evolve file as written: mergekit-evolve's keys, and `path` and `search`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileForm {
    pub genome: Genome,
    pub path: Option<Spanned<PathForm>>,
    pub tasks: Spanned<Vec<Spanned<TaskForm>>>,
    #[serde(default)]
    pub search: SearchForm,
    #[serde(default)]
    pub compare: Vec<Spanned<String>>,
    pub limit: Option<Spanned<usize>>,
    pub num_fewshot: Option<Spanned<IgnoredAny>>,
    pub shuffle: Option<IgnoredAny>,
    pub random_init: Option<Spanned<bool>>,
    pub apply_chat_template: Option<Spanned<bool>>,
    pub fewshot_as_multiturn: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Genome {
    pub models: Spanned<Vec<String>>,
    pub merge_method: Option<Spanned<Names>>,
    pub base_model: Option<String>,
    pub tokenizer_source: Option<Spanned<String>>,
    #[serde(default)]
    pub layer_granularity: u32,
    pub normalize: Option<bool>,
    #[serde(default)]
    pub allow_negative_weights: bool,
    #[serde(default)]
    pub filters: Vec<Spanned<String>>,
    #[serde(default)]
    pub smooth: bool,
    pub out_type: Option<Spanned<Names>>,
    pub groups: Option<Spanned<String>>,
    #[serde(default)]
    pub parameters: Vec<Spanned<String>>,
    #[serde(default)]
    pub bounds: BTreeMap<String, Spanned<[f64; 2]>>,
}

/// One name, or several to choose from.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a name or a list of names belongs here")]
pub(super) enum Names {
    One(String),
    Some(Vec<String>),
}

impl Names {
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Some(names) => names,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PathForm {
    pub models: Option<Spanned<Vec<String>>>,
    pub repeats: Option<Spanned<usize>>,
    pub max_hops: Option<Spanned<usize>>,
    pub length_penalty: Option<Spanned<f64>>,
    pub gains: Option<Spanned<String>>,
    pub scale: Option<Spanned<String>>,
    pub flips: Option<Spanned<f64>>,
    pub budget: Option<Spanned<usize>>,
    pub population: Option<Spanned<usize>>,
    pub sigma: Option<Spanned<f64>>,
}

/// A task with what the search makes of it; its name alone is `{task: NAME}`, as in mergekit-evolve.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct TaskForm {
    pub name: Option<String>,
    pub task: Option<String>,
    pub weight: Option<Spanned<f64>>,
    pub metric: Option<Spanned<String>>,
    pub search: Option<String>,
    pub test: Option<String>,
}

// Hand-written because `#[serde(untagged)]` would lose the places of everything inside.
impl<'de> Deserialize<'de> for TaskForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = TaskForm;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a task file, or `{task, weight, ..}`")
            }
            fn visit_str<E: de::Error>(self, task: &str) -> Result<TaskForm, E> {
                Ok(TaskForm { task: Some(task.to_owned()), ..TaskForm::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TaskForm, A::Error> {
                TaskForm::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchForm {
    pub space: Option<Spanned<String>>,
    pub algorithm: Option<Spanned<String>>,
    pub population: Option<Spanned<usize>>,
    pub sigma: Option<Spanned<f64>>,
    pub start: Option<Spanned<StartForm>>,
    pub budget: Option<Spanned<usize>>,
    pub seed: Option<u64>,
    pub minibatch: Option<Spanned<usize>>,
    pub stratify: Option<Spanned<bool>>,
    pub finalists: Option<Spanned<usize>>,
    pub warm_start: Option<Spanned<String>>,
    pub restarts: Option<usize>,
    pub race: Option<Spanned<RaceForm>>,
    pub objectives: Option<Spanned<Vec<Spanned<String>>>>,
    pub pick: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`race` is `true`, `false`, or settings: `rungs`, `alpha`")]
pub(super) enum RaceForm {
    Flag(bool),
    Settings(RaceSettings),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RaceSettings {
    pub rungs: Option<usize>,
    pub alpha: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum StartForm {
    Named(String),
    Values(Values),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Values {
    pub weight: Option<f64>,
    pub density: Option<f64>,
    pub t: Option<f64>,
}
