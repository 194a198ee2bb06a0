//! Whether calls over a real socket, cut adversarially, give what the server said, and whether the server refuses what the
//! real ones do.

use std::sync::Arc;

use runner::chat::{Delta, Message, Part, Reply, Request, Speaker, StopReason, ToolResult, ToolSpec};
use runner::http::HttpTransport;
use runner::provider::{Attempt, CallError, ErrorClass, Line, Occasion, Provider, call};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{KINDS, Kind};
use crate::server::brain::{self, Answer, Brain, Fault, Usage};
use crate::server::{AnthropicServer, KEY, Outcome};

const TRICKY: &str = "Größe: \"10\\n\" → 東京 🦀 \u{2028} end";

fn provider(kind: Kind, server: &AnthropicServer, more: &Value) -> Arc<dyn Provider> {
    let mut config = json!({"api_key": KEY});
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    kind.at(&format!("{}/v1", server.url()), &config)
}

async fn ask(provider: &dyn Provider, request: &Request<'_>) -> (Result<Reply, CallError>, String) {
    let line = Line::Http(Arc::new(HttpTransport::new().expect("TLS can be set up")));
    let occasion =
        Occasion { phase: "p".into(), session: "s".into(), role: "r".into(), turn: 1, iteration: None };
    let cancel = CancellationToken::new();
    let mut shown = String::new();
    let mut on_delta = |delta: &Delta| match delta {
        Delta::Text(text) => shown.push_str(text),
        Delta::Thinking(text) => shown.push_str(&format!("({text})")),
        Delta::Tool { name } => shown.push_str(&format!("[{name}]")),
    };
    let attempt = Attempt {
        provider,
        line: &line,
        request,
        occasion: &occasion,
        cancel: &cancel,
        on_delta: &mut on_delta,
    };
    let result = call(attempt).await.map(|answered| answered.reply);
    (result, shown)
}

fn tools() -> Vec<ToolSpec> {
    ["read", "write"]
        .map(|name| ToolSpec {
            name: name.to_owned(),
            description: "a tool".to_owned(),
            input_schema: json!({"type": "object", "properties": {"path": {"type": "string"}}}),
        })
        .to_vec()
}

/// Thinks, says something, calls twice at once, then says what came of it.
fn worker() -> Brain {
    brain::brain(|asked| {
        let done = asked.since_prompt();
        if done.len() < 2 {
            return Answer::new(vec![
                brain::Part::Thinking { text: "Let me see.".to_owned(), signature: "sealed".to_owned() },
                brain::Part::Text(TRICKY.to_owned()),
                brain::Part::ToolUse { name: "read".to_owned(), input: json!({"path": TRICKY}) },
                brain::Part::ToolUse { name: "write".to_owned(), input: json!({}) },
            ])
            .usage(Usage { input: 40, output: 9, cache_read: 60, cache_write: 0 });
        }
        let told: Vec<_> = done.iter().map(|call| format!("{} {}", call.result, call.is_error)).collect();
        Answer::text(told.join(", "))
    })
}

/// A prompt with two calls, answered in the wrong order, and the reply to that.
async fn converse(provider: &dyn Provider, prompt: &str) -> (Reply, Reply, String) {
    let mut messages = vec![Message::user(prompt)];
    let ask = async |messages: &[Message]| {
        let request = Request {
            system: "Be exact.".into(),
            messages: messages.into(),
            tools: tools().into(),
            max_tokens: None,
        };
        let (reply, shown) = ask(provider, &request).await;
        (reply.expect("a reply"), shown)
    };
    let (first, shown) = ask(&messages).await;
    let calls = first.calls();
    messages.push(Message { speaker: Speaker::Assistant, parts: first.parts.clone() });
    let result = |at: usize, content: &str, is_error| ToolResult {
        id: calls[at].id.clone(),
        content: content.to_owned(),
        is_error,
    };
    messages.push(Message::results(vec![result(1, "denied", true), result(0, "text", false)]));
    let (second, _) = ask(&messages).await;
    (first, second, shown)
}

