//! Genes to recipe: mergekit-evolve's genome over ggraft's methods. A vector of numbers in, a [`Recipe`] out.
//!
//! The genotype is a tensor `[groups, models, parameter sets, parameters]`, row-major: a group is `layer_granularity` layers, a
//! parameter set belongs to one filter (the last to everything else), the parameters are `weight`, or `weight, density`, or `t`.

use super::cmaes::{CmaEs, CmaOptions};
use super::space::{Optimiser, Space};
use super::warm::WarmStart;
use super::{EvolveError, Search};
use crate::recipe::{
    Curve, MethodSpec, ModelRef, OutType, Parameters, Recipe, Setting, Slice, Source, Tokenizer, TokenizerSource,
};

/// The `genome` block of an evolve file.
#[derive(Clone, Debug)]
pub struct GenomeSpec {
    /// The models that have genes, then the base if it is not among them.
    pub models: Vec<ModelRef>,
    /// How many of `models` have genes.
    pub searched: usize,
    /// How they are merged.
    pub method: &'static MethodSpec,
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
    /// Each has a parameter set of its own.
    pub filters: Vec<String>,
    /// Whether groups are points of a gradient over all layers instead of slices.
    pub smooth: bool,
    /// Type of blended matrices.
    pub out_type: OutType,
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
    parameters: &'static [&'static str],
    warm: Option<WarmStart>,
}

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
        let parameters: &[&str] = match spec.method.name {
            "slerp" => &["t"],
            "ties" | "dare_ties" => &["weight", "density"],
            _ => &["weight"],
        };
        Ok(Self { spec, layers, groups: layers / granularity, parameters, warm: None })
    }

    /// The same, starting from what another study found.
    pub(super) fn warmed(self, warm: WarmStart) -> Self {
        Self { warm: Some(warm), ..self }
    }

    /// The genotype's shape: groups, models, parameter sets, parameters.
    pub fn shape(&self) -> [usize; 4] {
        [self.groups as usize, self.spec.searched, self.spec.filters.len() + 1, self.parameters.len()]
    }

    /// The first mean of the search.
    pub fn start(&self, start: Start) -> Vec<f64> {
        let value = |parameter: &str| match (start, parameter) {
            (Start::At { weight, .. }, "weight") => weight,
            (Start::At { density, .. }, "density") => density,
            (Start::At { t, .. }, _) => t,
            (Start::Mergekit, "density") => 1.0,
            (Start::Mergekit, _) => 1.0 / self.spec.searched as f64,
        };
        (0..self.genes()).map(|gene| value(self.parameters[gene % self.parameters.len()])).collect()
    }

    /// One gene's value in the recipe.
    fn value(&self, genes: &[f64], [group, model, set, parameter]: [usize; 4]) -> f64 {
        let [_, models, sets, parameters] = self.shape();
        let gene = genes[((group * models + model) * sets + set) * parameters + parameter];
        match self.parameters[parameter] {
            "density" => gene.abs().min(1.0),
            _ if self.spec.allow_negative_weights => gene,
            _ => gene.abs(),
        }
    }

    /// The parameters of one model, with `curve` giving the value of a parameter set and a parameter.
    fn parameters_of(&self, curve: impl Fn(usize, usize) -> Curve) -> Parameters {
        let filters = || self.spec.filters.iter().cloned().map(Some).chain([None]);
        let setting = |p: usize| Setting::filtered(filters().enumerate().map(|(set, filter)| (filter, curve(set, p))));
        self.parameters.iter().enumerate().map(|(p, name)| ((*name).to_owned(), setting(p))).collect()
    }

    fn range(&self, group: u32) -> Option<(u32, u32)> {
        let size = self.layers / self.groups;
        Some((group * size, (group + 1) * size))
    }

    /// The sources with genes, then the base if it has none.
    fn with_base(&self, sources: impl Iterator<Item = Source>, layer_range: Option<(u32, u32)>) -> Slice {
        let mut sources: Vec<Source> = sources.collect();
        if let Some(model) = self.spec.base.filter(|base| *base >= self.spec.searched) {
            sources.push(Source { model, layer_range, ..Source::default() });
        }
        Slice { sources, ..Slice::default() }
    }

    fn slice(&self, genes: &[f64], group: u32) -> Slice {
        let layer_range = self.range(group);
        let source = |model| {
            let curve = |set, p| Curve::Numbers(vec![self.value(genes, [group as usize, model, set, p])]);
            Source { model, layer_range, parameters: self.parameters_of(curve), ..Source::default() }
        };
        self.with_base((0..self.spec.searched).map(source), layer_range)
    }

    fn smooth_slice(&self, genes: &[f64]) -> Slice {
        let source = |model| {
            let curve = |set, p| {
                Curve::Numbers((0..self.groups as usize).map(|g| self.value(genes, [g, model, set, p])).collect())
            };
            Source { model, parameters: self.parameters_of(curve), ..Source::default() }
        };
        self.with_base((0..self.spec.searched).map(source), None)
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

impl Space for Genome {
    fn optimiser(&self, search: &Search, seed: u64) -> Result<Optimiser, EvolveError> {
        let options = CmaOptions { population: search.population, seed };
        if let Some(warm) = &self.warm {
            let start = warm.start(self.genes())?;
            return Ok(Optimiser::CmaEs(CmaEs::around(start.mean, &start.covariance, options)?.into()));
        }
        Ok(Optimiser::CmaEs(CmaEs::new(self.start(search.start), search.sigma, options)?.into()))
    }

    fn genes(&self) -> usize {
        self.shape().iter().product()
    }

    /// `METHOD PARAMETER of MODEL, layers A-B, FILTER`, as far as each says something.
    fn names(&self) -> Vec<String> {
        let [groups, models, sets, parameters] = self.shape();
        let labels = labels(&self.spec.models);
        let mut names = Vec::with_capacity(self.genes());
        for group in 0..groups {
            let place = match self.range(group as u32) {
                _ if groups == 1 => String::new(),
                _ if self.spec.smooth => format!(", point {} of {groups}", group + 1),
                Some((start, end)) if start + 1 < end => format!(", layers {start}-{}", end - 1),
                Some((start, _)) => format!(", layer {start}"),
                None => String::new(),
            };
            for label in &labels[..models] {
                for set in 0..sets {
                    let filter = match self.spec.filters.get(set) {
                        Some(filter) => format!(", {filter}"),
                        None if sets > 1 => ", others".to_owned(),
                        None => String::new(),
                    };
                    for parameter in &self.parameters[..parameters] {
                        names.push(format!("{} {parameter} of {label}{place}{filter}", self.spec.method.name));
                    }
                }
            }
        }
        names
    }

    fn decode(&self, genes: &[f64]) -> Result<Recipe, EvolveError> {
        assert_eq!(genes.len(), self.genes(), "genes of this genome");
        let slices = match (self.spec.method.name, self.spec.smooth) {
            ("slerp", _) => (0..self.groups).map(|g| self.slerp_slice(genes, g)).collect(),
            (_, true) => vec![self.smooth_slice(genes)],
            (_, false) => (0..self.groups).map(|g| self.slice(genes, g)).collect(),
        };
        let mut recipe = Recipe::new(self.spec.method, self.spec.models.clone(), slices);
        recipe.base_model = self.spec.base;
        recipe.out_type = self.spec.out_type;
        recipe.tokenizer = self.spec.tokenizer_source.map(Tokenizer::from);
        let by_default = matches!(self.spec.method.name, "linear" | "ties" | "dare_ties");
        if self.spec.method.parameter("normalize").is_some_and(|(_, used)| used) {
            recipe.parameters.insert("normalize".into(), self.spec.normalize.unwrap_or(by_default).into());
        }
        Ok(recipe.checked()?)
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
