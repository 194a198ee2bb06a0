//! What somebody sees who has just cloned the repository: the demo without a key, and what it refuses.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use serde_json::Value;

use super::{DEMO, DEMO_WORKSPACE, assert_worked_once, history, queue};
use crate::harness::Project;
use crate::server::{AnthropicServer, brain};

const SESSIONS: [&str; 4] = ["foreman", "coding-worker-1", "coding-worker-2", "research-worker-1"];

fn is(event: &Value, kind: &str) -> bool {
    event["event"]["type"] == kind
}

#[test]
fn without_a_key_the_demo_replays_and_asks_nobody() {
    let server = AnthropicServer::start(brain::demo());
    let project = Project::shipped();
    project.point_at(&server);
    let outcome = project.runner([DEMO]).run().expect_code(0);
    let first = outcome.stderr.lines().next().unwrap();
    assert_eq!(
        first,
        "ANTHROPIC_API_KEY is not set: REPLAY of a scripted recording, scenarios/demo.cassette"
    );
    for milestone in ["=== FOREMAN: Starting ===", "=== FOREMAN: Monitoring ===", "demo complete! ==="] {
        assert!(outcome.stderr.contains(milestone), "{milestone}: {}", outcome.text());
    }
    for session in SESSIONS {
        assert!(outcome.stderr.contains(&format!("{session:<18} begins")), "{session}: {}", outcome.text());
    }
    assert_eq!(server.requests().len(), 0, "a replay asks nobody");

    assert_worked_once(&project, DEMO_WORKSPACE, 5);
    let first = queue(&project, DEMO_WORKSPACE);
    let database = first["issues"].as_array().unwrap().iter();
    let database = database.filter(|issue| issue["title"] == "Optimize database queries").collect::<Vec<_>>();
    let id = database[0]["id"].as_str().unwrap();
    let events: Vec<_> = history(&project, DEMO_WORKSPACE, id).into_iter().map(|(event, _)| event).collect();
    assert_eq!(events, ["created", "blocked", "commented", "unblocked", "claimed", "closed"]);
    let shown = project.runner(["issues", "show", id, "--workspace", DEMO_WORKSPACE, "--json"]).run();
    let comment = &shown.expect_code(0).json()["issue"]["comments"][0];
    assert_eq!(
        (comment["author"].as_str(), comment["body"].as_str()),
        (Some("foreman"), Some("/api/users first, then /api/orders"))
    );

    project.runner([DEMO]).run().expect_code(0);
    assert_eq!(queue(&project, DEMO_WORKSPACE), first, "the same recording, the same queue");
}

#[test]
fn the_workers_overlap() {
    let project = Project::shipped();
    let events = project.runner([DEMO, "--json"]).run().expect_code(0).json_lines();
    let place = |session: &str, kind: &str, iteration: u64| {
        let found = events.iter().position(|event| {
            event["session"] == session && is(event, kind) && event["event"]["iteration"] == iteration
        });
        found.unwrap_or_else(|| panic!("{session} has no {kind} {iteration}"))
    };
    let workers = &SESSIONS[1..];
    for one in workers {
        for other in workers {
            let (began, ended) = (place(one, "iteration.started", 1), place(other, "iteration.ended", 1));
            assert!(began < ended, "{one} begins only after {other} has ended");
        }
    }
    // The monitor works while the workers do.
    let unblocked = events.iter().position(|event| event["event"]["change"] == "unblocked").unwrap();
    let over = |event: &Value| is(event, "phase.ended") && event["phase"] == "work";
    assert!(unblocked < events.iter().position(over).unwrap());
}

/// Long texts are cut, so that a snapshot shows the order and not the prompts again.
fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(60) {
                text.truncate(end);
                text.push('…');
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        _ => {}
    }
}

#[test]
fn a_total_replay_tells_everything_in_one_order() {
    let project = Project::shipped();
    let _filters = project.snapshots();
    let total = ["replay", DEMO, "--strictness", "total"];
    let plain = project.runner(total).run().expect_code(0);
    insta::assert_snapshot!("team_demo_plain", plain.text());
    let stream = || {
        let mut events = project.runner(total).arg("--json").run().expect_code(0).json_lines();
        for event in &mut events {
            // New in every run.
            for field in ["run", "folder"] {
                if let Some(field) = event["event"].get_mut(field) {
                    *field = "…".into();
                }
            }
        }
        events
    };
    let first = stream();
    for _ in 0..4 {
        assert_eq!(stream(), first);
    }
    let mut lines = String::new();
    for mut event in first {
        shorten(&mut event);
        lines.push_str(&format!("{event}\n"));
    }
    insta::assert_snapshot!("team_demo_json", lines);
}