#[tokio::test]
async fn a_conversation_with_reasoning_and_parallel_calls_comes_whole_over_a_socket() {
    for kind in KINDS {
        let server = AnthropicServer::start(worker());
        let provider = provider(kind, &server, &json!({}));
        // Each prompt is another request, so that every dialect and many ways of cutting occur.
        for round in 0..40 {
            let (first, second, shown) = converse(provider.as_ref(), &format!("go {round}")).await;
            assert_eq!((first.text().as_str(), &first.stop), (TRICKY, &StopReason::ToolUse), "{kind:?}");
            let calls = first.calls();
            assert_eq!(calls.iter().map(|call| call.name.as_str()).collect::<Vec<_>>(), ["read", "write"]);
            assert_eq!(serde_json::to_value(&calls[0].input).unwrap(), json!({"object": {"path": TRICKY}}));
            assert_eq!(second.text(), "text false, denied true", "{kind:?}");
            assert!(
                shown.contains(TRICKY) && shown.contains("[read]") && shown.contains("[write]"),
                "{shown}"
            );
            let usage = first.usage;
            assert_eq!((usage.input, usage.cache_read, usage.output), (40, 60, 9), "{kind:?}");
        }
        assert_eq!(server.refusals(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn sealed_reasoning_goes_back_where_it_came() {
    let server = AnthropicServer::start(worker());
    let provider = provider(Kind::Responses, &server, &json!({}));
    converse(provider.as_ref(), "go").await;
    let second = &server.requests()[1].body;
    let kinds: Vec<&str> =
        second["input"].as_array().unwrap().iter().filter_map(|item| item["type"].as_str()).collect();
    assert_eq!(
        kinds,
        [
            "message",
            "reasoning",
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output"
        ]
    );
    assert_eq!(second["input"][1]["encrypted_content"], "sealed");
    assert_eq!(second["store"], false);
}

#[tokio::test]
async fn what_goes_wrong_on_the_wire_has_its_class() {
    for kind in KINDS {
        let server = AnthropicServer::start(brain::brain(|asked| {
            let answer = Answer::text("a text of some length, so that there is something to cut");
            match asked.prompt().as_str() {
                "cut" => answer.fault(Fault::CutAfterEvent(3)),
                "break" => answer.fault(Fault::BreakAfterEvent(3)),
                "error" => {
                    answer.fault(Fault::ErrorEvent { kind: "rate_limit_exceeded".to_owned(), after: 2 })
                }
                "reset" => answer.fault(Fault::Reset),
                "limit" => answer.stop("max_tokens"),
                "busy" => Answer::status(429, "rate_limit_error", "m").header("retry-after-ms", "700"),
                other => panic!("no fault for {other}"),
            }
        }));
        let provider = provider(kind, &server, &json!({}));
        for (prompt, class) in [
            ("cut", ErrorClass::Transport),
            ("break", ErrorClass::Transport),
            ("reset", ErrorClass::Transport),
            ("error", ErrorClass::RateLimit),
            ("busy", ErrorClass::RateLimit),
        ] {
            let request = Request { messages: vec![Message::user(prompt)].into(), ..Request::default() };
            let error = ask(provider.as_ref(), &request).await.0.expect_err("the call fails");
            assert_eq!(error.class, class, "{kind:?} {prompt}: {error}");
            if prompt == "busy" {
                assert_eq!(error.retry_after_ms, Some(700));
            }
            if prompt == "error" {
                assert!(error.request_id.is_some_and(|id| id.starts_with("req_")), "{kind:?}");
            }
        }
        let request = Request { messages: vec![Message::user("limit")].into(), ..Request::default() };
        assert_eq!(ask(provider.as_ref(), &request).await.0.expect("a reply").stop, StopReason::MaxTokens);
    }
}

#[tokio::test]
async fn the_remedy_for_a_wrong_key_or_model_is_named() {
    let server = AnthropicServer::start(brain::brain(|asked| panic!("let through: {:#}", asked.body)));
    let request = Request { messages: vec![Message::user("go")].into(), ..Request::default() };
    for kind in KINDS {
        let wrong = provider(kind, &server, &json!({"api_key": "sk-wrong-0123456789"}));
        let error = ask(wrong.as_ref(), &request).await.0.expect_err("no such key");
        assert_eq!((error.class, error.status), (ErrorClass::Credential, Some(401)));
        assert!(error.message.contains("`api_key` of provider-openai"), "{error}");
        assert!(!error.message.contains("sk-wrong"), "{error}");
        let unknown = provider(kind, &server, &json!({"default_model": "nope-1"}));
        let error = ask(unknown.as_ref(), &request).await.0.expect_err("no such model");
        assert_eq!((error.class, error.status), (ErrorClass::Request, Some(404)));
        assert!(error.message.contains("`nope-1`"), "{error}");
    }
}

#[tokio::test]
async fn an_interrupted_conversation_is_accepted() {
    for kind in KINDS {
        let server = AnthropicServer::start(brain::brain(|asked| match asked.since_prompt().len() {
            0 if asked.prompt() == "go" => Answer::call("read", json!({"path": "a"})),
            _ => Answer::text("fine"),
        }));
        let provider = provider(kind, &server, &json!({}));
        let go = vec![Message::user("go")];
        let request = Request { messages: go.clone().into(), tools: tools().into(), ..Request::default() };
        let reply = ask(provider.as_ref(), &request).await.0.expect("a call");
        let messages = [
            go[0].clone(),
            Message { speaker: Speaker::Assistant, parts: reply.parts },
            Message::user("never mind"),
        ];
        // The last call before a limit offers no tools, although the history holds calls.
        let request = Request { messages: messages.to_vec().into(), ..Request::default() };
        assert_eq!(ask(provider.as_ref(), &request).await.0.expect("a reply").text(), "fine", "{kind:?}");
        assert_eq!(server.refusals(), Vec::<String>::new());
    }
}

// ---------------------------------------------------------------- the server itself

/// Sends a body as it is; status and message of the answer.
async fn post(server: &AnthropicServer, path: &str, body: &Value) -> String {
    let request = runner::http::WireRequest {
        url: format!("{}/v1/{path}", server.url()),
        headers: vec![
            ("content-type", runner::http::HeaderText::Plain("application/json".to_owned())),
            (
                "authorization",
                runner::http::HeaderText::Secret {
                    prefix: "Bearer ",
                    secret: runner::secret::Secret::new(KEY.to_owned()),
                },
            ),
        ],
        body: body.to_string().into_bytes(),
    };
    let transport = HttpTransport::new().expect("TLS can be set up");
    let sent = runner::http::Transport::send(&transport, request, std::time::Duration::from_secs(30)).await;
    let response = sent.expect("the server answers");
    let body: Vec<_> = futures_util::StreamExt::collect(response.body).await;
    let bytes: Vec<u8> = body.into_iter().flat_map(|piece| piece.expect("a piece").to_vec()).collect();
    let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    format!("{} {}", response.status, json["error"]["message"].as_str().unwrap_or("let through"))
}

fn chat_body(messages: &Value, more: &Value) -> Value {
    let mut body = json!({"model": "gpt-4.1", "stream": true, "messages": messages});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn responses_body(input: &Value, more: &Value) -> Value {
    let mut body = json!({"model": "gpt-5.5", "stream": true, "store": false, "input": input});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn the_server_refuses_what_the_real_chat_servers_refuse() {
    let server = AnthropicServer::start(brain::brain(|_| Answer::text("fine")));
    let user = json!({"role": "user", "content": "go"});
    let function = json!({"name": "t", "arguments": "{}"});
    let called = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "a", "type": "function", "function": function}, {"id": "b", "type": "function", "function": function}]});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
    let tool = json!([{"type": "function", "function": {"name": "a b", "parameters": {"type": "object"}}}]);
    let cases = [
        (chat_body(&json!([user, called, result("b"), result("a")]), &json!({})), "200 "),
        (
            chat_body(&json!([user, called, result("a")]), &json!({})),
            "400 An assistant message with 'tool_calls' must be followed by tool messages",
        ),
        (
            chat_body(&json!([user, called, result("a"), user, result("b")]), &json!({})),
            "400 An assistant message with 'tool_calls'",
        ),
        (
            chat_body(&json!([user, result("a")]), &json!({})),
            "400 Invalid parameter: messages with role 'tool'",
        ),
        (
            chat_body(&json!([user, {"role": "assistant", "content": null}]), &json!({})),
            "400 Invalid value for 'content'",
        ),
        (chat_body(&json!([]), &json!({})), "400 Invalid 'messages'"),
        (
            chat_body(&json!([user]), &json!({"max_words": 3})),
            "400 Unrecognized request argument supplied: max_words",
        ),
        (chat_body(&json!([user]), &json!({"tools": []})), "400 Invalid 'tools': empty array"),
        (chat_body(&json!([user]), &json!({"tools": tool})), "400 Invalid 'tools[0].function.name'"),
        (chat_body(&json!([user]), &json!({"tool_choice": "none"})), "400 Invalid value for 'tool_choice'"),
        (
            chat_body(&json!([user]), &json!({"model": "gpt-5.5", "max_tokens": 9})),
            "400 Unsupported parameter: 'max_tokens'",
        ),
    ];
    for (body, expected) in cases {
        let answer = post(&server, "chat/completions", &body).await;
        assert!(answer.starts_with(expected), "{answer}\n  is not: {expected}");
    }
}

#[tokio::test]
async fn the_server_refuses_what_the_real_responses_server_refuses() {
    let server = AnthropicServer::start(brain::brain(|_| Answer::text("fine")));
    let user = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]});
    let sealed = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"});
    let open = json!({"type": "reasoning", "id": "rs_1", "summary": []});
    let called =
        |id: &str| json!({"type": "function_call", "id": id, "call_id": "c", "name": "t", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "c", "output": "x"});
    let wrong =
        json!({"type": "message", "role": "assistant", "content": [{"type": "input_text", "text": "x"}]});
    let tool = json!([{"type": "function", "name": "t", "parameters": {"type": "object"}}]);
    let cases = [
        (responses_body(&json!([user, sealed, called("fc_1--1"), output]), &json!({})), "200 "),
        (responses_body(&json!([user, called("fc_1--1"), output]), &json!({})), "400 Item 'fc_1--1' of type"),
        (responses_body(&json!([user, sealed, user]), &json!({})), "400 Item 'rs_1' of type 'reasoning'"),
        (
            responses_body(&json!([user, open, called("fc_1"), output]), &json!({})),
            "404 Item with id 'rs_1' not found",
        ),
        (
            responses_body(&json!([user, called("fc_1")]), &json!({})),
            "400 No tool output found for function call c",
        ),
        (
            responses_body(&json!([user, called("fc_1"), user, output]), &json!({})),
            "400 No tool output found",
        ),
        (responses_body(&json!([user, output, called("fc_1")]), &json!({})), "400 No tool call found"),
        (
            responses_body(&json!([user, called("fc_1"), output, called("fc_1"), output]), &json!({})),
            "400 Duplicate item found with id fc_1",
        ),
        (responses_body(&json!([user, wrong]), &json!({})), "400 Invalid value: 'input_text'"),
        (responses_body(&json!([]), &json!({})), "400 One of \"input\""),
        (responses_body(&json!([user]), &json!({"messages": []})), "400 Unknown parameter: 'messages'."),
        (
            responses_body(&json!([user]), &json!({"max_tokens": 9})),
            "400 Unsupported parameter: 'max_tokens'",
        ),
        (responses_body(&json!([user]), &json!({"tools": tool})), "400 Invalid schema for function 't'"),
        (
            responses_body(&json!([user]), &json!({"temperature": 1})),
            "400 Unsupported parameter: 'temperature'",
        ),
        (
            responses_body(
                &json!([user]),
                &json!({"model": "gpt-4.1", "include": ["reasoning.encrypted_content"]}),
            ),
            "400 Encrypted content is not supported",
        ),
    ];
    for (body, expected) in cases {
        let answer = post(&server, "responses", &body).await;
        assert!(answer.starts_with(expected), "{answer}\n  is not: {expected}");
    }
    let refused = server.requests().iter().filter(|r| matches!(r.outcome, Outcome::Refused(..))).count();
    assert_eq!(refused, 14);
}

#[test]
fn parts_that_another_provider_left_do_not_stop_a_conversation() {
    let thinking = Part::Thinking { thinking: "hm".to_owned(), signature: "sig".to_owned() };
    let messages = vec![
        Message::user("go"),
        Message { speaker: Speaker::Assistant, parts: vec![thinking, Part::text("Hi")] },
        Message::user("on"),
    ];
    let request = Request { messages: messages.into(), ..Request::default() };
    for kind in KINDS {
        let provider = kind.at("http://127.0.0.1:1/v1", &json!({"api_key": "k"}));
        let body = String::from_utf8(provider.encode(&request).expect("it can be said").body).unwrap();
        assert!(body.contains("Hi") && !body.contains("hm"), "{body}");
    }
}
