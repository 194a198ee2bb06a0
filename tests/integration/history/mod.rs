//! Can it be seen afterwards what happened, can a run become a recording, and is every recording in order?
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use std::path::{Path, PathBuf};

use runner::cassette::{self, Strangers};
use runner::event::Happening;
use runner::journal::{self, Manifest, Record};
use runner::secret::Scrubber;

use crate::harness::{Outcome, Project, repository, walk};
use crate::server::{AnthropicServer, brain};

const DEMO: &str = "scenarios/demo.yaml";

fn inputs() -> PathBuf {
    repository().join("tests/inputs/recordings")
}

/// A project in which the demo was recorded from its script and then replayed.
fn two_runs() -> Project {
    let project = Project::shipped();
    record(&project, "first.cassette");
    project.runner(["replay", DEMO, "--strictness", "total"]).run().expect_code(0);
    project
}

fn record(project: &Project, to: &str) -> Outcome {
    let script = "scenarios/demo.script.yaml";
    project.runner(["record", DEMO, "--script", script, "--to", to]).run().expect_code(0)
}

fn ids(project: &Project) -> Vec<String> {
    let runs = project.runner(["runs", "--json"]).run().expect_code(0).json_lines();
    runs.iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn runs_are_listed_and_shown() {
    let project = two_runs();
    let _filters = project.snapshots();
    insta::assert_snapshot!("history_runs", project.runner(["runs"]).run().text());
    let [replay, scripted] = ids(&project).try_into().unwrap();
    assert!(replay > scripted, "the newest first");
    insta::assert_snapshot!("history_show", project.runner(["show", &scripted]).run().text());
    let shown = project.runner(["show", "--json"]).cwd("prompts").run().expect_code(0).json();
    assert_eq!(shown["run"], *replay);
    assert_eq!((shown["evidence"].as_str(), shown["turns"].as_u64()), (Some("replay"), Some(21)));
    assert_eq!(shown["work"].as_array().unwrap().len(), 4);
    assert_eq!(shown["issues"][0]["closed_by"], "coding-worker-1");
    let limited = project.runner(["runs", "--limit", "1", "--json"]).run().expect_code(0);
    assert_eq!(limited.json_lines().len(), 1);
}

#[test]
fn a_run_is_named_by_any_end_that_only_it_has() {
    let project = two_runs();
    let [newest, oldest] = ids(&project).try_into().unwrap();
    for (name, run) in [(&oldest[24..], &oldest), ("latest", &newest), (oldest.as_str(), &oldest)] {
        let shown = project.runner(["show", name, "--json"]).run().expect_code(0).json();
        assert_eq!(shown["run"], **run, "{name}");
    }
    let both = project.runner(["show", "0"]).run().expect_code(2);
    assert!(both.stderr.contains(&newest) && both.stderr.contains(&oldest), "{}", both.text());
    let none = project.runner(["logs", "nothing"]).run().expect_code(2);
    assert!(none.stderr.starts_with("error: there is no run `nothing`"), "{}", none.text());
    let elsewhere = Project::new().runner(["runs"]).run().expect_code(2);
    assert!(elsewhere.stderr.starts_with("error: there are no runs"), "{}", elsewhere.text());
}

#[test]
fn logs_are_the_lines_of_the_run() {
    let project = Project::shipped();
    let ran = project.runner(["replay", DEMO, "--strictness", "total"]).run().expect_code(0);
    let logs = project.runner(["logs"]).run().expect_code(0);
    assert!(ran.stderr.starts_with(&logs.stdout), "{}\n{}", ran.stderr, logs.stdout);
    assert!(logs.stdout.contains("demo complete! ==="), "{}", logs.stdout);
    let followed = project.runner(["logs", "--follow"]).run().expect_code(0);
    assert_eq!(followed.stdout, logs.stdout, "there is nothing left to wait for");
    let events = project.runner(["logs", "--json"]).run().expect_code(0).json_lines();
    assert_eq!(events.last().unwrap()["event"]["type"], "run.finished");
}

#[test]
fn a_session_reads_as_a_conversation() {
    let project = two_runs();
    let scripted = ids(&project).pop().unwrap();
    let _filters = project.snapshots();
    let session = ["logs", &scripted, "create-issues/foreman"];
    insta::assert_snapshot!("history_session", project.runner(session).run().text());
    let pieces = project.runner(session).arg("--json").run().expect_code(0).json_lines();
    let count = |kind: &str| pieces.iter().filter(|piece| piece["kind"] == kind).count();
    assert_eq!((count("prompt"), count("reply"), count("call")), (1, 3, 6));
    let both = project.runner(["logs", &scripted, "foreman"]).run().expect_code(0);
    assert!(both.stdout.contains("=== unblock/foreman ==="), "{}", both.stdout);
    let replayed = project.runner(["logs", "latest", "create-issues/foreman", "--json"]).run().expect_code(0);
    let kinds = |kind: &str| replayed.json_lines().iter().filter(|piece| piece["kind"] == kind).count();
    assert_eq!(["prompt", "reply", "call", "result"].map(kinds), [1, 3, 6, 6], "{}", replayed.text());
    let nobody = project.runner(["logs", "latest", "nobody"]).run().expect_code(2);
    assert!(nobody.stderr.contains("it has create-issues/foreman, "), "{}", nobody.text());
}

#[test]
fn a_live_run_becomes_a_recording_that_replays() {
    let server = AnthropicServer::start(brain::demo());
    let project = Project::shipped();
    project.point_at(&server);
    project.runner([DEMO, "--live"]).with_key().run().expect_code(0);
    let asked = server.requests().len();
    let saved = project.runner(["cassette", "save", "--to", "saved.cassette"]).run().expect_code(0);
    assert!(saved.stderr.starts_with("recording: saved.cassette (recorded, "), "{}", saved.text());
    for way in [["--strictness", "total"], ["--jitter", "3"]] {
        project.runner(["replay", DEMO, "--from", "saved.cassette"]).args(way).run().expect_code(0);
    }
    assert_eq!(server.requests().len(), asked);
    project.runner(["cassette", "doctor", "saved.cassette"]).run().expect_code(0);
    let models = project.runner(["cassette", "show", "saved.cassette", "--json"]).run().expect_code(0).json();
    assert_eq!(models["head"]["models"]["foreman"], "provider-anthropic/claude-sonnet-4-5");
    let replay = project.runner(["cassette", "save"]).run().expect_code(2);
    assert!(replay.stderr.contains("it is a replay"), "{}", replay.text());
}

#[test]
fn a_run_that_began_on_a_filled_queue_is_no_recording() {
    let server = AnthropicServer::start(brain::demo());
    let project = Project::shipped();
    project.point_at(&server);
    project.replace(DEMO, "fresh: true", "fresh: false");
    project.runner([DEMO, "--live"]).with_key().run();
    project.runner([DEMO, "--live"]).with_key().run();
    let refused = project.runner(["cassette", "save", "--to", "x"]).run().expect_code(2);
    assert!(
        refused.stderr.contains(" issues in its queue, and a replay begins with an empty one"),
        "{}",
        refused.text()
    );
    assert!(!project.path("x").exists());
}

#[test]
fn a_run_that_ran_commands_is_no_recording_unless_it_was_to_be_one() {
    let project = Project::new();
    project.write(
        "s.yaml",
        "version: 1
workspace: { path: .desk, fresh: true }
roles: { clerk: { mount_plan: clerk.yaml } }
phases: [{ id: file, session: { role: clerk, prompt: ask.md } }]
",
    );
    project.write("ask.md", "Do it.\n");
    project.write(
        "clerk.yaml",
        "session: { orchestrator: { module: loop-streaming }, context: { module: context-simple } }
providers: [{ module: provider-mock, config: { script: script.yaml } }]
tools: [{ module: tool-bash }]
",
    );
    project.write(
        "script.yaml",
        "rules:
  - when: since_prompt == 1
    calls: [{ tool: bash, input: { command: echo 2 > two.txt } }]
  - say: Done.
",
    );
    project.runner(["s.yaml"]).run().expect_code(0);
    let refused = project.runner(["cassette", "save", "--to", "x"]).run().expect_code(2);
    assert!(refused.stderr.contains("it ran commands (file/clerk/1.1 is the first)"), "{}", refused.text());
    project.runner(["s.yaml", "--record=kept"]).run().expect_code(0);
    project.runner(["cassette", "save", "--to", "x"]).run().expect_code(0);
    assert_eq!(project.files("x"), project.files("kept"));
    let nowhere = project.runner(["cassette", "save"]).run().expect_code(2);
    assert!(nowhere.stderr.contains("name a folder with --to DIR"), "{}", nowhere.text());
}

#[test]
fn clean_removes_runs_and_nothing_else() {
    let project = two_runs();
    let [newest, oldest] = ids(&project).try_into().unwrap();
    let stranger = "01900000-0000-7000-8000-000000000000";
    project.write(&format!(".runner/runs/{stranger}/manifest.json"), "{\"run\": \"another\"}");
    project.write(".runner/runs/notes/keep.md", "mine");
    let young = project.runner(["clean"]).run().expect_code(0);
    assert_eq!((young.stdout.as_str(), young.stderr.as_str()), ("", "removed 0 runs, 0 B\n"));
    let dry = project.runner(["clean", "--keep", "1", "--dry-run"]).run().expect_code(0);
    assert!(dry.stdout.starts_with(&format!("would remove {oldest} (")), "{}", dry.text());
    assert!(project.path(&format!(".runner/runs/{oldest}")).is_dir());
    project.runner(["clean", "--older-than", "0s", "--keep", "1"]).run().expect_code(0);
    assert!(!project.path(&format!(".runner/runs/{oldest}")).exists());
    assert_eq!(project.read(".runner/runs/latest").trim(), newest);
    project.runner(["clean", "--keep", "0"]).run().expect_code(0);
    assert!(!project.path(&format!(".runner/runs/{newest}")).exists());
    assert_eq!(project.read(".runner/runs/notes/keep.md"), "mine");
    assert!(project.path(&format!(".runner/runs/{stranger}")).is_dir());
}

#[test]
fn a_difference_is_told_where_it_begins() {
    let project = Project::shipped();
    let _filters = project.snapshots();
    record(&project, "first.cassette");
    let same = project.runner(["diff", "latest", "scenarios/demo.cassette"]).run().expect_code(0);
    assert_eq!(same.stdout, "no difference in 60 effects\n");
    project.replace("prompts/work.md", "Work on one issue, and only one,", "Work on a single issue");
    record(&project, "second.cassette");
    let differs = ["diff", "first.cassette", "second.cassette"];
    insta::assert_snapshot!("history_diff", project.runner(differs).run().expect_code(1).text());
    let json = project.runner(differs).arg("--json").run().expect_code(1).json();
    assert_eq!(json["first"]["class"], "prompt");
    assert_eq!(json["equal"], false);
    project.runner(["replay", DEMO, "--from", "second.cassette"]).run().expect_code(0);
    let replay = project.runner(["diff", "latest", "first.cassette"]).run().expect_code(2);
    assert!(replay.stderr.contains("keeps no effects of its own"), "{}", replay.text());
}

#[test]
fn the_doctor_finds_everything_with_its_place() {
    let project = Project::shipped();
    let _filters = project.snapshots();
    let doctor = |what: &str| {
        let found = project.runner(["cassette", "doctor", "scenarios/demo.cassette"]);
        let found = found.env("MY_TOKEN", "q8Zk3Lq9Xw2mN4").run().expect_code(1);
        format!("# {what}\n{}", found.stdout)
    };
    let session = "scenarios/demo.cassette/sessions/unblock.foreman.yaml";
    let whole = project.read(session);
    let mut told = String::new();
    let key = format!("sk-ant-{}", "api03-AbCdEfGhIjKlMnOpQrStUv");
    for (what, text) in [
        ("a key", key.as_str()),
        ("a credential of this machine", "q8Zk3Lq9Xw2mN4"),
        ("a path", "/home/somebody/x"),
    ] {
        project.write(session, &format!("{whole}# {text}\n"));
        told += &doctor(what);
    }
    project.write(session, &whole);
    project.write("scenarios/demo.cassette/blobs/0123456789abcdef", "left over");
    told += &doctor("a blob that nothing needs, under a wrong name");
    std::fs::remove_file(project.path("scenarios/demo.cassette/blobs/0123456789abcdef")).unwrap();
    std::fs::remove_file(project.path("scenarios/demo.cassette/blobs/75d3b03e041163d2")).unwrap();
    told += &doctor("a blob is missing");
    project.replace("scenarios/demo.cassette/ledger.txt", "3 tool create-issues/foreman/1.2", "3 tool");
    told += &doctor("a ledger that cannot be read");
    insta::assert_snapshot!("history_doctor", told);
    let none = project.runner(["cassette", "doctor", "prompts"]).run().expect_code(1);
    assert!(none.stderr.starts_with("error: no recording at "), "{}", none.text());
}

#[test]
fn every_recording_of_the_repository_is_in_order() {
    let mut heads = Vec::new();
    for folder in ["scenarios", "tests/inputs", "benches"] {
        walk(&repository().join(folder), &mut |path| {
            if path.ends_with("cassette.yaml") {
                heads.push(path.to_owned());
            }
        });
    }
    assert!(heads.len() >= 2, "{heads:?}");
    let scrubber = Scrubber::default();
    let strangers = Strangers { scrubber: &scrubber, places: vec![repository().display().to_string()] };
    for head in heads {
        let folder = head.parent().unwrap();
        assert_eq!(cassette::examine(folder, &strangers), Ok(Vec::new()), "{}", folder.display());
    }
}

/// These files are never written again: whoever changes a format must still read them, or say that they are refused.
#[test]
fn what_the_first_format_wrote_is_read_for_ever() {
    let folder = inputs().join("run-1");
    let manifest = Manifest::read(&folder).unwrap();
    assert_eq!((manifest.format, manifest.seed.as_str()), (1, "triage"));
    let reading = journal::read_whole(&folder.join("journal.jsonl")).unwrap();
    assert_eq!((reading.lines.len(), reading.foreign, reading.torn), (31, 0, false));
    let record = Record::of(reading.lines);
    assert_eq!((record.effects.len(), record.texts.len(), record.events.len()), (6, 15, 22));
    assert_eq!((record.resumed, record.last_seq), (1, 7));
    assert!(matches!(record.events[0].event, Happening::RunStarted { .. }));
    let recording = cassette::read(&inputs().join("format-1.cassette")).unwrap();
    assert_eq!((recording.effects.len(), recording.head.seed.as_str()), (7, "triage"));
    assert_eq!(recording.effects[..6], record.effects[..]);
}

#[test]
fn older_is_read_and_newer_is_refused() {
    let changed = |from: &str, to: &str| {
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(inputs().join("run-1/manifest.json")).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(folder.path().join("manifest.json"), text.replace(from, to)).unwrap();
        Manifest::read(folder.path()).map(|manifest| manifest.models).map_err(|error| error.to_string())
    };
    assert!(
        changed("\"models\": {", "\"of_a_newer_version\": {").unwrap().is_empty(),
        "unknown fields are no matter"
    );
    let newer = changed("\"format\": 1,", "\"format\": 2,").unwrap_err();
    assert!(
        newer.ends_with("manifest.json has format 2, and this version reads formats up to 1; use the version of runner that wrote it"),
        "{newer}"
    );
    let damaged = changed("\"seed\": \"triage\",", "").unwrap_err();
    assert!(damaged.contains("manifest.json: missing field `seed`"), "{damaged}");
    let newer = with_head(&inputs().join("format-1.cassette"), "format: 1", "format: 2");
    assert!(
        newer
            .contains("has format 2, this version reads 1; record it again, or use the version that made it"),
        "{newer}"
    );
}

/// What reading this cassette says once its head is changed.
fn with_head(cassette: &Path, from: &str, to: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(cassette.join("cassette.yaml")).unwrap();
    std::fs::write(folder.path().join("cassette.yaml"), text.replace(from, to)).unwrap();
    cassette::read(folder.path()).unwrap_err().to_string()
}
