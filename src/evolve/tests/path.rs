//! Switches and gains to paths.

mod hybrid;
mod planted;

use super::*;
use crate::recipe::{Hop, PathScale};

/// A block as a path passes it: model, layer, scale.
type Pass = (Option<usize>, u32, f64);

const A: Option<usize> = Some(0);
const B: Option<usize> = Some(1);

/// The pool of the cases made by hand: A has four blocks and B three, which makes slots 0 to 3 and 4 to 6, then 7 to 10 and 11 to 13.
const POOL: [u32; 2] = [4, 3];
const SLOTS: usize = 14;

fn parsed(genome: &str, search: &str, path: &str) -> Config {
    let text =
        format!("genome: {{models: [a.gguf, b.gguf]{genome}}}\n{TASKS}\nsearch: {{{search}}}\npath: {{{path}}}\n");
    Config::parse(text, Path::new("dir/evolve.yaml")).unwrap()
}

fn data_flow(search: &str, path: &str) -> Config {
    parsed("", &format!("space: data_flow{search}"), path)
}

fn space(path: &str, layers: &[u32]) -> Result<PathGenome, EvolveError> {
    PathGenome::new(data_flow("", path).path.unwrap(), layers)
}

fn by_hand(path: &str) -> PathGenome {
    space(&format!("repeats: 2, {path}"), &POOL).unwrap()
}

/// Genes with these slots on, and every gain's logarithm 0.
fn switched(genome: &PathGenome, on: &[usize]) -> Vec<f64> {
    (0..genome.genes()).map(|gene| if on.contains(&gene) { 1.0 } else { 0.0 }).collect()
}

/// Every gene somewhere: about half of the switches on, gains either side of 1.
fn anywhere(genome: &PathGenome, key: &str) -> Vec<f64> {
    let gene = |gene: usize| deviate(&format!("{key} {gene}"));
    (0..genome.genes()).map(|g| if g < genome.slots() { f64::from(gene(g) > 0.0) } else { 0.3 * gene(g) }).collect()
}

fn passes(recipe: &Recipe) -> Vec<Pass> {
    let of = |hop: &Hop| {
        let (start, end) = hop.layers.unwrap();
        let (model, scale) = (hop.model, hop.scale);
        (start..end).map(move |layer| (model, layer, scale))
    };
    recipe.path.iter().flat_map(of).collect()
}

fn blocks(recipe: &Recipe) -> Vec<(Option<usize>, u32)> {
    passes(recipe).iter().map(|pass| (pass.0, pass.1)).collect()
}

fn scales(recipe: &Recipe) -> Vec<f64> {
    passes(recipe).iter().map(|pass| pass.2).collect()
}

fn hops(recipe: &Recipe) -> Vec<(Option<usize>, (u32, u32), f64)> {
    recipe.path.iter().map(|hop| (hop.model, hop.layers.unwrap(), hop.scale)).collect()
}

fn names(outcome: &Outcome) -> Vec<&str> {
    outcome.tested.iter().map(|tested| tested.name.as_str()).collect()
}

#[test]
fn search_starts_at_the_first_models_own_path() {
    for gains in Gains::ALL.map(Gains::name) {
        for (algorithm, layers) in [("cat_cma", [8, 8]), ("cat_cma", [3, 11]), ("cma_es", [8, 8]), ("cma_es", [3, 11])]
        {
            let config = data_flow(&format!(", algorithm: {algorithm}"), &format!("gains: {gains}, scale: residual"));
            let genome = PathGenome::new(config.path.clone().unwrap(), &layers).unwrap();
            let optimiser = genome.optimiser(&config.path_search.unwrap(), 0).unwrap();
            assert_eq!(matches!(optimiser, Optimiser::CatCma(_)), algorithm == "cat_cma");
            let recipe = genome.decode(&optimiser.centre()).unwrap();
            assert_eq!(hops(&recipe), [(A, (0, layers[0]), 1.0)], "{gains} {algorithm} {layers:?}");
            assert_eq!((recipe.base_model, recipe.path_scale), (A, PathScale::Residual), "A gives the vocabulary");
            assert!(recipe.slices.is_empty() && recipe.models.len() == 2);
        }
    }
}

