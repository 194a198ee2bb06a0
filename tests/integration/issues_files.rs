//! Files of other issue trackers: what comes in, what is said about it, and what goes out again.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;
use proptest::prelude::*;
use runner::cli::issues::{self, IssuesArgs, IssuesError, Output, Surroundings};
use runner::clock::{ManualClock, Timestamp};
use runner::plan::Variables;
use runner::store::jsonl::{self, Part};
use runner::store::{Export, Format, Import, Outgoing, SqliteStore};
use serde_json::{Value, json};

use crate::harness::repository;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: IssuesArgs,
}

/// Somebody with an empty workspace; paths of inputs are those of the repository's.
struct Person {
    folder: tempfile::TempDir,
    clock: ManualClock,
    variables: Variables,
}

impl Person {
    fn new() -> Self {
        let clock = ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap());
        Self { folder: tempfile::tempdir().unwrap(), clock, variables: Variables::new() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    async fn output(&self, line: &[&str]) -> Result<Output, IssuesError> {
        let workspace = self.path("");
        let line = [&["issues", "--actor", "kim", "--workspace", &workspace], line].concat();
        let args = Line::try_parse_from(line).unwrap().args;
        let now = runner::clock::Clock::now(&self.clock);
        self.clock.advance_to(now + std::time::Duration::from_secs(1));
        let folder = repository().join("tests/inputs/issues");
        let given = Surroundings { variables: &self.variables, folder: &folder, clock: &self.clock };
        issues::run(&args, &given).await
    }

    async fn run(&self, line: &[&str]) -> Result<String, IssuesError> {
        self.output(line).await.map(|output| output.text)
    }

    async fn json(&self, line: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[line, &["--json"]].concat()).await.unwrap()).unwrap()
    }

    /// Imports, into a queue that is sound after it; gives out how many are new, changed and as before.
    async fn import(&self, path: &str) -> [u64; 3] {
        let answer = self.json(&["import", path]).await;
        let findings = SqliteStore::examine(Path::new(&self.path(".beads/issues.db"))).unwrap().findings;
        assert_eq!(findings, [], "{path}");
        ["created", "updated", "unchanged"].map(|key| answer["imported"][key].as_u64().unwrap())
    }

    async fn export(&self) -> Vec<Value> {
        parsed(&self.run(&["export"]).await.unwrap())
    }

    fn write(&self, name: &str, lines: &[Value]) -> String {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn input(name: &str) -> Vec<Value> {
    parsed(&std::fs::read_to_string(repository().join("tests/inputs/issues").join(name)).unwrap())
}

fn by_id(lines: Vec<Value>) -> BTreeMap<String, Value> {
    lines.into_iter().map(|line| (line["id"].as_str().unwrap_or_default().to_owned(), line)).collect()
}

fn issue(id: &str, updated_at: &str) -> Value {
    json!({
        "id": id, "title": "t", "status": "open", "priority": 1, "issue_type": "task",
        "created_at": "2026-01-01T00:00:00Z", "updated_at": updated_at,
    })
}

#[tokio::test]
async fn what_is_said_about_files_with_every_trap() {
    let mut said = Vec::new();
    for path in ["classic.jsonl", "typed.jsonl", "split", "issue-manager", "bad.jsonl", "none.jsonl", "."] {
        let person = Person::new();
        for line in [vec!["import", path], vec!["list"], vec!["ready"]] {
            let text = person.run(&line).await.unwrap_or_else(|error| format!("error: {error}\n"));
            said.push(format!("$ {}\n{text}", line.join(" ")));
            if !Path::new(&person.path(".beads")).exists() {
                break;
            }
        }
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn a_file_comes_out_as_it_went_in() {
    for name in ["classic.jsonl", "typed.jsonl"] {
        let person = Person::new();
        person.import(name).await;
        let mut wanted = by_id(input(name));
        assert_eq!(by_id(person.export().await), wanted, "{name}");
        // A second time nothing happens: not to the queue, not to its history.
        let count = u64::try_from(wanted.len()).unwrap();
        let history = person.run(&["history", "bd-1"]).await.unwrap();
        let again = person.import(name).await;
        assert_eq!((again[0], again[1]), (0, 0), "{name}");
        assert!(again[2] < count + 1);
        assert_eq!(person.run(&["history", "bd-1"]).await.unwrap(), history);
        assert!(history.contains("imported"), "{history}");
        // What has changed here goes out changed, and everything else as it was.
        person.run(&["update", "bd-1", "--priority", "3"]).await.unwrap();
        let out = by_id(person.export().await);
        let changed = wanted.get_mut("bd-1").unwrap();
        changed["priority"] = 3.into();
        changed["updated_at"] = out["bd-1"]["updated_at"].clone();
        assert_eq!(out, wanted, "{name}");
        assert_eq!(person.import(name).await[1], 0, "what is newer here stays");
    }
}

#[tokio::test]
async fn split_files_come_out_as_one() {
    let person = Person::new();
    person.import("split").await;
    let output = person.output(&["export"]).await.unwrap();
    let out = parsed(&output.text);
    assert_eq!(out.len(), 2);
    assert_eq!(out[0]["labels"], json!(["a", "b"]));
    assert_eq!(out[0]["comments"], json!(input("split/comments.jsonl")));
    assert_eq!(out[0]["dependencies"], json!(input("split/dependencies.jsonl")[..1]));
    assert_eq!(
        output.aside, "the format has no place for it; it was left out (1):\n  config/issue_prefix\n",
        "data and remarks do not mix"
    );
}

#[tokio::test]
async fn edges_and_comments_follow_what_happens_here() {
    let person = Person::new();
    person.import("classic.jsonl").await;
    person.run(&["dep", "remove", "bd-2", "bd-1"]).await.unwrap();
    person.run(&["dep", "add", "bd-2", "test-7"]).await.unwrap();
    person.run(&["comment", "bd-2", "Seen."]).await.unwrap();
    person.run(&["unblock", "bd-h", "go on"]).await.unwrap();
    let out = by_id(person.export().await);
    let targets: Vec<_> =
        out["bd-2"]["dependencies"].as_array().unwrap().iter().map(|edge| &edge["depends_on_id"]).collect();
    assert_eq!(
        targets,
        ["bd-404", "test-7", "test-7"],
        "one that waits for its target, a `tracks`, a new one"
    );
    let texts: Vec<_> =
        out["bd-2"]["comments"].as_array().unwrap().iter().map(|comment| &comment["text"]).collect();
    assert_eq!(texts, ["First\nSecond", "Seen."]);
    assert_eq!(out["bd-h"]["status"], "open");
    assert_eq!(out["bd-d"]["status"], "deferred");
}

#[tokio::test]
async fn a_missing_target_is_waited_for_once_it_comes() {
    let person = Person::new();
    person.import("classic.jsonl").await;
    person.run(&["close", "bd-1"]).await.unwrap();
    let ready = |list: Value| list["ready_issues"].as_array().unwrap().iter().any(|one| one["id"] == "bd-2");
    assert!(ready(person.json(&["ready"]).await));
    let late = person.write("late.jsonl", &[issue("bd-404", "2026-01-01T00:00:00Z")]);
    assert_eq!(person.import(&late).await, [1, 0, 0]);
    assert!(!ready(person.json(&["ready"]).await));
}

#[tokio::test]
async fn labels_of_a_file_are_ours() {
    let person = Person::new();
    let mut first = ["a", "b"].map(|id| issue(id, "2026-01-02T00:00:00Z"));
    first[0]["labels"] = json!(["web", "api", "web", "x,y", 7]);
    let path = person.write("1.jsonl", &first);
    let answer = person.json(&["import", &path]).await;
    assert_eq!(answer["imported"]["remarks"], json!({"other_value": ["a labels"]}));
    assert_eq!(person.json(&["show", "a"]).await["issue"]["labels"], json!(["api", "web"]));
    assert_eq!(person.json(&["list", "--label", "web"]).await["count"], 1);
    assert_eq!(by_id(person.export().await), by_id(first.to_vec()), "as it came in");
    person
        .run(&["update", "a", "--add-label", "b", "--add-label", "c", "--remove-label", "web"])
        .await
        .unwrap();
    person.run(&["update", "b", "--add-label", "new"]).await.unwrap();
    let out = by_id(person.export().await);
    assert_eq!(out["a"]["labels"], json!(["api", "x,y", 7, "b", "c"]));
    assert_eq!(out["b"]["labels"], json!(["new"]));
    // A newer file says what they are, also when it has none.
    let second = person.write("2.jsonl", &["a", "b"].map(|id| issue(id, "2099-01-01T00:00:00Z")));
    assert_eq!(person.import(&second).await, [0, 2, 0]);
    assert_eq!(person.json(&["show", "a"]).await["issue"].get("labels"), None);
    let to = person.path("out");
    person.run(&["update", "a", "--add-label", "z"]).await.unwrap();
    let said = person.run(&["export", "--format", "issue-manager", "--to", &to]).await.unwrap();
    assert!(said.ends_with("it was left out (1):\n  a labels\n"), "{said}");
}

#[tokio::test]
async fn the_newer_one_wins_and_what_is_done_stays_done() {
    let person = Person::new();
    let first = person.write("1.jsonl", &["a", "b", "c"].map(|id| issue(id, "2026-01-02T00:00:00Z")));
    assert_eq!(person.import(&first).await, [3, 0, 0]);
    person.run(&["close", "b", "done"]).await.unwrap();
    person.run(&["claim", "c"]).await.unwrap();
    let mut newer = ["a", "b", "c"].map(|id| issue(id, "2099-01-01T00:00:00Z"));
    newer.iter_mut().for_each(|issue| issue["title"] = "changed elsewhere".into());
    let second = person.write("2.jsonl", &newer);
    assert_eq!(person.import(&second).await, [0, 1, 2]);
    let answer = person.json(&["import", &second]).await;
    assert_eq!(answer["imported"]["remarks"], json!({"closed_here": ["b"], "held_here": ["c"]}));
    assert_eq!(person.json(&["show", "a"]).await["issue"]["title"], "changed elsewhere");
    assert_eq!(person.json(&["show", "b"]).await["issue"]["title"], "t");
    assert_eq!(person.import(&first).await, [0, 0, 3]);
}

#[tokio::test]
async fn a_newer_file_takes_edges_and_holds_away() {
    let person = Person::new();
    let (older, newer) = ("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z");
    let mut first = ["a", "b", "c"].map(|id| issue(id, older));
    first[0]["dependencies"] = json!([
        {"issue_id": "a", "depends_on_id": "b", "type": "blocks"},
        {"issue_id": "a", "depends_on_id": "c", "type": "parent-child"},
    ]);
    first[1]["status"] = "in_progress".into();
    first[1]["assignee"] = "ana".into();
    first[2]["status"] = "in_progress".into();
    let path = person.write("1.jsonl", &first);
    assert_eq!(person.import(&path).await, [3, 0, 0]);
    assert_eq!(person.json(&["ready"]).await["count"], 0);
    let mut second = ["a", "b", "c"].map(|id| issue(id, newer));
    second[2]["status"] = "in_progress".into();
    second[2]["comments"] = json!([{"author": "ben", "text": "t", "created_at": newer}]);
    let path = person.write("2.jsonl", &second);
    assert_eq!(person.import(&path).await, [0, 3, 0]);
    let shown = person.json(&["show", "a"]).await["issue"].clone();
    assert_eq!((&shown["parent_id"], &shown["updated_at"]), (&Value::Null, &json!(newer)));
    assert_eq!(person.json(&["ready"]).await["count"], 2);
    assert_eq!(by_id(person.export().await), by_id(second.to_vec()));
}

#[tokio::test]
async fn a_bad_line_leaves_the_queue_as_it_was() {
    let person = Person::new();
    let error = person.run(&["import", "bad.jsonl"]).await.unwrap_err();
    assert_eq!(error.exit(), 2);
    assert!(error.to_string().starts_with("bad.jsonl:3: not JSON"), "{error}");
    assert!(!Path::new(&person.path(".beads")).exists());
}

#[tokio::test]
async fn the_issue_manager_gets_its_three_files() {
    let person = Person::new();
    person.import("issue-manager").await;
    let to = person.path("out");
    let said = person.run(&["export", "--format", "issue-manager", "--to", &to]).await.unwrap();
    assert!(said.starts_with("3 issues in "), "{said}");
    let file = |name: &str| parsed(&std::fs::read_to_string(Path::new(&to).join(name)).unwrap());
    assert_eq!(by_id(file("issues.jsonl")), by_id(input("issue-manager/issues.jsonl")));
    assert_eq!(file("dependencies.jsonl"), input("issue-manager/dependencies.jsonl"));
    let kinds: Vec<_> = file("events.jsonl").iter().map(|event| event["event_type"].clone()).collect();
    assert_eq!(kinds, ["created", "created", "created", "dependency_added", "dependency_added"]);
    let error = person.run(&["export", "--format", "issue-manager"]).await.unwrap_err();
    assert_eq!(error.exit(), 2);
    // Ours go there and come back.
    let other = Person::new();
    assert_eq!(other.import(&to).await, [3, 0, 0]);
    let lists = [person.json(&["list"]).await, other.json(&["list"]).await];
    assert_eq!(lists[0]["issues"][1], lists[1]["issues"][1]);
}

#[tokio::test]
async fn a_queue_of_our_own_moves_whole() {
    let person = Person::new();
    person.import("typed.jsonl").await;
    let made =
        person.json(&["create", "Ours", "--parent", "bd-1", "--blocked", "why?", "--estimate", "5"]).await;
    let id = made["issue"]["id"].as_str().unwrap();
    person.run(&["comment", id, "A word."]).await.unwrap();
    let file = person.path("moved.jsonl");
    person.run(&["export", "--to", &file]).await.unwrap();
    let other = Person::new();
    assert_eq!(other.import(&file).await, [2, 0, 0]);
    let shown = [person.json(&["show", id]).await, other.json(&["show", id]).await];
    assert_eq!(shown[0], shown[1]);
    assert_eq!(person.export().await, other.export().await);
    assert_eq!(person.import(&file).await, [0, 0, 2]);
}

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), "\\PC{1,12}".prop_map(Value::from)]
}

