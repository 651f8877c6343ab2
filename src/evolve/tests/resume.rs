//! Searches that were killed or stopped, and go on as if nothing had happened.

use super::journal::cut;
use super::*;

const BUDGET: usize = 26;

fn settings() -> Config {
    config("minibatch: 8, population: 6, finalists: 2")
}

/// One recipe in six has no score, so that NaNs go through the journal too.
fn scorer() -> Landscape {
    Landscape { noise: 0.05, hole: Some(|genes| genes[1] > 0.7), ..Landscape::default() }
}

/// The journal of a search that nobody disturbed, and its best.
fn undisturbed() -> (Vec<String>, (Vec<u64>, u64, Option<usize>)) {
    let folder = folder();
    let outcome = run_in(folder.path(), false, &settings(), BUDGET, 7, &mut scorer());
    (journal_in(&folder), best_of(&outcome))
}

/// Every entry, in letters that tell all numbers apart.
pub(super) fn journal_in(folder: &TempDir) -> Vec<String> {
    Journal::read(folder.path()).unwrap().entries().iter().map(|entry| format!("{entry:?}")).collect()
}

#[test]
fn every_beginning_of_a_journal_ends_in_the_same_search() {
    let (whole, best) = undisturbed();
    assert!(whole.iter().any(|entry| entry.contains("NaN")), "a score is missing");
    // The start, all candidates, the mean and two finalists, two parents, the uniform merge and the best.
    assert_eq!(whole.len(), 1 + BUDGET + 3 + 4);
    let folder = folder();
    run_in(folder.path(), false, &settings(), BUDGET, 7, &mut scorer());
    for left in 0..whole.len() {
        cut(folder.path(), whole.len() - left);
        let mut scorer = scorer();
        let outcome = run_in(folder.path(), true, &settings(), BUDGET, 7, &mut scorer);
        assert_eq!(best_of(&outcome), best, "without the last {left}");
        assert!(journal_in(&folder) == whole, "without the last {left}");
        assert_eq!(scorer.calls(), left, "scored again what was there");
    }
}

#[test]
fn models_that_changed_are_tested_anew_and_candidates_stay() {
    let folder = folder();
    run_in(folder.path(), false, &settings(), BUDGET, 7, &mut scorer());
    let mut other = identity();
    other.models[0].1 = "ce".to_owned();
    let mut journal = Journal::open_changed(folder.path(), other).unwrap();
    let mut scorer = scorer();
    evolve(&settings(), &stages(&settings()), BUDGET, 7, &mut scorer, &mut journal, &mut |_| ()).unwrap();
    assert_eq!(scorer.calls(), 3 + 4, "three finalists, two parents, the uniform merge and the best");
    assert_eq!(journal.candidates().count(), BUDGET);

    // Also where finalists need not be asked again, because candidates were asked everything.
    let all = config("population: 6, finalists: 2");
    let folder = self::folder();
    run_in(folder.path(), false, &all, 12, 7, &mut self::scorer());
    let mut other = identity();
    other.tasks[0].1 = "ce".to_owned();
    let mut journal = Journal::open_changed(folder.path(), other).unwrap();
    let mut scorer = self::scorer();
    evolve(&all, &stages(&all), 12, 7, &mut scorer, &mut journal, &mut |_| ()).unwrap();
    assert_eq!(scorer.calls(), 3 + 4);
}