/// The first candidates differ from A's own path in about as many switches as was asked for, whichever the optimiser.
#[test]
fn first_candidates_flip_as_many_switches_as_asked() {
    for (algorithm, flips) in [("cat_cma", 2.0), ("cma_es", 2.0), ("cat_cma", 6.0), ("cma_es", 6.0)] {
        let search = format!(", algorithm: {algorithm}, population: 1000");
        let config = data_flow(&search, &format!("flips: {flips}, gains: none"));
        let genome = PathGenome::new(config.path.clone().unwrap(), &[LAYERS; 2]).unwrap();
        let optimiser = genome.optimiser(&config.path_search.unwrap(), 0).unwrap();
        let start = optimiser.centre();
        let flipped = |genes: &Vec<f64>| genes.iter().zip(&start).filter(|(g, s)| (**g > 0.5) != (**s > 0.5)).count();
        let mean = optimiser.ask().iter().map(flipped).sum::<usize>() as f64 / 1000.0;
        assert!((mean / flips - 1.0).abs() < 0.1, "{algorithm}: {mean} instead of {flips}");
    }
}

#[test]
fn path_goes_through_the_slots_in_order_between_the_first_models_ends() {
    let genome = by_hand("gains: none");
    assert_eq!((genome.slots(), genome.genes()), (SLOTS, SLOTS));
    let path = |on: &[usize]| blocks(&genome.decode(&switched(&genome, on)).unwrap());
    assert_eq!(path(&[]), [(A, 0), (A, 3)]);
    assert_eq!(path(&[13, 2, 8]), [(A, 0), (A, 2), (A, 1), (B, 2), (A, 3)]);
    assert_eq!(
        path(&[0, 3, 7, 10]),
        [(A, 0), (A, 0), (A, 3), (A, 0), (A, 3), (A, 3)],
        "the ends are blocks like others"
    );
    let every: Vec<(Option<usize>, u32)> = (0..4).map(|l| (A, l)).chain((0..3).map(|l| (B, l))).collect();
    let whole = [vec![(A, 0)], every.clone(), every, vec![(A, 3)]].concat();
    assert_eq!(path(&(0..SLOTS).collect::<Vec<_>>()), whole);
    let mut genes = switched(&genome, &[]);
    (genes[2], genes[4]) = (0.5, 0.5001);
    assert_eq!(blocks(&genome.decode(&genes).unwrap()), [(A, 0), (B, 0), (A, 3)], "on above one half");
}

#[test]
fn neighbouring_blocks_at_one_scale_are_one_hop() {
    let genome = by_hand("");
    let path = |on: &[usize]| hops(&genome.decode(&switched(&genome, on)).unwrap());
    assert_eq!(path(&[1, 2]), [(A, (0, 4), 1.0)]);
    assert_eq!(path(&[5, 6]), [(A, (0, 1), 1.0), (B, (1, 3), 1.0), (A, (3, 4), 1.0)]);
    assert_eq!(path(&[1, 8]), [(A, (0, 2), 1.0), (A, (1, 2), 1.0), (A, (3, 4), 1.0)], "passed twice");
    let mut genes = switched(&genome, &[1, 2, 5, 6]);
    (genes[SLOTS + 2], genes[SLOTS + 5], genes[SLOTS + 6]) = (-0.7, 0.2, 0.2);
    let (low, high) = ((-0.7f64).exp(), 0.2f64.exp());
    let want = [(A, (0, 2), 1.0), (A, (2, 3), low), (B, (1, 3), high), (A, (3, 4), 1.0)];
    assert_eq!(hops(&genome.decode(&genes).unwrap()), want);
}

