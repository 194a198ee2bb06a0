//! Killed after any committed effect and resumed: does a run end as one that nobody killed, with nothing done or paid twice?
//!
//! The suite kills the demo after every effect and a team of sixteen after some. `RUNNER_CRASH_SWEEP=all cargo test
//! --test integration crash::` kills the sixteen after every one, too (some minutes).

use std::collections::BTreeMap;

use runner::journal::{self, Line};
use serde_json::{Value, json};

use crate::harness::Project;

/// One scenario that a script plays.
pub(crate) struct Case {
    pub(crate) scenario: &'static str,
    pub(crate) script: &'static str,
    pub(crate) workspace: &'static str,
    /// How it ends.
    pub(crate) code: i32,
    pub(crate) make: fn() -> Project,
}

const DEMO: Case = Case {
    scenario: "scenarios/demo.yaml",
    script: "scenarios/demo.script.yaml",
    workspace: ".demo-workspace",
    code: 0,
    make: Project::shipped,
};

const SIXTEEN: Case = Case {
    scenario: "scenarios/sixteen.yaml",
    script: "scenarios/sixteen.script.yaml",
    workspace: ".sixteen",
    code: 0,
    make: sixteen,
};

/// Its budget is used up while it holds an issue.
const FRUGAL: Case = Case {
    scenario: "holder.yaml",
    script: "script.yaml",
    workspace: "work",
    code: 7,
    make: || crate::limits::holder("limits: { max_turns: 6 }", "limits: { max_usd: 3 }"),
};

const LISTED: Case = Case {
    scenario: "scenarios/listed.yaml",
    script: "scenarios/listed.script.yaml",
    workspace: ".listed",
    code: 0,
    make: listed,
};

/// Workers with folders of their own, which a run that goes on finds again.
const FOLDERS: Case = Case {
    scenario: "folders.yaml",
    script: "folders.script.yaml",
    workspace: ".ws",
    code: 0,
    make: crate::engine::project,
};

