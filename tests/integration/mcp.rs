//! `runner mcp` as any client meets it: lines of JSON-RPC over the pipes of the real binary.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

mod client;

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use self::client::Client;
use crate::harness::{BINARY, Project, repository};

/// A project with an empty queue.
fn queue() -> Project {
    let project = Project::new();
    project.runner(["issues", "init"]).run().expect_code(0);
    project
}

/// An issue as the command line shows it.
fn shown(project: &Project, id: &str) -> Value {
    project.runner(["issues", "show", id, "--json"]).run().expect_code(0).json()["issue"].clone()
}

#[test]
fn versions_are_negotiated() {
    let project = queue();
    for (asked, given) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        // This one has no `initialize` any more, and that one does not exist.
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let mut client = Client::start(&project, &[]);
        let said = client.initialize("test", asked);
        assert_eq!(said["protocolVersion"], given, "{asked}");
        assert_eq!(said["serverInfo"]["name"], "runner");
        assert_eq!(said["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
        assert!(said["capabilities"]["tools"].is_object(), "{said}");
        assert!(said["instructions"].as_str().unwrap().contains("issue_claim"), "{said}");
        client.create("reachable");
        assert_eq!(client.end(), (Some(0), String::new(), String::new()));
    }
}

#[test]
fn the_newest_version_needs_no_handshake() {
    let project = queue();
    let mut client = Client::start(&project, &[]);
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "stateless", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}});
    let listed = client.request("tools/list", &json!({"_meta": meta}));
    assert!(listed["result"]["tools"].as_array().unwrap().len() > 10, "{listed}");
    let call = json!({"_meta": meta, "name": "issue_create", "arguments": {"title": "t"}});
    let made = client.request("tools/call", &call)["result"]["structuredContent"]["issue"]["id"].clone();
    let call = json!({"_meta": meta, "name": "issue_claim", "arguments": {}});
    let claimed = client.request("tools/call", &call)["result"]["structuredContent"]["issue"].clone();
    assert_eq!((&claimed["id"], claimed["assignee"].as_str()), (&made, Some("stateless")));
    assert_eq!(client.end().0, Some(0));
}

#[test]
fn the_tools_are_these() {
    let project = queue();
    let mut client = Client::connect(&project, "test", &[]);
    let tools = client.request("tools/list", &json!({}))["result"]["tools"].clone();
    for tool in tools.as_array().unwrap() {
        let schema = tool["inputSchema"].as_object().unwrap();
        assert_eq!(schema["type"], "object");
        for banned in ["oneOf", "anyOf", "allOf", "$ref", "$defs"] {
            assert!(!schema.contains_key(banned), "{tool}");
        }
        assert!(tool["description"].as_str().is_some_and(|text| text.ends_with('.')), "{tool}");
    }
    let _guard = project.snapshots();
    insta::assert_snapshot!("mcp__tools", format!("{tools:#}"));
}

#[test]
fn an_issue_lives_from_beginning_to_end() {
    let project = queue();
    let mut client = Client::connect(&project, "ana", &[]);
    let first = client.create("Straße – 测试 🚂");
    let second = client.create("after it");
    client.ok("issue_add_dependency", &json!({"from_id": second, "to_id": first}));
    let ready = client.ok("issue_get_ready", &json!({}));
    assert_eq!(
        (&ready["count"], &ready["ready_issues"][0]["title"]),
        (&json!(1), &json!("Straße – 测试 🚂"))
    );
    let blocked = client.ok("issue_get_blocked", &json!({}));
    assert_eq!(blocked["blocked_issues"][0]["blockers"][0]["id"], *first);
    let claimed = client.ok("issue_claim", &json!({}));
    assert_eq!((&claimed["issue"]["id"], &claimed["issue"]["assignee"]), (&json!(first), &json!("ana")));
    let waiting = client.ok("issue_block", &json!({"issue_id": first, "notes": "which one?"}));
    assert_eq!(waiting["issue"]["status"], "blocked");
    client.ok("issue_unblock", &json!({"issue_id": first, "answer": "the left one"}));
    client.ok("issue_claim", &json!({"issue_id": first}));
    client.ok("issue_close", &json!({"issue_id": first, "reason": "done"}));
    let found = client.ok("issue_search", &json!({"query": "left one"}));
    assert_eq!(found["issues"][0]["id"], *first);
    let history = client.ok("issue_history", &json!({"issue_id": first}));
    let events: Vec<_> =
        history["changes"].as_array().unwrap().iter().map(|change| &change["event_type"]).collect();
    assert_eq!(events, ["created", "claimed", "blocked", "commented", "unblocked", "claimed", "closed"]);
    assert_eq!(client.ok("issue_claim", &json!({}))["issue"]["id"], *second);
    client.ok("issue_close", &json!({"issue_id": second}));
    assert_eq!(client.ok("issue_claim", &json!({}))["issue"], Value::Null, "nothing is a result");
    assert_eq!(client.end().0, Some(0));
    project.runner(["issues", "verify"]).run().expect_code(0);
}

