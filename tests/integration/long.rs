//! A conversation that outgrows what a model takes: is it made smaller rarely and soundly, and is it the same when played
//! again or gone on with after a kill? And what becomes of results and memories that are larger than a prompt?

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::Project;
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, Asked, Brain, Fault, Gate, Part, brain};

/// Model calls of the long conversation before its last.
const READS: u64 = 40;

const SCENARIO: &str = "version: 1
name: long
workspace: { path: .long, fresh: true }
roles: { reader: { mount_plan: mount-plans/reader.json } }
phases:
  - id: read
    session: { role: reader, prompt: prompts/read.md }
";

fn project(server: &AnthropicServer, context: &Value) -> Project {
    let project = Project::new();
    project.write("long.yaml", SCENARIO).write("prompts/read.md", "Read it all.\n");
    let plan = json!({
        "session": {
            "orchestrator": {"module": "loop-streaming", "config": {"max_iterations": -1}},
            "context": context,
        },
        "providers": [{"module": "provider-anthropic", "config": {"default_model": "claude-sonnet-5"}}],
        "tools": [{"module": "tool-filesystem", "config": {}}],
    });
    project.write("mount-plans/reader.json", &plan.to_string());
    project.point_at(server);
    project
}

fn simple(config: &Value) -> Value {
    json!({"module": "context-simple", "config": config})
}

fn lines(count: u64) -> String {
    (1..=count).map(|line| format!("{line} is a line of some length, as lines are.\n")).collect()
}

fn read(path: &str, offset: u64) -> Answer {
    Answer::new(vec![
        Part::Thinking { text: format!("on to {offset}"), signature: format!("seal-{offset}") },
        Part::ToolUse {
            name: "read_file".to_owned(),
            input: json!({"file_path": path, "offset": offset, "limit": 80}),
        },
    ])
}

/// Writes a file, reads it piece by piece, and says where it got to.
fn reader(asked: &Asked) -> Answer {
    let done = asked.since_prompt();
    match done.last() {
        None => Answer::call("write_file", json!({"file_path": "big.txt", "content": lines(400)})),
        Some(last) => match last.input["offset"].as_u64().unwrap_or(0) {
            READS => Answer::text("all read"),
            offset => read("big.txt", offset + 1),
        },
    }
}

/// The messages of a request without the marks for the cache.
fn messages(body: &Value) -> Vec<Value> {
    let mut messages = body["messages"].as_array().expect("messages").clone();
    for block in messages.iter_mut().filter_map(|message| message["content"].as_array_mut()).flatten() {
        block.as_object_mut().expect("a block").remove("cache_control");
    }
    messages
}

fn bodies(server: &AnthropicServer) -> Vec<Vec<Value>> {
    assert_eq!(server.refusals(), [""; 0]);
    let mut bodies: Vec<Vec<Value>> =
        server.requests().iter().map(|request| messages(&request.body)).collect();
    bodies.dedup();
    bodies
}

/// Events of the last run by name.
fn told(project: &Project, event: &str) -> usize {
    let run = project.read(".runner/runs/latest");
    project
        .read(&format!(".runner/runs/{}/journal.jsonl", run.trim()))
        .matches(&format!("\"{event}\""))
        .count()
}

fn replays(project: &Project) {
    project.runner(["cassette", "save", "--to", "long.cassette"]).run().expect_code(0);
    for way in [&["--strictness", "total"][..], &["--strictness", "causal", "--jitter", "3"]] {
        let line = [&["replay", "long.yaml", "--from", "long.cassette"], way].concat();
        project.runner(line).run().expect_code(0);
    }
}

#[test]
fn a_long_conversation_keeps_its_beginning_between_compactions_and_plays_again() {
    let server = AnthropicServer::start(brain(reader));
    let project = project(&server, &simple(&json!({"max_tokens": 12_000})));
    project.runner(["long.yaml"]).with_key().run().expect_code(0);
    let compactions = told(&project, "context.compacted");
    let sent = bodies(&server);
    assert_eq!(sent.len() as u64, READS + 2);
    let breaks = sent.windows(2).filter(|two| two[1][..two[0].len().min(two[1].len())] != two[0][..]).count();
    assert_eq!(breaks, compactions, "the beginning changes with a compaction and not else");
    assert!((2..=10).contains(&compactions), "{compactions}");
    assert!(sent.iter().all(|messages| messages[0]["content"][0]["text"] == "Read it all."));

    let ledger = {
        replays(&project);
        project.read("long.cassette/ledger.txt")
    };
    assert!(ledger.len() < 40_000, "the ledger stays small: {}", ledger.len());
    assert_eq!(told(&project, "context.compacted"), compactions, "a replay tells the same");
}

