//! `runner explore`: one scenario and script in many orders; the shortest that goes wrong is told so that it can be repeated.

use std::fmt::Write as _;
use std::path::Path;

use super::arguments::{CommonArguments, ExploreArguments, FailOn};
use super::assembly::{self, Beginning, Place};
use super::exit::Exit;
use super::launch::{self, Play, Scenario, shown};
use super::outcome;
use super::people::Terminal;
use super::play::{self, Played};
use super::refusal::{Granted, Refusal};
use super::run::script;
use super::secrets::scrubber;
use super::signals::Signals;
use super::surroundings::Surroundings;
use super::test::Tidy;
use crate::diagnostic::Look;
use crate::effects::{Choice, Course, Schedule};
use crate::explore::{Broken, Found, Plan, Tried, Witness, search, try_one};
use crate::journal::RunFolder;
use crate::provider::Script;
use crate::session::Stop;
use crate::store::SqliteStore;

/// Steps of one that went on that are named; of more, the first and the last.
const NAMED: usize = 6;

/// `runner explore FILE --script SCRIPT`.
pub(super) async fn explore(arguments: ExploreArguments, surroundings: Surroundings) -> Exit {
    match run(&arguments, &surroundings).await {
        Ok(Exit::Ok) => Exit::Ok,
        Ok(exit) => exit.tell(),
        Err(refusal) => refusal.tell(),
    }
}

async fn run(arguments: &ExploreArguments, surroundings: &Surroundings) -> Granted<Exit> {
    let common = CommonArguments::of_file(&arguments.file, &arguments.input, arguments.env_file.as_deref());
    let mut scenario = launch::scenario(&common, surroundings)?;
    let script = script(&arguments.script, &mut scenario, surroundings)?;
    let stop = Stop::default();
    let signals = Signals::listen(stop.clone())
        .map_err(|error| Refusal::configuration(format!("cannot listen for signals: {error}")))?;
    let tidy = Tidy::of(std::iter::once(scenario.plan.root.clone()));
    let mut player = Player { scenario: &scenario, script, stop, kept: None };
    let exploring = async {
        match &arguments.schedule {
            Some(schedule) => {
                let tried = try_one(schedule.clone(), async |schedule| player.play(schedule).await).await?;
                Ok((tell_one(&tried), tried.broken.is_empty()))
            }
            None => {
                let Some(plan) = plan(arguments) else {
                    return Err(Refusal::invalid("--seed and --seeds go beyond the largest number"));
                };
                let found = search(plan, async |schedule| player.play(schedule).await).await?;
                Ok(match &found {
                    Found::Nothing { schedules } => (format!("{schedules} schedules, all held\n"), true),
                    Found::Broken(broken) => (tell_broken(broken, arguments), false),
                })
            }
        }
    };
    let (told, signal) = signals.around(exploring).await;
    let kept = player.kept.take();
    if let Some(signal) = signal {
        kept.into_iter().for_each(RunFolder::discard);
        tidy.after();
        return Ok(signal);
    }
    tidy.after();
    let (mut text, is_well) = told?;
    if let Some(folder) = kept {
        let _ = writeln!(text, "run folder: {}", shown(folder.path(), &surroundings.working_dir));
    }
    surroundings.print(&text);
    Ok(if is_well { Exit::Ok } else { Exit::Expectation })
}

fn plan(arguments: &ExploreArguments) -> Option<Plan> {
    let &ExploreArguments { seed, seeds, depth, .. } = arguments;
    seed.checked_add(seeds)?;
    Some(Plan { first_seed: seed, seeds, depth })
}

/// Plays schedules, each in a folder of its own; the last one that went wrong is kept.
struct Player<'a> {
    scenario: &'a Scenario,
    script: std::sync::Arc<Script>,
    stop: Stop,
    kept: Option<RunFolder>,
}

impl Player<'_> {
    async fn play(&mut self, schedule: Schedule) -> Granted<Tried> {
        let stopped = || Refusal { exit: Exit::Interrupted, text: String::new() };
        if self.stop.soft.is_cancelled() {
            return Err(stopped());
        }
        let witness = Witness::default();
        let beginning = Beginning {
            play: Play::Explored { script: self.script.clone(), schedule },
            seed: None,
            place: Place::OwnFolder,
            listeners: vec![Box::new(witness.clone())],
            terminal: Terminal::Nobody,
            stop: self.stop.child(),
        };
        let ready = assembly::prepare(self.scenario, beginning).await?;
        let effects = ready.setup.stage.effects.clone();
        let queue = ready.workspace.path().join(&self.scenario.plan.queue.path);
        let played = play::play(ready, self.scenario, FailOn::Phase, None).await?;
        if self.stop.soft.is_cancelled() {
            played.folder.discard();
            return Err(stopped());
        }
        let mut broken: Vec<String> = self.ended(&played).into_iter().collect();
        broken.extend(unsound(&queue));
        broken.extend(witness.broken(&self.scenario.plan.limits));
        let course = effects.course().unwrap_or_default();
        let Played { folder, .. } = played;
        if broken.is_empty() {
            folder.discard();
        } else if let Some(before) = self.kept.replace(folder) {
            before.discard();
        }
        Ok(Tried { broken, course })
    }

    /// What is wrong with how a run ended.
    fn ended(&self, played: &Played) -> Option<String> {
        let Played { end, exit, lost, .. } = played;
        if let Some(error) = lost {
            return Some(format!("the run cannot be looked at afterwards: {error}"));
        }
        if *exit == Exit::Ok {
            return None;
        }
        let why = outcome::failure(end, self.scenario, Look::Plain);
        let why = scrubber(self.scenario).scrub(why.trim());
        Some(format!("the run ended with exit {}: {}\n{why}", exit.code(), exit.name()))
    }
}

