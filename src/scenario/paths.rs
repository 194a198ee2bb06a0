//! Where the paths of a scenario start, and what keeps them inside: one root for all of them.

use std::path::{Component, Path, PathBuf};

use super::raw::Located;
use crate::diagnostic::{Code, Diagnostic, Report};

/// The project root of a scenario file, given absolute: the nearest folder above it that has `prompts/` or
/// `mount-plans/`, else its own.
pub fn project_root(file: &Path) -> PathBuf {
    let file = normal(file);
    let folder = file.parent().unwrap_or(&file);
    let holds = |folder: &&Path| folder.join("prompts").is_dir() || folder.join("mount-plans").is_dir();
    folder.ancestors().find(holds).unwrap_or(folder).to_owned()
}

/// The folders that paths are taken from.
#[derive(Debug)]
pub(super) struct Paths {
    /// The nearest folder above the scenario that has `prompts/` or `mount-plans/`, else the scenario's own.
    pub(super) root: PathBuf,
    working_dir: PathBuf,
    home: Option<PathBuf>,
}

impl Paths {
    /// The paths of a scenario file.
    pub(super) fn new(file: &Path, working_dir: &Path, home: Option<&Path>) -> Self {
        Self { root: project_root(file), working_dir: working_dir.to_owned(), home: home.map(Path::to_owned) }
    }

    /// How a file is shown: from the working directory where it lies below it.
    pub(super) fn shown(&self, file: &Path) -> PathBuf {
        file.strip_prefix(&self.working_dir).unwrap_or(file).to_owned()
    }

    /// A path that may not leave the root, relative to it, with `/` between its parts.
    pub(super) fn inside(&self, path: &Located<String>, report: &mut Report) -> Option<String> {
        let inside = relative(&path.value).filter(|inside| self.stays(inside));
        if inside.is_none() {
            report.push(
                Diagnostic::error(
                    Code::PathLeavesRoot,
                    format!("`{}` is not a path inside the project", path.value),
                )
                .at(&path.place)
                .help(format!(
                    "paths start at {} and stay below it; only `workspace` may lie elsewhere",
                    self.shown_root()
                )),
            );
        }
        inside
    }

    /// The root as it is shown.
    pub(super) fn shown_root(&self) -> String {
        let shown = self.shown(&self.root);
        if shown.as_os_str().is_empty() {
            "the working directory".to_owned()
        } else {
            shown.display().to_string()
        }
    }

    /// Whether a path that stays inside as written also does so on the disk, where links may lead elsewhere.
    fn stays(&self, inside: &str) -> bool {
        match (self.root.join(inside).canonicalize(), self.root.canonicalize()) {
            (Ok(file), Ok(root)) => file.starts_with(root),
            _ => true,
        }
    }

    /// A workspace: `~/…`, absolute, or from the root, and it may leave it.
    pub(super) fn workspace(&self, path: &Located<String>, report: &mut Report) -> Option<PathBuf> {
        let written = Path::new(&path.value);
        let Ok(rest) = written.strip_prefix("~") else {
            return Some(normal(&self.root.join(written)));
        };
        if self.home.is_none() {
            report.push(
                Diagnostic::error(Code::PathLeavesRoot, "`~` means nothing here: there is no home directory")
                    .at(&path.place)
                    .help("write the path out"),
            );
        }
        self.home.as_ref().map(|home| normal(&home.join(rest)))
    }
}

/// A relative path without `.` and `..`; `None` if it is absolute, starts at home or climbs out.
pub(super) fn relative(path: &str) -> Option<String> {
    if path.starts_with('~') || path.contains('\\') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// A path without `.` and `..`, by its text alone.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_do_not_climb_out() {
        assert_eq!(relative("./prompts//work.md").as_deref(), Some("prompts/work.md"));
        assert_eq!(relative("a/../prompts/x.md").as_deref(), Some("prompts/x.md"));
        for wrong in ["../x", "a/../../x", "/etc/passwd", "~/x", "..", ".", "", "..\\x"] {
            assert_eq!(relative(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_root_is_the_nearest_folder_that_has_prompts() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a/b");
        std::fs::create_dir_all(&deep).expect("made");
        let root = |file: &Path| Paths::new(file, folder.path(), None).root;
        assert_eq!(root(&deep.join("s.yaml")), deep);
        std::fs::create_dir_all(folder.path().join("mount-plans")).expect("made");
        assert_eq!(root(&deep.join("s.yaml")), folder.path());
        std::fs::create_dir_all(folder.path().join("a/prompts")).expect("made");
        assert_eq!(root(&deep.join("s.yaml")), folder.path().join("a"));
    }

    #[test]
    fn a_link_does_not_lead_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("prompts")).expect("made");
        std::fs::write(folder.path().join("secret"), "x").expect("written");
        std::os::unix::fs::symlink(folder.path().join("secret"), root.join("prompts/x.md")).expect("linked");
        let paths = Paths::new(&root.join("s.yaml"), &root, None);
        assert!(!paths.stays("prompts/x.md"));
        assert!(paths.stays("prompts/absent.md"));
    }
}
