//! `runner check`: everything that is wrong with scenario files, without running anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::arguments::{CheckArguments, CommonArguments};
use super::exit::Exit;
use super::find_scenarios::{FindError, below, default_folder};
use super::launch;
use super::refusal::{Granted, Refusal};
use super::surroundings::{Surroundings, tell};
use crate::diagnostic::{Code, Diagnostic, Report, Severity, pointer};
use crate::plan::{ModuleSpec, Plan, Variables};
use crate::source::Sources;
use crate::tool::web::{self, Nobody};

/// `runner check FILES`.
pub(super) fn check(arguments: &CheckArguments, surroundings: &Surroundings) -> Exit {
    match check_all(arguments, surroundings) {
        Ok(exit) => exit,
        Err(refusal) => refusal.complain(),
    }
}

fn check_all(arguments: &CheckArguments, surroundings: &Surroundings) -> Granted<Exit> {
    let files = files(&arguments.paths, &surroundings.working_dir).map_err(Refusal::invalid)?;
    let mut worst = Exit::Ok;
    let mut told: Vec<Diagnostic> = Vec::new();
    for file in &files {
        let report = check_file(file, arguments, surroundings)?;
        if report.has_errors() {
            let exit = launch::exit_of(&report);
            // 2 comes before 3: what is wrong with a file is wrong everywhere, a credential only here.
            worst = if worst == Exit::Ok || exit == Exit::Invalid { exit } else { worst };
        }
        told.extend(report.diagnostics().iter().cloned());
    }
    if !arguments.json {
        if files.len() > 1 {
            tell(&format!("{} files: {}\n", files.len(), verdict(&told)));
        }
        tell(&pointer(&told));
    }
    Ok(worst)
}

/// The files that are named and those in folders that are, each once. One that is not there is reported as any file is.
fn files(paths: &[PathBuf], working_dir: &Path) -> Result<Vec<PathBuf>, FindError> {
    let default;
    let paths = if paths.is_empty() {
        default = [default_folder(working_dir)?];
        &default
    } else {
        paths
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        let found = if working_dir.join(path).is_dir() {
            let found = below(path, working_dir)?;
            if found.is_empty() {
                return Err(FindError::Nothing { places: path.display().to_string() });
            }
            found
        } else {
            vec![path.clone()]
        };
        for file in found {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Checks one file and tells of it.
fn check_file(file: &Path, arguments: &CheckArguments, surroundings: &Surroundings) -> Granted<Report> {
    let common = CommonArguments::of_file(file, &arguments.input, arguments.env_file.as_deref());
    let mut loaded = launch::read(&common, surroundings, Sources::new())?;
    add_provider_findings(&mut loaded, surroundings);
    let mut report = loaded.report;
    if let Some(plan) = &loaded.plan {
        let missing = surroundings.registry.missing_credentials(plan, &loaded.variables);
        note_credentials(missing, arguments.env, &mut report);
        note_backends(plan, &loaded.variables, arguments.env, &mut report);
    }
    launch::show(&report, &loaded.sources, surroundings, arguments.json);
    if !arguments.json {
        tell(&format!("{}: {}\n", file.display(), verdict(report.diagnostics())));
    }
    Ok(report)
}

/// Adds what is wrong with what mount plans say of their providers, which only those know.
pub(super) fn add_provider_findings(loaded: &mut launch::Loaded, surroundings: &Surroundings) {
    let Some(plan) = &loaded.plan else { return };
    for error in surroundings.registry.wrong_providers(plan, &loaded.variables) {
        loaded.report.push(Diagnostic::error(Code::BadConfigValue, error.to_string()).at(&error.place));
    }
}

fn note_credentials(missing: BTreeMap<&str, Vec<String>>, strict: bool, report: &mut Report) {
    for (variable, roles) in missing {
        let message =
            format!("{variable} is not set, and without it no model answers for {}", roles.join(", "));
        let help = format!("set {variable} in the environment or in .env; a replay needs none");
        let diagnostic = match strict {
            true => Diagnostic::error(Code::MissingCredential, message),
            false => Diagnostic::warning(Code::MissingCredential, message),
        };
        report.push(diagnostic.help(help));
    }
}

/// Agents whose mount plan has `tool-web`, and that will not be offered `web_search`.
fn note_backends(plan: &Plan, variables: &Variables, strict: bool, report: &mut Report) {
    let mut missing: Vec<(&ModuleSpec, String, Vec<&str>)> = Vec::new();
    for role in plan.roles.values() {
        let tools = role.mount_plan.and_agents().flat_map(|plan| &plan.tools);
        for spec in tools.filter(|spec| spec.module == web::INFO.name) {
            let Ok(Err(Nobody::Because(why))) = web::searches(&spec.config, variables) else { continue };
            match missing.iter_mut().find(|(known, ..)| known.place == spec.place) {
                Some((_, _, roles)) if roles.contains(&role.id.as_str()) => {}
                Some((_, _, roles)) => roles.push(role.id.as_str()),
                None => missing.push((spec, why, vec![role.id.as_str()])),
            }
        }
    }
    for (spec, why, roles) in missing {
        let message = format!("{why}, so that {} cannot search the web", roles.join(", "));
        let diagnostic = match strict {
            true => Diagnostic::error(Code::MissingBackend, message),
            false => Diagnostic::warning(Code::MissingBackend, message),
        };
        report.push(
            diagnostic
                .at(&spec.place)
                .help("set `backend` of tool-web and what it needs; `backend: none` does without"),
        );
    }
}

fn verdict(diagnostics: &[Diagnostic]) -> String {
    let count = |severity: Severity| diagnostics.iter().filter(|told| told.severity == severity).count();
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => "no problems".to_owned(),
        (0, warnings) => counted(warnings, "warning"),
        (errors, 0) => counted(errors, "error"),
        (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
    }
}
