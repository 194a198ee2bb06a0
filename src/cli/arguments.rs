//! What may be written on the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::cassettes::CassetteArguments;
use super::completions::CompletionsArguments;
use super::convert::ConvertArguments;
use super::diff::DiffArguments;
use super::doctor::DoctorArguments;
use super::graph::GraphArguments;
use super::history::{CleanArguments, LogsArguments, RunsArguments, ShowArguments};
use super::init::InitArguments;
use super::issues::IssuesArgs;
use super::mcp::McpArguments;
use super::overrides::Overrides;
use super::plan::PlanArguments;
use super::schema::SchemaArguments;
use crate::effects::Deviations;
use crate::event::Decision;
use crate::fault::Fault;
use crate::source::Change;

/// Runs teams of LLM agents as scenario files declare them: `runner scenarios/demo.yaml`.
#[derive(Debug, Parser)]
#[command(
    name = "runner",
    version,
    max_term_width = 100,
    override_usage = "runner [OPTIONS] <FILE>\n       runner [OPTIONS] <COMMAND>"
)]
pub(super) struct Arguments {
    /// When messages have colours
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        env = "RUNNER_COLOR",
        display_order = 903
    )]
    pub(super) color: ColorChoice,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a scenario; `runner FILE` is the same
    Run(RunArguments),
    /// Run a scenario live and keep a recording of it
    Record(RecordArguments),
    /// Play a scenario's recording and compare
    Replay(ReplayArguments),
    /// Go on with a run that was stopped, failed or was killed
    Resume(ResumeArguments),
    /// Take the beginning of a run over and go on otherwise: with other settings, or other luck
    Fork(ForkArguments),
    /// Play the recordings of scenarios and compare, each as a test
    Test(TestArguments),
    /// Play a scenario with a script in many different orders, and say which of them goes wrong
    Explore(ExploreArguments),
    /// Make a project to begin with, from a template that runs at once
    Init(InitArguments),
    /// Say what is wrong with scenario files, without running them
    Check(CheckArguments),
    /// Say what a scenario would do, and what it may cost, without running it
    Plan(PlanArguments),
    /// Draw the phases of a scenario
    Graph(GraphArguments),
    /// Tell more about the code of a finding, with an example and its repair
    Explain(ExplainArguments),
    /// Write a scenario or a mount plan in another format
    Convert(ConvertArguments),
    /// Print the JSON Schema of scenario files or of mount plans
    Schema(SchemaArguments),
    /// Say what is missing on this machine, and for a scenario
    Doctor(DoctorArguments),
    /// List the runs of the project
    Runs(RunsArguments),
    /// Say what a run came to, and what can be done with it
    Show(ShowArguments),
    /// Show what happened in a run, or what one of its sessions said
    Logs(LogsArguments),
    /// Say where two runs or recordings differ first
    Diff(DiffArguments),
    /// Make a recording of a run, look at recordings, and check them
    Cassette(CassetteArguments),
    /// Remove the folders of old runs
    Clean(CleanArguments),
    /// Say yes to a phase that waits for approval
    Approve(ApproveArguments),
    /// Say no to a phase that waits for approval
    Reject(ApproveArguments),
    /// Look at the issue queue of a workspace, and change it
    Issues(IssuesArgs),
    /// Serve the issue queue of a workspace to other agents, as an MCP server
    Mcp(McpArguments),
    /// Print the script with which a shell completes commands and options
    Completions(CompletionsArguments),
}

/// When messages have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` or `CI` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What every way of running takes.
#[derive(Debug, Clone, Args)]
pub(super) struct CommonArguments {
    /// The scenario file (.yaml, .yml, .toml or .json)
    pub(super) file: PathBuf,
    /// Set an input of the scenario
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub(super) input: Vec<(String, String)>,
    /// Set a value of the scenario file: roles.coder.model=claude-x
    #[arg(long, value_name = "PATH=VALUE")]
    pub(super) set: Vec<Change>,
    /// Read variables from this file in place of the project's .env
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
    /// Work in this folder in place of the scenario's
    #[arg(long, value_name = "DIR", env = "RUNNER_WORKSPACE")]
    pub(super) workspace: Option<PathBuf>,
    /// Print events as JSON lines on standard output
    #[arg(long)]
    pub(super) json: bool,
    /// What makes the exit code other than 0
    #[arg(long, value_enum, value_name = "WHAT", default_value = "phase")]
    pub(super) fail_on: FailOn,
    /// Let something go wrong on purpose: EFFECT=http:STATUS, cut_after_event:N, error_event:TYPE, stall or kill
    #[arg(long, value_name = "EFFECT=FAULT", value_parser = Fault::from_text)]
    pub(super) fault: Vec<Fault>,
    /// Read inputs from this file: a map of ids to values, as YAML, TOML or JSON
    #[arg(long, value_name = "FILE")]
    pub(super) input_file: Option<PathBuf>,
}

