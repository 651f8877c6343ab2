//! What a search finds, what it asks for, and how it ends.

use super::*;
use crate::evolve::cmaes::StopReason;

#[test]
fn planted_optimum_is_found() {
    for seed in 0..3 {
        let outcome = run(&config(""), 400, seed, &mut Landscape::default());
        let best = outcome.best.unwrap();
        assert!(best.search.fitness > -1e-5, "seed {seed}: {}", best.search.fitness);
        assert!(weights(&best.recipe).iter().zip(OPTIMUM).all(|(w, o)| (w - o).abs() < 0.01), "seed {seed}");
        assert_eq!((outcome.evaluations, outcome.interrupted), (400, false));
    }
}

#[test]
fn seed_decides_everything() {
    let search = |seed| {
        let folder = folder();
        let outcome = run_in(folder.path(), false, &config("minibatch: 10"), 50, seed, &mut noisy());
        (best_of(&outcome), format!("{:?}", Journal::read(folder.path()).unwrap().entries()))
    };
    assert_eq!(search(1), search(1));
    assert_ne!(search(1).0, search(2).0);
}

fn noisy() -> Landscape {
    Landscape { noise: 0.02, ..Landscape::default() }
}

#[test]
fn generations_take_search_questions_in_turn() {
    let mut scorer = noisy();
    run(&config("minibatch: 15, population: 6, finalists: 2"), 25, 0, &mut scorer);
    let questions: Vec<Questions> = scorer.asked.iter().map(|(_, q)| q.clone()).collect();
    let window = |generation: usize| {
        Questions::Search(Sample { window: Some(Window { first: 15 * generation, length: 15 }), ..Sample::default() })
    };
    // Four generations of 6 and one candidate of the fifth, the mean and two finalists, the uniform merge and the best.
    let all = std::iter::repeat_n(Questions::all(), 3);
    let want = (0..25).map(|e| window(e / 6)).chain(all).chain([Questions::Test, Questions::Test]);
    assert_eq!(questions, want.collect::<Vec<_>>());
    assert_eq!(scorer.parents, [(0, Questions::Test), (1, Questions::Test)]);
}

#[test]
fn stratified_search_asks_the_models_first_and_once() {
    let settings = config("minibatch: 15, stratify: true, population: 6, finalists: 2");
    let (folder, mut scorer) = (folder(), noisy());
    let outcome = run_in(folder.path(), false, &settings, 12, 4, &mut scorer);
    let both = |questions: Questions| [(0, questions.clone()), (1, questions)];
    assert_eq!(scorer.parents, [both(Questions::all()), both(Questions::Test)].concat());
    let journal = Journal::read(folder.path()).unwrap();
    let names = journal.entries().iter().filter_map(|entry| match entry {
        Entry::Parent { name, .. } => Some(name.as_str()),
        _ => None,
    });
    assert_eq!(names.collect::<Vec<_>>(), ["a.gguf", "b.gguf"]);
    // The models, two generations, the mean and two finalists, everybody on the test.
    assert_eq!(outcome.items_scored, 2 * QUESTIONS + 12 * 15 + 3 * QUESTIONS + 4 * QUESTIONS);
    let trials: Vec<Trial> = journal.trials().take(2).cloned().collect();
    let (_, Questions::Search(sample)) = &scorer.asked[0] else { panic!("a candidate on {:?}", scorer.asked[0].1) };
    assert_eq!(sample.strata, Strata::new(&trials, 4));
    drop(journal);
    let mut nobody = Landscape { cancel_at: Some(0), ..noisy() };
    assert_eq!(best_of(&run_in(folder.path(), true, &settings, 12, 4, &mut nobody)), best_of(&outcome), "replayed");
}

#[test]
fn without_windows_finalists_are_not_asked_again() {
    let mut scorer = noisy();
    let outcome = run(&config("population: 6"), 12, 0, &mut scorer);
    let of = |questions| scorer.asked.iter().filter(|(_, q)| *q == questions).count();
    assert_eq!((of(Questions::all()), of(Questions::Test)), (12 + 1, 2), "the mean is new");
    assert_eq!(outcome.items_scored, (12 + 1 + 2 + 2) * QUESTIONS);
}

