//! Prompts in new words with recorded answers: is the recording of both played, does it say what it is, and is nothing else let through?

use serde_json::json;

use super::DEMO;
use crate::harness::Project;
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, brain};

fn rebase(project: &Project, code: i32) -> String {
    project.runner(["cassette", "rebase", DEMO]).run().expect_code(code).stderr
}

#[test]
fn new_words_keep_the_recorded_answers() {
    let project = Project::shipped();
    assert!(rebase(&project, 0).contains("reads as it is recorded"));
    project.replace("prompts/work.md", "Work on one issue, and only one", "Work on one issue");
    project.runner(["replay", DEMO]).run().expect_code(6);
    let said = rebase(&project, 0);
    assert!(said.contains("effects read otherwise"), "{said}");
    for way in [&["--strictness", "total"], &["--jitter", "7"]] {
        let outcome = project.runner(["replay", DEMO]).args(way).run().expect_code(0);
        assert!(outcome.stderr.contains("scripted"), "what a script said stays scripted: {}", outcome.text());
    }
    assert!(rebase(&project, 0).contains("reads as it is recorded"));
    project.runner(["cassette", "doctor", "scenarios/demo.cassette"]).run().expect_code(0);
    project.runner(["cassette", "rebase", DEMO]).ci().run().expect_code(2);
}

/// The prompt of the monitor reads the queue, so that its text is an effect of its own.
#[test]
fn new_words_of_a_prompt_that_reads_the_queue_are_kept_too() {
    let project = Project::shipped();
    let text = project.read("prompts/unblock.md");
    project.write("prompts/unblock.md", &format!("{text}\nBe quick.\n"));
    project.runner(["replay", DEMO]).run().expect_code(6);
    rebase(&project, 0);
    project.runner(["replay", DEMO]).run().expect_code(0);
}

#[test]
fn what_is_no_wording_is_refused_and_the_recording_stays() {
    let project = Project::shipped();
    let before = project.files("scenarios/demo.cassette");
    project.replace("mount-plans/coding-worker.json", "claude-sonnet-4-5", "claude-opus-4-5");
    let said = rebase(&project, 6);
    assert!(said.contains("DIVERGENCE at work/coding-worker-1/1 (params)"), "{said}");
    assert!(said.contains("the recording stays as it is"), "{said}");
    assert!(project.files("scenarios/demo.cassette") == before, "something was written");
}

#[test]
fn a_models_answers_to_other_words_say_so() {
    let server = AnthropicServer::start(brain(|_| Answer::text("Good day.")));
    let project = Project::shipped();
    project.write(
        "scenarios/greet.yaml",
        "version: 1
workspace: { path: .greet, fresh: true }
roles: { writer: { mount_plan: mount-plans/foreman.json } }
phases: [{ id: greet, session: { role: writer, prompt: prompts/greet.md } }]
replay: { cassette: scenarios/greet.cassette }
",
    );
    project.write("prompts/greet.md", "Greet.\n").point_at(&server);
    project.runner(["record", "scenarios/greet.yaml"]).with_key().run().expect_code(0);
    project.write("prompts/greet.md", "Greet us.\n");
    project.runner(["cassette", "rebase", "scenarios/greet.yaml"]).run().expect_code(0);
    let outcome = project.runner(["replay", "scenarios/greet.yaml"]).run().expect_code(0);
    assert!(outcome.stderr.contains("REPLAY of a rebased recording"), "{}", outcome.text());
    let shown =
        project.runner(["cassette", "show", "scenarios/greet.cassette", "--json"]).run().expect_code(0);
    assert_eq!(shown.json()["head"]["evidence"], json!("rebased"));
    assert_eq!(server.requests().len(), 1);
}
