//! `genome`, `path` and `tasks` in; the spaces and goals that they mean out.

use serde_saphyr::Spanned;

use super::questions::same_metrics;
use super::schema::{Genome, Names, PathForm, TaskForm};
use super::{Check, Goal};
use crate::evolve::EvolveError;
use crate::evolve::genome::{GenomeSpec, gene_parameters};
use crate::evolve::path::{Gains, PathSpec};
use crate::recipe::methods::BaseRule;
use crate::recipe::{Filter, MAX_BLOCKS, MethodSpec, ModelRef, OutType, PathScale, TokenizerSource};
use crate::yaml::hint;

/// How often the paper lays out all blocks.
const DEFAULT_REPEATS: usize = 3;
/// Switches that the first candidates flip: enough to differ, few enough to still speak.
const DEFAULT_FLIPS: f64 = 2.0;
/// Methods whose parameters a genome can carry: mergekit-evolve's, then others. Left out are `passthrough`, which merges nothing, and
/// `nearswap`, whose `t` is a distance between weights.
const METHODS: [&str; 18] = [
    "linear",
    "task_arithmetic",
    "ties",
    "dare_ties",
    "slerp",
    "nuslerp",
    "multislerp",
    "karcher",
    "dare_linear",
    "breadcrumbs",
    "breadcrumbs_ties",
    "della",
    "della_linear",
    "model_stock",
    "sce",
    "arcee_fusion",
    "ram",
    "ramplus_tl",
];
/// Kinds of tensors in the order they are tried: norms, attention, feed-forward. What is left are embeddings and the head.
const KINDS: [&str; 3] = ["norm", "attn_", "ffn_"];

