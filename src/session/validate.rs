//! Whether arguments fit a tool's schema, and what a model is told when they do not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jsonschema::Validator;
use serde_json::{Map, Value};

use crate::id::Fingerprint;

/// Compiled schemas, shared by all sessions of a run: the same tool is compiled once.
#[derive(Default)]
pub struct Validators {
    compiled: Mutex<HashMap<Fingerprint, Schema>>,
}

/// A compiled schema, or why it cannot be used.
#[derive(Clone)]
pub struct Schema(Result<Arc<Validator>, String>);

impl Validators {
    /// Compiles a schema, unless it was compiled before.
    pub fn schema(&self, schema: &Value) -> Schema {
        let mut compiled = self.compiled.lock().expect("compiling does not panic");
        let compile = || {
            let validator = jsonschema::validator_for(schema).map(Arc::new);
            Schema(validator.map_err(|error| format!("The tool's schema cannot be used: {error}")))
        };
        compiled.entry(Fingerprint::of_json(schema)).or_insert_with(compile).clone()
    }
}

impl Schema {
    /// Holds arguments of a tool against its schema.
    ///
    /// # Errors
    /// What does not fit and where, fit for a model.
    pub fn check(&self, tool: &str, input: &Map<String, Value>) -> Result<(), String> {
        let validator = self.0.as_ref().map_err(String::clone)?;
        let value = Value::Object(input.clone());
        let wrong: Vec<String> = validator
            .iter_errors(&value)
            .take(5)
            .map(|error| {
                let place = error.instance_path().to_string();
                if place.is_empty() { error.to_string() } else { format!("at {place}: {error}") }
            })
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!(
            "The arguments of {tool} do not fit its schema: {}. Nothing was done. Call it again with corrected arguments.",
            wrong.join("; ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_does_not_fit_and_where() {
        let schema = Validators::default().schema(&serde_json::json!({
            "type": "object", "properties": {"a": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            "required": ["a"],
        }));
        let check = |input: Value| schema.check("x", input.as_object().unwrap());
        assert_eq!(check(serde_json::json!({"a": {"n": 1}})), Ok(()));
        assert!(check(serde_json::json!({})).unwrap_err().contains("\"a\" is a required property"));
        assert!(check(serde_json::json!({"a": {"n": "1"}})).unwrap_err().contains("at /a/n: "));
    }
}
