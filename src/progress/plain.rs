//! The run as plain lines: a title for each phase, one line for each thing worth a look.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;

use super::{Out, put};
use crate::clock::Timestamp;
use crate::event::{
    Decision, EffectId, Envelope, Evidence, Happening, Listener, Mode, PhaseEnd, SessionEnd, StopCause,
};
use crate::id::{IssueId, SessionName};

/// Writes a line for each happening that people care about.
pub struct PlainLines {
    out: Out,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Leaves out what another run of the same would have otherwise: times and folders.
    timeless: bool,
    began: Option<Timestamp>,
    scenario: String,
    waiting: BTreeSet<SessionName>,
}

/// Characters of a session's name before its column ends.
const NAME: usize = 18;

/// Characters of a text shown on a line.
const TEXT: usize = 110;

impl PlainLines {
    /// Lines to `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out: Mutex::new(out), state: Mutex::default() }
    }

    /// Lines without times and folders: what is kept to be compared.
    pub fn timeless(out: Box<dyn Write + Send>) -> Self {
        let state = State { timeless: true, ..State::default() };
        Self { out: Mutex::new(out), state: Mutex::new(state) }
    }
}

impl Listener for PlainLines {
    fn heard(&self, event: &Envelope) {
        let mut state = self.state.lock().expect("nothing panics while it holds the state");
        if let Some(text) = state.lines(event) {
            put(&self.out, &text);
        }
    }
}

impl State {
    fn lines(&mut self, envelope: &Envelope) -> Option<String> {
        if let Happening::RunStarted { scenario, .. }
        | Happening::RunResumed { scenario, .. }
        | Happening::RunForked { scenario, .. } = &envelope.event
        {
            self.began = Some(envelope.ts);
            self.scenario.clone_from(scenario);
        }
        if let Some(session) = &envelope.session {
            let waits = matches!(envelope.event, Happening::WorkerWaiting {});
            if !waits {
                self.waiting.remove(session);
            } else if !self.waiting.insert(session.clone()) {
                return None;
            }
        }
        self.title(envelope).or_else(|| {
            let text = body(&envelope.event)?;
            let who = match (&envelope.session, &envelope.event) {
                (Some(session), _) => session.to_string(),
                (None, Happening::IssueChanged { actor, .. }) => actor.clone(),
                (None, Happening::ToolStarted { .. } | Happening::ToolEnded { .. }) => {
                    envelope.phase.as_ref().map_or_else(|| "the workspace".to_owned(), ToString::to_string)
                }
                (None, _) => String::new(),
            };
            if self.timeless {
                return Some(format!("{who:<NAME$} {}\n", without_delay(&envelope.event).unwrap_or(text)));
            }
            Some(format!("{} {who:<NAME$} {text}\n", self.elapsed(envelope.ts)))
        })
    }

