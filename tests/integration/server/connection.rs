//! What happens on one connection: requests are read, judged, thought about and answered, one after another.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::brain::{Answer, Asked, Fault, Part};
use super::chance::Chance;
use super::format::Format;
use super::rules::{self, Refusal};
use super::{Chunking, Outcome, Recorded, Shared, events, now};

/// Largest body of the API.
const BODY_BYTES: usize = 32 * 1024 * 1024;

/// What ends a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Largest head of a request.
const HEAD_BYTES: usize = 64 * 1024;

/// Serves a connection until it is closed by either side.
pub async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Every piece leaves at once, as small as it is: the client must cope with it.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut connection = Connection { stream, read: Vec::new() };
    while let Ok(Some(request)) = connection.request().await {
        let number = record(&shared, &request);
        let turn = Turn { shared: &shared, number, format: Format::of(&request.target) };
        match connection.answer(&request, turn).await {
            Ok(After::KeepOpen) => {}
            Ok(After::Close) => return,
            Err(_) => return turn.ends(Outcome::Abandoned),
        }
    }
}

/// A request as read from the wire.
struct WireRequest {
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// What of it is wrong before anybody looks at its meaning.
    flaw: Option<Refusal>,
}

/// One request and its record.
#[derive(Clone, Copy)]
struct Turn<'a> {
    shared: &'a Shared,
    number: usize,
    format: Format,
}

impl Turn<'_> {
    /// Records the end of the response, once. Called just before its last bytes are written: whoever has read them finds
    /// the request finished.
    fn ends(self, outcome: Outcome) {
        self.shared.finish(self.number, outcome);
    }
}

/// What becomes of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    KeepOpen,
    Close,
}

fn record(shared: &Shared, request: &WireRequest) -> usize {
    let mut number = 0;
    // Before anything is done with it, so that the server's own work is in no measurement of a client.
    let arrived = now();
    let body = serde_json::from_slice(&request.body).unwrap_or_default();
    shared.change(|requests| {
        number = requests.len() + 1;
        requests.push(Recorded {
            number,
            target: request.target.clone(),
            headers: request.headers.clone(),
            body,
            arrived,
            ended: None,
            outcome: Outcome::Running,
        });
    });
    number
}

struct Connection {
    stream: TcpStream,
    /// Bytes read and not yet used.
    read: Vec<u8>,
}

