//! What may a command write to? With Landlock the kernel answers: the workspace, and the folder for temporary files.
//!
//! A thread puts the restriction on itself, starts the command, and ends: what it has started can never take it off.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, path_beneath_rules,
};
use tokio::process::{Child, Command};

/// The accesses that are held back. Later versions add some that have nothing to do with files' contents.
const VERSION: ABI = ABI::V3;

/// Devices that programs write to without writing anything down.
const DEVICES: &str = "/dev";

/// What a mount plan says of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// None.
    Off,
    /// One where the kernel has it.
    Where,
    /// One, or no run.
    Required,
}

impl Wanted {
    /// Reads the word for it.
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "off" => Self::Off,
            "on" => Self::Where,
            "required" => Self::Required,
            _ => return None,
        })
    }

    /// What people are told of it where there is none: an error, or a notice.
    ///
    /// # Errors
    /// It is required.
    pub fn without(self) -> Result<Option<&'static str>, &'static str> {
        match self {
            Self::Off => Ok(None),
            Self::Where => Ok(Some(
                "tool-bash: this kernel has no Landlock, so the sandbox is absent; commands may write wherever you may",
            )),
            Self::Required => Err(
                "tool-bash: the sandbox is required, but this kernel has no Landlock (Linux 5.13 or later, with landlock among its security modules); set `sandbox` to on or off to run without",
            ),
        }
    }
}

/// Whether the kernel has it.
pub fn is_there() -> bool {
    let probe = || restrict(&[]).is_ok_and(|status| status != RulesetStatus::NotEnforced);
    // The thread that asks is restricted from then on, and ends.
    std::thread::scope(|scope| scope.spawn(probe).join()).unwrap_or(false)
}

/// Where commands may write.
#[derive(Debug, Clone)]
pub(super) struct Sandbox {
    writable: Vec<PathBuf>,
}

impl Sandbox {
    /// A sandbox in which the workspace and the folder for temporary files may be written.
    pub(super) fn new(workspace: &Path, temporary: &Path) -> Self {
        Self { writable: vec![workspace.to_owned(), temporary.to_owned(), PathBuf::from(DEVICES)] }
    }

    /// Starts a command in it, or as it is where the kernel has none.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let runtime = tokio::runtime::Handle::current();
        let start = || {
            let _inside = runtime.enter();
            restrict(&self.writable).map_err(io::Error::other)?;
            command.spawn()
        };
        let started = std::thread::scope(|scope| scope.spawn(start).join());
        started.unwrap_or_else(|_| Err(io::Error::other("the thread that starts it has failed")))
    }
}

/// Takes from this thread, and all it starts, the right to write anywhere else.
fn restrict(writable: &[PathBuf]) -> Result<RulesetStatus, RulesetError> {
    let writes = AccessFs::from_write(VERSION);
    let ruleset = Ruleset::default().handle_access(writes)?.create()?;
    Ok(ruleset.add_rules(path_beneath_rules(writable, writes))?.restrict_self()?.ruleset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_it_is_told_of_or_refused() {
        assert_eq!(Wanted::Off.without(), Ok(None));
        assert!(Wanted::Where.without().unwrap().is_some_and(|notice| notice.contains("no Landlock")));
        assert!(Wanted::Required.without().unwrap_err().contains("set `sandbox` to on or off"));
        assert_eq!(Wanted::from_text("maybe"), None);
    }

    #[tokio::test]
    async fn only_what_is_listed_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, tmp) = (folder.path().join("inside"), folder.path().join("tmp"));
        [&inside, &tmp].into_iter().for_each(|path| std::fs::create_dir(path).unwrap());
        let sandbox = Sandbox::new(&inside, &tmp);
        let script =
            "echo a > inside/a; echo b > tmp/b; echo c > /dev/null || exit 1; echo d > d; cat inside/a";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).current_dir(folder.path()).stdout(std::process::Stdio::piped());
        let output = sandbox.spawn(&mut command).unwrap().wait_with_output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a\n");
        assert!(tmp.join("b").exists());
        assert_eq!(folder.path().join("d").exists(), !is_there(), "where there is Landlock, it is refused");
        std::fs::write(folder.path().join("e"), "").expect("the test itself is not restricted");
    }
}