    /// Lines that stand for themselves, without time and name.
    fn title(&self, envelope: &Envelope) -> Option<String> {
        let phase = envelope.phase.as_ref().map(ToString::to_string).unwrap_or_default();
        match &envelope.event {
            Happening::RunStarted { scenario, description, mode, evidence, workspace, .. } => {
                let mut text = format!("{scenario}: {description}\n");
                if description.is_empty() {
                    text = format!("{scenario}\n");
                }
                if let Some(line) = mode_line(*mode, *evidence) {
                    text += &format!("{line}\n");
                }
                if self.timeless {
                    return Some(text);
                }
                Some(format!("{text}workspace: {workspace}\n"))
            }
            Happening::RunResumed { run, scenario, evidence, workspace, effects, undone, held_again } => {
                let mut text = format!("{scenario}: run {run} goes on\n");
                if let Some(line) = mode_line(Mode::Live, *evidence) {
                    text += &format!("{line}\n");
                }
                text += &format!("from its journal: {effects} effects");
                if *undone > 0 {
                    text += &format!("; set aside, since they came of its end: {undone}");
                }
                text += "\n";
                if !held_again.is_empty() {
                    let issues: Vec<&str> = held_again.iter().map(IssueId::as_str).collect();
                    text += &format!("held again: {}\n", issues.join(", "));
                }
                Some(format!("{text}workspace: {workspace}\n"))
            }
            Happening::RunForked { scenario, of, at, changes, evidence, workspace, effects, .. } => {
                let mut text = format!("{scenario}: goes on otherwise than run {of}\n");
                if let Some(line) = mode_line(Mode::Live, *evidence) {
                    text += &format!("{line}\n");
                }
                let at: Vec<&str> = at.iter().map(EffectId::as_str).collect();
                text += &format!("taken over: {effects} effects; the first of its own: {}\n", at.join(", "));
                changes.iter().for_each(|change| text += &format!("changed: {change}\n"));
                Some(format!("{text}workspace: {workspace}\n"))
            }
            Happening::Notice { text } => Some(format!("note: {text}\n")),
            Happening::PhaseStarted { kind, sessions } => {
                let names: Vec<_> = sessions.iter().map(ToString::to_string).collect();
                let who = match kind.as_str() {
                    "workers" => format!("WORKERS: Starting ({})", names.join(", ")),
                    "monitor" => format!("{}: Monitoring", names.join(", ").to_uppercase()),
                    kind if names.is_empty() => format!("{}: Starting", kind.to_uppercase()),
                    _ => format!("{}: Starting", names.join(", ").to_uppercase()),
                };
                Some(format!("\n=== {who} === [phase {phase}]\n"))
            }
            Happening::PhaseEnded { end: PhaseEnd::Completed, reasons } if reasons.is_empty() => {
                Some(format!("=== phase {phase}: completed ===\n"))
            }
            // Why is told at the end of the run, once, where nobody has to look for it.
            Happening::PhaseEnded { end: PhaseEnd::Failed, .. } => {
                Some(format!("=== phase {phase}: failed ===\n"))
            }
            Happening::PhaseEnded { end, reasons } => {
                let reasons: String = reasons.iter().map(|reason| format!("    {reason}\n")).collect();
                Some(format!("=== phase {phase}: {} ===\n{reasons}", end.as_str()))
            }
            Happening::PhaseRetried { attempt, reasons } => {
                Some(format!("phase {phase}: try {attempt} failed, again: {}\n", cut(&reasons.join("; "))))
            }
            Happening::RoundStarted { round, max } => {
                Some(format!("--- phase {phase}: round {round}/{max} ---\n"))
            }
            Happening::ApprovalAsked { message } => Some(format!("phase {phase} asks: {message}\n")),
            Happening::ApprovalAwaited { timeout, default, .. } => {
                let until = timeout.map(|timeout| {
                    let answer = default.unwrap_or(Decision::No).as_str();
                    format!(", for {timeout:?}; without one it is {answer}")
                });
                let until = until.unwrap_or_default();
                Some(format!(
                    "phase {phase} waits for an answer{until}: the run pauses when nothing else is left\n"
                ))
            }
            Happening::ApprovalGiven { answer, by, note } => {
                let note = if note.is_empty() { String::new() } else { format!(": {note}") };
                Some(format!("phase {phase}: {} by {by}{note}\n", answer.as_str()))
            }
            Happening::RunFinished { outcome, .. } => Some(match outcome.as_str() {
                "ok" => format!("\n=== {} complete! ===\n", self.scenario),
                outcome => format!("\n=== {} ended: {outcome} ===\n", self.scenario),
            }),
            _ => None,
        }
    }

    fn elapsed(&self, now: Timestamp) -> String {
        let millis = self.began.map_or(0, |began| now.duration_since(began).as_millis());
        format!("{:>5}.{}s", millis / 1_000, millis % 1_000 / 100)
    }
}

