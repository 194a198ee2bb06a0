//! Do the reference pages name all there is, and nothing else? Modules, diagnostics, commands, options, keys.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use runner::diagnostic::Code;
use runner::plan::{KeyInfo, KeyShape, ModuleInfo, Need};
use runner::scenario::shape;
use runner::session::Registry;

use crate::documents::{blocks, documents, steps};
use crate::harness::{Project, repository, walk};

fn page(name: &str) -> String {
    std::fs::read_to_string(repository().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The part of a page below a heading, up to the next heading of its level or above.
fn section<'a>(text: &'a str, heading: &str) -> Option<&'a str> {
    let level = heading.split(' ').next().unwrap_or_default().len();
    let start = text.find(&format!("\n{heading}\n"))? + heading.len() + 2;
    let rest = &text[start..];
    let end = rest.match_indices("\n#").find_map(|(at, _)| {
        let marks = rest[at + 1..].chars().take_while(|c| *c == '#').count();
        (marks <= level && rest[at + 1 + marks..].starts_with(' ')).then_some(at)
    });
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// The rows of all tables of a text that begin with a code span, without the spaces that align columns.
fn rows(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells = row.trim().trim_start_matches('|').trim_end_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

fn first_cells(text: &str) -> BTreeSet<String> {
    rows(text).into_iter().map(|row| row[0].trim_matches('`').to_owned()).collect()
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase()).unwrap_or_default();
    format!("{first}{}.", chars.as_str().trim_end_matches('.'))
}

fn shape(key: &KeyInfo) -> &'static str {
    match key.shape {
        KeyShape::Text | KeyShape::Secret => "text",
        KeyShape::Integer => "whole number",
        KeyShape::Number => "number",
        KeyShape::Flag => "true or false",
        KeyShape::TextList => "list of texts",
        KeyShape::Any => "any",
    }
}

/// What `docs/mount-plans.md` says of a module.
fn module_section(module: &ModuleInfo) -> String {
    let mut text = format!("{}\n", sentence(module.summary));
    if !module.aliases.is_empty() {
        let _ = writeln!(text, "Also known as `{}`.", module.aliases.join("`, `"));
    }
    if !module.tools.is_empty() {
        let _ = writeln!(text, "Shown to the model as `{}`.", module.tools.join("`, `"));
    }
    if let Some(credential) = module.credential {
        let verb = match credential.need {
            Need::Required => "Needs",
            Need::Optional => "Takes",
        };
        let _ = writeln!(text, "{verb} a credential: `{}`, or `{}`.", credential.variable, credential.key);
    }
    if module.keys.is_empty() {
        return text;
    }
    text.push_str("\n| key | takes | default | meaning |\n|---|---|---|---|\n");
    for key in module.keys {
        let default = if key.default.is_empty() { "none".to_owned() } else { format!("`{}`", key.default) };
        let _ = writeln!(text, "| `{}` | {} | {default} | {} |", key.name, shape(key), sentence(key.doc));
    }
    text
}

#[test]
fn every_module_and_key_has_its_line() {
    let text = page("docs/mount-plans.md");
    let modules = section(&text, "## Modules").expect("a section of modules");
    let catalogue = Registry::builtin().catalogue();
    let mut wrong = String::new();
    for module in &catalogue {
        let expected = module_section(module);
        let heading = format!("### `{}`", module.name);
        if section(modules, &heading).is_none_or(|found| !found.starts_with(&format!("\n{expected}"))) {
            let _ = write!(wrong, "{heading}\n\n{expected}\n");
        }
    }
    assert!(wrong.is_empty(), "docs/mount-plans.md is to say under `## Modules`:\n\n{wrong}");
    let told: Vec<&str> = modules.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(told.len(), catalogue.len(), "a module that there is not is told of: {told:?}");
}

