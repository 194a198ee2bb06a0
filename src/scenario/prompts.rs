//! Which prompt files a scenario reaches: those it names, and all that these include.

use std::collections::BTreeMap;
use std::path::Path;

use super::paths::Paths;
use super::raw::{Located, RawScenario};
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::source::{ReadError, SourceId, Sources};
use crate::template::{Mistake, TemplateError, Templates, include_path, includes};

/// The prompts of a scenario, read and compiled.
#[derive(Debug)]
pub(super) struct Prompts {
    /// Their texts, by path from the root.
    pub(super) texts: BTreeMap<String, String>,
    /// Where each text is kept.
    pub(super) sources: BTreeMap<String, SourceId>,
    /// Those without a mistake of writing, compiled.
    pub(super) templates: Templates,
    /// Those with one, which has been reported.
    pub(super) broken: Vec<String>,
}

/// A prompt file to be read, and who asks for it.
struct Wanted {
    name: String,
    by: Asker,
}

#[derive(Clone)]
enum Asker {
    /// A key of the scenario.
    Key(crate::source::Place),
    /// An include, by its bytes.
    Include(SourceId, std::ops::Range<usize>),
    /// A computed include: any file may be meant, so none is missed.
    Nobody,
}

impl Asker {
    fn at(&self, diagnostic: Diagnostic) -> Diagnostic {
        match self {
            Self::Key(place) => diagnostic.at(place),
            Self::Include(source, span) => diagnostic.at_bytes(*source, span.clone()),
            Self::Nobody => diagnostic,
        }
    }
}

/// Every prompt that a scenario names, as written.
pub(super) fn named(raw: &RawScenario) -> Vec<&Located<String>> {
    let systems = raw.roles.iter().filter_map(|role| role.system.as_ref());
    let phases =
        raw.phases.iter().filter_map(|phase| phase.kind.as_ref()).flat_map(super::raw::RawKind::prompts);
    systems.chain(phases).collect()
}

/// Reads and compiles all prompts that a scenario reaches.
pub(super) fn read(raw: &RawScenario, paths: &Paths, sources: &mut Sources, report: &mut Report) -> Prompts {
    let mut waiting: Vec<Wanted> = Vec::new();
    for prompt in named(raw).into_iter().rev() {
        if let Some(name) = paths.inside(prompt, report) {
            waiting.push(Wanted { name, by: Asker::Key(prompt.place.clone()) });
        }
    }
    let mut found: BTreeMap<String, SourceId> = BTreeMap::new();
    let known = std::cell::OnceCell::new();
    while let Some(wanted) = waiting.pop() {
        if found.contains_key(&wanted.name) {
            continue;
        }
        let Some(source) = read_one(&wanted, (paths, &known), sources, report) else { continue };
        found.insert(wanted.name.clone(), source);
        waiting.extend(follow(&wanted.name, source, paths, sources, report));
    }
    compile(found, sources, report)
}

/// Reads a prompt; the prompts that there are, are looked for once.
fn read_one(
    wanted: &Wanted,
    (paths, known): (&Paths, &std::cell::OnceCell<Vec<String>>),
    sources: &mut Sources,
    report: &mut Report,
) -> Option<SourceId> {
    let file = paths.root.join(&wanted.name);
    match sources.read(&file, &paths.shown(&file)) {
        Ok(source) => Some(source),
        Err(_) if matches!(wanted.by, Asker::Nobody) => None,
        Err(ReadError::Absent { .. }) => {
            let known = known.get_or_init(|| listing(&paths.root));
            let diagnostic =
                Diagnostic::error(Code::MissingPrompt, format!("there is no prompt file `{}`", wanted.name))
                    .did_you_mean(closest(&wanted.name, known));
            let help = if wanted.name.contains(['\n', '{'])
                || wanted.name.contains(' ') && !wanted.name.contains('/')
            {
                "this is the path of a file; write the text into one below `prompts/`".to_owned()
            } else {
                format!("paths start at {}", paths.shown_root())
            };
            report.push(wanted.by.at(diagnostic.help(help)));
            None
        }
        Err(_) if file.is_dir() => {
            let message = format!("`{}` is a folder, and a prompt is a file", wanted.name);
            let wrong = Diagnostic::error(Code::MissingPrompt, message);
            report.push(wanted.by.at(wrong.help("name a file in it")));
            None
        }
        Err(error) => {
            report.push(wanted.by.at(Diagnostic::error(Code::UnreadableFile, error.to_string())));
            None
        }
    }
}

