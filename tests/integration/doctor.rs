//! Does `runner doctor` see what is missing, and keep every value to itself? And are completions what a shell reads?

use std::os::unix::fs::PermissionsExt;

use crate::harness::{Outcome, Project};

const SECRET: &str = "sk-ant-very-secret-0123456789";

/// The findings of a subject: state and detail.
fn findings(outcome: &Outcome, subject: &str) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let all = outcome.json();
    let found = all["findings"].as_array().expect("findings").iter();
    found
        .filter(|finding| finding["subject"] == subject)
        .map(|finding| (text(&finding["state"]), text(&finding["detail"])))
        .collect()
}

fn one(outcome: &Outcome, subject: &str) -> (String, String) {
    let mut found = findings(outcome, subject);
    assert_eq!(found.len(), 1, "{subject}: {}", outcome.text());
    found.remove(0)
}

fn pair(state: &str, detail: &str) -> (String, String) {
    (state.to_owned(), detail.to_owned())
}

#[test]
fn a_credential_is_set_or_not_and_from_somewhere() {
    let project = Project::shipped();
    let doctor = || project.runner(["doctor", "--json", "scenarios/hello.yaml"]);
    let without = doctor().run().expect_code(3);
    let expected = pair("missing", "not set, and without it no model answers for writer");
    assert_eq!(one(&without, "ANTHROPIC_API_KEY"), expected);
    assert_eq!(without.json()["exit_code"], 3);
    project.write(".env", &format!("ANTHROPIC_API_KEY={SECRET}\n"));
    let file = doctor().run().expect_code(0);
    assert_eq!(one(&file, "ANTHROPIC_API_KEY"), pair("ok", "set in .env; for writer"));
    let both = doctor().env("ANTHROPIC_API_KEY", SECRET).run().expect_code(0);
    assert_eq!(one(&both, "ANTHROPIC_API_KEY"), pair("ok", "set in the environment; for writer"));
    // An empty variable hides that of the file, as it does in a run.
    let empty = doctor().env("ANTHROPIC_API_KEY", "").run().expect_code(3);
    assert_eq!(one(&empty, "ANTHROPIC_API_KEY").0, "missing");
    project.replace("mount-plans/hello.json", "${ANTHROPIC_API_KEY}", "${MY_KEY}");
    let other = doctor().env("MY_KEY", "sk-ant-other").run().expect_code(0);
    assert_eq!(one(&other, "ANTHROPIC_API_KEY"), pair("ok", "set by the mount plan of writer"));
    for outcome in [without, file, both, empty, other] {
        assert!(!outcome.text().contains("sk-ant"), "{}", outcome.text());
    }
}

#[test]
fn a_recording_makes_up_for_a_credential_and_tells_what_it_is() {
    let project = Project::shipped();
    let outcome = project.runner(["doctor", "--json", "scenarios/demo.yaml"]).run().expect_code(0);
    assert_eq!(one(&outcome, "ANTHROPIC_API_KEY").0, "note");
    assert_eq!(one(&outcome, "recording"), pair("ok", "scenarios/demo.cassette (scripted)"));
    project.write("scenarios/demo.cassette/cassette.yaml", "format: many\n");
    let broken = project.runner(["doctor", "--json", "scenarios/demo.yaml"]).run().expect_code(3);
    assert_eq!(one(&broken, "recording").0, "missing");
    assert_eq!(one(&broken, "ANTHROPIC_API_KEY").0, "missing");
    std::fs::remove_dir_all(project.path("scenarios/demo.cassette")).expect("it was there");
    let none = project.runner(["doctor", "--json", "scenarios/demo.yaml"]).with_key().run().expect_code(0);
    assert_eq!(one(&none, "recording"), pair("note", "there is none at scenarios/demo.cassette yet"));
}

#[test]
fn an_env_file_is_looked_at_and_never_shown() {
    let project = Project::shipped();
    let doctor = || project.runner(["doctor", "--json"]).run();
    assert_eq!(one(&doctor(), ".env").0, "note");
    project.write(".env", &format!("ANTHROPIC_API_KEY={SECRET}\nBRAVE_API_KEY=x\n"));
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(project.path(".env"), permissions).expect("our own file");
    };
    mode(0o644);
    let open = doctor().expect_code(0);
    assert_eq!(one(&open, ".env"), pair("note", "2 variables; others may read it (mode 644)"));
    mode(0o600);
    let closed = doctor().expect_code(0);
    assert_eq!(one(&closed, ".env"), pair("ok", "2 variables; only you may read it"));
    assert_eq!(one(&closed, "BRAVE_API_KEY"), pair("ok", "set in .env"));
    assert_eq!(one(&closed, "TAVILY_API_KEY"), pair("note", "not set"));
    project.write(".env", &format!("this is {SECRET} no assignment\n"));
    let wrong = project.runner(["doctor", "--json", "scenarios/hello.yaml"]).run().expect_code(3);
    assert_eq!(one(&wrong, ".env").0, "missing");
    assert_eq!(one(&wrong, "scenario").0, "note");
    for outcome in [open, closed, wrong] {
        assert!(!outcome.text().contains("sk-ant"), "{}", outcome.text());
    }
}

