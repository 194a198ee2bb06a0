//! `runner issues` in process: what it prints, what it refuses, where it looks for the queue.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use std::path::Path;

use clap::Parser;
use runner::cli::issues::{self, IssuesArgs, IssuesError, Output, Surroundings};
use runner::clock::{ManualClock, Timestamp};
use runner::plan::Variables;
use runner::store::SqliteStore;
use serde_json::Value;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: IssuesArgs,
}

struct Person {
    folder: tempfile::TempDir,
    clock: ManualClock,
    variables: Variables,
}

impl Person {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(&folder.path().join(".beads/issues.db")).unwrap());
        let clock = ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap());
        Self { folder, clock, variables: [("USER".to_owned(), "kim".to_owned())].into() }
    }

    async fn at(&self, folder: &Path, line: &[&str]) -> Result<String, IssuesError> {
        let output = self.output(folder, line).await?;
        assert_eq!(output.exit, 0);
        Ok(output.text)
    }

    async fn output(&self, folder: &Path, line: &[&str]) -> Result<Output, IssuesError> {
        let args = Line::try_parse_from([&["issues"], line].concat()).unwrap().args;
        let now = runner::clock::Clock::now(&self.clock);
        self.clock.advance_to(now + std::time::Duration::from_secs(1));
        let surroundings = Surroundings { variables: &self.variables, folder, clock: &self.clock };
        let output = issues::run(&args, &surroundings).await?;
        assert!(output.text.ends_with('\n'));
        Ok(output)
    }

    async fn run(&self, line: &[&str]) -> Result<String, IssuesError> {
        self.at(self.folder.path(), line).await
    }

    async fn json(&self, line: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[line, &["--json"]].concat()).await.unwrap()).unwrap()
    }

    async fn create(&self, line: &[&str]) -> String {
        let made = self.json(&[&["create"], line].concat()).await;
        made["issue"]["id"].as_str().unwrap().to_owned()
    }
}

/// Ids of a person's issues are random; in a text they become their order.
fn numbered(text: &str, ids: &[&str]) -> String {
    ids.iter()
        .enumerate()
        .fold(text.to_owned(), |text, (n, id)| text.replace(id, &format!("bd-0000000{}", n + 1)))
}

#[tokio::test]
async fn a_day_with_the_queue() {
    let person = Person::new();
    let design = person.create(&["Design the schema", "--priority", "high", "-d", "Tables and keys."]).await;
    let build = person
        .create(&["Build it", "--meta", "worker_type=coding", "--estimate", "90", "--type", "feature"])
        .await;
    let epic = person.create(&["All of it", "--type", "epic"]).await;
    let mut said = Vec::new();
    for line in [
        vec!["dep", "add", &build, &design],
        vec!["dep", "add", &build, &epic, "--type", "parent-child"],
        vec!["list"],
        vec!["ready"],
        vec!["blocked"],
        vec!["claim"],
        vec!["comment", &design, "Third normal form."],
        vec!["block", &design, "which database?"],
        vec!["blocked"],
        vec!["unblock", &design, "SQLite"],
        vec!["update", &design, "--status", "in_progress"],
        vec!["close", &design, "written down"],
        vec!["ready", "--meta", "worker_type=coding", "--limit", "1"],
        vec!["show", &epic],
        vec!["show", &design],
        vec!["history", &design],
        vec!["dep", "remove", &build, &design],
        vec!["reopen", &design],
        vec!["release", &design],
        vec!["claim", "--meta", "worker_type=none"],
    ] {
        let text = person.run(&line).await.unwrap_or_else(|error| format!("error: {error}\n"));
        said.push(format!("$ {}\n{text}", line.join(" ")));
    }
    insta::assert_snapshot!(numbered(&said.join("\n"), &[&design, &build, &epic]));
}

