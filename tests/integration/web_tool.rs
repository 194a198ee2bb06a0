//! What `web_fetch` and `web_search` do with real servers on the loopback, and what they refuse to reach.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking, in its helpers too")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use runner::event::{Footprint, Policy};
use runner::http::Names;
use runner::plan::Variables;
use runner::tool::{Repeat, web};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::confinement::{Place, Tools, json_of, refused, tools};

/// A server that gives each path one response, written as it goes over the wire, and keeps what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(respond: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        // It ends with the test's process; nobody waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let (mut request, mut line) = (String::new(), String::new());
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    request.push_str(&std::mem::take(&mut line));
                }
                let length = request
                    .to_lowercase()
                    .split("content-length: ")
                    .nth(1)
                    .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().unwrap().push(request + &String::from_utf8(body).unwrap());
                let _ = reader.get_mut().write_all(&respond(&path));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn at(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.address.port())
    }
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        .into_bytes()
}

/// Names that all lead to the loopback, but for one with a public address beside it. Keeps what it was asked.
#[derive(Default)]
struct Loopback(Mutex<Vec<String>>);

#[async_trait]
impl Names for Loopback {
    async fn look_up(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        self.0.lock().unwrap().push(host.to_owned());
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Ok(match host {
            "mixed.test" => vec![IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)), local],
            "nat64.test" => vec!["64:ff9b::7f00:1".parse().unwrap()],
            "mapped.test" => vec!["::ffff:169.254.169.254".parse().unwrap()],
            _ => vec![local],
        })
    }
}

fn web(place: &Place, config: &Value) -> Tools {
    let variables = Variables::from([("BRAVE_API_KEY".to_owned(), "sk-test-8f2e9b7c4d1a".to_owned())]);
    let names = Arc::new(Loopback::default());
    tools(web::build_with(config.as_object().unwrap(), &place.workspace, &variables, names).unwrap())
}

/// Tools that may fetch from `wiki.test`; a search backend that nobody asks makes the module whole.
fn fetching(place: &Place, more: &Value) -> Tools {
    let mut config = json!({"backend": "brave", "private_hosts": ["wiki.test"]});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    web(place, &config)
}

async fn fetch(tools: &Tools, url: &str) -> runner::tool::ToolOutput {
    tools.call("web_fetch", json!({"url": url})).await
}

#[tokio::test]
async fn a_page_is_shown_as_text_in_parts() {
    let server = Server::start(|path| match path {
        "/page" => {
            response("200 OK", "content-type: text/html; charset=utf-8\r\n", "<h1>Hä</h1><p>one &lt; two")
        }
        "/key" => response("200 OK", "content-type: text/plain\r\n", "key sk-test-8f2e9b7c4d1a end"),
        "/picture" => response("200 OK", "content-type: image/png\r\n", "x"),
        "/large" => response("200 OK", "content-type: text/plain\r\n", &"x".repeat(3 * 1024 * 1024)),
        _ => response("404 Not Found", "", "gone"),
    });
    let place = Place::new();
    let tools = fetching(&place, &json!({}));
    let page = json_of(&fetch(&tools, &server.at("wiki.test", "/page")).await);
    assert_eq!((&page["content"], &page["total_chars"]), (&json!("# Hä\n\none < two\n"), &json!(16)));
    let part = json!({"url": server.at("wiki.test", "/page"), "offset": 2, "limit": 2});
    let part = json_of(&tools.call("web_fetch", part).await);
    assert_eq!((&part["content"], &part["next_offset"]), (&json!("Hä"), &json!(4)));
    let key = json_of(&fetch(&tools, &server.at("wiki.test", "/key")).await);
    assert_eq!(key["content"], "key [secret:TEST_KEY] end");
    let large = json_of(&fetch(&tools, &server.at("wiki.test", "/large")).await);
    assert!(large["warning"].as_str().unwrap().contains("larger than 2097152 bytes"));
    assert_eq!((&large["truncated"], &large["next_offset"]), (&json!(true), &json!(50_000)));
    refused(&fetch(&tools, &server.at("wiki.test", "/picture")).await, "it is image/png, and only text");
    refused(&fetch(&tools, &server.at("wiki.test", "/nothing")).await, "answered with status 404");
    refused(&fetch(&tools, "http://[secret:TEST_KEY]/").await, "placeholder of a secret");
    let tool = tools.get("web_fetch");
    assert_eq!((tool.policy(), tool.repeat()), (Policy::Tape, Repeat::Harmless));
    assert_eq!(tool.footprint(&serde_json::Map::new()), Footprint::none());
}

#[tokio::test]
async fn nothing_private_is_reached_by_address_by_name_or_by_redirect() {
    let server = Server::start(|path| match path.strip_prefix("/to?") {
        Some(target) => response("302 Found", &format!("location: {target}\r\n"), ""),
        None => response("200 OK", "content-type: text/plain\r\n", "reached"),
    });
    let place = Place::new();
    let tools = fetching(&place, &json!({"blocked_domains": ["blocked.test"]}));
    let port = server.address.port();
    let targets = [
        (server.at("127.0.0.1", "/x"), "not on the public internet"),
        (server.at("2130706433", "/x"), "not on the public internet"),
        (server.at("[::ffff:127.0.0.1]", "/x"), "not on the public internet"),
        (server.at("localhost", "/x"), "not on the public internet"),
        (server.at("innocent.test", "/x"), "not on the public internet"),
        (server.at("mixed.test", "/x"), "not on the public internet"),
        (server.at("nat64.test", "/x"), "not on the public internet"),
        (server.at("mapped.test", "/x"), "not on the public internet"),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), "not on the public internet"),
        (format!("http://user:pw@wiki.test:{port}/x"), "user name or password"),
        ("file:///etc/passwd".to_owned(), "only http and https"),
        (server.at("a.blocked.test", "/x"), "within a blocked domain"),
    ];
    for (target, because) in &targets {
        refused(&fetch(&tools, target).await, because);
    }
    assert!(server.asked().is_empty(), "{:?}", server.asked());
    for (count, (target, because)) in targets.iter().enumerate() {
        let redirected = fetch(&tools, &server.at("wiki.test", &format!("/to?{target}"))).await;
        refused(&redirected, because);
        assert_eq!(server.asked().len(), count + 1, "{target}");
    }
    let inside = server.at("wiki.test", "/to?/to?/x");
    assert_eq!(json_of(&fetch(&tools, &inside).await)["content"], "reached");
    refused(&fetch(&tools, "not an address").await, "cannot be read");
    let only = fetching(&place, &json!({"allowed_domains": ["example.org"]}));
    refused(
        &fetch(&only, &server.at("wiki.test", "/x")).await,
        "not among the allowed domains (example.org)",
    );
}

