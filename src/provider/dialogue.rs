//! In which order the servers of the OpenAI family want a conversation: every call answered, right after its message.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::json;

use super::{CallError, ErrorClass};
use crate::chat::{Message, Part, Speaker, ToolCall, ToolInput, ToolResult};
use crate::id::canonical_json;

/// What a call is answered with when the run was interrupted before its result was there.
const NO_RESULT: &str = "Error: cancelled: the run was interrupted before this call had a result";

/// What a result begins with when its call failed: these servers have no field for it.
const FAILED: &str = "Error: ";

/// Where arguments that are no JSON object go: servers and chat templates parse what is sent back.
const INVALID_INPUT_KEY: &str = "invalid_json";

/// One step of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn<'a> {
    /// What the user says; never blank.
    User(Vec<&'a Part>),
    /// What the model said and called.
    Assistant(&'a [Part]),
    /// The answer to a call.
    Result {
        /// The call's id.
        id: &'a str,
        /// What the model is shown.
        content: Cow<'a, str>,
    },
}

/// The turns of a conversation: the results of a message's calls come right after it, in the order of the calls, and a
/// call that was never answered is answered here.
///
/// # Errors
/// A part stands where it cannot, or a result answers no call.
pub fn turns(messages: &[Message]) -> Result<Vec<Turn<'_>>, CallError> {
    let mut turns = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        match message.speaker {
            Speaker::Assistant => {
                answer(&mut turns, &mut open, &BTreeMap::new());
                open = calls(at, &message.parts)?;
                turns.push(Turn::Assistant(&message.parts));
            }
            Speaker::User => {
                let results = results(at, &message.parts, &open)?;
                answer(&mut turns, &mut open, &results);
                let said: Vec<&Part> = message.parts.iter().filter(|part| is_said(part)).collect();
                if !said.is_empty() {
                    turns.push(Turn::User(said));
                }
            }
        }
    }
    answer(&mut turns, &mut open, &BTreeMap::new());
    Ok(turns)
}

/// The arguments of a call as the text that goes back to the server.
pub fn arguments(call: &ToolCall) -> String {
    match &call.input {
        ToolInput::Object(input) => serde_json::to_string(input).expect("a map of JSON is JSON"),
        ToolInput::Invalid(text) => canonical_json(&json!({INVALID_INPUT_KEY: text})),
    }
}

/// The arguments of a call, from the text they came in.
pub fn input(arguments: &str) -> ToolInput {
    if arguments.trim().is_empty() {
        return ToolInput::Object(serde_json::Map::new());
    }
    serde_json::from_str(arguments)
        .map_or_else(|_| ToolInput::Invalid(arguments.to_owned()), ToolInput::Object)
}

fn calls(at: usize, parts: &[Part]) -> Result<Vec<&str>, CallError> {
    let mut calls = Vec::new();
    for part in parts {
        match part {
            Part::ToolUse(call) => calls.push(call.id.as_str()),
            Part::ToolResult(_) => return Err(misplaced(at, "a tool result", "the model's")),
            _ => {}
        }
    }
    Ok(calls)
}

fn results<'a>(
    at: usize,
    parts: &'a [Part],
    open: &[&str],
) -> Result<BTreeMap<&'a str, &'a ToolResult>, CallError> {
    let mut results = BTreeMap::new();
    for part in parts {
        match part {
            Part::ToolResult(result) if !open.contains(&result.id.as_str()) => {
                let problem = format!(
                    "message {} answers the call `{}`, which the message before it does not make",
                    at + 1,
                    result.id
                );
                return Err(CallError::new(ErrorClass::Request, problem));
            }
            Part::ToolResult(result) => {
                results.entry(result.id.as_str()).or_insert(result);
            }
            Part::ToolUse(_) => return Err(misplaced(at, "a tool call", "a user's")),
            _ => {}
        }
    }
    Ok(results)
}

