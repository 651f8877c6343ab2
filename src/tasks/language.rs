//! Whether a text is in the language a task asks for, judged by its script.
//!
//! In: a text. Out: yes or no. This is honest about little: the share of letters in the language's script. It tells
//! Japanese from English, which is what a Japanese maths task needs; it cannot tell kanji without kana from Chinese, nor
//! English from German. A trained language identifier, as the paper used, is a later step.

/// A language that its script gives away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Japanese: hiragana, katakana (half-width too) and kanji.
    Ja,
    /// English: Latin letters (full-width and accented too).
    En,
}

/// What a text must be written in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LanguageGate {
    /// The language.
    pub language: Language,
    /// The least share of its script among all letters, above 0 to 1.
    pub share: f64,
}

impl Language {
    /// The language with the ISO 639-1 `code`, if its script is known here.
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "ja" => Some(Self::Ja),
            "en" => Some(Self::En),
            _ => None,
        }
    }

    fn writes(self, c: char) -> bool {
        match self {
            // Iteration marks; kana; CJK unified, extension A, compatibility; half-width kana; extensions B and later.
            Self::Ja => matches!(c,
                '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30FA}' | '\u{30FC}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}'
                | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
                | '\u{FF66}'..='\u{FF9F}' | '\u{20000}'..='\u{3FFFF}'),
            Self::En => {
                c.is_ascii_alphabetic()
                    || c.is_alphabetic()
                        && matches!(c, '\u{C0}'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}' | '\u{FF21}'..='\u{FF5A}')
            }
        }
    }
}

impl LanguageGate {
    /// Whether `text` has at least one letter of the language and no less than `share` of all its letters are. Digits,
    /// punctuation and symbols say nothing about the language and are not counted.
    pub fn admits(&self, text: &str) -> bool {
        let own = text.chars().filter(|c| self.language.writes(*c)).count();
        let letters = text.chars().filter(|c| c.is_alphabetic() || self.language.writes(*c)).count();
        own > 0 && own as f64 >= self.share * letters as f64
    }
}
