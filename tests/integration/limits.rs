//! Whether a run stops at what its scenario allows, says so, and replays so.

use crate::harness::{Outcome, Project};
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, Fault, Usage, brain};

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
    let turns = |outcome: &Outcome| {
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

/// A scenario whose one clerk claims an issue and goes on for ever, with `MORE` at its end.
const HOLDER: &str = r#"version: 1
name: holder
workspace: { path: work, fresh: true }
roles:
  clerk: { mount_plan: mount-plans/foreman.json }
phases:
  - id: fill
    session: { role: clerk, prompt: prompts/fill.md }
  - id: work
    PHASE
    workers:
      pool: [{ role: clerk, count: 1 }]
      prompt: prompts/talk.md
      claim: agent
replay: { cassette: holder.cassette }
MORE
"#;

/// It never comes to an end by itself, unless its patience of twelve calls is over; asked to hand back, it says where it is.
const STEADY: &str = r#"rules:
  - when: phase == "fill" and turn == 1
    calls: [{ tool: issue_manager, input: { operation: create, params: { title: "one" } } }]
    usage: { input: 1000, output: 100 }
  - { when: phase == "fill", say: filled, usage: { input: 1000, output: 100 } }
  - when: '"this is your last reply" in prompt'
    calls:
      - tool: issue_manager
        input: { operation: comment, params: { issue_id: "{{ history[0].output.issue.id }}", body: "half of it is done" } }
      - { tool: bash, input: { command: "touch no" } }
    usage: { input: 1000, output: 100 }
    latency: 10s
  - when: turn == 1
    calls: [{ tool: issue_manager, input: { operation: claim } }]
    usage: { input: 1000, output: 100 }
    latency: 10s
  - when: turn == 12
    calls:
      - tool: issue_manager
        input: { operation: close, params: { issue_id: "{{ history[0].output.issue.id }}", reason: done } }
    usage: { input: 1000, output: 100 }
  - { when: turn > 12, say: done, usage: { input: 1000, output: 100 } }
  - when: "true"
    calls: [{ tool: issue_manager, input: { operation: list } }]
    usage: { input: 1000, output: 100 }
    latency: 10s
"#;

/// A project with the scenario and its script.
pub fn holder(phase: &str, more: &str) -> Project {
    let project = Project::shipped();
    project
        .write("holder.yaml", &HOLDER.replace("PHASE", phase).replace("MORE", more))
        .write("prompts/fill.md", "Fill the queue.\n")
        .write("prompts/talk.md", "Go on.\n")
        .write("script.yaml", STEADY);
    project
}

const RECORD: [&str; 4] = ["record", "holder.yaml", "--script", "script.yaml"];

/// How often something of this type happened.
fn count(outcome: &Outcome, kind: &str) -> usize {
    outcome.json_lines().iter().filter(|event| event["event"]["type"] == kind).count()
}

/// Lets the last run go on without a recording: what is given back in between and taken again is in none.
fn forget_recording(project: &Project) {
    let run = project.read(".runner/runs/latest");
    let path = format!(".runner/runs/{}/manifest.json", run.trim());
    let mut manifest: serde_json::Value = serde_json::from_str(&project.read(&path)).expect("a manifest");
    manifest.as_object_mut().expect("an object").remove("record").expect("a recording was asked for");
    project.write(&path, &manifest.to_string());
}

/// Replays in both strictnesses end as the recording did, after as many model calls.
fn replays_equal(project: &Project, code: i32, turns: usize) {
    for strictness in ["total", "causal"] {
        let replayed = project.runner(["replay", "holder.yaml", "--json", "--strictness", strictness]).run();
        let replayed = replayed.expect_code(code);
        assert_eq!(count(&replayed, "turn.ended"), turns, "{strictness}");
    }
}

#[test]
fn who_holds_an_issue_hands_it_back_with_the_last_call_and_goes_on_with_more() {
    let project = holder("limits: { max_turns: 6 }", "");
    let recorded = project.runner(RECORD).arg("--json").run().expect_code(7);
    assert_eq!(count(&recorded, "turn.ended"), 8, "two to fill, six to work");
    let text = recorded.stdout.as_str();
    assert!(
        text.contains("half of it is done") && text.contains("Only the issue tool may be called"),
        "{text}"
    );
    assert!(!project.path("work/no").exists());
    let issue =
        &project.runner(["issues", "list", "--json", "--workspace", "work"]).run().json()["issues"][0];
    assert_eq!((&issue["status"], &issue["attempt"]), (&"open".into(), &0.into()), "{issue}");

    forget_recording(&project);
    let vain = project.runner(["resume", "--json"]).run().expect_code(7);
    assert!(count(&vain, "turn.ended") <= 2, "what was spent counts: {}", vain.stdout);
    for (set, told) in [
        ("phases.wrok.limits.max_turns=60", "can have no `wrok`"),
        ("roles.clerk.model=claude-x", "`roles.clerk.model` is no limit"),
    ] {
        let wrong = project.runner(["resume", "--set", set]).run().expect_code(2);
        assert!(wrong.stderr.contains(told), "{}", wrong.stderr);
    }
    project.runner(["resume", "--set", "phases.work.limits.max_turns=60"]).run().expect_code(0);
    let issue =
        &project.runner(["issues", "list", "--json", "--workspace", "work", "--status", "closed"]).run();
    assert_eq!(issue.json()["issues"][0]["status"], "closed");
    replays_equal(&project, 7, 8);
}

#[test]
fn money_is_counted_limited_and_shown_and_a_replay_shows_what_the_recording_cost() {
    let prices = "prices: { claude-sonnet-4-5: { input: 10, output: 100, cache_read: 1, cache_write: 10 } }";
    let project = holder("limits: { max_usd: 0.7 }", prices);
    let recorded = project.runner(RECORD).arg("--json").run().expect_code(7);
    // 1000 tokens in for a cent, 100 out for another.
    let turns = count(&recorded, "turn.ended");
    assert!((4..12).contains(&turns), "{turns}");
    let cost = |event: &serde_json::Value| event["event"]["cost"].as_f64();
    let told: f64 = recorded.json_lines().iter().filter_map(cost).sum();
    let expected = turns as f64 * 0.02;
    assert!((told - expected).abs() < 1e-9, "{told} {expected}");
    let shown = project.runner(["show", "--json"]).run().json();
    assert_eq!(shown["cost_usd"].as_f64().map(|usd| (usd * 1e4).round()), Some((expected * 1e4).round()));
    assert_eq!(shown["unpriced_calls"], 0);

    project.replace("holder.yaml", "input: 10, output: 100", "input: 99, output: 999");
    replays_equal(&project, 7, turns);
    let shown = project.runner(["show", "--json"]).run().json();
    assert_eq!(shown["cost_usd"].as_f64().map(|usd| (usd * 1e4).round()), Some((expected * 1e4).round()));
}

#[test]
fn a_model_without_a_price_costs_not_nothing() {
    let project = holder("limits: { max_turns: 6 }", "");
    project.replace("mount-plans/foreman.json", "claude-sonnet-4-5", "claude-mystery");
    let recorded = project.runner(RECORD).run().expect_code(7);
    assert!(
        recorded.stderr.contains("unpriced") || recorded.stdout.contains("unpriced"),
        "{}",
        recorded.stderr
    );
    let shown = project.runner(["show", "--json"]).run().json();
    assert_eq!((&shown["cost_usd"], &shown["unpriced_calls"]), (&serde_json::Value::Null, &8.into()));
    project.replace("holder.yaml", "max_turns: 6", "max_usd: 6");
    let refused = project.runner(RECORD).run().expect_code(2);
    assert!(refused.stderr.contains("RUN0410"), "{}", refused.stderr);
}

#[test]
fn a_hundred_workers_do_not_overshoot_by_one_call() {
    let project = Project::shipped();
    let more = "limits: { max_usd: 20 }\nprices: { claude-sonnet-4-5: { input: 100, output: 100 } }";
    let scenario = HOLDER.replace("PHASE", "").replace("count: 1", "count: 100").replace("MORE", more);
    let create = "{ tool: issue_manager, input: { operation: create, params: { title: one } } }";
    let fill = vec![create; 100].join(", ");
    let filled = format!(
        "rules:\n  - {{ when: phase == \"fill\" and turn == 1, calls: [{fill}] }}\n  - {{ when: phase == \"fill\", say: filled }}\n"
    );
    project
        .write("holder.yaml", &scenario)
        .write("prompts/fill.md", "Fill the queue.\n")
        .write("prompts/talk.md", "Go on.\n")
        .write("script.yaml", &SCRIPT.replacen("rules:\n", &filled, 1));
    let recorded = project.runner(RECORD).arg("--json").run().expect_code(7);
    let spent: f64 = recorded.json_lines().iter().filter_map(|event| event["event"]["cost"].as_f64()).sum();
    assert!(spent <= 20.0 && spent > 10.0, "{spent}");
    replays_equal(&project, 7, count(&recorded, "turn.ended"));
}

#[test]
fn a_phase_and_a_run_end_when_their_time_is_up_and_replay_so() {
    let cases = [("limits: { timeout: 35s }", ""), ("", "limits: { timeout: 35s }")];
    for (phase, more) in cases {
        let project = holder(phase, more);
        let recorded = project.runner(RECORD).arg("--json").run().expect_code(7);
        let turns = count(&recorded, "turn.ended");
        assert_eq!(turns, 2 + 4, "the reply that was under way is still used: {more}");
        assert!(recorded.stderr.contains("took longer than the 35s"), "{}", recorded.stderr);
        forget_recording(&project);
        let raise = if more.is_empty() { "phases.work.limits.timeout=1h" } else { "limits.timeout=1h" };
        project.runner(["resume", "--set", raise]).run().expect_code(0);
        replays_equal(&project, 7, turns);
    }
}

#[test]
fn time_that_is_not_used_up_changes_nothing() {
    let free = holder("", "");
    let bounded = holder("limits: { timeout: 3h }", "limits: { timeout: 5h }");
    let told = |project: &Project| {
        let recorded = project.runner(RECORD).arg("--json").run().expect_code(0);
        recorded.json_lines().iter().map(|event| event["ts"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told(&free), told(&bounded), "no alarm moves the time that nobody waits for");
}

#[test]
fn what_a_command_prints_of_time_does_not_say_that_its_time_is_up() {
    let project = Project::new();
    let scenario = |command: &str, timeout: &str| {
        let text = format!(
            "version: 1\nworkspace: work\nphases:\n  - {{ id: one, timeout: {timeout}, shell: {{ run: '{command}' }} }}\n"
        );
        project.write("timed.yaml", &text);
    };
    for command in ["echo Command timed out; exit 1", "echo Command timed out >&2; kill -9 $$"] {
        scenario(command, "1m");
        project.runner(["run", "timed.yaml"]).run().expect_code(1);
    }
    scenario("sleep 60", "1s");
    project.runner(["run", "timed.yaml"]).run().expect_code(7);
}

#[test]
fn a_call_that_failed_counts_with_what_it_used() {
    let tokens = |input| Usage { input, output: 10, ..Usage::default() };
    let server = AnthropicServer::start(brain(move |asked| match asked.count {
        1..=2 => Answer::text("cut off").usage(tokens(40_000)).fault(Fault::CutAfterEvent(3)),
        _ => Answer::text("yes").usage(tokens(500)),
    }));
    let project = Project::shipped();
    project.point_at(&server);
    project
        .write(
            "wasteful.yaml",
            "version: 1\nworkspace: { path: work, fresh: true }\n\
             roles: { clerk: { mount_plan: mount-plans/foreman.json } }\n\
             phases: [{ id: talk, session: { role: clerk, prompt: prompts/talk.md } }]\n\
             limits: { max_tokens: 85000 }\n",
        )
        .write("prompts/talk.md", "Go on.\n");
    let ended = project.runner(["run", "wasteful.yaml", "--json"]).with_key().run().expect_code(7);
    assert_eq!(count(&ended, "call.wasted"), 2, "{}", ended.stdout);
    assert_eq!(server.requests().len(), 2, "a third does not fit into what two have left");
    let shown = project.runner(["show", "--json"]).run().json();
    assert!(shown["tokens"].as_u64().is_some_and(|tokens| tokens >= 80_000), "{shown}");
}

#[test]
fn a_worker_that_is_sent_home_in_the_middle_has_made_no_attempt() {
    for limits in ["limits: { max_turns: 6 }", "limits: { timeout: 35s }"] {
        let project = holder(limits, "");
        project.replace("holder.yaml", "claim: agent", "claim: engine");
        let recorded = project.runner(RECORD).arg("--json").run().expect_code(7);
        let listed = project.runner(["issues", "list", "--json", "--workspace", "work"]).run().json();
        let issue = &listed["issues"][0];
        assert_eq!((&issue["status"], &issue["attempt"]), (&"open".into(), &0.into()), "{limits}: {issue}");
        replays_equal(&project, 7, count(&recorded, "turn.ended"));
    }
}

#[test]
fn a_limit_that_was_raised_stays_so_when_the_run_goes_on_again() {
    let project = holder("limits: { max_turns: 4 }", "");
    let turns = |words: &[&str], code| {
        count(&project.runner(words.iter().copied()).arg("--json").run().expect_code(code), "turn.ended")
    };
    assert_eq!(turns(&RECORD, 7), 2 + 4);
    forget_recording(&project);
    assert_eq!(turns(&["resume", "--set", "phases.work.limits.max_turns=7"], 7), 3);
    // Set aside with the end of the first time and made anew: what it spent then is spent.
    assert_eq!(turns(&["resume"], 7), 0);
    assert!(turns(&["resume", "--set", "phases.work.limits.max_turns=70"], 0) > 4);
}
