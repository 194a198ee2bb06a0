//! `hooks-cost`: a JSON line for each model call of a role, with its tokens, what it cost and what was spent so far, and one
//! notice when that is more than was expected.
//!
//! It computes no price: what a call cost stands in the event that tells of it, as everywhere else.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use serde_json::{Map, Value, json};

use super::config::{HookError, Reader};
use super::logging::Log;
use crate::chat::Usage;
use crate::event::{Envelope, Evidence, Happening, Listener};
use crate::id::RoleId;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind};
use crate::price::Usd;
use crate::summary::Cost;

/// What mount plans may say of it.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "hooks-cost",
    aliases: &[],
    kind: ModuleKind::Hook,
    summary: "writes a JSON line for each model call, with tokens, cost and what was spent so far, to `costs.jsonl` in the run's folder",
    keys: &[
        KeyInfo {
            name: "warn_usd",
            shape: KeyShape::Number,
            default: "",
            doc: "dollars; a notice says once that the role has spent more in the run. It stops nothing: `limits` do",
        },
        KeyInfo {
            name: "priority",
            shape: KeyShape::Integer,
            default: "",
            doc: "accepted for other programs' mount plans; has no effect",
        },
    ],
    tools: &[],
    credential: None,
};

/// How the calls of a role are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Costing {
    warn: Option<Usd>,
}

impl Costing {
    /// The counting of this configuration.
    ///
    /// # Errors
    /// It makes no sense; the error names the key.
    pub fn build(config: &Map<String, Value>) -> Result<Self, HookError> {
        let reader = Reader::new(INFO.name, config);
        let warn = reader.number("warn_usd")?.map(|dollars| {
            let usd = Usd::from_dollars(dollars).filter(|usd| *usd > Usd::ZERO);
            usd.ok_or_else(|| reader.wrong("warn_usd", "must be more than 0 and at most a million"))
        });
        Ok(Self { warn: warn.transpose()? })
    }
}

/// Counts what a run costs, for the roles that want it.
pub struct Costs {
    roles: BTreeMap<RoleId, Costing>,
    folder: PathBuf,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    log: Option<Log>,
    /// What makes the replies, if no model: then nothing is paid.
    evidence: Option<Evidence>,
    run: Cost,
    by_role: BTreeMap<RoleId, Cost>,
    by_session: HashMap<String, Cost>,
    /// What people are to be told.
    warning: Option<String>,
}

/// A model call that has used tokens.
struct Call<'a> {
    turn: u32,
    usage: &'a Usage,
    cost: Option<Usd>,
    outcome: &'static str,
}

impl<'a> Call<'a> {
    fn of(event: &'a Happening) -> Option<Self> {
        match event {
            Happening::TurnEnded { turn, usage, cost, .. } => {
                Some(Self { turn: *turn, usage, cost: *cost, outcome: "answered" })
            }
            Happening::CallWasted { turn, usage, cost } => {
                Some(Self { turn: *turn, usage, cost: *cost, outcome: "failed" })
            }
            _ => None,
        }
    }
}

impl Costs {
    /// Those of these roles, in this folder. A run that goes on goes on counting from what it told `before`.
    pub fn new(folder: &Path, roles: BTreeMap<RoleId, Costing>, before: &[Envelope]) -> Self {
        let mut counted = Counted::default();
        for envelope in before {
            if let Some(call) = Call::of(&envelope.event) {
                counted.add(envelope, call.cost);
            }
        }
        Self { roles, folder: folder.to_owned(), counted: Mutex::new(counted) }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().expect("nothing panics while it counts")
    }
}

impl Listener for Costs {
    fn heard(&self, envelope: &Envelope) {
        let mut counted = self.counted();
        if let Happening::RunStarted { evidence, .. }
        | Happening::RunResumed { evidence, .. }
        | Happening::RunForked { evidence, .. } = &envelope.event
        {
            counted.evidence = *evidence;
        }
        let Some(call) = Call::of(&envelope.event) else { return };
        let had =
            envelope.role.as_ref().and_then(|role| counted.by_role.get(role)).copied().unwrap_or_default();
        counted.add(envelope, call.cost);
        let Some(role) = &envelope.role else { return };
        let Some(costing) = self.roles.get(role) else { return };
        let line = counted.line(envelope, role, &call);
        let folder = &self.folder;
        counted.log.get_or_insert_with(|| Log::open(folder, "costs")).write(&format!("{line}\n"));
        if let Some(most) = costing.warn
            && had.usd <= most
            && counted.by_role[role].usd > most
        {
            counted.warning = Some(format!(
                "hooks-cost: role {role} has spent more than its warn_usd of {most} in this run; it goes on, as only `limits` stop it"
            ));
        }
    }

    fn remark(&self, _: &Envelope) -> Option<Happening> {
        self.counted().warning.take().map(|text| Happening::Notice { text })
    }
}

impl Counted {
    fn add(&mut self, envelope: &Envelope, cost: Option<Usd>) {
        self.run.add(cost);
        if let Some(role) = &envelope.role {
            self.by_role.entry(role.clone()).or_default().add(cost);
        }
        self.by_session.entry(session_of(envelope)).or_default().add(cost);
    }

    fn line(&self, envelope: &Envelope, role: &RoleId, call: &Call<'_>) -> Value {
        let mut line = json!({
            "ts": envelope.ts,
            "session_id": session_of(envelope),
            "role": role,
            "iteration": call.turn,
            "outcome": call.outcome,
            "usage": call.usage,
            "cost_usd": call.cost,
            "session_total": total(&self.by_session[&session_of(envelope)]),
            "role_total": total(&self.by_role[role]),
            "run_total": total(&self.run),
        });
        if call.cost.is_none() {
            line["cost_usd"] = "unpriced".into();
        }
        if let Some(evidence) = self.evidence {
            line["evidence"] = json!(evidence);
        }
        line
    }
}

