//! Genes to recipe: mergekit-evolve's genome over ggraft's methods. A vector of numbers in, a [`Recipe`] out.
//!
//! Genes are first the choices, if there are any, then the numbers. The latter are a tensor `[groups, models, parameter sets, parameters]`,
//! row-major: a group is `layer_granularity` layers, a parameter set belongs to some filters (the last to everything else), the
//! parameters are `weight`, or `weight, density`, or what the method has for each model. Behind it stand those that a method has for all
//! models together, `[groups, parameter sets, parameters]`.
//!
//! A choice among K things (methods, types) is K - 1 switches in a row: the first that is on decides, and if none is, it is the last
//! thing. So independent switches express every distribution over K things.

use std::path::PathBuf;

use super::catcma::{self, CatCma};
use super::cmaes::CmaOptions;
use super::nsga2::Nsga2;
use super::space::{Optimiser, Space};
use super::warm::WarmStart;
use super::{Algorithm, EvolveError, Search};
use crate::recipe::methods::{Kind, ParameterSpec};
use crate::recipe::{
    Curve, Filter, MethodSpec, ModelRef, OutType, Parameters, Recipe, Setting, Slice, Source, Tokenizer,
    TokenizerSource,
};

/// Parameters for all models together that a genome carries unasked, besides those that a recipe must set.
const SHARED: [&str; 3] = ["select_topk", "r", "alpha"];
/// DELLA has no probabilities at 0 and 1.
const DELLA_MARGIN: f64 = 0.01;

/// The `genome` block of an evolve file.
#[derive(Clone, Debug)]
pub struct GenomeSpec {
    /// The evolve file, for messages.
    pub file: PathBuf,
    /// The models that have genes, then the base if it is not among them.
    pub models: Vec<ModelRef>,
    /// How many of `models` have genes.
    pub searched: usize,
    /// How they are merged; several are a gene.
    pub methods: Vec<&'static MethodSpec>,
    /// Index of the base model.
    pub base: Option<usize>,
    /// Whose vocabulary is taken.
    pub tokenizer_source: Option<TokenizerSource>,
    /// Layers that share their genes; 0 for all.
    pub layer_granularity: u32,
    /// `normalize` of the recipes; by default on for `linear`, `ties` and `dare_ties`.
    pub normalize: Option<bool>,
    /// Whether weights keep their sign.
    pub allow_negative_weights: bool,
    /// The filter of each parameter set but the last.
    pub sets: Vec<Filter>,
    /// Whether groups are points of a gradient over all layers instead of slices.
    pub smooth: bool,
    /// Type of blended matrices; several are a gene.
    pub out_types: Vec<OutType>,
    /// Parameters that have genes besides those that always have.
    pub parameters: Vec<String>,
    /// Between what the values of a parameter stay.
    pub bounds: Vec<(String, [f64; 2])>,
}

/// Where genes start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// At these values, by parameter.
    At {
        /// Every `weight`.
        weight: f64,
        /// Every `density`.
        density: f64,
        /// Every gene of slerp.
        t: f64,
    },
    /// As mergekit-evolve does: 1 / models, density 1.
    Mergekit,
}

impl Start {
    /// As the paper does: 0.5 everywhere (section 3.1).
    pub const PAPER: Self = Self::At { weight: 0.5, density: 0.5, t: 0.5 };
}

/// A genome over models with a known number of layers.
#[derive(Clone, Debug)]
pub struct Genome {
    spec: GenomeSpec,
    layers: u32,
    groups: u32,
    /// Parameters of each model, and of all together.
    parameters: Vec<&'static ParameterSpec>,
    shared: Vec<&'static ParameterSpec>,
    warm: Option<WarmStart>,
}

/// What slerp has: one gene for each model, which only their order and difference matter of.
const SLERP: ParameterSpec = ParameterSpec {
    name: "t",
    per_model: true,
    kind: Kind::Float,
    default: None,
    range: (f64::MIN, f64::MAX),
    doc: "",
};