#[test]
fn paths_end_where_they_are_long_enough() {
    let genome = by_hand("max_hops: 4, length_penalty: 0.25");
    let mut genes = switched(&genome, &[1, 5, 8, 13]);
    genes[SLOTS + 8] = 0.9;
    let repaired = genome.repaired(genes.clone());
    let want: Vec<f64> = genes.iter().enumerate().map(|(g, x)| if g == 8 || g == 13 { 0.0 } else { *x }).collect();
    assert_eq!(repaired, want);
    let recipes = [&genes, &repaired].map(|genes| genome.decode(genes).unwrap());
    for recipe in &recipes {
        assert_eq!(blocks(recipe), [(A, 0), (A, 1), (B, 1), (A, 3)]);
    }
    assert_eq!((genome.cost(&genes), genome.active(&genes)), (1.0, genome.active(&repaired)));
    let short = by_hand("max_hops: 2");
    assert_eq!(short.repaired(switched(&short, &[1, 2])), switched(&short, &[]));
    assert_eq!(hops(&short.decode(&switched(&short, &[1, 2])).unwrap()).len(), 2);
}

#[test]
fn every_block_costs_the_penalty() {
    let genome = by_hand("length_penalty: 0.25");
    for (on, cost) in [(&[][..], 0.5), (&[1, 2], 1.0), (&[0, 1, 2, 3, 13], 1.75)] {
        assert_eq!(genome.cost(&switched(&genome, on)), cost, "{on:?}");
    }
    let bonus = by_hand("length_penalty: -1");
    assert_eq!(bonus.cost(&switched(&bonus, &[4])), -3.0);
    assert_eq!(by_hand("").cost(&switched(&genome, &[4])), 0.0, "no penalty unless asked for");
}

#[test]
fn genes_are_active_where_the_path_depends_on_them() {
    let active = |gains: &str, on: &[usize]| {
        let genome = by_hand(&format!("max_hops: 5, gains: {gains}"));
        let active = genome.active(&switched(&genome, on));
        assert_eq!(active.len(), genome.genes() - SLOTS, "{gains}");
        active.iter().enumerate().filter(|(_, active)| **active).map(|(gene, _)| gene).collect::<Vec<_>>()
    };
    assert_eq!(active("slot", &[2, 13]), [2, 13]);
    assert_eq!(active("slot", &[1, 2, 13, 8]), [1, 2, 8], "the fourth is beyond the longest path");
    assert_eq!(active("slot", &[]), [0; 0], "the ends have no gene");
    // Blocks 0, 2, 6, 3 of seven.
    assert_eq!(active("matrix", &[2, 13]), [2, 2 * 7 + 6, 6 * 7 + 3]);
    assert_eq!(active("matrix", &[]), [3]);
    assert_eq!(active("none", &[2, 13]), [0; 0]);
    assert_eq!(active("network", &[2]), (0..8 * 4 + 8 + 1).collect::<Vec<_>>());
}

#[test]
fn inactive_genes_change_nothing_and_active_ones_the_path() {
    for gains in Gains::ALL.map(Gains::name) {
        let genome = by_hand(&format!("max_hops: 7, gains: {gains}"));
        for case in 0..20 {
            let genes = anywhere(&genome, &format!("{gains} {case}"));
            let path = hops(&genome.decode(&genes).unwrap());
            for (gain, active) in genome.active(&genes).into_iter().enumerate() {
                let mut moved = genes.clone();
                moved[SLOTS + gain] += 0.01;
                assert_eq!(hops(&genome.decode(&moved).unwrap()) != path, active, "{gains} {case}: gain {gain}");
            }
        }
    }
}

#[test]
fn matrix_scales_by_the_block_left_and_the_block_entered() {
    let genome = by_hand("gains: matrix");
    // Blocks 0, 2, 6, 2, 3 of seven.
    let mut genes = switched(&genome, &[2, 6, 9]);
    for (left, entered, log) in [(0, 2, 0.1), (2, 6, 0.2), (6, 2, 0.3), (2, 3, -0.4), (2, 0, 9.0), (3, 2, 9.0)] {
        genes[SLOTS + left * 7 + entered] = log;
    }
    let recipe = genome.decode(&genes).unwrap();
    assert_eq!(scales(&recipe), [0.0, 0.1, 0.2, 0.3, -0.4].map(f64::exp), "the first block is entered from nowhere");
}

