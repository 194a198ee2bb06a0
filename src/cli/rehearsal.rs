//! `--dry-run`: what a run would do, told without doing it. Nothing is made, and nobody is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::arguments::CommonArguments;
use super::assembly::{check_parts, invalid, modules_in};
use super::exit::Exit;
use super::launch::{self, Play, Scenario, shown};
use super::outside;
use super::play::{begins_filled, reads_files};
use super::refusal::{Granted, Refusal};
use super::secrets::{scrubber, secret_inputs};
use super::surroundings::{Surroundings, tell};
use crate::engine::{Workspace, WorkspaceState};
use crate::event::{Evidence, Mode};
use crate::http::Nobody;
use crate::id::{RoleId, SessionName};
use crate::plan::{Isolation, Items, LimitsPlan, PhaseKind, PhasePlan, PhaseTurn, WorkspaceStart};
use crate::session::{Lines, Modules};
use crate::template::Templates;
use crate::tool::workspace::Workspace as ToolWorkspace;

/// What a run would do.
struct Rehearsal<'a> {
    scenario: &'a Scenario,
    play: &'a Play,
    /// `provider-…/model` by role, of the roles that some session plays.
    models: BTreeMap<RoleId, String>,
    servers: BTreeSet<String>,
    workspace: Option<WorkspaceState>,
    /// What kept it from its first phase.
    obstacles: Vec<Refusal>,
}

/// What a scenario that nobody runs is put together from.
struct Unused {
    models: BTreeMap<RoleId, String>,
    servers: BTreeSet<String>,
}

/// Puts the parts together without making anything or asking anybody.
fn unused(scenario: &Scenario) -> Granted<Unused> {
    let plan = &scenario.plan;
    Templates::new(&plan.prompts).map_err(|errors| invalid(&errors))?;
    let root = ToolWorkspace::open(&plan.root, scrubber(scenario)).map_err(Refusal::configuration)?;
    let modules = modules_in(scenario, root, Lines::Http(Arc::new(Nobody)));
    let models = check_parts(&modules, plan)?.models;
    let servers = outside::wanted(&modules, plan).map_err(Refusal::invalid)?;
    let servers = servers.into_values().flatten().map(|server| server.name).collect();
    Ok(Unused { models, servers })
}

/// Tells what a run would do. The exit code is the one with which it would not begin, else that of success.
pub(super) fn rehearse(
    scenario: &Scenario,
    play: &Play,
    surroundings: &Surroundings,
    common: &CommonArguments,
) -> Exit {
    let rehearsal = Rehearsal::of(scenario, play);
    let exits = rehearsal.obstacles.iter().map(|obstacle| obstacle.exit);
    let exit = exits.min_by_key(|exit| exit.code()).unwrap_or(Exit::Ok);
    if common.json {
        surroundings.print(&format!("{}\n", rehearsal.to_json(exit)));
    } else {
        surroundings.print(&rehearsal.to_text());
    }
    rehearsal.obstacles.iter().for_each(|obstacle| tell(&obstacle.text));
    if exit == Exit::Ok { exit } else { exit.tell() }
}

