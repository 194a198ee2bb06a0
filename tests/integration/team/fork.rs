//! A run that takes over what another did and goes on otherwise: is nothing asked or done twice, and is each a run of its own?

use serde_json::json;

use super::{DEMO, assert_worked_once};
use crate::harness::{Outcome, Project};
use crate::server::AnthropicServer;
use crate::trouble::team::{brain_of_team, counts, run_folder, team};

const SCRIPT: &str = "scenarios/demo.script.yaml";

/// The effects of the last run, by the names that `--from` takes.
fn effects(project: &Project) -> Vec<String> {
    let shown = project.runner(["logs", "--effects"]).run().expect_code(0).stdout;
    shown.lines().map(|line| line.split_whitespace().last().expect("an id").to_owned()).collect()
}

fn fork(project: &Project, from: &str, code: i32) -> Outcome {
    project.runner(["fork", DEMO, "--from", from, "--script", SCRIPT]).run().expect_code(code)
}

/// Where the last run works.
fn workspace(project: &Project) -> String {
    format!("{}/workspace", run_folder(project))
}

#[test]
fn a_live_run_is_forked_with_another_model() {
    let server = AnthropicServer::start(brain_of_team(4));
    let project = team(&server.url(), 2);
    project.runner(["team.yaml"]).with_key().run().expect_code(0);
    let (first, asked) = (project.read(".runner/runs/latest"), server.requests().len());
    assert_eq!(counts(&project), [0, 0, 0, 4]);
    let ran = effects(&project);
    let at = ran.iter().position(|id| id == "work/worker-1/2").expect("the first worker closes an issue");

    let line =
        ["fork", first.trim(), "--from", "work/worker-1/2", "--set", "roles.worker.model=claude-opus-4-5"];
    let forked = project.runner(line).with_key().run().expect_code(0);
    let told: Vec<&str> = forked.stderr.lines().take(4).collect();
    let _filters = project.snapshots();
    let told = told.join("\n").replace(&format!("{at} effects"), "[some] effects");
    insta::assert_snapshot!("team__forked", told);
    assert_worked_once(&project, &workspace(&project), 4);
    assert_eq!(counts(&project), [0, 0, 0, 4], "the workspace of the first is left alone");
    let requests = server.requests();
    let new = &requests[asked..];
    let is_first = |body: &serde_json::Value| body["messages"].as_array().map(Vec::len) == Some(1);
    let again = new.iter().filter(|request| is_first(&request.body)).count();
    assert!(
        again <= 1,
        "what was answered before is not asked again; the other worker may not have been yet"
    );
    assert!(!new.iter().any(|request| request.body.to_string().contains("Fill the queue")), "{new:#?}");
    assert!(new.iter().all(|request| request.body["model"] == json!("claude-opus-4-5")), "{new:#?}");
    assert_eq!(server.refusals(), [""; 0]);

    let ids = effects(&project);
    assert_eq!(ids[..at], ran[..at], "the beginning is the same, in the same order");
    let diff = project.runner(["diff", first.trim(), "latest"]).run();
    assert!(diff.stdout.contains("work/worker-1/2"), "{}", diff.text());
    let saved = project.runner(["cassette", "save", "--to", "forked.cassette"]).run().expect_code(2);
    assert!(saved.stderr.contains("was asked with other settings than the rest"), "{}", saved.text());
}

/// Forked without a change it comes to the same end, wherever it is forked.
#[test]
fn the_demo_is_forked_at_its_effects() {
    let project = Project::shipped();
    project.runner(["replay", DEMO]).run().expect_code(0);
    let ledger = project.read("scenarios/demo.cassette/ledger.txt");
    let ids: Vec<&str> = ledger.lines().skip(1).filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(ids.len(), 60);
    for id in ids.iter().skip(1).step_by(5) {
        let forked = fork(&project, id, 0);
        assert!(forked.stderr.contains(&format!("the first of its own: {id}\n")), "{}", forked.text());
        assert_worked_once(&project, &workspace(&project), 5);
    }
}

#[test]
fn a_fork_is_forked_killed_resumed_and_recorded() {
    let project = Project::shipped();
    fork(&project, "work/coding-worker-1/2", 0);
    let line = ["fork", "latest", "--from", "work/research-worker-1/2"];
    let killed = project.runner(line).args(["--fault", "work/research-worker-1/4=kill"]).run();
    assert_eq!(killed.signal, Some(9), "{}", killed.text());
    let resumed = project.runner(["resume"]).run().expect_code(0);
    assert!(resumed.stderr.contains("goes on"), "{}", resumed.text());
    assert_worked_once(&project, &workspace(&project), 5);
    project.runner(["cassette", "save", "--to", "again.cassette"]).run().expect_code(0);
    for strictness in ["total", "causal"] {
        let line = ["replay", DEMO, "--from", "again.cassette", "--strictness", strictness];
        project.runner(line).run().expect_code(0);
    }
}

