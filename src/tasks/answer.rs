//! Judges a generated answer: cuts it at the stop strings, finds what counts in it, compares that with the right answer.
//!
//! In: the right answer, as rendered from the data, and the model's output. Out: a score, 1 for right and 0 for wrong. Of an output that
//! is still being written it can tell whether its score is certain already.

use std::ops::Range;

use regex::{Regex, RegexBuilder};

use super::rouge::{MAX_WORDS, rouge_l, words};
use super::{Extract, Generate, Metric, Question};

/// Memory that one compiled `metric: regex` answer may take.
const MAX_REGEX_BYTES: usize = 1 << 20;

impl Generate {
    /// The score of `output`, the text generated after the prompt: 1 if it is right, 0 if not, and for `rouge_l` what lies between.
    ///
    /// What follows the first stop string is ignored. With `answer_after`, the answer is what follows the first such
    /// marker, an output without one is wrong, and `language` looks at the text before it; without, both look at the
    /// whole output. Under `metric: number` the last number counts, or with a marker the one that directly follows it.
    pub fn judge(&self, question: &Question, output: &str) -> f64 {
        let output = &output[..cut_at_stop(output, &self.stop).unwrap_or(output.len())];
        let (prose, answer) = match &self.answer_after {
            None => (output, output),
            Some(marker) => match output.split_once(marker.as_str()) {
                Some(parts) => parts,
                None => return 0.0,
            },
        };
        if !self.language.is_none_or(|gate| gate.admits(prose)) {
            return 0.0;
        }
        let right = match self.metric {
            Metric::Exact => answer.trim() == question.answer,
            Metric::Contains => answer.contains(&question.answer),
            Metric::Regex => compile(&question.answer).is_ok_and(|pattern| pattern.is_match(answer.trim())),
            Metric::Number(extract) => {
                let given = match self.answer_after {
                    None => last_number(answer, extract),
                    Some(_) => leading_number(answer, extract),
                };
                given.is_some() && given == whole_number(&question.answer)
            }
            Metric::RougeL => return rouge_l(answer, &question.answer),
        };
        f64::from(u8::from(right))
    }

    /// The score that [`Generate::judge`] will give an output that begins with `text`, if that is certain by now however it goes on.
    /// `more` is how many letters of the language may still come at most.
    pub fn settled(&self, question: &Question, text: &str, more: usize) -> Option<f64> {
        let whole = |marker: &String| text.split_once(marker.as_str());
        let (prose, answer, marked) = match &self.answer_after {
            None => (text, Some(text), false),
            Some(marker) => match whole(marker) {
                Some((prose, answer)) => (prose, Some(answer), true),
                None => (text, None, false),
            },
        };
        let language = match self.language {
            None => Some(true),
            Some(gate) if marked => Some(gate.admits(prose)),
            Some(gate) => {
                // The end of it may be the marker's beginning, which is no prose.
                let begun = self.answer_after.as_ref().map_or(0, |marker| begun(prose, marker));
                let (certain, open) = prose.split_at(prose.len() - begun);
                (!gate.may_admit(certain, more.saturating_add(open.len()))).then_some(false)
            }
        };
        let right = match (self.metric, answer) {
            (Metric::Exact, Some(answer)) => lost(answer.trim_start(), &question.answer).then_some(false),
            (Metric::Contains, Some(answer)) => answer.contains(&question.answer).then_some(true),
            (Metric::Number(extract), Some(answer)) if marked => {
                let rest = normalize(answer.trim_start(), extract);
                let over = rest.chars().any(|c| !c.is_ascii_digit() && !matches!(c, '.' | ',' | '-'));
                over.then(|| {
                    let given = leading_number(answer, extract);
                    given.is_some() && given == whole_number(&question.answer)
                })
            }
            (Metric::Exact | Metric::Contains | Metric::Number(_) | Metric::Regex | Metric::RougeL, _) => None,
        };
        match (language, right) {
            (Some(false), _) | (_, Some(false)) => Some(0.0),
            (Some(true), Some(true)) => Some(1.0),
            _ => None,
        }
    }

