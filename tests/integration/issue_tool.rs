//! The issue tool as a model meets it: schema, results, refusals, holds.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use runner::clock::Timestamp;
use runner::event::{EffectId, Footprint, Policy, Sequence};
use runner::id::{IdSource, RunId, Seed};
use runner::issue::Takes;
use runner::store::{IssueStore, SqliteStore};
use runner::tool::issue::{Audience, HoldLog, INFO, IssueTool, IssueToolSetup};
use runner::tool::{CallContext, Tool, ToolOutput};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct Bench {
    _folder: tempfile::TempDir,
    store: Arc<dyn IssueStore>,
    calls: AtomicI64,
    sequence: Sequence,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("issues.db")).unwrap();
        Self { _folder: folder, store, calls: AtomicI64::new(0), sequence: Sequence::default() }
    }

    fn tool(&self, name: &str, takes: Takes) -> IssueTool {
        IssueTool::new(IssueToolSetup {
            store: Arc::clone(&self.store),
            run: Some(RunId::new("run")),
            holder: format!("work/{name}"),
            actor: name.to_owned(),
            takes,
            lease: Duration::from_secs(900),
            max_attempts: 3,
            holds: HoldLog::new(),
            audience: Audience::Sessions,
        })
    }

    async fn call(&self, tool: &IssueTool, input: Value) -> ToolOutput {
        let n = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let effect = EffectId::from_text(format!("work/w/{n}.1"));
        let context = CallContext {
            ids: Arc::new(IdSource::new(&Seed::new("seed"), effect.without_attempt())),
            effect,
            at: Timestamp::from_second(1_800_000_000 + n).unwrap(),
            sequence: Some(self.sequence.clone()),
            cancel: CancellationToken::new(),
        };
        let Value::Object(input) = input else { panic!("an input is an object") };
        tool.run(input, context).await
    }

    async fn ok(&self, tool: &IssueTool, input: Value) -> Value {
        let output = self.call(tool, input).await;
        assert!(!output.is_error, "{}", output.content);
        assert!(output.seq.is_some() && output.footprint.is_some());
        serde_json::from_str(&output.content).unwrap()
    }

    async fn create(&self, tool: &IssueTool, params: Value) -> String {
        let made = self.ok(tool, json!({"operation": "create", "params": params})).await;
        made["issue"]["id"].as_str().unwrap().to_owned()
    }
}

fn coding() -> Takes {
    Takes([("worker_type".to_owned(), vec!["coding".into()])].into())
}

#[test]
fn the_schema_is_flat_and_says_who_takes_what() {
    let bench = Bench::new();
    let tool = bench.tool("foreman", Takes::default());
    let spec = tool.spec();
    assert_eq!((tool.policy(), INFO.tools), (Policy::Real, ["issue_manager"].as_slice()));
    for combinator in ["oneOf", "anyOf", "allOf", "$ref"] {
        assert!(!spec.input_schema.to_string().contains(combinator));
    }
    insta::assert_yaml_snapshot!(spec);
}

#[tokio::test]
async fn results_have_the_originals_shapes() {
    let bench = Bench::new();
    let foreman = bench.tool("foreman", Takes::default());
    let a = bench.create(&foreman, json!({"title": "Design", "priority": "high"})).await;
    let b = bench.create(&foreman, json!({"title": "Build", "priority": 1, "metadata": {"k": 1}})).await;
    let mut results = Vec::new();
    for input in [
        json!({"operation": "get", "params": {"issue_id": a}}),
        json!({"operation": "add_dependency", "params": {"from_id": b, "to_id": a}}),
        json!({"operation": "list", "params": {"priority": "high", "metadata": {"k": [1, 2]}}}),
        json!({"operation": "get_ready"}),
        json!({"operation": "get_blocked", "params": null}),
        json!({"operation": "claim"}),
        json!({"operation": "claim"}),
        json!({"operation": "comment", "issue_id": a, "body": "half done"}),
        json!({"operation": "close", "issue_id": a, "reason": "done", "params": {}}),
    ] {
        let output = bench.call(&foreman, input.clone()).await;
        results.push(format!("{input}\n{}", output.content));
    }
    insta::assert_snapshot!(results.join("\n\n"));
}

