//! How what is written becomes what will run: references followed, defaults filled in.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::paths::{Paths, normal, relative};
use super::raw::{Located, RawFault, RawKind, RawMonitor, RawPhase, RawRole, RawSession, RawWorkers};
use super::rules::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::event::EffectId;
use crate::fault::{Fault, FaultPlace};
use crate::id::{PhaseId, RoleId};
use crate::issue::Takes;
use crate::limit;
use crate::plan::{
    ClaimBy, Condition, MonitorPlan, PhaseKind, PhasePlan, Plan, PoolPlan, QUEUE_FILE, QueuePlan, ReplayPlan,
    ReplayWhen, RolePlan, SessionLife, SessionPlan, WorkersPlan, WorkspacePlan, WorkspaceStart,
};

/// The plan of a scenario; `None` if something it needs is wrong, which the report says.
pub(super) fn plan(scene: &Scene<'_>, paths: &Paths, file: &Path, report: &mut Report) -> Option<Plan> {
    let raw = scene.raw;
    let workspace = workspace(scene, paths, report);
    let queue = queue(scene, report);
    let replay = replay(scene, paths, report);
    if report.has_errors() {
        return None;
    }
    let stem = || file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Some(Plan {
        name: raw.name.as_ref().map_or_else(stem, |name| name.value.clone()),
        description: raw.description.as_ref().map(|text| text.value.clone()).unwrap_or_default(),
        file: file.strip_prefix(&paths.root).unwrap_or(file).to_owned(),
        root: paths.root.clone(),
        workspace: workspace?,
        inputs: scene.inputs.clone(),
        roles: raw.roles.iter().map(|role| resolve_role(scene, role)).collect::<Option<IndexMap<_, _>>>()?,
        phases: (0..raw.phases.len()).map(|at| resolve_phase(scene, at)).collect::<Option<Vec<_>>>()?,
        queue: queue?,
        limits: raw.limits.plan,
        prices: scene.prices().only(raw.roles.iter().filter_map(|role| scene.models(role)).flatten()),
        expect: conditions(&raw.expect),
        replay: replay?,
        faults: raw.faults.iter().flat_map(faults).collect(),
        prompts: scene.prompts.texts.clone(),
    })
}

fn workspace(scene: &Scene<'_>, paths: &Paths, report: &mut Report) -> Option<WorkspacePlan> {
    let written = scene.raw.workspace.as_ref();
    let start = match written {
        Some(workspace) if workspace.fresh => WorkspaceStart::Fresh,
        _ => WorkspaceStart::Keep,
    };
    let place = written.map(|workspace| workspace.path.place.clone());
    let path = match (&scene.request.workspace, written) {
        (Some(chosen), _) => normal(&scene.request.working_dir.join(chosen)),
        (None, Some(workspace)) => paths.workspace(&workspace.path, report)?,
        (None, None) => paths.root.clone(),
    };
    Some(WorkspacePlan { path, start, place })
}

fn queue(scene: &Scene<'_>, report: &mut Report) -> Option<QueuePlan> {
    let raw = &scene.raw.queue;
    let path = match &raw.store {
        None => Some(QUEUE_FILE.to_owned()),
        Some(store) => {
            let path = store.value.strip_prefix("sqlite:").and_then(relative);
            if path.is_none() {
                report.push(
                    Diagnostic::error(Code::UnknownChoice, format!("`{}` is not a store", store.value))
                        .at(&store.place)
                        .help(
                            "write `sqlite:` and a file inside the workspace, as `sqlite:.beads/issues.db`",
                        ),
                );
            }
            path
        }
    };
    Some(QueuePlan {
        path: PathBuf::from(path?),
        lease: raw.lease.unwrap_or(limit::LEASE),
        max_attempts: raw.max_attempts.unwrap_or(limit::ATTEMPTS),
    })
}

fn replay(scene: &Scene<'_>, paths: &Paths, report: &mut Report) -> Option<ReplayPlan> {
    let raw = &scene.raw.replay;
    let cassette = match &raw.cassette {
        None => None,
        Some(path) => Some(paths.root.join(paths.inside(path, report)?)),
    };
    Some(ReplayPlan {
        cassette,
        when: raw.when.as_ref().map_or(ReplayWhen::Never, |when| when.value),
        tools: raw.tools.iter().map(|(name, policy)| (name.value.clone(), *policy)).collect(),
    })
}

