//! What a mount plan file says: which modules a session is made of, checked against what is known of each.
//!
//! Plans of Amplifier load as they are: JSON, YAML or TOML, `session.orchestrator` and `session.context` as a string
//! (configured by the `config` of the top-level key of that name) or as a map, `source` accepted and not needed, since
//! every module is built in. All that is wrong is said in one pass.

mod agents;
mod config;
mod env_file;
mod read;
mod schema;
mod substitute;

use std::path::Path;

use crate::diagnostic::{Code, Diagnostic, Report};
use crate::plan::{ModuleInfo, MountPlan, Variables};
use crate::source::{Format, Place, ReadError, Route, Sources};

pub use env_file::{EnvFileError, read_env_file};
pub use schema::schema;

/// Reads and checks a mount plan. `file` is where it is, `shown` how people know it. `None` when the report got an error.
pub fn load(
    file: MountPlanFile<'_>,
    sources: &mut Sources,
    known: Known<'_>,
    report: &mut Report,
) -> Option<MountPlan> {
    let shown = file.shown.display();
    if Format::of(file.shown).is_none() {
        let message = format!("{shown} has no ending that says how it is written");
        report.push(
            Diagnostic::error(Code::UnknownFormat, message)
                .help("name it .json, .yaml, .yml or .toml, and write it so"),
        );
        return None;
    }
    let source = match sources.read(file.file, file.shown) {
        Ok(source) => source,
        Err(error @ ReadError::Absent { .. }) => {
            report.push(
                Diagnostic::error(Code::MissingMountPlan, error.to_string())
                    .help("paths start at the project root; correct the path or make the file"),
            );
            return None;
        }
        Err(error) => {
            report.push(Diagnostic::error(Code::UnreadableFile, error.to_string()));
            return None;
        }
    };
    let tree = match sources.parse(source) {
        Ok(tree) => tree,
        Err(errors) => {
            errors.into_iter().for_each(|error| report.push(Diagnostic::syntax(source, error)));
            return None;
        }
    };
    if tree.is_null() || tree.as_map().is_some_and(<[_]>::is_empty) {
        report.push(
            Diagnostic::error(Code::EmptyFile, format!("{shown} says nothing"))
                .at(&Place::value(source, Route::root()))
                .help("a mount plan needs `session` (orchestrator, context) and `providers`"),
        );
        return None;
    }
    read::Reader::new(source, known, report).plan(&tree, file.shown)
}

/// A mount plan file by both its paths.
#[derive(Debug, Clone, Copy)]
pub struct MountPlanFile<'a> {
    /// Where it is: an absolute path.
    pub file: &'a Path,
    /// How people know it: relative to the project root.
    pub shown: &'a Path,
}

/// What a mount plan is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Every module there is.
    pub catalogue: &'a [ModuleInfo],
    /// The environment, for `${VAR}`.
    pub variables: &'a Variables,
}
