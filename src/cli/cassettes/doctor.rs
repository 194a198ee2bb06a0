//! `runner cassette doctor DIR`: everything that is wrong with recordings, each with its place and the remedy.

use serde_json::json;

use super::DoctorArguments;
use crate::cassette::{self, Strangers};
use crate::cli::exit::Exit;
use crate::cli::history::refused;
use crate::cli::surroundings::Surroundings;
use crate::secret::Scrubber;

/// `runner cassette doctor DIR`.
pub(super) fn doctor(arguments: &DoctorArguments, surroundings: &Surroundings) -> Exit {
    let scrubber = Scrubber::new(&Scrubber::credentials_in(&surroundings.variables));
    let places = surroundings.home.iter().chain([&surroundings.working_dir]);
    let strangers = Strangers {
        scrubber: &scrubber,
        places: places.map(|place| place.display().to_string()).filter(|place| place.len() > 1).collect(),
    };
    let mut worst = Exit::Ok;
    for folder in &arguments.folders {
        let findings = match cassette::examine(&surroundings.working_dir.join(folder), &strangers) {
            Ok(findings) => findings,
            Err(error) => {
                worst = refused(Exit::Failed, &error);
                continue;
            }
        };
        let shown = folder.display();
        for finding in &findings {
            let place = match finding.line {
                Some(line) => format!("{shown}/{}:{line}", finding.file),
                None => format!("{shown}/{}", finding.file),
            };
            let line = if arguments.json {
                json!({
                    "cassette": folder, "file": finding.file, "line": finding.line, "what": finding.what,
                    "remedy": finding.remedy,
                })
                .to_string()
            } else {
                format!("{place}: {}; {}", finding.what, finding.remedy)
            };
            surroundings.print(&format!("{line}\n"));
        }
        if !findings.is_empty() {
            worst = Exit::Failed;
        } else if !arguments.json {
            surroundings.print(&format!("{shown}: nothing is wrong\n"));
        }
    }
    worst
}
