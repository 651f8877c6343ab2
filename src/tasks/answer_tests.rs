//! Judged examples: what models write, and what each way of reading makes of it.

use super::*;
use crate::tasks::{Language, LanguageGate};

const NUMBER: Metric = Metric::Number(Extract::Robust);

fn generate(metric: Metric) -> Generate {
    Generate { stop: vec!["\n".to_owned()], max_tokens: 64, metric, answer_after: None, language: None }
}

/// The task that the quickstart searches for: `#### N`, reasoning in `language`.
fn marked(language: Language) -> Generate {
    let language = Some(LanguageGate { language, share: 1.0 });
    Generate { answer_after: Some("####".to_owned()), language, ..generate(NUMBER) }
}

fn judge(task: &Generate, answer: &str, output: &str) -> f64 {
    task.judge(&Question { prompt: "p".to_owned(), answer: answer.to_owned(), choices: None, line: 1 }, output)
}

#[test]
fn target_needs_the_number_and_japanese_before_it() {
    let task = marked(Language::Ja);
    for (output, score) in [
        (" 最初は23個。30個買ったので23+30=53。#### 53", 1.0),
        (" 最初は23個。30個買ったので23+30=53。#### 53\n問: 次", 1.0),
        (" 最初は23個。#### 53.", 1.0),
        (" 最初は23個。####53個", 1.0),
        (" 最初は23個。#### 54", 0.0),
        (" 最初は23個。#### 53 #### 54", 1.0),
        (" 最初は23個。#### 54 #### 53", 0.0),
        (" 最初は23個。#### 答えは53", 0.0),
        (" 最初は23個。#### ", 0.0),
        (" 最初は23個。23+30=53。", 0.0),
        (" Start with 23. Bought 30, so 23+30=53. #### 53", 0.0),
        (" 最初は23個。so 23+30=53。#### 53", 0.0),
        (" 23+30=53 #### 53", 0.0),
        ("\n最初は23個。#### 53", 0.0),
        ("", 0.0),
    ] {
        assert_eq!(judge(&task, "53", output), score, "{output:?}");
    }
}

#[test]
fn english_math_needs_english_before_the_number() {
    let task = marked(Language::En);
    assert_eq!(judge(&task, "60", " Start with 16. Bought 44, so 16+44=60. #### 60"), 1.0);
    assert_eq!(judge(&task, "60", " 最初は16個。#### 60"), 0.0);
    assert_eq!(judge(&task, "60", " Start with 16個. #### 60"), 0.0);
}

#[test]
fn exact_compares_the_whole_stripped_answer() {
    let task = generate(Metric::Exact);
    assert_eq!(judge(&task, "緑です。", " 緑です。\n問:"), 1.0);
    assert_eq!(judge(&task, "緑です。", "\u{3000}緑です。 "), 1.0);
    assert_eq!(judge(&task, "緑です。", " 緑です"), 0.0);
    assert_eq!(judge(&task, "緑です。", " 緑です。はい"), 0.0);
}

#[test]
fn contains_and_regex_look_anywhere_in_the_answer() {
    let contains = generate(Metric::Contains);
    assert_eq!(judge(&contains, "マザーボード", " それはマザーボードです。"), 1.0);
    assert_eq!(judge(&contains, "マザーボード", " それは基板です。\nマザーボード"), 0.0, "after the stop string");
    let regex = generate(Metric::Regex);
    assert_eq!(judge(&regex, "^(yes|はい)\\b", " yes, it is"), 1.0);
    assert_eq!(judge(&regex, "^(yes|はい)\\b", " oh yes"), 0.0);
    assert_eq!(
        judge(&regex, "(", " ("),
        0.0,
        "a pattern that does not compile is refused at load, and matches nothing"
    );
}

#[test]
fn without_a_marker_the_last_number_counts() {
    let task = generate(NUMBER);
    assert_eq!(judge(&task, "18", " 16-3-4=9、9*2=18ドルです。"), 1.0);
    assert_eq!(judge(&task, "18", " 18ではなく20"), 0.0);
    assert_eq!(judge(&task, "2,125", " 答えは2125。"), 1.0);
    assert_eq!(judge(&task, "18", " わかりません"), 0.0);
}

#[test]
fn paper_mode_repeats_the_papers_mistakes() {
    for (text, number) in [
        ("答えは2,125です", Some(125.0)),
        ("答えは-5です", Some(5.0)),
        ("答えは１８です", Some(18.0)),
        ("答えは18.", Some(18.0)),
        ("答えは18.50ドル", Some(18.5)),
        ("3.5.2", Some(0.2)),
        ("答えは.5", Some(0.5)),
        ("1,234,567", Some(567.0)),
        ("2．5", Some(5.0)),
        ("なし", None),
        ("", None),
    ] {
        assert_eq!(last_number(text, Extract::Paper), number, "{text:?}");
    }
}

