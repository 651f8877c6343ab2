//! The value of one parameter as a recipe writes it, and what it comes to at one tensor.
//!
//! In: a scalar, a gradient, or a list of `{filter, value}`. Out: a number for a depth `t` and a tensor. A scalar is a
//! gradient of one value, and a value without filters is one rule that matches everything, so there is one shape only.

use crate::yaml::Place;

/// What one parameter is set to: the first rule whose filter matches decides.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Rules in the order they are tried.
    pub rules: Vec<Rule>,
    /// Where the parameter's name stands in the file.
    pub place: Place,
}

/// One `{filter, value}` entry.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which tensors it is for; all of them if `None`.
    pub filter: Option<Filter>,
    /// The value where it matches.
    pub curve: Curve,
    /// Where the value stands in the file.
    pub place: Place,
}

/// Part of a tensor's name; `*` matches every tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// As written.
    pub text: String,
    /// Where it stands in the file.
    pub place: Place,
}

/// Values spread evenly over the depth of a slice; a single one is constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Curve {
    /// Numbers, interpolated linearly: a gradient.
    Numbers(Vec<f64>),
    /// Truth values, chosen in steps.
    Steps(Vec<bool>),
}

impl Setting {
    /// The value at depth `t` (0 = first layer of the slice, 1 = last) of a tensor of which `matches` tells the filters
    /// that mean it; truth values are 0 or 1. `None` if no rule matches: the next level of precedence decides.
    pub fn at(&self, t: f64, matches: impl Fn(&str) -> bool) -> Option<f64> {
        let hit = |rule: &&Rule| rule.filter.as_ref().is_none_or(|filter| filter.is_all() || matches(&filter.text));
        self.rules.iter().find(hit)?.curve.at(t)
    }

    /// A setting with filters, tried in order.
    pub fn filtered(rules: impl IntoIterator<Item = (Option<Filter>, Curve)>) -> Self {
        let rules = rules.into_iter().map(|(filter, curve)| Rule { filter, curve, place: Place::default() });
        Self { rules: rules.collect(), place: Place::default() }
    }
}

impl Filter {
    /// Whether it matches every tensor.
    pub fn is_all(&self) -> bool {
        self.text == "*"
    }
}

impl From<&str> for Filter {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), place: Place::default() }
    }
}

impl From<Curve> for Setting {
    fn from(curve: Curve) -> Self {
        Self::filtered([(None, curve)])
    }
}

impl From<f64> for Setting {
    fn from(value: f64) -> Self {
        Curve::Numbers(vec![value]).into()
    }
}

impl From<bool> for Setting {
    fn from(value: bool) -> Self {
        Curve::Steps(vec![value]).into()
    }
}

impl Curve {
    /// The value at depth `t`, or `None` for a curve without values.
    pub fn at(&self, t: f64) -> Option<f64> {
        match self {
            Self::Numbers(values) => {
                let s = t * values.len().checked_sub(1)? as f64;
                let low = s as usize;
                let (a, b) = (*values.get(low)?, *values.get(low + 1).unwrap_or(values.last()?));
                let part = s - low as f64;
                Some((1.0 - part) * a + part * b)
            }
            Self::Steps(values) => {
                let step = t * values.len().checked_sub(1)? as f64;
                values.get(step as usize).map(|&on| f64::from(on))
            }
        }
    }
}
