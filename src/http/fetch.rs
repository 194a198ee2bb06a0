//! How a page is fetched from an address that a model chose, without reaching a machine that is not meant for it.
//!
//! ```text
//!  address ─▶ scheme, domains, literal address ─▶ name looked up ─▶ every address public? ─▶ connected to one of these
//!     ▲                                                                                             │
//!     └──────────────────────────────────── redirect (a few) ◀──────────────────────────────────────┘
//! ```
//!
//! The look-up that is checked is the one that is connected to, so a name that changes its address in between gains
//! nothing. No proxy is used: what lies behind one could not be checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Url};

use super::client::{header_map, host_of, read_failure, root_cause};
use super::reach::{Guard, Reach, Refused, is_public};
use super::{HeaderText, TransportError};
use crate::limit;

/// How names become addresses.
#[async_trait]
pub trait Names: Send + Sync {
    /// All addresses of a host.
    ///
    /// # Errors
    /// There are none, or nobody could be asked.
    async fn look_up(&self, host: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The system's way.
#[derive(Debug, Clone, Copy)]
pub struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn look_up(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Fetches pages. The clients are made when they are first needed: a replay needs none, nor certificates.
pub struct Fetcher {
    names: Arc<dyn Names>,
    reach: Reach,
    public: OnceLock<Client>,
    named: OnceLock<Client>,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where it came from in the end.
    pub url: String,
    /// The status.
    pub status: u16,
    /// `content-type`, as sent.
    pub content_type: Option<String>,
    /// The body, or as much of it as is taken.
    pub body: Vec<u8>,
    /// Whether there was more.
    pub cut: bool,
}

/// Why there is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It may not be asked.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It sends on and on.
    #[error("the server redirects more than {} times", limit::FETCH_REDIRECTS)]
    Redirects,
    /// It could not be asked.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// No client.
    #[error("cannot set up HTTPS: {reason}")]
    Client {
        /// What is wrong.
        reason: String,
    },
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Question {
    /// The address.
    pub url: String,
    /// What is added to it behind a question mark.
    pub query: Vec<(&'static str, String)>,
    /// Headers.
    pub headers: Vec<(&'static str, HeaderText)>,
    /// A JSON body, which makes it a POST.
    pub body: Option<Vec<u8>>,
}

impl Fetcher {
    /// Fetches within this reach.
    pub fn new(reach: Reach, names: Arc<dyn Names>) -> Self {
        Self { names, reach, public: OnceLock::new(), named: OnceLock::new() }
    }

    /// Gets a page, through redirects, each of which is checked as the first address is.
    ///
    /// # Errors
    /// An address may not be asked, or no response came.
    pub async fn get(&self, url: &str) -> Result<Page, FetchError> {
        let mut url = read(url)?;
        for _ in 0..=limit::FETCH_REDIRECTS {
            let client = self.client(self.reach.check(&url)?)?;
            let asked = client.get(url.clone()).header(ACCEPT, "text/html,text/*;q=0.9,*/*;q=0.5");
            let host = host_of(&url);
            let response = asked.send().await.map_err(|error| failure(&host, &error))?;
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            match location.filter(|_| response.status().is_redirection()) {
                None => return take(response, &host).await,
                Some(location) => {
                    url = url
                        .join(location)
                        .map_err(|error| Refused::Unreadable { reason: error.to_string() })?;
                    url.set_fragment(None);
                }
            }
        }
        Err(FetchError::Redirects)
    }

    /// Asks a server that a person has named, wherever it is; follows no redirect, as a key may be among the headers.
    ///
    /// # Errors
    /// No response came.
    pub async fn ask_named(&self, question: Question) -> Result<Page, FetchError> {
        let mut url = read(&question.url)?;
        if !question.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&question.query);
        }
        let host = host_of(&url);
        let headers = header_map(&question.headers).map_err(|name| {
            let reason = format!("the value of header `{name}` has characters a header cannot carry");
            TransportError::Connect { host: host.clone(), reason }
        })?;
        let client = self.client(Guard::Named)?;
        let asked = match question.body {
            None => client.get(url),
            Some(body) => client.post(url).header(CONTENT_TYPE, "application/json").body(body),
        };
        let response = asked.headers(headers).send().await.map_err(|error| failure(&host, &error))?;
        take(response, &host).await
    }

    fn client(&self, guard: Guard) -> Result<&Client, FetchError> {
        let kept = match guard {
            Guard::Public => &self.public,
            Guard::Named => &self.named,
        };
        if let Some(client) = kept.get() {
            return Ok(client);
        }
        // An error only says that the process already has a provider, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            // A connection that is kept would be used without looking again at where it leads.
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(Guarded { names: Arc::clone(&self.names), guard }))
            .build()
            .map_err(|error| FetchError::Client { reason: root_cause(&error) })?;
        Ok(kept.get_or_init(|| client))
    }
}

fn read(url: &str) -> Result<Url, Refused> {
    Url::parse(url).map_err(|error| Refused::Unreadable { reason: error.to_string() })
}

async fn take(response: reqwest::Response, host: &str) -> Result<Page, FetchError> {
    let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut page = Page {
        url: response.url().to_string(),
        status: response.status().as_u16(),
        content_type: header.map(str::to_owned),
        body: Vec::new(),
        cut: false,
    };
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        page.body.extend_from_slice(&piece.map_err(|error| failure(host, &error))?);
        if page.body.len() > limit::FETCH_BYTES {
            page.body.truncate(limit::FETCH_BYTES);
            page.cut = true;
            break;
        }
    }
    Ok(page)
}

/// Looks names up for one client and refuses those that lead to machines it may not reach.
struct Guarded {
    names: Arc<dyn Names>,
    guard: Guard,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, guard, host) = (Arc::clone(&self.names), self.guard, name.as_str().to_owned());
        Box::pin(async move {
            let found = names.look_up(&host).await?;
            if guard == Guard::Public && found.iter().any(|address| !is_public(*address)) {
                return Err(Box::new(Refused::Private { host }) as Box<dyn std::error::Error + Send + Sync>);
            }
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// A refusal of the resolver arrives wrapped in what reqwest made of it.
fn failure(host: &str, error: &reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(here) = cause {
        if let Some(refused) = here.downcast_ref::<Refused>() {
            return FetchError::Refused(refused.clone());
        }
        cause = here.source();
    }
    FetchError::Transport(read_failure(host, error))
}