#[test]
fn a_refusal_is_for_the_model() {
    let project = queue();
    let mut client = Client::connect(&project, "test", &[]);
    for (tool, arguments, words) in [
        ("issue_get", json!({"issue_id": "bd-none"}), "Issue not found: bd-none"),
        ("issue_create", json!({}), "title is required for create"),
        ("issue_create", json!({"title": "t", "notes": "n"}), "did you mean `blocking_notes`?"),
        ("issue_create", json!({"title": "t", "priority": 9}), "Priority must be 0-4"),
        ("issue_list", json!({"status": "done"}), "did you mean `closed`?"),
    ] {
        let said = client.refused(tool, &arguments);
        assert!(said.starts_with("Operation failed: ") && said.contains(words), "{said}");
    }
    assert_eq!(client.ok("issue_list", &json!({}))["count"], 0);
}

#[test]
fn what_is_no_call_is_an_error_of_the_protocol() {
    let project = queue();
    let mut client = Client::connect(&project, "test", &[]);
    let unknown = client.request("tools/call", &json!({"name": "issue_destroy", "arguments": {}}));
    assert_eq!(unknown["error"]["code"], -32602);
    let said = unknown["error"]["message"].as_str().unwrap();
    assert!(said.starts_with("Unknown tool: issue_destroy; there are issue_create, "), "{said}");
    assert_eq!(client.request("no/such/method", &json!({}))["error"]["code"], -32601);
    let nameless = client.request("tools/call", &json!({"arguments": {}}));
    assert!(nameless["error"]["code"].is_number(), "{nameless}");
    assert_eq!(client.request("ping", &json!({}))["result"], json!({}));
}

#[test]
fn what_needs_no_answer_gets_none() {
    let project = queue();
    let mut client = Client::connect(&project, "test", &[]);
    client.line("{this is no JSON");
    client.line("");
    for notification in ["notifications/roots/list_changed", "notifications/no/such"] {
        client.line(&json!({"jsonrpc": "2.0", "method": notification}).to_string());
    }
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 77}});
    client.line(&cancelled.to_string());
    // The next line of the server is the answer to this, and not to anything before.
    assert_eq!(client.request("ping", &json!({}))["result"], json!({}));
    assert_eq!(client.end(), (Some(0), String::new(), String::new()));
}

#[test]
fn a_message_may_come_in_pieces() {
    let project = queue();
    let mut client = Client::connect(&project, "test", &[]);
    let message = json!({"jsonrpc": "2.0", "id": "piece-1", "method": "tools/call",
        "params": {"name": "issue_create", "arguments": {"title": "žluťoučký 🐎"}}});
    for byte in format!("{message}\r\n").as_bytes() {
        client.bytes(&[*byte]);
    }
    let answer = client.receive();
    assert_eq!(answer["id"], "piece-1");
    assert_eq!(answer["result"]["structuredContent"]["issue"]["title"], "žluťoučký 🐎");
}

#[test]
fn many_requests_at_once_are_all_answered() {
    let project = queue();
    let mut client = Client::connect(&project, "test", &[]);
    let mut titles = BTreeMap::new();
    for n in 0..200 {
        let title = format!("issue {n}");
        let call = json!({"name": "issue_create", "arguments": {"title": title}});
        titles.insert(client.send("tools/call", &call), title);
    }
    while !titles.is_empty() {
        let answer = client.receive();
        let title = titles.remove(&answer["id"].as_u64().unwrap()).expect("each is answered once");
        assert_eq!(answer["result"]["structuredContent"]["issue"]["title"], title);
    }
    let rows = client.ok("issue_list", &json!({}));
    assert_eq!((&rows["count"], &rows["not_shown"]), (&json!(50), &json!(150)));
}