#[tokio::test]
async fn labels_search_and_filters() {
    let bench = Bench::new();
    let tool = bench.tool("foreman", Takes::default());
    let epic = bench.create(&tool, json!({"title": "Login", "issue_type": "epic"})).await;
    let part = json!({"title": "Renew sessions", "labels": ["web", "api"], "parent_id": epic, "estimate_minutes": 30});
    let part = bench.create(&tool, part).await;
    let late =
        json!({"title": "Log out", "defer_until": "2099-01-01T00:00:00Z", "labels": "web", "parent_id": ""});
    let late = bench.create(&tool, late).await;
    let mut results = Vec::new();
    for input in [
        json!({"operation": "search", "query": "LOG"}),
        json!({"operation": "search", "query": "web session", "limit": 1}),
        json!({"operation": "search", "query": "log", "limit": 1, "status": "open"}),
        json!({"operation": "list", "labels": ["web"], "deferred": true}),
        json!({"operation": "list", "labels": ["web", "api"], "status": ["open", "closed"], "assignee": ""}),
        json!({"operation": "get_ready", "labels": "web", "unassigned": true}),
        json!({"operation": "get_blocked", "labels": ["web"]}),
        json!({"operation": "update", "issue_id": part, "add_labels": ["v2"], "remove_labels": ["api", "none"]}),
        json!({"operation": "update", "issue_id": late, "defer_until": "", "parent_id": epic, "estimate_minutes": 5}),
        json!({"operation": "get", "issue_id": epic}),
        json!({"operation": "update", "issue_id": late, "estimate_minutes": "", "parent_id": " "}),
    ] {
        let answer = bench.ok(&tool, input.clone()).await;
        results.push(format!("{input}\n  {answer}"));
    }
    let text = [(epic, "bd-epic"), (part, "bd-part"), (late, "bd-late")]
        .iter()
        .fold(results.join("\n"), |text, (id, name)| text.replace(id.as_str(), name));
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let bench = Bench::new();
    let (a, b) = (bench.tool("a", Takes::default()), bench.tool("b", coding()));
    let held = bench.create(&a, json!({"title": "held"})).await;
    bench.ok(&a, json!({"operation": "claim", "issue_id": held})).await;
    let waiting = bench.create(&a, json!({"title": "waiting", "metadata": {"worker_type": "coding"}})).await;
    bench.ok(&a, json!({"operation": "add_dependency", "from_id": waiting, "to_id": held})).await;
    let stuck = bench.create(&a, json!({"title": "stuck", "blocking_notes": "which colour?"})).await;
    let done = bench.create(&a, json!({"title": "done"})).await;
    bench.ok(&a, json!({"operation": "close", "issue_id": done})).await;
    let plain = bench.create(&a, json!({"title": "plain"})).await;
    let before = bench.ok(&a, json!({"operation": "list"})).await;
    let mut texts = Vec::new();
    for input in [
        json!({}),
        json!({"operation": "zap"}),
        json!({"operation": "clam"}),
        json!({"operation": "create", "params": {}}),
        json!({"operation": "create", "params": {"title": " "}}),
        json!({"operation": "create", "params": {"title": "t", "priority": 9}}),
        json!({"operation": "create", "params": {"title": "t", "priority": "urgent"}}),
        json!({"operation": "create", "params": {"title": "t", "issue_type": "taks"}}),
        json!({"operation": "create", "params": {"title": "t", "descripton": "x"}}),
        json!({"operation": "create", "params": {"title": "t", "label": ["x"]}}),
        json!({"operation": "create", "params": {"title": "t", "labels": "x,y"}}),
        json!({"operation": "create", "params": {"title": "t", "labels": {"x": 1}}}),
        json!({"operation": "create", "params": {"title": "t", "labels": ["x", 1]}}),
        json!({"operation": "update", "issue_id": plain, "labels": ["x"]}),
        json!({"operation": "update", "issue_id": plain, "add_labels": ["x"], "remove_labels": ["x"]}),
        json!({"operation": "update", "issue_id": plain, "parent_id": plain}),
        json!({"operation": "update", "issue_id": plain, "estimate_minutes": "an hour"}),
        json!({"operation": "update", "issue_id": plain, "status": ["open"]}),
        json!({"operation": "search"}),
        json!({"operation": "search", "words": "x"}),
        json!({"operation": "search", "query": " "}),
        json!({"operation": "search", "query": "x", "status": ["open", "done"]}),
        json!({"operation": "list", "unassigned": true, "assignee": "b"}),
        json!({"operation": "get_ready", "deferred": true}),
        json!({"operation": "create", "params": ["t"]}),
        json!({"operation": "get", "id": "x"}),
        json!({"operation": "get", "issue_id": "zz"}),
        json!({"operation": "get_blocked", "limit": 0}),
        json!({"operation": "list", "limit": 0}),
        json!({"operation": "list", "limit": -1}),
        json!({"operation": "list", "status": "done"}),
        json!({"operation": "get", "issue_id": "x", "params": {"issue_id": "y"}}),
        json!({"operation": "update", "issue_id": plain, "assignee": "b2"}),
        json!({"operation": "update", "issue_id": plain, "defer_until": "tomorrow"}),
        json!({"operation": "update", "issue_id": plain, "status": "in_progress"}),
        json!({"operation": "update", "issue_id": held, "status": "closed"}),
        json!({"operation": "update", "issue_id": done, "status": "open"}),
        json!({"operation": "claim", "issue_id": held}),
        json!({"operation": "claim", "issue_id": waiting}),
        json!({"operation": "claim", "issue_id": stuck}),
        json!({"operation": "claim", "issue_id": done}),
        json!({"operation": "claim", "issue_id": plain}),
        json!({"operation": "release", "issue_id": held}),
        json!({"operation": "block", "issue_id": plain}),
        json!({"operation": "block", "issue_id": plain, "blocking_notes": ""}),
        json!({"operation": "unblock", "issue_id": plain}),
        json!({"operation": "unblock", "issue_id": held}),
        json!({"operation": "reopen", "issue_id": plain}),
        json!({"operation": "comment", "issue_id": plain, "comment": "x"}),
        json!({"operation": "add_dependency", "from_id": held, "to_id": waiting}),
        json!({"operation": "add_dependency", "from_id": held, "to_id": plain, "dep_type": "block"}),
        json!({"operation": "remove_dependency", "from_id": held, "to_id": plain}),
    ] {
        let output = bench.call(&b, input.clone()).await;
        assert!(output.is_error, "{input}: {}", output.content);
        texts.push(format!("{input}\n  {}", output.content));
    }
    assert_eq!(bench.ok(&a, json!({"operation": "list"})).await, before);
    insta::assert_snapshot!(texts.join("\n"));
}

