//! `runner plan`: what a scenario would do, and what it may come to, before anything is spent.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::path::PathBuf;

use clap::Args;

use super::arguments::{CommonArguments, ReadArguments};
use super::check::add_provider_findings;
use super::exit::Exit;
use super::launch;
use super::refusal::{Granted, Refusal};
use super::surroundings::{Surroundings, tell};
use crate::forecast::{
    Figure, Forecast, Known, Most, PhaseForecast, Quantity, Seats, SubAgents, Times, Worst, forecast,
};
use crate::id::{PhaseId, RoleId};
use crate::plan::{PhaseTurn, Plan, Variables};
use crate::price::Usd;
use crate::session::Voice;
use crate::source::Sources;

#[derive(Debug, Clone, Args)]
pub(super) struct PlanArguments {
    /// The scenario file (.yaml, .yml, .toml or .json)
    file: PathBuf,
    #[command(flatten)]
    read: ReadArguments,
    /// Print the plan as one JSON object
    #[arg(long)]
    json: bool,
}

/// A scenario without errors, as a run would read it.
pub(super) struct Checked {
    pub(super) plan: Plan,
    variables: Variables,
}

/// Reads a scenario as `runner check` does, and tells what is wrong with it.
pub(super) fn checked(common: &CommonArguments, surroundings: &Surroundings) -> Granted<Checked> {
    let mut loaded = launch::read(common, surroundings, Sources::new())?;
    add_provider_findings(&mut loaded, surroundings);
    launch::show(&loaded.report, &loaded.sources, surroundings, common.json && loaded.report.has_errors());
    if !common.json {
        tell(&loaded.report.pointer());
    }
    match loaded.plan {
        Some(plan) if !loaded.report.has_errors() => Ok(Checked { plan, variables: loaded.variables }),
        _ => Err(Refusal { exit: launch::exit_of(&loaded.report), text: String::new() }),
    }
}

/// `runner plan FILE`.
pub(super) fn plan(arguments: &PlanArguments, surroundings: &Surroundings) -> Exit {
    match told(arguments, surroundings) {
        Ok(text) => {
            surroundings.print(&text);
            Exit::Ok
        }
        Err(refusal) => refusal.complain(),
    }
}

fn told(arguments: &PlanArguments, surroundings: &Surroundings) -> Granted<String> {
    let common = CommonArguments { json: arguments.json, ..arguments.read.common(&arguments.file) };
    let Checked { plan, variables } = checked(&common, surroundings)?;
    let voices: BTreeMap<RoleId, Voice> = plan
        .roles
        .values()
        .map(|role| Ok((role.id.clone(), surroundings.registry.voice(role, &variables)?)))
        .collect::<Result<_, crate::session::CastError>>()
        .map_err(Refusal::invalid)?;
    let forecast = forecast(&plan, &voices);
    Ok(if arguments.json {
        let json = serde_json::to_string(&forecast).expect("a forecast holds only plain data");
        format!("{json}\n")
    } else {
        text(&plan, &forecast)
    })
}

/// What it says under all figures.
const MEANING: &str = "Each figure is a bound: every prompt takes all its turns, each with as long a request and reply as it \
may\nhave. Attempts that fail and are paid all the same come on top; limits count them too.\n";

fn text(plan: &Plan, forecast: &Forecast) -> String {
    let mut text = plan.name.clone();
    if !plan.description.is_empty() {
        let _ = write!(text, ": {}", plan.description.trim());
    }
    text.push_str("\n\n");
    for phase in &forecast.phases {
        write_phase(&mut text, phase, 0);
    }
    let _ = writeln!(text, "\nall phases: {}", worst(&forecast.worst));
    if let Some(timeout) = plan.limits.timeout {
        let _ = writeln!(text, "the run takes {timeout:?} at most (limits.timeout)");
    }
    text.push_str(MEANING);
    text
}

