//! What a process of the stress test does: several workers on one store, at random, on a clock that jumps.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use runner::clock::{Clock, SystemClock, Timestamp};
use runner::event::EffectId;
use runner::id::{IdSource, IssueId, RunId, Seed};
use runner::issue::EdgeType;
use runner::store::{
    Answer, Applied, AttemptCount, Caller, Claim, IssueStore, NewIssue, Operation, SqliteStore, StoreError,
    Update,
};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::log::{Line, Log, Wrote};
use crate::server::chance::Chance;
use crate::store::desk::{block, close, release, update};

/// What a worker process is to do.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Order {
    pub file: PathBuf,
    /// Where its workers keep their logs.
    pub logs: PathBuf,
    /// Differs between processes.
    pub name: String,
    pub seed: u64,
    pub workers: usize,
    /// How much each worker asks.
    pub operations: usize,
    /// An issue nobody claims, to whose metadata all add.
    pub board: IssueId,
    /// Issues that are there from the beginning.
    pub issues: Vec<IssueId>,
}

/// The clock of a process: the machine's, and how far it is off, in seconds.
#[derive(Default)]
struct Jumping {
    clock: SystemClock,
    off: AtomicI64,
}

impl Jumping {
    fn now(&self) -> Timestamp {
        let off = jiff::SignedDuration::from_secs(self.off.load(Ordering::Relaxed));
        self.clock.now().checked_add(off).unwrap()
    }

    /// Minutes to days, forwards or back.
    fn jump(&self, chance: &mut Chance) {
        let far = [60, 600, 3_600, 86_400, 3 * 86_400][chance.below(5)];
        let off = if chance.below(2) == 0 { far } else { -far };
        self.off.store(off, Ordering::Relaxed);
    }
}

struct Worker {
    store: Arc<dyn IssueStore>,
    clock: Arc<Jumping>,
    log: Log,
    name: String,
    run: RunId,
    epochs: BTreeMap<IssueId, u64>,
    ids: Arc<IdSource>,
    effects: usize,
    chance: Chance,
    order: Order,
}

/// All of a process.
pub(super) async fn process(order: &Order) {
    let store: Arc<dyn IssueStore> = SqliteStore::open(&order.file).unwrap();
    let clock = Arc::new(Jumping::default());
    let mut workers = tokio::task::JoinSet::new();
    for n in 0..order.workers {
        let name = format!("{}-w{n}", order.name);
        let mut worker = Worker {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            log: Log::create(&order.logs.join(&name)),
            run: RunId::new(&order.name),
            epochs: BTreeMap::new(),
            ids: Arc::new(IdSource::new(&Seed::new(&name), "stress")),
            effects: 0,
            chance: Chance::of(format!("{} {n}", order.seed).as_bytes()),
            order: order.clone(),
            name,
        };
        workers.spawn(async move { worker.work().await });
    }
    workers.join_all().await;
}

impl Worker {
    async fn work(&mut self) {
        while self.effects < self.order.operations {
            if self.chance.below(12) == 0 {
                self.clock.jump(&mut self.chance);
            }
            match self.chance.below(3) {
                0 => self.meddle().await,
                _ => self.labour().await,
            }
        }
    }

    /// One effect, written down before and after; now and then asked for twice, which must be answered alike.
    async fn ask(&mut self, operation: Operation) -> Option<Applied> {
        self.effects += 1;
        let (run, effect) = (self.run.to_string(), format!("p/{}/t{}/c0", self.name, self.effects));
        let caller = Caller {
            run: Some(self.run.clone()),
            effect: Some(EffectId::from_text(&effect)),
            actor: self.name.clone(),
            holder: self.name.clone(),
            epochs: self.epochs.clone(),
            at: self.clock.now(),
            ids: Arc::clone(&self.ids),
            sequence: None,
        };
        let lease = match &operation {
            Operation::Claim(claim) => Some(claim.lease),
            _ => None,
        };
        self.log.write(&Line::Asks { run: run.clone(), effect: effect.clone(), at: caller.at, lease });
        let result = self.store.apply(caller.clone(), operation.clone()).await;
        let line = match &result {
            Ok(applied) => Line::Done { run, effect, wrote: self.wrote(&operation, applied) },
            Err(refused) => match &refused.error {
                StoreError::Unusable { reason, .. } => Line::Failed { run, effect, why: reason.clone() },
                StoreError::NotFound { id } => panic!("{id} was lost"),
                _ => Line::Refused { run, effect },
            },
        };
        self.log.write(&line);
        // Whoever started this process counts such lines and kills it after some.
        writeln!(std::io::stdout().lock(), "\nasked").unwrap();
        let applied = result.ok()?;
        let changed =
            matches!(line, Line::Done { wrote, .. } if !matches!(wrote, Wrote::Perhaps | Wrote::Nothing));
        if changed && self.chance.below(8) == 0 {
            let again = self.store.apply(Caller { at: self.clock.now(), ..caller }, operation).await;
            if let Ok(again) = again {
                assert_eq!(again, applied, "the same effect again");
            }
        }
        self.epochs.extend(applied.holds.gained.clone());
        Some(applied)
    }

