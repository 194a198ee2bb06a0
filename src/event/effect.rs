//! What identifies an effect, what it touches, and how a replay treats it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::id::{Fingerprint, PhaseId, SessionName};

/// The id of an effect: `work/coding-worker-2/7.1#2` = phase / session / turn . call # attempt.
///
/// | form | what |
/// |---|---|
/// | `PHASE/SESSION/TURN` | a model call |
/// | `PHASE/SESSION/TURN.K` | its K-th tool call, from 1, in the order of the calls in the reply |
/// | `…#A` | the A-th attempt; left out for the first |
/// | `PHASE/!NAME-N`, `run/!NAME-N` | an effect of the engine |
///
/// SESSION is `name`, or `name:N` for the N-th of a worker's fresh sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectId(String);

impl EffectId {
    /// A model call.
    pub fn turn(session_path: &str, turn: u32) -> Self {
        Self(format!("{session_path}/{turn}"))
    }

    /// A tool call of a turn; `call` counts from 1.
    #[must_use]
    pub fn call(&self, call: usize) -> Self {
        Self(format!("{}.{call}", self.without_attempt()))
    }

    /// The same effect, tried again; `attempt` counts from 1.
    #[must_use]
    pub fn attempt(&self, attempt: u32) -> Self {
        let base = self.without_attempt();
        Self(if attempt <= 1 { base.to_owned() } else { format!("{base}#{attempt}") })
    }

    /// The same effect in a run that was continued after the `times`-th time it had been set aside: `…~1`.
    #[must_use]
    pub fn again(&self, times: u32) -> Self {
        Self(format!("{}~{times}", self.0))
    }

    /// The name under which shared state knows this effect, given how often effects were set aside.
    #[must_use]
    pub fn known_as(&self, set_aside: &BTreeMap<Self, u32>) -> Self {
        set_aside.get(self).map_or_else(|| self.clone(), |times| self.again(*times))
    }

    /// An effect of the engine in a phase.
    pub fn engine(phase: &PhaseId, name: &str, count: u32) -> Self {
        Self(format!("{phase}/!{name}-{count}"))
    }

    /// The phase whose question it is the answer to, if it is one.
    pub fn answered(&self) -> Option<PhaseId> {
        self.0.split_once("/!answer-").map(|(phase, _)| PhaseId::from(phase))
    }

    /// An effect of the engine outside any phase.
    pub fn run(name: &str, count: u32) -> Self {
        Self(format!("run/!{name}-{count}"))
    }

    /// The path of a session: its phase and name, and the number of a fresh session.
    pub fn session_path(phase: &PhaseId, session: &SessionName, fresh: Option<u32>) -> String {
        match fresh {
            Some(n) => format!("{phase}/{session}:{n}"),
            None => format!("{phase}/{session}"),
        }
    }

    /// Reads back an id from a ledger.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id without `#attempt`: what ids made inside the effect are derived from.
    pub fn without_attempt(&self) -> &str {
        self.0.split_once('#').map_or(&self.0, |(base, _)| base)
    }

    /// The phase, or `run`.
    pub fn phase(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// `PHASE/SESSION` of a session's effect; `None` for the engine's.
    pub fn session(&self) -> Option<&str> {
        let end = self.0.rfind('/')?;
        let path = &self.0[..end];
        (path.contains('/') && !self.0[end + 1..].starts_with('!')).then_some(path)
    }

    /// Turn and call of a session's effect; call 0 is the model call.
    pub fn turn_and_call(&self) -> Option<(u32, u32)> {
        self.session()?;
        let last = self.without_attempt().rsplit('/').next()?;
        match last.split_once('.') {
            Some((turn, call)) => Some((turn.parse().ok()?, call.parse().ok()?)),
            None => Some((last.parse().ok()?, 0)),
        }
    }
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What sort of thing an effect is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// A model call.
    Llm,
    /// A tool call.
    Tool,
    /// A template or condition that reads the queue.
    Render,
    /// The engine's own operation on the queue: seed, claim, settle, release.
    Queue,
    /// Why a waiting worker or monitor went on or ended.
    Wake,
    /// A grant, a trim or a refusal of budget.
    Budget,
    /// What hooks said.
    Hook,
    /// What a person answered.
    Answer,
}

impl EffectKind {
    /// The word in a ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Tool => "tool",
            Self::Render => "render",
            Self::Queue => "queue",
            Self::Wake => "wake",
            Self::Budget => "budget",
            Self::Hook => "hook",
            Self::Answer => "answer",
        }
    }

    /// Reads the word in a ledger.
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Llm, Self::Tool, Self::Render, Self::Queue, Self::Wake, Self::Budget, Self::Hook, Self::Answer]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// What a replay does with an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Runs it again; the result must equal the recorded one.
    Real,
    /// Hands out the recorded result.
    Tape,
    /// Ends the replay when it is reached.
    Deny,
}

impl Policy {
    /// The word in a ledger and in a scenario.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Tape => "tape",
            Self::Deny => "deny",
        }
    }

    /// Reads the word in a ledger or scenario.
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Real, Self::Tape, Self::Deny].into_iter().find(|policy| policy.as_str() == text)
    }
}

/// Whether a resource is read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Changed, or read and changed.
    Write,
}

/// What an effect touches: names such as `issue:bd-1`, `issue:*`, `fs:notes.md`, `fs:*`. A star stands for all of its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// What it reads.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reads: BTreeSet<String>,
    /// What it writes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub writes: BTreeSet<String>,
}

