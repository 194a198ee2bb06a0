//! How one attempt at a call is made: a request written, sent over a line, its stream read into a reply.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{Advice, CallError, Decode, ErrorClass, Provider, Script, asks_too_long};
use crate::chat::{Delta, Part, Reply, Request, StopReason, Usage};
use crate::clock::instant_in;
use crate::fault::FaultKind;
use crate::http::{ByteStream, Framer, Permit, Transport, TransportError, WireRequest};
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
    /// Nowhere: this goes wrong on purpose.
    Fault(FaultKind),
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http(_) => "Line::Http",
            Self::Script(_) => "Line::Script",
            Self::Fault(_) => "Line::Fault",
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
    pub request: &'a Request<'a>,
    /// Who asks.
    pub occasion: &'a Occasion,
    /// Resolves when the call is to stop.
    pub cancel: &'a CancellationToken,
    /// Told of each piece as it arrives.
    pub on_delta: &'a mut (dyn FnMut(&Delta) + Send),
}

/// A reply, and how long its giver wants it held back.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The reply.
    pub reply: Reply,
    /// What a script asks to wait before the reply is used, in the run's time; a server has taken its time already.
    pub latency: Duration,
}

/// Makes one attempt. Nothing is tried twice here: each attempt is an effect of its own.
///
/// # Errors
/// No whole reply came; the error says why, and `RetryPolicy::delay` whether another attempt makes sense.
pub async fn call(attempt: Attempt<'_>) -> Result<Answered, CallError> {
    let cancel = attempt.cancel;
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(CallError::new(ErrorClass::Cancelled, "the run was stopped")),
        result = carry(attempt) => result,
    }
}

