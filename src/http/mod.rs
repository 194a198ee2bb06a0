//! How bytes get to a server and back: one request, one streamed response. Knows no provider.

mod client;
mod fetch;
mod limiter;
mod nobody;
mod reach;
mod sse;

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::Stream;

use crate::id::Fingerprint;
use crate::secret::Secret;

pub use client::{ClientError, HttpTransport};
pub use fetch::{FetchError, Fetcher, Names, Page, Question, SystemNames};
pub use limiter::{Lane, Lanes, Limiter, Permit};
pub use nobody::Nobody;
pub use reach::{Reach, Refused};
pub use sse::{Framer, SseError, SseEvent};

/// One request, ready to be sent: always a POST with a JSON body.
#[derive(Debug, Clone)]
pub struct WireRequest {
    /// The address.
    pub url: String,
    /// Headers.
    pub headers: Vec<(&'static str, HeaderText)>,
    /// The JSON body, as it will be sent.
    pub body: Vec<u8>,
}

impl WireRequest {
    /// Which calls it shares a window with.
    pub fn lane(&self) -> Lane {
        let secret = |(_, text): &(&'static str, HeaderText)| match text {
            HeaderText::Plain(_) => None,
            HeaderText::Secret { secret, .. } => {
                Some(Fingerprint::of(secret.expose().as_bytes()).to_string())
            }
        };
        let rest = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url[rest..].find('/').map_or(self.url.len(), |at| rest + at);
        Lane {
            address: self.url[..end].to_owned(),
            key: self.headers.iter().find_map(secret).unwrap_or_default(),
        }
    }
}

/// A header's value.
#[derive(Debug, Clone)]
pub enum HeaderText {
    /// One that may be shown.
    Plain(String),
    /// A credential.
    Secret {
        /// What stands before it (`Bearer `).
        prefix: &'static str,
        /// The credential.
        secret: Secret,
    },
}

/// The pieces of a response body as they arrive.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Vec<u8>, TransportError>> + Send>>;

/// A response whose body is still arriving.
pub struct WireResponse {
    /// The status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: ByteStream,
}

impl WireResponse {
    /// The first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Something that carries requests.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends one request; returns when the response's headers are there.
    ///
    /// # Errors
    /// No response came: name not found, refused, reset, TLS, or `timeout` passed.
    async fn send(&self, request: WireRequest, timeout: Duration) -> Result<WireResponse, TransportError>;

    /// The windows of calls that may be under way at once; `None` where nothing is limited.
    fn lanes(&self) -> Option<&Lanes> {
        None
    }
}

/// Why no (whole) response came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection.
    #[error("cannot connect to {host}: {reason}")]
    Connect {
        /// Host and port.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("no answer within {seconds} s")]
    Timeout {
        /// The bound, in seconds.
        seconds: u64,
    },
    /// The connection broke.
    #[error("the connection broke: {reason}")]
    Broken {
        /// What the system said.
        reason: String,
    },
}
