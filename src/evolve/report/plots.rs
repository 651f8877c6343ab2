//! The plots of scores: candidate by candidate, model by model, and task against task.

use std::fmt::Write as _;

use plotters::coord::ranged1d::Ranged as _;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::svg::{WIDTH, key, short};
use super::{View, escape, text};
use crate::evolve::genome::labels;
use crate::evolve::search::BEST;
use crate::evolve::{Candidate, Measure};
use crate::score::is_likelihood;

/// Size of a plot in pixels.
const PLOT: (u32, u32) = (900, 360);
/// Beyond so many candidates their intervals would hide them.
const MOST_INTERVALS: usize = 400;
const POINT: RGBColor = RGBColor(86, 140, 200);
const INTERVAL: RGBColor = RGBColor(205, 220, 238);
const MEAN: RGBColor = RGBColor(213, 94, 0);
const SO_FAR: RGBColor = RGBColor(27, 127, 75);
const GRID: RGBColor = RGBColor(238, 240, 243);
const FRAME: RGBColor = RGBColor(150, 158, 170);

/// A candidate as the plot of scores has it.
struct Point {
    x: f64,
    y: f64,
    ends: [f64; 2],
}

/// Every candidate's score with its interval, the mean of each generation and the best so far as lines.
pub(super) fn scores(view: &View) -> String {
    let mut html = String::from("<h2>Search score by candidate</h2>");
    let point = |(i, c): (usize, Candidate)| {
        let ends = c.trial.fitness_ci95(&view.weights);
        Point { x: (i + 1) as f64, y: c.trial.fitness, ends }
    };
    let points: Vec<Point> = view.journal.candidates().enumerate().map(point).filter(|p| p.y.is_finite()).collect();
    let mut means = Vec::new();
    let mut first = 1.0;
    for stage in [0, 1] {
        let mut line = Vec::new();
        for generation in super::genes::generations(view, stage) {
            let scores: Vec<f64> = generation.iter().map(|c| c.trial.fitness).filter(|y| y.is_finite()).collect();
            let middle = first + (generation.len() as f64 - 1.0) / 2.0;
            first += generation.len() as f64;
            if !scores.is_empty() {
                line.push((middle, scores.iter().sum::<f64>() / scores.len() as f64));
            }
        }
        means.push(line);
    }
    let intervals = points.len() <= MOST_INTERVALS;
    let mut parts = vec![
        ("dot", "#568cc8", "a candidate's score"),
        ("line", "#d55e00", "mean of its generation"),
        ("line", "#1b7f4b", "best so far"),
    ];
    if intervals {
        parts.insert(1, ("line", "#cddcee", "its 95 % interval"));
    }
    match draw_scores(&points, &means, intervals, &view.measure) {
        Ok((svg, below)) => {
            html += &key(&parts);
            html += &svg;
            if below > 0 {
                let _ =
                    write!(html, "<p class=soft>{below} candidates do so badly that they are not in the picture.</p>");
            }
        }
        Err(problem) => {
            let _ = write!(html, "<p>No plot: {}</p>", escape(&problem));
        }
    }
    if view.config.genome.is_some() && view.config.path.is_some() {
        let weights = view.journal.candidates().filter(|candidate| candidate.stage == 0).count();
        let _ = write!(html, "<p>The first {weights} candidates mix weights; those after them are paths.</p>");
    }
    html.push_str(
        "<p class=soft>A search that gets somewhere has a mean that rises; where it stays level, more candidates bring little. The best so far \
         rises by luck alone too.</p>",
    );
    if view.config.search.minibatch.is_some() {
        let share = if view.config.search.stratify {
            ", with the same share of those that the same models get right"
        } else {
            ""
        };
        let _ = write!(
            html,
            "<p class=soft>Every generation sees other questions{share}, so scores of different generations differ by chance too.</p>"
        );
    }
    html
}

/// What candidates are compared by.
fn score_name(measure: &Measure) -> String {
    match measure.unit() {
        Some(unit) => format!("search {unit}, better further up"),
        None if measure.is_of_one_task() => "search score: share of right answers".to_owned(),
        None => "search score: weighted sum of tasks".to_owned(),
    }
}

