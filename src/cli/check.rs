//! `runner check`: everything that is wrong with scenario files, without running anything.

use std::collections::BTreeMap;

use super::arguments::{CheckArguments, CommonArguments};
use super::exit::Exit;
use super::launch;
use super::surroundings::{Surroundings, tell};
use crate::diagnostic::{Code, Diagnostic, Report, Severity, pointer};
use crate::source::Sources;

/// `runner check FILES`.
pub(super) fn check(arguments: &CheckArguments, surroundings: &Surroundings) -> Exit {
    let mut worst = Exit::Ok;
    let mut told = Vec::new();
    for file in &arguments.files {
        let common = CommonArguments::of_file(file, &arguments.input, arguments.env_file.as_deref());
        let loaded = match launch::read(&common, surroundings, Sources::new()) {
            Ok(loaded) => loaded,
            Err(refusal) => {
                return refusal.complain();
            }
        };
        let mut report = loaded.report;
        if let Some(plan) = &loaded.plan {
            for error in surroundings.registry.wrong_providers(plan, &loaded.variables) {
                report.push(Diagnostic::error(Code::BadConfigValue, error.to_string()).at(&error.place));
            }
            let missing = surroundings.registry.missing_credentials(plan, &loaded.variables);
            note_credentials(missing, arguments.env, &mut report);
        }
        launch::show(&report, &loaded.sources, surroundings, arguments.json);
        let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
        if !arguments.json {
            tell(&format!("{}: {}\n", file.display(), verdict(errors, warnings)));
        }
        told.extend(report.diagnostics().iter().cloned());
        if errors > 0 {
            let exit = launch::exit_of(&report);
            // 2 comes before 3: what is wrong with a file is wrong everywhere, a credential only here.
            worst = if worst == Exit::Ok || exit == Exit::Invalid { exit } else { worst };
        }
    }
    if !arguments.json {
        tell(&pointer(&told));
    }
    worst
}

fn note_credentials(missing: BTreeMap<&str, Vec<String>>, strict: bool, report: &mut Report) {
    for (variable, roles) in missing {
        let message =
            format!("{variable} is not set, and without it no model answers for {}", roles.join(", "));
        let diagnostic = if strict {
            Diagnostic::error(Code::MissingCredential, message)
        } else {
            Diagnostic::warning(Code::MissingCredential, message)
        };
        report.push(
            diagnostic.help(format!("set {variable} in the environment or in .env; a replay needs none")),
        );
    }
}

fn verdict(errors: usize, warnings: usize) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => "no problems".to_owned(),
        (0, warnings) => count(warnings, "warning"),
        (errors, 0) => count(errors, "error"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}
