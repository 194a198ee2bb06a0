//! Does what `runner init` makes run at once, without a key, and is nothing of anybody's ever overwritten?

use std::collections::BTreeMap;
use std::path::Path;

use crate::harness::{Project, repository, walk};

/// The names of the templates, as the command lists them.
fn templates() -> Vec<String> {
    let listed = Project::new().runner(["init", "--list"]).run().expect_code(0).stdout;
    listed.lines().map(|line| line.split_whitespace().next().unwrap_or_default().to_owned()).collect()
}

/// Records a template's scenario with its script.
fn record(project: &Project, name: &str, to: &str) {
    let (scenario, script) = (format!("scenarios/{name}.yaml"), format!("scenarios/{name}.script.yaml"));
    let record = ["record", scenario.as_str(), "--script", script.as_str(), "--to", to];
    let answer: &[&str] = if name == "approval" { &["--answer", "gate=yes"] } else { &[] };
    project.runner(record).args(answer).run().expect_code(0);
}

/// Records a template's scenario anew, into the sources.
fn record_anew(project: &Project, name: &str) {
    let cassette = format!("scenarios/{name}.cassette");
    record(project, name, &cassette);
    let target = repository().join("src/cli/init/templates").join(name).join(&cassette);
    std::fs::remove_dir_all(&target).expect("the recording of the template");
    for (path, bytes) in project.files(&cassette) {
        let path = target.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of the sources");
        std::fs::write(path, bytes).expect("a file of the sources");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the variable by which snapshots are written")]
fn every_template_runs_without_a_key_in_an_empty_folder() {
    let is_writing = std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always");
    let names = templates();
    assert_eq!(names, ["approval", "foreman-workers", "hello", "matrix", "review-loop"]);
    for name in names {
        let project = Project::new();
        let made = project.runner(["init", "--template", name.as_str()]).run().expect_code(0);
        let scenario = format!("scenarios/{name}.yaml");
        assert!(made.stdout.contains(&format!("\nnext: runner {scenario}\n")), "{}", made.text());
        let check = project.runner(["check"]).with_key().run().expect_code(0);
        assert_eq!(check.stderr, format!("{scenario}: no problems\n"), "{name}");
        let run = project.runner([scenario.as_str()]).run();
        if is_writing && run.code == Some(6) {
            record_anew(&project, &name);
        }
        let run = run.expect_code(0);
        assert!(run.stderr.contains("REPLAY of a scripted recording"), "{}", run.text());
        let test = project.runner(["test"]).run().expect_code(0);
        assert!(test.stdout.contains("1 passed, 0 failed, 0 without a recording"), "{}", test.text());
        // What the script says now is what was recorded.
        record(&project, &name, "new.cassette");
        let sessions = |folder: &str| project.files(&format!("{folder}/sessions"));
        assert_eq!(sessions("new.cassette"), sessions(&format!("scenarios/{name}.cassette")), "{name}");
        let doctor = project.runner(["doctor", scenario.as_str()]).run().expect_code(0);
        assert!(doctor.stdout.ends_with("nothing is missing\n"), "{}", doctor.text());
    }
}

#[test]
fn a_team_is_what_one_begins_with() {
    let project = Project::new();
    let made = project.runner(["init", "team"]).run().expect_code(0);
    assert!(
        made.stdout.contains("next: cd team && runner scenarios/foreman-workers.yaml\n"),
        "{}",
        made.text()
    );
    let again = project.runner(["init", "team"]).run().expect_code(0);
    assert!(again.stdout.starts_with("nothing was made: all of it is there already\n"), "{}", again.text());
    project.runner(["scenarios/foreman-workers.yaml"]).cwd("team").run().expect_code(0);
    let files = project.files("team/.workspace/out");
    assert_eq!(files.keys().collect::<Vec<_>>(), ["first-day.md", "first-week.md", "whom-to-ask.md"]);
}

#[test]
fn templates_go_together_and_the_workflow_tests_them_all() {
    let project = Project::new();
    for name in templates() {
        project.runner(["init", "--template", name.as_str(), "--ci"]).run().expect_code(0);
    }
    for command in workflow(&project) {
        let outcome = project.runner(command.split(' ').skip(1)).ci().run().expect_code(0);
        let (of, told) = match command.as_str() {
            "runner check scenarios" => ("5 files: 5 warnings\n", &outcome.stderr),
            "runner test --junit out.xml" => ("5 passed, 0 failed, 0 without a recording\n", &outcome.stdout),
            _ => continue,
        };
        assert!(told.contains(of), "{command}: {}", outcome.text());
    }
}

#[test]
fn what_the_templates_make_is_in_the_workspace() {
    let project = Project::new();
    let made = |name: &str| {
        project.runner(["init", "--template", name]).run().expect_code(0);
        project.runner([format!("scenarios/{name}.yaml")]).run().expect_code(0);
        project.files(".workspace")
    };
    let loops = made("review-loop");
    let list = String::from_utf8_lossy(&loops["out/checklist.md"]).into_owned();
    assert!(list.contains("Hand over what is not finished"), "the accepted version, not the first: {list}");
    let pages = made("matrix");
    for page in ["out/install.md", "out/remove.md", "out/upgrade.md"] {
        assert!(pages[page].starts_with(b"# How to "), "{page}");
    }
    let published = made("approval");
    assert!(published["published/announcement.md"].ends_with(b"until eight in the evening.\n"));
}

#[test]
fn without_a_yes_nothing_is_published() {
    let project = Project::new();
    project.runner(["init", "--template", "approval"]).run().expect_code(0);
    let script = ["record", "scenarios/approval.yaml", "--script", "scenarios/approval.script.yaml"];
    let refused = project.runner(script).args(["--answer", "gate=no", "--to", "no.cassette"]).run();
    let refused = refused.expect_code(1);
    assert!(refused.text().contains("=== phase publish: skipped ==="), "{}", refused.text());
    assert!(!project.path(".workspace/published").exists());
}

/// The commands of the workflow for GitHub Actions.
fn workflow(project: &Project) -> Vec<String> {
    let text = project.read(".github/workflows/scenarios.yml");
    let workflow: serde_yaml::Value = serde_yaml::from_str(&text).expect("YAML");
    let steps = workflow["jobs"]["test"]["steps"].as_sequence().expect("steps");
    steps.iter().filter_map(|step| Some(step["run"].as_str()?.to_owned())).collect()
}

/// Every file of a folder with its text.
fn texts(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    walk(folder, &mut |path| {
        found.insert(path.display().to_string(), std::fs::read(path).expect("a file"));
    });
    found
}

#[test]
fn nothing_is_overwritten() {
    let project = Project::new();
    project.write("prompts/work.md", "Mine.\n").write(".gitignore", "/target\n.env\n");
    let before = texts(project.root());
    let refused = project.runner(["init"]).run().expect_code(2);
    assert!(refused.stderr.contains("none is overwritten"), "{}", refused.text());
    assert!(refused.stderr.ends_with("\n  prompts/work.md\n"), "{}", refused.text());
    assert_eq!(texts(project.root()), before, "a refusal makes nothing");
    let made = project.runner(["init", "--template", "hello", "--ci"]).run().expect_code(0);
    let kept = "kept  .gitignore, which is there already; add to it: .runner/  .workspace/\n";
    assert!(made.stdout.contains(kept), "{}", made.text());
    let after = texts(project.root());
    assert!(before.iter().all(|(path, text)| after.get(path) == Some(text)), "{:?}", after.keys());
    let commands = workflow(&project);
    assert_eq!(commands, ["runner --version", "runner check scenarios", "runner test --junit out.xml"]);
    for command in commands {
        project.runner(command.split(' ').skip(1)).ci().run().expect_code(0);
    }
}

#[test]
fn a_slip_in_the_name_of_a_template_is_told() {
    let project = Project::new();
    let told = project.runner(["init", "--template", "helo"]).run().expect_code(2).stderr;
    assert_eq!(
        told,
        "error: there is no template helo; did you mean hello? `runner init --list` shows all\n"
    );
    project.write("file", "");
    let told = project.runner(["init", "file/deep"]).run().expect_code(3).stderr;
    assert!(told.starts_with("error: cannot make "), "{told}");
}
