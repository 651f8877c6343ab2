//! Races: whom they drop, how seldom wrongly, what they save, and that they go on after a crash.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::evolve::cmaes::{stream, uniform};
use crate::evolve::race::{Race, Runner, losers};

const RACING: &str = "race: {rungs: 5, alpha: 0.1}, population: 8, finalists: 2";

fn noisy() -> Landscape {
    Landscape { noise: 0.02, ..Landscape::default() }
}

/// Answers, right or wrong, of candidates with these chances to `count` questions, which are more or less hard for all.
fn answers(chances: &[f64], count: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut rng = stream(seed, 0);
    let mut all = vec![Vec::new(); chances.len()];
    for _ in 0..count {
        let hard = 0.6 * (uniform(&mut rng) - 0.5);
        for (answers, chance) in all.iter_mut().zip(chances) {
            answers.push(f64::from(u8::from(uniform(&mut rng) < chance + hard)));
        }
    }
    all
}

/// Runs a race over whole answers; returns for each candidate the rung after which it was dropped.
fn race(race: &Race, answers: &[Vec<f64>], mu: usize) -> Vec<Option<usize>> {
    let mut out = vec![None; answers.len()];
    for done in 1..race.rungs {
        let left: Vec<usize> = (0..answers.len()).filter(|i| out[*i].is_none()).collect();
        let count = answers[0].len() * done / race.rungs;
        let trials: Vec<Trial> = left.iter().map(|i| trial(0.0, answers[*i][..count].to_vec())).collect();
        let runners: Vec<Runner> = trials.iter().map(|trial| Runner { trial, cost: 0.0 }).collect();
        for (i, lost) in left.iter().zip(losers(race, &runners, mu, done, &[1.0])) {
            out[*i] = lost.then_some(done);
        }
    }
    out
}

#[test]
fn candidates_of_the_better_half_are_dropped_no_more_often_than_stated() {
    // All alike; the least favourable case, in which as many are surely better as may be; and a spread.
    let cases: [[f64; 8]; 3] =
        [[0.5; 8], [0.7, 0.7, 0.7, 0.45, 0.45, 0.45, 0.45, 0.45], [0.6, 0.57, 0.54, 0.52, 0.5, 0.48, 0.45, 0.4]];
    for (case, chances) in cases.iter().enumerate() {
        for alpha in [0.05, 0.4] {
            let (mut better, mut wrong) = (0, 0);
            for seed in 0..120 {
                let answers = answers(chances, 80, seed);
                let out = race(&Race { rungs: 5, alpha }, &answers, 4);
                let right: Vec<f64> = answers.iter().map(|a| a.iter().sum()).collect();
                for i in 0..8 {
                    let ahead = right.iter().filter(|other| **other > right[i]).count();
                    if ahead < 4 {
                        better += 1;
                        wrong += usize::from(out[i].is_some());
                    }
                }
            }
            let rate = f64::from(wrong as u32) / f64::from(better as u32);
            assert!(rate <= alpha, "case {case}, alpha {alpha}: {rate}");
        }
    }
}

#[test]
fn who_is_far_behind_is_dropped_early_and_who_is_near_stays() {
    let answers = answers(&[0.8, 0.8, 0.78, 0.79, 0.77, 0.76, 0.2, 0.1], 400, 3);
    let out = race(&Race::DEFAULT, &answers, 4);
    assert!(out[..4].iter().all(Option::is_none), "{out:?}");
    assert!(out[6..].iter().all(|rung| rung.is_some_and(|rung| rung <= 2)), "{out:?}");
}

