//! How does a server over standard input and output speak? `rmcp` does the talking; what ends a connection is ours.
//!
//! ```text
//! client ── lines ──▶ rmcp ── Call ──▶ Toolbox
//!                      │ end of input, or `stop`: calls under way are finished, then `serve_stdio` returns
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{QuitReason, RequestContext, ServerInitializeError};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Call, Hints, Offer, Reply, Toolbox};
use crate::id::canonical_json;

/// How a server presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What a model is told before it sees the tools.
    pub instructions: String,
}

/// Why a connection ended otherwise than by its end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client does not begin as the protocol says.
    #[error("the client did not begin as MCP says: {0}; a client starts with `initialize`")]
    NoBeginning(String),
    /// A part of the server broke.
    #[error("the MCP server broke: {0}; please report it")]
    Broken(String),
}

/// Serves one client over standard input and output until its input ends or `stop` says so. Calls that were begun are
/// finished when this returns.
///
/// # Errors
/// The client does not speak the protocol.
pub async fn serve_stdio(
    about: About,
    toolbox: Arc<dyn Toolbox>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let calls = TaskTracker::new();
    let ended = Arc::new(AtomicBool::new(false));
    let server = Server::new(about, toolbox, calls.clone(), Arc::clone(&ended));
    let outcome = match server.serve_with_ct(rmcp::transport::stdio(), stop).await {
        Ok(connection) => match connection.waiting().await {
            Ok(QuitReason::JoinError(error)) | Err(error) => Err(ServeError::Broken(error.to_string())),
            Ok(_) => Ok(()),
        },
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => Ok(()),
        Err(error) => Err(ServeError::NoBeginning(beginning(&error))),
    };
    // A call counts before it looks whether all is over, so whichever is not counted here does nothing.
    ended.store(true, Ordering::SeqCst);
    calls.close();
    calls.wait().await;
    outcome
}

/// What was wrong with the beginning, without the library's own view of the message.
fn beginning(error: &ServerInitializeError) -> String {
    match error {
        ServerInitializeError::ExpectedInitializeRequest(_) => "its first message is no request".to_owned(),
        other => other.to_string(),
    }
}

struct Server {
    config: ServerConfig,
    tools: Vec<Tool>,
    toolbox: Arc<dyn Toolbox>,
    calls: TaskTracker,
    ended: Arc<AtomicBool>,
}

impl Server {
    fn new(about: About, toolbox: Arc<dyn Toolbox>, calls: TaskTracker, ended: Arc<AtomicBool>) -> Self {
        let mut config = ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_instructions(about.instructions);
        config.server_info = Implementation::new(about.name, about.version);
        config.protocol_version = ProtocolVersion::LATEST_WITH_INITIALIZE;
        let tools = toolbox.tools().into_iter().map(tool).collect();
        Self { config, tools, toolbox, calls, ended }
    }

    fn unknown(&self, name: &str) -> ErrorData {
        let names: Vec<_> = self.tools.iter().map(|tool| tool.name.as_ref()).collect();
        ErrorData::invalid_params(format!("Unknown tool: {name}; there are {}", names.join(", ")), None)
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        self.config.clone()
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.clone()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let _counted = self.calls.token();
        if self.ended.load(Ordering::SeqCst) {
            return Err(ErrorData::internal_error("the connection has ended", None));
        }
        if !self.tools.iter().any(|tool| tool.name == request.name) {
            return Err(self.unknown(&request.name));
        }
        let reply = self.toolbox.call(Call {
            client: context.client_info().map(|client| client.name),
            tool: request.name.into_owned(),
            arguments: request.arguments.unwrap_or_default(),
        });
        Ok(result(reply.await).into())
    }
}

fn tool(offer: Offer) -> Tool {
    let Offer { spec, hints } = offer;
    let Value::Object(schema) = spec.input_schema else { unreachable!("the schema of a tool is an object") };
    let Hints { read_only, destructive, idempotent } = hints;
    let mut annotations = ToolAnnotations::new();
    annotations.read_only_hint = Some(read_only);
    annotations.destructive_hint = Some(destructive);
    annotations.idempotent_hint = Some(idempotent);
    annotations.open_world_hint = Some(false);
    Tool::new(spec.name, spec.description, schema).with_annotations(annotations)
}

fn result(reply: Reply) -> CallToolResult {
    match reply {
        Reply::Result(value) => {
            let mut result = CallToolResult::success(vec![ContentBlock::text(canonical_json(&value))]);
            result.structured_content = Some(value);
            result
        }
        Reply::Refusal(why) => CallToolResult::error(vec![ContentBlock::text(why)]),
    }
}