/// The picture, and how many points are below it.
fn draw_scores(
    points: &[Point],
    means: &[Vec<(f64, f64)>],
    intervals: bool,
    measure: &Measure,
) -> Result<(String, usize), String> {
    let Some(last) = points.last() else { return Err("no candidate has a score".to_owned()) };
    let mut sorted: Vec<f64> = points.iter().map(|p| p.y).collect();
    sorted.sort_by(f64::total_cmp);
    let (high, tenth) = (sorted[sorted.len() - 1], sorted[sorted.len() / 10]);
    // A few hopeless candidates must not press all others into one line.
    let low = sorted[0].max(tenth - 2.0 * (high - tenth));
    let shown = |end: f64| if intervals && end.is_finite() { Some(end) } else { None };
    let top = points.iter().filter_map(|p| shown(p.ends[1])).fold(high, f64::max).min(high + (high - low).max(1e-3));
    let bottom = points
        .iter()
        .filter(|p| p.y >= low)
        .filter_map(|p| shown(p.ends[0]))
        .fold(low, f64::min)
        .max(low - (high - low).max(1e-3));
    let margin = ((top - bottom) * 0.04).max(1e-3);
    let (bottom, top) = (bottom - margin, top + margin);
    let mut best = f64::NEG_INFINITY;
    let mut so_far = Vec::new();
    for p in points {
        if p.y > best {
            // A step: it holds until it is beaten.
            so_far.extend([(p.x, best), (p.x, p.y)]);
            best = p.y;
        }
    }
    so_far.push((last.x, best));
    so_far.retain(|(_, y)| *y >= bottom);
    let clip = |y: f64| y.clamp(bottom, top);
    let values = |y| measure.value(y);
    let names = ["candidate, in the order scored", &score_name(measure)];
    let svg = plot(names, (0.0..last.x + 1.0, bottom..top), &values, |chart| {
        if intervals {
            let ends = points.iter().filter(|p| p.ends.iter().all(|e| e.is_finite()) && p.y >= bottom);
            chart.draw_series(ends.map(|p| {
                PathElement::new(vec![(p.x, clip(p.ends[0])), (p.x, clip(p.ends[1]))], INTERVAL.stroke_width(2))
            }))?;
        }
        let inside = points.iter().filter(|p| p.y >= bottom);
        chart.draw_series(inside.map(|p| Circle::new((p.x, p.y), 2, POINT.filled())))?;
        for line in means {
            chart.draw_series(LineSeries::new(line.iter().map(|(x, y)| (*x, clip(*y))), MEAN.stroke_width(2)))?;
        }
        chart.draw_series(LineSeries::new(so_far.iter().copied(), SO_FAR.stroke_width(2)))?;
        Ok(())
    })?;
    Ok((svg, points.iter().filter(|p| p.y < bottom).count()))
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A frame with named axes, and in it what `draw` draws. `value` is what is written where the axis has a number.
fn plot(
    [x_name, y_name]: [&str; 2],
    (xs, ys): (std::ops::Range<f64>, std::ops::Range<f64>),
    value: &dyn Fn(f64) -> f64,
    draw: impl FnOnce(&mut Chart) -> Drawn,
) -> Result<String, String> {
    for axis in [&xs, &ys] {
        let (span, reach) = (axis.end - axis.start, axis.start.abs().max(axis.end.abs()));
        let drawable = span.is_finite() && span > 1e-9 * reach;
        if !drawable {
            return Err(format!("no axis can be drawn from {} to {}", axis.start, axis.end));
        }
    }
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, PLOT).into_drawing_area();
    let whole = x_name.starts_with("candidate");
    let fine = ys.end - ys.start < 0.1;
    let result = (|| {
        let mut chart = ChartBuilder::on(&root)
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(66)
            .build_cartesian_2d(xs, ys)?;
        chart
            .configure_mesh()
            .x_desc(x_name)
            .y_desc(y_name)
            .x_label_formatter(&|x| if whole { format!("{x:.0}") } else { short(*x) })
            .y_label_formatter(&|y| if fine { format!("{:.3}", value(*y)) } else { short(value(*y)) })
            .axis_desc_style(("sans-serif", 15))
            .label_style(("sans-serif", 13))
            .light_line_style(WHITE)
            .bold_line_style(GRID)
            .axis_style(FRAME)
            .draw()?;
        draw(&mut chart)?;
        root.present()
    })();
    drop(root);
    result.map(|()| svg).map_err(|e: DrawingAreaErrorKind<_>| e.to_string())
}

