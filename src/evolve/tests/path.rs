//! Switches and gains to paths; searches for a planted path; searches of weights first and paths then.

use super::journal::cut;
use super::resume::journal_in;
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

/// Edit distance from a path: a block too many or missing costs 1, a block in place the squared error of its scale's logarithm.
fn distance(path: &[Pass], planted: &[Pass]) -> f64 {
    let mut row: Vec<f64> = (0..=planted.len()).map(|n| n as f64).collect();
    for pass in path {
        let mut diagonal = row[0];
        row[0] += 1.0;
        for (j, want) in planted.iter().enumerate() {
            let same = (pass.0, pass.1) == (want.0, want.1);
            let kept = if same { diagonal + (pass.2 / want.2).ln().powi(2) } else { f64::INFINITY };
            diagonal = row[j + 1];
            row[j + 1] = kept.min(row[j] + 1.0).min(diagonal + 1.0);
        }
    }
    row[planted.len()]
}

/// A's path with block 4 left out, two blocks of B put in and A's block 6 gone through again behind them. It needs the two of B in one
/// round of slots and the repeated one in the next; either of B's in a later round is as good only until then.
const PLANTED: [Pass; 10] = [
    (A, 0, 1.0),
    (A, 1, 1.4),
    (A, 2, 0.8),
    (A, 3, 1.0),
    (A, 5, 1.25),
    (A, 6, 0.7),
    (B, 4, 0.6),
    (B, 6, 1.3),
    (A, 6, 1.1),
    (A, 7, 1.0),
];

/// Whether these are the planted blocks, at scales within 5 %.
fn is_planted(path: &[Pass]) -> bool {
    let near =
        |(pass, want): (&Pass, &Pass)| (pass.0, pass.1) == (want.0, want.1) && (pass.2 / want.2 - 1.0).abs() < 0.05;
    path.len() == PLANTED.len() && path.iter().zip(&PLANTED).all(near)
}

#[test]
fn distance_counts_blocks_and_scales() {
    let of = |path: &[Pass]| distance(path, &PLANTED);
    assert_eq!((of(&PLANTED), of(&[]), of(&PLANTED[1..])), (0.0, 10.0, 1.0));
    let mut path = PLANTED.to_vec();
    path[1].2 *= 0.1f64.exp();
    assert!((of(&path) - 0.01).abs() < 1e-12 && !is_planted(&path) && is_planted(&PLANTED));
    path.swap(6, 7);
    assert!((of(&path) - 2.01).abs() < 1e-12, "out of order");
}

/// Evaluations within which the planted path is found: a quarter more than the worst of 100 seeds took.
const EVALUATIONS: usize = 3600;

/// Evaluations until the planted path was proposed, if it was, and the smallest distance.
fn evaluations(algorithm: &str, seed: u64) -> (Option<usize>, f64) {
    let config = data_flow(&format!(", algorithm: {algorithm}, population: 64"), "");
    let genome = PathGenome::new(config.path.unwrap(), &[LAYERS; 2]).unwrap();
    let mut optimiser = genome.optimiser(&config.path_search.unwrap(), seed).unwrap();
    let (mut count, mut nearest) = (0, f64::INFINITY);
    loop {
        let mut told = Vec::new();
        for genes in optimiser.ask() {
            let genes = genome.repaired(genes);
            let path = passes(&genome.decode(&genes).unwrap());
            let distance = distance(&path, &PLANTED);
            (count, nearest) = (count + 1, distance.min(nearest));
            if is_planted(&path) || count == EVALUATIONS {
                return (is_planted(&path).then_some(count), nearest);
            }
            told.push((genes, distance));
        }
        optimiser.tell(&told, &genome).unwrap();
    }
}