/// A session whose list of steps decides what the queue holds in the end.
fn listed() -> Project {
    let project = Project::shipped();
    let plan = project.read("mount-plans/foreman.json");
    let tool = "{ \"module\": \"tool-issue\"";
    assert!(plan.contains(tool), "{plan}");
    let with_list = plan.replace(tool, &format!("{{ \"module\": \"tool-todo\" }}, {tool}"));
    project.write("mount-plans/listed.json", &with_list);
    project.write(
        LISTED.scenario,
        "version: 1
name: listed
workspace: { path: .listed, fresh: true }
roles:
  planner: { mount_plan: mount-plans/listed.json }
phases:
  - id: plan
    session: { role: planner, prompt: prompts/plan.md }
expect: [issues.total == 1]
",
    );
    project.write("prompts/plan.md", "Plan.\n");
    let step = "{ content: Test, activeForm: Testing, status: pending }";
    project.write(
        LISTED.script,
        &format!(
            "rules:
  - when: turn == 1
    calls: [{{ tool: todo, input: {{ action: create, todos: [{step}] }} }}]
  - when: turn == 2
    calls: [{{ tool: todo, input: {{ action: update, todos: [{step}, {step}, {step}] }} }}]
  - when: turn == 3
    calls: [{{ tool: todo, input: {{ action: list }} }}]
  - when: turn == 4
    calls: [{{ tool: issue_manager, input: {{ operation: create, params: {{ title: \"{{{{ last.output.count }}}} steps\" }} }} }}]
  - say: Done.
"
        ),
    );
    project
}

fn sixteen() -> Project {
    let project = Project::shipped();
    project.write(
        SIXTEEN.scenario,
        "version: 1
name: sixteen
workspace: { path: .sixteen, fresh: true }
roles:
  planner: { mount_plan: mount-plans/foreman.json }
  worker: { mount_plan: mount-plans/foreman.json }
phases:
  - id: plan
    session: { role: planner, prompt: prompts/plan.md }
  - id: work
    needs: [plan]
    workers:
      pool: [{ role: worker, count: 16 }]
      prompt: prompts/sixteen.md
      claim: agent
      max_iterations: 4
expect: [issues.closed == 24]
",
    );
    project.write("prompts/plan.md", "Plan.\n");
    project.write(
        "prompts/sixteen.md",
        "You are {{ worker.name }}. {{ issues.list(status=\"open\") | length }} are open. Claim one and close it.\n",
    );
    let create = "      - { tool: issue_manager, input: { operation: create, params: { title: \"Issue {{ turn }}-NUMBER\" } } }\n";
    let creates: String = (1..=12).map(|number| create.replace("NUMBER", &number.to_string())).collect();
    project.write(
        SIXTEEN.script,
        &format!(
            "rules:
  - when: role == \"planner\" and turn <= 2
    latency: 10ms
    calls:
{creates}  - when: role == \"planner\"
    say: Planned.
  - when: since_prompt == 1 and turn % 3 == 1
    latency: 30ms
    calls: [{{ tool: issue_manager, input: {{ operation: claim }} }}]
  - when: since_prompt == 1
    latency: 50ms
    calls: [{{ tool: issue_manager, input: {{ operation: claim }} }}]
  - when: since_prompt == 2 and last.output.issue
    latency: 20ms
    calls: [{{ tool: issue_manager, input: {{ operation: close, params: {{ issue_id: \"{{{{ last.output.issue.id }}}}\", reason: done }} }} }}]
  - say: Done.
"
        ),
    );
    project
}

/// What is the same of a queue whoever worked when: each issue with what became of it, and how often that happened.
pub(crate) fn outcome(project: &Project, workspace: &str) -> BTreeMap<String, Value> {
    let issues = |words: &[&str]| {
        let line = [&["issues"], words, &["--workspace", workspace, "--json"]].concat();
        project.runner(line).run().expect_code(0).json()
    };
    let listed = issues(&["list"]);
    let listed = listed["issues"].as_array().expect("a list").iter();
    listed
        .map(|issue| {
            let id = issue["id"].as_str().expect("an id");
            let changes = issues(&["history", id]);
            let times = |event: &str| {
                let changes = changes["changes"].as_array().expect("changes").iter();
                changes.filter(|change| change["event_type"] == event).count()
            };
            let counted: Vec<usize> =
                ["created", "claimed", "blocked", "unblocked", "closed"].map(times).into_iter().collect();
            let kept = json!([id, issue["status"], issue["description"], issue["attempt"], counted]);
            (issue["title"].as_str().expect("a title").to_owned(), kept)
        })
        .collect()
}

/// Effects of a run's journal, in the order of their lines.
fn effects(project: &Project) -> Vec<String> {
    let run = project.read(".runner/runs/latest");
    let path = project.path(&format!(".runner/runs/{}/journal.jsonl", run.trim()));
    let lines = journal::read(&path).expect("the journal is whole");
    let ids = lines.into_iter().filter_map(|line| match line {
        Line::Effect { record, .. } => Some(record.id.to_string()),
        _ => None,
    });
    ids.collect()
}

pub(crate) fn record<'a>(case: &Case, more: &[&'a str]) -> Vec<&'a str> {
    [&["record", case.scenario, "--script", case.script, "--to", "tape"], more].concat()
}

/// Kills the run after each of these effects, resumes it, and holds it against one that nobody killed.
pub(crate) fn sweep(case: &Case, points: impl Fn(usize) -> Vec<usize>) {
    let whole = (case.make)();
    whole.runner(record(case, &[])).run().expect_code(case.code);
    let expected = outcome(&whole, case.workspace);
    let all = points(effects(&whole).len());
    assert!(all.len() > 8, "{}", all.len());
    let expected = &expected;
    std::thread::scope(|threads| {
        for part in all.chunks(all.len().div_ceil(4)) {
            threads.spawn(move || {
                let project = (case.make)();
                part.iter().for_each(|point| crash(case, &project, *point, expected));
            });
        }
    });
}

fn crash(case: &Case, project: &Project, point: usize, expected: &BTreeMap<String, Value>) {
    let fault = format!("commit:{point}=kill");
    let killed = project.runner(record(case, &["--fault", &fault])).run();
    assert_eq!(killed.signal, Some(9), "{fault}: {}", killed.text());
    let before = effects(project);
    let resumed = project.runner(["resume"]).run();
    assert_eq!(resumed.code, Some(case.code), "{fault}: {}", resumed.text());
    assert_eq!(&outcome(project, case.workspace), expected, "{fault}: {}", resumed.text());
    let after = effects(project);
    // What the run was to reach is looked at again at its new end.
    let mut twice: Vec<_> = after.iter().filter(|id| !id.starts_with("run/!expect-")).collect();
    twice.sort();
    let done = twice.len();
    twice.dedup();
    assert_eq!(twice.len(), done, "{fault}: something was done twice");
    assert_eq!(after[..before.len()], before[..], "{fault}: something was lost");
    let verified = ["issues", "verify", "--workspace", case.workspace];
    project.runner(verified).run().expect_code(0);
}

#[test]
fn the_demo_ends_the_same_wherever_it_was_killed() {
    sweep(&DEMO, |effects| (1..=effects).collect());
}

#[test]
fn a_list_of_steps_is_the_same_wherever_its_run_was_killed() {
    sweep(&LISTED, |effects| (1..=effects).collect());
    let whole = listed();
    whole.runner(record(&LISTED, &[])).run().expect_code(0);
    assert!(outcome(&whole, LISTED.workspace).contains_key("3 steps"));
}

#[test]
fn workers_in_folders_of_their_own_end_the_same_wherever_they_were_killed() {
    sweep(&FOLDERS, |effects| (1..=effects).collect());
}

#[test]
fn sixteen_workers_end_the_same_wherever_they_were_killed() {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its caller what to do")]
    let step = if std::env::var("RUNNER_CRASH_SWEEP").is_ok() { 1 } else { 17 };
    sweep(&SIXTEEN, |effects| (1..=effects).step_by(step).collect());
}

#[test]
fn a_run_that_uses_its_budget_up_does_so_wherever_it_was_killed() {
    sweep(&FRUGAL, |effects| (1..=effects).collect());
}