fn answer<'a>(
    turns: &mut Vec<Turn<'a>>,
    open: &mut Vec<&'a str>,
    results: &BTreeMap<&'a str, &'a ToolResult>,
) {
    for id in std::mem::take(open) {
        let content = match results.get(id) {
            None => Cow::Borrowed(NO_RESULT),
            Some(result) if !result.is_error => Cow::Borrowed(result.content.as_str()),
            Some(result) if result.content.trim().is_empty() => {
                Cow::Owned(format!("{FAILED}the call failed and said nothing"))
            }
            Some(result) => Cow::Owned(format!("{FAILED}{}", result.content)),
        };
        turns.push(Turn::Result { id, content });
    }
}

fn is_said(part: &Part) -> bool {
    match part {
        Part::Text { text, .. } => !text.trim().is_empty(),
        Part::Other(_) => true,
        Part::Thinking { .. } | Part::ToolUse(_) | Part::ToolResult(_) => false,
    }
}

fn misplaced(at: usize, what: &str, whose: &str) -> CallError {
    CallError::new(ErrorClass::Request, format!("message {} is {whose} and holds {what}", at + 1))
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn call(id: &str) -> Part {
        Part::ToolUse(ToolCall {
            id: id.to_owned(),
            name: "bash".to_owned(),
            input: ToolInput::Object(Map::new()),
            extra: Map::new(),
        })
    }

    fn result(id: &str, content: &str, is_error: bool) -> Part {
        Part::ToolResult(ToolResult { id: id.to_owned(), content: content.to_owned(), is_error })
    }

    fn message(speaker: Speaker, parts: Vec<Part>) -> Message {
        Message { speaker, parts }
    }

    fn shape(messages: &[Message]) -> Vec<String> {
        let line = |turn: &Turn<'_>| match turn {
            Turn::User(parts) => format!("user {}", parts.len()),
            Turn::Assistant(parts) => format!("assistant {}", parts.len()),
            Turn::Result { id, content } => format!("{id}: {content}"),
        };
        turns(messages).unwrap().iter().map(line).collect()
    }

    #[test]
    fn results_come_right_after_the_calls_in_their_order() {
        let messages = [
            Message::user("go"),
            message(Speaker::Assistant, vec![call("a"), call("b")]),
            message(
                Speaker::User,
                vec![Part::text("note"), result("b", "2", false), result("a", "no", true)],
            ),
        ];
        assert_eq!(shape(&messages), ["user 1", "assistant 2", "a: Error: no", "b: 2", "user 1"]);
    }

    #[test]
    fn a_call_that_was_never_answered_is_answered() {
        let open = [Message::user("go"), message(Speaker::Assistant, vec![call("a")])];
        assert!(shape(&open)[2].starts_with("a: Error: cancelled"));
        let over = [open[0].clone(), open[1].clone(), message(Speaker::Assistant, vec![Part::text("x")])];
        assert_eq!(shape(&over)[3], "assistant 1");
        let silent = [open[0].clone(), open[1].clone(), message(Speaker::User, vec![result("a", " ", true)])];
        assert_eq!(shape(&silent)[2], "a: Error: the call failed and said nothing");
    }

    #[test]
    fn what_stands_where_it_cannot_is_refused() {
        let orphan = turns(&[message(Speaker::User, vec![result("z", "1", false)])]).unwrap_err();
        assert_eq!(orphan.class, ErrorClass::Request);
        assert!(orphan.message.contains("message 1 answers the call `z`"), "{orphan}");
        assert!(turns(&[message(Speaker::Assistant, vec![result("z", "1", false)])]).is_err());
        assert!(turns(&[message(Speaker::User, vec![call("z")])]).is_err());
    }

    #[test]
    fn arguments_go_back_as_an_object_whatever_they_were() {
        assert_eq!(input(""), ToolInput::Object(Map::new()));
        assert_eq!(input("[1]"), ToolInput::Invalid("[1]".to_owned()));
        let broken = ToolCall {
            id: "a".to_owned(),
            name: "bash".to_owned(),
            input: input("{\"command\": \"l"),
            extra: Map::new(),
        };
        assert_eq!(arguments(&broken), r#"{"invalid_json":"{\"command\": \"l"}"#);
        let sent = ToolCall { input: input(r#"{"b": 1, "a": "é"}"#), ..broken };
        assert_eq!(arguments(&sent), r#"{"a":"é","b":1}"#);
    }
}
