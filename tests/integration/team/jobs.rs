//! Commands in the background: what they do to files belongs to the call that could see it first, and a replay that runs none
//! of them shows every tool the files that it saw.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{assert_all_answered, put};
use crate::harness::Project;
use crate::server::brain::{Answer, Brain, brain};
use crate::server::{AnthropicServer, KEY};

const FILE: &str = "scenarios/jobs.yaml";
const WORKSPACE: &str = ".jobs-workspace";

const SCENARIO: &str = "version: 1
name: jobs
workspace: { path: .jobs-workspace, fresh: true }
roles:
  builder: { mount_plan: mount-plans/jobs.json }
phases:
  - id: build
    session: { role: builder, prompt: prompts/jobs.md }
replay: { cassette: scenarios/jobs.cassette }
";

fn write_files(project: &Project) {
    let plan = project
        .read("mount-plans/coding-worker.json")
        .replace("\"strict\"", "\"unrestricted\"")
        .replace("{ \"module\": \"tool-issue\" }", "{ \"module\": \"tool-search\" }");
    assert!(plan.contains("unrestricted") && plan.contains("tool-search"));
    project.write("mount-plans/jobs.json", &plan).write(FILE, SCENARIO);
    project.write("prompts/jobs.md", "Build in the background.\n");
}

fn fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Starts two jobs, one after the other, and looks at files while they write some. A job writes nothing before the call that
/// started it has its result, and nothing is asked before the job has written: the FIFOs outside the workspace order them.
fn builder(outside: &Path) -> Brain {
    let at = |name: &str| outside.join(name).display().to_string();
    // The key in two halves, which nobody takes out of the command.
    let (half, other) = KEY.split_at(KEY.len() / 2);
    let first = format!(
        "exec 9>{alive}; read -r line < {start}; printf '{half}' > key.bin; printf '{other}\\0' >> key.bin; echo first > a.txt; : > {wrote}; read -r line < {go}; mkdir d; echo second > a.txt; echo $line > d/b.txt; echo built; echo ran >> {trace}",
        alive = at("alive"),
        start = at("start"),
        wrote = at("wrote"),
        go = at("go"),
        trace = at("trace"),
    );
    let second = format!(
        "exec 9>{alive}; read -r line < {start}; rm a.txt; echo late > late.txt; : > {wrote}; sleep 1000",
        alive = at("alive"),
        start = at("start"),
        wrote = at("wrote"),
    );
    let (start, wrote, go) = (outside.join("start"), outside.join("wrote"), outside.join("go"));
    brain(move |asked| {
        let calls = asked.since_prompt();
        let background =
            |command: &str| Answer::call("bash", json!({"command": command, "run_in_background": true}));
        let read = || Answer::call("read_file", json!({"file_path": "a.txt"}));
        match calls.len() {
            0 => background(&first),
            1 => {
                std::fs::write(&start, "on\n").unwrap();
                std::fs::read(&wrote).unwrap();
                read()
            }
            2 => Answer::call("write_file", json!({"file_path": "mine.txt", "content": "mine\n"})),
            3 => {
                std::fs::write(&go, "on\n").unwrap();
                Answer::call("bash_job", json!({"job_id": calls[0].json()["job_id"], "wait": 60}))
            }
            4 => read(),
            5 => background(&second),
            6 => {
                std::fs::write(&start, "on\n").unwrap();
                std::fs::read(&wrote).unwrap();
                Answer::call("grep", json!({"pattern": ".", "output_mode": "content"}))
            }
            7 => read(),
            8 => Answer::call("bash", json!({"command": "cat d/b.txt late.txt mine.txt"})),
            _ => Answer::text(calls.iter().map(|call| call.result.clone()).collect::<Vec<_>>().join("\n")),
        }
    })
}

