//! Whether a call over a real socket tells the ways in which servers and networks fail apart.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use runner::chat::{Delta, Message, Reply, Request};
use runner::http::{HttpTransport, Transport, TransportError, WireRequest};
use runner::plan::ModuleSpec;
use runner::provider::anthropic::Anthropic;
use runner::provider::{Attempt, CallError, ErrorClass, Line, Occasion, Provider, call};
use runner::source::{Place, Route, SourceId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nrequest-id: req_7\r\ntransfer-encoding: chunked\r\n\r\n";
const BROKEN_OFF: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"usage\":{}}}\n\n";

/// What the server does after it has read a request and written its bytes.
#[derive(Clone, Copy)]
enum Then {
    /// Closes the connection in order.
    Close,
    /// Resets it.
    Reset,
    /// Says nothing more until the client leaves.
    Stall,
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn whole_reply(provider: &dyn Provider) -> String {
    let reply: Reply = serde_json::from_value(json!({
        "id": "msg_1", "model": "claude-x", "parts": [{"text": {"text": "Hi"}}], "stop": "end_turn",
        "usage": {"input": 3, "output": 2}
    }))
    .expect("a reply");
    String::from_utf8(provider.speak(&reply)).expect("events are text")
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let n = stream.read(&mut piece).await.expect("the client sends");
        read.extend_from_slice(&piece[..n]);
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return text.into_owned();
            }
        }
        assert!(n > 0, "the client left within its request");
    }
}

