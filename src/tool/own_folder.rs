//! How a worker comes by a folder of its own: a copy of the workspace as it is then, or an empty one.
//!
//! Everything here blocks; call it where that hurts nobody.

use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, OpenOptions};

use super::snapshot::{DEPTH, open_file};
use super::workspace::{PathError, RESERVED, RESULTS, WORKERS, WorkPath, Workspace, open_dir, plain};

/// What a new folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// What the workspace holds, but for what is the runner's and the folders of other workers.
    Copy,
}

/// Makes a folder of a workspace for somebody who works in it; one that is there stays as it is. A copy is there whole or not
/// at all.
///
/// # Errors
/// A link leads out, something else stands there, something cannot be copied, or the system refuses.
pub fn make(workspace: &Workspace, folder: &WorkPath, content: Content) -> Result<(), PathError> {
    if content == Content::Empty {
        return workspace.make(folder);
    }
    if workspace.below(folder).is_ok() {
        return Ok(());
    }
    let (above, name) = folder.split().expect("a copy of the workspace lies in a folder of it");
    workspace.make(&above)?;
    let above = workspace.below(&above)?;
    let failed = |path: &str, error: &io::Error| PathError::System {
        path: path.to_owned(),
        reason: workspace.show(&plain(error)),
    };
    keep_out_of_git(workspace).map_err(|error| failed(WORKERS, &error))?;
    // Under its name only when it is whole: a run that is killed meanwhile begins it anew.
    let part = format!("{name}.part");
    let begun = || {
        match above.dir().remove_dir_all(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => above.dir().create_dir(&part)?,
        }
        open_dir(above.dir(), &part)
    };
    let into = begun().map_err(|error| failed(&part, &error))?;
    let copy = Copying { from: workspace.root(), to: above.root().join(name) };
    copy.folder(workspace.dir(), &into, "", 0).map_err(|(path, error)| failed(&path, &error))?;
    above.dir().rename(&part, above.dir(), name).map_err(|error| failed(name, &error))
}

/// The copies are no part of a repository that the workspace may be.
fn keep_out_of_git(workspace: &Workspace) -> io::Result<()> {
    open_dir(workspace.dir(), WORKERS)?.write(".gitignore", "*\n")
}

/// Where a copy is made of, and where it will stand: a link that names the one by its absolute path names the other in it.
struct Copying<'a> {
    from: &'a Path,
    to: PathBuf,
}

/// What could not be copied, and what the system said.
type Failed = (String, io::Error);

impl Copying<'_> {
    fn folder(&self, from: &Dir, to: &Dir, prefix: &str, depth: usize) -> Result<(), Failed> {
        let at = |path: &str| {
            let path = path.to_owned();
            move |error: io::Error| (path, error)
        };
        if depth > DEPTH {
            return Err((prefix.to_owned(), io::Error::other("folders lie too deep within each other")));
        }
        for entry in from.entries().map_err(at(prefix))? {
            let name = entry.map_err(at(prefix))?.file_name();
            let shown = name.to_string_lossy();
            let is_the_runners = RESERVED.contains(&shown.as_ref()) || shown == WORKERS;
            if shown == RESULTS || prefix.is_empty() && is_the_runners {
                continue;
            }
            let path = format!("{prefix}{shown}");
            let metadata = match from.symlink_metadata(&name) {
                // It went away meanwhile: it is not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(at(&path))?,
            };
            if metadata.is_dir() {
                let next = open_dir(from, &name).map_err(at(&path))?;
                to.create_dir(&name).map_err(at(&path))?;
                let made = open_dir(to, &name).map_err(at(&path))?;
                self.folder(&next, &made, &format!("{path}/"), depth + 1)?;
                to.set_permissions(&name, metadata.permissions()).map_err(at(&path))?;
            } else if metadata.is_symlink() {
                let target = from.read_link_contents(&name).map_err(at(&path))?;
                let target = match target.strip_prefix(self.from) {
                    Ok(inside) => self.to.join(inside),
                    Err(_) => target,
                };
                to.symlink_contents(target, &name).map_err(at(&path))?;
            } else if metadata.is_file() {
                copy_file(from, to, name.as_ref()).map_err(at(&path))?;
            }
        }
        Ok(())
    }
}

