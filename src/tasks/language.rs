//! Whether a text is in the language a task asks for: Japanese and English by their script, others by a trained identifier.
//!
//! In: a text. Out: yes or no. For Japanese and English it is the share of letters in the language's script, which is exact, cheap, and
//! can be told of a text that is still being written. That cannot tell English from German; Chinese is no Japanese for its lack of kana.

use whatlang::Lang;

/// Japanese prose is half kana. The paper's identifier (fastText's lid.176) stops to take kanji for Japanese at about this share.
const LEAST_KANA: f64 = 0.2;
/// A text of fewer letters may be Japanese without any kana.
const FEW: usize = 10;

/// A language that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Japanese: hiragana, katakana (half-width too) and kanji.
    Ja,
    /// English: Latin letters (full-width and accented too).
    En,
    /// One that the identifier knows.
    Other(Lang),
}

/// What a text must be written in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LanguageGate {
    /// The language.
    pub language: Language,
    /// The least share of its script among all letters, above 0 to 1; means nothing to [`Language::Other`].
    pub share: f64,
}

/// Letters of a text.
#[derive(Debug, Default, Clone, Copy)]
struct Letters {
    /// In the language's script.
    own: usize,
    /// Of these, kana.
    kana: usize,
    /// In any.
    all: usize,
}

/// ISO 639-1 codes of the identifier's languages, which has the longer ones.
const CODES: [(&str, Lang); 24] = [
    ("ar", Lang::Ara),
    ("bn", Lang::Ben),
    ("cs", Lang::Ces),
    ("de", Lang::Deu),
    ("el", Lang::Ell),
    ("es", Lang::Spa),
    ("fr", Lang::Fra),
    ("he", Lang::Heb),
    ("hi", Lang::Hin),
    ("it", Lang::Ita),
    ("ko", Lang::Kor),
    ("nl", Lang::Nld),
    ("pl", Lang::Pol),
    ("pt", Lang::Por),
    ("ro", Lang::Ron),
    ("ru", Lang::Rus),
    ("sv", Lang::Swe),
    ("ta", Lang::Tam),
    ("te", Lang::Tel),
    ("th", Lang::Tha),
    ("tr", Lang::Tur),
    ("uk", Lang::Ukr),
    ("vi", Lang::Vie),
    ("zh", Lang::Cmn),
];

impl Language {
    /// The language with the ISO 639-1 `code`, if it can be told.
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "ja" => Some(Self::Ja),
            "en" => Some(Self::En),
            other => CODES.iter().find(|(code, _)| *code == other).map(|(_, lang)| Self::Other(*lang)),
        }
    }

    /// The codes that there are, ready to print.
    pub fn codes() -> String {
        let codes: Vec<&str> = ["en", "ja"].into_iter().chain(CODES.iter().map(|(code, _)| *code)).collect();
        codes.join(", ")
    }

    /// Whether its script tells it.
    pub fn by_script(self) -> bool {
        !matches!(self, Self::Other(_))
    }

    fn writes(self, c: char) -> bool {
        match self {
            Self::Ja => is_kana(c) || is_kanji(c),
            Self::En => {
                c.is_ascii_alphabetic()
                    || c.is_alphabetic()
                        && matches!(c, '\u{C0}'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}' | '\u{FF21}'..='\u{FF5A}')
            }
            Self::Other(_) => c.is_alphabetic(),
        }
    }

    fn count(self, text: &str) -> Letters {
        let mut letters = Letters::default();
        for c in text.chars() {
            let own = self.writes(c);
            letters.own += usize::from(own);
            letters.kana += usize::from(is_kana(c));
            letters.all += usize::from(own || c.is_alphabetic());
        }
        letters
    }
}

/// Hiragana and katakana with their marks, half-width ones too.
pub(super) fn is_kana(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30FA}' | '\u{30FC}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}' | '\u{FF66}'..='\u{FF9F}')
}

/// Iteration marks; CJK unified, extension A, compatibility; extensions B and later.
pub(super) fn is_kanji(c: char) -> bool {
    matches!(c,
        '\u{3005}'..='\u{3007}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFF}')
}

impl LanguageGate {
    /// Whether `text` is in the language. By script: it has at least one letter of the language, no less than `share` of all its letters
    /// are, and Japanese of more than a few letters has kana. Digits, punctuation and symbols say nothing and are not counted.
    pub fn admits(&self, text: &str) -> bool {
        match self.language {
            Language::Other(lang) => whatlang::detect_lang(text) == Some(lang),
            Language::Ja | Language::En => self.may_admit(text, 0),
        }
    }

    /// Whether `text` could be in the language once it has gone on by `more` letters of it at most: never no where [`Self::admits`] of
    /// any such text is yes.
    pub fn may_admit(&self, text: &str, more: usize) -> bool {
        if !self.language.by_script() {
            return true;
        }
        let Letters { own, kana, all } = self.language.count(text);
        let [most_own, most_kana, most] = [own, kana, all].map(|n| n.saturating_add(more) as f64);
        // More letters of the language only help, so that the most decide. The product may be off by a bit.
        let shared = most_own > 0.0 && most_own >= self.share * most * (1.0 - f64::EPSILON);
        let kana_enough = self.language != Language::Ja || own < FEW || most_kana >= LEAST_KANA * most_own;
        shared && kana_enough
    }

    /// Letters of the language in `text`.
    pub fn own_letters(&self, text: &str) -> usize {
        self.language.count(text).own
    }
}
