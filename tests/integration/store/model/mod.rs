//! Does the store do what the rules say, whoever does what and when? Random steps, compared with a naive model after each.

mod queue;
mod steps;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use runner::clock::{Timestamp, later};
use runner::event::EffectId;
use runner::id::{IdSource, IssueId, RunId, Seed};
use runner::issue::{Issue, Move, Status};
use runner::store::{
    Answer, Applied, Caller, Counts, Filter, IssueStore, Operation, SqliteStore, StoreError,
};

use self::queue::{No, One, Queue, leads_to};
use self::steps::{Act, Do, LEASE, MOST, PEOPLE, Person, Step, Word, metadata, step};
use super::desk::at;

/// The store and the model side by side.
struct Both {
    store: Arc<SqliteStore>,
    file: PathBuf,
    _folder: tempfile::TempDir,
    model: Queue,
    ids: Vec<IssueId>,
    now: i64,
    effects: usize,
    /// What each person was told at each claim.
    told: BTreeMap<Person, BTreeMap<IssueId, u64>>,
    /// Effects that changed something, with their answers.
    kept: Vec<(Caller, Operation, Applied)>,
}

impl Both {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("issues.db");
        Self {
            store: SqliteStore::open_repeatable(&file).unwrap(),
            file,
            _folder: folder,
            model: Queue::default(),
            ids: Vec::new(),
            now: 0,
            effects: 0,
            told: BTreeMap::new(),
            kept: Vec::new(),
        }
    }

    fn caller(&mut self, who: Person) -> Caller {
        self.effects += 1;
        Caller {
            run: who.run.map(RunId::new),
            effect: who.run.map(|_| EffectId::from_text(format!("p/{}/t{}/c0", who.name, self.effects))),
            actor: who.name.to_owned(),
            holder: who.name.to_owned(),
            epochs: self.told.get(&who).cloned().unwrap_or_default(),
            at: at(self.now),
            ids: Arc::new(IdSource::new(&Seed::new("model"), &self.effects.to_string())),
            sequence: None,
        }
    }

    async fn step(&mut self, step: &Step) {
        self.now += step.seconds;
        let who = PEOPLE[step.who];
        match &step.act {
            Act::Do(what) => self.perform(who, what).await,
            Act::Again(n) => self.again(*n).await,
            Act::Renew => self.renew(who).await,
        }
        self.compare().await;
    }

    async fn perform(&mut self, who: Person, what: &Do) {
        let makes = matches!(what, Do::Create { .. });
        if makes && self.ids.len() == MOST {
            return;
        }
        let what = match self.ids.len() {
            0 if makes => Do::Create { priority: 1, kind: None, parent: None, epic: false, blocked: false },
            0 => return,
            count => what.among(count),
        };
        let caller = self.caller(who);
        let operation = what.operation(who, &self.ids);
        let entries = |model: &Queue| model.issues.iter().map(|one| one.entries).sum::<usize>();
        let before = entries(&self.model);
        let expected = self.model.apply(who, caller.at, &what);
        let result = self.store.apply(caller.clone(), operation.clone()).await;
        let said = result.as_ref().map(|_| ()).map_err(|refused| kind(&refused.error));
        assert_eq!(said, expected, "{} {what:?}: {result:?}", who.name);
        let Ok(applied) = result else { return };
        if makes && let Answer::Issue(view) = &applied.answer {
            self.ids.push(view.issue.id.clone());
        }
        self.told.entry(who).or_default().extend(applied.holds.gained.clone());
        if entries(&self.model) > before && caller.run.is_some() {
            self.kept.push((caller, operation, applied));
        }
    }

    /// What the effect did is not done again, however long ago it was and whatever happened since.
    async fn again(&self, n: usize) {
        if self.kept.is_empty() {
            return;
        }
        let (caller, operation, first) = &self.kept[n % self.kept.len()];
        let caller = Caller { at: at(self.now), ..caller.clone() };
        let second = self.store.apply(caller, operation.clone()).await.unwrap();
        assert_eq!(&second, first, "the same effect again: {operation:?}");
    }

    async fn renew(&mut self, who: Person) {
        let Some(run) = who.run else { return };
        let until = later(at(self.now), LEASE);
        self.store.renew(&RunId::new(run), until).await.unwrap();
        for holding in self.model.issues.iter_mut().filter_map(|one| one.hold.as_mut()) {
            if holding.who.run == Some(run) {
                holding.until = holding.until.max(until);
            }
        }
    }

    async fn question(&mut self, operation: Operation) -> Answer {
        let caller = self.caller(PEOPLE[0]);
        self.store.apply(caller, operation).await.unwrap().answer
    }

    fn names(&self, numbers: impl IntoIterator<Item = usize>) -> Vec<IssueId> {
        numbers.into_iter().map(|n| self.ids[n].clone()).collect()
    }

    /// Everything that can be asked, against the model.
    async fn compare(&mut self) {
        let now = at(self.now);
        let Answer::Snapshot(snapshot) = self.question(Operation::Snapshot).await else { panic!() };
        let order = self.model.in_order();
        let wanted: Vec<_> = order.iter().map(|n| self.issue(*n)).collect();
        assert_eq!(snapshot.issues.into_iter().map(given_up).collect::<Vec<_>>(), wanted);
        assert_eq!(snapshot.ready, self.names(self.model.ready(now)), "ready");
        assert_eq!(snapshot.counts, self.counts(now));
        let holds: Vec<_> = order
            .iter()
            .filter_map(|n| {
                let holding = self.model.issues[*n].hold.clone()?;
                Some((self.ids[*n].clone(), holding.who.run, holding.who.name, holding.until))
            })
            .collect();
        let shown: Vec<_> = snapshot
            .holds
            .iter()
            .map(|hold| {
                let run = hold.run.as_ref().map(RunId::as_str);
                (hold.issue.clone(), run, hold.holder.as_str(), hold.lease_until)
            })
            .collect();
        assert_eq!(shown, holds);
        let every = Operation::Blocked(Filter::default());
        let Answer::Blocked { issues: blocked, .. } = self.question(every).await else { panic!() };
        let shown: Vec<_> = blocked
            .into_iter()
            .map(|entry| {
                (entry.issue.id, entry.blockers.into_iter().map(|issue| issue.id).collect::<Vec<_>>())
            })
            .collect();
        let stuck = order.iter().filter(|n| {
            let status = self.model.issues[**n].status;
            status == Status::Blocked || status != Status::Closed && !self.model.waits_for(**n).is_empty()
        });
        let wanted: Vec<_> =
            stuck.map(|n| (self.ids[*n].clone(), self.names(self.model.waits_for(*n)))).collect();
        assert_eq!(shown, wanted, "blocked");
        self.compare_left(&order, now).await;
        self.compare_rows();
        self.compare_moments(now).await;
    }

    async fn compare_left(&mut self, order: &[usize], now: Timestamp) {
        let takes = vec![runner::issue::Takes::default()];
        let Answer::Left(left) = self.question(Operation::Left { takes }).await else { panic!() };
        let shown: Vec<_> =
            left.into_iter().map(|left| (left.id, left.is_ready, left.holder, left.waits_for)).collect();
        let ready = self.model.ready(now);
        let wanted: Vec<_> = order
            .iter()
            .filter(|n| self.model.issues[**n].status != Status::Closed)
            .map(|n| {
                let holder = self.model.issues[*n].hold.as_ref().map(|holding| holding.who.name.to_owned());
                let waits_for = self.names(self.model.waits_for(*n));
                (self.ids[*n].clone(), ready.contains(n), holder, waits_for)
            })
            .collect();
        assert_eq!(shown, wanted, "left");
    }

    /// What no answer shows: epochs, counters, edges, comments, how long each history is.
    fn compare_rows(&self) {
        let file = rusqlite::Connection::open(&self.file).unwrap();
        for (n, one) in self.model.issues.iter().enumerate() {
            let sql = "SELECT epoch, open_blockers, (SELECT count(*) FROM events WHERE issue_id = id), \
                       (SELECT count(*) FROM comments WHERE issue_id = id) FROM issues WHERE id = ?1";
            let shown: [u64; 4] = file
                .query_row(sql, [self.ids[n].as_str()], |row| {
                    let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
                    Ok([number(0)?, number(1)?, number(2)?, number(3)?])
                })
                .unwrap();
            let [blockers, entries, comments] =
                [self.model.waits_for(n).len(), one.entries, one.comments.len()]
                    .map(|count| u64::try_from(count).unwrap());
            assert_eq!(
                shown,
                [one.epoch, blockers, entries, comments],
                "epoch, counter, entries, comments of {n}"
            );
        }
        let mut statement = file.prepare("SELECT from_id, to_id, dep_type FROM dependencies").unwrap();
        let shown: BTreeSet<[String; 3]> = statement
            .query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let id = |n: usize| self.ids[n].as_str().to_owned();
        let edges = self.model.edges.iter();
        let wanted = edges.map(|(from, to, edge)| [id(*from), id(*to), edge.as_str().to_owned()]).collect();
        assert_eq!(shown, wanted, "edges");
    }

    async fn compare_moments(&self, now: Timestamp) {
        let run = RunId::new("r1");
        let shown: Vec<_> =
            self.store.deadlines(&run, now).await.unwrap().into_iter().map(|deadline| deadline.at).collect();
        let issues = self.model.issues.iter().enumerate();
        let mut wanted: Vec<_> = issues
            .filter_map(|(n, one)| match &one.hold {
                Some(holding) => (holding.who.run != Some("r1")).then_some(holding.until),
                None if one.status == Status::Open && self.model.waits_for(n).is_empty() => one.defer,
                None => None,
            })
            .filter(|moment| *moment > now)
            .collect();
        wanted.sort();
        assert_eq!(shown, wanted, "deadlines");
        let runs: BTreeSet<_> =
            self.model.issues.iter().filter_map(|one| one.hold.as_ref()?.who.run).collect();
        let shown = self.store.holding_runs().await.unwrap();
        assert_eq!(shown, runs.into_iter().map(RunId::new).collect::<Vec<_>>(), "runs that hold something");
    }

    fn counts(&self, now: Timestamp) -> Counts {
        let of = |status| self.model.issues.iter().filter(|one| one.status == status).count() as u64;
        Counts {
            total: self.model.issues.len() as u64,
            open: of(Status::Open),
            ready: self.model.ready(now).len() as u64,
            in_progress: of(Status::InProgress),
            blocked: of(Status::Blocked),
            closed: of(Status::Closed),
        }
    }

    /// The model's issue as the store shows it.
    fn issue(&self, n: usize) -> Issue {
        let one: One = self.model.issues[n].clone();
        Issue {
            id: self.ids[n].clone(),
            title: one.title,
            description: String::new(),
            status: one.status,
            priority: one.priority,
            issue_type: one.issue_type.to_owned(),
            assignee: one.assignee,
            parent_id: one.parent.map(|parent| self.ids[parent].clone()),
            blocking_notes: one.notes,
            metadata: metadata(one.kind),
            estimate_minutes: None,
            defer_until: one.defer,
            close_reason: one.reason,
            created_at: one.created,
            updated_at: one.updated,
            closed_at: one.closed,
            attempt: one.attempt,
            labels: Vec::new(),
        }
    }
}

