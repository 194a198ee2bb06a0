//! `hooks-shell`: a command of the project's hears of events as JSON on its standard input, and decides by its exit code and
//! by JSON on its standard output.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use regex::Regex;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::config::{HookError, Reader};
use super::{Approval, Decision, Event, Hook, Occasion, OnFailure};
use crate::event::Decision as Answer;
use crate::limit;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind, Variables};
use crate::process::Group;

/// What mount plans may say of it.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "hooks-shell",
    aliases: &[],
    kind: ModuleKind::Hook,
    summary: "asks a command before a prompt is sent and before and after a tool is run",
    keys: &[
        KeyInfo {
            name: "commands",
            shape: KeyShape::Any,
            default: "",
            doc: "list of maps: `event` (`prompt:submit`, `tool:pre` or `tool:post`), `command` (a shell line, run in the project root), and optionally `tools` (a regular expression that the tool's whole name must match), `env` (a map of variables; it gets few others), `timeout` in seconds (60) and `on_failure` (`continue` or `deny`)",
        },
        KeyInfo {
            name: "priority",
            shape: KeyShape::Integer,
            default: "0",
            doc: "of several hooks the one with the lowest is asked first",
        },
    ],
    tools: &[],
    credential: None,
};

const TIMEOUT: Duration = Duration::from_secs(60);

/// How long a person may take when the hook does not say.
const APPROVAL_TIMEOUT: Duration = Duration::from_secs(300);

/// Exit code of a command that says no.
const NO: i32 = 2;

/// Where commands are run, and with which variables.
#[derive(Debug, Clone)]
pub struct Place {
    /// The folder.
    pub folder: PathBuf,
    /// All the variables that they get.
    pub variables: Variables,
}

impl Place {
    /// The same with these variables, too.
    fn with(&self, more: Variables) -> Self {
        let mut place = self.clone();
        place.variables.extend(more);
        place
    }
}

/// One command.
#[derive(Debug)]
struct ShellHook {
    event: Event,
    /// Which tools it hears of; of all when there is none.
    tools: Option<Regex>,
    command: String,
    timeout: Duration,
    on_failure: OnFailure,
    priority: i64,
    place: Place,
}

/// The hooks of this configuration.
///
/// # Errors
/// It makes no sense; the error names the key.
pub fn build(config: &Map<String, Value>, place: &Place) -> Result<Vec<Arc<dyn Hook>>, HookError> {
    let reader = Reader::new(INFO.name, config);
    let priority = reader.integer("priority", 0)?;
    let mut hooks: Vec<Arc<dyn Hook>> = Vec::new();
    for entry in reader.maps("commands")? {
        let known = ["event", "command", "tools", "timeout", "on_failure", "env"];
        entry.refuse_others(&known)?;
        let event = entry.required("event")?;
        let event = Event::from_text(event).ok_or_else(|| {
            entry.wrong(format!(
                "has the unknown event `{event}`; there are prompt:submit, tool:pre and tool:post"
            ))
        })?;
        hooks.push(Arc::new(ShellHook {
            event,
            tools: entry.whole_match("tools")?,
            command: entry.required("command")?.to_owned(),
            timeout: entry.seconds("timeout")?.unwrap_or(TIMEOUT),
            on_failure: match entry.text("on_failure")? {
                None | Some("continue") => OnFailure::Continue,
                Some("deny") => OnFailure::Deny,
                Some(other) => {
                    return Err(entry.wrong(format!("has `on_failure: {other}`; it is `continue` or `deny`")));
                }
            },
            priority,
            place: place.with(entry.texts_by_name("env")?),
        }));
    }
    Ok(hooks)
}

#[async_trait]
impl Hook for ShellHook {
    fn name(&self) -> &str {
        &self.command
    }

    fn priority(&self) -> i64 {
        self.priority
    }