/// Copies a file with its permissions and the time of its last change, by which tools tell what is to be built again.
fn copy_file(from: &Dir, to: &Dir, name: &Path) -> io::Result<()> {
    let mut source = open_file(from, name)?.into_std();
    let metadata = source.metadata()?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut copy = to.open_with(name, &options)?.into_std();
    io::copy(&mut source, &mut copy)?;
    copy.set_permissions(metadata.permissions())?;
    copy.set_modified(metadata.modified()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::secret::Scrubber;

    fn path(workspace: &Workspace, path: &str) -> WorkPath {
        workspace.read_path(&WorkPath::top(), path).unwrap()
    }

    #[test]
    fn a_copy_is_the_workspace_without_what_is_not_the_workers() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (name, text) in [
            ("src/run.sh", "run"),
            (".git/HEAD", "main"),
            (".beads/issues.db", "queue"),
            (".runner-results/p/s.txt", "result"),
            ("src/.runner-results/p/s.txt", "result"),
            (".runner-workers/work/a-1/theirs.txt", "theirs"),
            (".runner-workers/work/b-1.part/begun.txt", "begun"),
            (".runner-workspace", "mark"),
        ] {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), text).unwrap();
        }
        std::fs::set_permissions(root.join("src/run.sh"), std::fs::Permissions::from_mode(0o750)).unwrap();
        std::fs::File::open(root.join("src/run.sh")).unwrap().set_modified(old).unwrap();
        symlink(root.join("src/run.sh"), root.join("absolute")).unwrap();
        symlink("src", root.join("relative")).unwrap();
        symlink("/etc", root.join("away")).unwrap();
        nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();

        let workspace = Workspace::open(&root, Scrubber::default()).unwrap();
        let folder = path(&workspace, ".runner-workers/work/b-1");
        make(&workspace, &folder, Content::Copy).unwrap();
        let made = root.join(".runner-workers/work/b-1");
        let mut names: Vec<_> = std::fs::read_dir(&made)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [".git", "absolute", "away", "relative", "src"]);
        assert!(!made.join("src/.runner-results").exists());
        let metadata = std::fs::metadata(made.join("src/run.sh")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o750);
        assert_eq!(metadata.modified().unwrap(), old);
        assert_eq!(std::fs::read_link(made.join("absolute")).unwrap(), made.join("src/run.sh"));
        assert_eq!(std::fs::read_link(made.join("relative")).unwrap(), Path::new("src"));
        assert!(!root.join(".runner-workers/work/b-1.part").exists());
        assert_eq!(std::fs::read_to_string(root.join(".runner-workers/.gitignore")).unwrap(), "*\n");

        std::fs::write(made.join("mine.txt"), "mine").unwrap();
        std::fs::write(root.join("new.txt"), "new").unwrap();
        make(&workspace, &folder, Content::Copy).unwrap();
        assert!(made.join("mine.txt").exists() && !made.join("new.txt").exists(), "it stays as it is");
    }

    #[test]
    fn a_folder_is_made_where_no_link_leads_out() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let workspace = Workspace::open(dir.path(), Scrubber::default()).unwrap();
        make(&workspace, &path(&workspace, "docs/api"), Content::Empty).unwrap();
        make(&workspace, &path(&workspace, "docs/api"), Content::Empty).unwrap();
        assert!(dir.path().join("docs/api").is_dir());
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(matches!(
            make(&workspace, &path(&workspace, "file"), Content::Empty),
            Err(PathError::NotADirectory { .. })
        ));
        symlink(outside.path(), dir.path().join("out")).unwrap();
        let refused = make(&workspace, &path(&workspace, "out/new"), Content::Empty);
        assert!(matches!(refused, Err(PathError::Outside { .. })), "{refused:?}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
