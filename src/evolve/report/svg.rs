//! Small things that pictures share: colours, numbers, grids of coloured cells, and a key for what is what.

use std::fmt::{Display, Write as _};

use super::escape;

/// One for each thing told apart, distinct also for the colour-blind (Okabe and Ito).
pub(super) const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666"];

/// Width of a picture in pixels.
pub(super) const WIDTH: f64 = 900.0;

/// A number as short as it may be said: three significant digits.
pub(super) fn short(x: f64) -> String {
    match x.abs() {
        _ if !x.is_finite() => "?".to_owned(),
        0.0 => "0".to_owned(),
        a if !(0.001..10_000.0).contains(&a) => format!("{x:.1e}"),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        _ => format!("{x:.2}"),
    }
}

/// The colour of `share`, from white at 0 to dark blue at 1; negative shares go to dark orange.
pub(super) fn shade(share: f64) -> String {
    let dark = if share < 0.0 { [190.0, 80.0, 0.0] } else { [10.0, 75.0, 140.0] };
    let share = if share.is_finite() { share.abs().min(1.0) } else { 0.0 };
    let mix = |dark: f64| (255.0 + (dark - 255.0) * share).round() as u8;
    let [r, g, b] = dark.map(mix);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The colour of what is written on a cell of that shade.
pub(super) fn ink(share: f64) -> &'static str {
    if share.abs() > 0.55 { "#fff" } else { "#1d2430" }
}

/// What the colours of a picture mean.
pub(super) fn key(parts: &[(&str, &str, &str)]) -> String {
    let part = |(shape, colour, words): &(&str, &str, &str)| {
        format!("<span><i class={shape} style=\"background:{colour}\"></i>{}</span>", escape(words))
    };
    format!("<div class=key>{}</div>", parts.iter().map(part).collect::<String>())
}

/// The key of [`shade`] for values from `-scale` or 0 to `scale`.
pub(super) fn shade_key(what: &str, scale: f64, negative: bool) -> String {
    let least = if negative { -scale } else { 0.0 };
    let parts: Vec<(String, String)> = (0..=4)
        .map(|i| {
            let value = least + (scale - least) * f64::from(i) / 4.0;
            (shade(value / scale), short(value))
        })
        .collect();
    let parts: Vec<(&str, &str, &str)> = parts.iter().map(|(c, v)| ("cell", c.as_str(), v.as_str())).collect();
    key(&parts).replacen("<div class=key>", &format!("<div class=key><span>{}:</span>", escape(what)), 1)
}

/// A grid of cells of one size, `rows` of them named, each cell a share for [`shade`]; below, the columns `of` something are counted.
pub(super) fn grid(rows: &[(String, Vec<f64>)], of: &str) -> String {
    let count = rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0).max(1);
    let left = 230.0;
    let height = if rows.len() > 40 { 9.0 } else { 16.0 };
    let width = (WIDTH - left - 10.0) / count as f64;
    let total = height * rows.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {:.0}\" font-family=\"sans-serif\" font-size=\"{}\">\
         <rect x=\"{left}\" y=\"0\" width=\"{:.1}\" height=\"{total:.1}\" fill=\"#fff\" stroke=\"#dfe3e9\"/>",
        total + 38.0,
        if rows.len() > 40 { 8 } else { 12 },
        width * count as f64
    );
    for (i, (name, cells)) in rows.iter().enumerate() {
        let y = height * i as f64;
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 6.0,
            y + 0.78 * height,
            escape(&shortened(name, 42))
        );
        // A run of cells of one colour is one rectangle.
        let colours: Vec<String> = cells.iter().map(|cell| shade((cell * 16.0).round() / 16.0)).collect();
        let mut start = 0;
        while start < colours.len() {
            let run = colours[start..].iter().take_while(|colour| **colour == colours[start]).count();
            if colours[start] != "#ffffff" {
                let _ = write!(
                    svg,
                    "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height}\" fill=\"{}\"/>",
                    left + width * start as f64,
                    width * run as f64,
                    colours[start]
                );
            }
            start += run;
        }
    }
    svg + &columns(left, width, count, total, of) + "</svg>"
}

/// What stands under `count` columns of a grid that ends at `bottom`: their numbers, as many as there is room for, and what they are.
pub(super) fn columns(left: f64, width: f64, count: usize, bottom: f64, name: &str) -> String {
    let mut svg = String::new();
    let mut write = |column: f64, y: f64, what: &dyn Display| {
        let x = left + width * column;
        // Writing to a String cannot fail.
        let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"12\" text-anchor=\"middle\">{what}</text>");
    };
    for column in (0..count).step_by(count.div_ceil(32)) {
        write(column as f64 + 0.5, bottom + 14.0, &column);
    }
    write(count as f64 / 2.0, bottom + 32.0, &name);
    svg
}

/// The end of `text`, which tells more than the beginning, where it is too long.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        text.to_owned()
    } else {
        format!("…{}", text.chars().skip(count - most + 1).collect::<String>())
    }
}