#[test]
fn finalists_are_truer_than_the_luckiest_candidate() {
    let (mut better, mut worse) = (0, 0);
    let (mut chosen_sum, mut lucky_sum) = (0.0, 0.0);
    for seed in 0..40 {
        let folder = folder();
        // On a tenth of the questions the noise is three times that on all.
        let mut scorer = Landscape { noise: 0.05, ..Landscape::default() };
        let config = config("minibatch: 4, population: 8");
        let outcome = run_in(folder.path(), false, &config, 64, seed, &mut scorer);
        let chosen = height(&outcome.best.unwrap().recipe);
        let journal = Journal::open(folder.path(), true, identity()).unwrap();
        let candidates = journal.entries().iter().filter_map(|entry| match entry {
            Entry::Candidate { genes, trial, .. } => Some((trial.fitness, genes.clone())),
            _ => None,
        });
        let (_, lucky) = candidates.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        let genome = Genome::new(config.genome.clone().unwrap(), LAYERS).unwrap();
        let lucky = height(&genome.decode(&lucky).unwrap());
        chosen_sum += chosen;
        lucky_sum += lucky;
        better += usize::from(chosen > lucky);
        worse += usize::from(chosen < lucky);
    }
    assert!(better >= 2 * worse && better >= 20, "better {better} times, worse {worse} times of 40");
    assert!(chosen_sum / 40.0 > 0.7 * lucky_sum / 40.0, "on average {chosen_sum} against {lucky_sum}");
}

#[test]
fn budget_is_kept_where_it_is_no_multiple_of_the_population() {
    for budget in [1, 5, 7, 13] {
        let mut scorer = Landscape::default();
        let outcome = run(&config("population: 5, finalists: 1"), budget, 0, &mut scorer);
        assert_eq!(outcome.evaluations, budget);
        let searched = scorer.asked.iter().filter(|(_, q)| matches!(q, Questions::Search(_))).count();
        assert_eq!(searched, budget + 1, "and the mean");
        assert!(outcome.best.is_some() && !outcome.interrupted);
    }
}

#[test]
fn everybody_is_tested_and_the_best_last() {
    let outcome = run(&config(""), 40, 0, &mut Landscape::default());
    let names: Vec<&str> = outcome.tested.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a.gguf", "b.gguf", "uniform merge", "best recipe"]);
    let best = outcome.best.unwrap();
    assert_eq!(outcome.tested[3].trial.fitness, height(&best.recipe));
    assert_eq!(outcome.tested[1].trial.fitness, -11.0);
    assert_eq!(outcome.swap_seconds_total, 0.25 * (40.0 + 1.0 + 4.0));
}

#[test]
fn recipes_without_a_score_are_survived() {
    let mut scorer = Landscape { hole: Some(|genes| genes[0] > 0.45), ..Landscape::default() };
    let outcome = run(&config(""), 200, 0, &mut scorer);
    let best = outcome.best.unwrap();
    assert!(best.search.fitness > -1e-2, "{}", best.search.fitness);
    assert!(scorer.asked.iter().filter(|(genes, _)| genes[0] > 0.45).count() > 5, "there was something to survive");

    let mut scorer = Landscape { hole: Some(|_| true), ..Landscape::default() };
    let outcome = run(&config(""), 30, 0, &mut scorer);
    assert!(outcome.best.unwrap().search.fitness.is_nan(), "no score at all");
    assert_eq!(outcome.tested.len(), 4);
}

#[test]
fn watchers_see_every_candidate_and_the_best_so_far() {
    let folder = folder();
    let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
    let config = config("population: 6");
    let mut seen = Vec::new();
    let (mut phases, mut written) = (Vec::new(), 0);
    let mut watch = |event: Event| match event {
        Event::Candidate { evaluations, fitness, best, replayed, .. } => {
            seen.push((evaluations, fitness, best, replayed))
        }
        Event::Phase(name) => phases.push(name.to_owned()),
        Event::Journalled(journal) => written = journal.entries().len(),
    };
    evolve(&config, &stages(&config), 20, 0, &mut Landscape::default(), &mut journal, &mut watch).unwrap();
    let mut highest = f64::NEG_INFINITY;
    for (i, (evaluations, fitness, best, replayed)) in seen.iter().enumerate() {
        highest = highest.max(*fitness);
        assert_eq!((*evaluations, *best, *replayed), (i + 1, highest, false));
    }
    assert_eq!((seen.len(), written), (20, journal.entries().len()));
    assert_eq!(phases, ["finalists", "a.gguf", "b.gguf", "uniform merge", "best recipe"]);
}

#[test]
fn collapsed_search_stops_before_its_budget_and_says_why() {
    let outcome = run(&config(""), 100_000, 0, &mut Landscape::default());
    assert!(matches!(outcome.stopped, Some(StopReason::TolX | StopReason::FlatFitness)), "{:?}", outcome.stopped);
    assert!(outcome.evaluations < 5000, "{}", outcome.evaluations);
    assert!(!outcome.interrupted && outcome.tested.len() == 4);
}
