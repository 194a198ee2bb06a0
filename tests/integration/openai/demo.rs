//! The shipped demo with nothing changed but its provider: live against the test server, recorded, and replayed.

use serde_json::{Value, json};

use super::KINDS;
use crate::harness::Project;
use crate::server::brain::Answer;
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

#[test]
fn keys_of_every_provider_are_taken_out_of_what_a_model_sees() {
    for (module, model, mark) in [
        ("provider-openai", "gpt-5.5", "[secret:OPENAI_API_KEY]"),
        ("provider-openai-compatible", "gpt-4.1", "[secret:OPENAI_COMPATIBLE_API_KEY]"),
        ("provider-ollama", "llama3.2:3b", "[secret:OLLAMA_API_KEY]"),
    ] {
        let server = AnthropicServer::start(brain::brain(|asked| match asked.since_prompt().first() {
            None => Answer::call("bash", json!({"command": "cat key.txt; env"})),
            Some(call) => Answer::text(format!("It says {}", call.result)),
        }));
        let project = Project::new();
        // The variable's name says nothing of a credential: that it is one follows from where it is used.
        let config = json!({
            "base_url": format!("{}/v1", server.url()), "api_key": "${MY_GATEWAY}", "default_model": model,
        });
        let plan = json!({
            "session": {"orchestrator": "loop-basic", "context": "context-simple"},
            "providers": [{"module": module, "config": config}],
            "tools": [{"module": "tool-bash"}],
        });
        project.write("mount-plans/teller.json", &plan.to_string());
        project.write("prompts/tell.md", "Tell.\n");
        project.write(
            "tell.yaml",
            "version: 1\nworkspace: {path: desk}\nroles: {teller: {mount_plan: mount-plans/teller.json}}\n\
             phases: [{id: tell, session: {role: teller, prompt: prompts/tell.md}}]\n",
        );
        project.write("desk/key.txt", &format!("the key is {KEY}\n"));
        let outcome = project.runner(["tell.yaml"]).env("MY_GATEWAY", KEY).run().expect_code(0);
        let seen = &server.requests()[1].body.to_string();
        assert!(seen.contains(mark) && !seen.contains(KEY), "{module}: {seen}");
        assert!(!outcome.text().contains(KEY), "{}", outcome.text());
        for (name, bytes) in project.files(".runner") {
            assert!(!String::from_utf8_lossy(&bytes).contains(KEY), "{module}: {name} holds the key");
        }
    }
}

#[test]
fn a_mount_plan_without_an_address_is_refused_before_anything_runs() {
    let project = Project::shipped();
    with_any(&project, &json!({"module": "provider-openai-compatible", "config": {"default_model": "m"}}));
    let refused = project.runner([DEMO, "--live"]).run();
    assert!(refused.text().contains("`base_url` must be set"), "{}", refused.text());
    assert_eq!(refused.code, Some(2), "{}", refused.text());
    let checked = project.runner(["check", DEMO]).run().expect_code(2);
    assert!(checked.text().contains("`base_url` must be set"), "{}", checked.text());
}
