//! Everything about a recipe that can be wrong before a model is opened, for recipes from YAML and from code alike.

use super::error::located;
use super::methods::{BaseRule, Inputs, Kind, ParameterSpec};
use super::yaml::{Place, hint};
use super::{Curve, MAX_MODELS, MAX_SLICES, Parameters, Recipe, RecipeError, Rule, Slice};

impl Recipe {
    /// The recipe itself if nothing in it is impossible, with `warnings` for what will have no effect.
    ///
    /// # Errors
    /// Parameters the method does not have or values they cannot take; models or a base missing, listed twice, too many
    /// or too few; empty layer ranges; more models or slices than the limits.
    pub fn checked(mut self) -> Result<Self, RecipeError> {
        for (what, count, limit) in
            [("models", self.models.len(), MAX_MODELS), ("slices", self.slices.len(), MAX_SLICES)]
        {
            if count > limit {
                return Err(self.error(Place::default(), RecipeError::TooMany { what, count, limit }));
            }
        }
        if self.slices.is_empty() {
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
        for model in [self.base_model, self.tokenizer_source].into_iter().flatten() {
            self.known(model, Place::default())?;
        }
        self.warnings.extend(warnings);
        Ok(self)
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
            if let Some((start, end)) = source.layer_range
                && start >= end
            {
                let (key, value) = ("layer_range".to_owned(), format!("[{start}, {end}]"));
                let expected = "its first layer must come before its end".to_owned();
                return Err(self.error(source.place, RecipeError::BadValue { key, value, expected }));
            }
        }
        let base = self.base_of(slice);
        let problem = match (self.method.base, base) {
            (BaseRule::Required, None) => Some(RecipeError::MissingBase(self.method.name)),
            (BaseRule::Required | BaseRule::Optional, Some(base)) if !seen.contains(&base) => {
                Some(RecipeError::BaseNotInSlice(self.model_name(base)))
            }
            _ => self
                .wrong_count(seen.iter().filter(|&&model| self.method.inputs.with_base || base != Some(model)).count()),
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
                return Err(self.bad(setting.place, name, "an empty list", "it needs at least one value"));
            }
            for rule in &setting.rules {
                self.rule(spec, rule)?;
            }
            let problem = match () {
                _ if name == "int8_mask" => continue,
                _ if !used => "has no effect on this method",
                _ if of_a_source && !spec.per_model => {
                    "is one value for all models and has no effect under a single one; move it up to the slice or the recipe"
                }
                _ => continue,
            };
            warnings.push(located(&self.file, setting.place, format_args!("`{name}` {problem}")));
        }
        Ok(warnings)
    }

    fn rule(&self, spec: &ParameterSpec, rule: &Rule) -> Result<(), RecipeError> {
        match (&rule.curve, spec.kind) {
            (Curve::Numbers(values), Kind::Float | Kind::Int) if !values.is_empty() => {
                let bad = values.iter().find_map(|&value| Some((value, spec.objection(value)?)));
                bad.map_or(Ok(()), |(value, why)| Err(self.bad(rule.place, spec.name, &value.to_string(), &why)))
            }
            (Curve::Steps(values), Kind::Bool) if !values.is_empty() => Ok(()),
            (Curve::Numbers(values), Kind::Bool) if !values.is_empty() => {
                Err(self.bad(rule.place, spec.name, "a number", "it must be `true` or `false`"))
            }
            (Curve::Steps(values), _) if !values.is_empty() => {
                Err(self.bad(rule.place, spec.name, "a truth value", "it must be a number"))
            }
            _ => Err(self.bad(rule.place, spec.name, "an empty list", "it needs at least one value")),
        }
    }

    pub(super) fn bad(&self, place: Place, key: &str, value: &str, expected: &str) -> RecipeError {
        let (key, value, expected) = (key.to_owned(), value.to_owned(), expected.to_owned());
        self.error(place, RecipeError::BadValue { key, value, expected })
    }
}
