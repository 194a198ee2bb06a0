//! Whether made streams, one for each odd thing that servers do, decode to the right reply, however they are cut.

use std::path::{Path, PathBuf};

use runner::chat::{Part, Reply, StopReason, ToolInput};
use runner::provider::{CallError, ErrorClass};
use serde_json::{Value, json};

use super::{KINDS, Kind, decode, decode_however_cut, frame};

fn folder(kind: Kind) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inputs/sse").join(kind.name())
}

fn names(kind: Kind) -> Vec<String> {
    let entries = std::fs::read_dir(folder(kind)).expect("the folder can be read");
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.expect("the folder can be listed").file_name();
            Some(name.to_str()?.strip_suffix(".sse")?.to_owned())
        })
        .collect();
    names.sort();
    names
}

fn outcome(kind: Kind, name: &str) -> Result<Reply, CallError> {
    let bytes = std::fs::read(folder(kind).join(format!("{name}.sse"))).expect("the fixture is there");
    decode_however_cut(kind, name, &bytes)
}

fn chat(name: &str) -> Reply {
    outcome(Kind::Chat, name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn responses(name: &str) -> Reply {
    outcome(Kind::Responses, name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn failure(kind: Kind, name: &str) -> ErrorClass {
    outcome(kind, name).expect_err("the fixture is no whole reply").class
}

/// `name {"arguments"}` a call.
fn calls(reply: &Reply) -> Vec<String> {
    let line = |call: runner::chat::ToolCall| match call.input {
        ToolInput::Object(input) => format!("{} {}", call.name, Value::Object(input)),
        ToolInput::Invalid(text) => format!("{} invalid {text}", call.name),
    };
    reply.calls().into_iter().map(line).collect()
}

#[test]
fn every_fixture_decodes_as_it_says() {
    for kind in KINDS {
        let names = names(kind);
        assert!(names.len() > 20, "only {} fixtures of {kind:?} were found", names.len());
        for name in names {
            let path = folder(kind).join(format!("{name}.expect.json"));
            let expected = std::fs::read_to_string(&path).expect("each stream has its expectation");
            let expected: Value = serde_json::from_str(&expected).expect("an expectation is JSON");
            let got = match outcome(kind, &name) {
                Ok(reply) => json!({"ok": reply}),
                Err(error) => json!({"error": error}),
            };
            assert_eq!(got, expected["expect"], "{kind:?} {name}");
        }
    }
}

#[test]
fn every_fixture_that_is_a_reply_is_spoken_so_that_it_decodes_to_itself() {
    for kind in KINDS {
        for name in names(kind) {
            if let Ok(reply) = outcome(kind, &name) {
                let spoken = kind.provider().speak(&reply);
                assert_eq!(decode(kind, &frame([&spoken[..]])), Ok(reply), "{kind:?} {name}");
            }
        }
    }
}

#[test]
fn an_error_that_is_asked_for_is_one() {
    for kind in KINDS {
        for (word, class) in [
            ("server_error", ErrorClass::Server),
            ("overloaded_error", ErrorClass::Overloaded),
            ("rate_limit_exceeded", ErrorClass::RateLimit),
            ("insufficient_quota", ErrorClass::Billing),
            ("something_else", ErrorClass::Server),
        ] {
            let spoken = kind.provider().speak_error(word);
            let error = decode(kind, &frame([&spoken[..]])).expect_err("an error");
            assert_eq!(error.class, class, "{kind:?} {word}");
        }
    }
}

// ---------------------------------------------------------------- what clients got wrong

#[test]
fn an_error_in_the_stream_is_an_error_and_no_short_reply() {
    assert_eq!(failure(Kind::Chat, "error-chunk"), ErrorClass::RateLimit);
    assert_eq!(failure(Kind::Chat, "error-event"), ErrorClass::Server);
    assert_eq!(failure(Kind::Chat, "tool-use-failed"), ErrorClass::Server);
    assert_eq!(failure(Kind::Chat, "finish-error"), ErrorClass::Server);
    assert_eq!(failure(Kind::Responses, "error-nested"), ErrorClass::Billing);
    assert_eq!(failure(Kind::Responses, "error-flat"), ErrorClass::RateLimit);
    assert_eq!(failure(Kind::Responses, "failed"), ErrorClass::Server);
}

#[test]
fn a_reply_that_breaks_off_tells_what_was_used_for_it() {
    let counts = json!({"prompt_tokens": 20, "completion_tokens": 9});
    let chunk = json!({"error": {"message": "m", "code": 500}, "choices": [], "usage": counts});
    let counts = json!({"input_tokens": 20, "output_tokens": 9});
    let failed = json!({"type": "response.failed", "response": {"usage": counts, "error": {"message": "m"}}});
    for (kind, data) in [(Kind::Chat, chunk), (Kind::Responses, failed)] {
        let mut decoder = kind.decoder();
        assert!(decoder.event("", &data.to_string()).is_err(), "{kind:?}");
        assert_eq!((decoder.used().input, decoder.used().output), (20, 9), "{kind:?}");
    }
}

#[test]
fn the_end_of_a_stream_before_the_end_of_the_reply_is_a_broken_transport() {
    for name in ["cut", "cut-in-chunk", "nothing"] {
        assert_eq!(failure(Kind::Chat, name), ErrorClass::Transport, "{name}");
    }
    assert_eq!(failure(Kind::Responses, "cut"), ErrorClass::Transport);
    assert_eq!(failure(Kind::Chat, "only-done"), ErrorClass::Protocol);
    assert_eq!(failure(Kind::Responses, "open-at-the-end"), ErrorClass::Protocol);
}

#[test]
fn a_missing_end_mark_takes_nothing_from_a_finished_reply() {
    let reply = chat("no-counts-no-done");
    assert_eq!((reply.text().as_str(), reply.stop), ("Hi", StopReason::EndTurn));
    assert_eq!(reply.usage, runner::chat::Usage::default());
}

#[test]
fn reading_does_not_stop_at_the_finish_reason() {
    assert_eq!(calls(&chat("calls-after-finish")), ["t {\"a\":1}"]);
    assert_eq!(calls(&chat("call-in-finish-chunk")), ["t {\"a\":1}"]);
    assert_eq!(chat("content-in-finish-chunk").text(), "Hi");
    assert_eq!(chat("finish-twice").usage.output, 9);
}

#[test]
fn a_chunk_without_choices_is_no_crash() {
    assert_eq!(chat("empty-first-choices").text(), "Hi");
    assert_eq!(chat("nulls-everywhere").text(), "Hi");
}

#[test]
fn cumulative_counts_are_not_added_up() {
    for reply in [chat("counts-in-every-chunk"), chat("text"), responses("text")] {
        let usage = reply.usage;
        assert_eq!((usage.input, usage.cache_read, usage.output), (17, 3, 9));
    }
}

#[test]
fn a_truncated_call_is_kept_but_may_not_run() {
    for reply in [chat("truncated-call"), responses("incomplete")] {
        assert_eq!(reply.stop, StopReason::MaxTokens);
        assert!(!reply.stop.allows_tools());
        assert!(calls(&reply)[0].starts_with("t invalid {\"a\": \"ha"), "{:?}", calls(&reply));
    }
}

#[test]
fn the_finish_reason_does_not_decide_whether_there_are_calls() {
    assert_eq!(chat("finish-stop-after-calls").stop, StopReason::ToolUse);
    assert_eq!(chat("unknown-finish").stop, StopReason::Other("hibernate".to_owned()));
}

#[test]
fn arguments_are_parsed_once_when_all_pieces_are_there() {
    assert_eq!(calls(&chat("arguments-split-in-escapes")), ["t {\"a\":\"é \\\"\\n東\"}"]);
    assert_eq!(calls(&chat("no-arguments")), ["t {}", "u {}"]);
    assert_eq!(calls(&responses("call-without-arguments")), ["t {}", "t invalid {\"a\": "]);
}

#[test]
fn arguments_that_are_sent_again_are_not_doubled() {
    assert_eq!(calls(&chat("arguments-sent-again")), ["t {\"a\":1}"]);
}

#[test]
fn calls_are_told_apart_whatever_they_are_numbered_by() {
    assert_eq!(calls(&chat("index-always-0")), ["t {\"a\":1}", "t {\"a\":2}"]);
    assert_eq!(calls(&chat("no-index")), ["t {\"a\":1}", "u {}"]);
    assert_eq!(calls(&chat("no-ids")), ["t {\"a\":1}", "t {\"a\":2}"]);
    assert_eq!(calls(&chat("parallel-interleaved")), ["t {\"a\":1}", "u {\"b\":2}"]);
    assert_eq!(calls(&responses("parallel-calls")), ["t {\"a\":1}", "u {\"b\":2}"]);
    let ids: Vec<_> = chat("no-ids").calls().into_iter().map(|call| call.id).collect();
    assert!(ids[0] != ids[1] && ids.iter().all(|id| !id.is_empty()), "{ids:?}");
}

#[test]
fn names_and_ids_that_are_repeated_or_split_are_put_together() {
    let repeated = chat("id-and-name-repeated").calls().remove(0);
    assert_eq!((repeated.id.as_str(), repeated.name.as_str()), ("call_1", "run"));
    assert_eq!(chat("name-split").calls()[0].name, "run_it");
}

#[test]
fn of_several_answers_the_first_is_the_reply() {
    let reply = chat("two-choices");
    assert_eq!((reply.text().as_str(), reply.stop), ("yes", StopReason::EndTurn));
}

#[test]
fn a_refusal_is_one_whichever_way_it_is_said() {
    for reply in [chat("refusal"), responses("refusal")] {
        assert_eq!(reply.stop, StopReason::Refusal);
        assert_eq!(reply.stop_details.expect("its words")["refusal"], "I will not.");
    }
    assert_eq!(chat("content-filter").stop, StopReason::Refusal);
    assert_eq!(responses("content-filter").stop, StopReason::Refusal);
}

#[test]
fn items_count_as_their_own_end_gives_them() {
    let reply = responses("empty-output-at-the-end");
    assert_eq!(calls(&reply), ["t {\"a\":1}"]);
    assert!(matches!(&reply.parts[0], Part::Other(item) if item["encrypted_content"] == "sealed"));
    assert_eq!(responses("only-the-end").text(), "Hi");
    assert_eq!(responses("incomplete-text").text(), "So fa");
}

#[test]
fn unknown_events_and_items_are_survived_and_kept() {
    let reply = responses("unknown-kinds");
    assert_eq!(reply.text(), "x");
    assert!(matches!(&reply.parts[0], Part::Other(item) if item["data"] == json!([1])));
    assert_eq!(chat("extra-content").calls()[0].extra["extra_content"]["google"]["thought_signature"], "s");
}

#[test]
fn streams_without_names_or_beginnings_are_read() {
    assert_eq!(responses("no-names").text(), "4");
    assert_eq!(responses("resumed").text(), "4");
}

#[test]
fn data_that_is_no_json_is_not_passed_over() {
    for kind in KINDS {
        assert_eq!(failure(kind, "no-json"), ErrorClass::Protocol, "{kind:?}");
    }
}

#[test]
fn two_responses_in_one_body_are_nonsense() {
    assert_eq!(failure(Kind::Responses, "two-responses"), ErrorClass::Protocol);
}

#[test]
fn unicode_separators_end_no_line_and_characters_survive_any_cut() {
    assert_eq!(chat("text").text(), "Grüße aus 東京 👋\u{2028}");
}

#[test]
fn reasoning_is_no_text_and_its_structured_form_is_put_together() {
    let reply = chat("reasoning-details");
    assert_eq!(reply.text(), "Hi");
    assert!(matches!(&reply.parts[0], Part::Thinking { thinking, .. } if thinking == "Let me see."));
    let Part::Other(details) = &reply.parts[1] else { panic!("{:?}", reply.parts) };
    assert_eq!(details["reasoning_details"][0]["text"], "Let me see.");
    assert_eq!(details["reasoning_details"][0]["signature"], "seal");
    assert_eq!(chat("reasoning-content").parts.len(), 2);
    assert_eq!(chat("content-blocks").text(), "Hi");
}
