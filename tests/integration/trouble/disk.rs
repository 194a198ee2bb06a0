//! Folders and files that cannot be used, at the start or in the middle: is it said once, and is the queue left in order?

use rusqlite::Connection;

use super::team::{WORKSPACE, counts, has_claimed, run_folder, talk, team, think};
use crate::harness::{BINARY, Project};
use crate::server::brain::{Answer, Part, brain};
use crate::server::{AnthropicServer, Chunking};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

#[test]
fn a_workspace_that_cannot_be_made() {
    let project = talk(NOWHERE);
    project.write("desk", "a file where the folder should be");
    let _filters = project.snapshots();
    let outcome = project.runner(["talk.yaml"]).with_key().run().expect_code(3);
    insta::assert_snapshot!("trouble__workspace_is_a_file", outcome.text());
    assert!(!project.path(".runner").exists(), "a run that never began has a folder");
}

#[test]
fn a_workspace_that_is_somebody_elses_is_not_emptied() {
    let project = talk(NOWHERE);
    project.replace("talk.yaml", "{ path: desk }", "{ path: desk, fresh: true }");
    project.write("desk/thesis.txt", "years of work");
    let _filters = project.snapshots();
    let outcome = project.runner(["talk.yaml"]).with_key().run().expect_code(3);
    insta::assert_snapshot!("trouble__workspace_of_somebody_else", outcome.text());
    assert_eq!(project.read("desk/thesis.txt"), "years of work");
}

/// What the last run left in a fresh workspace goes only when the next can really begin.
#[test]
fn a_run_folder_that_cannot_be_made() {
    let project = talk(NOWHERE);
    project.replace("talk.yaml", "{ path: desk }", "{ path: desk, fresh: true }");
    project.write("desk/.runner-workspace", "").write("desk/result.txt", "of the last run");
    project.write(".runner", "a file where the folder should be");
    let _filters = project.snapshots();
    let outcome = project.runner(["talk.yaml"]).with_key().run().expect_code(3);
    insta::assert_snapshot!("trouble__run_folder_is_a_file", outcome.text());
    assert_eq!(project.read("desk/result.txt"), "of the last run");
}

#[test]
fn a_queue_that_is_no_queue() {
    let project = talk(NOWHERE);
    project.write("desk/.beads/issues.db", &"this is no database, but somebody's notes. ".repeat(100));
    let before = project.files("desk");
    let _filters = project.snapshots();
    let outcome = project.runner(["talk.yaml"]).with_key().run().expect_code(3);
    insta::assert_snapshot!("trouble__queue_is_no_queue", outcome.text());
    assert_eq!(project.files("desk"), before);
    assert_eq!(project.files(".runner").len(), 0, "a run that never began has files");
}

/// Runs the binary with a bound on the size of every file it writes.
fn bounded(project: &Project, kilobytes: u32, arguments: &str) -> crate::harness::Outcome {
    let line = format!("ulimit -f {kilobytes}; trap '' XFSZ; exec {BINARY} {arguments}");
    project.command("/bin/bash").args(["-c", &line]).with_key().run()
}

#[test]
fn a_journal_that_cannot_grow_ends_the_run() {
    // The first prompt of the worker leaves some room below the bound, its second reply does not fit into it.
    let server = AnthropicServer::start_with(
        brain(|asked| match has_claimed(asked) {
            true => Answer::text("x".repeat(300_000)),
            false => think(asked, 2),
        }),
        Chunking::ByEvent,
    );
    let project = team(&server.url(), 1);
    project.write("prompts/work.md", &"Work on one issue.\n".repeat(400_000 / 19));
    let outcome = bounded(&project, 1_000, "team.yaml").expect_code(1);
    let told = outcome.text();
    assert_eq!(told.matches("cannot keep the run's journal").count(), 1, "{told}");
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__journal_full", super::team::complaint(&outcome));
    assert_eq!(counts(&project), [2, 0, 0, 0], "what it held is given back");
    let journal = project.path(&run_folder(&project)).join("journal.jsonl");
    assert!(!runner::journal::read(&journal).expect("a journal that ends early can be read").is_empty());
}

