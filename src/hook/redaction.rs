//! `hooks-redaction`: what is taken out of the lines that `hooks-logging` writes, beside the secrets that the runner takes out
//! of everything.

use regex::Regex;
use serde_json::{Map, Value};

use super::config::{HookError, Reader};
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind};

/// What mount plans may say of it.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "hooks-redaction",
    aliases: &[],
    kind: ModuleKind::Hook,
    summary: "takes more out of the lines that `hooks-logging` writes than the secrets that the runner takes out everywhere",
    keys: &[
        KeyInfo {
            name: "rules",
            shape: KeyShape::TextList,
            default: "[secrets]",
            doc: "`secrets` (always done), `pii-basic` (addresses of mail and telephone numbers)",
        },
        KeyInfo {
            name: "patterns",
            shape: KeyShape::TextList,
            default: "",
            doc: "regular expressions of what else is taken out",
        },
    ],
    tools: &[],
    credential: None,
};

/// What stands in place of what is taken out.
const GONE: &str = "[REDACTED]";

const MAIL: &str = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}";

/// A country's prefix or a bracketed area, then groups of digits: a plain long number is no telephone number.
const TELEPHONE: &str =
    r"(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?|\(\d{2,5}\)[ .-]?)\d{2,5}(?:[ .-]?\d{2,5}){1,4}";

/// What is taken out.
#[derive(Debug, Default)]
pub struct Redaction {
    patterns: Vec<Regex>,
}

impl Redaction {
    /// The redaction of this configuration.
    ///
    /// # Errors
    /// It makes no sense; the error names the key.
    pub fn build(config: &Map<String, Value>) -> Result<Self, HookError> {
        let reader = Reader::new(INFO.name, config);
        let mut texts = Vec::new();
        for rule in reader.texts("rules")? {
            match rule {
                "secrets" => {}
                "pii-basic" => texts.extend([MAIL, TELEPHONE]),
                other => {
                    let problem = format!("has the unknown rule `{other}`; there are secrets and pii-basic");
                    return Err(reader.wrong("rules", problem));
                }
            }
        }
        texts.extend(reader.texts("patterns")?);
        let compiled = texts.into_iter().map(Regex::new).collect::<Result<_, _>>();
        let patterns = compiled.map_err(|error| {
            reader.wrong("patterns", format!("has one that is no regular expression: {error}"))
        })?;
        Ok(Self { patterns })
    }

    /// The value without what is taken out of its texts.
    pub fn redact(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.redact_text(text)),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.redact(item)).collect()),
            Value::Object(map) => {
                Value::Object(map.into_iter().map(|(key, value)| (key, self.redact(value))).collect())
            }
            other => other,
        }
    }

    fn redact_text(&self, text: String) -> String {
        self.patterns.iter().fold(text, |text, pattern| match pattern.is_match(&text) {
            true => pattern.replace_all(&text, GONE).into_owned(),
            false => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_and_numbers_of_telephones_go_and_other_numbers_stay() {
        let config = json!({"rules": ["secrets", "pii-basic"], "patterns": ["ACME-\\d+"]});
        let redaction = Redaction::build(config.as_object().unwrap()).unwrap();
        let value = json!({"a": ["ana.b+c@mail.example.org wrote", 5], "b": {"c": "call +49 (30) 123 45-67 or (030) 1234567"},
                           "d": "bd-1a2b3c4d has 1234567890 tokens at 2026-11-26T02:51:45", "e": "ACME-17"});
        let expected = json!({"a": ["[REDACTED] wrote", 5], "b": {"c": "call [REDACTED] or [REDACTED]"},
                              "d": "bd-1a2b3c4d has 1234567890 tokens at 2026-11-26T02:51:45", "e": "[REDACTED]"});
        assert_eq!(redaction.redact(value), expected);
        let wrong = |config: Value| Redaction::build(config.as_object().unwrap()).unwrap_err().to_string();
        assert!(wrong(json!({"rules": ["pii"]})).contains("unknown rule `pii`"));
        assert!(wrong(json!({"patterns": ["("]})).contains("no regular expression"));
    }
}
