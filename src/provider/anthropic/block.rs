//! How one content block grows from its start over its deltas into a part of a reply.

use serde_json::{Map, Value, json};

use crate::chat::{Delta, Part, ToolCall, ToolInput};

/// A block of a message. Fields this program does not know are kept.
#[derive(Debug)]
pub struct Block {
    content: Map<String, Value>,
    /// The pieces of the arguments so far; `None` when no piece came.
    json: Option<String>,
    open: bool,
}

impl Block {
    /// A block as its start gives it, which may be whole already, and what is to be shown of it.
    pub fn start(content: Map<String, Value>) -> (Self, Option<Delta>) {
        let text = |key: &str| {
            content.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let delta = match content.get("type").and_then(Value::as_str) {
            Some("text") => text("text").map(Delta::Text),
            Some("thinking") => text("thinking").map(Delta::Thinking),
            Some("tool_use") => Some(Delta::Tool { name: text("name").unwrap_or_default() }),
            _ => None,
        };
        (Self { content, json: None, open: true }, delta)
    }

    /// Whether more may come.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Takes a delta; a kind this program does not know changes nothing.
    pub fn delta(&mut self, delta: &Value) -> Option<Delta> {
        let text = |key: &str| delta[key].as_str().unwrap_or_default();
        match delta["type"].as_str()? {
            "text_delta" => self.append("text", text("text")).map(Delta::Text),
            "thinking_delta" => self.append("thinking", text("thinking")).map(Delta::Thinking),
            "signature_delta" => {
                self.content.insert("signature".to_owned(), json!(text("signature")));
                None
            }
            "input_json_delta" => {
                self.json.get_or_insert_default().push_str(text("partial_json"));
                None
            }
            "citations_delta" => {
                match self.content.get_mut("citations") {
                    Some(Value::Array(citations)) => citations.push(delta["citation"].clone()),
                    _ => {
                        self.content.insert("citations".to_owned(), json!([delta["citation"]]));
                    }
                }
                None
            }
            "compaction_delta" => {
                let fields = delta.as_object().into_iter().flatten().filter(|(key, _)| *key != "type");
                self.content.extend(fields.map(|(key, value)| (key.clone(), value.clone())));
                None
            }
            _ => None,
        }
    }

    fn append(&mut self, key: &str, more: &str) -> Option<String> {
        match self.content.get_mut(key) {
            Some(Value::String(text)) => text.push_str(more),
            _ => {
                self.content.insert(key.to_owned(), json!(more));
            }
        }
        (!more.is_empty()).then(|| more.to_owned())
    }

    /// Nothing more comes.
    pub fn stop(&mut self) {
        self.open = false;
    }

    /// The block as a part of the reply.
    pub fn into_part(mut self) -> Part {
        let kind = self.content.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            "text" => {
                let text = self.take_text("text");
                Part::Text { text, extra: self.into_extra() }
            }
            "thinking"
                if self
                    .content
                    .keys()
                    .all(|key| ["type", "thinking", "signature"].contains(&key.as_str())) =>
            {
                Part::Thinking {
                    thinking: self.take_text("thinking"),
                    signature: self.take_text("signature"),
                }
            }
            "tool_use" => Part::ToolUse(ToolCall {
                id: self.take_text("id"),
                name: self.take_text("name"),
                input: self.take_input(),
                extra: self.into_extra(),
            }),
            _ => {
                if self.json.is_some() {
                    let input = match self.take_input() {
                        ToolInput::Object(input) => Value::Object(input),
                        ToolInput::Invalid(text) => Value::String(text),
                    };
                    self.content.insert("input".to_owned(), input);
                }
                Part::Other(Value::Object(self.content))
            }
        }
    }

    fn take_text(&mut self, key: &str) -> String {
        match self.content.remove(key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        }
    }

    /// The arguments: the pieces joined and parsed once, or what the start gave when they are blank.
    fn take_input(&mut self) -> ToolInput {
        let given = self.content.remove("input");
        let pieces = self.json.take().filter(|pieces| !pieces.trim().is_empty());
        let Some(pieces) = pieces else {
            return match given {
                Some(Value::Object(input)) => ToolInput::Object(input),
                None | Some(Value::Null) => ToolInput::Object(Map::new()),
                Some(other) => ToolInput::Invalid(other.to_string()),
            };
        };
        match serde_json::from_str(&pieces) {
            Ok(Value::Object(input)) => ToolInput::Object(input),
            _ => ToolInput::Invalid(pieces),
        }
    }

    /// The fields that no part has a place for. `null` means "not set" in this API and is dropped.
    fn into_extra(mut self) -> Map<String, Value> {
        self.content.remove("type");
        self.content.retain(|_, value| !value.is_null());
        self.content
    }
}
