//! Who claims and closes: tasks that do nothing else, each as a session of a run would.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use runner::clock::{Clock as _, SystemClock};
use runner::event::{EffectId, Sequence};
use runner::id::{IdSource, IssueId, RunId, Seed};
use runner::issue::Takes;
use runner::limit;
use runner::store::{Answer, Caller, Claim, IssueStore, Operation};
use tokio::task::JoinSet;

use crate::figures::now;

/// One who asks the queue.
pub struct Hand {
    run: Option<RunId>,
    name: String,
    sequence: Option<Sequence>,
    effects: AtomicU32,
    clock: SystemClock,
}

impl Hand {
    /// Somebody outside any run.
    pub fn new(name: &str) -> Self {
        let clock = SystemClock::default();
        Self { run: None, name: name.to_owned(), sequence: None, effects: AtomicU32::new(0), clock }
    }

    /// A session of a run: its operations are effects with commit numbers.
    pub fn of_run(run: &RunId, name: &str, sequence: &Sequence) -> Self {
        Self { run: Some(run.clone()), sequence: Some(sequence.clone()), ..Self::new(name) }
    }

    /// Applies an operation that succeeds.
    pub async fn ask(&self, store: &Arc<dyn IssueStore>, operation: Operation) -> Answer {
        let n = self.effects.fetch_add(1, Ordering::Relaxed) + 1;
        let scope = format!("{}/{n}", self.name);
        let caller = Caller {
            run: self.run.clone(),
            effect: self.run.as_ref().map(|_| EffectId::turn(&format!("work/{}", self.name), n).call(1)),
            actor: self.name.clone(),
            holder: self.name.clone(),
            epochs: BTreeMap::new(),
            at: self.clock.now(),
            ids: Arc::new(IdSource::new(&Seed::new("bench"), &scope)),
            sequence: self.sequence.clone(),
        };
        store.apply(caller, operation).await.expect("the queue agrees").answer
    }

    /// Claims the first ready issue, if there is one.
    pub async fn claim(&self, store: &Arc<dyn IssueStore>) -> Option<IssueId> {
        self.claim_of(store, Takes::default()).await
    }

    /// Claims the first ready issue of a kind, if there is one.
    pub async fn claim_of(&self, store: &Arc<dyn IssueStore>, takes: Takes) -> Option<IssueId> {
        let terms =
            Claim { id: None, takes, labels: Vec::new(), lease: limit::LEASE, max_attempts: limit::ATTEMPTS };
        match self.ask(store, Operation::Claim(terms)).await {
            Answer::Issue(view) => Some(view.issue.id),
            _ => None,
        }
    }

    /// Closes what it holds.
    pub async fn close(&self, store: &Arc<dyn IssueStore>, id: IssueId) {
        self.ask(store, Operation::Close { id, reason: "Completed".to_owned(), force: false }).await;
    }
}

/// What claimers came to.
#[derive(Debug, Default)]
pub struct Worked {
    pub pairs: usize,
    pub wall: Duration,
    pub claims: Vec<Duration>,
    pub closes: Vec<Duration>,
}

impl Worked {
    /// Pairs of claim and close a second.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    pub fn rate(&self) -> f64 {
        self.pairs as f64 / self.wall.as_secs_f64()
    }
}

/// When claimers go home.
#[derive(Clone)]
pub enum Until {
    /// After so many pairs among them.
    Pairs(usize),
    /// When somebody says so.
    Told(Arc<AtomicBool>),
}

/// Lets so many claim and close at the same time.
pub async fn work(store: &Arc<dyn IssueStore>, claimers: usize, until: Until) -> Worked {
    let (run, sequence) = (RunId::fresh(), Sequence::default());
    let begun_pairs = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let begun = now();
    for n in 0..claimers {
        let hand = Hand::of_run(&run, &format!("worker-{n}"), &sequence);
        let (store, until, begun_pairs) = (Arc::clone(store), until.clone(), Arc::clone(&begun_pairs));
        tasks.spawn(async move {
            let mut worked = Worked::default();
            loop {
                let go_on = match &until {
                    Until::Pairs(all) => begun_pairs.fetch_add(1, Ordering::Relaxed) < *all,
                    Until::Told(stop) => !stop.load(Ordering::Relaxed),
                };
                if !go_on {
                    return worked;
                }
                let start = now();
                let Some(id) = hand.claim(&store).await else { return worked };
                worked.claims.push(start.elapsed());
                let start = now();
                hand.close(&store, id).await;
                worked.closes.push(start.elapsed());
                worked.pairs += 1;
            }
        });
    }
    let mut all = Worked::default();
    while let Some(one) = tasks.join_next().await {
        let one = one.expect("a claimer");
        all.pairs += one.pairs;
        all.claims.extend(one.claims);
        all.closes.extend(one.closes);
    }
    Worked { wall: begun.elapsed(), ..all }
}
