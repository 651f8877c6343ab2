//! From the YAML as written to a [`Recipe`]: paths resolved, models numbered, both forms made one.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_saphyr::Spanned;

use super::error::located;
use super::methods::{BaseRule, METHODS, MethodSpec};
use super::reference::beside;
use super::schema::{self, Reference, Value};
use super::{
    Curve, Filter, Hop, MAX_ADAPTERS, MAX_MODELS, ModelRef, OutType, Parameters, PathScale, Recipe, RecipeError, Rule,
    Setting, Slice, Source,
};
use crate::yaml::{self, Kind, Place};

/// The longest recipe file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

impl Recipe {
    /// Reads and checks the recipe file at `path`; relative model paths start at its folder. Opens no model.
    ///
    /// # Errors
    /// Whatever [`RecipeError`] can tell without the models, with file, line and column.
    pub fn load(path: &Path) -> Result<Self, RecipeError> {
        let failed = |source| RecipeError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)).map_err(failed)?;
        Self::parse(&text, path)
    }

    /// The same for text already at hand; `file` names it in messages, and its folder is where relative paths start.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, RecipeError> {
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(RecipeError::TooLong { path: file.to_owned(), limit: MAX_FILE_BYTES });
        }
        let written = yaml::read(text, Kind::Recipe, &[]).map_err(|error| RecipeError::from_yaml(error, file))?;
        Loader { file, models: Vec::new() }.recipe(written)?.checked()
    }
}

const PARAMETER_FORMS: &str = "it must be a number, a truth value, a list of them, or `{filter, value}` entries";

pub(super) struct Loader<'a> {
    pub file: &'a Path,
    pub models: Vec<ModelRef>,
}

pub(super) type Result<T, E = RecipeError> = std::result::Result<T, E>;

/// What a recipe of nothing but a path does to its models: nothing.
fn passthrough() -> &'static MethodSpec {
    MethodSpec::find("passthrough").expect("a method of the table")
}