#[tokio::test]
async fn takes_narrow_claim_always_and_ready_by_default() {
    let bench = Bench::new();
    let foreman = bench.tool("foreman", Takes::default());
    let worker = bench.tool("coder", coding());
    bench.create(&foreman, json!({"title": "test it", "metadata": {"worker_type": "testing"}})).await;
    let none = bench.ok(&worker, json!({"operation": "claim"})).await;
    assert_eq!(none["issue"], Value::Null);
    assert_eq!(
        none["message"],
        "no issue with worker_type \"coding\" is ready now; if you hold none either, say that there is nothing to do \
         and stop"
    );
    assert_eq!(bench.ok(&worker, json!({"operation": "get_ready"})).await["count"], 0);
    assert_eq!(bench.ok(&worker, json!({"operation": "get_ready", "all": true})).await["count"], 1);
    let id = bench.create(&foreman, json!({"title": "code it", "metadata": {"worker_type": "coding"}})).await;
    assert_eq!(bench.ok(&worker, json!({"operation": "claim"})).await["issue"]["id"], id.as_str());
}

#[tokio::test]
async fn long_lists_are_cut_and_counted() {
    let bench = Bench::new();
    let tool = bench.tool("foreman", Takes::default());
    for n in 0..53 {
        bench.create(&tool, json!({"title": format!("{n}"), "description": "x".repeat(300)})).await;
    }
    let list = bench.ok(&tool, json!({"operation": "list"})).await;
    assert_eq!((&list["count"], &list["not_shown"]), (&json!(50), &json!(3)));
    let description = list["issues"][0]["description"].as_str().unwrap();
    assert!(description.ends_with("x… (100 more characters; `get` shows all)"), "{description}");
    let list = bench.ok(&tool, json!({"operation": "get_ready", "limit": 53})).await;
    assert_eq!((&list["count"], list.get("not_shown")), (&json!(53), None));
}

#[tokio::test]
async fn the_log_knows_what_the_session_holds() {
    let bench = Bench::new();
    let tool = bench.tool("a", Takes::default());
    let other = bench.tool("b", Takes::default());
    let log = tool.hold_log();
    let id = bench.create(&tool, json!({"title": "t"})).await;
    let start = log.mark();
    bench.ok(&other, json!({"operation": "get_ready"})).await;
    assert!(!log.held_any_since(start) && tool.holds().is_empty());
    bench.ok(&tool, json!({"operation": "update", "issue_id": id, "status": "in_progress"})).await;
    assert_eq!(tool.holds(), [id.as_str().into()]);
    bench.ok(&tool, json!({"operation": "close", "issue_id": id})).await;
    assert!(tool.holds().is_empty() && log.held_any_since(start));
    assert!(other.holds().is_empty());
}

#[tokio::test]
async fn a_mistake_touches_nothing_and_a_refusal_has_a_number() {
    let bench = Bench::new();
    let tool = bench.tool("a", Takes::default());
    let mistake = bench.call(&tool, json!({"operation": "get"})).await;
    assert_eq!((mistake.seq, mistake.footprint), (None, Some(Footprint::none())));
    let refusal = bench.call(&tool, json!({"operation": "get", "issue_id": "zz"})).await;
    assert_eq!((refusal.seq, refusal.footprint.unwrap().to_string()), (Some(1), "r:[issue:zz]".to_owned()));
    let whole = tool.footprint(&serde_json::Map::new());
    assert_eq!(whole.to_string(), "r:[issue:*];w:[issue:*]");
}

#[tokio::test]
async fn release_counts_and_three_times_is_enough() {
    let bench = Bench::new();
    let tool = bench.tool("a", Takes::default());
    let id = bench.create(&tool, json!({"title": "t"})).await;
    let mut last = Value::Null;
    for _ in 0..3 {
        bench.ok(&tool, json!({"operation": "claim"})).await;
        last = bench.ok(&tool, json!({"operation": "release", "issue_id": id})).await;
    }
    insta::assert_snapshot!(last["issue"]["blocking_notes"].as_str().unwrap());
}
