//! Sub-agents: is a task given, done and answered, is all of it recorded, and is it bounded?

use serde_json::json;

use crate::harness::Project;
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, brain};

const FILE: &str = "scenarios/build.yaml";

/// A builder who has two reviewers look at its work, at once, and one of them looks at a file.
fn project(agents: &str, rules: &str) -> Project {
    let project = Project::new();
    project.write(
        FILE,
        "version: 1
name: build
workspace: { path: .build, fresh: true }
roles: { builder: { mount_plan: mount-plans/builder.yaml } }
phases: [{ id: make, session: { role: builder, prompt: prompts/make.md } }]
replay: { cassette: scenarios/build.cassette }
",
    );
    project.write("prompts/make.md", "Make it.\n");
    project.write(
        "mount-plans/builder.yaml",
        &format!(
            "session: {{ orchestrator: loop-streaming, context: context-simple }}
providers: [{{ module: provider-anthropic, config: {{ default_model: claude-sonnet-4-5 }} }}]
tools: [{{ module: tool-task }}, {{ module: tool-filesystem }}, {{ module: tool-issue }}]
system: {{ instruction: You build. }}
{agents}"
        ),
    );
    project.write("script.yaml", &format!("rules:\n{rules}"));
    project
}

const AGENTS: &str = "agents:
  reviewer:
    description: looks at work
    system: { instruction: You review. }
    providers: [{ module: provider-anthropic, config: { default_model: claude-haiku-4-5 } }]
  clerk: { description: files issues }
";

const RULES: &str = r#"  - when: prompt == "Make it." and turn == 1
    calls:
      - { tool: write_file, input: { file_path: a.txt, content: one } }
  - when: prompt == "Make it." and turn == 2
    calls:
      - { tool: task, input: { agent: reviewer, instruction: Look at a.txt. } }
      - { tool: task, input: { agent: clerk, instruction: File it. } }
      - { tool: task, input: { agent: nobody, instruction: Help. } }
  - when: prompt == "Look at a.txt." and turn == 1
    latency: 2s
    calls: [{ tool: read_file, input: { file_path: a.txt } }]
  - { when: prompt == "Look at a.txt.", say: It says one. }
  - when: prompt == "File it." and turn == 1
    calls:
      - { tool: issue_manager, input: { operation: create, params: { title: A task } } }
      - { tool: issue_manager, input: { operation: claim, params: {} } }
  - { when: prompt == "File it.", say: Filed. }
  - { say: "Made. {{ results | length }}" }
"#;

fn record(project: &Project, words: &[&str]) -> crate::harness::Outcome {
    project.runner(["record", FILE, "--script", "script.yaml"]).args(words).run()
}

#[test]
fn tasks_are_done_by_others_recorded_and_replayed() {
    let project = project(AGENTS, RULES);
    let ran = record(&project, &[]).expect_code(0);
    assert!(ran.stderr.contains("builder>reviewer-2.1"), "{}", ran.text());
    assert!(ran.stderr.contains("begins (claude-haiku-4-5)"), "the agent has its own model: {}", ran.text());
    let ledger = project.read("scenarios/build.cassette/ledger.txt");
    for id in ["make/builder>reviewer-2.1/1.1 ", "make/builder>clerk-2.2/1.2 ", "make/builder/3 "] {
        assert!(ledger.contains(id), "{id}: {ledger}");
    }
    assert!(!ledger.contains("make/builder/2.1 "), "the call itself is no effect: {ledger}");
    let reviewer = project.read("scenarios/build.cassette/sessions/make.builder.reviewer-2.1.yaml");
    assert!(reviewer.contains("Look at a.txt.") && reviewer.contains("It says one."), "{reviewer}");
    let queue = project.runner(["issues", "list", "--workspace", ".build", "--json"]).run().json();
    assert_eq!(
        queue["issues"][0]["status"], "open",
        "what an agent claimed is the session's, and given back"
    );
    assert_eq!(queue["issues"][0]["title"], "A task");
    for way in [["--strictness", "total"], ["--jitter", "1"], ["--jitter", "5"]] {
        project.runner(["replay", FILE]).args(way).run().expect_code(0);
    }
    project.runner(["cassette", "doctor", "scenarios/build.cassette"]).run().expect_code(0);
}

#[test]
fn a_run_that_is_killed_within_a_task_goes_on_there() {
    let project = project(AGENTS, RULES);
    for at in ["make/builder>clerk-2.2/1", "make/builder>reviewer-2.1/1.1", "make/builder>reviewer-2.1/2"] {
        let killed = record(&project, &["--fault", &format!("{at}=kill")]);
        assert_eq!(killed.signal, Some(9), "{}", killed.text());
        let resumed = project.runner(["resume"]).run().expect_code(0);
        assert!(resumed.stderr.contains("recording: scenarios/build.cassette"), "{}", resumed.text());
        project.runner(["replay", FILE]).run().expect_code(0);
    }
}

