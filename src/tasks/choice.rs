//! Judges by likelihood: which of a question's choices a model takes, and whether it is the right one.
//!
//! In: the choices and the right answer, as rendered from the data, and the log-likelihood of each choice. Out: a score, 1 for right
//! and 0 for wrong.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::{Choice, ChoiceMetric, Choices, Question};

/// Most choices of one question.
pub(super) const MAX_CHOICES: usize = 1024;

impl Choice {
    /// The score of a model to which the question's choices are as likely as `log_likelihoods` says, each the sum over its tokens.
    pub fn judge(&self, question: &Question, log_likelihoods: &[f64]) -> f64 {
        let right = question.choices.as_ref().is_some_and(|choices| {
            let taken = self.taken(&choices.texts, log_likelihoods);
            taken == Some(choices.right)
        });
        f64::from(u8::from(right))
    }

    /// The choice that counts as the model's: the most likely, of equals the first. None if a likelihood is no number.
    fn taken(&self, texts: &[String], log_likelihoods: &[f64]) -> Option<usize> {
        let value = |(text, log): (&String, &f64)| match self.metric {
            ChoiceMetric::Accuracy => *log,
            ChoiceMetric::AccuracyNorm => log / text.chars().count() as f64,
        };
        let values: Vec<f64> = texts.iter().zip(log_likelihoods).map(value).collect();
        let better = |best: usize, next: usize| if values[next] > values[best] { next } else { best };
        (0..values.len()).reduce(better).filter(|_| values.iter().all(|value| !value.is_nan()))
    }
}

/// The choices `texts` with the one that `answer` means; the error says why they cannot be asked.
pub(super) fn prepare(texts: Vec<String>, answer: &Value) -> Result<Choices, String> {
    if !(2..=MAX_CHOICES).contains(&texts.len()) {
        return Err(format!("`choices` gives `{}`, a question needs 2 to `{MAX_CHOICES}`", texts.len()));
    }
    if let Some(empty) = texts.iter().position(String::is_empty) {
        return Err(format!("choice `{empty}`, counted from 0, renders to nothing"));
    }
    let right = right(&texts, answer)?;
    Ok(Choices { texts, right })
}