#[test]
fn paper_mode_agrees_with_the_official_pattern() {
    let pattern = Regex::new(r"[0-9]*\.?[0-9]+").unwrap();
    let pieces = ["1", "23", ".", "..", ",", "-", "個", " ", "4567", "a"];
    for i in 0..pieces.len().pow(4) {
        let text: String = (0..4).map(|place| pieces[i / pieces.len().pow(place) % pieces.len()]).collect();
        let official: Vec<_> = pattern.find_iter(&text).map(|found| found.range()).collect();
        assert_eq!(number_spans(&text, Extract::Paper), official, "{text:?}");
    }
}

#[test]
fn robust_mode_reads_numbers_as_people_write_them() {
    for (text, number) in [
        ("答えは2,125です", Some(2125.0)),
        ("合計 1,234,567.89 円", Some(1_234_567.89)),
        ("１，２３４個", Some(1234.0)),
        ("2．5", Some(2.5)),
        ("答えは-5です", Some(-5.0)),
        ("答えは−5です", Some(-5.0)),
        ("答えは－５です", Some(-5.0)),
        ("-1,000", Some(-1000.0)),
        ("16-3", Some(3.0)),
        ("(16+2)-3", Some(3.0)),
        ("16 - 3", Some(3.0)),
        ("x = -3", Some(-3.0)),
        ("The answer is 18.", Some(18.0)),
        ("18.0", Some(18.0)),
        (".5", Some(0.5)),
        ("-.5", Some(-0.5)),
        ("1,2,3", Some(3.0)),
        ("1,2345", Some(2345.0)),
        ("12,34", Some(34.0)),
        ("1234,567", Some(567.0)),
        ("5、6", Some(6.0)),
        ("1,234km", Some(1234.0)),
        ("1,234,56", Some(56.0)),
        ("#### 53", Some(53.0)),
        ("no number", None),
        ("-", None),
        (".", None),
        (",", None),
    ] {
        assert_eq!(last_number(text, Extract::Robust), number, "{text:?}");
    }
}

#[test]
fn a_number_beyond_double_precision_is_no_number() {
    let huge = "9".repeat(400);
    for extract in [Extract::Paper, Extract::Robust] {
        assert_eq!(last_number(&huge, extract), None);
    }
    assert_eq!(judge(&generate(NUMBER), &huge, &huge), 0.0, "two infinities are not the same answer");
}

#[test]
fn the_earliest_stop_string_cuts() {
    let stops = ["b".to_owned(), "ab".to_owned()];
    assert_eq!(cut_at_stop("xxabb", &stops), Some(2));
    assert_eq!(cut_at_stop("", &stops), None);
    assert_eq!(cut_at_stop("xx", &[]), None);
}

#[test]
fn a_language_is_the_share_of_its_letters() {
    let gate = |language, share| LanguageGate { language, share };
    let strict = gate(Language::Ja, 1.0);
    for text in ["かな", "カナ", "ｶﾅ", "漢字", "ラーメンを12個", "々", "18ドル。", "コーヒー・紅茶（2杯）"]
    {
        assert!(strict.admits(text), "{text}");
    }
    for text in ["", "123", "。、「」", "AさんとBさん", "km", "Ａ組", "한국어です", "это です"] {
        assert!(!strict.admits(text), "{text}");
    }
    let half = gate(Language::Ja, 0.5);
    assert!(half.admits("AさんとBさんは5kmを歩いた"));
    assert!(!half.admits("The answer is 答え"));
    let english = gate(Language::En, 1.0);
    assert!(english.admits("A café, 3 km away.") && english.admits("ＡＢＣ"));
    assert!(!english.admits("［５］") && !english.admits("3 × 4") && !english.admits("cafe 喫茶"));
}

#[test]
fn japanese_has_kana_and_other_languages_are_identified() {
    let gate = |language, share| LanguageGate { language, share };
    let half = gate(Language::Ja, 0.5);
    assert!(half.admits("彼女は毎日市場で18ドルを手に入れます。") && half.admits("答十八個"));
    assert!(!half.admits("珍妮特的鸭子每天下16颗蛋，她每天早上吃3颗。"), "Chinese");
    let texts = [
        ("de", "Janets Enten legen 16 Eier pro Tag. Sie isst drei jeden Morgen zum Frühstück."),
        ("fr", "Les canes de Janet pondent 16 œufs par jour. Chaque matin, elle en mange trois."),
        ("es", "Los patos de Janet ponen 16 huevos por día. Ella come tres en el desayuno todas las mañanas."),
        ("zh", "珍妮特的鸭子每天下16颗蛋，她每天早上吃3颗。"),
    ];
    for (code, _) in texts {
        let gate = gate(Language::from_code(code).unwrap(), 1.0);
        let admitted: Vec<&str> = texts.iter().filter(|(_, text)| gate.admits(text)).map(|(code, _)| *code).collect();
        assert_eq!(admitted, [code]);
    }
}

