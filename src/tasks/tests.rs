//! Task files and data files as people write them, and as they get them wrong.

use std::fs;
use std::path::Path;

use super::*;

mod choice;

const ROWS: &str = r#"{"prompt": "問: メアリーはカードを23個持っていました。30個買いました。今何個ですか。\n答:", "answer": "53", "reference": " #### 53"}
{"prompt": "問: レオはペンを46個持っています。ケンは8個。合わせて何個ですか。\n答:", "answer": "54", "reference": " #### 54"}
{"prompt": "問: 三つ目\n答:", "answer": "3", "reference": " #### 3"}
"#;

const TARGET: &str = r#####"
name: target
data: data.jsonl
kind: generate
prompt: "{{ prompt }}"
answer: "{{ answer }}"
stop: ["\n"]
max_tokens: 64
metric: number
answer_after: "####"
language: ja
"#####;

fn load_with(yaml: &str, data_name: &str, data: &[u8], limit: Option<usize>) -> Result<Task, TaskError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("task.yaml"), yaml).unwrap();
    fs::write(folder.path().join(data_name), data).unwrap();
    Task::load(&folder.path().join("task.yaml"), limit)
}

fn load(yaml: &str) -> Result<Task, TaskError> {
    load_with(yaml, "data.jsonl", ROWS.as_bytes(), None)
}

/// The error's text from the file name on: what comes before is a temporary folder.
fn error(result: Result<Task, TaskError>) -> String {
    let text = result.unwrap_err().to_string();
    let at = ["task.yaml", "data."].iter().filter_map(|name| text.find(name)).min().unwrap_or(0);
    text[at..].to_owned()
}

fn with(key: &str, value: &str) -> String {
    let mut lines: Vec<String> =
        TARGET.lines().filter(|l| !l.starts_with(&format!("{key}:"))).map(str::to_owned).collect();
    lines.push(format!("{key}: {value}"));
    lines.join("\n")
}

fn generate(task: &Task) -> &Generate {
    match &task.kind {
        Kind::Generate(generate) => generate,
        _ => panic!("not a generate task"),
    }
}

#[test]
fn a_whole_task_loads_asks_and_judges() {
    let task = load(TARGET).unwrap();
    assert_eq!((task.name.as_str(), task.chat, task.questions.len()), ("target", false, 3));
    let first = &task.questions[0];
    assert!(first.prompt.starts_with("問: メアリー") && first.prompt.ends_with("\n答:"));
    assert_eq!((first.answer.as_str(), first.line), ("53", 1));
    assert_eq!(
        *generate(&task),
        Generate {
            stop: vec!["\n".to_owned()],
            max_tokens: 64,
            metric: Metric::Number(Extract::Robust),
            answer_after: Some("####".to_owned()),
            language: Some(LanguageGate { language: Language::Ja, share: 1.0 }),
        }
    );
    assert_eq!(generate(&task).judge(first, " 最初は23個。23+30=53。#### 53\n"), 1.0);
    assert_eq!(generate(&task).judge(first, " Start with 23. #### 53\n"), 0.0);
}

#[test]
fn mgsm_loads_from_a_tsv_without_header() {
    // Two rows of mgsm_ja.tsv, one with a quotation mark put in: TSV has no quoting.
    let tsv = "ジャネットのアヒルは1日に16個の卵を\"生み\"ます。\t18\nローブを作成するには、\"全体で何巻必要ですか？\t2,125\n";
    let yaml = r#"
data: data.tsv
columns: [question, answer]
kind: generate
prompt: |-
  以下に、あるタスクを説明する指示があります。

  ### 指示:
  {{ question }}

  ### 応答:
answer: "{{ answer }}"
stop: ["Instruction:", "Instruction", "Response:", "Response"]
max_tokens: 1024
metric: number
extract: paper
language: ja
language_share: 0.5
"#;
    let task = load_with(yaml, "data.tsv", tsv.as_bytes(), None).unwrap();
    assert_eq!(task.name, "task", "the file's name, for want of another");
    let questions = &task.questions;
    assert_eq!(
        questions[0].prompt,
        "以下に、あるタスクを説明する指示があります。\n\n### 指示:\nジャネットのアヒルは1日に16個の卵を\"生み\"ます。\n\n### 応答:"
    );
    assert_eq!((questions[1].answer.as_str(), questions[1].line), ("2,125", 2));
    let judge = |i: usize, output: &str| generate(&task).judge(&questions[i], output);
    assert_eq!(judge(0, "16-3-4=9個を9*2=18ドルで売ります。答えは18ドルです。"), 1.0);
    assert_eq!(judge(0, "The answer is 18."), 0.0);
    assert_eq!(judge(0, "答えは18ドルです。\n\nInstruction: 次は20"), 1.0);
    assert_eq!(judge(1, "答えは2,125です。"), 0.0, "the paper reads 125");
    assert_eq!(judge(1, "答えは2125です。"), 1.0);
}

