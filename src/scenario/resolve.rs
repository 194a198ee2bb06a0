//! How what is written becomes what will run: references followed, defaults filled in.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::Value;

use super::paths::{Paths, normal, relative};
use super::raw::{
    Located, RawFault, RawForEach, RawInclude, RawInput, RawItems, RawKind, RawMonitor, RawPhase, RawRole,
    RawSeed, RawSession, RawWorkers,
};
use super::rules::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::event::EffectId;
use crate::fault::{Fault, FaultPlace};
use crate::id::{PhaseId, RoleId};
use crate::issue::Takes;
use crate::limit;
use crate::plan::{
    ApprovalPlan, ClaimBy, Condition, ForEachPlan, IncludeInput, IncludePlan, InputSource, Isolation,
    IssuesPlan, Items, LimitsPlan, MonitorPlan, PhaseKind, PhasePlan, PhaseTurn, Plan, PoolPlan, QUEUE_FILE,
    QueuePlan, RepeatPlan, ReplayPlan, ReplayWhen, RetryPlan, RolePlan, SeedPlan, SessionLife, SessionPlan,
    ShellPlan, Unmet, WorkersPlan, WorkspacePlan, WorkspaceStart,
};
use crate::source::Place;

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
        inputs: inputs(scene, |input| !input.is_secret()).collect(),
        secrets: inputs(scene, RawInput::is_secret)
            .filter_map(|(id, variable)| Some((id, variable.as_str()?.to_owned())))
            .collect(),
        roles: raw.roles.iter().map(|role| resolve_role(scene, role)).collect::<Option<IndexMap<_, _>>>()?,
        phases: phases(scene, None)?,
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
    let isolation = written.and_then(|workspace| workspace.isolation.as_ref());
    let texts = |written: &[Located<String>]| written.iter().map(|text| text.value.clone()).collect();
    Some(WorkspacePlan {
        path,
        start,
        isolation: isolation.map_or(Isolation::Shared, |isolation| isolation.value),
        setup: written.map(|workspace| texts(&workspace.setup)).unwrap_or_default(),
        teardown: written.map(|workspace| texts(&workspace.teardown)).unwrap_or_default(),
        place,
    })
}

/// The inputs of the scenario of which this is true, with their values.
fn inputs<'a>(
    scene: &'a Scene<'_>,
    is_wanted: impl Fn(&RawInput) -> bool + 'a,
) -> impl Iterator<Item = (String, Value)> + 'a {
    let wanted = scene.raw.inputs.iter().filter(move |input| is_wanted(input));
    wanted.filter_map(|input| {
        let id = &input.id.value;
        Some((id.clone(), scene.inputs.get(id)?.clone()))
    })
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
        issues: seeds(&raw.issues)?,
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
        workspace: role.workspace.as_ref().and_then(|folder| relative(&folder.value)),
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

/// The phases that stand right within a phase, or at the top.
fn phases(scene: &Scene<'_>, within: Option<usize>) -> Option<Vec<PhasePlan>> {
    let all = 0..scene.raw.phases.len();
    all.filter(|at| scene.graph.outer(*at) == within).map(|at| resolve_phase(scene, at)).collect()
}

fn resolve_phase(scene: &Scene<'_>, at: usize) -> Option<PhasePlan> {
    let raw = &scene.raw.phases[at];
    let once = RetryPlan::ONCE;
    Some(PhasePlan {
        id: PhaseId::new(raw.id.as_ref()?.value.as_str()),
        kind: kind(scene, at, raw)?,
        needs: scene.graph.needs(at).iter().map(|need| PhaseId::new(scene.graph.name(*need))).collect(),
        turn: if raw.is_final() { PhaseTurn::Finally } else { PhaseTurn::InOrder },
        for_each: match &raw.for_each {
            Some(each) => Some(for_each(each)?),
            None => None,
        },
        retry: raw
            .retry
            .as_ref()
            .map_or(once, |retry| RetryPlan { attempts: retry.attempts, backoff: retry.backoff }),
        when: raw.when.as_ref().map(condition),
        on_failure: raw.on_failure,
        limits: limits(raw),
        expect: conditions(&raw.expect),
        place: raw.place.clone(),
    })
}

/// The limits of a phase; an included scenario has its own, and the narrower of two holds.
fn limits(raw: &RawPhase) -> LimitsPlan {
    match &raw.kind {
        Some(RawKind::Include(RawInclude { of: Some(of), .. })) => raw.limits.plan.and(&of.limits.plan),
        _ => raw.limits.plan,
    }
}

