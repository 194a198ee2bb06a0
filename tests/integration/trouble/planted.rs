//! Credentials planted wherever a run may meet them, with tools that show them to whoever asks: does one get to a server, or
//! into any file that the run writes?

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};

use serde_json::{Value, json};

use crate::harness::{Outcome, Project, repository};
use crate::server::brain::{Answer, Part, brain};
use crate::server::{AnthropicServer, KEY};

const BRAVE: &str = "bsa-2c9e41d7f08b6a35";
const TAVILY: &str = "tvly-8d03f5b1c6e24a97";
const SERVER: &str = "box-71e5a0c4d89b2f36";
/// Written into the mount plan itself, under a name that says nothing.
const LITERAL: &str = "pat9f2d6b83e7a15c40";
const HEADER: &str = "net-5b8e0d3f97c16a24";
const INPUT: &str = "inp-3a7c92e0b5f8d146";
const PASSWORD: &str = "pwd-e60a9b4f1c73d825";
const DEPLOY: &str = "dpl-f84c1a6e92b7d035";
const PEM: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";

const PLANTED: [(&str, &str); 10] = [
    ("the provider's key", KEY),
    ("the key of Brave", BRAVE),
    ("the key of Tavily", TAVILY),
    ("the environment of a server", SERVER),
    ("a word in a mount plan", LITERAL),
    ("a header of a server", HEADER),
    ("an input", INPUT),
    ("a password in an address", PASSWORD),
    ("a private key", PEM),
    ("a secret input", DEPLOY),
];

/// A server for everything but the model: a page, a search, and tools over HTTP. Each shows the headers it was sent, and the
/// page shows what is planted.
fn loopback() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // It ends with the test's process; nobody waits for it.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                while let Some((head, body)) = request(&mut reader) {
                    let (status, kind, body) = respond(&head, &body);
                    let length = body.len();
                    let response = format!(
                        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
                    );
                    if reader.get_mut().write_all(response.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

fn request(reader: &mut impl BufRead) -> Option<(String, String)> {
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        head.push_str(&std::mem::take(&mut line));
    }
    let length = head
        .to_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ").and_then(|length| length.trim().parse().ok()));
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    (!head.is_empty()).then(|| (head, String::from_utf8_lossy(&body).into_owned()))
}

fn respond(head: &str, body: &str) -> (&'static str, &'static str, String) {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let shown = head.replace("\r\n", " ");
    if path.starts_with("/page") {
        let planted: String = PLANTED.iter().map(|(_, secret)| format!("<p>{secret}</p>")).collect();
        return ("200 OK", "text/html", format!("<title>{KEY}</title>{planted}"));
    }
    if path.starts_with("/mcp") {
        return respond_to_call(head, body, &shown);
    }
    // What Brave answers; what Tavily does beside it.
    let found = json!({"title": shown, "url": "http://x.test/", "description": shown, "content": format!("{shown} {body}")});
    let answer = json!({"web": {"results": [found]}, "results": [found]});
    ("200 OK", "application/json", answer.to_string())
}

fn respond_to_call(head: &str, body: &str, shown: &str) -> (&'static str, &'static str, String) {
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    if !head.starts_with("POST") {
        return ("405 Method Not Allowed", "text/plain", String::new());
    }
    if asked["id"].is_null() {
        return ("202 Accepted", "text/plain", String::new());
    }
    let result = match asked["method"].as_str() {
        Some("initialize") => {
            json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}})
        }
        Some("tools/list") => {
            json!({"tools": [{"name": "echo", "description": shown, "inputSchema": {"type": "object", "description": shown}}]})
        }
        _ => json!({"content": [{"type": "text", "text": shown}]}),
    };
    ("200 OK", "application/json", json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string())
}

/// A hook that adds all it finds to every result.
const SHOWING_HOOK: &str = "cat .env >&2; printf '{\"action\": \"inject_context\", \"context_injection\": \"'; tr '\\n\"' '  ' < notes.txt; printf '\"}'";

fn mount_plan(server: &AnthropicServer, port: u16, backend: &str) -> Value {
    let local = format!("127.0.0.1:{port}");
    let pipes = json!({
        "command": "/bin/sh", "args": ["../server.sh"],
        "env": {"GIVEN_TOKEN": "${BOX_TOKEN}", "GIVEN_TWO": LITERAL},
    });
    let net = json!({
        "type": "http", "url": format!("http://{local}/mcp"),
        "headers": {"Authorization": format!("Bearer {HEADER}")},
    });
    json!({
        "session": {"orchestrator": {"module": "loop-streaming"}, "context": {"module": "context-simple", "config": {"max_tool_result_bytes": 1500}}},
        "providers": [{"module": "provider-anthropic", "config": {"base_url": server.url(), "default_model": "claude-sonnet-4-5", "max_tokens": 1024}}],
        "tools": [
            {"module": "tool-issue"}, {"module": "tool-filesystem"}, {"module": "tool-bash"}, {"module": "tool-search"},
            {"module": "tool-todo"}, {"module": "tool-task"},
            {"module": "tool-web", "config": {"backend": backend, "base_url": format!("http://{local}"), "private_hosts": [local]}},
            {"module": "tool-mcp", "config": {"servers": {"box": pipes, "net": net}}},
        ],
        "hooks": [
            {"module": "hooks-logging", "config": {}},
            {"module": "hooks-shell", "config": {"commands": [{"event": "tool:post", "command": SHOWING_HOOK}]}},
        ],
        "agents": {"helper": {"description": "helps", "tools": [{"module": "tool-bash"}, {"module": "tool-search"}]}},
    })
}

