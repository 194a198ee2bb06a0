//! What a script knows when it is asked: who asks, and what the conversation has come to.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use crate::chat::{Message, Part, Request, Speaker, ToolInput, ToolResult};
use crate::provider::Occasion;

/// Most characters of a prompt that an error shows.
const EXCERPT_CHARS: usize = 120;

/// The names of the facts, for messages and checks.
pub const NAMES: [&str; 11] = [
    "phase",
    "session",
    "role",
    "turn",
    "iteration",
    "prompt",
    "since_prompt",
    "results",
    "last",
    "history",
    "tools",
];

/// The facts, as expressions and templates of a script see them.
#[derive(Debug, Serialize)]
pub struct Facts<'a> {
    phase: &'a str,
    session: &'a str,
    role: &'a str,
    turn: u32,
    iteration: Option<u32>,
    /// The last text of the user's side.
    prompt: String,
    /// Model calls since that prompt; this one counts, so 1 is the first.
    since_prompt: usize,
    /// The tool results the last message brings.
    results: &'a [Outcome],
    /// The last of them.
    last: Option<&'a Outcome>,
    /// Every tool result of the conversation.
    history: &'a [Outcome],
    /// The names of the tools offered.
    tools: Vec<&'a str>,
}

/// A tool call with its result.
#[derive(Debug, Serialize)]
pub struct Outcome {
    tool: String,
    input: Value,
    ok: bool,
    /// JSON if the result is an object or a list, else its text.
    output: Value,
}

impl<'a> Facts<'a> {
    /// The facts of an occasion; `history` is what `outcomes` gave for the request.
    pub fn new(request: &'a Request, occasion: &'a Occasion, history: &'a [Outcome]) -> Self {
        let fresh = request.messages.last().map_or(0, |message| results_of(message).count());
        let results = &history[history.len() - fresh..];
        let (prompt, since_prompt) = prompt(&request.messages);
        Self {
            phase: occasion.phase.as_str(),
            session: occasion.session.as_str(),
            role: occasion.role.as_str(),
            turn: occasion.turn,
            iteration: occasion.iteration,
            prompt,
            since_prompt,
            results,
            last: results.last(),
            history,
            tools: request.tools.iter().map(|tool| tool.name.as_str()).collect(),
        }
    }

    /// The facts in one line, for an error.
    pub fn summary(&self) -> String {
        let iteration = self.iteration.map_or_else(|| "none".to_owned(), |n| n.to_string());
        let prompt: String = self.prompt.chars().take(EXCERPT_CHARS).collect();
        let results: Vec<String> = self
            .results
            .iter()
            .map(|one| format!("{} {}", one.tool, if one.ok { "ok" } else { "failed" }))
            .collect();
        format!(
            "phase {:?}, session {:?}, role {:?}, turn {}, iteration {iteration}, since_prompt {}, prompt {prompt:?}, results [{}]",
            self.phase,
            self.session,
            self.role,
            self.turn,
            self.since_prompt,
            results.join(", ")
        )
    }
}

/// Every tool result of a conversation with its call, in order.
pub fn outcomes(messages: &[Message]) -> Vec<Outcome> {
    let mut calls: HashMap<&str, (&str, Value)> = HashMap::new();
    let mut outcomes = Vec::new();
    for message in messages {
        for part in &message.parts {
            match part {
                Part::ToolUse(call) => {
                    let input = match &call.input {
                        ToolInput::Object(input) => Value::Object(input.clone()),
                        ToolInput::Invalid(text) => Value::String(text.clone()),
                    };
                    calls.insert(&call.id, (&call.name, input));
                }
                Part::ToolResult(result) if message.speaker == Speaker::User => {
                    let (tool, input) = calls.get(result.id.as_str()).cloned().unwrap_or_default();
                    outcomes.push(Outcome {
                        tool: tool.to_owned(),
                        input,
                        ok: !result.is_error,
                        output: read_output(&result.content),
                    });
                }
                _ => {}
            }
        }
    }
    outcomes
}

fn results_of(message: &Message) -> impl Iterator<Item = &ToolResult> {
    message.parts.iter().filter_map(|part| match part {
        Part::ToolResult(result) if message.speaker == Speaker::User => Some(result),
        _ => None,
    })
}

/// A scalar stays text: `"123"` is more often a name than a number.
fn read_output(content: &str) -> Value {
    match serde_json::from_str(content) {
        Ok(json @ (Value::Object(_) | Value::Array(_))) => json,
        _ => Value::String(content.to_owned()),
    }
}

/// The text of the last prompt, and the number of model calls since. Text that comes along with tool results is a
/// reminder, not a prompt.
fn prompt(messages: &[Message]) -> (String, usize) {
    let is_prompt = |message: &Message| {
        message.speaker == Speaker::User && !message.text().is_empty() && results_of(message).next().is_none()
    };
    let at = messages.iter().rposition(is_prompt);
    let text = at.map(|at| messages[at].text()).unwrap_or_default();
    let after = &messages[at.unwrap_or(0)..];
    let calls = after.iter().filter(|message| message.speaker == Speaker::Assistant).count();
    (text, calls + 1)
}
