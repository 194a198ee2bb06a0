//! How one attempt at a call is made: a request written, sent over a line, its stream read into a reply.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{CallError, Decode, ErrorClass, Provider, Script};
use crate::chat::{Delta, Reply, Request};
use crate::http::{ByteStream, Framer, Transport, TransportError, WireRequest};
use crate::id::{PhaseId, RoleId, SessionName};
use crate::limit;

/// A reply that is whole waits this long for the end of its stream, which some proxies never send.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Sizes of the pieces a script's stream is handed on in: they end inside names, escapes and characters.
const AWKWARD_PIECES: [usize; 7] = [1, 5, 2, 13, 3, 8, 21];

/// Most bytes shown of a body that is no event stream.
const EXCERPT_CHARS: usize = 200;

/// What a request goes over.
#[derive(Clone)]
pub enum Line {
    /// To a server.
    Http(Arc<dyn Transport>),
    /// To a script that answers in its place.
    Script(Arc<Script>),
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http(_) => "Line::Http",
            Self::Script(_) => "Line::Script",
        })
    }
}

/// Who calls, and the how-many-eth time: what a script decides by besides the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasion {
    /// The phase.
    pub phase: PhaseId,
    /// The session.
    pub session: SessionName,
    /// Its role.
    pub role: RoleId,
    /// The number of the model call in the session, from 1.
    pub turn: u32,
    /// The worker's iteration, from 1, where there is one.
    pub iteration: Option<u32>,
}

/// One attempt at a call.
pub struct Attempt<'a> {
    /// Who writes the request and reads the stream.
    pub provider: &'a dyn Provider,
    /// What it goes over.
    pub line: &'a Line,
    /// What is asked.
    pub request: &'a Request,
    /// Who asks.
    pub occasion: &'a Occasion,
    /// Resolves when the call is to stop.
    pub cancel: &'a CancellationToken,
    /// Told of each piece as it arrives.
    pub on_delta: &'a mut (dyn FnMut(&Delta) + Send),
}

/// Makes one attempt. Nothing is tried twice here: each attempt is an effect of its own.
///
/// # Errors
/// No whole reply came; the error says why, and `RetryPolicy::delay` whether another attempt makes sense.
pub async fn call(attempt: Attempt<'_>) -> Result<Reply, CallError> {
    let cancel = attempt.cancel;
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(CallError::new(ErrorClass::Cancelled, "the run was stopped")),
        result = carry(attempt) => result,
    }
}

async fn carry(attempt: Attempt<'_>) -> Result<Reply, CallError> {
    let Attempt { provider, line, request, occasion, on_delta, .. } = attempt;
    let wire = provider.encode(request);
    let listener = Listener { framer: Framer::default(), decoder: provider.decoder(), on_delta };
    match line {
        Line::Http(transport) => ask_server(provider, transport.as_ref(), wire?, listener).await,
        Line::Script(script) => {
            // No server is asked, so no credential is needed; anything else a server would refuse is refused.
            if let Err(error) = wire
                && error.class != ErrorClass::Credential
            {
                return Err(error);
            }
            let answer = script.answer(request, occasion, provider.model())?;
            tokio::time::sleep(answer.latency).await;
            hear(&provider.speak(&answer.reply), listener)
        }
    }
}

/// Frames and decodes a stream as it comes.
struct Listener<'a> {
    framer: Framer,
    decoder: Box<dyn Decode>,
    on_delta: &'a mut (dyn FnMut(&Delta) + Send),
}

impl Listener<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), CallError> {
        let events = self.framer.push(bytes);
        let events = events.map_err(|error| CallError::new(ErrorClass::Protocol, error.to_string()))?;
        for event in events {
            for delta in self.decoder.event(&event.name, &event.data)? {
                (self.on_delta)(&delta);
            }
        }
        Ok(())
    }
}

fn hear(mut bytes: &[u8], mut listener: Listener<'_>) -> Result<Reply, CallError> {
    for size in AWKWARD_PIECES.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        listener.take(piece)?;
        bytes = rest;
    }
    listener.decoder.finish()
}

async fn ask_server(
    provider: &dyn Provider,
    transport: &dyn Transport,
    wire: WireRequest,
    listener: Listener<'_>,
) -> Result<Reply, CallError> {
    let patience = provider.timeouts();
    let host = host_of(&wire.url);
    let sent = transport.send(wire, patience.response).await;
    let mut response = sent.map_err(|error| match error {
        TransportError::Timeout { .. } => timed_out(&host, "sent no answer", patience.response, "timeout"),
        other => CallError::new(ErrorClass::Transport, other.to_string()),
    })?;
    if !(200..300).contains(&response.status) {
        let body = read_capped(&mut response.body, patience.idle).await;
        return Err(provider.read_error(response.status, &response.headers, &body));
    }
    let request_id = response.header("request-id").or_else(|| response.header("x-request-id"));
    let request_id = request_id.map(str::to_owned);
    let status = response.status;
    let heard = match response.header("content-type").filter(|kind| is_other_than_stream(kind)) {
        Some(kind) => {
            let kind = kind.to_owned();
            let body = read_capped(&mut response.body, patience.idle).await;
            Err(no_stream(&host, &kind, &body))
        }
        None => listen(response.body, &host, patience.idle, listener).await,
    };
    heard.map_err(|error| CallError {
        status: error.status.or(Some(status)),
        request_id: error.request_id.clone().or(request_id),
        ..error
    })
}

async fn listen(
    mut body: ByteStream,
    host: &str,
    idle: Duration,
    mut listener: Listener<'_>,
) -> Result<Reply, CallError> {
    loop {
        let complete = listener.decoder.is_complete();
        let patience = if complete { idle.min(END_PATIENCE) } else { idle };
        let failure = match tokio::time::timeout(patience, body.next()).await {
            Ok(Some(Ok(piece))) => {
                listener.take(&piece)?;
                continue;
            }
            Ok(None) => return listener.decoder.finish(),
            // Whatever happens to the connection after the last event takes nothing from the reply.
            _ if complete => return listener.decoder.finish(),
            Ok(Some(Err(error))) => CallError::new(ErrorClass::Transport, error.to_string()),
            Err(_) => timed_out(host, "fell silent within its reply", idle, "idle_timeout"),
        };
        return Err(failure);
    }
}

/// The beginning of a body; what goes wrong on the way only makes it shorter.
async fn read_capped(body: &mut ByteStream, idle: Duration) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < limit::ERROR_BODY_BYTES {
        match tokio::time::timeout(idle, body.next()).await {
            Ok(Some(Ok(piece))) => read.extend_from_slice(&piece),
            _ => break,
        }
    }
    read.truncate(limit::ERROR_BODY_BYTES);
    read
}

fn is_other_than_stream(content_type: &str) -> bool {
    content_type.starts_with("text/html") || content_type.starts_with("application/json")
}

fn no_stream(host: &str, kind: &str, body: &[u8]) -> CallError {
    let text = String::from_utf8_lossy(body);
    let start: String = text.trim().chars().take(EXCERPT_CHARS).collect();
    CallError::new(
        ErrorClass::Protocol,
        format!("{host} answers with `{kind}` instead of an event stream; check `base_url`. It says: {start}"),
    )
}

fn timed_out(host: &str, what: &str, patience: Duration, key: &str) -> CallError {
    CallError::new(
        ErrorClass::Timeout,
        format!("{host} {what} for {patience:?}; a longer `{key}` in the mount plan gives it more time"),
    )
}

/// Host and port of an address, without what may stand before and after them.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority).to_owned()
}
