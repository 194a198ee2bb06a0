//! `hooks-approval`: rules say which calls of tools may be run, and which of them a person has to allow.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use regex::Regex;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::config::{HookError, Reader};
use super::{Approval, Decision, Event, Hook, Occasion};
use crate::event::Decision as Answer;
use crate::id::canonical_json;
use crate::limit;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind};

/// What mount plans may say of it.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "hooks-approval",
    aliases: &[],
    kind: ModuleKind::Hook,
    summary: "allows or refuses calls of tools by rules, and asks a person",
    keys: &[
        KeyInfo {
            name: "rules",
            shape: KeyShape::Any,
            default: "",
            doc: "list of maps, the first that fits decides: `action` (`allow`, `deny` or `ask`), and optionally `tools` (a regular expression that the tool's whole name must match), `input` (one that is searched in the arguments as JSON) and `reason` (told to the model)",
        },
        KeyInfo {
            name: "default_action",
            shape: KeyShape::Text,
            default: "deny",
            doc: "what `ask` comes to when nobody is there to be asked, or answers in time: `allow` or `deny`",
        },
        KeyInfo {
            name: "default_timeout",
            shape: KeyShape::Number,
            default: "",
            doc: "seconds in which a person has to answer; without it, there is no hurry",
        },
        KeyInfo {
            name: "priority",
            shape: KeyShape::Integer,
            default: "-10",
            doc: "of several hooks the one with the lowest is asked first",
        },
    ],
    tools: &[],
    credential: None,
};

/// Deciding takes no time; this is only never reached.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Allow,
    Deny,
    Ask,
}

#[derive(Debug)]
struct Rule {
    tools: Option<Regex>,
    input: Option<Regex>,
    action: Action,
    reason: Option<String>,
}

#[derive(Debug)]
struct ApprovalHook {
    rules: Vec<Rule>,
    /// What holds when nobody answers.
    unasked: Answer,
    timeout: Option<Duration>,
    priority: i64,
}

/// The hook of this configuration.
///
/// # Errors
/// It makes no sense; the error names the key.
pub fn build(config: &Map<String, Value>) -> Result<Arc<dyn Hook>, HookError> {
    let reader = Reader::new(INFO.name, config);
    let mut rules = Vec::new();
    for entry in reader.maps("rules")? {
        entry.refuse_others(&["action", "tools", "input", "reason"])?;
        rules.push(Rule {
            action: match entry.required("action")? {
                "allow" => Action::Allow,
                "deny" => Action::Deny,
                "ask" => Action::Ask,
                other => {
                    return Err(entry.wrong(format!("has `action: {other}`; it is `allow`, `deny` or `ask`")));
                }
            },
            tools: entry.whole_match("tools")?,
            input: entry.search("input")?,
            reason: entry.text("reason")?.map(str::to_owned),
        });
    }
    let unasked = match reader.text("default_action")? {
        None | Some("deny") => Answer::No,
        Some("allow") => Answer::Yes,
        Some(other) => {
            return Err(reader.wrong("default_action", format!("is `{other}`; it is `allow` or `deny`")));
        }
    };
    let timeout = reader.seconds("default_timeout")?;
    Ok(Arc::new(ApprovalHook { rules, unasked, timeout, priority: reader.integer("priority", -10)? }))
}

#[async_trait]
impl Hook for ApprovalHook {
    fn name(&self) -> &str {
        INFO.name
    }

    fn priority(&self) -> i64 {
        self.priority
    }

    fn wants(&self, occasion: &Occasion) -> bool {
        occasion.event == Event::ToolPre
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    async fn hear(&self, occasion: &Occasion, _cancel: CancellationToken) -> Result<Decision, String> {
        let input = occasion.data.get("tool_input").map(canonical_json).unwrap_or_default();
        let fits = |rule: &&Rule| {
            rule.tools.as_ref().is_none_or(|tools| tools.is_match(occasion.tool()))
                && rule.input.as_ref().is_none_or(|pattern| pattern.is_match(&input))
        };
        let Some(rule) = self.rules.iter().find(fits) else { return Ok(Decision::Continue) };
        Ok(match rule.action {
            Action::Allow => Decision::Continue,
            Action::Deny => {
                let reason = rule.reason.clone();
                Decision::Deny {
                    reason: reason.unwrap_or_else(|| "a rule of this project does not allow it".to_owned()),
                }
            }
            Action::Ask => Decision::Ask(Approval {
                prompt: format!("{} is to be run with {}", occasion.tool(), shortened(&input)),
                timeout: self.timeout,
                default: self.unasked,
                reason: rule.reason.clone(),
            }),
        })
    }
}

/// As much of the arguments as a person can look at: of long ones the beginning and the end, and how much is not shown.
fn shortened(input: &str) -> String {
    let chars: Vec<char> = input.chars().collect();
    let Some(more) = chars.len().checked_sub(limit::QUESTION_CHARS).filter(|more| *more > 0) else {
        return input.to_owned();
    };
    let (head, tail) = (limit::QUESTION_CHARS / 2, limit::QUESTION_CHARS - limit::QUESTION_CHARS / 2);
    let text = |part: &[char]| part.iter().collect::<String>();
    format!(
        "{} [… {more} characters are not shown …] {}",
        text(&chars[..head]),
        text(&chars[chars.len() - tail..])
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hook::Hooks;

    async fn said(config: &Value, tool: &str, command: &str) -> crate::hook::Outcome {
        let data = json!({"session_id": "w/a", "tool_name": tool, "tool_input": {"command": command}});
        let data = data.as_object().cloned().expect("a map");
        let hook = build(config.as_object().expect("a map")).unwrap();
        let occasion = Occasion { event: Event::ToolPre, data };
        Hooks::new(vec![hook]).ask(occasion, &CancellationToken::new()).await
    }

    async fn denied(config: &Value, tool: &str, command: &str) -> Option<String> {
        said(config, tool, command).await.denied
    }

    #[tokio::test]
    async fn the_first_rule_that_fits_decides() {
        let mut config = json!({"rules": [
            {"tools": "bash", "input": "git (status|diff)", "action": "allow"},
            {"tools": "bash", "input": "push", "action": "deny", "reason": "Pushing is done by people."},
            {"tools": "bash|write_.*", "action": "ask"},
        ]});
        assert_eq!(denied(&config, "bash", "git status").await, None);
        assert_eq!(denied(&config, "read_file", "push").await, None);
        assert_eq!(denied(&config, "bash", "git push").await.as_deref(), Some("Pushing is done by people."));
        let asks = said(&config, "write_file", "x").await.asks.unwrap();
        let prompt = r#"write_file is to be run with {"command":"x"}"#;
        assert_eq!((asks.prompt.as_str(), asks.timeout, asks.default), (prompt, None, Answer::No));
        config["default_action"] = json!("allow");
        config["default_timeout"] = json!(90);
        let asks = said(&config, "write_file", &"x".repeat(9_999)).await.asks.unwrap();
        assert_eq!((asks.timeout, asks.default), (Some(Duration::from_secs(90)), Answer::Yes));
        assert!(asks.prompt.chars().count() < 600 && asks.prompt.contains("characters are not shown …] xx"));
        assert!(denied(&config, "bash", "git push").await.is_some());
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        let error =
            |config: Value| build(config.as_object().expect("a map")).map(|_| ()).unwrap_err().to_string();
        assert!(error(json!({"rules": [{"action": "maybe"}]})).contains("entry 1 has `action: maybe`"));
        assert!(error(json!({"default_action": "ask"})).contains("`default_action` is `ask`"));
    }
}
