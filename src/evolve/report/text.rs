//! The parts of a report that are words and numbers: how far, what came out, how sure that is, and what it cost.

use std::fmt::Write as _;

use super::{View, escape};
use crate::duration::duration;
use crate::evolve::belief::probability;
use crate::evolve::search::{BEST, Tested};
use crate::evolve::{Belief, Comparison, Entry};

/// Recipes longer than so many lines are folded.
const SHORT: usize = 30;
/// Differences that chance makes more often than this are called no difference.
const SIGNIFICANT: f64 = 0.05;

/// What the numbers of a search are, in words.
pub(super) fn measure(view: &View) -> String {
    match view.measure.unit() {
        Some(unit) => format!("{unit}{}", view.measure.remark()),
        None if view.measure.is_of_one_task() => "share of right answers".to_owned(),
        None => "weighted sum of the tasks' scores".to_owned(),
    }
}

pub(super) fn state(view: &View) -> String {
    let p = &view.progress;
    let of = format!("{} of {} candidates", p.candidates, p.budget);
    let left = match p.seconds_left {
        Some(seconds) if p.candidates < p.budget => format!(", about {} left for candidates", duration(seconds)),
        _ if view.refresh.is_some() => ", now the last comparisons".to_owned(),
        _ => String::new(),
    };
    let (class, word, rest) = match (view.refresh, view.outcome.interrupted) {
        (Some(seconds), _) => {
            let rest = format!("{of}{left}. This page looks again every {seconds} seconds.");
            (" running", "running", rest)
        }
        (None, true) => {
            let rest = format!("{of}. The search was stopped before its end; go on with <code>--resume</code>.");
            ("", "stopped", rest)
        }
        (None, false) => {
            let why = view.outcome.stopped.map_or(String::new(), |_| {
                ", and then no more, because the search had converged or could learn nothing more".to_owned()
            });
            (" finished", "finished", format!("{} candidates{why}.", p.candidates))
        }
    };
    let bar = format!("<progress max={} value={}></progress>", p.budget.max(1), p.candidates);
    format!(
        "<p><span class=\"state{class}\">{word}</span> {rest}</p>{}",
        if view.refresh.is_some() { &bar } else { "" }
    )
}

pub(super) fn cards(view: &View) -> String {
    let p = &view.progress;
    let mut html = String::from("<div class=cards>");
    // Writing to a String cannot fail.
    let mut card = |value: String, what: &str| {
        let _ = write!(html, "<div class=card><strong>{value}</strong><span>{what}</span></div>");
    };
    let tested = |name: &str| view.outcome.tested.iter().find(|t| t.name == name);
    if let Some(best) = tested(BEST) {
        card(format!("{:.3}", best.trial.summary(&view.weights).0), "best recipe, on questions it never saw");
        if let Some(parent) = best_parent(view) {
            card(format!("{:.3}", parent.trial.summary(&view.weights).0), "best of its models, same questions");
        }
    } else if let Some(best) = p.best {
        let m = &view.measure;
        card(format!("{:.3}", m.value(best)), &format!("best search {} so far{}", m.name(), m.remark()));
    }
    card(p.candidates.to_string(), "candidates");
    if let Some(rate) = p.per_hour {
        card(format!("{rate:.0}"), "candidates an hour");
    }
    card(duration(p.swap_seconds + p.score_seconds), "of merging and scoring");
    html + "</div>"
}

/// The model of the search that is hardest to beat.
fn best_parent<'a>(view: &'a View) -> Option<&'a Tested> {
    let belief = view.outcome.belief.as_ref()?;
    view.outcome.tested.get(belief.best_parent)
}