#[test]
fn costs_tasks_and_missing_scores_count() {
    let same = trial(0.5, vec![1.0, 0.0, 1.0, 0.0]);
    let mixed = trial(0.5, vec![0.0, 1.0, 1.0, 0.0]);
    let race = Race { rungs: 2, alpha: 0.5 };
    let out = |costs: [f64; 4], trials: [&Trial; 4]| {
        let runners: Vec<Runner> = trials.iter().zip(costs).map(|(trial, cost)| Runner { trial, cost }).collect();
        losers(&race, &runners, 2, 1, &[1.0])
    };
    assert_eq!(out([0.0; 4], [&same, &mixed, &same, &mixed]), [false; 4]);
    assert_eq!(out([9.0, 0.0, 0.0, 0.0], [&same, &mixed, &mixed, &mixed]), [true, false, false, false]);
    let missing = Trial { fitness: f64::NAN, tasks: Vec::new(), ..same.clone() };
    assert_eq!(out([0.0; 4], [&same, &missing, &mixed, &mixed]), [false, true, false, false]);
    assert_eq!(out([0.0; 4], [&missing; 4]), [true; 4]);
}

#[test]
fn racing_finds_the_optimum_with_fewer_questions() {
    let spent = |search: &str| {
        let mut scorer = Landscape { noise: 0.002, ..Landscape::default() };
        let outcome = run(&config(search), 160, 1, &mut scorer);
        (outcome.items_scored, height(&outcome.best.unwrap().recipe), scorer)
    };
    let (all, plain, _) = spent("population: 8, finalists: 2");
    let (fewer, raced, scorer) = spent(RACING);
    assert!(raced > -0.01 && plain > -0.01, "{raced} raced, {plain} not");
    assert!(10 * fewer < 8 * all, "{fewer} of {all} questions");
    // Nobody is asked the same twice, and all of a generation are asked the same as far as they get.
    let mut asked: HashMap<String, Vec<usize>> = HashMap::new();
    for (genes, questions) in &scorer.asked {
        if is_rung(questions) {
            asked.entry(format!("{genes:?}")).or_default().extend(questions.indices(0, QUESTIONS));
        }
    }
    let lengths: HashSet<usize> = asked.values().map(Vec::len).collect();
    assert!(lengths.len() > 2 && lengths.iter().all(|n| n % 8 == 0), "{lengths:?}");
    for questions in asked.values() {
        assert_eq!(questions.iter().collect::<HashSet<_>>().len(), questions.len());
    }
}

#[test]
fn every_prefix_of_a_races_journal_ends_in_the_same_search() {
    let settings = config(&format!("{RACING}, minibatch: 20, stratify: true"));
    // The last generation is cut short by the budget and does not race.
    let (budget, hole): (_, fn(&[f64]) -> bool) = (21, |genes| genes[1] > 0.7);
    let scorer = || Landscape { hole: Some(hole), ..noisy() };
    let entries = |folder: &TempDir| Journal::open(folder.path(), true, identity()).unwrap().entries().to_vec();
    let undisturbed = folder();
    let first = run_in(undisturbed.path(), false, &settings, budget, 7, &mut scorer());
    let whole = entries(&undisturbed);
    assert!(whole.iter().any(|entry| matches!(entry, Entry::Candidate { dropped: true, .. })));
    for length in 1..=whole.len() {
        let folder = folder();
        let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
        for entry in &whole[1..length] {
            journal.append(entry.clone()).unwrap();
        }
        drop(journal);
        let outcome = run_in(folder.path(), true, &settings, budget, 7, &mut scorer());
        assert_eq!(best_of(&outcome), best_of(&first), "after {length} entries");
        assert_eq!(outcome.items_scored, first.items_scored);
        // A NaN is no other NaN's equal.
        assert_eq!(format!("{:?}", entries(&folder)), format!("{whole:?}"), "after {length} entries");
    }
    // With a larger budget the generation that was cut short is raced with the answers it has.
    let longer = run_in(undisturbed.path(), true, &settings, 48, 7, &mut scorer());
    let direct = run(&settings, 48, 7, &mut scorer());
    assert_eq!((longer.evaluations, direct.evaluations), (48, 48));
    assert_eq!(best_of(&longer).0, best_of(&direct).0);
}

#[test]
fn a_race_that_was_stopped_counts_what_it_asked() {
    let mut scorer = Landscape { cancel_at: Some(11), ..noisy() };
    let outcome = run(&config(RACING), 40, 0, &mut scorer);
    assert!(outcome.interrupted && outcome.evaluations == 0);
    assert_eq!(outcome.items_scored, 11 * QUESTIONS / 5);
}
