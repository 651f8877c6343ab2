//! `ggraft bench`: merge throughput beside memcpy, and what llama.cpp makes of the result.

use std::time::Instant;

use serde_json::json;

use super::args::BenchArgs;
use super::output::{bytes, duration, open, print, print_json, table};
use crate::bench::{Figures, measure};

pub(super) fn bench(args: &BenchArgs, as_json: bool) -> anyhow::Result<()> {
    let start = Instant::now();
    let model = open(&args.model, &args.cache)?;
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
            row("open and plan the first candidate", duration(opened));
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
