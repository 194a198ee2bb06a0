//! How requests really leave: over reqwest and rustls, once each, to the host they were meant for.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};

use super::{HeaderText, Lanes, Transport, TransportError, WireRequest, WireResponse};

/// A dead host is found out after this long; an answer may take far longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection is kept this long for the next turn; servers close theirs after about as long.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// Probes a silent connection, so that one a firewall forgot is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Carries requests over the network. Clones share their connections, and the windows of calls under way.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: Client,
    lanes: Arc<Lanes>,
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up HTTPS: {reason}; is the system's certificate store (package ca-certificates) there?")]
pub struct ClientError {
    reason: String,
}

impl HttpTransport {
    /// A transport that tries each request once and follows no redirect: a key is never carried to another address.
    ///
    /// # Errors
    /// TLS cannot be set up on this machine.
    pub fn new() -> Result<Self, ClientError> {
        // An error only says that the process already has a provider, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .tcp_keepalive(KEEP_ALIVE)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()
            .map_err(|error| ClientError { reason: root_cause(&error) })?;
        Ok(Self { client, lanes: Arc::default() })
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: WireRequest, timeout: Duration) -> Result<WireResponse, TransportError> {
        let url = Url::parse(&request.url).map_err(|error| TransportError::Connect {
            host: request.url.clone(),
            reason: format!("not an address ({error})"),
        })?;
        let host = host_of(&url);
        let headers = header_map(&request.headers).map_err(|name| TransportError::Connect {
            host: host.clone(),
            reason: format!("the value of header `{name}` has characters a header cannot carry"),
        })?;
        let sending = self.client.post(url).headers(headers).body(request.body).send();
        let response = match tokio::time::timeout(timeout, sending).await {
            Err(_) => return Err(TransportError::Timeout { seconds: timeout.as_secs() }),
            Ok(Err(error)) => return Err(read_failure(&host, &error)),
            Ok(Ok(response)) => response,
        };
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        let body = response.bytes_stream().map(move |piece| match piece {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(error) => Err(read_failure(&host, &error)),
        });
        Ok(WireResponse { status, headers, body: Box::pin(body) })
    }

    fn lanes(&self) -> Option<&Lanes> {
        Some(&self.lanes)
    }
}

pub(super) fn header_map(headers: &[(&'static str, HeaderText)]) -> Result<HeaderMap, &'static str> {
    let mut map = HeaderMap::new();
    for (name, text) in headers {
        let value = match text {
            HeaderText::Plain(text) => HeaderValue::from_str(text),
            HeaderText::Secret { prefix, secret } => {
                HeaderValue::from_str(&format!("{prefix}{}", secret.expose())).map(|mut value| {
                    value.set_sensitive(true);
                    value
                })
            }
        };
        map.insert(HeaderName::from_static(name), value.map_err(|_| *name)?);
    }
    Ok(map)
}

/// `host:port` of an address, as people are told of it.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

pub(super) fn read_failure(host: &str, error: &reqwest::Error) -> TransportError {
    let reason = root_cause(error);
    if error.is_connect() || error.is_builder() {
        TransportError::Connect { host: host.to_owned(), reason }
    } else {
        TransportError::Broken { reason: format!("{host}: {reason}") }
    }
}

/// The innermost cause: the layers above it only say that something below them failed, and name the address.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() && error.is_connect() {
        return format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
    }
    let Some(mut cause) = error.source() else {
        return "the request could not be sent".to_owned();
    };
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
