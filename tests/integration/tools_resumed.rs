//! Does a run that calls every tool end the same, whichever call it was killed after?
//!
//! One session makes the calls of a table, one a turn, and in the end puts into an issue what each has come to. `crash.rs`
//! kills the run after every one of its effects, resumes it, and holds the issue against that of a run that nobody killed.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::crash::{Case, outcome, record, sweep};
use crate::harness::{Project, repository};
use crate::web_tool::{Server, response};

const ALL: Case = Case {
    scenario: "scenarios/all.yaml",
    script: "scenarios/all.script.yaml",
    workspace: ".all",
    code: 0,
    make: project,
};

/// A call, and what is kept of its result.
struct Row {
    tool: &'static str,
    input: Value,
    /// An expression over `it`, the outcome of the call.
    keep: &'static str,
}

fn row(tool: &'static str, input: Value, keep: &'static str) -> Row {
    Row { tool, input, keep }
}

/// A web of one page and one search.
fn web() -> &'static Server {
    static WEB: OnceLock<Server> = OnceLock::new();
    WEB.get_or_init(|| {
        Server::start(|path| match path {
            "/page" => response("200 OK", "content-type: text/plain\r\n", "a page"),
            _ => {
                let found = json!({"web": {"results": [{"title": "found", "url": "https://e.org/", "description": "x"}]}});
                response("200 OK", "content-type: application/json\r\n", &found.to_string())
            }
        })
    })
}

/// Every tool; those that change something are followed by one that shows how often that was done.
fn table() -> Vec<Row> {
    let step = |text: &str| json!({"content": text, "activeForm": text, "status": "pending"});
    vec![
        row("write_file", json!({"file_path": "a.txt", "content": "alpha\nbeta\n"}), "it.ok"),
        row(
            "edit_file",
            json!({"file_path": "a.txt", "old_string": "alpha", "new_string": "gamma"}),
            "it.ok",
        ),
        row("read_file", json!({"file_path": "a.txt"}), "it.output.content"),
        row("bash", json!({"command": "echo once >> bash.log; cat bash.log"}), "it.output.stdout"),
        row("write_file", json!({"file_path": "a.txt", "content": "gamma\nbeta\n."}), "it.ok"),
        row("bash", json!({"command": "echo more >> bash.log"}), "it.ok"),
        row("write_file", json!({"file_path": "bash.log", "content": "lost"}), "it.output"),
        row("read_file", json!({"file_path": "bash.log"}), "it.output.content"),
        row("bash", json!({"command": "echo again >> bash.log"}), "it.ok"),
        row(
            "edit_file",
            json!({"file_path": "bash.log", "old_string": "more", "new_string": "lost"}),
            "it.output",
        ),
        row("grep", json!({"pattern": "gam", "output_mode": "content"}), "it.output.results"),
        row("glob", json!({"pattern": "*.txt"}), "it.output"),
        row("web_fetch", json!({"url": web().at("127.0.0.1", "/page")}), "it.output.content"),
        row("web_search", json!({"query": "x"}), "it.output.results[0].title"),
        row("mcp_box_touch", json!({}), "it.output"),
        row("mcp_box_fail", json!({}), "it.output"),
        row("todo", json!({"action": "create", "todos": [step("one"), step("two")]}), "it.ok"),
        row("todo", json!({"action": "list"}), "it.output.count"),
        row("task", json!({"agent": "helper", "instruction": "Help."}), "it.output"),
        row(
            "issue_manager",
            json!({"operation": "create", "params": {"title": "one"}}),
            "it.output.issue.title",
        ),
        row("issue_manager", json!({"operation": "claim"}), "it.output.issue.status"),
        row("issue_manager", json!({"operation": "list"}), "it.output.issues | length"),
        row("bash", json!({"command": "cat a.txt bash.log made-by-server helped"}), "it.output.stdout"),
    ]
}

fn mount_plan() -> Value {
    let base = web().at("127.0.0.1", "");
    let host = base.trim_start_matches("http://").trim_end_matches('/');
    let search = json!({"backend": "brave", "api_key": "unused-key-9f3", "base_url": format!("{base}/"), "private_hosts": [host]});
    let servers = json!({"box": {"command": "/bin/sh", "args": ["../server.sh"]}});
    json!({
        "session": {"orchestrator": {"module": "loop-streaming"}, "context": {"module": "context-simple"}},
        "providers": [{"module": "provider-anthropic", "config": {"default_model": "claude-sonnet-4-5"}}],
        "tools": [
            {"module": "tool-filesystem"}, {"module": "tool-bash"}, {"module": "tool-search"},
            {"module": "tool-web", "config": search}, {"module": "tool-mcp", "config": {"servers": servers}},
            {"module": "tool-todo"}, {"module": "tool-task"}, {"module": "tool-issue"},
        ],
        "agents": {"helper": {"description": "helps"}},
    })
}

/// The rules that make the calls of the table, one a turn, and say in the end what they have come to.
fn script() -> Value {
    let mut rules = vec![
        json!({"when": "prompt == \"Help.\" and since_prompt == 1",
            "calls": [{"tool": "bash", "input": {"command": "echo helped >> helped"}}]}),
        json!({"when": "prompt == \"Help.\"", "say": "Helped."}),
    ];
    let mut kept = String::new();
    for (at, row) in table().into_iter().enumerate() {
        let turn = at + 1;
        rules.push(
            json!({"when": format!("turn == {turn}"), "calls": [{"tool": row.tool, "input": row.input}]}),
        );
        let keep = row.keep.replace("it.", &format!("history[{at}]."));
        kept.push_str(&format!("{}: {{{{ {keep} }}}}\n", row.tool));
    }
    let seen = json!({"operation": "create", "params": {"title": "Seen", "description": kept}});
    rules.push(json!({"when": format!("turn == {}", table().len() + 1), "calls": [{"tool": "issue_manager", "input": seen}]}));
    rules.push(json!({"say": "Done."}));
    json!({"rules": rules})
}

fn project() -> Project {
    let project = Project::new();
    let server = std::fs::read_to_string(repository().join("tests/inputs/mcp/server.sh")).expect("a file");
    project
        .write(
            ALL.scenario,
            "version: 1
name: all
workspace: { path: .all, fresh: true }
roles:
  worker: { mount_plan: mount-plans/worker.json }
phases:
  - id: work
    session: { role: worker, prompt: prompts/work.md }
expect: [issues.total == 2]
",
        )
        .write("prompts/work.md", "Work.\n")
        .write("server.sh", &server)
        .write("mount-plans/worker.json", &mount_plan().to_string())
        .write(ALL.script, &script().to_string());
    project
}

#[test]
fn every_tool_has_done_its_work_once_wherever_its_run_was_killed() {
    let whole = project();
    whole.runner(record(&ALL, &[])).run().expect_code(0);
    let seen = outcome(&whole, ALL.workspace)["Seen"].to_string();
    for part in [
        "read_file:      1\\tgamma\\n     2\\tbeta",
        "bash: once\\n",
        "grep: a.txt:1:gamma",
        "web_fetch: a page",
        "web_search: found",
        "mcp_box_touch: made it",
        "mcp_box_fail: the disk is full",
        "todo: 2",
        "task: Helped.",
        "issue_manager: in_progress",
        "bash.log exists and has not been read",
        "bash.log has changed since",
        "bash: gamma\\nbeta\\n.once\\nmore\\nagain\\ntouched\\nhelped\\n",
    ] {
        assert!(seen.contains(part), "{part} is not in {seen}");
    }
    sweep(&ALL, |effects| (1..=effects).collect());
}
