//! Choices weighed by a real model: their tokens, and likelihoods that do not depend on how contexts are shared.

use super::*;

const QUESTIONS: [(&str, [&str; 3]); 4] = [
    ("Question: Tom has 5 apples. He buys 7 more. How many apples does Tom have?\nAnswer:", ["12", "57", "2 apples"]),
    (
        "問: ケンは緑の卵を持っています。ボブは白いコップを持っています。卵は何色ですか。\n答:",
        ["緑です。", "白です。", "ケンです。"],
    ),
    ("Question: Ann has 3 cats.", ["Yes", "No", "She has 3 cats and no dogs at all"]),
    ("Question:\n", ["a", "b", "c"]),
];

fn continuations(live: &Live) -> Vec<Continuations> {
    let of = |(context, choices): &(&str, [&str; 3])| {
        Continuations::new(live.vocabulary(), context, " ", &choices.map(str::to_owned))
    };
    QUESTIONS.iter().map(of).collect()
}

fn weigh(live: &mut Live, questions: &[Continuations]) -> Vec<Vec<f64>> {
    let questions: Vec<&Continuations> = questions.iter().collect();
    log_likelihoods(live, &questions, &mut Progress::new(&mut |_, _| true)).unwrap().0
}

fn assert_near(a: &[Vec<f64>], b: &[Vec<f64>]) {
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        // Batches of another shape round differently.
        assert!((a - b).abs() < 2e-3 * a.abs().max(1.0), "{a} and {b}");
    }
}

#[test]
fn log_likelihoods_are_those_of_the_whole_text_without_its_context() {
    let mut live = live(SETTINGS, 2, 256);
    let questions = continuations(&live);
    let got = weigh(&mut live, &questions);
    for (question, logs) in questions.iter().zip(&got) {
        let context = -surprises(&mut live, &question.context, 1);
        for (choice, log) in question.choices.iter().zip(logs) {
            let whole = [&question.context[..], choice].concat();
            let want = -surprises(&mut live, &whole, 1) - context;
            assert!((log - want).abs() < 2e-3 * want.abs().max(1.0), "{log}, from the logits {want}");
        }
        assert!(logs.iter().all(|log| *log < 0.0) && logs[0] != logs[1], "{logs:?}");
    }
}

#[test]
fn log_likelihoods_do_not_depend_on_slots_batches_or_order() {
    let of = |settings, sequences| {
        let mut live = live(settings, sequences, 256);
        let questions = continuations(&live);
        weigh(&mut live, &questions)
    };
    let alone = of(SETTINGS, 1);
    for (batch, sequences) in [(512, 3), (512, 32), (7, 2), (2, 4)] {
        assert_near(&of(Settings { batch, ubatch: batch, ..SETTINGS }, sequences), &alone);
    }
    let mut live = live(SETTINGS, 3, 256);
    let mut questions = continuations(&live);
    questions.reverse();
    let mut backward = weigh(&mut live, &questions);
    backward.reverse();
    assert_near(&backward, &alone);
}

#[test]
fn choices_are_what_the_whole_has_beyond_the_contexts_own_number_of_tokens() {
    let live = live(SETTINGS, 1, 256);
    let vocabulary = live.vocabulary();
    let new = |context: &str, choice: &str| {
        let both = Continuations::new(vocabulary, context, "", &[choice.to_owned()]);
        (both.context, both.choices[0].clone())
    };
    // A text that is cut inside a token: its beginning alone has other tokens than inside the whole.
    let text = "Question: Tom has 5 apples. He buys 7 more.";
    let whole = vocabulary.tokenize(text);
    let cuts: Vec<usize> = (1..text.len())
        .filter(|at| !text[..*at].ends_with(' ') && !whole.starts_with(&vocabulary.tokenize(&text[..*at])))
        .collect();
    assert!(!cuts.is_empty(), "some token has more than one character");
    for at in cuts {
        let (context, choice) = new(&text[..at], &text[at..]);
        assert_eq!(context, vocabulary.tokenize(&text[..at]));
        assert_eq!(choice, whole[context.len()..]);
    }
    // White space at the context's end goes to the choice: all of Python's, and all of it.
    for space in [" ", "\n", " \n", "\u{3000}", "\x1f"] {
        let (context, choice) = new(&format!("Answer:{space}"), "12");
        assert_eq!(context, vocabulary.tokenize("Answer:"), "{space:?}");
        assert_eq!(choice, vocabulary.tokenize(&format!("Answer:{space}12"))[context.len()..], "{space:?}");
    }
}

fn task(yaml: &str, rows: &str) -> Arc<Task> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data.jsonl"), rows).unwrap();
    fs::write(folder.path().join("task.yaml"), format!("data: data.jsonl\nkind: choice\n{yaml}\n")).unwrap();
    Arc::new(Task::load(&folder.path().join("task.yaml"), None).unwrap())
}