#[test]
fn a_task_is_bounded() {
    let endless = "  - { when: 'prompt == \"Make it.\" and turn == 1', calls: [{ tool: task, input: { agent: clerk, instruction: Go on. } }] }
  - { when: 'prompt == \"Make it.\"', say: \"Made.\" }
  - { calls: [{ tool: read_file, input: { file_path: none } }] }
";
    let project = project(AGENTS, endless);
    project.replace(
        "mount-plans/builder.yaml",
        "{ module: tool-task }",
        "{ module: tool-task, config: { max_turns: 3 } }",
    );
    record(&project, &[]).expect_code(0);
    let ledger = project.read("scenarios/build.cassette/ledger.txt");
    assert!(
        ledger.contains("make/builder>clerk-1.1/3 ") && !ledger.contains("make/builder>clerk-1.1/4 "),
        "{ledger}"
    );
    project.runner(["replay", FILE]).run().expect_code(0);
}

/// What a real server is sent: the agent sees its instruction and nothing of the conversation, and has no tool to go on with.
#[test]
fn an_agent_sees_its_instruction_only() {
    let server = AnthropicServer::start(brain(|asked| {
        match (asked.prompt().contains("Make it."), asked.since_prompt().len()) {
            (true, 0) => Answer::call("task", json!({"agent": "clerk", "instruction": "Say a word."})),
            (true, _) => Answer::text(asked.since_prompt()[0].result.clone()),
            _ => Answer::text("A word."),
        }
    }));
    let project = project(AGENTS, "");
    let run = project.runner([FILE, "--live"]).with_key().env("ANTHROPIC_BASE_URL", server.url());
    run.run().expect_code(0);
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    let tools = |at: usize| requests[at].body["tools"].to_string();
    assert!(tools(0).contains("\"name\":\"task\"") && tools(0).contains("looks at work"), "{}", tools(0));
    assert!(!tools(1).contains("\"name\":\"task\""), "{}", tools(1));
    assert!(!requests[1].body.to_string().contains("Make it."), "{}", requests[1].body);
    assert!(requests[2].body.to_string().contains("A word."), "{}", requests[2].body);
}

#[test]
fn what_is_wrong_with_agents_is_told() {
    let project = project(
        "agents:
  \"no name\": {}
  reviewer: { descripton: x, tools: [{ module: tool-bsh }], providers: [{ module: provider-anthropic, config: { modl: x } }] }
  clerk: nothing
",
        RULES,
    );
    let _guard = project.snapshots();
    let told = project.runner(["check", FILE]).run().expect_code(2);
    insta::assert_snapshot!("agents__wrong", told.text());
    project.replace("mount-plans/builder.yaml", "{ module: tool-task }, ", "");
    let plan = project.read("mount-plans/builder.yaml");
    let (plan, _) = plan.split_once("agents:").expect("the agents");
    project.write("mount-plans/builder.yaml", &format!("{plan}agents: {{ clerk: {{}} }}\n"));
    let told = project.runner(["check", FILE]).run().expect_code(0);
    assert!(told.stderr.contains("`agents` has no effect without `tool-task`"), "{}", told.text());
}

/// Servers that only an agent names are started with the others, and offered to that agent alone.
#[test]
fn a_server_that_only_an_agent_names_is_there_for_that_agent() {
    let agents = "agents:
  clerk:
    tools: [{ module: tool-mcp, config: { servers: { desk: { command: /bin/sh, args: [../server.sh] } } } }]
  other: {}
";
    let rules = "  - when: '\"Look.\" in prompt and turn == 1'
    calls: [{ tool: mcp_desk_touch, input: {} }]
  - { when: '\"Look.\" in prompt', say: '{{ last.output }}' }
  - when: turn == 1
    calls:
      - { tool: task, input: { agent: clerk, instruction: Look. } }
      - { tool: task, input: { agent: other, instruction: Look. } }
      - { tool: mcp_desk_touch, input: {} }
  - say: Made.
";
    let project = project(agents, rules);
    let server = std::fs::read_to_string(crate::harness::repository().join("tests/inputs/mcp/server.sh"));
    project.write("server.sh", &server.unwrap());
    let recorded = record(&project, &["--json"]).expect_code(0);
    let sessions: String = project
        .files("scenarios/build.cassette/sessions")
        .into_values()
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect();
    assert!(sessions.contains("made it"), "{sessions}");
    let lines = recorded.json_lines();
    let events =
        lines.iter().filter(|line| line["event"]["type"] == "tool.ended" && line["event"]["tool"] != "task");
    let refused = events.filter(|line| line["event"]["output"].to_string().contains("There is no tool"));
    let refused: Vec<_> = refused.map(|line| line["session"].as_str().unwrap()).collect();
    assert_eq!(refused, ["builder", "builder>other-1.2"]);
    std::fs::remove_file(project.path("server.sh")).unwrap();
    for strictness in ["total", "causal"] {
        project.runner(["replay", FILE, "--strictness", strictness]).run().expect_code(0);
    }
    let failed = record(&project, &[]).expect_code(3);
    assert!(
        failed.stderr.contains("mount-plans/builder.yaml: tool-mcp: the MCP server desk"),
        "{}",
        failed.text()
    );
}

/// All mistakes are found at once.
#[test]
fn agents_are_looked_at_although_something_else_is_wrong() {
    let project = project("agents: { clerk: { descripton: x } }\n", RULES);
    project.replace("mount-plans/builder.yaml", "loop-streaming", "loop-streeming");
    let told = project.runner(["check", FILE]).run().expect_code(2);
    for part in ["loop-streeming", "descripton"] {
        assert!(told.stderr.contains(part), "{}", told.text());
    }
}
