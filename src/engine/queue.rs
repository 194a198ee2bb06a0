//! How the engine itself uses the queue: its claims, releases and looks, each an effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Company;
use crate::effects::{Asked, Busy, Grant, Halt, Ran};
use crate::event::{Access, EffectId, EffectKind, Footprint, Policy, Segment};
use crate::id::{IssueId, canonical_json};
use crate::store::{Answer, Caller, HoldChange, Operation};

/// On whose behalf the engine acts.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    /// The name shown.
    pub(super) actor: String,
    /// The session's path.
    pub(super) holder: String,
    /// What its claims obtained.
    pub(super) epochs: BTreeMap<IssueId, u64>,
}

/// What an operation of the engine came to, as it stands in a recording.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Answer { answer: Answer, gained: BTreeMap<IssueId, u64>, ended: Vec<IssueId> },
    Refused(String),
}

impl Company {
    pub(super) fn caller(&self, actor: &str, holder: &str, grant: &Grant) -> Caller {
        Caller {
            run: Some(self.run.clone()),
            effect: Some(grant.effect.clone()),
            actor: actor.to_owned(),
            holder: holder.to_owned(),
            epochs: BTreeMap::new(),
            at: grant.at,
            ids: grant.ids.clone(),
            sequence: grant.sequence.clone(),
        }
    }

    /// Applies an operation. The inner error is the queue's refusal, in its words.
    pub(super) async fn queue(
        &self,
        busy: &Busy,
        id: EffectId,
        proxy: &Proxy,
        operation: Operation,
    ) -> Result<Result<(Answer, HoldChange), String>, Halt> {
        let asked_with = serde_json::to_value(&operation).expect("an operation holds only plain data");
        let wide = Footprint::none().with(Access::Read, "issue:*").with(Access::Write, "issue:*");
        let asked = Asked::engine(id, EffectKind::Queue, Policy::Real)
            .keyed(vec![
                Segment::new("holder", proxy.holder.as_str()),
                Segment::new("operation", canonical_json(&asked_with)),
            ])
            .touching(wide);
        let store = Arc::clone(&self.store);
        let result = self
            .stage
            .effects
            .perform(busy, asked, |grant| async move {
                let mut caller = self.caller(&proxy.actor, &proxy.holder, &grant);
                caller.epochs.clone_from(&proxy.epochs);
                let (outcome, footprint, seq, at) = match store.apply(caller, operation).await {
                    Ok(applied) => {
                        let HoldChange { gained, ended } = applied.holds;
                        let outcome = Outcome::Answer { answer: lasting(applied.answer), gained, ended };
                        (outcome, applied.footprint, applied.seq, Some(applied.at))
                    }
                    Err(refused) => {
                        (Outcome::Refused(refused.error.to_string()), refused.footprint, refused.seq, None)
                    }
                };
                let result = serde_json::to_value(outcome).expect("an answer holds only plain data");
                Some(Ran { result, footprint: Some(footprint), seq, at })
            })
            .await?;
        match serde_json::from_value(result) {
            Ok(Outcome::Answer { answer, gained, ended }) => Ok(Ok((answer, HoldChange { gained, ended }))),
            Ok(Outcome::Refused(why)) => Ok(Err(why)),
            Err(error) => Err(Halt::Unreadable(EffectId::run("queue", 1), error.to_string())),
        }
    }
}

/// What an operation of the engine did to holds, as it stands in a recording.
pub(super) fn held_by(result: &serde_json::Value) -> Option<HoldChange> {
    match serde_json::from_value(result.clone()).ok()? {
        Outcome::Answer { gained, ended, .. } => Some(HoldChange { gained, ended }),
        Outcome::Refused(_) => None,
    }
}

/// An answer without what is new in every run: which run holds an issue.
fn lasting(answer: Answer) -> Answer {
    match answer {
        Answer::Snapshot(mut snapshot) => {
            snapshot.holds.iter_mut().for_each(|hold| hold.run = None);
            Answer::Snapshot(snapshot)
        }
        other => other,
    }
}
