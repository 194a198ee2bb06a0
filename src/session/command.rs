//! How a command that the scenario itself names is run: as an effect, with what it changed in the workspace on record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::call::one_line;
use super::files::{self, Restored};
use super::{Modules, Stage};
use crate::effects::{Announce, Asked, Beginning, Busy, Grant, Halt, Kept, Ran};
use crate::event::{EffectId, EffectKind, Happening, Policy, Segment, Whereabouts};
use crate::id::canonical_json;
use crate::limit;
use crate::tool::bash::TIMED_OUT;
use crate::tool::{CallContext, FilePatch, Tool, ToolOutput};

/// A command to be run.
#[derive(Debug, Clone)]
pub struct CommandAsked {
    /// Its name in the run.
    pub id: EffectId,
    /// For whoever listens.
    pub place: Whereabouts,
    /// What the shell is given.
    pub command: String,
    /// Its variables, besides the ordinary ones.
    pub env: BTreeMap<String, String>,
    /// How long it may take; `limit::COMMAND_TIMEOUT` if nothing is said.
    pub timeout: Option<Duration>,
}

/// How a command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandEnd {
    /// What it printed, without secrets; of very much, the beginning and the end.
    pub stdout: String,
    /// What it printed as errors.
    pub stderr: String,
    /// Its exit code, if it has come to its end.
    pub exit_code: Option<i32>,
    /// Why it has not, or could not be run at all.
    pub problem: Option<String>,
    /// Whether that is because it took longer than it may.
    pub timed_out: bool,
}

/// What stands in a recording.
#[derive(Serialize, Deserialize)]
struct CommandResult {
    content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<FilePatch>,
    /// All that was there when the run went on that was killed meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all_files: Option<FilePatch>,
}

/// The name by which `replay.tools` decides what a replay does with it.
const NAME: &str = "shell";

/// Runs a command; in a replay its result and its changes of the workspace come from the recording.
///
/// # Errors
/// Nothing goes on any more.
pub async fn run_command(
    stage: &Stage,
    modules: &Modules,
    hard: &CancellationToken,
    busy: &Busy,
    asked: CommandAsked,
) -> Result<CommandEnd, Halt> {
    let CommandAsked { id, place, command, env, timeout } = asked;
    let tool = match modules.command(&env) {
        Ok(tool) => tool,
        Err(problem) => return Ok(CommandEnd { problem: Some(problem), ..CommandEnd::default() }),
    };
    let seconds = timeout.unwrap_or(limit::COMMAND_TIMEOUT).min(limit::COMMAND_TIMEOUT);
    let seconds = seconds.as_secs() + u64::from(seconds.subsec_nanos() > 0);
    let input = json!({"command": command, "timeout": seconds});
    let input = input.as_object().expect("it is written as an object").clone();
    let scrubber = stage.effects.scrubber();
    let shown = canonical_json(&scrubber.scrub_json(json!({"command": command, "env": env})));
    let tell = |event| stage.hub.tell(stage.effects.now(), &place, event);
    tell(Happening::ToolStarted { tool: NAME.to_owned(), input: one_line(&scrubber.scrub(&command)) });
    let policy = stage.policies.get(NAME).copied().unwrap_or(Policy::Tape);
    let effect = Asked {
        id: id.clone(),
        kind: EffectKind::Tool,
        key: vec![Segment::new("tool", NAME), Segment::new("input", shown)],
        footprint: tool.footprint(&input),
        policy,
        announce: Announce::Intent,
    };
    let work = Work { stage, hard, tool, input, policy };
    let restore = |kept: Kept, result: Value| async move {
        let result: Result<CommandResult, _> = serde_json::from_value(result);
        let (Kept::Recording, Ok(result)) = (kept, result) else { return Ok(()) };
        for (what, files) in [(Restored::Changes, result.files), (Restored::All, result.all_files)] {
            let Some(files) = files else { continue };
            files::restore(files, what, &stage.workspace).await.map_err(Halt::Workspace)?;
        }
        Ok(())
    };
    let run = |grant| work.run(grant);
    let result = stage.effects.perform_or_restore(busy, effect, run, restore).await?;
    let result: CommandResult =
        serde_json::from_value(result).map_err(|error| Halt::Unreadable(id, error.to_string()))?;
    let end = CommandEnd::read(&result.content);
    let is_error = end.problem.is_some() || end.exit_code != Some(0);
    let said = if end.stdout.trim().is_empty() { &end.stderr } else { &end.stdout };
    let output = one_line(end.problem.as_deref().unwrap_or(said));
    tell(Happening::ToolEnded { tool: NAME.to_owned(), is_error, output });
    Ok(end)
}

impl CommandEnd {
    /// Reads what the tool says.
    fn read(content: &str) -> Self {
        let Ok(Value::Object(said)) = serde_json::from_str(content) else {
            return Self { problem: Some(content.to_owned()), ..Self::default() };
        };
        let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let code = said.get("returncode").and_then(Value::as_i64);
        Self {
            stdout: text("stdout"),
            stderr: text("stderr"),
            exit_code: code.and_then(|code| i32::try_from(code).ok()),
            problem: said.get("error").and_then(Value::as_str).map(str::to_owned),
            timed_out: said.get(TIMED_OUT) == Some(&Value::Bool(true)),
        }
    }
}

/// A command at work.
struct Work<'a> {
    stage: &'a Stage,
    hard: &'a CancellationToken,
    tool: Arc<dyn Tool>,
    input: Map<String, Value>,
    policy: Policy,
}

impl Work<'_> {
    async fn run(self, grant: Grant) -> Option<Ran> {
        let files = &self.stage.files;
        let wanted = files.use_of(&self.tool.footprint(&self.input), self.policy);
        let mut turn = match files.turn(wanted, &self.stage.workspace).await {
            Ok(turn) => turn,
            Err(trouble) => return Some(refusal(&trouble)),
        };
        if grant.beginning == Beginning::Interrupted {
            let (all_files, trouble) = turn.all(self.stage.effects.scrubber()).await;
            let result =
                CommandResult { content: format!("{INTERRUPTED}.{trouble}"), files: None, all_files };
            let seq = grant.sequence.filter(|_| turn.is_ordered()).map(|sequence| sequence.next());
            return Some(Ran { seq, ..Ran::plain(result.into_value()) });
        }
        let sequence = grant.sequence.clone();
        let context = CallContext {
            effect: grant.effect,
            at: grant.at,
            ids: grant.ids,
            sequence: grant.sequence,
            cancel: self.hard.child_token(),
        };
        let output: ToolOutput = self.tool.run(self.input, context).await;
        if self.hard.is_cancelled() {
            return None;
        }
        let changes = match turn.end().await {
            Ok(changes) => changes
                .map(|changes| changes.without_secrets(self.stage.effects.scrubber()))
                .filter(|changes| !changes.is_empty()),
            Err(trouble) => return Some(refusal(&trouble)),
        };
        let content = self.stage.effects.scrubber().scrub(&output.content);
        let result = CommandResult { content, files: changes, all_files: None }.into_value();
        let seq = sequence.filter(|_| turn.is_ordered()).map(|sequence| sequence.next());
        Some(Ran { result, footprint: output.footprint, seq, at: output.at })
    }
}

const INTERRUPTED: &str = "the run was killed while the command ran, and it was not run again; look at what is there, then resume \
the run once more";

impl CommandResult {
    fn into_value(self) -> Value {
        serde_json::to_value(self).expect("a result holds only plain data")
    }
}

fn refusal(trouble: &str) -> Ran {
    Ran::plain(json!({"content": trouble}))
}
