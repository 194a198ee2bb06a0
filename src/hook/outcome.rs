//! What hooks say, and what it comes to when several have spoken. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Occasion;
use crate::event::Decision as Answer;

/// What one hook says.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Nothing.
    Continue,
    /// It must not happen.
    Deny {
        /// Why, for the model.
        reason: String,
    },
    /// It is to happen with other facts: those that are named replace the old ones.
    Modify {
        /// The facts.
        data: Map<String, Value>,
    },
    /// The model is to be told something.
    Inject {
        /// What.
        text: String,
    },
    /// A person is to be asked.
    Ask(Approval),
    /// It could not say anything.
    Failed {
        /// Why.
        why: String,
    },
}

/// What a person is to allow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// What is asked.
    pub prompt: String,
    /// How long an answer is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The answer if nobody is there to give one, or none comes in time.
    pub default: Answer,
    /// What the model is told if it is not allowed, when not the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What all of them come to, as it stands in a recording.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why it must not happen, if so. Nothing else counts then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
    /// What a person is to allow. Of several who ask, the first one's question is put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Approval>,
    /// Facts that are otherwise than they were.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub changed: Map<String, Value>,
    /// What the model is told, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<String>,
    /// What people are told: hooks that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

impl Outcome {
    /// Adds what one hook says; later ones hear of the occasion as it is now.
    pub fn take(&mut self, hook: &str, decision: Decision, occasion: &mut Occasion) {
        match decision {
            Decision::Continue => {}
            Decision::Deny { reason } => {
                self.denied = Some(reason);
                self.asks = None;
            }
            Decision::Ask(approval) => {
                self.asks.get_or_insert(approval);
            }
            Decision::Modify { data } => {
                for (key, value) in data {
                    // Who and what it is about is not for a hook to change.
                    if matches!(key.as_str(), "session_id" | "tool_name" | "tool_call_id") {
                        continue;
                    }
                    occasion.data.insert(key.clone(), value.clone());
                    self.changed.insert(key, value);
                }
            }
            Decision::Inject { text } => self.told.push(text),
            Decision::Failed { why } => {
                self.notices.push(format!("hook {hook} failed and is passed over: {why}"));
            }
        }
    }

    /// A text with what the model is told below it.
    pub fn below(&self, text: &str) -> String {
        let told = self.told.iter().filter(|told| !told.is_empty());
        told.fold(
            text.to_owned(),
            |text, told| if text.is_empty() { told.clone() } else { format!("{text}\n\n{told}") },
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hook::Event;

    #[test]
    fn changes_reach_later_hooks_and_what_is_told_adds_up() {
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        let data = object(json!({"tool_name": "bash", "tool_input": {"command": "ls"}}));
        let mut occasion = Occasion { event: Event::ToolPre, data };
        let mut outcome = Outcome::default();
        let data = object(json!({"tool_name": "other", "tool_input": {"command": "ls -l"}}));
        outcome.take("a", Decision::Modify { data }, &mut occasion);
        outcome.take("b", Decision::Inject { text: "One.".to_owned() }, &mut occasion);
        outcome.take("c", Decision::Failed { why: "no".to_owned() }, &mut occasion);
        outcome.take("d", Decision::Inject { text: "Two.".to_owned() }, &mut occasion);
        assert_eq!((occasion.tool(), &occasion.data["tool_input"]["command"]), ("bash", &json!("ls -l")));
        assert_eq!(outcome.below("Result"), "Result\n\nOne.\n\nTwo.");
        assert_eq!(outcome.notices, ["hook c failed and is passed over: no"]);
        assert_eq!(serde_json::to_value(Outcome::default()).unwrap(), json!({}));
    }
}
