//! How genes moved from generation to generation: a small picture for each, or a grid where there are many.

use std::fmt::Write as _;

use super::svg::{grid, shade_key, short};
use super::{View, escape};
use crate::evolve::Candidate;
use crate::evolve::cmaes::default_population;
use crate::evolve::path::SWITCH;

/// Up to so many genes have a picture each.
const MOST_PICTURES: usize = 24;
/// Most rows of a grid.
const MOST_ROWS: usize = 200;
/// Most columns of a grid: beyond, neighbouring generations share one.
const MOST_COLUMNS: usize = 80;
/// Size of a small picture in pixels.
const SMALL: (f64, f64) = (220.0, 110.0);

/// The candidates of a stage in runs as long as a generation.
pub(super) fn generations<'a>(view: &'a View, stage: usize) -> Vec<Vec<Candidate<'a>>> {
    let candidates: Vec<Candidate> = view.journal.candidates().filter(|c| c.stage == stage).collect();
    let Some(first) = candidates.first() else { return Vec::new() };
    let paths = stage == 1 || view.config.genome.is_none();
    let search =
        if paths { view.config.path_search.as_ref().unwrap_or(&view.config.search) } else { &view.config.search };
    let population = search.population.unwrap_or_else(|| default_population(first.genes.len()));
    candidates.chunks(population.max(1)).map(<[Candidate]>::to_vec).collect()
}

pub(super) fn section(view: &View) -> String {
    let mut html = String::new();
    for stage in [0, 1] {
        let generations = generations(view, stage);
        let Some(genes) = generations.first().and_then(|g| g.first()).map(|c| c.genes.len()) else { continue };
        if generations.iter().flatten().any(|c| c.genes.len() != genes) {
            continue;
        }
        let method = view.best().filter(|_| stage == 0).map_or("", |recipe| recipe.method.name);
        let known = view.journal.identity().and_then(|identity| identity.genes.get(stage));
        let name = |gene: usize| match known.and_then(|names| names.get(gene)) {
            // The method is the same for all.
            Some(name) => name.trim_start_matches(method).trim_start().to_owned(),
            None => format!("gene {gene}"),
        };
        let names: Vec<String> = (0..genes).map(name).collect();
        let switches = names.iter().filter(|name| name.starts_with(SWITCH)).count();
        if generations.len() < 2 {
            html +=
                "<h2>Genes over generations</h2><p class=soft>Too early to see: the first generation is under way.</p>";
            continue;
        }
        html += match (switches, genes) {
            (1.., _) => {
                let plain = |name: &String| name.trim_start_matches(SWITCH).to_owned();
                let places: Vec<String> = names[..switches].iter().map(plain).collect();
                paths(&places, &generations) + &scales(&places, genes, &generations)
            }
            (_, ..=MOST_PICTURES) => pictures(&names, &generations),
            _ => many(&names, &generations),
        }
        .as_str();
    }
    html
}

