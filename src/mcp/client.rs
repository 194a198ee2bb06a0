//! How are the tools, resources and prompts of another program called for over the Model Context Protocol? `rmcp` does the talking; what starts, waits
//! and ends is ours.
//!
//! ```text
//!  open ─▶ start in a group of its own ─▶ handshake, list ─▶ calls … ─▶ end: its input closed ─▶ SIGTERM ─▶ SIGKILL
//!             └──────── one deadline ────────┘
//! ```

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest, ContentBlock,
    GetPromptRequest, GetPromptRequestParams, Implementation, Prompt, PromptMessage, ReadResourceRequest,
    ReadResourceRequestParams, Resource, ResourceContents, Role, ServerResult, Tool,
};
use rmcp::service::{ClientInitializeError, Peer, PeerRequestOptions, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::overheard::{Overheard, Printed};
use crate::chat::ToolSpec;
use crate::limit;
use crate::process::Group;
use crate::secret::Secret;

/// Where a server is.
#[derive(Debug, Clone)]
pub enum Address {
    /// A program to start, spoken to over its pipes.
    Program(Program),
    /// An address on the network.
    Http {
        /// The URL.
        url: String,
        /// Headers of every request.
        headers: Vec<(String, Secret)>,
    },
}

/// A program to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// What to run.
    pub command: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// All of its environment.
    pub environment: Vec<(String, String)>,
    /// Where it starts.
    pub folder: PathBuf,
}

/// A server that answers.
pub struct Connection {
    peer: Peer<RoleClient>,
    service: Mutex<Option<RunningService<RoleClient, ClientConfig>>>,
    process: Mutex<Option<Process>>,
    printed: Printed,
}

struct Process {
    child: Child,
    group: Group,
    /// Reads what it prints to stderr; ends with it.
    reading: JoinSet<()>,
}

/// Something that a server offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What it is asked with.
    pub own: Own,
    /// What a model is told of it; its name is not yet that of the server as well.
    pub spec: ToolSpec,
}

/// What a server is asked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// The name of a tool.
    Tool(String),
    /// The address of a resource.
    Resource(String),
    /// The name of a prompt.
    Prompt(String),
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text.
    Text(String),
    /// Something that a text cannot hold, by what it is.
    Other(String),
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What it says.
    pub pieces: Vec<Piece>,
    /// The same as data, if the server has it so.
    pub data: Option<Value>,
    /// Whether the server says that the call failed.
    pub is_error: bool,
}

/// A server cannot be reached, or a call got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}", said(.printed))]
pub struct WireError {
    /// What went wrong.
    pub reason: String,
    /// The end of what its program printed.
    pub printed: String,
}

fn said(printed: &str) -> String {
    if printed.is_empty() { String::new() } else { format!("; it printed:\n{printed}") }
}

impl Connection {
    /// Reaches a server and asks for what it offers, both within a time.
    ///
    /// # Errors
    /// It cannot be started or reached, speaks something else, or takes too long.
    pub async fn open(address: &Address, within: Duration) -> Result<(Self, Vec<Found>), WireError> {
        let printed = Printed::default();
        let mut process = None;
        let opened = tokio::time::timeout(within, async {
            let service = match address {
                Address::Program(program) => {
                    let (started, input, output) = start(program, &printed)?;
                    process = Some(started);
                    me().serve((output, input)).await
                }
                Address::Http { url, headers } => me().serve(transport(url, headers)?).await,
            };
            let service = service.map_err(|error| initialize_failure(&error))?;
            let offers = offers(&service).await.map_err(|error| failure(&error, within))?;
            Ok((service, offers))
        });
        let reason = match opened.await {
            Ok(Ok((service, offers))) => {
                let peer = service.peer().clone();
                let (service, process) = (Mutex::new(Some(service)), Mutex::new(process));
                return Ok((Self { peer, service, process, printed }, offers));
            }
            Ok(Err(reason)) => reason,
            Err(_) => format!("it did not answer within {} s", within.as_secs()),
        };
        let mut reason = reason;
        if let Some(mut process) = process {
            // One that has ended says why; one that has not is not waited for.
            if let Ok(Ok(status)) = tokio::time::timeout(limit::KILL_AFTER, process.child.wait()).await {
                reason = format!("{reason} ({status})");
                // Its last words come before the end of its output, which others may hold open.
                let last = async { while process.reading.join_next().await.is_some() {} };
                let _ = tokio::time::timeout(limit::KILL_AFTER, last).await;
            }
        }
        Err(WireError { reason, printed: printed.text() })
    }

