//! Is what the documents say true? Their examples are executed, their files are parsed.
//!
//! The convention, for README.md, CONTRIBUTING.md and docs/*.md:
//!
//! * a block marked `console` is executed. A line that begins with `$ ` is a command, the lines below it are what it
//!   prints (stdout and stderr together), up to the next command. A line `...` stands for any lines, `...` within a line
//!   for any text. No lines at all: anything may be printed. `# exit 2` at the end of a command: it ends with that code,
//!   otherwise with 0. `cargo run --release --` is the built binary, and so is `runner`. `bd-...` in a command is the
//!   id of an issue that was printed last: those of people's issues are random.
//! * a block marked `yaml`, `toml`, `markdown` or `jinja` whose first line is a comment with nothing but a path is
//!   written to that path before the first command of its document. A prompt (`markdown`, `jinja`) is written without
//!   that line.
//! * a block marked `yaml` whose first line is `# from PATH` is an excerpt: its lines stand in that file of the project as
//!   they are here, one after another. A line `# ...` stands for any lines.
//! * the commands of a block marked `console server` find a server of the Messages API at `ANTHROPIC_BASE_URL` and its
//!   key in `ANTHROPIC_API_KEY`; it answers every prompt with a short text. Those of other blocks find neither.
//! * every document has one project of its own, with the shipped scenarios, prompts and mount plans.
//! * blocks marked `sh` or `text`, and others, are shown and not executed: what needs a network, a key or a compiler.

use std::collections::BTreeMap;
use std::path::Path;

use crate::harness::{BINARY, Outcome, Project, repository, walk};
use crate::server::AnthropicServer;
use crate::server::brain::{Answer, brain};

/// A fenced block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    pub(crate) language: String,
    /// Whether a server answers its commands.
    served: bool,
    /// The line of its first line of text, from 1.
    line: usize,
    pub(crate) text: String,
}

/// A command of a console block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    line: usize,
    pub(crate) command: String,
    pub(crate) code: i32,
    pub(crate) expected: Vec<String>,
}

/// Where the pages of `runner explain` lie; `explain.rs` executes them.
pub(crate) const PAGES: &str = "docs/diagnostics/";

