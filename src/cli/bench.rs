//! `ggraft bench`: merge throughput beside memcpy, and what llama.cpp makes of the result.

use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::Table;
use ggraft_kernels::Isa;
use rayon::current_num_threads;
use serde_json::{Value, json};

use super::args::{BenchArgs, SyntheticArgs};
use super::output::{BadInput, bytes, open, opened, print, print_json, table};
use super::progress::bar;
use crate::bench::{Figures, Row, Speed, Synthetic, measure, measure_kernels};
use crate::duration::duration;
use crate::image::{Fill, Image};
use crate::open::{Model, is_recipe};
use crate::recipe::Recipe;

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
        return print_json(&json!({
            "isa": Isa::current().name(), "threads": current_num_threads(), "repeat": repeat, "kernels": rows
        }));
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
        current_num_threads()
    ))
}

/// The recipe at `path` with parents in memory, if they are to be made. They go with the images.
fn made(path: &Path, args: &SyntheticArgs) -> anyhow::Result<Option<(Recipe, Vec<Image>)>> {
    let SyntheticArgs { shape, ty, seed } = *args;
    let Some(shape) = shape else { return Ok(None) };
    if !is_recipe(path) {
        return Err(
            BadInput(format!("`--synthetic` makes the parents of a recipe `.yaml`, not `{}`", path.display())).into()
        );
    }
    let mut recipe = Recipe::load(path)?;
    let images = Synthetic { shape, ty, seed }.parents(&mut recipe)?;
    Ok(Some((recipe, images)))
}

/// A recipe or a file.
fn model(path: &Path, args: &BenchArgs, as_json: bool) -> anyhow::Result<()> {
    let start = Instant::now();
    let (recipe, _images) = made(path, &args.synthetic)?.unzip();
    let made = start.elapsed();
    let start = Instant::now();
    let model = match recipe {
        Some(recipe) => opened(Model::of_recipe(recipe, args.cache.open()?)?),
        None => open(path, &args.cache)?,
    };
    let opening = start.elapsed();
    let figures = measure(&model, args.compute.settings(), args.repeat, args.exported)?;
    let shown = Shown { args, made, opening, figures: &figures };
    if as_json { print_json(&shown.json()) } else { print(shown.table()) }
}

/// What was measured, about to be shown.
struct Shown<'a> {
    args: &'a BenchArgs,
    made: Duration,
    opening: Duration,
    figures: &'a Figures,
}

