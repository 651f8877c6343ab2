//! Statistics of single rows and columns: inner products, and how far the softmax of a row is from that of the base.

use rayon::prelude::*;

use crate::run::decoded;
use crate::{Codecs, Lines, Source, TILE};

use super::product;

/// Columns that are summed together: whole blocks of every type.
const STRIP: usize = TILE / 2;
/// Added to every probability of [`divergences`].
const LEAST_PROBABILITY: f64 = 1e-8;

/// Inner products of all pairs of sources for each line: those with `i <= j`, row-major, line after line.
pub fn line_grams(sources: &[Source], elements: usize, row: usize, lines: Lines, codecs: &Codecs) -> Vec<f64> {
    match lines {
        Lines::Rows => row_grams(sources, elements, row, codecs),
        Lines::Columns => column_grams(sources, elements, row, codecs),
    }
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (i..n).map(move |j| (i, j)))
}

fn row_grams(sources: &[Source], elements: usize, row: usize, codecs: &Codecs) -> Vec<f64> {
    let n = sources.len();
    let of_row = |number: usize| {
        let range = number * row..(number + 1) * row;
        let values: Vec<Vec<f32>> = sources.iter().map(|s| decoded(s, &range, codecs)).collect();
        pairs(n).map(|(i, j)| product(&values[i], &values[j], 0.0)).collect::<Vec<f64>>()
    };
    (0..elements / row).into_par_iter().flat_map_iter(of_row).collect()
}

fn column_grams(sources: &[Source], elements: usize, row: usize, codecs: &Codecs) -> Vec<f64> {
    let n = sources.len();
    let of_strip = |strip: usize| {
        let columns = strip * STRIP..((strip + 1) * STRIP).min(row);
        let count = pairs(n).count();
        let mut sums = vec![0f64; columns.len() * count];
        for first in (0..elements).step_by(row) {
            let range = first + columns.start..first + columns.end;
            let values: Vec<Vec<f32>> = sources.iter().map(|s| decoded(s, &range, codecs)).collect();
            for (p, (i, j)) in pairs(n).enumerate() {
                let products = values[i].iter().zip(&values[j]).map(|(a, b)| f64::from(*a) * f64::from(*b));
                sums.iter_mut().skip(p).step_by(count).zip(products).for_each(|(sum, product)| *sum += product);
            }
        }
        sums
    };
    (0..row.div_ceil(STRIP)).into_par_iter().flat_map_iter(of_strip).collect()
}

/// The Kullback-Leibler divergence of each row's softmax from that of the base's row.
pub fn divergences(base: &Source, source: &Source, elements: usize, row: usize, codecs: &Codecs) -> Vec<f64> {
    let of_row = |number: usize| {
        let range = number * row..(number + 1) * row;
        let (p, q) = (softmax(&decoded(source, &range, codecs)), softmax(&decoded(base, &range, codecs)));
        // Rounding must not make it negative: scores are ordered by their bits.
        p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>().max(0.0)
    };
    (0..elements / row).into_par_iter().map(of_row).collect()
}

fn softmax(row: &[f32]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = row.iter().map(|v| f64::from(v - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum + LEAST_PROBABILITY).collect()
}
