//! How a conversation is written as the `messages` of the Messages API.
//!
//! The API has rules the neutral form has not, and each broken one is a refused request: every tool call is answered in
//! the very next message, results before anything else; speakers take turns; text is never blank; ids have few
//! characters.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::container;
use crate::chat::{Message, Part, Speaker, ToolCall, ToolInput, ToolResult};
use crate::id::Fingerprint;
use crate::provider::{CallError, ErrorClass};

/// What a call is answered with when the run was interrupted before its result was there.
const NO_RESULT: &str = "cancelled: the run was interrupted before this call had a result";

/// Where arguments that are no JSON object go, for a block must hold an object.
const INVALID_INPUT_KEY: &str = "invalid_json";

/// The messages as JSON.
pub fn write(messages: &[Message]) -> Result<Vec<Value>, CallError> {
    let mut writer = Writer::default();
    for (at, message) in messages.iter().enumerate() {
        match message.speaker {
            Speaker::Assistant => writer.assistant(at, &message.parts)?,
            Speaker::User => writer.user(at, &message.parts)?,
        }
    }
    writer.answer_open_calls();
    Ok(writer.messages.into_iter().map(Turn::into_json).collect())
}

/// One message as it will be sent.
struct Turn {
    speaker: Speaker,
    blocks: Vec<Value>,
}

impl Turn {
    fn into_json(self) -> Value {
        let role = match self.speaker {
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
        };
        // Moved, not copied through a serializer as `json!` would: this is the whole conversation.
        let content = ("content".to_owned(), Value::Array(self.blocks));
        Value::Object(Map::from_iter([("role".to_owned(), json!(role)), content]))
    }
}

#[derive(Default)]
struct Writer {
    messages: Vec<Turn>,
    /// Calls the next message must answer, in order.
    open: Vec<String>,
}

impl Writer {
    fn assistant(&mut self, at: usize, parts: &[Part]) -> Result<(), CallError> {
        self.answer_open_calls();
        let mut blocks: Vec<Value> = Vec::new();
        let mut first_call = None;
        for part in parts {
            match part {
                Part::ToolUse(call) => {
                    first_call.get_or_insert(blocks.len());
                    self.open.push(wire_id(&call.id));
                    blocks.push(call_block(call));
                }
                Part::ToolResult(_) => return Err(misplaced(at, "a tool result", "the model's")),
                Part::Text { .. } => {
                    let Some(block) = spoken(part) else { continue };
                    // Text after a call is refused, so it is moved before the calls.
                    match &mut first_call {
                        Some(first) => {
                            blocks.insert(*first, block);
                            *first += 1;
                        }
                        None => blocks.push(block),
                    }
                }
                Part::Thinking { .. } | Part::Other(_) => blocks.extend(spoken(part)),
            }
        }
        // A message that was cut off while the model still thought is refused: it may not end with thinking.
        let is_thought = |block: &Value| block["type"] == "thinking" || block["type"] == "redacted_thinking";
        let end = blocks.iter().rposition(|block| !is_thought(block)).map_or(0, |last| last + 1);
        blocks.truncate(end);
        self.push(Speaker::Assistant, blocks);
        Ok(())
    }

    fn user(&mut self, at: usize, parts: &[Part]) -> Result<(), CallError> {
        let mut results: BTreeMap<String, &ToolResult> = BTreeMap::new();
        let mut rest = Vec::new();
        for part in parts {
            match part {
                Part::ToolResult(result) => {
                    results.entry(wire_id(&result.id)).or_insert(result);
                }
                Part::ToolUse(_) => return Err(misplaced(at, "a tool call", "a user's")),
                Part::Text { .. } | Part::Thinking { .. } | Part::Other(_) => rest.extend(spoken(part)),
            }
        }
        let known: BTreeSet<&String> = self.open.iter().collect();
        if let Some(orphan) = results.keys().find(|id| !known.contains(id)) {
            return Err(CallError::new(
                ErrorClass::Request,
                format!(
                    "message {} answers the call `{orphan}`, which the message before it does not make",
                    at + 1
                ),
            ));
        }
        let mut blocks: Vec<Value> = std::mem::take(&mut self.open)
            .into_iter()
            .map(|id| match results.get(&id) {
                Some(result) => result_block(&id, &result.content, result.is_error),
                None => result_block(&id, NO_RESULT, true),
            })
            .collect();
        blocks.append(&mut rest);
        self.push(Speaker::User, blocks);
        Ok(())
    }

