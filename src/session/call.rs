//! How a session answers the tool calls of one message: in block order where they could get in each other's way, at once
//! where they cannot, results always in block order.

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::files::{self, Restored};
use super::hooks::{Reviewed, Shown};
use super::results::Shelf;
use super::{CallOrder, Session, Stage};
use crate::chat::{ToolCall, ToolInput, ToolResult};
use crate::effects::{Announce, Asked, Beginning, Busy, Effects, Grant, Halt, Kept, Ran};
use crate::event::{Access, EffectId, EffectKind, Footprint, Happening, Policy, Segment};
use crate::hook::Outcome;
use crate::id::canonical_json;
use crate::limit;
use crate::tool::{Answers, CallContext, FilePatch, Repeat, Tool, ToolOutput};

/// What a tool call came to, as it stands in a recording.
#[derive(Serialize, Deserialize)]
struct CallResult {
    content: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_error: bool,
    /// All of it, where `content` is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole: Option<String>,
    /// What the call did to files, for a replay that does not run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<FilePatch>,
    /// All that was there when the run went on that was killed during the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all_files: Option<FilePatch>,
    /// What jobs in the background had done to files by then, and nothing recorded before shows: a replay runs none, so that
    /// it has to be done before the call is run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files_before: Option<FilePatch>,
}

/// A call that can be carried out: its tool exists and its arguments fit.
struct Ready {
    tool: Arc<dyn Tool>,
    input: Map<String, Value>,
    footprint: Footprint,
}

/// A call being carried out: its place, its token, and what comes of it.
type Call<'a> = BoxFuture<'a, (usize, Busy, Result<ToolResult, Halt>)>;

/// Where a call of the message stands.
enum Slot {
    Waiting(Ready),
    Running(Footprint),
    Done(ToolResult),
}

impl Session {
    /// Answers every call.
    pub(super) async fn answer(&self, busy: &Busy, calls: Vec<ToolCall>) -> Result<Vec<ToolResult>, Halt> {
        let (mut slots, mut reviewed) = (Vec::new(), Vec::new());
        for (at, call) in calls.into_iter().enumerate() {
            let (slot, review) = self.review(busy, at, call).await?;
            slots.push(slot);
            reviewed.push(review);
        }
        let (calls, told): (Vec<ToolCall>, Vec<Outcome>) = reviewed.into_iter().unzip();
        let mut running = FuturesUnordered::new();
        self.start(&calls, &mut slots, &mut running, busy);
        if !running.is_empty() {
            // While the calls run, they are who is busy; the session counts again before the last of them stops counting.
            let mut rest = Some(busy.rest());
            while let Some((at, token, result)) = running.next().await {
                slots[at] = Slot::Done(result?);
                self.start(&calls, &mut slots, &mut running, &token);
                if running.is_empty() {
                    rest.take();
                }
                drop(token);
            }
        }
        let done = slots.into_iter().zip(told).map(|(slot, told)| match slot {
            Slot::Done(result) => ToolResult { content: told.below(&result.content), ..result },
            Slot::Waiting(_) | Slot::Running(_) => unreachable!("the loop ends when every call is answered"),
        });
        Ok(done.collect())
    }

    /// Finds out whether a call can be run, and what hooks make of it if so.
    async fn review(
        &self,
        busy: &Busy,
        at: usize,
        call: ToolCall,
    ) -> Result<(Slot, (ToolCall, Outcome)), Halt> {
        if let slot @ (Slot::Done(_) | Slot::Running(_)) = self.prepare(&call) {
            return Ok((slot, (call, Outcome::default())));
        }
        let Reviewed { call, denied, told } = self.review_call(busy, at, call).await?;
        let slot = match denied {
            Some(reason) => Slot::Done(self.refuse(&call, reason)),
            // With other arguments it is looked at anew.
            None => self.prepare(&call),
        };
        Ok((slot, (call, told)))
    }

