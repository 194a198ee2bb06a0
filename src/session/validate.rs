//! Whether arguments fit a tool's schema, and what a model is told when they do not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jsonschema::Validator;
use serde_json::{Map, Value};

use crate::chat::ToolSpec;
use crate::id::Fingerprint;

/// Compiled schemas, shared by all sessions of a run: the same tool is compiled once.
#[derive(Default)]
pub struct Validators {
    compiled: Mutex<HashMap<Fingerprint, Result<Arc<Validator>, String>>>,
}

impl Validators {
    /// Holds arguments against the tool's schema.
    ///
    /// # Errors
    /// What does not fit and where, fit for a model.
    pub fn check(&self, spec: &ToolSpec, input: &Map<String, Value>) -> Result<(), String> {
        let validator = self.validator(&spec.input_schema)?;
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
            "The arguments of {} do not fit its schema: {}. Nothing was done. Call it again with corrected arguments.",
            spec.name,
            wrong.join("; ")
        ))
    }

    fn validator(&self, schema: &Value) -> Result<Arc<Validator>, String> {
        let mut compiled = self.compiled.lock().expect("compiling does not panic");
        compiled
            .entry(Fingerprint::of_json(schema))
            .or_insert_with(|| {
                jsonschema::validator_for(schema)
                    .map(Arc::new)
                    .map_err(|error| format!("The tool's schema cannot be used: {error}"))
            })
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_does_not_fit_and_where() {
        let spec = ToolSpec {
            name: "x".to_owned(),
            description: String::new(),
            input_schema: serde_json::json!({
                "type": "object", "properties": {"a": {"type": "object", "properties": {"n": {"type": "integer"}}}},
                "required": ["a"],
            }),
        };
        let validators = Validators::default();
        let check = |input: Value| validators.check(&spec, input.as_object().unwrap());
        assert_eq!(check(serde_json::json!({"a": {"n": 1}})), Ok(()));
        assert!(check(serde_json::json!({})).unwrap_err().contains("\"a\" is a required property"));
        assert!(check(serde_json::json!({"a": {"n": "1"}})).unwrap_err().contains("at /a/n: "));
    }
}
