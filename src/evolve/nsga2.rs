//! NSGA-II, ask and tell: several objectives at once, none of which is worth a known amount of another. Lower is better in all of them.
//!
//! Deb, Pratap, Agarwal and Meyarivan 2002 (*A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II*), with their operators and
//! settings: binary tournaments by rank and crowding, simulated binary crossover (index 20, with probability 0.9), polynomial mutation
//! (index 20, of one gene in `n`), switches by uniform crossover and flips; of parents and children together the best survive. Numbers
//! stay within three first step sizes of where they start. As in [`super::cmaes`] the state holds no random generator.

use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};

use super::catcma::{MAX_COORDINATES, Start};
use super::cmaes::{CmaError, CmaOptions, MAX_POPULATION, WORST, default_population, stream, uniform};

/// Half the width of the box of numbers, in first step sizes.
const REACH: f64 = 3.0;
/// How near children stay to their parents, in crossover and in mutation.
const INDEX: f64 = 20.0;
/// How often two parents are crossed.
const CROSSOVER: f64 = 0.9;

/// A candidate as evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Member {
    genes: Vec<f64>,
    objectives: Vec<f64>,
    /// The front it is on, from 0, and how far from others on it.
    rank: usize,
    crowding: f64,
}

/// The surviving population: plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nsga2 {
    population: usize,
    seed: u64,
    generation: u64,
    start: Start,
    members: Vec<Member>,
}

impl Nsga2 {
    /// A search from `start`: switches are on with their probability, numbers anywhere in their box. The population is even.
    ///
    /// # Errors
    /// No coordinate or too many, an absurd population, numbers that are not usable.
    pub fn new(start: Start, options: CmaOptions) -> Result<Self, CmaError> {
        let (switches, genes, sigma) = (start.switches.len(), start.genes.len(), start.sigma);
        if switches + genes == 0 || switches.saturating_add(genes) > MAX_COORDINATES {
            return Err(CmaError::Size { switches, genes, max: MAX_COORDINATES });
        }
        let population = options.population.unwrap_or_else(|| default_population(switches + genes)).next_multiple_of(2);
        if !(2..=MAX_POPULATION).contains(&population) {
            return Err(CmaError::Population(population));
        }
        let usable = start.genes.iter().all(|gene| (gene.abs() + REACH * sigma).is_finite());
        if !(usable && sigma > 0.0) {
            return Err(CmaError::Start(sigma));
        }
        Ok(Self { population, seed: options.seed, generation: 0, start, members: Vec::new() })
    }

    /// The proposals of the current generation, the same at every call until [`Nsga2::tell`] moves on.
    pub fn ask(&self) -> Vec<Vec<f64>> {
        let mut rng = stream(self.seed, self.generation);
        let mut proposals = Vec::with_capacity(self.population);
        while proposals.len() < self.population {
            if self.members.is_empty() {
                proposals.push(self.drawn(&mut rng));
            } else {
                let [a, b] = [(); 2].map(|()| self.tournament(&mut rng));
                proposals.extend(self.children(a, b, &mut rng));
            }
        }
        proposals
    }

    /// Learns from a generation: genes and objectives, lower is better; a candidate of which one is not finite is the worst in
    /// all.
    ///
    /// # Errors
    /// Not one generation, or a candidate that is not of this search's form. The state is then unchanged.
    pub fn tell(&mut self, told: &[(Vec<f64>, Vec<f64>)]) -> Result<(), CmaError> {
        if told.len() != self.population {
            return Err(CmaError::Count { generation: self.generation, expected: self.population, got: told.len() });
        }
        let (switches, genes) = (self.start.switches.len(), self.start.genes.len());
        let fits =
            |genes_of: &[f64]| genes_of.len() == switches + genes && genes_of.iter().all(|gene| gene.is_finite());
        if let Some(index) = told.iter().position(|(genes, _)| !fits(genes)) {
            return Err(CmaError::Candidate { index, switches, genes });
        }
        // What could not be scored must not live on for being cheap.
        let sound = |objectives: &[f64]| {
            let finite = objectives.iter().all(|objective| objective.is_finite());
            if finite { objectives.to_vec() } else { vec![WORST; objectives.len()] }
        };
        let member = |(genes, objectives): &(Vec<f64>, Vec<f64>)| Member {
            genes: genes.clone(),
            objectives: sound(objectives),
            rank: 0,
            crowding: 0.0,
        };
        self.members.extend(told.iter().map(member));
        let objectives: Vec<Vec<f64>> = self.members.iter().map(|member| member.objectives.clone()).collect();
        let mut survivors: Vec<Member> = Vec::with_capacity(self.population);
        for (rank, front) in fronts(&objectives).into_iter().enumerate() {
            let crowding = crowding(&front.iter().map(|i| objectives[*i].as_slice()).collect::<Vec<_>>());
            let mut front: Vec<(usize, f64)> = front.into_iter().zip(crowding).collect();
            front.sort_by(|a, b| b.1.total_cmp(&a.1));
            front.truncate(self.population - survivors.len());
            let survivor = |(i, crowding): (usize, f64)| Member { rank, crowding, ..self.members[i].clone() };
            survivors.extend(front.into_iter().map(survivor));
        }
        self.members = survivors;
        self.generation += 1;
        Ok(())
    }

    /// Generations told so far.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Proposals per generation.
    pub fn population(&self) -> usize {
        self.population
    }

    /// The genes of the best front of the surviving population.
    pub fn front(&self) -> impl Iterator<Item = &[f64]> {
        self.members.iter().filter(|member| member.rank == 0).map(|member| member.genes.as_slice())
    }

    /// Lower and upper end of a number.
    fn range(&self, gene: usize) -> (f64, f64) {
        let (middle, reach) = (self.start.genes[gene], REACH * self.start.sigma);
        (middle - reach, middle + reach)
    }

