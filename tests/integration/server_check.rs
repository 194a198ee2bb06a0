//! Does the test server speak and refuse as the real one does? A plain HTTP client asks it.

use std::collections::BTreeSet;
use std::sync::Once;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server::brain::{self, Answer, Asked, Fault, Gate, Part, Usage};
use crate::server::{AnthropicServer, Chunking, KEY, Outcome};

const TRICKY: &str = "Größe: \"10\\n\" → 東京 🦀 \u{2028} end";

fn client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().ok();
    });
    Client::builder().no_proxy().build().expect("a client needs nothing but a provider")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn question(text: &str) -> Value {
    json!({
        "model": "claude-opus-4-5", "max_tokens": 1000, "stream": true,
        "messages": [{"role": "user", "content": text}],
    })
}

/// Sends a body with the usual headers; gives out status and text. A body that breaks is an error.
async fn ask(server: &AnthropicServer, body: &Value) -> reqwest::Result<(u16, String)> {
    ask_with(server, body, &[("x-api-key", KEY), ("anthropic-version", "2023-06-01")]).await
}

async fn ask_with(
    server: &AnthropicServer,
    body: &Value,
    headers: &[(&str, &str)],
) -> reqwest::Result<(u16, String)> {
    let mut request = client().post(format!("{}/v1/messages", server.url())).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}

/// The events of a stream as (name, data).
fn events(stream: &str) -> Vec<(String, Value)> {
    stream
        .split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').expect("an event has two lines");
            let name = name.strip_prefix("event: ").expect("the first line is the name");
            let data = data.strip_prefix("data: ").expect("the second line is the data");
            (name.to_owned(), serde_json::from_str(data).expect("the data is JSON"))
        })
        .collect()
}

fn joined(events: &[(String, Value)], index: usize, field: &str) -> String {
    let deltas = events.iter().filter(|(name, data)| name == "content_block_delta" && data["index"] == index);
    deltas.filter_map(|(_, data)| data["delta"][field].as_str()).collect()
}

fn every_kind() -> Answer {
    Answer::new(vec![
        Part::Thinking { text: "Überlegung".to_owned(), signature: "c2VhbA==".to_owned() },
        Part::Text(TRICKY.to_owned()),
        Part::ToolUse { name: "write_file".to_owned(), input: json!({"content": TRICKY, "n": 1}) },
        Part::ToolUse { name: "list".to_owned(), input: json!({}) },
        Part::Whole(json!({"type": "redacted_thinking", "data": "eA=="})),
    ])
    .usage(Usage { input: 3, output: 70, cache_read: 20, cache_write: 10 })
}

#[test]
fn streams_every_kind_of_block_as_the_real_one() {
    let server = AnthropicServer::start(brain::brain(|_| every_kind()));
    let (status, text) = runtime().block_on(ask(&server, &question("hello"))).unwrap();
    assert_eq!(status, 200);
    let events = events(&text);
    for (name, data) in &events {
        assert_eq!(data["type"], **name);
    }
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..3], ["message_start", "content_block_start", "ping"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(joined(&events, 0, "thinking"), "Überlegung");
    assert_eq!(joined(&events, 0, "signature"), "c2VhbA==");
    assert_eq!(joined(&events, 1, "text"), TRICKY);
    let input: Value = serde_json::from_str(&joined(&events, 2, "partial_json")).unwrap();
    assert_eq!(input, json!({"content": TRICKY, "n": 1}));
    assert_eq!(joined(&events, 3, "partial_json"), "");
    let first_input = events.iter().find(|(_, data)| data["delta"]["type"] == "input_json_delta").unwrap();
    assert_eq!(first_input.1["delta"]["partial_json"], "");
    let (_, closing) = &events[events.len() - 2];
    assert_eq!(closing["delta"]["stop_reason"], "tool_use");
    assert_eq!(closing["usage"]["output_tokens"], 70);
    assert_eq!(closing["usage"]["cache_read_input_tokens"], 20);
    assert!(text.contains("  }\n\n"), "some event is padded with spaces");
    assert_eq!(server.requests()[0].outcome, Outcome::Answered);
}

#[test]
fn sends_headers_first_and_no_length() {
    let gate = Gate::closed();
    let stalled = gate.clone();
    let server = AnthropicServer::start(brain::brain(move |_| {
        Answer::text("late").fault(Fault::Stall { after: 0, gate: stalled.clone() })
    }));
    runtime().block_on(async {
        let request = client().post(format!("{}/v1/messages", server.url())).json(&question("hello"));
        let request = request.bearer_auth(KEY).header("anthropic-version", "2026-10-21");
        let response = request.send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream; charset=utf-8");
        assert!(header("request-id").starts_with("req_"));
        assert_eq!(header("anthropic-ratelimit-input-tokens-limit"), "4000000");
        assert!(response.headers().get("content-length").is_none());
        assert_eq!(server.requests()[0].outcome, Outcome::Running);
        gate.open();
        assert!(response.text().await.unwrap().contains("message_stop"));
    });
}

