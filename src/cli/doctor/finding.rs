//! One thing that was looked at: is it there, and if not, what helps?

use std::fmt::Write as _;

use serde_json::{Value, json};

/// How it is with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is there.
    Ok,
    /// It is as it should not be, or absent, and things go on without it.
    Note,
    /// It is needed and not there.
    Missing,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Missing => "missing",
        }
    }
}

/// One thing that was looked at. None of its texts holds the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) state: State,
    /// What it is.
    subject: String,
    /// How it is.
    detail: String,
    /// What to do about it.
    help: Option<String>,
}

impl Finding {
    pub(super) fn ok(subject: &str, detail: &str) -> Self {
        Self { state: State::Ok, subject: subject.to_owned(), detail: detail.to_owned(), help: None }
    }

    pub(super) fn note(subject: &str, detail: &str) -> Self {
        Self { state: State::Note, ..Self::ok(subject, detail) }
    }

    pub(super) fn missing(subject: &str, detail: &str) -> Self {
        Self { state: State::Missing, ..Self::ok(subject, detail) }
    }

    /// With a remedy.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "state": self.state.as_str(), "subject": self.subject, "detail": self.detail, "help": self.help,
        })
    }
}

/// The findings as a table for people, with the remedy below what needs one.
pub(super) fn render(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
    findings.iter().fold(String::new(), |mut text, finding| {
        let Finding { state, subject, detail, help } = finding;
        let _ = writeln!(text, "{:<7}  {subject:<width$}  {detail}", state.as_str());
        if let Some(help) = help {
            let _ = writeln!(text, "{:<7}  {:<width$}  {help}", "", "");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_stands_in_columns_with_its_remedy() {
        let findings = [
            Finding::ok("shell", "/bin/bash"),
            Finding::missing("OPENAI_API_KEY", "not set").help("set it in .env"),
        ];
        let expected = "ok       shell           /bin/bash\nmissing  OPENAI_API_KEY  not set\n                         set it in .env\n";
        assert_eq!(render(&findings), expected);
        assert_eq!(findings[1].to_json()["state"], "missing");
    }
}