#[test]
fn a_folder_of_somebody_else_is_left_as_it_is() {
    let project = Project::shipped();
    let _filters = project.snapshots();
    project.write(".demo-workspace/thesis.txt", "years of work\n");
    let before = project.files(DEMO_WORKSPACE);
    let outcome = project.runner([DEMO]).run().expect_code(3);
    insta::assert_snapshot!("team_refused_workspace", outcome.text());
    assert_eq!(project.files(DEMO_WORKSPACE), before);
    assert!(!project.path(".runner").exists(), "a run that cannot begin leaves nothing");
}

#[test]
fn folders_of_workers_of_an_earlier_run_are_left_as_they_are() {
    let project = Project::shipped();
    let _filters = project.snapshots();
    let scenario = project.read(DEMO);
    let fresh = "workspace: { path: .demo-workspace, fresh: true }";
    assert!(scenario.contains(fresh));
    let kept = "workspace: { path: .demo-workspace, isolation: per-worker }";
    project.write(DEMO, &scenario.replace(fresh, kept));
    project.write(".demo-workspace/.runner-workers/work/coding-worker-1/thesis.txt", "years of work\n");
    let before = project.files(DEMO_WORKSPACE);
    let outcome = project.runner([DEMO, "--live"]).with_key().run().expect_code(3);
    insta::assert_snapshot!("team_refused_workers_left", outcome.text());
    assert_eq!(project.files(DEMO_WORKSPACE), before);
}

fn manifest(project: &Project) -> Value {
    let run = project.read(".runner/runs/latest");
    serde_json::from_str(&project.read(&format!(".runner/runs/{}/manifest.json", run.trim()))).unwrap()
}

#[test]
fn the_toml_spelling_is_the_same_scenario() {
    let project = Project::shipped();
    let run = |file: &str| {
        project.runner(["replay", file, "--strictness", "total"]).run().expect_code(0);
        let mut plan = manifest(&project)["plan"].take();
        assert!(plan["file"].take().as_str().unwrap().ends_with(file));
        (plan, queue(&project, DEMO_WORKSPACE))
    };
    let yaml = run(DEMO);
    let toml = run("scenarios/demo.toml");
    assert_eq!(yaml.0["phases"].as_array().unwrap().len(), 3);
    assert_eq!(yaml, toml);
}

#[test]
fn with_neither_key_nor_recording_nothing_is_made() {
    let project = Project::shipped();
    let _filters = project.snapshots();
    std::fs::remove_dir_all(project.path("scenarios/demo.cassette")).unwrap();
    let before = project.files("");
    let outcome = project.runner([DEMO]).run().expect_code(3);
    insta::assert_snapshot!("team_refused_without_key", outcome.text());
    let live = project.runner([DEMO, "--live"]).run().expect_code(3);
    assert_eq!(live.text(), outcome.text());
    assert_eq!(project.files(""), before);
    assert!(!project.path(".runner").exists() && !project.path(DEMO_WORKSPACE).exists());
}

#[test]
fn ci_replays_unless_told_to_go_live_and_never_records() {
    let server = AnthropicServer::start(brain::demo());
    let project = Project::shipped();
    let _filters = project.snapshots();
    project.point_at(&server);
    let outcome = project.runner([DEMO]).ci().with_key().run().expect_code(0);
    let first = outcome.stderr.lines().next().unwrap();
    assert_eq!(first, "CI is set: REPLAY of a scripted recording, scenarios/demo.cassette");
    assert_eq!(server.requests().len(), 0);
    project.runner([DEMO, "--live"]).ci().with_key().run().expect_code(0);
    assert_ne!(super::assert_all_answered(&server), 0);

    let before = project.files("");
    let refused = project.runner(["record", DEMO]).ci().with_key().run().expect_code(2);
    insta::assert_snapshot!("team_refused_recording_in_ci", refused.text());
    project.runner([DEMO, "--record"]).ci().with_key().run().expect_code(2);
    let script = ["record", DEMO, "--script", "scenarios/demo.script.yaml"];
    project.runner(script).ci().with_key().run().expect_code(2);
    assert_eq!(project.files(""), before);
}
