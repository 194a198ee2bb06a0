//! Does `runner plan` tell what a scenario would do and come to, never too little, and does `runner graph` draw it?

use std::collections::BTreeMap;

use serde_json::Value;

use crate::check::cases;
use crate::harness::Project;

/// A team whose lead starts sub-agents, a role without a limit of turns, and one whose model has no price.
const TEAM: &str = "session: { orchestrator: loop-basic, context: context-simple }
providers: [{ module: provider-anthropic, config: { default_model: claude-sonnet-4-5 } }]
tools: [{ module: tool-issue }, { module: tool-task }]
agents: { helper: { description: helps } }
";
const ENDLESS: &str = "session: { orchestrator: { module: loop-basic, config: { max_iterations: -1 } }, context: context-simple }
providers: [{ module: provider-anthropic, config: { default_model: claude-sonnet-4-5 } }]
tools: [{ module: tool-todo }]
";
const ODD: &str = "session: { orchestrator: loop-basic, context: context-simple }
providers: [{ module: provider-openai-compatible, config: { default_model: odd, base_url: \"http://localhost:9\" } }]
tools: [{ module: tool-todo }]
";

fn every_kind() -> Project {
    let project = Project::shipped();
    project
        .write("scenarios/every-kind.yaml", include_str!("../inputs/plan/every-kind.yaml"))
        .write("scenarios/inner.yaml", include_str!("../inputs/plan/inner.yaml"))
        .write("mount-plans/team.yaml", TEAM)
        .write("mount-plans/endless.yaml", ENDLESS)
        .write("mount-plans/odd.yaml", ODD)
        .write("prompts/plain.md", "Go on.\n");
    project
}

/// The shipped scenarios that have a recording.
fn shipped() -> Vec<String> {
    let files = cases("scenarios").into_iter();
    let files = files.filter(|file| file.with_extension("cassette").is_dir());
    files.map(|file| file.to_string_lossy().into_owned()).filter(|file| file.ends_with(".yaml")).collect()
}

#[test]
fn every_kind_of_phase_is_told_with_what_holds_it() {
    let project = every_kind();
    let _guard = project.snapshots();
    let plan = project.runner(["plan", "scenarios/every-kind.yaml"]).run();
    insta::assert_snapshot!("plan__every_kind", plan.text());
    assert!(!project.path(".every-kind-workspace").exists() && !project.path(".runner").exists());
}

#[test]
fn a_program_reads_the_same() {
    let project = every_kind();
    let plan = project.runner(["plan", "--json", "scenarios/every-kind.yaml"]).run().expect_code(0);
    let json = plan.json();
    let phase = |id: &str| json["phases"].as_array().unwrap().iter().find(|phase| phase["id"] == id).unwrap();
    let expected = serde_json::json!({
        "turns": { "most": 7, "held_by": ["phases.talk.limits.max_turns"] },
        "tokens": { "most": phase("talk")["worst"]["tokens"]["most"], "held_by": ["phases.talk.limits.max_turns"] },
        "usd": { "most": phase("talk")["worst"]["usd"]["most"], "held_by": ["phases.talk.limits.max_turns"] },
    });
    assert_eq!(phase("talk")["worst"], expected);
    assert_eq!(phase("data")["worst"]["usd"]["most"], "unpriced");
    assert_eq!(phase("data")["sessions"][0]["prompts"], 2);
    assert_eq!(phase("by-hand")["sessions"][0]["turns_per_prompt"], "unbounded");
    assert_eq!(phase("by-hand")["sessions"][0]["sub_agents"], "any");
    assert_eq!(phase("known")["items"], serde_json::json!({ "most": 2, "known": "now" }));
    assert_eq!(phase("late")["items"], serde_json::json!({ "most": 1000, "known": "at_run" }));
    assert_eq!(phase("rounds")["phases"][1]["id"], "rounds.other");
    assert_eq!(phase("rounds")["phases"][1]["phases"][0]["id"], "rounds.other.each");
    assert_eq!(phase("rounds")["phases"][1]["phases"][0]["worst"]["turns"]["most"], 6);
    assert_eq!(phase("clean-up")["turn"], "finally");
    assert_eq!(json["phases"].as_array().unwrap().last().unwrap()["turn"], "finally");
}

#[test]
fn inputs_and_changes_are_those_of_a_run() {
    let project = Project::shipped();
    project.write("given.yaml", "languages: [de, fr, it, es, pt]\n");
    let told = |arguments: &[&str]| {
        let plan = project.runner(["plan", "scenarios/matrix.yaml"]).args(arguments).run().expect_code(0);
        plan.stdout.lines().find(|line| line.starts_with("1. translate")).unwrap().to_owned()
    };
    assert!(told(&[]).ends_with("for 3 items"), "{}", told(&[]));
    assert!(told(&["-i", "languages=de"]).ends_with("for 1 item"));
    assert!(told(&["--input-file", "given.yaml"]).ends_with("for 5 items"));
    let plan = ["plan", "scenarios/demo.yaml", "--set", "limits.max_turns=12", "--set", "limits.max_usd=1"];
    let plan = project.runner(plan).run().expect_code(0).stdout;
    assert!(plan.contains("\nall phases: at most 12 turns (limits.max_turns), "), "{plan}");
    assert!(plan.contains(", $1.00 (limits.max_usd)\n"), "{plan}");
}

#[test]
fn a_scenario_that_is_wrong_is_told_of_and_neither_forecast_nor_drawn() {
    let project = Project::shipped();
    project.replace("scenarios/hello.yaml", "role: writer", "role: wirter");
    for command in ["plan", "graph"] {
        let told = project.runner([command, "scenarios/hello.yaml"]).run().expect_code(2);
        assert_eq!(told.stdout, "");
        assert!(told.stderr.contains("error[RUN0303]"), "{}", told.stderr);
    }
    let told = project.runner(["plan", "--json", "scenarios/hello.yaml"]).run().expect_code(2);
    assert_eq!(told.json_lines()[0]["code"], "RUN0303");
}

#[test]
fn the_shipped_scenarios_are_told_and_drawn() {
    let project = Project::shipped();
    let _guard = project.snapshots();
    let mut all = String::new();
    for file in shipped() {
        for command in ["plan", "graph"] {
            let told = project.runner([command, file.as_str()]).run().expect_code(0);
            all += &format!("$ runner {command} {file}\n{}\n", told.stdout);
        }
    }
    insta::assert_snapshot!("plan__shipped", all);
}

/// The bound of each phase on its own model calls, by its full name.
fn bounds(phases: &Value, found: &mut BTreeMap<String, u64>) {
    for phase in phases.as_array().unwrap() {
        let most = phase["worst"]["turns"]["most"].as_u64().unwrap();
        found.insert(phase["id"].as_str().unwrap().to_owned(), most);
        bounds(&phase["phases"], found);
    }
}

#[test]
fn no_recorded_run_has_more_turns_than_were_told() {
    let project = Project::shipped();
    let files = shipped();
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let mut most = BTreeMap::new();
        bounds(
            &project.runner(["plan", "--json", file.as_str()]).run().expect_code(0).json()["phases"],
            &mut most,
        );
        let mut turns: BTreeMap<String, u64> = BTreeMap::new();
        for event in project.runner(["replay", "--json", file.as_str()]).run().expect_code(0).json_lines() {
            if event["event"]["type"] != "turn.ended" {
                continue;
            }
            let phase = event["phase"].as_str().unwrap_or_else(|| panic!("{event}"));
            let name: Vec<&str> = phase.split('.').filter(|part| part.parse::<u32>().is_err()).collect();
            *turns.entry(name.join(".")).or_default() += 1;
        }
        assert!(!turns.is_empty(), "{file}");
        for (phase, turns) in turns {
            assert!(
                turns <= most[&phase],
                "{file}: {phase} has {turns} turns, and {} were told",
                most[&phase]
            );
        }
    }
}

#[test]
fn every_kind_of_phase_is_drawn_whatever_its_texts_hold() {
    let project = every_kind();
    let _guard = project.snapshots();
    for format in ["mermaid", "dot"] {
        let drawn = project.runner(["graph", "scenarios/every-kind.yaml", "--format", format]).run();
        insta::assert_snapshot!(format!("graph__{format}"), drawn.expect_code(0).stdout);
    }
    assert!(!project.path(".runner").exists());
}