#[test]
fn gsm8k_answers_are_cut_at_their_marker() {
    let data = r####"{"question": "How much?", "answer": "She sells 9.\n#### 1,018"}"####;
    let yaml = TARGET.replace("{{ prompt }}", "Q: {{ question }}\\nA:").replace("language: ja", "language: en");
    let task = load_with(&yaml, "data.jsonl", data.as_bytes(), None).unwrap();
    assert_eq!(task.questions[0].prompt, "Q: How much?\nA:");
    assert_eq!(task.questions[0].answer, "1,018");
    assert_eq!(generate(&task).judge(&task.questions[0], " She sells 9. #### 1018"), 1.0);
}

#[test]
fn perplexity_asks_prompts_alone() {
    let task = load("data: data.jsonl\nkind: perplexity\nprompt: \"{{ prompt }}{{ reference }}\"\n").unwrap();
    assert_eq!(task.kind, Kind::Perplexity(TextMetric::Perplexity));
    assert_eq!((task.questions[2].prompt.as_str(), task.questions[2].answer.as_str()), ("問: 三つ目\n答: #### 3", ""));
}

#[test]
fn csv_has_a_header_and_quoting() {
    let csv = "prompt,answer\n\"a, \"\"b\"\"\nc\",1\n\nd,2\n";
    let task = load_with(&with("data", "data.csv"), "data.csv", csv.as_bytes(), None).unwrap();
    let questions: Vec<_> = task.questions.iter().map(|q| (q.prompt.as_str(), q.answer.as_str(), q.line)).collect();
    assert_eq!(questions, [("a, \"b\"\nc", "1", 2), ("d", "2", 5)]);
}

#[test]
fn limit_takes_the_first_and_the_callers_wins() {
    let lines = |task: Task| task.questions.iter().map(|q| q.line).collect::<Vec<_>>();
    let limited = with("limit", "2");
    assert_eq!(lines(load(&limited).unwrap()), [1, 2]);
    assert_eq!(lines(load_with(&limited, "data.jsonl", ROWS.as_bytes(), Some(1)).unwrap()), [1]);
    assert_eq!(lines(load_with(&limited, "data.jsonl", ROWS.as_bytes(), Some(99)).unwrap()), [1, 2, 3]);
    let none = load_with(TARGET, "data.jsonl", ROWS.as_bytes(), Some(0));
    assert!(matches!(none, Err(TaskError::ZeroLimit)));
}

#[test]
fn rows_beyond_the_limit_are_not_read() {
    let data = format!("{ROWS}not json\n");
    assert_eq!(load_with(&with("limit", "3"), "data.jsonl", data.as_bytes(), None).unwrap().questions.len(), 3);
}

#[test]
fn a_seed_shuffles_before_the_limit_and_always_the_same() {
    let data: String = (0..50).map(|i| format!("{{\"prompt\": \"{i}\", \"answer\": \"{i}\"}}\n")).collect();
    let order = |seed: &str, limit| -> Vec<u64> {
        let task = load_with(&with("seed", seed), "data.jsonl", data.as_bytes(), limit).unwrap();
        task.questions.iter().map(|q| q.line).collect()
    };
    let all = order("7", None);
    assert_eq!(all[..6], order("7", Some(6)));
    assert_ne!(all, order("8", None));
    // A seed in a published task must go on meaning the same questions.
    assert_eq!(all[..6], [22, 50, 47, 5, 37, 31]);
    let mut sorted = all.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=50).collect::<Vec<u64>>());
}

#[test]
fn unknown_keys_are_met_with_a_suggestion() {
    for (wrong, right) in [
        ("promt", "prompt"),
        ("stops", "stop"),
        ("doc_to_text", "prompt"),
        ("until", "stop"),
        ("target_delimiter", "delimiter"),
    ] {
        let yaml = format!("{TARGET}{wrong}: x\n");
        assert_eq!(error(load(&yaml)), format!("task.yaml:12:1: unknown key `{wrong}`: did you mean `{right}`?"));
    }
    let far = error(load(&format!("{TARGET}temperature: 1\n")));
    assert!(far.starts_with("task.yaml:12:1: unknown key `temperature`; known: `name`, `data`, "), "{far}");
}

