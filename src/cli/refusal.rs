//! Why a run does not begin: what people are told, and how the program ends.

use super::exit::Exit;
use super::surroundings::{complaint, tell};

/// Why a run does not begin.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    /// How the program ends because of it.
    pub(super) exit: Exit,
    /// What people are told; ends with a line break, and is empty when they were told already.
    pub(super) text: String,
}

/// Something that a run needs, or why there is none.
pub(super) type Granted<T> = Result<T, Refusal>;

/// The same for commands that tell of a failure where it happens; what is left is the exit code.
pub(super) type Told<T> = Result<T, Exit>;

impl Refusal {
    /// A refusal for this reason.
    pub(super) fn new(exit: Exit, reason: impl std::fmt::Display) -> Self {
        Self { exit, text: complaint(reason) }
    }

    /// One for a surrounding that does not fit.
    pub(super) fn configuration(reason: impl std::fmt::Display) -> Self {
        Self::new(Exit::Configuration, reason)
    }

    /// One for what is wrong with files or the command line.
    pub(super) fn invalid(reason: impl std::fmt::Display) -> Self {
        Self::new(Exit::Invalid, reason)
    }

    /// Tells people, without naming the exit code.
    pub(super) fn complain(&self) -> Exit {
        tell(&self.text);
        self.exit
    }

    /// Tells people, and answers how the program ends.
    pub(super) fn tell(&self) -> Exit {
        tell(&self.text);
        self.exit.tell()
    }
}
