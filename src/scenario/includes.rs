//! What an `include` brings: the phases and roles of another scenario, put among those of the one that names it.

use std::path::{Path, PathBuf};

use super::lower::lower;
use super::paths::{Paths, project_root};
use super::raw::{Located, RawIncluded, RawKind, RawScenario};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::limit;
use crate::source::{Format, Place, ReadError, SourceId, Sources};

/// Follows every include, also those of included files. What cannot be read is reported, and brings nothing.
pub(super) fn follow(
    raw: &mut RawScenario,
    file: &Path,
    paths: &Paths,
    sources: &mut Sources,
    report: &mut Report,
) {
    let mut followed = 0;
    let mut at = 0;
    while at < raw.phases.len() {
        if let Some(RawKind::Include(include)) = &raw.phases[at].kind
            && let Some(written) = include.file.clone()
        {
            followed += 1;
            if followed > limit::INCLUDES {
                let message = format!("more than {} scenarios are included", limit::INCLUDES);
                report.push(Diagnostic::error(Code::BadInclude, message).at(&written.place));
                return;
            }
            let open = open_files(raw, at, file, paths);
            if let Some(brought) = read(&written, &open, paths, sources, report) {
                put_in(raw, at, brought);
            }
        }
        at += 1;
    }
}

/// A scenario that is included.
struct Brought {
    /// From the root.
    name: String,
    scenario: RawScenario,
}

/// The files that a phase stands in, itself left out.
fn open_files(raw: &RawScenario, at: usize, file: &Path, paths: &Paths) -> Vec<PathBuf> {
    let mut open = vec![file.to_owned()];
    let mut next = raw.phases[at].within;
    while let Some(outer) = next {
        if let Some(RawKind::Include(include)) = &raw.phases[outer].kind {
            open.extend(include.of.iter().map(|of| paths.root.join(&of.file)));
        }
        next = raw.phases[outer].within;
    }
    open
}

fn read(
    written: &Located<String>,
    open: &[PathBuf],
    paths: &Paths,
    sources: &mut Sources,
    report: &mut Report,
) -> Option<Brought> {
    let name = paths.inside(written, report)?;
    let file = paths.root.join(&name);
    let wrong = |message: String| Diagnostic::error(Code::BadInclude, message).at(&written.place);
    if open.contains(&file) {
        report.push(
            wrong(format!("`{name}` includes itself"))
                .help("phases that are done again and again are a `repeat`"),
        );
        return None;
    }
    if Format::of(&file).is_none() {
        report.push(
            wrong(format!("`{name}` does not end as a scenario does"))
                .help("name a file that ends in `.yaml`, `.yml`, `.json` or `.toml`"),
        );
        return None;
    }
    if project_root(&file) != paths.root && file.is_file() {
        report.push(wrong(format!("`{name}` belongs to another project")).help(format!(
            "its paths start at {}; included files share one project root",
            paths.shown(&project_root(&file)).display()
        )));
        return None;
    }
    let source = match sources.read(&file, &paths.shown(&file)) {
        Ok(source) => source,
        Err(ReadError::Absent { .. }) => {
            let diagnostic = wrong(format!("there is no scenario `{name}`"));
            report.push(diagnostic.help(format!("paths start at {}", paths.shown_root())));
            return None;
        }
        Err(error) => {
            report.push(Diagnostic::error(Code::UnreadableFile, error.to_string()).at(&written.place));
            return None;
        }
    };
    let scenario = parse(source, sources, report)?;
    Some(Brought { name, scenario })
}

fn parse(source: SourceId, sources: &mut Sources, report: &mut Report) -> Option<RawScenario> {
    match sources.parse(source) {
        Ok(tree) => {
            let tree = tree.clone();
            lower(&tree, source, report)
        }
        Err(errors) => {
            for error in errors {
                report.push(Diagnostic::syntax(source, error));
            }
            None
        }
    }
}

/// Puts the phases and roles of a scenario among the others, each role under the name of the phase.
fn put_in(raw: &mut RawScenario, at: usize, brought: Brought) {
    let prefix = full_name(raw, at);
    let first = raw.phases.len();
    let Brought { name, scenario } = brought;
    let RawKind::Include(include) = raw.phases[at].kind.as_mut().expect("it has just been looked at") else {
        unreachable!("only an include is followed");
    };
    include.of = Some(RawIncluded {
        file: name,
        name: scenario.name,
        description: scenario.description,
        inputs: scenario.inputs,
        limits: scenario.limits,
        expect: scenario.expect,
    });
    for mut phase in scenario.phases {
        phase.within = Some(phase.within.map_or(at, |within| within + first));
        for role in phase.kind.iter_mut().flat_map(RawKind::roles_mut) {
            role.value = format!("{prefix}.{}", role.value);
        }
        raw.phases.push(phase);
    }
    for mut role in scenario.roles {
        role.id.value = format!("{prefix}.{}", role.id.value);
        raw.roles.push(role);
    }
}

/// The ids of a phase and of those it stands in; a phase without an id is named after its place.
fn full_name(raw: &RawScenario, at: usize) -> String {
    let phase = &raw.phases[at];
    let own = phase.id.as_ref().map_or_else(|| position(&phase.place), |id| id.value.clone());
    match phase.within {
        Some(outer) => format!("{}.{own}", full_name(raw, outer)),
        None => own,
    }
}

fn position(place: &Place) -> String {
    place.route.to_string()
}