/// 48 switches and 48 gains, start and everything but the population as by default. Measured for seeds 0 to 9: CatCMA took 1933 to 2564
/// evaluations; CMA-ES with a threshold found the path in no seed, though in most its blocks. For seeds 0 to 99 CatCMA failed once.
#[test]
fn planted_path_is_found_sooner_than_by_a_threshold_over_normal_numbers() {
    let (mut found, mut naive_found) = (0, 0);
    let (mut left, mut naive_left) = (0.0, 0.0);
    println!("seed   CatCMA (evaluations, distance)   CMA-ES and threshold");
    for seed in 0..10 {
        let (catcma, naive) = (evaluations("cat_cma", seed), evaluations("cma_es", seed));
        println!("{seed:4}   {catcma:?}   {naive:?}");
        found += usize::from(catcma.0.is_some());
        naive_found += usize::from(naive.0.is_some());
        left += catcma.1;
        naive_left += naive.1;
    }
    // One for the last bit of the platform's logarithm.
    assert!(found >= 9, "in {found} seeds of 10");
    assert!(naive_found < found && naive_left > left, "{naive_found}, {naive_left} against {found}, {left}");
}

#[test]
fn planted_path_is_found_through_the_journal() {
    let config = data_flow(", population: 16", "");
    let mut scorer = Landscape { path: Some(|recipe| -distance(&passes(recipe), &PLANTED)), ..Landscape::default() };
    let best = run(&config, 1500, 0, &mut scorer).best.unwrap();
    assert!(is_planted(&passes(&best.recipe)), "{:?}", passes(&best.recipe));
}

#[test]
fn penalty_decides_what_a_block_must_be_worth() {
    // A block in place is worth 1.
    for (penalty, longer) in [(0.9, true), (1.1, false)] {
        let config = data_flow(", population: 16", &format!("gains: none, length_penalty: {penalty}"));
        let path = |recipe: &Recipe| -distance(&passes(recipe), &PLANTED);
        let best = run(&config, 1000, 0, &mut Landscape { path: Some(path), ..Landscape::default() }).best.unwrap();
        assert_eq!(blocks(&best.recipe).len() > 2, longer, "{penalty}: {:?}", blocks(&best.recipe));
        assert_eq!(best.search.fitness, path(&best.recipe), "the score is told without the penalty");
    }
}

/// The best path over a merge of [`Landscape`]: its block 2 left out, A's block 6 put in before the last.
fn mixed_path(recipe: &Recipe) -> f64 {
    let best: Vec<Pass> =
        [0, 1, 3, 4, 5, 6].map(|layer| (None, layer, 1.0)).into_iter().chain([(A, 6, 1.0), (None, 7, 1.0)]).collect();
    let whole: Vec<Pass> = (0..LAYERS).map(|layer| (None, layer, 1.0)).collect();
    -0.1 * distance(&if recipe.path.is_empty() { whole } else { passes(recipe) }, &best)
}

const WEIGHTS_BUDGET: usize = 12;
const PATHS_BUDGET: usize = 10;

fn mixed() -> Config {
    let search = format!(", minibatch: 8, population: 6, finalists: 2, budget: {WEIGHTS_BUDGET}");
    hybrid(&search, &format!("repeats: 1, population: 5, flips: 3, budget: {PATHS_BUDGET}"))
}

/// One merge in six has no score, so that NaNs go through the journal too.
fn mixed_scorer() -> Landscape {
    let hole: fn(&[f64]) -> bool = |genes| genes[1] > 0.7;
    Landscape { noise: 0.01, hole: Some(hole), path: Some(mixed_path), ..Landscape::default() }
}

/// The best recipe, where it was found and its score, in a form that compares.
fn found(outcome: &Outcome) -> (String, Option<usize>, u64) {
    let best = outcome.best.as_ref().unwrap();
    (best.recipe.to_yaml(|path| path.display().to_string()).unwrap(), best.evaluation, best.search.fitness.to_bits())
}

/// The journal of a search that nobody disturbed, and its best.
fn undisturbed() -> (Vec<String>, (String, Option<usize>, u64)) {
    let folder = folder();
    let config = mixed();
    let outcome = run_in(folder.path(), false, &config, config.budget(), 7, &mut mixed_scorer());
    (journal_in(&folder), found(&outcome))
}

fn names(outcome: &Outcome) -> Vec<&str> {
    outcome.tested.iter().map(|tested| tested.name.as_str()).collect()
}

