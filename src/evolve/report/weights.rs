//! What the best recipe gives each layer of each model: a map of weights, one row for each model and parameter.

use std::fmt::Write as _;

use super::svg::{WIDTH, columns, ink, shade, shade_key, short, shortened};
use super::{View, escape};
use crate::evolve::genome::labels;
use crate::recipe::{Curve, Recipe, Rule, Slice};

/// Cells beside each other with a difference less than this are one.
const SAME: f64 = 1e-9;

/// A row of the map: its name, and a value for each layer.
struct Row {
    name: String,
    values: Vec<Option<f64>>,
}

pub(super) fn section(view: &View) -> String {
    let merge = view.outcome.weights.as_ref().or(view.best());
    let Some((recipe, layers)) = merge.and_then(|recipe| Some((recipe, layers(recipe, view)?))) else {
        return String::new();
    };
    let rows = rows(recipe, layers);
    if rows.is_empty() {
        return String::new();
    }
    let values = || rows.iter().flat_map(|row| &row.values).flatten();
    let largest = values().fold(0.0f64, |most, x| most.max(x.abs())).max(1e-9);
    let negative = values().any(|x| *x < 0.0);
    let what = if view.outcome.weights.is_some() { "best mix of weights" } else { "best recipe" };
    format!(
        "<h2>What the {what} takes from each model, layer by layer</h2>{}{}<p class=soft>Method: {}. Dark is much, white is nothing. Weights \
         need not add up to 1.</p>",
        shade_key("value", largest, negative),
        picture(&rows, layers, largest),
        escape(recipe.method.name)
    )
}

/// Layers of the merge.
fn layers(recipe: &Recipe, view: &View) -> Option<usize> {
    let of = |slice: &Slice| match slice.sources.first()?.layer_range {
        Some((start, end)) => Some((end.saturating_sub(start)) as usize),
        None => Some(*view.journal.identity()?.blocks.get(slice.sources.first()?.model)? as usize),
    };
    let layers: Option<Vec<usize>> = recipe.slices.iter().map(of).collect();
    layers.map(|layers| layers.iter().sum()).filter(|layers| *layers > 0)
}

fn rows(recipe: &Recipe, layers: usize) -> Vec<Row> {
    let labels = labels(&recipe.models);
    let mut rows: Vec<Row> = Vec::new();
    let mut put = |name: String, layer: usize, value: Option<f64>| {
        let row = match rows.iter().position(|row| row.name == name) {
            Some(row) => row,
            None => {
                rows.push(Row { name, values: vec![None; layers] });
                rows.len() - 1
            }
        };
        if let Some(cell) = rows[row].values.get_mut(layer) {
            *cell = value;
        }
    };
    let mut first = 0;
    for slice in &recipe.slices {
        let range = slice.sources.first().and_then(|source| source.layer_range);
        let count = range.map_or(layers, |(start, end)| end.saturating_sub(start) as usize);
        let settings = slice.sources.iter().flat_map(|source| {
            let label = labels.get(source.model).map_or("?", String::as_str);
            source.parameters.iter().map(move |(parameter, setting)| (format!("{parameter} of {label}"), setting))
        });
        let shared = slice.parameters.iter().map(|(parameter, setting)| (parameter.clone(), setting));
        for (name, setting) in settings.chain(shared) {
            for rule in &setting.rules {
                if matches!(rule.curve, Curve::Steps(_)) {
                    continue;
                }
                for layer in 0..count {
                    let depth = if count > 1 { layer as f64 / (count - 1) as f64 } else { 0.0 };
                    put(format!("{name}{}", filter(rule, setting.rules.len())), first + layer, rule.curve.at(depth));
                }
            }
        }
        first += count;
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

fn filter(rule: &Rule, rules: usize) -> String {
    match &rule.filter {
        Some(filter) => format!(", {}", filter.text),
        None if rules > 1 => ", others".to_owned(),
        None => String::new(),
    }
}

fn picture(rows: &[Row], layers: usize, largest: f64) -> String {
    let (left, height) = (230.0, 30.0);
    let width = (WIDTH - left - 10.0) / layers as f64;
    let bottom = height * rows.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {:.0}\" font-family=\"sans-serif\" font-size=\"13\">",
        bottom + 42.0
    );
    for (i, row) in rows.iter().enumerate() {
        let y = height * i as f64;
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            y + 0.65 * height,
            escape(&shortened(&row.name, 34))
        );
        let mut start = 0;
        while start < layers {
            let value = row.values[start];
            let same = |other: &&Option<f64>| match (**other, value) {
                (Some(a), Some(b)) => (a - b).abs() < SAME,
                (a, b) => a == b,
            };
            let run = row.values[start..].iter().take_while(same).count().max(1);
            let share = value.unwrap_or(0.0) / largest;
            let (x, wide) = (left + width * start as f64, width * run as f64);
            let _ = write!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{}\" fill=\"{}\" stroke=\"#fff\"/>",
                height - 2.0,
                shade(share)
            );
            if let Some(value) = value
                && wide > 32.0
            {
                let _ = write!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{}\">{}</text>",
                    x + wide / 2.0,
                    y + 0.62 * height,
                    ink(share),
                    short(value)
                );
            }
            start += run;
        }
    }
    svg + &columns(left, width, layers, bottom, "layer") + "</svg>"
}
