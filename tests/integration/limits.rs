//! Whether a run stops at what its scenario allows, says so, and replays so.

use crate::harness::Project;

const SCENARIO: &str = r#"version: 1
name: frugal
workspace: { path: work, fresh: true }
roles:
  clerk: { mount_plan: mount-plans/foreman.json }
phases:
  - id: talk
    workers:
      pool: [{ role: clerk, count: 3 }]
      prompt: prompts/talk.md
      claim: agent
  - id: after
    session: { role: clerk, prompt: prompts/talk.md }
limits: { LIMIT }
replay: { cassette: frugal.cassette }
"#;

/// A clerk that never stops calling.
const SCRIPT: &str = r#"rules:
  - when: phase == "fill" or turn == 1
    calls: [{ tool: issue_manager, input: { operation: create, params: { title: "one" } } }]
    usage: { input: 500, output: 10 }
    latency: 100ms
  - when: "true"
    calls: [{ tool: issue_manager, input: { operation: list } }]
    usage: { input: 500, output: 10 }
    latency: 100ms
"#;

#[test]
fn workers_that_use_the_budget_up_end_the_run_like_any_other_session() {
    let project = project("max_turns: 5");
    let scenario = project.read("frugal.yaml");
    let (alone, _) = scenario.split_once("  - id: after").unwrap();
    project.write("frugal.yaml", &format!("{alone}limits: {{ max_turns: 5 }}\n"));
    project.write(
        "script.yaml",
        &SCRIPT.replace("phase == \"fill\" or turn == 1", "phase == \"fill\" and turn == 1").replacen(
            "rules:\n",
            "rules:\n  - { when: phase == \"fill\" and turn == 2, say: done }\n",
            1,
        ),
    );
    let ended = project.runner(["record", "frugal.yaml", "--script", "script.yaml", "--to", "tape"]).run();
    ended.expect_code(7);
}

fn project(limit: &str) -> Project {
    let project = Project::shipped();
    let scenario = SCENARIO.replace("LIMIT", limit).replace(
        "phases:\n",
        "phases:\n  - id: fill\n    session: { role: clerk, prompt: prompts/talk.md }\n    on_failure: continue\n",
    );
    project.write("frugal.yaml", &scenario);
    project.write("prompts/talk.md", "Go on.\n");
    project.write("script.yaml", SCRIPT);
    project
}

#[test]
fn a_run_ends_when_its_model_calls_are_used_up() {
    let project = project("max_turns: 7");
    let recorded =
        project.runner(["record", "frugal.yaml", "--script", "script.yaml", "--json"]).run().expect_code(7);
    let turns = |outcome: &crate::harness::Outcome| {
        outcome.json_lines().iter().filter(|event| event["event"]["type"] == "turn.ended").count()
    };
    assert_eq!(turns(&recorded), 7, "not one call more than allowed, however many sessions ask");
    for strictness in ["total", "causal"] {
        let replayed = project.runner(["replay", "frugal.yaml", "--json", "--strictness", strictness]).run();
        let replayed = replayed.expect_code(7);
        assert_eq!(turns(&replayed), 7);
    }
}

#[test]
fn a_call_whose_worst_case_does_not_fit_is_not_made() {
    let project = project("max_tokens: 9000");
    let _names = project.snapshots();
    let recorded = project.runner(["record", "frugal.yaml", "--script", "script.yaml"]).run().expect_code(7);
    insta::assert_snapshot!(recorded.stderr);
}
