//! What the wire alone costs: the same requests again, by a client that reads each reply to its end and sends the next.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::task::JoinSet;

use crate::play;
use crate::server::{AnthropicServer, Chunking, Recorded};
use crate::team::{Keeper, Team, by_worker};

/// Headers that the client makes itself.
const OF_THE_WIRE: [&str; 4] = ["host", "content-length", "connection", "transfer-encoding"];

/// Sends the requests of each worker again, all workers at the same time; answers with the gaps.
pub fn repeat(team: Team, requests: &[Vec<Recorded>]) -> Vec<Vec<Duration>> {
    let keeper = Keeper::new();
    let server = AnthropicServer::start_with(team.brain(keeper.gates()), Chunking::ByEvent);
    let all: Vec<Vec<Ready>> = requests.iter().map(|one| one.iter().map(Ready::new).collect()).collect();
    let url = server.url();
    std::thread::scope(|scope| {
        scope.spawn(|| send_all(&url, all));
        keeper.conduct(team.sessions, || ());
    });
    play::gaps(&by_worker(server.requests())).0
}

/// A request, ready to be sent.
struct Ready {
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Ready {
    fn new(request: &Recorded) -> Self {
        let path = request.target.split(' ').next_back().expect("a target has a path").to_owned();
        let kept = request.headers.iter().filter(|(name, _)| !OF_THE_WIRE.contains(&name.as_str()));
        let headers = kept.map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("it came over the wire");
            (name, HeaderValue::from_str(value).expect("it came over the wire"))
        });
        let body = serde_json::to_vec(&request.body).expect("JSON prints");
        Self { path, headers: headers.collect(), body }
    }
}

fn send_all(url: &str, all: Vec<Vec<Ready>>) {
    // An error only says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime for the client");
    let client = Client::builder().build().expect("a client");
    runtime.block_on(async {
        let mut sessions = JoinSet::new();
        for requests in all {
            let (client, url) = (client.clone(), url.to_owned());
            sessions.spawn(async move {
                for request in requests {
                    let sending = client.post(format!("{url}{}", request.path)).headers(request.headers);
                    let mut response = sending.body(request.body).send().await.expect("the server answers");
                    while response.chunk().await.expect("the reply is whole").is_some() {}
                }
            });
        }
        while let Some(ended) = sessions.join_next().await {
            ended.expect("a session of the bare client");
        }
    });
}
