//! The command line: one file or folder a command. The only place that prints, and the only one that reads the
//! environment, the working directory and the arguments.

mod approve;
mod arguments;
mod assembly;
mod cassettes;
mod check;
mod completions;
mod convert;
mod diff;
mod doctor;
mod exit;
mod explain;
mod explore;
mod find_effect;
mod find_run;
mod find_scenarios;
mod fork;
mod graph;
mod history;
mod init;
pub mod issues;
mod launch;
mod mcp;
mod outcome;
mod outside;
mod overrides;
mod people;
mod pinned;
mod plan;
mod play;
mod proof;
mod refusal;
mod rehearsal;
mod resume;
mod run;
mod schema;
mod secrets;
mod signals;
mod staging;
mod surroundings;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use exit::Exit;
use surroundings::Surroundings;

use crate::event::Decision;
use crate::session::Registry;

/// Reads the arguments of the process, does what they say, and answers with the exit code.
pub fn main() -> ExitCode {
    run(Registry::builtin(), std::env::args_os()).into()
}

/// The same for a program that brings modules of its own along, and for other arguments; the first is the program's name.
/// Answers with the exit code, which [`ExitCode::from`] takes.
pub fn run(registry: Registry, arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments::with_command(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes; clap knows which stream each belongs on.
            let code = if error.use_stderr() { Exit::Invalid } else { Exit::Ok };
            let _ = error.print();
            return code.code();
        }
    };
    let surroundings = match Surroundings::read(arguments.color, registry) {
        Ok(surroundings) => surroundings,
        Err(error) => {
            surroundings::complain(&error);
            return Exit::Configuration.code();
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            surroundings::complain(&format!("cannot start: {error}"));
            return Exit::Configuration.code();
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
            Command::Init(arguments) => init::init(&arguments, &surroundings),
            Command::Check(arguments) => check::check(&arguments, &surroundings),
            Command::Plan(arguments) => plan::plan(&arguments, &surroundings),
            Command::Graph(arguments) => graph::graph(&arguments, &surroundings),
            Command::Explain(arguments) => explain::explain(&arguments, &surroundings),
            Command::Convert(arguments) => convert::convert(&arguments, &surroundings),
            Command::Schema(arguments) => schema::schema(&arguments, &surroundings),
            Command::Runs(arguments) => history::runs(&arguments, &surroundings),
            Command::Show(arguments) => history::show(&arguments, &surroundings),
            Command::Logs(arguments) => history::logs(&arguments, &surroundings).await,
            Command::Diff(arguments) => diff::diff(&arguments, &surroundings),
            Command::Cassette(arguments) => cassettes::cassette(&arguments, &surroundings).await,
            Command::Approve(arguments) => approve::answer(Decision::Yes, &arguments, &surroundings),
            Command::Reject(arguments) => approve::answer(Decision::No, &arguments, &surroundings),
            Command::Clean(arguments) => history::clean(&arguments, &surroundings),
            Command::Doctor(arguments) => doctor::doctor(&arguments, &surroundings),
            Command::Completions(arguments) => completions::completions(&arguments, &surroundings),
            Command::Issues(arguments) => issues_command(&arguments, &surroundings).await,
            Command::Mcp(arguments) => mcp::mcp(&arguments, &surroundings).await,
        }
    });
    // Whatever still runs on the blocking pool (a file read that hangs, say) holds nobody up.
    runtime.shutdown_background();
    exit.code()
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