async fn serve_once(listener: TcpListener, answer: String, then: Then) -> String {
    let (mut stream, _) = listener.accept().await.expect("the client connects");
    let request = read_request(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.expect("the client listens");
    match then {
        Then::Close => stream.shutdown().await.expect("the client is there"),
        Then::Reset => stream.set_zero_linger().expect("a socket option"),
        // Reads until the client gives up, which may also be seen as a reset.
        Then::Stall => drop(stream.read_to_end(&mut Vec::new()).await),
    }
    request
}

fn provider(at: SocketAddr, more: &Value) -> Arc<dyn Provider> {
    let mut config = json!({"base_url": format!("http://{at}"), "api_key": "sk-test-0123456789"});
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let spec = ModuleSpec {
        module: "provider-anthropic".to_owned(),
        config: config.as_object().expect("an object").clone(),
        instance_id: None,
        place: Place::value(SourceId(0), Route::root()),
    };
    Anthropic::build(&spec, &[].into(), Some("claude-x")).expect("the configuration is right")
}

async fn ask(provider: &dyn Provider) -> Result<Reply, CallError> {
    let line = Line::Http(Arc::new(HttpTransport::new().expect("TLS can be set up")));
    let occasion =
        Occasion { phase: "p".into(), session: "s".into(), role: "r".into(), turn: 1, iteration: None };
    let request = Request { messages: vec![Message::user("go")].into(), ..Request::default() };
    let cancel = CancellationToken::new();
    let mut on_delta = |_: &Delta| {};
    call(Attempt {
        provider,
        line: &line,
        request: &request,
        occasion: &occasion,
        cancel: &cancel,
        on_delta: &mut on_delta,
    })
    .await
    .map(|answered| answered.reply)
}

/// Asks a server that gives `answer`; the outcome and the request it saw.
async fn exchange(answer: &str, then: Then, config: Value) -> (Result<Reply, CallError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let provider = provider(listener.local_addr().expect("an address"), &config);
    let mut server = JoinSet::new();
    server.spawn(serve_once(listener, answer.to_owned(), then));
    let outcome = ask(provider.as_ref()).await;
    let request = server.join_next().await.expect("one server").expect("the server ends in order");
    (outcome, request)
}

async fn failure(answer: &str, then: Then, config: Value) -> CallError {
    exchange(answer, then, config).await.0.expect_err("the call fails")
}

#[tokio::test]
async fn a_whole_reply_comes_over_a_socket() {
    let listener_free = provider(([127, 0, 0, 1], 1).into(), &json!({}));
    let body = whole_reply(listener_free.as_ref());
    let (head, tail) = body.split_at(body.len() / 2);
    let answer = format!("{STREAM_HEAD}{}{}0\r\n\r\n", chunk(head), chunk(tail));
    let (outcome, request) = exchange(&answer, Then::Close, json!({})).await;
    assert_eq!(outcome.expect("a reply").text(), "Hi");
    let (head, body) = request.split_once("\r\n\r\n").expect("a head and a body");
    let head = head.to_lowercase();
    assert!(head.starts_with("post /v1/messages http/1.1\r\n"), "{head}");
    for line in [
        "x-api-key: sk-test-0123456789",
        "anthropic-version: 2023-06-01",
        "accept: text/event-stream",
        "user-agent: runner/",
    ] {
        assert!(head.contains(&format!("\r\n{line}")), "{line}: {head}");
    }
    let body: Value = serde_json::from_str(body).expect("a JSON body");
    assert_eq!((&body["model"], &body["stream"]), (&json!("claude-x"), &json!(true)));
}

#[tokio::test]
async fn a_reply_is_whole_although_the_connection_never_ends() {
    let free = provider(([127, 0, 0, 1], 1).into(), &json!({}));
    let answer = format!("{STREAM_HEAD}{}", chunk(&whole_reply(free.as_ref())));
    let config = json!({"idle_timeout": 0.05});
    assert_eq!(exchange(&answer, Then::Stall, config).await.0.expect("a reply").text(), "Hi");
    // Nor does it matter that the body's own end is missing.
    assert_eq!(exchange(&answer, Then::Close, json!({})).await.0.expect("a reply").text(), "Hi");
}

#[tokio::test]
async fn a_refused_connection_names_host_and_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("an address");
    drop(listener);
    let error = ask(provider(at, &json!({})).as_ref()).await.expect_err("nobody listens");
    assert_eq!(error.class, ErrorClass::Transport);
    assert!(error.message.starts_with(&format!("cannot connect to {at}: ")), "{error}");
    assert!(error.message.to_lowercase().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_connection_that_ends_before_an_answer_is_broken() {
    for then in [Then::Close, Then::Reset] {
        let error = failure("", then, json!({})).await;
        assert_eq!((error.class, error.status), (ErrorClass::Transport, None));
        assert!(error.message.starts_with("the connection broke: 127.0.0.1:"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_runs_into_the_timeout() {
    let error = failure("", Then::Stall, json!({"timeout": 0.05})).await;
    assert_eq!((error.class, error.status), (ErrorClass::Timeout, None));
    assert!(error.message.contains("127.0.0.1:") && error.message.contains("`timeout`"), "{error}");
}

#[tokio::test]
async fn a_stream_that_stalls_runs_into_the_idle_timeout() {
    let answer = format!("{STREAM_HEAD}{}", chunk(BROKEN_OFF));
    let error = failure(&answer, Then::Stall, json!({"idle_timeout": 0.05})).await;
    assert_eq!((error.class, error.status), (ErrorClass::Timeout, Some(200)));
    assert_eq!(error.request_id.as_deref(), Some("req_7"));
    assert!(error.message.contains("`idle_timeout`"), "{error}");
}

#[tokio::test]
async fn a_cut_stream_is_broken_whichever_way_it_is_cut() {
    let started = format!("{STREAM_HEAD}{}", chunk(BROKEN_OFF));
    let ended = format!("{started}0\r\n\r\n");
    for answer in [&started, &ended] {
        let error = failure(answer, Then::Close, json!({})).await;
        assert_eq!((error.class, error.status), (ErrorClass::Transport, Some(200)), "{error}");
    }
    // A reset may overtake what was sent before it, the status too.
    assert_eq!(failure(&started, Then::Reset, json!({})).await.class, ErrorClass::Transport);
}

#[tokio::test]
async fn an_error_inside_a_stream_keeps_its_class_and_the_request_id() {
    let event = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let answer = format!("{STREAM_HEAD}{}{}0\r\n\r\n", chunk(BROKEN_OFF), chunk(event));
    let error = failure(&answer, Then::Close, json!({})).await;
    assert_eq!((error.class, error.status), (ErrorClass::Overloaded, Some(200)));
    assert_eq!(error.request_id.as_deref(), Some("req_7"));
}

fn refusal(status: &str, headers: &str, kind: &str) -> String {
    let body = format!("{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"m\"}}}}");
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nrequest-id: req_8\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn refusals_carry_their_status_headers_and_remedy() {
    let refused = refusal("401 Unauthorized", "x-should-retry: false\r\n", "authentication_error");
    let refused = failure(&refused, Then::Close, json!({})).await;
    assert_eq!((refused.class, refused.status), (ErrorClass::Credential, Some(401)));
    assert_eq!((refused.should_retry, refused.request_id.as_deref()), (Some(false), Some("req_8")));
    assert!(refused.message.contains("ANTHROPIC_API_KEY"), "{refused}");

    let headers = "retry-after: Wed, 21 Oct 2026 07:28:12 GMT\r\ndate: Wed, 21 Oct 2026 07:28:00 GMT\r\n";
    let limited =
        failure(&refusal("429 Too Many Requests", headers, "rate_limit_error"), Then::Close, json!({})).await;
    assert_eq!((limited.class, limited.retry_after_ms), (ErrorClass::RateLimit, Some(12_000)));

    let busy = refusal("529 Overloaded", "retry-after-ms: 700\r\n", "overloaded_error");
    let config = json!({"min_retry_delay": 0.001, "overloaded_delay_multiplier": 1});
    let busy = failure(&busy, Then::Close, config).await;
    assert_eq!(
        (busy.class, busy.status, busy.retry_after_ms),
        (ErrorClass::Overloaded, Some(529), Some(700))
    );
}

#[tokio::test]
async fn a_key_is_not_carried_to_where_a_redirect_points() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = elsewhere.local_addr().expect("an address");
    let answer =
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n");
    let error = failure(&answer, Then::Close, json!({})).await;
    assert_eq!((error.class, error.status), (ErrorClass::Request, Some(307)));
    assert!(error.message.contains(&target.to_string()), "{error}");
    let nobody = tokio::time::timeout(Duration::from_millis(1), elsewhere.accept()).await;
    assert!(nobody.is_err(), "the redirect was followed");
}

#[tokio::test]
async fn a_page_with_status_200_is_no_reply() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 18\r\n\r\n<html>Sign in</htm";
    let error = failure(answer, Then::Close, json!({})).await;
    assert_eq!(error.class, ErrorClass::Protocol);
    assert!(error.message.contains("text/html") && error.message.contains("Sign in"), "{error}");
}

#[tokio::test]
async fn an_address_that_is_none_and_a_key_that_fits_no_header_are_named() {
    let transport = HttpTransport::new().expect("TLS can be set up");
    let request = WireRequest { url: "not an address".to_owned(), headers: Vec::new(), body: Vec::new() };
    let Err(error) = transport.send(request, Duration::from_secs(1)).await else {
        panic!("there is no such address")
    };
    assert!(matches!(&error, TransportError::Connect { host, .. } if host == "not an address"), "{error}");
    let at = SocketAddr::from(([127, 0, 0, 1], 1));
    let error =
        ask(provider(at, &json!({"api_key": "sk-\u{7}bell-0123"})).as_ref()).await.expect_err("no header");
    assert!(error.message.contains("x-api-key") && !error.message.contains("bell"), "{error}");
}
