//! Every fault at every model call of the demo: does the run come out as it was recorded, and is a hopeless one told?

use serde_json::Value;

use crate::harness::Project;

const DEMO: &str = "scenarios/demo.yaml";

/// The model calls of the demo's recording.
fn calls(project: &Project) -> Vec<String> {
    let ledger = project.read("scenarios/demo.cassette/ledger.txt");
    let lines = ledger.lines().filter_map(|line| {
        let mut columns = line.split(' ').skip(1);
        (columns.next()? == "llm").then(|| columns.next().map(str::to_owned))?
    });
    lines.collect()
}

fn queue(project: &Project) -> Value {
    let list = ["issues", "list", "--workspace", ".demo-workspace", "--json"];
    project.runner(list).run().expect_code(0).json()
}

#[test]
fn the_demo_bears_every_fault_at_every_call() {
    let project = Project::shipped();
    project.runner(["replay", DEMO]).run().expect_code(0);
    let (expected, calls) = (queue(&project), calls(&project));
    assert!(calls.len() > 20, "{calls:?}");
    for fault in [
        "http:429",
        "http:500",
        "http:529",
        "cut_after_event:0",
        "cut_after_event:1",
        "cut_after_event:4",
        "error_event:overloaded_error",
        "stall",
    ] {
        let faults = calls.iter().flat_map(|call| ["--fault".to_owned(), format!("{call}={fault}")]);
        let outcome = project.runner(["replay", DEMO]).args(faults).run();
        assert_eq!(outcome.code, Some(0), "{fault}: {}", outcome.text());
        assert!(!outcome.stderr.contains("never came"), "{fault}: {}", outcome.text());
        assert_eq!(outcome.stderr.matches("attempt 1 failed, again in").count(), calls.len(), "{fault}");
        assert_eq!(queue(&project), expected, "{fault}");
    }
}

#[test]
fn a_fault_that_comes_too_often_ends_the_session_and_one_that_never_comes_is_told() {
    let project = Project::shipped();
    let call = "create-issues/foreman/1";
    let storm = (1..=9).flat_map(|attempt| {
        let attempt = if attempt == 1 { String::new() } else { format!("#{attempt}") };
        ["--fault".to_owned(), format!("{call}{attempt}=http:529")]
    });
    let outcome = project.runner(["replay", DEMO]).args(storm).run().expect_code(6);
    assert!(outcome.stderr.contains("create-issues/foreman/1"), "{}", outcome.text());
    let outcome = project.runner(["replay", DEMO, "--fault", "work/nobody-1/1=stall"]).run().expect_code(0);
    assert!(
        outcome.stderr.contains("note: the fault work/nobody-1/1=stall never came"),
        "{}",
        outcome.text()
    );
    for (wrong, why) in
        [("work/w-1/1", "write it as EFFECT=FAULT"), ("work/w-1/1=rain", "`rain` is no fault")]
    {
        let outcome = project.runner(["replay", DEMO, "--fault", wrong]).run().expect_code(2);
        assert!(outcome.stderr.contains(why), "{}", outcome.text());
    }
}
