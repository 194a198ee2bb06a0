//! Whether phases, claims, waits and failures go as the scenario format says, and replay as they went. A case is a file:
//! `tests/inputs/engine/NAME.yaml` with its `NAME.script.yaml`, recorded and then replayed in both strictnesses.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use runner::clock::Timestamp;
use runner::id::{IdSource, Seed};
use runner::store::{Caller, Claim, IssueStore, NewIssue, Operation, SqliteStore};
use serde_json::{Value, json};

use crate::harness::{self, Project, Runner};

/// Every case with the exit code of its run.
const CASES: [(&str, i32); 22] = [
    ("engine-fresh", 0),
    ("engine-keep", 0),
    ("two-pools", 0),
    ("fails-beside", 1),
    ("goes-on", 1),
    ("whens", 1),
    ("prompts", 0),
    ("iterations", 0),
    ("limit-fresh", 0),
    ("watched-skipped", 0),
    ("tired", 1),
    ("late-work", 0),
    ("watcher", 1),
    ("empty", 0),
    ("racing", 0),
    ("kinds", 0),
    ("groups", 0),
    ("included", 0),
    ("tries", 1),
    ("folders", 0),
    ("never-claims", 1),
    ("late-rounds", 7),
];

/// The answers of people.
const ANSWERS: [(&str, &str); 2] = [("kinds", "ask=yes"), ("tries", "asked=no")];

/// A project with every case.
pub(crate) fn project() -> Project {
    let project = Project::new();
    let inputs = harness::repository().join("tests/inputs/engine");
    harness::walk(&inputs, &mut |path| {
        let name = path.strip_prefix(&inputs).expect("a path below the folder").to_string_lossy();
        project.write(&name, &std::fs::read_to_string(path).expect("a text"));
    });
    project
}

