//! Tools of other programs in a session: real servers, called live, recorded, and replayed when they are gone.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{BINARY, Outcome, Project, repository};
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, brain};

/// A project whose one session calls these tools at once, and whose servers are these.
fn project(servers: &Value, calls: &[(&str, Value)]) -> Project {
    let project = Project::new();
    project.write(
        "talk.yaml",
        "version: 1
name: talk
workspace: { path: desk, fresh: true }
roles:
  writer: { mount_plan: mount-plans/writer.json }
phases:
  - id: greet
    session: { role: writer, prompt: prompts/greet.md }
replay: { cassette: tape }
",
    );
    project.write("prompts/greet.md", "Greet.\n");
    let plan = json!({
        "session": {"orchestrator": {"module": "loop-streaming"}, "context": {"module": "context-simple"}},
        "providers": [{"module": "provider-anthropic", "config": {"default_model": "claude-sonnet-4-5"}}],
        "tools": [
            {"module": "tool-mcp", "config": {"servers": servers, "timeout": 2, "connect_timeout": 2}},
            {"module": "tool-filesystem"},
        ],
    });
    project.write("mount-plans/writer.json", &format!("{plan:#}\n"));
    let calls: Vec<_> = calls.iter().map(|(tool, input)| json!({"tool": tool, "input": input})).collect();
    let script = json!({"rules": [{"when": "turn == 1", "calls": calls}, {"say": "Done."}]});
    project.write("talk.script.yaml", &script.to_string());
    project.write(
        "server.sh",
        &std::fs::read_to_string(repository().join("tests/inputs/mcp/server.sh")).unwrap(),
    );
    project
}

/// The server of `tests/inputs/mcp/server.sh`.
fn shell(project_file: &str, env: &Value) -> Value {
    json!({"command": "/bin/sh", "args": [project_file], "env": env})
}

fn server(mode: &str) -> Value {
    json!({"box": shell("../server.sh", &json!({"MODE": mode}))})
}

fn record(project: &Project) -> Outcome {
    project.runner(["record", "talk.yaml", "--script", "talk.script.yaml"]).run()
}

/// What the calls came to, as the model was told, from the recording.
fn results(project: &Project) -> String {
    project.files("tape/sessions").into_values().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
}

#[test]
fn a_recording_plays_without_its_server() {
    let calls = [
        ("mcp_box_touch", json!({})),
        ("read_file", json!({"file_path": "made-by-server"})),
        ("mcp_box_fail", json!({})),
        ("mcp_box_picture", json!({"text": "x"})),
        ("mcp_box_long", json!({})),
        ("mcp_box_die", json!({})),
        ("mcp_box_touch", json!({})),
    ];
    let project = project(&server(""), &calls);
    record(&project).expect_code(0);
    let told = results(&project);
    for part in [
        "made it",
        "touched",
        "the disk is full",
        "a cat\n",
        "[left out: an image (image/png, 3 bytes); only text can be shown]",
        "{\"cats\":1}",
        "bytes left out",
        "The MCP server box failed: it has ended, or closed the connection",
        "out of memory",
    ] {
        assert!(told.contains(part), "{part} is not in\n{}", told.replace(&"x".repeat(100), ""));
    }
    std::fs::remove_file(project.path("server.sh")).unwrap();
    project.runner(["test", "talk.yaml", "--update"]).run().expect_code(0);
    project.runner(["test", "talk.yaml"]).run().expect_code(0);
    project.runner(["replay", "talk.yaml"]).run().expect_code(0);
    assert_eq!(
        project.read("desk/made-by-server"),
        "touched\n",
        "what the server did to files is played too"
    );
}