fn planted(server: &AnthropicServer) -> Project {
    let port = loopback();
    let project = Project::new();
    let env = format!(
        "BRAVE_API_KEY={BRAVE}\nDATABASE_URL=postgres://team:{PASSWORD}@db.test/team\nSIGNING_PRIVATE_KEY=\"-----BEGIN PRIVATE KEY-----\n{PEM}\n-----END PRIVATE KEY-----\n\"\n"
    );
    project.write(".env", &env);
    for (name, backend) in [("brave", "brave"), ("tavily", "tavily")] {
        let plan = mount_plan(server, port, backend);
        project.write(&format!("mount-plans/{name}.json"), &format!("{plan:#}\n"));
    }
    let script = std::fs::read_to_string(repository().join("tests/inputs/mcp/server.sh")).expect("a file");
    let script = script.replace("$GIVEN_TOKEN", "$GIVEN_TOKEN$GIVEN_TWO");
    project.write("server.sh", &script).write("page", &format!("http://127.0.0.1:{port}/page"));
    project
        .write(
            "team.yaml",
            "version: 1
name: team
workspace: { path: desk, fresh: true }
inputs: { api_token: { required: true }, deploy: { secret: true } }
roles:
  brave: { mount_plan: mount-plans/brave.json }
  tavily: { mount_plan: mount-plans/tavily.json }
phases:
  - id: fill
    session: { role: brave, prompt: prompts/fill.md }
  - id: look
    workers:
      pool: [{ role: brave, count: 1 }, { role: tavily, count: 1 }]
      prompt: prompts/look.md
      claim: agent
      max_iterations: 1
  - id: echo
    shell: { run: 'echo $GIVEN; echo $GIVEN > given.txt', env: { GIVEN: '{{ inputs.deploy }}' } }
  - id: sum
    session: { role: brave, prompt: prompts/sum.md }
    expect: [\"inputs.api_token == ''\"]
    on_failure: continue
",
        )
        .write("prompts/fill.md", "Fill the queue.\n")
        .write("prompts/look.md", "Look around with {{ inputs.api_token }}.\n")
        .write(
            "prompts/sum.md",
            &format!("Sum up. The header is {HEADER}. The shell said {{{{ phases.echo.text }}}}.\n"),
        );
    let lines: String = PLANTED.iter().map(|(_, secret)| format!("the secret is {secret}\n")).collect();
    project.write("notes.txt", &lines);
    project
}

/// Everything that shows something, at once; then all of it is said again, and put into the queue.
fn nosy(page: String) -> crate::server::brain::Brain {
    brain(move |asked| {
        let call = |name: &str, input: Value| Part::ToolUse { name: name.to_owned(), input };
        let done = asked.since_prompt();
        let prompt = asked.prompt();
        if prompt.contains("Fill") && done.is_empty() {
            let create = |title: &str| json!({"operation": "create", "params": {"title": title}});
            return Answer::new(["a", "b"].map(|title| call("issue_manager", create(title))).to_vec());
        }
        if prompt.contains("Help.") && done.is_empty() {
            return Answer::new(vec![
                call("bash", json!({"command": "cat ../.env ../notes.txt; env"})),
                call("grep", json!({"pattern": "secret is", "output_mode": "content"})),
            ]);
        }
        if !done.is_empty() || prompt.contains("Sum up") {
            let said: String = done.iter().map(|exchange| exchange.result.as_str()).collect();
            let issue = json!({"operation": "create", "params": {"title": "Seen", "description": said}});
            return match done.len() {
                12 if !prompt.contains("Help.") => Answer::new(vec![
                    Part::Text(said.clone()),
                    call("write_file", json!({"file_path": "seen.txt", "content": said})),
                    call("issue_manager", issue),
                ]),
                _ => Answer::text(format!("Seen: {said}")),
            };
        }
        Answer::new(vec![
            call(
                "bash",
                json!({"command": "env; cp ../notes.txt ../.env .; cat notes.txt .env ../mount-plans/*"}),
            ),
            call(
                "bash",
                json!({"command": "(printf '\\0'; cat notes.txt .env) > notes.bin; touch \"$(head -1 notes.txt | cut -d' ' -f4)\"; for i in $(seq 40); do cat notes.txt; done > long.txt"}),
            ),
            call("read_file", json!({"file_path": "notes.txt"})),
            call("grep", json!({"pattern": ".", "output_mode": "content", "include_ignored": true})),
            call("glob", json!({"pattern": "**/*"})),
            call("web_fetch", json!({"url": page})),
            call("web_search", json!({"query": "what is planted"})),
            call("mcp_box_env", json!({})),
            call("mcp_net_echo", json!({})),
            call("task", json!({"agent": "helper", "instruction": "Help."})),
            call("todo", json!({"action": "list"})),
            call("issue_manager", json!({"operation": "claim"})),
        ])
    })
}

/// The files that were planted, or copied by the tools that were asked to.
const KNOWN: [&str; 9] = [
    ".env",
    "notes.txt",
    "mount-plans/",
    "prompts/",
    "desk/.env",
    "desk/notes.",
    "desk/long.txt",
    "desk/loopback-key",
    "desk/given.txt",
];

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_nowhere(project: &Project, server: &AnthropicServer, outcomes: &[Outcome]) {
    let files = project.files("");
    for (what, secret) in PLANTED {
        for outcome in outcomes {
            assert!(!outcome.text().contains(secret), "{what} is printed:\n{}", outcome.text());
        }
        for request in server.requests() {
            let body = request.body.to_string();
            let at = body.find(secret).map(|at| body[at.saturating_sub(300)..at].to_owned());
            assert_eq!(at, None, "{what} is shown to a model");
        }
        for (name, bytes) in &files {
            let text = String::from_utf8_lossy(bytes);
            let holds = text.contains(secret) || text.contains(&hex(secret));
            assert!(!holds || KNOWN.iter().any(|known| name.starts_with(known)), "{what} is in {name}");
        }
    }
}

/// The tools that are asked to show something that is planted.
const SHOWING: [&str; 9] =
    ["bash", "read_file", "grep", "glob", "web_fetch", "web_search", "mcp_box_env", "mcp_net_echo", "task"];

/// What a tool has said, without what the hook adds below it.
fn results_of(server: &AnthropicServer, tool: &str) -> Vec<String> {
    let mut results = Vec::new();
    for request in server.requests() {
        let messages = request.body["messages"].as_array().expect("messages").iter();
        let blocks: Vec<&Value> =
            messages.filter_map(|message| message["content"].as_array()).flatten().collect();
        for call in blocks.iter().filter(|block| block["type"] == "tool_use" && block["name"] == tool) {
            let result = blocks.iter().find(|block| block["tool_use_id"] == call["id"]);
            let text = result.map(|block| block["content"].to_string()).unwrap_or_default();
            let own = text.split("the secret is [secret:ANTHROPIC_API_KEY] the secret is").next();
            results.push(own.unwrap_or_default().to_owned());
        }
    }
    results
}

#[test]
fn nothing_that_is_planted_gets_anywhere() {
    let page = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let told = page.clone();
    let server = AnthropicServer::start(brain(move |asked| {
        let page = told.lock().expect("a page").clone();
        nosy(page)(asked)
    }));
    let project = planted(&server);
    page.lock().expect("a page").push_str(&project.read("page"));
    let run = |words: &[&str]| {
        let run = project
            .runner(words.iter().copied())
            .env("TAVILY_API_KEY", TAVILY)
            .env("BOX_TOKEN", SERVER)
            .env("DEPLOYS", DEPLOY);
        run.with_key()
    };
    let input = format!("api_token={INPUT}");
    let recorded =
        run(&["record", "team.yaml", "--to", "tape", "-i", &input, "-i", "deploy=DEPLOYS", "--json"]).run();
    assert!(recorded.code == Some(5), "{}", recorded.text());
    // Each tool has shown what it was to show, under another name.
    let asked: String = server.requests().iter().map(|request| request.body.to_string()).collect();
    for mark in [
        "ANTHROPIC_API_KEY",
        "BRAVE_API_KEY",
        "TAVILY_API_KEY",
        "BOX_TOKEN",
        "GIVEN_TWO",
        "Authorization",
        "api_token",
        "DATABASE_URL",
        "SIGNING_PRIVATE_KEY",
        "DEPLOYS",
    ] {
        assert!(asked.contains(&format!("[secret:{mark}]")), "nobody has shown {mark}");
    }
    for tool in SHOWING {
        let own = results_of(&server, tool);
        assert!(own.iter().any(|text| text.contains("[secret:")), "{tool}: {own:?}");
    }
    let shown = run(&["show", "--json"]).run();
    let transcript = run(&["transcript"]).run();
    let replayed =
        run(&["replay", "team.yaml", "--from", "tape", "-i", &input, "-i", "deploy=DEPLOYS", "--json"]).run();
    let outcomes = [recorded, shown, transcript, replayed];
    assert_nowhere(&project, &server, &outcomes);
}