#[test]
fn a_long_conversation_that_is_killed_goes_on_as_one_that_is_not() {
    let whole = AnthropicServer::start(brain(reader));
    let config = simple(&json!({"max_tokens": 12_000}));
    let undisturbed = project(&whole, &config);
    undisturbed.runner(["long.yaml"]).with_key().run().expect_code(0);

    let gate = Gate::closed();
    let stalling: Brain = {
        let gate = gate.clone();
        brain(move |asked| match asked.since_prompt().last().is_some_and(|last| last.input["offset"] == 30) {
            true => reader(asked).fault(Fault::Stall { after: 1, gate: gate.clone() }),
            false => reader(asked),
        })
    };
    let server = AnthropicServer::start(stalling);
    let killed = project(&server, &config);
    let running = killed.runner(["long.yaml"]).with_key().spawn();
    server.wait_until("the thirtieth piece", |requests| requests.len() == 32);
    running.signal(Signal::SIGKILL);
    running.finish();
    gate.open();
    killed.runner(["resume"]).with_key().run().expect_code(0);
    assert_eq!(bodies(&server), bodies(&whole));
}

#[test]
fn a_result_too_large_to_show_is_kept_whole_and_can_be_read() {
    let kept = ".runner-results/read/reader/2.1.txt";
    let server = AnthropicServer::start(brain(move |asked| {
        let done = asked.since_prompt();
        match done.last() {
            None => Answer::call("write_file", json!({"file_path": "big.txt", "content": lines(400)})),
            Some(last) if last.name == "write_file" && last.input["file_path"] == "big.txt" => {
                Answer::call("read_file", json!({"file_path": "big.txt", "limit": 300}))
            }
            Some(last) if last.input["file_path"] == "big.txt" => {
                assert!(last.result.len() <= 2_000 && last.result.contains(kept), "{}", last.result);
                Answer::call("read_file", json!({"file_path": kept, "offset": 150, "limit": 2}))
            }
            Some(last) if last.name == "read_file" && last.input["file_path"] == kept => {
                assert!(
                    last.json()["content"].as_str().expect("lines").contains("is a line"),
                    "{}",
                    last.result
                );
                Answer::call("write_file", json!({"file_path": kept, "content": "x"}))
            }
            Some(last) => {
                assert!(last.is_error, "{}", last.result);
                Answer::text("seen")
            }
        }
    }));
    let project = project(&server, &simple(&json!({"max_tool_result_bytes": 2_000})));
    project.runner(["long.yaml"]).with_key().run().expect_code(0);
    let whole = project.read(&format!(".long/{kept}"));
    assert!(whole.contains("300 is a line of some length"), "{whole}");
    replays(&project);
    assert_eq!(project.read(&format!(".long/{kept}")), whole, "a replay keeps it too");
}

#[test]
fn what_is_remembered_is_shown_first_and_a_replay_has_it_from_the_recording() {
    let server = AnthropicServer::start(brain(|_| Answer::text("noted")));
    let config = json!({"memory_files": ["team.md"], "transcript_path": "memory/talk.jsonl"});
    let project = project(&server, &json!({"module": "context-persistent", "config": config}));
    project.write("team.md", "Be kind.\n");
    project.runner(["long.yaml"]).with_key().run().expect_code(0);
    project.runner(["long.yaml"]).with_key().run().expect_code(0);
    let texts: Vec<String> = messages(&server.requests()[1].body)
        .iter()
        .flat_map(|message| message["content"].as_array().expect("blocks").clone())
        .map(|block| block["text"].as_str().expect("a text").to_owned())
        .collect();
    assert_eq!(texts, ["[Context from team.md]\n\nBe kind.", "Read it all.", "noted", "Read it all."]);
    let transcript = project.read("memory/talk.read.reader.jsonl");
    assert_eq!(transcript.lines().count(), 4);

    // Whatever becomes of the files, a replay begins with what was read then, and leaves them as they are.
    project.write("team.md", "Be quick.\n").write("memory/talk.read.reader.jsonl", "");
    replays(&project);
    assert_eq!(project.read("memory/talk.read.reader.jsonl"), "");
    std::fs::remove_file(project.path("team.md")).expect("it is there");
    let outcome = project.runner(["long.yaml"]).with_key().run().expect_code(1);
    assert!(outcome.text().contains("cannot read the memory file team.md"), "{}", outcome.text());
    assert_eq!(server.refusals(), [""; 0]);
}