#[test]
fn the_same_request_gets_the_same_bytes() {
    let server = AnthropicServer::start(brain::brain(|_| every_kind()));
    runtime().block_on(async {
        let first = ask(&server, &question("one")).await.unwrap();
        assert_eq!(first, ask(&server, &question("one")).await.unwrap());
        assert_ne!(first, ask(&server, &question("two")).await.unwrap());
    });
}

#[test]
fn keeps_a_connection_open_and_answers_without_a_stream() {
    let server =
        AnthropicServer::start(brain::brain(|asked| Answer::text(format!("number {}", asked.count))));
    runtime().block_on(async {
        let client = client();
        for number in 1..=3 {
            let mut body = question("hello");
            body["stream"] = json!(false);
            let request = client.post(format!("{}/v1/messages", server.url())).json(&body);
            let request = request.header("x-api-key", KEY).header("anthropic-version", "2023-06-01");
            let reply: Value = request.send().await.unwrap().json().await.unwrap();
            assert_eq!(reply["content"][0]["text"], format!("number {number}"));
            assert_eq!(reply["stop_reason"], "end_turn");
        }
    });
    assert_eq!(server.connections(), 1);
}

#[test]
fn serves_a_hundred_connections_at_once() {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = AnthropicServer::start_with(
        brain::brain(move |asked| {
            Answer::text(asked.prompt()).fault(Fault::Stall { after: 1, gate: held.clone() })
        }),
        Chunking::ByEvent,
    );
    let ask_all = async {
        let client = client();
        let mut asking = JoinSet::new();
        for number in 0..100 {
            let request = client.post(format!("{}/v1/messages", server.url()));
            let request = request.json(&question(&format!("number {number}")));
            let request = request.header("x-api-key", KEY).header("anthropic-version", "2023-06-01");
            asking.spawn(async move { request.send().await.unwrap().text().await.unwrap() });
        }
        asking.join_all().await
    };
    let answers = std::thread::scope(|scope| {
        // None may end before all have begun, so they are open together.
        scope.spawn(|| {
            server.wait_until("100 requests at once", |requests| requests.len() == 100);
            gate.open();
        });
        runtime().block_on(ask_all)
    });
    let said: BTreeSet<_> = answers.iter().map(|text| joined(&events(text), 0, "text")).collect();
    assert_eq!(said, (0..100).map(|number| format!("number {number}")).collect());
    assert_eq!(server.connections(), 100);
}

#[test]
fn faults_happen_where_they_are_told_to() {
    let server = AnthropicServer::start(brain::brain(|asked| {
        let answer = Answer::text("a text of some length, so that there is something to cut");
        match asked.prompt().as_str() {
            "overloaded" => Answer::status(529, "overloaded_error", "Overloaded").header("retry-after", "7"),
            "cut" => answer.fault(Fault::CutAfterEvent(3)),
            "break" => answer.fault(Fault::BreakAfterEvent(3)),
            "error" => answer.fault(Fault::ErrorEvent { kind: "overloaded_error".to_owned(), after: 2 }),
            "reset" => answer.fault(Fault::Reset),
            other => panic!("no fault for {other}"),
        }
    }));
    runtime().block_on(async {
        let (status, body) = ask(&server, &question("overloaded")).await.unwrap();
        assert_eq!((status, body.contains("overloaded_error")), (529, true));
        let (_, cut) = ask(&server, &question("cut")).await.unwrap();
        assert_eq!(events(&cut).len(), 3);
        assert!(
            ask(&server, &question("break")).await.is_err(),
            "a broken body is an error of the transport"
        );
        let (_, failed) = ask(&server, &question("error")).await.unwrap();
        let failed = events(&failed);
        assert_eq!((failed.len(), failed[2].0.as_str()), (3, "error"));
        assert_eq!(failed[2].1["error"]["type"], "overloaded_error");
        assert!(ask(&server, &question("reset")).await.is_err());
    });
    assert!(server.requests().iter().all(|request| request.outcome == Outcome::Faulted));
}

#[test]
fn notices_a_client_that_goes_away() {
    let server = AnthropicServer::start(brain::brain(|_| {
        Answer::text("never").fault(Fault::Stall { after: 2, gate: Gate::closed() })
    }));
    runtime().block_on(async {
        let request = client().post(format!("{}/v1/messages", server.url())).json(&question("hello"));
        let request = request.header("x-api-key", KEY).header("anthropic-version", "2023-06-01");
        drop(request.send().await.unwrap());
    });
    let seen =
        server.wait_until("the end of the request", |requests| requests.iter().all(|r| r.ended.is_some()));
    assert_eq!(seen[0].outcome, Outcome::Abandoned);
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn called(ids: &[&str]) -> Value {
    let calls: Vec<_> =
        ids.iter().map(|id| json!({"type": "tool_use", "id": id, "name": "t", "input": {}})).collect();
    json!({"role": "assistant", "content": calls})
}

fn result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "done"})
}