#[test]
fn hybrid_search_finds_weights_and_then_a_path() {
    let config = hybrid(", budget: 400", "repeats: 1, gains: none, budget: 200, population: 16");
    let mut scorer = Landscape { path: Some(mixed_path), ..Landscape::default() };
    let folder = folder();
    let outcome = run_in(folder.path(), false, &config, config.budget(), 1, &mut scorer);
    assert_eq!(names(&outcome), ["a.gguf", "b.gguf", "uniform merge", "best weights", "best recipe"]);
    let best = outcome.best.unwrap();
    assert!(weights(&best.recipe).iter().zip(OPTIMUM).all(|(w, o)| (w - o).abs() < 0.01));
    assert_eq!((mixed_path(&best.recipe), outcome.evaluations), (0.0, 600), "{:?}", blocks(&best.recipe));
    let [weights_alone, both] = [3, 4].map(|i| outcome.tested[i].trial.fitness);
    assert_eq!(both, best.search.fitness);
    // Two edits are left to the path.
    assert!((both - weights_alone - 0.2).abs() < 1e-12, "{both} and {weights_alone}");
    let journal = Journal::open(folder.path(), true, identity()).unwrap();
    let stages: Vec<usize> = journal.candidates().map(|candidate| candidate.stage).collect();
    assert_eq!(stages, [vec![0; 400], vec![1; 200]].concat());
}

#[test]
fn every_beginning_of_a_hybrid_journal_ends_in_the_same_search() {
    let (whole, best) = undisturbed();
    assert!(whole.iter().any(|entry| entry.contains("NaN")), "a score is missing");
    // The start; candidates, mean and two finalists of either stage; parents, uniform merge, best weights, best recipe.
    assert_eq!(whole.len(), 1 + WEIGHTS_BUDGET + 3 + PATHS_BUDGET + 3 + 5);
    let config = mixed();
    let folder = folder();
    run_in(folder.path(), false, &config, config.budget(), 7, &mut mixed_scorer());
    for left in 0..whole.len() {
        cut(folder.path(), whole.len() - left);
        let mut scorer = mixed_scorer();
        let outcome = run_in(folder.path(), true, &config, config.budget(), 7, &mut scorer);
        assert_eq!(found(&outcome), best, "without the last {left}");
        assert!(journal_in(&folder) == whole, "without the last {left}");
        assert_eq!(scorer.calls(), left, "scored again what was there");
    }
}

#[test]
fn hybrid_search_stopped_in_any_phase_gives_the_best_so_far_and_goes_on() {
    let (whole, best) = undisturbed();
    let config = mixed();
    let weights_done = WEIGHTS_BUDGET + 3;
    let paths_done = weights_done + PATHS_BUDGET + 3;
    let mut winner = f64::NAN;
    for call in 0..paths_done + 5 {
        let folder = folder();
        let mut stopped = Landscape { cancel_at: Some(call), ..mixed_scorer() };
        let outcome = run_in(folder.path(), false, &config, config.budget(), 7, &mut stopped);
        assert!(outcome.interrupted && outcome.tested.is_empty(), "call {call}");
        let scores: Vec<(usize, f64)> = {
            let journal = Journal::open(folder.path(), true, identity()).unwrap();
            journal.candidates().map(|candidate| (candidate.stage, candidate.trial.fitness)).collect()
        };
        assert_eq!(outcome.evaluations, scores.len());
        let highest = |stage| scores.iter().filter(|s| s.0 == stage).fold(f64::NAN, |high, s| high.max(s.1));
        let so_far = outcome.best.as_ref().map(|best| (best.search.fitness, best.recipe.path.is_empty()));
        match call {
            0 => assert!(so_far.is_none()),
            _ if call < weights_done => {
                let (fitness, no_path) = so_far.unwrap();
                assert!(fitness.to_bits() == highest(0).to_bits() && no_path, "call {call}");
            }
            _ if call < paths_done => {
                let (fitness, no_path) = so_far.unwrap();
                if call == weights_done {
                    winner = fitness;
                }
                // Equal is better: the later stage has seen more.
                let beaten = highest(1) >= winner;
                assert_eq!((fitness, no_path), (if beaten { highest(1) } else { winner }, !beaten), "call {call}");
            }
            // What is best is known, be the rest of the test left.
            _ => assert_eq!(found(&outcome), best, "call {call}"),
        }
        let outcome = run_in(folder.path(), true, &config, config.budget(), 7, &mut mixed_scorer());
        assert_eq!(found(&outcome), best, "stopped at call {call}");
        assert!(journal_in(&folder) == whole, "stopped at call {call}");
    }
}

