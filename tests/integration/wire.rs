//! Whether recorded and made streams decode to the right reply, however the network cuts them.
//!
//! What clients of the Messages API are known to have got wrong, and the test that holds it here (those of the other two
//! formats are in `openai/streams.rs`):
//!
//! | mistake | test |
//! |---|---|
//! | no branch for `error` events: a silently shortened reply | [`an_error_event_is_an_error_and_no_short_reply`] |
//! | an error without a status of its own is not tried again, or shown as an object | [`an_error_event_is_tried_again_and_keeps_its_words`] |
//! | the end of the stream without `message_stop` is a success | [`the_end_of_a_stream_without_message_stop_is_a_broken_transport`] |
//! | reading ends at `message_delta`: an open call is lost | [`a_call_that_is_open_at_the_stop_reason_is_not_lost`] |
//! | a call that was cut is run, or dropped unseen | [`a_truncated_call_is_kept_but_may_not_run`], `session.rs`: `calls_of_a_cut_or_refused_reply_are_not_run` |
//! | each piece of the arguments is parsed alone, or the empty one | [`arguments_are_parsed_once_when_all_pieces_are_there`] |
//! | cumulative usage is added up | [`cumulative_usage_is_not_added_up`] |
//! | an unknown event, or one before `message_start`, is a crash | [`unknown_events_also_before_the_message_are_survived`] |
//! | U+2028 ends a line; a character is cut in two by the network | [`unicode_separators_end_no_line_and_characters_survive_any_cut`] |
//! | blocks are told apart by arrival | [`blocks_are_told_apart_by_index_not_by_arrival`] |
//! | fields of `message_delta` are dropped | [`fields_of_message_delta_are_not_dropped`], [`the_container_of_a_reply_is_kept`], `anthropic/encode.rs`: `the_container_of_the_last_reply_is_named_and_is_no_block` |
//! | results go back in the order in which they came | `session.rs`: `results_come_back_in_block_order_whatever_ends_first` |
//! | a call has no result after an interrupt | `anthropic/transcript.rs`: `a_missing_result_after_an_interrupt_is_made_up` |
//! | two messages in one body are one | [`two_messages_in_one_body_are_nonsense`] |
//!
//! The framing of events is held by the tests of `src/http/sse.rs`:
//!
//! | rule | test |
//! |---|---|
//! | lines end at LF, CR or CRLF, and several `data` lines are joined | `lines_end_at_lf_cr_and_crlf` |
//! | U+2028, U+2029 and U+0085 end none | `unicode_line_ends_are_text` |
//! | one space after the colon is stripped, and only one; comments, `id` and `retry` are skipped | `comments_ids_and_unknown_fields_are_skipped` |
//! | a blank line dispatches; a name without data is no event | `a_name_without_data_is_no_event_and_does_not_leak` |
//! | an event that no blank line ends is dropped | `an_unterminated_last_event_is_dropped` |
//! | UTF-8 is read by the line, never by the piece | `any_split_gives_the_same_events` |
//! | a byte order mark is allowed at the start | `a_byte_order_mark_is_allowed_once` |
//!
//! That these names are those of tests is held by [`every_mistake_has_its_test`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runner::chat::{Part, Reply, StopReason, ToolInput};
use runner::http::{Framer, SseEvent};
use runner::plan::ModuleSpec;
use runner::provider::anthropic::Anthropic;
use runner::provider::{CallError, ErrorClass, Provider};
use runner::source::{Place, Route, SourceId};
use serde_json::{Map, Value, json};

const ODD_SIZES: [usize; 7] = [1, 5, 2, 13, 3, 8, 21];

fn provider() -> Arc<dyn Provider> {
    let spec = ModuleSpec {
        module: "provider-anthropic".to_owned(),
        config: Map::new(),
        instance_id: None,
        place: Place::value(SourceId(0), Route::root()),
    };
    Anthropic::build(&spec, &[].into(), None).expect("the defaults are right")
}

fn frame<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<SseEvent> {
    let mut framer = Framer::default();
    pieces.into_iter().flat_map(|piece| framer.push(piece).expect("no event is too large")).collect()
}

