//! Whether many calls at one server find out together what it bears, and wait in line for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runner::chat::{Delta, Message, Request};
use runner::http::HttpTransport;
use runner::plan::ModuleSpec;
use runner::provider::anthropic::Anthropic;
use runner::provider::{Attempt, CallError, ErrorClass, Line, Occasion, Provider, call};
use runner::source::{Place, Route, SourceId};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::Project;
use crate::server::brain::{Answer, Fault, Gate, brain};
use crate::server::{AnthropicServer, KEY};

fn provider(server: &AnthropicServer, more: &Value) -> Arc<dyn Provider> {
    let mut config = json!({"base_url": server.url(), "api_key": KEY});
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let spec = ModuleSpec {
        module: "provider-anthropic".to_owned(),
        config: config.as_object().expect("an object").clone(),
        instance_id: None,
        place: Place::value(SourceId(0), Route::root()),
    };
    Anthropic::build(&spec, &[].into(), Some("claude-sonnet-4-5")).expect("the configuration is right")
}

/// One call; the error if it failed.
async fn ask(provider: Arc<dyn Provider>, line: Line, cancel: CancellationToken) -> Option<CallError> {
    let occasion =
        Occasion { phase: "p".into(), session: "s".into(), role: "r".into(), turn: 1, iteration: None };
    let request = Request { messages: vec![Message::user("go")].into(), ..Request::default() };
    let mut on_delta = |_: &Delta| {};
    let attempt = Attempt {
        provider: provider.as_ref(),
        line: &line,
        request: &request,
        occasion: &occasion,
        cancel: &cancel,
        on_delta: &mut on_delta,
    };
    call(attempt).await.err()
}

fn line() -> Line {
    Line::Http(Arc::new(HttpTransport::new().expect("TLS can be set up")))
}

fn too_many() -> Answer {
    Answer::status(429, "rate_limit_error", "Too many requests")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_calls_narrow_the_window_and_nobody_stampedes() {
    let gate = Gate::closed();
    let held = gate.clone();
    // Of the first eight it bears four, and holds them until the test has seen enough.
    let server = AnthropicServer::start(brain(move |asked| match asked.count {
        1..=4 => Answer::text("yes").fault(Fault::Stall { after: 1, gate: held.clone() }),
        5..=8 => too_many(),
        _ => Answer::text("yes"),
    }));
    let (provider, line) = (provider(&server, &json!({"max_concurrent_requests": 8})), line());
    let mut calls = JoinSet::new();
    for _ in 0..40 {
        calls.spawn(ask(provider.clone(), line.clone(), CancellationToken::new()));
    }
    for _ in 0..4 {
        let refused = calls.join_next().await.expect("calls are left").expect("no call panics");
        assert_eq!(refused.expect("the first to end are the refused").class, ErrorClass::RateLimit);
    }
    assert_eq!(server.requests().len(), 8, "32 calls wait, though four of eight places are free");
    gate.open();
    while let Some(ended) = calls.join_next().await {
        assert_eq!(ended.expect("no call panics"), None);
    }
    assert_eq!(server.requests().len(), 40, "all who waited went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_stopped_leaves_the_line() {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = AnthropicServer::start(brain(move |_| {
        Answer::text("yes").fault(Fault::Stall { after: 1, gate: held.clone() })
    }));
    let (provider, line) = (provider(&server, &json!({"max_concurrent_requests": 1})), line());
    let stop = CancellationToken::new();
    let mut calls = JoinSet::new();
    calls.spawn(ask(provider.clone(), line.clone(), CancellationToken::new()));
    server.wait_until("the first call", |requests| requests.len() == 1);
    let mut waiting = JoinSet::new();
    waiting.spawn(ask(provider.clone(), line.clone(), stop.clone()));
    stop.cancel();
    let stopped =
        waiting.join_next().await.expect("a call").expect("no call panics").expect("it was stopped");
    assert_eq!(stopped.class, ErrorClass::Cancelled);
    calls.spawn(ask(provider, line, CancellationToken::new()));
    gate.open();
    while let Some(ended) = calls.join_next().await {
        assert_eq!(ended.expect("no call panics"), None);
    }
    assert_eq!(server.requests().len(), 2, "the stopped call never left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_in_line_is_no_silence_of_the_server() {
    let server = AnthropicServer::start(brain(|_| Answer::text("yes").after(Duration::from_millis(120))));
    let config = json!({"max_concurrent_requests": 1, "timeout": 0.3, "idle_timeout": 0.3});
    let (provider, line) = (provider(&server, &config), line());
    let mut calls = JoinSet::new();
    for _ in 0..5 {
        calls.spawn(ask(provider.clone(), line.clone(), CancellationToken::new()));
    }
    while let Some(ended) = calls.join_next().await {
        assert_eq!(ended.expect("no call panics"), None, "the last has waited for longer than `timeout`");
    }
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn a_server_that_asks_to_wait_for_hours_ends_the_run_with_what_it_asks() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let server = AnthropicServer::start(brain(move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
        too_many().header("retry-after", "7200")
    }));
    let project = Project::shipped();
    project.point_at(&server);
    let ended = project.runner(["run", "scenarios/demo.yaml", "--live"]).with_key().run();
    let text = ended.text();
    assert!(
        text.contains("asks to wait 7200s") && text.contains("600s at most: resume the run then"),
        "{text}"
    );
    ended.expect_code(1);
    assert_eq!(count.load(Ordering::Relaxed), 1, "nobody tries again");
}
