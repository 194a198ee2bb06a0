//! Does `runner test` find scenarios, play them without a trace, and say exactly what is wrong?

use std::fs::File;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{Outcome, Project, Runner, repository};

const SCENARIO: &str = "\
version: 1
name: NAME
workspace: { path: .NAME-workspace, fresh: true }
roles:
  clerk: { mount_plan: mount-plans/agent.json }
phases:
  - id: file
    session: { role: clerk, prompt: prompts/file.md }
expect: [issues.open == 1]
replay: { cassette: scenarios/NAME.cassette }
";

const SCRIPT: &str = "\
rules:
  - when: turn == 1
    calls:
      - tool: issue_manager
        input: { operation: create, params: { title: Crash on start } }
  - say: Filed.
";

/// A project with a recorded scenario for each name.
fn project(names: &[&str]) -> Project {
    let project = Project::new();
    let plan = std::fs::read_to_string(repository().join("tests/inputs/engine/mount-plans/agent.json"));
    project.write("mount-plans/agent.json", &plan.expect("the mount plan of the engine's tests"));
    project.write("prompts/file.md", "File the bug.\n").write("script.yaml", SCRIPT);
    for name in names {
        project.write(&format!("scenarios/{name}.yaml"), &SCENARIO.replace("NAME", name));
        record(&project, name, 0);
    }
    forget_runs(&project);
    project
}

/// Removes what recording leaves behind.
fn forget_runs(project: &Project) {
    if project.path(".runner").exists() {
        std::fs::remove_dir_all(project.path(".runner")).expect("folders of runs");
    }
}

fn record(project: &Project, name: &str, code: i32) {
    let file = format!("scenarios/{name}.yaml");
    project.runner(["record", &file, "--script", "script.yaml"]).run().expect_code(code);
}

fn test<'a>(project: &Project, args: impl IntoIterator<Item = &'a str>) -> Runner {
    project.runner(["test"]).args(args.into_iter().map(str::to_owned).collect::<Vec<_>>())
}

/// Everything in a project but what a recording has left in its workspace.
fn names(project: &Project) -> Vec<String> {
    project.files(".").into_keys().filter(|name| !name.contains("-workspace/")).collect()
}

#[test]
fn a_scenario_passes_and_nothing_is_left_behind() {
    let project = project(&["one", "two"]);
    let before = project.files(".");
    let outcome = test(&project, []).run().expect_code(0);
    let _guard = project.snapshots();
    insta::assert_snapshot!("test__passes", outcome.text());
    assert_eq!(project.files("."), before);
    assert!(!project.path(".runner").exists());
}

#[test]
fn a_recording_brings_the_inputs_it_was_made_with() {
    let project = project(&["one"]);
    let scenario = project.read("scenarios/one.yaml");
    project.write(
        "scenarios/one.yaml",
        &format!("{scenario}inputs: {{ what: {{ required: true }}, who: {{ default: me }} }}\n"),
    );
    project.write("prompts/file.md", "File the bug of {{ inputs.what }} for {{ inputs.who }}.\n");
    let file = "scenarios/one.yaml";
    let record = ["record", file, "--script", "script.yaml", "-i", "what=the door"];
    project.runner(record).env("RUNNER_VAR_WHO", "Ana").run().expect_code(0);
    assert!(project.read("scenarios/one.cassette/cassette.yaml").contains("what: the door\n  who: Ana\n"));
    for words in [&["test"][..], &["replay", file], &["run", file, "--replay"], &["cassette", "rebase", file]]
    {
        project.runner(words).run().expect_code(0);
    }
    project.runner([file]).ci().run().expect_code(2);
    for other in ["what=the window", "who=me"] {
        let outcome = project.runner(["replay", file, "-i", other]).run().expect_code(6);
        assert!(outcome.stderr.contains("(prompt)"), "{}", outcome.text());
    }
    project.runner(["replay", file]).env("RUNNER_VAR_WHO", "me").run().expect_code(6);
    // An input that is gone is nobody's: what differs is what conditions can name, not what the replay is given.
    project.replace(file, "who: { default: me }", "whom: { default: Ana }");
    project.replace("prompts/file.md", "inputs.who ", "inputs.whom ");
    let outcome = project.runner(["replay", file]).run().expect_code(6);
    assert!(outcome.stderr.contains("DIVERGENCE at run/!expect-1"), "{}", outcome.text());
}

