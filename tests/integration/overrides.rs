//! Do options and variables stand in place of what a scenario says, and does a run keep to them whatever becomes of it?

use crate::harness::{Outcome, Project};

const SCENARIO: &str = r#"version: 1
name: crew
workspace: { path: work, fresh: true }
queue: { issues: [{ title: a }, { title: b }, { title: c }, { title: d }] }
roles:
  clerk: { mount_plan: mount-plans/foreman.json }
phases:
  - id: work
    needs: []
    workers: { pool: [{ role: clerk, count: 4 }], prompt: prompts/go.md, claim: engine }
  - id: beside
    needs: []
    session: { role: clerk, prompt: prompts/go.md }
expect: [issues.closed == 4]
replay: { cassette: crew.cassette }
"#;

const SCRIPT: &str = r#"rules:
  - when: phase == "work" and turn == 1
    calls: [{ tool: issue_manager, input: { operation: close, params: { issue_id: "{{ prompt | trim }}" } } }]
    latency: 1s
  - when: "true"
    say: done
    latency: 1s
"#;

fn project() -> Project {
    let project = Project::shipped();
    project.write("crew.yaml", SCENARIO);
    project.write("crew.script.yaml", SCRIPT);
    project.write("prompts/go.md", "{% if issue is defined %}{{ issue.id }}{% else %}it{% endif %}\n");
    project
}

fn record(project: &Project, more: &[&str]) -> Outcome {
    let command = ["record", "crew.yaml", "--script", "crew.script.yaml", "--json"];
    project.runner(command).args(more).run()
}

/// The most sessions that were at work at once: from the first turn of a prompt to the end of its iteration.
fn most_at_once(run: &Outcome) -> usize {
    let (mut at_work, mut most) = (std::collections::BTreeSet::new(), 0);
    for line in run.json_lines() {
        let event = &line["event"];
        let who = format!("{}/{}", line["phase"], line["session"]);
        match event["type"].as_str() {
            Some("prompt.sent") => drop(at_work.insert(who)),
            Some("iteration.ended" | "session.ended") => drop(at_work.remove(&who)),
            _ => {}
        }
        most = most.max(at_work.len());
    }
    most
}

#[test]
fn so_many_sessions_work_at_once_in_the_whole_run() {
    let project = project();
    assert_eq!(most_at_once(&record(&project, &[]).expect_code(0)), 5);
    for jobs in [1, 2, 3] {
        let jobs_given = format!("-j{jobs}");
        assert_eq!(
            most_at_once(&record(&project, &[&jobs_given]).expect_code(0)),
            jobs,
            "all issues are closed"
        );
        for strictness in ["total", "causal"] {
            let replay = ["replay", "crew.yaml", "--json", "--strictness", strictness];
            project.runner(replay).run().expect_code(0);
        }
    }
    let refused = record(&project, &["-j0"]).expect_code(2);
    assert!(refused.stderr.contains("--jobs"), "{}", refused.stderr);
    project.replace("crew.yaml", "expect:", "limits: { max_sessions: 2 }\nexpect:");
    assert_eq!(most_at_once(&record(&project, &[]).expect_code(0)), 2);
    assert_eq!(most_at_once(&record(&project, &["-j", "4"]).expect_code(0)), 4, "the option wins");
}

#[test]
fn the_order_in_which_sessions_take_their_turn_is_no_chance() {
    let project = project();
    record(&project, &["-j2", "--to", "one"]).expect_code(0);
    for other in ["two", "three"] {
        record(&project, &["-j2", "--to", other]).expect_code(0);
        project.runner(["diff", "one", other]).run().expect_code(0);
    }
}

#[test]
fn options_win_over_variables_and_these_over_the_file() {
    let project = project();
    project.replace("crew.yaml", "expect:", "limits: { timeout: 1h }\nexpect:");
    let plan = |more: &[&str], variables: &[(&str, &str)]| {
        let mut runner =
            project.runner(["record", "crew.yaml", "--script", "crew.script.yaml", "--to", "tape"]);
        for (name, value) in variables {
            runner = runner.env(name, value);
        }
        runner.args(more).run().expect_code(0);
        let manifest = project
            .read(&format!(".runner/runs/{}/manifest.json", project.read(".runner/runs/latest").trim()));
        let plan = &serde_json::from_str::<serde_json::Value>(&manifest).expect("JSON")["plan"];
        (plan["limits"].clone(), plan["roles"]["clerk"]["model"].clone())
    };
    let all = [("RUNNER_MAX_USD", "7"), ("RUNNER_TIMEOUT", "2h"), ("RUNNER_MODEL", "clerk=claude-haiku-4-5")];
    let (of_file, model) = plan(&[], &[]);
    assert_eq!((&of_file["timeout"]["secs"], model), (&3600.into(), serde_json::Value::Null));
    let (of_variables, model) = plan(&[], &all);
    assert_eq!((&of_variables["timeout"]["secs"], &model), (&7200.into(), &"claude-haiku-4-5".into()));
    let options = ["--max-usd", "9.5", "--timeout", "3h", "--model", "clerk=claude-opus-4-5"];
    let (of_options, model) = plan(&options, &all);
    assert_eq!((&of_options["timeout"]["secs"], &model), (&10800.into(), &"claude-opus-4-5".into()));
    assert_ne!(of_options["max_usd"], of_variables["max_usd"]);
    let (set, _) = plan(&["--timeout", "3h", "--set", "limits.timeout=4h"], &all);
    assert_eq!(set["timeout"]["secs"], 14400);
}

