//! RUN0405: a run has a bounded number of sessions.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::limit;
use crate::scenario::raw::{RawItems, RawKind};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let mut total: u64 = 0;
    let mut largest: Option<(u64, &crate::source::Place)> = None;
    for (at, kind) in scene.kinds() {
        let times = at_a_time(scene, at);
        let RawKind::Workers(workers) = kind else {
            let count = if kind.roles().is_empty() { 0 } else { times };
            total += count;
            if largest.is_none_or(|(most, _)| count > most) {
                largest = Some((count, &scene.raw.phases[at].place));
            }
            continue;
        };
        for entry in &workers.pool {
            let count = u64::from(entry.count.value).saturating_mul(times);
            total += count;
            if largest.is_none_or(|(most, _)| count > most) {
                largest = Some((count, &entry.count.place));
            }
        }
    }
    if let Some((_, place)) = largest.filter(|_| total > limit::SESSIONS as u64) {
        let message =
            format!("the phases have {total} sessions together, and a run has at most {}", limit::SESSIONS);
        report.push(
            Diagnostic::error(Code::TooManySessions, message)
                .at(place)
                .help("let fewer workers do more iterations"),
        );
    }
}

/// How many of a phase may run at the same time: items of its `for_each`, and of those of the phases around it.
fn at_a_time(scene: &Scene<'_>, at: usize) -> u64 {
    let own = scene.raw.phases[at].for_each.as_ref().map_or(1, |each| {
        let width = each.max_parallel.map_or(limit::PARALLEL_ITEMS as u64, u64::from);
        match &each.items {
            Some(RawItems::Written(items)) => width.min(items.len() as u64),
            _ => width,
        }
    });
    let around = scene.graph.outer(at).map_or(1, |outer| at_a_time(scene, outer));
    own.saturating_mul(around)
}
