//! Scripted recordings: the same script gives the same bytes, and the shipped recording is what it gives now.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use super::DEMO;
use crate::harness::{BINARY, Project};

type Files = std::collections::BTreeMap<String, String>;

/// A cassette without the id of its run, which is new every time.
fn cassette(project: &Project, folder: &str) -> Files {
    let text = |(name, bytes): (String, Vec<u8>)| {
        let text = String::from_utf8(bytes).unwrap();
        (
            name,
            text.lines().filter(|line| !line.starts_with("run: ")).map(|line| format!("{line}\n")).collect(),
        )
    };
    project.files(folder).into_iter().map(text).collect()
}

#[test]
fn a_script_always_records_the_same() {
    let project = Project::shipped();
    let record = |to: &str| {
        let record = ["record", DEMO, "--script", "scenarios/demo.script.yaml", "--to", to];
        let outcome = project.runner(record).run().expect_code(0);
        assert!(outcome.stderr.contains("SCRIPTED: a script answers"), "{}", outcome.text());
        cassette(&project, to)
    };
    let first = record("first.cassette");
    assert!(first["cassette.yaml"].contains("evidence: scripted\n"));
    for _ in 0..5 {
        similar(&record("again.cassette"), &first);
    }
    // When this fails, the demo has changed: record it again, with the command at the top of its script.
    similar(&cassette(&project, "scenarios/demo.cassette"), &first);
}

#[test]
fn every_shipped_recording_is_what_its_script_gives() {
    let project = Project::shipped();
    let scripts = project.files("scenarios").into_keys();
    let names: Vec<_> =
        scripts.filter_map(|path| Some(path.strip_suffix(".script.yaml")?.to_owned())).collect();
    assert_eq!(
        names,
        ["bug-hunt", "demo", "epic", "matrix", "release-gate", "research-report", "review-loop"]
    );
    for name in names {
        let (scenario, script) = (format!("scenarios/{name}.yaml"), format!("scenarios/{name}.script.yaml"));
        let record = ["record", scenario.as_str(), "--script", script.as_str(), "--to", "new.cassette"];
        let answer: &[&str] = if name == "release-gate" { &["--answer", "gate=yes"] } else { &[] };
        project.runner(record).args(answer).run().expect_code(0);
        // When this fails, the scenario or its script has changed: record it again, with the command at the top of the script.
        similar(
            &cassette(&project, &format!("scenarios/{name}.cassette")),
            &cassette(&project, "new.cassette"),
        );
        std::fs::remove_dir_all(project.path("new.cassette")).unwrap();
    }
}

/// Workers begin at once after the issues of the queue are made: nothing of the run has been heard of before that.
#[test]
fn issues_of_the_queue_do_not_keep_workers_from_beginning() {
    let project = Project::shipped();
    project.write(
        "scenarios/plain.yaml",
        "version: 1
workspace: { path: .plain, fresh: true }
queue: { issues: [{ title: A, metadata: { kind: a } }] }
roles: { worker: { mount_plan: mount-plans/foreman.json, takes: { kind: a } } }
phases:
  - id: work
    workers: { pool: [{ role: worker }], prompt: prompts/bug-hunt/fix.md }
expect: [issues.closed == 1]
",
    );
    let script = ["--script", "scenarios/bug-hunt.script.yaml", "--to", "plain.cassette"];
    let record =
        project.command("timeout").args(["60", BINARY, "record", "scenarios/plain.yaml"]).args(script);
    let recorded = record.run().expect_code(0);
    assert!(recorded.text().contains("closed: A"), "{}", recorded.text());
}

/// What reads beside each other is numbered as it was asked for, not as the disk answers.
#[test]
fn calls_that_read_beside_each_other_have_one_order() {
    let project = Project::shipped();
    project.write(
        "scenarios/read.yaml",
        "version: 1
workspace:
  path: .read
  fresh: true
  setup: [\"seq 500000 > large.txt\", \"echo small > small.txt\"]
roles: { reader: { mount_plan: mount-plans/testing-worker.json } }
phases:
  - id: look
    session: { role: reader, prompt: prompts/bug-hunt/put-aside.md }
",
    );
    project.write(
        "read.script.yaml",
        "rules:
  - when: turn == 1
    calls:
      - { tool: grep, input: { pattern: '(.*9){6}x', path: large.txt } }
      - { tool: read_file, input: { file_path: small.txt } }
      - { tool: read_file, input: { file_path: none.txt } }
  - say: All of them are read.
",
    );
    let record = ["record", "scenarios/read.yaml", "--script", "read.script.yaml", "--to", "read.cassette"];
    project.runner(record).run().expect_code(0);
    let ledger = project.read("read.cassette/ledger.txt");
    let calls: Vec<_> = ledger.split_whitespace().filter(|word| word.starts_with("look/reader/1.")).collect();
    assert_eq!(calls, ["look/reader/1.1", "look/reader/1.2", "look/reader/1.3"], "{ledger}");
}

/// Compares file by file, so that a failure shows one.
#[track_caller]
fn similar(left: &Files, right: &Files) {
    for (name, text) in left {
        assert_eq!(Some(text), right.get(name), "{name}");
    }
    assert_eq!(left.len(), right.len());
}
