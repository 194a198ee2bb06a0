//! `runner approve RUN [PHASE]`, `runner reject RUN [PHASE]`: the answer of a person to a phase that waits for one.

use std::collections::{BTreeMap, BTreeSet};

use super::arguments::ApproveArguments;
use super::exit::Exit;
use super::find_run;
use super::people::{Written, write_down, written};
use super::refusal::{Granted, Refusal};
use super::surroundings::Surroundings;
use crate::event::{Decision, EffectId, Happening};
use crate::id::PhaseId;
use crate::journal::{self, Manifest, Record};

/// Writes the answer down where the run finds it.
pub(super) fn answer(decision: Decision, arguments: &ApproveArguments, surroundings: &Surroundings) -> Exit {
    match write(decision, arguments, surroundings) {
        Ok(text) => {
            surroundings.print(&text);
            Exit::Ok
        }
        Err(refusal) => refusal.complain(),
    }
}

fn write(decision: Decision, arguments: &ApproveArguments, surroundings: &Surroundings) -> Granted<String> {
    let runs = find_run::runs_folder(&surroundings.working_dir).map_err(Refusal::invalid)?;
    let folder = find_run::find(&runs, arguments.run.as_deref()).map_err(Refusal::invalid)?;
    let manifest = Manifest::read(&folder).map_err(Refusal::configuration)?;
    let lines = journal::read(&folder.join("journal.jsonl")).map_err(Refusal::configuration)?;
    let record = Record::of(lines);
    let waiting = waiting(&record);
    let run = &manifest.run;
    let names = || waiting.iter().map(|(phase, _)| phase.to_string()).collect::<Vec<_>>().join(", ");
    let phase = match (&arguments.phase, waiting.as_slice()) {
        (_, []) => {
            return Err(Refusal::invalid(format!("no phase of run {run} waits for an answer")));
        }
        (None, [(only, _)]) => only.clone(),
        (None, _) => {
            return Err(Refusal::invalid(format!(
                "several phases of run {run} wait; name one of {}",
                names()
            )));
        }
        (Some(name), _) => match waiting.iter().find(|(phase, _)| phase.as_str() == name) {
            Some((phase, _)) => phase.clone(),
            None => {
                let text = format!(
                    "phase `{name}` of run {run} does not wait for an answer; there waits {}",
                    names()
                );
                return Err(Refusal::invalid(text));
            }
        },
    };
    if let Some(given) = written(&folder, &phase) {
        let word = given.answer.as_str();
        return Err(Refusal::invalid(format!(
            "{phase} has its answer already: {word} by {}; go on with it: runner resume {run}",
            given.by
        )));
    }
    let user = surroundings.variables.get("USER").filter(|user| !user.is_empty());
    let by = arguments.by.clone().or_else(|| user.cloned()).unwrap_or_else(|| "somebody".to_owned());
    let written = Written { answer: decision, by, note: arguments.note.clone().unwrap_or_default() };
    write_down(&folder, &phase, &written).map_err(|error| {
        Refusal::configuration(format!("cannot write into {}: {error}", folder.display()))
    })?;
    let word = match decision {
        Decision::Yes => "approved",
        Decision::No => "rejected",
    };
    let ended = record.outcome().is_some();
    let next = if ended { format!("; go on with it: runner resume {run}") } else { String::new() };
    Ok(format!("{phase} is {word}{next}\n"))
}

/// The phases that have asked and have no answer, with what they ask. One whose answer did not stand when the run went on asks
/// again, even where that was not told once more.
pub(super) fn waiting(record: &Record) -> Vec<(PhaseId, String)> {
    let stands = |phase: &PhaseId| {
        let answer = EffectId::engine(phase, "answer", 1);
        record.effects.iter().any(|effect| effect.id == answer)
    };
    let mut asked: BTreeMap<PhaseId, String> = BTreeMap::new();
    let mut waiting: BTreeSet<PhaseId> = BTreeSet::new();
    for event in &record.events {
        match (&event.phase, &event.event) {
            (Some(phase), Happening::ApprovalAsked { message }) => {
                asked.insert(phase.clone(), message.clone());
                waiting.insert(phase.clone());
            }
            (Some(phase), Happening::ApprovalGiven { .. } | Happening::PhaseEnded { .. }) => {
                waiting.remove(phase);
            }
            (None, Happening::RunResumed { .. }) => {
                waiting.extend(asked.keys().filter(|phase| !stands(phase)).cloned());
            }
            _ => {}
        }
    }
    // Which of several asked first is chance.
    asked.retain(|phase, _| waiting.contains(phase) && !stands(phase));
    asked.into_iter().collect()
}
