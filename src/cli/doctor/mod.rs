//! `runner doctor`: what is missing on this machine, and for a scenario, without ever printing a value.

mod finding;
mod machine;
mod scenario;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::arguments::{CommonArguments, name_and_value};
use super::exit::Exit;
use super::launch;
use super::refusal::Refusal;
use super::surroundings::{Surroundings, tell};
use crate::diagnostic::Severity;
use crate::scenario::project_root;
use crate::source::Sources;
use finding::{Finding, State, render};
use machine::EnvFile;

#[derive(Debug, Clone, Args)]
pub(super) struct DoctorArguments {
    /// The scenario file; without one only the machine is looked at
    pub(super) file: Option<PathBuf>,
    /// Set an input of the scenario
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub(super) input: Vec<(String, String)>,
    /// Read variables from this file in place of the project's .env
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
    /// Print the findings as one JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

/// `runner doctor [FILE]`.
pub(super) fn doctor(arguments: &DoctorArguments, surroundings: &Surroundings) -> Exit {
    let root = match &arguments.file {
        Some(file) => project_root(&surroundings.working_dir.join(file)),
        None => surroundings.working_dir.clone(),
    };
    let env_file = EnvFile::read(arguments.env_file.as_deref(), &root, surroundings);
    let mut findings = machine::findings(&env_file, &root, surroundings);
    let mut exit = Exit::Ok;
    match &arguments.file {
        Some(_) if env_file.error().is_some() => {
            findings
                .push(Finding::note("scenario", "not looked at: the variables that it needs cannot be read"));
        }
        Some(file) => match of_scenario(file, &env_file, arguments, surroundings) {
            Ok(more) => findings.extend(more),
            Err(refusal) => exit = refusal.complain(),
        },
        None => findings.extend(machine::credentials(&env_file, surroundings)),
    }
    let missing = findings.iter().filter(|finding| finding.state == State::Missing).count();
    if exit == Exit::Ok && missing > 0 {
        exit = Exit::Configuration;
    }
    if arguments.json {
        let findings: Vec<_> = findings.iter().map(Finding::to_json).collect();
        let object = json!({"version": VERSION, "findings": findings, "exit_code": exit.code()});
        surroundings.print(&format!("{object}\n"));
    } else {
        surroundings.print(&format!("runner {VERSION}\n{}", render(&findings)));
        if exit == Exit::Ok || exit == Exit::Configuration {
            surroundings.print(&verdict(missing));
        }
    }
    exit
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn verdict(missing: usize) -> String {
    match missing {
        0 => "nothing is missing\n".to_owned(),
        1 => "one thing is missing\n".to_owned(),
        n => format!("{n} things are missing\n"),
    }
}

/// What a scenario needs; one with mistakes is told of as `runner check` does.
fn of_scenario(
    file: &Path,
    env_file: &EnvFile,
    arguments: &DoctorArguments,
    surroundings: &Surroundings,
) -> Result<Vec<Finding>, Refusal> {
    let common = CommonArguments::of_file(file, &arguments.input, arguments.env_file.as_deref());
    let loaded = launch::read(&common, surroundings, Sources::new())?;
    if loaded.report.has_errors() {
        launch::show(&loaded.report, &loaded.sources, surroundings, false);
        tell(&loaded.report.pointer());
        return Err(Refusal { exit: launch::exit_of(&loaded.report), text: String::new() });
    }
    let said = match loaded.report.count(Severity::Warning) {
        0 => "no problems".to_owned(),
        n => format!("{n} warnings; runner check {} shows them", file.display()),
    };
    let mut findings = vec![Finding::ok("scenario", &format!("{}: {said}", file.display()))];
    if let Some(plan) = &loaded.plan {
        findings.extend(scenario::findings(plan, file, env_file, &loaded.variables, surroundings));
    }
    Ok(findings)
}
