//! A key that finds its way into an input, a file, an issue or an error: does it get any further?

use std::collections::BTreeMap;

use serde_json::json;

use super::team::{WORKSPACE, issue_call, talk, with_queue};
use crate::harness::{Outcome, Project};
use crate::server::brain::{Answer, Part, brain};
use crate::server::{AnthropicServer, KEY};

fn assert_nowhere(project: &Project, outcomes: &[Outcome], but: &[&str]) {
    for outcome in outcomes {
        assert!(!outcome.text().contains(KEY), "it is printed:\n{}", outcome.text());
    }
    let files: BTreeMap<String, Vec<u8>> = project.files("");
    for (name, bytes) in files {
        let holds = bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
        assert!(!holds || but.iter().any(|known| name.starts_with(known)), "it is in {name}");
    }
}

#[test]
fn it_stays_where_it_was() {
    let server = AnthropicServer::start(brain(|asked| match asked.since_prompt().len() {
        0 if asked.count == 1 => {
            Answer::status(529, "overloaded_error", &format!("nothing is free for {KEY}"))
        }
        0 => Answer::new(vec![
            Part::ToolUse { name: "read_file".to_owned(), input: json!({"file_path": "notes.txt"}) },
            Part::ToolUse { name: "bash".to_owned(), input: json!({"command": "cat notes.txt; env"}) },
            issue_call("list", &json!({})),
            issue_call("claim", &json!({})),
        ]),
        _ => Answer::text("Noted."),
    }));
    let project = talk(&server.url());
    project.write("desk/notes.txt", &format!("the key is {KEY}\n"));
    project.write("prompts/greet.md", "Greet {{ inputs.name }}; there are {{ issues.total }} issues.\n");
    project.replace("talk.yaml", "  - id: greet\n", "  - id: greet\n    expect: [inputs.name != '']\n");
    with_queue(&project);
    let title = format!("Rotate {KEY}");
    let made = ["issues", "create", &title, "--workspace", WORKSPACE];
    project.runner(made).run().expect_code(0);
    let name = format!("name={KEY}");
    let plain = project.runner(["talk.yaml", "-i", &name]).with_key().run().expect_code(0);
    assert!(plain.stderr.contains("[secret:ANTHROPIC_API_KEY]"), "{}", plain.text());
    let json = project.runner(["talk.yaml", "-i", &name, "--json"]).with_key().run().expect_code(0);
    let seen = server.requests().iter().any(|request| request.body.to_string().contains(KEY));
    assert!(!seen, "a model is shown the key");
    assert_nowhere(&project, &[plain, json], &["desk/"]);
}

#[test]
fn it_is_in_no_recording() {
    let server = AnthropicServer::start(brain(|_| Answer::text("Hello.")));
    let project = talk(&server.url());
    project.write("prompts/greet.md", "Greet {{ inputs.name }}; there are {{ issues.total }} issues.\n");
    let name = format!("name={KEY}");
    let recorded =
        project.runner(["record", "talk.yaml", "--to", "tape", "-i", &name]).with_key().run().expect_code(0);
    assert!(project.path("tape/ledger.txt").exists());
    let replayed = project
        .runner(["replay", "talk.yaml", "--from", "tape", "-i", &name])
        .with_key()
        .run()
        .expect_code(0);
    assert_nowhere(&project, &[recorded, replayed], &[]);
}

#[test]
fn a_key_that_only_a_mount_plan_names_is_taken_out_too() {
    let server = AnthropicServer::start(brain(|asked| match asked.since_prompt().len() {
        0 => Answer::new(vec![Part::ToolUse {
            name: "read_file".to_owned(),
            input: json!({"file_path": "notes.txt"}),
        }]),
        _ => Answer::text("Noted."),
    }));
    let project = talk(&server.url());
    project.write("desk/notes.txt", &format!("the key is {KEY}\n"));
    project.replace("mount-plans/writer.json", "\"base_url\"", "\"api_key\": \"${GATEWAY}\", \"base_url\"");
    let run = project.runner(["talk.yaml", "--json"]).env("GATEWAY", KEY).run().expect_code(0);
    let seen = server.requests().iter().any(|request| request.body.to_string().contains(KEY));
    assert!(!seen, "a model is shown the key");
    assert_nowhere(&project, &[run], &["desk/"]);
}
