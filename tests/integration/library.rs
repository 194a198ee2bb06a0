//! Does a program of its own run scenarios whose mount plans name its modules, and are they recorded and replayed?

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use runner::chat::ToolSpec;
use runner::event::{Footprint, Policy};
use runner::plan::{ModuleInfo, ModuleKind};
use runner::session::{RegisterError, Registry};
use runner::tool::{Built, CallContext, Tool, ToolOutput};
use serde_json::{Map, Value, json};

use crate::harness::Project;

const COUNTER: ModuleInfo = ModuleInfo {
    name: "tool-counter",
    aliases: &[],
    kind: ModuleKind::Tool,
    summary: "counts its calls",
    keys: &[],
    tools: &["count"],
    credential: None,
};

struct Counter(Arc<AtomicUsize>);

#[async_trait]
impl Tool for Counter {
    fn spec(&self) -> ToolSpec {
        let (name, description) = ("count".to_owned(), "Counts.".to_owned());
        ToolSpec { name, description, input_schema: json!({"type": "object", "properties": {}}) }
    }

    fn policy(&self) -> Policy {
        Policy::Tape
    }

    fn timeout(&self, _input: &Map<String, Value>) -> Option<Duration> {
        None
    }

    fn footprint(&self, _input: &Map<String, Value>) -> Footprint {
        Footprint::none()
    }

    async fn run(&self, _input: Map<String, Value>, _call: CallContext) -> ToolOutput {
        ToolOutput::ok(format!("call {}", self.0.fetch_add(1, Ordering::SeqCst) + 1))
    }
}

fn registry(calls: &Arc<AtomicUsize>) -> Registry {
    let calls = calls.clone();
    let added = Registry::builtin()
        .with_tool(COUNTER, move |_parts| Ok(Built::Tools(vec![Arc::new(Counter(calls.clone()))])));
    added.expect("no other module has its name")
}

#[test]
fn a_tool_of_ones_own_is_named_recorded_and_replayed() {
    let project = Project::new();
    project.write(
        "count.yaml",
        "version: 1
workspace: { path: .count, fresh: true }
roles: { counter: { mount_plan: mount-plans/counter.yaml } }
phases: [{ id: count, session: { role: counter, prompt: prompts/count.md } }]
expect: ['phases.count.text == \"It says: call 1\"']
",
    );
    project.write("prompts/count.md", "Count.\n");
    project.write(
        "mount-plans/counter.yaml",
        "session: { orchestrator: loop-streaming, context: context-simple }
providers: [{ module: provider-mock, config: { script: script.yaml } }]
tools: [{ module: tool-counter }]
",
    );
    project.write(
        "script.yaml",
        "rules:
  - { when: turn == 1, calls: [{ tool: count, input: {} }] }
  - { say: 'It says: {{ last.output }}' }
",
    );
    let calls = Arc::new(AtomicUsize::new(0));
    let file = project.path("count.yaml");
    let cassette = project.path("count.cassette");
    let latest = || project.read(".runner/runs/latest").trim().to_owned();
    let run = |words: &[&str]| {
        let words = std::iter::once("runner").chain(words.iter().copied()).map(OsString::from);
        runner::cli::run(registry(&calls), words)
    };
    let (file, cassette) = (file.to_str().expect("a path"), cassette.to_str().expect("a path"));
    assert_eq!(run(&[file]), 0);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // The command that is built knows no such module.
    let refused = project.runner(["check", "count.yaml"]).run().expect_code(2);
    assert!(refused.stderr.contains("there is no tool `tool-counter`"), "{}", refused.text());
    let saved = project.runner(["cassette", "save", &latest(), "--to", "count.cassette"]).run();
    saved.expect_code(0);
    assert_eq!(run(&["replay", file, "--from", cassette]), 0);
    assert_eq!(calls.load(Ordering::SeqCst), 1, "a replay does not call it");
}

#[test]
fn a_module_that_cannot_be_added_says_why() {
    let make = |_: &runner::session::ToolParts<'_>| Ok(Built::Absent { notice: String::new() });
    let taken = ModuleInfo { name: "tool-web-search", ..COUNTER };
    let error = Registry::builtin().with_tool(taken, make).map(|_| ()).unwrap_err();
    assert_eq!(error, RegisterError::Taken("tool-web-search".to_owned()));
    let hook = ModuleInfo { kind: ModuleKind::Hook, ..COUNTER };
    let error = Registry::builtin().with_tool(hook, make).map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        error,
        "`tool-counter` says that it is Hook, and is added as Tool; change the `kind` of its `ModuleInfo`"
    );
}
