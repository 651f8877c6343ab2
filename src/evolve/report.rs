//! A finished search in, `report.html` out: one file that needs no network, for people who would rather look than read.

use std::fmt::Write as _;
use std::path::Path;

use plotters::prelude::*;

use super::picture::path_picture;
use super::search::BEST;
use super::{Config, EvolveError, Journal, Outcome, Tested};

/// The report's name in the out folder.
pub const REPORT_FILE: &str = "report.html";
/// Size of the plot in pixels.
const PLOT: (u32, u32) = (900, 360);

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse}td,th{padding:.3rem .9rem;border-bottom:1px solid #ddd;text-align:right}\
td:first-child,th:first-child{text-align:left}tr.best{font-weight:600;background:#eef6ee}pre{background:#f5f5f5;padding:1rem;overflow:auto}\
svg{max-width:100%;height:auto}";

/// Writes the report of `outcome` into `folder`; `best_yaml` is the recipe found, as written beside it.
///
/// # Errors
/// [`EvolveError::Write`].
pub fn write_report(
    folder: &Path,
    config: &Config,
    journal: &Journal,
    outcome: &Outcome,
    best_yaml: &str,
) -> Result<(), EvolveError> {
    let weights: Vec<f64> = config.tasks.iter().map(|t| t.weight).collect();
    let mut html = String::new();
    let title = escape(&config.file.display().to_string());
    // Writing to a String cannot fail.
    let _ = write!(html, "<!doctype html><meta charset=utf-8><title>ggraft: {title}</title><style>{STYLE}</style>");
    let _ = write!(html, "<h1>Search of {title}</h1>");
    let _ = write!(
        html,
        "<p>{} candidates, {} questions answered, {:.0} s, of which {:.1} s went into swapping recipes. Written to disk while scoring: {}.</p>",
        outcome.evaluations,
        outcome.items_scored,
        outcome.seconds,
        outcome.swap_seconds_total,
        outcome.disk_write_bytes.map_or("unknown".to_owned(), |b| format!("{b} bytes")),
    );
    if outcome.interrupted {
        html.push_str("<p><b>The search was stopped before its end.</b> Go on with <code>--resume</code>.</p>");
    }
    if !outcome.tested.is_empty() {
        html.push_str("<h2>On questions the search never saw</h2>");
        html.push_str(&table(&outcome.tested, &weights));
        html.push_str(
            "<p>Intervals are 95 %. The last columns compare with the best recipe on the same questions: how many it got right that the \
             other got wrong, the reverse, and how likely such a difference is by chance alone (exact McNemar test).</p>",
        );
    }
    html.push_str("<h2>Search score by candidate</h2>");
    html.push_str(&plot(journal));
    if config.genome.is_some() && config.path.is_some() {
        let weights = journal.candidates().filter(|candidate| candidate.stage == 0).count();
        let _ = write!(html, "<p>The first {weights} candidates mix weights; those after them are paths.</p>");
    }
    if config.search.minibatch.is_some() {
        html.push_str(
            "<p>Every generation sees other questions, so scores of different generations differ by chance too.</p>",
        );
    }
    html.push_str("<h2>Best recipe</h2>");
    if let Some(picture) = outcome.best.as_ref().and_then(|best| path_picture(&best.recipe)) {
        html.push_str(&picture);
        html.push_str(
            "<p>The path of tokens: each dot is a block that they pass, from left to right; its height is the block's number in its model, \
             its size and the number above it are the scale of what enters it.</p>",
        );
    }
    let _ = write!(html, "<pre>{}</pre>", escape(best_yaml));
    let _ = write!(html, "<h2>Evolve file</h2><pre>{}</pre>", escape(&config.text));
    let path = folder.join(REPORT_FILE);
    std::fs::write(&path, html).map_err(|source| EvolveError::Write { path, source })
}

fn table(tested: &[Tested], weights: &[f64]) -> String {
    let mut html = String::from("<table><tr><th>model<th>score<th>95 % interval<th>best wins<th>best loses<th>p</tr>");
    let best = tested.iter().find(|t| t.name == BEST);
    for t in tested {
        let (value, [low, high]) = t.trial.summary(weights);
        let class = if t.name == BEST { " class=best" } else { "" };
        let _ = write!(html, "<tr{class}><td>{}<td>{value:.3}<td>{low:.3} – {high:.3}", escape(&t.name));
        match best.filter(|b| b.name != t.name).and_then(|best| best.trial.compare(&t.trial)) {
            Some(p) => {
                let _ = write!(html, "<td>{}<td>{}<td>{:.2e}</tr>", p.won, p.lost, p.p_value);
            }
            None => html.push_str("<td><td><td></tr>"),
        }
    }
    html.push_str("</table>");
    html
}

/// Every candidate's score as a point, the best so far as a line.
fn plot(journal: &Journal) -> String {
    let points: Vec<(f64, f64)> = journal
        .candidates()
        .enumerate()
        .map(|(number, candidate)| (number as f64, candidate.trial.fitness))
        .filter(|(_, fitness)| fitness.is_finite())
        .collect();
    let mut svg = String::new();
    match draw(&points, &mut svg) {
        Ok(()) => svg,
        Err(problem) => format!("<p>No plot: {}</p>", escape(&problem)),
    }
}

fn draw(points: &[(f64, f64)], svg: &mut String) -> Result<(), String> {
    let Some(last) = points.last() else { return Err("no candidate has a score".to_owned()) };
    let (low, high) = points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), (_, y)| (l.min(*y), h.max(*y)));
    let margin = ((high - low) * 0.05).max(1e-3);
    let mut best = f64::NEG_INFINITY;
    let so_far = points.iter().map(|(x, y)| {
        best = best.max(*y);
        (*x, best)
    });
    let root = SVGBackend::with_string(svg, PLOT).into_drawing_area();
    let result = (|| {
        let mut chart = ChartBuilder::on(&root)
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..last.0.max(1.0), low - margin..high + margin)?;
        chart
            .configure_mesh()
            .x_desc("candidate")
            .y_desc("search score")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 14))
            .light_line_style(WHITE)
            .draw()?;
        chart.draw_series(points.iter().map(|p| Circle::new(*p, 2, RGBColor(70, 130, 180).filled())))?;
        chart.draw_series(LineSeries::new(so_far, RGBColor(34, 120, 60).stroke_width(2)))?;
        root.present()
    })();
    drop(root);
    result.map_err(|e: DrawingAreaErrorKind<_>| e.to_string())
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
