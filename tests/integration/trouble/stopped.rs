//! A run that is asked to stop: do turns end, does nothing new begin, is everything given back, and is twice at once?

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::killed::{stalling, wait_for_claims};
use super::team::{counts, issue_call, talk, team, think};
use crate::harness::{Outcome, Project, Running};
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, Fault, Gate, brain};

/// Far below every wait that a stop must cut short, far above what a busy machine needs.
const AT_ONCE: Duration = Duration::from_secs(6);

/// What the first signal is answered with.
const STOPPING: &str = "stopping: ";

#[expect(clippy::disallowed_methods, reason = "how long a real process takes to end is real time")]
fn ends_at_once(running: Running) -> Outcome {
    let began = Instant::now();
    let outcome = running.finish();
    let took = began.elapsed();
    assert!(took < AT_ONCE, "it took {took:?} to end:\n{}", outcome.text());
    outcome
}

#[track_caller]
fn assert_given_back(project: &Project, issues: usize) {
    let [open, in_progress, blocked, closed] = counts(project);
    assert_eq!((in_progress, blocked, open + closed), (0, 0, issues));
}

/// The turn of each worker that runs when the signal comes is finished; no other begins.
fn stop_once(signal: Signal, code: i32) {
    let gate = Gate::closed();
    let server = stalling(8, &gate);
    let project = team(&server.url(), 3);
    let running = project.runner(["record", "team.yaml", "--to", "tape"]).with_key().spawn();
    wait_for_claims(&server, 3);
    let asked = server.requests().len();
    running.signal(signal).wait_for(STOPPING);
    gate.open();
    let outcome = running.finish().expect_code(code);
    assert_eq!(server.requests().len(), asked, "no turn begins after the signal");
    assert_given_back(&project, 8);
    // The calls of the finished turns are carried out: three issues are closed.
    assert_eq!(counts(&project)[3], 3);
    assert!(!project.path("tape").exists(), "a run that was stopped is no recording");
    let _filters = project.snapshots();
    let told = outcome.stderr.split_once(STOPPING).map_or("", |(_, told)| told);
    let said: Vec<_> =
        told.lines().filter(|line| line.starts_with("no recording") || line.starts_with("exit")).collect();
    assert_eq!(said.len(), 2, "{}", outcome.text());
    assert!(!told.contains("error"), "{}", outcome.text());
}

#[test]
fn an_interrupt_lets_turns_finish() {
    stop_once(Signal::SIGINT, 130);
}

#[test]
fn a_termination_does_the_same() {
    stop_once(Signal::SIGTERM, 143);
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    let gate = Gate::closed();
    let server = stalling(8, &gate);
    let project = team(&server.url(), 3);
    let running = project.runner(["team.yaml"]).with_key().spawn();
    wait_for_claims(&server, 3);
    running.signal(Signal::SIGINT).wait_for(STOPPING);
    running.signal(Signal::SIGINT);
    let outcome = ends_at_once(running).expect_code(130);
    assert_eq!(counts(&project), [8, 0, 0, 0]);
    let _filters = project.snapshots();
    let told = outcome.stderr.split_once(STOPPING).map_or("", |(_, told)| told);
    assert!(!told.contains("error"), "{}", outcome.text());
}

#[test]
fn a_long_wait_before_another_attempt_is_cut_short() {
    let server = AnthropicServer::start(brain(|_| {
        Answer::status(429, "rate_limit_error", "slow down").header("retry-after", "60")
    }));
    let project = talk(&server.url());
    let running = project.runner(["talk.yaml"]).with_key().spawn();
    running.wait_for("again in").signal(Signal::SIGINT);
    let outcome = ends_at_once(running).expect_code(130);
    assert_eq!(server.requests().len(), 1, "no attempt begins after the signal");
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__interrupted", outcome.stderr);
}

