//! Everything about a recipe that can be wrong before a model is opened, for recipes from YAML and from code alike.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::error::located;
use super::methods::{BaseRule, Inputs, Kind, ParameterSpec};
use super::{
    Curve, Filter, MAX_BLOCKS, MAX_MODELS, MAX_SLICES, Parameters, PathScale, Recipe, RecipeError, Rule, Slice,
    TensorName, Tokenizer,
};
use crate::yaml::{Place, hint};

impl Recipe {
    /// The recipe itself if nothing in it is impossible, with `warnings` for what will have no effect.
    ///
    /// # Errors
    /// Parameters the method does not have or values they cannot take; models or a base missing, listed twice, too many
    /// or too few; empty layer ranges; more models or slices than the limits.
    pub fn checked(mut self) -> Result<Self, RecipeError> {
        let sizes = [("models", self.models.len(), MAX_MODELS), ("slices", self.slices.len(), MAX_SLICES)];
        for (what, count, limit) in sizes {
            if count > limit {
                return Err(self.error(Place::default(), RecipeError::TooMany { what, count, limit }));
            }
        }
        if self.slices.is_empty() && self.path.is_empty() {
            return Err(self.error(Place::default(), RecipeError::Empty("slices")));
        }
        let mut warnings = self.parameters(&self.parameters, false)?;
        for slice in &self.slices {
            warnings.extend(self.parameters(&slice.parameters, false)?);
            for source in &slice.sources {
                warnings.extend(self.parameters(&source.parameters, true)?);
            }
            self.sources(slice)?;
        }
        for model in self.base_model.into_iter().chain(self.tokenizer.iter().flat_map(Tokenizer::models)) {
            self.known(model, Place::default())?;
        }
        if let Some(beyond) = self.path.get(MAX_BLOCKS) {
            let problem = RecipeError::TooMany { what: "hops", count: self.path.len(), limit: MAX_BLOCKS };
            return Err(self.error(beyond.place, problem));
        }
        for (index, hop) in self.path.iter().enumerate() {
            hop.model.map_or(Ok(()), |model| self.known(model, hop.place))?;
            self.hop_problem(index, hop).map_or(Ok(()), |problem| Err(self.error(hop.place, problem)))?;
        }
        let unused = [
            ("parameters", self.slices.is_empty() && !self.parameters.is_empty(), "nothing is merged"),
            ("path_scale", self.path.is_empty() && self.path_scale != PathScale::default(), "there is no `path`"),
        ];
        for (key, _, why) in unused.into_iter().filter(|(_, unused, _)| *unused) {
            warnings.push(located(&self.file, Place::default(), format_args!("`{key}` has no effect: {why}")));
        }
        self.warnings.extend(warnings);
        Ok(self)
    }

    /// A warning for each filter that none of `names`, the tensors of the models and of the merge, has in it.
    pub fn unmatched_filters(&self, names: impl Iterator<Item = TensorName> + Clone) -> Vec<String> {
        let mut levels = vec![&self.parameters];
        for slice in &self.slices {
            levels.push(&slice.parameters);
            levels.extend(slice.sources.iter().map(|source| &source.parameters));
        }
        let rules = levels.into_iter().flat_map(Parameters::values).flat_map(|setting| &setting.rules);
        let mut open: Vec<&Filter> = Vec::new();
        for filter in rules.filter_map(|rule| rule.filter.as_ref()).filter(|filter| !filter.is_all()) {
            // A search repeats its filters in every slice.
            if !open.iter().any(|other| other.text == filter.text) {
                open.push(filter);
            }
        }
        for name in names.clone() {
            if open.is_empty() {
                return Vec::new();
            }
            open.retain(|filter| !name.matches(&filter.text));
        }
        let names: Vec<String> = names.map(|name| name.hf.unwrap_or(name.gguf)).collect();
        let example = names.iter().find(|name| name.contains(".0.")).or(names.first()).map_or("", String::as_str);
        let is_word = |word: &&str| word.parse::<u32>().is_err();
        let words: BTreeSet<&str> = names.iter().flat_map(|name| name.split('.')).filter(is_word).collect();
        let warning = |Filter { text, place }: &Filter| {
            let hint = hint(text, words.iter().copied());
            let what = format_args!("the filter `{text}` is in no tensor's name, which are like `{example}`{hint}");
            located(&self.file, *place, what)
        };
        open.into_iter().map(warning).collect()
    }

