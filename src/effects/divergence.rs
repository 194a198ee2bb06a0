//! Where a replay leaves its recording, and what a person needs to see why: which effect, which part, which lines.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use similar::{ChangeTag, TextDiff};

use super::score::{Score, Tolerance};
use super::{Asked, Ran, cause};
use crate::event::{EffectId, EffectKind, EffectRecord, Policy, Segment};
use crate::id::Fingerprint;

/// Texts of segments by fingerprint, as far as they are kept.
type Texts = BTreeMap<Fingerprint, Arc<str>>;

/// The first difference between a replay and its recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// What sort of difference.
    pub class: Class,
    /// The effect at which it shows.
    pub effect: EffectId,
    /// One sentence.
    pub summary: String,
    /// The parts that are equal, by label.
    pub equal: Vec<String>,
    /// The part that differs.
    pub difference: Option<Difference>,
    /// Further facts, a line each.
    pub notes: Vec<String>,
    /// What to do next, a line each.
    pub next: Vec<String>,
}

/// What sort of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A system text, a prompt or the tools offered read otherwise.
    Prompt,
    /// The model or its parameters are others.
    Params,
    /// The same input gave another output.
    Tool,
    /// The same effects in another order.
    Schedule,
    /// Something happens that is not in the recording.
    Extra,
    /// Something recorded does not happen.
    Missing,
}

impl Class {
    /// The word for people and tools.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Params => "params",
            Self::Tool => "tool",
            Self::Schedule => "schedule",
            Self::Extra => "extra",
            Self::Missing => "missing",
        }
    }
}

/// One part that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which part: `prompt 0`, `system`, `result` …
    pub label: String,
    /// What was recorded; `None` when its text is not kept.
    pub recorded: Option<String>,
    /// What it is now; `None` when there is nothing.
    pub now: Option<String>,
}

impl Divergence {
    fn new(class: Class, effect: &EffectId, summary: String) -> Self {
        Self {
            class,
            effect: effect.clone(),
            summary,
            equal: Vec::new(),
            difference: None,
            notes: Vec::new(),
            next: Vec::new(),
        }
    }

    /// The same with the commands that it advises for this scenario file.
    #[must_use]
    pub fn of_file(mut self, file: &str) -> Self {
        for next in &mut self.next {
            *next = next.replace(" FILE", &format!(" {file}"));
        }
        self
    }

    fn advise(mut self) -> Self {
        let advice = match self.class {
            Class::Prompt => {
                self.next.push(RERECORD.to_owned());
                "or, if only words have changed, let the recorded answers stand: runner cassette rebase FILE"
            }
            Class::Params => RERECORD,
            Class::Tool => {
                "if the tool's new answer is right, do anew what follows from it: runner cassette rerecord FILE"
            }
            Class::Schedule | Class::Extra | Class::Missing => {
                "the scenario asks for other effects than were recorded; if that is meant, do them anew: runner cassette rerecord FILE"
            }
        };
        self.next.push(advice.to_owned());
        self
    }
}

const RERECORD: &str = "if the change is meant, do anew what follows from it: runner cassette rerecord FILE (with --script SCRIPT for a scripted recording)";

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "DIVERGENCE at {} ({})", self.effect, self.class.as_str())?;
        writeln!(f, "  {}", self.summary)?;
        if !self.equal.is_empty() {
            writeln!(f, "  same: {}", self.equal.join(", "))?;
        }
        if let Some(difference) = &self.difference {
            writeln!(f, "  differs: {}", difference.label)?;
            f.write_str(&difference.lines())?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        for next in &self.next {
            writeln!(f, "  next: {next}")?;
        }
        Ok(())
    }
}

impl Difference {
    /// The changed lines, recorded ones with `-`, present ones with `+`, with two lines around them.
    pub(super) fn lines(&self) -> String {
        let mut out = String::new();
        match (&self.recorded, &self.now) {
            (Some(recorded), Some(now)) => {
                let (recorded, now) = (spread(recorded), spread(now));
                let diff = TextDiff::from_lines(recorded.as_str(), now.as_str());
                for (at, group) in diff.grouped_ops(2).iter().enumerate() {
                    if at > 0 {
                        out.push_str("      ...\n");
                    }
                    for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                        let sign = match change.tag() {
                            ChangeTag::Delete => '-',
                            ChangeTag::Insert => '+',
                            ChangeTag::Equal => ' ',
                        };
                        let _ = writeln!(out, "    {sign} {}", change.value().trim_end_matches(['\n', '\r']));
                    }
                }
            }
            (Some(text), None) => push_lines(&mut out, '-', text),
            (None, Some(text)) => {
                out.push_str("      (the recorded text is not kept; this is what it is now)\n");
                push_lines(&mut out, '+', text);
            }
            (None, None) => {}
        }
        out
    }
}

