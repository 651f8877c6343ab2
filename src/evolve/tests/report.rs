//! The report: everything in one file, nothing of it taken for HTML.

use std::fs;

use super::*;
use crate::evolve::report::path_picture;
use crate::recipe::Hop;

/// The report of a search with these model names and search settings.
fn report(models: [&str; 2], search: &str, cancel_at: Option<usize>) -> (String, Outcome) {
    let [a, b] = models.map(|m| format!("'{m}'"));
    let genome = format!("genome: {{models: [{a}, {b}], merge_method: linear, layer_granularity: 4}}");
    let config = Config::parse(format!("{genome}\n{TASKS}\nsearch: {{{search}}}\n"), Path::new("<i>/e.yaml")).unwrap();
    let folder = folder();
    let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
    let mut scorer = Landscape { cancel_at, ..Landscape::default() };
    let outcome = evolve(&config, &stages(&config), 30, 0, &mut scorer, &mut journal, &mut |_| ()).unwrap();
    write_report(folder.path(), &config, &journal, &outcome, "merge_method: linear # <b>&").unwrap();
    (fs::read_to_string(folder.path().join("report.html")).unwrap(), outcome)
}

#[test]
fn report_shows_everybody_with_score_interval_and_comparison() {
    let (html, outcome) = report(["a.gguf", "b.gguf"], "", None);
    for tested in &outcome.tested {
        let (value, [low, high]) = tested.trial.summary(&[1.0]);
        let row = format!("<td>{}<td>{value:.3}<td>{low:.3} – {high:.3}", tested.name);
        assert!(html.contains(&row), "{row}");
    }
    // The parents get everything wrong and the best gets everything right.
    assert!(html.contains(&format!("<td>{QUESTIONS}<td>0<td>")), "{html}");
    let belief = outcome.belief.as_ref().expect("a search that ended");
    assert!(html.contains(&belief.to_string()) && html.contains("corrected p"), "{belief}");
    assert_eq!(html.matches("class=best").count(), 1);
    assert!(html.contains("30 candidates"));
    assert!(html.matches("<circle").count() >= 30, "a point for every candidate");
    assert!(html.contains("merge_method: linear # &lt;b&gt;&amp;"), "the recipe");
    assert!(html.contains("layer_granularity: 4"), "the evolve file");
    assert!(!html.contains("stopped before its end") && !html.contains("Every generation sees other questions"));
}

#[test]
fn names_are_text_and_not_html() {
    let (html, _) = report(["<script>alert(1)</script>.gguf", "a&\"b.gguf"], "", None);
    assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains("<i>"), "{html}");
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;.gguf") && html.contains("a&amp;&quot;b.gguf"));
}

#[test]
fn report_needs_no_network() {
    let (html, _) = report(["a.gguf", "b.gguf"], "minibatch: 5", None);
    // The name of SVG's namespace is no address that anything is fetched from.
    let html = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for outside in ["http", "src=", "href=", "url(", "@import", "<link", "<script", "<img", "<iframe"] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.contains("Every generation sees other questions"));
}

#[test]
fn stopped_search_has_a_report_that_says_so() {
    let (html, _) = report(["a.gguf", "b.gguf"], "", Some(12));
    assert!(html.contains("stopped before its end") && !html.contains("On questions the search never saw"));
    let (html, _) = report(["a.gguf", "b.gguf"], "", Some(0));
    assert!(html.contains("No plot"));
}

/// A recipe with a path of these hops: model, layers, scale.
fn walk(models: [&str; 2], hops: impl IntoIterator<Item = (Option<usize>, (u32, u32), f64)>) -> Recipe {
    let genome = format!("genome: {{models: ['{}', '{}'], merge_method: linear}}", models[0], models[1]);
    let config = Config::parse(format!("{genome}\n{TASKS}\n"), Path::new("e.yaml")).unwrap();
    let mut recipe = Genome::new(config.genome.unwrap(), LAYERS).unwrap().decode(&[0.5; 2]).unwrap();
    let hop = |(model, layers, scale)| Hop { model, layers: Some(layers), scale, place: Default::default() };
    recipe.path = hops.into_iter().map(hop).collect();
    recipe
}