/// The sources from each place that makes a warning on, and what is left of them: all without their tests.
fn warnings_and_others() -> (Vec<String>, String) {
    let (mut warnings, mut others) = (Vec::new(), String::new());
    walk(&repository().join("src"), &mut |path: &Path| {
        // The module of the codes itself names each of them.
        if path.extension().is_none_or(|end| end != "rs") || path.ends_with("diagnostic/code.rs") {
            return;
        }
        let text = std::fs::read_to_string(path).expect("a source is UTF-8");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let mut pieces = code.split("Diagnostic::warning(");
        others.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            let piece = piece.trim_start();
            let name = piece.strip_prefix("Code::").expect("a warning names its code where it is made");
            let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
            warnings.push(name[..end].to_owned());
            others.push_str(&name[end..]);
        }
    });
    (warnings, others)
}

/// How a code is raised, as the sources have it.
fn severity(code: Code, (warnings, others): &(Vec<String>, String)) -> &'static str {
    let name = format!("{code:?}");
    let named = format!("Code::{name}");
    let is_error = others
        .match_indices(&named)
        .any(|(at, _)| !others[at + named.len()..].starts_with(|c: char| c.is_ascii_alphanumeric()));
    match (is_error, warnings.contains(&name)) {
        (true, true) => "error or warning",
        (false, true) => "warning",
        (true, false) => "error",
        (false, false) => panic!("no source raises {name}"),
    }
}

#[test]
fn every_diagnostic_has_its_line() {
    let text = page("docs/diagnostics.md");
    let raised = warnings_and_others();
    let expected: String = Code::ALL.iter().fold(String::new(), |mut all, code| {
        let severity = severity(*code, &raised);
        let exit = if severity == "warning" { "none".to_owned() } else { code.exit_code().to_string() };
        let _ = writeln!(all, "| `{code}` | {severity} | {} | {exit} |", code.title());
        all
    });
    let found: String =
        text.lines().filter(|line| line.starts_with("| `RUN")).fold(String::new(), |mut all, line| {
            let _ = writeln!(all, "{line}");
            all
        });
    assert!(found == expected, "docs/diagnostics.md is to have these lines:\n{expected}");
}

/// A command as its `--help` tells of it.
#[derive(Debug, Default)]
struct Help {
    commands: Vec<String>,
    /// By name without dashes.
    options: BTreeMap<String, Flag>,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Flag {
    /// The environment variable that stands in for it.
    variable: Option<String>,
    default: Option<String>,
    /// What stands for its value.
    value: Option<String>,
    /// The whole entry on one line.
    text: String,
}

fn help(project: &Project, path: &[String]) -> Help {
    let shown = project.runner(path).arg("-h").run().expect_code(0).stdout;
    let mut help = Help::default();
    let mut part = "";
    let mut last: Option<String> = None;
    for line in shown.lines().filter(|line| !line.trim().is_empty()) {
        if !line.starts_with(' ') {
            part = line;
            last = None;
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match part {
            "Commands:" if line.starts_with("  ") && !line.starts_with("   ") => {
                help.commands.push(words[0].to_owned());
            }
            "Options:" => {
                if line.trim_start().starts_with('-') {
                    last = words.iter().take(2).find_map(|word| word.strip_prefix("--")).map(flag_name);
                }
                if let Some(name) = &last {
                    let flag = help.options.entry(name.clone()).or_default();
                    flag.text = format!("{} {}", flag.text, line.trim());
                }
            }
            _ => {}
        }
    }
    help.commands.retain(|command| command != "help");
    for flag in help.options.values_mut() {
        let noted = |what: &str| {
            let (_, rest) = flag.text.split_once(what)?;
            Some(rest.split(']').next()?.trim().trim_end_matches('=').to_owned())
        };
        (flag.variable, flag.default) = (noted("[env:"), noted("[default:"));
        let value = flag.text.split_once("--").and_then(|(_, rest)| rest.split("  ").next());
        flag.value = value.and_then(|text| Some(text.split_once('<')?.1.split_once('>')?.0.to_owned()));
    }
    help
}

fn flag_name(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect::<String>()
        .trim_end_matches('-')
        .to_owned()
}

/// Every command by its words, with what its help says.
fn all_commands(project: &Project) -> BTreeMap<Vec<String>, Help> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let told = help(project, &path);
        waiting.extend(told.commands.iter().map(|command| {
            let mut longer = path.clone();
            longer.push(command.clone());
            longer
        }));
        found.insert(path, told);
    }
    found
}

