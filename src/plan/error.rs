//! Why a recipe and its parents do not make a model.

use thiserror::Error;

use crate::gguf::{Difference, Fault, GgufError};
use crate::recipe::RecipeError;

/// Errors of this stage.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The parents are not siblings.
    #[error("these models cannot be merged:\n{}", list(.0))]
    Different(Vec<Difference>),
    /// The recipe itself is wrong for these parents.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A parent cannot be read, or changed.
    #[error(transparent)]
    Parent(#[from] GgufError),
    /// A tensor that the recipe needs is not there.
    #[error("tensor `{tensor}` is missing in `{parent}`, which has {hint}; choose models of one kind, or other layers")]
    MissingTensor {
        /// Its name.
        tensor: String,
        /// The parent's path.
        parent: String,
        /// What is there instead.
        hint: String,
    },
    /// Sources of one tensor differ in shape.
    #[error(
        "tensor `{tensor}` is {first:?} in one model and {second:?} in `{parent}`; only equal shapes can be blended"
    )]
    Shape {
        /// The output tensor.
        tensor: String,
        /// Shape in the first source.
        first: Vec<u64>,
        /// Shape in `parent`.
        second: Vec<u64>,
        /// The parent's path.
        parent: String,
    },
    /// A source type that cannot be decoded.
    #[error(
        "tensor `{tensor}` has type {ty}, which cannot be computed with; take it from one model as it is (`passthrough`, without `scale`)"
    )]
    SourceType {
        /// The output tensor.
        tensor: String,
        /// ggml's name of the type.
        ty: &'static str,
    },
    /// A destination type that cannot be written.
    #[error("tensor `{tensor}` cannot be written as {ty}, which needs an importance matrix; use `out_type: q8_0`")]
    DestinationType {
        /// The output tensor.
        tensor: String,
        /// ggml's name of the type.
        ty: &'static str,
    },
    /// A weight sum of zero and the like: the result would be NaN or infinite everywhere.
    #[error("tensor `{tensor}`: {problem}")]
    Undefined {
        /// The output tensor.
        tensor: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The architecture ties something to a layer's number that a new order of layers would break.
    #[error("`{architecture}` {reason}; keep the layers in order, or use another architecture")]
    Schedule {
        /// `general.architecture`.
        architecture: String,
        /// What depends on the number.
        reason: &'static str,
    },
    /// A hop has a gain and the graph has no place for it.
    #[error("`{architecture}` {reason}; leave out `scale`, or search with `gains: none`")]
    Gain {
        /// `general.architecture`.
        architecture: String,
        /// Why not.
        reason: &'static str,
    },
    /// Vocabularies that do not make one.
    #[error("the vocabularies do not go together: {0}")]
    Tokens(String),
    /// A chat template by name: the merged file must hold the text.
    #[error(
        "`chat_template: {name}` is a name that ggraft has no template for; give the Jinja text, or `auto` to keep the parent's"
    )]
    ChatTemplate {
        /// As written.
        name: String,
    },
    /// The virtual header cannot be written.
    #[error("the merged model cannot be described as GGUF: {0}")]
    Header(#[from] Fault),
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(|d| format!("  - {d}")).collect::<Vec<_>>().join("\n")
}
