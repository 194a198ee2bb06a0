//! How a provider reads its part of a mount plan: typed values, each mistake with the key and the remedy.

use std::time::Duration;

use serde_json::Value;

use crate::plan::{Credential, KeyInfo, KeyShape, ModuleSpec, Variables};
use crate::provider::{RetryPolicy, Timeouts};
use crate::secret::Secret;
use crate::source::Place;

/// A configuration key.
pub const fn key(name: &'static str, shape: KeyShape, default: &'static str, doc: &'static str) -> KeyInfo {
    KeyInfo { name, shape, default, doc }
}

/// A key that mount plans have and that changes nothing here.
pub const fn accepted(name: &'static str, shape: KeyShape) -> KeyInfo {
    key(name, shape, "", "Accepted for older mount plans; has no effect.")
}

pub const TIMEOUT: KeyInfo = key("timeout", KeyShape::Number, "600", "Seconds until a response begins.");
pub const IDLE_TIMEOUT: KeyInfo =
    key("idle_timeout", KeyShape::Number, "300", "Seconds between two pieces of a response.");
pub const PRIORITY: KeyInfo =
    key("priority", KeyShape::Integer, "100", "Of several providers the one with the lowest is used.");
pub const MAX_RETRIES: KeyInfo =
    key("max_retries", KeyShape::Integer, "5", "Attempts after the first failed one.");
pub const MIN_RETRY_DELAY: KeyInfo =
    key("min_retry_delay", KeyShape::Number, "1.0", "Seconds before the first of them; doubled each time.");
pub const MAX_RETRY_DELAY: KeyInfo =
    key("max_retry_delay", KeyShape::Number, "60.0", "Longest wait of the runner's own choice, in seconds.");
pub const OVERLOADED_DELAY_MULTIPLIER: KeyInfo = key(
    "overloaded_delay_multiplier",
    KeyShape::Number,
    "10.0",
    "Factor on the wait when the server is overloaded (529).",
);

pub const MAX_CONCURRENT_REQUESTS: KeyInfo = key(
    "max_concurrent_requests",
    KeyShape::Integer,
    "",
    "Most calls under way at once with the key; without it, and with 0, what the server bears is found out.",
);

/// Where the address of a server is written.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// The configuration key.
    pub key: &'static str,
    /// The environment variable that counts when the key is not set.
    pub variable: Option<&'static str>,
    /// What counts when neither is; empty when one of them must be.
    pub default: &'static str,
}

/// The host and port of an address, without a name and password that may stand before them.
pub fn host_of(base: &str) -> &str {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority)
}

/// Why a module cannot be made from its configuration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{module}: `{key}` {problem}")]
pub struct BuildError {
    /// The module.
    pub module: String,
    /// The configuration key.
    pub key: &'static str,
    /// What is wrong and what is wanted; fit to stand behind the key's name.
    pub problem: String,
    /// Where the mount plan names the module.
    pub place: Place,
}

/// Reads the configuration of one module. A key that is absent, `null` or an empty text counts as not set.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    spec: &'a ModuleSpec,
}

impl<'a> Settings<'a> {
    /// The settings of a module.
    pub fn of(spec: &'a ModuleSpec) -> Self {
        Self { spec }
    }

    /// A mistake in the value of `key`.
    pub fn error(&self, key: &'static str, problem: impl Into<String>) -> BuildError {
        BuildError {
            module: self.spec.module.clone(),
            key,
            problem: problem.into(),
            place: self.spec.place.clone(),
        }
    }