impl CommonArguments {
    /// Those of a command that takes several files: nothing but how each is read.
    pub(super) fn of_file(file: &Path, input: &[(String, String)], env_file: Option<&Path>) -> Self {
        Self {
            file: file.to_owned(),
            input: input.to_vec(),
            set: Vec::new(),
            env_file: env_file.map(Path::to_owned),
            workspace: None,
            json: false,
            fail_on: FailOn::Phase,
            fault: Vec::new(),
            input_file: None,
        }
    }
}

/// How a command reads a scenario that it does not run.
#[derive(Debug, Clone, Args)]
pub(super) struct ReadArguments {
    /// Set an input of the scenario
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = name_and_value)]
    input: Vec<(String, String)>,
    /// Read inputs from this file: a map of ids to values, as YAML, TOML or JSON
    #[arg(long, value_name = "FILE")]
    input_file: Option<PathBuf>,
    /// Set a value of the scenario file: roles.coder.model=claude-x
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<Change>,
    /// Read variables from this file in place of the project's .env
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

impl ReadArguments {
    /// The same for whoever reads the scenario.
    pub(super) fn common(&self, file: &Path) -> CommonArguments {
        CommonArguments {
            set: self.set.clone(),
            input_file: self.input_file.clone(),
            ..CommonArguments::of_file(file, &self.input, self.env_file.as_deref())
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FailOn {
    /// A failed or stalled phase, a false expectation
    Phase,
    /// Also issues that are left over (exit code 8)
    Any,
}

#[derive(Debug, Clone, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) common: CommonArguments,
    #[command(flatten)]
    pub(super) overrides: Overrides,
    /// Answer yes or no to a phase that asks for approval, or to what a hook asks: tool:bash=yes
    #[arg(long, value_name = "PHASE=ANSWER", value_parser = phase_and_decision)]
    pub(super) answer: Vec<(String, Decision)>,
    /// Ask models, whatever the scenario says about its recording
    #[arg(long, conflicts_with = "replay", env = "RUNNER_LIVE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) live: bool,
    /// Keep a recording, in DIR or where the scenario says
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, conflicts_with = "replay")]
    pub(super) record: Option<Option<PathBuf>>,
    /// Play the recording in DIR or where the scenario says
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub(super) replay: Option<Option<PathBuf>>,
    /// Derive the run's ids from this text instead of a random one
    #[arg(long, value_name = "TEXT", env = "RUNNER_SEED")]
    pub(super) seed: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct RecordArguments {
    #[command(flatten)]
    pub(super) common: CommonArguments,
    #[command(flatten)]
    pub(super) overrides: Overrides,
    /// Answer yes or no to a phase that asks for approval, or to what a hook asks: tool:bash=yes
    #[arg(long, value_name = "PHASE=ANSWER", value_parser = phase_and_decision)]
    pub(super) answer: Vec<(String, Decision)>,
    /// Let this script answer in place of every model; the recording says that it is scripted
    #[arg(long, value_name = "FILE")]
    pub(super) script: Option<PathBuf>,
    /// Where the recording goes, when not where the scenario says
    #[arg(long, value_name = "DIR")]
    pub(super) to: Option<PathBuf>,
    /// Derive the run's ids from this text instead of a random one
    #[arg(long, value_name = "TEXT", env = "RUNNER_SEED")]
    pub(super) seed: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ReplayArguments {
    #[command(flatten)]
    pub(super) common: CommonArguments,
    /// The recording, when not where the scenario says
    #[arg(long, value_name = "DIR")]
    pub(super) from: Option<PathBuf>,
    /// How much of the recorded order is enforced
    #[arg(long, value_enum, value_name = "HOW", default_value = "causal")]
    pub(super) strictness: StrictnessChoice,
    /// Disturb the schedule at places that follow from this number
    #[arg(long, value_name = "NUMBER")]
    pub(super) jitter: Option<u64>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ResumeArguments {
    /// The run: its id, the beginning or end of it, or `latest`
    #[arg(value_name = "RUN")]
    pub(super) run: Option<String>,
    /// Read variables from this file in place of the one it was started with
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
    /// Change a limit: limits.max_usd=5, phases.ID.limits.max_turns=40, roles.ID.limits.max_tokens=200000
    #[arg(long, value_name = "LIMIT=VALUE")]
    pub(super) set: Vec<Change>,
    /// Print events as JSON lines on standard output
    #[arg(long)]
    pub(super) json: bool,
    /// What makes the exit code other than 0
    #[arg(long, value_enum, value_name = "WHAT", default_value = "phase")]
    pub(super) fail_on: FailOn,
    /// Let something go wrong on purpose: EFFECT=http:STATUS, cut_after_event:N, error_event:TYPE, stall or kill
    #[arg(long, value_name = "EFFECT=FAULT", value_parser = Fault::from_text)]
    pub(super) fault: Vec<Fault>,
    /// Answer yes or no to a phase that asks for approval, or to what a hook asks: tool:bash=yes
    #[arg(long, value_name = "PHASE=ANSWER", value_parser = phase_and_decision)]
    pub(super) answer: Vec<(String, Decision)>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ApproveArguments {
    /// The run: its id, the beginning or end of it, or `latest`
    #[arg(value_name = "RUN")]
    pub(super) run: Option<String>,
    /// The phase; needed only if several wait
    #[arg(value_name = "PHASE")]
    pub(super) phase: Option<String>,
    /// Say something with it
    #[arg(long, value_name = "TEXT")]
    pub(super) note: Option<String>,
    /// Who says so; without it, the variable USER
    #[arg(long, value_name = "NAME")]
    pub(super) by: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ForkArguments {
    /// The run: its id, the beginning or end of it, or `latest`; or a scenario file, whose recording is meant
    #[arg(value_name = "RUN|FILE")]
    pub(super) what: String,
    /// The first effect that is done anew; all that was done before it is taken over
    #[arg(long, value_name = "EFFECT")]
    pub(super) from: String,
    /// Set a value of the scenario from there on: roles.coder.model=claude-x
    #[arg(long, value_name = "PATH=VALUE")]
    pub(super) set: Vec<Change>,
    /// The recording, when not where the scenario says
    #[arg(long, value_name = "DIR")]
    pub(super) cassette: Option<PathBuf>,
    /// Let this script answer from there on, in place of every model; only where a script has answered before
    #[arg(long, value_name = "FILE")]
    pub(super) script: Option<PathBuf>,
    /// Set an input of the scenario, when its file is named
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub(super) input: Vec<(String, String)>,
    /// Read variables from this file in place of the project's .env
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
    /// Print events as JSON lines on standard output
    #[arg(long)]
    pub(super) json: bool,
    /// What makes the exit code other than 0
    #[arg(long, value_enum, value_name = "WHAT", default_value = "phase")]
    pub(super) fail_on: FailOn,
    /// Let something go wrong on purpose: EFFECT=http:STATUS, cut_after_event:N, error_event:TYPE, stall or kill
    #[arg(long, value_name = "EFFECT=FAULT", value_parser = Fault::from_text)]
    pub(super) fault: Vec<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StrictnessChoice {
    /// What can make a difference; the rest runs as it comes
    Causal,
    /// All of it, one effect at a time
    Total,
}

#[derive(Debug, Clone, Args)]
pub(super) struct TestArguments {
    /// Scenario files, and folders of them; without any, the project's scenarios/
    #[arg(value_name = "FILE|DIR")]
    pub(super) paths: Vec<PathBuf>,
    /// Set an input of the scenarios
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub(super) input: Vec<(String, String)>,
    /// Read variables from this file in place of the project's .env
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
    /// Only scenarios whose path contains this text, or matches it if it has `*` or `?` in it
    #[arg(long, value_name = "TEXT")]
    pub(super) filter: Option<String>,
    /// Write the snapshots as they are now
    #[arg(long)]
    pub(super) update: bool,
    /// How many scenarios are played at a time; without it, as many as there are processors
    #[arg(short, long, value_name = "NUMBER")]
    pub(super) jobs: Option<std::num::NonZeroUsize>,
    /// How often each is played, and how much of the recorded order is enforced
    #[arg(long, value_enum, value_name = "HOW", default_value = "both")]
    pub(super) strictness: TestStrictness,
    /// Disturb the schedule of the causal replay at places that follow from this number
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(super) jitter: u64,
    /// Begin no further scenario after the first failure
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Print the results as JSON lines
    #[arg(long)]
    pub(super) json: bool,
    /// Write the results into this file, as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TestStrictness {
    /// Twice: total, then causal
    Both,
    /// Once, in the recorded order
    Total,
    /// Once, keeping only the order of what can make a difference; snapshots are not looked at
    Causal,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ExploreArguments {
    /// The scenario file (.yaml, .yml, .toml or .json)
    pub(super) file: PathBuf,
    /// Let this script answer in place of every model
    #[arg(long, value_name = "FILE")]
    pub(super) script: PathBuf,
    /// Set an input of the scenario
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub(super) input: Vec<(String, String)>,
    /// Read variables from this file in place of the project's .env
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
    /// How many orders are tried beside the usual one
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub(super) seeds: u64,
    /// The number that the first of them follows from; the next follow from the next numbers
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(super) seed: u64,
    /// How often in each whoever is first is put last
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    pub(super) depth: u32,
    /// Play only this order, as an exploration has printed it
    #[arg(long, value_name = "SCHEDULE", conflicts_with_all = ["seeds", "seed", "depth"])]
    pub(super) schedule: Option<Deviations>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct CheckArguments {
    /// Scenario files, and folders of them; without any, the project's scenarios/
    #[arg(value_name = "FILE|DIR")]
    pub(super) paths: Vec<PathBuf>,
    /// Set an input of the scenarios
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub(super) input: Vec<(String, String)>,
    /// Read variables from this file in place of the project's .env
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
    /// Treat missing credentials and search backends as errors
    #[arg(long)]
    pub(super) env: bool,
    /// Print the findings as JSON lines on standard output
    #[arg(long)]
    pub(super) json: bool,
}

fn phase_and_decision(text: &str) -> Result<(String, Decision), String> {
    let wrong = || "write it as PHASE=yes or PHASE=no".to_owned();
    let (phase, word) = text.split_once('=').filter(|(phase, _)| !phase.is_empty()).ok_or_else(wrong)?;
    Ok((phase.to_owned(), Decision::from_text(word).ok_or_else(wrong)?))
}

#[derive(Debug, Clone, Args)]
pub(super) struct ExplainArguments {
    /// Codes, as RUN0201; without any, all there are are listed
    #[arg(value_name = "CODE")]
    pub(super) codes: Vec<String>,
}

pub(super) fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// `runner FILE` is `runner run FILE`: when the first word is no command, `run` is meant. A plain word right at the start
/// is a command that was mistyped, since a scenario's file has an ending; it stays, and is told so.
pub(super) fn with_command(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = arguments.into_iter().collect();
    let is_flag = |word: &OsString| word.to_string_lossy().starts_with('-');
    let known = |word: &OsString| {
        let name = word.to_string_lossy();
        name == "help"
            || <Arguments as clap::CommandFactory>::command().find_subcommand(name.as_ref()).is_some()
    };
    let Some(first) = words.iter().skip(1).find(|word| !is_flag(word)) else { return words };
    let is_mistyped = words.get(1) == Some(first) && !first.to_string_lossy().contains(['.', '/']);
    if !is_mistyped && !known(first) {
        words.insert(1, "run".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_file_alone_is_a_run() {
        let parse = |words: &[&str]| {
            let words = std::iter::once("runner").chain(words.iter().copied()).map(OsString::from);
            Arguments::try_parse_from(with_command(words))
        };
        let run = |words: &[&str]| match parse(words).unwrap().command {
            Command::Run(arguments) => arguments,
            other => panic!("{other:?}"),
        };
        assert_eq!(run(&["s.yaml"]).common.file, PathBuf::from("s.yaml"));
        assert!(run(&["--json", "s.yaml", "-i", "a=b"]).common.json);
        assert_eq!(run(&["--record", "s.yaml"]).record, Some(None));
        assert_eq!(run(&["--record=dir", "s.yaml"]).record, Some(Some("dir".into())));
        assert!(matches!(parse(&["check", "s.yaml"]).unwrap().command, Command::Check(_)));
        assert_eq!(
            parse(&["s.yaml", "-i", "a"]).unwrap_err().kind(),
            clap::error::ErrorKind::ValueValidation
        );
        assert_eq!(run(&["-i", "a=b", "s.yaml"]).common.input.len(), 1);
        let error = parse(&["isues", "list"]).unwrap_err();
        assert!(error.to_string().contains("a similar subcommand exists: 'issues'"), "{error}");
    }
}
