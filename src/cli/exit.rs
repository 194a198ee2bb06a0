//! What the exit codes mean.

use std::process::ExitCode;

use super::surroundings::tell;

/// How the program ends. The first that applies wins: 70, 130 or 143, 2, 3, 6, 7, 4, 5, 1, 8, 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Ok,
    Failed,
    Invalid,
    Configuration,
    Paused,
    Expectation,
    Divergence,
    Budget,
    IssuesLeft,
    Bug,
    Interrupted,
    Terminated,
}

impl Exit {
    const ALL: [Self; 12] = [
        Self::Ok,
        Self::Failed,
        Self::Invalid,
        Self::Configuration,
        Self::Paused,
        Self::Expectation,
        Self::Divergence,
        Self::Budget,
        Self::IssuesLeft,
        Self::Bug,
        Self::Interrupted,
        Self::Terminated,
    ];

    pub(super) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Invalid => 2,
            Self::Configuration => 3,
            Self::Paused => 4,
            Self::Expectation => 5,
            Self::Divergence => 6,
            Self::Budget => 7,
            Self::IssuesLeft => 8,
            Self::Bug => 70,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// Of several the one that the program ends with: the order that is documented.
    pub(super) fn gravest(exits: impl IntoIterator<Item = Self>) -> Self {
        const ORDER: [u8; 11] = [70, 130, 143, 2, 3, 6, 7, 4, 5, 1, 8];
        let rank = |exit: &Self| ORDER.iter().position(|code| *code == exit.code()).unwrap_or(ORDER.len());
        exits.into_iter().min_by_key(rank).unwrap_or(Self::Ok)
    }

    pub(super) fn from_code(code: u8) -> Self {
        Self::ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::Failed)
    }

    /// Names it on standard error.
    pub(super) fn tell(self) -> Self {
        tell(&format!("exit {}: {}\n", self.code(), self.name()));
        self
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Configuration => "configuration",
            Self::Paused => "paused",
            Self::Expectation => "expectation",
            Self::Divergence => "divergence",
            Self::Budget => "budget",
            Self::IssuesLeft => "issues left",
            Self::Bug => "bug",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
