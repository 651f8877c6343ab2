//! Several objectives: the front, what is picked of it, and what a wrong file is told.

use super::*;

const OTHER: [f64; 4] = [0.8, 0.3, 0.25, 0.6];

/// Minus the squared distance to another optimum than [`OPTIMUM`].
fn other(recipe: &Recipe) -> f64 {
    -weights(recipe).iter().zip(OTHER).map(|(w, o)| (w - o).powi(2)).sum::<f64>()
}

fn parse(tasks: &str, search: &str) -> Result<Config, EvolveError> {
    let genome = "genome: {models: [a.gguf, b.gguf], merge_method: linear, layer_granularity: 4}";
    Config::parse(format!("{genome}\ntasks: {tasks}\nsearch: {{{search}}}\n"), Path::new("dir/evolve.yaml"))
}

fn two(search: &str) -> Config {
    parse("[{task: t.yaml, test: t.jsonl}, {task: sub/u.yaml, test: t.jsonl}]", search).unwrap()
}

fn torn() -> Landscape {
    Landscape { second: Some(other), ..Landscape::default() }
}

/// Checks that no point is beaten, where 1 says that more is better and -1 that less is; returns the distance between the optima.
fn checked(front: &Front, signs: [f64; 2]) -> f64 {
    let better = |point: &Point| point.values.iter().zip(signs).map(|(value, sign)| sign * value).collect::<Vec<f64>>();
    let values: Vec<Vec<f64>> = front.points.iter().map(better).collect();
    for (i, a) in values.iter().enumerate() {
        assert!(!values.iter().enumerate().any(|(j, b)| i != j && a.iter().zip(b).all(|(a, b)| b > a)), "{values:?}");
    }
    assert!(values.is_sorted_by(|a, b| a[0] >= b[0]), "the best in the first objective first: {values:?}");
    assert_eq!(front.points.iter().filter(|point| point.picked).count(), 1);
    OPTIMUM.iter().zip(OTHER).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn front_reaches_from_one_optimum_to_the_other() {
    let settings = two("objectives: [t, u], population: 24");
    let outcome = run(&settings, 960, 1, &mut torn());
    let front = outcome.front.unwrap();
    assert_eq!(front.objectives, ["t", "u"]);
    let apart = checked(&front, [1.0; 2]);
    assert!(front.points.len() >= 15, "{}", front.points.len());
    for point in &front.points {
        // On the line between the optima the two distances add up to theirs.
        let sum = (-point.values[0]).sqrt() + (-point.values[1]).sqrt();
        assert!(sum < 1.15 * apart, "{:?}, {sum} and not {apart}", point.values);
    }
    let ends = (&front.points[0], &front.points[front.points.len() - 1]);
    assert!(ends.0.values[0] > -0.02 && ends.1.values[1] > -0.02, "{ends:?}");
    // The knee of a symmetric front is its middle.
    let knee = front.points.iter().find(|point| point.picked).unwrap();
    assert!((knee.values[0] - knee.values[1]).abs() < 0.15, "{knee:?}");
    assert_eq!(outcome.best.unwrap().evaluation, Some(knee.evaluation));
}

#[test]
fn the_pick_rule_decides_and_the_journal_holds_the_front() {
    for (pick, task) in [("t", 0), ("u", 1)] {
        let journal = folder();
        let settings = two(&format!("objectives: [t, u], pick: {pick}, population: 12, minibatch: 8, finalists: 6"));
        let first = run_in(journal.path(), false, &settings, 120, 3, &mut torn());
        let front = first.front.clone().unwrap();
        checked(&front, [1.0; 2]);
        assert!(front.points.len() <= 6, "only finalists have been asked everything");
        let best = front.points.iter().map(|point| point.values[task]).fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(front.points.iter().find(|point| point.picked).unwrap().values[task], best);
        let mut nobody = Landscape { cancel_at: Some(0), ..torn() };
        let again = run_in(journal.path(), true, &settings, 120, 3, &mut nobody);
        assert_eq!(again.front, first.front, "replayed");
    }
}

#[test]
fn length_is_an_objective_of_paths() {
    let text = format!(
        "genome: {{models: [a.gguf, b.gguf]}}\n{TASKS}\nsearch: {{space: data_flow, objectives: [t, length], population: 24, budget: 480}}\n"
    );
    let config = Config::parse(text, Path::new("dir/evolve.yaml")).unwrap();
    // Blocks of the second model are worth something, each.
    let worth = |recipe: &Recipe| {
        let blocks = recipe.path.iter().filter(|hop| hop.model == Some(1)).filter_map(|hop| hop.layers);
        blocks.map(|(start, end)| f64::from(end - start)).sum::<f64>().min(6.0)
    };
    let mut scorer = Landscape { second: Some(worth), no_merge: false, ..Landscape::default() };
    // Only the second task counts: height is that of weights, which a path has none of.
    let objectives = config.objectives.clone().unwrap();
    assert_eq!(objectives.of[1], ("length".to_owned(), Objective::Length));
    let outcome = run(
        &Config {
            objectives: Some(Objectives {
                of: vec![("u".to_owned(), Objective::Task(1)), objectives.of[1].clone()],
                pick: Pick::Knee,
            }),
            ..config
        },
        480,
        1,
        &mut scorer,
    );
    let front = outcome.front.unwrap();
    checked(&front, [1.0, -1.0]);
    let shortest = front.points.last().unwrap();
    assert!(shortest.values[1] < front.points[0].values[1] && front.points[0].values[0] >= 3.0, "{front:?}");
}

#[test]
fn wrong_objectives_are_told_why() {
    let tasks = "[{task: t.yaml, test: t.jsonl}, {task: sub/u.yaml, test: t.jsonl}]";
    for (search, message) in [
        ("objectives: [t]", "needs at least two"),
        ("objectives: [t, v]", "no task is called `v`"),
        ("objectives: [t, u, t]", "names `t` twice"),
        ("objectives: [t, length]", "`space: parameter` has none"),
        ("objectives: [t, u], race: true", "several `objectives` have none of"),
        ("objectives: [t, u], algorithm: cma_es", "are searched by `nsga2`"),
        ("objectives: [t, u], pick: nee", "`pick: nee`"),
        ("algorithm: nsga2", "needs several `objectives`"),
        ("pick: knee", "there are none"),
        ("objectives: [t, u], space: hybrid", "are for one space"),
    ] {
        let error = parse(tasks, search).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(message), "{search}: {error}");
    }
    assert!(parse(tasks, "objectives: [t, bytes], pick: bytes, algorithm: nsga2").is_ok());
}