#[tokio::test]
async fn json_has_the_tools_shapes() {
    let person = Person::new();
    assert_eq!(person.json(&["claim"]).await, serde_json::json!({"issue": null}));
    let id = person.create(&["t"]).await;
    for (line, key) in [
        (vec!["list"], "issues"),
        (vec!["ready"], "ready_issues"),
        (vec!["blocked"], "blocked_issues"),
        (vec!["history", &id], "changes"),
    ] {
        let answer = person.json(&line).await;
        assert_eq!(answer["count"], answer[key].as_array().unwrap().len(), "{line:?}");
    }
    let taken = person.json(&["claim", "--actor", "alex"]).await;
    assert_eq!(
        (taken["issue"]["assignee"].as_str(), taken["issue"]["id"].as_str()),
        (Some("alex"), Some(&*id))
    );
    let refused = person.run(&["close", &id]).await.unwrap_err();
    assert_eq!(refused.exit(), 1);
    assert!(refused.to_string().contains("is held by alex"), "{refused}");
    let closed = person.json(&["close", &id, "--force"]).await;
    assert_eq!(closed["issue"]["status"], "closed");
}

#[tokio::test]
async fn a_start_of_an_id_will_do() {
    let person = Person::new();
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(person.create(&[&n.to_string()]).await);
    }
    let shown = person.json(&["show", &ids[0][3..10]]).await;
    assert_eq!(shown["issue"]["id"], ids[0].as_str());
    assert_eq!(person.json(&["show", &ids[0][..10]]).await, shown);
    let several = person.run(&["show", "bd-"]).await.unwrap_err();
    assert_eq!(several.exit(), 2);
    assert!(several.to_string().starts_with("`bd-` is the start of several issues: bd-"), "{several}");
    let none = person.run(&["show", "no-such"]).await.unwrap_err();
    assert_eq!(
        (none.exit(), none.to_string()),
        (1, "Issue not found: no-such; `runner issues list` shows the ids there are".to_owned())
    );
}

