//! `runner diff A B`: where two runs or recordings part.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::cassettes::{read_run, recording_of};
use super::exit::Exit;
use super::history::{refused, which};
use super::launch::recording;
use super::refusal::Told;
use super::surroundings::Surroundings;
use crate::effects::{Comparison, compare};
use crate::event::{Mode, Recording};
use crate::summary::{table, words};

#[derive(Debug, Clone, Args)]
pub(super) struct DiffArguments {
    /// A run (its id, the beginning or end of it, or `latest`) or the folder of a recording
    #[arg(value_name = "A")]
    left: String,
    /// What it is compared with
    #[arg(value_name = "B")]
    right: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `runner diff A B`.
pub(super) fn diff(arguments: &DiffArguments, surroundings: &Surroundings) -> Exit {
    let read = || Ok((taken(&arguments.left, surroundings)?, taken(&arguments.right, surroundings)?));
    let (left, right) = match read() {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let found = compare(&left, &right);
    if arguments.json {
        surroundings.print(&format!("{}\n", to_json(&found)));
    } else {
        surroundings.print(&page(&found, &left, &right));
    }
    if found.first.is_none() { Exit::Ok } else { Exit::Failed }
}

/// A recording by its folder, or what a run's journal comes to.
fn taken(name: &str, surroundings: &Surroundings) -> Told<Recording> {
    let folder: PathBuf = surroundings.working_dir.join(name);
    if folder.is_dir() {
        return recording(&folder).map_err(|refusal| refusal.complain());
    }
    let found = which(surroundings, Some(name))?;
    if found.manifest.mode == Mode::Replay {
        let text = format!(
            "run {} is a replay and keeps no effects of its own; compare the recording that it played",
            found.manifest.run
        );
        return Err(refused(Exit::Invalid, &text));
    }
    Ok(recording_of(&found.manifest, read_run(&found)?))
}

fn page(found: &Comparison, left: &Recording, right: &Recording) -> String {
    let Some(first) = &found.first else {
        return format!("no difference in {} effects\n", left.effects.len());
    };
    let mut out = first.to_string();
    if left.head.seed != right.head.seed {
        out += "  the seeds differ, and with them the ids of issues: run both with one --seed to see less\n";
    }
    let mut lines = vec![words("session|same|differ|only first|only second|from")];
    for (name, strand) in &found.strands {
        let Some(from) = &strand.first else { continue };
        let counts = [strand.same, strand.differ, strand.only_left, strand.only_right];
        let mut line = vec![name.clone()];
        line.extend(counts.map(|count| count.to_string()));
        line.push(from.to_string());
        lines.push(line);
    }
    out + "\n" + &table(&lines)
}

fn to_json(found: &Comparison) -> serde_json::Value {
    let first = found.first.as_ref().map(|split| {
        let difference = split.difference.as_ref().map(|difference| {
            json!({"label": difference.label, "first": difference.recorded, "second": difference.now})
        });
        json!({
            "class": split.class, "effect": split.effect, "summary": split.summary, "same": split.equal,
            "differs": difference,
        })
    });
    let strands = found.strands.iter().map(|(name, strand)| {
        json!({
            "session": name, "same": strand.same, "differ": strand.differ, "only_first": strand.only_left,
            "only_second": strand.only_right, "from": strand.first,
        })
    });
    json!({"equal": found.first.is_none(), "first": first, "sessions": strands.collect::<Vec<_>>()})
}
