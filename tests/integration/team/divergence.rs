//! Whatever changes is noticed: exit code 6, the first difference, and what it was and is.

use runner::cassette;

use super::{DEMO, report};
use crate::harness::{Outcome, Project};

const CASSETTE: &str = "scenarios/demo.cassette";

/// Plays the demo, which must leave its recording.
#[track_caller]
fn replay(project: &Project) -> Outcome {
    project.runner(["replay", DEMO, "--strictness", "total"]).run().expect_code(6)
}

/// Plays the demo of a project that is other than the shipped one; what is reported goes into a snapshot.
#[track_caller]
fn noticed(name: &str, change: impl FnOnce(&Project)) -> String {
    let project = Project::shipped();
    let _filters = project.snapshots();
    change(&project);
    let said = report(&replay(&project));
    insta::assert_snapshot!(format!("team_divergence_{name}"), said);
    // Without the strict order another effect may be the first that differs, but one does.
    project.runner(["replay", DEMO, "--jitter", "7"]).run().expect_code(6);
    said
}

#[test]
fn a_changed_line_of_a_prompt() {
    let said = noticed("prompt_of_workers", |project| {
        project.replace("prompts/work.md", "Work on one issue, and only one", "Work on one issue");
    });
    assert!(
        said.contains("    - This is iteration 1 of at most 5. Work on one issue, and only one, with"),
        "{said}"
    );
    assert!(said.contains("    + This is iteration 1 of at most 5. Work on one issue, with"), "{said}");
    assert!(said.starts_with("DIVERGENCE at work/coding-worker-1/1 (prompt)\n"), "{said}");
}

#[test]
fn a_changed_first_prompt() {
    let said = noticed("prompt_of_foreman", |project| {
        project.replace(
            "prompts/create-issues.md",
            "metadata `{\"worker_type\": \"research\"}`",
            "no metadata",
        );
    });
    assert!(said.starts_with("DIVERGENCE at create-issues/foreman/1 (prompt)\n"), "{said}");
}

#[test]
fn a_changed_model() {
    let said = noticed("model", |project| {
        project.replace("mount-plans/coding-worker.json", "claude-sonnet-4-5", "claude-opus-4-5");
    });
    assert!(said.starts_with("DIVERGENCE at work/coding-worker-1/1 (params)\n"), "{said}");
}

#[test]
fn a_changed_input() {
    let said = noticed("input", |project| {
        project.replace(DEMO, "default: /api/users first, then /api/orders", "default: /api/orders first");
    });
    assert!(
        said.contains("    -     \"endpoint_priorities\": \"/api/users first, then /api/orders\""),
        "{said}"
    );
    assert!(said.contains("    +     \"endpoint_priorities\": \"/api/orders first\""), "{said}");
}

#[test]
fn a_changed_condition() {
    let said = noticed("condition", |project| {
        project.replace(DEMO, "issues.blocked > 0", "issues.blocked >= 1");
    });
    assert!(said.starts_with("DIVERGENCE at unblock/!when-1 (prompt)\n"), "{said}");
}

#[test]
fn a_tool_that_is_offered_no_more() {
    let said = noticed("tools", |project| {
        let plan = "mount-plans/coding-worker.json";
        project.replace(plan, "{ \"module\": \"tool-filesystem\" },", "");
    });
    assert!(said.contains("    -     \"name\": \"write_file\""), "{said}");
}

#[test]
fn a_tool_that_answers_otherwise() {
    let said = noticed("tool_result", |project| {
        // The other way round, since the tool is what it is: a recording of a tool that answered otherwise.
        let folder = project.path(CASSETTE);
        let mut recording = cassette::read(&folder).unwrap();
        let block =
            recording.effects.iter_mut().find(|record| record.id.as_str() == "create-issues/foreman/2.1");
        let content = &mut block.expect("the foreman blocks an issue").result["content"];
        let older = content.as_str().unwrap().replace("\"status\":\"blocked\"", "\"status\":\"waiting\"");
        assert_ne!(content.as_str().unwrap(), older);
        *content = older.into();
        cassette::write(&recording, &folder).unwrap();
    });
    assert!(said.starts_with("DIVERGENCE at create-issues/foreman/2.1 (tool)\n"), "{said}");
    assert!(said.contains("    -     \"status\": \"waiting\""), "{said}");
    assert!(said.contains("    +     \"status\": \"blocked\""), "{said}");
}

#[test]
fn a_worker_more() {
    let said = noticed("extra", |project| {
        project.replace(DEMO, "count: 2", "count: 3");
    });
    assert!(said.starts_with("DIVERGENCE at work/!wake.coding-worker-3-1 (extra)\n"), "{said}");
}

#[test]
fn a_phase_less() {
    let said = noticed("missing", |project| {
        let text = project.read(DEMO);
        let (begin, end) =
            (text.find("  - id: unblock").unwrap(), text.find("expect: [issues.total == 5, issues.closed"));
        project.write(DEMO, &format!("{}{}", &text[..begin], &text[end.unwrap()..]));
    });
    assert!(said.starts_with("DIVERGENCE at unblock/!wake-1 (missing)\n"), "{said}");
}

#[test]
fn a_recording_edited_by_hand() {
    let project = Project::shipped();
    let _filters = project.snapshots();
    let session = format!("{CASSETTE}/sessions/work.coding-worker-2.yaml");
    project.replace(&session, "Reproduce it in a test", "Reproduce it");
    insta::assert_snapshot!("team_recording_edited", replay(&project).text());
    project.replace(&session, "Reproduce it", "Reproduce it in a test");
    project.replace(&format!("{CASSETTE}/renders.yaml"), "issues.total == 5", "issues.total == 6");
    insta::assert_snapshot!("team_recording_edited_renders", replay(&project).text());
    // Told without a key as well, where nobody has asked for a replay.
    project.runner([DEMO]).run().expect_code(6);
    assert!(!project.path(".demo-workspace").exists());
}

#[test]
fn a_recording_of_another_format() {
    let project = Project::shipped();
    let _filters = project.snapshots();
    project.replace(&format!("{CASSETTE}/cassette.yaml"), "format: 1", "format: 2");
    insta::assert_snapshot!("team_recording_format", replay(&project).text());
}

#[test]
fn no_recording() {
    let project = Project::shipped();
    let _filters = project.snapshots();
    std::fs::remove_dir_all(project.path(CASSETTE)).unwrap();
    insta::assert_snapshot!("team_recording_absent", replay(&project).text());
    project.runner([DEMO, "--replay"]).with_key().run().expect_code(6);
    let unnamed = project.runner(["scenarios/hello.yaml", "--replay"]).run().expect_code(6);
    insta::assert_snapshot!("team_recording_unnamed", unnamed.text());
}