#[test]
fn budget_that_ends_in_the_weights_leaves_the_paths_for_later() {
    let folder = folder();
    let config = mixed();
    for (budget, paths) in [(8, 0), (WEIGHTS_BUDGET, 0), (WEIGHTS_BUDGET + 3, 3), (config.budget(), PATHS_BUDGET)] {
        let resume = budget != 8;
        let outcome = run_in(folder.path(), resume, &config, budget, 7, &mut mixed_scorer());
        assert_eq!(names(&outcome), ["a.gguf", "b.gguf", "uniform merge", "best weights", "best recipe"]);
        let journal = Journal::open(folder.path(), true, identity()).unwrap();
        assert_eq!(journal.candidates().filter(|c| c.stage == 1).count(), paths, "budget {budget}");
        assert_eq!(outcome.evaluations, budget);
        let best = &outcome.best.as_ref().unwrap().recipe;
        if paths == 0 {
            assert!(best.path.is_empty());
            assert_eq!(outcome.tested[3].trial.fitness, outcome.tested[4].trial.fitness);
        }
        // The table is that of a search with this budget from the start.
        let direct = run(&config, budget, 7, &mut mixed_scorer());
        assert_eq!(found(&outcome), found(&direct), "budget {budget}");
        let fitness = |o: &Outcome| o.tested.iter().map(|t| t.trial.fitness.to_bits()).collect::<Vec<_>>();
        assert_eq!(fitness(&outcome), fitness(&direct), "budget {budget}");
    }
}

#[test]
fn data_flow_without_a_uniform_merge_still_ends_with_a_table() {
    let path = |recipe: &Recipe| -distance(&passes(recipe), &PLANTED);
    let mut scorer = Landscape { path: Some(path), no_merge: true, ..Landscape::default() };
    let outcome = run(&data_flow(", population: 8", ""), 40, 0, &mut scorer);
    assert_eq!(names(&outcome), ["a.gguf", "b.gguf", "best recipe"]);
    assert_eq!(outcome.tested[2].trial.fitness, outcome.best.unwrap().search.fitness);
    let outcome =
        run(&data_flow(", population: 8", ""), 40, 0, &mut Landscape { path: Some(path), ..Landscape::default() });
    assert_eq!(names(&outcome), ["a.gguf", "b.gguf", "uniform merge", "best recipe"]);
    // Of a search for weights it is an error.
    let (config, folder) = (config(""), folder());
    let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
    let mut scorer = Landscape { no_merge: true, ..Landscape::default() };
    let failed = evolve(&config, &stages(&config), 9, 0, &mut scorer, &mut journal, &mut |_| ());
    assert!(matches!(failed, Err(EvolveError::Plan(_))));
}

#[test]
fn smaller_budget_takes_no_path_back_after_weights_that_stopped_early() {
    // Without scores the first stage gives up long before its budget.
    let config = hybrid(", budget: 4000, population: 6", "repeats: 1, gains: none, budget: 20, population: 5");
    let flat: fn(&Recipe) -> f64 =
        |recipe| if recipe.path.is_empty() { -1.0 - height(recipe) } else { mixed_path(recipe) - height(recipe) };
    let scorer = || Landscape { path: Some(flat), ..Landscape::default() };
    let folder = folder();
    let first = run_in(folder.path(), false, &config, config.budget(), 7, &mut scorer());
    assert!(first.evaluations < 1000, "{}", first.evaluations);
    let before = journal_in(&folder);
    let again = run_in(folder.path(), true, &config, 5, 7, &mut scorer());
    assert_eq!(found(&again), found(&first));
    assert!(journal_in(&folder) == before);
}

#[test]
fn samples_pass_through_every_model() {
    let config = data_flow("", "");
    let samples = stages(&config).samples(&config).unwrap();
    assert!(samples.iter().any(|recipe| blocks(recipe).iter().any(|block| block.0 == B)), "{:?}", hops(&samples[0]));
}
