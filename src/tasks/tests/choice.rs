//! Questions with choices, and examples before questions.

use std::fs;

use super::*;

const ROWS: &str = r#"{"q": "Sky?", "options": ["red", "blue"], "a": "red", "b": "blue", "label": 1, "keys": ["A", "B"], "key": "B"}
{"q": "Sea?", "options": ["deep", "dry", "dark"], "a": "deep", "b": "dry", "label": 0, "keys": ["A", "B", "C"], "key": "A"}
{"q": "Sun?", "options": ["hot", "cold"], "a": "hot", "b": "cold", "label": "hot", "keys": ["A", "B"], "key": "A"}
"#;

const TASK: &str = r#"
data: data.jsonl
kind: choice
prompt: "{{ q }}\nAnswer:"
choices: "{{ options }}"
answer: "{{ label }}"
"#;

fn load(yaml: &str) -> Result<Task, TaskError> {
    load_with(yaml, "data.jsonl", ROWS.as_bytes(), None)
}

fn with(key: &str, value: &str) -> String {
    let lines = TASK.lines().filter(|l| !l.starts_with(&format!("{key}:"))).map(|l| format!("{l}\n"));
    lines.collect::<String>() + &format!("{key}: {value}\n")
}

fn choices(task: &Task) -> Vec<(Vec<&str>, usize)> {
    let of = |q: &'_ Question| q.choices.clone().unwrap();
    task.questions
        .iter()
        .map(|q| (q.choices.as_ref().unwrap().texts.iter().map(String::as_str).collect(), of(q).right))
        .collect()
}

#[test]
fn a_column_that_holds_a_list_gives_the_choices() {
    let task = load(TASK).unwrap();
    let delimiter = " ".to_owned();
    assert_eq!(task.kind, Kind::Choice(Choice { metric: ChoiceMetric::Accuracy, delimiter }));
    let wanted = [(vec!["red", "blue"], 1), (vec!["deep", "dry", "dark"], 0), (vec!["hot", "cold"], 0)];
    assert_eq!(choices(&task), wanted);
    let first = &task.questions[0];
    assert_eq!((first.prompt.as_str(), first.answer.as_str(), first.line), ("Sky?\nAnswer:", "blue", 1));
    let Kind::Choice(kind) = &task.kind else { unreachable!() };
    assert_eq!((kind.judge(first, &[-2.0, -1.0]), kind.judge(first, &[-1.0, -2.0])), (1.0, 0.0));
}