#[test]
fn path_has_a_picture_with_a_dot_for_every_block() {
    let hops = [(Some(0), (0, 3), 1.0), (Some(1), (5, 6), 0.5), (None, (7, 8), 1.25), (Some(0), (2, 4), 2.0)];
    let svg = path_picture(&walk(["a<b>.gguf", "\"&.gguf"], hops)).unwrap();
    // And one for each model in the legend.
    assert_eq!((svg.matches("<circle").count(), svg.matches("<title>").count()), (7 + 3, 7));
    for title in [
        "position 0: block 0 of a&lt;b&gt;.gguf, scale 1.000<",
        "position 2: block 2 of a&lt;b&gt;.gguf, scale 1.000<",
        "position 3: block 5 of &quot;&amp;.gguf, scale 0.500<",
        "position 4: block 7 of the merge, scale 1.250<",
        "position 6: block 3 of a&lt;b&gt;.gguf, scale 2.000<",
    ] {
        assert!(svg.contains(&format!("<title>{title}")), "{title}\n{svg}");
    }
    for legend in ["a&lt;b&gt;.gguf: 5 of 7 blocks", "&quot;&amp;.gguf: 1 of 7 blocks", "the merge: 1 of 7 blocks"] {
        assert!(svg.contains(&format!(">{legend}</text>")), "{legend}\n{svg}");
    }
    assert!(!svg.contains("<b>") && svg.ends_with("</svg>"));
    assert!(path_picture(&walk(["a", "b"], [])).is_none(), "no path");
}

#[test]
fn any_path_can_be_drawn() {
    let scales = [1e308, -1e308, f64::MIN_POSITIVE, 0.0, 1.0];
    let hops = (0..512).map(|i| (Some(i as usize % 2), (i, i + 1), scales[i as usize % scales.len()]));
    let svg = path_picture(&walk(["a", "b"], hops)).unwrap();
    assert_eq!(svg.matches("<circle").count(), 512 + 2);
    for key in [" cx=\"", " cy=\"", " r=\""] {
        let numbers = svg.split(key).skip(1).map(|rest| rest.split('"').next().unwrap().parse::<f64>().unwrap());
        assert!(numbers.into_iter().all(|number| (0.0..=900.0).contains(&number)), "{key}");
    }
    let one = path_picture(&walk(["a", "b"], [(Some(1), (511, 512), 1.0)])).unwrap();
    assert_eq!(one.matches("<circle").count(), 2);
}

#[test]
fn report_shows_the_path_and_where_paths_begin() {
    let text = |space: &str, more: &str| {
        let genome = format!("genome: {{models: ['<a>.gguf', b.gguf]{more}}}");
        let config =
            Config::parse(format!("{genome}\n{TASKS}\nsearch: {{space: {space}, budget: 12}}\n"), Path::new("e.yaml"));
        let (config, folder) = (config.unwrap(), folder());
        let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
        // Any path is better than none.
        let path = |recipe: &Recipe| recipe.path.len().min(1) as f64;
        let mut scorer = Landscape { path: Some(path), ..Landscape::default() };
        let budget = config.budget();
        let outcome = evolve(&config, &stages(&config), budget, 0, &mut scorer, &mut journal, &mut |_| ()).unwrap();
        write_report(folder.path(), &config, &journal, &outcome, "").unwrap();
        let dots =
            outcome.best.unwrap().recipe.path.iter().flat_map(|h| h.layers.unwrap().0..h.layers.unwrap().1).count();
        (fs::read_to_string(folder.path().join("report.html")).unwrap(), dots)
    };
    let (html, dots) = text("data_flow", "");
    assert!(dots > 1 && html.matches("<title>position").count() == dots, "{dots} blocks");
    assert!(html.contains("of &lt;a&gt;.gguf, scale") && !html.contains("<a>"));
    assert!(html.contains("each dot is a block") && !html.contains("candidates mix weights"));
    let (html, dots) = text("hybrid", ", merge_method: linear, layer_granularity: 4");
    assert!(html.matches("<title>position").count() == dots && html.contains("of the merge, scale"));
    assert!(html.contains("The first 12 candidates mix weights"));
    let (html, dots) = text("parameter", ", merge_method: linear, layer_granularity: 4");
    assert!(dots == 0 && !html.contains("<title>position") && !html.contains("each dot is a block"));
}

/// Models of two tasks with names that would be HTML; `extreme` gives scores that can hardly be drawn.
struct TwoTasks {
    extreme: bool,
    calls: usize,
}

impl TwoTasks {
    fn trial(&mut self) -> Trial {
        self.calls += 1;
        let x = self.calls as f64;
        let values = match self.extreme {
            true => [[f64::MAX, -f64::MAX, f64::INFINITY, f64::NAN, 1e-320][self.calls % 5], -1e300],
            false => [0.5 + (x * 0.7).sin() / 3.0, 8.0 + (x * 0.4).cos()],
        };
        let task = |(task, metric, value): (&str, &str, f64)| TaskScore {
            task: task.to_owned(),
            metric: metric.to_owned(),
            value,
            stderr: 0.05,
            ci95: [value - 0.1, value + 0.1],
            items: vec![1.0; 4],
        };
        let named = [("<script>a</script>", "number", values[0]), ("\"b\" & <i>", "perplexity", values[1])];
        Trial { fitness: values[0], tasks: named.map(task).to_vec(), ..trial(0.0, Vec::new()) }
    }
}

