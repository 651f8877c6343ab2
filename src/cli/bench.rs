//! `ggraft bench`: merge throughput beside memcpy, and what llama.cpp makes of the result.

use std::path::Path;
use std::time::Instant;

use ggraft_kernels::Isa;
use serde_json::{Value, json};

use super::args::BenchArgs;
use super::output::{bytes, open, print, print_json, table};
use super::progress::bar;
use crate::bench::{Figures, Row, measure, measure_kernels};
use crate::duration::duration;

pub(super) fn bench(args: &BenchArgs, as_json: bool) -> anyhow::Result<()> {
    match &args.model {
        Some(path) => model(path, args, as_json),
        None => kernels(args.repeat, as_json),
    }
}

/// Every type by three methods.
fn kernels(repeat: usize, as_json: bool) -> anyhow::Result<()> {
    let bar = bar(0, "merging");
    let rows = measure_kernels(repeat, &mut |row, count| {
        bar.set_length(count as u64);
        bar.inc(1);
        bar.set_message(format!("{} of {}", row.method, row.from));
    });
    bar.finish_and_clear();
    let figures = |row: &Row| {
        let (merge, copy) = (row.gb_per_second(&row.merges), row.gb_per_second(&row.copies));
        let ggml = row.ggml.map(|time| row.gb_per_second(&[time]));
        (merge, copy, ggml)
    };
    if as_json {
        let to_json = |row: &Row| {
            let (merge, copy, ggml) = figures(row);
            json!({
                "method": row.method, "source_type": row.from.name(), "type": row.to.name(), "bytes": row.bytes,
                "gb_per_second": merge, "memcpy_gb_per_second": copy, "ratio_to_memcpy": merge / copy,
                "ggml_gb_per_second": ggml, "ratio_to_ggml": ggml.map(|ggml| merge / ggml),
            })
        };
        let rows: Vec<Value> = rows.iter().map(to_json).collect();
        return print_json(&json!({ "isa": Isa::current().name(), "repeat": repeat, "kernels": rows }));
    }
    let header =
        ["method", "types", "merge", "memcpy of as many bytes", "merge / memcpy", "ggml's codecs", "merge / ggml"];
    let lines = rows.iter().map(|row| {
        let (merge, copy, ggml) = figures(row);
        let speed = |speed: f64| format!("{speed:.2} GB/s");
        vec![
            row.method.to_owned(),
            format!("{} -> {}", row.from, row.to),
            speed(merge),
            speed(copy),
            format!("{:.2}", merge / copy),
            ggml.map(speed).unwrap_or_default(),
            ggml.map(|ggml| format!("{:.1}", merge / ggml)).unwrap_or_default(),
        ]
    });
    print(format_args!("{}", table(2, &header, lines)))?;
    print(format_args!(
        "instructions: {}; medians of {repeat}; threads: {}",
        Isa::current().name(),
        rayon::current_num_threads()
    ))
}

/// A recipe or a file.
fn model(path: &Path, args: &BenchArgs, as_json: bool) -> anyhow::Result<()> {
    let start = Instant::now();
    let model = open(path, &args.cache)?;
    let opened = start.elapsed();
    let figures = measure(&model, args.compute.settings(), args.repeat)?;
    let swap = Figures::spread(&figures.swaps);
    let candidate = Figures::spread(&figures.candidates);
    let (merge_speed, copy_speed) = (figures.gb_per_second(&figures.swaps), figures.gb_per_second(&figures.copies));
    let ratio = merge_speed.zip(copy_speed).map(|(merge, copy)| merge / copy);
    if as_json {
        let spread = |[min, median, max]: [f64; 3]| json!({ "min": min, "median": median, "max": max });
        return print_json(&json!({
            "swap_seconds": swap.map(spread), "candidate_seconds": candidate.map(spread), "open_seconds": opened.as_secs_f64(),
            "bytes_read": figures.fill.bytes_read, "bytes_written": figures.fill.bytes_written,
            "gb_per_second": merge_speed, "memcpy_gb_per_second": copy_speed, "ratio_to_memcpy": ratio,
            "load_seconds": figures.load.as_secs_f64(), "prompt_tokens_per_second": figures.prompt_speed,
            "generated_tokens_per_second": figures.generate_speed,
            "score_32_questions_seconds": figures.questions.as_secs_f64(),
            "disk_write_bytes": figures.disk_write_bytes,
        }));
    }
    let mut rows = Vec::new();
    let mut row = |what: &str, value: String| rows.push(vec![what.to_owned(), value]);
    let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
    if let Some([min, median, max]) = swap {
        row("swap, median", ms(median));
        row("swap, fastest and slowest", format!("{} – {}", ms(min), ms(max)));
        row(
            "bytes read, written",
            format!("{}, {}", bytes(figures.fill.bytes_read), bytes(figures.fill.bytes_written)),
        );
        if let (Some(merge), Some(copy), Some(ratio)) = (merge_speed, copy_speed, ratio) {
            row("merge", format!("{merge:.2} GB/s"));
            row("memcpy of as many bytes", format!("{copy:.2} GB/s"));
            row("merge / memcpy", format!("{ratio:.3}"));
        }
        if let Some([_, median, _]) = candidate {
            row("open and plan the first candidate", duration(opened.as_secs_f64()));
            row("plan and swap a later one, median", ms(median));
        }
        row("swap / scoring 32 short questions", format!("{:.1} %", 100.0 * median / figures.questions.as_secs_f64()));
    }
    row("scoring 32 short questions", format!("{:.2} s", figures.questions.as_secs_f64()));
    row("open, merge and load", ms(figures.load.as_secs_f64()));
    row("prompt, 512 tokens", format!("{:.0} tokens/s", figures.prompt_speed));
    row("generation, 64 tokens", format!("{:.0} tokens/s", figures.generate_speed));
    row("written to disk", figures.disk_write_bytes.map_or("unknown".into(), |b| format!("{b} bytes")));
    print(format_args!("{}", table(1, &["what", "figure"], rows)))?;
    Ok(())
}
