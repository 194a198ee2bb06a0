//! `runner schema`: the JSON Schema of scenario files and of mount plans, for editors and other programs.

use clap::Args;

use super::exit::Exit;
use super::surroundings::Surroundings;
use crate::{mount_plan, scenario};

#[derive(Debug, Clone, Args)]
pub(super) struct SchemaArguments {
    /// That of mount plans, with the modules there are
    #[arg(long)]
    mount_plan: bool,
}

/// `runner schema`.
pub(super) fn schema(arguments: &SchemaArguments, surroundings: &Surroundings) -> Exit {
    let schema = match arguments.mount_plan {
        true => mount_plan::schema(&surroundings.registry.catalogue()),
        false => scenario::schema(),
    };
    surroundings.print(&format!("{schema:#}\n"));
    Exit::Ok
}