#[test]
fn unknown_values_are_met_with_a_suggestion() {
    assert_eq!(
        error(load(&with("metric", "fuzzy"))),
        "task.yaml:11:9: unknown value `fuzzy`; known: `number`, `exact`, `contains`, `regex`, `rouge_l`, \
         `accuracy`, `accuracy_norm`, `bits_per_byte`"
    );
    assert_eq!(
        error(load(&with("kind", "generat"))),
        "task.yaml:11:7: unknown value `generat`: did you mean `generate`?"
    );
}

#[test]
fn metrics_belong_to_kinds_and_languages_have_codes() {
    for (key, value, message) in [
        ("metric", "bits_per_byte", "11:9: `metric: bits_per_byte` belongs to kind `perplexity`, this is `generate`"),
        ("language", "tlh", "11:11: `language: tlh` is none that can be told; there are en, ja, ar, "),
        ("language", "de\nlanguage_share: 0.5", "12:17: `language_share` is the share of a script's letters"),
    ] {
        let text = error(load(&with(key, value)));
        assert!(text.starts_with(&format!("task.yaml:{message}")), "{text}");
    }
    let text = |metric: &str| load(&format!("data: data.jsonl\nkind: perplexity\nprompt: x\nmetric: {metric}\n"));
    assert_eq!(text("bits_per_byte").unwrap().kind, Kind::Perplexity(TextMetric::BitsPerByte));
    let refused = error(text("exact"));
    assert!(refused.starts_with("task.yaml:4:9: `metric: exact` judges answers: kind `perplexity` has "), "{refused}");
    let task = load(&with("metric", "rouge_l")).unwrap();
    assert_eq!(generate(&task).metric, Metric::RougeL);
    let reference =
        error(load_with(&with("metric", "rouge_l"), "data.jsonl", br#"{"prompt": "p", "answer": "..."}"#, None));
    assert_eq!(reference, "data.jsonl:1: answer `...` has no words to compare");
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for (key, value, message) in [
        ("limit", "0", "12:8: `limit: 0` leaves no question: leave `limit` out to ask all"),
        ("max_tokens", "0", "11:13: `max_tokens` is `0`, it must be 1 to `65536`"),
        ("max_tokens", "65537", "11:13: `max_tokens` is `65537`, it must be 1 to `65536`"),
        ("stop", "[\"\"]", "11:7: `stop` takes up to `1024` strings, none of them empty"),
        ("answer_after", "\"\"", "11:15: `answer_after` is empty: name the marker, for example `\"####\"`"),
        ("language_share", "1.5", "12:17: `language_share` is `1.5`, it must be above 0 to 1"),
        ("language_share", ".nan", "12:17: `language_share` is `NaN`, it must be above 0 to 1"),
        ("choices", "[a, b]", "12:10: `choices` belong to kind `choice`, this is `generate`"),
        ("metric", "accuracy_norm", "11:9: `metric: accuracy_norm` belongs to kind `choice`, this is `generate`"),
        ("delimiter", "x", "12:12: `delimiter` stands before choices and the answers of `shots`: there are none"),
        ("shots_data", "x.jsonl", "12:13: `shots_data` needs `shots`, the number of examples"),
        ("shots", "1025", "12:8: `shots` is `1025`, the limit is `1024`"),
        ("columns", "[a]", "12:10: `columns` name the fields of TSV and CSV; JSON lines name their own"),
    ] {
        assert_eq!(error(load(&with(key, value))), format!("task.yaml:{message}"));
    }
    let without = |key: &str| TARGET.lines().filter(|l| !l.starts_with(key)).collect::<Vec<_>>().join("\n");
    assert!(error(load(&without("metric"))).starts_with("task.yaml:4:7: kind `generate` needs a `metric`"));
    assert!(error(load(&without("answer:"))).starts_with("task.yaml:4:7: kind `generate` needs an `answer`"));
    assert!(error(load(&without("prompt"))).ends_with("the key `prompt` is missing"));
    let exact = with("metric", "exact") + "\nextract: robust";
    assert!(error(load(&exact)).starts_with("task.yaml:12:10: `extract` reads numbers"));
    let share = without("language") + "\nlanguage_share: 0.5";
    assert!(error(load(&share)).ends_with("`language_share` needs a `language`"));
    let perplexity = "data: data.jsonl\nkind: perplexity\nprompt: x\nstop: [a]\n";
    assert_eq!(error(load(perplexity)), "task.yaml:4:7: `stop` means nothing to kind `perplexity`: remove it");
}

#[test]
fn null_is_the_same_as_leaving_a_key_out() {
    let keys = [
        "limit",
        "seed",
        "shots",
        "shots_data",
        "columns",
        "choices",
        "delimiter",
        "chat",
        "language_share",
        "extract",
    ];
    for key in keys {
        assert_eq!(load(&with(key, "null")).unwrap().questions.len(), 3, "{key}");
    }
}

#[test]
fn broken_yaml_names_its_line() {
    let text = error(load("name: x\nprompt: [1, 2\nkind: generate\n"));
    assert!(text.starts_with("task.yaml:"), "{text}");
    assert!(error(load(&with("limit", "many"))).starts_with("task.yaml:12:8: "));
    assert!(error(load(&with("limit", "-1"))).starts_with("task.yaml:12:8: "));
    let twice = error(load(&(TARGET.to_owned() + "name: again\n")));
    assert!(twice.starts_with("task.yaml:12:1: ") && !twice.contains("Options"), "{twice}");
    assert!(error(load("")).starts_with("task.yaml:"));
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        yaml += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", "));
    }
    assert!(load(&yaml).is_err());
}

