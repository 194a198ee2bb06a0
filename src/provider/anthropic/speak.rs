//! How a reply looks when the Messages API streams it: what puts a script behind the real decoder.
//!
//! Written as recordings of the server are: a ping after the first block begins, an empty first piece of arguments, and
//! JSON padded with spaces before its last brace.

use serde_json::{Map, Value, json};

use super::container;
use super::decode::stop_word;
use crate::chat::{Part, Reply, ToolCall, ToolInput, Usage};
use crate::provider::pieces::pieces;

/// Characters of one piece of text.
const TEXT_PIECE: usize = 48;

/// Characters of one piece of arguments; small, so that pieces end inside escapes.
const JSON_PIECE: usize = 11;

/// Writes an error as it comes in the middle of a stream.
pub fn speak_error(kind: &str) -> Vec<u8> {
    let data = json!({"type": "error", "error": {"type": kind, "message": "this fault was asked for"}});
    format!("event: error\ndata: {data}\n\n").into_bytes()
}

/// Writes a reply as a whole stream.
pub fn speak(reply: &Reply) -> Vec<u8> {
    let mut stream = Stream::default();
    let start_usage = Usage { output: 1, ..reply.usage };
    stream.event(
        "message_start",
        json!({"message": {
            "id": reply.id,
            "type": "message",
            "role": "assistant",
            "model": reply.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage(start_usage),
        }}),
    );
    let blocks = reply.parts.iter().filter(|part| container::kept(part).is_none());
    for (index, part) in blocks.enumerate() {
        stream.part(index, part);
    }
    let mut delta = json!({"stop_reason": stop_word(&reply.stop), "stop_sequence": null});
    if let Some(details) = &reply.stop_details {
        delta["stop_details"] = details.clone();
    }
    if let Some(place) = reply.parts.iter().find_map(container::kept) {
        delta["container"] = place;
    }
    stream.event("message_delta", json!({"delta": delta, "usage": usage(reply.usage)}));
    stream.event("message_stop", json!({}));
    stream.bytes
}

fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write.saturating_sub(usage.cache_write_1h),
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "server_tool_use": {"web_search_requests": usage.server_tool_uses},
    })
}

#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    events: usize,
}

impl Stream {
    fn event(&mut self, kind: &str, mut data: Value) {
        data["type"] = json!(kind);
        let mut text = data.to_string();
        let padding = " ".repeat(self.events * 7 % 16);
        text.insert_str(text.len() - 1, &padding);
        self.bytes.extend_from_slice(format!("event: {kind}\ndata: {text}\n\n").as_bytes());
        self.events += 1;
    }

    fn part(&mut self, index: usize, part: &Part) {
        let (start, deltas) = match part {
            Part::Text { text, extra } => text_block(text, extra),
            Part::Thinking { thinking, signature } => thinking_block(thinking, signature),
            Part::ToolUse(call) => call_block(call),
            Part::ToolResult(result) => (
                json!({"type": "tool_result", "tool_use_id": result.id, "content": result.content}),
                Vec::new(),
            ),
            Part::Other(block) => (block.clone(), Vec::new()),
        };
        self.event("content_block_start", json!({"index": index, "content_block": start}));
        if index == 0 {
            self.event("ping", json!({}));
        }
        for delta in deltas {
            self.event("content_block_delta", json!({"index": index, "delta": delta}));
        }
        self.event("content_block_stop", json!({"index": index}));
    }
}

fn text_block(text: &str, extra: &Map<String, Value>) -> (Value, Vec<Value>) {
    let mut start = extra.clone();
    start.insert("type".to_owned(), json!("text"));
    start.insert("text".to_owned(), json!(""));
    let mut deltas: Vec<Value> =
        pieces(text, TEXT_PIECE).map(|piece| json!({"type": "text_delta", "text": piece})).collect();
    if let Some(Value::Array(citations)) = start.get_mut("citations") {
        let citations = std::mem::take(citations);
        deltas.extend(citations.iter().map(|one| json!({"type": "citations_delta", "citation": one})));
    }
    (Value::Object(start), deltas)
}

fn thinking_block(thinking: &str, signature: &str) -> (Value, Vec<Value>) {
    let start = json!({"type": "thinking", "thinking": "", "signature": ""});
    let pieces =
        pieces(thinking, TEXT_PIECE).map(|piece| json!({"type": "thinking_delta", "thinking": piece}));
    let seal = json!({"type": "signature_delta", "signature": signature});
    (start, pieces.chain([seal]).collect())
}