fn decode(events: &[SseEvent]) -> Result<Reply, CallError> {
    let mut decoder = provider().decoder();
    for event in events {
        decoder.event(&event.name, &event.data)?;
    }
    decoder.finish()
}

fn in_odd_pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    for size in ODD_SIZES.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// Bodies up to this size are cut at every offset as a whole; of larger ones, each two neighbouring events are.
const CUT_WHOLE_BYTES: usize = 4 * 1024;

/// Decodes a body whole, and checks that every way of cutting it gives the same. A decoder sees nothing but events, so
/// where the cut moves through the body it is enough that the events are equal.
fn decode_however_cut(name: &str, bytes: &[u8]) -> Result<Reply, CallError> {
    let outcome = decode(&frame([bytes]));
    for (how, pieces) in [("byte by byte", bytes.chunks(1).collect()), ("odd pieces", in_odd_pieces(bytes))] {
        assert_eq!(decode(&frame(pieces)), outcome, "{name}: {how}");
    }
    for part in parts_to_cut(bytes) {
        let events = frame([part]);
        for at in 0..=part.len() {
            assert!(
                frame([&part[..at], &part[at..]]) == events,
                "{name}: cut at {at} of {} bytes",
                part.len()
            );
        }
    }
    outcome
}

/// The body, or each two neighbouring events of a large one: a framer starts anew after each blank line.
fn parts_to_cut(bytes: &[u8]) -> Vec<&[u8]> {
    if bytes.len() <= CUT_WHOLE_BYTES {
        return vec![bytes];
    }
    let ends = bytes.windows(2).enumerate().filter(|(_, pair)| *pair == b"\n\n").map(|(at, _)| at + 2);
    let starts: Vec<usize> = std::iter::once(0).chain(ends).chain([bytes.len()]).collect();
    starts.windows(3).map(|three| &bytes[three[0]..three[2]]).collect()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inputs/sse")
}

fn streams_in(folder: &Path, suffix: &str) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(suffix)?.to_owned();
            Some((name, path))
        })
        .collect();
    found.sort();
    found
}

/// What a fixture decodes to.
fn outcome(name: &str) -> Result<Reply, CallError> {
    let bytes = fs::read(fixtures().join(format!("{name}.sse"))).expect("the fixture is there");
    decode_however_cut(name, &bytes)
}

fn reply(name: &str) -> Reply {
    outcome(name).expect("the fixture is a whole reply")
}

fn failure(name: &str) -> CallError {
    outcome(name).expect_err("the fixture is no whole reply")
}

#[test]
fn every_fixture_decodes_as_it_says() {
    let streams = streams_in(&fixtures(), ".sse");
    assert!(streams.len() > 20, "only {} fixtures were found", streams.len());
    for (name, path) in streams {
        let expected = fs::read_to_string(path.with_file_name(format!("{name}.expect.json")));
        let expected: Value = serde_json::from_str(&expected.expect("each stream has its expectation"))
            .expect("an expectation is JSON");
        let got = match outcome(&name) {
            Ok(reply) => json!({"ok": reply}),
            Err(error) => json!({"error": error}),
        };
        assert_eq!(got, expected["expect"], "{name}");
    }
}

#[test]
fn every_fixture_that_is_a_reply_is_spoken_so_that_it_decodes_to_itself() {
    for (name, _) in streams_in(&fixtures(), ".sse") {
        if let Ok(reply) = outcome(&name) {
            assert_eq!(decode(&frame([&provider().speak(&reply)[..]])), Ok(reply), "{name}");
        }
    }
}

#[test]
fn an_error_event_is_an_error_and_no_short_reply() {
    assert_eq!(failure("error-event").class, ErrorClass::Overloaded);
    assert_eq!(failure("error-event-first").class, ErrorClass::RateLimit);
}

