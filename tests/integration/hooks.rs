//! Do hooks decide what a session may do, is that recorded, and do those that only listen write what they heard?

use serde_json::Value;

use crate::harness::{Outcome, Project};

const FILE: &str = "scenarios/guarded.yaml";

/// A project of one conversation: a file is written, a command is tried, and another.
fn project(hooks: &str) -> Project {
    let project = Project::new();
    project.write(
        FILE,
        "version: 1
name: guarded
workspace: { path: .guarded, fresh: true }
roles: { maker: { mount_plan: mount-plans/maker.yaml } }
phases: [{ id: make, session: { role: maker, prompt: prompts/make.md } }]
replay: { cassette: scenarios/guarded.cassette }
",
    );
    project.write("prompts/make.md", "Make it.\n");
    project.write(
        "mount-plans/maker.yaml",
        &format!(
            "session: {{ orchestrator: loop-streaming, context: context-simple }}
providers: [{{ module: provider-anthropic, config: {{ api_key: unused-key-of-a-test-9f3 }} }}]
tools: [{{ module: tool-bash }}, {{ module: tool-filesystem }}]
hooks:
{hooks}"
        ),
    );
    project.write(
        "script.yaml",
        "rules:
  - when: turn == 1
    calls:
      - { tool: write_file, input: { file_path: a.txt, content: one } }
      - { tool: bash, input: { command: touch pushed } }
      - { tool: bash, input: { command: ls } }
  - say: \"Made of: {{ prompt }}\"
",
    );
    project
}

fn record(project: &Project) -> Outcome {
    project.runner(["record", FILE, "--script", "script.yaml"]).run().expect_code(0)
}

/// What the model was told, and what it was told of each call.
fn conversation(project: &Project) -> String {
    project.read("scenarios/guarded.cassette/sessions/make.maker.yaml")
}

const GUARD: &str = r#"  - module: hooks-shell
    config:
      commands:
        - event: prompt:submit
          command: |
            cat >/dev/null; echo '{"action": "inject_context", "context_injection": "Mind the rules."}'
        - { event: "tool:pre", tools: bash, command: sh hooks/guard.sh, timeout: 20, env: { WORD: touch } }
        - event: tool:post
          tools: write_file
          command: |
            cat >/dev/null; echo '{"action": "modify", "data": {"result": {"success": true, "output": "kept safe"}}}'
  - { module: hooks-logging, config: { exclude_events: [provider:request] } }
  - { module: hooks-redaction, config: { rules: [secrets, pii-basic], patterns: [pushed] } }
"#;

fn guarded() -> Project {
    let project = project(GUARD);
    project.write(
        "hooks/guard.sh",
        r#"call=$(cat)
echo once >> asked.log
[ -z "$ANTHROPIC_API_KEY" ] || { echo "it sees a key" >&2; exit 2; }
case "$call" in
  *"$WORD"*) echo "touching is for people" >&2; exit 2;;
  *) echo '{"action": "modify", "data": {"tool_input": {"command": "ls -a"}}}';;
esac
"#,
    );
    project
}

#[test]
fn commands_decide_and_a_replay_does_not_ask_them_again() {
    let project = guarded();
    record(&project);
    let said = conversation(&project);
    assert!(said.contains("Mind the rules."), "{said}");
    assert!(!project.path(".guarded/pushed").exists() && project.path(".guarded/a.txt").is_file());
    let ledger = project.read("scenarios/guarded.cassette/ledger.txt");
    assert!(ledger.contains(" hook make/!hook.maker.prompt-1 "), "{ledger}");
    assert_eq!(ledger.matches(" hook make/!hook.maker.1.").count(), 3, "{ledger}");
    assert!(ledger.contains("{\"denied\":\"touching is for people\"}"), "{ledger}");
    assert!(said.contains("'{\"command\":\"ls -a\"}'"), "the call is run as the hook has it: {said}");
    // What the model was told of the calls.
    let told = project.runner(["logs"]).run().expect_code(0).stdout;
    assert!(told.contains("bash failed: Denied by hook: touching is for people"), "{told}");
    assert_eq!(project.read("asked.log").lines().count(), 2);
    std::fs::remove_file(project.path("hooks/guard.sh")).expect("the hook goes");
    for way in [["--strictness", "total"], ["--jitter", "3"]] {
        project.runner(["replay", FILE]).args(way).run().expect_code(0);
    }
    assert_eq!(project.read("asked.log").lines().count(), 2, "a replay asks no hook");
    project.replace("mount-plans/maker.yaml", "Mind the rules.", "Mind others.");
    project.runner(["replay", FILE]).run().expect_code(0);
}