/// A line that says how long something waits, without that.
fn without_delay(event: &Happening) -> Option<String> {
    match event {
        Happening::Retry { attempt, reason, .. } => {
            Some(format!("attempt {attempt} failed, then again: {}", cut(reason)))
        }
        _ => None,
    }
}

fn mode_line(mode: Mode, evidence: Option<Evidence>) -> Option<&'static str> {
    Some(match (mode, evidence?) {
        (Mode::Live, Evidence::Scripted) => {
            "SCRIPTED: a script answers in place of every model; no model is asked"
        }
        (Mode::Live, _) => return None,
        (Mode::Replay, Evidence::Scripted) => {
            "REPLAY of a scripted recording: no model is asked, and none has said any of this"
        }
        (Mode::Replay, Evidence::Rebased) => {
            "REPLAY of a rebased recording: no model is asked; the answers were given to older prompts"
        }
        (Mode::Replay, Evidence::Recorded) => "REPLAY of a recording: no model is asked",
    })
}

fn body(event: &Happening) -> Option<String> {
    Some(match event {
        Happening::SessionStarted { model } => format!("begins ({model})"),
        Happening::SessionEnded { end, .. } => match end {
            SessionEnd::Completed => "ends".to_owned(),
            SessionEnd::LimitReached => "ends at its limit of model calls".to_owned(),
            SessionEnd::Refused { reason } if reason.is_empty() => "the model refused".to_owned(),
            SessionEnd::Refused { reason } => format!("the model refused: {}", cut(reason)),
            SessionEnd::Empty => "the model answered with nothing".to_owned(),
            SessionEnd::Budget => "ends: what the run may spend is used up".to_owned(),
            SessionEnd::Cancelled => "was stopped".to_owned(),
            SessionEnd::Failed { reason } => format!("failed: {}", cut(reason)),
        },
        Happening::IterationStarted { iteration, max_iterations } => {
            format!("--- iteration {iteration}/{max_iterations} ---")
        }
        Happening::IterationEnded { text, .. } if text.is_empty() => return None,
        Happening::IterationEnded { text, .. } => format!("says: {}", cut(text)),
        Happening::WorkerWaiting {} => "waits for work".to_owned(),
        Happening::WorkerStopped { cause } => match cause {
            StopCause::Iterations => "stops: its iterations are used up",
            StopCause::NoWork => "stops: no work is left for it",
            StopCause::Budget => "stops: what the run may spend is used up",
            StopCause::Failed => "stops: its session failed",
            StopCause::Cancelled => "stops: the run is being stopped",
        }
        .to_owned(),
        Happening::MonitorChecked { trigger, due: true } => {
            format!("checks ({trigger}): there is something to do")
        }
        Happening::MonitorChecked { trigger, due: false } => format!("checks ({trigger}): nothing to do"),
        Happening::Retry { attempt, reason, delay_ms } => {
            format!("attempt {attempt} failed, again in {delay_ms} ms: {}", cut(reason))
        }
        Happening::Fallback { from, to, reason, .. } => {
            format!("asks {to} in place of {from} until this prompt is answered: {}", cut(reason))
        }
        Happening::ContextCompacted { before_tokens, after_tokens, .. } => {
            format!("shows the model less of its long conversation: {before_tokens} -> {after_tokens} tokens")
        }
        Happening::CallTrimmed { max_tokens, .. } => {
            format!("may answer with {max_tokens} tokens at most: the budget is nearly used up")
        }
        Happening::ToolStarted { tool, input } => format!("{tool} {}", cut(input)),
        Happening::ToolEnded { tool, is_error: true, output } => format!("{tool} failed: {}", cut(output)),
        Happening::IssueChanged { issue, title, change, .. } => format!("{issue} {change}: {}", cut(title)),
        Happening::ExpectChecked { condition, holds: true } => format!("expected {condition}: holds"),
        Happening::ExpectChecked { condition, holds: false } => format!("expected {condition}: IS FALSE"),
        _ => return None,
    })
}

fn cut(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    match line.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