/// The queue breaks under a running team: somebody drops its table.
#[test]
fn a_queue_that_breaks_ends_the_run_and_is_no_bug() {
    let project_of_brain = std::sync::Arc::new(std::sync::OnceLock::<std::path::PathBuf>::new());
    let file = project_of_brain.clone();
    let server = AnthropicServer::start(brain(move |asked| {
        if has_claimed(asked) {
            let queue = Connection::open(file.get().expect("set before the run")).expect("the queue opens");
            queue.busy_timeout(std::time::Duration::from_secs(10)).expect("a timeout");
            queue.execute_batch("PRAGMA foreign_keys = OFF; DROP TABLE issues").expect("the table is there");
            return Answer::new(vec![Part::Text("Done.".to_owned())]);
        }
        think(asked, 2)
    }));
    let project = team(&server.url(), 1);
    project_of_brain.set(project.path(WORKSPACE).join(".beads/issues.db")).expect("it is set once");
    let outcome = project.runner(["team.yaml"]).with_key().run().expect_code(1);
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__queue_breaks", super::team::complaint(&outcome));
}

#[test]
fn two_runs_in_one_fresh_workspace() {
    let gate = crate::server::brain::Gate::closed();
    let held = gate.clone();
    let server = AnthropicServer::start(brain(move |asked| {
        let fault = crate::server::brain::Fault::Stall { after: 1, gate: held.clone() };
        let answer = think(asked, 2);
        if asked.count == 1 { answer.fault(fault) } else { answer }
    }));
    let project = team(&server.url(), 1);
    project.replace("team.yaml", "{ path: desk }", "{ path: desk, fresh: true }");
    let first = project.runner(["team.yaml"]).with_key().spawn();
    server.wait_until("the first run's request", |requests| requests.len() == 1);
    let runs = project.files(".runner").keys().filter(|file| file.ends_with("lock")).count();
    let second = project.runner(["team.yaml"]).with_key().run().expect_code(3);
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__workspace_in_use", second.text());
    assert_eq!(project.files(".runner").keys().filter(|file| file.ends_with("lock")).count(), runs);
    gate.open();
    first.finish().expect_code(0);
    assert_eq!(counts(&project), [0, 0, 0, 2]);
}

/// The last lines of a journal are waited for by nobody; a run that loses them is not announced as a good one.
#[test]
fn a_journal_that_loses_only_its_end_is_no_success() {
    let server = AnthropicServer::start_with(brain(|_| Answer::text("x".repeat(300_000))), Chunking::ByEvent);
    let project = talk(&server.url());
    let outcome = bounded(&project, 450, "talk.yaml").expect_code(1);
    let told = outcome.text();
    assert_eq!(told.matches("cannot keep the run's journal").count(), 1, "{told}");
    assert!(!told.contains("complete!"), "{told}");

    project.replace("talk.yaml", "{ path: desk }", "{ path: desk-of-recording, fresh: true }");
    let recorded = bounded(&project, 450, "record talk.yaml --to tape").expect_code(1);
    assert!(!project.path("tape").exists(), "{}", recorded.text());
    assert!(recorded.stderr.contains("no recording is kept of a run whose journal is incomplete"));
}

/// A recording that may not begin leaves no run behind, and `latest` where it was.
#[test]
fn a_recording_of_a_full_queue_is_refused() {
    let server = AnthropicServer::start(brain(|asked| think(asked, 2)));
    let project = team(&server.url(), 1);
    project.runner(["team.yaml"]).with_key().run().expect_code(0);
    let (runs, latest) = (project.files(".runner").len(), run_folder(&project));
    let _filters = project.snapshots();
    let refused = project.runner(["record", "team.yaml", "--to", "tape"]).with_key().run().expect_code(3);
    insta::assert_snapshot!("trouble__recording_of_a_full_queue", refused.text());
    assert_eq!((project.files(".runner").len(), run_folder(&project)), (runs, latest));
}

/// Whether a recording can be kept is found out before the first model call.
#[test]
fn a_place_where_no_recording_can_be() {
    let project = talk(NOWHERE);
    let _filters = project.snapshots();
    let mut told = String::new();
    for place in ["prompts", "prompts/greet.md", "prompts/greet.md/tape"] {
        let outcome = project.runner(["record", "talk.yaml", "--to", place]).with_key().run().expect_code(3);
        told.push_str(&outcome.stderr);
        assert_eq!(project.files("prompts").len(), 1);
        assert!(!project.path(".runner").exists() && !project.path("desk").exists());
    }
    insta::assert_snapshot!("trouble__no_place_for_a_recording", told);
}

/// A reader that has seen enough does not disturb the run.
#[test]
fn a_closed_pipe_is_no_trouble() {
    let server = AnthropicServer::start(brain(|_| Answer::text("Hello.")));
    let project = talk(&server.url());
    let line = format!("set -o pipefail; {BINARY} talk.yaml --json | head -1");
    let outcome = project.command("/bin/bash").args(["-c", &line]).with_key().run().expect_code(0);
    assert_eq!((outcome.stdout.lines().count(), outcome.stderr.as_str()), (1, ""));
}