/// A conversation that is refused, and a part of the refusal.
fn wrong_conversations() -> Vec<(Value, &'static str)> {
    let text = |text: &str| json!({"type": "text", "text": text});
    let marked = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
    vec![
        (json!([]), "messages: at least one message is required"),
        (
            json!([user(json!("a")), called(&["t_1"]), user(json!("b"))]),
            "messages.1: `tool_use` ids were found",
        ),
        (
            json!([
                user(json!("a")),
                called(&["t_1", "t_2"]),
                user(json!([result("t_1")])),
                user(json!([result("t_2")]))
            ]),
            "without `tool_result` blocks immediately after: t_2.",
        ),
        (
            json!([user(json!("a")), called(&["t_1"]), user(json!([text("so"), result("t_1")]))]),
            "without `tool_result` blocks immediately after: t_1.",
        ),
        (
            json!([user(json!([result("t_9")]))]),
            "unexpected `tool_use_id` found in `tool_result` blocks: t_9",
        ),
        (
            json!([user(json!("a")), called(&["t_1"]), user(json!([result("t_1"), result("t_1")]))]),
            "each tool_use must have a single result",
        ),
        (
            json!([user(json!("a")), called(&["t 1"]), user(json!([result("t 1")]))]),
            "tool_use.id: String should match",
        ),
        (
            json!([
                user(json!("a")),
                called(&["t_1"]),
                user(json!([result("t_1")])),
                called(&["t_1"]),
                user(json!([result("t_1")]))
            ]),
            "ids must be unique",
        ),
        (
            json!([user(json!("a")), {"role": "assistant", "content": "I"}]),
            "does not support assistant message prefill",
        ),
        (json!([user(json!([text("")]))]), "text content blocks must be non-empty"),
        (json!([user(json!([text(" \n")]))]), "must contain non-whitespace text"),
        (json!([user(json!([]))]), "messages.0: all messages must have non-empty content"),
        (
            json!([user(json!([marked, marked, marked, marked, marked]))]),
            "A maximum of 4 blocks with cache_control",
        ),
    ]
}

#[test]
fn refuses_wrong_conversations_with_the_real_texts() {
    let server = AnthropicServer::start(brain::brain(|asked| panic!("let through: {:#}", asked.body)));
    runtime().block_on(async {
        for (messages, expected) in wrong_conversations() {
            let mut body = question("");
            body["messages"] = messages;
            let (status, text) = ask(&server, &body).await.unwrap();
            let error: Value = serde_json::from_str(&text).unwrap();
            let message = error["error"]["message"].as_str().unwrap();
            assert!(message.contains(expected), "{message}\n  lacks: {expected}");
            assert_eq!((status, error["error"]["type"].as_str()), (400, Some("invalid_request_error")));
        }
    });
    assert_eq!(server.refusals().len(), wrong_conversations().len());
}

#[test]
fn refuses_thinking_that_has_been_changed_and_takes_a_paused_turn_back() {
    let sealed = Part::Thinking { text: "so it is".to_owned(), signature: "seal".to_owned() };
    let server = AnthropicServer::start(brain::brain(move |_| Answer::new(vec![sealed.clone()])));
    let said = |block: Value| json!([user("a"), {"role": "assistant", "content": [block]}, user("b")]);
    let thinking = |text: &str, seal: &str| json!({"type": "thinking", "thinking": text, "signature": seal});
    let paused = json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}});
    let cases = [
        (said(thinking("so it is", "seal")), None),
        (said(thinking("so it was", "seal")), Some("cannot be modified")),
        (said(thinking("so it is", "forged")), Some("Invalid `signature`")),
        (json!([user("a"), {"role": "assistant", "content": [paused]}]), None),
    ];
    runtime().block_on(async {
        assert_eq!(ask(&server, &question("go")).await.unwrap().0, 200);
        for (messages, refused) in cases {
            let mut body = question("");
            body["messages"] = messages;
            let (status, text) = ask(&server, &body).await.unwrap();
            assert_eq!(status, if refused.is_some() { 400 } else { 200 }, "{text}");
            assert!(text.contains(refused.unwrap_or_default()), "{text}");
        }
    });
}