#[test]
fn workers_that_wait_go_home() {
    // The one issue is not due for centuries: they wait for it.
    let later = json!({"title": "Later", "description": "Not yet.", "defer_until": "2400-01-01T00:00:00Z"});
    let server = AnthropicServer::start(brain(move |asked| match asked.since_prompt().len() {
        0 if asked.count == 1 => Answer::new(vec![issue_call("create", &later)]),
        _ => think(asked, 1),
    }));
    let project = team(&server.url(), 4);
    project.replace("team.yaml", "max_iterations: 50", "max_iterations: 50\n      when_empty: wait");
    project.replace(
        "team.yaml",
        "expect:",
        "  - id: watch
    needs: [fill]
    monitor:
      role: foreman
      prompt: prompts/work.md
      watches: work
      when: issues.total > 99
      every: 1h
expect:",
    );
    project.replace("prompts/work.md", "You are {{ worker.name }}. Work", "Work");
    let running = project.runner(["team.yaml"]).with_key().spawn();
    for worker in 1..=4 {
        running.wait_for(&format!("worker-{worker}           waits for work"));
    }
    running.signal(Signal::SIGINT);
    let outcome = ends_at_once(running).expect_code(130);
    assert_eq!(counts(&project), [1, 0, 0, 0]);
    assert!(!outcome.stderr.contains("error"), "{}", outcome.text());
}

/// A command that runs when the second signal comes ends with all it started.
#[test]
fn a_command_is_ended_with_the_run() {
    let server = AnthropicServer::start(brain(|asked| match asked.since_prompt().len() {
        0 => Answer::call("bash", json!({"command": "echo $$ > pid; sleep 1000 & wait"})),
        _ => Answer::text("Done."),
    }));
    let project = talk(&server.url());
    let running = project.runner(["talk.yaml"]).with_key().spawn();
    running.wait_for("bash {");
    running.signal(Signal::SIGINT).wait_for(STOPPING).signal(Signal::SIGINT);
    // Ends only when the pipes are closed, which what the command has started would hold open.
    ends_at_once(running).expect_code(130);
}

/// The first interrupt lets what runs at the end run; a second one ends that too. What its command did is not known, so the run
/// that goes on says so first, and does it anew when it goes on once more.
#[test]
fn what_runs_at_the_end_does_so_after_an_interrupt_and_is_ended_by_a_second() {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = AnthropicServer::start(brain(move |_| {
        Answer::text("Done.").fault(Fault::Stall { after: 1, gate: held.clone() })
    }));
    let project = talk(&server.url());
    let talk = project.read("talk.yaml");
    // It comes to its end only if nobody holds it.
    let command =
        "echo begun >> tidied.txt; [ -e ../go ] || { : > ../here; sleep 1000; }; echo ended >> tidied.txt";
    let here = project.path("here");
    nix::unistd::mkfifo(&here, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let tidy = format!("  - id: tidy\n    finally: true\n    shell: {{ run: \"{command}\" }}\n");
    project.write("talk.yaml", &(talk + &tidy));
    let running = project.runner(["talk.yaml"]).with_key().spawn();
    server.wait_until("the first turn", |requests| requests.len() == 1);
    running.signal(Signal::SIGINT).wait_for(STOPPING);
    gate.open();
    std::fs::read(&here).unwrap();
    running.signal(Signal::SIGINT);
    ends_at_once(running).expect_code(130);
    project.write("go", "");
    let told = project.runner(["resume"]).with_key().run().expect_code(1);
    assert!(
        told.stderr.contains("killed while the command ran, and it was not run again"),
        "{}",
        told.text()
    );
    assert_eq!(project.read("desk/tidied.txt"), "begun\n");
    project.runner(["resume"]).with_key().run().expect_code(0);
    let tidied = project.read("desk/tidied.txt");
    assert_eq!(tidied, "begun\nbegun\nended\n");
    assert_eq!(server.requests().len(), 1, "the turn that ended stands");
}
