//! Who answers when a scenario asks for approval: what the command line says, what `runner approve` and `runner reject` have
//! written down, a person at the terminal; or nobody, and the run pauses.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::surroundings::tell;
use crate::clock::{Timestamp, later};
use crate::engine::{Given, People, Question};
use crate::event::{Decision, EffectId, Happening};
use crate::id::PhaseId;
use crate::journal::Record;

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
fn read(folder: &Path, phase: &PhaseId) -> Option<Given> {
    let text = std::fs::read_to_string(file_of(folder, phase)).ok()?;
    let Written { answer, by, note } = serde_json::from_str(&text).ok()?;
    Some(Given { answer, by, note })
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
    pub(super) terminal: Terminal,
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

#[async_trait]
impl People for Attendants {
    async fn ask(&self, question: &Question) -> Option<Given> {
        let id = question.phase.as_str();
        // An item or a round is answered by its own name, or all of them by that in the file.
        let in_file = question.phase.names().collect::<Vec<_>>().join(".");
        if let Some(answer) = self.answers.get(id).or_else(|| self.answers.get(&in_file)) {
            return Some(Given { answer: *answer, by: "--answer".to_owned(), note: String::new() });
        }
        if let Some(given) = read(&self.folder, &question.phase) {
            return Some(given);
        }
        if self.deadlines.get(&question.phase).is_some_and(|deadline| *deadline <= self.now) {
            return Some(too_late(question));
        }
        match self.terminal {
            Terminal::Nobody => None,
            Terminal::Asks => Some(self.wait(question).await),
        }
    }

    fn on_record(&self, question: &Question) {
        take_away(&self.folder, &question.phase);
    }
}

impl Attendants {
    /// Waits for the person at the terminal, for one at another, or for the time to be up.
    async fn wait(&self, question: &Question) -> Given {
        tell(&format!("\n{}: {}\napprove? [yes/no] ", question.phase, question.message));
        let typed = from_terminal();
        tokio::pin!(typed);
        let late = async {
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
                    return Given { answer, by, note: String::new() };
                }
                () = &mut late => return too_late(question),
                _ = look.tick() => {
                    if let Some(given) = read(&self.folder, &question.phase) {
                        return given;
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

/// What a person types, once it can be understood; never, if nothing more is typed.
async fn from_terminal() -> Decision {
    let (sender, typed) = tokio::sync::oneshot::channel();
    // A thread of its own, which nobody waits for: a read of a terminal cannot be ended.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let answer = match line.trim().to_lowercase().as_str() {
                "y" | "yes" => Decision::Yes,
                "n" | "no" => Decision::No,
                _ => {
                    tell("please type yes or no: ");
                    continue;
                }
            };
            let _ = sender.send(answer);
            return;
        }
    });
    match typed.await {
        Ok(answer) => answer,
        Err(_) => std::future::pending().await,
    }
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
            terminal: Terminal::Nobody,
        }
    }

    #[tokio::test]
    async fn an_answer_stays_until_it_is_on_record() {
        let folder = tempfile::tempdir().unwrap();
        let phase = PhaseId::from("ship.2");
        let question =
            Question { phase: phase.clone(), message: "Ship?".to_owned(), timeout: None, default: None };
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
}
