//! Searches for a planted path: how soon it is found, and what a penalty leaves out of it.

use super::*;

/// Edit distance from a path: a block too many or missing costs 1, a block in place the squared error of its scale's logarithm.
pub(super) fn distance(path: &[Pass], planted: &[Pass]) -> f64 {
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
    // A single model is its own average.
    let text = format!("genome: {{models: [a.gguf]}}\n{TASKS}\nsearch: {{space: data_flow, population: 8}}\n");
    let one = Config::parse(text, Path::new("dir/evolve.yaml")).unwrap();
    let outcome = run(&one, 16, 0, &mut Landscape { path: Some(path), ..Landscape::default() });
    assert_eq!(names(&outcome), ["a.gguf", "best recipe"]);
    assert!(outcome.belief.unwrap().to_string().ends_with("corrected for 1 comparison"));
    // Of a search for weights it is an error.
    let (config, folder) = (config(""), folder());
    let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
    let mut scorer = Landscape { no_merge: true, ..Landscape::default() };
    let failed = evolve(&config, &stages(&config), 9, 0, &mut scorer, &mut journal, &mut |_| ());
    assert!(matches!(failed, Err(EvolveError::Plan(_))));
}