/// A project whose one scenario names these faults.
fn with_faults(faults: &str) -> Project {
    let project = project(&["one"]);
    let scenario = project.read("scenarios/one.yaml");
    project.write("scenarios/one.yaml", &format!("{scenario}faults:\n{faults}"));
    project
}

#[test]
fn faults_of_a_scenario_happen_in_its_test_and_nowhere_else() {
    let project = with_faults(
        "  - { at: file/clerk/1, http: 529, times: 3 }\n  - { at: file/clerk/2, cut_after_event: 2 }\n",
    );
    let before = project.files(".");
    test(&project, []).run().expect_code(0);
    assert_eq!(project.files("."), before);
    let replay = project.runner(["replay", "scenarios/one.yaml"]).run().expect_code(0);
    assert!(!replay.stderr.contains("attempt 1 failed"), "{}", replay.text());
}

#[test]
fn a_scenario_that_does_not_bear_its_faults_fails() {
    let mut told = String::new();
    for (faults, code) in [
        ("  - { at: file/clerk/1, http: 529, times: 20 }\n", 6),
        ("  - { at: file/clerk/2, http: 401 }\n", 3),
        ("  - { at: file/clerk/9, stall: true }\n", 5),
    ] {
        let outcome = test(&with_faults(faults), []).run().expect_code(code);
        told += &format!("{faults}{}\n", outcome.text());
    }
    let project = Project::new();
    let _guard = project.snapshots();
    insta::assert_snapshot!("test__faults", told);
}

#[test]
fn snapshots_are_written_on_purpose_and_hold_nothing_of_chance() {
    let project = project(&["one"]);
    assert!(test(&project, []).run().expect_code(0).stdout.contains("no snapshots"));
    let refused = test(&project, ["--update"]).ci().run().expect_code(2);
    assert!(refused.stderr.contains("--update is refused when CI is set"), "{}", refused.text());
    assert!(!project.path("scenarios/one.snapshots").exists());
    assert!(test(&project, ["--update"]).run().expect_code(0).stdout.contains("snapshots written"));
    let written = project.files("scenarios/one.snapshots");
    let all: String =
        written.iter().map(|(name, text)| format!("# {name}\n{}\n", String::from_utf8_lossy(text))).collect();
    {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("test__snapshots", all));
    }
    // Another seed makes other ids of issues; nobody sees them here.
    project
        .runner(["record", "scenarios/one.yaml", "--script", "script.yaml", "--seed", "x"])
        .run()
        .expect_code(0);
    assert_eq!(test(&project, ["--update"]).run().expect_code(0).stdout.matches("written").count(), 0);
    assert_eq!(project.files("scenarios/one.snapshots"), written);
}

#[test]
fn a_snapshot_that_differs_is_shown_with_its_lines() {
    let project = project(&["one"]);
    test(&project, ["--update"]).run().expect_code(0);
    project.replace("scenarios/one.snapshots/queue.yaml", "Crash on start", "Crash at the end");
    let outcome = test(&project, []).run().expect_code(5);
    let _guard = project.snapshots();
    insta::assert_snapshot!("test__snapshot_differs", outcome.text());
    let kept = names(&project).into_iter().filter(|name| name.starts_with(".runner/runs/")).count();
    assert!(kept > 0, "the run folder is kept and named");
    std::fs::remove_file(project.path("scenarios/one.snapshots/events.txt")).expect("a snapshot");
    let outcome = test(&project, []).run().expect_code(5);
    assert!(outcome.stdout.contains("scenarios/one.snapshots/events.txt"), "{}", outcome.text());
}

