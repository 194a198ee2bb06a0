//! How an answer is written as the event stream of the Messages API, and as the one JSON body of a call that does not stream.

use serde_json::{Value, json};

use super::brain::{Answer, Part, Usage};
use super::chance::Chance;

/// What of a request shows in its response.
pub struct Context<'a> {
    /// The model asked for; the answer names it.
    pub model: &'a str,
    /// The bytes of the request's body, for the tokens.
    pub request_bytes: usize,
}

/// Writes the events of an answer, one element an event.
pub fn stream(answer: &Answer, context: &Context, chance: &mut Chance) -> Vec<Vec<u8>> {
    let usage = usage(answer, context);
    let mut events = Events { written: Vec::new(), chance };
    let id = events.chance.id("msg");
    let opening_tokens = 1 + events.chance.below(8);
    events.write(
        "message_start",
        &format!(
            r#""message":{{"model":{model},"id":"{id}","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,"usage":{usage}}}"#,
            model = json!(context.model),
            usage = usage_text(&usage, opening_tokens as u64, Extent::Opening),
        ),
    );
    if answer.parts.is_empty() {
        events.write("ping", "");
    }
    for (index, part) in answer.parts.iter().enumerate() {
        events.block(index, part);
    }
    events.write(
        "message_delta",
        &format!(
            r#""delta":{{"stop_reason":{},"stop_sequence":null,"stop_details":null,"container":null}},"usage":{}"#,
            json!(stop_reason(answer)),
            usage_text(&usage, usage.output, Extent::Closing)
        ),
    );
    events.write("message_stop", "");
    events.written
}

/// An error event.
pub fn error(kind: &str) -> Vec<u8> {
    let message = match kind {
        "overloaded_error" => "Overloaded",
        "api_error" => "Internal server error",
        _ => "The request could not be completed",
    };
    let data = json!({"type": "error", "error": {"details": null, "type": kind, "message": message}});
    format!("event: error\ndata: {data}\n\n").into_bytes()
}

/// Writes an answer as one JSON body.
pub fn whole(answer: &Answer, context: &Context, chance: &mut Chance) -> String {
    let usage = usage(answer, context);
    let id = chance.id("msg");
    let content: Vec<_> = answer
        .parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => json!({"type": "text", "text": text}),
            Part::ToolUse { name, input } => {
                json!({"type": "tool_use", "id": chance.id("toolu"), "name": name, "input": input})
            }
            Part::Thinking { text, signature } => {
                json!({"type": "thinking", "thinking": text, "signature": signature})
            }
            Part::Whole(block) => block.clone(),
        })
        .collect();
    json!({
        "id": id, "type": "message", "role": "assistant", "model": context.model, "content": content,
        "stop_reason": stop_reason(answer), "stop_sequence": null,
        "usage": serde_json::from_str::<Value>(&usage_text(&usage, usage.output, Extent::Opening))
            .expect("usage is written as JSON"),
    })
    .to_string()
}

/// Tokens of a text, roughly as a tokeniser counts.
pub fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

/// The tokens of an answer.
pub fn usage(answer: &Answer, context: &Context) -> Usage {
    answer.usage.unwrap_or_else(|| Usage {
        input: tokens(context.request_bytes),
        output: tokens(answer.parts.iter().map(size).sum()),
        ..Usage::default()
    })
}

fn size(part: &Part) -> usize {
    match part {
        Part::Text(text) | Part::Thinking { text, .. } => text.len(),
        Part::ToolUse { name, input } => name.len() + input.to_string().len(),
        Part::Whole(block) => block.to_string().len(),
    }
}

/// Why an answer ends.
pub fn stop_reason(answer: &Answer) -> &str {
    let calls = || answer.parts.iter().any(|part| matches!(part, Part::ToolUse { .. }));
    match &answer.stop {
        Some(reason) => reason,
        None if calls() => "tool_use",
        None => "end_turn",
    }
}

/// How much of the usage an event tells: the closing event lacks what belongs to the request alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Opening,
    Closing,
}

