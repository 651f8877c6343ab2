//! A recipe written back as YAML: what a search found becomes a file that loads to the same merge.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Serialize, Serializer};
use serde_saphyr::{FlowMap, FlowSeq};

use super::reference::Written;
use super::tokenizer::{TokenizerOut, TokenizerSourceOut};
use super::{Curve, Hop, Parameters, Recipe, RecipeError, Rule, Setting, Slice};

#[derive(Serialize)]
struct FileOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    merge_method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_model: Option<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<SourceOut<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slices: Option<Vec<SliceOut<'a>>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: &'a Parameters,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    path: Vec<FlowMap<HopOut>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_scale: Option<&'static str>,
    out_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenizer_source: Option<TokenizerSourceOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenizer: Option<TokenizerOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template: Option<&'a str>,
}

#[derive(Serialize)]
struct SliceOut<'a> {
    sources: Vec<SourceOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_model: Option<Written>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: &'a Parameters,
}

#[derive(Serialize)]
struct SourceOut<'a> {
    model: Written,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_range: Option<FlowSeq<(u32, u32)>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: &'a Parameters,
}

#[derive(Serialize)]
struct HopOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<f64>,
}

#[derive(Serialize)]
struct RuleOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<&'a str>,
    value: &'a Curve,
}

impl Recipe {
    /// The recipe as YAML; `path_of` turns a model's path into the one to write (relative to where the file will lie,
    /// or absolute). Numbers keep every digit; comments, `dtype` and warnings are not kept.
    ///
    /// # Errors
    /// None that a recipe can cause: the serializer writes to memory and its types are those of this file.
    pub fn to_yaml(&self, path_of: impl Fn(&Path) -> String) -> Result<String, RecipeError> {
        serde_saphyr::to_string(&self.written(path_of)).map_err(|error| RecipeError::Yaml(error.to_string()))
    }

    /// The same as JSON, which loads to the same merge too: JSON is YAML.
    ///
    /// # Errors
    /// None that a recipe can cause, as for [`Recipe::to_yaml`].
    pub fn to_json(&self, path_of: impl Fn(&Path) -> String) -> Result<serde_json::Value, RecipeError> {
        serde_json::to_value(self.written(path_of)).map_err(|error| RecipeError::Yaml(error.to_string()))
    }

    fn written(&self, path_of: impl Fn(&Path) -> String) -> FileOut<'_> {
        let path = |model: usize| {
            let model = self.models.get(model);
            Written {
                model: model.map_or_else(String::new, |model| path_of(&model.path)),
                lora: model.map_or(&[][..], |model| &model.adapters).iter().map(|lora| path_of(lora)).collect(),
            }
        };
        let (models, slices) = match self.slices.as_slice() {
            [all] if self.is_models_form(all) => (Some(sources(all, path)), None),
            [] => (None, None),
            slices => {
                let slice = |slice| SliceOut {
                    sources: sources(slice, path),
                    base_model: slice.base_model.map(path),
                    parameters: &slice.parameters,
                };
                (None, Some(slices.iter().map(slice).collect()))
            }
        };
        let tokenizer = self.tokenizer.as_ref();
        let (alone, more) = (tokenizer.filter(|t| t.is_source_alone()), tokenizer.filter(|t| !t.is_source_alone()));
        FileOut {
            merge_method: (!self.slices.is_empty()).then_some(self.method.name),
            base_model: self.base_model.map(path),
            models,
            slices,
            parameters: &self.parameters,
            path: self.path.iter().map(|hop| FlowMap(hop_out(hop, path))).collect(),
            path_scale: (!self.path.is_empty()).then_some(self.path_scale.name()),
            out_type: self.out_type.name(),
            tokenizer_source: alone.map(|tokenizer| tokenizer.source.out(path)),
            tokenizer: more.map(|tokenizer| tokenizer.out(path)),
            chat_template: self.chat_template.as_deref(),
        }
    }

    /// Whether `models:` says the same as this only slice; loading it appends a base that is not among the sources.
    fn is_models_form(&self, slice: &Slice) -> bool {
        slice.sources.iter().all(|source| source.layer_range.is_none())
            && slice.base_model.is_none()
            && slice.parameters.is_empty()
            && self.base_model.is_none_or(|base| slice.sources.iter().any(|source| source.model == base))
    }
}

fn hop_out(hop: &Hop, path: impl Fn(usize) -> Written) -> HopOut {
    let one = hop.layers.filter(|(start, end)| start.checked_add(1) == Some(*end));
    HopOut {
        model: hop.model.map(path),
        layer: one.map(|(start, _)| start),
        layers: hop.layers.filter(|_| one.is_none()),
        scale: (hop.scale != 1.0).then_some(hop.scale),
    }
}

fn sources(slice: &Slice, path: impl Fn(usize) -> Written) -> Vec<SourceOut<'_>> {
    let sources = slice.sources.iter().map(|source| SourceOut {
        model: path(source.model),
        layer_range: source.layer_range.map(FlowSeq),
        parameters: &source.parameters,
    });
    sources.collect()
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.rules.as_slice() {
            [Rule { filter: None, curve, .. }] => curve.serialize(serializer),
            rules => serializer.collect_seq(rules.iter().map(|rule| RuleOut {
                filter: rule.filter.as_ref().map(|filter| filter.text.as_str()),
                value: &rule.curve,
            })),
        }
    }
}

impl Serialize for Curve {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Numbers(values) => match values.as_slice() {
                [value] => serializer.serialize_f64(*value),
                values => FlowSeq(values).serialize(serializer),
            },
            Self::Steps(values) => match values.as_slice() {
                [value] => serializer.serialize_bool(*value),
                values => FlowSeq(values).serialize(serializer),
            },
        }
    }
}