impl Genome {
    /// The genome of `spec` over models of `layers` layers.
    ///
    /// # Errors
    /// [`EvolveError::Granularity`] if the layers do not divide into groups.
    pub fn new(spec: GenomeSpec, layers: u32) -> Result<Self, EvolveError> {
        let granularity = if spec.layer_granularity == 0 { layers } else { spec.layer_granularity };
        if granularity == 0 || !layers.is_multiple_of(granularity) {
            let divisors =
                (1..=layers).filter(|d| layers.is_multiple_of(*d)).map(|d| d.to_string()).collect::<Vec<_>>();
            return Err(EvolveError::Granularity { granularity, layers, divisors: divisors.join(", ") });
        }
        let mut found: Vec<&'static ParameterSpec> = Vec::new();
        for method in &spec.methods {
            for parameter in gene_parameters(method, &spec.parameters) {
                if !found.iter().any(|f| f.name == parameter.name && f.per_model == parameter.per_model) {
                    found.push(parameter);
                }
            }
        }
        let (parameters, shared) = found.into_iter().partition(|p| p.per_model);
        Ok(Self { spec, layers, groups: layers / granularity, parameters, shared, warm: None })
    }

    /// The same, starting from what another study found.
    pub(super) fn warmed(self, warm: WarmStart) -> Self {
        Self { warm: Some(warm), ..self }
    }

    /// The shape of the genes of models: groups, models, parameter sets, parameters.
    pub fn shape(&self) -> [usize; 4] {
        [self.groups as usize, self.spec.searched, self.spec.sets.len() + 1, self.parameters.len()]
    }

    /// Number of switches.
    fn switches(&self) -> usize {
        self.spec.methods.len() + self.spec.out_types.len() - 2
    }