impl<'a> Rehearsal<'a> {
    fn of(scenario: &'a Scenario, play: &'a Play) -> Self {
        let mut obstacles = Vec::new();
        let mode = if matches!(play, Play::Replay(_)) { Mode::Replay } else { Mode::Live };
        if matches!(play, Play::Live { .. }) {
            obstacles.extend(launch::require_credentials(scenario).err());
        }
        obstacles.extend(secret_inputs(scenario, mode).err());
        let plan = &scenario.plan;
        let (mut models, mut servers) = (BTreeMap::new(), BTreeSet::new());
        match unused(scenario) {
            Ok(unused) => {
                let used: BTreeSet<RoleId> = sessions(plan.every_phase()).map(|(_, role)| role).collect();
                models = unused.models;
                models.retain(|role, _| used.contains(role));
                if mode == Mode::Live {
                    servers = unused.servers;
                    obstacles.extend(Modules::without_sandbox(plan).err().map(Refusal::configuration));
                }
            }
            Err(refusal) => obstacles.push(refusal),
        }
        // A replay of a workspace that is kept has one of its own.
        let is_own = mode == Mode::Replay && plan.workspace.start == WorkspaceStart::Keep;
        let looked = (!is_own).then(|| Workspace::look(&plan.workspace.path, plan.workspace.start));
        let workspace = match looked.transpose() {
            Ok(state) => state,
            Err(error) => {
                obstacles.push(Refusal::configuration(error));
                None
            }
        };
        if mode == Mode::Live && plan.workspace.isolation == Isolation::PerWorker {
            let checked = Workspace::check_no_workers_left(&plan.workspace.path, plan.workspace.start);
            obstacles.extend(checked.err().map(Refusal::configuration));
        }
        let mut rehearsal = Self { scenario, play, models, servers, workspace, obstacles };
        if rehearsal.replies().1.is_some() && workspace == Some(WorkspaceState::Filled) && reads_files(plan) {
            let refusal = begins_filled("workspace", &plan.workspace.path, "files in it");
            rehearsal.obstacles.push(refusal);
        }
        rehearsal
    }

    fn shown(&self, path: &Path) -> String {
        shown(path, &self.scenario.plan.root)
    }

    /// Where the replies come from, and where a recording of them goes.
    fn replies(&self) -> (&'static str, Option<&Path>) {
        match self.play {
            Play::Live { record } => ("models", record.as_deref()),
            Play::Scripted { record, .. } => ("a script", Some(record)),
            Play::Explored { .. } => ("a script", None),
            Play::Replay(replay) => match replay.recording.head.evidence {
                Evidence::Recorded => ("a recording", None),
                Evidence::Rebased => ("a rebased recording", None),
                Evidence::Scripted => ("a scripted recording", None),
            },
            Play::Resume(_) => ("its journal", None),
        }
    }

    fn workspace(&self) -> &'static str {
        match (self.workspace, self.obstacles.is_empty()) {
            (Some(WorkspaceState::Absent), _) => "would be made",
            (Some(WorkspaceState::Emptied), _) => "would be emptied",
            (Some(WorkspaceState::Empty), _) => "is empty",
            (Some(WorkspaceState::Filled), _) => "is used as it is, with the files in it",
            (None, true) => "stays as it is: a replay would work in a folder of its own",
            (None, false) => "cannot be used",
        }
    }

    fn to_text(&self) -> String {
        let plan = &self.scenario.plan;
        let (replies, record) = self.replies();
        let mut text = format!("{}: nothing is done\nreplies: would come from {replies}\n", plan.name);
        text += &format!("workspace: {} {}\n", self.shown(&plan.workspace.path), self.workspace());
        if let Some(folder) = record {
            text += &format!("recording: would be kept at {}\n", self.shown(folder));
        }
        if !self.servers.is_empty() {
            let names: Vec<&str> = self.servers.iter().map(String::as_str).collect();
            text += &format!("MCP servers: would be reached or started: {}\n", names.join(", "));
        }
        let limits = limits(&plan.limits);
        if !limits.is_empty() {
            text += &format!("limits: {}\n", limits.join(", "));
        }
        text += "models:\n";
        let width = self.models.keys().map(|role| role.as_str().len()).max().unwrap_or_default();
        for (role, model) in &self.models {
            text += &format!("  {:<width$}  {model}\n", role.as_str());
        }
        text += "phases:\n";
        let width = plan.every_phase().map(|phase| phase.id.as_str().len()).max().unwrap_or_default() + 2;
        for phase in &plan.phases {
            tell_phase(phase, (1, width), &mut text);
        }
        text
    }

    fn to_json(&self, exit: Exit) -> Value {
        let plan = &self.scenario.plan;
        let (replies, record) = self.replies();
        let registry = &self.scenario.registry;
        let missing = match self.play {
            Play::Live { .. } => registry.missing_credentials(plan, &self.scenario.variables),
            _ => BTreeMap::new(),
        };
        json!({
            "dry_run": true,
            "scenario": plan.name,
            "replies": replies,
            "recording": record.map(|folder| self.shown(folder)),
            "workspace": { "path": self.shown(&plan.workspace.path), "state": self.workspace() },
            "mcp_servers": self.servers,
            "limits": limits(&plan.limits),
            "models": self.models,
            "missing_credentials": missing,
            "phases": plan.phases.iter().map(phase_json).collect::<Vec<_>>(),
            "exit_code": exit.code(),
        })
    }
}

