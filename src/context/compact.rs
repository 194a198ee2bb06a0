//! How a conversation is shown smaller: old results of tools are cut, then old exchanges are left out, then old prompts
//! are cut. A pure function of the messages and of what is shown of them so far.
//!
//! ```text
//!   pinned │ first prompt │ exchange │ exchange │ prompt │ exchange … exchange │ last prompt │ exchange …
//!   ─────── never touched ─┘          └ cut or left out, oldest first ┘└─ recent: last ─┘└─ never touched
//! ```
//!
//! An exchange is what the model said (more than one message, when it paused) with the results of its calls: it is shown
//! or left out as one, so that a call is never without its results.

use std::ops::Range;

use super::settings::Settings;
use crate::chat::{Message, Part, Speaker};

/// What is shown of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    Whole,
    /// Results or a prompt, cut.
    Cut,
    Gone,
}

/// One message and what is shown of it.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) message: &'a Message,
    pub(super) shape: Shape,
    /// Bytes as it is shown.
    pub(super) bytes: u64,
}

/// Characters of a prompt that are shown of one that is cut; shorter ones are not worth cutting.
const STUB_CHARS: usize = 50;
const STUB_FROM_CHARS: usize = 80;

/// Exchanges are never all left out: the last one is what the model is about to answer.
const LEVELS: [Step; 9] = [
    Step::Cut(Reach::HalfBoundary),
    Step::Cut(Reach::Boundary),
    Step::Leave(1.0),
    Step::Cut(Reach::BeyondBoundary),
    Step::Leave(0.6),
    Step::Cut(Reach::All),
    Step::Leave(0.3),
    Step::Stub,
    Step::LeaveStubs,
];

/// One step further.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Cuts results of tools, as far as this.
    Cut(Reach),
    /// Leaves exchanges out, but for this share of those that count as recent.
    Leave(f64),
    /// Cuts prompts.
    Stub,
    /// Leaves those out that were cut.
    LeaveStubs,
}

/// Which results may be cut, from the oldest.
#[derive(Debug, Clone, Copy)]
enum Reach {
    HalfBoundary,
    Boundary,
    BeyondBoundary,
    All,
}

impl Reach {
    fn share(self, boundary: f64) -> f64 {
        match self {
            Self::HalfBoundary => boundary / 2.0,
            Self::Boundary => boundary,
            Self::BeyondBoundary => f64::midpoint(boundary, 1.0),
            Self::All => 1.0,
        }
    }
}

/// Changes what is shown, step by step, until `fits` says that the bytes left are few enough. Answers how far it went.
pub(super) fn compact(
    shown: &mut [Shown<'_>],
    pinned: usize,
    settings: &Settings,
    fits: impl Fn(u64) -> bool,
) -> u8 {
    let mut work = Work { left: shown.iter().map(|one| one.bytes).sum(), shown, pinned, settings };
    let mut level = 0;
    for step in LEVELS {
        if fits(work.left) {
            break;
        }
        level += 1;
        match step {
            Step::Cut(reach) => work.cut(reach, &fits),
            Step::Leave(share) => work.leave(share, &fits),
            Step::Stub => work.stub(&fits),
            Step::LeaveStubs => work.leave_stubs(&fits),
        }
    }
    level
}

struct Work<'w, 'a> {
    shown: &'w mut [Shown<'a>],
    pinned: usize,
    settings: &'w Settings,
    left: u64,
}

impl Work<'_, '_> {
    fn cut(&mut self, reach: Reach, fits: &impl Fn(u64) -> bool) {
        let results: Vec<usize> =
            (self.pinned..self.shown.len()).filter(|at| has_results(self.shown[*at].message)).collect();
        let reached = (results.len() as f64 * reach.share(self.settings.truncate_boundary)).ceil() as usize;
        let mut protected = 0;
        let spared = results.iter().rev().take_while(|at| {
            let before = protected;
            protected += count_results(self.shown[**at].message);
            before < self.settings.protected_results
        });
        // What the model is about to read is whole in any case.
        let last = self.shown.last().is_some_and(|last| has_results(last.message));
        let may_be_cut = results.len() - spared.count().max(usize::from(last));
        for at in &results[..reached.min(may_be_cut)] {
            if fits(self.left) {
                return;
            }
            self.shape(*at, Shape::Cut);
        }
    }

