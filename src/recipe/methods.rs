//! The merge methods: one table from which validation, defaults, help and the README come.
//!
//! Defaults and accepted parameters are those of mergekit 0.1.5. A new method is one entry of [`METHODS`] here and its
//! arithmetic further right.

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

/// Every method there is, in the order help lists them.
pub const METHODS: &[MethodSpec] = &[
    MethodSpec {
        name: "linear",
        summary: "weighted average of the models",
        reference: "https://arxiv.org/abs/2203.05482",
        base: BaseRule::Ignored,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: &[WEIGHT, flag("normalize", true, "divide by the sum of the weights")],
    },
    MethodSpec {
        name: "slerp",
        summary: "spherical interpolation from the base model to the other one",
        reference: "https://en.wikipedia.org/wiki/Slerp",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 2, max: Some(2) },
        parameters: &[float("t", false, None, "0 is the base model, 1 the other model")],
    },
    MethodSpec {
        name: "multislerp",
        summary: "average on the sphere of directions; with a base model, of the task vectors",
        reference: "https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
        base: BaseRule::Optional,
        inputs: Inputs { with_base: false, min: 1, max: None },
        parameters: &[
            WEIGHT,
            flag("normalize_weights", true, "divide by the sum of the weights"),
            ParameterSpec { range: (0.0, 1.0), ..float("eps", false, Some(1e-8), "lengths below this count as none") },
        ],
    },
    MethodSpec {
        name: "karcher",
        summary: "the models' centre of mass on the sphere of directions, all of them counting the same",
        reference: "https://en.wikipedia.org/wiki/Karcher_mean",
        base: BaseRule::Ignored,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: &[
            ParameterSpec {
                kind: Kind::Int,
                range: (0.0, 10_000.0),
                ..float("max_iter", false, Some(10.0), "most steps towards the centre")
            },
            ParameterSpec {
                range: (0.0, 1.0),
                ..float("tol", false, Some(1e-5), "steps and lengths below this end it")
            },
        ],
    },
    MethodSpec {
        name: "task_arithmetic",
        summary: "base model plus the weighted sum of the task vectors",
        reference: "https://arxiv.org/abs/2212.04089",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: &[
            WEIGHT,
            ParameterSpec { doc: "accepted without effect", ..DENSITY },
            flag("normalize", false, NORMALIZE_DOC),
            flag("rescale", false, "accepted without effect"),
            LAMBDA,
            INT8_MASK,
        ],
    },
    MethodSpec {
        name: "ties",
        summary: "task vectors trimmed to their largest entries, conflicting signs left out",
        reference: "https://arxiv.org/abs/2306.01708",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: &[
            WEIGHT,
            DENSITY,
            flag("normalize", true, NORMALIZE_DOC),
            flag("rescale", false, RESCALE_DOC),
            LAMBDA,
            INT8_MASK,
        ],
    },
    MethodSpec {
        name: "dare_linear",
        summary: "task vectors thinned out at random",
        reference: "https://arxiv.org/abs/2311.03099",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: DARE,
    },
    MethodSpec {
        name: "dare_ties",
        summary: "task vectors thinned out at random, conflicting signs left out",
        reference: "https://arxiv.org/abs/2311.03099",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: DARE,
    },
    MethodSpec {
        name: "passthrough",
        summary: "one model's tensors as they are: for stacking layers of several models",
        reference: "https://arxiv.org/abs/2312.15166",
        base: BaseRule::Ignored,
        inputs: Inputs { with_base: true, min: 1, max: Some(1) },
        parameters: &[float("scale", true, Some(1.0), "factor on every tensor")],
    },
];

/// Flags that recipes carry over from one method to the next; mergekit lets every method ignore them, and so do we.
const WITHOUT_EFFECT: &[ParameterSpec] = &[
    flag("normalize", false, "accepted without effect"),
    flag("rescale", false, "accepted without effect"),
    INT8_MASK,
];

/// What both DARE methods take.
const DARE: &[ParameterSpec] =
    &[WEIGHT, DENSITY, flag("normalize", false, NORMALIZE_DOC), flag("rescale", true, RESCALE_DOC), LAMBDA, INT8_MASK];

const NORMALIZE_DOC: &str = "divide by the sum of the weights that took part";
const RESCALE_DOC: &str = "bring what was kept back to the L1 norm of the whole task vector";
const ANY: (f64, f64) = (f64::MIN, f64::MAX);
const WEIGHT: ParameterSpec = float("weight", true, None, "share of the model");
const DENSITY: ParameterSpec = ParameterSpec {
    range: (0.0, 1.0),
    ..float("density", true, Some(1.0), "share of the task vector's entries to keep")
};
const LAMBDA: ParameterSpec = float("lambda", false, Some(1.0), "factor on the merged task vector");
const INT8_MASK: ParameterSpec = flag("int8_mask", false, "accepted without effect");

const fn float(name: &'static str, per_model: bool, default: Option<f64>, doc: &'static str) -> ParameterSpec {
    ParameterSpec { name, per_model, kind: Kind::Float, default, range: ANY, doc }
}

const fn flag(name: &'static str, default: bool, doc: &'static str) -> ParameterSpec {
    let default = Some(if default { 1.0 } else { 0.0 });
    ParameterSpec { name, per_model: false, kind: Kind::Bool, default, range: (0.0, 1.0), doc }
}

impl MethodSpec {
    /// The method called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name == name)
    }

    /// The parameter called `name`, and whether this method does anything with it.
    pub fn parameter(&self, name: &str) -> Option<(&'static ParameterSpec, bool)> {
        let own = self.parameters.iter().find(|spec| spec.name == name).map(|spec| (spec, true));
        own.or_else(|| WITHOUT_EFFECT.iter().find(|spec| spec.name == name).map(|spec| (spec, false)))
    }
}

impl ParameterSpec {
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
