//! The shipped demo with nothing changed but its provider: live against the test server, recorded, and replayed.

use serde_json::{Value, json};

use super::KINDS;
use crate::harness::Project;
use crate::server::{AnthropicServer, KEY, Outcome, brain};

const DEMO: &str = "scenarios/demo.yaml";
const WORKSPACE: &str = ".demo-workspace";

/// The provider of a mount plan, in place of the one it has.
fn with_provider(project: &Project, provider: &Value) {
    for (name, bytes) in project.files("mount-plans") {
        let mut plan: Value = serde_json::from_slice(&bytes).expect("a shipped mount plan is JSON");
        if plan["providers"][0]["module"] == "provider-anthropic" {
            plan["providers"][0] = provider.clone();
            project.write(&format!("mount-plans/{name}"), &format!("{plan:#}\n"));
        }
    }
}

fn queue(project: &Project) -> Value {
    project.runner(["issues", "list", "--workspace", WORKSPACE, "--json"]).run().expect_code(0).json()
}

fn all_closed(queue: &Value) {
    let issues = queue["issues"].as_array().expect("issues");
    assert_eq!(issues.len(), 5, "{queue:#}");
    assert!(issues.iter().all(|issue| issue["status"] == "closed"), "{queue:#}");
}

/// The demo behind a provider: live, recorded, played again in both ways; then without a script's help again.
fn plays_behind(provider: &Value, server: &AnthropicServer) {
    let project = Project::shipped();
    with_provider(&project, provider);
    let live = || project.runner([DEMO, "--live"]).env("OPENAI_API_KEY", KEY);
    for _ in 0..3 {
        live().run().expect_code(0);
        all_closed(&queue(&project));
    }
    let recorded = live().args(["--record=live.cassette"]).run().expect_code(0);
    assert!(recorded.stderr.contains("recording: live.cassette (recorded, "), "{}", recorded.text());
    let before = queue(&project);
    all_closed(&before);
    let asked = server.requests().len();
    assert!(asked > 60, "a run of the demo asks about twenty times: {asked}");
    for request in server.requests() {
        assert_eq!(request.outcome, Outcome::Answered, "{request:#?}");
    }
    for (name, bytes) in project.files("live.cassette") {
        assert!(!String::from_utf8_lossy(&bytes).contains(KEY), "{name} holds the key");
    }
    for strictness in ["total", "causal"] {
        for seed in ["1", "2", "3"] {
            let replay =
                project.runner(["replay", DEMO, "--from", "live.cassette", "--strictness", strictness]);
            let replay = if strictness == "causal" { replay.args(["--jitter", seed]) } else { replay };
            replay.run().expect_code(0);
            assert_eq!(queue(&project), before, "{strictness}");
        }
    }
    assert_eq!(server.requests().len(), asked, "a replay asks nobody");
}

#[test]
fn the_demo_runs_records_and_replays_over_the_responses_api() {
    let server = AnthropicServer::start(brain::demo());
    let config =
        json!({"base_url": server.url(), "default_model": "gpt-5.5", "api_key": "${OPENAI_API_KEY}"});
    plays_behind(&json!({"module": "provider-openai", "config": config}), &server);
}

#[test]
fn the_demo_runs_records_and_replays_over_chat_completions() {
    let server = AnthropicServer::start(brain::demo());
    let config = json!({"base_url": format!("{}/v1", server.url()), "default_model": "mistral-small",
        "api_key": "${OPENAI_API_KEY}", "max_tokens": 9000});
    plays_behind(&json!({"module": "provider-openai-compatible", "config": config}), &server);
}

#[test]
fn the_demo_runs_records_and_replays_over_ollama() {
    let server = AnthropicServer::start(brain::demo());
    let config = json!({"host": server.url(), "api_key": "${OPENAI_API_KEY}", "num_ctx": 8192});
    plays_behind(&json!({"module": "provider-ollama", "config": config}), &server);
}

#[test]
fn a_script_stands_behind_each_of_them() {
    for kind in KINDS {
        let project = Project::shipped();
        let config = json!({"base_url": "http://127.0.0.1:9/v1", "default_model": "gpt-5.5"});
        with_provider(&project, &json!({"module": kind.module(), "config": config}));
        let record = ["record", DEMO, "--script", "scenarios/demo.script.yaml"];
        project.runner(record).run().expect_code(0);
        all_closed(&queue(&project));
    }
}

#[test]
fn a_missing_or_refused_key_ends_a_run_with_3() {
    let server = AnthropicServer::start(brain::demo());
    let project = Project::shipped();
    let config = json!({"base_url": server.url(), "default_model": "gpt-5.5"});
    with_provider(&project, &json!({"module": "provider-openai", "config": config}));
    let missing = project.runner([DEMO, "--live"]).run().expect_code(3);
    assert!(missing.text().contains("OPENAI_API_KEY is not set"), "{}", missing.text());
    assert_eq!(server.requests().len(), 0, "nobody is asked without a key");
    let refused =
        project.runner([DEMO, "--live"]).env("OPENAI_API_KEY", "sk-not-the-key-0123").run().expect_code(3);
    assert!(refused.text().contains("refuses the credential"), "{}", refused.text());
    assert!(!refused.text().contains("sk-not-the-key-0123"), "{}", refused.text());
    let config = json!({"base_url": format!("{}/v1", server.url()), "default_model": "gpt-4.1"});
    with_any(&project, &json!({"module": "provider-openai-compatible", "config": config}));
    let keyless = project.runner([DEMO, "--live"]).run().expect_code(3);
    assert!(keyless.text().contains("refuses the credential"), "{}", keyless.text());
}

fn with_any(project: &Project, provider: &Value) {
    for (name, bytes) in project.files("mount-plans") {
        let mut plan: Value = serde_json::from_slice(&bytes).expect("a mount plan is JSON");
        plan["providers"][0] = provider.clone();
        project.write(&format!("mount-plans/{name}"), &format!("{plan:#}\n"));
    }
}
