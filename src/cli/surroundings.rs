//! What the program is given of the world, read once: environment, folders, terminal. And how it speaks.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use super::arguments::ColorChoice;
use crate::diagnostic::Look;
use crate::plan::Variables;
use crate::session::Registry;

/// What the program is given.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) variables: Variables,
    pub(super) working_dir: PathBuf,
    pub(super) home: Option<PathBuf>,
    pub(super) color: ColorChoice,
    /// The modules that mount plans may name.
    pub(super) registry: Registry,
}

impl Surroundings {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment and the working directory"
    )]
    pub(super) fn read(color: ColorChoice, registry: Registry) -> Result<Self, String> {
        let text = |text: std::ffi::OsString| text.into_string().ok();
        let variables: Variables =
            std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect();
        let working_dir =
            std::env::current_dir().map_err(|error| format!("cannot find the working directory: {error}"))?;
        let home = variables.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Ok(Self { variables, working_dir, home, color, registry })
    }

    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a CI system runs the program.
    pub(super) fn is_ci(&self) -> bool {
        self.variable("CI").is_some_and(|value| value != "false" && value != "0")
    }

    /// Whether GitHub Actions does.
    pub(super) fn is_github(&self) -> bool {
        self.variable("GITHUB_ACTIONS") == Some("true")
    }

    /// Whether messages have colours.
    pub(super) fn look(&self) -> Look {
        let wanted = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                std::io::stderr().is_terminal() && self.variable("NO_COLOR").is_none() && !self.is_ci()
            }
        };
        if wanted { Look::Styled } else { Look::Plain }
    }

    /// Data, on standard output.
    pub(super) fn print(&self, text: &str) {
        // Whoever closed the pipe has seen enough.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// A message, on standard error.
pub(super) fn tell(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// An error without a place in a file.
pub(super) fn complaint(reason: impl std::fmt::Display) -> String {
    format!("error: {reason}\n")
}

/// An error without a place in a file, on standard error.
pub(super) fn complain(text: &str) {
    tell(&complaint(text));
}