    fn leave(&mut self, share: f64, fits: &impl Fn(u64) -> bool) {
        let there: Vec<usize> =
            (0..self.shown.len()).filter(|at| self.shown[*at].shape != Shape::Gone).collect();
        let recent = (there.len() as f64 * self.settings.protected_recent * share).ceil() as usize;
        let end = there.len().checked_sub(recent).and_then(|at| there.get(at)).copied();
        let end = end.unwrap_or(self.shown.len());
        let mut exchanges = exchanges(self.shown, self.pinned);
        exchanges.pop();
        for exchange in exchanges.into_iter().filter(|exchange| exchange.end <= end) {
            if fits(self.left) {
                return;
            }
            for at in exchange {
                self.shape(at, Shape::Gone);
            }
        }
    }

    fn stub(&mut self, fits: &impl Fn(u64) -> bool) {
        for at in self.old_prompts() {
            if fits(self.left) {
                return;
            }
            self.shape(at, Shape::Cut);
        }
    }

    fn leave_stubs(&mut self, fits: &impl Fn(u64) -> bool) {
        for at in self.old_prompts() {
            if fits(self.left) {
                return;
            }
            // One with nothing of its own left below it says nothing any more; a prompt too short to be cut goes with it.
            let is_empty = self.shown.get(at + 1).is_none_or(|next| next.shape == Shape::Gone);
            if is_empty {
                self.shape(at, Shape::Gone);
            }
        }
    }

    /// Prompts between the first and the last.
    fn old_prompts(&self) -> Vec<usize> {
        let mut prompts: Vec<usize> =
            (self.pinned..self.shown.len()).filter(|at| is_prompt(self.shown[*at].message)).collect();
        prompts.pop();
        prompts
    }

    fn shape(&mut self, at: usize, shape: Shape) {
        let one = &mut self.shown[at];
        if one.shape >= shape {
            return;
        }
        let bytes = match shape {
            Shape::Gone => 0,
            Shape::Whole | Shape::Cut => size(&render(one.message, shape, self.settings)),
        };
        self.left = self.left - one.bytes + bytes;
        (one.shape, one.bytes) = (shape, bytes);
    }
}

/// Where the exchanges that are still shown stand, from the oldest.
fn exchanges(shown: &[Shown<'_>], from: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = from;
    while at < shown.len() {
        let start = at;
        while at < shown.len() && shown[at].message.speaker == Speaker::Assistant {
            at += 1;
        }
        if at == start {
            at += 1;
            continue;
        }
        if at < shown.len() && has_results(shown[at].message) {
            at += 1;
        }
        if shown[start].shape != Shape::Gone {
            found.push(start..at);
        }
    }
    found
}

/// How many messages at the beginning are never touched: what is pinned, and the first prompt.
pub(super) fn first_prompt_end(messages: &[Message], pinned: usize) -> usize {
    let first = messages.iter().skip(pinned).position(is_prompt);
    first.map_or(pinned, |at| pinned + at + 1)
}

pub(super) fn is_prompt(message: &Message) -> bool {
    message.speaker == Speaker::User && !has_results(message)
}

fn has_results(message: &Message) -> bool {
    count_results(message) > 0
}

fn count_results(message: &Message) -> usize {
    message.parts.iter().filter(|part| matches!(part, Part::ToolResult(_))).count()
}

/// A message as it is shown.
pub(super) fn render(message: &Message, shape: Shape, settings: &Settings) -> Message {
    let mut message = message.clone();
    if shape == Shape::Cut {
        let is_prompt = is_prompt(&message);
        for part in &mut message.parts {
            match part {
                Part::ToolResult(result) => {
                    if let Some(cut) = cut_result(&result.content, settings.truncate_chars) {
                        result.content = cut;
                    }
                }
                Part::Text { text, .. } if is_prompt && text.chars().count() > STUB_FROM_CHARS => {
                    *text =
                        format!("[User message compacted - original: \"{}…\"]", beginning(text, STUB_CHARS));
                }
                _ => {}
            }
        }
    }
    message
}

/// A result cut to its beginning; `None` when that would save nothing.
fn cut_result(content: &str, chars: usize) -> Option<String> {
    let tokens = content.len() / 4;
    let cut = format!(
        "[truncated: ~{tokens} tokens - call the tool again only if you need them] {}...",
        beginning(content, chars)
    );
    (cut.len() < content.len()).then_some(cut)
}

fn beginning(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
}

/// Bytes of a message as JSON.
pub(super) fn size(message: &Message) -> u64 {
    serde_json::to_string(message).map_or(0, |text| text.len() as u64)
}
