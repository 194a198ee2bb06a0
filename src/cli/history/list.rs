//! `runner runs`: every run of the project, the newest first.

use clap::Args;

use super::{Found, Glance, moment, refused};
use crate::cli::exit::Exit;
use crate::cli::find_run;
use crate::cli::surroundings::{Surroundings, tell};
use crate::journal::{self, Manifest};
use crate::limit;
use crate::summary::{table, words};

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct RunsArguments {
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = limit::LIST_ROWS)]
    limit: usize,
    /// Print each run as a JSON line
    #[arg(long)]
    json: bool,
}

/// `runner runs`.
pub(in crate::cli) fn runs(arguments: &RunsArguments, surroundings: &Surroundings) -> Exit {
    let runs = match find_run::runs_folder(&surroundings.working_dir) {
        Ok(runs) => runs,
        Err(error) => return refused(Exit::Invalid, &error),
    };
    let names = find_run::names(&runs);
    let mut lines = vec![words("run|scenario|when|time|evidence|outcome|turns|tokens|cost")];
    let mut worst = Exit::Ok;
    for name in names.iter().rev().take(arguments.limit) {
        let folder = runs.join(name);
        match glance(folder) {
            Ok(run) if arguments.json => surroundings.print(&format!("{}\n", run.to_json())),
            Ok(run) => lines.push(line(&run)),
            // One that cannot be read hides no other.
            Err(error) => worst = refused(Exit::Failed, &error),
        }
    }
    if !arguments.json {
        surroundings.print(&table(&lines));
        let left = names.len().saturating_sub(arguments.limit);
        if left > 0 {
            tell(&format!("{left} older: --limit {}\n", names.len()));
        }
    }
    worst
}

fn glance(folder: std::path::PathBuf) -> Result<Glance, Box<dyn std::error::Error>> {
    let manifest = Manifest::read(&folder)?;
    let found = Found { folder, manifest };
    let events = journal::events(&found.journal())?;
    Ok(Glance::of(&found, &events))
}

fn line(run: &Glance) -> Vec<String> {
    let spent = run.summary.spent();
    vec![
        run.manifest.run.to_string(),
        run.scenario().to_owned(),
        moment(run.when()),
        format!("{:.1} s", run.seconds),
        run.evidence().to_owned(),
        run.state.name().to_owned(),
        spent.turns.to_string(),
        spent.tokens.to_string(),
        spent.cost.to_string(),
    ]
}
