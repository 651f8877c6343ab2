//! How likely texts are: perplexity and bits per byte of the same tokens.

use super::*;
use crate::tasks::TextMetric;

fn prepared(metric: &str, live: &Live) -> Prepared {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(quickstart("target_test.jsonl"), folder.path().join("data.jsonl")).unwrap();
    let yaml = format!(
        "data: data.jsonl\nkind: perplexity\nprompt: \"{{{{ prompt }}}}{{{{ reference }}}}\"\nlimit: 5\n{metric}"
    );
    fs::write(folder.path().join("task.yaml"), yaml).unwrap();
    let task = Task::load(&folder.path().join("task.yaml"), None).unwrap();
    Prepared::new(Arc::new(task), live.vocabulary()).unwrap()
}

#[test]
fn bits_per_byte_are_the_same_likelihood_in_another_measure() {
    let mut live = live(SETTINGS, 1, 256);
    let mut score = |prepared: &Prepared| prepared.score_all(&mut live, &mut Progress::new(&mut |_, _| true)).unwrap();
    let (tokens, bytes) = {
        let live = self::live(SETTINGS, 1, 256);
        (prepared("", &live), prepared("metric: bits_per_byte\n", &live))
    };
    assert_eq!(bytes.task().kind, Kind::Perplexity(TextMetric::BitsPerByte));
    let (perplexity, bits) = (score(&tokens), score(&bytes));
    assert_eq!((perplexity.metric, bits.metric), (PERPLEXITY, BITS_PER_BYTE));
    // As lm-evaluation-harness: all log-likelihoods over all bytes, here those of the tokens after the first.
    let count: usize = tokens.prompts.iter().map(|p| p.context.len() - 1).sum();
    let first = |p: &Continuations| live.vocabulary().piece(p.context[0], false).len();
    let size: usize = bytes.task().questions.iter().map(|q| q.prompt.len()).sum::<usize>();
    let size = size - bytes.prompts.iter().map(first).sum::<usize>();
    let want = perplexity.estimate.value.ln() * count as f64 / size as f64 / LN_2;
    assert!((bits.estimate.value - want).abs() < 1e-12, "{bits:?}, not {want}");
    assert_eq!(bits.fitness(), -bits.estimate.value);
    assert!(bits.items.iter().all(|item| *item < 0.0));
}
