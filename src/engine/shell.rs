//! A phase of one command in the workspace, and the commands before the first and after the last phase.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::scope::Scope;
use super::{Company, PhaseOutcome, PhaseScope};
use crate::effects::{Busy, Halt};
use crate::event::{EffectId, Happening, Whereabouts};
use crate::plan::{Capture, ShellPlan};
use crate::session::{CommandAsked, CommandEnd, run_command};

/// Runs the command of a phase.
pub(super) async fn run(
    phase: &PhaseScope,
    plan: &ShellPlan,
    attempt: u32,
    busy: &Busy,
) -> Result<PhaseOutcome, Halt> {
    let mut outcome = PhaseOutcome::completed();
    let env = match environment(phase, plan, attempt, busy).await? {
        Ok(env) => env,
        Err(reason) => {
            outcome.fail(reason);
            return Ok(outcome);
        }
    };
    let asked = CommandAsked {
        id: EffectId::engine(phase.id(), "shell", attempt),
        place: Whereabouts::phase(phase.id()),
        command: plan.run.clone(),
        env,
        timeout: phase.plan().limits.timeout,
    };
    let end =
        run_command(&phase.company.stage, &phase.company.modules, &phase.stop.hard, busy, asked).await?;
    judge(plan, end, phase.plan().limits.timeout, &mut outcome);
    Ok(outcome)
}

/// The variables of a command, rendered.
async fn environment(
    phase: &PhaseScope,
    plan: &ShellPlan,
    attempt: u32,
    busy: &Busy,
) -> Result<Result<BTreeMap<String, String>, String>, Halt> {
    let company = &phase.company;
    let named = phase.surroundings.secrets.as_ref().unwrap_or(&company.plan.secrets);
    let mut secrets = BTreeMap::new();
    for (id, variable) in named {
        if let Some(value) = company.secrets.get(variable) {
            secrets.insert(id.clone(), value.expose().to_owned());
        }
    }
    let scope = Scope::of_phase(phase).with_secrets(&secrets);
    let mut env = BTreeMap::new();
    let first = (attempt - 1) * plan.env.len() as u32;
    for (number, (name, text)) in (first + 1..).zip(&plan.env) {
        let id = EffectId::engine(phase.id(), "env", number);
        match company.render_text(busy, id, text, &scope).await? {
            Ok(value) => {
                env.insert(name.clone(), value);
            }
            Err(error) => return Ok(Err(format!("variable {name}: {error}"))),
        }
    }
    Ok(Ok(env))
}

/// What the end of a command means for its phase.
fn judge(plan: &ShellPlan, end: CommandEnd, timeout: Option<Duration>, outcome: &mut PhaseOutcome) {
    let CommandEnd { stdout, stderr, exit_code, problem, timed_out } = end;
    outcome.facts.insert("exit_code".to_owned(), exit_code.map_or(Value::Null, Value::from));
    match plan.capture {
        Capture::Text => outcome.text = stdout.trim_end().to_owned(),
        Capture::Json | Capture::None => {}
    }
    if let Some(problem) = problem {
        outcome.budget_used_up = timed_out && timeout.is_some();
        outcome.fail(problem);
        return;
    }
    let code = exit_code.unwrap_or(-1);
    if !plan.expect_exit.contains(&code) {
        let said = last_line(&stderr).or_else(|| last_line(&stdout));
        let said = said.map_or_else(String::new, |line| format!(": {line}"));
        outcome.fail(format!("`{}` ended with exit code {code}{said}", first_line(&plan.run)));
        return;
    }
    if plan.capture == Capture::Json {
        match serde_json::from_str::<Value>(&stdout) {
            Ok(value) => {
                outcome.facts.insert("output".to_owned(), value);
            }
            Err(error) => {
                outcome.fail(format!("`{}` printed no JSON: {error}", first_line(&plan.run)));
            }
        }
    }
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}

fn last_line(text: &str) -> Option<&str> {
    text.trim().lines().next_back().map(str::trim).filter(|line| !line.is_empty())
}

/// When a list of commands runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Before the first phase.
    Setup,
    /// After the last.
    Teardown,
}

impl Occasion {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Teardown => "teardown",
        }
    }
}

/// Runs the commands of an occasion one after another, until one fails; the inner error says how.
pub(super) async fn run_all(
    company: &Company,
    occasion: Occasion,
    commands: &[String],
    busy: &Busy,
) -> Result<Result<(), String>, Halt> {
    for (number, command) in (1..).zip(commands) {
        let asked = CommandAsked {
            id: EffectId::run(occasion.as_str(), number),
            place: Whereabouts::default(),
            command: command.clone(),
            env: BTreeMap::new(),
            timeout: None,
        };
        let stage = &company.stage;
        let end = run_command(stage, &company.modules, &stage.stop.hard, busy, asked).await?;
        let plan = ShellPlan {
            run: command.clone(),
            env: BTreeMap::new(),
            expect_exit: vec![0],
            capture: Capture::None,
        };
        let mut outcome = PhaseOutcome::completed();
        judge(&plan, end, None, &mut outcome);
        if let Some(reason) = outcome.reasons.first() {
            let notice = format!("{}: {reason}", occasion.as_str());
            let event = Happening::Notice { text: notice.clone() };
            stage.hub.tell(stage.effects.now(), &Whereabouts::default(), event);
            return Ok(Err(notice));
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_time_is_up_is_no_matter_of_words() {
        let plan = ShellPlan {
            run: "ls".to_owned(),
            env: BTreeMap::new(),
            expect_exit: vec![0],
            capture: Capture::None,
        };
        let judged = |problem: &str, timed_out: bool| {
            let end = CommandEnd { problem: Some(problem.to_owned()), timed_out, ..CommandEnd::default() };
            let mut outcome = PhaseOutcome::completed();
            judge(&plan, end, Some(Duration::from_secs(1)), &mut outcome);
            assert_eq!(outcome.end, crate::event::PhaseEnd::Failed);
            outcome.budget_used_up
        };
        assert!(!judged("the shell cannot be started: connection timed out", false));
        assert!(judged("it took too long", true));
    }
}