    /// Starts as many calls as may run now.
    fn start<'s>(
        &'s self,
        calls: &'s [ToolCall],
        slots: &mut [Slot],
        running: &mut FuturesUnordered<Call<'s>>,
        token: &Busy,
    ) {
        while running.len() < self.at_once()
            && let Some((at, ready)) = take_next(slots, self.policy.calls)
        {
            let (call, token) = (&calls[at], token.fork());
            running.push(Box::pin(async move {
                let result = self.carry_out(&token, at, call, ready).await;
                (at, token, result)
            }));
        }
    }

    fn at_once(&self) -> usize {
        match self.policy.calls {
            CallOrder::Parallel => limit::PARALLEL_CALLS,
            CallOrder::InTurn => 1,
        }
    }

    /// Finds the tool and checks the arguments; what is wrong with them is the answer.
    fn prepare(&self, call: &ToolCall) -> Slot {
        match self.kit.find(call, &self.stage.validators) {
            Err(content) => Slot::Done(self.refuse(call, content)),
            Ok((tool, input)) => Slot::Waiting(Ready {
                tool: tool.clone(),
                input: input.clone(),
                footprint: tool.footprint(input),
            }),
        }
    }

    /// Answers a call that is not run, and tells of it as of any other that failed.
    pub(super) fn refuse(&self, call: &ToolCall, content: String) -> ToolResult {
        let input = match &call.input {
            ToolInput::Object(input) => canonical_json(&Value::Object(input.clone())),
            ToolInput::Invalid(text) => text.clone(),
        };
        let input = self.stage.effects.scrubber().scrub(&input);
        self.tell(Happening::ToolStarted { tool: call.name.clone(), input: one_line(&input) });
        let output = one_line(&content);
        self.tell(Happening::ToolEnded { tool: call.name.clone(), is_error: true, output });
        ToolResult { id: call.id.clone(), content, is_error: true }
    }

    /// What a replay does with a call: what the scenario says, else its tool. What is chance cannot be run again.
    fn policy_of(&self, call: &ToolCall, ready: &Ready) -> Policy {
        let policy = self.stage.policies.get(&call.name).copied().unwrap_or_else(|| ready.tool.policy());
        match (policy, ready.tool.answers(&ready.input)) {
            (Policy::Real, Answers::ByChance) => Policy::Tape,
            _ => policy,
        }
    }

    async fn carry_out(
        &self,
        busy: &Busy,
        at: usize,
        call: &ToolCall,
        ready: Ready,
    ) -> Result<ToolResult, Halt> {
        let input = self.stage.effects.scrubber().scrub_json(Value::Object(ready.input.clone()));
        let input = canonical_json(&input);
        self.tell(Happening::ToolStarted { tool: call.name.clone(), input: one_line(&input) });
        let given = ready.input.clone();
        if self.is_task(call) {
            let ToolResult { content, is_error, .. } = self.delegate(busy, at, call, &given).await?;
            let shown = Shown { content, is_error };
            return self.show(busy, (at, call), &given, shown).await;
        }
        let policy = self.policy_of(call, &ready);
        let asked = Asked {
            id: self.turn_id().call(at + 1),
            kind: EffectKind::Tool,
            key: vec![Segment::new("tool", call.name.as_str()), Segment::new("input", input)],
            footprint: ready.footprint.clone(),
            policy,
            announce: match ready.tool.repeat() {
                Repeat::Harmful => Announce::Intent,
                Repeat::Harmless => Announce::No,
            },
        };
        let known = (ready.tool.clone(), ready.input.clone());
        let shelf = self.shelf(at);
        let id = asked.id.clone();
        let running = Running {
            stage: &self.stage,
            folder: self.workspace.root(),
            hard: &self.stop.hard,
            id,
            ready,
            policy,
            shelf: shelf.clone(),
        };
        let read = |result: Value| {
            let result: Result<CallResult, _> = serde_json::from_value(result);
            result.map_err(|error| Halt::Unreadable(self.turn_id(), error.to_string()))
        };
        let restore = |kept: Kept, result: Value| async move {
            let result = read(result)?;
            if let (Kept::Recording, Some(whole)) = (&kept, result.whole) {
                shelf.keep(whole, self.workspace.root()).await.map_err(Halt::Workspace)?;
            }
            match kept {
                Kept::Journal(name) => {
                    let (tool, input) = known;
                    let output = ToolOutput { is_error: result.is_error, ..ToolOutput::ok(result.content) };
                    tool.recall(&input, &name, &output).await.map_err(Halt::Workspace)
                }
                Kept::Recording => {
                    let (before, changes) = (result.files_before, result.files);
                    let changes = [before, changes].map(|files| (Restored::Changes, files));
                    for (what, files) in changes.into_iter().chain([(Restored::All, result.all_files)]) {
                        let Some(files) = files else { continue };
                        let restored = files::restore(files, what, &self.stage.workspace).await;
                        restored.map_err(Halt::Workspace)?;
                    }
                    Ok(())
                }
            }
        };
        let effects: &Effects = &self.stage.effects;
        let run = |grant| running.run(grant);
        let result = read(effects.perform_or_restore(busy, asked, run, restore).await?)?;
        let shown = Shown { content: result.content, is_error: result.is_error };
        self.show(busy, (at, call), &given, shown).await
    }

    /// What the model is shown of a call, after hooks have seen it.
    async fn show(
        &self,
        busy: &Busy,
        (at, call): (usize, &ToolCall),
        given: &Map<String, Value>,
        shown: Shown,
    ) -> Result<ToolResult, Halt> {
        let Shown { content, is_error } = self.review_result(busy, (at, call), given, shown).await?;
        let output = one_line(&content);
        self.tell(Happening::ToolEnded { tool: call.name.clone(), is_error, output });
        Ok(ToolResult { id: call.id.clone(), content, is_error })
    }
}

/// Takes the first call that has not begun and need not wait for an earlier one.
fn take_next(slots: &mut [Slot], order: CallOrder) -> Option<(usize, Ready)> {
    let in_the_way = |at: usize, footprint: &Footprint| {
        slots[..at].iter().any(|slot| match slot {
            Slot::Waiting(ready) => order == CallOrder::InTurn || ready.footprint.overlaps(footprint),
            Slot::Running(running) => order == CallOrder::InTurn || running.overlaps(footprint),
            Slot::Done(_) => false,
        })
    };
    let (at, footprint) = slots.iter().enumerate().find_map(|(at, slot)| match slot {
        Slot::Waiting(ready) if !in_the_way(at, &ready.footprint) => Some((at, ready.footprint.clone())),
        _ => None,
    })?;
    match std::mem::replace(&mut slots[at], Slot::Running(footprint)) {
        Slot::Waiting(ready) => Some((at, ready)),
        Slot::Running(_) | Slot::Done(_) => unreachable!("it was found waiting just above"),
    }
}