    /// The parameter of every number, in order.
    fn parameter_of_each(&self) -> impl Iterator<Item = &'static ParameterSpec> {
        let times = |count: usize, of: &Vec<&'static ParameterSpec>| of.repeat(count);
        let [groups, models, sets, _] = self.shape();
        times(groups * models * sets, &self.parameters).into_iter().chain(times(groups * sets, &self.shared))
    }

    /// The first mean of the search, of the numbers alone.
    pub fn start(&self, start: Start) -> Vec<f64> {
        let value = |parameter: &ParameterSpec| match (start, parameter.name) {
            (Start::At { weight, .. }, "weight") => weight,
            (Start::At { density, .. }, "density") => density,
            (Start::At { t, .. }, "t") => t,
            (Start::Mergekit, "density") => 1.0,
            (Start::Mergekit, "weight" | "t") => 1.0 / self.spec.searched as f64,
            _ => parameter.default.unwrap_or(0.5),
        };
        self.parameter_of_each().map(value).collect()
    }

    /// Recipes of every method and type, to see that such can be.
    pub(super) fn samples(&self, start: Start) -> Result<Vec<Recipe>, EvolveError> {
        let numbers = self.start(start);
        let switches = self.switches();
        let methods = self.spec.methods.len() - 1;
        let one_on = |on: usize| (0..switches).map(move |i| if i == on { 1.0 } else { 0.0 });
        // Each switch alone, then none: every method with the last type, every type with the last method.
        let all = (0..switches).chain([switches.max(methods)]);
        all.map(|on| self.decode(&one_on(on).chain(numbers.iter().copied()).collect::<Vec<_>>())).collect()
    }

    /// The method and the type that the switches choose, and the numbers.
    fn chosen<'a>(&self, genes: &'a [f64]) -> (&'static MethodSpec, OutType, &'a [f64]) {
        let (switches, numbers) = genes.split_at(self.switches());
        let (methods, types) = switches.split_at(self.spec.methods.len() - 1);
        let first = |switches: &[f64]| switches.iter().position(|s| *s > 0.5).unwrap_or(switches.len());
        (self.spec.methods[first(methods)], self.spec.out_types[first(types)], numbers)
    }

    /// A gene's value in the recipe: mirrored at its bounds, or at 0 if it has none and no sign.
    fn value(&self, parameter: &ParameterSpec, gene: f64) -> f64 {
        let bounds = self.spec.bounds.iter().find(|(name, _)| name == parameter.name);
        let signed = self.spec.allow_negative_weights && matches!(parameter.name, "weight" | "lambda");
        let value = match bounds {
            Some((_, bounds)) => mirrored(gene, *bounds),
            None if signed => gene,
            None => gene.abs(),
        };
        value.clamp(parameter.range.0, parameter.range.1)
    }

    /// What `numbers` say of each parameter of a model, or of all models if `None`, that `method` has.
    fn values(
        &self,
        method: &MethodSpec,
        numbers: &[f64],
        group: usize,
        model: Option<usize>,
        set: usize,
    ) -> Vec<(&'static str, f64)> {
        let [groups, models, sets, own] = self.shape();
        let (of, start) = match model {
            Some(model) => (&self.parameters, ((group * models + model) * sets + set) * own),
            None => (&self.shared, groups * models * sets * own + (group * sets + set) * self.shared.len()),
        };
        let mut values: Vec<(&str, f64)> = of
            .iter()
            .zip(&numbers[start..])
            .filter(|(parameter, _)| uses(method, parameter))
            .map(|(parameter, gene)| (parameter.name, self.value(parameter, *gene)))
            .collect();
        if method.name.starts_with("della") && model.is_some() {
            let density = values.iter().find(|(name, _)| *name == "density").map_or(1.0, |(_, d)| d.max(DELLA_MARGIN));
            let most = (1.0 - DELLA_MARGIN) * density.min(1.0 - density);
            for (name, value) in &mut values {
                match *name {
                    "density" => *value = density,
                    "epsilon" => *value = value.min(most),
                    _ => {}
                }
            }
        }
        values
    }

    /// The parameters of one model, or of all, over `groups`: one group is a constant, several are a gradient.
    fn settings(
        &self,
        method: &MethodSpec,
        numbers: &[f64],
        groups: std::ops::Range<usize>,
        model: Option<usize>,
    ) -> Parameters {
        let sets = self.spec.sets.len() + 1;
        // By set, by group.
        let values: Vec<Vec<Vec<(&str, f64)>>> = (0..sets)
            .map(|set| groups.clone().map(|group| self.values(method, numbers, group, model, set)).collect())
            .collect();
        let names = values[0][0].iter().map(|(name, _)| *name);
        names
            .enumerate()
            .map(|(p, name)| {
                let curve = |set: usize| Curve::Numbers(values[set].iter().map(|group| group[p].1).collect());
                let filters = self.spec.sets.iter().cloned().map(Some).chain([None]);
                let rules = filters.enumerate().map(|(set, filter)| (filter, curve(set)));
                (name.to_owned(), Setting::filtered(rules))
            })
            .collect()
    }

    /// Groups as one slice.
    fn slice(
        &self,
        method: &MethodSpec,
        numbers: &[f64],
        groups: std::ops::Range<usize>,
        layer_range: Option<(u32, u32)>,
    ) -> Slice {
        let own = |model| self.settings(method, numbers, groups.clone(), Some(model));
        let source = |model| Source { model, layer_range, parameters: own(model), ..Source::default() };
        let mut sources: Vec<Source> = (0..self.spec.searched).map(source).collect();
        if let Some(model) = self.spec.base.filter(|base| *base >= self.spec.searched) {
            sources.push(Source { model, layer_range, ..Source::default() });
        }
        Slice { sources, parameters: self.settings(method, numbers, groups, None), ..Slice::default() }
    }

    fn range(&self, group: u32) -> Option<(u32, u32)> {
        let size = self.layers / self.groups;
        Some((group * size, (group + 1) * size))
    }

    /// The two models with the largest genes; the larger is the base, and the softmax of the two says how far from it to go.
    fn slerp_slice(&self, genes: &[f64], group: u32) -> Slice {
        let models = self.spec.searched;
        let genes = &genes[group as usize * models..][..models];
        let mut order: Vec<usize> = (0..models).collect();
        order.sort_by(|a, b| genes[*b].total_cmp(&genes[*a]));
        let [base, other] = [order[0], order[1]];
        let t = 1.0 / (1.0 + (genes[base] - genes[other]).exp());
        let source = |model| Source { model, layer_range: self.range(group), ..Source::default() };
        Slice {
            sources: vec![source(base), source(other)],
            base_model: Some(base),
            parameters: Parameters::from([("t".to_owned(), t.into())]),
            ..Slice::default()
        }
    }
}

