//! The merge methods: one table from which validation, defaults, help and the README come.
//!
//! Defaults and accepted parameters are those of mergekit 0.1.5. A new method is one entry of [`METHODS`] here and its
//! arithmetic further right.

mod table;

use std::fmt;

pub use table::METHODS;
use table::WITHOUT_EFFECT;

/// One merge method.
#[derive(Debug)]
pub struct MethodSpec {
    /// Its name in `merge_method`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Where it is described.
    pub reference: &'static str,
    /// What it does with `base_model`.
    pub base: BaseRule,
    /// How many models a slice may have.
    pub inputs: Inputs,
    /// Every parameter it takes.
    pub parameters: &'static [ParameterSpec],
}

/// What a method does with `base_model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseRule {
    /// It must be given: the other models are taken relative to it. Its own weight is never asked for.
    Required,
    /// It may be given, with the same meaning.
    Optional,
    /// It means nothing: a base among the inputs is an input like any other.
    Ignored,
}

/// How many models a slice may have.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// Whether the base is one of those counted.
    pub with_base: bool,
    /// At least so many.
    pub min: usize,
    /// At most so many, if there is a limit.
    pub max: Option<usize>,
}

/// One parameter of a method.
#[derive(Debug)]
pub struct ParameterSpec {
    /// Its name.
    pub name: &'static str,
    /// Whether every model may have its own value; otherwise one value serves a whole tensor.
    pub per_model: bool,
    /// What its values are.
    pub kind: Kind,
    /// Its value if nothing sets it (truth values as 0 or 1); `None` if it must be set.
    pub default: Option<f64>,
    /// Smallest and largest value allowed.
    pub range: (f64, f64),
    /// What it does, in one sentence.
    pub doc: &'static str,
}

/// What [`ParameterSpec::doc`] says of parameters that mergekit takes for show, and so do we.
const NO_EFFECT: &str = "accepted without effect";

/// What the values of a parameter are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Numbers.
    Float,
    /// Whole numbers.
    Int,
    /// `true` or `false`.
    Bool,
}

impl MethodSpec {
    /// The method called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name == name)
    }

    /// Its parameters as help lists them, those of single models first.
    pub fn signature(&self) -> String {
        let list = |per_model: bool| {
            let own = self.parameters.iter().filter(|spec| spec.per_model == per_model && spec.has_effect());
            own.map(ParameterSpec::to_string).collect::<Vec<_>>().join(", ")
        };
        match (list(true), list(false)) {
            (own, shared) if own.is_empty() => shared,
            (own, shared) if shared.is_empty() => format!("per model {own}"),
            (own, shared) => format!("per model {own}; {shared}"),
        }
    }

    /// How many models it takes, in words.
    pub fn arity(&self) -> String {
        let Inputs { with_base, min, max } = self.inputs;
        // The base is spoken of apart.
        let (min, max) = match (self.base, with_base) {
            (BaseRule::Required, true) => (min - 1, max.map(|max| max - 1)),
            _ => (min, max),
        };
        let models = match max {
            Some(max) if max == min => min.to_string(),
            Some(max) => format!("{min} to {max}"),
            None if min == 0 => "any".to_owned(),
            None => format!("{min} or more"),
        };
        match self.base {
            BaseRule::Required => format!("base + {models}"),
            BaseRule::Optional => format!("{models}, or base + {models}"),
            BaseRule::Ignored => models,
        }
    }

    /// The parameter called `name`, and whether this method does anything with it.
    pub fn parameter(&self, name: &str) -> Option<(&'static ParameterSpec, bool)> {
        let own = self.parameters.iter().find(|spec| spec.name == name).map(|spec| (spec, true));
        own.or_else(|| WITHOUT_EFFECT.iter().find(|spec| spec.name == name).map(|spec| (spec, false)))
    }
}

impl ParameterSpec {
    /// Whether it does anything.
    pub fn has_effect(&self) -> bool {
        self.doc != NO_EFFECT
    }

    /// Why `value` is impossible for this parameter, or `None` if it is possible.
    pub fn objection(&self, value: f64) -> Option<String> {
        let (low, high) = self.range;
        if !value.is_finite() {
            Some("it must be a finite number".to_owned())
        } else if value < low || value > high {
            Some(format!("it must be from {low} to {high}"))
        } else if self.kind == Kind::Int && value.fract() != 0.0 {
            Some("it must be a whole number".to_owned())
        } else {
            None
        }
    }
}

/// `weight`, or `density` = 1 with its default.
impl fmt::Display for ParameterSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name)?;
        match (self.kind, self.default) {
            (_, None) => Ok(()),
            (Kind::Bool, Some(value)) => write!(f, " = {}", value != 0.0),
            // Small ones as people write them: 1e-5.
            (_, Some(value)) => write!(f, " = {}", format!("{value:?}").trim_end_matches(".0")),
        }
    }
}

/// The README's table of methods.
pub fn markdown() -> String {
    let mut table = "| method | what it does | models | parameters |\n|---|---|---|---|\n".to_owned();
    for method in METHODS {
        let MethodSpec { name, summary, reference, .. } = method;
        let link = reference.strip_prefix("https://arxiv.org/abs/").unwrap_or("reference");
        let (arity, signature) = (method.arity(), method.signature());
        table += &format!("| `{name}` | {summary} ([{link}]({reference})) | {arity} | {signature} |\n");
    }
    table
}