#[test]
fn network_scales_by_both_blocks_and_the_position() {
    let genome = by_hand("gains: network");
    // Blocks 0, 2, 6, 3 of seven; a unit's three weights and its bias, for eight units, then their outputs and one bias.
    let with = |weights: &[(usize, f64)]| {
        let mut genes = switched(&genome, &[2, 6]);
        weights.iter().for_each(|(weight, value)| genes[SLOTS + weight] = *value);
        scales(&genome.decode(&genes).unwrap())
    };
    let unit = |block: f64| block / 3.0 - 1.0;
    let close = |got: &[f64], logs: [f64; 4]| {
        assert!(got.iter().zip(logs).all(|(scale, log)| (scale.ln() - log).abs() < 1e-12), "{got:?}, not exp {logs:?}");
    };
    assert_eq!(with(&[]), [1.0; 4]);
    assert_eq!(with(&[(0, 5.0), (6, -3.0)]), [1.0; 4], "no output");
    close(&with(&[(40, 0.4)]), [0.0, 0.4, 0.4, 0.4]);
    let left = |block: f64| 2.0 * (0.5 * unit(block)).tanh();
    close(&with(&[(0, 0.5), (32, 2.0)]), [0.0, left(0.0), left(2.0), left(6.0)]);
    close(&with(&[(4 + 1, 1.0), (33, 1.0)]), [0.0, unit(2.0).tanh(), unit(6.0).tanh(), unit(3.0).tanh()]);
    close(&with(&[(28 + 2, 1.0), (39, -1.0)]), [0.0, (1.0f64 / 3.0).tanh(), -(1.0f64 / 3.0).tanh(), -1f64.tanh()]);
    close(&with(&[(3, 1.0), (32, 1.0)]), [0.0, 1f64.tanh(), 1f64.tanh(), 1f64.tanh()]);
}

#[test]
fn scales_are_bounded_so_that_every_path_can_be_run() {
    for (gains, scale) in Gains::ALL.into_iter().flat_map(|gains| PathScale::ALL.map(|scale| (gains, scale))) {
        let genome = space(&format!("repeats: 80, gains: {}, scale: {}", gains.name(), scale.name()), &POOL).unwrap();
        for size in [1.0, -1.0, 1e3, -1e3, 1e308, -1e308] {
            let mut genes = vec![1.0; genome.genes()];
            genes[genome.slots()..].fill(size);
            let recipe = genome.decode(&genes).unwrap();
            let scales = scales(&recipe);
            let range = (-3.0f64).exp() * 0.999..=3.0f64.exp() * 1.001;
            assert!(scales.iter().all(|s| range.contains(s)), "{gains:?} {scale:?} {size}: {scales:?}");
            assert_eq!(recipe.path_blocks(&POOL, 0).unwrap().len(), 512, "{gains:?} {scale:?} {size}");
            if size == 1e3 && matches!(gains, Gains::Slot | Gains::Matrix) {
                assert!((scales[1] / 3.0f64.exp() - 1.0).abs() < 1e-12, "{gains:?} {scale:?}: {}", scales[1]);
            }
        }
    }
}

