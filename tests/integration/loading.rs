//! What loading a scenario promises for any bytes at all. The fuzz target in `fuzz/` asks the same.
//!
//! * It never panics: it is a plan or a report with errors, and never both.
//! * What it reports can be shown, to people and to programs, and obeys no terminal.
//! * What can be read as values can be converted, and says the same then, or the format that cannot say it is named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runner::diagnostic::Look;
use runner::plan::{ModuleInfo, ModuleKind, Variables};
use runner::scenario::{LoadRequest, load};
use runner::source::{Format, Others, Sources, Unwritable};

/// The modules that the mount plan below names.
const CATALOGUE: [ModuleInfo; 4] = [
    module("loop-basic", ModuleKind::Orchestrator, &[]),
    module("context-simple", ModuleKind::Context, &[]),
    module("provider-mock", ModuleKind::Provider, &[]),
    module("tool-issue", ModuleKind::Tool, &["issue_manager"]),
];

const fn module(name: &'static str, kind: ModuleKind, tools: &'static [&'static str]) -> ModuleInfo {
    ModuleInfo { name, aliases: &[], kind, summary: "", keys: &[], tools, credential: None }
}

/// A folder that is not there; its files are the ones that are given.
const PROJECT: &str = "/nowhere/project";

/// What scenarios of the tests refer to.
const FILES: [(&str, &str); 6] = [
    ("mount-plans/worker.json", include_str!("../inputs/valid/mount-plans/worker.json")),
    ("prompts/plan.md", include_str!("../inputs/valid/prompts/plan.md")),
    ("prompts/parts/tone.md", include_str!("../inputs/valid/prompts/parts/tone.md")),
    ("prompts/system.md", include_str!("../inputs/valid/prompts/system.md")),
    ("prompts/watch.md", include_str!("../inputs/valid/prompts/watch.md")),
    ("prompts/work.md", include_str!("../inputs/valid/prompts/work.md")),
];

/// Panics where a promise is broken.
pub(crate) fn hold(bytes: &[u8]) {
    // Other bytes are refused where a file is read, which has tests of its own.
    let text = String::from_utf8_lossy(bytes);
    for ending in ["yaml", "toml", "json"] {
        hold_as(&text, ending);
    }
}

fn hold_as(text: &str, ending: &str) {
    let root = Path::new(PROJECT);
    let name = PathBuf::from(format!("a.{ending}"));
    let mut files: BTreeMap<PathBuf, String> =
        FILES.iter().map(|(path, text)| (root.join(path), (*text).to_owned())).collect();
    files.insert(root.join(&name), text.to_owned());
    let mut sources = Sources::pinned(files, Others::Absent);
    let variables = Variables::from([("RUNNER_VAR_GOAL".to_owned(), "a goal".to_owned())]);
    let request = LoadRequest {
        file: name.clone(),
        working_dir: root.to_owned(),
        home: None,
        inputs: BTreeMap::new(),
        variables: &variables,
        catalogue: &CATALOGUE,
        tool_names: Vec::new(),
        changes: Vec::new(),
        workspace: None,
    };
    let loaded = load(&request, &mut sources);
    assert_eq!(loaded.plan.is_none(), loaded.report.has_errors(), "a plan exactly if there is no error");
    let said = loaded.report.render(&sources, Look::Plain);
    let hidden = said.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(hidden, None, "what is shown obeys no terminal: {said:?}");
    assert_eq!(loaded.report.to_json(&sources).len(), loaded.report.diagnostics().len());
    let commands = loaded.report.to_github(&sources);
    assert_eq!(commands.lines().count(), loaded.report.diagnostics().len(), "a line each: {commands}");
    convert(text, &name);
}

fn convert(text: &str, name: &Path) {
    let mut sources = Sources::new();
    let id = sources.add(name, text);
    if sources.parse(id).is_err() {
        return;
    }
    for to in [Format::Yaml, Format::Toml, Format::Json] {
        match sources.convert(id, to) {
            Ok(_) => {}
            Err(Unwritable::Changed) => panic!("{to:?} does not say the same as {text:?}"),
            Err(_) => assert_eq!(to, Format::Toml, "only TOML has things that it cannot say"),
        }
    }
}

#[test]
fn the_promises_hold_for_the_files_of_the_tests_and_for_all_that_begin_like_them() {
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inputs");
    let mut read = 0;
    for folder in ["valid", "invalid", "mount-plans"] {
        for entry in std::fs::read_dir(inputs.join(folder)).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if Format::of(&path).is_none() {
                continue;
            }
            let bytes = std::fs::read(&path).expect("readable");
            hold(&bytes);
            // A prime, so that cuts fall everywhere in the course of the files.
            (0..bytes.len()).step_by(97).for_each(|end| hold(&bytes[..end]));
            read += 1;
        }
    }
    assert!(read > 60, "{read} files");
}
