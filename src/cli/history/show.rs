//! `runner show RUN`: what a run came to, and what can be done with it.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use super::{Found, Glance, State, moment, refused, which};
use crate::cli::exit::Exit;
use crate::cli::launch::shown;
use crate::cli::surroundings::{Surroundings, tell};
use crate::event::{Envelope, Happening, Mode, PhaseEnd};
use crate::journal::{self, Line};

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ShowArguments {
    /// The run: its id, the beginning or end of it, or `latest`
    run: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `runner show RUN`.
pub(in crate::cli) fn show(arguments: &ShowArguments, surroundings: &Surroundings) -> Exit {
    let found = match which(surroundings, arguments.run.as_deref()) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let reading = match journal::read_whole(&found.journal()) {
        Ok(reading) => reading,
        Err(error) => return refused(Exit::Failed, &error),
    };
    let event = |line| match line {
        Line::Event { event } => Some(event),
        _ => None,
    };
    let events: Vec<Envelope> = reading.lines.into_iter().filter_map(event).collect();
    let glance = Glance::of(&found, &events);
    let reasons = reasons(&events);
    let next = next(&found, &glance);
    if arguments.json {
        surroundings.print(&format!("{}\n", to_json(&found, &glance, &reasons, &next)));
    } else {
        surroundings.print(&page(&found, &glance, &reasons, &next));
    }
    if reading.torn && glance.state != State::Running {
        tell("note: the journal ends within a line, as a killed process leaves it; that line is left out\n");
    }
    if reading.foreign > 0 {
        tell(&format!("note: {} events of a newer version are left out\n", reading.foreign));
    }
    Exit::Ok
}

/// What went wrong: the reasons of phases, and expectations that are false, since the run was last taken up.
fn reasons(events: &[Envelope]) -> Vec<String> {
    let begins = |event: &Envelope| {
        matches!(
            event.event,
            Happening::RunStarted { .. } | Happening::RunResumed { .. } | Happening::RunForked { .. }
        )
    };
    let from = events.iter().rposition(begins).unwrap_or(0);
    let mut reasons = Vec::new();
    for event in &events[from..] {
        match (&event.event, &event.phase) {
            (Happening::PhaseEnded { end, reasons: why }, Some(phase)) if *end != PhaseEnd::Completed => {
                let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
                reasons.push(format!("phase {phase} {}{why}", end.as_str()));
            }
            (Happening::ExpectChecked { condition, holds: false }, _) => {
                reasons.push(format!("expected {condition}: is false"));
            }
            _ => {}
        }
    }
    reasons
}

/// Commands that go on from here.
fn next(found: &Found, glance: &Glance) -> Vec<String> {
    let run = &glance.manifest.run;
    let mut next = Vec::new();
    if glance.state == State::Running {
        next.push(format!("runner logs {run} --follow"));
        return next;
    }
    if glance.may_go_on() {
        next.push(format!("runner resume {run}"));
    }
    let cassette = glance.manifest.plan.pointer("/replay/cassette").and_then(Value::as_str);
    if let Some(folder) = cassette
        && found.root().join(folder).is_dir()
    {
        next.push(format!("runner replay {}", glance.manifest.scenario.display()));
    }
    next.push(format!("runner logs {run}"));
    let is_whole = matches!(glance.state, State::Ended(..)) && glance.manifest.mode == Mode::Live;
    if is_whole && glance.unfit.is_none() && !glance.may_go_on() {
        next.push(format!("runner cassette save {run}"));
    }
    next
}

fn page(found: &Found, glance: &Glance, reasons: &[String], next: &[String]) -> String {
    let manifest = &glance.manifest;
    let state = match &glance.state {
        State::Ended(name, code) => format!("{name} (exit {code})"),
        State::Running => "running".to_owned(),
        State::Killed => "killed: its process ended without saying how".to_owned(),
    };
    let models: Vec<String> =
        manifest.models.iter().map(|(role, model)| format!("{role}: {model}")).collect();
    let mut facts = vec![
        ("run", manifest.run.to_string()),
        ("scenario", format!("{} ({})", glance.scenario(), manifest.scenario.display())),
        ("when", format!("{}, {:.1} s", moment(glance.when()), glance.seconds)),
        ("evidence", glance.evidence().to_owned()),
        ("outcome", state),
        ("workspace", shown(&manifest.workspace, found.root())),
        ("folder", shown(&found.folder, found.root())),
    ];
    if !models.is_empty() {
        facts.insert(4, ("models", models.join(", ")));
    }
    let mut out = String::new();
    for (name, fact) in facts {
        let _ = writeln!(out, "{name:<9}  {fact}");
    }
    for reason in reasons {
        let _ = writeln!(out, "{:<9}  {reason}", "why");
    }
    let tables = glance.summary.render();
    if !tables.is_empty() {
        let _ = write!(out, "\n{tables}");
    }
    if !next.is_empty() {
        let _ = write!(out, "\nnext:\n");
    }
    for command in next {
        let _ = writeln!(out, "  {command}");
    }
    out
}

fn to_json(found: &Found, glance: &Glance, reasons: &[String], next: &[String]) -> Value {
    let mut object = glance.to_json();
    let more = json!({
        "workspace": glance.manifest.workspace, "folder": found.folder, "models": glance.manifest.models,
        "seed": glance.manifest.seed, "runner": glance.manifest.runner, "reasons": reasons, "next": next,
    });
    for part in [more, glance.summary.to_json()] {
        if let (Some(object), Value::Object(part)) = (object.as_object_mut(), part) {
            object.extend(part);
        }
    }
    object
}
