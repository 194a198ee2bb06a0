//! RUN0501, RUN0406: a role works in a folder of the workspace, and folders for workers are made for workers.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::plan::Isolation;
use crate::scenario::paths::relative;
use crate::scenario::raw::{Located, RawKind, RawRole};
use crate::tool::workspace::{RESERVED, WORKERS};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for role in &scene.raw.roles {
        if let Some(folder) = &role.workspace {
            check_folder(role, folder, report);
        }
    }
    let isolation = scene.raw.workspace.as_ref().and_then(|workspace| workspace.isolation.as_ref());
    let has_workers = scene.kinds().any(|(_, kind)| matches!(kind, RawKind::Workers(_)));
    if let Some(isolation) = isolation
        && isolation.value == Isolation::PerWorker
        && !has_workers
    {
        report.push(
            Diagnostic::warning(Code::IgnoredSetting, "`isolation: per-worker` has no effect")
                .at(&isolation.place)
                .label("no phase has `workers`"),
        );
    }
}

fn check_folder(role: &RawRole, folder: &Located<String>, report: &mut Report) {
    let what = format!("`workspace` of role `{}`", role.id.value);
    let Some(inside) = relative(&folder.value) else {
        report.push(
            Diagnostic::error(Code::PathLeavesRoot, format!("{what} is no folder inside the workspace"))
                .at(&folder.place)
                .help("write a path from the top of the workspace, as `docs`; without the key the role works in all of it"),
        );
        return;
    };
    let first = inside.split('/').next().unwrap_or_default();
    if RESERVED.contains(&first) || first == WORKERS {
        report.push(
            Diagnostic::error(Code::PathLeavesRoot, format!("{what} belongs to the runner"))
                .at(&folder.place)
                .help("name another folder"),
        );
    }
}