fn moment() -> impl Strategy<Value = String> {
    let zone = prop_oneof![Just("Z"), Just("+05:30"), Just("-07:00")];
    (0u32..28, 0u32..24, 0u32..1_000_000_000, 0usize..=9, zone).prop_map(
        |(day, hour, nanos, digits, zone)| {
            let fraction = format!("{nanos:09}");
            let fraction = if digits == 0 { String::new() } else { format!(".{}", &fraction[..digits]) };
            format!("2026-02-{:02}T{hour:02}:00:00{fraction}{zone}", day + 1)
        },
    )
}

prop_compose! {
    fn any_issue()(
        id in "[a-z]{2}-[a-z0-9]{3}(\\.[1-9])?",
        title in "[a-z][\\PC]{0,20}[a-z]",
        status in prop_oneof![
            Just("open"), Just("in_progress"), Just("blocked"), Just("closed"), Just("hooked"), Just("odd")
        ],
        priority in proptest::option::of(0u8..5),
        texts in proptest::collection::btree_map(
            prop_oneof![
                Just("assignee"), Just("description"), Just("notes"), Just("close_reason"), Just("blocking_notes"),
                Just("x")
            ],
            text(), 0..5
        ),
        times in (moment(), moment(), proptest::option::of(moment()), proptest::option::of(moment())),
        kinds in proptest::collection::vec(
            prop_oneof![Just("blocks"), Just("parent_child"), Just("tracks"), Just("relates-to")], 0..3
        ),
        metadata in prop_oneof![
            Just(json!({})), Just(json!("{}")), Just(json!({"a": [1, null]})), Just(json!(3)), Just(Value::Null)
        ],
        labels in prop_oneof![
            3 => proptest::collection::vec(
                prop_oneof![
                    3 => "[a-c]{1,2}".prop_map(Value::from), 1 => Just(json!("a,b")), 1 => Just(json!(" x")),
                    1 => Just(json!(7)), 1 => Just(json!("needs review"))
                ],
                0..4
            ).prop_map(Value::from),
            1 => Just(json!("a")),
            1 => Just(Value::Null),
        ],
    ) -> Value {
        let mut object = json!({
            "id": id, "title": title, "status": status, "created_at": times.0, "updated_at": times.1,
            "metadata": metadata, "labels": labels,
        });
        for (key, value) in texts {
            object[key] = value;
        }
        for (key, time) in [("closed_at", times.2), ("defer_until", times.3)] {
            if let Some(time) = time {
                object[key] = time.into();
            }
        }
        if let Some(priority) = priority {
            object["priority"] = priority.into();
        }
        let edges: Vec<_> = kinds.iter().enumerate().map(|(n, kind)| json!({
            "issue_id": id, "depends_on_id": format!("to-{n}"), "type": kind, "created_at": times.0,
        })).collect();
        if !edges.is_empty() {
            object["dependencies"] = edges.into();
        }
        object
    }
}

