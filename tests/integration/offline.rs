//! What need not be there for a run that asks no server?

use crate::harness::{Project, Runner};

/// Without a single certificate, as in a container that has no `ca-certificates`.
fn without_certificates(command: Runner, project: &Project) -> Runner {
    let nowhere = project.path("no-certificates").display().to_string();
    command.env("SSL_CERT_FILE", &nowhere).env("SSL_CERT_DIR", &nowhere)
}

#[test]
fn a_replay_needs_no_certificates() {
    let project = Project::shipped();
    let record = ["record", "scenarios/demo.yaml", "--script", "scenarios/demo.script.yaml"];
    without_certificates(project.runner(record), &project).run().expect_code(0);
    without_certificates(project.runner(["replay", "scenarios/demo.yaml"]), &project).run().expect_code(0);
}

#[test]
fn a_run_whose_models_are_all_played_needs_no_certificates() {
    let project = Project::shipped();
    let plan = r#"{"session": {"orchestrator": {"module": "loop-basic"}, "context": {"module": "context-simple"}},
        "providers": [{"module": "provider-mock"}]}"#;
    project.write("mount-plans/hello.json", plan);
    without_certificates(project.runner(["scenarios/hello.yaml"]), &project).run().expect_code(0);
}

#[test]
fn a_run_that_asks_a_server_says_at_once_that_they_are_missing() {
    let project = Project::shipped();
    let run = without_certificates(project.runner(["scenarios/hello.yaml"]).with_key(), &project).run();
    let outcome = run.expect_code(3);
    assert!(outcome.stderr.contains("ca-certificates"), "{}", outcome.text());
}