pub(super) fn verdict(view: &View) -> String {
    let tested = &view.outcome.tested;
    let (best, parent) = (tested.iter().find(|t| t.name == BEST), best_parent(view));
    let (Some(best), Some(parent)) = (best, parent) else {
        return "<div class=verdict>What is best so far is the luckiest of many noisy scores, so it looks better than it is. At the end the best \
                few are asked all search questions, and the winner is compared with every model on questions the search never saw.</div>"
            .to_owned();
    };
    let score = |t: &Tested| {
        let (value, [low, high]) = t.trial.summary(&view.weights);
        format!("{value:.3} (between {low:.3} and {high:.3}, 95 % sure)")
    };
    // Its file; where that lies is said below.
    let name = escape(parent.name.rsplit('/').next().unwrap_or(&parent.name));
    let Some(belief) = &view.outcome.belief else { return String::new() };
    let Comparison { difference, won, lost, p_adjusted, .. } = &belief.comparisons[belief.best_parent];
    let (sure, better) = (*p_adjusted < SIGNIFICANT, *difference > 0.0);
    let (class, words) = match (sure, better) {
        (true, true) => {
            (" yes", format!("The best recipe is better than <strong>{name}</strong>, the best of its models."))
        }
        (true, false) => {
            (" no", format!("The best recipe is worse than <strong>{name}</strong>, the best of its models."))
        }
        (false, _) => (
            "",
            format!("The best recipe is not shown to differ from <strong>{name}</strong>, the best of its models."),
        ),
    };
    let one = if belief.comparisons.len() > 1 { "one of so many comparisons" } else { "it" };
    let chance = format!(
        "On {} questions that the search never saw it was better on {won} and worse on {lost}; by chance alone {one} comes to such a \
         difference with probability {}.",
        best.trial.items(),
        probability(*p_adjusted)
    );
    let more = match (sure, better) {
        (false, _) => " More test questions would tell smaller differences from chance.",
        _ => "",
    };
    format!(
        "<div class=\"verdict{class}\">{words} It scores {}, {name} {}. {chance}{more}</div>",
        score(best),
        score(parent)
    )
}

pub(super) fn tested(view: &View) -> String {
    let tested = &view.outcome.tested;
    if tested.is_empty() {
        return String::new();
    }
    format!(
        "<h2>On questions the search never saw</h2>{}<div class=wide>{}</div><p class=soft>The score is the {}; intervals are 95 %. The last \
         columns compare with the best recipe on the same questions: its lead, how many it did better on, the reverse, and how likely such a \
         difference is by chance alone (exact McNemar test where answers are right or wrong, else a paired bootstrap), by itself and \
         corrected.</p>{}",
        super::plots::intervals(view),
        table(view),
        measure(view),
        view.outcome.belief.as_ref().map(basis).unwrap_or_default()
    )
}

/// What the comparisons rest on, and what speaks against believing them.
fn basis(belief: &Belief) -> String {
    let mut html = format!("<p class=soft>The best recipe was {}.</p>", escape(&belief.to_string()));
    for warning in &belief.warnings {
        // Writing to a String cannot fail.
        let _ = write!(html, "<div class=\"verdict no\">{}</div>", escape(warning));
    }
    html
}