#[test]
fn decoded_paths_survive_being_written_and_read() {
    let merge = hybrid("", "");
    let merge = Genome::new(merge.genome.unwrap(), 4).unwrap().decode(&[0.3, 0.6]).unwrap();
    let read_back = |recipe: &Recipe| {
        let yaml = recipe.to_yaml(|path| path.strip_prefix("dir").unwrap().display().to_string()).unwrap();
        Recipe::parse(&yaml, Path::new("dir/best.yaml")).unwrap_or_else(|e| panic!("{e}\n{yaml}"))
    };
    // A model that is not on the path is not written, so models are compared by name.
    let named = |recipe: &Recipe| -> Vec<(Option<String>, u32, u64)> {
        let name = |model: usize| recipe.models[model].written.clone();
        passes(recipe).iter().map(|(model, layer, scale)| (model.map(name), *layer, scale.to_bits())).collect()
    };
    for gains in Gains::ALL.map(Gains::name) {
        for case in 0..10 {
            let scale = PathScale::ALL[case % 2];
            let path = format!("gains: {gains}, scale: {}", scale.name());
            let genome = by_hand(&path);
            let mixed = PathGenome::new(hybrid("", &path).path.unwrap(), &[4, 4]).unwrap().over(merge.clone());
            for genome in [genome, mixed] {
                let recipe = genome.decode(&anywhere(&genome, &format!("{gains} {case}"))).unwrap();
                let read = read_back(&recipe);
                assert_eq!((named(&read), read.path_scale), (named(&recipe), scale));
                assert_eq!((read.path.len(), weights(&read)), (recipe.path.len(), weights(&recipe)));
                assert!(read.warnings.is_empty(), "{:?}", read.warnings);
            }
        }
    }
}

#[test]
fn models_that_make_no_search_are_refused() {
    let refused = |path: &str, layers: &[u32]| match space(path, layers) {
        Err(error @ EvolveError::Path(_)) => error.to_string(),
        other => panic!("{path} {layers:?}: {other:?}"),
    };
    assert!(refused("", &[2, 9]).contains("2 blocks"));
    assert!(refused("", &[]).contains("0 blocks"));
    for (path, layers) in [
        ("repeats: 1000, gains: none", [8, 13]),
        ("repeats: 500", [8, 13]),
        ("repeats: 18446744073709551615", [8, 8]),
        ("gains: matrix, repeats: 1", [70, 72]),
    ] {
        assert!(refused(path, &layers).contains("fewer `repeats` or other `gains`"), "{path}");
    }
    space("", &[3, 1]).unwrap();
    space("repeats: 1000, gains: none", &[8, 12]).unwrap();
}

/// Weights by fours, so that the optimum of the landscape is that of [`config`]; then paths.
fn hybrid(search: &str, path: &str) -> Config {
    parsed(", merge_method: linear, layer_granularity: 4", &format!("space: hybrid{search}"), path)
}

#[test]
fn path_over_a_merge_keeps_the_merge() {
    let config = hybrid("", "repeats: 2, gains: none");
    let merge = Genome::new(config.genome.clone().unwrap(), LAYERS).unwrap().decode(&OPTIMUM).unwrap();
    let genome = PathGenome::new(config.path.unwrap(), &[LAYERS; 2]).unwrap().over(merge.clone());
    let own = switched(&genome, &(1..7).collect::<Vec<_>>());
    let recipe = genome.decode(&own).unwrap();
    assert_eq!(hops(&recipe), [(None, (0, 8), 1.0)]);
    assert_eq!((weights(&recipe), recipe.method.name, recipe.models.len()), (OPTIMUM.to_vec(), "linear", 2));
    assert_eq!(
        recipe.to_yaml(|_| "m".into()).unwrap().split("path:").next(),
        merge.to_yaml(|_| "m".into()).unwrap().split("out_type:").next()
    );
    let recipe = genome.decode(&switched(&genome, &[1, 8 + 5, 16 + 2])).unwrap();
    let want = [(None, (0, 2), 1.0), (A, (5, 6), 1.0), (None, (2, 3), 1.0), (None, (7, 8), 1.0)];
    assert_eq!(hops(&recipe), want);
}

#[test]
fn samples_pass_through_every_model() {
    let config = data_flow("", "");
    let samples = stages(&config).samples(&config).unwrap();
    assert!(samples.iter().any(|recipe| blocks(recipe).iter().any(|block| block.0 == B)), "{:?}", hops(&samples[0]));
}
