//! Are the pages of `runner explain` true? The wrong example of each is told its code, the repaired one is not.

use std::collections::BTreeSet;

use runner::diagnostic::Code;

use crate::documents::{PAGES, Step, blocks, file_of, outcome, path_of, project_with_runner, steps};
use crate::harness::{Project, repository};
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, brain};

/// What a command said of files: its findings alone, without what a run tells before and the verdict below.
fn findings(printed: &str) -> Vec<String> {
    let begins = |line: &&str| line.starts_with("error[") || line.starts_with("warning[");
    let mut lines: Vec<String> = printed
        .lines()
        .skip_while(|line| !begins(line))
        .take_while(|line| {
            begins(line) || line.is_empty() || line.starts_with([' ', '│', '╰', '╭']) || is_code(line)
        })
        .map(|line| line.trim_end().to_owned())
        .collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// A line of a snippet: its number, then the bar.
fn is_code(line: &str) -> bool {
    line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('│')
}

/// The codes of findings.
fn codes(findings: &[String]) -> BTreeSet<String> {
    let heads = findings.iter().filter(|line| line.starts_with("error[") || line.starts_with("warning["));
    heads.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect()
}

/// What is wrong with the page of a code; a page whose output differs is written anew when snapshots are.
fn wrong_with(code: Code, server: &AnthropicServer, is_writing: bool) -> Vec<String> {
    let page = code.page();
    let mut wrong = Vec::new();
    let heading = format!("# {code}: {}\n\n", code.title());
    if !page.starts_with(&heading) || !page.contains("\n## Wrong\n") || !page.contains("\n## Right\n") {
        wrong.push(format!("it is to begin with {heading:?}, and to have `## Wrong` and `## Right`"));
    }
    let project = project_with_runner();
    project.write("prompts/greet.md", "Say hello.\n");
    let blocks = blocks(page);
    for block in &blocks {
        if let Some(path) = path_of(block) {
            project.write(&path, file_of(block));
        }
    }
    let steps: Vec<Step> =
        blocks.iter().filter(|block| block.language == "console").flat_map(steps).collect();
    let [bad, good] = steps.as_slice() else { return vec!["it is to have two commands".to_owned()] };
    let told = outcome(&project, &bad.command, Some(server));
    let found = findings(&told.stdout);
    let (why, _) = page.split_once("\n## ").unwrap_or_default();
    // What comes along with it is told of, too.
    let is_strange = |other: &String| *other != code.to_string() && !why.contains(other.as_str());
    let codes = codes(&found);
    if told.code != Some(bad.code) || !codes.contains(code.as_str()) || codes.iter().any(is_strange) {
        wrong.push(format!("`{}` ended with {:?}:\n{}", bad.command, told.code, told.stdout));
    } else if found != bad.expected {
        if is_writing {
            write(code, bad, &found);
        }
        wrong.push(format!("`{}` is to be followed by:\n{}", bad.command, found.join("\n")));
    }
    let told = outcome(&project, &good.command, Some(server));
    if told.code != Some(0) || told.stdout.contains("error[") || told.stdout.contains("warning[") {
        wrong.push(format!("`{}` ended with {:?}:\n{}", good.command, told.code, told.stdout));
    }
    wrong
}

fn write(code: Code, step: &Step, found: &[String]) {
    let command = match step.code {
        0 => format!("$ {}\n", step.command),
        code => format!("$ {} # exit {code}\n", step.command),
    };
    let old = step.expected.iter().fold(command.clone(), |text, line| text + line + "\n");
    let new = found.iter().fold(command, |text, line| text + line + "\n");
    let page = code.page();
    assert!(page.contains(&old), "{code}: {old}");
    let path = repository().join(PAGES).join(format!("{code}.md"));
    std::fs::write(path, page.replacen(&old, &new, 1)).expect("a page can be written");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the variable by which snapshots are written")]
fn every_page_is_true() {
    let is_writing = std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always");
    let server = AnthropicServer::start(brain(|_| Answer::text("Hello, and welcome.")));
    let mut all = Vec::new();
    for code in Code::ALL {
        all.extend(
            wrong_with(*code, &server, is_writing).into_iter().map(|wrong| format!("{code}: {wrong}")),
        );
    }
    assert!(all.is_empty(), "{}", all.join("\n\n"));
}

#[test]
fn there_is_no_page_without_a_code() {
    let folder = repository().join(PAGES);
    let names =
        std::fs::read_dir(folder).expect("the pages").map(|entry| entry.expect("an entry").file_name());
    let pages: BTreeSet<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let expected: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{code}.md")).collect();
    assert_eq!(pages, expected);
}

#[test]
fn codes_are_explained_listed_and_guessed() {
    let project = Project::new();
    let one = project.runner(["explain", "run0303"]).run().expect_code(0);
    assert_eq!(one.stdout, Code::UnknownRole.page());
    assert_eq!(one.stderr, "");
    let two = project.runner(["explain", "0303", "RUN0304"]).run().expect_code(0);
    assert_eq!(two.stdout, format!("{}\n{}", Code::UnknownRole.page(), Code::UnknownPhase.page()));
    let all = project.runner(["explain"]).run().expect_code(0);
    assert_eq!(all.stdout.lines().count(), Code::ALL.len());
    assert!(all.stdout.contains("RUN0303  There is no role of this id.\n"), "{}", all.stdout);
    let none = project.runner(["explain", "RUN0999"]).run().expect_code(2);
    assert_eq!(
        none.stderr,
        "error: there is no code RUN0999; did you mean RUN0209? `runner explain` lists all\n"
    );
    assert_eq!(none.stdout, "");
}

#[test]
fn a_report_with_errors_names_the_pages_once() {
    let project = Project::shipped();
    let text = "version: 1\nroles:\n  writer: { mount_plan: mount-plans/hello.json, modle: x }\nphases:\n  - id: greet\n    session: { role: wirter, prompt: prompts/hello.md }\n";
    project.write("scenarios/a.yaml", text).write("scenarios/b.yaml", text);
    let told = project.runner(["check", "scenarios/a.yaml", "scenarios/b.yaml"]).with_key().run();
    let told = told.expect_code(2);
    assert_eq!(told.stderr.matches("help: runner explain RUN0201 RUN0303\n").count(), 1, "{}", told.stderr);
    let run = project.runner(["scenarios/a.yaml"]).with_key().run().expect_code(2);
    assert!(
        run.stderr.ends_with("help: runner explain RUN0201 RUN0303\nexit 2: invalid\n"),
        "{}",
        run.stderr
    );
    let json = project.runner(["check", "--json", "scenarios/a.yaml"]).with_key().run().expect_code(2);
    assert_eq!(json.stderr, "");
    let warned = project.runner(["check", "scenarios/hello.yaml"]).run().expect_code(0);
    assert!(!warned.stderr.contains("explain"), "{}", warned.stderr);
}