impl Check<'_> {
    pub(super) fn genome(&self, form: Genome) -> Result<GenomeSpec, EvolveError> {
        let Some(name) = &form.merge_method else {
            return self.refuse(&form.models, "`merge_method` is missing: how are these models merged?");
        };
        let methods = self.choice(name, "merge_method", |method| {
            let known = METHODS.contains(&method).then(|| MethodSpec::find(method)).flatten();
            known.ok_or_else(|| format!("no genome for `{method}`{}", hint(method, METHODS.into_iter())))
        })?;
        let is = |method: &str| methods.iter().any(|m: &&MethodSpec| m.name == method);
        if form.models.value.len() < 2 {
            return self.refuse(&form.models, "a genome needs at least two models");
        }
        let mut models = self.models(&form.models)?;
        let searched = models.len();
        let base = form.base_model.as_ref().map(|written| {
            let base = self.reference(written);
            models.iter().position(|m| m.is(&base)).unwrap_or_else(|| {
                models.push(base);
                models.len() - 1
            })
        });
        if let Some(method) =
            methods.iter().find(|m| m.base == BaseRule::Required && m.name != "slerp").filter(|_| base.is_none())
        {
            return self.refuse(name, format!("`{}` needs a `base_model`", method.name));
        }
        if is("slerp") {
            if methods.len() > 1 {
                return self
                    .refuse(name, "a genome for slerp has genes of its own kind; it cannot be one of several methods");
            }
            if base.is_some_and(|b| b >= searched) {
                return self
                    .refuse(name, "a genome for slerp picks its base among `models`; name the base model there");
            }
            if form.smooth || !form.filters.is_empty() || form.groups.is_some() || !form.bounds.is_empty() {
                return self.refuse(name, "a genome for slerp has no `smooth`, `filters`, `groups` or `bounds`");
            }
        }
        let tokenizer_source = match &form.tokenizer_source {
            None => None,
            Some(written) if written.value == "union" => Some(TokenizerSource::Union),
            Some(written) if written.value == "base" => Some(TokenizerSource::Model(base.unwrap_or(0))),
            Some(written) => match models.iter().position(|m| m.is(&self.reference(&written.value))) {
                Some(model) => Some(TokenizerSource::Model(model)),
                None => {
                    let hint = TokenizerSource::hint(&written.value, &models);
                    let message = format!("`tokenizer_source` must be `union`, `base` or one of the models{hint}");
                    return self.refuse(written, message);
                }
            },
        };
        let out_types = match &form.out_type {
            None => vec![OutType::default()],
            Some(at) => self.choice(at, "out_type", |name| {
                let hint = || hint(name, OutType::ALL.iter().map(|t| t.name()));
                let known = OutType::ALL.into_iter().find(|t| t.name() == name);
                known.ok_or_else(|| format!("no `out_type` is called `{name}`{}", hint()))
            })?,
        };
        let sets = self.sets(&form)?;
        for parameter in &form.parameters {
            let one = std::slice::from_ref(&parameter.value);
            if !methods.iter().any(|m| gene_parameters(m, one).iter().any(|p| p.name == parameter.value)) {
                let message =
                    format!("no method of this genome has a numeric parameter `{}` to search", parameter.value);
                return self.refuse(parameter, message);
            }
        }
        let parameters: Vec<String> = form.parameters.into_iter().map(|p| p.value).collect();
        let genes: Vec<&str> = methods.iter().flat_map(|m| gene_parameters(m, &parameters)).map(|p| p.name).collect();
        if genes.is_empty() && methods.len() == 1 && out_types.len() == 1 {
            return self.refuse(
                name,
                format!("`{}` has nothing to search; name `parameters`, or other methods", methods[0].name),
            );
        }
        let mut bounds = Vec::new();
        for (parameter, at) in form.bounds {
            let [low, high] = at.value;
            if !genes.contains(&parameter.as_str()) {
                let hint = hint(&parameter, genes.iter().copied());
                return self.refuse(&at, format!("`bounds` of `{parameter}`, which has no genes{hint}"));
            }
            if !(low.is_finite() && high.is_finite() && low < high) {
                return self.refuse(
                    &at,
                    format!("`bounds: {{{parameter}: [{low}, {high}]}}` must be two finite numbers, the lower first"),
                );
            }
            bounds.push((parameter, [low, high]));
        }
        Ok(GenomeSpec {
            file: self.file.to_owned(),
            models,
            searched,
            methods,
            base,
            tokenizer_source,
            layer_granularity: form.layer_granularity,
            normalize: form.normalize,
            allow_negative_weights: form.allow_negative_weights,
            sets,
            smooth: form.smooth,
            out_types,
            parameters,
            bounds,
        })
    }

    /// What several names, each at most once, stand for.
    fn choice<T>(
        &self,
        at: &Spanned<Names>,
        key: &str,
        find: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, EvolveError> {
        let names = at.value.all();
        if names.is_empty() {
            return self.refuse(at, format!("`{key}` is empty; it needs at least one name"));
        }
        if let Some(twice) = (1..names.len()).find(|i| names[..*i].contains(&names[*i])) {
            return self.refuse(at, format!("`{key}` names `{}` twice", names[twice]));
        }
        names.iter().map(|name| find(name).or_else(|message| self.refuse(at, message))).collect()
    }

    /// The filter of each parameter set.
    fn sets(&self, form: &Genome) -> Result<Vec<Filter>, EvolveError> {
        let filter = |at: &Spanned<String>| Filter { text: at.value.clone(), place: at.referenced.into() };
        match &form.groups {
            None => Ok(form.filters.iter().map(filter).collect()),
            Some(at) if at.value != "kind" => {
                self.refuse(at, format!("`groups: {}` must be `kind`, or be left out", at.value))
            }
            Some(at) if !form.filters.is_empty() => {
                self.refuse(at, "`groups: kind` names filters of its own; leave `filters` out")
            }
            Some(at) => Ok(KINDS.map(|kind| Filter { text: kind.to_owned(), place: at.referenced.into() }).to_vec()),
        }
    }

    /// The models of a search for paths alone, which merges nothing.
    pub(super) fn walked(&self, form: Genome) -> Result<Vec<ModelRef>, EvolveError> {
        if let Some(at) = form.merge_method.as_ref().filter(|m| m.value.all() != ["passthrough"]) {
            let message = "`space: data_flow` merges nothing; leave `merge_method` out, or search `space: hybrid`";
            return self.refuse(at, message);
        }
        let Genome { base_model, tokenizer_source, normalize, layer_granularity, filters, .. } = &form;
        let grouped = *layer_granularity > 0 || !filters.is_empty() || form.groups.is_some();
        let merges = base_model.is_some()
            || normalize.is_some()
            || grouped
            || !form.parameters.is_empty()
            || !form.bounds.is_empty();
        if merges || tokenizer_source.is_some() || form.out_type.is_some() || form.smooth || form.allow_negative_weights
        {
            let message =
                "with `space: data_flow`, `genome` has only `models`: the first gives embeddings, head and vocabulary";
            return self.refuse(&form.models, message);
        }
        self.models(&form.models)
    }

    /// What names no file is found out when it is opened.
    fn reference(&self, written: &str) -> ModelRef {
        ModelRef::read(written, |part| self.path(part)).unwrap_or_else(|| ModelRef::plain(written, self.path(written)))
    }

    pub(super) fn models(&self, written: &Spanned<Vec<String>>) -> Result<Vec<ModelRef>, EvolveError> {
        let models: Vec<ModelRef> = written.value.iter().map(|m| self.reference(m)).collect();
        if models.is_empty() {
            return self.refuse(written, "`models` is empty; it needs at least one entry");
        }
        match (0..models.len()).find(|&i| models[..i].iter().any(|m| m.is(&models[i]))) {
            Some(i) => self.refuse(written, format!("`{}` is named twice", models[i].written)),
            None => Ok(models),
        }
    }

    /// `models` gets those that only paths go through.
    pub(super) fn path_spec(
        &self,
        form: PathForm,
        genome: Option<&GenomeSpec>,
        models: &mut Vec<ModelRef>,
    ) -> Result<PathSpec, EvolveError> {
        let pool: Vec<Option<usize>> = match (&form.models, genome) {
            (Some(named), Some(_)) => {
                let others = self.models(named)?.into_iter().map(|other| {
                    Some(models.iter().position(|m| m.is(&other)).unwrap_or_else(|| {
                        models.push(other);
                        models.len() - 1
                    }))
                });
                std::iter::once(None).chain(others.collect::<Vec<_>>()).collect()
            }
            (Some(at), None) => return self.refuse(at, "with `space: data_flow` the models are those of `genome`"),
            // As the paper does: the merge that was found, and one of its sources.
            (None, Some(_)) => vec![None, Some(0)],
            (None, None) => (0..models.len()).map(Some).collect(),
        };
        let choice = |key: &str, at: &Option<Spanned<String>>, names: &[&str]| match at {
            None => Ok(0),
            Some(at) => match names.iter().position(|name| *name == at.value) {
                Some(i) => Ok(i),
                None => self.refuse(at, format!("`{key}: {}`{}", at.value, hint(&at.value, names.iter().copied()))),
            },
        };
        let gains = Gains::ALL[choice("gains", &form.gains, &Gains::ALL.map(Gains::name))?];
        let scale = PathScale::ALL[choice("scale", &form.scale, &PathScale::ALL.map(PathScale::name))?];
        let length_penalty = match &form.length_penalty {
            Some(at) if !at.value.is_finite() => {
                return self.refuse(at, format!("`length_penalty: {}` must be a finite number", at.value));
            }
            other => other.as_ref().map_or(0.0, |p| p.value),
        };
        Ok(PathSpec {
            models: models.clone(),
            pool,
            repeats: self.at_least(1, "repeats", &form.repeats)?.unwrap_or(DEFAULT_REPEATS),
            max_hops: self.at_least(2, "max_hops", &form.max_hops)?.unwrap_or(MAX_BLOCKS).min(MAX_BLOCKS),
            length_penalty,
            gains,
            scale,
            flips: self.above_zero("flips", &form.flips)?.unwrap_or(DEFAULT_FLIPS),
        })
    }

    pub(super) fn goal(&self, form: Spanned<TaskForm>) -> Result<Goal, EvolveError> {
        let named = form.value.task.as_ref().or(form.value.name.as_ref());
        let Some(task) = named else {
            return self.refuse(&form, "a task needs `task: FILE.yaml`");
        };
        // As mergekit-evolve finds the tasks of a folder by name.
        let is_file = [".yaml", ".yml"].iter().any(|ending| task.ends_with(ending));
        let name = (!is_file).then(|| task.clone());
        let file = name.as_ref().map_or_else(|| task.clone(), |name| format!("{name}.yaml"));
        if let Some(metric) = form.value.metric.as_ref().filter(|m| same_metrics(&m.value).is_none()) {
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
        let search = form.value.search.as_deref().map(|s| self.path(s));
        let test = form.value.test.as_deref().map(|t| self.path(t));
        let metric = form.value.metric.as_ref().map(|m| m.value.clone());
        let place = form.referenced.into();
        Ok(Goal { task: self.path(&file), name, metric, place, weight, search, test })
    }
}