/// JSON is spread over lines, so that a diff shows the field that changed; other texts stay.
fn spread(text: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))) => {
            serde_json::to_string_pretty(&value).expect("JSON prints") + "\n"
        }
        _ if text.ends_with('\n') => text.to_owned(),
        _ => format!("{text}\n"),
    }
}

fn push_lines(out: &mut String, sign: char, text: &str) {
    for line in spread(text).lines() {
        let _ = writeln!(out, "    {sign} {line}");
    }
}

/// Finds the recorded line of an effect and holds what it is asked with against it.
pub(super) fn check_asked(score: &Score, asked: &Asked) -> Result<usize, Box<Divergence>> {
    let Some(&at) = score.index.get(&asked.id) else {
        return Err(extra(score, asked).into());
    };
    let record = score.record(at);
    if score.begun[at] {
        let summary = format!("{} happens a second time", asked.id);
        return Err(Divergence::new(Class::Extra, &asked.id, summary).advise().into());
    }
    if asked.policy == Policy::Deny {
        let summary = "the scenario denies this tool in a replay, but the recording reaches it".to_owned();
        return Err(Divergence::new(Class::Extra, &asked.id, summary).into());
    }
    if record.kind != asked.kind {
        let summary = format!("recorded as {}, now {}", record.kind.as_str(), asked.kind.as_str());
        return Err(Divergence::new(Class::Extra, &asked.id, summary).advise().into());
    }
    match check_key(&score.replay.recording.texts, asked, &record.key) {
        Err(mut divergence) if !may_reword(score, asked, &divergence) => {
            let at = divergence.equal.len();
            divergence.notes.extend(cause::of_segment(score, asked, &record.key, at));
            Err(divergence)
        }
        Ok(()) | Err(_) => Ok(at),
    }
}

/// Whether it is only worded otherwise, and that is tolerated.
fn may_reword(score: &Score, asked: &Asked, divergence: &Divergence) -> bool {
    score.replay.tolerance == Tolerance::Wording
        && divergence.class == Class::Prompt
        && matches!(asked.kind, EffectKind::Llm | EffectKind::Render)
}

/// Which words an effect that is known may be asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wording {
    /// Those it was asked in.
    Recorded,
    /// Others, too.
    Any,
}

/// Holds what an effect of a run that goes on is asked with against the line of its journal.
pub(super) fn check_known(
    texts: &Texts,
    record: &EffectRecord,
    (asked, wording): (&Asked, Wording),
    is_second: bool,
) -> Result<(), Box<Divergence>> {
    let refuse = |summary: String| Err(Divergence::new(Class::Extra, &asked.id, summary).into());
    if is_second {
        return refuse(format!("{} happens a second time", asked.id));
    }
    if record.kind != asked.kind {
        return refuse(format!("it was {} and is now {}", record.kind.as_str(), asked.kind.as_str()));
    }
    if wording == Wording::Any {
        return Ok(());
    }
    check_key(texts, asked, &record.key).map_err(|mut divergence| {
        divergence.next = vec![OTHER_RUN.to_owned()];
        divergence
    })
}

const OTHER_RUN: &str = "a run goes on as it was started: put back what has changed since (variables that mount plans refer to, \
                         another version of runner), or start a new run";

/// A run that goes on no longer comes to something it had done.
pub(super) fn unreached(record: &EffectRecord, waiting: &[&str]) -> Divergence {
    let summary = format!(
        "the run had done {} {} (number {}), but does not come to it again",
        record.kind.as_str(),
        record.id,
        record.seq
    );
    let mut divergence = Divergence::new(Class::Missing, &record.id, summary);
    divergence.notes.extend(waiting.iter().take(5).map(|name| format!("{name} waits for it")));
    divergence.next.push(OTHER_RUN.to_owned());
    divergence
}