impl Footprint {
    /// Touches nothing that anyone else sees.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds one resource.
    #[must_use]
    pub fn with(mut self, access: Access, resource: impl Into<String>) -> Self {
        match access {
            Access::Read => self.reads.insert(resource.into()),
            Access::Write => self.writes.insert(resource.into()),
        };
        self
    }

    /// Whether the order of the two matters: one writes what the other reads or writes.
    pub fn overlaps(&self, other: &Self) -> bool {
        let meet = |one: &BTreeSet<String>, two: &BTreeSet<String>| {
            one.iter().any(|a| two.iter().any(|b| same_resource(a, b)))
        };
        meet(&self.writes, &other.writes)
            || meet(&self.writes, &other.reads)
            || meet(&self.reads, &other.writes)
    }

    /// Whether it touches nothing.
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty()
    }
}

/// A name as it stands in a ledger: what separates names, sets or columns there is written as `%` and two digits.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c == ' ' || c.is_ascii_control() || "%,;[]".contains(c) {
            out.push_str(&format!("%{:02x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        out.push(char::from(u8::from_str_radix(digits, 16).ok()?));
        out.push_str(rest);
    }
    Some(out)
}

fn same_resource(a: &str, b: &str) -> bool {
    let kind = |text: &str| text.split_once(':').map(|(kind, _)| kind.to_owned());
    a == b || ((a.ends_with(":*") || b.ends_with(":*")) && kind(a) == kind(b))
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |set: &BTreeSet<String>| set.iter().map(|name| escaped(name)).collect::<Vec<_>>().join(",");
        match (self.reads.is_empty(), self.writes.is_empty()) {
            (true, true) => f.write_str("-"),
            (false, true) => write!(f, "r:[{}]", list(&self.reads)),
            (true, false) => write!(f, "w:[{}]", list(&self.writes)),
            (false, false) => write!(f, "r:[{}];w:[{}]", list(&self.reads), list(&self.writes)),
        }
    }
}

impl Footprint {
    /// Reads back what `Display` wrote.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut footprint = Self::default();
        if text == "-" {
            return Some(footprint);
        }
        for half in text.split(';') {
            let (set, rest) = if let Some(rest) = half.strip_prefix("r:[") {
                (&mut footprint.reads, rest)
            } else if let Some(rest) = half.strip_prefix("w:[") {
                (&mut footprint.writes, rest)
            } else {
                return None;
            };
            for name in rest.strip_suffix(']')?.split(',') {
                set.insert(unescaped(name)?);
            }
        }
        Some(footprint)
    }
}

/// One part of what an effect was asked with: its label and the fingerprint of its text. A key is a list of these, so
/// that the first part that differs is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// `model`, `tools`, `system`, `message 3`, `input`, `template` …
    pub label: String,
    /// The fingerprint of the text.
    pub hash: Fingerprint,
    /// The text itself, scrubbed; not part of the identity.
    #[serde(skip)]
    pub text: Arc<str>,
}

impl Segment {
    /// A segment with this text.
    pub fn new(label: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        Self { label: label.into(), hash: Fingerprint::of(text.as_bytes()), text }
    }
}

/// The commit numbers of a run: the gate and the issue store draw from the same one, so that the ledger is one history.
#[derive(Debug, Clone, Default)]
pub struct Sequence(Arc<AtomicU64>);

impl Sequence {
    /// The numbers after this one.
    pub fn after(last: u64) -> Self {
        Self(Arc::new(AtomicU64::new(last)))
    }

    /// Gives no number up to this one any more.
    pub fn go_beyond(&self, last: u64) {
        self.0.fetch_max(last, Ordering::SeqCst);
    }

    /// The next number, from 1.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_take_apart() {
        let turn = EffectId::turn("work/coding-worker-2", 7);
        let call = turn.attempt(2).call(1);
        assert_eq!(turn.attempt(3).as_str(), "work/coding-worker-2/7#3");
        assert_eq!(call.as_str(), "work/coding-worker-2/7.1");
        assert_eq!(call.turn_and_call(), Some((7, 1)));
        assert_eq!(turn.attempt(3).turn_and_call(), Some((7, 0)));
        assert_eq!(call.session(), Some("work/coding-worker-2"));
        let wake = EffectId::engine(&PhaseId::from("work"), "wake.coding-worker-2", 3);
        assert_eq!(wake.as_str(), "work/!wake.coding-worker-2-3");
        assert_eq!((wake.session(), wake.phase()), (None, "work"));
    }

    #[test]
    fn footprints_overlap_when_order_matters() {
        let read = |r: &str| Footprint::none().with(Access::Read, r);
        let write = |r: &str| Footprint::none().with(Access::Write, r);
        assert!(!read("issue:*").overlaps(&read("issue:*")));
        assert!(read("issue:*").overlaps(&write("issue:a")));
        assert!(write("issue:a").overlaps(&write("issue:a")));
        assert!(!write("issue:a").overlaps(&write("issue:b")));
        assert!(!write("fs:*").overlaps(&write("issue:b")));
    }

    #[test]
    fn footprints_read_back() {
        let both = Footprint::none()
            .with(Access::Read, "issue:*")
            .with(Access::Write, "issue:a")
            .with(Access::Write, "issue:b");
        let odd = Footprint::none().with(Access::Write, "fs:a b,c;[d]%20é\n.md").with(Access::Read, "fs:%");
        assert!(!odd.to_string().contains([' ', '\n']), "a ledger has columns and lines");
        for footprint in [Footprint::none(), odd, both.clone(), Footprint { reads: BTreeSet::new(), ..both }]
        {
            assert_eq!(Footprint::from_text(&footprint.to_string()), Some(footprint));
        }
    }
}