fn write_phase(text: &mut String, phase: &PhaseForecast, depth: usize) {
    let indent = "  ".repeat(depth);
    let _ = writeln!(text, "{indent}{}. {}: {}", phase.step, phase.id, about(phase));
    let indent = format!("{indent}   ");
    for seats in &phase.sessions {
        let _ = writeln!(text, "{indent}{}", seated(seats));
    }
    let speaks = !phase.sessions.is_empty() || phase.worst != Worst::nothing();
    if speaks {
        let _ = writeln!(text, "{indent}{}", worst(&phase.worst));
    }
    for inner in &phase.phases {
        write_phase(text, inner, depth + 1);
    }
}

/// What a phase does, and when.
fn about(phase: &PhaseForecast) -> String {
    let mut parts = vec![phase.kind.to_owned()];
    if phase.turn == PhaseTurn::Finally {
        parts.push("at the end, whatever happened".to_owned());
    } else if !phase.needs.is_empty() {
        parts.push(format!("after {}", list(&phase.needs)));
    }
    if !phase.beside.is_empty() {
        parts.push(format!("beside {}", list(&phase.beside)));
    }
    parts.extend(phase.watches.as_ref().map(|watched| format!("watches {watched}")));
    parts.extend(phase.items.map(|items| format!("for {}", times(items, "item"))));
    parts.extend(phase.rounds.map(|rounds| times(rounds, "round")));
    if phase.tries > 1 {
        parts.push(format!("tried up to {} times", phase.tries));
    }
    parts.extend(phase.when.as_ref().map(|when| format!("when {}", one_line(when))));
    parts.join(", ")
}

fn times(times: Times, what: &str) -> String {
    match times.known {
        Known::Now => counted(times.most, what),
        Known::AtRun => format!("up to {}", counted(times.most, what)),
    }
}

fn seated(seats: &Seats) -> String {
    let turns = match (seats.turns_per_prompt, seats.sub_agents) {
        (Most::Known(turns), _) => counted(turns, "turn"),
        (_, SubAgents::Any) => "as many turns as its sub-agents take".to_owned(),
        _ => "unbounded turns".to_owned(),
    };
    let Seats { role, models, sessions, prompts, .. } = seats;
    format!(
        "{role} ({}): {}, at most {} of {turns}",
        models.join(", else "),
        counted(*sessions, "session"),
        counted(*prompts, "prompt")
    )
}

/// The figures; what holds all of them is named once.
fn worst(worst: &Worst) -> String {
    let Worst { turns, tokens, usd } = worst;
    let are_known =
        matches!((turns.most, tokens.most, usd.most), (Most::Known(_), Most::Known(_), Most::Known(_)));
    let are_held_alike =
        !turns.held_by.is_empty() && turns.held_by == tokens.held_by && turns.held_by == usd.held_by;
    let shown = |most: Option<String>, unknown: &str, held_by: &[String]| {
        let mut text = match most {
            Some(most) if are_known => most,
            Some(most) => format!("at most {most}"),
            None => unknown.to_owned(),
        };
        if !held_by.is_empty() && !are_held_alike {
            let _ = write!(text, " ({})", held_by.join(", "));
        }
        text
    };
    let figures = [
        shown(known(turns).map(|turns| counted(turns, "turn")), "unbounded turns", &turns.held_by),
        shown(known(tokens).map(|tokens| counted(tokens, "token")), "unbounded tokens", &tokens.held_by),
        shown(known(usd).map(|usd| usd.to_string()), unknown_cost(usd), &usd.held_by),
    ];
    let figures = figures.join(", ");
    let figures = if are_known { format!("at most {figures}") } else { figures };
    if are_held_alike { format!("{figures}, held by {}", turns.held_by.join(", ")) } else { figures }
}

fn known<T: Quantity>(figure: &Figure<T>) -> Option<T> {
    match figure.most {
        Most::Known(most) => Some(most),
        Most::Unpriced | Most::Unbounded => None,
    }
}

fn unknown_cost(usd: &Figure<Usd>) -> &'static str {
    if usd.most == Most::Unpriced { "unpriced" } else { "unbounded dollars" }
}

fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number with a comma before every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn list(ids: &[PhaseId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn one_line(text: impl Display) -> String {
    text.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_from_the_right() {
        let shown: Vec<String> = [0, 12, 999, 1_000, 123_456, 1_234_567].map(grouped).to_vec();
        assert_eq!(shown, ["0", "12", "999", "1,000", "123,456", "1,234,567"]);
    }
}
