//! What a call of a tool says: typed arguments by name, and what is wrong with one.

use serde_json::{Map, Value};

/// The arguments of one call.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a>(pub &'a Map<String, Value>);

impl<'a> Arguments<'a> {
    /// A string that must be there.
    ///
    /// # Errors
    /// It is absent or no string.
    pub fn text(&self, name: &'static str) -> Result<&'a str, ArgumentError> {
        match self.value(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(ArgumentError { name, problem: "must be a string" }),
            None => Err(ArgumentError { name, problem: "is required" }),
        }
    }

    /// A whole number of at least 1, if it is there.
    ///
    /// # Errors
    /// It is something else.
    pub fn count(&self, name: &'static str) -> Result<Option<u64>, ArgumentError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let count = value.as_u64().filter(|count| *count >= 1);
        count.map(Some).ok_or(ArgumentError { name, problem: "must be a whole number of at least 1" })
    }

    /// Whether a flag is set; absent is not.
    ///
    /// # Errors
    /// It is neither true nor false.
    pub fn flag(&self, name: &'static str) -> Result<bool, ArgumentError> {
        match self.value(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or(ArgumentError { name, problem: "must be true or false" }),
        }
    }

    /// A string, if it is there.
    ///
    /// # Errors
    /// It is something else.
    pub fn optional_text(&self, name: &'static str) -> Result<Option<&'a str>, ArgumentError> {
        match self.value(name) {
            None => Ok(None),
            Some(_) => self.text(name).map(Some),
        }
    }

    /// A list of strings; empty when it is absent.
    ///
    /// # Errors
    /// It is something else.
    pub fn texts(&self, name: &'static str) -> Result<Vec<&'a str>, ArgumentError> {
        let Some(value) = self.value(name) else { return Ok(Vec::new()) };
        let texts = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
        texts.ok_or(ArgumentError { name, problem: "must be a list of strings" })
    }

    /// A whole number, 0 included, if it is there.
    ///
    /// # Errors
    /// It is something else.
    pub fn number(&self, name: &'static str) -> Result<Option<u64>, ArgumentError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = value.as_u64();
        number.map(Some).ok_or(ArgumentError { name, problem: "must be a whole number of at least 0" })
    }

    /// A flag, if it is there.
    ///
    /// # Errors
    /// It is neither true nor false.
    pub fn optional_flag(&self, name: &'static str) -> Result<Option<bool>, ArgumentError> {
        match self.value(name) {
            None => Ok(None),
            Some(_) => self.flag(name).map(Some),
        }
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }
}

/// An argument that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}")]
pub struct ArgumentError {
    /// Which.
    pub name: &'static str,
    /// What is wrong and what is allowed.
    pub problem: &'static str,
}
