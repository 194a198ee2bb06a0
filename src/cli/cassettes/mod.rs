//! `runner cassette`: makes a recording of a run, says what recordings hold, and checks them.

mod doctor;
mod rebase;
mod rerecord;
mod save;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) use save::{read as read_run, recording_of, unrecorded_command};

use super::arguments::name_and_value;
use super::exit::Exit;
use super::surroundings::Surroundings;

#[derive(Debug, Clone, Args)]
pub(super) struct CassetteArguments {
    #[command(subcommand)]
    command: CassetteCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum CassetteCommand {
    /// Make a recording of a run
    Save(SaveArguments),
    /// Say what a recording holds
    Show(ShowArguments),
    /// Give the recorded answers to prompts in new words, and keep both
    Rebase(RebaseArguments),
    /// Do anew what follows from a change of the scenario, and keep the rest of the recording
    Rerecord(RerecordArguments),
    /// Check recordings: whole, as written, without secrets and paths of a machine
    Doctor(DoctorArguments),
}

#[derive(Debug, Clone, Args)]
struct SaveArguments {
    /// The run: its id, the beginning or end of it, or `latest`
    run: Option<String>,
    /// Where the recording goes, when not where the scenario says
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
struct ShowArguments {
    /// The recording
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct RebaseArguments {
    /// The scenario file (.yaml, .yml, .toml or .json)
    file: PathBuf,
    /// Set an input of the scenario
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = name_and_value)]
    input: Vec<(String, String)>,
    /// Read variables from this file in place of the project's .env
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The recording, when not where the scenario says
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
struct RerecordArguments {
    /// The scenario file (.yaml, .yml, .toml or .json)
    file: PathBuf,
    /// Also do this effect anew, and what follows from it; may be given several times
    #[arg(long, value_name = "EFFECT")]
    from: Vec<String>,
    /// Let this script answer in place of every model; only where a script has made the recording
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Set an input of the scenario
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = name_and_value)]
    input: Vec<(String, String)>,
    /// Read variables from this file in place of the project's .env
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The recording, when not where the scenario says
    #[arg(long, value_name = "DIR")]
    cassette: Option<PathBuf>,
    /// Print events as JSON lines on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct DoctorArguments {
    /// The recordings
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    /// Print each finding as a JSON line
    #[arg(long)]
    json: bool,
}

/// `runner cassette …`.
pub(super) async fn cassette(arguments: &CassetteArguments, surroundings: &Surroundings) -> Exit {
    match &arguments.command {
        CassetteCommand::Save(arguments) => save::save(arguments, surroundings).await,
        CassetteCommand::Show(arguments) => show::show(arguments, surroundings),
        CassetteCommand::Rebase(arguments) => rebase::rebase(arguments, surroundings).await,
        CassetteCommand::Rerecord(arguments) => rerecord::rerecord(arguments, surroundings).await,
        CassetteCommand::Doctor(arguments) => doctor::doctor(arguments, surroundings),
    }
}
