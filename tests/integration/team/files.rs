//! Changes of files by commands: recorded with the command's result, made again in a replay that runs no command.

use serde_json::json;

use super::{assert_all_answered, put};
use crate::harness::Project;
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, Brain, brain};

const FILE: &str = "scenarios/hands.yaml";
const WORKSPACE: &str = ".hands-workspace";

const SCENARIO: &str = "version: 1
name: hands
workspace: { path: .hands-workspace, fresh: true }
roles:
  maker: { mount_plan: mount-plans/hands.json }
phases:
  - id: make
    session: { role: maker, prompt: prompts/hands.md }
replay: { cassette: scenarios/hands.cassette }
";

fn write_files(project: &Project) {
    let plan = project.read("mount-plans/coding-worker.json").replace("\"strict\"", "\"unrestricted\"");
    assert!(plan.contains("unrestricted"));
    project.write("mount-plans/hands.json", &plan).write(FILE, SCENARIO);
    project.write("prompts/hands.md", "Make a note with a command, and read it.\n");
}

/// Writes a draft with the file tool; turns it into a note with a command that also leaves a trace outside; reads both.
fn maker(trace: String) -> Brain {
    brain(move |asked| {
        let calls = asked.since_prompt();
        let read = |path: &str| Answer::call("read_file", json!({"file_path": path}));
        match calls.len() {
            0 => Answer::call("write_file", json!({"file_path": "draft.txt", "content": "a draft\n"})),
            1 => {
                let command = format!(
                    "mkdir -p out && tr a-z A-Z < draft.txt > out/note.txt && rm draft.txt && echo ran >> {trace}"
                );
                Answer::call("bash", json!({"command": command}))
            }
            2 => read("out/note.txt"),
            3 => read("draft.txt"),
            _ => Answer::text(format!("Note: {} Draft: {}", calls[2].result, calls[3].result)),
        }
    })
}

#[test]
fn a_command_is_not_run_again_but_what_it_did_is_done() {
    let recorded = Project::shipped();
    write_files(&recorded);
    let trace = recorded.path("trace.log");
    let server = AnthropicServer::start(maker(trace.display().to_string()));
    recorded.point_at(&server);
    recorded.runner(["record", FILE]).with_key().run().expect_code(0);
    assert_eq!(assert_all_answered(&server), 5);
    assert_eq!(recorded.read("trace.log"), "ran\n", "the command has run once");
    assert_eq!(recorded.read(".hands-workspace/out/note.txt"), "A DRAFT\n");

    let fresh = Project::shipped();
    write_files(&fresh);
    fresh.point_at(&server);
    put(&fresh, "scenarios/hands.cassette", &recorded.files("scenarios/hands.cassette"));
    for strictness in ["total", "causal"] {
        let replay = fresh.runner(["replay", FILE, "--strictness", strictness, "--json"]);
        let events = replay.run().expect_code(0).json_lines();
        let ended = events.iter().find(|event| event["event"]["type"] == "session.ended").unwrap();
        let said = ended["event"]["text"].as_str().unwrap();
        assert!(said.contains("A DRAFT"), "{said}");
        let files: Vec<String> = fresh.files(WORKSPACE).into_keys().collect();
        assert_eq!(fresh.read(".hands-workspace/out/note.txt"), "A DRAFT\n");
        assert!(!files.contains(&"draft.txt".to_owned()), "{files:?}");
    }
    assert_eq!(recorded.read("trace.log"), "ran\n", "no command has run again");

    // The proof that the file came from the recording: another file there is another result here.
    let folder = fresh.path("scenarios/hands.cassette");
    let mut recording = runner::cassette::read(&folder).unwrap();
    let bash = recording.effects.iter_mut().find(|effect| effect.id.as_str() == "make/maker/2.1").unwrap();
    bash.result["files"] = serde_json::Value::Null;
    bash.result.as_object_mut().unwrap().remove("files");
    runner::cassette::write(&recording, &folder).unwrap();
    let outcome = fresh.runner(["replay", FILE, "--strictness", "total"]).run().expect_code(6);
    assert!(outcome.stderr.contains("DIVERGENCE at make/maker/3.1 (tool)"), "{}", outcome.text());
}
