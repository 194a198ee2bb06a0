//! Which phases and inputs can a text name? Whoever gives it names need not make all of them.

use std::collections::HashSet;

/// What a template or condition may look up below `phases`, `previous` and `inputs`.
#[derive(Debug)]
pub(super) enum Mentions {
    /// Whatever there is: it looks at them as a whole, or at a name that it computes, or reads other texts.
    Anything,
    /// What is called by one of these words.
    Words(HashSet<String>),
    /// The same; of the other phases, that they are there: a slip may have been meant for one of them.
    AmongNames(HashSet<String>),
}

/// What holds names of phases or inputs.
const ROOTS: [&str; 3] = ["phases", "previous", "inputs"];

/// What reads other texts.
const READERS: [&str; 4] = ["include", "extends", "import", "from"];

impl Mentions {
    /// What a text mentions.
    pub(super) fn of(text: &str) -> Self {
        let mut words = HashSet::new();
        let mut rest = text;
        while let Some(start) = rest.find(is_sign) {
            rest = &rest[start..];
            let end = rest.find(|c: char| !is_sign(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            rest = behind;
            if READERS.contains(&word) || word.split('-').any(|part| ROOTS.contains(&part)) && !is_plain(rest)
            {
                return Self::Anything;
            }
            words.insert(word.to_owned());
            // A name, or one taken from another: the text does not say.
            if word.contains('-') {
                words.extend(word.split('-').map(str::to_owned));
            }
        }
        Self::Words(words)
    }

    /// The same among all that could have been named.
    pub(super) fn among_names(&self) -> Self {
        match self {
            Self::Anything => Self::Anything,
            Self::Words(words) | Self::AmongNames(words) => Self::AmongNames(words.clone()),
        }
    }

    /// Whether something of this name may be meant.
    pub(super) fn may_name(&self, name: &str) -> bool {
        match self {
            Self::Anything | Self::AmongNames(_) => true,
            Self::Words(words) => words.contains(name),
        }
    }

    /// Whether no more than the name is looked at.
    pub(super) fn is_beside(&self, name: &str) -> bool {
        matches!(self, Self::AmongNames(words) if !words.contains(name))
    }
}

fn is_sign(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// Whether what stands behind a root takes a name out of it that is written there.
fn is_plain(behind: &str) -> bool {
    behind.starts_with('.') || behind.starts_with("[\"") || behind.starts_with("['")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_written_out_is_a_word_of_the_text() {
        let text = "{{ phases[\"plan-1\"].text }} {{ inputs.goal-inputs.less }} {% if round > 1 %}{{ previous.a.text }}";
        let mentions = Mentions::of(text);
        for name in ["plan-1", "goal", "less", "a"] {
            assert!(mentions.may_name(name), "{name}");
        }
        assert!(!mentions.may_name("plan-2"));
        let among = mentions.among_names();
        assert!(among.may_name("plan-2") && among.is_beside("plan-2") && !among.is_beside("plan-1"));
    }

    #[test]
    fn whatever_may_be_meant_is_meant() {
        for text in [
            "{% for p in phases %}{{ p }}{% endfor %}",
            "phases[inputs.which].status == \"completed\"",
            "{{ inputs | tojson }}",
            "{% include \"parts/tone.md\" %}",
            "{% set all = inputs %}",
        ] {
            assert!(Mentions::of(text).may_name("anything"), "{text}");
        }
    }
}