fn read(text: &str) -> Import {
    jsonl::read(&[Part { name: "f", role: "issues.jsonl", bytes: text.as_bytes() }]).unwrap()
}

/// What a queue would give out that took everything.
fn taken(import: Import, keep: bool) -> Export {
    let issues = import
        .issues
        .into_iter()
        .map(|incoming| Outgoing {
            edges: incoming
                .edges
                .into_iter()
                .map(|(to_id, dep_type)| runner::issue::Dependency {
                    from_id: incoming.issue.id.clone(),
                    to_id,
                    dep_type,
                })
                .collect(),
            unlinked: Vec::new(),
            comments: incoming.comments,
            original: keep.then_some(incoming.original),
            issue: incoming.issue,
        })
        .collect();
    Export { issues, lines: import.lines, changes: Vec::new() }
}

proptest! {
    #[test]
    fn any_issue_comes_out_as_it_went_in(object in any_issue()) {
        let import = read(&object.to_string());
        let printed = jsonl::print(&taken(import, true), Format::Beads);
        prop_assert_eq!(parsed(&printed.files[0].1), vec![object]);
    }

    /// Labels that have changed here go out changed; those that could not be read stay.
    #[test]
    fn labels_go_out_as_they_are_here(object in any_issue(), labels in proptest::collection::btree_set("[a-d]", 0..3)) {
        let mut export = taken(read(&object.to_string()), true);
        export.issues[0].issue.labels = labels.iter().cloned().collect();
        let printed = jsonl::print(&export, Format::Beads);
        let out = read(&printed.files[0].1);
        prop_assert_eq!(&out.issues[0].issue.labels, &export.issues[0].issue.labels);
        let odd = |value: &Value| {
            let items = value["labels"].as_array().into_iter().flatten();
            items.filter(|item| !item.as_str().is_some_and(|label| label.trim() == label && !label.contains(',')))
                .cloned().collect::<Vec<_>>()
        };
        let printed = parsed(&printed.files[0].1).remove(0);
        prop_assert_eq!(odd(&printed), odd(&object));
    }

    #[test]
    fn what_is_understood_survives_without_the_original(object in any_issue()) {
        let first = read(&object.to_string());
        let printed = jsonl::print(&taken(first.clone(), false), Format::Beads);
        let second = read(&printed.files[0].1);
        prop_assert_eq!(&first.issues[0].issue, &second.issues[0].issue);
        prop_assert_eq!(&first.issues[0].edges, &second.issues[0].edges);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// The only id that begins so, with or without `bd-`; a whole id is meant even where another one begins with it.
    #[test]
    fn an_id_is_named_by_its_beginning(
        ids in proptest::collection::btree_set("(bd-)?[ab]{1,4}", 1..8),
        starts in proptest::collection::vec("(bd-)?[ab]{0,4}", 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let person = Person::new();
            let lines: Vec<_> = ids.iter().map(|id| issue(id, "2026-01-01T00:00:00Z")).collect();
            person.import(&person.write("ids.jsonl", &lines)).await;
            for start in starts.iter().filter(|start| !start.is_empty()) {
                let mut wanted: Vec<_> = ids.iter().filter(|id| *id == start).collect();
                if wanted.is_empty() {
                    let begins = |id: &&String| id.starts_with(start) || id.starts_with(&format!("bd-{start}"));
                    wanted = ids.iter().filter(begins).collect();
                }
                match (person.run(&["show", start, "--json"]).await, wanted.as_slice()) {
                    (Ok(text), [only]) => {
                        let shown: Value = serde_json::from_str(&text).unwrap();
                        assert_eq!(shown["issue"]["id"], **only, "{start} of {ids:?}");
                    }
                    (Err(IssuesError::Ambiguous { .. }), [_, _, ..]) => {}
                    (Err(IssuesError::Unknown { .. }), []) => {}
                    (other, wanted) => panic!("{start} of {ids:?}: {other:?}, not {wanted:?}"),
                }
            }
        });
    }
}