#[test]
fn what_was_asked_before_the_end_is_still_done_and_answered() {
    let project = queue();
    let mut client = Client::connect(&project, "test", &[]);
    for n in 0..20 {
        client.send("tools/call", &json!({"name": "issue_create", "arguments": {"title": format!("{n}")}}));
    }
    let (code, rest, messages) = client.end();
    assert_eq!((code, rest.lines().count(), messages.as_str()), (Some(0), 20, ""));
    let rows = project.runner(["issues", "list", "--json"]).run().expect_code(0).json();
    assert_eq!(rows["count"], 20);
}

#[test]
fn a_cancelled_request_leaves_the_queue_whole() {
    let project = queue();
    let mut client = Client::connect(&project, "test", &[]);
    let mut asked = Vec::new();
    for n in 0..20 {
        let call = json!({"name": "issue_create", "arguments": {"title": format!("{n}")}});
        let id = client.send("tools/call", &call);
        let parameters = json!({"requestId": id, "reason": "never mind"});
        client.line(
            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": parameters}).to_string(),
        );
        asked.push(id);
    }
    let last = client.send("ping", &json!({}));
    // An answer may have been on its way before the cancellation came; then it is the answer to one of them.
    loop {
        let answer = client.receive();
        let id = answer["id"].as_u64().unwrap();
        if id == last {
            break;
        }
        assert!(asked.contains(&id), "{answer}");
    }
    assert_eq!(client.end().0, Some(0));
    project.runner(["issues", "verify"]).run().expect_code(0);
}

#[test]
fn two_connections_never_get_the_same_issue() {
    let project = queue();
    let mut maker = Client::connect(&project, "maker", &[]);
    for n in 0..40 {
        maker.create(&format!("{n}"));
    }
    // Two of one name: who holds is the connection.
    let mut both = [Client::connect(&project, "same", &[]), Client::connect(&project, "same", &[])];
    for client in &mut both {
        for _ in 0..20 {
            client.send("tools/call", &json!({"name": "issue_claim", "arguments": {}}));
        }
    }
    let mut got = Vec::new();
    for client in &mut both {
        for _ in 0..20 {
            let answer = client.receive();
            let issue = &answer["result"]["structuredContent"]["issue"];
            got.push(issue["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned());
        }
    }
    let theirs = got[20].clone();
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 40);
    let said = both[0].refused("issue_close", &json!({"issue_id": theirs}));
    assert!(said.contains("is held by same; only its holder may close it"), "{said}");
}

#[test]
fn the_end_of_a_connection_gives_back_what_it_holds() {
    let project = queue();
    let mut client = Client::connect(&project, "ana", &[]);
    let [kept, done] = ["kept", "done"].map(|title| client.create(title));
    client.ok("issue_claim", &json!({}));
    client.ok("issue_claim", &json!({}));
    client.ok("issue_close", &json!({"issue_id": done}));
    assert_eq!(client.end().0, Some(0));
    let issue = shown(&project, &kept);
    assert_eq!(
        (&issue["status"], &issue["assignee"], &issue["attempt"]),
        (&json!("open"), &Value::Null, &json!(1))
    );
    assert_eq!(shown(&project, &done)["status"], "closed");
}

#[test]
fn a_signal_ends_it_in_order() {
    let project = queue();
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut client = Client::connect(&project, "ana", &[]);
        let id = client.create("t");
        client.ok("issue_claim", &json!({"issue_id": id}));
        client.signal(signal);
        // Its input stays open: the signal alone ends it.
        assert_eq!(client.server.wait().unwrap().code(), Some(code));
        assert_eq!(shown(&project, &id)["status"], "open");
    }
}

