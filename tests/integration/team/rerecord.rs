//! A scenario that has changed: is only what follows from the change asked anew, and is the rest of the recording kept?

use super::{DEMO, assert_worked_once, ways};
use crate::harness::{Outcome, Project};
use crate::server::AnthropicServer;
use crate::trouble::team::{brain_of_team, team};

const SCRIPTED: [&str; 2] = ["--script", "scenarios/demo.script.yaml"];

fn rerecord(project: &Project, words: &[&str], code: i32) -> Outcome {
    project.runner(["cassette", "rerecord", DEMO]).args(SCRIPTED).args(words).run().expect_code(code)
}

/// The lines of the ledger, without their numbers and moments.
fn ledger(project: &Project) -> Vec<String> {
    let text = project.read("scenarios/demo.cassette/ledger.txt");
    let line = |line: &str| line.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" ");
    text.lines().skip(1).map(line).collect()
}

#[test]
fn only_what_follows_from_a_change_is_done_anew() {
    let project = Project::shipped();
    let before = ledger(&project);
    assert!(rerecord(&project, &[], 0).stderr.contains("nothing is to be done anew"));
    project.replace("prompts/work.md", "Work on one issue, and only one", "Work on one issue");
    project.runner(["replay", DEMO]).run().expect_code(6);
    let said = rerecord(&project, &[], 0).stderr;
    assert!(said.contains("of 60 recorded effects stand"), "{said}");
    assert!(said.contains("the first of its own: work/coding-worker-1/1, work/coding-worker-2/1"), "{said}");
    let after = ledger(&project);
    assert_eq!(after[..11], before[..11], "what the foreman did stands");
    for way in ways(2) {
        project.runner(["replay", DEMO]).args(way).run().expect_code(0);
    }
    assert_worked_once(&project, super::DEMO_WORKSPACE, 5);
    project.runner(["cassette", "doctor", "scenarios/demo.cassette"]).run().expect_code(0);
    assert!(rerecord(&project, &[], 0).stderr.contains("nothing is to be done anew"));
}

#[test]
fn an_effect_that_is_named_is_done_anew_with_what_follows_from_it() {
    let project = Project::shipped();
    let said = rerecord(&project, &["--from", "work/coding-worker-1/3"], 0).stderr;
    assert!(said.contains("the first of its own: work/coding-worker-1/3\n"), "{said}");
    project.runner(["replay", DEMO]).run().expect_code(0);
    project.runner(["cassette", "rerecord", DEMO]).args(SCRIPTED).ci().run().expect_code(2);
    let refused = project.runner(["cassette", "rerecord", DEMO]).with_key().run().expect_code(2);
    assert!(refused.stderr.contains("a script has made this recording"), "{}", refused.text());
}

#[test]
fn a_model_is_not_asked_for_what_stands() {
    let server = AnthropicServer::start(brain_of_team(4));
    let project = team(&server.url(), 2);
    let scenario = project.read("team.yaml");
    project.write("team.yaml", &format!("{scenario}replay: {{ cassette: team.cassette }}\n"));
    project.runner(["record", "team.yaml"]).with_key().run().expect_code(0);
    let asked = server.requests().len();
    project.replace("prompts/work.md", "Work on one issue.", "Work on one issue. Be quick.");
    let rerecord = ["cassette", "rerecord", "team.yaml"];
    let again = project.runner(rerecord).with_key().run().expect_code(0);
    assert!(again.stderr.contains("(recorded, "), "{}", again.text());
    let new = &server.requests()[asked..];
    let filling = |body: &serde_json::Value| body.to_string().contains("Fill the queue");
    assert!(!new.is_empty() && !new.iter().any(|request| filling(&request.body)), "the foreman is not asked");
    for way in ways(2) {
        project.runner(["replay", "team.yaml"]).args(way).run().expect_code(0);
    }
    let missing = project.runner(rerecord).run().expect_code(3);
    assert!(missing.stderr.contains("ANTHROPIC_API_KEY is not set"), "{}", missing.text());
    let refused = project.runner(rerecord).args(["--script", "x.yaml"]).with_key().run().expect_code(2);
    assert!(refused.stderr.contains("x.yaml"), "{}", refused.text());
}

/// The queue answers otherwise than recorded, since a phase before has changed what is in it.
#[test]
fn a_tool_that_answers_otherwise_is_done_anew_too() {
    let project = Project::shipped();
    let script = project.read("scenarios/demo.script.yaml");
    project.write(
        "scenarios/demo.script.yaml",
        &script.replace("Fix login authentication bug", "Mend the login"),
    );
    let said = rerecord(&project, &["--from", "create-issues/foreman/1"], 0).stderr;
    assert!(said.contains("0 of 60 recorded effects stand"), "{said}");
    project.runner(["replay", DEMO]).run().expect_code(0);
    assert!(project.read("scenarios/demo.cassette/ledger.txt").contains("create-issues/foreman/1.5"));
    assert_worked_once(&project, super::DEMO_WORKSPACE, 5);
}