#[test]
fn choices_may_be_templates_or_any_expression_for_a_list() {
    for (form, first) in [
        (r#"["{{ a }}", "not {{ b }}"]"#, ["red", "not blue"]),
        (r#""{{ [a, b] }}""#, ["red", "blue"]),
        (r#"" {{ options[:2] | map('upper') | list }} ""#, ["RED", "BLUE"]),
        (r#""{{ options[:2] | map('upper') }}""#, ["RED", "BLUE"]),
        ("[yes, 0.50]", ["yes", "0.50"]),
        ("options[:2]", ["red", "blue"]),
        ("\"['x', 'y']\"", ["x", "y"]),
    ] {
        let yaml = with("choices", form).replace("{{ label }}", "{{ 1 }}");
        assert_eq!(choices(&load(&yaml).unwrap())[0], (first.to_vec(), 1), "{form}");
    }
    // An answer of several parts is text.
    let parts = with("answer", r#""{{ a[:1] }}{{ a[1:] }}""#);
    assert_eq!(choices(&load(&parts).unwrap())[0].1, 0);
    // As the harness's tasks find the index of a letter.
    let letters = with("answer", r#""{{ keys.index(key) }}""#);
    assert_eq!(choices(&load(&letters).unwrap()).iter().map(|(_, right)| *right).collect::<Vec<_>>(), [1, 0, 0]);
}

#[test]
fn metric_and_delimiter_are_taken_as_written() {
    let yaml = with("metric", "accuracy_norm") + "delimiter: \"\"\n";
    let task = load(&yaml).unwrap();
    assert_eq!(task.kind, Kind::Choice(Choice { metric: ChoiceMetric::AccuracyNorm, delimiter: String::new() }));
    // What the chat template ends with delimits.
    let Kind::Choice(kind) = load(&with("chat", "true")).unwrap().kind else { unreachable!() };
    assert_eq!(kind.delimiter, "");
    let chat = error(load(&(with("chat", "true") + "delimiter: \" \"\n")));
    assert!(chat.starts_with("task.yaml:8:12: `delimiter` means nothing with `chat: true`"), "{chat}");
}

#[test]
fn choices_with_their_own_space_want_a_word_on_the_delimiter() {
    let yaml = with("choices", r#"[" {{ a }}", " {{ b }}"]"#);
    let text = error(load(&yaml));
    assert!(
        text.starts_with("data.jsonl:1: a choice begins with white space") && text.contains("`delimiter`"),
        "{text}"
    );
    for more in ["delimiter: \"\"\n", "delimiter: \" \"\n", "chat: true\n"] {
        assert_eq!(choices(&load(&(yaml.clone() + more)).unwrap())[0].0, [" red", " blue"], "{more}");
    }
}

#[test]
fn keys_that_a_choice_task_lacks_or_cannot_have_are_named() {
    let without =
        |key: &str| TASK.lines().filter(|l| !l.starts_with(key)).map(|l| format!("{l}\n")).collect::<String>();
    assert!(error(load(&without("choices"))).starts_with("task.yaml:3:7: kind `choice` needs `choices`: "));
    assert!(error(load(&without("answer"))).starts_with("task.yaml:3:7: kind `choice` needs an `answer`: "));
    for (key, value, message) in [
        ("stop", "[x]", "7:7: `stop` means nothing to kind `choice`: remove it"),
        ("language", "ja", "7:11: `language` means nothing to kind `choice`: remove it"),
        ("metric", "number", "7:9: `metric: number` judges text: kind `choice` has `accuracy` and `accuracy_norm`"),
        ("choices", "[one]", "6:10: `choices` has `1` entries, it needs 2 to `1024`"),
        ("choices", "[]", "6:10: `choices` has `0` entries, it needs 2 to `1024`"),
    ] {
        assert_eq!(error(load(&with(key, value))), format!("task.yaml:{message}"));
    }
    assert!(error(load(&with("choices", "{a: b}"))).starts_with("task.yaml:6:"));
    assert!(error(load(&with("choices", "[[a], b]"))).starts_with("task.yaml:6:"));
    for no_list in ["\"{% for o in options %}{{ o }}{% endfor %}\"", "\"\"", "\"{{ a }}{{ b\"", "\"{{ a }}, {{ b }}\""]
    {
        let text = error(load(&with("choices", no_list)));
        assert!(text.starts_with("task.yaml:6:10: `choices` is a list of templates"), "{text}");
    }
    let broken = error(load(&with("choices", "\"{{ options options }}\"")));
    assert!(broken.starts_with("task.yaml:6:10: template `choices`: "), "{broken}");
    let item = error(load(&with("choices", "[a, \"{{ b \"]")));
    assert!(item.starts_with("task.yaml:6:10: template `choices[1]`: "), "{item}");
}

#[test]
fn rows_that_cannot_be_asked_name_their_line() {
    let row = |row: &str| error(load_with(TASK, "data.jsonl", format!("{ROWS}{row}\n").as_bytes(), None));
    assert_eq!(
        row(r#"{"q": "?", "label": 0}"#),
        "data.jsonl:4: no value for `options`, which `choices` needs; the row has `q`, `label`"
    );
    assert_eq!(
        row(r#"{"q": "?", "options": ["a"], "label": 0}"#),
        "data.jsonl:4: `choices` gives `1`, a question needs 2 to `1024`"
    );
    assert_eq!(
        row(r#"{"q": "?", "options": ["a", "b"], "label": 2}"#),
        "data.jsonl:4: `answer` is `2`, the `2` choices are counted from 0"
    );
    assert_eq!(
        row(r#"{"q": "?", "options": ["a", "b"], "label": "c"}"#),
        "data.jsonl:4: answer `c` is none of the `2` choices and no index of one"
    );
    assert_eq!(
        row(r#"{"q": "?", "options": ["a", ""], "label": 0}"#),
        "data.jsonl:4: choice `1`, counted from 0, renders to nothing"
    );
    assert_eq!(
        row(r#"{"q": "?", "options": "a, b", "label": 0}"#),
        "data.jsonl:4: `choices` gives a string, a list belongs here"
    );
    assert_eq!(
        row(r#"{"q": "?", "options": ["a", {"b": 1}], "label": 0}"#),
        "data.jsonl:4: a choice is a map, text belongs here"
    );
    assert!(row(r#"{"q": "?", "options": ["a", "b"]}"#).starts_with("data.jsonl:4: no value for `label`"));
    let long = format!(r#"{{"q": "?", "options": ["a", "b"], "label": 0, "x": "{}"}}"#, "x".repeat(600_000));
    let twice = with("choices", r#"["{{ x }}", "{{ x }}"]"#);
    let text = error(load_with(&twice, "data.jsonl", long.as_bytes(), None));
    assert_eq!(text, "data.jsonl:1: `choices` come to `1200000` bytes, the limit is `1048576`");
    // A hole in a list, and a letter that no key is.
    let hole = error(load(&with("choices", r#""{{ [a, c] }}""#)));
    assert!(hole.starts_with("data.jsonl:1: no value for `c`, which `choices` needs"), "{hole}");
    let letter = error(load(&with("answer", r#""{{ ['x'].index(key) }}""#)));
    assert!(letter.starts_with("data.jsonl:1: template `answer`: ") && letter.contains("`B` is not in"), "{letter}");
    let endless = error(load(&with("choices", r#""{{ range(100000) | map('string') | list }}""#)));
    assert!(endless.starts_with("data.jsonl:1: "), "{endless}");
}

#[test]
fn csv_has_no_types_and_its_indices_are_still_numbers() {
    let csv = "q,a,b,label\nSky?,red,blue,1\nSea?,deep,dry,deep\n";
    let yaml = with("data", "data.csv").replace("{{ options }}", "{{ [a, b] }}");
    let task = load_with(&yaml, "data.csv", csv.as_bytes(), None).unwrap();
    assert_eq!(choices(&task), [(vec!["red", "blue"], 1), (vec!["deep", "dry"], 0)]);
    let csv = "q,a,b,label\nOne and one?,1,2,1\n";
    let text = error(load_with(&yaml, "data.csv", csv.as_bytes(), None));
    assert!(text.starts_with("data.csv:2: answer `1` is the text of choice `0` and the index of another"), "{text}");
    for (answer, right) in [("{{ label | int }}", 1), ("{{ [a, b].index(label) }}", 0)] {
        let yaml = yaml.replace("{{ label }}", answer);
        assert_eq!(choices(&load_with(&yaml, "data.csv", csv.as_bytes(), None).unwrap())[0].1, right);
    }
}

#[test]
fn examples_are_the_first_rows_and_are_not_asked() {
    let task = load(&with("shots", "2")).unwrap();
    let [only] = &task.questions[..] else { panic!("{task:?}") };
    assert_eq!(only.prompt, "Sky?\nAnswer: blue\n\nSea?\nAnswer: deep\n\nSun?\nAnswer:");
    assert_eq!(only.line, 3);
    // A limit counts questions, and a seed shuffles only these.
    let limited = load_with(&with("shots", "1"), "data.jsonl", ROWS.as_bytes(), Some(1)).unwrap();
    assert_eq!(limited.questions.iter().map(|q| q.line).collect::<Vec<_>>(), [2]);
    for seed in 0..5 {
        let mut lines: Vec<u64> = load(&(with("shots", "1") + &format!("seed: {seed}\n")))
            .unwrap()
            .questions
            .iter()
            .map(|q| q.line)
            .collect();
        lines.sort_unstable();
        assert_eq!(lines, [2, 3]);
    }
    let delimited = with("shots", "1") + "delimiter: \"\\n\"\nshots_separator: \"\\n###\\n\"\n";
    assert_eq!(load(&delimited).unwrap().questions[0].prompt, "Sky?\nAnswer:\nblue\n###\nSea?\nAnswer:");
    let all = error(load(&with("shots", "3")));
    assert!(all.starts_with("task.yaml:7:8: `shots: 3` needs as many rows besides the questions: `"), "{all}");
}

#[test]
fn examples_may_come_from_a_file_of_their_own_and_go_before_generated_answers_too() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("data.jsonl", ROWS);
    write("train.jsonl", "{\"q\": \"Ice?\", \"options\": [\"hot\", \"cold\"], \"label\": \"cold\"}\n");
    let load = |yaml: &str| {
        write("task.yaml", yaml);
        Task::load(&folder.path().join("task.yaml"), None)
    };
    let one = with("shots", "1") + "shots_data: train.jsonl\n";
    let task = load(&one).unwrap();
    assert_eq!(task.questions.len(), 3);
    assert_eq!(task.questions[0].prompt, "Ice?\nAnswer: cold\n\nSky?\nAnswer:");
    let two = error(load(&one.replace("shots: 1", "shots: 2")));
    assert!(two.starts_with("task.yaml:7:8: `shots: 2` needs as many rows: `"), "{two}");
    let yaml = one.replace("kind: choice", "kind: generate\nmetric: exact").replace("choices: \"{{ options }}\"\n", "");
    assert_eq!(load(&yaml).unwrap().questions[0].prompt, "Ice?\nAnswer: cold\n\nSky?\nAnswer:");
    let perplexity = "data: data.jsonl\nkind: perplexity\nprompt: \"{{ q }}\"\nshots: 1\n";
    assert_eq!(error(load(perplexity)), "task.yaml:4:8: `shots` means nothing to kind `perplexity`: remove it");
    write(
        "train.jsonl",
        &format!("{{\"q\": \"{}\", \"options\": [\"a\", \"b\"], \"label\": 0}}\n", "x".repeat(400_000)).repeat(3),
    );
    let long = error(load(&one.replace("shots: 1", "shots: 3")));
    assert_eq!(
        long[long.find("train").unwrap()..],
        *"train.jsonl:3: the examples take more than `1048576` bytes up to here: lower `shots`"
    );
}