    fn drawn(&self, rng: &mut ChaCha12Rng) -> Vec<f64> {
        let mut genes: Vec<f64> =
            self.start.switches.iter().map(|p| if uniform(rng) < *p { 1.0 } else { 0.0 }).collect();
        for gene in 0..self.start.genes.len() {
            let (low, high) = self.range(gene);
            genes.push(low + (high - low) * uniform(rng));
        }
        genes
    }

    fn tournament(&self, rng: &mut ChaCha12Rng) -> &Member {
        let [a, b] = [(); 2].map(|()| &self.members[(uniform(rng) * self.members.len() as f64) as usize]);
        if (b.rank, -b.crowding) < (a.rank, -a.crowding) { b } else { a }
    }

    fn children(&self, a: &Member, b: &Member, rng: &mut ChaCha12Rng) -> [Vec<f64>; 2] {
        let (mut a, mut b) = (a.genes.clone(), b.genes.clone());
        let switches = self.start.switches.len();
        if uniform(rng) < CROSSOVER {
            for gene in 0..a.len() {
                if uniform(rng) < 0.5 {
                    continue;
                }
                if gene < switches {
                    (a[gene], b[gene]) = (b[gene], a[gene]);
                } else {
                    (a[gene], b[gene]) = crossed(a[gene], b[gene], self.range(gene - switches), rng);
                }
            }
        }
        let one = 1.0 / a.len() as f64;
        for child in [&mut a, &mut b] {
            for (i, gene) in child.iter_mut().enumerate() {
                if uniform(rng) >= one {
                    continue;
                }
                *gene = if i < switches { 1.0 - *gene } else { mutated(*gene, self.range(i - switches), rng) };
            }
        }
        [a, b]
    }
}

/// Simulated binary crossover within a range (Deb and Agrawal 1995): children as far apart as parents, give or take.
fn crossed(a: f64, b: f64, (low, high): (f64, f64), rng: &mut ChaCha12Rng) -> (f64, f64) {
    let (small, large) = (a.min(b), a.max(b));
    let u = uniform(rng);
    if large - small < 1e-14 * (high - low) {
        return (a, b);
    }
    let spread = |room: f64| {
        let alpha = 2.0 - (1.0 + 2.0 * room.max(0.0) / (large - small)).powf(-(INDEX + 1.0));
        let beta = if u <= 1.0 / alpha { u * alpha } else { 1.0 / (2.0 - u * alpha) };
        beta.powf(1.0 / (INDEX + 1.0)) * (large - small)
    };
    let first = (0.5 * (small + large - spread(small - low))).clamp(low, high);
    let second = (0.5 * (small + large + spread(high - large))).clamp(low, high);
    if uniform(rng) < 0.5 { (first, second) } else { (second, first) }
}

/// Polynomial mutation within a range (Deb and Goyal 1996).
fn mutated(gene: f64, (low, high): (f64, f64), rng: &mut ChaCha12Rng) -> f64 {
    let u = uniform(rng);
    let exponent = 1.0 / (INDEX + 1.0);
    let left = |room: f64| (1.0 - room / (high - low)).clamp(0.0, 1.0).powf(INDEX + 1.0);
    let step = if u < 0.5 {
        (2.0 * u + (1.0 - 2.0 * u) * left(gene - low)).powf(exponent) - 1.0
    } else {
        1.0 - (2.0 * (1.0 - u) + (2.0 * u - 1.0) * left(high - gene)).powf(exponent)
    };
    (gene + step * (high - low)).clamp(low, high)
}

/// Whether `a` is at least as good as `b` everywhere and better somewhere.
pub(super) fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a <= b) && a.iter().zip(b).any(|(a, b)| a < b)
}

/// Indices by front: the first is dominated by nobody, the next only by the first, and so on.
pub(super) fn fronts(objectives: &[Vec<f64>]) -> Vec<Vec<usize>> {
    let mut dominated = vec![Vec::new(); objectives.len()];
    let mut by = vec![0usize; objectives.len()];
    for (i, a) in objectives.iter().enumerate() {
        for (j, b) in objectives.iter().enumerate() {
            if dominates(a, b) {
                dominated[i].push(j);
                by[j] += 1;
            }
        }
    }
    let mut fronts = Vec::new();
    let mut front: Vec<usize> = (0..objectives.len()).filter(|i| by[*i] == 0).collect();
    while !front.is_empty() {
        let mut next = Vec::new();
        for j in front.iter().flat_map(|i| &dominated[*i]) {
            by[*j] -= 1;
            if by[*j] == 0 {
                next.push(*j);
            }
        }
        next.sort_unstable();
        fronts.push(std::mem::replace(&mut front, next));
    }
    fronts
}

/// How much room each point of a front has: the sides of the box that its neighbours leave it. The ends have all there is.
pub(super) fn crowding(front: &[&[f64]]) -> Vec<f64> {
    let mut room = vec![0.0; front.len()];
    for objective in 0..front.first().map_or(0, |point| point.len()) {
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|a, b| front[*a][objective].total_cmp(&front[*b][objective]));
        let [first, last] = [order[0], order[order.len() - 1]];
        let span = front[last][objective] - front[first][objective];
        for triple in order.windows(3) {
            let side = (front[triple[2]][objective] - front[triple[0]][objective]) / span;
            // Neither of equal points nor beside one without a score.
            let scored = front[triple[2]][objective] < WORST;
            room[triple[1]] += if scored && side.is_finite() { side } else { 0.0 };
        }
        (room[first], room[last]) = (f64::MAX, f64::MAX);
    }
    room
}

#[cfg(test)]
#[path = "nsga2_tests.rs"]
mod tests;
