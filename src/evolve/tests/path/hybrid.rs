//! Searches of weights first and of paths through the best merge then, stopped and resumed in any phase.

use super::super::journal::cut;
use super::super::resume::journal_in;
use super::planted::distance;
use super::*;

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
