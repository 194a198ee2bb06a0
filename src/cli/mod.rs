//! The command line: one file or folder a command. The only place that prints, and the only one that reads the
//! environment, the working directory and the arguments.

mod arguments;
mod assembly;
mod cassettes;
mod check;
mod diff;
mod exit;
mod explore;
mod find_effect;
mod find_run;
mod fork;
mod history;
pub mod issues;
mod launch;
mod mcp;
mod outcome;
mod outside;
mod pinned;
mod play;
mod proof;
mod refusal;
mod resume;
mod run;
mod signals;
mod staging;
mod surroundings;
mod test;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use exit::Exit;
use surroundings::Surroundings;

/// Reads the arguments, does what they say, and answers with the exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments::with_command(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes; clap knows which stream each belongs on.
            let code = if error.use_stderr() { Exit::Invalid } else { Exit::Ok };
            let _ = error.print();
            return code.into();
        }
    };
    let surroundings = match Surroundings::read(arguments.color) {
        Ok(surroundings) => surroundings,
        Err(error) => {
            surroundings::complain(&error);
            return Exit::Configuration.into();
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            surroundings::complain(&format!("cannot start: {error}"));
            return Exit::Configuration.into();
        }
    };
    let exit = runtime.block_on(async {
        match arguments.command {
            Command::Run(arguments) => run::run(arguments, surroundings).await,
            Command::Record(arguments) => run::record(arguments, surroundings).await,
            Command::Replay(arguments) => run::replay(arguments, surroundings).await,
            Command::Resume(arguments) => resume::resume(arguments, surroundings).await,
            Command::Fork(arguments) => fork::fork(arguments, surroundings).await,
            Command::Test(arguments) => test::test(arguments, surroundings).await,
            Command::Explore(arguments) => explore::explore(arguments, surroundings).await,
            Command::Check(arguments) => check::check(&arguments, &surroundings),
            Command::Runs(arguments) => history::runs(&arguments, &surroundings),
            Command::Show(arguments) => history::show(&arguments, &surroundings),
            Command::Logs(arguments) => history::logs(&arguments, &surroundings).await,
            Command::Diff(arguments) => diff::diff(&arguments, &surroundings),
            Command::Cassette(arguments) => cassettes::cassette(&arguments, &surroundings).await,
            Command::Clean(arguments) => history::clean(&arguments, &surroundings),
            Command::Issues(arguments) => issues_command(&arguments, &surroundings).await,
            Command::Mcp(arguments) => mcp::mcp(&arguments, &surroundings).await,
        }
    });
    // Whatever still runs on the blocking pool (a file read that hangs, say) holds nobody up.
    runtime.shutdown_background();
    exit.into()
}

async fn issues_command(arguments: &issues::IssuesArgs, surroundings: &Surroundings) -> Exit {
    let clock = crate::clock::SystemClock::default();
    let given = issues::Surroundings {
        variables: &surroundings.variables,
        folder: &surroundings.working_dir,
        clock: &clock,
    };
    match issues::run(arguments, &given).await {
        Ok(output) => {
            surroundings.print(&output.text);
            surroundings::tell(&output.aside);
            Exit::from_code(output.exit)
        }
        Err(error) => {
            surroundings::complain(&error.to_string());
            Exit::from_code(error.exit())
        }
    }
}
