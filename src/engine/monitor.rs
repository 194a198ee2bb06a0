//! A phase that watches another: woken by time or by the queue, it prompts its session when its condition holds.

use super::conversation::{SeatPlan, goes_on, hand_back, judge};
use super::desk::Mail;
use super::dispatch::beside;
use super::roster::{MonitorOrder, WatchSetup};
use super::scope::Scope;
use super::{PhaseOutcome, PhaseScope};
use crate::effects::{Asked, Busy, Halt, Ran};
use crate::event::{EffectId, EffectKind, Happening, Policy, SessionEnd, Whereabouts};
use crate::id::SessionName;
use crate::plan::MonitorPlan;
use crate::session::PromptEnd;
use crate::tool::HoldLog;

/// Watches until the watched phase is over or the checks are used up.
pub(super) async fn run(phase: &PhaseScope, plan: &MonitorPlan, busy: &Busy) -> Result<PhaseOutcome, Halt> {
    let mut outcome = PhaseOutcome::completed();
    let name = SessionName::new(plan.role.local());
    let holds = HoldLog::default();
    let setup = WatchSetup {
        watches: beside(phase.id(), &plan.watches),
        on: plan.on.iter().map(|event| event.trim_start_matches("issue.").to_owned()).collect(),
        every: plan.every,
    };
    phase.company.desk.leave(Mail::WatchOpens { phase: phase.id().clone(), setup }, busy);
    let mut session = match SeatPlan::alone(phase, &plan.role, &name, &holds).fill(phase, busy).await? {
        Ok(session) => session,
        Err(reason) => {
            outcome.fail(reason);
            return Ok(outcome);
        }
    };
    let scope = Scope::of_phase(phase).with_role(&phase.company, &plan.role);
    let mut last = PromptEnd { end: SessionEnd::Completed, text: String::new(), error: None };
    let mut due = None;
    let mut checks = 0;
    for look in 1.. {
        let MonitorOrder::Look(trigger) = next_order(phase, look, due, busy).await? else { break };
        let id = EffectId::engine(phase.id(), "when", look);
        let holds = phase.company.holds(busy, id, &plan.when, &scope).await?;
        let is_due = match holds {
            Ok(is_due) => is_due,
            Err(error) => {
                last.end = SessionEnd::Failed { reason: error.to_string() };
                break;
            }
        };
        tell_looked(phase, plan, trigger, is_due);
        due = Some(is_due);
        if !is_due {
            continue;
        }
        checks += 1;
        let _slot = phase.slot(name.as_str(), busy).await?;
        let id = EffectId::engine(phase.id(), "prompt", checks);
        match phase.company.render(busy, id, &plan.prompt, &scope).await? {
            Ok(text) => last = session.prompt(busy, &text).await?,
            Err(error) => last.end = SessionEnd::Failed { reason: error.to_string() },
        }
        if !goes_on(&last.end) || checks >= plan.max_checks {
            break;
        }
    }
    hand_back(phase, session.path(), &name, &holds, busy).await?;
    session.tell(Happening::SessionEnded { end: last.end.clone(), text: last.text.clone() });
    judge(&last, name.as_str(), &mut outcome);
    Ok(outcome)
}

fn tell_looked(phase: &PhaseScope, plan: &MonitorPlan, trigger: String, due: bool) {
    let place = Whereabouts {
        phase: Some(phase.id().clone()),
        session: Some(SessionName::new(plan.role.local())),
        role: Some(plan.role.clone()),
    };
    let stage = &phase.company.stage;
    stage.hub.tell(stage.effects.now(), &place, Happening::MonitorChecked { trigger, due });
}

/// What the dispatcher says; in a replay what the recording says.
async fn next_order(
    phase: &PhaseScope,
    look: u32,
    due: Option<bool>,
    busy: &Busy,
) -> Result<MonitorOrder, Halt> {
    let id = EffectId::engine(phase.id(), "wake", look);
    let asked = Asked::engine(id, EffectKind::Wake, Policy::Tape);
    let ask = |_| async move {
        let result = match phase.company.desk.ask_as_monitor(phase.id(), due, busy).await? {
            MonitorOrder::Look(trigger) => serde_json::json!({ "look": trigger }),
            MonitorOrder::End => serde_json::Value::from("end"),
        };
        Some(Ran::plain(result))
    };
    let result = phase.company.stage.effects.perform(busy, asked, ask).await?;
    Ok(match result.get("look").and_then(serde_json::Value::as_str) {
        Some(trigger) => MonitorOrder::Look(trigger.to_owned()),
        None => MonitorOrder::End,
    })
}