#[test]
fn a_missing_column_is_named_with_those_present() {
    let data = "{\"prompt\": \"a\", \"answer\": \"1\"}\n\n{\"prompt\": \"b\", \"solution\": \"2\", \"note\": null}\n";
    assert_eq!(
        error(load_with(TARGET, "data.jsonl", data.as_bytes(), None)),
        "data.jsonl:3: no value for `answer`, which `answer` needs; the row has `prompt`, `solution`"
    );
    assert_eq!(
        error(load(&with("prompt", "\"{% for i in range(2) %}{{ question }}{% endfor %}\""))),
        "data.jsonl:1: no value for `question`, which `prompt` needs; the row has `prompt`, `answer`, `reference`"
    );
    let null = "{\"prompt\": null, \"answer\": \"1\"}";
    assert!(
        error(load_with(TARGET, "data.jsonl", null.as_bytes(), None))
            .starts_with("data.jsonl:1: no value for `prompt`")
    );
}

#[test]
fn an_optional_column_may_be_asked_for() {
    let yaml = with("prompt", "\"{% if hint is defined %}{{ hint }}{% endif %}{{ prompt }}\"");
    assert!(load(&yaml).unwrap().questions[0].prompt.starts_with("問:"));
}

#[test]
fn templates_keep_text_as_it_is() {
    let data = r#"{"prompt": "<b>1 & 2</b>\n", "answer": 7, "choices": ["x", "y"]}"#;
    let yaml = with("prompt", "\"{{ prompt }}{{ choices[1] }}\\n\"");
    let task = load_with(&yaml, "data.jsonl", data.as_bytes(), None).unwrap();
    assert_eq!(task.questions[0].prompt, "<b>1 & 2</b>\ny\n");
    assert_eq!(task.questions[0].answer, "7");
}

#[test]
fn broken_templates_are_refused_before_any_row() {
    let text = error(load(&with("prompt", "\"{{ prompt \"")));
    assert!(text.starts_with("task.yaml:11:9: template `prompt`: "), "{text}");
    let text = error(load(&with("prompt", "\"{{ reference[3].x }}\"")));
    assert!(text.starts_with("data.jsonl:1: template `prompt`: "), "{text}");
    let endless = "\"{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}\"";
    assert!(error(load(&with("prompt", endless))).starts_with("data.jsonl:1: template `prompt`: "));
    assert!(error(load(&with("prompt", "\"\""))).ends_with("`prompt` renders to nothing"));
}

#[test]
fn answers_that_nothing_could_match_are_refused() {
    let text = error(load(&with("answer", "\"about {{ answer }}\"")));
    assert!(text.starts_with("data.jsonl:1: answer `about 53` is not a number: "), "{text}");
    assert_eq!(error(load(&with("answer", "\" \""))), "data.jsonl:1: `answer` renders to nothing");
    let regex = with("metric", "regex").replace("{{ answer }}", "({{ answer }}");
    assert!(error(load(&regex)).starts_with("data.jsonl:1: answer is no pattern: "));
}