/// A slip in the name, or the right name without its folder.
fn closest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let within = format!("prompts/{name}");
    known
        .iter()
        .find(|file| **file == within)
        .map(String::as_str)
        .or_else(|| nearest(name, known.iter().map(String::as_str)))
}

/// What a prompt includes, last first.
fn follow(
    name: &str,
    source: SourceId,
    paths: &Paths,
    sources: &Sources,
    report: &mut Report,
) -> Vec<Wanted> {
    let mut waiting = Vec::new();
    let includes = includes(sources.text(source));
    for target in includes.names.iter().rev() {
        let span = target.at..target.at + target.name.len();
        let by = Asker::Include(source, span);
        match include_path(&target.name, name) {
            Some(path) if !target.optional || sources.has_file(&paths.root.join(&path)) => {
                let located =
                    Located::new(path, crate::source::Place::value(source, crate::source::Route::root()));
                let mut check = Report::new();
                match paths.inside(&located, &mut check) {
                    Some(name) => waiting.push(Wanted { name, by }),
                    None => report.push(by.at(Diagnostic::error(
                        Code::PathLeavesRoot,
                        format!("`{}` leads out of the project", target.name),
                    ))),
                }
            }
            Some(_) => {}
            None => report.push(
                by.at(Diagnostic::error(
                    Code::PathLeavesRoot,
                    format!("`{}` leads out of `prompts/`", target.name),
                )
                .help("a template includes only what lies below `prompts/`")),
            ),
        }
    }
    if includes.computed {
        let all = listing(&paths.root).into_iter().rev();
        waiting.extend(all.map(|name| Wanted { name, by: Asker::Nobody }));
    }
    waiting
}

fn compile(found: BTreeMap<String, SourceId>, sources: &Sources, report: &mut Report) -> Prompts {
    let texts: BTreeMap<String, String> =
        found.iter().map(|(name, source)| (name.clone(), sources.text(*source).to_owned())).collect();
    let mut broken = Vec::new();
    let templates = Templates::new(&texts).unwrap_or_else(|errors| {
        for error in &errors {
            report.push(diagnostic(error, &found, sources));
            broken.push(error.template.clone());
        }
        let sound = texts.iter().filter(|(name, _)| !broken.contains(name));
        Templates::new(&sound.map(|(name, text)| (name.clone(), text.clone())).collect())
            .expect("what is left compiled a moment ago")
    });
    Prompts { texts, sources: found, templates, broken }
}

/// A mistake in a prompt, shown in its file.
pub(super) fn diagnostic(
    error: &TemplateError,
    found: &BTreeMap<String, SourceId>,
    sources: &Sources,
) -> Diagnostic {
    let code = match error.mistake {
        Mistake::Syntax => Code::TemplateSyntax,
        Mistake::MissingTemplate => Code::MissingPrompt,
        Mistake::UnknownName | Mistake::Failure => Code::TemplateFailure,
    };
    let diagnostic =
        Diagnostic::error(code, error.message.clone()).did_you_mean(error.did_you_mean.as_deref());
    match found.get(&error.template) {
        Some(source) => {
            let span = error.range.clone().unwrap_or_else(|| sources.line(*source, error.line));
            diagnostic.at_bytes(*source, span)
        }
        None => diagnostic,
    }
}

/// Deepest folder below `prompts/` that is looked into.
const LISTING_DEPTH: usize = 8;

/// Most prompt files that are looked at: far more than a project has.
const LISTING_FILES: usize = 2_000;

/// The files below `prompts/`, by path from the root, sorted.
fn listing(root: &Path) -> Vec<String> {
    fn walk(folder: &Path, name: &str, depth: usize, found: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Some(file) = entry.file_name().to_str().map(|file| format!("{name}/{file}")) else {
                continue;
            };
            if found.len() >= LISTING_FILES {
                return;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth > 0 => walk(&entry.path(), &file, depth - 1, found),
                Ok(kind) if kind.is_file() => found.push(file),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(&root.join("prompts"), "prompts", LISTING_DEPTH, &mut found);
    found
}
