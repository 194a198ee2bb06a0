//! RUN0306: a monitor listens to events that happen.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::plan::ISSUE_EVENTS;
use crate::scenario::raw::RawKind;

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let known: Vec<String> = ISSUE_EVENTS.iter().map(|event| format!("issue.{event}")).collect();
    for (_, kind) in scene.kinds() {
        let RawKind::Monitor(monitor) = kind else { continue };
        for event in monitor.on.iter().filter(|event| !known.contains(&event.value)) {
            let whole = format!("issue.{}", event.value);
            let meant = if known.contains(&whole) {
                Some(whole.as_str())
            } else {
                nearest(&event.value, known.iter().map(String::as_str))
            };
            report.push(
                Diagnostic::error(Code::UnknownEvent, format!("there is no event `{}`", event.value))
                    .at(&event.place)
                    .did_you_mean(meant)
                    .help(format!("there are: {}", known.join(", "))),
            );
        }
    }
}