fn for_each(raw: &RawForEach) -> Option<ForEachPlan> {
    Some(ForEachPlan {
        items: match raw.items.as_ref()? {
            RawItems::Written(items) => Items::Written(items.clone()),
            RawItems::Computed(expression) => Items::Computed(condition(expression)),
        },
        name: raw.name.value.clone(),
        max_parallel: raw.max_parallel.map_or(limit::PARALLEL_ITEMS, |most| most as usize),
        on_failure: raw.on_failure,
    })
}

fn kind(scene: &Scene<'_>, at: usize, raw: &RawPhase) -> Option<PhaseKind> {
    Some(match raw.kind.as_ref()? {
        RawKind::Session(RawSession { role, prompts, .. }) => PhaseKind::Session(SessionPlan {
            role: RoleId::new(role.as_ref()?.value.as_str()),
            prompts: prompts.iter().map(prompt_name).collect(),
            output: scene.attachments.outputs.get(&at).cloned(),
        }),
        RawKind::Workers(workers) => PhaseKind::Workers(resolve_workers(scene, workers)?),
        RawKind::Monitor(monitor) => PhaseKind::Monitor(resolve_monitor(monitor)?),
        RawKind::Issues(issues) => PhaseKind::Issues(IssuesPlan {
            create: seeds(&issues.create)?,
            from: scene.attachments.issues.get(&at).cloned(),
        }),
        RawKind::Shell(shell) => PhaseKind::Shell(ShellPlan {
            run: shell.run.as_ref()?.value.clone(),
            env: shell.env.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect(),
            expect_exit: shell.expect_exit.clone(),
            capture: shell.capture,
        }),
        RawKind::Approval(approval) => PhaseKind::Approval(ApprovalPlan {
            message: approval.message.as_ref()?.value.clone(),
            timeout: approval.timeout,
            default: approval.default.as_ref().map(|answer| answer.value),
        }),
        RawKind::Repeat(repeat) => PhaseKind::Repeat(RepeatPlan {
            phases: phases(scene, Some(at))?,
            until: condition(repeat.until.as_ref()?),
            max: repeat.max?,
            unmet: if repeat.or_continue { Unmet::Completes } else { Unmet::Fails },
        }),
        RawKind::Include(include) => PhaseKind::Include(resolve_include(scene, at, include)?),
    })
}

fn resolve_include(scene: &Scene<'_>, at: usize, raw: &RawInclude) -> Option<IncludePlan> {
    let of = raw.of.as_ref()?;
    let text = |text: &Option<Located<String>>| text.as_ref().map(|text| text.value.clone());
    let stem = || Path::new(&of.file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let inputs = of.inputs.iter().map(|input| include_input(input, raw, &scene.raw.phases[at].place));
    Some(IncludePlan {
        file: PathBuf::from(&of.file),
        name: text(&of.name).or_else(stem).unwrap_or_default(),
        description: text(&of.description).unwrap_or_default(),
        phases: phases(scene, Some(at))?,
        inputs: inputs.collect(),
        expect: conditions(&of.expect),
    })
}

fn include_input(input: &RawInput, raw: &RawInclude, place: &Place) -> IncludeInput {
    let given = raw.inputs.iter().find(|(name, _)| name.value == input.id.value).map(|(_, value)| value);
    let written = given.or(input.default.as_ref());
    let value = match written.map(|written| &written.value) {
        Some(Value::String(text)) if input.is_secret() => InputSource::Secret(text.clone()),
        Some(Value::String(text)) if text.contains("{{") || text.contains("{%") => {
            InputSource::Template(text.clone())
        }
        Some(value) => InputSource::Value(value.clone()),
        None => InputSource::Value(Value::Null),
    };
    IncludeInput {
        id: input.id.value.clone(),
        kind: input.kind,
        value,
        choices: input.choices.iter().map(|choice| choice.value.clone()).collect(),
        place: written.map_or_else(|| place.clone(), |written| written.place.clone()),
    }
}

fn seeds(raw: &[RawSeed]) -> Option<Vec<SeedPlan>> {
    raw.iter().map(seed).collect()
}

fn seed(raw: &RawSeed) -> Option<SeedPlan> {
    let text = |text: &Option<Located<String>>| text.as_ref().map(|text| text.value.clone());
    Some(SeedPlan {
        key: text(&raw.key),
        title: text(&raw.title)?,
        description: text(&raw.description).unwrap_or_default(),
        priority: raw.priority,
        issue_type: text(&raw.issue_type),
        metadata: raw.metadata.clone(),
        labels: raw.labels.iter().map(|label| label.value.clone()).collect(),
        estimate_minutes: raw.estimate_minutes,
        blocking_notes: text(&raw.blocking_notes),
        parent: text(&raw.parent),
        depends_on: raw.depends_on.iter().map(|key| key.value.clone()).collect(),
        place: raw.place.clone(),
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
