//! Whether an operation costs the same in a queue of any size: steps of SQLite's machine are counted, which depend on no
//! clock and no disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, StatementStatus};
use serde_json::json;

use super::row::Stored;
use super::{apply, ready, row, schema, thread};
use crate::clock::Timestamp;
use crate::id::{IdSource, IssueId, RunId, Seed};
use crate::issue::{Issue, Status, Takes};
use crate::store::{Answer, Caller, Claim, Filter, Operation};

const FEW: usize = 300;
const MANY: usize = 6_000;

fn at(seconds: usize) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + i64::try_from(seconds).unwrap()).unwrap()
}

/// A queue in memory of the process's own, and how many steps it has taken.
struct Bench {
    conn: Connection,
    steps: Arc<AtomicU64>,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// So many open and closed issues, all common but the last one.
    fn new(open: usize, closed: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut conn = schema::open(&folder.path().join("issues.db")).unwrap();
        schema::forget_the_disk(&conn).unwrap();
        conn.execute_batch("BEGIN").unwrap();
        for n in 0..open + closed {
            let status = if n < closed { Status::Closed } else { Status::Open };
            let kind = if n + 1 == open + closed { "rare" } else { "common" };
            row::insert(&conn, &stored(n, status, kind)).unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
        // Statements count over their lives, so each is to live once.
        conn.set_prepared_statement_cache_capacity(0);
        let steps = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&steps);
        let count = move |event: TraceEvent<'_>| {
            if let TraceEvent::Profile(statement, _) = event {
                let taken = statement.get_status(StatementStatus::VmStep);
                counter.fetch_add(u64::try_from(taken).unwrap(), Ordering::Relaxed);
            }
        };
        conn.trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(count)).unwrap();
        Self { conn, steps, _folder: folder }
    }

    fn count<T>(&self, what: impl FnOnce(&Connection) -> T) -> (u64, T) {
        let before = self.steps.load(Ordering::Relaxed);
        let answer = what(&self.conn);
        (self.steps.load(Ordering::Relaxed) - before, answer)
    }

    fn apply(&self, operation: &Operation) -> (u64, Answer) {
        let caller = Caller {
            run: None,
            effect: None,
            actor: "a".to_owned(),
            holder: "a".to_owned(),
            epochs: BTreeMap::new(),
            at: at(1_000_000),
            ids: Arc::new(IdSource::new(&Seed::new("s"), "a")),
            sequence: None,
        };
        let (steps, done) = self.count(|conn| apply::apply(conn, &caller, operation).unwrap());
        (steps, done.result.unwrap().answer)
    }

    /// The steps of each operation that people and models use all day.
    fn day(&self) -> BTreeMap<&'static str, u64> {
        let few = |statuses| Filter { statuses, limit: Some(50), ..Filter::default() };
        let mut steps = BTreeMap::new();
        let mut note = |name, (taken, answer): (u64, Answer)| {
            steps.insert(name, taken);
            answer
        };
        let claimed = note("claim", self.apply(&claim(Takes::default())));
        let Answer::Issue(view) = claimed else { panic!("there is something to claim") };
        note("reclaim", self.apply(&Operation::Reclaim { runs: Vec::new() }));
        let id = view.issue.id;
        note("get", self.apply(&Operation::Get { id: id.clone() }));
        note("comment", self.apply(&Operation::Comment { id: id.clone(), body: "so far".to_owned() }));
        note("close", self.apply(&Operation::Close { id, reason: "done".to_owned(), force: false }));
        note("ready", self.apply(&Operation::Ready(few(Vec::new()))));
        note("list of open ones", self.apply(&Operation::List(few(vec![Status::Open]))));
        note("claim of a rare kind", self.apply(&claim(takes("rare"))));
        note("claim of no kind", self.apply(&claim(takes("none"))));
        let waiting = [takes("common"), takes("none")];
        let (taken, offers) = self.count(|conn| ready::offers(conn, &waiting, 16, at(1_000_000)).unwrap());
        assert_eq!(offers.len(), 16);
        steps.insert("what waiting workers ask", taken);
        let run = RunId::from("r");
        steps.insert("deadlines", self.count(|conn| thread::deadlines(conn, &run, at(1_000_000)).unwrap()).0);
        steps
    }
}

fn takes(kind: &str) -> Takes {
    Takes([("kind".to_owned(), vec![json!(kind)])].into())
}

fn claim(takes: Takes) -> Operation {
    Operation::Claim(Claim {
        id: None,
        takes,
        labels: Vec::new(),
        lease: Duration::from_secs(60),
        max_attempts: 3,
    })
}

fn stored(n: usize, status: Status, kind: &str) -> Stored {
    let issue: Issue = serde_json::from_value(json!({
        "id": format!("bd-{n}"), "title": "t", "status": status, "priority": 2, "issue_type": "task",
        "metadata": {"kind": kind}, "created_at": at(n), "updated_at": at(n), "attempt": 0,
        "closed_at": (status == Status::Closed).then(|| at(n)),
    }))
    .unwrap();
    Stored { issue, epoch: 0, hold: None, open_blockers: 0 }
}

/// The operations that take more than a tenth more steps there.
fn dearer(here: &BTreeMap<&'static str, u64>, there: &BTreeMap<&'static str, u64>) -> Vec<String> {
    let dearer = here.iter().filter(|(name, steps)| there[*name] > **steps + **steps / 10);
    dearer.map(|(name, steps)| format!("{name}: {steps} -> {}", there[name])).collect()
}

#[test]
fn what_is_done_does_not_weigh_on_what_is_to_do() {
    let (few, many) = (Bench::new(FEW, 0).day(), Bench::new(FEW, MANY).day());
    assert_eq!(dearer(&few, &many), Vec::<String>::new());
}

#[test]
fn work_costs_the_same_in_a_queue_of_any_length() {
    let (few, mut many) = (Bench::new(FEW, 0).day(), Bench::new(MANY, 0).day());
    // How many there are beyond the rows that are shown is counted, in the index alone: a few steps each.
    for name in ["ready", "list of open ones"] {
        let counted = u64::try_from(MANY - FEW).unwrap() * 3;
        let steps = many.get_mut(name).unwrap();
        *steps = steps.saturating_sub(counted);
    }
    assert_eq!(dearer(&few, &many), Vec::<String>::new());
}

#[test]
fn whoever_is_looked_for_by_kinds_comes_in_the_same_order() {
    let bench = Bench::new(FEW + 50, 0);
    let filter = Filter { takes: takes("common"), ..Filter::default() };
    let Answer::Issues { issues, .. } = bench.apply(&Operation::Ready(filter)).1 else { panic!() };
    let expected: Vec<IssueId> = issues.into_iter().map(|issue| issue.id).collect();
    assert!(expected.len() > FEW, "more than are looked at one by one");
    let offers = ready::offers(&bench.conn, &[takes("common")], expected.len(), at(1_000_000)).unwrap();
    assert_eq!(offers.into_iter().map(|offer| offer.id).collect::<Vec<_>>(), expected);
    let both = [takes("rare"), takes("common")];
    let offers = ready::offers(&bench.conn, &both, 2, at(1_000_000)).unwrap();
    let last = IssueId::new(format!("bd-{}", FEW + 49));
    let found: Vec<IssueId> = offers.into_iter().map(|offer| offer.id).collect();
    assert_eq!(found, [expected[0].clone(), expected[1].clone(), last], "all together in order, each once");
}
