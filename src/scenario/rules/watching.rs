//! RUN0402, RUN0403: a monitor watches a workers phase and runs beside it.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::raw::RawKind;

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for (at, kind) in scene.kinds() {
        let RawKind::Monitor(monitor) = kind else { continue };
        let Some(watched) = &monitor.watches else { continue };
        let Some(target) = scene.graph.beside(at, &watched.value) else { continue };
        match &scene.raw.phases[target].kind {
            Some(RawKind::Workers(_)) => {}
            Some(_) => {
                let message = format!("`{}` is no workers phase, so it cannot be watched", watched.value);
                report.push(
                    Diagnostic::error(Code::WatchesNoWorkers, message)
                        .at(&watched.place)
                        .help("watch a phase of the kind `workers`"),
                );
                continue;
            }
            None => continue,
        }
        let graph = &scene.graph;
        let (name, other) = (graph.name(at), &watched.value);
        if graph.all_needs(at).contains(&target) {
            let why = match scene.raw.phases[at].needs {
                Some(_) => format!(
                    "monitor `{name}` needs `{other}` to end before it starts, so there is nothing left to watch"
                ),
                None => format!(
                    "without `needs`, monitor `{name}` starts when the phases before it have ended, `{other}` among them"
                ),
            };
            let needs: Vec<String> = graph.needs(target).iter().map(|need| graph.name(*need)).collect();
            report.push(
                Diagnostic::error(Code::WatchesApart, why)
                    .at(&watched.place)
                    .help(format!("give it the needs of `{other}`: `needs: [{}]`", needs.join(", "))),
            );
        }
        if graph.all_needs(target).contains(&at) {
            let message = format!(
                "`{other}` needs monitor `{name}` to end, and the monitor ends only when `{other}` has ended"
            );
            report.push(
                Diagnostic::error(Code::WatchesApart, message)
                    .at(&watched.place)
                    .help(format!("take the monitor out of what `{other}` needs")),
            );
        }
    }
}