#[test]
fn refuses_wrong_parameters_tools_and_credentials() {
    let server = AnthropicServer::start(brain::brain(|_| Answer::text("fine")));
    let with = |key: &str, value: Value| {
        let mut body = question("hello");
        body[key] = value;
        body
    };
    let tool = |schema: Value| json!([{"name": "t", "input_schema": schema}]);
    let old = [("x-api-key", KEY), ("anthropic-version", "2023-06-01")];
    let new = [("authorization", "Bearer loopback-key-4f9a1c7e2b"), ("anthropic-version", "2026-10-21")];
    let cases = [
        (with("temperature", json!(1.0)), &new[..], "400 `temperature` is deprecated for this model."),
        (with("top_k", json!(5)), &new[..], "400 `top_k` is deprecated for this model."),
        (with("temperature", json!(1.5)), &old[..], "400 temperature: range"),
        (with("model", json!("claude-nope")), &old[..], "404 model: claude-nope"),
        (with("max_tokens", json!(64_001)), &old[..], "400 max_tokens: 64001 > 64000, which is the maximum"),
        (with("prompt", json!("x")), &old[..], "400 prompt: Extra inputs are not permitted"),
        (
            with("tools", tool(json!({"anyOf": [], "type": "object"}))),
            &old[..],
            "400 tools.0.custom.input_schema: input_schema does not support oneOf",
        ),
        (
            with("tools", tool(json!({"$ref": "#/x"}))),
            &old[..],
            "400 tools.0.custom.input_schema.type: Field required",
        ),
        (
            with("tools", json!([{"name": "a b", "input_schema": {"type": "object"}}])),
            &old[..],
            "400 tools.0.custom.name",
        ),
        (question("hello"), &[("x-api-key", "other"), old[1]][..], "401 invalid x-api-key"),
        (question("hello"), &old[1..], "401 x-api-key header is required"),
        (question("hello"), &old[..1], "400 anthropic-version: header is required"),
    ];
    runtime().block_on(async {
        for (body, headers, expected) in &cases {
            let (status, text) = ask_with(&server, body, headers).await.unwrap();
            let error: Value = serde_json::from_str(&text).unwrap_or_default();
            let shown = format!("{status} {}", error["error"]["message"].as_str().unwrap_or("let through"));
            assert!(shown.starts_with(expected), "{shown}\n  is not: {expected}");
        }
        let warm = with("temperature", json!(1.0));
        assert_eq!(
            ask_with(&server, &warm, &old).await.unwrap().0,
            200,
            "the old version takes a temperature"
        );
        assert_eq!(ask_with(&server, &question("hello"), &new).await.unwrap().0, 200);
    });
}

/// Answers the calls of a message as an issue queue with one ready issue and one blocked would.
fn queue(call: &Value) -> Value {
    match call["input"]["operation"].as_str() {
        Some("create") => json!({"issue": {"id": "bd-0000000a"}}),
        Some("claim") => json!({"issue": {"id": "bd-0000000b", "title": "Optimize"}}),
        Some("list") => json!({"issues": [{"id": "bd-0000000c"}], "count": 1}),
        _ => json!({"issue": {"id": "bd-0000000b"}}),
    }
}

/// Plays a prompt to its end; gives out the operations, one list a message, and the closing text.
fn play(prompt: &str) -> (Vec<Vec<String>>, String) {
    let think = brain::demo();
    let mut body = question(prompt);
    body["tools"] = json!([{"name": "issue_manager"}]);
    let mut operations = Vec::new();
    for _ in 0..9 {
        let answer = think(&Asked { body: body.clone(), headers: Vec::new(), count: 1 });
        let mut calls = Vec::new();
        for part in &answer.parts {
            match part {
                Part::ToolUse { name, input } => {
                    let id = format!("t_{}_{}", operations.len(), calls.len());
                    calls.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
                }
                Part::Text(text) if answer.parts.len() == 1 => return (operations, text.clone()),
                _ => {}
            }
        }
        let results: Vec<_> = calls
            .iter()
            .map(|call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": queue(call).to_string()}))
            .collect();
        operations.push(
            calls
                .iter()
                .map(|call| call["input"]["operation"].as_str().unwrap_or_default().to_owned())
                .collect(),
        );
        let messages = body["messages"].as_array_mut().expect("a list of messages");
        messages.push(json!({"role": "assistant", "content": calls}));
        messages.push(user(json!(results)));
    }
    panic!("no end: {operations:?}");
}

#[test]
fn the_demo_brain_plays_every_role() {
    let (operations, text) = play("Create the following 5 issues: …");
    assert_eq!(operations, [vec!["create"; 5], vec!["block"], vec!["list"]]);
    assert!(text.starts_with("Created 5 issues"), "{text}");
    let (operations, text) = play("You are coding-worker-2. If blocked issues exist, leave them.");
    assert_eq!(operations, [["claim"], ["close"]]);
    assert_eq!(text, "Closed bd-0000000b: Optimize.");
    let (operations, text) = play("Check for blocked issues and unblock them.");
    assert_eq!(operations, [["list"], ["unblock"]]);
    assert!(text.starts_with("Unblocked 1 of 1"), "{text}");
}
