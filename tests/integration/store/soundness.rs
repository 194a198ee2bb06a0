//! Is a queue that was only used found sound, and is everything that is broken by hand found?

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use runner::id::IssueId;
use runner::issue::EdgeType;
use runner::store::{Claim, Edit, NewIssue, Operation, SqliteStore, StoreError, Update};
use rusqlite::Connection;
use serde_json::{Map, json};

use super::counters::{Act, ISSUES, act, operation};
use super::desk::{Desk, claim, close, fresh, set_status, update};

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join(".beads/issues.db")
}

/// What is found, with the ids of these issues replaced by `a`, `b` …, sorted.
fn found(path: &Path, ids: &[IssueId]) -> Vec<String> {
    let findings = SqliteStore::examine(path).unwrap().findings;
    let mut lines: Vec<String> = findings
        .into_iter()
        .map(|finding| {
            let issue = finding.issue.map(|id| id.to_string()).unwrap_or_default();
            let line = format!("{} {issue}: {}", finding.rule.as_str(), finding.message);
            ids.iter().zip('a'..).fold(line, |line, (id, name)| line.replace(id.as_str(), &name.to_string()))
        })
        .collect();
    lines.sort();
    lines
}

/// `a` closed, `b` waits for `c`, `d` a part of `b`, `e` held by a run, `f` open; with a comment on `c`.
async fn sample() -> (tempfile::TempDir, Vec<IssueId>) {
    let (folder, store) = fresh();
    let desk = Desk::new(&store, None, "foreman");
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        ids.push(desk.task(name).await);
    }
    desk.close(&ids[0]).await;
    desk.waits(&ids[1], &ids[2]).await;
    desk.edge(&ids[3], &ids[1], EdgeType::ParentChild).await.unwrap();
    let labelled = Update { add_labels: vec!["web".to_owned()], ..Update::default() };
    desk.try_do(update(&ids[2], labelled)).await.unwrap();
    desk.try_do(Operation::Comment { id: ids[2].clone(), body: "why?".to_owned() }).await.unwrap();
    let worker = desk.beside(Some("run"), "w1");
    worker.as_effect("p/w1/t1/c0", claim(Some(&ids[4]))).await.unwrap();
    (folder, ids)
}

#[tokio::test]
async fn a_queue_that_was_used_is_sound_and_stays_as_it_is() {
    let (folder, ids) = sample().await;
    let before = std::fs::read(file(&folder)).unwrap();
    let soundness = SqliteStore::examine(&file(&folder)).unwrap();
    assert_eq!(soundness.findings, []);
    assert_eq!((soundness.issues, soundness.dependencies, soundness.comments), (6, 2, 1));
    assert_eq!(soundness.events, 6 + 1 + 2 + 1 + 1 + 1);
    assert_eq!(std::fs::read(file(&folder)).unwrap(), before);
    let desk = Desk::new(&(SqliteStore::open(&file(&folder)).unwrap() as _), None, "foreman");
    assert_eq!(desk.ready().await, [ids[2].clone(), ids[5].clone()]);
    // Beside a writer, too, and with what it has not yet moved into the file.
    desk.close(&ids[5]).await;
    assert_eq!(SqliteStore::examine(&file(&folder)).unwrap().events, 13);
}