    fn known(&self, index: usize, place: Place) -> Result<(), RecipeError> {
        let count = self.models.len();
        if index < count { Ok(()) } else { Err(self.error(place, RecipeError::NoSuch { what: "model", index, count })) }
    }

    fn sources(&self, slice: &Slice) -> Result<(), RecipeError> {
        if slice.sources.is_empty() {
            return Err(self.error(slice.place, RecipeError::Empty("sources")));
        }
        let mut seen = Vec::new();
        for source in &slice.sources {
            self.known(source.model, source.place)?;
            if seen.contains(&source.model) {
                return Err(self.error(source.place, RecipeError::DuplicateModel(self.model_name(source.model))));
            }
            seen.push(source.model);
            if let Some(problem) = empty_range("layer_range", source.layer_range) {
                return Err(self.error(source.place, problem));
            }
        }
        let base = self.base_of(slice);
        let problem = match (self.method.base, base) {
            (BaseRule::Required, None) => Some(RecipeError::MissingBase(self.method.name)),
            (BaseRule::Required | BaseRule::Optional, Some(base)) if !seen.contains(&base) => {
                Some(RecipeError::BaseNotInSlice(self.model_name(base)))
            }
            _ => {
                let counted = |model: &&usize| self.method.inputs.with_base || base != Some(**model);
                self.wrong_count(seen.iter().filter(counted).count())
            }
        };
        problem.map_or(Ok(()), |problem| Err(self.error(slice.place, problem)))
    }

    fn wrong_count(&self, count: usize) -> Option<RecipeError> {
        let Inputs { with_base, min, max } = self.method.inputs;
        if count >= min && max.is_none_or(|max| count <= max) {
            return None;
        }
        let number = match max {
            Some(max) if max == min => format!("exactly {min}"),
            Some(max) => format!("{min} to {max}"),
            None => format!("at least {min}"),
        };
        let base = if with_base { "the base model counted" } else { "the base model not counted" };
        let expected = format!("{number} of the models in a slice, {base}");
        Some(RecipeError::Inputs { method: self.method.name, expected, count })
    }

    fn parameters(&self, parameters: &Parameters, of_a_source: bool) -> Result<Vec<String>, RecipeError> {
        let mut warnings = Vec::new();
        for (name, setting) in parameters {
            let Some((spec, used)) = self.method.parameter(name) else {
                let hint = hint(name, self.method.parameters.iter().map(|spec| spec.name));
                let problem = RecipeError::UnknownParameter { method: self.method.name, name: name.clone(), hint };
                return Err(self.error(setting.place, problem));
            };
            if setting.rules.is_empty() {
                let problem = RecipeError::bad_value(name, "an empty list", "it needs at least one value");
                return Err(self.error(setting.place, problem));
            }
            for rule in &setting.rules {
                self.rule(spec, rule)?;
            }
            let problem = match () {
                _ if name == "int8_mask" => continue,
                _ if !used => "has no effect on this method",
                _ if of_a_source && !spec.per_model => {
                    "is one value for all models and has no effect under a single one; move it to the slice or recipe"
                }
                _ => continue,
            };
            warnings.push(located(&self.file, setting.place, format_args!("`{name}` {problem}")));
        }
        Ok(warnings)
    }

    fn rule(&self, spec: &ParameterSpec, rule: &Rule) -> Result<(), RecipeError> {
        let bad = |value: &dyn Display, expected: &str| {
            Err(self.error(rule.place, RecipeError::bad_value(spec.name, value, expected)))
        };
        match (&rule.curve, spec.kind) {
            (curve, _) if curve.at(0.0).is_none() => bad(&"an empty list", "it needs at least one value"),
            (Curve::Numbers(_), Kind::Bool) => bad(&"a number", "it must be `true` or `false`"),
            (Curve::Steps(_), Kind::Float | Kind::Int) => bad(&"a truth value", "it must be a number"),
            (Curve::Steps(_), Kind::Bool) => Ok(()),
            (Curve::Numbers(values), Kind::Float | Kind::Int) => {
                let found = values.iter().find_map(|&value| Some((value, spec.objection(value)?)));
                found.map_or(Ok(()), |(value, why)| bad(&value, &why))
            }
        }
    }
}

/// What is wrong with a range of layers that has none.
pub(super) fn empty_range(key: &str, range: Option<(u32, u32)>) -> Option<RecipeError> {
    let (start, end) = range.filter(|(start, end)| start >= end)?;
    Some(RecipeError::bad_value(key, format!("[{start}, {end}]"), "its first layer must come before its end"))
}
