//! A run that is killed outright: does the next one start at once and finish its work, and is every file whole?

use nix::sys::signal::Signal;
use rusqlite::Connection;

use super::team::{WORKSPACE, counts, has_claimed, run_folder, team, think};
use crate::harness::{Outcome, Project};
use crate::server::AnthropicServer;
use crate::server::brain::{Asked, Fault, Gate, brain};

/// A team's server whose workers get no further than their claims until the gate opens.
pub fn stalling(issues: usize, gate: &Gate) -> AnthropicServer {
    let gate = gate.clone();
    AnthropicServer::start(brain(move |asked| {
        let answer = think(asked, issues);
        match has_claimed(asked) {
            true => answer.fault(Fault::Stall { after: 1, gate: gate.clone() }),
            false => answer,
        }
    }))
}

/// Waits until so many workers have claimed an issue and stall in the next turn.
pub fn wait_for_claims(server: &AnthropicServer, workers: usize) {
    server.wait_until("every worker in its second turn", |requests| {
        let claimed = requests.iter().filter(|request| {
            has_claimed(&Asked { body: request.body.clone(), headers: Vec::new(), count: request.number })
        });
        claimed.count() == workers
    });
}

/// Runs the team and kills it when so many workers have claimed an issue.
pub fn kill_in_the_middle(project: &Project, server: &AnthropicServer, workers: usize) -> Outcome {
    let running = project.runner(["team.yaml"]).with_key().spawn();
    wait_for_claims(server, workers);
    running.signal(Signal::SIGKILL);
    running.finish()
}

fn assert_whole(project: &Project) {
    let queue = Connection::open(project.path(WORKSPACE).join(".beads/issues.db")).expect("a queue");
    let verdict: String = queue.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict");
    assert_eq!(verdict, "ok");
    let violations = queue
        .prepare("PRAGMA foreign_key_check")
        .and_then(|mut statement| Ok(statement.query([])?.next()?.is_some()));
    assert_eq!(violations, Ok(false));
}

#[test]
fn the_next_run_starts_at_once_and_finishes() {
    let gate = Gate::closed();
    let server = stalling(8, &gate);
    let project = team(&server.url(), 3);
    assert_eq!(kill_in_the_middle(&project, &server, 3).signal, Some(9));
    assert_whole(&project);
    assert_eq!(counts(&project), [5, 3, 0, 0], "what the dead run holds is still marked");

    let journal = project.path(&run_folder(&project)).join("journal.jsonl");
    let lines = runner::journal::read(&journal).expect("a journal that ends early can be read").len();
    assert!(lines > 10, "{lines}");
    let mut cut = std::fs::read(&journal).expect("the journal");
    cut.truncate(cut.len() - 10);
    std::fs::write(&journal, cut).expect("the journal can be written");
    let left = runner::journal::read(&journal).expect("a cut last line is tolerated").len();
    assert_eq!(left, lines - 1);

    gate.open();
    let next = project.runner(["team.yaml"]).with_key().run().expect_code(0);
    assert_eq!(counts(&project), [0, 0, 0, 8]);
    assert_eq!(next.stderr.matches("lease_expired").count(), 3, "{}", next.text());
    assert!(!next.stderr.contains("error"), "{}", next.text());
    assert_whole(&project);
    assert_eq!(server.refusals(), [""; 0]);
}

#[test]
fn sixteen_workers_killed_leave_a_queue_that_works() {
    let gate = Gate::closed();
    let server = stalling(16, &gate);
    let project = team(&server.url(), 16);
    assert_eq!(kill_in_the_middle(&project, &server, 16).signal, Some(9));
    assert_eq!(counts(&project), [0, 16, 0, 0]);
    let issues = |verb: &[&str]| {
        project.runner([&["issues"], verb, &["--workspace", WORKSPACE]].concat()).run().expect_code(0)
    };
    issues(&["create", "One more"]);
    let listed = issues(&["list", "--status", "in_progress", "--json"]).json();
    let one = listed["issues"][0]["id"].as_str().expect("an id").to_owned();
    issues(&["history", &one]);
    assert_eq!(counts(&project), [1, 16, 0, 0]);
    assert_whole(&project);
    gate.open();
    project.runner(["team.yaml"]).with_key().run().expect_code(0);
    assert_eq!(counts(&project), [0, 0, 0, 17]);
}

/// Somebody took an issue while nobody waited, and let the claim lapse before anybody did.
#[test]
fn a_claim_that_came_and_lapsed_unseen_is_given_back() {
    let project_of_brain = std::sync::Arc::new(std::sync::OnceLock::<std::path::PathBuf>::new());
    let file = project_of_brain.clone();
    let server = AnthropicServer::start(brain(move |asked| {
        if has_claimed(asked) {
            let queue = Connection::open(file.get().expect("set before the run")).expect("the queue opens");
            queue.busy_timeout(std::time::Duration::from_secs(10)).expect("a timeout");
            let take = "UPDATE issues SET status = 'in_progress', assignee = 'somebody', epoch = epoch + 1, \
                        hold_session = 'somebody', lease_until = '2020-01-01T00:00:00.000000Z', attempt_limit = 3 WHERE status = 'open'";
            queue.execute_batch(take).expect("the columns are there");
        }
        think(asked, 2)
    }));
    let project = team(&server.url(), 1);
    project_of_brain.set(project.path(WORKSPACE).join(".beads/issues.db")).expect("it is set once");
    project.runner(["team.yaml"]).with_key().run().expect_code(0);
    assert_eq!(counts(&project), [0, 0, 0, 2]);
}
