//! Does the harness keep its word? Shell commands stand in for the binary.

use nix::sys::signal::Signal;

use crate::harness::Project;
use crate::server::{AnthropicServer, KEY, brain};

#[test]
fn nothing_of_the_outer_environment_comes_through() {
    let project = Project::new();
    let outcome = project.command("/usr/bin/env").run().expect_code(0);
    let names: Vec<_> =
        outcome.stdout.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    for name in ["HOME", "TMPDIR", "PATH", "LANG", "TZ"] {
        assert!(names.contains(&name), "{name} is missing from {names:?}");
    }
    assert!(project.command("/usr/bin/env").ci().run().stdout.contains("CI=true"));
}

#[test]
fn mount_plans_are_pointed_at_a_server() {
    let server = AnthropicServer::start(brain::demo());
    let project = Project::new();
    let provider = r#"{"module": "provider-anthropic", "config": {"default_model": "claude-opus-4-5"}}"#;
    project.write(
        "mount-plans/a.json",
        &format!(r#"{{"providers": [{provider}, {{"module": "provider-mock"}}]}}"#),
    );
    project.write("mount-plans/deep/b.json", &format!(r#"{{"providers": [{provider}]}}"#));
    project.point_at(&server);
    for name in ["mount-plans/a.json", "mount-plans/deep/b.json"] {
        let plan: serde_json::Value = serde_json::from_str(&project.read(name)).unwrap();
        assert_eq!(plan["providers"][0]["config"]["base_url"], server.url());
        assert_eq!(plan["providers"][0]["config"]["default_model"], "claude-opus-4-5");
        assert!(plan["providers"][1]["config"].is_null());
    }
    let environment = project.command("/usr/bin/env").with_key().run().stdout;
    assert!(environment.contains(&format!("ANTHROPIC_API_KEY={KEY}\n")), "{environment}");
}

#[test]
fn standard_input_is_closed_or_what_the_test_says() {
    let project = Project::new();
    assert_eq!(project.command("/bin/cat").run().expect_code(0).stdout, "");
    assert_eq!(project.command("/bin/cat").stdin("über\n").run().stdout, "über\n");
}

#[test]
fn a_running_process_is_heard_and_signalled() {
    let project = Project::new();
    let polite = "trap 'kill %1; echo bye; exit 7' TERM; echo ready >&2; sleep 1000 & wait";
    let running = project.command("/bin/bash").args(["-c", polite]).spawn();
    running.wait_for("ready").signal(Signal::SIGTERM).wait_for("bye");
    let outcome = running.finish().expect_code(7);
    assert_eq!((outcome.stdout.as_str(), outcome.signal), ("bye\n", None));

    let running = project.command("/bin/sleep").arg("1000").spawn();
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish().signal, Some(9));
}

#[test]
fn a_dropped_process_ends_with_all_it_started() {
    let project = Project::new();
    let running = project.command("/bin/sh").args(["-c", "sleep 1000 & echo started; wait"]).spawn();
    running.wait_for("started");
    // Returns when the pipes are closed, which the sleeping grandchild holds open until it is killed.
    drop(running);
}

#[test]
fn an_unexpected_end_is_told_with_all_output() {
    let project = Project::new();
    let outcome = project.command("/bin/sh").args(["-c", "echo out; echo err >&2; exit 3"]).run();
    assert_eq!(outcome.text(), "exit 3\n----- stdout -----\nout\n----- stderr -----\nerr\n");
    let failed = std::panic::catch_unwind(|| outcome.expect_code(0));
    let said = failed.expect_err("the codes differ").downcast::<String>().expect("a message");
    assert!(said.contains("echo out") && said.contains("----- stderr -----\nerr"), "{said}");
}

#[test]
fn snapshots_hold_nothing_of_chance() {
    let project = Project::new();
    project.write("a/b.txt", "x");
    let _filters = project.snapshots();
    let text = format!(
        "{root}/a/b.txt 0190b5a8-7c1e-7abc-8def-0123456789ab 2026-11-25T19:09:01.5Z 12:00:01 http://127.0.0.1:41234/v1 took 1.25s, 310ms; lease 15m, every 5s; runner 0.1.0; {other}",
        root = project.root().display(),
        other = Project::new().root().display(),
    );
    insta::assert_snapshot!(text, @"[project]/a/b.txt [run] [time] [clock] http://127.0.0.1:[port]/v1 took [duration], [duration]; lease 15m, every 5s; runner [version]; [temp]/project");
}
