//! `runner completions`: the script with which a shell completes commands and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::arguments::Arguments;
use super::exit::Exit;
use super::surroundings::Surroundings;

#[derive(Debug, Clone, Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// `runner completions SHELL`.
pub(super) fn completions(arguments: &CompletionsArguments, surroundings: &Surroundings) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "runner", &mut script);
    surroundings.print(&String::from_utf8_lossy(&script));
    Exit::Ok
}