fn table(view: &View) -> String {
    let mut html = String::from(
        "<table><tr><th>model<th>score<th>95 % interval<th>lead of the best<th>95 % interval<th>wins<th>loses<th>p<th>corrected p</tr>",
    );
    let comparisons = view.outcome.belief.as_ref().map_or(&[][..], |belief| &belief.comparisons);
    for (i, t) in view.outcome.tested.iter().enumerate() {
        let (value, [low, high]) = t.trial.summary(&view.weights);
        let class = if t.name == BEST { " class=best" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(html, "<tr{class}><td>{}<td>{value:.3}<td>{low:.3} – {high:.3}", escape(&t.name));
        match comparisons.get(i) {
            Some(c) => {
                let ([low, high], p, corrected) = (c.ci95, probability(c.p_value), probability(c.p_adjusted));
                let lead = format!("<td>{:+.3}<td>{low:+.3} – {high:+.3}", c.difference);
                let _ = write!(html, "{lead}<td>{}<td>{}<td>{p}<td>{corrected}</tr>", c.won, c.lost);
            }
            None => html.push_str("<td><td><td><td><td><td></tr>"),
        }
    }
    html + "</table>"
}

/// The recipes that none other beats in every objective.
pub(super) fn front(view: &View) -> String {
    let Some(front) = &view.outcome.front else { return String::new() };
    let mut html =
        String::from("<h2>Recipes that none other beats in everything</h2><div class=wide><table><tr><th>candidate");
    // Writing to a String cannot fail.
    for objective in &front.objectives {
        let _ = write!(html, "<th>{}", escape(objective));
    }
    html.push_str("<th></tr>");
    for point in &front.points {
        let class = if point.picked { " class=best" } else { "" };
        let _ = write!(html, "<tr{class}><td>{}", point.evaluation);
        for value in &point.values {
            let _ = if value.abs() < 10.0 { write!(html, "<td>{value:.3}") } else { write!(html, "<td>{value}") };
        }
        html.push_str(if point.picked { "<td>picked</tr>" } else { "<td></tr>" });
    }
    html + "</table></div><p class=soft>On all search questions; <code>pick</code> says which of them is the best recipe.</p>"
}

pub(super) fn cost(view: &View) -> String {
    let p = &view.progress;
    let total = (p.swap_seconds + p.score_seconds).max(1e-9);
    let mut html = String::from("<h2>Where the time went</h2><table>");
    // Writing to a String cannot fail.
    let mut row = |what: &str, value: String| {
        let _ = write!(html, "<tr><td>{what}<td>{value}</tr>");
    };
    let share = |seconds: f64| format!("{} ({:.1} %)", duration(seconds), 100.0 * seconds / total);
    row("merging recipes into the running model", share(p.swap_seconds));
    if p.prompt_seconds > 0.0 {
        row("reading prompts", share(p.prompt_seconds));
        row("generating answers, and judging them", share(p.score_seconds - p.prompt_seconds));
    } else {
        row("asking questions", share(p.score_seconds));
    }
    row("questions answered", p.questions.to_string());
    row("questions a second", format!("{:.1}", p.questions as f64 / total));
    let written = view.outcome.disk_write_bytes;
    if view.refresh.is_none() {
        row(
            "written to disk while merging and scoring",
            written.map_or("unknown".to_owned(), |b| format!("{b} bytes")),
        );
    }
    let each = view.journal.size() as f64 / p.candidates.max(1) as f64;
    row("journal", format!("{:.0} kB, {each:.0} bytes a candidate", view.journal.size() as f64 / 1000.0));
    html + "</table>"
}

pub(super) fn recipe(view: &View, best_yaml: &str) -> String {
    let so_far = if view.outcome.tested.is_empty() { " so far" } else { "" };
    let how = match view.refresh {
        Some(_) => {
            "<code>ggraft study best</code> and this folder prints it; it is written to <code>best.yaml</code> at the end."
        }
        None => {
            "It lies beside this report: run it with <code>ggraft run best.yaml -p TEXT</code>, serve it with <code>ggraft serve \
             best.yaml</code>, write it out for other programs with <code>ggraft export best.yaml -o best.gguf</code>."
        }
    };
    let open = if best_yaml.lines().count() > SHORT { "" } else { " open" };
    format!(
        "<h2>Best recipe{so_far}</h2><p class=soft>{how}</p><details{open}><summary>The recipe</summary><pre>{}</pre></details>",
        escape(best_yaml)
    )
}

pub(super) fn repeat(view: &View) -> String {
    let mut html = String::from("<h2>How to repeat it</h2>");
    if let Some(identity) = view.journal.identity() {
        // Writing to a String cannot fail.
        let _ = write!(
            html,
            "<p>ggraft {}, llama.cpp {}, seed {}. The same files, seed and versions end with the same recipe.</p><div class=wide><table>\
             <tr><th>model<th>digest of its tensors</tr>",
            escape(&identity.version),
            escape(&identity.llama_cpp),
            identity.seed
        );
        for (name, digest) in &identity.models {
            let _ = write!(html, "<tr><td>{}<td><code>{}</code></tr>", escape(name), escape(digest));
        }
        html.push_str("</table></div>");
        if let Some(warm) = &identity.warm_start {
            let _ = write!(
                html,
                "<p>It started from the best {} of {} candidates of the study <code>{}</code>.</p>",
                warm.points.len(),
                warm.candidates,
                escape(&warm.folder)
            );
        }
    }
    let changes = view.journal.entries().iter().enumerate().filter(|(at, e)| *at > 0 && matches!(e, Entry::Start(_)));
    for (at, _) in changes {
        let before = view.journal.entries()[..at].iter().filter(|e| matches!(e, Entry::Candidate { .. })).count();
        let _ = write!(
            html,
            "<p><strong>After {before} candidates, models, tasks or the evolve file changed</strong> (<code>--allow-changed</code>): scores before and \
             after are not of the same thing.</p>"
        );
    }
    let _ = write!(html, "<h3>Evolve file</h3><pre>{}</pre>", escape(&view.config.text));
    html
}
