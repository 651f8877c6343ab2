use std::collections::HashSet;

use super::*;
use crate::evolve::TaskScore;

fn model(tasks: &[Vec<f64>]) -> Trial {
    let task = |items: &Vec<f64>| TaskScore {
        task: "t".to_owned(),
        metric: "number".to_owned(),
        value: 0.0,
        stderr: 0.0,
        ci95: [0.0; 2],
        items: items.clone(),
    };
    Trial { tasks: tasks.iter().map(task).collect(), ..Trial::nothing() }
}

fn set(indices: &[usize]) -> HashSet<usize> {
    indices.iter().copied().collect()
}

fn minibatch(strata: &Strata, first: usize, length: usize) -> Questions {
    let window = Some(Window { first, length });
    Questions::Search(Sample { strata: strata.clone(), window, ..Sample::default() })
}

#[test]
fn windows_begin_again_after_the_last_question() {
    let indices = |first, length, total| minibatch(&Strata::default(), first, length).indices(0, total);
    assert_eq!(indices(0, 3, 10), [0, 1, 2]);
    assert_eq!(indices(8, 4, 10), [8, 9, 0, 1]);
    assert_eq!(indices(23, 2, 10), [3, 4]);
    assert_eq!(indices(7, 99, 4), [3, 0, 1, 2], "never one question twice");
    assert_eq!(indices(7, 3, 0), [0; 0]);
}

#[test]
fn parts_are_disjoint_and_make_up_the_window_in_an_order_of_their_own() {
    let hits = model(&[(0..37).map(|q| f64::from(q % 3 == 0)).collect()]);
    for strata in [Strata::default(), Strata::new(&[hits], 5)] {
        for (window, total) in [(None, 37), (Some(Window { first: 30, length: 10 }), 37), (None, 3), (None, 0)] {
            let questions = |part| Questions::Search(Sample { strata: strata.clone(), window, part }).indices(0, total);
            let part = |index, seed| questions(Some(Part { order: (seed, 4), index, of: 5 }));
            let parts = |seed| (0..5).flat_map(|index| part(index, seed)).collect::<Vec<usize>>();
            let whole = questions(None);
            assert_eq!((parts(1).len(), set(&parts(1))), (whole.len(), set(&whole)));
            if total == 37 {
                assert_ne!(parts(1), whole);
                assert_ne!(parts(1), parts(2), "another seed");
            }
        }
    }
}

#[test]
fn strata_are_patterns_of_what_is_above_each_models_average() {
    let right = model(&[vec![1.0, 1.0, 0.0, 0.0, 1.0], vec![1.0, 1.0]]);
    let likely = model(&[vec![-0.5, -3.0, -0.4, -3.0, -0.5], vec![0.0, 0.0]]);
    let strata = Strata::new(&[right, likely], 0);
    assert_eq!(*strata.tasks, [vec![0, 1, 2, 3, 0], vec![0, 0]]);
    assert_eq!(*Strata::new(&[], 0).tasks, [] as [Vec<usize>; 0]);
    // What could not be scored is no hit, and a model without answers parts nothing.
    let nothing = model(&[vec![f64::NAN, 1.0, 0.0], vec![]]);
    assert_eq!(*Strata::new(&[nothing], 0).tasks, [vec![0, 0, 0], vec![]]);
}

#[test]
fn every_minibatch_has_every_stratums_share_and_every_question_its_turn() {
    // Strata of 200, 100, 67 and 33 questions: multiples of six, of two, of three, of neither.
    let hits = |of: usize| (0..400).map(|q| f64::from(q % of == 0)).collect::<Vec<f64>>();
    let models = [model(&[hits(2)]), model(&[hits(3)])];
    let strata = Strata::new(&models, 7);
    let numbers = &strata.tasks[0];
    let count = |chosen: &[usize], stratum| chosen.iter().filter(|q| numbers[**q] == stratum).count() as f64;
    let all: Vec<usize> = (0..400).collect();
    for length in [40, 100] {
        let mut asked = Vec::new();
        for generation in 0..400 / length {
            let chosen = minibatch(&strata, generation * length, length).indices(0, 400);
            for stratum in 0..4 {
                let share = count(&all, stratum) * length as f64 / 400.0;
                let here = count(&chosen, stratum);
                assert!((here - share).abs() <= 2.0, "stratum {stratum}: {here} questions where {share} are its share");
            }
            let parts: Vec<Vec<usize>> = (0..4)
                .map(|index| {
                    let part = Some(Part { order: (7, generation as u64), index, of: 4 });
                    let window = Some(Window { first: generation * length, length });
                    Questions::Search(Sample { strata: strata.clone(), window, part }).indices(0, 400)
                })
                .collect();
            for (stratum, part) in (0..4).flat_map(|stratum| parts.iter().map(move |part| (stratum, part))) {
                let share = count(&chosen, stratum) / 4.0;
                assert!((count(part, stratum) - share).abs() <= 2.0, "stratum {stratum} of a part");
            }
            asked.extend(chosen);
        }
        assert_eq!((asked.len(), set(&asked)), (400, set(&all)));
    }
    assert_ne!(minibatch(&strata, 0, 40), minibatch(&Strata::new(&models, 8), 0, 40));
    let other = minibatch(&Strata::new(&models, 8), 0, 40);
    assert_ne!(minibatch(&strata, 0, 40).indices(0, 400), other.indices(0, 400), "another seed");
    // A task that nobody was asked, and questions that nobody answered, are one stratum more or none.
    assert_eq!(minibatch(&strata, 3, 4).indices(1, 400), [3, 4, 5, 6]);
    assert_eq!(set(&minibatch(&strata, 0, 500).indices(0, 500)).len(), 500);
}

#[test]
fn minibatches_by_strata_differ_less_in_difficulty() {
    // A question that the parent misses is missed by a candidate four times of five, the others one time of five.
    let hard: Vec<bool> = (0..400).map(|q| q * 7919 % 400 < 160).collect();
    let parent = model(&[hard.iter().map(|hard| f64::from(!hard)).collect()]);
    let candidate: Vec<f64> = (0..400).map(|q| f64::from((q * 104_729 % 400 * 5 < 400) == hard[q])).collect();
    let mean = candidate.iter().sum::<f64>() / 400.0;
    let variance = |parents: &[Trial]| {
        let of = |seed| {
            let chosen = minibatch(&Strata::new(parents, seed), 0, 40).indices(0, 400);
            let score = chosen.iter().map(|q| candidate[*q]).sum::<f64>() / 40.0;
            (score - mean).powi(2)
        };
        (0..500).map(of).sum::<f64>() / 500.0
    };
    // Expected: what is within strata, 0.16, of all there is.
    let blind = variance(&[model(&[vec![0.0; 400]])]);
    let expected = 0.16 / (mean * (1.0 - mean));
    let ratio = variance(&[parent]) / blind;
    assert!((ratio / expected - 1.0).abs() < 0.2, "{ratio}, and {expected} is expected");
}
