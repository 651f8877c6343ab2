//! The table itself: one entry for each method.

use super::{BaseRule, Inputs, Kind, MethodSpec, NO_EFFECT, ParameterSpec};

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
        name: "nuslerp",
        summary: "spherical interpolation between two models by their weights; with a base model, of the task vectors",
        reference: "https://github.com/arcee-ai/mergekit/blob/main/docs/merge_methods.md#nuslerp",
        base: BaseRule::Optional,
        inputs: Inputs { with_base: false, min: 2, max: Some(2) },
        parameters: &[
            WEIGHT,
            flag("nuslerp_flatten", true, "one angle for a whole tensor; otherwise one for each row"),
            flag(
                "nuslerp_row_wise",
                false,
                "without `nuslerp_flatten`: one angle for each column, in spite of the name",
            ),
        ],
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
            ParameterSpec { doc: NO_EFFECT, ..DENSITY },
            flag("normalize", false, NORMALIZE_DOC),
            flag("rescale", false, NO_EFFECT),
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
        name: "breadcrumbs",
        summary: "task vectors without their smallest and their very largest entries",
        reference: "https://arxiv.org/abs/2312.06795",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: BREADCRUMBS,
    },
    MethodSpec {
        name: "breadcrumbs_ties",
        summary: "task vectors without their smallest and their very largest entries, conflicting signs left out",
        reference: "https://arxiv.org/abs/2312.06795",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: BREADCRUMBS,
    },
    MethodSpec {
        name: "della",
        summary: "task vectors thinned out at random, small entries more than large ones, conflicting signs left out",
        reference: "https://arxiv.org/abs/2406.11617",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: &[
            WEIGHT,
            DENSITY,
            EPSILON,
            flag("normalize", true, NORMALIZE_DOC),
            flag("rescale", true, RESCALE_DOC),
            LAMBDA,
            INT8_MASK,
        ],
    },
    MethodSpec {
        name: "della_linear",
        summary: "task vectors thinned out at random, small entries more than large ones",
        reference: "https://arxiv.org/abs/2406.11617",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: &[
            WEIGHT,
            DENSITY,
            EPSILON,
            flag("normalize", false, NORMALIZE_DOC),
            flag("rescale", true, RESCALE_DOC),
            LAMBDA,
            INT8_MASK,
        ],
    },
    MethodSpec {
        name: "model_stock",
        summary: "the models' mean, drawn towards the base model by as much as they disagree",
        reference: "https://arxiv.org/abs/2403.19522",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 3, max: None },
        parameters: &[flag("filter_wise", false, "for each row of a matrix by itself")],
    },
    MethodSpec {
        name: "sce",
        summary: "task vectors at the entries where models differ most, weighted by their squares, conflicting signs left out",
        reference: "https://arxiv.org/abs/2408.07990",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: &[
            ParameterSpec {
                range: (0.0, 1.0),
                ..float("select_topk", false, Some(1.0), "share of the entries that vary at all to keep")
            },
            INT8_MASK,
        ],
    },
    MethodSpec {
        name: "nearswap",
        summary: "the other model where it is near the base model, fading out with distance",
        reference: "https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 2, max: Some(2) },
        parameters: &[float("t", false, None, "distance up to which the other model is taken whole")],
    },
    MethodSpec {
        name: "arcee_fusion",
        summary: "the other model's entries of outstanding importance in place of the base model's",
        reference: "https://www.arcee.ai/blog/meet-mergekit-v0-1-arcee-fusion-expanded-model-support-multi-gpu-acceleration",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 2, max: Some(2) },
        parameters: &[],
    },
    MethodSpec {
        name: "passthrough",
        summary: "one model's tensors as they are: for stacking layers of several models",
        reference: "https://arxiv.org/abs/2312.15166",
        base: BaseRule::Ignored,
        inputs: Inputs { with_base: true, min: 1, max: Some(1) },
        parameters: &[float("scale", true, Some(1.0), "factor on every tensor")],
    },
    MethodSpec {
        name: "ram",
        summary: "what several models change is averaged, what one alone changes is kept whole",
        reference: "https://arxiv.org/abs/2601.13572",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: &[OVERLAP],
    },
    MethodSpec {
        name: "ramplus_tl",
        summary: "as `ram`, a model's lone changes scaled up by how many of its changes others share",
        reference: "https://arxiv.org/abs/2601.13572",
        base: BaseRule::Required,
        inputs: Inputs { with_base: true, min: 1, max: None },
        parameters: &[
            float("r", false, Some(0.1), "how much lone changes are scaled up"),
            float("alpha", false, Some(0.2), "the most that the ratio of shared to lone changes counts as"),
            OVERLAP,
        ],
    },
];

/// Flags that recipes carry over from one method to the next; mergekit lets every method ignore them, and so do we.
pub(super) const WITHOUT_EFFECT: &[ParameterSpec] =
    &[flag("normalize", false, NO_EFFECT), flag("rescale", false, NO_EFFECT), INT8_MASK];

/// What both DARE methods take.
const DARE: &[ParameterSpec] =
    &[WEIGHT, DENSITY, flag("normalize", false, NORMALIZE_DOC), flag("rescale", true, RESCALE_DOC), LAMBDA, INT8_MASK];

/// What both breadcrumbs methods take.
const BREADCRUMBS: &[ParameterSpec] = &[
    WEIGHT,
    DENSITY,
    ParameterSpec {
        range: (0.0, 1.0),
        ..float("gamma", true, Some(0.01), "share of the largest entries to leave out")
    },
    flag("normalize", false, NORMALIZE_DOC),
    flag("rescale", false, RESCALE_DOC),
    LAMBDA,
    INT8_MASK,
];

const NORMALIZE_DOC: &str = "divide by the sum of the weights that took part";
const RESCALE_DOC: &str = "bring what was kept back to the L1 norm of the whole task vector";
const ANY: (f64, f64) = (f64::MIN, f64::MAX);
const WEIGHT: ParameterSpec = float("weight", true, None, "share of the model");
const DENSITY: ParameterSpec = ParameterSpec {
    range: (0.0, 1.0),
    ..float("density", true, Some(1.0), "share of the task vector's entries to keep")
};
const EPSILON: ParameterSpec = ParameterSpec {
    range: (0.0, 1.0),
    ..float("epsilon", true, Some(0.15), "how far the probabilities of a row's entries lie from `density`, at most")
};
const OVERLAP: ParameterSpec =
    ParameterSpec { range: (0.0, f64::MAX), ..float("epsilon", false, Some(1e-5), "changes up to this count as none") };
const LAMBDA: ParameterSpec = float("lambda", false, Some(1.0), "factor on the merged task vector");
const INT8_MASK: ParameterSpec = flag("int8_mask", false, NO_EFFECT);

const fn float(name: &'static str, per_model: bool, default: Option<f64>, doc: &'static str) -> ParameterSpec {
    ParameterSpec { name, per_model, kind: Kind::Float, default, range: ANY, doc }
}

const fn flag(name: &'static str, default: bool, doc: &'static str) -> ParameterSpec {
    let default = Some(if default { 1.0 } else { 0.0 });
    ParameterSpec { name, per_model: false, kind: Kind::Bool, default, range: (0.0, 1.0), doc }
}
