//! Optimisers written down after every generation and read back: they go on as those that were never interrupted.

use serde_json::{from_str, to_string};

use super::*;
use crate::evolve::catcma::{CatCma, Start};
use crate::evolve::cmaes::{CmaEs, CmaOptions};
use crate::evolve::nsga2::Nsga2;
use crate::evolve::sepcma::SepCmaEs;

/// Three switches and four numbers, all of which matter.
struct Switches;

impl Space for Switches {
    fn optimiser(&self, _search: &Search, _seed: u64) -> Result<Optimiser, EvolveError> {
        unreachable!("made by hand")
    }

    fn decode(&self, _genes: &[f64]) -> Result<Recipe, EvolveError> {
        unreachable!("nothing is merged")
    }

    fn genes(&self) -> usize {
        7
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn active(&self, _genes: &[f64]) -> Vec<bool> {
        vec![true; 4]
    }
}

#[test]
fn optimisers_go_on_from_what_was_written_of_them() {
    let start = || Start { switches: vec![0.4; 3], genes: vec![0.3; 4], sigma: 0.2 };
    let options = CmaOptions { seed: 7, ..CmaOptions::default() };
    let adapting = CmaOptions { adapt_rates: true, ..options };
    let optimisers = [
        Optimiser::CmaEs(CmaEs::new(vec![0.3; 5], 0.2, options).unwrap().into()),
        Optimiser::CmaEs(CmaEs::new(vec![0.3; 5], 0.2, adapting).unwrap().into()),
        Optimiser::SepCmaEs(SepCmaEs::new(vec![0.3; 5], 0.2, options).unwrap().into()),
        Optimiser::CatCma(CatCma::new(start(), options).unwrap().into()),
        Optimiser::Nsga2(Nsga2::new(start(), options).unwrap().into()),
    ];
    for mut steady in optimisers {
        let mut interrupted: Optimiser = from_str(&to_string(&steady).unwrap()).unwrap();
        for generation in 0..30 {
            let asked = steady.ask();
            assert_eq!(interrupted.ask(), asked, "{steady:?}");
            // One in each generation has no fitness, and in some nobody has.
            let told: Vec<(Vec<f64>, f64)> = asked
                .into_iter()
                .enumerate()
                .map(|(k, genes)| {
                    let fitness = genes.iter().map(|gene| (gene - 0.6).powi(2)).sum();
                    (genes, if k == 2 || generation % 10 == 5 { f64::NAN } else { fitness })
                })
                .collect();
            steady.tell(&told, &Switches).unwrap();
            interrupted.tell(&told, &Switches).unwrap();
            interrupted = from_str(&to_string(&interrupted).unwrap()).unwrap();
        }
        assert_eq!(to_string(&interrupted).unwrap(), to_string(&steady).unwrap());
    }
}
