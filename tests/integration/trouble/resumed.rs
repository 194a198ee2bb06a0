//! A run that was killed, stopped or failed: does it go on where it was, with nothing paid for or done twice?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use serde_json::json;

use super::killed::{kill_in_the_middle, stalling, wait_for_claims};
use super::team::{WORKSPACE, counts, issue_call, run_folder, talk, team, think};
use crate::harness::{Outcome, Project};
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, Gate, Part, brain};

fn resume(project: &Project) -> Outcome {
    project.runner(["resume"]).with_key().run()
}

/// How often each request was asked; of those that were asked more than once.
fn asked_again(server: &AnthropicServer) -> usize {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for request in server.requests() {
        *times.entry(request.body.to_string()).or_default() += 1;
    }
    times.values().filter(|times| **times > 1).count()
}

/// How often an event of this name stands in the history of the queue, by issue.
fn happened(project: &Project, event: &str) -> Vec<usize> {
    let listed =
        project.runner(["issues", "list", "--workspace", WORKSPACE, "--json"]).run().expect_code(0).json();
    let ids = listed["issues"].as_array().expect("a list").iter();
    ids.map(|issue| {
        let id = issue["id"].as_str().expect("an id");
        let history = ["issues", "history", id, "--workspace", WORKSPACE, "--json"];
        let changes = project.runner(history).run().expect_code(0).json();
        let changes = changes["changes"].as_array().expect("changes").iter();
        changes.filter(|change| change["event_type"] == event).count()
    })
    .collect()
}

#[test]
fn a_killed_run_goes_on_with_what_it_was_started_with() {
    let gate = Gate::closed();
    let server = stalling(8, &gate);
    let project = team(&server.url(), 3);
    kill_in_the_middle(&project, &server, 3);
    // Whatever becomes of the files: the run goes on with what it began with.
    project.write("team.yaml", "version: 1\nname: [").write("prompts/work.md", "Do something else.\n");
    gate.open();
    let outcome = resume(&project).expect_code(0);
    assert_eq!(counts(&project), [0, 0, 0, 8]);
    assert_eq!((happened(&project, "claimed"), happened(&project, "closed")), (vec![1; 8], vec![1; 8]));
    assert_eq!(asked_again(&server), 3, "only what was under way is asked again");
    assert_eq!(server.refusals(), [""; 0]);
    let _filters = project.snapshots();
    let told: Vec<&str> = outcome.stderr.lines().take(3).collect();
    insta::assert_snapshot!("trouble__resumed", told.join("\n"));
    assert!(outcome.stdout.contains("8"), "the summary is of the whole run: {}", outcome.stdout);
    let again = resume(&project).expect_code(2);
    insta::assert_snapshot!("trouble__resumed_at_its_end", again.stderr);
}

#[test]
fn sixteen_killed_workers_go_on_three_times() {
    let gate = Gate::closed();
    let server = stalling(16, &gate);
    let project = team(&server.url(), 16);
    kill_in_the_middle(&project, &server, 16);
    for killed in 1..=2 {
        let running = project.runner(["resume"]).with_key().spawn();
        server.wait_until("every worker again", |requests| requests.len() >= 17 + 16 + 16 * killed);
        running.signal(Signal::SIGKILL);
        running.finish();
    }
    assert_eq!(counts(&project), [0, 16, 0, 0]);
    gate.open();
    resume(&project).expect_code(0);
    assert_eq!(counts(&project), [0, 0, 0, 16]);
    assert_eq!((happened(&project, "claimed"), happened(&project, "closed")), (vec![1; 16], vec![1; 16]));
}

#[test]
fn a_stopped_run_goes_on_and_its_workers_hold_again_what_they_held() {
    let gate = Gate::closed();
    let server = AnthropicServer::start(brain({
        let gate = gate.clone();
        // The claim is answered when the stop has come, so that the worker goes home with its issue.
        move |asked| match asked.prompt().contains("Work on") && asked.since_prompt().is_empty() {
            true => {
                think(asked, 4).fault(crate::server::brain::Fault::Stall { after: 1, gate: gate.clone() })
            }
            false => think(asked, 4),
        }
    }));
    let project = team(&server.url(), 2);
    let running = project.runner(["team.yaml"]).with_key().spawn();
    server.wait_until("both workers", |requests| requests.len() == 4);
    running.signal(Signal::SIGINT).wait_for("stopping: ");
    gate.open();
    let stopped = running.finish().expect_code(130);
    assert!(stopped.stderr.contains("go on with it: runner resume "), "{}", stopped.text());
    assert_eq!(counts(&project), [4, 0, 0, 0]);
    let outcome = resume(&project).expect_code(0);
    assert!(outcome.stderr.contains("held again: bd-"), "{}", outcome.text());
    assert_eq!(counts(&project), [0, 0, 0, 4]);
    assert_eq!(happened(&project, "closed"), [1; 4]);
    assert_eq!(asked_again(&server), 0, "{}", outcome.text());
    let attempts = project.runner(["issues", "list", "--workspace", WORKSPACE, "--json"]).run().json();
    let attempts =
        attempts["issues"].as_array().expect("a list").iter().map(|issue| issue["attempt"].clone());
    assert_eq!(attempts.collect::<Vec<_>>(), [0; 4], "being stopped is no attempt");
}