fn call_block(call: &ToolCall) -> (Value, Vec<Value>) {
    let mut start = call.extra.clone();
    start.insert("type".to_owned(), json!("tool_use"));
    start.insert("id".to_owned(), json!(call.id));
    start.insert("name".to_owned(), json!(call.name));
    start.insert("input".to_owned(), json!({}));
    let arguments = match &call.input {
        ToolInput::Object(input) if input.is_empty() => String::new(),
        ToolInput::Object(input) => Value::Object(input.clone()).to_string(),
        ToolInput::Invalid(text) => text.clone(),
    };
    let deltas = std::iter::once("")
        .chain(pieces(&arguments, JSON_PIECE))
        .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}))
        .collect();
    (Value::Object(start), deltas)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chat::StopReason;
    use crate::http::Framer;
    use crate::provider::Decode;
    use crate::provider::anthropic::decode::Decoder;

    fn hear(bytes: &[u8], piece: usize) -> Reply {
        let mut framer = Framer::default();
        let mut decoder = Box::new(Decoder::default());
        for bytes in bytes.chunks(piece) {
            for event in framer.push(bytes).unwrap() {
                decoder.event(&event.name, &event.data).unwrap();
            }
        }
        decoder.finish().unwrap()
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::btree_map(".{0,6}", json_value(), 0..4).prop_map(|map| map.into_iter().collect())
    }

    fn extra() -> impl Strategy<Value = Map<String, Value>> {
        let citations = prop::collection::vec(json_value(), 0..3).prop_map(Value::from);
        prop_oneof![
            Just(Map::new()),
            citations.prop_map(|list| Map::from_iter([("citations".to_owned(), list)])),
            Just(Map::from_iter([("caller".to_owned(), json!({"type": "direct"}))])),
        ]
    }

    fn part() -> impl Strategy<Value = Part> {
        let invalid = any::<String>().prop_map(|text| ToolInput::Invalid(format!("{{\"a\": {text}")));
        let invalid = invalid.prop_filter("must not parse", |input| match input {
            ToolInput::Invalid(text) => serde_json::from_str::<Value>(text).is_err(),
            ToolInput::Object(_) => false,
        });
        let input = prop_oneof![4 => object().prop_map(ToolInput::Object), 1 => invalid];
        prop_oneof![
            (".{0,120}", extra()).prop_map(|(text, extra)| Part::Text { text, extra }),
            (".{0,120}", ".{0,9}").prop_map(|(thinking, signature)| Part::Thinking { thinking, signature }),
            ("[a-z0-9_]{1,9}", "[a-z_]{1,9}", input, extra())
                .prop_map(|(id, name, input, extra)| Part::ToolUse(ToolCall { id, name, input, extra })),
            object().prop_map(|mut block| {
                block.insert("type".to_owned(), json!("web_search_tool_result"));
                Part::Other(Value::Object(block))
            }),
        ]
    }

    fn reply() -> impl Strategy<Value = Reply> {
        let stop = prop_oneof![
            Just(StopReason::EndTurn),
            Just(StopReason::MaxTokens),
            Just(StopReason::StopSequence),
            Just(StopReason::ToolUse),
            Just(StopReason::PauseTurn),
            Just(StopReason::Refusal),
            Just(StopReason::ContextWindow),
            Just(StopReason::Other("compaction".to_owned())),
        ];
        let counts = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
        let details = prop::option::of(object().prop_map(Value::Object));
        (prop::collection::vec(part(), 0..5), stop, details, counts).prop_map(
            |(parts, stop, stop_details, (input, output, read, write))| Reply {
                id: "msg_1".to_owned(),
                model: "claude-x".to_owned(),
                parts,
                stop,
                stop_details,
                usage: Usage {
                    input: input.into(),
                    output: output.into(),
                    cache_read: read.into(),
                    cache_write: write.into(),
                    cache_write_1h: (write / 2).into(),
                    server_tool_uses: (write % 9).into(),
                },
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn what_is_spoken_is_heard(reply in reply(), piece in 1usize..40) {
            prop_assert_eq!(hear(&speak(&reply), piece), reply);
        }
    }

    #[test]
    fn it_looks_like_the_servers() {
        let call = ToolCall {
            id: "toolu_1".to_owned(),
            name: "bash".to_owned(),
            input: ToolInput::Object(Map::from_iter([("command".to_owned(), json!("ls"))])),
            extra: Map::new(),
        };
        let reply = Reply {
            id: "msg_1".to_owned(),
            model: "claude-x".to_owned(),
            parts: vec![Part::text("Hi"), Part::ToolUse(call)],
            stop: StopReason::ToolUse,
            stop_details: None,
            usage: Usage { input: 9, output: 7, cache_write: 3, ..Usage::default() },
        };
        let text = String::from_utf8(speak(&reply)).unwrap();
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        assert_eq!(names[..4], ["message_start", "content_block_start", "ping", "content_block_delta"]);
        assert_eq!(names[names.len() - 2..], ["message_delta", "message_stop"]);
        let json = text.lines().filter(|line| line.contains("input_json_delta")).collect::<Vec<_>>();
        assert!(json[0].contains(r#""partial_json":"""#), "{}", json[0]);
        assert!(json.len() > 2);
        assert!(text.lines().any(|line| line.ends_with("  }")));
    }
}
