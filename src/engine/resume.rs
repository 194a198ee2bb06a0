//! How a run that goes on takes up what it had: that its queue is still the one it knew, and that its sessions hold again
//! what they held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::dispatch::export;
use super::queue::held_by;
use crate::clock::{Timestamp, later};
use crate::event::{EffectId, EffectKind, EffectRecord, Happening};
use crate::id::{IdSource, IssueId, RunId, Seed};
use crate::issue::Status;
use crate::journal::Record;
use crate::plan::QueuePlan;
use crate::secret::Scrubber;
use crate::store::{Answer, Caller, Claim, IssueStore, Operation, Standing, StoreError, WhichEffects};

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The queue does not know changes that the journal has.
    #[error(
        "the queue has lost what this run did to it: {} are in the run's journal and not in the queue ({}); put the queue of that time back, or start a new run",
        lost.len(), shown(lost)
    )]
    Lost {
        /// The effects.
        lost: Vec<EffectId>,
    },
    /// The queue cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn shown(lost: &[EffectId]) -> String {
    let mut names: Vec<&str> = lost.iter().take(5).map(EffectId::as_str).collect();
    if lost.len() > names.len() {
        names.push("…");
    }
    names.join(", ")
}

/// What a run is taken up with.
pub struct TakeUp<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Its journal.
    pub record: &'a Record,
    /// The queue's settings.
    pub queue: &'a QueuePlan,
    /// What takes secrets out of what is told.
    pub scrubber: &'a Scrubber,
    /// When it began.
    pub began: Timestamp,
    /// The present moment.
    pub now: Timestamp,
}

/// What taking a run up came to.
pub struct TakenUp {
    /// Issues that were claimed again.
    pub held_again: Vec<IssueId>,
    /// The last commit number that the queue knows: its line in the journal may be lost.
    pub last_seq: u64,
    /// What the queue had done before the run was killed and nobody was told.
    pub untold: Vec<Happening>,
}

/// Holds the queue against the journal, renews what the run holds, and claims again what was given back in its name
/// meanwhile, unless somebody has it.
///
/// # Errors
/// The queue has lost something, or cannot be used. Nothing has changed then.
pub async fn take_up(store: &Arc<dyn IssueStore>, taken: TakeUp<'_>) -> Result<TakenUp, ResumeError> {
    let applied = applied(store, taken.run).await?;
    let lost: Vec<EffectId> = taken
        .record
        .effects
        .iter()
        .filter(|effect| {
            must_be_known(effect) && !applied.contains_key(&effect.id.known_as(&taken.record.undone))
        })
        .map(|effect| effect.id.clone())
        .collect();
    if !lost.is_empty() {
        return Err(ResumeError::Lost { lost });
    }
    let untold = untold(store, &taken).await?;
    let last_seq = applied.values().filter_map(|standing| standing.seq).max().unwrap_or_default();
    store.renew(taken.run, later(taken.now, taken.queue.lease)).await?;
    let mut again = Vec::new();
    for (holder, issue) in believed(taken.record, &applied) {
        if regain(store, &taken, &holder, &issue).await? {
            again.push(issue);
        }
    }
    Ok(TakenUp { held_again: again, last_seq, untold })
}

/// Changes of the queue that nobody was told of: the run was killed between the one and the other.
async fn untold(store: &Arc<dyn IssueStore>, taken: &TakeUp<'_>) -> Result<Vec<Happening>, StoreError> {
    let mut told: BTreeMap<(&IssueId, &str), usize> = BTreeMap::new();
    for event in &taken.record.events {
        if let Happening::IssueChanged { issue, change, .. } = &event.event {
            *told.entry((issue, change.as_str())).or_default() += 1;
        }
    }
    let queue = export(store, taken.run).await?;
    let mut untold = Vec::new();
    for change in queue.changes.iter().filter(|change| change.at >= taken.began) {
        match told.get_mut(&(&change.issue_id, change.event_type.as_str())) {
            Some(left) if *left > 0 => *left -= 1,
            _ => {
                let Some(found) = queue.issues.iter().find(|found| found.issue.id == change.issue_id) else {
                    continue;
                };
                untold.push(Happening::IssueChanged {
                    issue: change.issue_id.clone(),
                    title: taken.scrubber.scrub(&found.issue.title),
                    change: change.event_type.clone(),
                    status: found.issue.status,
                    actor: change.actor.clone(),
                });
            }
        }
    }
    Ok(untold)
}