#[tokio::test]
async fn a_page_without_end_ends() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent = format!("http://wiki.test:{}/", listener.local_addr().unwrap().port());
    let circle = Server::start(|path| response("302 Found", &format!("location: {path}x\r\n"), ""));
    let place = Place::new();
    let tools = fetching(&place, &json!({"timeout": 1}));
    refused(&fetch(&tools, &circle.at("wiki.test", "/")).await, "redirects more than 5 times");
    assert_eq!(circle.asked().len(), 6);
    refused(&fetch(&tools, &silent).await, "Timed out after 1 s");
    let stopped = CancellationToken::new();
    stopped.cancel();
    let patient = fetching(&place, &json!({"timeout": 600}));
    refused(&patient.call_until("web_fetch", json!({"url": silent}), stopped.clone()).await, "cancelled");
}

#[tokio::test]
async fn each_backend_is_asked_in_its_way_and_its_results_are_shown() {
    let server = Server::start(|path| {
        let result =
            |name: &str| json!([{"title": "T", "url": "https://e.org/", name: "about"}, {"title": "no url"}]);
        let body = if path.starts_with("/res/") {
            json!({"type": "search", "web": {"results": result("description")}})
        } else {
            json!({"results": result("content")})
        };
        response("200 OK", "content-type: application/json\r\n", &body.to_string())
    });
    let place = Place::new();
    let base = server.at("127.0.0.1", "/");
    let cases = [
        (
            json!({"backend": "brave"}),
            "GET /res/v1/web/search?q=a+%26+b&count=5&",
            "x-subscription-token: sk-test-8f2e9b7c4d1a",
        ),
        (json!({"backend": "tavily", "api_key": "tvly"}), "POST /search", "authorization: Bearer tvly"),
        (json!({"backend": "searxng"}), "GET /search?q=a+%26+b&format=json", "accept"),
    ];
    for (mut config, line, header) in cases {
        config["base_url"] = base.clone().into();
        let found = web(&place, &config).call("web_search", json!({"query": "a & b"})).await;
        assert_eq!(
            json_of(&found),
            json!({"query": "a & b", "count": 1, "results": [
                {"title": "T", "url": "https://e.org/", "snippet": "about"},
            ]})
        );
        let asked = server.asked().pop().unwrap();
        assert!(asked.starts_with(line) && asked.contains(header), "{asked}");
    }
    assert!(server.asked()[1].ends_with(r#"{"max_results":5,"query":"a & b"}"#), "{:?}", server.asked());
}

#[tokio::test]
async fn an_excerpt_that_is_cut_shows_no_part_of_a_secret() {
    let server = Server::start(|_| {
        let long = format!("{}sk-test-8f2e9b7c4d1a", "x".repeat(990));
        let body = json!({"results": [{"title": "T", "url": "https://e.org/", "description": long}]});
        response("200 OK", "content-type: application/json\r\n", &json!({"web": body}).to_string())
    });
    let config = json!({"backend": "brave", "base_url": server.at("127.0.0.1", "/")});
    let found = web(&Place::new(), &config).call("web_search", json!({"query": "x"})).await;
    assert!(found.content.contains("xx[secret:") && !found.content.contains("sk-te"), "{}", found.content);
}

#[tokio::test]
async fn a_backend_that_fails_gives_no_results_and_no_secret() {
    let server = Server::start(|path| match path.split('/').nth(1).unwrap() {
        "key" => response("401 Unauthorized", "", "bad key sk-test-8f2e9b7c4d1a"),
        "many" => response("429 Too Many Requests", "", ""),
        "page" => response("200 OK", "", "<html>"),
        "other" => response("200 OK", "", "{}"),
        "none" => response("200 OK", "", r#"{"type": "search"}"#),
        "moved" => response("302 Found", "location: /none/res/v1/web/search\r\n", ""),
        _ => response("500 Oops", "", ""),
    });
    let place = Place::new();
    let search = |base: String| {
        let tools = web(&place, &json!({"backend": "brave", "base_url": base}));
        async move { tools.call("web_search", json!({"query": "x"})).await }
    };
    for (path, because) in [
        ("/key", "refused the key (401); a person must check BRAVE_API_KEY"),
        ("/many", "has had enough requests (429)"),
        ("/page", "no JSON"),
        ("/other", "JSON that has no results"),
        ("/moved", "status 302"),
        ("/broken", "status 500"),
    ] {
        let output = search(server.at("127.0.0.1", path)).await;
        refused(&output, because);
        assert!(!output.content.contains("8f2e9b"), "{output:?}");
    }
    assert_eq!(json_of(&search(server.at("127.0.0.1", "/none")).await)["count"], 0);
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    refused(&search(format!("http://{closed}")).await, "brave could not be asked");
}