/// Options every command has; they are told of once.
const EVERYWHERE: [&str; 3] = ["help", "version", "color"];

/// Those that every `runner issues` command has besides.
const ISSUES: [&str; 3] = ["workspace", "actor", "json"];

#[test]
fn every_command_and_option_has_its_line() {
    let text = page("docs/cli.md");
    let commands = all_commands(&Project::new());
    assert!(commands.len() > 15, "{:?}", commands.keys());
    let mut wrong = Vec::new();
    for (path, help) in &commands {
        let heading = match path.as_slice() {
            [] => "## Everywhere".to_owned(),
            [only] => format!("## `runner {only}`"),
            _ => format!("### `runner {}`", path.join(" ")),
        };
        let Some(told) = section(&text, &heading) else {
            wrong.push(format!("{heading} is missing"));
            continue;
        };
        let told = told.split("\n### ").next().unwrap_or(told);
        let elsewhere = |name: &str| {
            !path.is_empty() && EVERYWHERE.contains(&name) || path.len() > 1 && ISSUES.contains(&name)
        };
        let rows = rows(told);
        let named: BTreeSet<&str> =
            help.options.keys().map(String::as_str).filter(|name| !elsewhere(name)).collect();
        let mut seen = BTreeSet::new();
        for row in rows.iter().filter(|row| row[0].contains("--")) {
            let name = flag_name(row[0].split("--").nth(1).unwrap_or_default());
            match help.options.get(&name) {
                None => wrong.push(format!("{heading}: there is no --{name}")),
                Some(flag) => {
                    let rest = row.join(" ");
                    if flag.value.as_ref().is_some_and(|value| !row[0].contains(value.as_str())) {
                        wrong.push(format!("{heading}: --{name} takes {:?}", flag.value));
                    }
                    for fact in flag.variable.iter().chain(&flag.default) {
                        if !rest.contains(&format!("`{fact}`")) {
                            wrong.push(format!("{heading}: --{name} does not say `{fact}`"));
                        }
                    }
                }
            }
            seen.insert(name);
        }
        wrong.extend(
            named
                .iter()
                .filter(|name| !seen.contains(**name))
                .map(|name| format!("{heading}: no line for --{name}")),
        );
    }
    assert!(wrong.is_empty(), "docs/cli.md:\n{}", wrong.join("\n"));
    let headings = text.lines().filter(|line| line.trim_start_matches('#').starts_with(" `runner "));
    let told: Vec<&str> = headings.collect();
    assert_eq!(told.len(), commands.len() - 1, "a command that there is not is told of: {told:?}");
}