#[test]
fn a_changed_prompt_diverges_and_says_so_everywhere() {
    let project = project(&["one", "two"]);
    project.write("prompts/other.md", "File the bug. Be 100% brief.\n");
    project.replace("scenarios/two.yaml", "prompts/file.md", "prompts/other.md");
    let outcome =
        test(&project, ["--junit", "out/junit.xml"]).env("GITHUB_ACTIONS", "true").run().expect_code(6);
    let _guard = project.snapshots();
    insta::assert_snapshot!("test__divergence", outcome.text());
    let xml = project.read("out/junit.xml");
    let document = roxmltree::Document::parse(&xml).expect("well-formed XML");
    let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).expect("a suite");
    assert_eq!((suite.attribute("tests"), suite.attribute("failures")), (Some("2"), Some("1")));
    let failure = document.descendants().find(|node| node.has_tag_name("failure")).expect("a failure");
    assert!(failure.text().is_some_and(|text| text.contains("+ File the bug. Be 100% brief.")), "{xml}");
    assert_eq!(failure.parent().and_then(|case| case.attribute("name")), Some("two.yaml"));
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r#"time="[0-9.]+""#, r#"time="[time]""#);
    settings.bind(|| insta::assert_snapshot!("test__junit", xml));
}

#[test]
fn reports_hold_no_secret() {
    let project = project(&["one"]);
    let secret = "tok-5f9a7c31e8b24d60";
    project.write("prompts/file.md", &format!("File the bug with {secret}.\n"));
    let args = ["--junit", "junit.xml", "--json"];
    let outcome = test(&project, args).env("GITHUB_ACTIONS", "true").env("MY_TOKEN", secret).run();
    let outcome = outcome.expect_code(6);
    let xml = project.read("junit.xml");
    for text in [&outcome.stdout, &outcome.stderr, &xml] {
        assert!(text.contains("[secret:MY_TOKEN]") && !text.contains(secret), "{text}");
    }
}

#[test]
fn a_scenario_without_a_recording_counts_only_when_it_is_named() {
    let project = project(&["one"]);
    project.write("scenarios/new.yaml", &SCENARIO.replace("NAME", "new"));
    let bare =
        SCENARIO.replace("NAME", "bare").replace("replay: { cassette: scenarios/bare.cassette }\n", "");
    project.write("scenarios/deep/bare.yml", &bare);
    let outcome = test(&project, []).run().expect_code(0);
    assert!(outcome.stdout.contains("1 passed, 0 failed, 2 without a recording"), "{}", outcome.text());
    let outcome = test(&project, ["scenarios/new.yaml", "scenarios/deep/bare.yml"]).run().expect_code(6);
    let _guard = project.snapshots();
    insta::assert_snapshot!("test__no_recording", outcome.text());
}

#[test]
fn a_filter_takes_some_and_a_slip_in_it_is_told() {
    let project = project(&["one", "two"]);
    for (filter, found) in [("one", "one"), ("*/t?o.yaml", "two")] {
        let outcome = test(&project, ["--filter", filter]).run().expect_code(0);
        assert!(outcome.stdout.contains(&format!("scenarios/{found}.yaml")), "{}", outcome.text());
        assert!(outcome.stdout.contains("1 passed, 0 failed, 0 without"), "{}", outcome.text());
    }
    let outcome = test(&project, ["--filter", "tow"]).run().expect_code(2);
    assert!(outcome.stderr.contains("`tow` fits none of 2 scenarios"), "{}", outcome.text());
    test(&project, ["nowhere"]).run().expect_code(2);
    test(&project, ["prompts"]).run().expect_code(2);
    // From a folder further down, the project's scenarios are found.
    let outcome = test(&project, []).cwd("prompts").run().expect_code(0);
    assert!(outcome.stdout.contains("2 passed"), "{}", outcome.text());
}