/// The parameters of `method` that have genes: mergekit-evolve's for its methods, for the others those of each model, those that must
/// be set and [`SHARED`]; for all of them those `asked` for.
pub(super) fn gene_parameters(method: &MethodSpec, asked: &[String]) -> Vec<&'static ParameterSpec> {
    if method.name == "slerp" {
        return vec![&SLERP];
    }
    let wanted = |p: &ParameterSpec| match method.name {
        "linear" | "task_arithmetic" => p.name == "weight",
        "ties" | "dare_ties" => matches!(p.name, "weight" | "density"),
        _ => p.per_model || p.default.is_none() || SHARED.contains(&p.name),
    };
    let number = |p: &&ParameterSpec| p.kind == Kind::Float && p.has_effect();
    let all = method.parameters.iter().filter(number);
    all.filter(|p| wanted(p) || asked.iter().any(|name| name == p.name)).collect()
}

/// Where a gene comes to lie between its bounds if it is thrown back at each: unlike a gene that is cut off there, one that goes on to move
/// tells the optimiser no lie about the length of its steps.
fn mirrored(gene: f64, [low, high]: [f64; 2]) -> f64 {
    let width = high - low;
    let along = (gene - low).rem_euclid(2.0 * width);
    low + if along > width { 2.0 * width - along } else { along }
}

/// Whether `parameter`, which may be another method's, is one of `method` that does something.
fn uses(method: &MethodSpec, parameter: &ParameterSpec) -> bool {
    method.parameters.iter().any(|p| p.name == parameter.name && p.per_model == parameter.per_model && p.has_effect())
}

impl Space for Genome {
    fn optimiser(&self, search: &Search, seed: u64) -> Result<Optimiser, EvolveError> {
        let numbers = self.start(search.start);
        let algorithm = search.algorithm.unwrap_or_default();
        let options = CmaOptions { population: search.population, seed, ..CmaOptions::default() };
        if let Some(warm) = &self.warm {
            let algorithm = match (search.algorithm, self.switches()) {
                (Some(named), _) => named,
                (None, 0) => Algorithm::CmaEs,
                (None, _) => Algorithm::CatCma,
            };
            return warm.optimiser(algorithm, [self.switches(), self.genes()], options);
        }
        if self.switches() == 0 && algorithm != Algorithm::Nsga2 {
            return Ok(algorithm.over_numbers(numbers, search.sigma, options)?);
        }
        // Everything alike to begin with.
        let alike = |things: usize| (1..things).map(move |k| 1.0 / (things - k + 1) as f64);
        let switches = alike(self.spec.methods.len()).chain(alike(self.spec.out_types.len())).collect();
        let start = catcma::Start { switches, genes: numbers, sigma: search.sigma };
        Ok(match algorithm {
            Algorithm::Nsga2 => Optimiser::Nsga2(Nsga2::new(start, options)?.into()),
            _ => Optimiser::CatCma(CatCma::new(start, options)?.into()),
        })
    }

    fn genes(&self) -> usize {
        let [groups, models, sets, own] = self.shape();
        self.switches() + groups * sets * (models * own + self.shared.len())
    }