#[test]
fn malformed_rows_name_their_line() {
    let jsonl = |bad: &str| error(load_with(TARGET, "data.jsonl", format!("{ROWS}{bad}\n").as_bytes(), None));
    assert_eq!(jsonl("{\"prompt\": }"), "data.jsonl:4: column 12: not a JSON object: expected value");
    assert!(jsonl("[1, 2]").starts_with("data.jsonl:4: column "));
    assert!(
        jsonl(&"[".repeat(100_000)).starts_with("data.jsonl:4: column "),
        "deep nesting does not overflow the stack"
    );
    let long = format!("{{\"prompt\": \"{}\"}}", "x".repeat(MAX_ROW_BYTES));
    assert_eq!(jsonl(&long), "data.jsonl:4: row of `1048590` bytes, the limit is `1048576`");

    let tsv = |data: &str, columns: &str| {
        let yaml = with("data", "data.tsv") + columns;
        error(load_with(&yaml, "data.tsv", data.as_bytes(), None))
    };
    assert_eq!(
        tsv("a question\t1\nanother\t2\t3\n", ""),
        "data.tsv:2: `3` fields for `2` columns: if the first line is no header, set `columns`"
    );
    assert_eq!(tsv("q\t1\nanother\n", "\ncolumns: [prompt, answer]"), "data.tsv:2: `1` fields for `2` columns");
    assert_eq!(tsv("prompt\tprompt\n1\t2\n", ""), "data.tsv:1: column `prompt` is named twice");
}

#[test]
fn bytes_that_are_not_utf8_name_their_line() {
    let mut data = ROWS.as_bytes().to_vec();
    data.extend(b"{\"prompt\": \"caf\xe9\"}\n");
    assert_eq!(
        error(load_with(TARGET, "data.jsonl", &data, None)),
        "data.jsonl:4: byte `0xe9` is not UTF-8: convert the file"
    );
}

#[test]
fn a_byte_order_mark_and_crlf_are_not_data() {
    let data = "\u{FEFF}prompt\tanswer\r\nq\t1\r\n";
    let task = load_with(&with("data", "data.tsv"), "data.tsv", data.as_bytes(), None).unwrap();
    assert_eq!((task.questions[0].prompt.as_str(), task.questions[0].answer.as_str()), ("q", "1"));
    assert_eq!(task.questions[0].line, 2);
    let data = format!("\u{FEFF}{}", ROWS.replace('\n', "\r\n"));
    assert_eq!(load_with(TARGET, "data.jsonl", data.as_bytes(), None).unwrap().questions.len(), 3);
}

#[test]
fn files_that_are_not_data_are_refused() {
    assert_eq!(error(load_with(TARGET, "data.jsonl", b"\n\n", None)), "data.jsonl` has no rows");
    let parquet = load_with(&with("data", "data.parquet"), "data.parquet", b"PAR1", None);
    assert!(error(parquet).starts_with("data.parquet` has no known format"));
    assert!(error(load_with(TARGET, "other.jsonl", b"", None)).starts_with("data.jsonl`: No such file"));
    assert!(error(load(&with("data", "..jsonl"))).contains("No such file"));
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data.jsonl")).unwrap();
    fs::write(folder.path().join("task.yaml"), TARGET).unwrap();
    assert_eq!(error(Task::load(&folder.path().join("task.yaml"), None)), "data.jsonl` is not a regular file");
    assert!(matches!(Task::load(Path::new("/nowhere/task.yaml"), None), Err(TaskError::Read { .. })));
    assert!(matches!(Task::load(Path::new("/dev/zero"), None), Err(TaskError::NotAFile { .. })));
}

#[test]
fn a_task_file_beyond_its_cap_is_refused() {
    let yaml = format!("{TARGET}# {}\n", "x".repeat(1 << 20));
    assert!(matches!(load(&yaml), Err(TaskError::TooLarge { limit: 1_048_576, .. })));
}

#[test]
fn more_rows_than_the_cap_are_refused() {
    let data = "{}\n".repeat(MAX_ROWS + 1);
    let text = error(load_with(TARGET, "data.jsonl", data.as_bytes(), None));
    assert_eq!(text, "data.jsonl:1000001: more than `1000000` rows: set `limit`, or split the file");
}
