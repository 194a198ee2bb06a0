//! How a run that is ready is played, from its first event to its last.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::FailOn;
use super::assembly::{Place, Ready, Resumed};
use super::exit::Exit;
use super::launch::{self, Scenario};
use super::outcome;
use super::refusal::{Granted, Refusal};
use super::signals::Signals;
use crate::effects::Effects;
use crate::engine::{self, RunEnd, TakeUp, TakenUp};
use crate::event::{Evidence, Happening, Mode, RecordingHead, Whereabouts};
use crate::id::RunId;
use crate::journal::{Durability, JournalError, Line, RunFolder};
use crate::plan::Plan;
use crate::store::IssueStore;

/// A run that is over.
pub(super) struct Played {
    pub(super) end: RunEnd,
    pub(super) exit: Exit,
    /// Why its journal is incomplete, if it is.
    pub(super) lost: Option<JournalError>,
    pub(super) run: RunId,
    pub(super) folder: RunFolder,
    pub(super) head: RecordingHead,
    pub(super) record: Option<PathBuf>,
    pub(super) mode: Mode,
    pub(super) workspace: engine::Workspace,
    pub(super) store: Arc<dyn IssueStore>,
    pub(super) effects: Effects,
}

/// Plays a run; `signals` are those that may stop it. A new run that does not begin leaves no folder.
pub(super) async fn play(
    ready: Ready,
    scenario: &Scenario,
    fail_on: FailOn,
    signals: Option<Signals>,
) -> Granted<Played> {
    let begun = match &ready.resumed {
        None => begin(&ready, scenario).await,
        Some(resumed) => go_on(&ready, resumed, scenario).await,
    };
    if let Err(refusal) = begun {
        if ready.resumed.is_none() {
            ready.folder.discard();
        }
        return Err(refusal);
    }
    let Ready { setup, journal, folder, head, record, mode, workspace, servers, .. } = ready;
    let (stage, run, store) = (setup.stage.clone(), setup.run.clone(), setup.store.clone());
    let running = engine::run(setup);
    let (end, signal) = match signals {
        Some(signals) => signals.around(running).await,
        None => (running.await, None),
    };
    if let Some(servers) = servers {
        servers.end().await;
    }
    // A run that cannot be looked at afterwards is not a good one, and is not announced as one.
    let lost = journal.sync().await.err();
    let failed = |lost: &Option<JournalError>, exit| match exit {
        Exit::Ok if lost.is_some() => Exit::Failed,
        exit => exit,
    };
    let exit = failed(&lost, outcome::exit(&end, signal, fail_on));
    let finished = Happening::RunFinished {
        outcome: exit.name().to_owned(),
        exit_code: exit.code(),
        folder: Some(launch::shown(folder.path(), &scenario.plan.root)),
        unfit: outcome::unfit_for_recording(&end).filter(|_| mode == Mode::Live).map(str::to_owned),
    };
    stage.hub.tell(stage.effects.now(), &Whereabouts::default(), finished);
    let lost = lost.or(journal.close().err());
    let exit = failed(&lost, exit);
    let effects = stage.effects.clone();
    Ok(Played { end, exit, lost, run, folder, head, record, mode, workspace, store, effects })
}

fn shown_workspace(workspace: &engine::Workspace, scenario: &Scenario) -> String {
    launch::shown(workspace.path(), &scenario.plan.root)
}

/// A recording begins where its replay will: with an empty queue, and with no files if anybody may read them. Why this
/// run does not begin so, if it does not; a run that is to be recorded is refused then.
async fn check_beginning(ready: &Ready) -> Granted<Option<String>> {
    let found = engine::begin(&ready.setup).await.map_err(Refusal::configuration)?;
    if ready.mode == Mode::Replay {
        return Ok(None);
    }
    let (what, found, end) = if found > 0 {
        ("queue", format!("{found} issues"), "")
    } else if ready.workspace.beginning() == engine::Beginning::Filled && reads_files(&ready.setup.plan) {
        ("workspace", "files".to_owned(), " in it")
    } else {
        return Ok(None);
    };
    if ready.record.is_none() {
        return Ok(Some(format!(
            "it began with {found} in its {what}, and a replay begins with an empty one"
        )));
    }
    Err(begins_filled(what, ready.workspace.path(), &format!("{found}{end}")))
}