#[test]
fn what_cannot_be_set_is_refused_with_the_remedy() {
    let project = project();
    let _names = project.snapshots();
    let told = |arguments: &[&str], (name, value): (&str, &str)| {
        let ended = project.runner(["run", "crew.yaml"]).args(arguments).env(name, value).run();
        ended.expect_code(2).stderr
    };
    let none = ("RUNNER_MODEL", "");
    let all = [
        told(&["--model", "clrk=claude-opus-4-5"], none),
        told(&["--model", "nobody-like-it=claude-opus-4-5"], none),
        told(&["--model", "clerk"], none),
        told(&["--model", "clerk=provider-opneai/gpt-x"], none),
        told(&["--max-usd", "much"], none),
        told(&["--timeout", "90"], none),
        told(&["--replay", "--max-usd", "3"], none),
        told(&[], ("RUNNER_MODEL", "clerk=claude-opus-4-5, wroker=x")),
        told(&[], ("RUNNER_MAX_USD", "-1")),
        told(&[], ("RUNNER_TIMEOUT", "soon")),
    ];
    insta::assert_snapshot!(all.join("---\n"));
}

#[test]
fn a_recording_is_played_with_what_it_was_made_with() {
    let project = project();
    let given = [
        "--model",
        "clerk=claude-haiku-4-5",
        "--max-usd",
        "5",
        "--set",
        "phases.work.workers.max_iterations=9",
    ];
    record(&project, &given).expect_code(0);
    let head = project.read("crew.cassette/cassette.yaml");
    assert!(head.contains("roles.clerk.model=claude-haiku-4-5"), "{head}");
    project.runner(["replay", "crew.yaml"]).run().expect_code(0);
    project.runner(["run", "crew.yaml", "--replay"]).run().expect_code(0);
    project.runner(["test", "crew.yaml"]).run().expect_code(0);
    // What a variable says is for runs that ask models.
    project
        .runner(["run", "crew.yaml"])
        .ci()
        .env("RUNNER_MODEL", "clerk=claude-opus-4-5")
        .run()
        .expect_code(0);
    let refused =
        project.runner(["run", "crew.yaml", "--model", "clerk=claude-opus-4-5"]).ci().run().expect_code(2);
    assert!(refused.stderr.contains("--model is for a run that asks models"), "{}", refused.stderr);
    let other = project.runner(["replay", "crew.yaml", "--set", "roles.clerk.model=claude-opus-4-5"]).run();
    assert!(other.expect_code(6).stderr.contains("claude-opus-4-5"));
    let forked = ["fork", "crew.yaml", "--from", "beside/clerk/1", "--script", "crew.script.yaml"];
    project.runner(forked).run().expect_code(0);
}

#[test]
fn a_run_that_goes_on_keeps_what_it_was_begun_with() {
    let project = project();
    project.replace("crew.yaml", "phases:\n", "phases:\n  - id: ask\n    approval: { message: Go? }\n");
    project.replace("crew.yaml", "    needs: []\n", "    needs: [ask]\n");
    record(&project, &["-j1", "--max-usd", "5"]).expect_code(4);
    let resume = project.runner(["resume", "--answer", "ask=yes", "--json"]).env("RUNNER_MAX_USD", "0").run();
    let resumed = resume.expect_code(0);
    assert_eq!(most_at_once(&resumed), 1);
    let created = resumed.stdout.matches(r#""change":"created""#).count();
    assert_eq!(created, 0, "what the run began with is not made again");
}

#[test]
fn a_role_may_name_the_provider_of_its_model() {
    let project = project();
    let named = ["--model", "clerk=provider-openai/gpt-4.1"];
    record(&project, &named).expect_code(0);
    let head = project.read("crew.cassette/cassette.yaml");
    assert!(head.contains("clerk: provider-openai/gpt-4.1"), "{head}");
    let missing = project.runner(["run", "crew.yaml", "--live"]).args(named).with_key().run().expect_code(3);
    assert!(missing.stderr.contains("OPENAI_API_KEY is not set"), "{}", missing.stderr);
}

/// What a project holds, and whether anything was made.
#[test]
fn a_dry_run_says_what_would_happen_and_does_nothing() {
    let project = project();
    project.replace(
        "crew.yaml",
        "phases:\n",
        "phases:\n  - id: ask\n    when: issues.open > 99\n    approval: { message: Go? }\n  - id: rounds\n    needs: []\n    repeat:\n      \
         max: 3\n      until: issues.closed == 4\n      phases:\n        - { id: look, shell: { run: ls } }\n",
    );
    let _names = project.snapshots();
    let before = project.files(".");
    let told = |arguments: &[&str], code: i32| {
        let ended = project.runner(arguments).arg("--dry-run").run().expect_code(code);
        format!("$ {}\n{}{}", arguments.join(" "), ended.stdout, ended.stderr)
    };
    let limited = ["run", "crew.yaml", "--live", "-j3", "--max-usd", "2.5", "--timeout", "1h"];
    let mut all = vec![
        told(&limited, 3),
        told(&["record", "crew.yaml", "--script", "crew.script.yaml", "--model", "clerk=claude-opus-4-5"], 0),
        told(&["run", "crew.yaml", "--replay"], 6),
        told(&["run", "crew.yaml", "--set", "roles.clerk.mount_plan=none.json"], 2),
        told(&["record", "crew.yaml", "--script", "crew.script.yaml", "--json"], 0),
    ];
    assert_eq!(project.files("."), before, "nothing is made");
    project.write("work/mine.txt", "not the runner's");
    all.push(told(&["run", "crew.yaml", "--live"], 3));
    project.replace("crew.yaml", ", fresh: true", "");
    let record = ["record", "crew.yaml", "--script", "crew.script.yaml"];
    all.push(told(&record, 0));
    project.replace("mount-plans/foreman.json", "\"tools\": [", "\"tools\": [{ \"module\": \"tool-bash\" },");
    all.push(told(&record, 3));
    insta::assert_snapshot!(all.join("---\n"));
}