/// What people are told, by session, by phase and by issue: within each the order is that of the run, between them chance.
fn told(runner: Runner, code: i32) -> String {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in runner.arg("--json").run().expect_code(code).json_lines() {
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        let event = &line["event"];
        let Some((group, shown)) = show(event, text("phase"), text("session")) else { continue };
        groups.entry(group).or_default().push(shown);
    }
    let mut out = String::new();
    for (group, lines) in groups {
        let _ = writeln!(out, "{group}");
        for line in lines {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

fn show(event: &Value, phase: &str, session: &str) -> Option<(String, String)> {
    let (kind, fields) = match event {
        Value::Object(map) if map.contains_key("type") => (event["type"].as_str()?, event),
        Value::Object(map) => map.iter().next().map(|(kind, fields)| (kind.as_str(), fields))?,
        _ => return None,
    };
    let text = |key: &str| fields[key].as_str().unwrap_or_default();
    let reasons = || {
        let found = fields["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
        found.collect::<Vec<_>>().join("; ")
    };
    let of_session = || format!("{phase}/{session}");
    Some(match kind {
        "phase.ended" => {
            (format!("{phase}/"), format!("ended {} {}", text("end"), reasons()).trim_end().to_owned())
        }
        "phase.retried" => (format!("{phase}/"), format!("try {} failed: {}", fields["attempt"], reasons())),
        "round.started" => (format!("{phase}/"), format!("round {}", fields["round"])),
        "approval.asked" => (format!("{phase}/"), format!("asks {}", text("message"))),
        "approval.given" => (format!("{phase}/"), format!("{} by {}", text("answer"), text("by"))),
        "tool.ended" if session.is_empty() => {
            (format!("{phase}/"), format!("command, error {}: {}", fields["is_error"], text("output")))
        }
        "phase.started" => (format!("{phase}/"), "started".to_owned()),
        "session.started" => (of_session(), "session".to_owned()),
        "session.ended" => (of_session(), format!("ended {}", fields["end"])),
        "prompt.sent" => (of_session(), text("text").lines().next().unwrap_or_default().to_owned()),
        "turn.ended" => {
            (of_session(), format!("turn {} {} {}", fields["turn"], fields["calls"], text("text")))
        }
        "worker.stopped" => (of_session(), format!("stopped {}", text("cause"))),
        "monitor.checked" => (of_session(), format!("woken by {}, due {}", text("trigger"), fields["due"])),
        "issue.changed" => (
            format!("\"{}\"", text("title")),
            format!("{} by {}: {}", text("change"), text("actor"), text("status")),
        ),
        "expect.checked" | "run.finished" => {
            ("run".to_owned(), fields.to_string().replace(text("folder"), ""))
        }
        _ => return None,
    })
}

/// Records a case and replays it; a replay tells the same.
#[track_caller]
fn case(name: &str) -> String {
    let code = CASES.iter().find(|(case, _)| *case == name).expect("it is listed above").1;
    let project = project();
    let file = format!("{name}.yaml");
    let record = project.runner(["record", &file, "--script", &format!("{name}.script.yaml")]);
    let record = ANSWERS
        .iter()
        .filter(|(case, _)| *case == name)
        .fold(record, |record, (_, answer)| record.args(["--answer", answer]));
    let first = told(record, code);
    for more in [vec!["--strictness", "total"], vec![], vec!["--jitter", "1"], vec!["--jitter", "2"]] {
        let again = told(project.runner(["replay", &file]).args(&more), code);
        assert_eq!(first.lines().collect::<Vec<_>>(), again.lines().collect::<Vec<_>>(), "{name} {more:?}");
    }
    first
}

macro_rules! cases {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                harness::settings().bind(|| insta::assert_snapshot!(concat!("engine_", $name), case($name)));
            }
        )*

        #[test]
        fn every_case_is_played() {
            let mut files: Vec<String> = Vec::new();
            harness::walk(&harness::repository().join("tests/inputs/engine"), &mut |path| {
                let name = path.file_name().expect("a file").to_string_lossy().into_owned();
                files.extend(name.strip_suffix(".yaml").filter(|name| !name.ends_with(".script")).map(str::to_owned));
            });
            let mut played = vec!["racing", $($name),*];
            played.sort_unstable();
            assert_eq!(files, played);
        }
    };
}

cases! {
    the_engine_claims_for_fresh_sessions: "engine-fresh",
    the_engine_claims_for_kept_sessions: "engine-keep",
    two_pools_work_beside_each_other: "two-pools",
    a_failure_beside_running_turns_replays: "fails-beside",
    a_failure_may_be_passed_over: "goes-on",
    conditions_of_phases: "whens",
    prompts_in_turn_and_last_words: "prompts",
    iterations_that_count: "iterations",
    limits_do_not_end_a_worker: "limit-fresh",
    a_watched_phase_that_never_begins: "watched-skipped",
    a_worker_that_does_not_want: "tired",
    work_that_comes_late: "late-work",
    a_monitor_that_listens: "watcher",
    nothing_to_do: "empty",
    phases_without_a_model: "kinds",
    phases_of_phases: "groups",
    an_included_scenario_by_itself: "included",
    what_fails_and_what_runs_all_the_same: "tries",
    a_folder_for_each_worker: "folders",
    workers_that_never_claim: "never-claims",
    rounds_and_items_that_take_too_long: "late-rounds",
}

/// Who gets which issue is chance, so there is no snapshot; that it replays is none.
#[test]
fn workers_that_race_replay() {
    assert!(case("racing").contains("closed"));
}

/// What a lapsed lease of somebody else holds is given back, so that workers that wait are woken for it.
#[tokio::test]
async fn what_a_lapsed_lease_holds_is_worked_on() {
    let project = project();
    let agent = project.read("mount-plans/agent.json");
    let mut agent: Value = serde_json::from_str(&agent).expect("JSON");
    agent["providers"] = json!([{"module": "provider-mock", "config": {"script": "racing.script.yaml"}}]);
    project.write("mount-plans/agent.json", &agent.to_string());
    project.write(
        "lapsed.yaml",
        "version: 1\nname: lapsed\nworkspace: { path: kept }\nroles:\n  coder: { mount_plan: mount-plans/agent.json }\n\
         phases:\n  - id: work\n    workers:\n      pool: [{ role: coder, count: 2 }]\n      prompt: prompts/engine.md\n\
         \x20     when_empty: wait\nexpect: [issues.closed == 1]\n",
    );
    std::fs::create_dir_all(project.path("kept/.beads")).expect("a folder");
    let store = SqliteStore::open(&project.path("kept/.beads/issues.db")).expect("a new queue");
    let caller = |what: &str| Caller {
        run: None,
        effect: None,
        actor: "somebody".to_owned(),
        holder: "somebody".to_owned(),
        epochs: BTreeMap::new(),
        at: Timestamp::UNIX_EPOCH,
        ids: Arc::new(IdSource::new(&Seed::new("test"), what)),
        sequence: None,
    };
    let lease = Duration::from_secs(1);
    let create = Operation::Create(NewIssue { title: "Left".to_owned(), ..NewIssue::default() });
    let claim = Operation::Claim(Claim::first(lease, 3));
    for (what, operation) in [("create", create), ("claim", claim)] {
        store.apply(caller(what), operation).await.expect("the queue is free");
    }
    drop(store);
    project.runner(["run", "lapsed.yaml"]).run().expect_code(0);
}

/// Without sessions and issues there is nothing to tell of them.
#[test]
fn a_run_of_commands_has_no_tables() {
    let project = project();
    project.write(
        "commands.yaml",
        "version: 1\nname: commands\nworkspace: { path: .ws, fresh: true }\nphases:\n  - { id: say, shell: { run: \"true\" } }\n",
    );
    let run = project.runner(["commands.yaml"]).run().expect_code(0);
    assert_eq!(run.stdout, "", "{}", run.text());
    let shown = project.runner(["show"]).run().expect_code(0);
    assert!(shown.stdout.contains("outcome    ok (exit 0)"), "{}", shown.text());
    assert!(!shown.stdout.contains("tool calls"), "{}", shown.text());
}

/// The committed recording of the demo is of the demo as it is.
#[test]
fn the_committed_demo_replays() {
    let project = Project::shipped();
    for more in [vec!["--strictness", "total"], vec!["--jitter", "7"]] {
        project.runner(["replay", "scenarios/demo.yaml"]).args(&more).run().expect_code(0);
    }
}
