//! The small projects of these tests: one conversation, or a team on a queue that outlives a run.

use serde_json::{Value, json};

use crate::harness::{Outcome, Project};
use crate::server::brain::{Answer, Asked, Brain, Exchange, Part, brain};

/// The issue tool.
pub const TOOL: &str = "issue_manager";

/// Where the team works.
pub const WORKSPACE: &str = "desk";

/// What a mount plan says of its provider besides the address: failures come and go quickly.
fn provider(url: &str) -> Value {
    json!({
        "module": "provider-anthropic",
        "config": {
            "base_url": url,
            "default_model": "claude-sonnet-4-5",
            "max_tokens": 1024,
            "max_retries": 2,
            "min_retry_delay": 0.01,
            "max_retry_delay": 0.02,
            "overloaded_delay_multiplier": 1.0,
        },
    })
}

fn mount_plan(url: &str, tools: &[&str]) -> Value {
    let tools: Vec<_> = tools.iter().map(|tool| json!({"module": tool})).collect();
    json!({
        "session": {
            "orchestrator": {"module": "loop-streaming"},
            "context": {"module": "context-simple"},
        },
        "providers": [provider(url)],
        "tools": tools,
    })
}

/// A project whose `talk.yaml` is one conversation of one prompt.
pub fn talk(url: &str) -> Project {
    let project = Project::new();
    project.write(
        "talk.yaml",
        "version: 1
name: talk
workspace: { path: desk }
inputs: { name: { default: world } }
roles:
  writer: { mount_plan: mount-plans/writer.json }
phases:
  - id: greet
    session: { role: writer, prompt: prompts/greet.md }
",
    );
    project.write("prompts/greet.md", "Greet {{ inputs.name }}.\n");
    let plan = mount_plan(url, &["tool-issue", "tool-filesystem", "tool-bash"]);
    project.write("mount-plans/writer.json", &format!("{plan:#}\n"));
    project
}

/// A project whose `team.yaml` fills a queue once and lets workers drain it. The workspace outlives a run.
pub fn team(url: &str, workers: u32) -> Project {
    let project = Project::new();
    project.write(
        "team.yaml",
        &format!(
            "version: 1
name: team
workspace: {{ path: {WORKSPACE} }}
roles:
  foreman: {{ mount_plan: mount-plans/worker.json }}
  worker:  {{ mount_plan: mount-plans/worker.json }}
phases:
  - id: fill
    when: issues.total == 0
    session: {{ role: foreman, prompt: prompts/fill.md }}
  - id: work
    needs: [fill]
    workers:
      pool: [{{ role: worker, count: {workers} }}]
      prompt: prompts/work.md
      claim: agent
      max_iterations: 50
expect: [issues.closed == issues.total]
"
        ),
    );
    project.write("prompts/fill.md", "Fill the queue.\n");
    project.write("prompts/work.md", "You are {{ worker.name }}. Work on one issue.\n");
    project.write("mount-plans/worker.json", &format!("{:#}\n", mount_plan(url, &["tool-issue"])));
    project
}

/// Sets a key of the one provider of a mount plan.
pub fn configure(project: &Project, file: &str, key: &str, value: Value) {
    let mut plan: Value = serde_json::from_str(&project.read(file)).expect("a mount plan of this test");
    plan["providers"][0]["config"][key] = value;
    project.write(file, &format!("{plan:#}\n"));
}

/// A call of the issue tool.
pub fn issue_call(operation: &str, params: &Value) -> Part {
    Part::ToolUse { name: TOOL.to_owned(), input: json!({"operation": operation, "params": params}) }
}

/// The team: a foreman who makes so many issues, workers who claim and close one a prompt.
pub fn brain_of_team(issues: usize) -> Brain {
    brain(move |asked| think(asked, issues))
}

/// One answer of the team.
pub fn think(asked: &Asked, issues: usize) -> Answer {
    let calls = asked.since_prompt();
    if asked.prompt().contains("Fill the queue") {
        return match calls.len() {
            0 => Answer::new((1..=issues).map(new_issue).collect()),
            _ => Answer::text("The queue is full."),
        };
    }
    let made = |operation: &str| calls.iter().find(|call| call.operation() == operation);
    match (made("claim").map(Exchange::json), made("close")) {
        (None, _) => Answer::new(vec![issue_call("claim", &json!({}))]),
        (Some(claimed), None) if claimed["issue"]["id"].is_string() => Answer::new(vec![issue_call(
            "close",
            &json!({"issue_id": claimed["issue"]["id"], "reason": "done"}),
        )]),
        (Some(_), None) => Answer::text("No work available"),
        (Some(_), Some(_)) => Answer::text("Closed."),
    }
}

fn new_issue(number: usize) -> Part {
    let params = json!({
        "title": format!("Issue {number}"), "description": "Something to do.", "issue_type": "task", "priority": 1,
    });
    issue_call("create", &params)
}

/// Whether a request is a worker's that has just claimed an issue.
pub fn has_claimed(asked: &Asked) -> bool {
    let calls = asked.since_prompt();
    calls.len() == 1 && calls[0].json()["issue"]["id"].is_string()
}

/// Makes an empty queue in the workspace, as a run would.
pub fn with_queue(project: &Project) {
    let file = project.path(WORKSPACE).join(".beads/issues.db");
    drop(runner::store::SqliteStore::open(&file).expect("a queue in a new folder"));
}

/// How many issues the queue has in each state, as `runner issues` tells it: open, in progress, blocked, closed.
pub fn counts(project: &Project) -> [usize; 4] {
    let outcome = project.runner(["issues", "list", "--workspace", WORKSPACE, "--json"]).run().expect_code(0);
    let issues = issues(&outcome);
    ["open", "in_progress", "blocked", "closed"]
        .map(|status| issues.iter().filter(|issue| issue["status"] == status).count())
}

/// The issues of `runner issues list --json`.
fn issues(outcome: &Outcome) -> Vec<Value> {
    outcome.json()["issues"].as_array().cloned().unwrap_or_default()
}

/// The one run folder of a project, relative to its root.
pub fn run_folder(project: &Project) -> String {
    format!(".runner/runs/{}", project.read(".runner/runs/latest").trim())
}

/// What a run said on standard error from its first complaint on, and how it ended.
#[track_caller]
pub fn complaint(outcome: &Outcome) -> String {
    let at = outcome.stderr.find("\nerror").unwrap_or_else(|| panic!("no complaint:\n{}", outcome.text()));
    outcome.stderr[at + 1..].to_owned()
}