#[tokio::test]
async fn the_queue_is_found_upwards_or_named() {
    let mut person = Person::new();
    let id = person.create(&["t"]).await;
    let deep = person.folder.path().join("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    assert!(person.at(&deep, &["list"]).await.unwrap().contains(&id));
    let elsewhere = tempfile::tempdir().unwrap();
    let missing = person.at(elsewhere.path(), &["list"]).await.unwrap_err();
    assert_eq!(missing.exit(), 2);
    assert_eq!(
        missing.to_string(),
        format!(
            "there is no issue queue in {} or a folder above it; `runner issues init` begins one, a run of a scenario \
             has its own, and --workspace names the folder that holds .beads/issues.db",
            elsewhere.path().display()
        )
    );
    let workspace = person.folder.path().display().to_string();
    assert!(person.at(elsewhere.path(), &["list", "--workspace", &workspace]).await.unwrap().contains(&id));
    let named = person.at(elsewhere.path(), &["list", "--workspace", "nowhere"]).await.unwrap_err();
    assert!(named.to_string().contains("nowhere"), "{named}");
    assert!(!elsewhere.path().join("nowhere").exists(), "looking makes nothing");
    person.variables.insert("RUNNER_WORKSPACE".to_owned(), workspace);
    assert!(person.at(elsewhere.path(), &["list"]).await.unwrap().contains(&id));
}

#[tokio::test]
async fn a_queue_begins_where_it_is_told_to() {
    let mut person = Person::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = elsewhere.path();
    let missing = person.at(folder, &["create", "t"]).await.unwrap_err();
    assert!(missing.to_string().contains("`runner issues init` begins one"), "{missing}");
    assert!(!folder.join(".beads").exists());
    let begun = person.at(folder, &["init"]).await.unwrap();
    assert_eq!(begun, ".beads/issues.db is a new queue; `runner issues create` makes an issue\n");
    assert!(person.at(folder, &["create", "t"]).await.is_ok());
    let again = person.at(folder, &["init"]).await.unwrap();
    assert_eq!(again, ".beads/issues.db is a queue already; nothing has changed\n");
    assert!(person.at(folder, &["list"]).await.unwrap().contains("open"));
    // Below another queue a new one begins all the same, where it is named.
    std::fs::create_dir(folder.join("below")).unwrap();
    let made = person.at(folder, &["init", "--workspace", "below", "--json"]).await.unwrap();
    assert_eq!(made, "{\"made\":true,\"queue\":\"below/.beads/issues.db\"}\n");
    std::fs::create_dir(folder.join("below/deep")).unwrap();
    person.at(&folder.join("below/deep"), &["init"]).await.unwrap();
    assert!(folder.join("below/deep/.beads/issues.db").is_file());
    let nowhere = person.at(folder, &["init", "--workspace", "nowhere"]).await.unwrap_err();
    assert_eq!(nowhere.exit(), 2);
    assert!(nowhere.to_string().contains("nowhere; make the folder first"), "{nowhere}");
    let named = tempfile::tempdir().unwrap();
    person.variables.insert("RUNNER_WORKSPACE".to_owned(), named.path().display().to_string());
    person.at(folder, &["init"]).await.unwrap();
    assert!(named.path().join(".beads/issues.db").is_file());
}

#[tokio::test]
async fn labels_search_and_filters() {
    let person = Person::new();
    let epic = person.create(&["Login", "--type", "epic", "--label", "q3"]).await;
    let part = person
        .create(&[
            "Renew sessions",
            "--label",
            "web",
            "--label",
            "api",
            "--parent",
            &epic,
            "--estimate",
            "30",
        ])
        .await;
    let late = person.create(&["Log out", "--label", "web", "--defer", "2099-01-01T00:00:00Z"]).await;
    let waits = person.create(&["Log in", "--assignee", "ana", "--blocked", "why?"]).await;
    let mut said = Vec::new();
    for line in [
        vec!["search", "log"],
        vec!["search", "SESSION", "web"],
        vec!["search", "log", "--status", "open", "--limit", "1"],
        vec!["search", "needle"],
        vec!["list", "--label", "web", "--label", "api"],
        vec!["list", "--status", "open", "--status", "blocked", "--unassigned", "--limit", "2"],
        vec!["list", "--deferred"],
        vec!["ready", "--label", "q3"],
        vec!["blocked", "--assignee", "ana"],
        vec!["blocked", "--unassigned"],
        vec!["show", &epic],
        vec!["update", &late, "--defer", "", "--parent", &part, "--estimate", "90", "--add-label", "v2"],
        vec!["update", &part, "--parent", &late],
        vec!["update", &part, "--remove-label", "api", "--estimate", ""],
        vec!["show", &epic],
        vec!["update", &late, "--parent", "", "--estimate", ""],
        vec!["show", &late],
        vec!["show", &late, "--json"],
        vec!["show", &epic, "--json"],
        vec!["history", &part],
        vec!["claim", "--label", "web", "--label", "v2"],
        vec!["claim", &part, "--label", "v2"],
        vec!["claim", "--label", "v3"],
    ] {
        let text = person.run(&line).await.unwrap_or_else(|error| format!("error: {error}\n"));
        said.push(format!("$ {}\n{text}", line.join(" ")));
    }
    let ids = [epic, part, late, waits];
    let text = numbered(&said.join("\n"), &ids.each_ref().map(String::as_str));
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn every_reason_is_told() {
    let person = Person::new();
    let later = "2099-01-01T00:00:00Z";
    let epic = person.create(&["The whole", "--type", "epic"]).await;
    let half = person.create(&["A half", "--parent", &epic]).await;
    let base = person.create(&["The base"]).await;
    let part =
        person.create(&["A part", "--parent", &half, "--meta", "worker_type=coding", "--defer", later]).await;
    let free = person.create(&["Free \"for\" all"]).await;
    person.run(&["dep", "add", &half, &base]).await.unwrap();
    person.run(&["dep", "add", &part, &free]).await.unwrap();
    person.run(&["dep", "add", &free, &base, "--type", "related"]).await.unwrap();
    person.run(&["block", &epic, "the budget"]).await.unwrap();
    person.run(&["claim", &base, "--actor", "ana", "--lease", "1s"]).await.unwrap();
    let mut said = Vec::new();
    for line in [
        vec!["why", &part, "--takes", "worker_type=research", "--takes", "worker_type=2"],
        vec!["why", &half],
        vec!["why", &base],
        vec!["why", &free],
        vec!["why", &free, "--takes", "worker_type=coding"],
        vec!["why", &epic],
        vec!["close", &free],
        vec!["why", &free],
        vec!["why", &part, "--json"],
        vec!["why", "bd-none"],
        vec!["graph"],
        vec!["graph", "--json"],
        vec!["verify"],
    ] {
        let text = person.run(&line).await.unwrap_or_else(|error| format!("error: {error}\n"));
        said.push(format!("$ {}\n{text}", line.join(" ")));
    }
    let ids = [epic, half, base, part, free];
    let text = numbered(&said.join("\n"), &ids.each_ref().map(String::as_str));
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn an_issue_without_attempts_left_says_so() {
    let person = Person::new();
    let id = person.create(&["Too hard"]).await;
    for _ in 0..3 {
        person.run(&["claim", &id, "--lease", "1s", "--actor", "ana"]).await.unwrap();
        person.run(&["list"]).await.unwrap();
        person.run(&["claim", "--actor", "ben", "--meta", "nobody=has"]).await.unwrap();
    }
    let why = person.run(&["why", &id]).await.unwrap();
    assert!(
        why.contains("- its attempts are used up (3 claims without a result): Given up after 3 claims"),
        "{why}"
    );
    person.run(&["unblock", &id, "in two steps"]).await.unwrap();
    assert!(person.run(&["why", &id]).await.unwrap().ends_with("\nready\n"));
    person.run(&["block", &id, "which steps?"]).await.unwrap();
    let why = person.run(&["why", &id]).await.unwrap();
    assert!(why.ends_with("- it is blocked, waiting for: which steps?\n"), "{why}");
}

#[tokio::test]
async fn what_is_not_sound_is_shown_and_exits_with_1() {
    let person = Person::new();
    let id = person.create(&["t"]).await;
    let file = person.folder.path().join(".beads/issues.db");
    let verify = async |line: &[&str]| person.output(person.folder.path(), line).await.unwrap();
    assert_eq!(verify(&["verify"]).await.text, "sound: 1 issues, 0 edges, 0 comments, 1 events\n");
    let broken = rusqlite::Connection::open(&file).unwrap();
    broken.execute("UPDATE issues SET open_blockers = 2, priority = 4", []).unwrap();
    drop(broken);
    let before = std::fs::read(&file).unwrap();
    let output = verify(&["verify"]).await;
    assert_eq!(output.exit, 1);
    insta::assert_snapshot!(numbered(&output.text, &[&id]));
    let output = verify(&["verify", "--json"]).await;
    assert_eq!(output.exit, 1);
    insta::assert_snapshot!(numbered(&output.text, &[&id]));
    assert_eq!(std::fs::read(&file).unwrap(), before, "nothing is mended");
}

#[test]
fn wrong_words_are_explained() {
    for (line, wanted) in [
        (vec!["list", "--status", "done"], "open, in_progress, blocked, closed"),
        (vec!["create", "t", "--priority", "9"], "it must be 0-4"),
        (vec!["create", "t", "--type", "story"], "bug, feature, task, epic, chore"),
        (vec!["dep", "add", "a", "b", "--type", "x"], "blocks, related, parent-child, discovered-from"),
        (vec!["claim", "--lease", "5"], "a time with a unit"),
        (vec!["list", "--meta", "x"], "KEY=VALUE"),
        (vec!["list", "--label", "a,b"], "holds a comma; give each label by itself"),
        (vec!["list", "--unassigned", "--assignee", "a"], "cannot be used with"),
        (vec!["update", "a", "--defer", "tomorrow"], "--defer <MOMENT>"),
        (vec!["update", "a", "--estimate", "-1"], "unexpected argument '-1'"),
        (vec!["search"], "<WORDS>..."),
        (vec!["claim", "--limit", "1"], "unexpected argument '--limit'"),
    ] {
        let error = Line::try_parse_from([&["issues"], line.as_slice()].concat()).err().unwrap();
        assert!(error.to_string().contains(wanted), "{error}");
    }
}