    /// Answers the calls that no message answers.
    fn answer_open_calls(&mut self) {
        let open = std::mem::take(&mut self.open);
        let blocks = open.iter().map(|id| result_block(id, NO_RESULT, true)).collect();
        self.push(Speaker::User, blocks);
    }

    /// Adds what a speaker says to its message, which grows as long as nobody else speaks.
    fn push(&mut self, speaker: Speaker, mut blocks: Vec<Value>) {
        if blocks.is_empty() {
            return;
        }
        match self.messages.last_mut().filter(|last| last.speaker == speaker) {
            Some(last) => last.blocks.append(&mut blocks),
            None => self.messages.push(Turn { speaker, blocks }),
        }
    }
}

fn misplaced(at: usize, what: &str, whose: &str) -> CallError {
    CallError::new(ErrorClass::Request, format!("message {} is {whose} and holds {what}", at + 1))
}

/// A block that is neither call nor result; `None` for blank text, which the API refuses.
fn spoken(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text, extra } => (!text.trim().is_empty()).then(|| {
            let mut block = extra.clone();
            block.insert("type".to_owned(), json!("text"));
            block.insert("text".to_owned(), json!(text));
            Value::Object(block)
        }),
        Part::Thinking { thinking, signature } => {
            Some(json!({"type": "thinking", "thinking": thinking, "signature": signature}))
        }
        Part::Other(block) => container::kept(part).is_none().then(|| block.clone()),
        Part::ToolUse(_) | Part::ToolResult(_) => None,
    }
}

fn call_block(call: &ToolCall) -> Value {
    let input = match &call.input {
        ToolInput::Object(input) => input.clone(),
        ToolInput::Invalid(text) => Map::from_iter([(INVALID_INPUT_KEY.to_owned(), json!(text))]),
    };
    let mut block = call.extra.clone();
    block.insert("type".to_owned(), json!("tool_use"));
    block.insert("id".to_owned(), json!(wire_id(&call.id)));
    block.insert("name".to_owned(), json!(call.name));
    block.insert("input".to_owned(), Value::Object(input));
    Value::Object(block)
}

fn result_block(id: &str, content: &str, is_error: bool) -> Value {
    let mut block = json!({"type": "tool_result", "tool_use_id": id});
    // An empty text is refused inside a block too; no content at all is allowed.
    if !content.trim().is_empty() {
        block["content"] = json!(content);
    }
    if is_error {
        block["is_error"] = json!(true);
        // The API wants to be told what the error was.
        if content.trim().is_empty() {
            block["content"] = json!("the call failed and said nothing");
        }
    }
    block
}

