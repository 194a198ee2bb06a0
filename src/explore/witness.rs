//! What must hold in every run, whatever the order: seen from what people are told of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::event::{Envelope, Happening, Listener};
use crate::id::IssueId;
use crate::plan::LimitsPlan;
use crate::price::Usd;

/// Who the engine is in the queue's log, when it gives back what nobody did.
const ENGINE: &str = "engine";

/// Watches a run; cheap to share.
#[derive(Clone, Default)]
pub struct Witness(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// Who holds what.
    holders: BTreeMap<IssueId, String>,
    /// Tool calls that were asked for, begun and answered, by session, and the commands of phases.
    calls: BTreeMap<String, [u64; 3]>,
    turns: u64,
    tokens: u64,
    usd: Usd,
    broken: Vec<String>,
}

impl Witness {
    /// What did not hold, once the run is over.
    pub fn broken(&self, limits: &LimitsPlan) -> Vec<String> {
        let seen = self.0.lock().expect("a witness does not panic");
        let mut broken = seen.broken.clone();
        for (issue, holder) in &seen.holders {
            broken.push(format!("the claim of {issue} by {holder} never ended"));
        }
        for (session, [asked, begun, answered]) in &seen.calls {
            if asked != begun || begun != answered {
                broken.push(format!(
                    "{session} asked for {asked} tool calls, {begun} began and {answered} were answered"
                ));
            }
        }
        let spent =
            [("max_turns", limits.max_turns, seen.turns), ("max_tokens", limits.max_tokens, seen.tokens)];
        for (name, most, used) in spent {
            if let Some(most) = most.filter(|most| used > *most) {
                broken.push(format!("the run used {used} of `{name}: {most}`"));
            }
        }
        if let Some(most) = limits.max_usd.filter(|most| seen.usd > *most) {
            broken.push(format!("the run used {} of `max_usd: {}`", seen.usd, most.dollars()));
        }
        broken
    }
}

impl Listener for Witness {
    fn heard(&self, envelope: &Envelope) {
        let mut seen = self.0.lock().expect("a witness does not panic");
        let session = || {
            let phase = envelope.phase.as_ref().map(ToString::to_string);
            let name = envelope.session.as_ref().map(ToString::to_string);
            phase.into_iter().chain(name).collect::<Vec<_>>().join("/")
        };
        match &envelope.event {
            Happening::IssueChanged { issue, change, actor, .. } => seen.changed(issue, change, actor),
            Happening::CallWasted { usage, cost, .. } => {
                seen.tokens += usage.total_input() + usage.output;
                seen.usd += cost.unwrap_or_default();
            }
            Happening::TurnEnded { usage, cost, calls, .. } => {
                seen.turns += 1;
                seen.usd += cost.unwrap_or_default();
                seen.tokens += usage.total_input() + usage.output;
                seen.calls.entry(session()).or_default()[0] += calls.len() as u64;
            }
            Happening::ToolStarted { .. } => {
                // The command of a phase has no session: the file asks for it, and no turn tells.
                let asked = u64::from(envelope.session.is_none());
                let calls = seen.calls.entry(session()).or_default();
                calls[0] += asked;
                calls[1] += 1;
            }
            Happening::ToolEnded { .. } => seen.calls.entry(session()).or_default()[2] += 1,
            _ => {}
        }
    }
}

impl Seen {
    fn changed(&mut self, issue: &IssueId, change: &str, actor: &str) {
        match change {
            "claimed" => {
                if let Some(holder) = self.holders.insert(issue.clone(), actor.to_owned()) {
                    self.broken.push(format!("{actor} claimed {issue} while {holder} held it"));
                }
            }
            "released" | "lease_expired" => {
                let holder = self.holders.remove(issue);
                if let (ENGINE, Some(holder)) = (actor, holder) {
                    self.broken.push(format!(
                        "{holder} never ended the claim of {issue}: it was given back for it at the end"
                    ));
                }
            }
            "blocked" | "closed" => {
                self.holders.remove(issue);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Usage;
    use crate::clock::Timestamp;
    use crate::id::{PhaseId, SessionName};
    use crate::issue::Status;

    fn broken(events: Vec<Happening>, limits: &LimitsPlan) -> String {
        broken_of(Some(&SessionName::new("w-1")), events, limits)
    }

    fn broken_of(session: Option<&SessionName>, events: Vec<Happening>, limits: &LimitsPlan) -> String {
        let witness = Witness::default();
        for event in events {
            witness.heard(&Envelope {
                seq: 1,
                ts: Timestamp::UNIX_EPOCH,
                phase: Some(PhaseId::from("work")),
                session: session.cloned(),
                role: None,
                event,
            });
        }
        witness.broken(limits).join("; ")
    }

    fn changes(changes: &[(&str, &str)]) -> String {
        let event = |(change, actor): &(&str, &str)| Happening::IssueChanged {
            issue: IssueId::from("bd-1"),
            title: String::new(),
            change: (*change).to_owned(),
            status: Status::Open,
            actor: (*actor).to_owned(),
        };
        broken(changes.iter().map(event).collect(), &LimitsPlan::default())
    }

    #[test]
    fn a_claim_is_of_one_and_ends() {
        assert_eq!(changes(&[("claimed", "a"), ("closed", "a"), ("claimed", "b"), ("released", "b")]), "");
        assert_eq!(
            changes(&[("claimed", "a"), ("claimed", "b"), ("closed", "b")]),
            "b claimed bd-1 while a held it"
        );
        assert_eq!(changes(&[("claimed", "a")]), "the claim of bd-1 by a never ended");
        assert_eq!(
            changes(&[("claimed", "a"), ("released", "engine")]),
            "a never ended the claim of bd-1: it was given back for it at the end"
        );
    }

    #[test]
    fn calls_are_answered_once_and_limits_kept() {
        let turn = |calls: &[&str]| Happening::TurnEnded {
            turn: 1,
            usage: Usage { output: 5, ..Usage::default() },
            cost: Usd::from_dollars(0.5),
            text: String::new(),
            calls: calls.iter().map(|call| (*call).to_owned()).collect(),
        };
        let began = || Happening::ToolStarted { tool: "t".to_owned(), input: String::new() };
        let ended = || Happening::ToolEnded { tool: "t".to_owned(), is_error: false, output: String::new() };
        let free = LimitsPlan::default();
        assert_eq!(broken(vec![turn(&["t"]), began(), ended()], &free), "");
        assert_eq!(
            broken(vec![turn(&["t", "t"]), began(), began(), ended()], &free),
            "work/w-1 asked for 2 tool calls, 2 began and 1 were answered"
        );
        // The command of a phase: nobody asks for it in a turn.
        assert_eq!(broken_of(None, vec![began(), ended()], &free), "");
        assert_eq!(
            broken_of(None, vec![began(), began(), ended()], &free),
            "work asked for 2 tool calls, 2 began and 1 were answered"
        );
        let cheap = LimitsPlan { max_usd: Usd::from_dollars(0.75), ..LimitsPlan::default() };
        assert_eq!(broken(vec![turn(&[]), turn(&[])], &cheap), "the run used $1.00 of `max_usd: 0.75`");
        let tight = LimitsPlan { max_turns: Some(1), max_tokens: Some(10), ..LimitsPlan::default() };
        assert_eq!(broken(vec![turn(&[]), turn(&[])], &tight), "the run used 2 of `max_turns: 1`");
    }
}
