//! Does a text hold the words of a search? Pure.

use super::StoreError;
use crate::limit;

/// Words that are looked for, in small letters, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words(Vec<String>);

/// Which of the words were found: a bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found(u32);

impl std::ops::BitOrAssign for Found {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl Words {
    /// The words of a query.
    pub fn of(query: &str) -> Result<Self, StoreError> {
        let mut words: Vec<_> = folded(query).split_whitespace().map(str::to_owned).collect();
        words.sort();
        words.dedup();
        let wrong = match words.len() {
            0 => "a search needs a word (query) that is to occur".to_owned(),
            n if n > limit::SEARCH_WORDS => {
                format!("the search has {n} words, and {} are allowed; leave some out", limit::SEARCH_WORDS)
            }
            _ => return Ok(Self(words)),
        };
        Err(StoreError::Invalid { message: wrong })
    }

    /// Which of them a text holds, anywhere in it.
    pub fn within(&self, text: &str) -> Found {
        if text.is_empty() {
            return Found::default();
        }
        let text = folded(text);
        let bits = self.0.iter().enumerate().filter(|(_, word)| text.contains(word.as_str()));
        Found(bits.fold(0, |found, (n, _)| found | 1 << n))
    }

    /// Whether none is missing.
    pub fn are_all(&self, found: Found) -> bool {
        found.0.count_ones() as usize == self.0.len()
    }
}

/// A text in small letters. The two forms of the Greek sigma are one letter: which of them stands at the end of a word
/// depends on the rest of the word, and a word that is looked for may be the start of another.
fn folded(text: &str) -> String {
    let small = text.to_lowercase();
    if small.is_ascii() { small } else { small.replace('ς', "σ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(query: &str, text: &str) -> bool {
        let words = Words::of(query).expect("a query");
        words.are_all(words.within(text))
    }

    #[test]
    fn words_are_parts_of_texts_in_any_case() {
        assert!(finds("LOGIN bug", "A bug in the login-form"));
        assert!(finds("log", "Login"));
        assert!(!finds("login bug", "A login"));
        assert!(finds("größe ÄRGER", "GRÖSSE? GRÖßE! ärgerlich"));
        assert!(finds("ΟΔΟΣ", "οδοσα") && finds("οδος", "ΟΔΟΣΑ"));
        assert!(finds("istanbul", "Istanbul") && !finds("istanbul", "İstanbul"));
        assert!(finds("a a A", "a"), "a word counts once");
        assert!(finds("100%_", "100%_ done") && !finds("1%0", "100"), "nothing is a pattern");
        assert!(finds("漢字", "これは漢字です"));
        assert!(!finds("é", "e\u{301}"), "letters are compared as they are written");
    }

    #[test]
    fn a_query_has_words_and_not_too_many() {
        assert!(Words::of(" \n").unwrap_err().to_string().contains("needs a word"));
        let many = |n: usize| Words::of(&(0..n).map(|n| format!("w{n} ")).collect::<String>());
        let most = many(limit::SEARCH_WORDS).expect("as many as allowed");
        assert!(!most.are_all(most.within("w0")));
        assert!(many(limit::SEARCH_WORDS + 1).unwrap_err().to_string().contains("has 33 words, and 32"));
    }
}
