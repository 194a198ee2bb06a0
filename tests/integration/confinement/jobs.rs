//! Commands in the background: looked after while they go on, and ended with all they started when nobody can any more.

use runner::tool::ToolOutput;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{LINGER, Place, SECRET, Tools, Vigil, json_of, nix_mkfifo, read_to_the_end, refused};
use runner::event::Policy;
use runner::tool::Answers;

async fn start(tools: &Tools, command: &str) -> String {
    let output = tools.call("bash", json!({"command": command, "run_in_background": true})).await;
    let result = json_of(&output);
    assert_eq!((output.is_error, &result["status"]), (false, &json!("running")), "{result}");
    result["job_id"].as_str().unwrap().to_owned()
}

async fn look(tools: &Tools, id: &str, more: Value) -> ToolOutput {
    let mut input = json!({"job_id": id});
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tools.call("bash_job", input).await
}

/// Waits until somebody opens this FIFO of the workspace for writing and closes it again.
async fn told(place: &Place, fifo: &str) {
    let path = place.root().join(fifo);
    tokio::task::spawn_blocking(move || read_to_the_end(&path)).await.unwrap();
}

#[tokio::test]
async fn a_job_is_looked_at_while_it_runs_and_when_it_has_ended() {
    let place = Place::new();
    for fifo in ["said", "go"] {
        nix_mkfifo(&place.root().join(fifo));
    }
    let tools = place.bash(&json!({}));
    let command = "echo one; printf two; echo oops >&2; : > said; read -r line < go; echo \" $line\"; exit 3";
    let id = start(&tools, command).await;
    told(&place, "said").await;
    // That it has printed does not say that it has been read: who waits for the line sees it sooner or later.
    let (mut stdout, mut stderr) = (String::new(), String::new());
    while stdout.is_empty() || stderr.is_empty() {
        let result = json_of(&look(&tools, &id, json!({})).await);
        assert_eq!((&result["status"], result.get("returncode")), (&json!("running"), None), "{result}");
        stdout += result["stdout"].as_str().unwrap();
        stderr += result["stderr"].as_str().unwrap();
    }
    assert_eq!((stdout.as_str(), stderr.as_str()), ("one\n", "oops\n"), "a line is shown when it is whole");
    let go = place.root().join("go");
    tokio::task::spawn_blocking(move || std::fs::write(go, "three\n").unwrap()).await.unwrap();
    let output = look(&tools, &id, json!({"wait": 60})).await;
    let wanted =
        format!(r#"{{"job_id":"{id}","returncode":3,"status":"ended","stderr":"","stdout":"two three\n"}}"#);
    assert_eq!((output.content, output.is_error), (wanted, false));
    refused(&look(&tools, &id, json!({})).await, "There is no job");
    refused(&look(&tools, "job-x", json!({})).await, "There is no job job-x here");
    refused(&look(&tools, &id, json!({"wait": 601})).await, "wait may be at most 600 seconds");
}

#[tokio::test]
async fn a_job_is_ended_when_it_is_asked_for() {
    let place = Place::new();
    let tools = place.bash(&json!({}));
    let vigil = Vigil::hold(&place);
    nix_mkfifo(&place.root().join("started"));
    let id = start(&tools, LINGER).await;
    told(&place, "started").await;
    let result = json_of(&look(&tools, &id, json!({"kill": true})).await);
    vigil.ends();
    assert_eq!((&result["status"], result.get("returncode")), (&json!("killed"), None), "{result}");
}

#[tokio::test]
async fn a_job_ends_with_its_session() {
    let place = Place::new();
    let tools = place.bash(&json!({}));
    let vigil = Vigil::hold(&place);
    nix_mkfifo(&place.root().join("started"));
    start(&tools, LINGER).await;
    told(&place, "started").await;
    assert!(place.workspace.jobs().is_any());
    drop(tools);
    vigil.ends();
    assert!(!place.workspace.jobs().is_any());
}

#[tokio::test]
async fn a_job_has_the_time_it_is_given() {
    let place = Place::new();
    let tools = place.bash(&json!({"timeout": 1}));
    let vigil = Vigil::hold(&place);
    let input = json!({"command": "exec 9>alive; sleep 500", "run_in_background": true, "timeout": 1});
    let id = json_of(&tools.call("bash", input).await)["job_id"].as_str().unwrap().to_owned();
    let result = json_of(&look(&tools, &id, json!({"wait": 60})).await);
    vigil.ends();
    assert!(result["error"].as_str().unwrap().starts_with("Command timed out after 1 seconds"), "{result}");
}

#[tokio::test]
async fn who_waits_for_a_job_can_be_stopped() {
    let place = Place::new();
    let tools = place.bash(&json!({}));
    let id = start(&tools, "sleep 500").await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let input = json!({"job_id": id, "wait": 600});
    let result = json_of(&tools.call_until("bash_job", input, cancel).await);
    assert_eq!(result["status"], "running");
}

#[tokio::test]
async fn jobs_are_bounded_and_what_they_say_is() {
    let place = Place::new();
    place.write("key", SECRET);
    let tools = place.bash(&json!({"max_background_jobs": 1, "max_output_bytes": 1000}));
    let id = start(&tools, "seq 1 200000; cat key").await;
    let result = json_of(&look(&tools, &id, json!({"wait": 60})).await);
    let stdout = result["stdout"].as_str().unwrap();
    assert!(stdout.starts_with("1\n2\n3\n") && stdout.ends_with("200000\n[secret:TEST_KEY]"), "{stdout}");
    assert!(stdout.len() < 1000 && stdout.contains("bytes left out"), "{stdout}");
    start(&tools, "sleep 500").await;
    let input = json!({"command": "true", "run_in_background": true});
    refused(
        &tools.call("bash", input).await,
        "Not run: as many commands are in the background as may be (job-",
    );
    let input = json!({"command": "sudo ls", "run_in_background": true});
    refused(&place.bash(&json!({})).call("bash", input).await, "Command denied for safety");

    let none = place.bash(&json!({"max_background_jobs": 0}));
    assert_eq!(none.0.len(), 1);
    assert!(!none.get("bash").spec().input_schema.to_string().contains("background"));
    assert!(!none.get("bash").spec().description.contains("bash_job"));
}

#[tokio::test]
async fn jobs_stand_still_when_they_are_told_to() {
    let place = Place::new();
    let tools = place.bash(&json!({}));
    start(&tools, "n=0; while :; do n=$((n + 1)); echo $n > count; done").await;
    let counted = || std::fs::read_to_string(place.root().join("count")).unwrap_or_default();
    while counted().is_empty() {
        tokio::task::yield_now().await;
    }
    let held = place.workspace.jobs().hold();
    // It may be within a write when it is told; then it stands still.
    let mut still = 0;
    let mut last = counted();
    while still < 1000 {
        let now = counted();
        still = if now == last { still + 1 } else { 0 };
        last = now;
    }
    drop(held);
    while counted() == last || counted().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn what_a_job_says_is_never_run_again() {
    let place = Place::new();
    let tools = place.bash(&json!({}));
    let input = |value: Value| value.as_object().unwrap().clone();
    let (bash, job) = (tools.get("bash"), tools.get("bash_job"));
    assert_eq!(bash.answers(&input(json!({"command": "ls"}))), Answers::ByInput);
    let background = input(json!({"command": "ls", "run_in_background": true}));
    assert_eq!(bash.answers(&background), Answers::ByChance);
    assert_eq!((job.answers(&input(json!({}))), job.policy()), (Answers::ByChance, Policy::Tape));
    assert_eq!(job.footprint(&input(json!({}))).to_string(), "w:[fs:*]");
}