impl Connection {
    /// Reads one request; `None` when the client has closed between two.
    async fn request(&mut self) -> io::Result<Option<WireRequest>> {
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if self.read.len() > HEAD_BYTES {
                return Err(io::Error::other("the head of the request has no end"));
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.read[..head_end]).into_owned();
        self.read.drain(..head_end + 4);
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let target = format!("{} {}", words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length =
            headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse());
        let (length, flaw) = match length {
            Some(Ok(length)) if length <= BODY_BYTES => (length, None),
            Some(Ok(_)) => (0, Some(Refusal::too_large())),
            Some(Err(_)) => (0, Some(Refusal::invalid("content-length: not a number"))),
            None if headers.iter().any(|(name, _)| name == "transfer-encoding") => {
                (0, Some(Refusal::invalid("this test server reads bodies of a stated length only")))
            }
            None => (0, None),
        };
        while self.read.len() < length {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let body = self.read.drain(..length).collect();
        Ok(Some(WireRequest { target, headers, body, flaw }))
    }

    async fn answer(&mut self, request: &WireRequest, turn: Turn<'_>) -> io::Result<After> {
        let judged = match &request.flaw {
            Some(flaw) => Err(flaw.clone()),
            None => turn.format.judge(&request.target, &request.headers, &request.body),
        };
        let judged = judged.and_then(|body| {
            if turn.format != Format::Messages {
                return Ok(body);
            }
            let sealed = turn.shared.sealed.lock().expect("no connection panics while it holds the seals");
            rules::thinking(&body, &sealed).map(|()| body)
        });
        let body = match judged {
            Ok(body) => body,
            Err(refusal) => {
                let text = turn.format.refusal(&refusal, &request_id(turn.number));
                turn.ends(Outcome::Refused(refusal.status, refusal.message));
                self.plain(refusal.status, &[], &text, turn).await?;
                return Ok(if request.flaw.is_some() { After::Close } else { After::KeepOpen });
            }
        };
        if request.target.ends_with("/count_tokens") {
            let text = format!(r#"{{"input_tokens":{}}}"#, events::tokens(request.body.len()));
            turn.ends(Outcome::Answered);
            self.plain(200, &[], &text, turn).await?;
            return Ok(After::KeepOpen);
        }
        let body = turn.format.conversation(body);
        let asked = Asked { body, headers: request.headers.clone(), count: turn.number };
        let answer = (turn.shared.brain)(&asked);
        for part in &answer.parts {
            if let Part::Thinking { text, signature } = part {
                let mut sealed =
                    turn.shared.sealed.lock().expect("no connection panics while it holds the seals");
                sealed.insert(signature.clone(), text.clone());
            }
        }
        if !answer.delay.is_zero() {
            self.unless_gone(tokio::time::sleep(answer.delay)).await?;
        }
        let response = Response {
            answer: &answer,
            asked: &asked,
            request_bytes: &request.body,
            chunking: turn.shared.chunking,
            turn,
        };
        self.respond(&response).await
    }

    async fn respond(&mut self, response: &Response<'_>) -> io::Result<After> {
        let Response { turn, .. } = *response;
        match &response.answer.fault {
            Some(Fault::Reset) => {
                self.stream.set_zero_linger()?;
                turn.ends(Outcome::Faulted);
                return Ok(After::Close);
            }
            Some(Fault::Status { status, headers, body }) => {
                turn.ends(Outcome::Faulted);
                self.plain(*status, headers, body, turn).await?;
                return Ok(After::KeepOpen);
            }
            _ => {}
        }
        let mut chance = Chance::of(response.request_bytes);
        let context = events::Context {
            model: response.asked.body["model"].as_str().unwrap_or_default(),
            request_bytes: response.request_bytes.len(),
        };
        if response.asked.body["stream"] == true {
            let body = serde_json::from_slice(response.request_bytes).unwrap_or_default();
            let events = turn.format.stream(response.answer, &body, &context, &mut chance);
            return self.stream(response, &events, &mut chance).await;
        }
        let text = events::whole(response.answer, &context, &mut chance);
        turn.ends(Outcome::Answered);
        self.plain(200, &[], &text, turn).await?;
        Ok(After::KeepOpen)
    }

    /// Writes a stream, with the fault that the answer asks for.
    async fn stream(
        &mut self,
        response: &Response<'_>,
        events: &[Vec<u8>],
        chance: &mut Chance,
    ) -> io::Result<After> {
        let Response { turn, chunking, .. } = *response;
        let fault = &response.answer.fault;
        if let Some(
            Fault::CutAfterEvent(after)
            | Fault::BreakAfterEvent(after)
            | Fault::ErrorEvent { after, .. }
            | Fault::Stall { after, .. },
        ) = fault
        {
            assert!(
                *after < events.len(),
                "the stream has {} events; {fault:?} would never happen",
                events.len()
            );
        }
        let head = head(200, "text/event-stream; charset=utf-8", "transfer-encoding: chunked", turn);
        self.stream.write_all(head.as_bytes()).await?;
        // The headers stand alone on the wire before the first event is written.
        tokio::task::yield_now().await;
        for (at, event) in events.iter().enumerate() {
            match fault {
                Some(Fault::CutAfterEvent(after)) if at == *after => {
                    turn.ends(Outcome::Faulted);
                    self.stream.write_all(LAST_CHUNK).await?;
                    return Ok(After::Close);
                }
                Some(Fault::BreakAfterEvent(after)) if at == *after => {
                    let half = &event[..event.len() / 2];
                    turn.ends(Outcome::Faulted);
                    self.stream.write_all(&chunked(half, chunking, chance)).await?;
                    return Ok(After::Close);
                }
                Some(Fault::ErrorEvent { kind, after }) if at == *after => {
                    turn.ends(Outcome::Faulted);
                    self.stream.write_all(&chunked(&turn.format.error(kind), chunking, chance)).await?;
                    self.stream.write_all(LAST_CHUNK).await?;
                    return Ok(After::Close);
                }
                Some(Fault::Stall { after, gate }) if at == *after => {
                    let gate = gate.clone();
                    self.unless_gone(async move { gate.opened().await }).await?;
                }
                _ => {}
            }
            if at + 1 == events.len() {
                turn.ends(Outcome::Answered);
            }
            self.stream.write_all(&chunked(event, chunking, chance)).await?;
        }
        self.stream.write_all(LAST_CHUNK).await?;
        Ok(After::KeepOpen)
    }

    /// Waits for something, unless the client goes away before it.
    async fn unless_gone(&mut self, wait: impl Future<Output = ()>) -> io::Result<()> {
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => return Ok(()),
                read = self.stream.read_buf(&mut self.read) => {
                    if read? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }

    async fn plain(
        &mut self,
        status: u16,
        headers: &[(String, String)],
        body: &str,
        turn: Turn<'_>,
    ) -> io::Result<()> {
        let mut framing = format!("content-length: {}", body.len());
        for (name, value) in headers {
            framing.push_str(&format!("\r\n{name}: {value}"));
        }
        let head = head(status, "application/json", &framing, turn);
        self.stream.write_all((head + body).as_bytes()).await
    }
}

/// What a response is made from.
struct Response<'a> {
    answer: &'a Answer,
    asked: &'a Asked,
    request_bytes: &'a [u8],
    chunking: Chunking,
    turn: Turn<'a>,
}

fn request_id(number: usize) -> String {
    format!("req_011CTest{number:014}")
}

fn head(status: u16, content_type: &str, framing: &str, turn: Turn<'_>) -> String {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        _ => "Status",
    };
    let own = turn.format.headers(&request_id(turn.number));
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\n{framing}\r\n{own}cache-control: no-cache\r\n\r\n"
    )
}

/// Frames bytes as HTTP chunks.
fn chunked(bytes: &[u8], chunking: Chunking, chance: &mut Chance) -> Vec<u8> {
    let mut framed = Vec::with_capacity(bytes.len() * 2);
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = match chunking {
            Chunking::Adversarial => chance.piece(rest.len()),
            Chunking::ByEvent => rest.len(),
        };
        framed.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        framed.extend_from_slice(&rest[..size]);
        framed.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    framed
}