impl Shown<'_> {
    /// Gigabytes a second of the merge, of memcpy, and of the first device's copy.
    fn bandwidths(&self) -> [Option<f64>; 3] {
        let Figures { swaps, copies, device, .. } = self.figures;
        let on_device = device.as_ref().map_or(&[][..], |device| &device.copies);
        [swaps, copies, on_device].map(|times| self.figures.gb_per_second(times))
    }

    fn json(&self) -> Value {
        let Self { args, figures, .. } = self;
        let [merge, memcpy, device_copy] = self.bandwidths();
        let ratio_to = |copy: Option<f64>| merge.zip(copy).map(|(merge, copy)| merge / copy);
        let spread = |times: &[Duration]| {
            Figures::spread(times).map(|[min, median, max]| json!({ "min": min, "median": median, "max": max }))
        };
        let SyntheticArgs { shape, ty, seed } = args.synthetic;
        let synthetic = shape.map(
            |shape| json!({ "shape": shape.name, "type": ty.name(), "seed": seed, "seconds": self.made.as_secs_f64() }),
        );
        json!({
            "synthetic": synthetic, "threads": current_num_threads(), "swap_seconds": spread(&figures.swaps),
            "plan_and_swap_seconds": spread(&figures.later_swaps), "open_seconds": self.opening.as_secs_f64(),
            "bytes_read": figures.fill.bytes_read, "bytes_written": figures.fill.bytes_written,
            "gb_per_second": merge, "memcpy_gb_per_second": memcpy, "ratio_to_memcpy": ratio_to(memcpy),
            "devices": figures.device.as_ref().map_or(&[][..], |device| &device.names),
            "device_copy_gb_per_second": device_copy, "ratio_to_device_copy": ratio_to(device_copy),
            "load_seconds": figures.load.as_secs_f64(),
            "prompt_tokens_per_second": figures.speed.prompt,
            "generated_tokens_per_second": figures.speed.generated,
            "exported_prompt_tokens_per_second": figures.exported.map(|speed| speed.prompt),
            "exported_generated_tokens_per_second": figures.exported.map(|speed| speed.generated),
            "candidate_seconds": figures.candidate.map(|time| time.as_secs_f64()),
            "questions": figures.asked.questions, "questions_seconds": figures.questions.as_secs_f64(),
            "answer_tokens": figures.answer_tokens,
            "disk_write_bytes": figures.disk_write_bytes,
        })
    }

    fn table(&self) -> Table {
        let Self { args, figures, .. } = self;
        let mut rows = Vec::new();
        let mut row = |what: &str, value: String| rows.push(vec![what.to_owned(), value]);
        let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
        let asked = format!("{} questions, answers of {} tokens", figures.asked.questions, figures.asked.answer);
        let questions = figures.questions.as_secs_f64();
        if let Some(shape) = args.synthetic.shape {
            let parents =
                format!("{} in {}, made in {}", shape.name, args.synthetic.ty, duration(self.made.as_secs_f64()));
            row("parents", parents);
        }
        if let Some([min, median, max]) = Figures::spread(&figures.swaps) {
            row("swap, median", ms(median));
            row("swap, fastest and slowest", format!("{} – {}", ms(min), ms(max)));
            let Fill { bytes_read, bytes_written, .. } = figures.fill;
            row("bytes read, written", format!("{}, {}", bytes(bytes_read), bytes(bytes_written)));
            let [merge, memcpy, device_copy] = self.bandwidths();
            let speed = |speed: f64| format!("{speed:.2} GB/s");
            if let Some(merge) = merge {
                row("merge", speed(merge));
                let copies = [
                    ("memcpy", "memcpy of as many bytes", memcpy),
                    ("device's copy", "the device's copy of as many bytes", device_copy),
                ];
                for (name, what, copy) in copies {
                    if let Some(copy) = copy {
                        row(what, speed(copy));
                        row(&format!("merge / {name}"), format!("{:.3}", merge / copy));
                    }
                }
            }
            if let Some([_, median, _]) = Figures::spread(&figures.later_swaps) {
                row("open and plan the first candidate", duration(self.opening.as_secs_f64()));
                row("plan and swap a later one, median", ms(median));
            }
            row(&format!("swap / {asked}"), format!("{:.1} %", 100.0 * median / questions));
        }
        row(&asked, format!("{questions:.2} s"));
        if let Some(candidate) = figures.candidate {
            row("one candidate: plan, swap, questions", format!("{:.2} s", candidate.as_secs_f64()));
        }
        row("open, merge and load", ms(figures.load.as_secs_f64()));
        let tokens = |speed: f64| format!("{speed:.0} tokens/s");
        let Speed { prompt, generated } = figures.speed;
        row("prompt, 512 tokens", tokens(prompt));
        row("generation, 64 tokens", tokens(generated));
        if let Some(exported) = figures.exported {
            let beside = |own: f64, other: f64| format!("{} ({:+.1} %)", tokens(other), 100.0 * (other / own - 1.0));
            row("prompt, as an exported file", beside(prompt, exported.prompt));
            row("generation, as an exported file", beside(generated, exported.generated));
        }
        if let Some(device) = &figures.device {
            row("devices", device.names.join(", "));
        }
        row("written to disk", figures.disk_write_bytes.map_or("unknown".into(), |b| format!("{b} bytes")));
        table(1, &["what", "figure"], rows)
    }
}