/// Mean and standard deviation of a gene in a generation.
fn spread(generation: &[Candidate], gene: usize) -> (f64, f64) {
    let count = generation.len() as f64;
    let mean = generation.iter().map(|c| c.genes[gene]).sum::<f64>() / count;
    let variance = generation.iter().map(|c| (c.genes[gene] - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

fn pictures(names: &[String], generations: &[Vec<Candidate>]) -> String {
    let spreads: Vec<Vec<(f64, f64)>> =
        (0..names.len()).map(|gene| generations.iter().map(|g| spread(g, gene)).collect()).collect();
    let ends = spreads.iter().flatten().flat_map(|(mean, deviation)| [mean - deviation, mean + deviation]);
    let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    let span = (high - low).max(1e-9);
    let (left, bottom) = (34.0, SMALL.1 - 18.0);
    let x = |g: usize| left + (SMALL.0 - left - 4.0) * g as f64 / (generations.len() - 1).max(1) as f64;
    let y = |value: f64| 4.0 + (bottom - 4.0) * (1.0 - (value - low) / span);
    let mut html = String::from(
        "<h2>Genes over generations</h2><p class=soft>One picture for each number that is searched, all on the same scale: the line is the mean \
         of a generation's candidates, the band how far they spread. A band that narrows shows that the search has made up its mind; one \
         that stays wide, that the gene hardly matters or that more generations are needed.</p><div class=genes>",
    );
    for (name, spreads) in names.iter().zip(&spreads) {
        let upper = spreads.iter().enumerate().map(|(g, (mean, d))| format!("{:.1},{:.1}", x(g), y(mean + d)));
        let lower = spreads.iter().enumerate().rev().map(|(g, (mean, d))| format!("{:.1},{:.1}", x(g), y(mean - d)));
        let band: Vec<String> = upper.chain(lower).collect();
        let line: Vec<String> =
            spreads.iter().enumerate().map(|(g, (mean, _))| format!("{:.1},{:.1}", x(g), y(*mean))).collect();
        let (mean, deviation) = spreads.last().copied().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(
            html,
            "<figure><figcaption>{}: {} ± {}</figcaption><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" \
             font-size=\"10\" fill=\"#5c6675\"><rect x=\"{left}\" y=\"4\" width=\"{}\" height=\"{}\" fill=\"#fbfcfd\" stroke=\"#dfe3e9\"/>",
            escape(name),
            short(mean),
            short(deviation),
            SMALL.0,
            SMALL.1,
            SMALL.0 - left - 4.0,
            bottom - 4.0
        );
        if low < 0.0 && high > 0.0 {
            let zero = y(0.0);
            let _ = write!(
                html,
                "<line x1=\"{left}\" x2=\"{}\" y1=\"{zero:.1}\" y2=\"{zero:.1}\" stroke=\"#c3c9d2\" stroke-dasharray=\"3\"/>",
                SMALL.0 - 4.0
            );
        }
        let _ = write!(
            html,
            "<polygon points=\"{}\" fill=\"#cddcee\"/><polyline points=\"{}\" fill=\"none\" stroke=\"#0a4b8c\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"12\" text-anchor=\"end\">{}</text><text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">{}</text>\
             <text x=\"{left}\" y=\"{}\">0</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">generation {}</text></svg></figure>",
            band.join(" "),
            line.join(" "),
            left - 3.0,
            short(high),
            left - 3.0,
            short(low),
            SMALL.1 - 5.0,
            SMALL.0 - 4.0,
            SMALL.1 - 5.0,
            generations.len() - 1
        );
    }
    html + "</div>"
}

/// Rows of what `mean` says of each gene, with neighbouring generations in one column where there are many.
fn rows(
    names: &[String],
    generations: &[Vec<Candidate>],
    mean: impl Fn(&[Candidate], usize) -> f64,
) -> (Vec<(String, Vec<f64>)>, usize) {
    let each = generations.len().div_ceil(MOST_COLUMNS).max(1);
    let columns: Vec<Vec<Candidate>> = generations.chunks(each).map(<[Vec<Candidate>]>::concat).collect();
    let row = |gene: usize| columns.iter().map(|c| mean(c, gene)).collect();
    let rows = names.iter().take(MOST_ROWS).enumerate().map(|(gene, name)| (name.clone(), row(gene)));
    (rows.collect(), each)
}

fn axis(each: usize) -> String {
    if each == 1 { "generation".to_owned() } else { format!("generations, {each} in a column") }
}

fn left_out(names: &[String]) -> String {
    match names.len().saturating_sub(MOST_ROWS) {
        0 => String::new(),
        rest => format!("<p class=soft>The last {rest} genes are left out.</p>"),
    }
}

fn many(names: &[String], generations: &[Vec<Candidate>]) -> String {
    let (rows, each) = rows(names, generations, |candidates, gene| spread(candidates, gene).0);
    format!(
        "<h2>Genes over generations</h2><p class=soft>A row for each number that is searched; the colour is its mean over a generation's \
         candidates. Rows that take on a colour and keep it are those that the search has made up its mind about.</p>{}{}",
        shaded("mean", rows, &axis(each)),
        left_out(names)
    )
}

/// A grid of means, the largest of which has the darkest colour, and its key.
fn shaded(what: &str, mut rows: Vec<(String, Vec<f64>)>, axis: &str) -> String {
    let largest = rows.iter().flat_map(|(_, cells)| cells).fold(0.0f64, |most, x| most.max(x.abs())).max(1e-9);
    let negative = rows.iter().flat_map(|(_, cells)| cells).any(|x| *x < 0.0);
    rows.iter_mut().flat_map(|(_, cells)| cells).for_each(|x| *x /= largest);
    shade_key(what, largest, negative) + &grid(&rows, axis)
}

fn paths(places: &[String], generations: &[Vec<Candidate>]) -> String {
    let (rows, each) = rows(places, generations, |candidates, gene| spread(candidates, gene).0);
    let shares = shade_key("share of the candidates", 1.0, false);
    format!(
        "<h2>Blocks on paths over generations</h2><p class=soft>A row for each block that a path may pass, in the order in which it would; the \
         colour is the share of a generation's candidates whose path passes it. Rows that turn dark or white are decided.</p>{}{}{}",
        shares,
        grid(&rows, &axis(each)),
        left_out(places)
    )
}

/// How strongly blocks count, where each place on a path has a scale of its own: of the candidates that pass it.
fn scales(places: &[String], genes: usize, generations: &[Vec<Candidate>]) -> String {
    let switches = places.len();
    if genes != 2 * switches {
        return String::new();
    }
    let mean = |candidates: &[Candidate], slot: usize| {
        let passing: Vec<f64> =
            candidates.iter().filter(|c| c.genes[slot] == 1.0).map(|c| c.genes[switches + slot]).collect();
        (passing.iter().sum::<f64>() / passing.len().max(1) as f64).exp() - 1.0
    };
    let (mut rows, each) = rows(places, generations, mean);
    // Places that hardly anybody passes say nothing.
    rows.retain(|(_, cells)| cells.iter().filter(|cell| **cell != 0.0).count() * 2 > cells.len());
    format!(
        "<h2>Scales on paths over generations</h2><p class=soft>A row for each block that most paths pass; the colour is by how much more or \
         less than 1 it counts, as a mean over the generation's candidates that pass it. Rows that take on a colour and keep it are decided.</p>{}",
        shaded("scale less 1", rows, &axis(each))
    )
}