#[test]
fn other_files_beside_scenarios_are_passed_over_and_a_broken_scenario_is_not() {
    let project = project(&["one"]);
    project.write("scenarios/notes.yaml", "people: [a, b]\n").write("scenarios/data.toml", "a = 1\n");
    assert!(test(&project, []).run().expect_code(0).stdout.starts_with("ok"), "only one is a scenario");
    project.write("scenarios/broken.yaml", "name: [\nphases: []\n");
    let outcome = test(&project, ["--json"]).run().expect_code(2);
    let lines = outcome.json_lines();
    let verdicts: Vec<_> = lines.iter().map(|line| (&line["file"], &line["verdict"])).collect();
    assert_eq!(verdicts[0], (&"scenarios/broken.yaml".into(), &"failed".into()));
    assert_eq!(verdicts[1], (&"scenarios/one.yaml".into(), &"passed".into()));
    assert_eq!((&lines[2]["passed"], &lines[2]["exit_code"]), (&1.into(), &2.into()));
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_recording_of_a_failed_run_passes_as_long_as_it_fails_the_same_way() {
    let project = project(&[]);
    project.write("scenarios/bad.yaml", &SCENARIO.replace("NAME", "bad").replace("open == 1", "open == 2"));
    record(&project, "bad", 5);
    assert!(project.read("scenarios/bad.cassette/cassette.yaml").contains("ended: expectation\n"));
    let outcome = test(&project, []).run().expect_code(0);
    assert!(outcome.stdout.contains("(ends with expectation, as recorded"), "{}", outcome.text());
}

#[test]
fn an_expectation_that_became_false_is_underlined() {
    let project = project(&["one"]);
    // It reads no queue, so it is no effect, and the replay goes on to its end.
    let expectation = "expect: [issues.open == 1, \"phases.file.text == 'Done.'\"]\n";
    project.replace("scenarios/one.yaml", "expect: [issues.open == 1]\n", expectation);
    let outcome = test(&project, []).env("GITHUB_ACTIONS", "true").run().expect_code(5);
    let _guard = project.snapshots();
    insta::assert_snapshot!("test__expectation", outcome.text());
}

#[test]
fn many_scenarios_are_played_at_once_and_told_in_order() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let project = project(&names);
    let outcome = test(&project, ["--jobs", "3"]).run().expect_code(0);
    let told: Vec<_> = outcome.stdout.lines().filter_map(|line| line.split("scenarios/").nth(1)).collect();
    let told: Vec<_> = told.iter().filter_map(|line| line.split('.').next()).collect();
    assert_eq!(told, names);
    project.write("prompts/file.md", "Another prompt.\n");
    let outcome = test(&project, ["--jobs", "1", "--fail-fast"]).run().expect_code(6);
    assert!(
        outcome.stdout.contains("0 passed, 1 failed, 0 without a recording, 5 not run"),
        "{}",
        outcome.text()
    );
}

/// A project whose replay waits in a command until somebody opens `gate`.
fn waiting() -> Project {
    let project = project(&[]);
    let gate = project.path("gate");
    let plan = project.read("mount-plans/agent.json").replace("\"tool-issue\"", "\"tool-bash\"");
    project.write("mount-plans/agent.json", &plan).write("gate", "open\n");
    let script = format!(
        "rules:\n  - when: turn == 1\n    calls:\n      - tool: bash\n        input: {{ command: \"cat {}\" }}\n  - say: Read.\n",
        gate.display()
    );
    let scenario = SCENARIO.replace("NAME", "wait").replace("expect: [issues.open == 1]\n", "");
    let scenario = scenario.replace("wait.cassette }", "wait.cassette, tools: { bash: real } }");
    project.write("script.yaml", &script).write("scenarios/wait.yaml", &scenario);
    record(&project, "wait", 0);
    forget_runs(&project);
    std::fs::remove_file(&gate).expect("the gate as a file");
    mkfifo(&gate, Mode::S_IRWXU).expect("the gate as a pipe");
    project
}

#[test]
fn an_interrupted_test_leaves_nothing_behind() {
    let project = waiting();
    let running = test(&project, []).spawn();
    // Opens as soon as the command reads from it.
    let gate = File::options().write(true).open(project.path("gate")).expect("the gate");
    running.signal(Signal::SIGINT).wait_for("stopping").signal(Signal::SIGINT);
    let outcome: Outcome = running.finish().expect_code(130);
    drop(gate);
    assert!(
        outcome.stdout.contains("0 passed, 0 failed, 0 without a recording, 1 not run"),
        "{}",
        outcome.text()
    );
    assert!(!project.path(".runner").exists(), "{:?}", names(&project));
}

#[test]
fn the_shipped_scenarios_pass_with_their_snapshots() {
    let project = Project::shipped();
    let outcome = test(&project, ["--json"]).ci().run().expect_code(0);
    for line in outcome.json_lines().iter().filter(|line| line["verdict"] == "passed") {
        assert_eq!(line["snapshots"], "equal", "{line}");
    }
    assert!(outcome.json_lines().last().is_some_and(|total| total["passed"] == 8), "{}", outcome.text());
}