    /// A value of any shape.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.spec.config.get(key).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Result<Option<&'a str>, BuildError> {
        self.value(key)
            .map(|value| {
                value.as_str().ok_or_else(|| self.error(key, format!("must be a text, not {value}")))
            })
            .transpose()
    }

    /// A credential: white space around it is a slip of copying, and no mistake prints it.
    pub fn secret(&self, key: &'static str) -> Result<Option<Secret>, BuildError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(Secret::new(text.trim().to_owned()))),
            Some(_) => Err(self.error(key, "must be a text; put quotes around it")),
        }
    }

    /// The credential a module would use: its own key's, else the variable's.
    pub fn credential(
        &self,
        credential: &Credential,
        variables: &Variables,
    ) -> Result<Option<Secret>, BuildError> {
        let from_variable = || {
            let value = variables.get(credential.variable)?.trim();
            (!value.is_empty()).then(|| Secret::new(value.to_owned()))
        };
        Ok(self.secret(credential.key)?.or_else(from_variable))
    }

    /// The address of a server, without `/` at its end.
    pub fn address(&self, address: &Address, variables: &Variables) -> Result<String, BuildError> {
        let from_variable = || {
            let value = variables.get(address.variable?)?.trim();
            (!value.is_empty()).then_some(value)
        };
        let written = self.text(address.key)?.or_else(from_variable).unwrap_or(address.default);
        let base = written.trim_end_matches('/');
        match base.split_once("://") {
            Some(("http" | "https", host)) if !host.is_empty() => Ok(base.to_owned()),
            _ if written.is_empty() => Err(self.error(
                address.key,
                "must be set to the address of the server, such as http://127.0.0.1:8000/v1",
            )),
            _ => {
                let example =
                    if address.default.is_empty() { "http://127.0.0.1:8000/v1" } else { address.default };
                let from =
                    address.variable.map(|name| format!(" (it may come from {name})")).unwrap_or_default();
                Err(self.error(
                    address.key,
                    format!("must be an address such as {example}, not `{written}`{from}"),
                ))
            }
        }
    }

    /// How failures are tried again.
    pub fn retry(&self) -> Result<RetryPolicy, BuildError> {
        let max_retries = self.integer(MAX_RETRIES.name)?.unwrap_or(5);
        let first_delay = self.seconds(MIN_RETRY_DELAY.name)?.unwrap_or(Duration::from_secs(1));
        Ok(RetryPolicy {
            max_retries: u32::try_from(max_retries).unwrap_or(u32::MAX),
            first_delay,
            max_delay: self
                .seconds(MAX_RETRY_DELAY.name)?
                .unwrap_or(Duration::from_secs(60))
                .max(first_delay),
            overloaded_factor: self.number(OVERLOADED_DELAY_MULTIPLIER.name)?.unwrap_or(10.0),
        })
    }

    /// How many calls may be under way at once, if that is bounded.
    pub fn max_concurrent(&self) -> Result<Option<usize>, BuildError> {
        Ok(match self.integer(MAX_CONCURRENT_REQUESTS.name)? {
            None | Some(0) => None,
            Some(most) => Some(usize::try_from(most).unwrap_or(usize::MAX)),
        })
    }

    /// How long to wait for what.
    pub fn timeouts(&self) -> Result<Timeouts, BuildError> {
        Ok(Timeouts {
            response: self.patience(TIMEOUT.name, 600)?,
            idle: self.patience(IDLE_TIMEOUT.name, 300)?,
        })
    }

    fn patience(&self, key: &'static str, default: u64) -> Result<Duration, BuildError> {
        match self.seconds(key)? {
            None => Ok(Duration::from_secs(default)),
            Some(Duration::ZERO) => Err(self.error(key, "must be more than 0 seconds")),
            Some(patience) => Ok(patience),
        }
    }

    /// Most tokens of a reply, where the mount plan bounds them.
    pub fn max_tokens(&self) -> Result<Option<u64>, BuildError> {
        match self.integer("max_tokens")? {
            Some(0) => Err(self.error("max_tokens", "must be at least 1")),
            tokens => Ok(tokens),
        }
    }

    /// A list of texts; one text counts as a list of one.
    pub fn texts(&self, key: &'static str) -> Result<Vec<String>, BuildError> {
        let wrong = |value: &Value| self.error(key, format!("must be a list of texts, not {value}"));
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong(item))).collect()
            }
            Some(other) => Err(wrong(other)),
        }
    }

    /// True or false. A variable's text counts when it says so.
    pub fn flag(&self, key: &'static str) -> Result<Option<bool>, BuildError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(other) => Err(self.error(key, format!("must be true or false, not {other}"))),
        }
    }

    /// A number of at least 0. A variable's text counts when it is one.
    pub fn number(&self, key: &'static str) -> Result<Option<f64>, BuildError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        match number.filter(|number: &f64| number.is_finite() && *number >= 0.0) {
            Some(number) => Ok(Some(number)),
            None => Err(self.error(key, format!("must be a number of at least 0, not {value}"))),
        }
    }

    /// A whole number of at least 0.
    pub fn integer(&self, key: &'static str) -> Result<Option<u64>, BuildError> {
        match self.number(key)? {
            None => Ok(None),
            Some(number) if number.fract() == 0.0 && number < 9e15 => Ok(Some(number as u64)),
            Some(number) => Err(self.error(key, format!("must be a whole number, not {number}"))),
        }
    }

    /// A number of seconds as a duration.
    pub fn seconds(&self, key: &'static str) -> Result<Option<Duration>, BuildError> {
        let Some(number) = self.number(key)? else { return Ok(None) };
        match Duration::try_from_secs_f64(number) {
            Ok(duration) => Ok(Some(duration)),
            Err(_) => Err(self.error(key, format!("must be a number of seconds, not {number}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::{Route, SourceId};

    #[test]
    fn values_are_read_by_shape_and_mistakes_named() {
        let Value::Object(config) = json!({
            "a": "x", "n": "2.5", "w": 3, "f": "true", "l": ["p", "q"], "one": "p", "none": null, "empty": "", "bad": [1]
        }) else {
            unreachable!("an object literal")
        };
        let spec = ModuleSpec {
            module: "provider-x".to_owned(),
            config,
            instance_id: None,
            place: Place::value(SourceId(0), Route::root()),
        };
        let settings = Settings::of(&spec);
        assert_eq!(settings.text("a"), Ok(Some("x")));
        assert_eq!(settings.number("n"), Ok(Some(2.5)));
        assert_eq!(settings.seconds("n"), Ok(Some(Duration::from_millis(2_500))));
        assert_eq!(settings.integer("w"), Ok(Some(3)));
        assert_eq!(settings.flag("f"), Ok(Some(true)));
        assert_eq!(settings.texts("l").map(|list| list.len()), Ok(2));
        assert_eq!(settings.texts("one").map(|list| list.len()), Ok(1));
        assert_eq!(settings.text("none"), Ok(None));
        assert_eq!(settings.number("empty"), Ok(None));
        assert_eq!(
            settings.integer("n").unwrap_err().to_string(),
            "provider-x: `n` must be a whole number, not 2.5"
        );
        assert!(settings.text("bad").is_err() && settings.flag("bad").is_err());
        assert!(settings.number("a").is_err() && settings.texts("bad").is_err());
    }
}
