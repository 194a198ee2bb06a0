//! RUN0407: workers that claim issues themselves have the tool for it.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::plan::ClaimBy;
use crate::scenario::raw::RawKind;

/// The module that shows the queue to a model.
const ISSUE_MODULE: &str = "tool-issue";

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for (at, kind) in scene.kinds() {
        let RawKind::Workers(workers) = kind else { continue };
        if workers.claim != ClaimBy::Agent {
            continue;
        }
        for role in workers.pool.iter().filter_map(|entry| entry.role.as_ref()) {
            let Some(plan) = scene.mount_plans.get(&role.value) else { continue };
            if plan.tools.iter().any(|tool| tool.module == ISSUE_MODULE) {
                continue;
            }
            report.push(
                Diagnostic::error(
                    Code::NoIssueTool,
                    format!(
                        "role `{}` cannot claim issues: its mount plan has no `{ISSUE_MODULE}`",
                        role.value
                    ),
                )
                .at(&role.place)
                .label(format!("claims in {}", scene.raw.phases[at].shown()))
                .help(format!(
                    "add `{ISSUE_MODULE}` to the tools of {}, or let the runner claim with `claim: engine`",
                    plan.file.display()
                )),
            );
        }
    }
}
