//! Does the queue keep its promises when several processes use it and are killed at any moment?
//!
//! The test starts this binary again as worker processes, each with several workers, on one file. A process prints what
//! the queue has acknowledged to it; after a seeded number of such lines it is killed and replaced. In the end every
//! acknowledged change must be there, no epoch of a claim given twice, nothing closed claimed again, and everything
//! claimable once its lease has passed.
//!
//! `RUNNER_STRESS_SECONDS` repeats this with other seeds for so long; CONTRIBUTING.md has the command.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use runner::clock::{Clock, Stopwatch, SystemClock, later};
use runner::event::EffectId;
use runner::id::{IdSource, IssueId, RunId, Seed};
use runner::issue::{Issue, Status};
use runner::store::{
    Answer, Applied, AttemptCount, Caller, Claim, Filter, IssueStore, NewIssue, Operation, SqliteStore,
    StoreError, Update,
};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use tokio::task::JoinSet;

use super::desk::{Desk, block, update};
use crate::server::chance::Chance;

const ORDER: &str = "RUNNER_STRESS_ORDER";
const SLOTS: u64 = 4;
const WORKERS: u64 = 3;
const KILLS: u64 = 2;
const ISSUES: usize = 90;

/// What a worker process is to do.
#[derive(Serialize, Deserialize)]
struct Order {
    file: std::path::PathBuf,
    /// Differs between processes.
    name: String,
    seed: u64,
    /// An issue nobody claims, to whose metadata all add.
    board: IssueId,
}

/// What the queue has acknowledged to a worker.
#[derive(Debug, Serialize, Deserialize)]
enum Ack {
    Claimed(IssueId, u64),
    Commented(IssueId, String),
    Noted(String),
    Created(IssueId),
    Closed(IssueId, u64, String),
}

struct Worker {
    store: Arc<dyn IssueStore>,
    clock: Arc<dyn Clock>,
    /// How far its clock is ahead of others'.
    ahead: Duration,
    name: String,
    run: RunId,
    epochs: BTreeMap<IssueId, u64>,
    ids: Arc<IdSource>,
    effects: u32,
    chance: Chance,
    board: IssueId,
}

impl Worker {
    fn new(store: &Arc<dyn IssueStore>, order: &Order, n: u64) -> Self {
        let name = format!("{}-w{n}", order.name);
        let mut chance = Chance::of(format!("{} {n}", order.seed).as_bytes());
        Self {
            store: Arc::clone(store),
            clock: Arc::new(SystemClock::default()),
            ahead: Duration::from_millis(chance.next() % 300),
            run: RunId::new(&order.name),
            epochs: BTreeMap::new(),
            ids: Arc::new(IdSource::new(&Seed::new(&name), "stress")),
            effects: 0,
            chance,
            board: order.board.clone(),
            name,
        }
    }

    /// One effect; now and then asked for twice, which must be answered alike.
    async fn ask(&mut self, operation: Operation) -> Result<Applied, StoreError> {
        self.effects += 1;
        let caller = Caller {
            run: Some(self.run.clone()),
            effect: Some(EffectId::from_text(format!("p/{}/t{}/c0", self.name, self.effects))),
            actor: self.name.clone(),
            holder: self.name.clone(),
            epochs: self.epochs.clone(),
            at: later(self.clock.now(), self.ahead),
            ids: Arc::clone(&self.ids),
            sequence: None,
        };
        let applied =
            self.store.apply(caller.clone(), operation.clone()).await.map_err(|refused| refused.error)?;
        let is_kept = applied.answer != Answer::Nothing
            && matches!(
                operation,
                Operation::Claim(_)
                    | Operation::Comment { .. }
                    | Operation::Create(_)
                    | Operation::Update(..)
            );
        if is_kept && self.chance.below(8) == 0 {
            let again = self.store.apply(caller, operation).await.unwrap();
            assert_eq!(again.answer, applied.answer, "the same effect again");
        }
        self.epochs.extend(applied.holds.gained.clone());
        Ok(applied)
    }