/// One fault for each attempt.
fn faults(raw: &RawFault) -> impl Iterator<Item = Fault> + '_ {
    let call = EffectId::from_text(raw.at.value.as_str());
    (1..=raw.times)
        .map(move |attempt| Fault { at: FaultPlace::Effect(call.attempt(attempt)), kind: raw.kind.clone() })
}

fn resolve_role(scene: &Scene<'_>, role: &RawRole) -> Option<(RoleId, RolePlan)> {
    let id = RoleId::new(role.id.value.as_str());
    let plan = RolePlan {
        id: id.clone(),
        mount_plan: scene.mount_plans.get(&role.id.value)?.clone(),
        system: role.system.as_ref().map(prompt_name),
        takes: takes(role),
        model: role.model.as_ref().map(|model| model.value.clone()),
        vars: role.vars.clone(),
        limits: role.limits.plan,
        place: role.id.place.clone(),
    };
    Some((id, plan))
}

/// What a role takes.
pub(super) fn takes(role: &RawRole) -> Takes {
    role.takes.as_ref().map(|takes| takes.value.clone()).unwrap_or_default()
}

fn prompt_name(path: &Located<String>) -> String {
    relative(&path.value).unwrap_or_else(|| path.value.clone())
}

fn resolve_phase(scene: &Scene<'_>, at: usize) -> Option<PhasePlan> {
    let raw = &scene.raw.phases[at];
    Some(PhasePlan {
        id: PhaseId::new(raw.id.as_ref()?.value.as_str()),
        kind: kind(scene, raw)?,
        needs: scene.graph.needs(at).iter().map(|need| PhaseId::new(scene.graph.name(*need))).collect(),
        when: raw.when.as_ref().map(condition),
        on_failure: raw.on_failure,
        limits: raw.limits.plan,
        expect: conditions(&raw.expect),
        place: raw.place.clone(),
    })
}

fn kind(scene: &Scene<'_>, raw: &RawPhase) -> Option<PhaseKind> {
    Some(match raw.kind.as_ref()? {
        RawKind::Session(RawSession { role, prompts }) => PhaseKind::Session(SessionPlan {
            role: RoleId::new(role.as_ref()?.value.as_str()),
            prompts: prompts.iter().map(prompt_name).collect(),
        }),
        RawKind::Workers(workers) => PhaseKind::Workers(resolve_workers(scene, workers)?),
        RawKind::Monitor(monitor) => PhaseKind::Monitor(resolve_monitor(monitor)?),
    })
}

fn resolve_workers(scene: &Scene<'_>, raw: &RawWorkers) -> Option<WorkersPlan> {
    let pool = raw.pool.iter().map(|entry| {
        let role = scene.role(&entry.role.as_ref()?.value)?;
        Some(PoolPlan {
            role: RoleId::new(role.id.value.as_str()),
            count: entry.count.value,
            takes: entry.takes.as_ref().map_or_else(|| takes(role), |takes| takes.value.clone()),
        })
    });
    let life = match raw.claim {
        ClaimBy::Agent => SessionLife::Keep,
        ClaimBy::Engine => SessionLife::Fresh,
    };
    Some(WorkersPlan {
        pool: pool.collect::<Option<Vec<_>>>()?,
        prompt: prompt_name(raw.prompt.as_ref()?),
        claim: raw.claim,
        max_iterations: raw.max_iterations,
        session: raw.session.unwrap_or(life),
        when_empty: raw.when_empty,
    })
}

fn resolve_monitor(raw: &RawMonitor) -> Option<MonitorPlan> {
    Some(MonitorPlan {
        role: RoleId::new(raw.role.as_ref()?.value.as_str()),
        prompt: prompt_name(raw.prompt.as_ref()?),
        watches: PhaseId::new(raw.watches.as_ref()?.value.as_str()),
        when: condition(raw.when.as_ref()?),
        every: raw.every,
        on: raw.on.iter().map(|event| event.value.clone()).collect(),
        max_checks: raw.max_checks,
    })
}

fn conditions(written: &[Located<String>]) -> Vec<Condition> {
    written.iter().map(condition).collect()
}

fn condition(written: &Located<String>) -> Condition {
    Condition { text: written.value.clone(), place: written.place.clone() }
}