#[test]
fn an_error_event_is_tried_again_and_keeps_its_words() {
    for (name, words) in [("error-event", "Overloaded"), ("error-event-first", "rate_limit_error")] {
        let error = failure(name);
        assert!(error.message.contains(words), "{name}: {}", error.message);
        assert_eq!(error.status, None, "the response began with 200, and that says nothing of the error");
        assert!(provider().retry().delay(1, &error, 0.5).is_some(), "{name} is tried again");
    }
}

#[test]
fn the_end_of_a_stream_without_message_stop_is_a_broken_transport() {
    for name in ["cut-in-event", "cut-after-stop-reason", "cut-before-last-blank-line", "nothing"] {
        assert_eq!(failure(name).class, ErrorClass::Transport, "{name}");
    }
}

#[test]
fn a_call_that_is_open_at_the_stop_reason_is_not_lost() {
    assert_eq!(reply("stop-reason-before-call-ends").calls().len(), 1);
    assert_eq!(failure("open-at-the-end").class, ErrorClass::Protocol);
}

#[test]
fn a_truncated_call_is_kept_but_may_not_run() {
    let reply = reply("truncated-call");
    assert_eq!(reply.stop, StopReason::MaxTokens);
    assert!(!reply.stop.allows_tools());
    assert!(matches!(&reply.calls()[0].input, ToolInput::Invalid(text) if text.ends_with("half a")));
}

#[test]
fn arguments_are_parsed_once_when_all_pieces_are_there() {
    assert!(matches!(reply("arguments-split-in-escapes").calls()[0].input, ToolInput::Object(_)));
    for call in reply("no-arguments").calls() {
        assert_eq!(call.input, ToolInput::Object(Map::new()));
    }
}

#[test]
fn cumulative_usage_is_not_added_up() {
    let usage = reply("usage-replaces").usage;
    assert_eq!((usage.input, usage.output, usage.cache_read, usage.cache_write), (2_411, 9, 3, 4));
}

#[test]
fn unknown_events_also_before_the_message_are_survived() {
    let reply = reply("unknown-kinds");
    assert_eq!(reply.text(), "x");
    assert_eq!(reply.stop, StopReason::Other("hibernate".to_owned()));
}

#[test]
fn unicode_separators_end_no_line_and_characters_survive_any_cut() {
    assert_eq!(reply("separators").text(), "a\u{2028}b\u{85}c 東京 👋 é");
}

#[test]
fn blocks_are_told_apart_by_index_not_by_arrival() {
    let texts: Vec<_> = reply("blocks-by-index").parts.into_iter().take(2).collect();
    assert_eq!(texts, [Part::text("a"), Part::text("bB")]);
}

#[test]
fn fields_of_message_delta_are_not_dropped() {
    let reply = reply("refusal-with-details");
    assert_eq!(reply.stop_details.expect("the details are kept")["category"], "cyber");
    assert_eq!((reply.usage.input, reply.usage.cache_read), (18, 7));
}

#[test]
fn the_container_of_a_reply_is_kept() {
    let reply = reply("container");
    assert!(matches!(&reply.parts[1], Part::Other(place) if place["id"] == "container_1"), "{reply:?}");
    assert_eq!(reply.text(), "x");
}

#[test]
fn every_mistake_has_its_test() {
    let sources = [
        include_str!("wire.rs"),
        include_str!("session.rs"),
        include_str!("../../src/http/sse.rs"),
        include_str!("../../src/provider/anthropic/transcript.rs"),
        include_str!("../../src/provider/anthropic/encode.rs"),
    ];
    let rows = sources[0].lines().filter(|line| line.starts_with("//! |") && line.contains('`'));
    let mut named = 0;
    for cell in rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next()) {
        for name in cell.split('`').skip(1).step_by(2).filter(|name| !name.contains('.')) {
            let test = format!("fn {name}(");
            assert!(sources.iter().any(|source| source.contains(&test)), "no test is called {name}");
            named += 1;
        }
    }
    assert!(named > 20, "only {named} tests are named");
}

#[test]
fn two_messages_in_one_body_are_nonsense() {
    assert_eq!(failure("two-messages").class, ErrorClass::Protocol);
}