    fn mark(&self) -> String {
        format!("{}-{}", self.name, self.effects)
    }

    /// Takes an issue, does something about it and lets it go, or forgets it.
    async fn labour(&mut self) {
        let lease = [20, 200, 60_000, 3_600_000][self.chance.below(4)];
        let chosen = (self.chance.below(3) == 0).then(|| self.any());
        let claim = Claim { id: chosen, ..Claim::first(Duration::from_millis(lease), u32::MAX) };
        let Some(applied) = self.ask(Operation::Claim(claim)).await else { return };
        let Answer::Issue(view) = applied.answer else { return };
        let id = view.issue.id;
        if self.chance.below(2) == 0 {
            self.remark(&id).await;
        }
        let mark = self.mark();
        match self.chance.below(8) {
            0 => drop(self.ask(release(&id, AttemptCount::Free)).await),
            1 => drop(self.ask(release(&id, AttemptCount::Counted { limit: u32::MAX })).await),
            2 => drop(self.ask(block(&id, &mark)).await),
            3 => {}
            _ => drop(self.ask(Operation::Close { id, reason: mark, force: false }).await),
        }
    }

    async fn remark(&mut self, id: &IssueId) {
        let mark = self.mark();
        match self.chance.below(3) {
            0 => drop(self.ask(Operation::Comment { id: id.clone(), body: mark }).await),
            1 => {
                let metadata = Map::from_iter([(mark, true.into())]);
                let board = self.order.board.clone();
                self.ask(update(&board, Update { metadata, ..Update::default() })).await;
            }
            _ => {
                let discovered_from = Some(id.clone());
                self.ask(Operation::Create(NewIssue { title: mark, discovered_from, ..NewIssue::default() }))
                    .await;
            }
        }
    }

    fn any(&mut self) -> IssueId {
        self.order.issues[self.chance.below(self.order.issues.len())].clone()
    }

    /// Does something to an issue of others.
    async fn meddle(&mut self) {
        let (id, other, mark) = (self.any(), self.any(), self.mark());
        let edge = EdgeType::ALL[self.chance.below(4)];
        let operation = match self.chance.below(9) {
            8 => Operation::Reclaim { runs: Vec::new() },
            0 | 1 => Operation::AddDependency { from: id, to: other, edge },
            2 => Operation::RemoveDependency { from: id, to: other },
            3 => Operation::Reopen { id },
            4 => Operation::Unblock { id, answer: mark },
            5 => close(&id),
            6 => Operation::Comment { id, body: mark },
            _ => {
                update(&id, Update { priority: u8::try_from(self.chance.below(5)).ok(), ..Update::default() })
            }
        };
        self.ask(operation).await;
    }

    /// What must be in the log of events after such an answer.
    fn wrote(&self, operation: &Operation, applied: &Applied) -> Wrote {
        let shown = match &applied.answer {
            Answer::Issue(view) => Some(&view.issue),
            _ => None,
        };
        match (operation, shown) {
            (Operation::Claim(_), Some(issue)) => {
                let epoch = applied.holds.gained[&issue.id];
                // Claiming what one holds is no new claim.
                match self.epochs.get(&issue.id) == Some(&epoch) {
                    true => Wrote::Perhaps,
                    false => Wrote::Claim(issue.id.clone(), epoch),
                }
            }
            (Operation::Create(_), Some(issue)) => Wrote::Issue(issue.id.clone()),
            (Operation::Comment { id, body }, _) => Wrote::Comment(id.clone(), body.clone()),
            (Operation::Unblock { id, answer }, _) => Wrote::Comment(id.clone(), answer.clone()),
            (Operation::Update(_, change), _) => match change.metadata.keys().next() {
                Some(mark) => Wrote::Note(mark.clone()),
                None => Wrote::Perhaps,
            },
            (Operation::Close { reason, .. }, Some(issue)) => {
                match issue.close_reason.as_ref() == Some(reason) {
                    true => Wrote::Event,
                    false => Wrote::Perhaps,
                }
            }
            (Operation::Reopen { .. } | Operation::RemoveDependency { .. } | Operation::Block { .. }, _) => {
                Wrote::Event
            }
            (Operation::Release { .. }, _) if !applied.holds.ended.is_empty() => Wrote::Event,
            (Operation::Release { .. }, _) => Wrote::Nothing,
            _ => Wrote::Perhaps,
        }
    }
}