async fn applied(
    store: &Arc<dyn IssueStore>,
    run: &RunId,
) -> Result<BTreeMap<EffectId, Standing>, StoreError> {
    let caller = Caller::asking(run, &EffectId::run("resume", 1), "engine");
    let asked = store.apply(caller, Operation::Applied { which: WhichEffects::OfRun }).await;
    match asked.map_err(|refused| refused.error)?.answer {
        Answer::Applied(effects) => Ok(effects),
        _ => unreachable!("it answers which effects were applied"),
    }
}

/// Whether the queue must have an entry of what this effect did. Not asked for of effects whose answer shows an issue in
/// progress: a claim of what one holds already only prolongs the lease, which is no entry, and looks like any other claim.
fn must_be_known(effect: &EffectRecord) -> bool {
    let writes = effect.footprint.writes.iter().any(|name| name.starts_with("issue:"));
    let created = effect.footprint.writes.contains("issues:order");
    let may_be_none = effect.result.to_string().contains("in_progress");
    writes && matches!(effect.kind, EffectKind::Tool | EffectKind::Queue) && (created || !may_be_none)
}

/// What each session holds, as far as it knows.
fn believed(record: &Record, applied: &BTreeMap<EffectId, Standing>) -> BTreeSet<(String, IssueId)> {
    let mut held = BTreeSet::new();
    for effect in &record.effects {
        let known = applied.get(&effect.id.known_as(&record.undone));
        let (holder, change) = match effect.kind {
            EffectKind::Tool => {
                (effect.id.session().map(str::to_owned), known.map(|standing| standing.holds.clone()))
            }
            EffectKind::Queue => {
                let holder = effect.key.first().and_then(|segment| record.texts.get(&segment.hash));
                (holder.map(ToString::to_string), held_by(&effect.result))
            }
            EffectKind::Llm
            | EffectKind::Render
            | EffectKind::Wake
            | EffectKind::Budget
            | EffectKind::Hook
            | EffectKind::Answer => continue,
        };
        let (Some(holder), Some(change)) = (holder, change) else { continue };
        held.retain(|(_, issue)| !change.ended.contains(issue));
        held.extend(change.gained.into_keys().map(|issue| (holder.clone(), issue)));
    }
    held
}

/// Claims an issue for a session that held it, if nobody has it.
async fn regain(
    store: &Arc<dyn IssueStore>,
    taken: &TakeUp<'_>,
    holder: &str,
    issue: &IssueId,
) -> Result<bool, StoreError> {
    let session = holder.rsplit('/').next().unwrap_or(holder);
    let actor = session.split(':').next().unwrap_or(session).to_owned();
    let what = format!("resume {} {issue}", taken.record.resumed);
    let caller = || Caller {
        run: Some(taken.run.clone()),
        effect: None,
        actor: actor.clone(),
        holder: holder.to_owned(),
        epochs: BTreeMap::new(),
        at: taken.now,
        ids: Arc::new(IdSource::new(&Seed::new(taken.run.as_str()), &what)),
        sequence: None,
    };
    let found = store.apply(caller(), Operation::Get { id: issue.clone() }).await;
    let is_free = match found.map(|applied| applied.answer) {
        Ok(Answer::Issue(view)) => view.issue.status == Status::Open,
        Ok(_) | Err(_) => false,
    };
    if !is_free {
        return Ok(false);
    }
    let terms = Claim::first(taken.queue.lease, taken.queue.max_attempts);
    let claim = Claim { id: Some(issue.clone()), ..terms };
    match store.apply(caller(), Operation::Claim(claim)).await.map_err(|refused| refused.error) {
        Ok(_) => Ok(true),
        Err(error @ StoreError::Unusable { .. }) => Err(error),
        // It has come to wait for something since; the session is told when it goes on with it.
        Err(_) => Ok(false),
    }
}
