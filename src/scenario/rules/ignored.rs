//! RUN0406: a setting that does nothing is most likely not meant.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::plan::ReplayWhen;
use crate::scenario::raw::{RawKind, RawPhase, RawRole};
use crate::source::Place;

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for role in &scene.raw.roles {
        check_takes(scene, role, report);
    }
    for phase in &scene.raw.phases {
        check_phase(phase, report);
    }
    let replay = &scene.raw.replay;
    if let (None, Some(when)) = (&replay.cassette, &replay.when)
        && when.value == ReplayWhen::NoCredentials
    {
        report.push(
            Diagnostic::warning(Code::IgnoredSetting, "without a `cassette` there is nothing to replay")
                .at(&when.place)
                .help("name the recording with `cassette`, or remove `when`"),
        );
    }
}

/// `takes` says what workers take; a role that is never in a pool, or always with its own `takes` there, has no use for it.
fn check_takes(scene: &Scene<'_>, role: &RawRole, report: &mut Report) {
    let Some(takes) = &role.takes else { return };
    let pools = scene.kinds().filter_map(|(_, kind)| match kind {
        RawKind::Workers(workers) => Some(&workers.pool),
        _ => None,
    });
    let in_pools: Vec<_> = pools
        .flatten()
        .filter(|entry| entry.role.as_ref().is_some_and(|id| id.value == role.id.value))
        .collect();
    let why = if in_pools.is_empty() {
        "no pool has this role"
    } else if in_pools.iter().all(|entry| entry.takes.is_some()) {
        "every pool entry of this role has its own"
    } else {
        return;
    };
    report.push(
        Diagnostic::warning(
            Code::IgnoredSetting,
            format!("`takes` of role `{}` has no effect", role.id.value),
        )
        .at(&takes.place)
        .label(why),
    );
}

fn check_phase(phase: &RawPhase, report: &mut Report) {
    if let Some(RawKind::Approval(approval)) = &phase.kind
        && let (Some(default), None) = (&approval.default, approval.timeout)
    {
        let message = "without a `timeout` an answer is waited for, and `default` has no effect";
        ignored(message.to_owned(), &default.place, report);
    }
    if let Some(retry) = phase.retry.as_ref().filter(|retry| retry.attempts == 1) {
        let message = "`attempts: 1` tries once, as without `retry`";
        ignored(message.to_owned(), &retry.place, report);
    }
}

fn ignored(message: String, place: &Place, report: &mut Report) {
    report.push(Diagnostic::warning(Code::IgnoredSetting, message).at(place));
}