/// Which of `texts` is meant: a number is an index, a text is a choice's own or an index in digits, as data files without types have it.
fn right(texts: &[String], answer: &Value) -> Result<usize, String> {
    let index = |index: Option<usize>| {
        let choices = texts.len();
        let message = || format!("`answer` is `{answer}`, the `{choices}` choices are counted from 0");
        index.filter(|index| *index < choices).ok_or_else(message)
    };
    match answer.kind() {
        ValueKind::Number => return index(answer.as_usize()),
        ValueKind::Bool => return index(Some(usize::from(answer.is_true()))),
        _ => {}
    }
    let text = answer.as_str().map(str::trim).unwrap_or_default();
    if text.is_empty() {
        return Err("`answer` is no text and no number".to_owned());
    }
    let same = texts.iter().position(|choice| choice.trim() == text);
    let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok());
    match (same, number) {
        (Some(same), Some(Some(number))) if number < texts.len() && number != same => Err(format!(
            "answer `{text}` is the text of choice `{same}` and the index of another, counted from 0: give the index as a number, \
             `| int` makes one and `[..].index(..)` finds one"
        )),
        (Some(same), _) => Ok(same),
        (None, Some(number)) => index(number),
        (None, None) => Err(format!("answer `{text}` is none of the `{}` choices and no index of one", texts.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| (*t).to_owned()).collect()
    }

    fn judge(metric: ChoiceMetric, of: &[&str], right: usize, log_likelihoods: &[f64]) -> f64 {
        let choices = Some(Choices { texts: texts(of), right });
        let question = Question { prompt: "p".to_owned(), answer: of[right].to_owned(), choices, line: 1 };
        Choice { metric, delimiter: " ".to_owned() }.judge(&question, log_likelihoods)
    }

    #[test]
    fn the_most_likely_choice_is_taken() {
        let accuracy = |right, logs: &[f64]| judge(ChoiceMetric::Accuracy, &["a", "bb", "ccc"], right, logs);
        assert_eq!(accuracy(1, &[-3.0, -2.0, -4.0]), 1.0);
        assert_eq!(accuracy(0, &[-3.0, -2.0, -4.0]), 0.0);
        assert_eq!(accuracy(2, &[-3.0, f64::NEG_INFINITY, -1.0]), 1.0);
    }

    #[test]
    fn of_equals_the_first_is_taken() {
        for metric in [ChoiceMetric::Accuracy, ChoiceMetric::AccuracyNorm] {
            assert_eq!(judge(metric, &["aa", "bb", "cc"], 1, &[-3.0, -2.0, -2.0]), 1.0);
            assert_eq!(judge(metric, &["aa", "bb", "cc"], 2, &[-3.0, -2.0, -2.0]), 0.0);
        }
        assert_eq!(judge(ChoiceMetric::AccuracyNorm, &["a", "bb"], 0, &[-1.5, -3.0]), 1.0, "equal per character");
    }

    #[test]
    fn norm_divides_by_characters_not_bytes() {
        // -6 / 3 characters is less than -3 / 2; by bytes, -6 / 9 would be more than -3 / 2.
        let logs = [-6.0, -3.0];
        assert_eq!(judge(ChoiceMetric::AccuracyNorm, &["掲示板", "ab"], 1, &logs), 1.0);
        assert_eq!(judge(ChoiceMetric::AccuracyNorm, &["掲示板です", "ab"], 0, &logs), 1.0, "-6 / 5 is more");
        // White space of the choice's own is part of it.
        assert_eq!(judge(ChoiceMetric::AccuracyNorm, &["x", " x"], 1, &[-1.9, -3.0]), 1.0);
    }

    #[test]
    fn a_model_that_computes_no_numbers_is_wrong() {
        for right in [0, 1] {
            assert_eq!(judge(ChoiceMetric::Accuracy, &["a", "b"], right, &[f64::NAN, -1.0]), 0.0);
            assert_eq!(judge(ChoiceMetric::Accuracy, &["a", "b"], right, &[-1.0, f64::NAN]), 0.0);
        }
    }

    #[test]
    fn answers_are_indices_or_texts() {
        let right = |of: &[&str], answer: Value| prepare(texts(of), &answer).map(|choices| choices.right);
        let fruit = ["apple", " pear", "fig"];
        assert_eq!(right(&fruit, Value::from(2)), Ok(2));
        assert_eq!(right(&fruit, Value::from(2.0)), Ok(2));
        assert_eq!(right(&fruit, Value::from(true)), Ok(1));
        assert_eq!(right(&fruit, Value::from("2")), Ok(2));
        assert_eq!(right(&fruit, Value::from("pear ")), Ok(1));
        assert_eq!(right(&["no", "yes", "yes"], Value::from("yes")), Ok(1));
        // Numbers are indices even where choices are numbers; as text they may be either, and are what fits.
        assert_eq!(right(&["4", "5", "6"], Value::from(1)), Ok(1));
        assert_eq!(right(&["4", "5", "6"], Value::from("5")), Ok(1));
        assert_eq!(right(&["0", "1", "2"], Value::from("1")), Ok(1));
        let both = right(&["1", "2", "3"], Value::from("2")).unwrap_err();
        assert!(both.starts_with("answer `2` is the text of choice `1` and the index of another"), "{both}");
    }

    #[test]
    fn questions_that_nobody_can_answer_are_refused() {
        let error = |of: &[&str], answer: Value| prepare(texts(of), &answer).unwrap_err();
        assert_eq!(error(&["a"], Value::from(0)), "`choices` gives `1`, a question needs 2 to `1024`");
        assert!(error(&["a"; 1025], Value::from(0)).starts_with("`choices` gives `1025`"));
        assert_eq!(error(&["a", ""], Value::from(0)), "choice `1`, counted from 0, renders to nothing");
        assert_eq!(error(&["a", "b"], Value::from(2)), "`answer` is `2`, the `2` choices are counted from 0");
        assert_eq!(error(&["a", "b"], Value::from(-1)), "`answer` is `-1`, the `2` choices are counted from 0");
        assert_eq!(error(&["a", "b"], Value::from(0.5)), "`answer` is `0.5`, the `2` choices are counted from 0");
        assert_eq!(error(&["a", "b"], Value::from("2")), "`answer` is `2`, the `2` choices are counted from 0");
        let huge = "9".repeat(30);
        assert!(error(&["a", "b"], Value::from(huge)).ends_with("the `2` choices are counted from 0"));
        assert_eq!(error(&["a", "b"], Value::from("c")), "answer `c` is none of the `2` choices and no index of one");
        for nothing in [Value::from(" "), Value::from(()), Value::from(vec!["a"])] {
            assert_eq!(error(&["a", "b"], nothing), "`answer` is no text and no number");
        }
    }
}