/// Every way to judge, over answers that may be right or wrong in each.
fn ways() -> Vec<(Generate, &'static str)> {
    let gates = [(Language::Ja, 1.0), (Language::Ja, 0.3), (Language::En, 1.0), (Language::En, 0.5)];
    let mut ways = Vec::new();
    for marker in [None, Some("####"), Some("Answer:"), Some("答え")] {
        for gate in gates
            .iter()
            .map(|(language, share)| Some(LanguageGate { language: *language, share: *share }))
            .chain([None])
        {
            for (metric, answer) in [
                (NUMBER, "-1,250.5"),
                (NUMBER, "53"),
                (Metric::Number(Extract::Paper), "53"),
                (Metric::Exact, "53 個"),
                (Metric::Contains, "53"),
                (Metric::Regex, "^53"),
                (Metric::RougeL, "53 個 Answer"),
            ] {
                let (answer_after, language) = (marker.map(str::to_owned), gate);
                ways.push((Generate { stop: Vec::new(), answer_after, language, ..generate(metric) }, answer));
            }
        }
    }
    ways
}

#[test]
fn what_is_settled_is_what_will_be_judged() {
    const PIECES: [&str; 22] = [
        "53",
        "5",
        "3",
        "-",
        "1,250.5",
        ".",
        ",",
        " ",
        "\n",
        "####",
        "##",
        "#",
        "Answer:",
        "Ans",
        "答え",
        "答",
        " 個",
        "個です",
        "so it is",
        "漢字漢字漢字",
        "５３",
        "。",
    ];
    let ways = ways();
    let mut state = 7u64;
    let mut draw = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    let (mut settled, mut right) = (0, 0);
    for _ in 0..4000 {
        let output: String = (0..1 + draw(12)).map(|_| PIECES[draw(PIECES.len())]).collect();
        let (task, answer) = &ways[draw(ways.len())];
        let question = Question { prompt: "p".to_owned(), answer: (*answer).to_owned(), choices: None, line: 1 };
        let score = task.judge(&question, &output);
        for (at, _) in output.char_indices().chain([(output.len(), ' ')]) {
            let (text, rest) = output.split_at(at);
            // As tight as it may be told, and looser.
            let more = task.language.map_or(0, |gate| gate.own_letters(rest)) + draw(2) * 3;
            if let Some(early) = task.settled(&question, text, more) {
                assert_eq!(early, score, "{task:?} of {answer}: `{text}` and then `{rest}`");
                settled += 1;
                right += usize::from(early == 1.0);
            }
        }
    }
    assert!(settled > 10_000 && right > 100, "{settled}, {right}");
}

#[test]
fn answers_are_settled_where_they_can_be() {
    let settled = |task: &Generate, answer: &str, text: &str, more| {
        let question = Question { prompt: "p".to_owned(), answer: answer.to_owned(), choices: None, line: 1 };
        task.settled(&question, text, more)
    };
    let target = marked(Language::Ja);
    for (text, want) in [
        (" 最初は23個。#### 53", None),
        (" 最初は23個。#### 53.", None),
        (" 最初は23個。#### 53。", Some(1.0)),
        (" 最初は23個。#### 53 ", Some(1.0)),
        (" 最初は23個。#### 5 ", Some(0.0)),
        (" 最初は23個。#### ", None),
        (" 最初は23個。#### 答", Some(0.0)),
        (" Start", Some(0.0)),
        (" 23+30", None),
    ] {
        assert_eq!(settled(&target, "53", text, 1000), want, "{text}");
    }
    let exact = generate(Metric::Exact);
    for (text, want) in [(" 青い", None), (" 青い色 ", None), (" 青い色。", Some(0.0)), (" 赤", Some(0.0)), ("", None)]
    {
        assert_eq!(settled(&exact, "青い色", text, 0), want, "{text}");
    }
    assert_eq!(settled(&generate(Metric::Contains), "青", "空は青", 0), Some(1.0));
    assert_eq!(settled(&generate(NUMBER), "53", "is 53. So", 0), None, "the last number counts");
    // A share that what is left can no longer bring.
    let language = Some(LanguageGate { language: Language::Ja, share: 0.5 });
    let half = Generate { language, ..generate(NUMBER) };
    assert_eq!(settled(&half, "53", "The answer", 8), Some(0.0));
    assert_eq!(settled(&half, "53", "The answer", 9), None);
}
