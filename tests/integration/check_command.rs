//! Does `runner check` find the scenarios of folders, and sum up what it says of all of them?

use crate::harness::Project;

const WRONG: &str = "version: 1\nroles:\n  writer: { mount_plan: mount-plans/hello.json }\nphases:\n  - id: greet\n    session: { role: wirter, prompt: prompts/hello.md }\n";

#[test]
fn a_folder_is_its_scenarios_and_nothing_else() {
    let project = Project::shipped();
    project.write("scenarios/deep/wrong.yml", WRONG);
    let outcome = project.runner(["check", "scenarios/", "scenarios/hello.yaml"]).with_key().run();
    let told = outcome.expect_code(2).stderr;
    let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("scenarios/")).collect();
    let expected = [
        "scenarios/bug-hunt.yaml: no problems",
        "scenarios/deep/wrong.yml: 1 error",
        "scenarios/demo.toml: 1 warning",
        "scenarios/demo.yaml: 1 warning",
        "scenarios/epic.yaml: no problems",
        "scenarios/hello.yaml: no problems",
        "scenarios/matrix.yaml: no problems",
        "scenarios/release-gate.yaml: no problems",
        "scenarios/research-report.yaml: no problems",
        "scenarios/review-loop.yaml: no problems",
    ];
    assert_eq!(lines, expected, "{told}");
    assert!(told.ends_with("10 files: 1 error, 2 warnings\nhelp: runner explain RUN0303\n"), "{told}");
}

#[test]
fn without_a_name_the_scenarios_of_the_project_are_meant() {
    let project = Project::shipped();
    project.write("scenarios/deep/x.txt", "");
    let told = project.runner(["check"]).cwd("scenarios/deep").with_key().run().expect_code(0).stderr;
    assert!(told.ends_with("\n9 files: 2 warnings\n"), "{told}");
    let nowhere = Project::new().runner(["check"]).run().expect_code(2).stderr;
    assert_eq!(
        nowhere,
        "error: there is no folder scenarios/ here or above; name scenario files or folders\n"
    );
}

#[test]
fn a_folder_without_scenarios_is_most_likely_not_meant() {
    let project = Project::shipped();
    let told = project.runner(["check", "prompts", "scenarios"]).run().expect_code(2).stderr;
    let expected = "error: no scenario in prompts; one is a .yaml, .yml, .toml or .json file with `version` and `phases`\n";
    assert_eq!(told, expected);
}

#[test]
fn a_file_that_is_missing_hides_no_other() {
    let project = Project::shipped();
    project.write("scenarios/wrong.yaml", WRONG);
    let files = ["check", "scenarios/none.yaml", "scenarios/wrong.yaml"];
    let told = project.runner(files).with_key().run().expect_code(2).stderr;
    assert!(told.contains("error[RUN0101]: there is no file scenarios/none.yaml\n"), "{told}");
    assert!(told.contains("error[RUN0303]"), "{told}");
}

#[test]
fn programs_get_findings_alone_and_github_gets_annotations() {
    let project = Project::shipped();
    project.write("scenarios/wrong.yaml", WRONG);
    let outcome = project.runner(["check", "--json", "scenarios"]).with_key().run().expect_code(2);
    let codes: Vec<_> = outcome.json_lines().iter().map(|found| found["code"].clone()).collect();
    assert_eq!(codes, ["RUN0702", "RUN0702", "RUN0303"]);
    assert_eq!(outcome.stderr, "");
    let outcome = project.runner(["check", "scenarios"]).with_key().env("GITHUB_ACTIONS", "true").run();
    let told = outcome.expect_code(2).stderr;
    assert!(told.contains("::error file=scenarios/wrong.yaml,line=6,col=22,title=RUN0303::"), "{told}");
}