#[test]
fn folders_and_programs_are_looked_for() {
    let project = Project::shipped();
    project.write("notes.txt", "").replace("scenarios/hello.yaml", ".hello-workspace", "notes.txt/inside");
    let outcome =
        project.runner(["doctor", "--json", "scenarios/hello.yaml"]).with_key().run().expect_code(3);
    let expected = "notes.txt/inside cannot be used: notes.txt is a file, not a folder";
    assert_eq!(one(&outcome, "workspace"), pair("missing", expected));
    assert_eq!(one(&outcome, "project"), pair("ok", "this folder can be written"));
    assert!(one(&outcome, "shell").1.ends_with("bash"), "{}", outcome.text());
    let bare = project.runner(["doctor", "--json"]).env("PATH", "/nowhere").run().expect_code(0);
    assert_eq!(one(&bare, "git").0, "note");
}

#[test]
fn search_backends_are_told_of() {
    let project = Project::shipped();
    let plan = "session:\n  orchestrator: { module: loop-streaming }\n  context: { module: context-simple }\nproviders:\n  - { module: provider-mock }\ntools:\n  - { module: tool-web, config: { backend: brave } }\n";
    project.write("mount-plans/web.yaml", plan);
    project.replace("scenarios/hello.yaml", "mount-plans/hello.json", "mount-plans/web.yaml");
    let doctor = || project.runner(["doctor", "--json", "scenarios/hello.yaml"]);
    let expected = "BRAVE_API_KEY, which the backend brave needs, is not set, so that web_search is absent";
    assert_eq!(one(&doctor().run().expect_code(0), "tool-web"), pair("note", expected));
    let set = doctor().env("BRAVE_API_KEY", "brave-secret").run().expect_code(0);
    assert_eq!(one(&set, "tool-web"), pair("ok", "web_search asks brave"));
    assert!(!set.text().contains("brave-secret"), "{}", set.text());
}

#[test]
fn programs_of_mcp_servers_are_looked_for() {
    let project = Project::shipped();
    let plan = |command: &str| {
        format!(
            "session:\n  orchestrator: {{ module: loop-streaming }}\n  context: {{ module: context-simple }}\nproviders:\n  - {{ module: provider-mock }}\ntools:\n  - {{ module: tool-mcp, config: {{ servers: {{ clock: {{ command: {command} }} }} }} }}\n"
        )
    };
    project.replace("scenarios/hello.yaml", "mount-plans/hello.json", "mount-plans/mcp.yaml");
    let doctor = |command: &str, code| {
        project.write("mount-plans/mcp.yaml", &plan(command));
        one(&project.runner(["doctor", "--json", "scenarios/hello.yaml"]).run().expect_code(code), "tool-mcp")
    };
    let there = doctor("sh", 0);
    assert!(there.0 == "ok" && there.1.starts_with("clock: /") && there.1.ends_with("/sh"), "{there:?}");
    assert_eq!(doctor("no-such-program", 3), pair("missing", "clock: there is no program no-such-program"));
    assert_eq!(doctor("./tools/clock", 3), pair("missing", "clock: there is no program tools/clock"));
}

#[test]
fn a_scenario_with_mistakes_is_checked() {
    let project = Project::shipped();
    project.replace("scenarios/hello.yaml", "role: writer", "role: wirter");
    let outcome = project.runner(["doctor", "scenarios/hello.yaml"]).run().expect_code(2);
    assert!(outcome.stderr.contains("error[RUN0303]"), "{}", outcome.text());
    assert!(outcome.stderr.ends_with("help: runner explain RUN0303\n"), "{}", outcome.text());
    assert!(outcome.stdout.starts_with("runner 0."), "{}", outcome.text());
}

#[test]
fn completions_are_scripts_that_know_the_commands() {
    let project = Project::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = project.runner(["completions", shell]).run().expect_code(0).stdout;
        for word in ["runner", "issues", "doctor", "strictness"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    let script = project.runner(["completions", "bash"]).run().stdout;
    project.write("runner.bash", &script);
    let ask = "source runner.bash; COMP_WORDS=(runner che); COMP_CWORD=1; _runner runner che runner; echo ${COMPREPLY[@]}";
    let told = project.command("/bin/bash").args(["--norc", "-c", ask]).run().expect_code(0);
    assert_eq!(told.stdout.trim(), "check");
    project.runner(["completions", "tcsh"]).run().expect_code(2);
}
