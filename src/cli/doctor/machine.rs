//! What is there on this machine, whatever scenario runs: programs, the sandbox, folders, `.env`, credentials.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::Finding;
use crate::cli::launch::shown;
use crate::cli::surroundings::Surroundings;
use crate::mount_plan::read_env_file;
use crate::plan::Variables;
use crate::tool::{bash, sandbox, web};

/// The file that adds variables.
pub(super) struct EnvFile {
    path: PathBuf,
    shown: String,
    state: Result<Option<Variables>, String>,
}

impl EnvFile {
    /// Reads the one that is named, else that of the project.
    pub(super) fn read(named: Option<&Path>, root: &Path, surroundings: &Surroundings) -> Self {
        let path = named.map_or_else(|| root.join(".env"), |named| surroundings.working_dir.join(named));
        let state = match std::fs::read_to_string(&path) {
            Ok(text) => read_env_file(&text).map(Some).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(None),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        Self { shown: shown(&path, &surroundings.working_dir), path, state }
    }

    /// Why it cannot be used.
    pub(super) fn error(&self) -> Option<&str> {
        self.state.as_ref().err().map(String::as_str)
    }

    /// Whether it sets a variable to something.
    fn sets(&self, name: &str) -> bool {
        let variables = self.state.as_ref().ok().and_then(Option::as_ref);
        variables.and_then(|variables| variables.get(name)).is_some_and(|value| !value.trim().is_empty())
    }

    fn finding(&self) -> Finding {
        let subject = self.shown.as_str();
        match &self.state {
            Err(error) => Finding::missing(subject, error).help("correct it; its values are never printed"),
            Ok(None) => Finding::note(subject, "there is none; the environment alone sets variables"),
            Ok(Some(variables)) => {
                let count = match variables.len() {
                    1 => "1 variable".to_owned(),
                    n => format!("{n} variables"),
                };
                match std::fs::metadata(&self.path).map(|data| data.permissions().mode() & 0o777) {
                    Ok(mode) if mode & 0o077 != 0 => {
                        Finding::note(subject, &format!("{count}; others may read it (mode {mode:o})"))
                            .help(format!("chmod 600 {subject}"))
                    }
                    _ => Finding::ok(subject, &format!("{count}; only you may read it")),
                }
            }
        }
    }

    /// Where a variable is set, in words.
    pub(super) fn origin(&self, name: &str, surroundings: &Surroundings) -> Option<String> {
        if surroundings.variable(name).is_some_and(|value| !value.trim().is_empty()) {
            Some("set in the environment".to_owned())
        } else if self.sets(name) && !surroundings.variables.contains_key(name) {
            Some(format!("set in {}", self.shown))
        } else {
            None
        }
    }
}

/// What every run uses.
pub(super) fn findings(env_file: &EnvFile, root: &Path, surroundings: &Surroundings) -> Vec<Finding> {
    vec![
        shell(&surroundings.variables),
        program("git", "git is used only by agents that call it", &surroundings.variables),
        match sandbox::is_there() {
            true => Finding::ok("sandbox", "the kernel has Landlock"),
            false => {
                Finding::note("sandbox", "this kernel has no Landlock; tool-bash runs without a sandbox")
            }
        },
        writable("project", root, surroundings),
        env_file.finding(),
    ]
}

fn shell(variables: &Variables) -> Finding {
    match bash::find_shell(variables) {
        Some(path) => Finding::ok("shell", &path.display().to_string()),
        None => Finding::note("shell", "there is no bash or sh; tool-bash is absent"),
    }
}

fn program(name: &str, why: &str, variables: &Variables) -> Finding {
    match found(Path::new(name), variables) {
        Some(path) => Finding::ok(name, &path.display().to_string()),
        None => Finding::note(name, &format!("not found; {why}")),
    }
}

/// A program, looked for where a shell would; one with a slash in its name is where it says.
pub(super) fn found(program: &Path, variables: &Variables) -> Option<PathBuf> {
    let path = variables.get("PATH").map_or("", String::as_str);
    let folders =
        path.split(':').filter(|folder| !folder.is_empty()).map(|folder| Path::new(folder).join(program));
    let candidates: Vec<PathBuf> = match program.components().count() {
        1 => folders.collect(),
        _ => vec![program.to_owned()],
    };
    candidates.into_iter().find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
}

/// A folder that a run writes to, or the nearest one above it that there is.
pub(super) fn writable(subject: &str, folder: &Path, surroundings: &Surroundings) -> Finding {
    let name = match shown(folder, &surroundings.working_dir) {
        text if text.is_empty() => "this folder".to_owned(),
        text => text,
    };
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    let state = if !existing.is_dir() {
        Err(format!("{} is a file, not a folder", shown(existing, &surroundings.working_dir)))
    } else if access(existing, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        Err(format!("you may not write to {}", existing.display()))
    } else {
        Ok(())
    };
    match state {
        Ok(()) if existing == folder => Finding::ok(subject, &format!("{name} can be written")),
        Ok(()) => Finding::ok(subject, &format!("{name} can be made")),
        Err(why) => Finding::missing(subject, &format!("{name} cannot be used: {why}")),
    }
}

/// Every credential that some module takes, whether or not anything needs it.
pub(super) fn credentials(env_file: &EnvFile, surroundings: &Surroundings) -> Vec<Finding> {
    let catalogue = surroundings.registry.catalogue();
    let of_models = catalogue.iter().filter_map(|info| Some(info.credential?.variable));
    let names: BTreeSet<&str> = of_models.chain(web::VARIABLES).collect();
    let told = names.into_iter().map(|name| match env_file.origin(name, surroundings) {
        Some(origin) => Finding::ok(name, &origin),
        None => Finding::note(name, "not set"),
    });
    told.collect()
}