#[test]
fn no_document_names_a_command_or_option_that_there_is_not() {
    let commands = all_commands(&Project::new());
    let every: BTreeSet<&str> =
        commands.values().flat_map(|help| help.options.keys()).map(String::as_str).collect();
    let mut wrong = Vec::new();
    for (name, text) in documents() {
        for code in code_of(&text) {
            wrong.extend(misnamed(&code, &commands, &every).map(|what| format!("{name}: `{code}`: {what}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The commands of blocks, and code spans.
fn code_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in blocks(text) {
        match block.language.as_str() {
            "console" => found.extend(steps(&block).into_iter().map(|step| step.command)),
            "sh" => found.extend(block.text.lines().map(str::to_owned)),
            _ => {}
        }
    }
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// What is wrong with a piece of code that may be a command of ours.
fn misnamed(code: &str, commands: &BTreeMap<Vec<String>, Help>, every: &BTreeSet<&str>) -> Option<String> {
    let code = code.replace("cargo run --release --", "runner");
    let words: Vec<&str> = code.split_whitespace().collect();
    let Some(at) = words.iter().position(|word| *word == "runner") else {
        // A span that is nothing but an option.
        let only = words.first().filter(|word| word.starts_with("--") && word.len() > 2)?;
        let name = flag_name(&only[2..]);
        return (!every.contains(name.as_str())).then(|| format!("no command has --{name}"));
    };
    let mut path: Vec<String> = Vec::new();
    let mut rest =
        words[at + 1..].iter().take_while(|word| !["#", "|", ";", "&&", ">"].contains(*word)).peekable();
    while let Some(word) = rest.peek().filter(|_| !commands[&path].commands.is_empty()) {
        let longer: Vec<String> = path.iter().cloned().chain([(**word).to_owned()]).collect();
        if !commands.contains_key(&longer) {
            break;
        }
        path = longer;
        rest.next();
    }
    if let (true, Some(word)) = (commands[&path].commands.len() > 1, rest.peek()) {
        let is_placeholder = word.chars().all(|c| c.is_ascii_uppercase()) || word.starts_with('…');
        if path.is_empty() && (word.contains('.') || **word == "FILE") {
            path = vec!["run".to_owned()];
        } else if !word.starts_with('-') && !is_placeholder {
            return Some(format!("there is no command {word}"));
        } else if path.is_empty() && rest.clone().any(|word| word.contains(".yaml")) {
            path = vec!["run".to_owned()];
        }
    }
    rest.filter(|word| word.starts_with("--"))
        .map(|word| flag_name(&word[2..]))
        .find(|name| !commands[&path].options.contains_key(name))
        .map(|name| format!("runner {} has no --{name}", path.join(" ")))
}

#[test]
fn names_that_there_are_not_are_found() {
    let commands = all_commands(&Project::new());
    let every: BTreeSet<&str> =
        commands.values().flat_map(|help| help.options.keys()).map(String::as_str).collect();
    let cases = [
        ("runner scenarios/x.yaml --live", None),
        ("FOO=1 runner --json x.yaml", None),
        ("runner issues dep add a b --type related", None),
        ("runner FILE", None),
        ("runner", None),
        ("--jitter 3", None),
        ("cargo test", None),
        ("runner explane RUN0101", Some("no command explane")),
        ("runner issues undo", Some("no command undo")),
        ("runner x.yaml --from y", Some("run has no --from")),
        ("cargo run --release -- x.yaml --jitter 1", Some("run has no --jitter")),
        ("--dry-walk", Some("no command has --dry-walk")),
    ];
    for (code, expected) in cases {
        let found = misnamed(code, &commands, &every);
        match expected {
            None => assert_eq!(found, None, "{code}"),
            Some(part) => {
                assert!(found.as_ref().is_some_and(|found| found.contains(part)), "{code}: {found:?}");
            }
        }
    }
}

#[test]
fn two_commands_do_all_set_up() {
    let text = page("README.md");
    let commands: Vec<String> = blocks(&text)
        .iter()
        .flat_map(|block| match block.language.as_str() {
            "console" => steps(block).into_iter().map(|step| step.command).collect(),
            "sh" => block.text.lines().map(str::to_owned).collect(),
            _ => Vec::new(),
        })
        .take(2)
        .collect();
    assert_eq!(commands, ["cargo run --release -- scenarios/demo.yaml", "bash .ci/run"]);
}

/// The rows that the reference page has for a shape of the file.
fn shape_rows(shape: &shape::Shape) -> String {
    let row = |key: &shape::Key| {
        let line = format!("| `{}` | {} | {} | {} |\n", key.name, key.takes.words(), key.default, key.doc);
        line.replace("|  |", "| |")
    };
    shape.keys.iter().map(row).collect()
}

#[test]
fn every_key_is_told_of_as_the_schema_has_it() {
    let text = page("docs/scenario-format.md");
    let mut wrong = String::new();
    for shape in shape::all().into_iter().filter(|shape| !shape.heading.is_empty()) {
        let told = ["##", "###", "####"]
            .iter()
            .find_map(|level| section(&text, &format!("{level} {}", shape.heading)));
        let told = told.unwrap_or_else(|| panic!("docs/scenario-format.md has no {}", shape.heading));
        let table = told.split("\n#").next().unwrap_or(told);
        let expected = shape_rows(shape);
        if rows(table) != rows(&expected) {
            let _ = write!(wrong, "{}\n{expected}\n", shape.heading);
        }
    }
    assert!(wrong.is_empty(), "docs/scenario-format.md is to have these rows:\n\n{wrong}");
}

/// Maps of a scenario in which a key is unknown, with the heading of the section that tells of the known ones.
const UNKNOWN: [(&str, &str); 22] = [
    ("## The file", "zzz: 1"),
    ("## `workspace`", "workspace: { path: w, zzz: 1 }"),
    ("## `inputs`", "inputs: { a: { zzz: 1 } }"),
    ("## `roles`", "roles: { r: { mount_plan: mount-plans/hello.json, zzz: 1 } }"),
    ("## `phases`", "phases: [{ id: p, zzz: 1 }]"),
    ("### `session`", "phases: [{ id: p, session: { zzz: 1 } }]"),
    ("### `workers`", "phases: [{ id: p, workers: { zzz: 1 } }]"),
    ("#### `pool`", "phases: [{ id: p, workers: { pool: [{ zzz: 1 }] } }]"),
    ("### `monitor`", "phases: [{ id: p, monitor: { zzz: 1 } }]"),
    ("### `for_each`", "phases: [{ id: p, for_each: { zzz: 1 } }]"),
    ("### `retry`", "phases: [{ id: p, retry: { zzz: 1 } }]"),
    ("#### `output`", "phases: [{ id: p, session: { output: { zzz: 1 } } }]"),
    ("### `issues`", "phases: [{ id: p, issues: { zzz: 1 } }]"),
    ("### `shell`", "phases: [{ id: p, shell: { zzz: 1 } }]"),
    ("### `approval`", "phases: [{ id: p, approval: { zzz: 1 } }]"),
    ("### `repeat`", "phases: [{ id: p, repeat: { zzz: 1 } }]"),
    ("### `include`", "phases: [{ id: p, include: { zzz: 1 } }]"),
    ("### Issues of a scenario", "queue: { issues: [{ zzz: 1 }] }"),
    ("## `queue`", "queue: { zzz: 1 }"),
    ("## `limits`", "limits: { zzz: 1 }"),
    ("## `prices`", "prices: { m: { zzz: 1 } }"),
    ("## `replay`", "replay: { zzz: 1 }"),
];

#[test]
fn every_key_of_a_scenario_has_its_line() {
    let text = page("docs/scenario-format.md");
    let project = Project::shipped();
    for (heading, yaml) in UNKNOWN {
        let told =
            section(&text, heading).unwrap_or_else(|| panic!("docs/scenario-format.md has no {heading}"));
        project.write("scenarios/x.yaml", &format!("{yaml}\n"));
        let found = project.runner(["check", "--json", "scenarios/x.yaml"]).run().json_lines();
        let unknown = found.iter().find(|found| found["code"] == "RUN0201").expect("an unknown key");
        let known = unknown["suggested_fix"].as_str().and_then(|help| help.strip_prefix("known here: "));
        let known: BTreeSet<String> =
            known.expect("a list of known keys").split(", ").map(str::to_owned).collect();
        let table = told.split("\n#").next().unwrap_or(told);
        let keys: BTreeSet<String> = first_cells(table);
        assert_eq!(keys, known, "the keys of {heading}");
    }
}