fn session_of(envelope: &Envelope) -> String {
    let phase = envelope.phase.as_ref().map(ToString::to_string).unwrap_or_default();
    let session = envelope.session.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{phase}/{session}")
}

/// A sum, and how many calls it leaves out because nobody knows their price.
fn total(cost: &Cost) -> Value {
    let known = cost.known().map_or_else(|| "unpriced".into(), |usd| json!(usd));
    json!({"cost_usd": known, "calls": cost.priced + cost.unpriced, "unpriced_calls": cost.unpriced})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{Hub, Whereabouts};
    use crate::id::{PhaseId, SessionName};

    fn ended(turn: u32, dollars: Option<f64>) -> Happening {
        let cost = dollars.and_then(Usd::from_dollars);
        let usage = Usage { input: 10, output: 5, ..Usage::default() };
        Happening::TurnEnded { turn, usage, cost, text: String::new(), calls: Vec::new() }
    }

    fn place(session: &str, role: &str) -> Whereabouts {
        Whereabouts {
            phase: Some(PhaseId::from("work")),
            session: Some(SessionName::new(session)),
            role: Some(RoleId::new(role)),
        }
    }

    fn costing(config: &Value) -> Result<Costing, HookError> {
        Costing::build(config.as_object().unwrap())
    }

    /// Keeps what is told.
    #[derive(Clone, Default)]
    struct Ear(std::sync::Arc<Mutex<Vec<Envelope>>>);

    impl Listener for Ear {
        fn heard(&self, event: &Envelope) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    impl Ear {
        fn notices(&self) -> Vec<String> {
            let heard = self.0.lock().unwrap();
            let notice = |envelope: &Envelope| match &envelope.event {
                Happening::Notice { text } => Some(text.clone()),
                _ => None,
            };
            heard.iter().filter_map(notice).collect()
        }
    }

    fn lines(folder: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(folder.join("costs.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn sums_go_on_and_one_notice_is_given_even_across_a_resume() {
        let folder = tempfile::tempdir().unwrap();
        let roles = BTreeMap::from([(RoleId::new("coder"), costing(&json!({"warn_usd": 0.5})).unwrap())]);
        let ear = Ear::default();
        let costs = Costs::new(folder.path(), roles.clone(), &[]);
        let hub = Hub::new(vec![Box::new(ear.clone()), Box::new(costs)]);
        let at = Timestamp::UNIX_EPOCH;
        hub.tell(at, &place("a", "coder"), ended(1, Some(0.25)));
        hub.tell(at, &place("b", "foreman"), ended(1, Some(4.0)));
        hub.tell(at, &place("c", "coder"), ended(1, None));
        hub.tell(at, &place("a", "coder"), ended(2, Some(0.25)));
        assert_eq!(ear.notices(), Vec::<String>::new(), "it has spent no more than that");
        let before = ear.0.lock().unwrap().clone();

        let costs = Costs::new(folder.path(), roles, &before);
        let hub =
            Hub::resumed(vec![Box::new(ear.clone()), Box::new(costs)], &before, std::sync::Arc::default());
        hub.tell(at, &place("a", "coder"), ended(2, Some(0.25)));
        hub.tell(at, &place("a", "coder"), ended(3, Some(0.25)));
        hub.tell(at, &place("a", "coder"), ended(4, Some(0.25)));
        assert_eq!(
            ear.notices(),
            [
                "hooks-cost: role coder has spent more than its warn_usd of $0.5000 in this run; it goes on, as only `limits` stop it"
            ]
        );
        let numbers: Vec<u64> = ear.0.lock().unwrap().iter().map(|envelope| envelope.seq).collect();
        assert_eq!(numbers, (1..=7).collect::<Vec<_>>());

        let lines = lines(folder.path());
        assert_eq!(lines.len(), 5, "{lines:#?}");
        let unpriced = &lines[1];
        assert_eq!(
            (&unpriced["cost_usd"], &unpriced["session_total"]["cost_usd"]),
            (&json!("unpriced"), &json!("unpriced"))
        );
        assert_eq!(unpriced["role_total"], json!({"cost_usd": 0.25, "calls": 2, "unpriced_calls": 1}));
        let last = &lines[4];
        assert_eq!(
            (&last["session_id"], &last["role"], &last["iteration"]),
            (&json!("work/a"), &json!("coder"), &json!(4))
        );
        assert_eq!((&last["cost_usd"], &last["usage"]["input"]), (&json!(0.25), &json!(10)));
        assert_eq!(last["session_total"], json!({"cost_usd": 1.0, "calls": 4, "unpriced_calls": 0}));
        assert_eq!(last["role_total"], json!({"cost_usd": 1.0, "calls": 5, "unpriced_calls": 1}));
        assert_eq!(last["run_total"], json!({"cost_usd": 5.0, "calls": 6, "unpriced_calls": 1}));
        assert_eq!(last.get("evidence"), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(costing(&json!({})), Ok(Costing::default()));
        for wrong in [json!(0), json!(-1), json!(1e9), json!("much")] {
            let error = costing(&json!({"warn_usd": wrong})).unwrap_err().to_string();
            assert!(error.starts_with("hooks-cost: `warn_usd` must be"), "{error}");
        }
    }
}
