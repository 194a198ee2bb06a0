//! RUN0414: somebody makes issues that the workers of a pool take.

use super::{Scene, starved};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::queue_access;
use crate::scenario::raw::{RawKind, RawPool, RawSeed};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let Some(seeds) = all_issues(scene) else { return };
    let fed = |at: usize, entry: &RawPool| {
        let seeds = seeds.iter().filter(|(made, _)| made.is_none_or(|made| comes_in_time(scene, made, at)));
        seeds.into_iter().any(|(_, seed)| starved::takes(scene, entry, &seed.metadata))
    };
    let pools: Vec<(usize, &RawPool)> = scene
        .kinds()
        .filter_map(|(at, kind)| match kind {
            RawKind::Workers(workers) => Some((at, &workers.pool)),
            _ => None,
        })
        .flat_map(|(at, pool)| pool.iter().map(move |entry| (at, entry)))
        .collect();
    let (fed, unfed): (Vec<_>, Vec<_>) = pools.into_iter().partition(|(at, entry)| fed(*at, entry));
    // Who works may file what others then take.
    let files =
        |entry: &RawPool| entry.role.as_ref().is_none_or(|role| queue_access::may_change(scene, &role.value));
    if fed.iter().any(|(_, entry)| files(entry)) {
        return;
    }
    for (at, entry) in unfed {
        let Some(role) = &entry.role else { continue };
        let phase = scene.raw.phases[at].shown();
        let message = format!("nobody makes an issue for the workers of `{}` in {phase}", role.value);
        report.push(
            Diagnostic::warning(Code::Unfed, message)
                .at(&role.place)
                .help("make issues that they take, in `queue.issues` or in an `issues` phase before it"),
        );
    }
}

/// All issues that there may be, each with the phase that makes it; `None` if others may make some, or some are there already.
fn all_issues<'s>(scene: &'s Scene<'_>) -> Option<Vec<(Option<usize>, &'s RawSeed)>> {
    let starts_empty = scene.raw.workspace.as_ref().is_some_and(|workspace| workspace.fresh);
    if !starts_empty || queue_access::sessions_may(scene) || queue_access::commands_say(scene, |_| true) {
        return None;
    }
    let mut seeds: Vec<_> = scene.raw.queue.issues.iter().map(|seed| (None, seed)).collect();
    for (at, kind) in scene.kinds() {
        let RawKind::Issues(issues) = kind else { continue };
        if issues.from.is_some() {
            return None;
        }
        seeds.extend(issues.create.iter().map(|seed| (Some(at), seed)));
    }
    Some(seeds)
}

/// Whether what a phase makes may come before another has ended: within a third, it may come in the round before.
fn comes_in_time(scene: &Scene<'_>, made: usize, workers: usize) -> bool {
    scene.graph.outer(made).is_some() || !starved::is_over(scene, &scene.graph.seen(made), workers)
}