    /// The right answer as it will be compared: what follows `answer_after`, if it holds that marker too (as GSM8K's
    /// do), without white space around it. The error says why nothing could ever match it.
    pub(super) fn prepare_answer(&self, rendered: &str) -> Result<String, String> {
        let marked = self.answer_after.as_ref().and_then(|marker| rendered.split_once(marker.as_str()));
        let answer = marked.map_or(rendered, |(_, after)| after).trim();
        if answer.is_empty() {
            return Err("`answer` renders to nothing".to_owned());
        }
        match self.metric {
            Metric::Number(_) if whole_number(answer).is_none() => Err(format!(
                "answer `{answer}` is not a number: cut the number out with the `answer` template or with `answer_after`"
            )),
            Metric::RougeL if words(answer).is_empty() => Err(format!("answer `{answer}` has no words to compare")),
            Metric::RougeL if words(answer).len() > MAX_WORDS => {
                Err(format!("answer has `{}` words, the limit is `{MAX_WORDS}`", words(answer).len()))
            }
            Metric::Regex => {
                compile(answer).map(|_| answer.to_owned()).map_err(|e| format!("answer is no pattern: {e}"))
            }
            _ => Ok(answer.to_owned()),
        }
    }
}

/// How many bytes at the end of `text` are the beginning of `marker`, which it does not hold.
fn begun(text: &str, marker: &str) -> usize {
    marker.char_indices().map(|(at, _)| at).rev().find(|at| text.ends_with(&marker[..*at])).unwrap_or(0)
}

/// Whether no text that begins with `text` is `right` with white space around it.
fn lost(text: &str, right: &str) -> bool {
    match text.strip_prefix(right) {
        Some(behind) => !behind.trim().is_empty(),
        None => !right.starts_with(text),
    }
}

/// Where the earliest stop string begins in `text`, as a byte index.
pub(super) fn cut_at_stop(text: &str, stops: &[String]) -> Option<usize> {
    stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min()
}

/// The last number in `text`.
pub fn last_number(text: &str, extract: Extract) -> Option<f64> {
    let text = normalize(text, extract);
    value(&text, number_spans(&text, extract).pop()?)
}

/// The number with which `text` begins, white space aside.
fn leading_number(text: &str, extract: Extract) -> Option<f64> {
    let text = normalize(text.trim_start(), extract);
    value(&text, number_spans(&text, extract).into_iter().next().filter(|span| span.start == 0)?)
}

/// The number that is all of `text`. Right answers are data, not model output: always read robustly.
fn whole_number(text: &str) -> Option<f64> {
    let text = normalize(text.trim(), Extract::Robust);
    value(&text, number_spans(&text, Extract::Robust).pop().filter(|span| *span == (0..text.len()))?)
}

/// Full-width digits as ASCII, which `parse` would refuse; under `robust` full-width punctuation and minus signs too.
fn normalize(text: &str, extract: Extract) -> String {
    let ascii = |c: char| match c {
        '０'..='９' => char::from_u32(c as u32 - '０' as u32 + '0' as u32).unwrap_or(c),
        '．' if extract == Extract::Robust => '.',
        '，' if extract == Extract::Robust => ',',
        '－' | '\u{2212}' if extract == Extract::Robust => '-',
        _ => c,
    };
    text.chars().map(ascii).collect()
}

/// Where the numbers are in a normalized text, left to right. Under `paper` these are the matches of `\d*\.?\d+`.
fn number_spans(text: &str, extract: Extract) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let is = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
    let mut spans = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let mut end = at + digits(at);
        if extract == Extract::Robust && (1..=3).contains(&(end - at)) {
            while is(end, b',') && digits(end + 1) == 3 {
                end += 4;
            }
        }
        if is(end, b'.') {
            // A full stop that no digit follows ends a sentence, not a number.
            end = if digits(end + 1) > 0 { end + 1 + digits(end + 1) } else { end };
        }
        if end == at {
            at += 1;
            continue;
        }
        let signed = extract == Extract::Robust && text.get(..at).is_some_and(ends_in_sign);
        spans.push(if signed { at - 1 } else { at }..end);
        at = end;
    }
    spans
}

/// Whether a number after `before` is negative. In `16-3`, `x-3` and `(a)-3` the dash subtracts instead.
fn ends_in_sign(before: &str) -> bool {
    let subtracts = |c: char| c.is_ascii_alphanumeric() || matches!(c, ')' | ']' | '）' | '%');
    before.strip_suffix('-').is_some_and(|left| !left.ends_with(subtracts))
}

fn value(text: &str, span: Range<usize>) -> Option<f64> {
    text.get(span)?.replace(',', "").parse().ok().filter(|value: &f64| value.is_finite())
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).build()
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