/// Time goes on where it was: what was to come in a minute still does.
#[test]
fn a_fork_lives_in_the_time_of_its_beginning() {
    let project = Project::shipped();
    fork(&project, "unblock/!wake-1", 0);
    let line = project.runner(["logs", "--effects", "--json"]).run().expect_code(0).json_lines();
    let at: Vec<&str> = line.iter().map(|effect| effect["at"].as_str().expect("a moment")).collect();
    assert!(at.iter().all(|at| at.starts_with("2026-01-01T00:00:")), "{at:?}");
}

#[test]
fn what_cannot_be_forked_says_why() {
    let project = Project::shipped();
    let mut told = String::new();
    let mut refuse = |what: &str, words: &[&str], code: i32| {
        let outcome = project.runner(words).run().expect_code(code);
        told += &format!("# {what}\n{}\n", outcome.stderr);
    };
    let script = &["--script", SCRIPT];
    let demo = |words: &[&'static str]| [&["fork", DEMO], words].concat();
    refuse("nothing has run", &["fork", "latest", "--from", "x"], 2);
    refuse("no such effect", &[demo(&["--from", "work/coding-worker-1/99"]), script.to_vec()].concat(), 2);
    refuse("several", &[demo(&["--from", "worker-1/2"]), script.to_vec()].concat(), 2);
    refuse("a model's answers beside a script's", &demo(&["--from", "work/coding-worker-1/2"]), 2);
    let set =
        [demo(&["--from", "coding-worker-1/2", "--set", "roles.nobody.model=x"]), script.to_vec()].concat();
    refuse("a role that is not there", &set, 2);
    let set = [demo(&["--from", "coding-worker-1/2", "--set", "phases[9].id=x"]), script.to_vec()].concat();
    refuse("a phase that is not there", &set, 2);
    refuse("no value", &demo(&["--from", "coding-worker-1/2", "--set", "roles"]), 2);
    project.runner(["replay", DEMO]).run().expect_code(0);
    refuse("a replay", &["fork", "latest", "--from", "work/coding-worker-1/2"], 2);
    refuse("what a run has", &["fork", "latest", "--from", "x", "--script", SCRIPT], 2);
    project.replace("prompts/create-issues.md", "Create the following", "Make the following");
    refuse("another beginning", &[demo(&["--from", "coding-worker-1/2"]), script.to_vec()].concat(), 6);
    let runs: Vec<_> = std::fs::read_dir(project.path(".runner/runs")).expect("a folder").collect();
    assert_eq!(runs.len(), 2, "the replay and the pointer to it; nothing is left of the others");
    let _filters = project.snapshots();
    insta::assert_snapshot!("team__not_forked", told);
}

/// A run of a team whose commands were not recorded has changed files that nobody can make again.
#[test]
fn a_run_with_commands_that_were_not_recorded_is_not_forked_behind_them() {
    let project = Project::shipped();
    project.write(
        "scenarios/touch.yaml",
        "version: 1
workspace: { path: .touch, fresh: true }
roles: { maker: { mount_plan: mount-plans/maker.yaml } }
phases: [{ id: make, session: { role: maker, prompt: prompts/make.md } }]
",
    );
    project.write("prompts/make.md", "Make it.\n").write(
        "mount-plans/maker.yaml",
        "session: { orchestrator: loop-streaming, context: context-simple }
providers: [{ module: provider-mock, config: { script: scenarios/touch.script.yaml } }]
tools: [{ module: tool-bash }]
",
    );
    project.write(
        "scenarios/touch.script.yaml",
        "rules:
  - when: turn == 1
    calls: [{ tool: bash, input: { command: touch made } }]
  - say: Made.
",
    );
    project.runner(["scenarios/touch.yaml"]).run().expect_code(0);
    let refused = project.runner(["fork", "latest", "--from", "make/maker/2"]).run().expect_code(2);
    assert!(refused.stderr.contains("it ran commands (make/maker/1.1 is the first)"), "{}", refused.text());
    project.runner(["fork", "latest", "--from", "make/maker/1.1"]).run().expect_code(0);
    assert!(project.path(&workspace(&project)).join("made").is_file(), "the command ran again");
}
