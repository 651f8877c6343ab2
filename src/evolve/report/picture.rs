//! A recipe's path in, a picture of it out: an SVG like the paper's figure of evolved paths, block over position, one colour for each model.

use std::fmt::Write as _;

use super::escape;
use super::svg::{COLOURS, WIDTH};
use crate::recipe::{Hop, Recipe};

/// Height of the plane of dots.
const HEIGHT: f64 = 300.0;
/// Room for the labels of the highest dots.
const TOP: f64 = 36.0;
/// Room for the labels at the left and below.
const MARGIN: f64 = 44.0;
/// Room for the name of the lower axis.
const LEGEND: f64 = 12.0;
/// Radius of a dot whose scale is 1, at most; the radius grows with the scale.
const RADIUS: f64 = 7.0;
/// Dots that stand at least so far apart have their scale written above them: turned upright, or as it is read.
const LABEL_STEPS: [f64; 2] = [11.0, 30.0];

/// One block passed.
struct Dot {
    model: Option<usize>,
    layer: u32,
    scale: f64,
}

/// The picture of the path of `recipe`; nothing if it has none.
pub(in crate::evolve) fn path_picture(recipe: &Recipe) -> Option<String> {
    let dots: Vec<Dot> = recipe.path.iter().flat_map(dots).collect();
    let layers = dots.iter().map(|dot| dot.layer).max()? + 1;
    let mut models: Vec<Option<usize>> = Vec::new();
    for dot in &dots {
        if !models.contains(&dot.model) {
            models.push(dot.model);
        }
    }
    let place = |model: Option<usize>| models.iter().position(|m| *m == model).unwrap_or(0);
    let colour = |model| COLOURS[place(model) % COLOURS.len()];
    let name = |model: Option<usize>| match model {
        None => "the merge".to_owned(),
        Some(model) => escape(&recipe.models[model].written),
    };
    let step = (WIDTH - 2.0 * MARGIN) / dots.len() as f64;
    let x = |position: usize| MARGIN + (position as f64 + 0.5) * step;
    let y = |layer: u32| HEIGHT - (f64::from(layer) + 0.5) * HEIGHT / f64::from(layers);
    let full = RADIUS.min(0.45 * step).min(0.45 * HEIGHT / f64::from(layers)).max(1.5);

    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 -{TOP} {WIDTH} {}\" font-family=\"sans-serif\" font-size=\"13\">",
        TOP + HEIGHT + MARGIN + LEGEND + 20.0 * models.len() as f64
    );
    let line = dots.iter().enumerate().map(|(i, dot)| format!("{:.1},{:.1}", x(i), y(dot.layer)));
    let line: Vec<String> = line.collect();
    let _ = write!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"#ccc\"/>", line.join(" "));
    for layer in (0..layers).step_by((layers as usize).div_ceil(16)) {
        let _ =
            write!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{layer}</text>", MARGIN - 12.0, y(layer) + 4.0);
    }
    for (i, dot) in dots.iter().enumerate() {
        let radius = (full * dot.scale.abs()).clamp(1.0, 2.0 * full);
        let _ = write!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{}\"><title>position {i}: block {} of {}, scale {:.3}</title></circle>",
            x(i),
            y(dot.layer),
            colour(dot.model),
            dot.layer,
            name(dot.model),
            dot.scale
        );
        if step >= LABEL_STEPS[0] && dot.scale != 1.0 {
            let (x, y) = (x(i), y(dot.layer) - full - 5.0);
            let place = if step >= LABEL_STEPS[1] {
                format!("x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\"")
            } else {
                format!("transform=\"translate({:.1} {y:.1}) rotate(-90)\"", x + 4.0)
            };
            let _ = write!(svg, "<text {place} font-size=\"11\">{:.2}</text>", dot.scale);
        }
    }
    for position in (0..dots.len()).step_by(dots.len().div_ceil(16)) {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{position}</text>",
            x(position),
            HEIGHT + 16.0
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#5c6675\">position on the path</text>\
         <text transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\" fill=\"#5c6675\">block of its model</text>",
        WIDTH / 2.0,
        HEIGHT + 34.0,
        HEIGHT / 2.0
    );
    for (i, model) in models.iter().enumerate() {
        let at = HEIGHT + MARGIN + LEGEND + 20.0 * i as f64;
        let count = dots.iter().filter(|dot| dot.model == *model).count();
        let _ = write!(
            svg,
            "<circle cx=\"{MARGIN}\" cy=\"{at}\" r=\"6\" fill=\"{}\"/><text x=\"{}\" y=\"{}\">{}: {count} of {} blocks</text>",
            colour(*model),
            MARGIN + 14.0,
            at + 4.0,
            name(*model),
            dots.len()
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// The blocks of a hop; none where it does not say which, as no path that was searched does.
fn dots(hop: &Hop) -> impl Iterator<Item = Dot> {
    let (start, end) = hop.layers.unwrap_or_default();
    (start..end).map(|layer| Dot { model: hop.model, layer, scale: hop.scale })
}
