//! `ggraft score`: models by tasks, one table.

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::ScoreArgs;
use super::output::{interval, of_model, open, print, print_json, stderr, table, value};
use super::progress::bar;
use crate::duration::duration;
use crate::score::{Prepared, Progress, Score, largest_size};
use crate::tasks::{Question, Task};

pub(super) fn score(args: &ScoreArgs, as_json: bool) -> anyhow::Result<()> {
    // Everything that can be wrong with the input is found before the first model is loaded.
    let tasks = args.tasks.iter().map(|t| Task::load(t, args.limit).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let models = args.models.iter().map(|m| open(m, &args.cache)).collect::<Result<Vec<_>, _>>()?;
    let mut results = Vec::new();
    for model in &models {
        let vocabulary = model.vocabulary()?;
        let in_model = |error| of_model(&model.path, error);
        let prepare = |task| Prepared::new(Arc::clone(task), &vocabulary).map_err(in_model);
        let prepared = tasks.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let size = |p: &Prepared| p.context_size(args.compute.room());
        let (mut live, _) =
            model.start(vocabulary, args.compute.settings(), largest_size(prepared.iter().map(size)))?;
        for prepared in prepared {
            live.resize(size(&prepared))?;
            let name = model.path.display().to_string();
            let bar = bar(prepared.task().questions.len(), &format!("{name}: {}", prepared.task().name));
            let mut on_step = |done, _| {
                bar.set_position(done as u64);
                true
            };
            let score = prepared.score_all(&mut live, &mut Progress::new(&mut on_step)).map_err(in_model)?;
            bar.finish_and_clear();
            if score.failed > 0 {
                eprintln!(
                    "warning: `{name}` computes NaN or infinity on {} of {} questions of `{}`: its weights are damaged, or its recipe takes \
                     them too far",
                    score.failed,
                    score.estimate.n,
                    prepared.task().name
                );
            }
            results.push((name, prepared.shared_task(), score));
        }
    }
    if as_json {
        let result = |(model, task, score): &(String, Arc<Task>, Score)| {
            let mut result = to_json(model, task, score);
            if args.items {
                result["items"] = items(task, score);
            }
            result
        };
        let results: Vec<Value> = results.iter().map(result).collect();
        return print_json(&json!({ "results": results }));
    }
    let row = |(model, task, s): (String, Arc<Task>, Score)| {
        let e = s.estimate;
        vec![
            model,
            task.name.clone(),
            s.metric.to_owned(),
            value(s.metric, e.value),
            stderr(s.metric, e.stderr),
            interval(s.metric, e.ci95),
            e.n.to_string(),
            duration(s.elapsed.as_secs_f64()),
        ]
    };
    let header = ["model", "task", "metric", "value", "± stderr", "95 % interval", "n", "time"];
    print(format_args!("{}", table(3, &header, results.into_iter().map(row))))?;
    Ok(())
}

fn to_json(model: &str, task: &Task, score: &Score) -> Value {
    let e = score.estimate;
    json!({
        "model": model, "task": task.name, "metric": score.metric, "value": e.value, "stderr": e.stderr, "ci95": e.ci95,
        "n": e.n, "seconds": score.elapsed.as_secs_f64(),
        "prompt_seconds": score.work.prompt_time.as_secs_f64(), "prompt_tokens": score.work.prompt_tokens,
        "generate_seconds": score.work.generate_time.as_secs_f64(), "generated_tokens": score.work.generated_tokens,
    })
}

/// An entry for each question.
fn items(task: &Task, score: &Score) -> Value {
    let entry = |(index, (question, value)): (usize, (&Question, &f64))| {
        let mut entry = json!({ "line": question.line, "score": value });
        if let (Some(choices), Some(logs)) = (&question.choices, score.choices.get(index)) {
            entry["right"] = choices.right.into();
            entry["log_likelihoods"] = json!(logs);
        }
        if let Some(answer) = score.answers.get(index) {
            entry["output"] = json!(answer);
        }
        entry
    };
    task.questions.iter().zip(&score.items).enumerate().map(entry).collect()
}
