//! Tool calls that make no sense: is the model told, and does the run go on?

use serde_json::{Value, json};

use super::team::{TOOL, talk};
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, Exchange, Part, brain};

fn call(name: &str, input: Value) -> Part {
    Part::ToolUse { name: name.to_owned(), input }
}

#[test]
fn the_model_is_told_and_goes_on() {
    let server = AnthropicServer::start(brain(|asked| match asked.since_prompt().len() {
        0 => Answer::new(vec![
            call(TOOL, json!(r#"{"operation": "create", "params": {"title": "cut of"#)),
            call(TOOL, json!("[1, 2]")),
            call("rm_rf", json!({})),
            call(TOOL, json!({"operation": "destroy", "params": {}})),
            call("read_file", json!({"file_path": 7})),
            call("write_file", json!({"file_path": "kept.txt", "content": "and this one is fine"})),
        ]),
        _ => Answer::text("I see."),
    }));
    let project = talk(&server.url());
    let outcome = project.runner(["talk.yaml"]).with_key().run().expect_code(0);
    assert_eq!(server.refusals(), [""; 0], "the conversation stays one that the API takes");
    assert_eq!(project.read("desk/kept.txt"), "and this one is fine");
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "{}", outcome.text());
    let asked = crate::server::brain::Asked { body: requests[1].body.clone(), headers: Vec::new(), count: 2 };
    let told: Vec<String> = asked.since_prompt().iter().map(shown).collect();
    let _filters = project.snapshots();
    insta::assert_snapshot!("trouble__senseless_calls", told.join("\n"));
}

fn shown(exchange: &Exchange) -> String {
    let mark = if exchange.is_error { "error" } else { "ok" };
    format!("{} {}\n  {mark}: {}", exchange.name, exchange.input, exchange.result)
}

/// A model that never gets a call right is stopped by the limit of its prompt, not by patience.
#[test]
fn endless_nonsense_ends_at_the_limit() {
    let server = AnthropicServer::start(brain(|asked| match asked.offers(TOOL) {
        true => Answer::new(vec![call(TOOL, json!("{"))]),
        false => Answer::text("I give up."),
    }));
    let project = talk(&server.url());
    project.replace(
        "mount-plans/writer.json",
        "\"module\": \"loop-streaming\"",
        "\"module\": \"loop-streaming\", \"config\": {\"max_iterations\": 4}",
    );
    let outcome = project.runner(["talk.yaml"]).with_key().run().expect_code(0);
    assert_eq!(server.requests().len(), 5);
    assert!(outcome.stderr.contains("ends at its limit of model calls"), "{}", outcome.text());
}
