//! Whether what is spoken is heard, for any reply and any pieces, and whether no event at all makes a decoder fall over.

use proptest::prelude::*;
use runner::chat::{Part, Reply, StopReason, ToolCall, ToolInput, Usage};
use runner::http::Framer;
use serde_json::{Map, Value, json};

use super::{KINDS, Kind};

fn hear(kind: Kind, bytes: &[u8], piece: usize) -> Reply {
    let mut framer = Framer::default();
    let mut decoder = kind.decoder();
    for bytes in bytes.chunks(piece) {
        for event in framer.push(bytes).expect("no event is too large") {
            decoder.event(&event.name, &event.data).expect("it is spoken well");
        }
    }
    decoder.finish().expect("a reply")
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

fn input() -> impl Strategy<Value = ToolInput> {
    let object = prop::collection::btree_map(".{0,6}", json_value(), 0..4);
    let object = object.prop_map(|map| ToolInput::Object(map.into_iter().collect()));
    let broken =
        ".{0,9}".prop_map(|text| ToolInput::Invalid(format!("{{\"a\": \"{}", text.replace('"', ""))));
    prop_oneof![4 => object, 1 => broken]
}

fn reply() -> impl Strategy<Value = Reply> {
    let text = prop::option::of("[^\\s].{0,120}");
    let calls = prop::collection::vec(("[a-z_]{1,9}", input()), 0..4);
    let stops = prop_oneof![
        Just(StopReason::EndTurn),
        Just(StopReason::MaxTokens),
        Just(StopReason::Refusal),
        Just(StopReason::ContextWindow),
    ];
    let counts = (any::<u32>(), any::<u32>(), any::<u32>());
    (text, calls, stops, counts).prop_map(|(text, calls, stop, (input, output, read))| {
        let mut parts: Vec<Part> = text.map(Part::text).into_iter().collect();
        let stop = if stop == StopReason::EndTurn && !calls.is_empty() { StopReason::ToolUse } else { stop };
        for (at, (name, input)) in calls.into_iter().enumerate() {
            parts.push(Part::ToolUse(ToolCall { id: format!("call_{at}"), name, input, extra: Map::new() }));
        }
        Reply {
            id: "r_1".to_owned(),
            model: "m-1".to_owned(),
            parts,
            stop,
            stop_details: None,
            usage: Usage {
                input: input.into(),
                output: output.into(),
                cache_read: read.into(),
                cache_write: 0,
                ..Usage::default()
            },
        }
    })
}

/// An event that looks nearly like one of the format's own.
fn event(kind: Kind) -> impl Strategy<Value = (String, Value)> {
    let kinds = match kind {
        Kind::Chat => vec!["", "error"],
        Kind::Responses => vec![
            "",
            "response.created",
            "response.output_item.added",
            "response.output_item.done",
            "response.output_text.delta",
            "response.function_call_arguments.delta",
            "response.reasoning_text.delta",
            "response.completed",
            "response.incomplete",
            "error",
        ],
    };
    let item = (prop::sample::select(vec!["message", "function_call", "reasoning", "x"]), json_value())
        .prop_map(
            |(kind, value)| json!({"type": kind, "content": [value], "arguments": value, "call_id": value}),
        );
    let any = || prop_oneof![json_value(), Just(json!("x"))];
    (prop::sample::select(kinds), item, any(), any(), 0u64..3).prop_map(|(kind, item, one, other, index)| {
        let call = json!({"index": one, "id": other, "function": {"name": one, "arguments": other}});
        let delta = json!({"content": one, "tool_calls": [call, other], "reasoning_details": [one, item]});
        let data = json!({
            "type": kind, "output_index": index, "item": item, "delta": other,
            "response": {"output": [item], "usage": one, "incomplete_details": other},
            "choices": [{"index": 0, "delta": delta, "finish_reason": one}, other], "usage": item,
        });
        (kind.to_owned(), data)
    })
}

fn survives(kind: Kind, events: &[(String, Value)]) {
    let mut decoder = kind.decoder();
    for (name, data) in events {
        if decoder.event(name, &data.to_string()).is_err() {
            return;
        }
    }
    // Whatever comes of it, it is a reply or an error.
    drop(decoder.finish());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_spoken_is_heard(reply in reply(), piece in 1usize..40) {
        for kind in KINDS {
            prop_assert_eq!(hear(kind, &kind.provider().speak(&reply), piece), reply.clone(), "{:?}", kind);
        }
    }

    #[test]
    fn no_chunk_is_too_odd(events in prop::collection::vec(event(Kind::Chat), 1..6)) {
        survives(Kind::Chat, &events);
    }

    #[test]
    fn no_event_is_too_odd(events in prop::collection::vec(event(Kind::Responses), 1..6)) {
        survives(Kind::Responses, &events);
    }
}