#[test]
fn what_jobs_did_to_files_is_done_when_it_could_first_be_seen() {
    let recorded = Project::shipped();
    write_files(&recorded);
    let outside = recorded.path("outside");
    std::fs::create_dir(&outside).unwrap();
    ["alive", "start", "wrote", "go"].iter().for_each(|name| fifo(&outside.join(name)));
    let (ended, alive) = (std::sync::mpsc::channel(), outside.join("alive"));
    std::thread::spawn(move || {
        // Once for each of the two jobs.
        (0..2).for_each(|_| drop(std::fs::read(&alive)));
        let _ = ended.0.send(());
    });
    let server = AnthropicServer::start(builder(&outside));
    recorded.point_at(&server);
    recorded.runner(["record", FILE]).with_key().run().expect_code(0);
    ended.1.recv_timeout(Duration::from_secs(60)).expect("the second job has ended with its session");
    assert_eq!(assert_all_answered(&server), 10);
    let files = recorded.files(WORKSPACE);

    let recording = runner::cassette::read(&recorded.path("scenarios/jobs.cassette")).unwrap();
    let result = |id: &str| {
        let effect = recording.effects.iter().find(|effect| effect.id.as_str() == id);
        effect.unwrap_or_else(|| panic!("{id}")).clone()
    };
    let read = result("build/builder/2.1");
    let hidden: String = b"[secret:ANTHROPIC_API_KEY]\0".iter().map(|byte| format!("{byte:02x}")).collect();
    let written = json!({"a.txt": {"text": {"content": "first\n"}}, "key.bin": {"binary": {"hex": hidden}}});
    assert_eq!(read.result["files_before"], written, "{:#}", read.result);
    assert!(read.footprint.writes.contains("fs:*"), "{}", read.footprint);
    assert_eq!(result("build/builder/3.1").result.get("files_before"), None, "nothing had happened since");
    let looked = result("build/builder/4.1").result;
    let written =
        json!({"a.txt": {"text": {"content": "second\n"}}, "d/b.txt": {"text": {"content": "on\n"}}});
    assert_eq!(looked["files"], written, "what a file tool wrote meanwhile is its own: {looked:#}");
    let found = result("build/builder/7.1").result;
    let written = json!({"a.txt": "delete", "late.txt": {"text": {"content": "late\n"}}});
    assert_eq!(found["files_before"], written, "{found:#}");

    let fresh = Project::shipped();
    write_files(&fresh);
    fresh.point_at(&server);
    put(&fresh, "scenarios/jobs.cassette", &recorded.files("scenarios/jobs.cassette"));
    for policies in ["", "  tools: { bash_job: real }\n"] {
        fresh.write(
            FILE,
            &SCENARIO.replace(
                "replay: { cassette: scenarios/jobs.cassette }\n",
                &format!("replay:\n  cassette: scenarios/jobs.cassette\n{policies}"),
            ),
        );
        for strictness in ["total", "causal"] {
            let replay = fresh.runner(["replay", FILE, "--strictness", strictness, "--json"]);
            let events = replay.run().expect_code(0).json_lines();
            let ended = events.iter().find(|event| event["event"]["type"] == "session.ended").unwrap();
            let said = ended["event"]["text"].as_str().unwrap();
            assert!(said.contains("built") && said.contains("late"), "{said}");
            let wanted: Vec<_> = files.keys().filter(|name| name.ends_with(".txt")).collect();
            let now = fresh.files(WORKSPACE);
            assert_eq!(now.keys().filter(|name| name.ends_with(".txt")).collect::<Vec<_>>(), wanted);
            assert_eq!(fresh.read(".jobs-workspace/d/b.txt"), "on\n");
        }
    }
    assert_eq!(recorded.read("outside/trace"), "ran\n", "no job has run again");

    // The proof that the file came with the call: without it the call finds none.
    let folder = fresh.path("scenarios/jobs.cassette");
    let mut recording = runner::cassette::read(&folder).unwrap();
    let read = recording.effects.iter_mut().find(|effect| effect.id.as_str() == "build/builder/2.1").unwrap();
    read.result.as_object_mut().unwrap().remove("files_before");
    runner::cassette::write(&recording, &folder).unwrap();
    let outcome = fresh.runner(["replay", FILE, "--strictness", "total"]).run().expect_code(6);
    assert!(outcome.stderr.contains("DIVERGENCE at build/builder/2.1 (tool)"), "{}", outcome.text());
}

/// A job does not outlive its run, and a run that goes on says so; so does its recording.
#[test]
fn a_resumed_run_does_not_have_the_jobs_of_before() {
    let project = Project::shipped();
    write_files(&project);
    project.write(
        "script.yaml",
        r#"rules:
  - when: turn == 1
    calls: [{ tool: bash, input: { command: "echo one > a.txt; sleep 1", run_in_background: true } }]
  - when: turn == 2
    calls: [{ tool: bash_job, input: { job_id: "{{ history[0].output.job_id }}", wait: 60 } }]
  - say: "It said: {{ last.output }}"
"#,
    );
    let kill = ["record", FILE, "--script", "script.yaml", "--fault", "build/builder/1.1=kill"];
    assert_eq!(project.runner(kill).run().signal, Some(9));
    project.runner(["resume"]).run().expect_code(0);
    let said = project.read("scenarios/jobs.cassette/sessions/build.builder.yaml");
    assert!(said.contains("It said: There is no job job-"), "{said}");
    project.runner(["replay", FILE]).run().expect_code(0);
}