#[test]
fn a_resumed_run_does_not_ask_again_what_hooks_have_said() {
    let project = guarded();
    let kill = ["record", FILE, "--script", "script.yaml", "--fault", "make/maker/1.3=kill"];
    assert_eq!(project.runner(kill).run().signal, Some(9));
    assert_eq!(project.read("asked.log").lines().count(), 2);
    project.runner(["resume"]).run().expect_code(0);
    assert_eq!(project.read("asked.log").lines().count(), 2);
    project.runner(["replay", FILE]).run().expect_code(0);
}

#[test]
fn sessions_are_logged_by_the_names_of_their_events() {
    let project = guarded();
    record(&project);
    let run = project.read(".runner/runs/latest");
    let text = project.read(&format!(".runner/runs/{}/logs/make.maker.jsonl", run.trim()));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<&str> = lines.iter().map(|line| line["event"].as_str().expect("a name")).collect();
    assert_eq!(names[..3], ["session:start", "prompt:submit", "llm:response"]);
    assert!(
        names.contains(&"tool:pre") && names.contains(&"tool:error") && names.ends_with(&["session:end"])
    );
    assert!(!names.contains(&"provider:request"), "it is excluded");
    assert_eq!(lines[1]["session_id"], "make/maker");
    assert!(text.contains("[REDACTED]") && !text.contains("touch pushed"), "{text}");
}