#[tokio::test]
async fn what_is_broken_by_hand_is_found() {
    let mut told = String::new();
    for sql in [
        "UPDATE issues SET open_blockers = 5 WHERE title = 'b'",
        "UPDATE issues SET open_blockers = 0 WHERE title = 'd'",
        "UPDATE issues SET closed_at = NULL WHERE title = 'a'",
        "UPDATE issues SET closed_at = created_at WHERE title = 'f'",
        "UPDATE issues SET hold_session = NULL WHERE title = 'e'",
        "UPDATE issues SET hold_session = 'x' WHERE title = 'e'",
        "UPDATE issues SET hold_session = 'x', lease_until = created_at, attempt_limit = 1 WHERE title = 'f'",
        "UPDATE issues SET epoch = 0 WHERE title = 'e'",
        "UPDATE issues SET epoch = 7 WHERE title = 'e'",
        "UPDATE issues SET parent_id = NULL WHERE title = 'd'",
        "UPDATE issues SET priority = 1 WHERE title = 'f'",
        "UPDATE issues SET status = 'done' WHERE title = 'f'",
        "UPDATE issues SET metadata = '{' WHERE title = 'f'",
        "UPDATE issues SET labels = '[\"b\",\"a\"]' WHERE title = 'f'",
        "UPDATE issues SET labels = '[\"a\",\"a,b\"]' WHERE title = 'f'",
        "UPDATE issues SET labels = '[]' WHERE title = 'c'",
        "UPDATE issues SET labels = 'a' WHERE title = 'f'",
        "DELETE FROM dependencies WHERE dep_type = 'blocks'",
        "INSERT INTO dependencies SELECT id, 'bd-gone', 'related' FROM issues WHERE title = 'f'",
        "DELETE FROM comments",
        "DELETE FROM events WHERE event_type = 'closed'",
        "DELETE FROM events WHERE seq = 6",
        "UPDATE events SET changes = replace(changes, '\"old\":\"open\"', '\"old\":\"blocked\"') \
         WHERE event_type = 'closed'",
        "UPDATE events SET changes = '[]' WHERE event_type = 'commented'",
        "UPDATE events SET result = '{}' WHERE effect_id IS NOT NULL",
        "UPDATE events SET result = replace(result, ':1}', ':3}') WHERE effect_id IS NOT NULL",
        "DELETE FROM issues WHERE title = 'f'",
    ] {
        let (folder, ids) = sample().await;
        let conn = Connection::open(file(&folder)).unwrap();
        conn.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF").unwrap();
        assert!(conn.execute(sql, []).unwrap() > 0, "{sql}");
        drop(conn);
        let lines = found(&file(&folder), &ids);
        assert!(!lines.is_empty(), "{sql} was not found");
        told.push_str(&format!("{sql}\n  {}\n", lines.join("\n  ")));
    }
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn an_issue_from_a_file_has_the_times_and_the_holder_of_the_file() {
    let (folder, ids) = sample().await;
    let conn = Connection::open(file(&folder)).unwrap();
    conn.execute_batch(
        "UPDATE events SET event_type = 'imported' WHERE seq = 6 OR event_type = 'claimed';
         UPDATE issues SET updated_at = '2020-01-01T00:00:00.000000Z' WHERE title = 'f';
         UPDATE issues SET hold_session = 'somebody elsewhere' WHERE title = 'e'",
    )
    .unwrap();
    assert_eq!(found(&file(&folder), &ids), [""; 0]);
    conn.execute("UPDATE events SET event_type = 'created' WHERE seq = 6", []).unwrap();
    assert_eq!(found(&file(&folder), &ids).len(), 1);
}

#[tokio::test]
async fn a_circle_is_shown() {
    let (folder, ids) = sample().await;
    let conn = Connection::open(file(&folder)).unwrap();
    conn.execute("INSERT INTO dependencies VALUES (?1, ?2, 'blocks')", [ids[2].as_str(), ids[3].as_str()])
        .unwrap();
    drop(conn);
    let lines = found(&file(&folder), &ids);
    let circles: Vec<_> = lines.iter().filter(|line| line.starts_with("circle")).collect();
    // It begins with the smallest id, and ids are random.
    let (from, path) = circles[0].split_once(": it waits for itself: ").unwrap();
    let wanted = match from {
        "circle b" => "b -> c -> d -> b",
        "circle c" => "c -> d -> b -> c",
        _ => "d -> b -> c -> d",
    };
    assert_eq!((circles.len(), path), (1, wanted), "{lines:?}");
}

#[tokio::test]
async fn an_effect_that_was_applied_twice_is_found() {
    let (folder, ids) = sample().await;
    let conn = Connection::open(file(&folder)).unwrap();
    // Without its index, the table takes what the index keeps out.
    conn.execute_batch(
        "CREATE TABLE copy AS SELECT * FROM events; DROP TABLE events; ALTER TABLE copy RENAME TO events;
         INSERT INTO events SELECT seq + 1, run_id, effect_id, issue_id, event_type, actor, session, changes, \
         result, at FROM events WHERE effect_id IS NOT NULL",
    )
    .unwrap();
    drop(conn);
    let lines = found(&file(&folder), &ids);
    assert!(
        lines.contains(&"effect e: events 12 and 13 are both of effect p/w1/t1/c0 of run run".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"epoch e: event 13 gave the epoch 1 after 1 had been given".to_owned()),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_damaged_page_is_found() {
    let (folder, _) = sample().await;
    let path = file(&folder);
    let mut bytes = std::fs::read(&path).unwrap();
    let page = bytes.windows(8).position(|window| window == b"bd-gone!").unwrap_or(bytes.len() - 4_096);
    bytes[page..].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    let soundness = SqliteStore::examine(&path).unwrap();
    assert!(soundness.findings.iter().any(|finding| finding.rule.as_str() == "file"), "{soundness:?}");
}

#[test]
fn only_a_queue_of_this_version_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("issues.db");
    let reason = || match SqliteStore::examine(&path).unwrap_err() {
        StoreError::Unusable { reason, .. } => reason,
        other => panic!("{other}"),
    };
    assert!(reason().contains("cannot be opened"), "{}", reason());
    assert!(!path.exists(), "checking makes nothing");
    std::fs::write(&path, "").unwrap();
    assert!(reason().contains("older format 0"), "{}", reason());
    drop(SqliteStore::open(&path).unwrap());
    assert_eq!(SqliteStore::examine(&path).unwrap().findings, []);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(reason().contains("newer runner"), "{}", reason());
}

/// What a person or worker may do beside what moves statuses and edges.
#[derive(Debug, Clone)]
enum Deed {
    Act(Act),
    Comment(usize),
    Metadata(usize, u8),
    Part(usize),
    Force(usize),
    TakeOver(usize),
    Label(usize, u8),
    Move(usize, Option<usize>),
    ClaimAny,
    ReleaseAll,
    Wait,
    Again,
}

fn deed() -> impl Strategy<Value = Deed> {
    let n = 0..ISSUES;
    prop_oneof![
        8 => act().prop_map(Deed::Act),
        1 => n.clone().prop_map(Deed::Comment),
        1 => (n.clone(), 0..4_u8).prop_map(|(n, value)| Deed::Metadata(n, value)),
        1 => n.clone().prop_map(Deed::Part),
        1 => n.clone().prop_map(Deed::Force),
        1 => n.clone().prop_map(Deed::TakeOver),
        2 => (n.clone(), 0..4_u8).prop_map(|(n, label)| Deed::Label(n, label)),
        2 => (n.clone(), prop::option::of(n)).prop_map(|(n, whole)| Deed::Move(n, whole)),
        2 => Just(Deed::ClaimAny),
        1 => Just(Deed::ReleaseAll),
        1 => Just(Deed::Wait),
        1 => Just(Deed::Again),
    ]
}

fn of_deed(deed: &Deed, ids: &[IssueId]) -> Option<Operation> {
    let metadata = |value: u8| match value {
        0 => json!(null),
        value => json!({"x": f64::from(value) / 3.0}),
    };
    Some(match deed {
        Deed::Act(act) => operation(*act, ids),
        Deed::Comment(n) => Operation::Comment { id: ids[*n].clone(), body: "…".to_owned() },
        Deed::Metadata(n, value) => {
            let metadata = Map::from_iter([("k".to_owned(), metadata(*value))]);
            update(&ids[*n], Update { metadata, ..Update::default() })
        }
        Deed::Label(n, label) => {
            let [add_labels, remove_labels] = match label {
                0 => [vec![], vec!["l1".to_owned()]],
                label => [vec![format!("l{label}")], vec![]],
            };
            update(&ids[*n], Update { add_labels, remove_labels, ..Update::default() })
        }
        Deed::Move(n, whole) => {
            let parent_id = whole.map_or(Edit::Clear, |whole| Edit::Set(ids[whole].clone()));
            update(&ids[*n], Update { parent_id, ..Update::default() })
        }
        Deed::Part(n) => {
            let parent_id = Some(ids[*n].clone());
            Operation::Create(NewIssue { title: "part".to_owned(), parent_id, ..NewIssue::default() })
        }
        Deed::Force(n) => Operation::Close { id: ids[*n].clone(), reason: "so".to_owned(), force: true },
        Deed::TakeOver(n) => {
            let change = set_status(runner::issue::Status::InProgress);
            update(&ids[*n], Update { force: true, ..change })
        }
        Deed::ClaimAny => claim(None),
        Deed::ReleaseAll => Operation::ReleaseAll,
        Deed::Wait | Deed::Again => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_leaves_it_sound(deeds in prop::collection::vec((deed(), 0..3_usize), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (folder, store) = fresh();
            let kim = Desk::new(&store, None, "kim");
            let desks = [kim.beside(Some("run-1"), "w1"), kim.beside(Some("run-2"), "w2"), kim.beside(None, "kim")];
            let mut ids = Vec::new();
            for n in 0..ISSUES {
                ids.push(kim.task(&n.to_string()).await);
            }
            let mut last = None;
            for (n, (deed, who)) in deeds.into_iter().enumerate() {
                match of_deed(&deed, &ids) {
                    // Many are refused; a refusal must leave no trace.
                    Some(operation) => {
                        let effect = format!("p/s/t{n}/c0");
                        let _ = desks[who].as_effect(&effect, operation.clone()).await;
                        last = Some((who, effect, operation));
                    }
                    None if matches!(deed, Deed::Wait) => kim.wait(Duration::from_secs(90)),
                    None => if let Some((who, effect, operation)) = last.clone() {
                        let _ = desks[who].as_effect(&effect, operation).await;
                    },
                }
            }
            let findings = SqliteStore::examine(&folder.path().join(".beads/issues.db")).unwrap().findings;
            assert_eq!(findings, []);
        });
    }
}

#[tokio::test]
async fn dead_letters_and_taking_over_are_sound() {
    let (folder, store) = fresh();
    let kim = Desk::new(&store, None, "kim");
    let id = kim.task("t").await;
    let worker = kim.beside(Some("run"), "w");
    let terms = Claim { id: Some(id.clone()), ..Claim::first(Duration::from_secs(5), 1) };
    worker.try_do(Operation::Claim(terms)).await.unwrap();
    kim.wait(Duration::from_secs(60));
    assert_eq!(kim.claim().await, None, "its only attempt was used up");
    kim.try_do(Operation::Unblock { id: id.clone(), answer: "so".to_owned() }).await.unwrap();
    worker.try_do(claim(Some(&id))).await.unwrap();
    let change = Update { force: true, ..set_status(runner::issue::Status::InProgress) };
    kim.try_do(update(&id, change)).await.unwrap();
    assert!(worker.error(close(&id)).await.to_string().contains("has lapsed"));
    assert_eq!(SqliteStore::examine(&file(&folder)).unwrap().findings, []);
}
