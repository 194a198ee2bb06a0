//! Who answers when a scenario or a hook asks for approval: what the command line says, what `runner approve` and `runner
//! reject` have written down, a person at the terminal; or nobody.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use super::refusal::Refusal;
use super::surroundings::tell;
use crate::clock::{Timestamp, later};
use crate::diagnostic::nearest;
use crate::event::{Decision, EffectId, Happening};
use crate::id::PhaseId;
use crate::journal::Record;
use crate::plan::{PhaseKind, PhasePlan, Plan};
use crate::session::{About, Given, People, Question, visible};

/// The folder of a run in which answers are written down.
const FOLDER: &str = "answers";

/// How often it is looked for an answer that another process writes down.
const LOOK: Duration = Duration::from_millis(250);

/// An answer as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) answer: Decision,
    pub(super) by: String,
    #[serde(default)]
    pub(super) note: String,
}

/// Writes an answer down in the folder of a run.
pub(super) fn write_down(folder: &Path, phase: &PhaseId, answer: &Written) -> std::io::Result<()> {
    let answers = folder.join(FOLDER);
    std::fs::create_dir_all(&answers)?;
    let text = serde_json::to_string_pretty(answer).expect("an answer is plain data");
    // Whoever looks finds all of it or nothing.
    let new = answers.join(format!("{phase}.new"));
    std::fs::write(&new, text)?;
    std::fs::rename(new, file_of(folder, phase))
}

fn file_of(folder: &Path, phase: &PhaseId) -> PathBuf {
    folder.join(FOLDER).join(format!("{phase}.json"))
}

/// The answer that is written down. It stays there until it is on record, so that no kill loses it.
pub(super) fn written(folder: &Path, phase: &PhaseId) -> Option<Written> {
    let text = std::fs::read_to_string(file_of(folder, phase)).ok()?;
    serde_json::from_str(&text).ok()
}

fn read(folder: &Path, phase: &PhaseId) -> Option<Given> {
    let Written { answer, by, note } = written(folder, phase)?;
    Some(Given { answer, by, note })
}

/// The answers of the command line, each of them to something that is asked.
///
/// # Errors
/// One is to a phase that asks nobody.
pub(super) fn answers(
    plan: &Plan,
    given: &[(String, Decision)],
) -> Result<BTreeMap<String, Decision>, Refusal> {
    fn asking(phases: &[PhasePlan], within: &str, found: &mut Vec<String>) {
        for phase in phases {
            let name = format!("{within}{}", phase.id);
            if matches!(phase.kind, PhaseKind::Approval(_)) {
                found.push(name.clone());
            }
            asking(phase.inner(), &format!("{name}."), found);
        }
    }
    let mut known = Vec::new();
    asking(&plan.phases, "", &mut known);
    for (name, _) in given {
        let is_of_a_hook = name.starts_with("tool:") || name == "prompt:submit";
        let phase = PhaseId::from(name.as_str());
        let in_file = phase.names().collect::<Vec<_>>().join(".");
        if is_of_a_hook || known.contains(&in_file) {
            continue;
        }
        let names = || known.iter().map(String::as_str);
        let more = match (nearest(&in_file, names()), known.is_empty()) {
            (Some(meant), _) => format!("did you mean `{meant}`?"),
            (None, true) => "no phase of the scenario asks".to_owned(),
            (None, false) => format!("there asks {}", names().collect::<Vec<_>>().join(", ")),
        };
        return Err(Refusal::invalid(format!("--answer: no phase `{name}` asks for approval; {more}")));
    }
    Ok(given.iter().cloned().collect())
}

/// Takes an answer away that is on record: were the phase to ask again, it is to be answered again.
fn take_away(folder: &Path, phase: &PhaseId) {
    // One that cannot be removed is taken away when the run goes on.
    let _ = std::fs::remove_file(file_of(folder, phase));
}

/// Takes answers away that a run had on record when it was killed, those too that no longer stand.
pub(super) fn take_away_recorded(folder: &Path, record: &Record, undone: &[EffectId]) {
    let effects = record.effects.iter().map(|effect| &effect.id).chain(undone);
    for phase in effects.filter_map(EffectId::answered) {
        take_away(folder, &phase);
    }
}

/// Whoever is there.
pub(super) struct Attendants {
    /// What the command line says.
    pub(super) answers: BTreeMap<String, Decision>,
    /// The folder of the run.
    pub(super) folder: PathBuf,
    /// Until when phases wait that have asked before the run went on, in the run's time.
    pub(super) deadlines: BTreeMap<PhaseId, Timestamp>,
    /// What time it is for them.
    pub(super) now: Timestamp,
    /// What a person at the terminal types, if there is one.
    pub(super) keyboard: Option<Keyboard>,
}