#[test]
fn a_choice_task_is_scored_by_its_metric() {
    let mut live = live(SETTINGS, 4, 256);
    let file = fs::read_to_string(quickstart("japanese_qa_test.jsonl")).unwrap();
    let rows: String = file.lines().take(12).map(|line| format!("{line}\n")).collect();
    let yaml = |metric: &str| {
        let choices = r#"choices: ["{{ answer }}", "わかりません。", "{{ answer[:1] }}"]"#;
        format!("prompt: \"{{{{ prompt }}}}\"\nanswer: \"{{{{ answer }}}}\"\nmetric: {metric}\n{choices}")
    };
    let mut right = Vec::new();
    for metric in ["accuracy", "accuracy_norm"] {
        let prepared = Prepared::new(task(&yaml(metric), &rows), live.vocabulary()).unwrap();
        let score = prepared.score_all(&mut live, &mut Progress::new(&mut |_, _| true)).unwrap();
        assert_eq!((score.metric, score.items.len(), score.choices.len()), (metric, 12, 12));
        let divide = |logs: &[f64], q: usize| -> usize {
            let texts = &prepared.task().questions[q].choices.as_ref().unwrap().texts;
            let length = |i: usize| if metric == "accuracy" { 1.0 } else { texts[i].chars().count() as f64 };
            (0..3).max_by(|a, b| (logs[*a] / length(*a)).total_cmp(&(logs[*b] / length(*b)))).unwrap()
        };
        for (q, (logs, item)) in score.choices.iter().zip(&score.items).enumerate() {
            assert_eq!(*item == 1.0, divide(logs, q) == 0, "{logs:?}");
        }
        let share = score.items.iter().sum::<f64>() / 12.0;
        assert!((score.estimate.value - share).abs() < 1e-12 && score.fitness() == score.estimate.value);
        assert_eq!(score.estimate.ci95, stats::wilson((share * 12.0).round() as usize, 12));
        right.push(share);
    }
    // A beginning is always more likely than the whole: only the length tells which is the better answer.
    assert!(right[0] < right[1], "{right:?}");
}

#[test]
fn choices_follow_the_chat_template() {
    let template = "{% for m in messages %}<{{ m.content }}>\n{% endfor %}AI: ".to_owned();
    let vocabulary = Vocabulary::load(&quickstart("base-Q8_0.gguf"), Some(template)).unwrap();
    let yaml = "prompt: \"{{ q }}\"\nchoices: [\"12\", \"57\"]\nanswer: \"0\"\nchat: true";
    let prepared = Prepared::new(task(yaml, "{\"q\": \"5 + 7?\"}"), &vocabulary).unwrap();
    let want = Continuations::new(&vocabulary, "<5 + 7?>\nAI:", " ", &["12".to_owned(), "57".to_owned()]);
    assert_eq!(prepared.prompts, [want]);
}

#[test]
fn what_cannot_be_weighed_is_refused_with_its_line() {
    let mut small = live(SETTINGS, 2, 256);
    let vocabulary = Arc::clone(small.vocabulary());
    let long = Continuations { context: vec![LlamaToken(5); 200], choices: vec![vec![LlamaToken(5); 57]] };
    let nothing = Continuations { context: vec![], choices: vec![vec![LlamaToken(5)]] };
    let mut weigh = |question: &Continuations| {
        log_likelihoods(&mut small, &[question], &mut Progress::new(&mut |_, _| true)).unwrap_err()
    };
    let too_long = weigh(&long);
    assert!(matches!(too_long, ScoreError::Model(ModelError::TooLong { prompt: 257, wanted: 0, limit: 256 })));
    assert!(matches!(weigh(&nothing), ScoreError::Model(ModelError::EmptyPrompt)));
    let task = |choices: &str| {
        task(&format!("prompt: \"{{{{ q }}}}\"\nanswer: 0\n{choices}"), "\n{\"q\": \" \", \"r\": \"x\"}")
    };
    let blank = Prepared::new(task("choices: [a, b]"), &vocabulary);
    assert!(matches!(blank, Err(ScoreError::EmptyPrompt { line: 2, least: 1, .. })));
}

#[test]
fn a_choice_score_that_was_cancelled_leaves_a_model_that_works() {
    let mut live = live(SETTINGS, 2, 256);
    let questions = continuations(&live);
    let before = weigh(&mut live, &questions);
    for calls in [0, 1, 5] {
        let left = Cell::new(calls);
        let mut on_step = |done, total| {
            assert!(done <= total && total == 4);
            left.replace(left.get() - 1) > 0
        };
        let asked: Vec<&Continuations> = questions.iter().collect();
        let result = log_likelihoods(&mut live, &asked, &mut Progress::new(&mut on_step));
        assert!(matches!(result, Err(ScoreError::Cancelled)), "{result:?}");
        assert_eq!(weigh(&mut live, &questions), before);
    }
}