#[test]
fn what_another_has_claimed_meanwhile_is_told_to_who_held_it() {
    let gate = Gate::closed();
    let server = stalling(1, &gate);
    let project = team(&server.url(), 1);
    kill_in_the_middle(&project, &server, 1);
    let listed = project.runner(["issues", "list", "--workspace", WORKSPACE, "--json"]).run().json();
    let id = listed["issues"][0]["id"].as_str().expect("an id").to_owned();
    let ana = |verb: &[&str]| {
        let line = [&["issues"], verb, &["--workspace", WORKSPACE, "--actor", "ana"]].concat();
        project.runner(line).run().expect_code(0)
    };
    ana(&["release", &id, "--force"]);
    ana(&["claim", &id, "--lease", "2h"]);
    gate.open();
    resume(&project);
    assert_eq!(counts(&project), [0, 1, 0, 0], "ana still has it");
    let last = server.requests().last().expect("requests").body.to_string();
    assert!(last.contains("ana"), "{last}");
}

/// A worker whose model is overloaded for good fails; later it is asked again where it failed.
#[test]
fn a_failed_run_goes_on_where_it_failed() {
    let storm = Arc::new(AtomicUsize::new(1));
    let weather = storm.clone();
    let server = AnthropicServer::start(brain(move |asked| {
        let is_close = asked.since_prompt().len() == 1 && asked.prompt().contains("Work on");
        match is_close && weather.load(Ordering::SeqCst) == 1 {
            true => Answer::status(529, "overloaded_error", "Overloaded"),
            false => think(asked, 3),
        }
    }));
    let project = team(&server.url(), 1);
    project.runner(["team.yaml"]).with_key().run().expect_code(1);
    assert_eq!(counts(&project)[3], 0);
    resume(&project).expect_code(1);
    storm.store(0, Ordering::SeqCst);
    let outcome = resume(&project).expect_code(0);
    assert!(outcome.stderr.contains("set aside"), "{}", outcome.text());
    assert_eq!(counts(&project), [0, 0, 0, 3]);
}

/// A worker blocks an issue; the run stalls; somebody answers, and the run goes on.
#[test]
fn a_stalled_run_goes_on_when_somebody_has_answered() {
    let server = AnthropicServer::start(brain(|asked| {
        let calls = asked.since_prompt();
        let answered = calls.first().is_some_and(|claim| claim.result.contains("Use 5432"));
        match (asked.prompt().contains("Work on"), calls.len(), answered) {
            (true, 1, false) if calls[0].json()["issue"]["id"].is_string() => {
                let id = calls[0].json()["issue"]["id"].clone();
                let block = json!({"issue_id": id, "notes": "Which port?"});
                Answer::new(vec![issue_call("block", &block)])
            }
            (true, 2, false) => Answer::text("Blocked."),
            _ => think(asked, 1),
        }
    }));
    let project = team(&server.url(), 1);
    let text =
        project.read("team.yaml").replace("max_iterations: 50", "max_iterations: 50\n      when_empty: wait");
    project.write("team.yaml", &text);
    let stalled = project.runner(["team.yaml"]).with_key().run();
    assert_eq!(counts(&project), [0, 0, 1, 0], "{}", stalled.text());
    let listed = project.runner(["issues", "list", "--workspace", WORKSPACE, "--json"]).run().json();
    let id = listed["issues"][0]["id"].as_str().expect("an id").to_owned();
    project.runner(["issues", "unblock", &id, "Use 5432", "--workspace", WORKSPACE]).run().expect_code(0);
    resume(&project).expect_code(0);
    assert_eq!(counts(&project), [0, 0, 0, 1]);
}