fn sessions<'p>(phases: impl Iterator<Item = &'p PhasePlan>) -> impl Iterator<Item = (SessionName, RoleId)> {
    phases.flat_map(PhasePlan::sessions)
}

/// What a run may spend and do, in words.
fn limits(limits: &LimitsPlan) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(limits.max_usd.map(|most| format!("${}", most.dollars())));
    words.extend(limits.max_tokens.map(|most| format!("{most} tokens")));
    words.extend(limits.max_turns.map(|most| format!("{most} model calls")));
    words.extend(limits.timeout.map(|most| format!("{most:?}")));
    words.extend(limits.max_sessions.map(|most| format!("{most} sessions at once")));
    words
}

/// A line for a phase and for each within it.
fn tell_phase(phase: &PhasePlan, (depth, width): (usize, usize), text: &mut String) {
    let indent = "  ".repeat(depth);
    let mut words = details(phase);
    words.extend(circumstances(phase));
    let width = width.saturating_sub(2 * (depth - 1));
    let line =
        format!("{indent}{:<width$}{:<10}{}", phase.id.as_str(), phase.kind.as_str(), words.join(", "));
    *text += &format!("{}\n", line.trim_end());
    for inner in phase.inner() {
        tell_phase(inner, (depth + 1, width), text);
    }
}

/// Its sessions, or what it does without any.
fn details(phase: &PhasePlan) -> Vec<String> {
    match &phase.kind {
        PhaseKind::Session(session) => vec![session.role.to_string()],
        PhaseKind::Workers(workers) => {
            let entry = |role: &RoleId, count: u32| match count {
                1 => role.to_string(),
                _ => format!("{role} ×{count}"),
            };
            let mut words: Vec<String> =
                workers.pool.iter().map(|pool| entry(&pool.role, pool.count)).collect();
            words.push(format!("at most {} iterations each", workers.max_iterations));
            words
        }
        PhaseKind::Monitor(monitor) => {
            let (role, watches, most) = (&monitor.role, &monitor.watches, monitor.max_checks);
            vec![role.to_string(), format!("watches {watches}"), format!("at most {most} checks")]
        }
        PhaseKind::Issues(issues) => {
            let mut words = Vec::new();
            words.extend((!issues.create.is_empty()).then(|| format!("{} issues", issues.create.len())));
            words.extend(issues.from.as_ref().map(|file| format!("those of {}", file.name)));
            words
        }
        PhaseKind::Approval(_) => vec!["asks a person".to_owned()],
        PhaseKind::Repeat(repeat) => vec![format!("at most {} rounds", repeat.max)],
        PhaseKind::Shell(_) | PhaseKind::Include(_) => Vec::new(),
    }
}

/// Whether and how often it is done.
fn circumstances(phase: &PhasePlan) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(phase.for_each.as_ref().map(|each| match &each.items {
        Items::Written(items) => format!("once for each of {} items", items.len()),
        Items::Computed(items) => format!("once for each of `{}`", items.text),
    }));
    words.extend(phase.when.as_ref().map(|when| format!("if `{}`", when.text)));
    if phase.turn == PhaseTurn::Finally {
        words.push("at the end, whatever happened".to_owned());
    }
    words
}

fn phase_json(phase: &PhasePlan) -> Value {
    let sessions = phase.sessions();
    json!({
        "id": phase.id,
        "kind": phase.kind.as_str(),
        "sessions": sessions
            .iter()
            .map(|(name, role)| json!({ "name": name, "role": role }))
            .collect::<Vec<_>>(),
        "notes": circumstances(phase),
        "phases": phase.inner().iter().map(phase_json).collect::<Vec<_>>(),
    })
}
