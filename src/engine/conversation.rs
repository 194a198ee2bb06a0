//! A phase of one conversation: its prompts in turn.

use serde_json::Value;

use super::queue::Proxy;
use super::scope::Scope;
use super::{PhaseOutcome, PhaseScope, output};
use crate::effects::{Busy, Halt};
use crate::event::{EffectId, Happening, PhaseEnd, SessionEnd, Whereabouts};
use crate::id::{RoleId, SessionName};
use crate::issue::Takes;
use crate::plan::{Isolation, OutputPlan, SessionPlan};
use crate::session::{Casting, Delegates, FolderAsked, Identity, PromptEnd, Session, open_folder};
use crate::store::{AttemptCount, Operation};
use crate::tool::HoldLog;

/// Holds the conversation.
pub(super) async fn run(
    phase: &PhaseScope,
    plan: &SessionPlan,
    attempt: u32,
    busy: &Busy,
) -> Result<PhaseOutcome, Halt> {
    let mut outcome = PhaseOutcome::completed();
    let name = SessionName::new(plan.role.local());
    let scope = Scope::of_phase(phase).with_role(&phase.company, &plan.role);
    let holds = HoldLog::default();
    let _slot = phase.slot(name.as_str(), busy).await?;
    let mut seat = SeatPlan::alone(phase, &plan.role, &name, &holds);
    // A second try is a conversation of its own.
    seat.fresh = Some(attempt).filter(|attempt| *attempt > 1);
    let mut session = match seat.fill(phase, busy).await? {
        Ok(session) => session,
        Err(reason) => {
            outcome.fail(reason);
            return Ok(outcome);
        }
    };
    let mut last = PromptEnd { end: SessionEnd::Completed, text: String::new(), error: None };
    let before = (attempt - 1) * plan.prompts.len() as u32;
    for (at, prompt) in plan.prompts.iter().enumerate() {
        let id = EffectId::engine(phase.id(), "prompt", before + at as u32 + 1);
        let is_last = at + 1 == plan.prompts.len();
        let asks_for_data = plan.output.as_ref().filter(|_| is_last);
        match phase.company.render(busy, id, prompt, &scope).await? {
            Ok(mut text) => {
                text.extend(asks_for_data.map(output::request));
                last = session.prompt(busy, &text).await?;
            }
            Err(error) => last.end = SessionEnd::Failed { reason: error.to_string() },
        }
        if !goes_on(&last.end) {
            break;
        }
        if let Some(wanted) = asks_for_data {
            match answer(&mut session, wanted, &mut last, busy).await? {
                Ok(value) => {
                    outcome.facts.insert("output".to_owned(), value);
                }
                Err(reason) => last.end = SessionEnd::Failed { reason },
            }
        }
    }
    hand_back(phase, session.path(), &name, &holds, busy).await?;
    session.tell(Happening::SessionEnded { end: last.end.clone(), text: last.text.clone() });
    judge(&last, name.as_str(), &mut outcome);
    outcome.text = last.text;
    Ok(outcome)
}

/// Reads the answer of a session that must be data; one that is not may be mended once.
async fn answer(
    session: &mut Session,
    wanted: &OutputPlan,
    last: &mut PromptEnd,
    busy: &Busy,
) -> Result<Result<Value, String>, Halt> {
    let problem = match output::read(wanted, &last.text) {
        Ok(value) => return Ok(Ok(value)),
        Err(problem) => problem,
    };
    *last = session.prompt(busy, &output::repair(&problem)).await?;
    if let Some(reason) = failure(&last.end) {
        return Ok(Err(reason));
    }
    let read = output::read(wanted, &last.text);
    Ok(read.map_err(|problem| format!("its answer is not the data that `output` demands: {problem}")))
}

/// Whether a session may be given another prompt: it has answered, if only with a summary.
pub(super) fn goes_on(end: &SessionEnd) -> bool {
    matches!(end, SessionEnd::Completed | SessionEnd::LimitReached)
}

/// What the end of a session means for its phase.
pub(super) fn judge(last: &PromptEnd, name: &str, outcome: &mut PhaseOutcome) {
    outcome.note_end(last);
    if let Some(why) = failure(&last.end) {
        outcome.fail(format!("{name}: {why}"));
    } else if last.end == SessionEnd::Cancelled && outcome.end == PhaseEnd::Completed {
        outcome.end = PhaseEnd::Cancelled;
    }
}

