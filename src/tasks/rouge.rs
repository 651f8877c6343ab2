//! ROUGE-L as the `rouge-score` package computes it: two texts in, how much of one stands in the other in the same order out.
//!
//! Words are runs of letters and digits, in lower case, without stemming. For text in ASCII that is the package's own definition; it
//! drops all other characters, where here letters of any script count, each kana and kanji as a word of its own, for want of spaces.

use super::language::{is_kana, is_kanji};

/// Most words of a right answer, so that judging stays cheap.
pub(super) const MAX_WORDS: usize = 10_000;

/// The harmonic mean of the shares of both texts' words that are in their longest common subsequence, 0 to 1.
pub(super) fn rouge_l(output: &str, reference: &str) -> f64 {
    let (output, reference) = (words(output), words(reference));
    let common = longest_common_subsequence(&output, &reference) as f64;
    if common == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (common / output.len() as f64, common / reference.len() as f64);
    2.0 * precision * recall / (precision + recall)
}

pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        let alone = is_kana(c) || is_kanji(c);
        if !word.is_empty() && (alone || !c.is_alphanumeric()) {
            words.push(std::mem::take(&mut word));
        }
        if alone {
            words.push(c.to_string());
        } else if c.is_alphanumeric() {
            word.push(c);
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// Its length, by the usual table, of which two rows suffice.
fn longest_common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut before = 0;
        for (at, y) in b.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if x == y { before + 1 } else { above.max(row[at]) };
            before = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_scores_are_those_of_the_package() {
        // Output, reference, and what rouge-score 0.1.2 says (`RougeScorer(["rougeL"])`, its F-measure).
        for (output, reference, want) in [
            ("the cat was found under the bed", "the cat was under the bed", 0.923076923076923),
            (
                "The quick brown fox jumps over the lazy dog.",
                "A quick brown dog jumps on the log!",
                0.47058823529411764,
            ),
            ("a", "a", 1.0),
            ("a", "b", 0.0),
            ("", "", 0.0),
            ("...", "abc", 0.0),
            ("Hello, World 42", "hello world 42", 1.0),
            ("don't stop_me now", "dont stop me now", 0.6666666666666665),
            ("one two three four five six", "six five four three two one", 0.16666666666666666),
            ("x y x y x", "y x y", 0.7499999999999999),
            ("3.14 is pi", "pi is 3 14", 0.5),
            ("repeat repeat repeat", "repeat", 0.5),
        ] {
            let got = rouge_l(output, reference);
            assert!((got - want).abs() < 1e-15, "{output} / {reference}: {got}, not {want}");
        }
    }

    #[test]
    fn kana_and_kanji_are_words_and_other_letters_make_words() {
        assert_eq!(words("青いJR電車3両、Größe"), ["青", "い", "jr", "電", "車", "3", "両", "größe"]);
        assert_eq!(rouge_l("青い電車", "赤い電車"), 0.75);
        assert_eq!(rouge_l("電車", "青い電車"), 2.0 / 3.0);
    }
}
