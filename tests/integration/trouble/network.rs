//! A server that is not there, refuses, is busy, or breaks off: is it tried again where that helps, and told once where not?

use std::time::Duration;

use serde_json::json;

use super::team::{
    brain_of_team, complaint, configure, counts, has_claimed, issue_call, talk, team, think, with_queue,
};
use crate::harness::{Outcome, Project};
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, Brain, Fault, Gate, brain};

const NOWHERE: &str = "http://127.0.0.1:1";

/// Faults for the first requests, then a greeting.
fn after(faults: impl Fn() -> Vec<Answer> + Send + Sync + 'static) -> Brain {
    brain(move |asked| {
        faults().into_iter().nth(asked.count - 1).unwrap_or_else(|| Answer::text("Hello, world."))
    })
}

fn busy() -> Answer {
    Answer::status(429, "rate_limit_error", "Number of requests has exceeded your rate limit")
        .header("retry-after", "0")
}

fn faulty(fault: Fault) -> Answer {
    Answer::text("Hello, world. This is cut.").fault(fault)
}

fn run(project: &Project) -> Outcome {
    project.runner(["talk.yaml"]).with_key().run()
}

#[test]
fn an_unreachable_server_is_named_with_its_port() {
    let project = talk(NOWHERE);
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__unreachable", run(&project).expect_code(1).text());
}

/// The expectations of the phase and of the run do not hold either, but that is no news.
#[test]
fn a_team_whose_server_is_unreachable_says_it_once() {
    let project = team(NOWHERE, 3);
    project.replace("team.yaml", "    when: issues.total == 0\n", "    when: issues.total == 1\n");
    project.replace("team.yaml", "expect: [issues.closed == issues.total]", "expect: [issues.closed == 5]");
    let _filters = project.snapshots();
    with_queue(&project);
    // Three issues, so that there is work for all: they ask the server for it at once.
    for title in ["A", "B", "C"] {
        project.runner(["issues", "create", title, "--workspace", "desk"]).run().expect_code(0);
    }
    let outcome = project.runner(["team.yaml"]).with_key().run().expect_code(1);
    let errors: Vec<_> = outcome.stderr.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(errors.len(), 1, "{}", outcome.text());
    insta::assert_snapshot!("trouble__unreachable_team", errors[0]);
}

#[test]
fn a_refused_key_is_a_matter_of_configuration() {
    let server = AnthropicServer::start(brain_of_team(1));
    let project = talk(&server.url());
    let _filters = project.snapshots();
    let outcome =
        project.runner(["talk.yaml"]).env("ANTHROPIC_API_KEY", "some-other-key-77b1").run().expect_code(3);
    insta::assert_snapshot!("trouble__refused_key", outcome.text());
    assert_eq!(server.requests().len(), 1, "a refused key is not tried again");
}

#[test]
fn a_short_storm_is_weathered() {
    let server = AnthropicServer::start(after(|| vec![busy(), busy()]));
    let project = talk(&server.url());
    let outcome = run(&project).expect_code(0);
    assert_eq!(server.requests().len(), 3);
    assert_eq!(outcome.stderr.matches("again in").count(), 2, "{}", outcome.text());
    assert!(outcome.stderr.contains("has had too many requests (429 rate_limit_error"), "{}", outcome.text());
}

