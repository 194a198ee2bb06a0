//! RUN0405: a run has a bounded number of sessions.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::limit;
use crate::scenario::raw::RawKind;

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let mut total: u64 = 0;
    let mut largest: Option<(u64, &crate::source::Place)> = None;
    for (at, kind) in scene.kinds() {
        let RawKind::Workers(workers) = kind else {
            total += 1;
            largest = largest.or(Some((1, &scene.raw.phases[at].place)));
            continue;
        };
        for entry in &workers.pool {
            let count = u64::from(entry.count.value);
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