/// Whether a person can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminal {
    Asks,
    Nobody,
}

impl Terminal {
    /// What stands at the other end of the process's streams; nobody in CI, and nobody who wants to read JSON.
    pub(super) fn find(is_ci: bool, is_json: bool) -> Self {
        let is_there = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if is_there && !is_ci && !is_json { Self::Asks } else { Self::Nobody }
    }
}

/// The names by which `--answer` may mean a question.
fn names(question: &Question) -> Vec<String> {
    match &question.about {
        // An item or a round is answered by its own name, or all of them by that in the file.
        About::Phase => {
            vec![question.phase.to_string(), question.phase.names().collect::<Vec<_>>().join(".")]
        }
        About::Call(_, tool) => vec![format!("tool:{tool}"), "tool:*".to_owned()],
        About::Prompt(_) => vec!["prompt:submit".to_owned()],
    }
}

#[async_trait]
impl People for Attendants {
    async fn ask(&self, question: &Question) -> Option<Given> {
        if let Some(answer) = names(question).iter().find_map(|name| self.answers.get(name)) {
            return Some(Given { answer: *answer, by: "--answer".to_owned(), note: String::new() });
        }
        if question.about == About::Phase {
            if let Some(given) = read(&self.folder, &question.phase) {
                return Some(given);
            }
            if self.deadlines.get(&question.phase).is_some_and(|deadline| *deadline <= self.now) {
                return Some(too_late(question));
            }
        }
        match &self.keyboard {
            None => None,
            Some(keyboard) => self.wait(keyboard, question).await,
        }
    }

    fn on_record(&self, question: &Question) {
        if question.about == About::Phase {
            take_away(&self.folder, &question.phase);
        }
    }
}

impl Attendants {
    /// Waits for the person at the terminal, for one at another, or for the time to be up. `None` when nobody can type any more.
    async fn wait(&self, keyboard: &Keyboard, question: &Question) -> Option<Given> {
        let who = match &question.about {
            About::Phase => question.phase.as_str(),
            About::Call(session, _) | About::Prompt(session) => session,
        };
        let (shown, seen) = tokio::sync::oneshot::channel();
        let message = visible(&question.message);
        let typed = keyboard.ask(format!("\n{who}: {message}\napprove? [yes/no] "), shown);
        tokio::pin!(typed);
        let late = async {
            // Another question may be on the screen still; a phase waits from the moment it has asked.
            if question.about != About::Phase {
                let _ = seen.await;
            }
            match question.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(late);
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                answer = &mut typed => {
                    let by = "the terminal".to_owned();
                    return answer.map(|answer| Given { answer, by, note: String::new() });
                }
                () = &mut late => return Some(too_late(question)),
                _ = look.tick() => {
                    if question.about == About::Phase
                        && let Some(given) = read(&self.folder, &question.phase)
                    {
                        return Some(given);
                    }
                }
            }
        }
    }
}

fn too_late(question: &Question) -> Given {
    let answer = question.default.unwrap_or(Decision::No);
    Given { answer, by: "nobody in time".to_owned(), note: String::new() }
}

/// The lines that a person types, for one question at a time.
#[derive(Default)]
pub(super) struct Keyboard {
    /// Read by a thread of its own from the first question on, which nobody waits for: a read of a terminal cannot be ended.
    lines: Mutex<Option<UnboundedReceiver<String>>>,
}

impl Keyboard {
    pub(super) fn of(terminal: Terminal) -> Option<Self> {
        match terminal {
            Terminal::Asks => Some(Self::default()),
            Terminal::Nobody => None,
        }
    }

    /// What a person types to a question, once it can be understood; `None` when the input has ended. `shown` hears when the
    /// question is on the screen.
    async fn ask(&self, question: String, shown: tokio::sync::oneshot::Sender<()>) -> Option<Decision> {
        let mut lines = self.lines.lock().await;
        let lines = lines.get_or_insert_with(read_lines);
        // What was typed before the question was seen is no answer to it.
        while lines.try_recv().is_ok() {}
        tell(&question);
        let _ = shown.send(());
        while let Some(line) = lines.recv().await {
            match line.trim().to_lowercase().as_str() {
                "y" | "yes" | "allow" => return Some(Decision::Yes),
                "n" | "no" | "deny" => return Some(Decision::No),
                _ => tell("please type yes or no: "),
            }
        }
        None
    }
}

