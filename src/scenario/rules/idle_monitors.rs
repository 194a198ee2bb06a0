//! RUN0415: a monitor that waits for blocked issues has something with which it can answer them.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::queue_access;
use crate::scenario::raw::{RawKind, RawMonitor};

/// What writes files, which workers may be waiting for.
const WRITES: &str = "tool-filesystem";

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for (at, kind) in scene.kinds() {
        let RawKind::Monitor(monitor) = kind else { continue };
        let Some(role) = &monitor.role else { continue };
        let Some(plan) = scene.mount_plans.get(&role.value) else { continue };
        let writes = || plan.and_agents().flat_map(|plan| &plan.tools).any(|tool| tool.module == WRITES);
        // What it says may be read by those who come after it.
        let is_heard = || (0..scene.graph.len()).any(|other| scene.graph.all_needs(other).contains(&at));
        if !helps(scene, monitor) || queue_access::may_change(scene, &role.value) || writes() || is_heard() {
            continue;
        }
        report.push(
            Diagnostic::warning(
                Code::IdleMonitor,
                format!("monitor `{}` can unblock nothing: its mount plan has no `tool-issue`", role.value),
            )
            .at(&role.place)
            .help(format!("add `tool-issue` to the tools of {}", plan.file.display())),
        );
    }
}

/// Whether it is there for blocked issues.
fn helps(scene: &Scene<'_>, monitor: &RawMonitor) -> bool {
    let asks = monitor
        .when
        .as_ref()
        .is_some_and(|when| scene.prompts.templates.expression_names(&when.value).contains("issues.blocked"));
    asks || monitor.on.iter().any(|event| event.value == "issue.blocked")
}