    /// One whose refusal is right when the lease has lapsed meanwhile; `false` then.
    async fn if_still_held(&mut self, operation: Operation) -> bool {
        match self.ask(operation).await {
            Ok(_) => true,
            Err(StoreError::Held { .. } | StoreError::Stale { .. } | StoreError::WrongState { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn claim(&mut self) -> Option<(IssueId, u64)> {
        let lease = Duration::from_millis(20 + self.chance.next() % 300);
        let claim = Claim::first(lease, u32::MAX);
        let applied = self.ask(Operation::Claim(claim)).await.unwrap();
        match applied.answer {
            Answer::Issue(view) => {
                let id = view.issue.id;
                Some((id.clone(), applied.holds.gained[&id]))
            }
            Answer::Nothing => None,
            other => panic!("{other:?}"),
        }
    }

    /// Works until nothing is there to claim.
    async fn work(&mut self) {
        while let Some((id, epoch)) = self.claim().await {
            say(&Ack::Claimed(id.clone(), epoch));
            let mark = format!("{}-{}", self.name, self.effects);
            match self.chance.below(4) {
                0 => {
                    self.ask(Operation::Comment { id: id.clone(), body: mark.clone() }).await.unwrap();
                    say(&Ack::Commented(id.clone(), mark.clone()));
                }
                1 => {
                    let metadata = Map::from_iter([(mark.clone(), true.into())]);
                    let change = Update { metadata, ..Update::default() };
                    self.ask(update(&self.board.clone(), change)).await.unwrap();
                    say(&Ack::Noted(mark.clone()));
                }
                2 if self.chance.below(3) == 0 => self.create(&id).await,
                _ => {}
            }
            match self.chance.below(8) {
                0 => {
                    let (id, attempt) = (id, AttemptCount::Free);
                    self.if_still_held(Operation::Release { id, attempt, force: false }).await;
                }
                1 => {
                    if self.if_still_held(block(&id, "what?")).await {
                        self.if_still_held(Operation::Unblock { id, answer: "that".to_owned() }).await;
                    }
                }
                _ => {
                    let close = Operation::Close { id: id.clone(), reason: mark.clone(), force: false };
                    // Closing what another has closed meanwhile is answered, too, and closes nothing.
                    if self.if_still_held(close).await && self.closed_by_me(&id, &mark).await {
                        say(&Ack::Closed(id, epoch, mark));
                    }
                }
            }
        }
    }

    async fn closed_by_me(&mut self, id: &IssueId, mark: &str) -> bool {
        match self.ask(Operation::Get { id: id.clone() }).await.unwrap().answer {
            Answer::Issue(view) => view.issue.close_reason.as_deref() == Some(mark),
            other => panic!("{other:?}"),
        }
    }

    async fn create(&mut self, found_in: &IssueId) {
        let new = NewIssue {
            title: format!("found by {}", self.name),
            discovered_from: Some(found_in.clone()),
            ..NewIssue::default()
        };
        match self.ask(Operation::Create(new)).await.unwrap().answer {
            Answer::Issue(view) => say(&Ack::Created(view.issue.id)),
            other => panic!("{other:?}"),
        }
    }
}

/// One line, written at once: whoever reads it knows that the queue had acknowledged it.
fn say(ack: &Ack) {
    let line = format!("\nack {}\n", serde_json::to_string(ack).unwrap());
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
    out.flush().unwrap();
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its caller what to do")]
    let value = std::env::var(name).ok();
    value
}

/// The worker processes start here. Without an order there is nothing to do.
#[test]
fn a_worker_process() {
    let Some(order) = variable(ORDER) else { return };
    let order: Order = serde_json::from_str(&order).unwrap();
    let store: Arc<dyn IssueStore> = SqliteStore::open(&order.file).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let mut workers = JoinSet::new();
        for n in 0..WORKERS {
            let mut worker = Worker::new(&store, &order, n);
            workers.spawn(async move { worker.work().await });
        }
        workers.join_all().await;
    });
}

fn start(order: &Order) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::stress::a_worker_process", "--nocapture"])
        .env(ORDER, serde_json::to_string(order).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs one process after the other; all but the last are killed in the middle. Gives out what was acknowledged.
fn one_after_the_other(template: &Order, slot: u64) -> Vec<Ack> {
    let mut acks = Vec::new();
    for generation in 0..=KILLS {
        let seed = template.seed * 1_000 + slot * 100 + generation * 10;
        let order = Order {
            file: template.file.clone(),
            name: format!("r{slot}{generation}"),
            seed,
            board: template.board.clone(),
        };
        let mut life = (generation < KILLS).then(|| 1 + Chance::of(&seed.to_le_bytes()).below(20));
        let mut child = start(&order);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            // What the kill cut off is no line that was acknowledged.
            let Some(ack) = line.unwrap().strip_prefix("ack ").map(serde_json::from_str) else { continue };
            let Ok(ack) = ack else { continue };
            acks.push(ack);
            if let Some(left) = &mut life {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    child.kill().unwrap();
                    life = None;
                }
            }
        }
        let status = child.wait().unwrap();
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        assert!(status.success() || killed && generation < KILLS, "{}: {status}", order.name);
    }
    acks
}

fn sound(file: &Path) {
    let soundness = SqliteStore::examine(file).unwrap();
    assert_eq!(soundness.findings, []);
}

#[test]
fn processes_that_are_killed_lose_nothing_and_take_nothing_twice() {
    let span: u64 = variable("RUNNER_STRESS_SECONDS").map_or(0, |text| text.parse().unwrap());
    let watch = Stopwatch::start();
    for seed in 1.. {
        round(seed);
        if watch.elapsed() >= Duration::from_secs(span) {
            println!("{seed} rounds in {:?}", watch.elapsed());
            return;
        }
    }
}

fn round(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("issues.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store: Arc<dyn IssueStore> = SqliteStore::open(&file).unwrap();
    let board = runtime.block_on(prepare(&store));
    let order = Order { file, name: "sweep".to_owned(), seed, board };
    let acks: Vec<Ack> = std::thread::scope(|scope| {
        let order = &order;
        let slots: Vec<_> =
            (0..SLOTS).map(|slot| scope.spawn(move || one_after_the_other(order, slot))).collect();
        slots.into_iter().flat_map(|slot| slot.join().unwrap()).collect()
    });
    sound(&order.file);
    runtime.block_on(async {
        let mut sweep = Worker::new(&store, &order, 9);
        // Every lease has passed then.
        sweep.ahead = Duration::from_secs(24 * 60 * 60);
        // Killed between asking and answering, nobody answers.
        let blocked = Filter { statuses: vec![Status::Blocked], ..Filter::default() };
        let asked = Desk::new(&store, None, "kim").list(blocked).await;
        for id in asked.into_iter().map(|issue| issue.id).filter(|id| *id != order.board) {
            sweep.ask(Operation::Unblock { id, answer: "that".to_owned() }).await.unwrap();
        }
        while let Some((id, _)) = sweep.claim().await {
            sweep.ask(Operation::Close { id, reason: "swept".to_owned(), force: false }).await.unwrap();
        }
        check(&Desk::new(&store, None, "kim"), &order.board, &acks).await;
    });
    sound(&order.file);
}

/// Issues of which every third waits for the one before, and one to which all add.
async fn prepare(store: &Arc<dyn IssueStore>) -> IssueId {
    let desk = Desk::new(store, None, "kim");
    let mut before = None;
    for n in 0..ISSUES {
        let id = desk.task(&n.to_string()).await;
        if let Some(before) = before.replace(id.clone()).filter(|_| n % 3 == 0) {
            desk.waits(&id, &before).await;
        }
    }
    let blocking_notes = Some("for ever".to_owned());
    let new = NewIssue { title: "board".to_owned(), blocking_notes, ..NewIssue::default() };
    desk.create(new).await.id
}

async fn check(desk: &Desk, board: &IssueId, acks: &[Ack]) {
    let issues: BTreeMap<IssueId, Issue> =
        desk.list(Filter::default()).await.into_iter().map(|issue| (issue.id.clone(), issue)).collect();
    for issue in issues.values().filter(|issue| issue.id != *board) {
        assert_eq!(issue.status, Status::Closed, "{} could not be claimed after its lease", issue.id);
    }
    let (mut claims, mut closed) = (BTreeSet::new(), BTreeMap::new());
    for ack in acks {
        match ack {
            Ack::Claimed(id, epoch) => {
                assert!(claims.insert((id.clone(), *epoch)), "{id} was claimed twice with epoch {epoch}");
            }
            Ack::Closed(id, epoch, reason) => {
                assert_eq!(issues[id].close_reason.as_ref(), Some(reason), "the closing of {id} was lost");
                assert_eq!(closed.insert(id.clone(), *epoch), None, "{id} was closed twice");
            }
            Ack::Noted(mark) => {
                assert!(issues[board].metadata.contains_key(mark), "the note {mark} was lost");
            }
            Ack::Created(id) => assert!(issues.contains_key(id), "{id} was created and lost"),
            Ack::Commented(id, body) => {
                let view = desk.view(Operation::Get { id: id.clone() }).await;
                let times = view.comments.iter().filter(|comment| comment.body == *body).count();
                assert_eq!(times, 1, "comment {body} on {id}");
            }
        }
    }
    for (id, epoch) in &claims {
        let limit = closed.get(id).unwrap_or(&u64::MAX);
        assert!(epoch <= limit, "{id} was closed with epoch {limit} and claimed with {epoch}");
    }
    for id in issues.keys().filter(|id| *id != board) {
        let acknowledged = claims.iter().filter(|(of, _)| of == id).count();
        let written = desk.history(id).await.iter().filter(|event| *event == "claimed").count();
        assert!(written >= acknowledged, "{id}: {acknowledged} claims acknowledged, {written} written");
    }
    assert!(claims.len() >= ISSUES / 2 && closed.len() >= ISSUES / 4, "the workers did little");
}
