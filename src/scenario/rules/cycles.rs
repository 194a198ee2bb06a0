//! RUN0401, RUN0404: no phase waits for itself, directly or in a circle, or for one that never ends.

use std::collections::BTreeSet;

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::source::Place;

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let graph = &scene.graph;
    let in_circle: BTreeSet<usize> =
        (0..graph.len()).filter(|at| graph.all_needs(*at).contains(at)).collect();
    let mut told: BTreeSet<usize> = BTreeSet::new();
    for &at in &in_circle {
        let Some(path) = graph.circle(at).filter(|_| !told.contains(&at)) else { continue };
        // One circle of a knot is enough to see; cutting it shows the next.
        told.extend(graph.all_needs(at).iter().filter(|other| graph.all_needs(*other).contains(&at)));
        let last = path.iter().find(|at| {
            let phase = &scene.raw.phases[**at];
            phase.is_final() && phase.needs.is_none()
        });
        let help = match last {
            Some(last) => format!(
                "`{}` is `finally` without `needs`, so it waits for all others; name those it needs, or do not need it",
                graph.name(*last)
            ),
            None if path.len() == 2 => "remove it from its own `needs`".to_owned(),
            None => "take one of them out of the other's `needs`".to_owned(),
        };
        let names: Vec<String> = path.into_iter().map(|at| graph.name(at)).collect();
        let message = match names.as_slice() {
            [only, _] => format!("phase `{only}` needs itself"),
            _ => format!("phases need each other in a circle: {}", names.join(" -> ")),
        };
        report.push(Diagnostic::error(Code::NeedsCycle, message).at(&needs_place(scene, at)).help(help));
    }
    for at in 0..graph.len() {
        let needs = graph.all_needs(at);
        if in_circle.is_empty() || in_circle.contains(&at) {
            continue;
        }
        if let Some(stuck) = needs.iter().find(|need| in_circle.contains(need)) {
            report.push(
                Diagnostic::error(
                    Code::Unreachable,
                    format!(
                        "phase `{}` can never start: it needs `{}`, which is in a circle",
                        graph.name(at),
                        graph.name(stuck)
                    ),
                )
                .at(&needs_place(scene, at)),
            );
        }
    }
}

/// The `needs` of a phase, or the phase that has none of its own.
fn needs_place(scene: &Scene<'_>, at: usize) -> Place {
    let phase = &scene.raw.phases[at];
    match &phase.needs {
        Some(_) => Place::of_key(phase.place.source, phase.place.route.key("needs")),
        None => phase.place.clone(),
    }
}
