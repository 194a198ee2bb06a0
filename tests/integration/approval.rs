//! Does a run pause for a person, and go on with the answer?

use crate::harness::{Outcome, Project};

const SCENARIO: &str = r#"version: 1
name: gate
workspace: { path: ws, fresh: true }
replay: { cassette: gate.cassette }
phases:
  - id: build
    shell: { run: "echo built >> out.txt; cat out.txt" }
  - id: ask
    approval: { message: "Ship {{ phases.build.text }}?" }
  - id: beside
    needs: [build]
    shell: { run: "echo beside" }
  - id: ship
    needs: [ask]
    shell: { run: "cat out.txt" }
    expect: [phases.ship.text == "built"]
  - id: clean
    finally: true
    shell: { run: "echo cleaned >> log.txt" }
expect: [phases.ship.status == "completed"]
"#;

/// A run that waits for an answer.
fn paused() -> (Project, Outcome) {
    let project = Project::new();
    project.write("gate.yaml", SCENARIO);
    let run = project.runner(["run", "gate.yaml"]).run().expect_code(4);
    assert!(run.stderr.contains("phase ask asks: Ship built?"), "{}", run.stderr);
    assert!(run.stderr.contains("phase beside: completed"), "what needs no answer is done: {}", run.stderr);
    assert!(run.stderr.contains("answer it: runner approve "), "{}", run.stderr);
    assert!(!run.stderr.contains("phase clean"), "the end is not yet: {}", run.stderr);
    (project, run)
}

#[test]
fn a_run_goes_on_with_the_answer() {
    let (project, _) = paused();
    let told = project.runner(["approve", "latest", "--note", "looks good", "--by", "ann"]).run();
    let told = told.expect_code(0);
    assert!(told.stdout.starts_with("ask is approved; go on with it: runner resume "), "{}", told.stdout);
    let run = project.runner(["resume"]).run().expect_code(0);
    assert!(run.stderr.contains("phase ask: yes by ann: looks good"), "{}", run.stderr);
    assert!(run.stderr.contains("gate complete!"), "{}", run.stderr);
    assert_eq!(project.read("ws/out.txt"), "built\n", "what was done is not done again");
    assert_eq!(project.read("ws/log.txt"), "cleaned\n");
    let told = project.runner(["approve"]).run().expect_code(2);
    assert!(told.stderr.contains("no phase of run"), "{}", told.stderr);
}

#[test]
fn a_rejected_phase_has_failed_and_may_be_asked_again() {
    let (project, _) = paused();
    project.runner(["reject", "--note", "too early"]).run().expect_code(0);
    let run = project.runner(["resume"]).run().expect_code(1);
    assert!(run.stderr.contains("phase ask failed: rejected by somebody: too early"), "{}", run.stderr);
    assert!(run.stderr.contains("a phase before it failed"), "{}", run.stderr);
    assert_eq!(project.read("ws/log.txt"), "cleaned\n", "what runs at the end has run");
    // The answer does not stand when the run goes on: it is asked for anew.
    let run = project.runner(["resume", "--answer", "ask=yes"]).run().expect_code(0);
    assert!(run.stderr.contains("phase ask: yes by --answer"), "{}", run.stderr);
    assert_eq!(project.read("ws/log.txt"), "cleaned\ncleaned\n", "and so does the end come again");
}

#[test]
fn an_answer_is_given_once_and_to_who_asks() {
    let (project, _) = paused();
    project.runner(["reject", "--by", "boss"]).run().expect_code(0);
    let told = project.runner(["approve", "--by", "intern"]).run().expect_code(2);
    assert!(told.stderr.contains("ask has its answer already: no by boss"), "{}", told.stderr);
    let told = project.runner(["run", "gate.yaml", "--answer", "aks=yes"]).run().expect_code(2);
    let expected = "--answer: no phase `aks` asks for approval; did you mean `ask`?";
    assert!(told.stderr.contains(expected), "{}", told.stderr);
    let told = project.runner(["run", "gate.yaml", "--answer", "build=yes"]).run().expect_code(2);
    assert!(told.stderr.contains("no phase `build` asks for approval; there asks ask"), "{}", told.stderr);
}

/// Time that moves by itself stands still while nobody runs: a run that a script plays waits as long as it is asked to.
#[test]
fn a_run_may_pause_more_than_once() {
    let project = Project::new();
    project.write("gate.yaml", &SCENARIO.replace("}}?\" }", "}}?\", timeout: 1h, default: no }"));
    project.write("gate.script.yaml", "rules: [{ say: nobody asks }]\n");
    project.runner(["record", "gate.yaml", "--script", "gate.script.yaml"]).run().expect_code(4);
    project.runner(["resume"]).run().expect_code(4);
    let shown = project.runner(["show"]).run().expect_code(0).stdout;
    assert!(shown.contains("outcome    paused (exit 4)"), "{shown}");
    project.runner(["resume", "--answer", "ask=yes"]).run().expect_code(0);
}

#[test]
fn several_that_wait_are_told_apart() {
    let project = Project::new();
    let scenario = "version: 1\nphases:\n  - id: one\n    needs: []\n    approval: { message: First? }\n  - id: two\n    \
                    needs: []\n    approval: { message: Second? }\nworkspace: ws\n";
    project.write("two.yaml", scenario);
    project.runner(["run", "two.yaml"]).run().expect_code(4);
    let told = project.runner(["approve"]).run().expect_code(2);
    assert!(told.stderr.contains("several phases of run"), "{}", told.stderr);
    let told = project.runner(["approve", "latest", "tow"]).run().expect_code(2);
    assert!(told.stderr.contains("there waits one, two"), "{}", told.stderr);
    project.runner(["approve", "latest", "two"]).run().expect_code(0);
    project.runner(["resume"]).run().expect_code(4);
    project.runner(["resume", "--answer", "one=yes"]).run().expect_code(0);
}

#[test]
fn the_answer_is_part_of_a_recording() {
    let project = Project::new();
    project.write("gate.yaml", SCENARIO);
    project.write("gate.script.yaml", "rules:\n  - say: nobody asks\n");
    let record = ["record", "gate.yaml", "--script", "gate.script.yaml"];
    let run = project.runner(record).run().expect_code(4);
    assert!(run.stderr.contains("no recording is kept of a run that waits for a person"), "{}", run.stderr);
    project.runner(record).args(["--answer", "ask=yes"]).run().expect_code(0);
    let run = project.runner(["replay", "gate.yaml"]).run().expect_code(0);
    assert!(run.stderr.contains("phase ask: yes by --answer"), "{}", run.stderr);
}

#[test]
fn an_answer_is_not_lost_with_the_process_that_heard_it() {
    let (project, _) = paused();
    project.runner(["reject", "--by", "ann"]).run().expect_code(0);
    // Killed the moment the answer is on record, before anything else is done with it.
    let killed = project.runner(["resume", "--fault", "ask/!answer-1=kill"]).run();
    assert_eq!(killed.signal, Some(9), "{}", killed.text());
    let run = project.runner(["resume"]).run().expect_code(1);
    assert!(run.stderr.contains("phase ask failed: rejected by ann"), "{}", run.stderr);
    // That answer has had its effect; the next time the phase asks it waits for another.
    project.runner(["resume"]).run().expect_code(4);
    project.runner(["approve", "--by", "bob"]).run().expect_code(0);
    let run = project.runner(["resume"]).run().expect_code(0);
    assert!(run.stderr.contains("phase ask: yes by bob"), "{}", run.stderr);
}
