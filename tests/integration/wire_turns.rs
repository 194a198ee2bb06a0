//! Whether a session deals rightly with the odd ends of a turn, against a server that refuses what the real one refuses.

use serde_json::{Value, json};

use crate::harness::{Outcome, Project};
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, Part, brain};

/// Runs the smallest scenario with more settings for its provider.
fn run(server: &AnthropicServer, more: &Value) -> (Project, Outcome) {
    let project = Project::shipped();
    let mut plan: Value = serde_json::from_str(&project.read("mount-plans/hello.json")).expect("a plan");
    let config = plan["providers"][0]["config"].as_object_mut().expect("a map");
    config.extend(more.as_object().expect("a map").clone());
    plan["session"]["orchestrator"]["config"]["max_iterations"] = (-1).into();
    project.write("mount-plans/hello.json", &plan.to_string());
    project.point_at(server);
    let outcome = project.runner(["scenarios/hello.yaml"]).with_key().run();
    assert_eq!(server.refusals(), [""; 0]);
    (project, outcome)
}

fn search() -> Value {
    json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}, "caller": {"type": "direct"}})
}

#[test]
fn a_paused_turn_goes_back_as_it_is_and_what_ran_at_the_server_too() {
    let found = json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []});
    let said = found.clone();
    let server = AnthropicServer::start(brain(move |asked| match asked.count {
        1 => Answer::new(vec![Part::Whole(search())]).stop("pause_turn"),
        _ => Answer::new(vec![Part::Whole(said.clone()), Part::Text("found".to_owned())]),
    }));
    let (_, outcome) = run(&server, &json!({"enable_web_search": true, "web_search_max_uses": 2}));
    outcome.expect_code(0);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    let messages = requests[1].body["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 2, "no message of the user is put in between");
    assert_eq!(messages[1], json!({"role": "assistant", "content": [search()]}));
    let tool = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 2});
    let offered = &requests[0].body["tools"][0];
    for (key, value) in tool.as_object().expect("a map") {
        assert_eq!(&offered[key], value, "{offered}");
    }
}

#[test]
fn a_turn_that_pauses_for_ever_is_given_up() {
    let server =
        AnthropicServer::start(brain(|_| Answer::new(vec![Part::Whole(search())]).stop("pause_turn")));
    let (_, outcome) = run(&server, &json!({"enable_web_search": true}));
    let outcome = outcome.expect_code(1);
    assert!(outcome.stderr.contains("the model paused its turn"), "{}", outcome.text());
    assert_eq!(server.requests().len() as u32, runner::limit::PAUSED_TURNS + 1);
}

#[test]
fn a_refusal_is_told_and_nothing_of_it_is_asked_again() {
    let server = AnthropicServer::start(brain(|_| Answer::text("I would rath").stop("refusal")));
    let (_, outcome) = run(&server, &json!({}));
    let outcome = outcome.expect_code(1);
    assert!(outcome.stderr.contains("refused"), "{}", outcome.text());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn effort_and_thinking_are_asked_for_as_configured() {
    let server = AnthropicServer::start(brain(|_| Answer::text("done")));
    let more = json!({
        "default_model": "claude-opus-5", "effort": "xhigh", "extended_thinking": true,
        "thinking_display": "summarized", "cache_stable_region_ttl_1h": true, "enable_1m_context": true,
    });
    run(&server, &more).1.expect_code(0);
    let request = &server.requests()[0];
    assert_eq!(request.body["output_config"], json!({"effort": "xhigh"}));
    assert_eq!(request.body["thinking"], json!({"type": "adaptive", "display": "summarized"}));
    assert!(request.header("anthropic-beta").is_some_and(|betas| betas.contains("context-1m")));
}