impl Scorer for TwoTasks {
    fn recipe(&mut self, _recipe: &Recipe, _questions: &Questions) -> Result<Trial, EvolveError> {
        Ok(self.trial())
    }

    fn parent(&mut self, _model: usize, _questions: &Questions) -> Result<Trial, EvolveError> {
        Ok(self.trial())
    }
}

fn report_of_two_tasks(extreme: bool, genome: &str, search: &str) -> String {
    let tasks = "tasks: [{task: t.yaml, test: t.jsonl}, {task: u.yaml, test: t.jsonl, weight: 0.5}]";
    let text = format!("genome: {{models: [a.gguf, b.gguf]{genome}}}\n{tasks}\nsearch: {{budget: 40, {search}}}\n");
    let config = Config::parse(text, Path::new("e.yaml")).unwrap();
    let (folder, stages) = (folder(), stages(&config));
    let mut journal = Journal::open(folder.path(), false, identity().over(&stages)).unwrap();
    let mut scorer = TwoTasks { extreme, calls: 0 };
    let outcome = evolve(&config, &stages, 40, 0, &mut scorer, &mut journal, &mut |_| ()).unwrap();
    write_report(folder.path(), &config, &journal, &outcome, "").unwrap();
    fs::read_to_string(folder.path().join("report.html")).unwrap()
}

#[test]
fn several_tasks_have_a_picture_of_what_one_costs_the_other() {
    let html = report_of_two_tasks(false, ", merge_method: linear, layer_granularity: 4", "");
    assert!(html.contains("What one task costs the other"));
    assert!(!html.contains("<script") && !html.contains("<i>"), "{html}");
    assert!(html.contains("number (higher is better)") && html.contains("perplexity (lower is better)"));
    assert!(html.contains("weighted sum of the tasks"));
    let (one, _) = report(["a.gguf", "b.gguf"], "", None);
    assert!(!one.contains("What one task costs the other"));
}

#[test]
fn weights_have_a_map_by_model_and_layer_and_genes_a_picture_each_or_a_grid() {
    let html = report_of_two_tasks(false, ", merge_method: ties, base_model: a.gguf, layer_granularity: 4", "");
    for row in ["weight of a", "weight of b", "density of a", "density of b"] {
        assert!(html.contains(&format!("text-anchor=\"end\">{row}</text>")), "{row}");
    }
    assert_eq!(html.matches("<figure>").count(), 8);
    assert!(html.contains("<figcaption>density of b, layers 4-7: "), "{html}");
    let html = report_of_two_tasks(false, ", merge_method: linear, layer_granularity: 1, filters: [mlp]", "");
    assert!(html.matches("<figure>").count() == 0 && html.contains(">weight of b, layer 7, others</text>"));
    assert!(html.contains(">weight of a, mlp</text>"), "the map has a row for each filter");
    let html = report_of_two_tasks(false, ", merge_method: slerp, layer_granularity: 4", "");
    assert!(html.contains("text-anchor=\"end\">t</text>"));
    let html = report_of_two_tasks(false, "", "space: data_flow");
    assert!(html.contains("Blocks on paths over generations") && html.contains(">b 7, round 3</text>"));
}

#[test]
fn scores_that_cannot_be_drawn_do_not_keep_the_report_from_being_written() {
    for (genome, space) in [(", merge_method: linear, layer_granularity: 4", ""), ("", "space: data_flow")] {
        let html = report_of_two_tasks(true, genome, space);
        assert!(html.contains("No plot: no axis can be drawn") && html.contains("How to repeat it"), "{html}");
    }
}

#[test]
fn report_of_a_running_search_looks_again_and_tells_how_far_it_is() {
    let (folder, _) = studies::study("parameter", Some(7));
    let study = Study::read(folder.path()).unwrap();
    refresh_report(folder.path(), &study, "merge_method: linear", 15).unwrap();
    let html = fs::read_to_string(folder.path().join(REPORT_FILE)).unwrap();
    assert!(
        html.contains("<meta http-equiv=refresh content=15>") && html.contains("7 of 10 candidates, about 5.2 s left")
    );
    assert!(html.contains("best search score so far") && !html.contains("On questions the search never saw"));
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [JOURNAL_FILE, REPORT_FILE], "no part of a report is left");
    write_report(folder.path(), &study.config, study.journal(), &study.outcome, "").unwrap();
    let html = fs::read_to_string(folder.path().join(REPORT_FILE)).unwrap();
    assert!(!html.contains("http-equiv") && html.contains("stopped before its end"));
}
