//! NSGA-II on the functions of Zitzler, Deb and Thiele, against published hypervolumes.

use std::f64::consts::PI;

use super::*;

fn search(switches: Vec<f64>, genes: usize, population: usize, seed: u64) -> Nsga2 {
    // Numbers in [0, 1].
    let start = Start { switches, genes: vec![0.5; genes], sigma: 1.0 / 6.0 };
    Nsga2::new(start, CmaOptions { population: Some(population), seed, ..CmaOptions::default() }).unwrap()
}

fn zdt(x: &[f64], shape: fn(f64) -> f64) -> Vec<f64> {
    let g = 1.0 + 9.0 * x[1..].iter().sum::<f64>() / (x.len() - 1) as f64;
    vec![x[0], g * shape(x[0] / g)]
}

/// The area that a front dominates up to (1, 1).
fn hypervolume(mut points: Vec<Vec<f64>>) -> f64 {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let (mut area, mut lowest) = (0.0, 1.0);
    for point in points.iter().filter(|point| point[0] < 1.0) {
        area += (1.0 - point[0]) * (lowest - point[1]).max(0.0);
        lowest = point[1].min(lowest);
    }
    area
}

fn run(f: &dyn Fn(&[f64]) -> Vec<f64>, mut search: Nsga2, generations: usize) -> Nsga2 {
    for _ in 0..generations {
        let told: Vec<_> = search.ask().into_iter().map(|x| (x.clone(), f(&x))).collect();
        search.tell(&told).unwrap();
    }
    search
}

#[test]
fn fronts_of_zdt_have_the_hypervolume_of_pymoos() {
    // Of pymoo 0.6.2's NSGA-II with a population of 100 (SBX 0.9, polynomial mutation 1/30, both of index 20) after 25000 evaluations: medians of
    // 11 seeds, 0.6596 and 0.3263. The whole fronts have 2/3 and 1/3.
    let shapes: [fn(f64) -> f64; 2] = [|x| 1.0 - x.sqrt(), |x| 1.0 - x * x];
    for (shape, theirs) in shapes.into_iter().zip([0.6596, 0.3263]) {
        for seed in 1..=3 {
            let end = run(&|x| zdt(x, shape), search(Vec::new(), 30, 100, seed), 250);
            let found = hypervolume(end.front().map(|x| zdt(x, shape)).collect());
            assert!((found - theirs).abs() < 0.004, "seed {seed}: {found}, pymoo {theirs}");
        }
    }
}

#[test]
fn switches_and_numbers_are_searched_together() {
    // The more switches are on, the better the second objective and the worse the first; numbers only cost.
    let f = |x: &[f64]| {
        let on: f64 = x[..12].iter().sum();
        let off: f64 = x[12..].iter().map(|x| (x - 0.3).powi(2)).sum();
        vec![on + off, 12.0 - on + off + (PI * off).sin().abs() * 1e-6]
    };
    let end = run(&f, search(vec![0.5; 12], 3, 40, 1), 120);
    let mut counts: Vec<usize> = end.front().map(|x| x[..12].iter().sum::<f64>() as usize).collect();
    counts.sort_unstable();
    counts.dedup();
    assert!(counts.len() >= 12, "nearly every trade-off: {counts:?}");
    assert!(end.front().all(|x| x[12..].iter().all(|x| (x - 0.3).abs() < 0.1)));
}

#[test]
fn sorting_and_crowding_are_those_of_the_paper() {
    let points = [[1.0, 5.0], [2.0, 3.0], [4.0, 2.0], [3.0, 4.0], [5.0, 5.0], [6.0, 1.0], [1.0, 5.0]];
    let points: Vec<Vec<f64>> = points.iter().map(|p| p.to_vec()).collect();
    assert_eq!(fronts(&points), [vec![0, 1, 2, 5, 6], vec![3], vec![4]]);
    let front = [[1.0, 5.0], [2.0, 3.0], [4.0, 2.0], [6.0, 1.0]];
    let front: Vec<&[f64]> = front.iter().map(|p| p.as_slice()).collect();
    assert_eq!(crowding(&front), [f64::MAX, 3.0 / 5.0 + 3.0 / 4.0, 4.0 / 5.0 + 2.0 / 4.0, f64::MAX]);
    assert!(!dominates(&[1.0, 2.0], &[1.0, 2.0]) && dominates(&[1.0, 2.0], &[1.0, 3.0]));
}

#[test]
fn seeds_decide_and_what_has_no_score_is_survived() {
    let f = |x: &[f64]| if x[1] > 0.6 { vec![f64::NAN, -9.0] } else { zdt(x, |x| 1.0 - x.sqrt()) };
    let walk = |seed| run(&f, search(Vec::new(), 5, 12, seed), 40);
    assert_eq!(walk(1), walk(1));
    assert_ne!(walk(1).ask(), walk(2).ask());
    assert_eq!(walk(1).ask(), walk(1).ask());
    assert!(walk(1).front().all(|x| x[1] <= 0.6 && x.iter().all(|x| (0.0..=1.0).contains(x))));
    let mut es = search(Vec::new(), 5, 12, 1);
    let before = es.clone();
    assert!(matches!(es.tell(&[]), Err(CmaError::Count { expected: 12, got: 0, .. })));
    assert_eq!(es, before);
    let nothing = Start { switches: Vec::new(), genes: Vec::new(), sigma: 1.0 };
    assert!(Nsga2::new(nothing, CmaOptions::default()).is_err());
}