/// Bodies where the SDK that made the expectations is known to be lenient.
const BROKEN: [(&str, ErrorClass); 2] =
    [("made_cut_mid_event", ErrorClass::Transport), ("made_error_mid_stream", ErrorClass::Overloaded)];

/// Bodies written by hand whose last blank line is missing: by the rules of the format their last event is dropped.
const WITHOUT_LAST_BLANK_LINE: [&str; 2] = ["sdk_fallback_block", "sdk_refusal_after_text"];

#[test]
fn the_corpus_decodes_as_the_official_sdk_reads_it() {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its caller where the corpus is")]
    let given = std::env::var("RUNNER_SSE_CORPUS").ok().map(PathBuf::from);
    let Some(folder) = given else {
        println!("skipped: no corpus; RUNNER_SSE_CORPUS names its folder");
        return;
    };
    let streams = streams_in(&folder, ".anthropic.sse");
    assert!(!streams.is_empty(), "no streams in {}", folder.display());
    for (name, path) in streams {
        let mut body = fs::read(&path).expect("the stream can be read");
        if WITHOUT_LAST_BLANK_LINE.contains(&name.as_str()) {
            let cut = decode_however_cut(&name, &body).expect_err("the last event is unterminated");
            assert_eq!(cut.class, ErrorClass::Transport, "{name}");
            body.push(b'\n');
        }
        let outcome = decode_however_cut(&name, &body);
        if let Some((_, class)) = BROKEN.iter().find(|(broken, _)| *broken == name) {
            assert_eq!(outcome.expect_err("the stream is broken").class, *class, "{name}");
            continue;
        }
        let reply = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        let oracle = fs::read(path.with_file_name(format!("{name}.expect.json"))).expect("an expectation");
        let oracle: Value = serde_json::from_slice(&oracle).expect("an expectation is JSON");
        assert_eq!(as_the_sdk_says(&reply), without_nulls(comparable(&oracle["message"])), "{name}");
        assert_eq!(decode(&frame([&provider().speak(&reply)[..]])), Ok(reply), "{name}: spoken");
    }
}

/// The fields of the SDK's message that a reply has.
fn comparable(message: &Value) -> Value {
    let usage = &message["usage"];
    json!({
        "id": message["id"],
        "model": message["model"],
        "content": message["content"],
        "stop_reason": message["stop_reason"],
        "stop_details": message["stop_details"],
        "usage": [
            usage["input_tokens"],
            usage["output_tokens"],
            usage["cache_read_input_tokens"].as_u64().unwrap_or(0),
            usage["cache_creation_input_tokens"].as_u64().unwrap_or(0),
        ],
    })
}

fn as_the_sdk_says(reply: &Reply) -> Value {
    let content: Vec<Value> = reply.parts.iter().map(as_a_block).collect();
    let stop = serde_json::to_value(&reply.stop).expect("a stop reason is JSON");
    let usage = reply.usage;
    without_nulls(json!({
        "id": reply.id,
        "model": reply.model,
        "content": content,
        "stop_reason": stop,
        "stop_details": reply.stop_details,
        "usage": [usage.input, usage.output, usage.cache_read, usage.cache_write],
    }))
}

fn as_a_block(part: &Part) -> Value {
    let with = |extra: &Map<String, Value>, mut block: Value| {
        for (key, value) in extra {
            block[key] = value.clone();
        }
        block
    };
    match part {
        Part::Text { text, extra } => with(extra, json!({"type": "text", "text": text})),
        Part::Thinking { thinking, signature } => {
            json!({"type": "thinking", "thinking": thinking, "signature": signature})
        }
        Part::ToolUse(call) => {
            let input = match &call.input {
                ToolInput::Object(input) => Value::Object(input.clone()),
                ToolInput::Invalid(text) => json!(text),
            };
            with(&call.extra, json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}))
        }
        Part::ToolResult(_) => panic!("a reply holds no tool result"),
        Part::Other(block) => block.clone(),
    }
}

/// `null` and absent are one thing to this API.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        scalar => scalar,
    }
}
