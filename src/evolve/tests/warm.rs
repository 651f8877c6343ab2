//! Searches that start where another study of the same genes found good ones.

use super::*;
use crate::evolve::cmaes::{CmaEs, CmaOptions};
use crate::evolve::warm::nearest_normal;

/// A study of [`config`] in a folder of its own, after `budget` candidates.
fn study(config: &Config, budget: usize) -> TempDir {
    let folder = folder();
    let stages = stages(config);
    let mut journal = Journal::open(folder.path(), false, identity().over(&stages)).unwrap();
    evolve(config, &stages, budget, 1, &mut Landscape::default(), &mut journal, &mut |_| ()).unwrap();
    folder
}

fn warm(folder: &TempDir, config: &Config) -> Result<WarmStart, EvolveError> {
    WarmStart::read(folder.path(), "other", &stages(config))
}

/// The numbers of `cmaes.get_warm_start_mgd(solutions, gamma=0.1, alpha=0.1)` of the Python package `cmaes` 0.13.1, by whose author the
/// method is; solutions are `[0.3 + 0.02 i, 0.9 - 0.03 i + 0.001 i^2]` with value `i`, for `i` below 40.
#[test]
fn start_is_that_of_the_reference_implementation() {
    let point = |i: f64| vec![0.3 + 0.02 * i, 0.9 - 0.03 * i + 0.001 * i * i];
    let start = nearest_normal(&(0..4).map(|i| point(f64::from(i))).collect::<Vec<_>>());
    let cma = CmaEs::around(start.mean.clone(), &start.covariance, CmaOptions::default()).unwrap();
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} against {b}");
    close(cma.mean()[0], MEAN[0]);
    close(cma.mean()[1], MEAN[1]);
    close(cma.sigma(), SIGMA);
    for (ours, theirs) in start.covariance.iter().zip(COVARIANCE) {
        close(ours / (SIGMA * SIGMA), theirs);
    }
    let deviations = cma.deviations();
    close(deviations[0], start.covariance[0].sqrt());
    close(deviations[1], start.covariance[3].sqrt());
}

const MEAN: [f64; 2] = [0.329_999_999_999_999_96, 0.8585];
const SIGMA: f64 = 0.103_357_809_099_870_12;
const COVARIANCE: [f64; 4] =
    [0.982_885_004_514_558_6, -0.063_185_464_575_928_73, -0.063_185_464_575_928_73, 1.021_474_941_953_706];

#[test]
fn warm_search_is_ahead_of_a_cold_one() {
    let config = config("population: 8");
    let before = study(&config, 200);
    let warm = warm(&before, &config).unwrap();
    assert_eq!((warm.points.len(), warm.candidates), (20, 200));
    let mut better = 0;
    for seed in 0..10 {
        let best = |stages: &Stages| {
            let folder = folder();
            let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
            let outcome =
                evolve(&config, stages, 24, seed, &mut Landscape::default(), &mut journal, &mut |_| ()).unwrap();
            outcome.best.unwrap().search.fitness
        };
        better += usize::from(best(&stages(&config).warmed(Some(&warm))) > best(&stages(&config)));
    }
    assert!(better >= 9, "{better} of 10");
}

