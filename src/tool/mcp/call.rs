//! How a tool of an MCP server is called: over the connection that all sessions share, answered with text.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::ServerPlan;
use super::servers::{Offered, Running, Servers};
use crate::chat::ToolSpec;
use crate::event::{Access, Footprint, Policy};
use crate::mcp::{Address, Answer, Piece};
use crate::tool::capture::Capture;
use crate::tool::workspace::Workspace;
use crate::tool::{CallContext, Repeat, Tool, ToolOutput};

/// The tools of one session: those on offer, whether or not a server is there to carry them out.
pub fn tools(
    plans: &[ServerPlan],
    offered: &Offered,
    servers: Option<&Servers>,
    workspace: &Arc<Workspace>,
) -> Vec<Arc<dyn Tool>> {
    let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
    for plan in plans {
        let running = servers.and_then(|servers| servers.find(plan));
        for spec in offered.get(&plan.name).into_iter().flatten() {
            tools.push(Arc::new(Remote {
                spec: spec.clone(),
                server: plan.name.clone(),
                reach: match plan.address {
                    Address::Program(_) => Reach::Files,
                    Address::Http { .. } => Reach::Elsewhere,
                },
                running: running.cloned(),
                timeout: plan.timeout,
                keep: plan.keep,
                workspace: workspace.clone(),
            }));
        }
    }
    tools
}

/// What a server may change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It runs here, and the workspace is open to it.
    Files,
    /// It is on the network.
    Elsewhere,
}

struct Remote {
    spec: ToolSpec,
    server: String,
    reach: Reach,
    /// Who carries calls out; nobody in a replay.
    running: Option<Arc<Running>>,
    timeout: Duration,
    keep: usize,
    workspace: Arc<Workspace>,
}

#[async_trait]
impl Tool for Remote {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn policy(&self) -> Policy {
        Policy::Tape
    }

    fn repeat(&self) -> Repeat {
        Repeat::Harmful
    }

    fn timeout(&self, _: &Map<String, Value>) -> Option<Duration> {
        None
    }

    fn footprint(&self, _: &Map<String, Value>) -> Footprint {
        let server = format!("mcp:{}", self.server);
        let footprint = Footprint::none().with(Access::Write, server.as_str());
        match self.reach {
            Reach::Files => footprint.with(Access::Write, "fs:*"),
            Reach::Elsewhere => footprint,
        }
    }

    async fn run(&self, input: Map<String, Value>, call: CallContext) -> ToolOutput {
        let server = &self.server;
        let Some(running) = &self.running else {
            return ToolOutput::error(format!(
                "The MCP server {server} is not started in a replay, so this tool can only be replayed as recorded: take it out of `replay.tools`"
            ));
        };
        let Some(own) = running.own(&self.spec.name) else {
            return ToolOutput::error(format!(
                "The MCP server {server} no longer offers this tool. Do without it"
            ));
        };
        if self.workspace.scrubber().has_mark(&Value::Object(input.clone()).to_string()) {
            return ToolOutput::error(
                "The arguments hold the placeholder of a secret, which stands for text that is not shown. Tools are given no secrets: do it without",
            );
        }
        let answer = tokio::select! {
            answer = running.connection.call(own, input, self.timeout) => answer,
            () = call.cancel.cancelled() => return ToolOutput::error("Cancelled: the run is stopping"),
        };
        match answer {
            Ok(answer) => {
                let (text, is_error) = (text(&answer), answer.is_error);
                ToolOutput { is_error, ..ToolOutput::ok(self.show(&text)) }
            }
            Err(error) => ToolOutput::error(self.show(&format!(
                "The MCP server {server} failed: {error}\nThe call may have done its work, a part or nothing"
            ))),
        }
    }
}

impl Remote {
    /// A text as a model may see it, cut if it is too long.
    fn show(&self, text: &str) -> String {
        let mut capture = Capture::new(self.keep);
        capture.take(text.as_bytes());
        capture.finish(|text| self.workspace.show(text)).text
    }
}

/// An answer as text. Data is added only where no text says the same; what no text can hold is named.
fn text(answer: &Answer) -> String {
    let says_the_same = |piece: &Piece| match piece {
        Piece::Text(text) => serde_json::from_str::<Value>(text).ok() == answer.data,
        Piece::Other(_) => false,
    };
    let mut parts: Vec<String> = answer
        .pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Other(what) => format!("[left out: {what}; only text can be shown]"),
        })
        .collect();
    if let Some(data) = &answer.data
        && !answer.pieces.iter().any(says_the_same)
    {
        parts.push(data.to_string());
    }
    if parts.is_empty() { "(no content)".to_owned() } else { parts.join("\n") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(pieces: Vec<Piece>, data: Option<Value>) -> String {
        text(&Answer { pieces, data, is_error: false })
    }

    #[test]
    fn data_is_shown_once_and_what_is_left_out_is_named() {
        let data = json!({"a": 1});
        assert_eq!(shown(vec![Piece::Text("{ \"a\": 1 }".to_owned())], Some(data.clone())), "{ \"a\": 1 }");
        assert_eq!(shown(vec![Piece::Text("one".to_owned())], Some(data)), "one\n{\"a\":1}");
        let image = Piece::Other("an image (image/png, 3 bytes)".to_owned());
        assert_eq!(
            shown(vec![image], None),
            "[left out: an image (image/png, 3 bytes); only text can be shown]"
        );
        assert_eq!(shown(Vec::new(), None), "(no content)");
    }
}