    /// `METHOD PARAMETER of MODEL, layers A-B, TENSORS`, as far as each says something.
    fn names(&self) -> Vec<String> {
        let [groups, models, sets, _] = self.shape();
        let labels = labels(&self.spec.models);
        let chosen = |all: &[String]| -> Vec<String> {
            all[..all.len() - 1].iter().map(|thing| format!("choose {thing}")).collect()
        };
        let mut names = chosen(&self.spec.methods.iter().map(|method| method.name.to_owned()).collect::<Vec<_>>());
        names.extend(chosen(&self.spec.out_types.iter().map(|ty| ty.name().to_owned()).collect::<Vec<_>>()));
        let method = match &self.spec.methods[..] {
            [only] => format!("{} ", only.name),
            _ => String::new(),
        };
        let place = |group: usize| match self.range(group as u32) {
            _ if groups == 1 => String::new(),
            _ if self.spec.smooth => format!(", point {} of {groups}", group + 1),
            Some((start, end)) if start + 1 < end => format!(", layers {start}-{}", end - 1),
            Some((start, _)) => format!(", layer {start}"),
            None => String::new(),
        };
        let filter = |set: usize| match self.spec.sets.get(set) {
            Some(filter) => format!(", {}", filter.text),
            None if sets > 1 => ", others".to_owned(),
            None => String::new(),
        };
        for group in 0..groups {
            for label in &labels[..models] {
                for set in 0..sets {
                    let of = format!(" of {label}{}{}", place(group), filter(set));
                    names.extend(self.parameters.iter().map(|p| format!("{method}{}{of}", p.name)));
                }
            }
        }
        for group in 0..groups {
            for set in 0..sets {
                let of = format!(" of all{}{}", place(group), filter(set));
                names.extend(self.shared.iter().map(|p| format!("{method}{}{of}", p.name)));
            }
        }
        names
    }

    fn decode(&self, genes: &[f64]) -> Result<Recipe, EvolveError> {
        assert_eq!(genes.len(), self.genes(), "genes of this genome");
        let (method, out_type, numbers) = self.chosen(genes);
        let slices = match (method.name, self.spec.smooth) {
            ("slerp", _) => (0..self.groups).map(|g| self.slerp_slice(numbers, g)).collect(),
            (_, true) => vec![self.slice(method, numbers, 0..self.groups as usize, None)],
            (_, false) => {
                let group = |g: u32| self.slice(method, numbers, g as usize..g as usize + 1, self.range(g));
                (0..self.groups).map(group).collect()
            }
        };
        let mut recipe = Recipe::new(method, self.spec.models.clone(), slices);
        recipe.file.clone_from(&self.spec.file);
        recipe.base_model = self.spec.base;
        recipe.out_type = out_type;
        recipe.tokenizer = self.spec.tokenizer_source.map(Tokenizer::from);
        if method.parameter("normalize").is_some_and(|(_, used)| used) {
            let by_default = match method.name {
                "linear" | "ties" | "dare_ties" => true,
                "task_arithmetic" => false,
                _ => method.parameter("normalize").is_some_and(|(p, _)| p.default == Some(1.0)),
            };
            recipe.parameters.insert("normalize".into(), self.spec.normalize.unwrap_or(by_default).into());
        }
        Ok(recipe.checked()?)
    }

    fn active(&self, genes: &[f64]) -> Vec<bool> {
        let (method, _, _) = self.chosen(genes);
        self.parameter_of_each().map(|parameter| uses(method, parameter)).collect()
    }
}

/// What models are called where space is short: their files without folders, unless two would be called the same.
pub(super) fn labels(models: &[ModelRef]) -> Vec<String> {
    let short = |model: &ModelRef| {
        let part = |file: &str| file.rsplit('/').next().unwrap_or(file).trim_end_matches(".gguf").to_owned();
        model.written.split('+').map(part).collect::<Vec<_>>().join("+")
    };
    let labels: Vec<String> = models.iter().map(short).collect();
    let unique = labels.iter().all(|label| labels.iter().filter(|other| *other == label).count() == 1);
    if unique { labels } else { models.iter().map(|model| model.written.clone()).collect() }
}

/// The plain average of the first `count` of `models`: what a merge without a search would be.
///
/// # Errors
/// [`EvolveError::Recipe`], as [`Space::decode`].
pub(super) fn uniform(models: &[ModelRef], count: usize, like: &Recipe) -> Result<Recipe, EvolveError> {
    let linear = MethodSpec::find("linear").expect("a method of the table");
    let source = |model| Source {
        model,
        parameters: Parameters::from([("weight".to_owned(), 1.0.into())]),
        ..Source::default()
    };
    let slice = Slice { sources: (0..count).map(source).collect(), ..Slice::default() };
    let mut recipe = Recipe::new(linear, models.to_vec(), vec![slice]);
    recipe.out_type = like.out_type;
    recipe.tokenizer.clone_from(&like.tokenizer);
    Ok(recipe.checked()?)
}