#[test]
fn rules_allow_and_refuse() {
    let project = project(
        "  - module: hooks-approval
    config:
      rules:
        - { tools: bash, input: \"\\\"ls\\\"\", action: allow }
        - { tools: bash, action: ask }
",
    );
    record(&project);
    let told = project.runner(["logs"]).run().expect_code(0).stdout;
    assert!(
        told.contains("bash failed: Denied by hook: a person would have to allow this, and nobody"),
        "{told}"
    );
    assert_eq!(told.matches("Denied by hook").count(), 1, "{told}");
    project.runner(["replay", FILE]).run().expect_code(0);
}

/// A hook that has a person asked about a call, and counts how often it is itself.
const ASKS: &str = r#"  - module: hooks-shell
    config:
      commands:
        - event: tool:pre
          tools: bash
          command: |
            grep -q pushed || exit 0; echo once >> asked.log
            echo '{"action": "ask_user", "approval_prompt": "May it push?", "approval_default": "DEFAULT"}'
"#;

#[test]
fn what_a_person_says_to_a_hook_is_on_record() {
    let cases: [(&str, &[&str], bool, &str); 4] = [
        ("deny", &[], false, "asked: May it push?; no by nobody"),
        ("allow", &[], true, "asked: May it push?; yes by nobody"),
        ("deny", &["--answer", "tool:bash=yes"], true, "asked: May it push?; yes by --answer"),
        ("allow", &["--answer", "tool:*=no"], false, "asked: May it push?; no by --answer"),
    ];
    for (default, more, is_allowed, told) in cases {
        let project = project(&ASKS.replace("DEFAULT", default));
        let ran = project.runner(["record", FILE, "--script", "script.yaml"]).args(more).run().expect_code(0);
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
        assert_eq!(project.path(".guarded/pushed").exists(), is_allowed, "{told}");
        let ledger = project.read("scenarios/guarded.cassette/ledger.txt");
        assert_eq!(ledger.matches(" answer make/!hook-answer.maker.1.").count(), 1, "{ledger}");
        for strictness in ["total", "causal"] {
            let replayed = project.runner(["replay", FILE, "--strictness", strictness]).run().expect_code(0);
            assert!(replayed.stderr.contains(told), "{}", replayed.stderr);
        }
        assert_eq!(project.read("asked.log").lines().count(), 1, "a replay asks neither hook nor person");
    }
}

#[test]
fn a_run_that_goes_on_asks_no_person_again() {
    let project = project(&ASKS.replace("DEFAULT", "deny"));
    let command = ["record", FILE, "--script", "script.yaml", "--answer", "tool:bash=yes", "--fault"];
    let answer = "commit:".to_owned() + &seq_of_answer(&project) + "=kill";
    assert_eq!(project.runner(command).arg(&answer).run().signal, Some(9));
    std::fs::remove_file(project.path("asked.log")).expect("it was asked");
    let resumed = project.runner(["resume"]).run().expect_code(0);
    assert!(resumed.stderr.contains("asked: May it push?; yes by --answer"), "{}", resumed.stderr);
    assert!(project.path(".guarded/pushed").exists() && !project.path("asked.log").exists());
    project.runner(["replay", FILE]).run().expect_code(0);
}

/// The commit number of the answer, in a run of the same.
fn seq_of_answer(project: &Project) -> String {
    project
        .runner(["record", FILE, "--script", "script.yaml", "--answer", "tool:bash=yes"])
        .run()
        .expect_code(0);
    let run = project.read(".runner/runs/latest");
    let journal = project.read(&format!(".runner/runs/{}/journal.jsonl", run.trim()));
    let line = journal.lines().find(|line| line.contains("!hook-answer.")).expect("somebody was asked");
    let line: Value = serde_json::from_str(line).expect("JSON");
    std::fs::remove_dir_all(project.path("scenarios/guarded.cassette")).expect("the recording goes");
    line["effect"]["record"]["seq"].to_string()
}

#[test]
fn a_hook_that_fails_is_told_and_one_that_makes_no_sense_stops_nothing_halfway() {
    let broken = project(
        "  - module: hooks-shell
    config: { commands: [{ event: \"tool:pre\", tools: bash, command: exit 7 }] }
",
    );
    let ran = record(&broken);
    assert_eq!(
        ran.stderr.matches("note: hook exit 7 failed and is passed over").count(),
        2,
        "{}",
        ran.text()
    );
    assert!(broken.path(".guarded/pushed").exists(), "it says nothing, so it stops nothing");
    let prompt = project(
        "  - module: hooks-shell
    config: { commands: [{ event: \"prompt:submit\", command: echo not today >&2; exit 2 }] }
",
    );
    let refused = prompt.runner(["record", FILE, "--script", "script.yaml"]).run().expect_code(1);
    assert!(refused.stderr.contains("Denied by hook: not today"), "{}", refused.text());
    let wrong = project(
        "  - module: hooks-shell
    config: { commands: [{ event: \"tool:before\", command: \"true\" }] }
",
    );
    let refused = wrong.runner(["record", FILE, "--script", "script.yaml"]).run().expect_code(2);
    assert!(refused.stderr.contains("entry 1 has the unknown event `tool:before`"), "{}", refused.text());
    let unknown = project("  - module: hooks-loging\n");
    let refused = unknown.runner(["check", FILE]).run().expect_code(2);
    assert!(refused.stderr.contains("did you mean `hooks-logging`?"), "{}", refused.text());
}

const COUNTED: &str = "  - { module: hooks-cost, config: { warn_usd: 0.00001 } }\n";
const WARNING: &str = "hooks-cost: role maker has spent more than its warn_usd";

fn costs(project: &Project) -> Vec<Value> {
    let run = project.read(".runner/runs/latest");
    let text = project.read(&format!(".runner/runs/{}/costs.jsonl", run.trim()));
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn what_calls_cost_is_written_and_warned_of_once() {
    let project = project(COUNTED);
    let ran = record(&project);
    assert_eq!(ran.stderr.matches(WARNING).count(), 1, "{}", ran.text());
    let recorded = costs(&project);
    assert_eq!(recorded.len(), 2);
    let shown = project.runner(["show", "--json"]).run().expect_code(0).json();
    let last = &recorded[1];
    assert_eq!((&last["session_id"], &last["role"]), (&"make/maker".into(), &"maker".into()));
    for sum in ["session_total", "role_total", "run_total"] {
        assert_eq!(last[sum]["calls"], 2, "{last}");
        assert_eq!(
            last[sum]["cost_usd"], shown["cost_usd"],
            "the sums are those of the run: {last} {shown:#}"
        );
    }
    assert_eq!(last["evidence"], "scripted");
    let replay = project.runner(["replay", FILE]).run().expect_code(0);
    assert_eq!(replay.stderr.matches(WARNING).count(), 1, "{}", replay.text());
    assert_eq!(costs(&project), recorded, "a replay shows what its recording cost");
}

#[test]
fn a_resumed_run_goes_on_counting() {
    let project = project(COUNTED);
    let kill = ["record", FILE, "--script", "script.yaml", "--fault", "make/maker/1.3=kill"];
    let killed = project.runner(kill).run();
    assert_eq!((killed.signal, costs(&project).len()), (Some(9), 1));
    let resumed = project.runner(["resume"]).run().expect_code(0);
    assert!(!resumed.stderr.contains(WARNING), "it has been told: {}", resumed.text());
    let lines = costs(&project);
    let counts: Vec<&Value> = lines.iter().map(|line| &line["run_total"]["calls"]).collect();
    assert_eq!(counts, [1, 2]);
}

#[test]
fn what_nobody_knows_the_price_of_is_not_free() {
    let project = project(COUNTED);
    project.replace("mount-plans/maker.yaml", "api_key:", "default_model: a-model-of-ours, api_key:");
    let ran = record(&project);
    assert!(!ran.stderr.contains(WARNING), "{}", ran.text());
    let lines = costs(&project);
    assert_eq!(lines[1]["cost_usd"], "unpriced");
    let total = serde_json::json!({"cost_usd": "unpriced", "calls": 2, "unpriced_calls": 2});
    assert_eq!((&lines[1]["role_total"], &lines[1]["run_total"]), (&total, &total));
    project.replace("mount-plans/maker.yaml", "warn_usd: 0.00001", "warn_usd: nothing");
    let wrong = project.runner(["record", FILE, "--script", "script.yaml"]).run().expect_code(2);
    assert!(wrong.stderr.contains("warn_usd"), "{}", wrong.text());
}