/// What is broken in the queue that a run left.
fn unsound(queue: &Path) -> Vec<String> {
    match SqliteStore::examine(queue) {
        Ok(soundness) => soundness
            .findings
            .iter()
            .map(|finding| format!("the queue is not sound: {}", finding.message))
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// What came of one schedule that was asked for.
fn tell_one(tried: &Tried) -> String {
    let mut text = String::new();
    if tried.broken.is_empty() {
        text += "the schedule held\n";
    } else {
        text += "the schedule did not hold:\n";
        text += &indented(&tried.broken);
    }
    for step in &tried.course.missed {
        let _ = writeln!(
            text,
            "note: whoever was to go on at step {step} did not wait then: the schedule is of another scenario or script"
        );
    }
    text += &steps(&tried.course);
    text
}

/// What went wrong, and how to have it again.
fn tell_broken(broken: &Broken, arguments: &ExploreArguments) -> String {
    let Broken { schedules, seed, deviations, repeats, shortest, tried } = broken;
    let mut text = match seed {
        Some(seed) => format!("schedule {schedules} (seed {seed}) did not hold:\n"),
        None => "the usual order did not hold:\n".to_owned(),
    };
    text += &indented(&tried.broken);
    if !repeats {
        text += "note: the same choices did not break it again: something in the run is left to chance, a command or a clock of its own\n";
    }
    text += &steps(&tried.course);
    let _ = writeln!(text, "schedule: {shortest}");
    if shortest.0.len() < *deviations {
        let _ = writeln!(
            text,
            "  made shorter, from {deviations} steps out of the usual order to {}",
            shortest.0.len()
        );
    }
    let mut command = vec!["runner".to_owned(), "explore".to_owned(), word(&arguments.file.display())];
    command.extend(["--script".to_owned(), word(&arguments.script.display())]);
    for (name, value) in &arguments.input {
        command.extend(["--input".to_owned(), word(&format!("{name}={value}"))]);
    }
    if let Some(file) = &arguments.env_file {
        command.extend(["--env-file".to_owned(), word(&file.display())]);
    }
    command.extend(["--schedule".to_owned(), word(shortest)]);
    let _ = writeln!(text, "repeat it: {}", command.join(" "));
    text
}

fn indented(broken: &[String]) -> String {
    broken.iter().flat_map(|why| why.lines()).map(|line| format!("  {line}\n")).collect()
}

/// A word for a shell.
fn word(text: &impl std::fmt::Display) -> String {
    let text = text.to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Who went on, a line for each that others were passed over for or that followed another.
fn steps(course: &Course) -> String {
    let mut text = "who went on (* out of the usual order):\n".to_owned();
    let mut groups: Vec<(usize, String, Vec<&Choice>)> = Vec::new();
    for (step, choice) in (1..).zip(&course.choices) {
        let actor = choice.actor();
        match groups.last_mut() {
            Some((_, last, of)) if *last == actor && !choice.deviates => of.push(choice),
            _ => groups.push((step, actor, vec![choice])),
        }
    }
    let width = groups.iter().map(|(_, actor, _)| actor.len()).max().unwrap_or(0);
    for (first, actor, of) in &groups {
        let mark = if of[0].deviates { '*' } else { ' ' };
        let last = first + of.len() - 1;
        let range = if of.len() == 1 { first.to_string() } else { format!("{first}-{last}") };
        let _ = writeln!(text, "{mark} {range:<9} {actor:<width$}  {}", with(of, actor));
    }
    text
}

/// What somebody went on with, without its own name.
fn with(of: &[&Choice], actor: &str) -> String {
    let short = |choice: &&Choice| match choice.name.strip_prefix(actor) {
        Some("") => "begins".to_owned(),
        Some(rest) => rest.trim_start_matches('/').to_owned(),
        None => choice.name.split_once('/').map_or(choice.name.as_str(), |(_, what)| what).to_owned(),
    };
    let mut names: Vec<String> = of.iter().map(short).collect();
    // A model call has two steps: its reply comes, and is committed.
    names.dedup();
    match names.as_slice() {
        [first, second, .., last] if names.len() > NAMED => format!("{first} {second} … {last}"),
        _ => names.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_in_stretches() {
        let choice = |name: &str, deviates| Choice { name: name.to_owned(), among: 2, deviates };
        let choices = vec![
            choice("work", false),
            choice("work/a-1", false),
            choice("work/a-1/1", false),
            choice("work/a-1/1", false),
            choice("work/b-1/1", true),
            choice("work/!wake.b-1-2", false),
        ];
        let told = steps(&Course { choices, missed: Vec::new() });
        let expected = "who went on (* out of the usual order):
  1         work      begins
  2-4       work/a-1  begins 1
* 5-6       work/b-1  1 !wake.b-1-2
";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_command_can_be_pasted() {
        assert_eq!(word(&"3=work/a-1/1,4=work/b"), "3=work/a-1/1,4=work/b");
        assert_eq!(word(&"3=work/!wake.b-1"), "'3=work/!wake.b-1'");
        assert_eq!(word(&"it's"), r"'it'\''s'");
    }
}
