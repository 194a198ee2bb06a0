//! How a model is stood in for without any network: `provider-mock`.
//!
//! Its wire form is a single event that holds the whole reply, so everything between request and reply is the same code
//! as for a real provider.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::settings::{BuildError, Settings};
use super::{CallError, Decode, ErrorClass, Line, Provider, RetryPolicy, Script, Timeouts};
use crate::chat::{Delta, Part, Reply, Request};
use crate::http::WireRequest;
use crate::id::canonical_json;
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind, ModuleSpec};

const DEFAULT_MODEL: &str = "mock";
const DEFAULT_RESPONSE: &str = "Task completed successfully.";
const EVENT: &str = "reply";

const fn key(name: &'static str, shape: KeyShape, default: &'static str, doc: &'static str) -> KeyInfo {
    KeyInfo { name, shape, default, doc }
}

/// What there is to know of the module.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "provider-mock",
    aliases: &[],
    kind: ModuleKind::Provider,
    summary: "No model: fixed texts or a script of rules, without a network",
    keys: &[
        key(
            "responses",
            KeyShape::TextList,
            "[Task completed successfully.]",
            "Texts given in turn: a session's n-th call gets the n-th, then again from the first.",
        ),
        key(
            "script",
            KeyShape::Text,
            "",
            "A file of rules, relative to the project root, in place of `responses`.",
        ),
        key(
            "default_model",
            KeyShape::Text,
            DEFAULT_MODEL,
            "The name replies carry, unless a role names another.",
        ),
        key("priority", KeyShape::Integer, "100", "Of several providers the one with the lowest is used."),
    ],
    tools: &[],
    credential: None,
};

/// The stand-in for a model.
#[derive(Debug)]
pub struct Mock {
    model: String,
}

impl Mock {
    /// The path of the script a mount plan names, relative to the project root.
    ///
    /// # Errors
    /// The value is no text.
    pub fn script_path(spec: &ModuleSpec) -> Result<Option<&str>, BuildError> {
        Settings::of(spec).text("script")
    }

    /// The provider of a mount plan and the only line it has. `script` is the text of the file at `script_path`; `model`
    /// replaces the plan's own.
    ///
    /// # Errors
    /// A configuration value makes no sense, or the script is wrong.
    pub fn build(
        spec: &ModuleSpec,
        script: Option<&str>,
        model: Option<&str>,
    ) -> Result<(Arc<dyn Provider>, Line), BuildError> {
        let settings = Settings::of(spec);
        let responses = settings.texts("responses")?;
        let path = Self::script_path(spec)?;
        let script = match (path, script) {
            (Some(_), _) if !responses.is_empty() => {
                return Err(
                    settings.error("responses", "cannot stand beside `script`; leave one of them out")
                );
            }
            (Some(path), Some(text)) => Script::from_text(path, text)
                .map_err(|error| settings.error("script", format!("is wrong: {error}")))?,
            (Some(path), None) => {
                return Err(settings.error("script", format!("names `{path}`, which cannot be read")));
            }
            (None, _) if responses.is_empty() => Script::cycle(vec![DEFAULT_RESPONSE.to_owned()]),
            (None, _) => Script::cycle(responses),
        };
        let model = model.or(settings.text("default_model")?).unwrap_or(DEFAULT_MODEL).to_owned();
        Ok((Arc::new(Self { model }), Line::Script(Arc::new(script))))
    }
}

impl Provider for Mock {
    fn module(&self) -> &'static str {
        INFO.name
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn params(&self) -> Value {
        json!({})
    }

    fn most_output(&self) -> u64 {
        0
    }

    fn encode(&self, request: &Request) -> Result<WireRequest, CallError> {
        let body = json!({
            "model": self.model,
            "system": request.system,
            "messages": request.messages,
            "tools": request.tools,
        });
        Ok(WireRequest {
            url: "mock:".to_owned(),
            headers: Vec::new(),
            body: canonical_json(&body).into_bytes(),
        })
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(MockDecoder { reply: None })
    }

    fn read_error(&self, status: u16, _headers: &[(String, String)], _body: &[u8]) -> CallError {
        let message = format!("{} has no server, yet one answered with {status}", INFO.name);
        CallError { status: Some(status), ..CallError::new(ErrorClass::Protocol, message) }
    }

    fn speak(&self, reply: &Reply) -> Vec<u8> {
        let data = serde_json::to_string(reply).expect("a reply has only text keys and finite numbers");
        format!("event: {EVENT}\ndata: {data}\n\n").into_bytes()
    }

    /// What is no reply is an error to its decoder.
    fn speak_error(&self, kind: &str) -> Vec<u8> {
        format!("event: {EVENT}\ndata: {}\n\n", json!({"error": kind})).into_bytes()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            max_retries: 0,
            first_delay: Duration::ZERO,
            max_delay: Duration::ZERO,
            overloaded_factor: 1.0,
        }
    }

    fn timeouts(&self) -> Timeouts {
        Timeouts { response: Duration::from_secs(1), idle: Duration::from_secs(1) }
    }
}

struct MockDecoder {
    reply: Option<Reply>,
}

impl Decode for MockDecoder {
    fn event(&mut self, name: &str, data: &str) -> Result<Vec<Delta>, CallError> {
        if name != EVENT {
            return Ok(Vec::new());
        }
        let reply: Reply = serde_json::from_str(data).map_err(|error| {
            CallError::new(ErrorClass::Protocol, format!("no reply of the mock: {error}"))
        })?;
        let deltas = reply.parts.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(Delta::Text(text.clone())),
            Part::Thinking { thinking, .. } => Some(Delta::Thinking(thinking.clone())),
            Part::ToolUse(call) => Some(Delta::Tool { name: call.name.clone() }),
            Part::ToolResult(_) | Part::Other(_) => None,
        });
        let deltas = deltas.collect();
        self.reply = Some(reply);
        Ok(deltas)
    }

    fn is_complete(&self) -> bool {
        self.reply.is_some()
    }

    fn finish(self: Box<Self>) -> Result<Reply, CallError> {
        self.reply.ok_or_else(|| CallError::new(ErrorClass::Transport, "the mock said nothing"))
    }
}
