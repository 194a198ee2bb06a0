//! Whether recorded streams of many servers decode to what the official SDK makes of them.

use std::path::{Path, PathBuf};

use runner::chat::{Part, Reply, StopReason, ToolInput};
use runner::provider::ErrorClass;
use serde_json::{Value, json};

use super::{KINDS, Kind, decode, decode_however_cut, frame};

/// Bodies that hold no reply, and why.
const FAILURES: [(&str, ErrorClass); 3] = [
    ("pai_openrouter_error_chunk", ErrorClass::Request),
    ("vercel_resp_error_failed", ErrorClass::Billing),
    ("vercel_resp_parallel_wrapper_badjson", ErrorClass::Protocol),
];

/// Where the SDK itself reads a body wrongly: it joins arguments that were sent twice.
const MISREAD: [&str; 1] = ["vllm_glm47_args_resent"];

fn streams(folder: &Path, kind: Kind) -> Vec<(String, PathBuf)> {
    let suffix = format!(".{}.sse", kind.name());
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(&suffix)?.to_owned();
            Some((name, path))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn the_corpus_decodes_as_the_official_sdk_reads_it() {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its caller where the corpus is")]
    let given = std::env::var("RUNNER_SSE_CORPUS").ok().map(PathBuf::from);
    let Some(folder) = given else {
        println!("skipped: no corpus; RUNNER_SSE_CORPUS names its folder");
        return;
    };
    for kind in KINDS {
        let streams = streams(&folder, kind);
        assert!(streams.len() >= 5, "few streams of {kind:?} in {}", folder.display());
        for (name, path) in streams {
            judge(kind, &name, &path);
        }
    }
}

fn judge(kind: Kind, name: &str, path: &Path) {
    let mut body = std::fs::read(path).expect("the stream can be read");
    if !body.ends_with(b"\n\n") {
        // Some recorders drop the last line feed.
        body.extend_from_slice(b"\n\n");
    }
    let outcome = decode_however_cut(kind, name, &body);
    if let Some((_, class)) = FAILURES.iter().find(|(broken, _)| *broken == name) {
        assert_eq!(outcome.expect_err("the stream holds no reply").class, *class, "{name}");
        return;
    }
    let reply = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(
        decode(kind, &frame([&kind.provider().speak(&reply)[..]])),
        Ok(reply.clone()),
        "{name}: spoken"
    );
    let oracle = std::fs::read(path.with_file_name(format!("{name}.expect.json"))).expect("an expectation");
    let oracle: Value = serde_json::from_slice(&oracle).expect("an expectation is JSON");
    if MISREAD.contains(&name) {
        let calls = reply.calls();
        assert!(calls.iter().all(|call| matches!(call.input, ToolInput::Object(_))), "{name}: {calls:?}");
        assert_eq!(calls.len(), 2, "{name}");
        return;
    }
    let expected = match kind {
        Kind::Chat => completion(&oracle["completion"]),
        Kind::Responses => response(&oracle["response"]),
    };
    assert_eq!(as_the_sdk_says(&reply), expected, "{name}");
}

/// The fields of the SDK's completion that a reply has.
fn completion(oracle: &Value) -> Value {
    let choice = &oracle["choices"][0];
    let message = &choice["message"];
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let calls: Vec<Value> = calls
        .map(|call| {
            // A piece that follows with an empty name is no part of it.
            let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
            let input = serde_json::from_str(arguments).unwrap_or_else(|_| json!(arguments));
            json!([call["id"], call["function"]["name"], input])
        })
        .collect();
    let stop = match choice["finish_reason"].as_str() {
        _ if message["refusal"].is_string() => "refusal",
        Some("length") => "max_tokens",
        _ if !calls.is_empty() => "tool_use",
        _ => "end_turn",
    };
    let usage = &oracle["usage"];
    let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
    json!({
        "model": oracle["model"],
        "text": message["content"].as_str().unwrap_or_default(),
        "calls": calls,
        "refusal": message["refusal"],
        "stop": stop,
        "usage": [usage["prompt_tokens"], cached, usage["completion_tokens"]],
    })
}

/// The fields of the SDK's response that a reply has.
fn response(oracle: &Value) -> Value {
    let items = || oracle["output"].as_array().into_iter().flatten();
    let of = |kind: &'static str| items().filter(move |item| item["type"] == kind);
    let texts: Vec<&str> = of("message")
        .flat_map(|item| item["content"].as_array().into_iter().flatten())
        .filter_map(|content| content["text"].as_str())
        .collect();
    let calls: Vec<Value> =
        of("function_call").map(|call| json!([call["call_id"], call["name"], call["arguments"]])).collect();
    let usage = &oracle["usage"];
    json!({
        "model": oracle["model"],
        "text": texts.join("\n\n"),
        "stop": if calls.is_empty() { "end_turn" } else { "tool_use" },
        "calls": calls,
        "refusal": null,
        "usage": [usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"], usage["output_tokens"]],
    })
}

fn as_the_sdk_says(reply: &Reply) -> Value {
    let calls: Vec<Value> = reply
        .calls()
        .into_iter()
        .map(|call| match call.input {
            ToolInput::Object(input) => json!([call.id, call.name, input]),
            ToolInput::Invalid(text) => json!([call.id, call.name, text]),
        })
        .collect();
    if let Some(Part::ToolResult(result)) =
        reply.parts.iter().find(|part| matches!(part, Part::ToolResult(_)))
    {
        panic!("a reply holds no tool result: {result:?}");
    }
    let stop = match &reply.stop {
        StopReason::Refusal => json!("refusal"),
        stop => serde_json::to_value(stop).expect("a stop reason is JSON"),
    };
    let usage = reply.usage;
    json!({
        "model": reply.model,
        "text": reply.text(),
        "calls": calls,
        "refusal": reply.stop_details.as_ref().map(|details| details["refusal"].clone()),
        "stop": stop,
        "usage": [usage.total_input(), usage.cache_read, usage.output],
    })
}