#[test]
fn resources_and_prompts_are_offered_as_tools() {
    let calls = [
        ("mcp_box_resource_notes", json!({})),
        ("mcp_box_resource_notes_OTHER", json!({})),
        ("mcp_box_prompt_greet", json!({"whom": "Ann"})),
        ("mcp_box_prompt_greet", json!({})),
        ("mcp_box_touch", json!({})),
    ];
    let many =
        |servers: &str| json!({"box": shell("../server.sh", &json!({"MODE": "library", "MANY": servers}))});
    let listed = project(&many("0"), &[("mcp_box_touch", json!({}))]);
    record(&listed).expect_code(0);
    let head = listed.read("tape/cassette.yaml");
    let (_, rest) =
        head.split_once("mcp_box_resource_notes_").expect("two resources of one name are told apart");
    let hash: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
    for part in
        ["Reads the resource file:///a/notes (text/plain).", "A picture.", "Says hello.", "who is greeted"]
    {
        assert!(head.contains(part), "{part}: {head}");
    }
    let calls = calls.map(|(name, input)| (name.replace("OTHER", &hash), input));
    let calls: Vec<(&str, Value)> =
        calls.iter().map(|(name, input)| (name.as_str(), input.clone())).collect();
    let project = project(&many("0"), &calls);
    record(&project).expect_code(0);
    let told = results(&project);
    for part in [
        "file:///a/notes:",
        "Buy milk.",
        "[left out: the resource file:///b/notes (image/png, 3 bytes); only text can be shown]",
        "[user]",
        "Say hello to Ann.",
        "made it",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    std::fs::remove_file(project.path("server.sh")).unwrap();
    project.runner(["replay", "talk.yaml"]).run().expect_code(0);
    let full = self::project(&many("40"), &[("mcp_box_touch", json!({}))]);
    let said = record(&full).expect_code(0).stderr;
    assert!(said.contains("MCP server box: of its 42 resources the first 32 are offered"), "{said}");
}

#[test]
fn a_server_that_cannot_be_used_stops_the_run_before_it_begins() {
    for (servers, said) in [
        (server("dies"), "(exit status: 7); it printed:\nno such database"),
        (server("garbage"), "Welcome to the server!"),
        (server("silent"), "it did not answer within 2 s"),
        (server("twins"), "it offers two tools, a.b and a/b, that would both be called mcp_box_a_b"),
        (json!({"box": {"command": "no-such-program"}}), "its program cannot be started: No such file"),
        (json!({"box": {"url": "http://127.0.0.1:1/mcp"}}), "the MCP server box (http://127.0.0.1:1/mcp): "),
    ] {
        let project = project(&servers, &[]);
        let outcome = record(&project).expect_code(3);
        assert!(outcome.stderr.contains(said), "{said} is not in\n{}", outcome.text());
        assert!(
            outcome.stderr.contains("mount-plans/writer.json: tool-mcp: the MCP server box ("),
            "{}",
            outcome.text()
        );
    }
}

#[test]
fn a_call_that_hangs_is_given_up_and_nothing_is_left_behind() {
    let project = project(&server(""), &[("mcp_box_hang", json!({}))]);
    record(&project).expect_code(0);
    let told = results(&project);
    assert!(told.contains("it gave no answer within 2 s"), "{told}");
    // Whoever inherits it may not have taken note of its end yet.
    let left = std::fs::read_to_string(format!("/proc/{}/stat", project.read("desk/hanging").trim()));
    assert!(left.is_err() || left.as_ref().is_ok_and(|stat| stat.contains(") Z ")), "it goes on: {left:?}");
}

#[test]
fn a_server_gets_its_environment_and_a_model_no_secret() {
    const GIVEN: &str = "tok-4f8a1c9e77b2d056";
    let servers = json!({"box": shell("../server.sh", &json!({"MODE": "", "GIVEN_TOKEN": "${BOX_TOKEN}"}))});
    let project = project(&servers, &[("mcp_box_env", json!({}))]);
    let run = project.runner(["record", "talk.yaml", "--script", "talk.script.yaml"]);
    let run = run.env("BOX_TOKEN", GIVEN).env("OTHER_TOKEN", "zzz-9d1f3b5a7c2e4860").with_key().run();
    let run = run.expect_code(0);
    let told = results(&project);
    assert!(told.contains("GIVEN_TOKEN HOME MODE") && told.contains("[secret:"), "{told}");
    for name in ["BOX_TOKEN ", "OTHER_TOKEN", "ANTHROPIC"] {
        assert!(!told.replace("[secret:BOX_TOKEN]", "").contains(name), "{name} is in\n{told}");
    }
    assert!(!run.text().contains(GIVEN));
    for (name, bytes) in project.files("") {
        assert!(!bytes.windows(GIVEN.len()).any(|window| window == GIVEN.as_bytes()), "it is in {name}");
    }
}

#[test]
fn our_own_server_is_one_too() {
    let servers = json!({"queue": {"command": BINARY, "args": ["mcp", "--workspace", "../other"]}});
    let calls =
        [("mcp_queue_issue_create", json!({"title": "From afar"})), ("mcp_queue_issue_get_ready", json!({}))];
    let project = project(&servers, &calls);
    project.write("other/readme", "");
    project.runner(["issues", "init", "--workspace", "other"]).run().expect_code(0);
    record(&project).expect_code(0);
    let told = results(&project);
    assert!(told.contains(r#"{"count":1,"ready_issues":"#) && told.contains("From afar"), "{told}");
    project.runner(["replay", "talk.yaml"]).run().expect_code(0);
}

#[test]
fn sessions_share_a_server_and_replays_start_none() {
    let servers = json!({"box": shell("../server.sh", &json!({"COUNT": "../count"}))});
    let project = project(&servers, &[("mcp_box_touch", json!({}))]);
    let phase = "  - id: again\n    session: { role: writer, prompt: prompts/greet.md }\n  - id: greet\n";
    project.replace("talk.yaml", "  - id: greet\n", phase);
    record(&project).expect_code(0);
    project.runner(["replay", "talk.yaml"]).run().expect_code(0);
    assert_eq!(project.read("count"), "started\n");
}

#[test]
fn policies_may_name_tools_of_servers_that_are_configured() {
    let project = project(&server(""), &[]);
    project.replace("talk.yaml", "replay: { cassette: tape }", "replay: { tools: { mcp_box_touch: deny } }");
    project.runner(["check", "talk.yaml"]).run().expect_code(0);
    project.replace("talk.yaml", "mcp_box_touch", "mcp_bag_touch");
    let outcome = project.runner(["check", "talk.yaml"]).run().expect_code(2);
    assert!(outcome.stderr.contains("there is no tool `mcp_bag_touch`"), "{}", outcome.text());
}

/// A call that was under way when the run was killed is not made again; a server is there for those that follow.
#[test]
fn a_run_that_was_killed_goes_on_with_its_servers() {
    let anthropic = AnthropicServer::start(brain(|asked| match asked.since_prompt().len() {
        0 => Answer::call("mcp_box_touch", json!({})),
        1 => Answer::call("mcp_box_hang", json!({})),
        2 => Answer::call("mcp_box_touch", json!({})),
        _ => Answer::text("Done."),
    }));
    let project = project(&server(""), &[]);
    project.replace("talk.yaml", "path: desk, fresh: true", "path: desk");
    project.replace("mount-plans/writer.json", "\"timeout\": 2", "\"timeout\": 600");
    project.point_at(&anthropic);
    project.write("desk/readme", "");
    let made = project.command("mkfifo").arg("desk/hanging").run();
    assert_eq!(made.code, Some(0), "{}", made.text());
    let running = project.runner(["talk.yaml", "--live"]).with_key().spawn();
    // Opening it waits until the server opens it, too.
    std::fs::read_to_string(project.path("desk/hanging")).unwrap();
    running.signal(Signal::SIGKILL);
    running.finish();
    project.runner(["resume"]).with_key().run().expect_code(0);
    let last = anthropic.requests().last().unwrap().body.to_string();
    assert!(last.contains("Interrupted: the run was killed while this call ran"), "{last}");
    assert_eq!(project.read("desk/made-by-server"), "touched\ntouched\n", "each call is made once");
}

/// A server written with the official Python package; only where `RUNNER_MCP_PYTHON` names a Python that has it.
#[test]
fn servers_of_the_python_package_are_understood() {
    let Some(python) = std::env::var_os("RUNNER_MCP_PYTHON") else { return };
    let python = python.into_string().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let source = repository().join("tests/inputs/mcp/server.py");
    let source = source.to_str().unwrap();
    let servers = json!({
        "pipes": {"command": python, "args": [source]},
        "net": {"type": "http", "url": format!("http://127.0.0.1:{port}/mcp"), "headers": {"X-Api-Key": "open-7c1e9a5d3b2f8460"}},
    });
    let calls = [
        ("mcp_pipes_add", json!({"a": 2, "b": 40})),
        ("mcp_pipes_refuse", json!({})),
        ("mcp_net_add", json!({"a": 20, "b": 400})),
        ("mcp_net_picture", json!({})),
    ];
    let project = project(&servers, &calls);
    project.replace("mount-plans/writer.json", "\"connect_timeout\": 2", "\"connect_timeout\": 60");
    project.replace("mount-plans/writer.json", "\"timeout\": 2", "\"timeout\": 60");
    let listening = project.command(&python).args([source, &port.to_string()]).spawn();
    listening.wait_for("Uvicorn running");
    record(&project).expect_code(0);
    listening.signal(Signal::SIGKILL);
    listening.finish();
    let told = results(&project);
    for part in ["42", "420", "Error executing tool refuse", "[left out: an image (image/png, "] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    project.replace("mount-plans/writer.json", &python, "/no/such/python");
    project.runner(["replay", "talk.yaml"]).run().expect_code(0);
}
