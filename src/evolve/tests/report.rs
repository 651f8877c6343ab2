//! The report: everything in one file, nothing of it taken for HTML.

use std::fs;

use super::*;

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
    assert!(html.contains("stopped before its end") && !html.contains("<table>"));
    let (html, _) = report(["a.gguf", "b.gguf"], "", Some(0));
    assert!(html.contains("No plot"));
}