/// Why a session failed, if it did.
pub(super) fn failure(end: &SessionEnd) -> Option<String> {
    match end {
        SessionEnd::Completed | SessionEnd::LimitReached | SessionEnd::Cancelled => None,
        SessionEnd::Budget => Some("what `limits` allows the run is used up".to_owned()),
        SessionEnd::Refused { reason } if reason.is_empty() => Some("the model refused".to_owned()),
        SessionEnd::Refused { reason } => Some(format!("the model refused: {reason}")),
        SessionEnd::Empty => Some("the model answered with nothing".to_owned()),
        SessionEnd::Failed { reason } => Some(reason.clone()),
    }
}

/// Gives back what a session outside any pool holds: it cannot go on with it, and others may.
pub(super) async fn hand_back(
    phase: &PhaseScope,
    path: &str,
    name: &SessionName,
    holds: &HoldLog,
    busy: &Busy,
) -> Result<(), Halt> {
    for (number, id) in (1..).zip(holds.current()) {
        let proxy = Proxy { actor: name.to_string(), holder: path.to_owned(), epochs: holds.epochs() };
        let operation = Operation::Release { id, attempt: AttemptCount::Free, force: false };
        let effect = EffectId::engine(phase.id(), &format!("release.{name}"), number);
        if let Ok((_, change)) = phase.company.queue(busy, effect, &proxy, operation).await? {
            holds.apply(&change);
        }
    }
    Ok(())
}

/// What a session is made for.
pub(super) struct SeatPlan<'a> {
    pub(super) role: &'a RoleId,
    pub(super) name: &'a SessionName,
    pub(super) takes: Takes,
    /// The number of a fresh session among those of its worker.
    pub(super) fresh: Option<u32>,
    pub(super) holds: HoldLog,
    /// Whether it has a folder of its own.
    pub(super) isolation: Isolation,
    pub(super) scope: Scope,
}

impl<'a> SeatPlan<'a> {
    /// For a session outside any pool.
    pub(super) fn alone(
        phase: &PhaseScope,
        role: &'a RoleId,
        name: &'a SessionName,
        holds: &HoldLog,
    ) -> Self {
        Self {
            role,
            name,
            takes: phase.company.plan.roles[role].takes.clone(),
            fresh: None,
            holds: holds.clone(),
            isolation: Isolation::Shared,
            scope: Scope::of_phase(phase).with_role(&phase.company, role),
        }
    }

    /// Makes the session and tells that it begins. The inner error says why it cannot be made.
    pub(super) async fn fill(self, phase: &PhaseScope, busy: &Busy) -> Result<Result<Session, String>, Halt> {
        let company = &phase.company;
        let role = &company.plan.roles[self.role];
        let mut system = role.mount_plan.system.clone().unwrap_or_default();
        if let Some(template) = &role.system {
            let number = self.fresh.unwrap_or(1);
            let id = EffectId::engine(phase.id(), &format!("system.{}", self.name), number);
            match company.render(busy, id, template, &self.scope).await? {
                Ok(text) if system.is_empty() => system = text,
                Ok(text) => system = format!("{system}\n\n{text}"),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        let number = self.fresh.unwrap_or(1);
        let folder = FolderAsked {
            id: EffectId::engine(phase.id(), &format!("folder.{}", self.name), number),
            own: match self.isolation {
                Isolation::Shared => None,
                Isolation::PerWorker => Some((phase.id().to_string(), self.name.to_string())),
            },
            within: role.workspace.clone(),
        };
        let workspace = match open_folder(&company.stage, &company.modules, busy, folder).await? {
            Ok(workspace) => workspace,
            Err(reason) => return Ok(Err(reason)),
        };
        let path = EffectId::session_path(phase.id(), self.name, self.fresh);
        let (holds, takes) = (self.holds.clone(), self.takes.clone());
        let casting = Casting {
            role,
            holder: path.clone(),
            path: path.clone(),
            actor: self.name.to_string(),
            takes: self.takes,
            holds: self.holds,
            system,
            run: company.run.clone(),
            store: company.store.clone(),
            queue: &company.plan.queue,
            workspace,
        };
        let cast = match company.modules.cast(casting) {
            Ok(cast) => cast,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let place = Whereabouts {
            phase: Some(phase.id().clone()),
            session: Some(self.name.clone()),
            role: Some(self.role.clone()),
        };
        let identity = Identity { path, place };
        let delegates = Delegates {
            modules: company.modules.clone(),
            role: role.clone(),
            actor: self.name.to_string(),
            takes,
            run: company.run.clone(),
            store: company.store.clone(),
            queue: company.plan.queue.clone(),
        };
        let session = Session::new(company.stage.clone(), identity, cast, phase.stop.clone())
            .holding(holds)
            .delegating(delegates);
        session.tell(Happening::SessionStarted { model: session.model().to_owned() });
        Ok(Ok(session))
    }
}