    /// Calls a tool, reads a resource or asks for a prompt, by the server's own name for it. A call that takes longer is
    /// given up, and the server is told.
    ///
    /// # Errors
    /// There is no answer in time, or it is none.
    pub async fn call(
        &self,
        own: &Own,
        arguments: Map<String, Value>,
        within: Duration,
    ) -> Result<Answer, WireError> {
        let request = match own {
            Own::Tool(name) => {
                let parameters = CallToolRequestParams::new(name.clone()).with_arguments(arguments);
                ClientRequest::CallToolRequest(CallToolRequest::new(parameters))
            }
            Own::Resource(uri) => {
                let parameters = ReadResourceRequestParams::new(uri);
                ClientRequest::ReadResourceRequest(ReadResourceRequest::new(parameters))
            }
            Own::Prompt(name) => {
                let parameters = GetPromptRequestParams::new(name).with_arguments(arguments);
                ClientRequest::GetPromptRequest(GetPromptRequest::new(parameters))
            }
        };
        let asked = async {
            let options = PeerRequestOptions::with_timeout(within);
            self.peer.send_cancellable_request(request, options).await?.await_response().await
        };
        // A server whose pipe is full takes not even the request.
        let result = match tokio::time::timeout(within + limit::KILL_AFTER, asked).await {
            Ok(Ok(ServerResult::CallToolResult(result))) => return Ok(answer(result)),
            Ok(Ok(ServerResult::ReadResourceResult(result))) => {
                let pieces = result.contents.into_iter().map(contents).collect();
                return Ok(Answer { pieces, data: None, is_error: false });
            }
            Ok(Ok(ServerResult::GetPromptResult(result))) => {
                let pieces = result.messages.into_iter().map(message).collect();
                return Ok(Answer { pieces, data: None, is_error: false });
            }
            Ok(Ok(_)) => "it answered with something that is no result of such a call".to_owned(),
            Ok(Err(error)) => failure(&error, within),
            Err(_) => late(within),
        };
        Err(WireError { reason: result, printed: self.printed.text() })
    }

    /// Ends the connection, and the program that was started for it with all it has started.
    pub async fn end(&self) {
        if let Some(service) = self.service.lock().await.take() {
            // Closing its input is how the protocol says goodbye.
            let _ = tokio::time::timeout(limit::KILL_AFTER, service.cancel()).await;
        }
        let Some(mut process) = self.process.lock().await.take() else { return };
        if tokio::time::timeout(limit::KILL_AFTER, process.child.wait()).await.is_err() {
            process.group.ask();
            let _ = tokio::time::timeout(limit::KILL_AFTER, process.child.wait()).await;
        }
        process.group.end();
    }
}

type Pipes = (Process, tokio::process::ChildStdin, Overheard<tokio::process::ChildStdout>);

fn start(program: &Program, printed: &Printed) -> Result<Pipes, String> {
    let mut child = Command::new(&program.command)
        .args(&program.arguments)
        .current_dir(&program.folder)
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("its program cannot be started: {error}"))?;
    let group = Group::led_by(&child);
    let piped = "all three were asked for just above";
    let input = child.stdin.take().expect(piped);
    let output = Overheard::new(child.stdout.take().expect(piped), printed.clone());
    let mut reading = JoinSet::new();
    reading.spawn(printed.clone().follow(child.stderr.take().expect(piped)));
    Ok((Process { child, group, reading }, input, output))
}