/// Everybody's test score as a dot with its interval, on one axis.
pub(super) fn intervals(view: &View) -> String {
    let labels = labels(&view.config.models);
    let rows: Vec<(&str, f64, [f64; 2])> = view
        .outcome
        .tested
        .iter()
        .enumerate()
        .map(|(i, t)| {
            let (value, ends) = t.trial.summary(&view.weights);
            // The models come first, in the order of the evolve file.
            (labels.get(i).unwrap_or(&t.name).as_str(), value, ends)
        })
        .filter(|(_, value, ends)| value.is_finite() && ends.iter().all(|e| e.is_finite()))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let low = rows.iter().map(|(.., [low, _])| *low).fold(f64::INFINITY, f64::min);
    let high = rows.iter().map(|(.., [_, high])| *high).fold(f64::NEG_INFINITY, f64::max);
    let span = (high - low).max(1e-6);
    let (left, right, step) = (230.0, WIDTH - 70.0, 26.0);
    let x = |value: f64| left + (value - low) / span * (right - left);
    let bottom = step * rows.len() as f64 + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {:.0}\" font-family=\"sans-serif\" font-size=\"13\">",
        bottom + 42.0
    );
    for value in RangedCoordf64::from(low..high.max(low + 1e-6)).key_points(6) {
        let at = x(value);
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{bottom:.1}\" stroke=\"#eef0f3\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#5c6675\">{}</text>",
            bottom + 16.0,
            short(value)
        );
    }
    for (i, (name, value, ends)) in rows.iter().enumerate() {
        let y = step * (i as f64 + 0.6);
        let colour = if *name == BEST { "#1b7f4b" } else { "#568cc8" };
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\"/>",
            left - 14.0,
            y + 4.5,
            escape(&super::svg::shortened(name, 32)),
            x(ends[0]),
            x(ends[1]),
            x(*value)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}, with 95 % interval</text></svg>",
        (left + right) / 2.0,
        bottom + 36.0,
        escape(&text::measure(view))
    );
    svg
}

/// Of searches for several tasks: what candidates do on one against what they do on another.
pub(super) fn trade_offs(view: &View) -> String {
    let Some(tasks) = view.journal.candidates().map(|c| &c.trial.tasks).find(|tasks| !tasks.is_empty()) else {
        return String::new();
    };
    if tasks.len() < 2 {
        return String::new();
    }
    let mut html = String::from("<h2>What one task costs the other</h2>");
    html += &key(&[
        ("dot", "#cddcee", "an early candidate"),
        ("dot", "#0a4b8c", "a late one"),
        ("line", "#d55e00", "those that no other beats on both"),
    ]);
    let pairs = (0..tasks.len()).flat_map(|a| (a + 1..tasks.len()).map(move |b| (a, b)));
    for (a, b) in pairs.take(6) {
        let value = |c: &Candidate, task: usize| c.trial.tasks.get(task).map(|t| t.value).filter(|v| v.is_finite());
        let points: Vec<(f64, f64)> =
            view.journal.candidates().filter_map(|c| Some((value(&c, a)?, value(&c, b)?))).collect();
        let lower = |task: usize| is_likelihood(&tasks[task].metric);
        let name = |task: usize| {
            let better = if lower(task) { "lower" } else { "higher" };
            format!("{}: {} ({better} is better)", tasks[task].task, tasks[task].metric)
        };
        match draw_pair(&points, [&name(a), &name(b)], [lower(a), lower(b)]) {
            Ok(svg) => html += &svg,
            Err(problem) => {
                let _ = write!(html, "<p>No plot: {}</p>", escape(&problem));
            }
        }
    }
    html + "<p class=soft>If the line is one corner, both tasks want the same recipe; if it is long, one is paid for with the other, and the \
            tasks' weights in the evolve file decide where on it the search ends.</p>"
}

fn draw_pair(points: &[(f64, f64)], names: [&str; 2], lower: [bool; 2]) -> Result<String, String> {
    if points.is_empty() {
        return Err("no candidate has a score in both".to_owned());
    }
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let margin = ((high - low) * 0.06).max(1e-3);
        low - margin..high + margin
    };
    let (xs, ys) = (range(&mut points.iter().map(|p| p.0)), range(&mut points.iter().map(|p| p.1)));
    let sign = |lower: bool| if lower { -1.0 } else { 1.0 };
    let good = |p: &(f64, f64)| (sign(lower[0]) * p.0, sign(lower[1]) * p.1);
    let mut order: Vec<&(f64, f64)> = points.iter().collect();
    // From the best in the first task on, whoever is better in the second than all before is beaten by none.
    order.sort_by(|a, b| good(b).0.total_cmp(&good(a).0).then(good(b).1.total_cmp(&good(a).1)));
    let mut front: Vec<(f64, f64)> = Vec::new();
    for p in order {
        if front.last().is_none_or(|last| good(p).1 > good(last).1) {
            front.push(*p);
        }
    }
    plot(names, (xs, ys), &|y| y, |chart| {
        let late = |i: usize| i as f64 / points.len().max(2) as f64;
        let mix = |from: f64, to: f64, i: usize| (from + (to - from) * late(i)) as u8;
        let colour = |i: usize| RGBColor(mix(205.0, 10.0, i), mix(220.0, 75.0, i), mix(238.0, 140.0, i));
        chart.draw_series(points.iter().enumerate().map(|(i, p)| Circle::new(*p, 3, colour(i).filled())))?;
        chart.draw_series(LineSeries::new(front.iter().copied(), MEAN.stroke_width(2)))?;
        chart.draw_series(front.iter().map(|p| Circle::new(*p, 4, MEAN.stroke_width(2))))?;
        Ok(())
    })
}