/// What the fuzz target once found, and the files it starts from.
#[test]
fn what_an_import_promises_holds_for_every_input() {
    let mut count = 0;
    for folder in ["issues", "importing"] {
        crate::harness::walk(&repository().join("tests/inputs").join(folder), &mut |path| {
            println!("{}", path.display());
            crate::store::importing::hold(&std::fs::read(path).unwrap());
            count += 1;
        });
    }
    assert!(count > 10, "there are inputs");
}

/// Types that beads does not list as ready.
const MACHINERY: [&str; 5] = ["agent", "message", "molecule", "role", "merge-request"];

/// Files of other people at their real size, where the variable names a folder of them: each `NAME.jsonl` that
/// `expected.json` speaks of, and folders of split files.
#[tokio::test]
async fn files_of_others_at_their_real_size() {
    let Some(corpus) = std::env::var_os("RUNNER_ISSUES_CORPUS").map(PathBuf::from) else { return };
    let expected: BTreeMap<String, Value> =
        serde_json::from_slice(&std::fs::read(corpus.join("expected.json")).unwrap()).unwrap();
    for (name, expected) in &expected {
        let person = Person::new();
        let path = corpus.join(name).display().to_string();
        let first = person.import(&path).await;
        assert_eq!(first[0], expected["not_tombstone"], "{name}");
        let ready = person.json(&["ready"]).await;
        let ids: Vec<_> = ready["ready_issues"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|issue| !MACHINERY.contains(&issue["issue_type"].as_str().unwrap()))
            .collect();
        assert_eq!(ids.len(), expected["ready_open"], "{name}");
        let wanted = by_id(parsed(&std::fs::read_to_string(&path).unwrap()));
        assert_eq!(by_id(person.export().await), wanted, "{name}");
        assert_eq!(person.import(&path).await, [0, 0, first[0]], "{name}");
    }
    for folder in std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()) {
        if !folder.join("issues.jsonl").is_file() {
            continue;
        }
        let person = Person::new();
        let path = folder.display().to_string();
        let first = person.import(&path).await;
        let lines = std::fs::read_to_string(folder.join("issues.jsonl")).unwrap().lines().count();
        assert_eq!(first[0], u64::try_from(lines).unwrap(), "{path}");
        assert_eq!(person.import(&path).await, [0, 0, first[0]], "{path}");
        let moved = person.path("moved.jsonl");
        person.run(&["export", "--to", &moved]).await.unwrap();
        let other = Person::new();
        other.import(&moved).await;
        assert_eq!(by_id(other.export().await), by_id(person.export().await), "{path}");
    }
}
