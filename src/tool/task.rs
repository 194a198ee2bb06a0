//! The module `tool-task`: what a model is told of the sub-agents it may start. Sessions start them, and do not run this as
//! other tools: what a sub-agent does are effects of its own, and what it answers follows from them.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::settings::{SettingError, Settings};
use super::{CallContext, Tool, ToolOutput};
use crate::chat::ToolSpec;
use crate::event::{Footprint, Policy};
use crate::plan::{AgentPlan, KeyInfo, KeyShape, LimitsPlan, ModuleInfo, ModuleKind};

/// What the tool is called.
pub const NAME: &str = "task";

/// What mount plans may say of this module.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "tool-task",
    aliases: &[],
    kind: ModuleKind::Tool,
    summary: "starts sub-agents, those of `agents` in the mount plan, and answers with their last words",
    keys: &[
        KeyInfo {
            name: "max_turns",
            shape: KeyShape::Integer,
            default: "50",
            doc: "model calls that one sub-agent may make; they count for the session, its role, phase and run, too",
        },
        KeyInfo {
            name: "max_tokens",
            shape: KeyShape::Integer,
            default: "",
            doc: "tokens that one sub-agent may use, likewise",
        },
        KeyInfo {
            name: "max_recursion_depth",
            shape: KeyShape::Integer,
            default: "1",
            doc: "accepted; sub-agents have none of their own",
        },
    ],
    tools: &[NAME],
    credential: None,
};

const MAX_TURNS: u64 = 50;

/// The tool of a session.
#[derive(Debug)]
pub struct Task {
    agents: Vec<(String, String)>,
}

/// What one sub-agent may spend.
///
/// # Errors
/// A value cannot be used.
pub fn limits(config: &Map<String, Value>) -> Result<LimitsPlan, SettingError> {
    let settings = Settings::new(INFO.name, config);
    Ok(LimitsPlan {
        max_turns: Some(settings.count("max_turns")?.unwrap_or(MAX_TURNS)),
        max_tokens: settings.count("max_tokens")?,
        ..LimitsPlan::default()
    })
}

impl Task {
    /// A tool that starts these agents.
    pub fn new(agents: &[AgentPlan]) -> Self {
        Self { agents: agents.iter().map(|agent| (agent.name.clone(), agent.description.clone())).collect() }
    }
}

#[async_trait]
impl Tool for Task {
    fn spec(&self) -> ToolSpec {
        let mut description = "Gives a task to a sub-agent, waits until it is done and answers with its last words. \
            The sub-agent sees nothing of this conversation: the instruction must hold all it needs. The agents:"
            .to_owned();
        for (name, what) in &self.agents {
            description += &format!("\n- {name}");
            if !what.is_empty() {
                description += &format!(": {what}");
            }
        }
        let names: Vec<&str> = self.agents.iter().map(|(name, _)| name.as_str()).collect();
        ToolSpec {
            name: NAME.to_owned(),
            description,
            input_schema: json!({
                "type": "object",
                "properties": {
                    "agent": {"type": "string", "enum": names, "description": "Who does it."},
                    "instruction": {"type": "string", "description": "What is to be done, with all that is needed for it."},
                },
                "required": ["agent", "instruction"],
                "additionalProperties": false,
            }),
        }
    }

    fn policy(&self) -> Policy {
        Policy::Real
    }

    fn timeout(&self, _input: &Map<String, Value>) -> Option<Duration> {
        None
    }

    fn footprint(&self, _input: &Map<String, Value>) -> Footprint {
        Footprint::none()
    }

    async fn run(&self, _input: Map<String, Value>, _call: CallContext) -> ToolOutput {
        ToolOutput::error("Sub-agents are started by sessions only.")
    }
}