#[test]
fn other_genes_and_too_few_candidates_are_refused() {
    let config = config("population: 8");
    let before = study(&config, 24);
    let refused = |text: &str, want: &str| {
        let other = Config::parse(format!("{text}\n{TASKS}\n"), Path::new("dir/evolve.yaml")).unwrap();
        let error = warm(&before, &other).err().unwrap();
        assert!(error.is_bad_input() && error.to_string().contains(want), "{want}: {error}");
    };
    refused(
        "genome: {models: [a.gguf, c.gguf], merge_method: linear, layer_granularity: 4}",
        "`linear weight of b, layers 0-3` where this search has `linear weight of c, layers 0-3`",
    );
    refused("genome: {models: [a.gguf, b.gguf], merge_method: linear, layer_granularity: 2}", "layers 0-1");
    refused("genome: {models: [a.gguf, b.gguf], merge_method: linear}", "`linear weight of a, layers 0-3`");
    refused(
        "genome: {models: [a.gguf, b.gguf], merge_method: task_arithmetic, base_model: c.gguf, layer_granularity: 4}",
        "task_arithmetic weight of a",
    );
    refused(
        "genome: {models: [a.gguf, b.gguf]}\nsearch: {space: data_flow}",
        "`linear weight of a, layers 0-3` where this search has `block a 0, round 1`",
    );
    // The same models in another place are the same genes.
    let moved = "genome: {models: [x/a.gguf, x/b.gguf], merge_method: linear, layer_granularity: 4}";
    let moved = Config::parse(format!("{moved}\n{TASKS}\n"), Path::new("e.yaml")).unwrap();
    assert_eq!(warm(&before, &moved).unwrap().points.len(), 3);

    let few = study(&config, 9);
    assert!(warm(&few, &config).err().unwrap().to_string().contains("it has 9 scored candidates; at least 10"));
    let none = folder();
    assert!(matches!(warm(&none, &config), Err(EvolveError::Read { .. })));
}

#[test]
fn resumed_and_read_searches_keep_their_warm_start() {
    let config = config("population: 6, finalists: 2");
    let before = study(&config, 30);
    let warm = warm(&before, &config).unwrap();
    drop(before);
    let blocks = vec![LAYERS; 2];
    let identity = || Identity { evolve: config.text.clone(), blocks: blocks.clone(), budget: 20, ..identity() };
    let started = Identity { warm_start: Some(warm.clone()), seed: 7, ..identity() };
    let stages = stages(&config).warmed(Some(&warm));
    let folder = folder();
    let mut journal = Journal::open(folder.path(), false, started).unwrap();
    let mut stopped = Landscape { cancel_at: Some(13), ..Landscape::default() };
    evolve(&config, &stages, 20, 7, &mut stopped, &mut journal, &mut |_| ()).unwrap();
    drop(journal);
    assert_eq!(Study::read(folder.path()).unwrap().candidates().count(), 13);
    let mut journal = Journal::open(folder.path(), true, Identity { seed: 7, ..identity() }).unwrap();
    let stages = super::stages(&config).warmed(journal.identity().unwrap().warm_start.as_ref());
    let outcome = evolve(&config, &stages, 20, 7, &mut Landscape::default(), &mut journal, &mut |_| ()).unwrap();
    assert_eq!((outcome.evaluations, outcome.interrupted), (20, false));
    drop(journal);
    let read = Study::read(folder.path()).unwrap();
    assert_eq!(read.outcome.tested.len(), 4);
    assert_eq!(best_of(&read.outcome), best_of(&outcome));
}

/// Paths, whose search has switches, and genes behind them.
fn paths(search: &str) -> Config {
    let genome = "genome: {models: [a.gguf, b.gguf]}";
    let text =
        format!("{genome}\n{TASKS}\nsearch: {{space: data_flow, population: 12{search}}}\npath: {{repeats: 1}}\n");
    Config::parse(text, Path::new("dir/evolve.yaml")).unwrap()
}