fn usage_text(usage: &Usage, output: u64, extent: Extent) -> String {
    let Usage { input, cache_read, cache_write, .. } = usage;
    let more = match extent {
        Extent::Closing => String::new(),
        Extent::Opening => format!(
            r#","cache_creation":{{"ephemeral_5m_input_tokens":{cache_write},"ephemeral_1h_input_tokens":0}},"service_tier":"standard","inference_geo":"not_available""#
        ),
    };
    format!(
        r#"{{"input_tokens":{input},"cache_creation_input_tokens":{cache_write},"cache_read_input_tokens":{cache_read},"output_tokens":{output}{more}}}"#
    )
}

struct Events<'a> {
    written: Vec<Vec<u8>>,
    chance: &'a mut Chance,
}

impl Events<'_> {
    /// Writes one event; `fields` is JSON between the type and the closing brace. The real server pads with spaces there.
    fn write(&mut self, name: &str, fields: &str) {
        let comma = if fields.is_empty() { "" } else { "," };
        let padding = " ".repeat(self.chance.below(16));
        let data = format!(r#"{{"type":"{name}"{comma}{fields}{padding}}}"#);
        debug_assert!(serde_json::from_str::<Value>(&data).is_ok(), "{data}");
        self.written.push(format!("event: {name}\ndata: {data}\n\n").into_bytes());
    }

    fn block(&mut self, index: usize, part: &Part) {
        let opening = match part {
            Part::Text(_) => r#"{"type":"text","text":""}"#.to_owned(),
            Part::ToolUse { name, .. } => format!(
                r#"{{"type":"tool_use","id":"{id}","name":{name},"input":{{}},"caller":{{"type":"direct"}}}}"#,
                id = self.chance.id("toolu"),
                name = json!(name),
            ),
            Part::Thinking { .. } => r#"{"type":"thinking","thinking":"","signature":""}"#.to_owned(),
            Part::Whole(block) => block.to_string(),
        };
        self.write("content_block_start", &format!(r#""index":{index},"content_block":{opening}"#));
        if index == 0 {
            self.write("ping", "");
        }
        match part {
            Part::Text(text) => self.pieces(index, text, "text_delta", "text"),
            Part::ToolUse { input, .. } => {
                self.delta(index, "input_json_delta", "partial_json", "");
                let json = self.input_text(input);
                self.pieces(index, &json, "input_json_delta", "partial_json");
            }
            Part::Thinking { text, signature } => {
                self.pieces(index, text, "thinking_delta", "thinking");
                self.delta(index, "signature_delta", "signature", signature);
            }
            Part::Whole(_) => {}
        }
        self.write("content_block_stop", &format!(r#""index":{index}"#));
    }

    fn delta(&mut self, index: usize, kind: &str, field: &str, piece: &str) {
        let fields =
            format!(r#""index":{index},"delta":{{"type":"{kind}","{field}":{piece}}}"#, piece = json!(piece));
        self.write("content_block_delta", &fields);
    }

    /// One delta after another; they end between any two characters, inside an escape of tool JSON too.
    fn pieces(&mut self, index: usize, text: &str, kind: &str, field: &str) {
        let mut rest: &str = text;
        while !rest.is_empty() {
            let characters = self.chance.piece(rest.chars().count());
            let end = rest.char_indices().nth(characters).map_or(rest.len(), |(at, _)| at);
            self.delta(index, kind, field, &rest[..end]);
            rest = &rest[end..];
        }
    }

    /// The JSON of a tool's input: nothing at all for no arguments; half of the time with every character beyond
    /// ASCII written as an escape.
    fn input_text(&mut self, input: &Value) -> String {
        match input {
            Value::String(broken) => return broken.clone(),
            Value::Object(fields) if fields.is_empty() => return String::new(),
            _ => {}
        }
        let text = input.to_string();
        if self.chance.below(2) == 0 {
            return text;
        }
        let mut escaped = String::new();
        for character in text.chars() {
            if character.is_ascii() {
                escaped.push(character);
            } else {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
        escaped
    }
}
