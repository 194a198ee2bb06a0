//! A server that speaks as the real ones do, byte for byte, on loopback: what stands in for a provider?
//!
//! It speaks Anthropic's Messages API and both of OpenAI's, told apart by the path that is asked. Its brains see all
//! requests in the form of the first.
//!
//! Written without a line of the runner, so that it is an independent check of it. Its answers come from a `Brain`;
//! it refuses what the real server refuses, and it keeps every request for the test to look at. Benches include it
//! by `#[path]`.
//!
//! ```text
//! test ── AnthropicServer::start(brain) ── thread: runtime ── one task a connection
//!                                                             read → rules → brain → stream (faults included)
//! ```
#![allow(dead_code, reason = "a test, or a bench, uses the part it needs")]

pub mod brain;
pub mod chance;
mod chat;
mod connection;
pub mod demo;
mod events;
mod format;
mod responses;
mod rules;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use brain::Brain;

/// The one key the server accepts, in either header.
pub const KEY: &str = "loopback-key-4f9a1c7e2b";

/// Longest wait of a test for something the server is to see.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How the bytes of a body are cut into HTTP chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunking {
    /// Anywhere: inside a character, a line, an event; a few bytes at a time.
    Adversarial,
    /// One chunk an event, as the real server mostly does. For benches.
    ByEvent,
}

/// One request as it came, and what became of it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its number among the requests of the server, from 1, in order of arrival.
    pub number: usize,
    /// Method and path.
    pub target: String,
    /// Headers, names in lower case, in the order of the wire.
    pub headers: Vec<(String, String)>,
    /// The body; null when it was no JSON.
    pub body: Value,
    /// When the whole request was there.
    pub arrived: Instant,
    /// When the last bytes of the response were about to be written, or the response was given up.
    pub ended: Option<Instant>,
    /// What became of it.
    pub outcome: Outcome,
}

impl Recorded {
    /// The first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The response is being written, or stalls.
    Running,
    /// Answered whole.
    Answered,
    /// Refused by the rules of the API, with this status and message.
    Refused(u16, String),
    /// Ended by a fault that the brain asked for.
    Faulted,
    /// The client went away before the end.
    Abandoned,
}

/// What the connections share.
struct Shared {
    brain: Brain,
    chunking: Chunking,
    requests: Mutex<Vec<Recorded>>,
    changed: Condvar,
    connections: AtomicUsize,
    /// Thinking that the server has sealed, by signature.
    sealed: Mutex<BTreeMap<String, String>>,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Vec<Recorded>)) {
        change(&mut self.requests.lock().expect("no test panics while it holds the requests"));
        self.changed.notify_all();
    }

    fn finish(&self, number: usize, outcome: Outcome) {
        self.change(|requests| {
            let request = &mut requests[number - 1];
            if request.outcome == Outcome::Running {
                request.ended = Some(now());
                request.outcome = outcome;
            }
        });
    }
}

/// The moment, for the server's own records.
#[expect(clippy::disallowed_methods, reason = "a test server measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// The server. It ends with this handle.
pub struct AnthropicServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AnthropicServer {
    /// Starts a server that cuts its bodies adversarially.
    pub fn start(brain: Brain) -> Self {
        Self::start_with(brain, Chunking::Adversarial)
    }

    /// Starts a server.
    pub fn start_with(brain: Brain, chunking: Chunking) -> Self {
        let shared = Arc::new(Shared {
            brain,
            chunking,
            requests: Mutex::default(),
            changed: Condvar::new(),
            connections: AtomicUsize::new(0),
            sealed: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        listener.set_nonblocking(true).expect("a fresh socket can be set to non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("anthropic-server".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime for the test server");
                runtime.block_on(serve(listener, serving, stopped));
            })
            .expect("a thread for the test server");
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// What goes into `base_url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().expect("no connection panics while it holds the requests").clone()
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The messages of everything refused so far; a correct client leaves this empty.
    pub fn refusals(&self) -> Vec<String> {
        self.requests()
            .into_iter()
            .filter_map(|request| match request.outcome {
                Outcome::Refused(status, message) => Some(format!("{status} {message}")),
                _ => None,
            })
            .collect()
    }

    /// Waits until the requests are as the test wants them, and gives them out; fails the test after `PATIENCE`.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&[Recorded]) -> bool) -> Vec<Recorded> {
        let requests = self.shared.requests.lock().expect("no connection panics while it holds the requests");
        let (requests, waited) = self
            .shared
            .changed
            .wait_timeout_while(requests, PATIENCE, |requests| !holds(requests))
            .expect("no connection panics while it holds the requests");
        let requests = requests.clone();
        assert!(!waited.timed_out(), "the server waited in vain for {what}; requests so far: {requests:#?}");
        requests
    }
}

impl Drop for AnthropicServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed; a second one here would abort the whole test binary.
            let _ = thread.join();
        }
    }
}

/// Accepts connections until the handle is gone; then drops them all.
async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let listener = TcpListener::from_std(listener).expect("the socket is non-blocking");
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connection::serve(stream, Arc::clone(&shared)));
            }
            Some(ended) = connections.join_next() => ended.expect("a connection of the test server panicked"),
        }
    }
}
