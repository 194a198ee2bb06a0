//! How the end of a run is told and which exit code it has.

use super::arguments::FailOn;
use super::exit::Exit;
use super::launch::Scenario;
use super::surroundings::complaint;
use crate::diagnostic::{Code, Diagnostic, Look, Report};
use crate::effects::Halt;
use crate::engine::RunEnd;
use crate::event::PhaseEnd;

/// The exit code of a run's end.
pub(super) fn exit(end: &RunEnd, signal: Option<Exit>, fail_on: FailOn) -> Exit {
    let bad = |end: PhaseEnd| matches!(end, PhaseEnd::Failed | PhaseEnd::Stalled | PhaseEnd::Cancelled);
    let left = end.counts.total - end.counts.closed;
    match (&end.halt, signal) {
        _ if end.broken.is_some() => Exit::Bug,
        (_, Some(signal)) => signal,
        _ if end.credential_refused => Exit::Configuration,
        (Some(Halt::Diverged(_) | Halt::Unreadable(..)), None) => Exit::Divergence,
        (Some(_), None) => Exit::Failed,
        _ if end.budget_used_up => Exit::Budget,
        _ if !end.paused.is_empty() => Exit::Paused,
        _ if !end.false_expectations.is_empty() => Exit::Expectation,
        _ if !end.unanswered.is_empty() => Exit::Failed,
        _ if end.trouble.is_some() || end.inner_failure => Exit::Failed,
        _ if end.phases.iter().any(|(_, outcome)| bad(outcome.end)) => Exit::Failed,
        _ if fail_on == FailOn::Any && left > 0 => Exit::IssuesLeft,
        _ => Exit::Ok,
    }
}

/// What went wrong, the cause and not its consequences; empty when nothing did.
pub(super) fn failure(end: &RunEnd, scenario: &Scenario, look: Look) -> String {
    let mut text = String::new();
    if let Some(broken) = &end.broken {
        text += &complaint(format!(
            "a part of runner broke: {broken}\nThis is a bug; please report it with the run's folder."
        ));
    }
    match &end.halt {
        Some(Halt::Diverged(divergence)) => {
            let file = scenario.given.file.display().to_string();
            text += &format!("\n{}", divergence.as_ref().clone().of_file(&file));
        }
        Some(Halt::Stopped) | None => {}
        Some(halt) => text += &complaint(halt),
    }
    if end.halt.is_some() {
        return text;
    }
    if let Some(trouble) = &end.trouble {
        text += &complaint(trouble);
    }
    if end.is_late {
        let timeout = scenario.plan.limits.timeout.unwrap_or_default();
        text += &complaint(format!("the run took longer than the {timeout:?} that `limits.timeout` allows"));
    }
    for (id, outcome) in &end.phases {
        match outcome.end {
            PhaseEnd::Failed if outcome.false_expectations.is_empty() => {
                text += &complaint(format!("phase {id} failed: {}", listed(&outcome.reasons)));
            }
            // What is left over was told where the phase ended; it is the cause of expectations that are false.
            PhaseEnd::Stalled if end.false_expectations.is_empty() => {
                text += &complaint(format!("phase {id} stalled: {}", listed(&outcome.reasons)));
            }
            _ => {}
        }
    }
    text + &conditions(end).render(&scenario.sources, look)
}

/// The conditions that are false or have no answer.
pub(super) fn conditions(end: &RunEnd) -> Report {
    let mut report = Report::new();
    for (condition, reason) in &end.unanswered {
        let message = format!("cannot evaluate `{}`: {reason}", condition.text);
        report.push(Diagnostic::error(Code::ConditionFailure, message).at(&condition.place));
    }
    for condition in &end.false_expectations {
        let counts = end.counts;
        let message = format!("the run does not end as expected: `{}` is false", condition.text);
        let help = format!(
            "issues at the end: {} in total, {} open ({} ready), {} in progress, {} blocked, {} closed",
            counts.total, counts.open, counts.ready, counts.in_progress, counts.blocked, counts.closed
        );
        report.push(Diagnostic::error(Code::ExpectationFailed, message).at(&condition.place).help(help));
    }
    report
}

/// One reason on the line, several below it.
fn listed(reasons: &[String]) -> String {
    match reasons {
        [reason] => reason.clone(),
        reasons => reasons.iter().map(|reason| format!("\n  {reason}")).collect(),
    }
}

/// Why no recording is kept of a run; an older one then stays.
pub(super) fn unfit_for_recording(end: &RunEnd) -> Option<&'static str> {
    if !end.paused.is_empty() {
        Some("that waits for a person")
    } else if end.halt.is_some() || end.stopped || end.broken.is_some() {
        Some("that did not come to its end")
    } else if end.call_failed {
        Some("in which a model call failed")
    } else if end.others_worked {
        Some("in whose queue somebody else worked meanwhile: a replay could not tell when")
    } else {
        None
    }
}
