//! What only the SQLite store has to show: the file, several processes at it, notices, group commit.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runner::store::{Filter, IssueStore, Notice, Operation, SqliteStore, StoreError};
use tokio::task::JoinSet;

use super::desk::{Desk, claim, fresh};

fn open(path: &Path) -> Arc<dyn IssueStore> {
    SqliteStore::open(path).unwrap()
}

fn reason(path: &Path) -> String {
    match SqliteStore::open(path).unwrap_err() {
        StoreError::Unusable { path: named, reason } => {
            assert_eq!(named, path.display().to_string());
            reason
        }
        other => panic!("{other}"),
    }
}

/// What a subscriber was told: event, status and whether another process did it.
fn listen(store: &Arc<dyn IssueStore>) -> tokio::sync::mpsc::UnboundedReceiver<Notice> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    store.subscribe(Box::new(move |notices| {
        for notice in notices {
            let _ = sender.send(notice.clone());
        }
    }));
    receiver
}

#[tokio::test]
async fn issues_and_edges_survive_reopening() {
    let (folder, store) = fresh();
    let desk = Desk::new(&store, None, "foreman");
    let (a, b, c) = (desk.task("a").await, desk.task("b").await, desk.task("c").await);
    desk.try_do(claim(Some(&a))).await.unwrap();
    desk.waits(&a, &b).await;
    desk.waits(&b, &c).await;
    desk.close(&c).await;
    let before = desk.list(Filter::default()).await;
    drop(desk);
    drop(store);
    let desk = Desk::new(&open(&folder.path().join(".beads/issues.db")), None, "foreman");
    assert_eq!(desk.list(Filter::default()).await, before);
    assert_eq!((desk.ready().await, desk.blocked().await.len()), (vec![b], 1));
}

#[tokio::test]
async fn an_empty_file_is_an_empty_queue() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("issues.db");
    std::fs::write(&path, "").unwrap();
    let desk = Desk::new(&open(&path), None, "foreman");
    assert!(desk.list(Filter::default()).await.is_empty());
}

#[tokio::test]
async fn claims_race_from_several_connections() {
    let (folder, store) = fresh();
    let foreman = Desk::new(&store, None, "foreman");
    for n in 0..40 {
        foreman.task(&n.to_string()).await;
    }
    let stores: Vec<_> = (0..3).map(|_| open(&folder.path().join(".beads/issues.db"))).collect();
    let mut tasks = JoinSet::new();
    for n in 0..12 {
        let desk =
            Desk { store: Arc::clone(&stores[n % 3]), ..foreman.beside(Some("run"), &format!("w{n}")) };
        tasks.spawn(async move {
            let mut taken = Vec::new();
            while let Some(issue) = desk.claim().await {
                desk.close(&issue.id).await;
                taken.push(issue.id);
            }
            taken
        });
    }
    let taken: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!((taken.len(), taken.iter().collect::<BTreeSet<_>>().len()), (40, 40));
    for id in &taken {
        assert_eq!(foreman.history(id).await, ["created", "claimed", "closed"]);
    }
}

#[tokio::test]
async fn subscribers_hear_before_callers() {
    let (_folder, store) = fresh();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&heard);
    store.subscribe(Box::new(move |notices| {
        list.lock().unwrap().extend(notices.iter().map(|notice| notice.change.event_type.clone()));
    }));
    let desk = Desk::new(&store, None, "foreman");
    let id = desk.task("t").await;
    assert_eq!(*heard.lock().unwrap(), ["created"]);
    desk.try_do(claim(Some(&id))).await.unwrap();
    desk.error(Operation::Reopen { id }).await;
    assert_eq!(*heard.lock().unwrap(), ["created", "claimed"], "a refusal is no change");
}

#[tokio::test]
async fn changes_of_others_are_noticed_while_idle() {
    let (folder, store) = fresh();
    let mut heard = listen(&store);
    let other = Desk::new(&open(&folder.path().join(".beads/issues.db")), None, "kim");
    let id = other.task("t").await;
    let notice = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.unwrap().unwrap();
    assert_eq!((notice.change.issue_id, notice.title.as_str(), notice.foreign), (id, "t", true));
}

#[tokio::test]
async fn changes_of_others_come_before_ones_own() {
    let (folder, store) = fresh();
    let mut heard = listen(&store);
    let desk = Desk::new(&store, None, "foreman");
    let other = Desk::new(&open(&folder.path().join(".beads/issues.db")), None, "kim");
    let mut expected = Vec::new();
    for title in ["1", "2", "3"] {
        expected.push((other.task(title).await, true));
        expected.push((desk.task(title).await, false));
    }
    let mut told = Vec::new();
    while let Ok(notice) = heard.try_recv() {
        told.push((notice.change.issue_id, notice.foreign));
    }
    assert_eq!(told, expected);
}

#[tokio::test]
async fn dropping_carries_out_what_waits() {
    let (folder, store) = fresh();
    let desk = Desk::new(&store, None, "foreman");
    let mut tasks = JoinSet::new();
    for n in 0..50 {
        let desk = desk.beside(None, "foreman");
        tasks.spawn(async move { desk.task(&n.to_string()).await });
    }
    tasks.join_all().await;
    drop(desk);
    drop(store);
    assert!(!folder.path().join(".beads/issues.db-wal").exists(), "the connection was closed in order");
}

#[test]
fn files_of_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.db");
    std::fs::write(&path, "not a database, but a text that is long enough to look at".repeat(40)).unwrap();
    assert_eq!(reason(&path), "it is not an SQLite database; move it away or name another file");

    let path = folder.path().join("other.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert_eq!(reason(&path), "it is a database of another program; name another file");

    let path = folder.path().join("newer.db");
    drop(open(&path));
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    assert_eq!(
        reason(&path),
        "it was written by a newer runner (format 99, this one knows 4); use that version"
    );
    assert!(reason(folder.path()).contains("cannot be opened"), "a folder is no file");
    let below_a_file = path.join("issues.db");
    assert!(reason(&below_a_file).contains("cannot make its folder"));
}

#[tokio::test]
async fn a_cut_file_is_named() {
    let (folder, store) = fresh();
    let path = folder.path().join(".beads/issues.db");
    let desk = Desk::new(&store, None, "foreman");
    for n in 0..60 {
        desk.task(&format!("{n} {}", "x".repeat(400))).await;
    }
    drop(desk);
    drop(store);
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
    let error = match SqliteStore::open(&path) {
        Err(error) => error,
        Ok(store) => {
            let store: Arc<dyn IssueStore> = store;
            Desk::new(&store, None, "foreman").error(Operation::Snapshot).await
        }
    };
    let text = error.to_string();
    assert!(text.contains("issues.db") && text.contains("it is damaged"), "{text}");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let path = Path::new("/proc/runner-test/issues.db");
    assert!(reason(path).contains("cannot make its folder"));
}