#[test]
fn leases_are_renewed_while_it_lives_and_lapse_when_it_is_killed() {
    let project = queue();
    let mut client = Client::connect(&project, "ana", &["--lease", "2s"]);
    let id = client.create("t");
    client.ok("issue_claim", &json!({}));
    let until = || {
        let why = project.runner(["issues", "why", &id, "--json"]).run().expect_code(0).json();
        why["reasons"][0]["lease_until"].as_str().unwrap().to_owned()
    };
    let first = until();
    // Each look is a process of its own; a hang is ended by the patience of the whole suite.
    while until() == first {}
    client.signal(Signal::SIGKILL);
    client.server.wait().unwrap();
    loop {
        let taken =
            project.runner(["issues", "claim", "--actor", "ben", "--json"]).run().expect_code(0).json();
        if taken["issue"]["id"] == *id {
            assert_eq!(taken["issue"]["attempt"], 1);
            break;
        }
    }
}

#[test]
fn who_has_lost_an_issue_is_told() {
    let project = queue();
    let mut client = Client::connect(&project, "ana", &[]);
    let id = client.create("t");
    client.ok("issue_claim", &json!({}));
    project.runner(["issues", "release", &id, "--force", "--actor", "ben"]).run().expect_code(0);
    project.runner(["issues", "claim", &id, "--actor", "ben"]).run().expect_code(0);
    let said = client.refused("issue_close", &json!({"issue_id": id, "reason": "mine"}));
    assert!(said.contains("has lapsed and ben has claimed it since"), "{said}");
    assert_eq!(client.end().0, Some(0));
    assert_eq!(
        shown(&project, &id)["assignee"],
        "ben",
        "the end of a connection gives back only what is its own"
    );
}

#[test]
fn the_actor_is_the_option_then_the_client_then_a_word() {
    let project = queue();
    for (options, name, actor) in
        [(vec![], "claude", "claude"), (vec!["--actor", "kim"], "claude", "kim"), (vec![], "", "mcp")]
    {
        let mut client = Client::connect(&project, name, &options);
        let id = client.create("t");
        let claimed = client.ok("issue_claim", &json!({"issue_id": id}));
        assert_eq!(claimed["issue"]["assignee"], actor);
        let mine = client.ok("issue_update", &json!({"issue_id": id, "assignee": actor}));
        assert_eq!(mine["issue"]["status"], "in_progress");
        client.ok("issue_close", &json!({"issue_id": id}));
    }
}

#[test]
fn takes_narrows_what_is_ready_and_claimed() {
    let project = queue();
    let mut client = Client::connect(&project, "ana", &["--takes", "kind=a", "--takes", "kind=b"]);
    client.ok("issue_create", &json!({"title": "not mine", "metadata": {"kind": "c"}}));
    client.ok("issue_create", &json!({"title": "mine", "metadata": {"kind": "b"}}));
    assert_eq!(client.ok("issue_get_ready", &json!({}))["count"], 1);
    assert_eq!(client.ok("issue_get_ready", &json!({"all": true}))["count"], 2);
    assert_eq!(client.ok("issue_claim", &json!({}))["issue"]["title"], "mine");
    let nothing = client.ok("issue_claim", &json!({}));
    assert_eq!(nothing["issue"], Value::Null);
    assert!(nothing["message"].as_str().unwrap().contains("kind \"a\" or \"b\""), "{nothing}");
}