    fn wants(&self, occasion: &Occasion) -> bool {
        let fits = |tools: &Regex| tools.is_match(occasion.tool());
        occasion.event == self.event && self.tools.as_ref().is_none_or(fits)
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    async fn hear(&self, occasion: &Occasion, cancel: CancellationToken) -> Result<Decision, String> {
        let mut message = occasion.data.clone();
        message.insert("event".to_owned(), occasion.event.as_str().into());
        let child = self.start().map_err(|error| format!("it cannot be started: {error}"))?;
        let group = Group::led_by(&child);
        let said = tokio::select! {
            said = converse(child, Value::Object(message).to_string()) => said,
            () = cancel.cancelled() => Err("it was stopped".to_owned()),
        };
        drop(group);
        let Said { code, out, err } = said?;
        match code {
            Some(0) => read(&out),
            Some(NO) => Ok(Decision::Deny { reason: text_or(&err, "the hook gave no reason") }),
            Some(code) => {
                Err(format!("it ended with exit code {code}: {}", text_or(&err, "it said nothing")))
            }
            None => Err("it was ended by a signal".to_owned()),
        }
    }
}

impl ShellHook {
    fn start(&self) -> std::io::Result<Child> {
        Command::new("sh")
            .arg("-c")
            .arg(&self.command)
            .current_dir(&self.place.folder)
            .env_clear()
            .envs(&self.place.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Gives a command its message and reads what it says until it ends.
async fn converse(mut child: Child, message: String) -> Result<Said, String> {
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(stdin) = &mut stdin {
            // Whoever does not read has decided without.
            let _ = stdin.write_all(message.as_bytes()).await;
        }
        drop(stdin);
    };
    let ((), out, err, ended) = tokio::join!(write, all_of(stdout), all_of(stderr), child.wait());
    let status = ended.map_err(|error| format!("it cannot be waited for: {error}"))?;
    Ok(Said { code: status.code(), out, err })
}

/// What a stream brings, up to a bound; the rest is read and dropped, so that nobody is held up.
async fn all_of(stream: Option<impl AsyncReadExt + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut piece) = (Vec::new(), vec![0; 8 * 1024]);
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        let room = limit::HOOK_OUTPUT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..count.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn text_or(text: &str, otherwise: &str) -> String {
    let text = text.trim();
    if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
}

/// What a command that ended well has said. Nothing, or what is no JSON object, says nothing.
fn read(out: &str) -> Result<Decision, String> {
    let Ok(Value::Object(said)) = serde_json::from_str::<Value>(out.trim()) else {
        return Ok(Decision::Continue);
    };
    let text = |key: &str| said.get(key).and_then(Value::as_str).map(str::to_owned);
    match said.get("action").and_then(Value::as_str).unwrap_or("continue") {
        "continue" => Ok(Decision::Continue),
        "deny" => Ok(Decision::Deny {
            reason: text("reason").unwrap_or_else(|| "the hook gave no reason".to_owned()),
        }),
        "modify" => match said.get("data") {
            Some(Value::Object(data)) => Ok(Decision::Modify { data: data.clone() }),
            _ => Err("it says `modify` without `data`, a map of what is to change".to_owned()),
        },
        "inject_context" => match text("context_injection") {
            Some(text) => Ok(Decision::Inject { text }),
            None => Err("it says `inject_context` without `context_injection`, a text".to_owned()),
        },
        "ask_user" => {
            let prompt = text("approval_prompt").or_else(|| text("reason"));
            let prompt = prompt.ok_or("it says `ask_user` without `approval_prompt`, a text")?;
            Ok(Decision::Ask(Approval {
                prompt,
                timeout: Some(patience(&said)?),
                default: default(&said)?,
                reason: None,
            }))
        }
        other => Err(format!(
            "it says the unknown action `{other}`; there are continue, deny, modify, inject_context and ask_user"
        )),
    }
}

/// How long a person may take.
fn patience(said: &Map<String, Value>) -> Result<Duration, String> {
    match said.get("approval_timeout") {
        None | Some(Value::Null) => Ok(APPROVAL_TIMEOUT),
        Some(value) => value
            .as_f64()
            .filter(|seconds| *seconds > 0.0)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| format!("its `approval_timeout` is {value}; it is a number of seconds above 0")),
    }
}

/// What holds when nobody answers.
fn default(said: &Map<String, Value>) -> Result<Answer, String> {
    match said.get("approval_default").map(|value| value.as_str()) {
        None | Some(Some("deny")) => Ok(Answer::No),
        Some(Some("allow")) => Ok(Answer::Yes),
        Some(_) => Err("its `approval_default` is neither `allow` nor `deny`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hook::Hooks;

    fn hooks(commands: &Value) -> Hooks {
        let place = Place { folder: "/".into(), variables: [("PATH".into(), "/usr/bin:/bin".into())].into() };
        let config = json!({"commands": commands});
        Hooks::new(build(config.as_object().expect("a map"), &place).unwrap())
    }

    async fn ask(commands: Value) -> super::super::Outcome {
        let data = json!({"session_id": "work/a", "tool_name": "bash", "tool_input": {"command": "ls"}});
        let data = data.as_object().cloned().expect("a map");
        let occasion = Occasion { event: Event::ToolPre, data };
        hooks(&commands).ask(occasion, &CancellationToken::new()).await
    }

    #[tokio::test]
    async fn a_command_decides_by_exit_code_and_by_what_it_says() {
        let said = |command: &str| ask(json!([{"event": "tool:pre", "command": command}]));
        assert_eq!(said("cat >/dev/null").await, super::super::Outcome::default());
        assert_eq!(said("echo not here >&2; exit 2").await.denied.as_deref(), Some("not here"));
        let modify = r#"sed 's/.*"command":"\([a-z]*\)".*/{"action":"modify","data":{"tool_input":{"command":"\1 -l"}}}/'"#;
        assert_eq!(said(modify).await.changed["tool_input"]["command"], "ls -l");
        let inject = r#"echo '{"action":"inject_context","context_injection":"Mind the gap."}'"#;
        assert_eq!(said(inject).await.told, ["Mind the gap."]);
        let ask = r#"echo '{"action":"ask_user","approval_prompt":"May it?","approval_timeout":2.5}'"#;
        let asks = said(ask).await.asks.unwrap();
        assert_eq!(
            (asks.prompt.as_str(), asks.timeout, asks.default),
            ("May it?", Some(Duration::from_millis(2500)), Answer::No)
        );
        let ask = r#"echo '{"action":"ask_user","reason":"Why?","approval_default":"allow"}'"#;
        let asks = said(ask).await.asks.unwrap();
        assert_eq!((asks.prompt.as_str(), asks.default), ("Why?", Answer::Yes));
        for (command, why) in [
            ("exit 3", "exit code 3"),
            ("kill -9 $$", "ended by a signal"),
            (r#"echo '{"action":"perhaps"}'"#, "unknown action `perhaps`"),
            (r#"echo '{"action":"ask_user"}'"#, "without `approval_prompt`"),
            (
                r#"echo '{"action":"ask_user","reason":"x","approval_default":"maybe"}'"#,
                "neither `allow` nor `deny`",
            ),
            (r#"echo '{"action":"ask_user","reason":"x","approval_timeout":0}'"#, "`approval_timeout` is 0"),
        ] {
            let outcome = said(command).await;
            assert!(outcome.notices[0].contains(why) && outcome.denied.is_none(), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn only_what_fits_is_asked_and_a_failure_can_mean_no() {
        let other = json!([{"event": "tool:pre", "tools": "write_.*|edit", "command": "exit 2"},
                           {"event": "tool:post", "command": "exit 2"}]);
        assert_eq!(ask(other).await.denied, None);
        let strict =
            json!([{"event": "tool:pre", "tools": "ba.h", "command": "exit 1", "on_failure": "deny"}]);
        assert!(ask(strict).await.denied.unwrap().contains("failed: it ended with exit code 1"));
        let slow = json!([{"event": "tool:pre", "command": "sleep 60 & wait", "timeout": 0.05, "on_failure": "deny"}]);
        assert!(ask(slow).await.denied.unwrap().contains("did not answer within 50ms"));
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        let place = Place { folder: "/".into(), variables: Variables::new() };
        let error = |config: Value| {
            build(config.as_object().expect("a map"), &place).map(|_| ()).unwrap_err().to_string()
        };
        assert!(error(json!({"commands": "x"})).contains("`commands` must be a list of maps"));
        assert!(error(json!({"commands": [{"event": "tool:pre"}]})).contains("entry 1 has no `command`"));
        assert!(
            error(json!({"commands": [{"event": "tool", "command": "x"}]})).contains("unknown event `tool`")
        );
        let both = json!({"commands": [{"event": "tool:pre", "command": "x", "matcher": "y"}]});
        assert!(error(both).contains("entry 1 does not know `matcher`"));
        let regex = json!({"commands": [{"event": "tool:pre", "command": "x", "tools": "("}]});
        assert!(error(regex).contains("no regular expression"));
    }
}