impl Loader<'_> {
    fn recipe(mut self, written: schema::File) -> Result<Recipe> {
        let method = match (&written.merge_method, &written.models, &written.slices) {
            (Some(name), ..) => self.method(name)?,
            (None, None, None) if written.path.is_some() => passthrough(),
            _ => return Err(RecipeError::MissingMethod.at(self.file, Place { line: 1, column: 1 })),
        };
        if let Some(modules) = &written.modules {
            let instead = "write one recipe with `models` or `slices`";
            return Err(self.unsupported(modules, "`modules`".to_owned(), instead));
        }
        let parameters = self.parameters(written.parameters)?;
        let (slices, base_model) = match (written.models, written.slices) {
            (Some(models), None) if models.value.is_empty() => {
                return Err(self.error(&models, RecipeError::Empty("models")));
            }
            (None, Some(slices)) if slices.value.is_empty() => {
                return Err(self.error(&slices, RecipeError::Empty("slices")));
            }
            (Some(models), None) => {
                let (slice, base) = self.all_layers(method, models, written.base_model.as_ref(), &parameters)?;
                (vec![slice], base)
            }
            (None, Some(slices)) => {
                let slices = slices.value.into_iter().map(|slice| self.slice(slice)).collect::<Result<_>>()?;
                (slices, written.base_model.as_ref().map(|base| self.model(base)).transpose()?)
            }
            (Some(_), Some(second)) => return Err(self.error(&second, RecipeError::Form("both"))),
            (None, None) => match &written.merge_method {
                Some(name) if written.path.is_none() || method.name != passthrough().name => {
                    return Err(self.error(name, RecipeError::Form("neither")));
                }
                _ => (Vec::new(), written.base_model.as_ref().map(|base| self.model(base)).transpose()?),
            },
        };
        let path = match written.path {
            Some(path) if path.value.is_empty() => return Err(self.error(&path, RecipeError::Empty("path"))),
            Some(path) => path.value.into_iter().map(|hop| self.hop(hop)).collect::<Result<_>>()?,
            None => Vec::new(),
        };
        let path_scale = written.path_scale.map_or(Ok(PathScale::default()), |name| self.path_scale(&name))?;
        let tokenizer = self.tokenizer(written.tokenizer_source, written.tokenizer, base_model)?;
        let out_type = written.out_type.map_or(Ok(OutType::default()), |name| self.out_type(&name))?;
        let mut warnings = Vec::new();
        for (key, value) in [("dtype", &written.dtype), ("out_dtype", &written.out_dtype)] {
            if let Some(value) = value {
                let what = format_args!("`{key}` has no effect on GGUF; `out_type` sets the type of the result");
                warnings.push(located(self.file, value.referenced.into(), what));
            }
        }
        Ok(Recipe {
            base_model,
            path,
            path_scale,
            parameters,
            out_type,
            tokenizer,
            chat_template: written.chat_template,
            file: self.file.to_owned(),
            warnings,
            ..Recipe::new(method, self.models, slices)
        })
    }

    pub(super) fn error<T>(&self, at: &Spanned<T>, problem: RecipeError) -> RecipeError {
        problem.at(self.file, at.referenced.into())
    }

    fn unsupported<T>(&self, at: &Spanned<T>, what: String, instead: &'static str) -> RecipeError {
        self.error(at, RecipeError::Unsupported { what, instead })
    }

    pub(super) fn bad_value<T>(
        &self,
        at: &Spanned<T>,
        key: &str,
        value: impl Display,
        expected: impl Display,
    ) -> RecipeError {
        self.error(at, RecipeError::bad_value(key, value, expected))
    }

    fn method(&self, name: &Spanned<String>) -> Result<&'static MethodSpec> {
        MethodSpec::find(&name.value).ok_or_else(|| {
            let expected = format!("no such method{}", yaml::hint(&name.value, METHODS.iter().map(|m| m.name)));
            self.bad_value(name, "merge_method", format_args!("`{}`", name.value), expected)
        })
    }

    fn out_type(&self, name: &Spanned<String>) -> Result<OutType> {
        OutType::ALL.into_iter().find(|known| name.value.eq_ignore_ascii_case(known.name())).ok_or_else(|| {
            let value = format_args!("`{}`", name.value);
            self.bad_value(name, "out_type", value, "it must be `q8_0`, `f16`, `bf16`, `f32` or `same`")
        })
    }

    fn path_scale(&self, name: &Spanned<String>) -> Result<PathScale> {
        PathScale::ALL.into_iter().find(|known| name.value == known.name()).ok_or_else(|| {
            let value = format_args!("`{}`", name.value);
            self.bad_value(name, "path_scale", value, "it must be `mlp_output` or `residual`")
        })
    }

    fn hop(&mut self, Spanned { value, referenced, .. }: Spanned<schema::Hop>) -> Result<Hop> {
        let layers = match (value.layer, value.layers) {
            (Some(_), Some(both)) => {
                let expected = "`layer` says it already: one layer, or `layers: [first, end]`";
                return Err(self.bad_value(&both, "layers", "given too", expected));
            }
            (Some(layer), None) => match layer.value.checked_add(1) {
                Some(end) => Some((layer.value, end)),
                None => return Err(self.bad_value(&layer, "layer", layer.value, "no model has so many")),
            },
            (None, layers) => layers.map(|range| range.value.into()),
        };
        let model = value.model.map(|model| self.model(&model)).transpose()?;
        let scale = value.scale.map_or(1.0, |scale| scale.value);
        Ok(Hop { model, layers, scale, place: referenced.into() })
    }

    /// The model's number; the same file under two spellings such as `a.gguf` and `./a.gguf` is one model.
    fn model(&mut self, reference: &Spanned<Reference>) -> Result<usize> {
        let model = self.read(reference)?;
        if let Some(known) = self.position(&model) {
            return Ok(known);
        }
        let count = self.models.len() + 1;
        if count > MAX_MODELS {
            return Err(self.error(reference, RecipeError::TooMany { what: "models", count, limit: MAX_MODELS }));
        }
        self.models.push(model);
        Ok(self.models.len() - 1)
    }

    /// The number of a model that is known already.
    pub(super) fn position(&self, model: &ModelRef) -> Option<usize> {
        self.models.iter().position(|known| known.is(model))
    }

    pub(super) fn read(&self, reference: &Spanned<Reference>) -> Result<ModelRef> {
        let written = reference.value.to_string();
        let resolve = |part: &str| beside(self.file, part);
        let model = match &reference.value {
            Reference::Word(word) => ModelRef::read(word, resolve),
            Reference::Map { model, lora } => ModelRef::of(&written, model, lora.iter().map(String::as_str), resolve),
        };
        let model = model.ok_or_else(|| {
            let expected = "it must be the path of a GGUF file, or `model.gguf+adapter.gguf`";
            self.bad_value(reference, "model", format_args!("`{written}`"), expected)
        })?;
        match model.adapters.len() {
            count if count > MAX_ADAPTERS => {
                let problem = RecipeError::TooMany { what: "adapters on one model", count, limit: MAX_ADAPTERS };
                Err(self.error(reference, problem))
            }
            _ => Ok(model),
        }
    }

    /// The `models` form: one slice over all layers, and a base that is not listed becomes its last source.
    fn all_layers(
        &mut self,
        method: &'static MethodSpec,
        models: Spanned<Vec<Spanned<schema::Model>>>,
        base: Option<&Spanned<Reference>>,
        shared: &Parameters,
    ) -> Result<(Slice, Option<usize>)> {
        let mut slice = Slice { place: models.referenced.into(), ..Slice::default() };
        for Spanned { value, referenced, .. } in models.value {
            slice.sources.push(Source {
                model: self.model(&value.model)?,
                parameters: self.parameters(value.parameters)?,
                place: referenced.into(),
                ..Source::default()
            });
        }
        let Some(base) = base else { return Ok((slice, None)) };
        let model = self.model(base)?;
        if !slice.sources.iter().any(|source| source.model == model) {
            let needed = method.parameters.iter().find(|spec| spec.per_model && spec.default.is_none());
            if let (BaseRule::Ignored, Some(spec)) = (method.base, needed)
                && !shared.contains_key(spec.name)
            {
                let problem = RecipeError::BaseAsInput { method: method.name, parameter: spec.name };
                return Err(self.error(base, problem));
            }
            slice.sources.push(Source { model, place: base.referenced.into(), ..Source::default() });
        }
        Ok((slice, Some(model)))
    }

    fn slice(&mut self, Spanned { value, referenced, .. }: Spanned<schema::Slice>) -> Result<Slice> {
        let mut sources = Vec::new();
        for Spanned { value, referenced, .. } in value.sources.value {
            sources.push(Source {
                model: self.model(&value.model)?,
                layer_range: value.layer_range.map(|range| range.value.into()),
                parameters: self.parameters(value.parameters)?,
                place: referenced.into(),
            });
        }
        let base_model = value.base_model.as_ref().map(|base| self.model(base)).transpose()?;
        Ok(Slice { sources, base_model, parameters: self.parameters(value.parameters)?, place: referenced.into() })
    }

    fn parameters(&self, written: schema::Parameters) -> Result<Parameters> {
        let setting = |(name, value): (Spanned<String>, Spanned<Value>)| {
            let rules = self.rules(&name.value, value)?;
            Ok((name.value, Setting { rules, place: name.referenced.into() }))
        };
        written.0.into_iter().map(setting).collect()
    }

    /// A list that starts with a filter is a list of filters; everything else is a value for all tensors.
    fn rules(&self, name: &str, value: Spanned<Value>) -> Result<Vec<Rule>> {
        let filtered = |first: &Spanned<Value>| matches!(first.value, Value::Rule(_));
        let items = match value {
            Spanned { value: Value::List(items), .. } if items.first().is_some_and(filtered) => items,
            Spanned { value: Value::Rule(_), .. } => vec![value],
            plain => return Ok(vec![self.rule(name, None, plain)?]),
        };
        let rule = |item: Spanned<Value>| match item.value {
            Value::Rule(rule) => self.rule(name, rule.filter, rule.value),
            _ => Err(self.bad_value(&item, name, "a plain value among filters", PARAMETER_FORMS)),
        };
        items.into_iter().map(rule).collect()
    }

    fn rule(&self, name: &str, filter: Option<Spanned<String>>, value: Spanned<Value>) -> Result<Rule> {
        let place = value.referenced.into();
        let filter = filter.map(|filter| Filter { text: filter.value, place: filter.referenced.into() });
        Ok(Rule { filter, curve: self.curve(name, value)?, place })
    }

    fn curve(&self, name: &str, value: Spanned<Value>) -> Result<Curve> {
        let (mut numbers, mut steps) = (Vec::new(), Vec::new());
        let items = match value {
            Spanned { value: Value::List(list), .. } => list,
            single => vec![single],
        };
        for item in items {
            let found = match &item.value {
                Value::Number(n) if steps.is_empty() => {
                    numbers.push(*n);
                    continue;
                }
                Value::Bool(on) if numbers.is_empty() => {
                    steps.push(*on);
                    continue;
                }
                Value::Number(_) | Value::Bool(_) => "a mixture of numbers and truth values".to_owned(),
                Value::Null => "empty".to_owned(),
                Value::Text(text) if text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok() => {
                    return Err(self.bad_value(&item, name, format_args!("the text `{text}`"), "remove the quotes"));
                }
                Value::Text(text) => format!("`{text}`"),
                Value::List(_) => "a list in a list".to_owned(),
                Value::Rule(_) => "a filter among plain values".to_owned(),
            };
            return Err(self.bad_value(&item, name, found, PARAMETER_FORMS));
        }
        Ok(if steps.is_empty() { Curve::Numbers(numbers) } else { Curve::Steps(steps) })
    }
}