#[test]
fn the_hints_are_true() {
    let project = queue();
    let mut client = Client::connect(&project, "ana", &[]);
    let tools = client.request("tools/list", &json!({}))["result"]["tools"].clone();
    let hints: BTreeMap<_, _> = tools
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| (tool["name"].as_str().unwrap(), &tool["annotations"]))
        .collect();
    let [whole, waits, other] = ["whole", "waits", "other"].map(|title| client.create(title));
    // What makes the call possible, and the call.
    let scenes = [
        ("issue_create", vec![], json!({"title": "new"})),
        ("issue_list", vec![], json!({})),
        ("issue_search", vec![], json!({"query": "whole"})),
        ("issue_get", vec![], json!({"issue_id": whole})),
        (
            "issue_update",
            vec![],
            json!({"issue_id": whole, "title": "Whole", "priority": 1, "metadata": {"a": 1}}),
        ),
        ("issue_add_dependency", vec![], json!({"from_id": waits, "to_id": other})),
        ("issue_remove_dependency", vec![], json!({"from_id": waits, "to_id": other})),
        ("issue_get_ready", vec![], json!({})),
        ("issue_get_blocked", vec![], json!({})),
        ("issue_claim", vec![], json!({})),
        ("issue_release", vec![("issue_claim", json!({"issue_id": other}))], json!({"issue_id": other})),
        ("issue_block", vec![], json!({"issue_id": other, "notes": "what?"})),
        ("issue_unblock", vec![], json!({"issue_id": other, "answer": "that"})),
        ("issue_close", vec![("issue_claim", json!({"issue_id": other}))], json!({"issue_id": other})),
        ("issue_reopen", vec![], json!({"issue_id": other})),
        ("issue_comment", vec![], json!({"issue_id": other, "body": "so"})),
        ("issue_history", vec![], json!({"issue_id": other})),
    ];
    assert_eq!(scenes.len(), hints.len(), "each tool has its scene");
    let exported = || project.runner(["issues", "export", "--format", "issue-manager", "--to", "x"]).run();
    let state = || {
        exported().expect_code(0);
        project.read("x/issues.jsonl")
            + &project.read("x/dependencies.jsonl")
            + &project.read("x/events.jsonl")
    };
    for (tool, before, arguments) in scenes {
        for (tool, arguments) in before {
            client.ok(tool, &arguments);
        }
        let start = state();
        client.ok(tool, &arguments);
        let once = state();
        // Refused or not, what counts is what it changes.
        client.call(tool, &arguments);
        let twice = state();
        assert_eq!(hints[tool]["readOnlyHint"], start == once, "{tool}");
        assert_eq!(hints[tool]["idempotentHint"], once == twice, "{tool}");
        assert_eq!(hints[tool]["openWorldHint"], false, "{tool}");
    }
    let destructive: Vec<_> =
        hints.iter().filter(|(_, hints)| hints["destructiveHint"] == true).map(|(name, _)| *name).collect();
    assert_eq!(destructive, ["issue_block", "issue_remove_dependency", "issue_reopen", "issue_update"]);
}

#[test]
fn a_queue_must_be_there() {
    let project = Project::new();
    let outcome = project.runner(["mcp"]).stdin("").run().expect_code(2);
    assert!(
        outcome.stdout.is_empty() && outcome.stderr.starts_with("error: there is no issue queue in "),
        "{}",
        outcome.text()
    );
    project.runner(["mcp", "--lease", "1ms"]).run().expect_code(2);
    project.write("elsewhere/x", "");
    project.runner(["issues", "init", "--workspace", "elsewhere"]).run().expect_code(0);
    project.runner(["mcp", "--workspace", "elsewhere"]).stdin("").run().expect_code(0);
}

#[test]
fn who_does_not_speak_the_protocol_is_told() {
    let project = queue();
    let line = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let outcome = project.runner(["mcp"]).stdin(format!("{line}\n")).run().expect_code(1);
    assert_eq!(outcome.stdout, "");
    assert_eq!(
        outcome.stderr,
        "error: the client did not begin as MCP says: its first message is no request; a client starts with `initialize`\n"
    );
}

/// The official SDK for Python as a client, where its caller has one.
#[test]
fn the_official_sdk_gets_along_with_it() {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its caller where the SDK is")]
    let Ok(python) = std::env::var("RUNNER_MCP_PYTHON") else {
        println!("skipped: no SDK; RUNNER_MCP_PYTHON names a python that has the package mcp");
        return;
    };
    let project = queue();
    let script = repository().join("tests/inputs/mcp/client.py").display().to_string();
    let outcome = project.command(&python).args([script.as_str(), BINARY]).run().expect_code(0);
    let said = outcome.json();
    assert_eq!(said["server"], json!(["runner", env!("CARGO_PKG_VERSION")]));
    assert_eq!(said["claimed"], said["created"]);
    assert_eq!(said["status"], "closed");
    assert!(said["refused"].as_str().unwrap().contains("Issue not found: bd-none"), "{said}");
    assert!(said["unknown"].as_str().unwrap().contains("Unknown tool: nope"), "{said}");
    let mut client = Client::connect(&project, "test", &[]);
    let tools = client.request("tools/list", &json!({}))["result"]["tools"].clone();
    let names: Vec<_> = tools.as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect();
    assert_eq!(said["tools"], json!(names));
}
