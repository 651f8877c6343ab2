//! Scoring as a search relies on it: ending answers early changes no score, and the tasks that ship ask what they say.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ggraft::generate::Request;
use ggraft::model::{Live, log_to_stderr};
use ggraft::open::Model;
use ggraft::score::{Prepared, Progress, Room, Score, generate};
use ggraft::tasks::{Kind, Task};

use crate::support::{Folder, ggraft, lines, perplexity_task, quickstart, target_task};
use crate::swaps::SETTINGS;

/// Data that a task file of `recipes/tasks` reads: a row, and the prompt that is asked of it.
const SHIPPED: [(&str, &str, &str, &str); 9] = [
    (
        "mgsm_ja",
        "mgsm/mgsm_ja.tsv",
        "りんごは何個？\t2,125\n",
        "以下に、あるタスクを説明する指示があります。リクエストを適切に完了するための回答を日本語で記述してください。一歩一歩考えましょう。\n\n### 指示:\nりんごは何個？\n\n### 応答:",
    ),
    ("mgsm_en", "mgsm/mgsm_en.tsv", "How \"many\"?\t3\n", "\n\n### Instruction:\nHow \"many\"?\n\n### Response:"),
    ("mgsm_de", "mgsm/mgsm_de.tsv", "Wie viele?\t3\n", "\n\n### Anweisung:\nWie viele?\n\n### Antwort:"),
    ("mgsm_es", "mgsm/mgsm_es.tsv", "¿Cuántos?\t3\n", "\n\n### Instrucción:\n¿Cuántos?\n\n### Respuesta:"),
    ("mgsm_fr", "mgsm/mgsm_fr.tsv", "Combien ?\t3\n", "\n\n### Instruction :\nCombien ?\n\n### Réponse :"),
    ("mgsm_zh", "mgsm/mgsm_zh.tsv", "多少？\t3\n", "\n\n### 指令：\n多少？\n\n### 回答："),
    (
        "gsm8k",
        "gsm8k/test.jsonl",
        "{\"question\": \"How many?\", \"answer\": \"One and one.\\n#### 2\"}\n",
        "Question: Q4\nAnswer: 4 it is.\n#### 4\n\nQuestion: How many?\nAnswer:",
    ),
    (
        "gsm8k_zero_shot",
        "gsm8k/test.jsonl",
        "{\"question\": \"How many?\", \"answer\": \"One and one.\\n#### 2\"}\n",
        "Question: How many?\nAnswer: Let's think step by step.",
    ),
    (
        "jcommonsenseqa",
        "jcommonsenseqa/valid-v1.3.json",
        "{\"question\": \"何？\", \"choice0\": \"一\", \"choice1\": \"二\", \"choice2\": \"三\", \"choice3\": \"四\", \"choice4\": \"五\", \"label\": 4}\n",
        "質問：何？\n選択肢：一、二、三、四、五\n回答：",
    ),
];

#[test]
fn tasks_that_ship_ask_what_they_say() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/tasks");
    let folder = Folder::new();
    let mut names: Vec<String> = Vec::new();
    let train: String =
        (0..6).map(|i| format!("{{\"question\": \"Q{i}\", \"answer\": \"{i} it is.\\n#### {i}\"}}\n")).collect();
    folder.write("gsm8k/train.jsonl", train);
    for (name, data, row, prompt) in SHIPPED {
        folder.write(data, row);
        let file = folder.write(&format!("{name}.yaml"), fs::read(shipped.join(format!("{name}.yaml"))).unwrap());
        let task = Task::load(&file, None).unwrap_or_else(|e| panic!("{e}"));
        let asked = &task.questions[0];
        assert!(asked.prompt.ends_with(prompt), "{name}: {}", asked.prompt);
        assert_eq!(task.name, name);
        let right = match &task.kind {
            // The paper's way to read numbers gets those with separators wrong, answers that are right included.
            Kind::Generate(kind) if name == "mgsm_ja" => {
                assert_eq!(kind.judge(asked, "答えは2,125個です。"), 0.0);
                kind.judge(asked, "答えは2125個です。") - kind.judge(asked, "The answer is 2125.")
            }
            Kind::Generate(kind) if name == "gsm8k_zero_shot" => kind.judge(asked, " One and one is $2."),
            Kind::Generate(kind) if name == "gsm8k" => {
                kind.judge(asked, " One and one is 2.\n#### 2\n\nQuestion: 3") - kind.judge(asked, " It is 2.\n")
            }
            Kind::Generate(_) => 1.0,
            Kind::Choice(kind) => kind.judge(asked, &[-5.0, -4.0, -4.0, -9.0, -1.0]),
            Kind::Perplexity(_) => unreachable!("none ships"),
        };
        assert_eq!(right, 1.0, "{name}");
        names.push(format!("{name}.yaml"));
    }
    let mut there: Vec<String> = fs::read_dir(&shipped)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    there.sort();
    names.sort();
    assert_eq!(there, names, "every task that ships is tested here");
}

/// A task over the first `limit` questions of a data file of the quickstart; `rest` says how answers are judged.
fn task(folder: &Folder, data: &str, limit: usize, rest: &str) -> Arc<Task> {
    folder.write(data, lines(data, limit));
    let yaml =
        format!("data: {data}\nkind: generate\nprompt: \"{{{{ prompt }}}}\"\nanswer: \"{{{{ answer }}}}\"\n{rest}");
    Arc::new(Task::load(&folder.write("task.yaml", yaml), None).unwrap())
}

