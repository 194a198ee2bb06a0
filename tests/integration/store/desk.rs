//! Somebody who uses a queue in a test: with a name, perhaps in a run, on a clock that moves a second an operation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runner::clock::{Timestamp, later};
use runner::event::{EffectId, Sequence};
use runner::id::{IdSource, IssueId, RunId, Seed};
use runner::issue::{EdgeType, Issue, Status};
use runner::store::{
    Answer, Applied, AttemptCount, BlockedIssue, Caller, Claim, Filter, IssueStore, IssueView, NewIssue,
    Operation, Refused, SqliteStore, StoreError, Update,
};

pub(crate) const LEASE: Duration = Duration::from_secs(60);
static SCOPES: AtomicU32 = AtomicU32::new(0);

/// A moment, in seconds since the tests' epoch.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A store in a new folder; the folder lives as long as the guard.
pub(crate) fn fresh() -> (tempfile::TempDir, Arc<dyn IssueStore>) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join(".beads/issues.db")).unwrap();
    (folder, store)
}

pub(crate) struct Desk {
    pub(crate) store: Arc<dyn IssueStore>,
    pub(crate) run: Option<RunId>,
    pub(crate) name: String,
    pub(crate) now: Arc<Mutex<i64>>,
    pub(crate) sequence: Option<Sequence>,
    pub(crate) epochs: Mutex<BTreeMap<IssueId, u64>>,
}

impl Desk {
    pub(crate) fn new(store: &Arc<dyn IssueStore>, run: Option<&str>, name: &str) -> Self {
        Self {
            store: Arc::clone(store),
            run: run.map(RunId::new),
            name: name.to_owned(),
            now: Arc::default(),
            sequence: None,
            epochs: Mutex::default(),
        }
    }

    /// Another one at the same queue and clock.
    pub(crate) fn beside(&self, run: Option<&str>, name: &str) -> Self {
        Self { now: Arc::clone(&self.now), ..Self::new(&self.store, run, name) }
    }

    pub(crate) fn wait(&self, span: Duration) {
        *self.now.lock().unwrap() += i64::try_from(span.as_secs()).unwrap();
    }

    pub(crate) fn caller(&self) -> Caller {
        let mut now = self.now.lock().unwrap();
        *now += 1;
        Caller {
            run: self.run.clone(),
            effect: None,
            actor: self.name.clone(),
            holder: format!("work/{}", self.name),
            epochs: self.epochs.lock().unwrap().clone(),
            at: at(*now),
            ids: Arc::new(IdSource::new(
                &Seed::new("test"),
                &SCOPES.fetch_add(1, Ordering::Relaxed).to_string(),
            )),
            sequence: self.sequence.clone(),
        }
    }

    pub(crate) async fn try_do(&self, operation: Operation) -> Result<Applied, Refused> {
        let applied = self.store.apply(self.caller(), operation).await?;
        self.epochs.lock().unwrap().extend(applied.holds.gained.clone());
        Ok(applied)
    }

    pub(crate) async fn as_effect(&self, effect: &str, operation: Operation) -> Result<Applied, Refused> {
        let caller = Caller { effect: Some(EffectId::from_text(effect)), ..self.caller() };
        self.store.apply(caller, operation).await
    }

    pub(crate) async fn view(&self, operation: Operation) -> IssueView {
        match self.try_do(operation).await.unwrap().answer {
            Answer::Issue(view) => *view,
            other => panic!("expected an issue, got {other:?}"),
        }
    }

    pub(crate) async fn error(&self, operation: Operation) -> StoreError {
        self.try_do(operation).await.unwrap_err().error
    }

    pub(crate) async fn create(&self, new: NewIssue) -> Issue {
        self.view(Operation::Create(new)).await.issue
    }

    pub(crate) async fn task(&self, title: &str) -> IssueId {
        self.create(NewIssue { title: title.to_owned(), ..NewIssue::default() }).await.id
    }

    pub(crate) async fn get(&self, id: &IssueId) -> Issue {
        self.view(Operation::Get { id: id.clone() }).await.issue
    }

    pub(crate) async fn edge(
        &self,
        from: &IssueId,
        to: &IssueId,
        edge: EdgeType,
    ) -> Result<Applied, Refused> {
        self.try_do(Operation::AddDependency { from: from.clone(), to: to.clone(), edge }).await
    }

    pub(crate) async fn waits(&self, from: &IssueId, to: &IssueId) {
        self.edge(from, to, EdgeType::Blocks).await.unwrap();
    }

    pub(crate) async fn close(&self, id: &IssueId) -> Issue {
        self.view(close(id)).await.issue
    }

    pub(crate) async fn list(&self, filter: Filter) -> Vec<Issue> {
        match self.try_do(Operation::List(filter)).await.unwrap().answer {
            Answer::Issues { issues, .. } => issues,
            other => panic!("expected issues, got {other:?}"),
        }
    }

    pub(crate) async fn ready(&self) -> Vec<IssueId> {
        match self.try_do(Operation::Ready(Filter::default())).await.unwrap().answer {
            Answer::Issues { issues, .. } => issues.into_iter().map(|issue| issue.id).collect(),
            other => panic!("expected issues, got {other:?}"),
        }
    }

    pub(crate) async fn blocked(&self) -> Vec<BlockedIssue> {
        match self.try_do(Operation::Blocked(Filter::default())).await.unwrap().answer {
            Answer::Blocked { issues, .. } => issues,
            other => panic!("expected blocked issues, got {other:?}"),
        }
    }

    pub(crate) async fn claim(&self) -> Option<Issue> {
        match self.try_do(claim(None)).await.unwrap().answer {
            Answer::Issue(view) => Some(view.issue),
            Answer::Nothing => None,
            other => panic!("expected an issue or nothing, got {other:?}"),
        }
    }

    pub(crate) async fn history(&self, id: &IssueId) -> Vec<String> {
        match self.try_do(Operation::History { id: id.clone() }).await.unwrap().answer {
            Answer::History(changes) => changes.into_iter().map(|change| change.event_type).collect(),
            other => panic!("expected a history, got {other:?}"),
        }
    }

    /// The moment `span` from now.
    pub(crate) fn ahead(&self, span: Duration) -> Timestamp {
        later(at(*self.now.lock().unwrap()), span)
    }
}

pub(crate) fn claim(id: Option<&IssueId>) -> Operation {
    Operation::Claim(Claim { id: id.cloned(), ..Claim::first(LEASE, 2) })
}

pub(crate) fn close(id: &IssueId) -> Operation {
    Operation::Close { id: id.clone(), reason: String::new(), force: false }
}

pub(crate) fn release(id: &IssueId, attempt: AttemptCount) -> Operation {
    Operation::Release { id: id.clone(), attempt, force: false }
}

pub(crate) fn block(id: &IssueId, notes: &str) -> Operation {
    Operation::Block { id: id.clone(), notes: notes.to_owned(), force: false }
}

pub(crate) fn update(id: &IssueId, change: Update) -> Operation {
    Operation::Update(id.clone(), change)
}

pub(crate) fn set_status(status: Status) -> Update {
    Update { status: Some(status), ..Update::default() }
}

/// Makes a test of each named case, against a new SQLite store.
macro_rules! contract {
    ($($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let (_folder, store) = super::desk::fresh();
                cases::$case(store).await;
            }
        )*
    };
}
pub(crate) use contract;