/// Whether sessions see what files are in the workspace.
pub(super) fn reads_files(plan: &Plan) -> bool {
    let plans = plan.roles.values().flat_map(|role| role.mount_plan.and_agents());
    plans
        .flat_map(|plan| &plan.tools)
        .any(|tool| matches!(tool.module.as_str(), "tool-filesystem" | "tool-bash"))
}

/// The refusal of a recording that would not begin where its replay will.
pub(super) fn begins_filled(what: &str, folder: &Path, found: &str) -> Refusal {
    let folder = folder.display();
    Refusal::configuration(format!(
        "a recording must begin with an empty {what}, as its replay does, but {folder} has {found}; use `workspace: {{path: …, fresh: true}}` or another folder with --workspace"
    ))
}

/// Begins a new run: nothing is wrong with it any more, and people are told.
async fn begin(ready: &Ready, scenario: &Scenario) -> Granted<()> {
    let unfit = check_beginning(ready).await?;
    announce(ready)?;
    tell_all(ready, started(ready, scenario, (ready.mode, evidence(ready)), unfit));
    Ok(())
}

/// How a new run begins.
pub(super) fn started(
    ready: &Ready,
    scenario: &Scenario,
    (mode, evidence): (Mode, Option<Evidence>),
    unfit: Option<String>,
) -> Happening {
    let plan = &scenario.plan;
    let sessions: usize = plan.every_phase().map(|phase| phase.sessions().len()).sum();
    Happening::RunStarted {
        run: ready.setup.run.clone(),
        scenario: plan.name.clone(),
        description: plan.description.clone(),
        mode,
        evidence,
        workspace: shown_workspace(&ready.workspace, scenario),
        sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
        unfit,
    }
}

/// Effects that are named where a run leaves another; many sessions may do so at once.
const FORKS_SHOWN: usize = 5;

/// Takes a run up where it was left.
async fn go_on(ready: &Ready, resumed: &Resumed, scenario: &Scenario) -> Granted<()> {
    let (plan, setup) = (&scenario.plan, &ready.setup);
    let at = setup.stage.effects.now();
    let began = ready.head.epoch;
    let taken = TakeUp {
        run: &setup.run,
        record: &resumed.record,
        queue: &plan.queue,
        scrubber: setup.stage.effects.scrubber(),
        began,
        now: at,
    };
    let taken = engine::take_up(&setup.store, taken).await.map_err(Refusal::configuration)?;
    let TakenUp { held_again, last_seq, untold } = taken;
    setup.stage.effects.number_after(last_seq);
    if let Some((fork, changes)) = &resumed.fork {
        announce(ready)?;
        let event = Happening::RunForked {
            run: setup.run.clone(),
            scenario: plan.name.clone(),
            of: fork.of.clone(),
            at: fork.at.iter().take(FORKS_SHOWN).cloned().collect(),
            changes: changes.clone(),
            evidence: evidence(ready),
            workspace: shown_workspace(&ready.workspace, scenario),
            effects: fork.effects,
        };
        tell_all(ready, event);
        return Ok(());
    }
    let line = Line::Resumed { at, undone: resumed.undone.clone() };
    let written = match ready.journal.append(&line, Durability::Synced) {
        Ok(written) => written.await,
        Err(error) => Err(error),
    };
    written.map_err(Refusal::configuration)?;
    announce(ready)?;
    let event = Happening::RunResumed {
        run: setup.run.clone(),
        scenario: plan.name.clone(),
        evidence: evidence(ready),
        workspace: shown_workspace(&ready.workspace, scenario),
        effects: resumed.record.effects.len() as u64,
        undone: resumed.undone.len() as u64,
        held_again,
    };
    tell_all(ready, event);
    let stage = &setup.stage;
    for event in untold {
        stage.hub.tell(at, &Whereabouts::default(), event);
    }
    Ok(())
}

fn announce(ready: &Ready) -> Granted<()> {
    match ready.place {
        Place::Scenario => ready.folder.announce().map_err(Refusal::configuration),
        Place::OwnFolder => Ok(()),
    }
}

/// What made the replies, when it was no model just now.
fn evidence(ready: &Ready) -> Option<Evidence> {
    match (ready.mode, ready.head.evidence) {
        (Mode::Live, Evidence::Recorded) => None,
        (_, evidence) => Some(evidence),
    }
}

fn tell_all(ready: &Ready, beginning: Happening) {
    let stage = &ready.setup.stage;
    let tell = |event| stage.hub.tell(stage.effects.now(), &Whereabouts::default(), event);
    tell(beginning);
    ready.notices.iter().for_each(|text| tell(Happening::Notice { text: text.clone() }));
}