/// What each question comes to if every answer is written to its end, and the tokens of all.
fn whole(live: &mut Live, task: &Task) -> (Vec<f64>, usize) {
    let Kind::Generate(kind) = &task.kind else { panic!("not a generate task") };
    let request = |prompt: &str| Request {
        stop: kind.stop.clone(),
        ..Request::greedy(live.vocabulary().tokenize(prompt), kind.max_tokens)
    };
    let requests: Vec<Request> = task.questions.iter().map(|q| request(&q.prompt)).collect();
    let never = |_: usize, _: &str, _: usize| false;
    let (answers, work) = generate(live, &requests, &never, &mut Progress::new(&mut |_, _| true)).unwrap();
    (task.questions.iter().zip(answers).map(|(q, a)| kind.judge(q, &a.text)).collect(), work.generated_tokens)
}

/// Asks the model at `path` with and without early ends; returns the tokens of answers with and without.
fn compare(path: &Path, tasks: &[Arc<Task>], parallel: u32) -> Vec<(usize, usize)> {
    log_to_stderr(false);
    let model = Model::open(path).unwrap();
    let vocabulary = model.vocabulary().unwrap();
    let mut tokens = Vec::new();
    for task in tasks {
        let prepared = Prepared::new(Arc::clone(task), &vocabulary).unwrap();
        let size = prepared.context_size(Room { parallel, tokens: None });
        let (mut live, _) = model.start(Arc::clone(&vocabulary), SETTINGS, size).unwrap();
        let Score { items, work, .. } = prepared.score_all(&mut live, &mut Progress::new(&mut |_, _| true)).unwrap();
        let (want, all) = whole(&mut live, task);
        assert_eq!(items, want, "{}: {task:?}", path.display());
        assert!(work.generated_tokens <= all);
        tokens.push((work.generated_tokens, all));
    }
    tokens
}

#[test]
fn ending_answers_early_changes_no_score() {
    let folder = Folder::new();
    let marked = "max_tokens: 40\nmetric: number\nanswer_after: \"####\"\n";
    let tasks = [
        task(&folder, "english_math_test.jsonl", 16, &format!("{marked}stop: [\"\\n\"]\nlanguage: ja\n")),
        task(&folder, "english_math_test.jsonl", 12, &format!("{marked}language: ja\nlanguage_share: 0.25\n")),
        task(&folder, "target_test.jsonl", 16, &format!("{marked}stop: [\"\\n\"]\nlanguage: ja\n")),
        task(&folder, "english_math_test.jsonl", 16, marked),
        task(&folder, "english_math_test.jsonl", 16, "max_tokens: 40\nmetric: contains\nstop: [\"\\n\"]\n"),
        task(&folder, "japanese_qa_test.jsonl", 16, "max_tokens: 24\nmetric: exact\nstop: [\"\\n\"]\n"),
        task(&folder, "japanese_qa_test.jsonl", 16, "max_tokens: 24\nmetric: rouge_l\nstop: [\"\\n\"]\n"),
    ];
    let mut saved = vec![false; tasks.len()];
    for (model, parallel) in [("base", 16), ("math", 5), ("ja", 16)] {
        let tokens = compare(&quickstart(&format!("{model}-Q8_0.gguf")), &tasks, parallel);
        saved.iter_mut().zip(tokens).for_each(|(saved, (early, all))| *saved |= early < all);
    }
    assert_eq!(saved, [true, true, false, false, true, true, false], "tasks whose answers end early at all");
}

/// `make test` downloads the model and names its folder in `GGRAFT_TEST_MODELS`; without it there is nothing to test.
#[test]
fn smollm2_scores_the_same_with_early_ends() {
    let Some(models) = std::env::var_os("GGRAFT_TEST_MODELS") else {
        eprintln!(
            "skipped: GGRAFT_TEST_MODELS does not name a folder with SmolLM2-135M-Instruct.gguf; `make test` does"
        );
        return;
    };
    let folder = Folder::new();
    let tasks = [
        task(&folder, "english_math_test.jsonl", 6, "max_tokens: 40\nmetric: contains\n"),
        task(&folder, "english_math_test.jsonl", 6, "max_tokens: 40\nmetric: number\nlanguage: ja\n"),
        task(&folder, "english_math_test.jsonl", 6, "max_tokens: 40\nmetric: exact\n"),
    ];
    // One after another: so no answer is computed among others than without early ends, and rounding is the same to the bit.
    let tokens = compare(&PathBuf::from(models).join("SmolLM2-135M-Instruct.gguf"), &tasks, 1);
    assert!(tokens.iter().filter(|(early, all)| early < all).count() >= 2, "{tokens:?}");
}

#[test]
fn a_model_that_computes_no_numbers_is_named() {
    let folder = Folder::new();
    let mut model = fs::read(quickstart("math-Q8_0.gguf")).unwrap();
    let end = model.len();
    model[end - 3400..].fill(0xFF);
    let model = folder.write("damaged.gguf", model);
    for (task, count) in [(target_task(&folder, "target_test.jsonl", 3), 3), (perplexity_task(&folder, 2), 2)] {
        let done = ggraft(["score".as_ref(), model.as_os_str(), "--task".as_ref(), task.as_os_str()]);
        let warning = format!("damaged.gguf` computes NaN or infinity on {count} of {count} questions");
        assert!(done.code() == 0 && done.stderr.contains(&warning), "{done:?}");
    }
}
