//! Scripted recordings: the same script gives the same bytes, and the shipped recording is what it gives now.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use super::DEMO;
use crate::harness::Project;

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

/// Compares file by file, so that a failure shows one.
#[track_caller]
fn similar(left: &Files, right: &Files) {
    for (name, text) in left {
        assert_eq!(Some(text), right.get(name), "{name}");
    }
    assert_eq!(left.len(), right.len());
}