fn check_key(texts: &Texts, asked: &Asked, recorded: &[Segment]) -> Result<(), Box<Divergence>> {
    let equal = recorded
        .iter()
        .zip(&asked.key)
        .take_while(|(old, new)| old.hash == new.hash && old.label == new.label)
        .count();
    if equal == recorded.len() && equal == asked.key.len() {
        return Ok(());
    }
    let (old, new) = (recorded.get(equal), asked.key.get(equal));
    let label = new.or(old).map(|segment| segment.label.clone()).unwrap_or_default();
    let class = if label == "model" { Class::Params } else { Class::Prompt };
    let what = match asked.kind {
        EffectKind::Llm => match asked.id.turn_and_call() {
            Some((turn, _)) => format!("model call {turn} of {}", asked.id.session().unwrap_or_default()),
            None => "a model call".to_owned(),
        },
        _ => format!("{} {}", asked.kind.as_str(), asked.id),
    };
    let mut divergence =
        Divergence::new(class, &asked.id, format!("{what} is asked otherwise than recorded"));
    divergence.equal = recorded[..equal].iter().map(|segment| segment.label.clone()).collect();
    divergence.difference = Some(Difference {
        label,
        recorded: old.and_then(|segment| texts.get(&segment.hash)).map(ToString::to_string),
        now: new.map(|segment| segment.text.to_string()),
    });
    Err(divergence.advise().into())
}

/// Holds what an effect came to against its recorded line.
pub(super) fn check_ran(score: &Score, at: usize, asked: &Asked, ran: &Ran) -> Result<(), Box<Divergence>> {
    let record = score.record(at);
    if asked.policy == Policy::Tape {
        return Ok(());
    }
    if record.result != ran.result && !(may_render_anew(score, asked)) {
        let summary = format!("{} has another result than recorded, for the same input", asked.id);
        let mut divergence = Divergence::new(Class::Tool, &asked.id, summary);
        divergence.difference = Some(Difference {
            label: "result".to_owned(),
            recorded: Some(result_text(&record.result)),
            now: Some(result_text(&ran.result)),
        });
        divergence.notes.extend(cause::of_result(score, at));
        return Err(divergence.advise().into());
    }
    let footprint = ran.footprint.as_ref().unwrap_or(&asked.footprint);
    if record.footprint != *footprint {
        let summary = format!("{} touches {footprint}, recorded was {}", asked.id, record.footprint);
        return Err(Divergence::new(Class::Tool, &asked.id, summary).advise().into());
    }
    Ok(())
}

/// Whether a template may come to another text.
fn may_render_anew(score: &Score, asked: &Asked) -> bool {
    score.replay.tolerance == Tolerance::Wording && asked.kind == EffectKind::Render
}

/// The text of a result: of a tool call what the model is shown, of others the JSON.
pub(super) fn result_text(result: &serde_json::Value) -> String {
    match result.get("content").and_then(serde_json::Value::as_str) {
        Some(content) => content.to_owned(),
        None => result.to_string(),
    }
}

fn extra(score: &Score, asked: &Asked) -> Divergence {
    let summary = format!("{} {} is not in the recording", asked.kind.as_str(), asked.id);
    let mut divergence = Divergence::new(Class::Extra, &asked.id, summary);
    if let Some(session) = asked.id.session() {
        let last =
            score.replay.recording.effects.iter().rev().find(|record| record.id.session() == Some(session));
        divergence.notes.push(match last {
            Some(last) => format!("the last recorded effect of {session} is {}", last.id),
            None => format!("the recording holds nothing of a session {session}"),
        });
    }
    if let Some(segment) = asked.key.last() {
        divergence.difference = Some(Difference {
            label: segment.label.clone(),
            recorded: None,
            now: Some(segment.text.to_string()),
        });
    }
    divergence.advise()
}

/// Nobody is busy, yet effects wait for others that nobody asks for.
pub(super) fn stuck(score: &Score) -> Divergence {
    let waiting: Vec<usize> = score.waiting.keys().copied().collect();
    match (0..score.done.len()).find(|at| !score.done[*at] && !score.begun[*at]) {
        Some(at) => missing(score, at, &waiting),
        None => {
            let first = waiting.first().copied().or(score.next_missing());
            let first = score.record(first.expect("somebody waits, or something is left"));
            Divergence::new(Class::Schedule, &first.id, "the recorded order cannot be kept".to_owned())
                .advise()
        }
    }
}

/// A recorded effect that was never asked for.
pub(super) fn missing(score: &Score, at: usize, waiting: &[usize]) -> Divergence {
    let record = score.record(at);
    let summary = format!(
        "the recording goes on with {} {} (number {}), but nothing asks for it",
        record.kind.as_str(),
        record.id,
        record.seq
    );
    let mut divergence = Divergence::new(Class::Missing, &record.id, summary);
    let waiting = waiting.iter().take(5).map(|at| format!("{} waits for it", score.record(*at).id));
    divergence.notes.extend(waiting);
    let left = score.done.iter().filter(|done| !**done).count();
    divergence.notes.push(format!(
        "{} of {} recorded effects have happened",
        score.done.len() - left,
        score.done.len()
    ));
    divergence.advise()
}
