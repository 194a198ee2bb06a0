//! A scenario that cannot run: is everything wrong with it said before anything is made or spent?

use serde_json::json;

use super::team::{complaint, configure, talk};
use crate::harness::{Outcome, Project};
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, brain};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

/// Runs `talk.yaml` and expects this code, and that nothing was made.
#[track_caller]
fn refused(project: &Project, code: i32) -> Outcome {
    let outcome = project.runner(["talk.yaml"]).with_key().run().expect_code(code);
    assert_nothing_made(project);
    outcome
}

#[track_caller]
fn assert_nothing_made(project: &Project) {
    for made in [".runner", "desk"] {
        assert!(!project.path(made).exists(), "{made} was made by a run that never began");
    }
}

#[test]
fn a_broken_file() {
    let project = talk(NOWHERE);
    project.replace("talk.yaml", "roles:\n", "roles: [\n");
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__broken_file", refused(&project, 2).text());
}

#[test]
fn a_file_that_is_not_there() {
    let project = Project::new();
    let _filters = project.snapshots();
    let outcome = project.runner(["talk.yaml"]).run().expect_code(2);
    insta::assert_snapshot!("trouble__no_file", outcome.text());
}

#[test]
fn an_unknown_key() {
    let project = talk(NOWHERE);
    project.replace("talk.yaml", "prompt: prompts", "promt: prompts");
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__unknown_key", refused(&project, 2).text());
}

#[test]
fn a_missing_prompt() {
    let project = talk(NOWHERE);
    project.replace("talk.yaml", "prompts/greet.md", "prompts/gret.md");
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__missing_prompt", refused(&project, 2).text());
}

#[test]
fn a_template_with_an_undefined_name() {
    let project = talk(NOWHERE);
    project.replace("prompts/greet.md", "inputs.name", "inputs.nmae");
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__undefined_name", refused(&project, 2).text());
}

#[test]
fn a_bad_mount_plan() {
    let project = talk(NOWHERE);
    project.replace("mount-plans/writer.json", "\"max_tokens\": 1024", "\"max_tokens\": \"many\"");
    project.replace("mount-plans/writer.json", "tool-bash", "tool-bahs");
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__bad_mount_plan", refused(&project, 2).text());
}

/// What only the provider itself can judge is judged before the workspace is touched, too.
#[test]
fn a_provider_that_cannot_be_built() {
    let project = talk(NOWHERE);
    project.replace("talk.yaml", "{ path: desk }", "{ path: desk, fresh: true }");
    project.write("desk/.runner-workspace", "").write("desk/result.txt", "of the last run");
    configure(&project, "mount-plans/writer.json", "extended_thinking", json!(true));
    configure(&project, "mount-plans/writer.json", "thinking_budget_tokens", json!(10));
    let _filters = project.snapshots();
    let outcome = project.runner(["talk.yaml"]).with_key().run().expect_code(2);
    insta::assert_snapshot!("trouble__unbuildable_provider", outcome.text());
    assert!(!project.path(".runner").exists(), "a run that never began has a folder");
    assert_eq!(project.read("desk/result.txt"), "of the last run");
}

#[test]
fn no_key_and_no_cassette() {
    let project = talk(NOWHERE);
    let _filters = project.snapshots();
    let outcome = project.runner(["talk.yaml"]).run().expect_code(3);
    insta::assert_snapshot!("trouble__no_key", outcome.text());
    assert_nothing_made(&project);
    project.write("talk.yaml", &(project.read("talk.yaml") + "replay: { cassette: tape }\n"));
    let outcome = project.runner(["talk.yaml"]).run().expect_code(3);
    insta::assert_snapshot!("trouble__no_key_and_no_tape", outcome.text());
    let outcome = project.runner(["replay", "talk.yaml"]).run().expect_code(6);
    insta::assert_snapshot!("trouble__no_tape", outcome.text());
    assert_nothing_made(&project);
}

/// A mistake that shows only with the values of the run: the condition is neither true nor false, and is not passed over.
#[test]
fn a_condition_that_cannot_be_evaluated() {
    let server = AnthropicServer::start(brain(|_| Answer::text("Hello.")));
    let project = talk(&server.url());
    let sound = project.read("talk.yaml");
    let impossible = "8 % issues.total == 0";
    let again = format!(
        "  - id: again\n    when: {impossible}\n    session: {{ role: writer, prompt: prompts/greet.md }}\n"
    );
    project.write("talk.yaml", &format!("{sound}{again}"));
    let _filters = project.snapshots();
    let outcome = project.runner(["talk.yaml"]).with_key().run().expect_code(1);
    insta::assert_snapshot!("trouble__impossible_when", complaint(&outcome));
    project.write("talk.yaml", &format!("{sound}expect: [{impossible}]\n"));
    let outcome = project.runner(["talk.yaml"]).with_key().run().expect_code(1);
    insta::assert_snapshot!("trouble__impossible_expectation", complaint(&outcome));
    project.write("talk.yaml", &format!("{sound}    expect: [{impossible}]\n"));
    let outcome = project.runner(["talk.yaml"]).with_key().run().expect_code(1);
    insta::assert_snapshot!("trouble__impossible_expectation_of_a_phase", complaint(&outcome));
}
