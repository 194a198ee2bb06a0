//! What the configuration of a hook module says: typed values by key, lists of maps, and what is wrong with one.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;
use serde_json::{Map, Value};

/// A value in a hook's configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{module}: `{key}` {problem}")]
pub struct HookError {
    /// The module.
    pub module: &'static str,
    /// The key.
    pub key: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

/// The configuration of one module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    module: &'static str,
    config: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(module: &'static str, config: &'a Map<String, Value>) -> Self {
        Self { module, config }
    }

    pub(super) fn wrong(&self, key: &str, problem: impl Into<String>) -> HookError {
        HookError { module: self.module, key: key.to_owned(), problem: problem.into() }
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.config.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn integer(&self, key: &str, default: i64) -> Result<i64, HookError> {
        match self.value(key) {
            None => Ok(default),
            Some(value) => value.as_i64().ok_or_else(|| self.wrong(key, "must be a whole number")),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, HookError> {
        let number = |value: &Value| value.as_f64().ok_or_else(|| self.wrong(key, "must be a number"));
        self.value(key).map(number).transpose()
    }

    /// A time above 0.
    pub(super) fn seconds(&self, key: &str) -> Result<Option<Duration>, HookError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| *seconds > 0.0);
        let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        span.map(Some).ok_or_else(|| self.wrong(key, "must be a number of seconds"))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, HookError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "must be a string")),
        }
    }

    pub(super) fn texts(&self, key: &str) -> Result<Vec<&'a str>, HookError> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let texts = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
        texts.ok_or_else(|| self.wrong(key, "must be a list of strings"))
    }

    /// The entries of a list of maps; absent is empty.
    pub(super) fn maps(&self, key: &'static str) -> Result<Vec<Entry<'a>>, HookError> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let maps: Option<Vec<_>> =
            value.as_array().and_then(|items| items.iter().map(Value::as_object).collect());
        let maps = maps.ok_or_else(|| self.wrong(key, "must be a list of maps"))?;
        Ok((1..).zip(maps).map(|(number, map)| Entry { module: self.module, key, number, map }).collect())
    }
}

/// One map of a list.
pub(super) struct Entry<'a> {
    module: &'static str,
    key: &'static str,
    number: usize,
    map: &'a Map<String, Value>,
}

impl<'a> Entry<'a> {
    pub(super) fn wrong(&self, problem: impl std::fmt::Display) -> HookError {
        let problem = format!("entry {} {problem}", self.number);
        HookError { module: self.module, key: self.key.to_owned(), problem }
    }

    pub(super) fn refuse_others(&self, known: &[&str]) -> Result<(), HookError> {
        match self.map.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(self.wrong(format!("does not know `{key}`; known there: {}", known.join(", ")))),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, HookError> {
        match self.map.get(key).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Some(_) => Err(self.wrong(format!("has a `{key}` that is no text"))),
        }
    }

    pub(super) fn required(&self, key: &str) -> Result<&'a str, HookError> {
        self.text(key)?.ok_or_else(|| self.wrong(format!("has no `{key}`")))
    }

    /// Texts by name; absent is empty.
    pub(super) fn texts_by_name(&self, key: &str) -> Result<BTreeMap<String, String>, HookError> {
        let Some(value) = self.map.get(key).filter(|value| !value.is_null()) else {
            return Ok(BTreeMap::new());
        };
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        let texts = value.as_object().and_then(|map| map.iter().map(text).collect());
        texts.ok_or_else(|| self.wrong(format!("has an `{key}` that is no map of texts")))
    }

    pub(super) fn seconds(&self, key: &str) -> Result<Option<Duration>, HookError> {
        let Some(value) = self.map.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| *seconds > 0.0);
        let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        span.map(Some).ok_or_else(|| self.wrong(format!("has a `{key}` that is no number of seconds")))
    }

    /// A regular expression that is looked for in a text.
    pub(super) fn search(&self, key: &str) -> Result<Option<Regex>, HookError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let regex = Regex::new(text);
        regex
            .map(Some)
            .map_err(|error| self.wrong(format!("has a `{key}` that is no regular expression: {error}")))
    }

    /// A regular expression that a whole text must match.
    pub(super) fn whole_match(&self, key: &str) -> Result<Option<Regex>, HookError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let regex = Regex::new(&format!("^(?:{text})$"));
        regex
            .map(Some)
            .map_err(|error| self.wrong(format!("has a `{key}` that is no regular expression: {error}")))
    }
}