#[test]
fn switches_start_as_often_on_as_the_good_candidates_had_them() {
    let warm = |points: Vec<Vec<f64>>| WarmStart { folder: "x".to_owned(), candidates: 40, points };
    let genome = stages(&paths(", algorithm: cat_cma")).path.unwrap();
    let (slots, genes) = (genome.slots(), genome.genes());
    // On in all, in half, in none; scales of about e in half of them.
    let point = |i: usize| {
        let switch = |slot: usize| [1.0, f64::from(i.is_multiple_of(2)), 0.0][slot % 3];
        (0..slots).map(switch).chain((slots..genes).map(|gene| 0.5 + 0.1 * ((i + gene) % 2) as f64)).collect()
    };
    let warm = warm((0..4).map(point).collect());
    let of = |algorithm| warm.optimiser(algorithm, [slots, genes], CmaOptions { seed: 3, ..CmaOptions::default() });
    let Optimiser::CatCma(mut cma) = of(Algorithm::CatCma).unwrap() else { panic!("another optimiser") };
    let mut on = vec![0.0; slots];
    let mut scales = Vec::new();
    let (mut drawn, none) = (0.0, vec![true; genes - slots]);
    for _ in 0..60 {
        let proposals = cma.ask();
        for proposal in &proposals {
            drawn += 1.0;
            proposal[..slots].iter().zip(&mut on).for_each(|(switch, on)| *on += switch);
            scales.extend_from_slice(&proposal[slots..]);
        }
        // Of equals nothing is learnt.
        let told = proposals.iter().map(|point| catcma::Told { point, active: &none, fitness: 0.0 });
        cma.tell(&told.collect::<Vec<_>>()).unwrap();
    }
    for (slot, on) in on.iter().enumerate() {
        let (share, want) = (on / drawn, [0.95, 0.5, 0.05][slot % 3]);
        assert!((share - want).abs() < 0.1, "slot {slot}: {share}, {want} wanted");
    }
    let mean = scales.iter().sum::<f64>() / scales.len() as f64;
    let deviation = (scales.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / scales.len() as f64).sqrt();
    // Theirs is 0.05, the blur's 0.1.
    assert!((mean - 0.55).abs() < 0.01 && (deviation - 0.0125f64.sqrt()).abs() < 0.005, "{mean} {deviation}");
    assert!(matches!(of(Algorithm::CmaEs), Ok(Optimiser::CmaEs(_))), "switches as numbers");
    for other in [Algorithm::SepCmaEs, Algorithm::Nsga2] {
        let error = of(other).unwrap_err();
        assert!(error.to_string().contains(&format!("`algorithm: {}` cannot start from one", other.name())), "{error}");
    }
}

#[test]
fn warm_search_of_paths_is_ahead_of_a_cold_one() {
    // Good paths have many blocks of B, where a cold search has none.
    let landscape = || Landscape {
        path: Some(|recipe| {
            let of_b = |hop: &&crate::recipe::Hop| hop.model == Some(1);
            recipe.path.iter().filter(of_b).map(|hop| hop.layers.map_or(0, |(a, b)| b - a)).sum::<u32>().into()
        }),
        ..Landscape::default()
    };
    let config = paths("");
    let before = folder();
    let mut journal = Journal::open(before.path(), false, identity().over(&stages(&config))).unwrap();
    evolve(&config, &stages(&config), 360, 1, &mut landscape(), &mut journal, &mut |_| ()).unwrap();
    let warm = warm(&before, &config).unwrap();
    let mut better = 0;
    for seed in 0..10 {
        let best = |stages: &Stages| {
            let folder = folder();
            let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
            let outcome = evolve(&config, stages, 24, seed, &mut landscape(), &mut journal, &mut |_| ()).unwrap();
            outcome.best.unwrap().search.fitness
        };
        better += usize::from(best(&stages(&config).warmed(Some(&warm))) > best(&stages(&config)));
    }
    assert!(better >= 9, "{better} of 10");
}

#[test]
fn points_of_another_space_are_an_error() {
    let start = |points: Vec<Vec<f64>>| {
        let warm = WarmStart { folder: "x".to_owned(), candidates: 1, points };
        warm.optimiser(Algorithm::CmaEs, [0, 2], CmaOptions::default())
    };
    assert!(start(vec![vec![0.5, 0.5]]).is_ok());
    for bad in [vec![], vec![vec![0.5]], vec![vec![0.5, f64::NAN]], vec![vec![0.5, 0.5], vec![]]] {
        assert!(matches!(start(bad), Err(EvolveError::WarmStart { .. })));
    }
    let far = CmaEs::around(vec![1e308, -1e308], &[1e308, 0.0, 0.0, 1e308], CmaOptions::default());
    assert!(far.is_err());
    assert!(CmaEs::around(vec![0.0; 2], &[1.0, 2.0, 2.0, 1.0], CmaOptions::default()).is_err(), "no covariance");
}