/// The id as it is, or a stand-in derived from it when another provider gave it characters this API refuses.
fn wire_id(id: &str) -> String {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !id.is_empty() && id.bytes().all(allowed) {
        id.to_owned()
    } else {
        format!("toolu_{}", Fingerprint::of(id.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Part {
        Part::ToolUse(ToolCall {
            id: id.to_owned(),
            name: "bash".to_owned(),
            input: ToolInput::Object(Map::new()),
            extra: Map::new(),
        })
    }

    fn result(id: &str, content: &str) -> Part {
        Part::ToolResult(ToolResult { id: id.to_owned(), content: content.to_owned(), is_error: false })
    }

    fn assistant(parts: Vec<Part>) -> Message {
        Message { speaker: Speaker::Assistant, parts }
    }

    fn user(parts: Vec<Part>) -> Message {
        Message { speaker: Speaker::User, parts }
    }

    /// `role: block, block` a message, in short.
    fn shape(messages: &[Message]) -> Vec<String> {
        let written = write(messages).unwrap();
        written
            .iter()
            .map(|message| {
                let blocks: Vec<String> = message["content"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|block| match block["type"].as_str().unwrap() {
                        "text" => block["text"].as_str().unwrap().to_owned(),
                        "tool_use" => format!("call {}", block["id"].as_str().unwrap()),
                        "tool_result" => format!("result {}", block["tool_use_id"].as_str().unwrap()),
                        other => other.to_owned(),
                    })
                    .collect();
                format!("{}: {}", message["role"].as_str().unwrap(), blocks.join(", "))
            })
            .collect()
    }

    #[test]
    fn results_come_first_in_one_message_in_the_order_of_the_calls() {
        let messages = [
            Message::user("go"),
            assistant(vec![call("a"), call("b")]),
            user(vec![Part::text("note"), result("b", "2"), result("a", "1")]),
        ];
        assert_eq!(
            shape(&messages),
            ["user: go", "assistant: call a, call b", "user: result a, result b, note"]
        );
    }

    #[test]
    fn results_in_two_messages_become_one() {
        let messages = [
            Message::user("go"),
            assistant(vec![call("a")]),
            user(vec![result("a", "1")]),
            user(vec![Part::text("and now?")]),
        ];
        assert_eq!(shape(&messages).last().unwrap(), "user: result a, and now?");
    }

    #[test]
    fn a_missing_result_after_an_interrupt_is_made_up() {
        let messages = [
            Message::user("go"),
            assistant(vec![call("a"), call("b")]),
            user(vec![result("b", "2"), Part::text("go on")]),
        ];
        assert_eq!(shape(&messages)[2], "user: result a, result b, go on");
        let open = [Message::user("go"), assistant(vec![call("a")])];
        assert_eq!(shape(&open)[2], "user: result a");
        let spoken_over = [Message::user("go"), assistant(vec![call("a")]), assistant(vec![Part::text("x")])];
        assert_eq!(shape(&spoken_over)[2..], ["user: result a", "assistant: x"]);
        assert_eq!(write(&open).unwrap()[2]["content"][0]["is_error"], true);
    }

    #[test]
    fn a_result_without_its_call_is_refused_here_already() {
        let error = write(&[Message::user("go"), user(vec![result("z", "1")])]).unwrap_err();
        assert_eq!(error.class, ErrorClass::Request);
        assert!(error.message.contains("message 2 answers the call `z`"), "{error}");
        assert!(write(&[assistant(vec![result("z", "1")])]).is_err());
        assert!(write(&[user(vec![call("z")])]).is_err());
    }

    #[test]
    fn blank_text_is_never_sent_and_neighbours_merge() {
        let messages = [
            Message::user("one"),
            assistant(vec![Part::text(" \n")]),
            Message::user(""),
            Message::user("two"),
        ];
        assert_eq!(shape(&messages), ["user: one, two"]);
    }

    #[test]
    fn text_after_a_call_moves_before_the_calls() {
        let messages = [
            Message::user("go"),
            assistant(vec![Part::text("1"), call("a"), Part::text("2"), call("b"), Part::text("3")]),
            user(vec![result("a", ""), result("b", "")]),
        ];
        assert_eq!(shape(&messages)[1], "assistant: 1, 2, 3, call a, call b");
    }

    #[test]
    fn unknown_blocks_and_thinking_go_back_in_place() {
        let redacted = json!({"type": "redacted_thinking", "data": "xyz"});
        let thinking = Part::Thinking { thinking: String::new(), signature: "sig".to_owned() };
        let messages = [
            Message::user("go"),
            assistant(vec![thinking, Part::Other(redacted.clone()), Part::text("hi"), call("a")]),
            user(vec![result("a", "1")]),
        ];
        let written = write(&messages).unwrap();
        let blocks = &written[1]["content"];
        assert_eq!(blocks[0], json!({"type": "thinking", "thinking": "", "signature": "sig"}));
        assert_eq!(blocks[1], redacted);
    }

    #[test]
    fn no_message_of_the_model_ends_with_thinking() {
        let thinking = || Part::Thinking { thinking: "hm".to_owned(), signature: "sig".to_owned() };
        let redacted = Part::Other(json!({"type": "redacted_thinking", "data": "xyz"}));
        let messages = [
            Message::user("go"),
            assistant(vec![thinking(), redacted.clone()]),
            Message::user("go on"),
            assistant(vec![thinking(), Part::text("hi"), redacted]),
            Message::user("and now?"),
        ];
        assert_eq!(shape(&messages), ["user: go, go on", "assistant: thinking, hi", "user: and now?"]);
    }

    #[test]
    fn extra_fields_of_text_and_calls_are_echoed() {
        let caller = json!({"type": "direct"});
        let called = Part::ToolUse(ToolCall {
            id: "a".to_owned(),
            name: "bash".to_owned(),
            input: ToolInput::Object(Map::new()),
            extra: Map::from_iter([("caller".to_owned(), caller.clone())]),
        });
        let cited = Part::Text {
            text: "so".to_owned(),
            extra: Map::from_iter([("citations".to_owned(), json!([{"type": "x"}]))]),
        };
        let written = write(&[Message::user("go"), assistant(vec![cited, called])]).unwrap();
        assert_eq!(written[1]["content"][0]["citations"][0]["type"], "x");
        assert_eq!(written[1]["content"][1]["caller"], caller);
    }

    #[test]
    fn invalid_arguments_become_an_object() {
        let broken = Part::ToolUse(ToolCall {
            id: "a".to_owned(),
            name: "bash".to_owned(),
            input: ToolInput::Invalid("{\"command\": \"l".to_owned()),
            extra: Map::new(),
        });
        let written = write(&[Message::user("go"), assistant(vec![broken])]).unwrap();
        assert_eq!(written[1]["content"][0]["input"], json!({"invalid_json": "{\"command\": \"l"}));
    }

    #[test]
    fn ids_of_other_providers_fit_and_still_pair() {
        let messages = [
            Message::user("go"),
            assistant(vec![call("functions.bash:0"), call("functions.bash:1")]),
            user(vec![result("functions.bash:1", "2"), result("functions.bash:0", "1")]),
        ];
        let written = write(&messages).unwrap();
        for at in [0, 1] {
            let id = written[1]["content"][at]["id"].as_str().unwrap();
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{id}");
            assert_eq!(written[2]["content"][at]["tool_use_id"], id);
        }
        assert_ne!(written[1]["content"][0]["id"], written[1]["content"][1]["id"]);
        assert_eq!(written[2]["content"][0]["content"], "1");
    }

    #[test]
    fn a_paused_turn_goes_back_as_it_is() {
        let server_call =
            json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}});
        let messages = [Message::user("go"), assistant(vec![Part::Other(server_call.clone())])];
        let written = write(&messages).unwrap();
        assert_eq!(written.len(), 2);
        assert_eq!(written[1]["content"][0], server_call);
    }

    #[test]
    fn empty_results_have_no_empty_text() {
        let failed =
            Part::ToolResult(ToolResult { id: "b".to_owned(), content: String::new(), is_error: true });
        let messages =
            [Message::user("go"), assistant(vec![call("a"), call("b")]), user(vec![result("a", ""), failed])];
        let written = write(&messages).unwrap();
        assert_eq!(written[2]["content"][0], json!({"type": "tool_result", "tool_use_id": "a"}));
        assert_eq!(written[2]["content"][1]["content"], "the call failed and said nothing");
    }
}
