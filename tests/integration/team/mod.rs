//! Does a whole team run live against a real wire, does its recording replay exactly, and is every change noticed?
//!
//! Everything here goes through the real binary. What is asked of a model goes to the test server, or to nobody.

mod crowd;
mod demo;
mod divergence;
mod files;
mod fork;
mod jobs;
mod live;
mod rebase;
mod rerecord;
mod script;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Outcome, Project};
use crate::server::AnthropicServer;
use crate::server::brain::{Brain, brain};

/// The demo.
const DEMO: &str = "scenarios/demo.yaml";

/// Where it works.
const DEMO_WORKSPACE: &str = ".demo-workspace";

/// The queue of a workspace as `runner issues list` shows it: ids, times and all.
fn queue(project: &Project, workspace: &str) -> Value {
    project.runner(["issues", "list", "--workspace", workspace, "--json"]).run().expect_code(0).json()
}

/// What happened to an issue: event and actor, in order.
fn history(project: &Project, workspace: &str, id: &str) -> Vec<(String, String)> {
    let shown = project.runner(["issues", "history", id, "--workspace", workspace, "--json"]).run();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let changes = shown.expect_code(0).json()["changes"].as_array().expect("changes").clone();
    changes.iter().map(|change| (text(&change["event_type"]), text(&change["actor"]))).collect()
}

/// Fails unless there are so many issues, each claimed once and closed once, by one session.
fn assert_worked_once(project: &Project, workspace: &str, count: usize) {
    let queue = queue(project, workspace);
    let issues = queue["issues"].as_array().expect("issues");
    assert_eq!(issues.len(), count, "{queue:#}");
    for issue in issues {
        assert_eq!(issue["status"], "closed", "{issue:#}");
        let history = history(project, workspace, issue["id"].as_str().expect("an id"));
        let by = |event: &str| -> Vec<&str> {
            let actors = history.iter().filter(|(what, _)| what == event);
            actors.map(|(_, actor)| actor.as_str()).collect()
        };
        assert_eq!(by("claimed").len(), 1, "{history:?}");
        assert_eq!(by("claimed"), by("closed"), "{history:?}");
        assert!(by("released").is_empty() && by("reopened").is_empty(), "{history:?}");
    }
}

/// Fails unless every request was answered whole, and tells how many there were.
fn assert_all_answered(server: &AnthropicServer) -> usize {
    use crate::server::Outcome;
    let requests = server.requests();
    for request in &requests {
        assert_eq!(request.outcome, Outcome::Answered, "{request:#?}");
    }
    requests.len()
}

/// A brain whose answers take a while that looks random, so that workers race otherwise in every run: it follows from
/// the request and from how often `Race::again` was called.
#[derive(Clone, Default)]
struct Race(Arc<AtomicU64>);

impl Race {
    fn again(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn disturb(&self, calm: Brain) -> Brain {
        let race = self.clone();
        brain(move |asked| {
            let mut hasher = DefaultHasher::new();
            (race.0.load(Ordering::Relaxed), asked.body.to_string()).hash(&mut hasher);
            calm(asked).after(Duration::from_millis(hasher.finish() % 30))
        })
    }
}

/// Ways to play a recording: so many of each strictness, the causal ones with jitter of their own.
fn ways(count: u32) -> impl Iterator<Item = Vec<String>> {
    let words = |line: String| line.split(' ').map(str::to_owned).collect();
    (1..=count).flat_map(move |seed| {
        ["--strictness total".to_owned(), format!("--strictness causal --jitter {seed}")].map(words)
    })
}

/// Writes the files of a folder into a project.
fn put(project: &Project, folder: &str, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        project.write(&format!("{folder}/{name}"), std::str::from_utf8(bytes).expect("a text"));
    }
}

/// What is said from the report of a divergence on.
#[track_caller]
fn report(outcome: &Outcome) -> String {
    let at = outcome.stderr.find("DIVERGENCE").unwrap_or_else(|| panic!("no report: {}", outcome.text()));
    outcome.stderr[at..].to_owned()
}
