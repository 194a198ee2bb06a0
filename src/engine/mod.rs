//! How a plan is run: phases start when what they need has ended, workers and monitors wait at one desk, and everything
//! that touches the queue or a prompt is an effect.
//!
//! ```text
//!   run ──┬─ phase task ── session | pool (worker tasks) | monitor
//!         ├─ dispatcher: one inbox, pure decisions (roster), one owner of who waits
//!         └─ keeper: renews leases in real time
//! ```

mod approval;
mod board;
mod closing;
mod conversation;
mod desk;
mod dispatch;
mod group;
mod monitor;
mod output;
mod phase;
mod pool;
mod queue;
mod resume;
mod roster;
mod scope;
mod seeding;
mod shell;
mod slots;
mod spent;
mod undo;
mod worker;
mod workspace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use dispatch::{begin, export, run};
pub use resume::{ResumeError, TakeUp, TakenUp, take_up};
pub use spent::{Spent, spent};
pub use undo::undo;
pub use workspace::{Beginning, Workspace, WorkspaceError, WorkspaceState};

use serde_json::{Map, Value};

use crate::effects::{Busy, Halt};
use crate::event::{PhaseEnd, SessionEnd, Whereabouts};
use crate::id::{PhaseId, RunId};
use crate::issue::Issue;
use crate::plan::{Condition, PhasePlan, Plan};
use crate::provider::ErrorClass;
use crate::secret::Secret;
use crate::session::{Modules, PromptEnd, Stage, Stop};
use crate::store::{Counts, IssueStore};
use crate::template::Templates;

/// Everything a run needs.
pub struct Setup {
    /// What runs.
    pub plan: Arc<Plan>,
    /// Its id.
    pub run: RunId,
    /// What sessions are made of.
    pub modules: Arc<Modules>,
    /// The queue.
    pub store: Arc<dyn IssueStore>,
    /// The prompts.
    pub templates: Templates,
    /// What all sessions share: the gate, who listens, when to stop.
    pub stage: Arc<Stage>,
    /// The values of secret inputs, by the environment variables that hold them. Only commands are given them.
    pub secrets: BTreeMap<String, Secret>,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct RunEnd {
    /// Every phase at the top, in the order of the file.
    pub phases: Vec<(PhaseId, PhaseOutcome)>,
    /// The phases that wait for a person.
    pub paused: Vec<PhaseId>,
    /// What went wrong before the first or after the last phase.
    pub trouble: Option<String>,
    /// Whether a phase within another failed, though that one went on.
    pub inner_failure: bool,
    /// Conditions that are false: of phases and of the run.
    pub false_expectations: Vec<Condition>,
    /// Conditions of the run that are neither true nor false, and why.
    pub unanswered: Vec<(Condition, String)>,
    /// Why nothing went on, if so.
    pub halt: Option<Halt>,
    /// Whether it was stopped.
    pub stopped: bool,
    /// Whether a provider refused the credential.
    pub credential_refused: bool,
    /// Whether what the run may spend is used up.
    pub budget_used_up: bool,
    /// Whether it was stopped because it took longer than it may.
    pub is_late: bool,
    /// Whether a model call failed for good.
    pub call_failed: bool,
    /// A part of the program broke.
    pub broken: Option<String>,
    /// Whether another process changed the queue meanwhile: a recording cannot tell when.
    pub others_worked: bool,
    /// The queue at the end.
    pub counts: Counts,
    /// Every issue at the end, in creation order.
    pub issues: Vec<Issue>,
}

/// How a phase ended, and why.
#[derive(Debug, Clone)]
pub struct PhaseOutcome {
    /// How.
    pub end: PhaseEnd,
    /// Why, a line each.
    pub reasons: Vec<String>,
    /// What its session said last, or its command printed; of others nothing.
    pub text: String,
    /// What else is known of it, by the names that templates use.
    pub facts: Map<String, Value>,
    /// Whether it was kept from doing what it is there for by the failure of another.
    pub was_cut_short: bool,
    /// Whether a phase within it failed, though it went on.
    pub inner_failure: bool,
    /// Conditions of it that are false.
    pub false_expectations: Vec<Condition>,
    /// Whether a provider refused the credential.
    pub credential_refused: bool,
    /// Whether what the run may spend was used up in it.
    pub budget_used_up: bool,
    /// Whether a model call failed for good.
    pub call_failed: bool,
}

impl PhaseOutcome {
    fn new(end: PhaseEnd) -> Self {
        Self {
            end,
            reasons: Vec::new(),
            text: String::new(),
            facts: Map::new(),
            was_cut_short: false,
            inner_failure: false,
            false_expectations: Vec::new(),
            credential_refused: false,
            budget_used_up: false,
            call_failed: false,
        }
    }

    fn completed() -> Self {
        Self::new(PhaseEnd::Completed)
    }

    /// The same, kept from doing what it is there for.
    fn cut_short(mut self) -> Self {
        self.was_cut_short = true;
        self
    }

    /// What templates see of it.
    fn told(&self) -> Value {
        let mut told = self.facts.clone();
        told.insert("status".to_owned(), self.end.as_str().into());
        told.insert("text".to_owned(), self.text.as_str().into());
        Value::Object(told)
    }

    fn fail(&mut self, reason: String) {
        self.end = PhaseEnd::Failed;
        self.reasons.push(reason);
    }

    /// Notes what of a prompt's end decides the exit code.
    fn note_end(&mut self, last: &PromptEnd) {
        self.budget_used_up |= last.end == SessionEnd::Budget;
        self.note_error(last.error);
    }

    fn note_error(&mut self, error: Option<ErrorClass>) {
        self.credential_refused |= error == Some(ErrorClass::Credential);
        self.call_failed |= error.is_some();
    }
}

/// What every task of a run is handed.
pub(crate) struct Company {
    plan: Arc<Plan>,
    run: RunId,
    modules: Arc<Modules>,
    store: Arc<dyn IssueStore>,
    templates: Templates,
    stage: Arc<Stage>,
    secrets: BTreeMap<String, Secret>,
    desk: desk::Desk,
    slots: slots::Slots,
    /// Whether another process has changed the queue while the run went on.
    others_seen: Arc<AtomicBool>,
}

/// What a phase task is handed besides.
#[derive(Clone)]
pub(crate) struct PhaseScope {
    company: Arc<Company>,
    /// Its name in the run.
    id: PhaseId,
    plan: Arc<PhasePlan>,
    /// How phases have ended that it may know of, by their ids in the file.
    seen: Arc<Map<String, Value>>,
    /// What it sees of what it stands in.
    surroundings: Arc<board::Surroundings>,
    stop: Stop,
}

impl PhaseScope {
    /// Takes a place at work for a session of this name.
    async fn slot<'a>(&'a self, session: &str, busy: &'a Busy) -> Result<slots::Slot<'a>, Halt> {
        let name = format!("{}/{session}", self.id);
        let whose = (name.as_str(), &self.stop.soft);
        self.company.slots.take(busy, &self.company.stage.effects, whose).await
    }

    fn plan(&self) -> &PhasePlan {
        &self.plan
    }

    fn id(&self) -> &PhaseId {
        &self.id
    }

    fn tell(&self, event: crate::event::Happening) {
        let stage = &self.company.stage;
        stage.hub.tell(stage.effects.now(), &Whereabouts::phase(self.id()), event);
    }
}