#[test]
fn an_endless_storm_ends() {
    let server = AnthropicServer::start(brain(|_| busy()));
    let project = talk(&server.url());
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__endless_storm", run(&project).expect_code(1).text());
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_stream_that_is_cut_or_broken_is_asked_for_again_whole() {
    for fault in [
        Fault::CutAfterEvent(4),
        Fault::BreakAfterEvent(4),
        Fault::ErrorEvent { kind: "overloaded_error".to_owned(), after: 4 },
        Fault::Reset,
    ] {
        let twice = fault.clone();
        let server =
            AnthropicServer::start(after(move || vec![faulty(twice.clone()), faulty(twice.clone())]));
        let project = talk(&server.url());
        let outcome = run(&project).expect_code(0);
        let requests = server.requests();
        assert_eq!(requests.len(), 3, "{fault:?}");
        assert!(requests.iter().all(|request| request.body == requests[0].body), "{fault:?}");
        assert_eq!(outcome.stderr.matches("again in").count(), 2, "{fault:?}: {}", outcome.text());
    }
}

#[test]
fn a_stream_that_is_always_cut_ends_in_one_message() {
    let server = AnthropicServer::start(brain(|_| faulty(Fault::BreakAfterEvent(4))));
    let project = talk(&server.url());
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__always_cut", run(&project).expect_code(1).text());
}

#[test]
fn silence_within_a_reply_is_ended_by_the_idle_timeout() {
    let gate = Gate::closed();
    let server =
        AnthropicServer::start(after(move || vec![faulty(Fault::Stall { after: 3, gate: gate.clone() })]));
    let project = talk(&server.url());
    configure(&project, "mount-plans/writer.json", "idle_timeout", json!(0.3));
    let outcome = run(&project).expect_code(0);
    assert_eq!(server.requests().len(), 2);
    assert!(outcome.stderr.contains("fell silent within its reply for 300ms"), "{}", outcome.text());
}

#[test]
fn silence_before_a_reply_is_ended_by_the_timeout() {
    let server = AnthropicServer::start(brain(|_| Answer::text("late").after(Duration::from_secs(60))));
    let project = talk(&server.url());
    configure(&project, "mount-plans/writer.json", "timeout", json!(0.2));
    configure(&project, "mount-plans/writer.json", "max_retries", json!(0));
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__silent_server", run(&project).expect_code(1).text());
}

/// A failed run is no recording: the one that is there stays.
#[test]
fn a_run_whose_model_did_not_answer_leaves_the_recording_alone() {
    let server = AnthropicServer::start(brain(|asked| match asked.prompt().contains("world") {
        true => Answer::text("Hello."),
        false => busy(),
    }));
    let project = talk(&server.url());
    project.replace("talk.yaml", "{ path: desk }", "{ path: desk, fresh: true }");
    project.runner(["record", "talk.yaml", "--to", "tape"]).with_key().run().expect_code(0);
    let before = project.files("tape");
    let again = ["record", "talk.yaml", "--to", "tape", "-i", "name=moon"];
    let outcome = project.runner(again).with_key().run().expect_code(1);
    assert!(outcome.stderr.contains("no recording is kept"), "{}", outcome.text());
    assert_eq!(project.files("tape"), before);
}

/// What another process does to the queue is not in a ledger, so such a run cannot be played again.
#[test]
fn a_run_in_whose_queue_somebody_else_worked_is_no_recording() {
    static DESK: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    let server = AnthropicServer::start(brain(|_| {
        let made = std::process::Command::new(env!("CARGO_BIN_EXE_runner"))
            .args(["issues", "create", "From outside", "--workspace"])
            .arg(DESK.get().expect("the desk is known before the run"))
            .env_clear()
            .output();
        assert!(made.expect("the command starts").status.success());
        Answer::text("Hello.")
    }));
    let project = talk(&server.url());
    DESK.set(project.path("desk")).expect("set once");
    project.replace("talk.yaml", "{ path: desk }", "{ path: desk, fresh: true }");
    let outcome = project.runner(["record", "talk.yaml", "--to", "tape"]).with_key().run().expect_code(0);
    assert!(outcome.stderr.contains("no recording is kept of a run in whose queue"), "{}", outcome.text());
    assert!(!project.path("tape").exists());
}

#[test]
fn a_worker_that_fails_gives_back_what_it_holds() {
    let server = AnthropicServer::start(brain(|asked| match has_claimed(asked) {
        true => busy(),
        false => think(asked, 3),
    }));
    let project = team(&server.url(), 2);
    let _filters = project.snapshots();
    let outcome = project.runner(["team.yaml"]).with_key().run().expect_code(1);
    insta::assert_snapshot!("trouble__failed_workers", complaint(&outcome));
    assert_eq!(counts(&project), [3, 0, 0, 0]);
}

/// What is left over is said where the run ends, also when nothing else does.
#[test]
fn a_stalled_phase_says_what_it_waits_for() {
    let server = AnthropicServer::start(brain(|asked| {
        let calls = asked.since_prompt();
        match (asked.prompt().contains("Fill"), calls.len()) {
            (true, 1 | 2) => {
                let made = calls[calls.len() - 1].json()["issue"]["id"].clone();
                let block = json!({"issue_id": made, "notes": "What colour?"});
                match calls.len() {
                    1 => Answer::new(vec![issue_call("block", &block)]),
                    _ => Answer::text("It waits."),
                }
            }
            _ => think(asked, 1),
        }
    }));
    let project = team(&server.url(), 1);
    project.replace("team.yaml", "max_iterations: 50", "max_iterations: 50\n      when_empty: wait");
    project.replace("team.yaml", "expect: [issues.closed == issues.total]\n", "");
    let outcome = project.runner(["team.yaml", "--json"]).with_key().run().expect_code(1);
    let errors = outcome.stderr.lines().next().unwrap_or_default();
    assert!(errors.starts_with("error: phase work stalled: bd-"), "{}", outcome.text());
    assert!(errors.ends_with("\"Issue 1\" is blocked: What colour?"), "{}", outcome.text());
}