/// The notes of what was given up tell its history, which is not compared here.
fn given_up(mut issue: Issue) -> Issue {
    if let Some(notes) = &mut issue.blocking_notes
        && let Some(end) = notes.find(" without a result (the limit is ")
    {
        notes.truncate(end);
    }
    issue
}

fn kind(error: &StoreError) -> No {
    match error {
        StoreError::Invalid { .. } => No::Invalid,
        StoreError::Held { .. } => No::Held,
        StoreError::Stale { .. } => No::Stale,
        StoreError::WrongState { .. } => No::WrongState,
        StoreError::Cycle { .. } => No::Cycle,
        other => panic!("{other}"),
    }
}

fn cases(ours: u32) -> ProptestConfig {
    // PROPTEST_CASES asks for more, for a longer look by hand.
    let asked = ProptestConfig::default().cases;
    let cases = if asked == 256 { ours } else { asked };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn the_store_does_what_the_rules_say(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut both = Both::new();
            for step in &steps {
                both.step(step).await;
            }
            assert_eq!(SqliteStore::examine(&both.file).unwrap().findings, []);
        });
    }
}

#[test]
fn every_move_is_that_of_the_table() {
    let words = [
        (Move::Claim, Word::Claim),
        (Move::Release, Word::Release),
        (Move::Block, Word::Block),
        (Move::Unblock, Word::Unblock),
        (Move::Close, Word::Close),
        (Move::Reopen, Word::Reopen),
    ];
    for status in Status::ALL {
        for (step, word) in words {
            let after = status.after(step);
            assert_eq!(after.ok(), leads_to(status, word), "{step:?} of {status}");
            // A move that changes nothing may be made again; what leads back is only a release or an answer.
            if let Ok(after) = after {
                assert!(after == status || after.after(step).is_err() || after.after(step) == Ok(after));
            }
        }
    }
}