fn read_lines() -> UnboundedReceiver<String> {
    let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Until when phases wait that have asked a person.
pub(super) fn deadlines(record: &Record) -> BTreeMap<PhaseId, Timestamp> {
    let mut deadlines = BTreeMap::new();
    for event in &record.events {
        if let (Some(phase), Happening::ApprovalAwaited { timeout: Some(timeout), .. }) =
            (&event.phase, &event.event)
        {
            deadlines.entry(phase.clone()).or_insert_with(|| later(event.ts, *timeout));
        }
    }
    deadlines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attendants(folder: &Path) -> Attendants {
        Attendants {
            answers: BTreeMap::new(),
            folder: folder.to_owned(),
            deadlines: BTreeMap::new(),
            now: Timestamp::UNIX_EPOCH,
            keyboard: None,
        }
    }

    #[tokio::test]
    async fn an_answer_stays_until_it_is_on_record() {
        let folder = tempfile::tempdir().unwrap();
        let phase = PhaseId::from("ship.2");
        let question = Question {
            phase: phase.clone(),
            about: About::Phase,
            message: "Ship?".to_owned(),
            timeout: None,
            default: None,
        };
        let written = Written { answer: Decision::Yes, by: "ann".to_owned(), note: "good".to_owned() };
        write_down(folder.path(), &phase, &written).unwrap();
        let given = Given { answer: Decision::Yes, by: "ann".to_owned(), note: "good".to_owned() };
        for process in ["killed as soon as it had heard it", "the next"] {
            let heard = attendants(folder.path()).ask(&question).await;
            assert_eq!(heard.as_ref(), Some(&given), "{process}");
        }
        attendants(folder.path()).on_record(&question);
        assert_eq!(attendants(folder.path()).ask(&question).await, None);
        // Killed when it was on record, but not taken away yet.
        write_down(folder.path(), &phase, &written).unwrap();
        take_away_recorded(folder.path(), &Record::default(), &[EffectId::engine(&phase, "text", 1)]);
        assert_eq!(attendants(folder.path()).ask(&question).await, Some(given));
        take_away_recorded(folder.path(), &Record::default(), &[EffectId::engine(&phase, "answer", 1)]);
        assert_eq!(attendants(folder.path()).ask(&question).await, None);
    }
    fn call(tool: &str, timeout: Option<Duration>) -> Question {
        Question {
            phase: "work".into(),
            about: About::Call("work/coder-1".to_owned(), tool.to_owned()),
            message: format!("May {tool}?"),
            timeout,
            default: Some(Decision::No),
        }
    }

    #[tokio::test]
    async fn questions_wait_for_the_keyboard_one_after_another() {
        let folder = tempfile::tempdir().unwrap();
        let (typing, lines) = tokio::sync::mpsc::unbounded_channel();
        typing.send("yes, to something else".to_owned()).unwrap();
        let keyboard = Keyboard { lines: Mutex::new(Some(lines)) };
        let people = Attendants { keyboard: Some(keyboard), ..attendants(folder.path()) };
        let (bash, edit) = (call("bash", None), call("edit_file", None));
        let typed = async {
            for line in ["perhaps", "Allow", "n"] {
                tokio::task::yield_now().await;
                typing.send(line.to_owned()).unwrap();
            }
        };
        let (first, second, ()) = tokio::join!(people.ask(&bash), people.ask(&edit), typed);
        let answers = [first, second].map(|given| given.map(|given| (given.answer, given.by)));
        let by = || "the terminal".to_owned();
        assert_eq!(answers, [Some((Decision::Yes, by())), Some((Decision::No, by()))]);
        let late = people.ask(&call("bash", Some(Duration::ZERO))).await.unwrap();
        assert_eq!((late.answer, late.by.as_str()), (Decision::No, "nobody in time"));
    }

    #[tokio::test]
    async fn the_command_line_answers_by_tool_and_nobody_else_without_a_keyboard() {
        let folder = tempfile::tempdir().unwrap();
        let phase = PhaseId::from("work");
        let written = Written { answer: Decision::Yes, by: "ann".to_owned(), note: String::new() };
        write_down(folder.path(), &phase, &written).unwrap();
        let mut people = attendants(folder.path());
        people.answers = [("tool:bash", Decision::Yes), ("work", Decision::Yes)]
            .map(|(name, answer)| (name.to_owned(), answer))
            .into();
        let answer = async |people: &Attendants, question: &Question| {
            people.ask(question).await.map(|given| given.answer)
        };
        assert_eq!(answer(&people, &call("bash", None)).await, Some(Decision::Yes));
        assert_eq!(
            answer(&people, &call("edit_file", None)).await,
            None,
            "what is said of the phase is of the phase"
        );
        people.answers.insert("tool:*".to_owned(), Decision::No);
        assert_eq!(answer(&people, &call("edit_file", None)).await, Some(Decision::No));
        let prompt = Question { about: About::Prompt("work/coder-1".to_owned()), ..call("", None) };
        assert_eq!(answer(&people, &prompt).await, None);
        people.answers.insert("prompt:submit".to_owned(), Decision::Yes);
        assert_eq!(answer(&people, &prompt).await, Some(Decision::Yes));
    }
}