#[test]
fn every_example_is_true() {
    let mut documents = documents();
    documents.retain(|(name, _)| !name.starts_with(PAGES));
    assert!(documents.iter().any(|(name, _)| name == "docs/architecture.md"), "the documents were not found");
    let wrong: Vec<_> = documents.iter().flat_map(|(name, text)| execute(name, text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn nothing_was_pasted_by_accident() {
    // An absolute path of a home or a build, a backtrace, a setting that outlives its example.
    let strange = ["stack backtrace", "panicked at", "RUST_BACKTRACE", "/rustc/", "/home/", "export RUNNER_"];
    let mut wrong = Vec::new();
    for (name, text) in documents() {
        for (number, line) in (1..).zip(text.lines()) {
            let found = strange.iter().find(|strange| line.contains(**strange));
            wrong.extend(found.map(|strange| format!("{name}:{number}: `{strange}` does not belong here")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_path_means_one_file_in_all_documents() {
    let mut seen: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, text) in documents() {
        // Each of the pages has a wrong and a right file.
        if name.starts_with(PAGES) {
            continue;
        }
        for block in blocks(&text) {
            let Some(path) = path_of(&block) else { continue };
            let file = file_of(&block).to_owned();
            if std::fs::read_to_string(repository().join(&path)).is_ok_and(|shipped| shipped != file) {
                wrong.push(format!("{name}:{}: {path} is a file of the project", block.line));
            }
            if let Some((before, other)) = seen.insert(path.clone(), (name.clone(), file.clone()))
                && other != file
            {
                wrong.push(format!("{name}:{}: {path} is another file in {before}", block.line));
            }
        }
    }
    assert!(seen.len() > 10, "{:?}", seen.keys());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_shipped_scenario_has_a_page_and_a_row_in_the_readme() {
    let documents: BTreeMap<_, _> = documents().into_iter().collect();
    let mut count = 0;
    walk(&repository().join("scenarios"), &mut |path| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        let Some(name) = name.strip_suffix(".yaml").filter(|name| !name.contains('.')) else { return };
        if path.parent() != Some(&repository().join("scenarios")) {
            return;
        }
        let page = format!("docs/scenarios/{name}.md");
        let text = documents.get(&page).unwrap_or_else(|| panic!("there is no {page}"));
        for part in [&format!("scenarios/{name}.yaml"), "## Make it your own", "## Look at it afterwards"] {
            assert!(text.contains(part), "{page} has no `{part}`");
        }
        assert!(
            documents["README.md"].contains(&format!("\n| [{name}]({page}) | ")),
            "README.md has no row for {page}"
        );
        count += 1;
    });
    assert_eq!(documents.keys().filter(|name| name.starts_with("docs/scenarios/")).count(), count);
    let excerpts = blocks(&documents["docs/patterns.md"]);
    assert!(excerpts.iter().filter(|block| excerpt_of(block).is_some()).count() >= 7);
}

#[test]
fn workspaces_of_examples_are_named_so_that_they_are_ignored() {
    let ignored = std::fs::read_to_string(repository().join(".gitignore")).expect("the .gitignore");
    assert!(ignored.lines().any(|line| line == "/.*/"), "{ignored}");
    let mut count = 0;
    let documents = documents().into_iter().filter(|(name, _)| !name.starts_with(PAGES));
    for (name, text) in documents {
        for block in blocks(&text).iter().filter(|block| block.language == "yaml") {
            let file: serde_yaml::Value = serde_yaml::from_str(&block.text).expect("YAML");
            let Some(path) = file["workspace"]["path"].as_str() else { continue };
            assert!(path.starts_with('.') && !path.contains('/'), "{name}:{}: {path}", block.line);
            count += 1;
        }
    }
    assert!(count > 3, "{count}");
}

#[test]
fn the_changelog_has_the_version_of_the_manifest() {
    let changelog = std::fs::read_to_string(repository().join("CHANGELOG.md")).expect("the changelog");
    let version = env!("CARGO_PKG_VERSION");
    let told = changelog.lines().any(|line| line.starts_with("## ") && line.contains(version));
    assert!(told, "CHANGELOG.md has no heading for {version}");
}

/// README.md, CONTRIBUTING.md and docs/*.md: names and texts.
pub(crate) fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |path: &Path| {
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.strip_prefix(repository()).expect("a path in the repository");
            let text = std::fs::read_to_string(path).expect("a document is UTF-8");
            found.push((name.to_string_lossy().into_owned(), text));
        }
    };
    for name in ["README.md", "CONTRIBUTING.md"].map(|name| repository().join(name)) {
        if name.is_file() {
            add(&name);
        }
    }
    walk(&repository().join("docs"), &mut add);
    found
}

/// Does what a document says; gives out what turned out otherwise.
fn execute(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let project = project_with_runner();
    let blocks = blocks(text);
    let server = AnthropicServer::start(brain(|_| Answer::text("Hello, and welcome.")));
    for block in &blocks {
        if let Some(error) = unreadable(block) {
            wrong.push(format!("{name}:{}: no {}: {error}", block.line, block.language));
        }
        if let Some(path) = excerpt_of(block)
            && !is_excerpt(&block.text, &project.read(path))
        {
            wrong.push(format!("{name}:{}: this is no excerpt of {path} as it is now", block.line));
        }
        if let Some(path) = path_of(block) {
            project.write(&path, file_of(block));
        }
    }
    let mut issue = None;
    for block in blocks.iter().filter(|block| block.language == "console") {
        let steps = steps(block);
        if steps.is_empty() {
            wrong.push(format!("{name}:{}: a console block without a command", block.line));
        }
        for step in steps {
            let server = block.served.then_some(&server);
            match perform(&project, &step, issue.as_deref(), server) {
                Ok(printed) => issue = first_id(&printed).or(issue),
                Err(error) => wrong.push(format!("{name}:{}: {error}", step.line)),
            }
        }
    }
    wrong
}

/// Why the text of a block is not what its mark says.
fn unreadable(block: &Block) -> Option<String> {
    match block.language.as_str() {
        "yaml" => serde_yaml::from_str::<serde_yaml::Value>(&block.text).err().map(|error| error.to_string()),
        "toml" => block.text.parse::<toml::Table>().err().map(|error| error.to_string()),
        "json" => serde_json::from_str::<serde_json::Value>(&block.text).err().map(|error| error.to_string()),
        _ => None,
    }
}

/// The file that a block is an excerpt of.
fn excerpt_of(block: &Block) -> Option<&str> {
    block.text.lines().next()?.strip_prefix("# from ").filter(|_| block.language == "yaml")
}

/// Whether the lines below the first one of an excerpt stand in a file, piece by piece.
fn is_excerpt(excerpt: &str, file: &str) -> bool {
    let lines: Vec<_> = file.lines().collect();
    let pieces: Vec<_> = excerpt.lines().skip(1).collect();
    let mut from = 0;
    for piece in pieces.split(|line| *line == "# ...") {
        let Some(at) = lines[from..].windows(piece.len().max(1)).position(|window| window == piece) else {
            return false;
        };
        from += at + piece.len();
    }
    true
}

/// The first id of an issue in a text.
fn first_id(text: &str) -> Option<String> {
    let ids = text.match_indices("bd-").map(|(at, _)| &text[at..]);
    ids.filter_map(|text| text.get(..11))
        .find(|id| id[3..].chars().all(|c| c.is_ascii_alphanumeric()))
        .map(str::to_owned)
}

/// Runs one command and compares; gives out what it printed.
fn perform(
    project: &Project,
    step: &Step,
    issue: Option<&str>,
    server: Option<&AnthropicServer>,
) -> Result<String, String> {
    let command = step.command.replace("bd-...", issue.unwrap_or("bd-none"));
    let outcome = outcome(project, &command, server);
    let printed: Vec<_> = outcome.stdout.lines().map(str::trim_end).collect();
    if outcome.code != Some(step.code) {
        return Err(format!(
            "`{}` ended with {:?}, not {}; it printed:\n{}",
            step.command, outcome.code, step.code, outcome.stdout
        ));
    }
    let expected: Vec<_> = step.expected.iter().map(String::as_str).collect();
    if expected.is_empty() || lines_match(&expected, &printed) {
        return Ok(outcome.stdout);
    }
    Err(format!(
        "`{}` is to print:\n{}\nbut printed:\n{}",
        step.command,
        expected.join("\n"),
        printed.join("\n")
    ))
}

/// What a command of a document comes to: both of its streams in one.
pub(crate) fn outcome(project: &Project, command: &str, server: Option<&AnthropicServer>) -> Outcome {
    let script = format!("exec 2>&1\n{}", command.replace("cargo run --release --", "runner"));
    let bin = project.path("../bin").canonicalize().expect("the folder was made");
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
    let mut command = project.command("/bin/bash").args(["-c", &script]).env("PATH", path);
    if let Some(server) = server {
        command = command.with_key().env("ANTHROPIC_BASE_URL", server.url());
    }
    command.run()
}

/// A project with what is shipped, in which `runner` is the binary.
pub(crate) fn project_with_runner() -> Project {
    let project = Project::shipped();
    std::fs::create_dir(project.path("../bin")).expect("a folder for the binary's short name");
    std::os::unix::fs::symlink(BINARY, project.path("../bin/runner")).expect("a link to the binary");
    project
}

/// The fenced blocks of a Markdown text.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(&str, Block)> = None;
    for (at, line) in text.lines().enumerate() {
        let fence = &line[..line.len() - line.trim_start_matches('`').len()];
        match &mut open {
            Some((opening, _)) if !fence.is_empty() && fence == *opening && line == fence => {
                found.extend(open.take().map(|(_, block)| block));
            }
            Some((_, block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            None if fence.len() >= 3 => {
                let mut words = line[fence.len()..].split_whitespace();
                let language = words.next().unwrap_or_default().to_owned();
                let served = words.next() == Some("server");
                open = Some((fence, Block { language, served, line: at + 2, text: String::new() }));
            }
            None => {}
        }
    }
    assert!(open.is_none(), "a block is not closed: {open:?}");
    found
}

/// The path a block names in its first line.
pub(crate) fn path_of(block: &Block) -> Option<String> {
    let first = block.text.lines().next()?;
    let path = match block.language.as_str() {
        "yaml" | "toml" => first.strip_prefix("# ")?,
        "markdown" => first.strip_prefix("<!-- ")?.strip_suffix(" -->")?,
        "jinja" => first.strip_prefix("{# ")?.strip_suffix(" #}")?,
        _ => return None,
    };
    let legal = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
    let file = Path::new(path).extension().is_some() && path.chars().all(legal);
    let inside = !path.starts_with('/') && !path.split('/').any(|segment| segment == "..");
    (file && inside).then(|| path.to_owned())
}

/// What is written to the path a block names: a comment in a prompt would be read by a model.
pub(crate) fn file_of(block: &Block) -> &str {
    match block.language.as_str() {
        "markdown" | "jinja" => block.text.split_once('\n').map_or("", |(_, rest)| rest),
        _ => &block.text,
    }
}

/// The commands of a console block.
pub(crate) fn steps(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (at, line) in block.text.lines().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            let (command, code) = match command.rsplit_once("# exit ") {
                Some((command, code)) => {
                    (command.trim_end(), code.trim().parse().expect("`# exit` names a number"))
                }
                None => (command, 0),
            };
            steps.push(Step {
                line: block.line + at,
                command: command.to_owned(),
                code,
                expected: Vec::new(),
            });
        } else if let Some(step) = steps.last_mut() {
            step.expected.push(line.trim_end().to_owned());
        } else {
            panic!("line {}: output before the first command of a console block: {line}", block.line + at);
        }
    }
    for step in &mut steps {
        // A blank line before the next command is for the reader.
        while step.expected.last().is_some_and(String::is_empty) {
            step.expected.pop();
        }
    }
    steps
}

/// Whether printed lines are the expected ones, where `...` stands for any lines.
fn lines_match(expected: &[&str], printed: &[&str]) -> bool {
    match expected {
        [] => printed.iter().all(|line| line.is_empty()),
        ["...", rest @ ..] => (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..])),
        [first, rest @ ..] => {
            printed.first().is_some_and(|line| line_matches(first, line)) && lines_match(rest, &printed[1..])
        }
    }
}

/// Whether a printed line is the expected one, where `...` stands for any text.
fn line_matches(expected: &str, printed: &str) -> bool {
    let Some((begin, rest)) = expected.split_once("...") else { return expected == printed };
    printed.strip_prefix(begin).is_some_and(|printed| {
        let ends = printed.char_indices().map(|(at, _)| at).chain([printed.len()]);
        ends.into_iter().any(|at| line_matches(rest, &printed[at..]))
    })
}

#[test]
fn a_true_document_passes_and_a_false_one_does_not() {
    let file = "```yaml\n# notes/x.yaml\na: 1\n```\n";
    let demo =
        "# from scenarios/demo.yaml\nroles:\n  foreman:         { mount_plan: mount-plans/foreman.json }";
    let excerpt = |rest: &str| format!("```yaml\n{demo}\n{rest}\n```");
    let apart = excerpt("# ...\nexpect: [issues.total == 5, issues.closed == 5]");
    let (skipped, elsewhere) = (excerpt("expect: []"), excerpt("# ...\nversion: 1"));
    let cases = [
        (apart.as_str(), ""),
        (skipped.as_str(), "no excerpt of scenarios/demo.yaml"),
        (elsewhere.as_str(), "no excerpt of scenarios/demo.yaml"),
        ("```console\n$ cat notes/x.yaml\n# notes/x.yaml\na: 1\n```", ""),
        ("```console\n$ cat notes/x.yaml\n...\na: 1\n\n$ ls notes\nx.yaml\n```", ""),
        ("```console\n$ false # exit 1\n```", ""),
        ("```console\n$ echo took 17 ms; echo >&2 so\ntook ... ms\nso\n```", ""),
        ("```sh\n$ false\n```", ""),
        ("```console\n$ ls notes\nno such thing\n```", "is to print"),
        ("```console\n$ command -v runner\n.../bin/runner\n$ cargo run --release -- --version\n```", ""),
        ("```console\n$ false\n```", "ended with Some(1), not 0"),
        ("```console\n$ echo a; echo b\na\n```", "is to print"),
        ("```console\n```", "without a command"),
        ("```console server\n$ test -n \"$ANTHROPIC_BASE_URL$ANTHROPIC_API_KEY\"\n```", ""),
        ("```console\n$ test -n \"$ANTHROPIC_BASE_URL$ANTHROPIC_API_KEY\" # exit 1\n```", ""),
        ("```json\n{a}\n```", "no json"),
        ("```console\n$ echo bd-1234abcd bd-x; echo bd-00000000\n...\n$ echo bd-...\nbd-1234abcd\n```", ""),
        ("```console\n$ echo bd-1234abcd\n$ echo a bd-...\na bd-0...\n```", "is to print"),
        ("```markdown\n<!-- notes/y.md -->\nGo.\n```\n```console\n$ cat notes/y.md\nGo.\n```", ""),
    ];
    for (text, expected) in cases {
        let wrong = execute("x.md", &format!("{file}\n{text}\n"));
        match expected {
            "" => assert_eq!(wrong, Vec::<String>::new(), "{text}"),
            _ => assert!(wrong.iter().any(|error| error.contains(expected)), "{text}\n  gave {wrong:?}"),
        }
    }
}

#[test]
fn only_a_plain_relative_path_makes_a_file() {
    let path = |language: &str, first: &str| {
        path_of(&Block {
            language: language.to_owned(),
            served: false,
            line: 1,
            text: format!("{first}\n…\n"),
        })
    };
    assert_eq!(path("yaml", "# scenarios/x.yaml"), Some("scenarios/x.yaml".to_owned()));
    assert_eq!(path("markdown", "<!-- prompts/x.md -->"), Some("prompts/x.md".to_owned()));
    for first in ["# the file x.yaml", "# ../x.yaml", "# /x.yaml", "# scenarios", "version: 1"] {
        assert_eq!(path("yaml", first), None, "{first}");
    }
}
