//! Sixteen workers on one queue, with prompts that quote it: the hardest thing to replay while it stays concurrent.

use serde_json::json;

use super::{Race, assert_all_answered, assert_worked_once, queue, ways};
use crate::harness::Project;
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, Asked, Brain, Part, brain};

const ISSUES: usize = 40;
const TOOL: &str = "issue_manager";
const FILE: &str = "scenarios/crowd.yaml";
const WORKSPACE: &str = ".crowd-workspace";

const SCENARIO: &str = "version: 1
name: crowd
workspace: { path: .crowd-workspace, fresh: true }
roles:
  planner: { mount_plan: mount-plans/foreman.json }
  worker: { mount_plan: mount-plans/foreman.json }
phases:
  - id: plan
    session: { role: planner, prompt: prompts/plan.md }
    expect: [issues.total == 40]
  - id: work
    workers:
      pool: [{ role: worker, count: 16 }]
      prompt: prompts/crowd.md
      claim: agent
      max_iterations: 8
      when_empty: stop
expect: [issues.closed == 40]
replay: { cassette: scenarios/crowd.cassette }
";

const PROMPT: &str = "You are {{ worker.name }}, in iteration {{ iteration }}. These are open now:
{% for issue in issues.list(status=\"open\") %}
- {{ issue.id }}: {{ issue.title }}
{% endfor %}
Claim one, close it, and stop.
";

/// Plans ten issues a message; works one a prompt, and says how many were open when it began.
fn team() -> Brain {
    brain(|asked| if asked.prompt().starts_with("Plan") { plan(asked) } else { work(asked) })
}

fn plan(asked: &Asked) -> Answer {
    let made = asked.since_prompt().len();
    if made == ISSUES {
        return Answer::text("All are planned.");
    }
    let create = |number: usize| Part::ToolUse {
        name: TOOL.to_owned(),
        input: json!({"operation": "create", "params": {"title": format!("Issue {number}"), "priority": number % 4}}),
    };
    Answer::new((made + 1..=made + 10).map(create).collect())
}

fn work(asked: &Asked) -> Answer {
    let calls = asked.since_prompt();
    let Some(claim) = calls.first() else {
        return Answer::call(TOOL, json!({"operation": "claim", "params": {}}));
    };
    let issue = claim.json()["issue"].clone();
    match (issue["id"].as_str(), calls.get(1)) {
        (None, _) => Answer::text("Nothing is left for me."),
        (Some(id), None) => {
            let open = asked.prompt().lines().filter(|line| line.starts_with("- bd-")).count();
            let reason = format!("{open} were open");
            Answer::call(TOOL, json!({"operation": "close", "params": {"issue_id": id, "reason": reason}}))
        }
        (Some(id), Some(close)) => Answer::text(format!("{id}: {}", close.json()["issue"]["status"])),
    }
}

#[test]
fn a_crowd_on_one_queue_replays_exactly() {
    let race = Race::default();
    let server = AnthropicServer::start(race.disturb(team()));
    let project = Project::shipped();
    project.write(FILE, SCENARIO).write("prompts/plan.md", "Plan forty issues.\n");
    project.write("prompts/crowd.md", PROMPT).point_at(&server);
    project.runner(["record", FILE]).with_key().run().expect_code(0);
    let asked = assert_all_answered(&server);
    assert_worked_once(&project, WORKSPACE, ISSUES);
    let live = queue(&project, WORKSPACE);

    // It was a crowd: most of the sixteen have worked, and their prompts have quoted different queues.
    let of = |field: &str| -> std::collections::BTreeSet<String> {
        live["issues"].as_array().unwrap().iter().map(|issue| issue[field].to_string()).collect()
    };
    assert!(of("assignee").len() >= 8, "{:?}", of("assignee"));
    // In step with each other they would see forty, twenty-four and eight.
    assert!(of("close_reason").len() >= 3, "{:?}", of("close_reason"));

    for way in ways(10) {
        project.runner(["replay", FILE]).args(&way).run().expect_code(0);
        assert_eq!(queue(&project, WORKSPACE), live, "{way:?}");
    }
    assert_eq!(server.requests().len(), asked, "a replay asks nobody");
}