fn transport(
    url: &str,
    headers: &[(String, Secret)],
) -> Result<StreamableHttpClientTransport<reqwest::Client>, String> {
    let mut map = HashMap::new();
    for (name, value) in headers {
        let wrong = || format!("the header `{name}` has characters that no header can carry");
        let mut text = HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
        text.set_sensitive(true);
        map.insert(HeaderName::try_from(name).map_err(|_| wrong())?, text);
    }
    // An error only says that the process already has a provider, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A header's secret is never carried to another address.
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
    let client = client.map_err(|error| format!("cannot set up HTTPS: {}", chain(&error)))?;
    let config = StreamableHttpClientTransportConfig::with_uri(url).custom_headers(map);
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

fn me() -> ClientConfig {
    ClientConfig::new(ClientCapabilities::default(), Implementation::new("runner", env!("CARGO_PKG_VERSION")))
}

/// All that a server says it has: tools, resources, prompts.
async fn offers(service: &RunningService<RoleClient, ClientConfig>) -> Result<Vec<Found>, ServiceError> {
    let mut offers = Vec::new();
    let Some(has) = service.peer_info().map(|info| info.capabilities.clone()) else { return Ok(offers) };
    if has.tools.is_some() {
        offers.extend(service.list_all_tools().await?.into_iter().map(tool));
    }
    if has.resources.is_some() {
        offers.extend(listed(service.list_all_resources().await)?.into_iter().map(resource));
    }
    if has.prompts.is_some() {
        offers.extend(listed(service.list_all_prompts().await)?.into_iter().map(prompt));
    }
    Ok(offers)
}

/// What a server has beside its tools. There are those that say that they have some, and do not know the question.
fn listed<T>(answer: Result<Vec<T>, ServiceError>) -> Result<Vec<T>, ServiceError> {
    match answer {
        Err(ServiceError::McpError(_)) => Ok(Vec::new()),
        other => other,
    }
}

fn tool(tool: Tool) -> Found {
    let spec = ToolSpec {
        description: tool.description.map(std::borrow::Cow::into_owned).unwrap_or_default(),
        input_schema: Value::Object(tool.input_schema.as_ref().clone()),
        name: tool.name.clone().into_owned(),
    };
    Found { own: Own::Tool(tool.name.into_owned()), spec }
}

fn resource(resource: Resource) -> Found {
    let kind = resource.mime_type.map(|kind| format!(" ({kind})")).unwrap_or_default();
    let more = resource.description.map(|text| format!(" {text}")).unwrap_or_default();
    let spec = ToolSpec {
        name: format!("resource_{}", resource.name),
        description: format!("Reads the resource {}{kind}.{more}", resource.uri),
        input_schema: json!({"type": "object", "properties": {}, "additionalProperties": false}),
    };
    Found { own: Own::Resource(resource.uri), spec }
}

fn prompt(prompt: Prompt) -> Found {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for argument in prompt.arguments.unwrap_or_default() {
        let about = argument.description.or(argument.title).unwrap_or_default();
        properties.insert(argument.name.clone(), json!({"type": "string", "description": about}));
        if argument.required == Some(true) {
            required.push(argument.name);
        }
    }
    let more = prompt.description.or(prompt.title).map(|text| format!(" {text}")).unwrap_or_default();
    let spec = ToolSpec {
        name: format!("prompt_{}", prompt.name),
        description: format!("Gives the text of the prompt {}.{more}", prompt.name),
        input_schema: json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        }),
    };
    Found { own: Own::Prompt(prompt.name), spec }
}

/// A message of a prompt, with who would say it.
fn message(message: PromptMessage) -> Piece {
    let who = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    match piece(message.content) {
        Piece::Text(text) => Piece::Text(format!("[{who}]\n{text}")),
        other => other,
    }
}

fn answer(result: rmcp::model::CallToolResult) -> Answer {
    Answer {
        pieces: result.content.into_iter().map(piece).collect(),
        data: result.structured_content,
        is_error: result.is_error == Some(true),
    }
}

fn contents(resource: ResourceContents) -> Piece {
    match resource {
        ResourceContents::TextResourceContents { uri, text, .. } => Piece::Text(format!("{uri}:\n{text}")),
        ResourceContents::BlobResourceContents { uri, blob, mime_type, .. } => {
            left_out(&format!("the resource {uri}"), mime_type.as_deref().unwrap_or("binary"), &blob)
        }
        _ => Piece::Other("a resource of a kind that this version does not know".to_owned()),
    }
}

fn left_out(what: &str, kind: &str, base64: &str) -> Piece {
    // Four characters of base64 are three bytes.
    let bytes = base64.trim_end_matches('=').len() * 3 / 4;
    Piece::Other(format!("{what} ({kind}, {bytes} bytes)"))
}

fn piece(content: ContentBlock) -> Piece {
    match content {
        ContentBlock::Text(text) => Piece::Text(text.text),
        ContentBlock::Image(image) => left_out("an image", &image.mime_type, &image.data),
        ContentBlock::Audio(audio) => left_out("a sound", &audio.mime_type, &audio.data),
        ContentBlock::Resource(embedded) => contents(embedded.resource),
        ContentBlock::ResourceLink(link) => Piece::Text(format!("{}: {}", link.name, link.uri)),
        _ => Piece::Other("content of a kind that this version does not know".to_owned()),
    }
}

fn late(within: Duration) -> String {
    format!("it gave no answer within {} s", within.as_secs())
}

fn initialize_failure(error: &ClientInitializeError) -> String {
    match error {
        ClientInitializeError::ConnectionClosed(_) => {
            "it ended, or closed its output, before it said what it is".to_owned()
        }
        ClientInitializeError::TransportError { error, .. } => {
            format!("it cannot be spoken to: {}", chain(error.error.as_ref()))
        }
        other => format!("it does not speak the protocol as expected: {}", chain(other)),
    }
}

fn failure(error: &ServiceError, within: Duration) -> String {
    match error {
        ServiceError::McpError(error) => {
            format!("it refused the request: {} (code {})", error.message, error.code.0)
        }
        ServiceError::TransportClosed | ServiceError::Cancelled { .. } => {
            "it has ended, or closed the connection".to_owned()
        }
        ServiceError::Timeout { .. } => late(within),
        other => chain(other),
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
