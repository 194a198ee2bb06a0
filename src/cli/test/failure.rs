//! What is wrong with a scenario that is tested: of which kind, in full, and where.

use std::fmt::Write as _;

use crate::cli::exit::Exit;
use crate::cli::launch;
use crate::cli::refusal::Refusal;
use crate::diagnostic::{Look, Report, github_error};
use crate::source::Sources;

/// Of which kind a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Configuration,
    NoRecording,
    Divergence,
    Queue,
    End,
    Expectation,
    Snapshot,
    Fault,
    Bug,
}

impl Kind {
    /// The word in every form of report.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::File => "invalid",
            Self::Configuration => "configuration",
            Self::NoRecording => "recording",
            Self::Divergence => "divergence",
            Self::Queue => "queue",
            Self::End => "end",
            Self::Expectation => "expectation",
            Self::Snapshot => "snapshot",
            Self::Fault => "fault",
            Self::Bug => "bug",
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// How the program ends because of it.
    pub(super) exit: Exit,
    /// The whole report; ends with a line break, and holds no secret.
    pub(super) text: String,
    /// The same as workflow commands of GitHub Actions, a line each.
    pub(super) annotations: String,
    /// The run folder that is kept.
    pub(super) folder: Option<String>,
}

impl Failure {
    pub(super) fn new(kind: Kind, exit: Exit, text: String) -> Self {
        Self { kind, exit, text, annotations: String::new(), folder: None }
    }

    /// A replay that does not begin.
    pub(super) fn refused(refusal: Refusal, file: &str) -> Self {
        let kind = match refusal.exit {
            Exit::Invalid => Kind::File,
            Exit::Divergence => Kind::NoRecording,
            _ => Kind::Configuration,
        };
        Self::new(kind, refusal.exit, refusal.text).at(file, 1)
    }

    /// A scenario that cannot be read.
    pub(super) fn file(report: &Report, sources: &Sources) -> Self {
        let exit = launch::exit_of(report);
        let kind = if exit == Exit::Invalid { Kind::File } else { Kind::Configuration };
        let failure = Self::new(kind, exit, report.render(sources, Look::Plain));
        failure.annotated(report.to_github(sources))
    }

    /// A scenario that was named, and that names no recording.
    pub(super) fn no_recording(file: &str) -> Self {
        let reason = "the scenario names no recording; add `replay: {cassette: …}` to it, then make one with: runner record";
        let refusal = Refusal::new(Exit::Divergence, format!("{reason} {file}"));
        Self::refused(refusal, file)
    }

    /// One of a replay in which something went wrong on purpose.
    #[must_use]
    pub(super) fn among_faults(mut self) -> Self {
        // What is advised there is for a scenario that has changed, and this one has not.
        let lines = self.text.lines().filter(|line| !line.starts_with("  next: "));
        self.text = lines.fold(String::new(), |text, line| text + line + "\n");
        self.text += "  (played with the faults that the scenario names; without them it goes well)\n";
        self
    }

    /// With an annotation at this line of a file, too.
    #[must_use]
    pub(super) fn at(mut self, file: &str, line: usize) -> Self {
        let _ = writeln!(self.annotations, "{}", github_error((file, line), self.kind.as_str(), &self.text));
        self
    }

    /// With these annotations.
    #[must_use]
    pub(super) fn annotated(mut self, annotations: String) -> Self {
        self.annotations = annotations;
        self
    }

    /// With the run folder that is kept.
    #[must_use]
    pub(super) fn in_folder(mut self, folder: &str) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }
}