#[test]
fn a_command_that_was_interrupted_is_not_run_again_and_the_model_is_told() {
    let server = AnthropicServer::start(brain(|asked| match asked.since_prompt().first() {
        None => {
            let command = "echo begun >> begun.txt; echo begun > pipe; for n in $(seq 600); do test -e go.txt && break; sleep 0.05; done";
            Answer::new(vec![Part::ToolUse { name: "bash".to_owned(), input: json!({"command": command}) }])
        }
        Some(call) => Answer::text(format!("I was told: {}", call.result)),
    }));
    let project = talk(&server.url());
    project.write("desk/note.txt", "");
    let made = project.command("mkfifo").arg("desk/pipe").run();
    assert_eq!(made.code, Some(0), "{}", made.text());
    let running = project.runner(["talk.yaml"]).with_key().spawn();
    // Opening it waits until the command opens it, too.
    assert_eq!(std::fs::read_to_string(project.path("desk/pipe")).expect("a pipe"), "begun\n");
    running.signal(Signal::SIGKILL);
    running.finish();
    project.write("desk/go.txt", "");
    let outcome = resume(&project).expect_code(0);
    let last = server.requests().last().expect("requests").body.to_string();
    assert!(
        last.contains("Interrupted: the run was killed while this call ran"),
        "{last}\n{}",
        outcome.text()
    );
    assert_eq!(project.read("desk/begun.txt"), "begun\n");
}

#[test]
fn what_cannot_go_on_is_refused_with_the_reason() {
    let gate = Gate::closed();
    let server = stalling(2, &gate);
    let project = team(&server.url(), 1);
    let mut told = String::new();
    let mut refuse = |what: &str, words: &[&str], code: i32| {
        let outcome = project.runner(words).with_key().run().expect_code(code);
        told += &format!("# {what}\n{}\n", outcome.stderr);
    };
    refuse("nothing has run here", &["resume"], 2);
    let running = project.runner(["team.yaml"]).with_key().spawn();
    wait_for_claims(&server, 1);
    refuse("it still runs", &["resume"], 3);
    running.signal(Signal::SIGKILL);
    running.finish();
    refuse("no such run", &["resume", "nonsense"], 2);
    let queue = project.path(WORKSPACE).join(".beads/issues.db");
    let kept = project.path("kept.db");
    std::fs::rename(&queue, &kept).expect("the queue moves");
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", queue.display()));
    }
    refuse("the queue is gone", &["resume"], 3);
    assert!(!queue.exists(), "none is made in its place");
    super::team::with_queue(&project);
    refuse("the queue is another", &["resume"], 3);
    std::fs::remove_dir_all(project.path(WORKSPACE)).expect("the workspace goes");
    refuse("the workspace is gone", &["resume"], 3);
    let manifest = format!("{}/manifest.json", run_folder(&project));
    let newer = project.read(&manifest).replacen("\"format\": 1", "\"format\": 99", 1);
    project.write(&manifest, &newer);
    refuse("it is of a newer runner", &["resume"], 3);
    gate.open();
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__not_resumed", told);
}

/// What was killed while it was recorded is recorded in the end, if it can be played.
#[test]
fn a_killed_recording_is_kept_when_it_has_gone_on() {
    let server = AnthropicServer::start(brain(move |asked| think(asked, 6)));
    let project = team(&server.url(), 3);
    let scenario = project.read("team.yaml");
    project.write("team.yaml", &format!("{scenario}replay: {{ cassette: team.cassette }}\n"));
    let kill = ["record", "team.yaml", "--fault", "work/worker-2/2=kill"];
    assert_eq!(project.runner(kill).with_key().run().signal, Some(9));
    assert!(!project.path("team.cassette").exists());
    let resumed = resume(&project).expect_code(0);
    assert!(resumed.stderr.contains("recording: team.cassette (recorded, "), "{}", resumed.text());
    assert!(!resumed.stdout.contains("in_progress"), "the table knows what was done: {}", resumed.text());
    assert_eq!(happened(&project, "closed"), [1; 6]);
    for way in [["--strictness", "total"], ["--jitter", "3"]] {
        project.runner(["replay", "team.yaml"]).args(way).run().expect_code(0);
    }
    project.runner(["cassette", "doctor", "team.cassette"]).run().expect_code(0);
}

/// A run that was stopped gave back what it held, and claimed it again: no replay does that.
#[test]
fn a_run_that_cannot_be_played_again_is_no_recording() {
    let gate = Gate::closed();
    let server = stalling(4, &gate);
    let project = team(&server.url(), 2);
    let scenario = project.read("team.yaml");
    project.write("team.yaml", &format!("{scenario}replay: {{ cassette: team.cassette }}\n"));
    kill_in_the_middle(&project, &server, 2);
    let listed = project.runner(["issues", "list", "--workspace", WORKSPACE, "--json"]).run().json();
    for issue in listed["issues"].as_array().expect("a list").iter().filter(|i| i["status"] == "open") {
        let id = issue["id"].as_str().expect("an id");
        let close = ["issues", "close", id, "done by hand", "--workspace", WORKSPACE];
        project.runner(close).run().expect_code(0);
    }
    gate.open();
    resume(&project).expect_code(0);
    let refused = project.runner(["cassette", "save"]).with_key().run();
    assert_eq!(refused.code, Some(6), "{}", refused.text());
    assert!(refused.stderr.contains("no recording can be made of run"), "{}", refused.text());
    assert!(!project.path("team.cassette").exists());
}
