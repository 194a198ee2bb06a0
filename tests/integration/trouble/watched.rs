//! A run that is looked at while it goes on, or that nobody ended: is it told as what it is, and left alone?

use super::killed::{kill_in_the_middle, stalling, wait_for_claims};
use super::team::team;
use crate::server::brain::Gate;

#[test]
fn a_run_is_followed_to_its_end_and_never_removed_before() {
    let gate = Gate::closed();
    let server = stalling(2, &gate);
    let project = team(&server.url(), 2);
    let running = project.runner(["team.yaml"]).with_key().spawn();
    wait_for_claims(&server, 2);
    let shown = project.runner(["show", "--json"]).run().expect_code(0).json();
    assert_eq!((shown["outcome"].as_str(), shown["running"].as_bool()), (Some("running"), Some(true)));
    let cleaned = project.runner(["clean", "--keep", "0"]).run().expect_code(0);
    assert!(cleaned.stderr.contains(" still runs and stays\n"), "{}", cleaned.text());
    let saved = project.runner(["cassette", "save", "--to", "x"]).run().expect_code(2);
    assert!(saved.stderr.contains("it still runs"), "{}", saved.text());
    let lines = project.runner(["logs", "--follow"]).spawn();
    let talk = project.runner(["logs", "latest", "worker-1", "--follow"]).spawn();
    lines.wait_for("claimed");
    talk.wait_for("> issue_manager");
    gate.open();
    running.finish().expect_code(0);
    let lines = lines.finish().expect_code(0);
    assert!(lines.stdout.contains("complete! ==="), "{}", lines.text());
    let whole = project.runner(["logs"]).run().expect_code(0);
    assert_eq!(lines.stdout, whole.stdout);
    let talk = talk.finish().expect_code(0);
    assert_eq!(talk.stdout, project.runner(["logs", "latest", "worker-1"]).run().expect_code(0).stdout);
}

#[test]
fn a_killed_run_is_told_as_killed_even_with_a_torn_line() {
    let gate = Gate::closed();
    let server = stalling(1, &gate);
    let project = team(&server.url(), 1);
    kill_in_the_middle(&project, &server, 1);
    let journal = project.path(&super::team::run_folder(&project)).join("journal.jsonl");
    let mut cut = std::fs::read(&journal).expect("the journal");
    cut.truncate(cut.len() - 3);
    std::fs::write(&journal, &cut).expect("the journal can be written");
    let shown = project.runner(["show"]).run().expect_code(0);
    assert!(
        shown.stdout.contains("outcome    killed: its process ended without saying how"),
        "{}",
        shown.text()
    );
    assert!(shown.stdout.contains("next:\n  runner resume "), "{}", shown.text());
    assert!(shown.stderr.starts_with("note: the journal ends within a line"), "{}", shown.text());
    let saved = project.runner(["cassette", "save", "--to", "x"]).run().expect_code(2);
    assert!(saved.stderr.contains("it did not come to its end"), "{}", saved.text());
    gate.open();
    project.runner(["resume"]).with_key().run().expect_code(0);
    project.runner(["cassette", "save", "--to", "x"]).run().expect_code(0);
    let mut cut = std::fs::read(&journal).expect("the journal");
    cut[20] = b'}';
    std::fs::write(&journal, &cut).expect("the journal can be written");
    for command in ["show", "logs", "resume"] {
        let refused = project.runner([command]).with_key().run();
        assert_ne!(refused.code, Some(0));
        assert!(
            refused.stderr.contains("journal.jsonl:1: the run's journal is damaged here: "),
            "{}",
            refused.text()
        );
    }
    let listed = project.runner(["runs"]).run().expect_code(1);
    assert!(listed.stderr.contains("journal.jsonl:1: "), "{}", listed.text());
}