async fn carry(attempt: Attempt<'_>) -> Result<Answered, CallError> {
    let Attempt { provider, line, request, occasion, on_delta, .. } = attempt;
    let wire = provider.encode(request);
    let listener = Listener { framer: Framer::default(), decoder: provider.decoder(), on_delta };
    match line {
        Line::Http(transport) => {
            let reply = ask_in_turn(provider, transport.as_ref(), wire?, listener).await?;
            Ok(Answered { reply, latency: Duration::ZERO })
        }
        Line::Script(script) => {
            // No server is asked, so no credential is needed; anything else a server would refuse is refused.
            if let Err(error) = wire
                && error.class != ErrorClass::Credential
            {
                return Err(error);
            }
            let answer = script.answer(request, occasion, provider.model())?;
            let reply = hear(&provider.speak(&answer.reply), listener)?;
            Ok(Answered { reply, latency: answer.latency })
        }
        Line::Fault(fault) => Err(suffer(provider, fault, listener)),
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

/// What comes of a call that goes wrong on purpose, as the provider reads it. Nobody is asked, and no time is spent.
fn suffer(provider: &dyn Provider, fault: &FaultKind, mut listener: Listener<'_>) -> CallError {
    match fault {
        FaultKind::Http(status) => provider.read_error(*status, &[], ASKED_FOR.as_bytes()),
        FaultKind::Stall | FaultKind::Kill => {
            timed_out("the server", "sent no answer", provider.timeouts().response, "timeout")
        }
        FaultKind::CutAfterEvent(count) => {
            let stream = provider.speak(&spoken(provider));
            let whole = stream.len();
            let end = event_ends(&stream).nth((*count as usize).saturating_sub(1)).unwrap_or(whole);
            let heard = listener.take(&stream[..if *count == 0 { 0 } else { end }]);
            let broken =
                || CallError::new(ErrorClass::Transport, format!("the connection broke: {ASKED_FOR}"));
            heard.err().unwrap_or_else(broken)
        }
        FaultKind::ErrorEvent(kind) => {
            let stream = provider.speak(&spoken(provider));
            let end = event_ends(&stream).next().unwrap_or(0);
            let heard =
                listener.take(&stream[..end]).and_then(|()| listener.take(&provider.speak_error(kind)));
            let silent = || CallError::new(ErrorClass::Protocol, format!("an error without an end: {kind}"));
            heard.err().unwrap_or_else(silent)
        }
    }
}

/// What a fault says of itself.
const ASKED_FOR: &str = "this fault was asked for";

/// A reply that begins like any other.
fn spoken(provider: &dyn Provider) -> Reply {
    Reply {
        id: "fault".to_owned(),
        model: provider.model().to_owned(),
        parts: vec![Part::text("This reply breaks off in the middle of what it says.")],
        stop: StopReason::EndTurn,
        stop_details: None,
        usage: Usage::default(),
    }
}

/// Where the events of a stream end.
fn event_ends(stream: &[u8]) -> impl Iterator<Item = usize> + '_ {
    stream.windows(2).enumerate().filter(|(_, bytes)| bytes == b"\n\n").map(|(at, _)| at + 2)
}

/// Asks a server as soon as its window has room, and lets the window learn from what comes of it. The wait is part of no
/// timeout.
async fn ask_in_turn(
    provider: &dyn Provider,
    transport: &dyn Transport,
    wire: WireRequest,
    listener: Listener<'_>,
) -> Result<Reply, CallError> {
    let permit = match transport.lanes() {
        Some(lanes) => Some(lanes.limiter(&wire.lane(), provider.max_concurrent()).acquire().await),
        None => None,
    };
    let asked = ask_server(provider, transport, wire, (listener, permit.as_ref(), limit::MODEL_CALL)).await;
    let Some(permit) = permit else { return asked };
    match &asked {
        Ok(_) => permit.succeeded(),
        Err(error) if matches!(error.class, ErrorClass::RateLimit | ErrorClass::Overloaded) => {
            if let Some(wait) = error.retry_after_ms
                && asks_too_long(error).is_none()
            {
                permit.pause(Duration::from_millis(wait));
            }
            permit.refused();
        }
        // Says nothing about how much the server can bear.
        Err(_) => {}
    }
    asked
}

/// Asks a server, for `longest` at most.
async fn ask_server(
    provider: &dyn Provider,
    transport: &dyn Transport,
    wire: WireRequest,
    (listener, permit, longest): (Listener<'_>, Option<&Permit>, Duration),
) -> Result<Reply, CallError> {
    let patience = provider.timeouts();
    let end = instant_in(longest);
    let host = host_of(&wire.url);
    let sent = transport.send(wire, patience.response).await;
    let mut response = sent.map_err(|error| match error {
        TransportError::Timeout { .. } => timed_out(&host, "sent no answer", patience.response, "timeout"),
        other => CallError::new(ErrorClass::Transport, other.to_string()),
    })?;
    let allowance = Advice::from_headers(&response.headers).allowance_ms.map(Duration::from_millis);
    if let (Some(permit), Some(wait)) = (permit, allowance) {
        permit.pause(wait.min(limit::ALLOWANCE_PAUSE));
    }
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
        None => listen(response.body, &host, (patience.idle, (end, &longest)), listener).await,
    };
    heard.map_err(|error| CallError {
        status: error.status.or(Some(status)),
        request_id: error.request_id.clone().or(request_id),
        ..error
    })
}

/// Listens to a stream to its end. A reply that does not come tells what was used for it all the same.
async fn listen(
    mut body: ByteStream,
    host: &str,
    (idle, end): (Duration, End<'_>),
    mut listener: Listener<'_>,
) -> Result<Reply, CallError> {
    let heard = hear_out(&mut body, host, (idle, end), &mut listener).await;
    let used = listener.decoder.used();
    heard.and_then(|()| listener.decoder.finish()).map_err(|error| CallError { used, ..error })
}

/// When a call is to be over, and how long that is after its beginning.
type End<'a> = (Instant, &'a Duration);

async fn hear_out(
    body: &mut ByteStream,
    host: &str,
    (idle, (end, longest)): (Duration, End<'_>),
    listener: &mut Listener<'_>,
) -> Result<(), CallError> {
    loop {
        let complete = listener.decoder.is_complete();
        let patience = if complete { idle.min(END_PATIENCE) } else { idle };
        let until = instant_in(patience).min(end);
        match tokio::time::timeout_at(until.into(), body.next()).await {
            Ok(Some(Ok(piece))) if instant_in(Duration::ZERO) < end => listener.take(&piece)?,
            Ok(None) => return Ok(()),
            // Whatever happens to the connection after the last event takes nothing from the reply.
            _ if complete => return Ok(()),
            Ok(Some(Err(error))) => return Err(CallError::new(ErrorClass::Transport, error.to_string())),
            Ok(Some(Ok(_))) | Err(_) if instant_in(Duration::ZERO) >= end => {
                let text = format!("{host} has not come to the end of its reply within {longest:?}");
                return Err(CallError::new(ErrorClass::Timeout, text));
            }
            Ok(Some(Ok(_))) | Err(_) => {
                return Err(timed_out(host, "fell silent within its reply", idle, "idle_timeout"));
            }
        }
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
        format!(
            "{host} answers with `{kind}` instead of an event stream; check `base_url`. It says: {start}"
        ),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::Message;
    use crate::plan::ModuleSpec;
    use crate::provider::anthropic::Anthropic;
    use crate::provider::mock::Mock;
    use crate::source::{Place, Route, SourceId};

    fn spec(config: &serde_json::Value) -> ModuleSpec {
        ModuleSpec {
            module: "provider-x".to_owned(),
            config: config.as_object().expect("a test writes an object").clone(),
            instance_id: None,
            place: Place::value(SourceId(0), Route::root()),
        }
    }

    fn script(text: &str) -> Line {
        Line::Script(Arc::new(Script::from_text("s", text).unwrap()))
    }

    fn claude() -> Arc<dyn Provider> {
        Anthropic::build(&spec(&json!({})), &[].into(), Some("claude-x")).unwrap()
    }

    async fn ask(
        provider: &dyn Provider,
        line: &Line,
        request: &Request<'_>,
    ) -> (Result<Reply, CallError>, String) {
        ask_until(provider, line, request, &CancellationToken::new()).await
    }

    async fn ask_until(
        provider: &dyn Provider,
        line: &Line,
        request: &Request<'_>,
        cancel: &CancellationToken,
    ) -> (Result<Reply, CallError>, String) {
        let occasion =
            Occasion { phase: "p".into(), session: "s".into(), role: "r".into(), turn: 1, iteration: None };
        let mut shown = String::new();
        let mut on_delta = |delta: &Delta| match delta {
            Delta::Text(text) | Delta::Thinking(text) => shown.push_str(text),
            Delta::Tool { name } => shown.push_str(&format!("[{name}]")),
        };
        let result =
            call(Attempt { provider, line, request, occasion: &occasion, cancel, on_delta: &mut on_delta })
                .await;
        (result.map(|answered| answered.reply), shown)
    }

    fn go() -> Request<'static> {
        Request { messages: vec![Message::user("go")].into(), ..Request::default() }
    }

    #[tokio::test]
    async fn a_script_behind_a_real_provider_goes_through_its_decoder_and_needs_no_key() {
        let line =
            script("rules: [{say: 'Grüße aus 東京', calls: [{tool: bash, input: {command: 'echo \"é\"'}}]}]");
        let (reply, shown) = ask(claude().as_ref(), &line, &go()).await;
        let reply = reply.unwrap();
        assert_eq!((reply.model.as_str(), reply.text().as_str()), ("claude-x", "Grüße aus 東京"));
        let input = json!({"command": "echo \"é\""});
        assert_eq!(
            reply.calls()[0].input,
            crate::chat::ToolInput::Object(input.as_object().unwrap().clone())
        );
        assert_eq!(shown, "Grüße aus 東京[bash]");
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_said_fails_behind_a_script_too() {
        let (result, _) = ask(claude().as_ref(), &script("rules: [{say: x}]"), &Request::default()).await;
        assert_eq!(result.unwrap_err().class, ErrorClass::Request);
    }

    #[tokio::test]
    async fn latency_is_handed_on_and_a_stop_ends_a_call() {
        let line = script("rules: [{say: x, latency: 1h}]");
        let (provider, request) = (claude(), go());
        let occasion =
            Occasion { phase: "p".into(), session: "s".into(), role: "r".into(), turn: 1, iteration: None };
        let cancel = CancellationToken::new();
        let ask = || async {
            let (provider, request, occasion) = (provider.as_ref(), &request, &occasion);
            let on_delta = &mut |_: &Delta| {};
            call(Attempt { provider, line: &line, request, occasion, cancel: &cancel, on_delta }).await
        };
        assert_eq!(ask().await.unwrap().latency, Duration::from_secs(3_600));
        cancel.cancel();
        assert_eq!(ask().await.unwrap_err().class, ErrorClass::Cancelled);
    }

    #[tokio::test]
    async fn the_mock_gives_its_responses_or_plays_its_script() {
        let (provider, line) = Mock::build(&spec(&json!({"responses": ["one", "two"]})), None, None).unwrap();
        let (reply, shown) = ask(provider.as_ref(), &line, &go()).await;
        assert_eq!((reply.unwrap().text().as_str(), shown.as_str()), ("one", "one"));
        let scripted = spec(&json!({"script": "demo.yaml"}));
        assert_eq!(Mock::script_path(&scripted), Ok(Some("demo.yaml")));
        let (provider, line) =
            Mock::build(&scripted, Some("rules: [{say: '{{ prompt }}!'}]"), Some("m")).unwrap();
        let (reply, _) = ask(provider.as_ref(), &line, &go()).await;
        let reply = reply.unwrap();
        assert_eq!((reply.text().as_str(), reply.model.as_str()), ("go!", "m"));
    }

    #[test]
    fn the_mock_names_what_is_wrong_with_its_script() {
        let scripted = spec(&json!({"script": "demo.yaml"}));
        let error =
            |text: Option<&str>| Mock::build(&scripted, text, None).map(|_| ()).unwrap_err().to_string();
        assert!(error(None).contains("`script` names `demo.yaml`, which cannot be read"));
        assert!(error(Some("rules: []")).contains("demo.yaml: `rules` is empty"));
        let both = spec(&json!({"script": "demo.yaml", "responses": ["x"]}));
        assert!(Mock::build(&both, Some("rules: [{say: x}]"), None).is_err());
    }

    /// A server that only ever says that it is still there.
    struct Pinging;

    #[async_trait::async_trait]
    impl Transport for Pinging {
        async fn send(
            &self,
            _: WireRequest,
            _: Duration,
        ) -> Result<crate::http::WireResponse, TransportError> {
            let ping = || Ok(b"event: ping\ndata: {\"type\":\"ping\"}\n\n".to_vec());
            let body = futures_util::stream::unfold((), move |()| async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Some((ping(), ()))
            });
            Ok(crate::http::WireResponse { status: 200, headers: Vec::new(), body: Box::pin(body) })
        }
    }

    #[tokio::test]
    async fn pings_keep_no_call_alive_for_ever() {
        let provider = claude();
        let mut on_delta = |_: &Delta| {};
        let listener =
            Listener { framer: Framer::default(), decoder: provider.decoder(), on_delta: &mut on_delta };
        let wire = WireRequest { url: "http://host/x".to_owned(), headers: Vec::new(), body: Vec::new() };
        let longest = Duration::from_millis(20);
        let asked = ask_server(provider.as_ref(), &Pinging, wire, (listener, None, longest)).await;
        let error = asked.unwrap_err();
        assert_eq!(error.class, ErrorClass::Timeout);
        assert_eq!(error.message, "host has not come to the end of its reply within 20ms");
    }

    #[test]
    fn hosts_are_named_without_credentials_or_paths() {
        assert_eq!(host_of("https://me:pw@api.example:8443/v1/messages"), "api.example:8443");
        assert_eq!(host_of("mock:"), "mock:");
    }
}