/// One tool at work.
struct Running<'a> {
    stage: &'a Stage,
    /// Where its session works.
    folder: &'a Path,
    hard: &'a CancellationToken,
    id: EffectId,
    ready: Ready,
    policy: Policy,
    shelf: Shelf,
}

impl Running<'_> {
    async fn run(self, grant: Grant) -> Option<Ran> {
        let files = &self.stage.files;
        let wanted = files.use_of(&self.ready.footprint, self.policy);
        let mut turn = match files.turn(wanted, &self.stage.workspace).await {
            Ok(turn) => turn,
            Err(trouble) => return Some(Ran::plain(refusal(&trouble))),
        };
        if grant.beginning == Beginning::Interrupted {
            // Without what is there a replay of it would show every later call something else.
            let (all_files, trouble) = turn.all(self.stage.effects.scrubber()).await;
            let seq = grant.sequence.filter(|_| turn.is_ordered()).map(|sequence| sequence.next());
            let result = CallResult { all_files, ..CallResult::refusal(&format!("{INTERRUPTED}{trouble}")) };
            return Some(Ran { seq, ..Ran::plain(result.into_value()) });
        }
        let files_before = match turn.settle(self.stage, &self.id).await {
            Ok(files) => files,
            Err(error) => return Some(Ran::plain(refusal(&error))),
        };
        let sequence = grant.sequence.clone().filter(|_| turn.is_ordered());
        // Those that read beside each other have the order in which they came, not the one in which the disk answers.
        let early = sequence.as_ref().filter(|_| turn.is_shared()).map(crate::event::Sequence::next);
        let cancel = self.hard.child_token();
        let context = CallContext {
            effect: grant.effect,
            at: grant.at,
            ids: grant.ids,
            sequence: grant.sequence,
            cancel: cancel.clone(),
        };
        let deadline = self.ready.tool.timeout(&self.ready.input);
        let work = self.ready.tool.run(self.ready.input.clone(), context);
        let output = match deadline {
            None => work.await,
            Some(deadline) => {
                tokio::pin!(work);
                tokio::select! {
                    output = &mut work => output,
                    () = tokio::time::sleep(deadline) => {
                        cancel.cancel();
                        // The tool ends what it started before it returns; what it touched until then counts.
                        let late = work.await;
                        let content = format!(
                            "Timed out after {} s and was ended. Do less in one call, or ask for a longer timeout if the tool takes one.",
                            deadline.as_secs()
                        );
                        ToolOutput { content, is_error: true, ..late }
                    }
                }
            }
        };
        if self.hard.is_cancelled() {
            return None;
        }
        let (files, trouble) = match turn.end().await {
            Ok(patch) => {
                let patch = patch.map(|patch| patch.without_secrets(self.stage.effects.scrubber()));
                (patch.filter(|patch| !patch.is_empty()), None)
            }
            Err(trouble) => (None, Some(trouble)),
        };
        let footprint = match &files_before {
            None => output.footprint,
            // Whatever a job did before is done with this call, so whoever looks at files has to come before or after it.
            Some(_) => {
                let footprint = output.footprint.unwrap_or_else(|| self.ready.footprint.clone());
                Some(footprint.with(Access::Write, "fs:*"))
            }
        };
        let result = match trouble {
            None => {
                // The file holds what the recording holds: no secrets.
                let content = self.stage.effects.scrubber().scrub(&output.content);
                let (content, whole) = self.shelf.place(content, self.folder).await;
                let is_error = output.is_error;
                CallResult { content, is_error, whole, files, all_files: None, files_before }.into_value()
            }
            Some(trouble) => refusal(&trouble),
        };
        // Drawn before anyone else may touch the files, so that the numbers tell the true order.
        let seq = output.seq.or(early).or_else(|| sequence.map(|sequence| sequence.next()));
        Some(Ran { result, footprint, seq, at: output.at })
    }
}

const INTERRUPTED: &str = "Interrupted: the run was killed while this call ran, and it was not run again. It may have done all of \
its work, a part or nothing. Look at what is there before you go on or call it again.";

impl CallResult {
    fn refusal(trouble: &str) -> Self {
        Self {
            content: trouble.to_owned(),
            is_error: true,
            whole: None,
            files: None,
            all_files: None,
            files_before: None,
        }
    }

    fn into_value(self) -> Value {
        serde_json::to_value(self).expect("a result holds only plain data")
    }
}

fn refusal(trouble: &str) -> Value {
    CallResult::refusal(trouble).into_value()
}

/// A text cut to what fits a line of the screen.
pub(super) fn one_line(text: &str) -> String {
    const LINE: usize = 200;
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
