//! How the results of `runner test` are told: a line a scenario for people, an object a line for programs.

use std::path::Path;

use serde_json::{Value, json};

use super::trial::{Snapshots, Trial, Verdict};
use crate::cli::exit::Exit;
use crate::cli::launch::shown;
use crate::event::ENDED_WELL;

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NoRecording => "no_recording",
            Self::NotRun => "not_run",
        }
    }
}

impl Snapshots {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Equal => "equal",
            Self::Absent => "absent",
            Self::Written => "written",
            Self::Differ => "differ",
        }
    }
}

/// A scenario's line, with all that is wrong below it.
pub(super) fn lines(trial: &Trial) -> String {
    let word = match trial.verdict {
        Verdict::Passed => "ok",
        Verdict::Failed => "FAILED",
        Verdict::NoRecording | Verdict::NotRun => "-",
    };
    let time = match trial.verdict {
        Verdict::Passed | Verdict::Failed => format!("{:>7.2}s", trial.time.as_secs_f64()),
        Verdict::NoRecording | Verdict::NotRun => " ".repeat(8),
    };
    let mut out = format!("{word:<6} {time}  {}{}\n", trial.file, note(trial));
    for failure in &trial.failures {
        out += &format!("\n{}", failure.text);
        if let Some(folder) = &failure.folder {
            out += &format!("  run folder: {folder}\n");
        }
        out.push('\n');
    }
    out
}

fn note(trial: &Trial) -> String {
    let mut notes = Vec::new();
    match trial.verdict {
        Verdict::NoRecording => notes.push("no recording".to_owned()),
        Verdict::NotRun => notes.push("not run".to_owned()),
        Verdict::Passed => {
            let ended = trial.ended.as_deref().filter(|ended| *ended != ENDED_WELL);
            notes.extend(ended.map(|ended| format!("ends with {ended}, as recorded")));
        }
        Verdict::Failed => {}
    }
    match trial.snapshots {
        Snapshots::Absent => notes.push("no snapshots: write them with --update".to_owned()),
        Snapshots::Written => notes.push("snapshots written".to_owned()),
        Snapshots::Unchecked | Snapshots::Equal | Snapshots::Differ => {}
    }
    if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) }
}

/// How many scenarios came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Total {
    passed: usize,
    failed: usize,
    without_recording: usize,
    not_run: usize,
}

impl Total {
    pub(super) fn of(trials: &[Trial]) -> Self {
        let mut total = Self::default();
        for trial in trials {
            *match trial.verdict {
                Verdict::Passed => &mut total.passed,
                Verdict::Failed => &mut total.failed,
                Verdict::NoRecording => &mut total.without_recording,
                Verdict::NotRun => &mut total.not_run,
            } += 1;
        }
        total
    }

    /// The closing line.
    pub(super) fn line(self) -> String {
        let Self { passed, failed, without_recording, not_run } = self;
        let mut out = format!("{passed} passed, {failed} failed, {without_recording} without a recording");
        if not_run > 0 {
            out += &format!(", {not_run} not run");
        }
        out + "\n"
    }

    /// The closing object.
    pub(super) fn json(self, exit: Exit) -> Value {
        let Self { passed, failed, without_recording, not_run } = self;
        json!({
            "type": "total",
            "passed": passed,
            "failed": failed,
            "without_recording": without_recording,
            "not_run": not_run,
            "outcome": exit.name(),
            "exit_code": exit.code(),
        })
    }
}

/// A scenario as an object.
pub(super) fn json(trial: &Trial, working_dir: &Path) -> Value {
    let failures: Vec<_> = trial
        .failures
        .iter()
        .map(|failure| {
            json!({
                "kind": failure.kind.as_str(),
                "exit_code": failure.exit.code(),
                "text": failure.text,
                "folder": failure.folder,
            })
        })
        .collect();
    json!({
        "type": "scenario",
        "file": trial.file,
        "recording": trial.recording.as_deref().map(|folder| shown(folder, working_dir)),
        "verdict": trial.verdict.as_str(),
        "ended": trial.ended,
        "snapshots": trial.snapshots.as_str(),
        "time_ms": u64::try_from(trial.time.as_millis()).unwrap_or(u64::MAX),
        "failures": failures,
    })
}
