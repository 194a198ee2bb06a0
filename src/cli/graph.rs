//! `runner graph`: a scenario's phases as a drawing, without running anything.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::arguments::ReadArguments;
use super::exit::Exit;
use super::plan::checked;
use super::surroundings::Surroundings;
use crate::graph::{dot, mermaid};

#[derive(Debug, Clone, Args)]
pub(super) struct GraphArguments {
    /// The scenario file (.yaml, .yml, .toml or .json)
    file: PathBuf,
    #[command(flatten)]
    read: ReadArguments,
    /// Who is to read the drawing
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "mermaid")]
    format: GraphFormat,
}

/// Who reads a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GraphFormat {
    /// Mermaid, as in Markdown on GitHub
    Mermaid,
    /// Graphviz
    Dot,
}

/// `runner graph FILE`.
pub(super) fn graph(arguments: &GraphArguments, surroundings: &Surroundings) -> Exit {
    match checked(&arguments.read.common(&arguments.file), surroundings) {
        Ok(checked) => {
            surroundings.print(&match arguments.format {
                GraphFormat::Mermaid => mermaid(&checked.plan),
                GraphFormat::Dot => dot(&checked.plan),
            });
            Exit::Ok
        }
        Err(refusal) => refusal.complain(),
    }
}