#[test]
fn stopped_search_gives_the_best_so_far_and_goes_on() {
    let (whole, best) = undisturbed();
    for call in [0, 1, 5, 6, 17, BUDGET, BUDGET + 2, BUDGET + 3, BUDGET + 6] {
        let folder = folder();
        let mut stopped = Landscape { cancel_at: Some(call), ..scorer() };
        let outcome = run_in(folder.path(), false, &settings(), BUDGET, 7, &mut stopped);
        assert!(outcome.interrupted && outcome.tested.is_empty(), "call {call}");
        let scored = call.min(BUDGET);
        assert_eq!(outcome.evaluations, scored);
        let highest = {
            let journal = Journal::open(folder.path(), true, identity()).unwrap();
            let scores = journal.entries().iter().filter_map(|e| match e {
                Entry::Candidate { trial, .. } => Some(trial.fitness),
                _ => None,
            });
            scores.fold(f64::NAN, f64::max)
        };
        match &outcome.best {
            // The finalists have been scored: what is best is known, be the rest of the test left.
            Some(_) if call >= BUDGET + 3 => assert_eq!(best_of(&outcome), best, "call {call}"),
            Some(best) => assert_eq!(best.search.fitness.to_bits(), highest.to_bits(), "call {call}"),
            None => assert_eq!(scored, 0),
        }
        let outcome = run_in(folder.path(), true, &settings(), BUDGET, 7, &mut scorer());
        assert_eq!(best_of(&outcome), best, "stopped at call {call}");
        assert!(journal_in(&folder) == whole, "stopped at call {call}");
    }
}

#[test]
fn replayed_scores_are_told_and_counted_as_they_were() {
    let folder = folder();
    let first = run_in(folder.path(), false, &settings(), BUDGET, 7, &mut scorer());
    let mut journal = Journal::open(folder.path(), true, identity()).unwrap();
    let mut replays = 0;
    let mut watch = |event: Event| {
        if let Event::Candidate { replayed, .. } = event {
            assert!(replayed);
            replays += 1;
        }
    };
    let mut nobody = Landscape { cancel_at: Some(0), ..Landscape::default() };
    let again = evolve(&settings(), &stages(&settings()), BUDGET, 7, &mut nobody, &mut journal, &mut watch).unwrap();
    assert!(!again.interrupted, "nothing was left to score");
    assert_eq!(replays, BUDGET);
    assert_eq!((again.items_scored, again.evaluations), (first.items_scored, first.evaluations));
    assert_eq!(again.swap_seconds_total, first.swap_seconds_total);
    assert!(again.seconds >= (BUDGET as f64 + 7.0) * 1.75, "{}", again.seconds);
}

#[test]
fn larger_budget_goes_on_and_tests_the_recipe_that_is_then_best() {
    let folder = folder();
    let plain = || Landscape::default();
    run_in(folder.path(), false, &settings(), 12, 7, &mut plain());
    let outcome = run_in(folder.path(), true, &settings(), 120, 7, &mut plain());
    assert_eq!(outcome.evaluations, 120);
    let best = outcome.best.unwrap();
    assert_eq!(best.search.fitness, height(&best.recipe), "the score is that of this recipe");
    assert_eq!(outcome.tested.last().unwrap().trial.fitness, height(&best.recipe));
    let direct = run(&settings(), 120, 7, &mut plain());
    assert_eq!(weights(&best.recipe), weights(&direct.best.unwrap().recipe));
}

#[test]
fn smaller_budget_takes_nothing_back() {
    let folder = folder();
    let plain = || Landscape::default();
    let first = run_in(folder.path(), false, &settings(), 60, 7, &mut plain());
    let before = journal_in(&folder);
    let again = run_in(folder.path(), true, &settings(), 12, 7, &mut plain());
    assert_eq!(best_of(&again), best_of(&first));
    assert_eq!(again.best.map(|best| best.search.fitness), first.best.map(|best| height(&best.recipe)));
    assert!(journal_in(&folder) == before);
}

#[test]
fn journal_of_other_genes_is_refused() {
    let folder = folder();
    run_in(folder.path(), false, &settings(), 12, 7, &mut scorer());
    let mut journal = Journal::open(folder.path(), true, identity()).unwrap();
    let other = evolve(&settings(), &stages(&settings()), 12, 8, &mut scorer(), &mut journal, &mut |_| ());
    assert!(matches!(other, Err(EvolveError::OtherSearch { .. })), "another seed proposes others");
}
