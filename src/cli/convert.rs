//! `runner convert`: a scenario or mount plan from one format to another, which says the same.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::exit::Exit;
use super::launch;
use super::surroundings::{Surroundings, complain, tell};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::source::{Format, Place, Route, SourceId, Sources, Unwritable, Written};

#[derive(Debug, Clone, Args)]
pub(super) struct ConvertArguments {
    /// A scenario or a mount plan
    file: PathBuf,
    /// The format; without it, that of the output's ending
    #[arg(long, value_name = "FORMAT")]
    to: Option<To>,
    /// Write to this file in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

/// What can be converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    Yaml,
    Toml,
    Json,
}

impl To {
    fn format(self) -> Format {
        match self {
            Self::Yaml => Format::Yaml,
            Self::Toml => Format::Toml,
            Self::Json => Format::Json,
        }
    }
}

/// `runner convert FILE`.
pub(super) fn convert(arguments: &ConvertArguments, surroundings: &Surroundings) -> Exit {
    let to = match target(arguments) {
        Ok(to) => to,
        Err(reason) => {
            complain(&reason);
            return Exit::Invalid;
        }
    };
    let mut sources = Sources::new();
    let written = match written(&arguments.file, to, surroundings, &mut sources) {
        Ok(written) => written,
        Err(report) => {
            launch::show(&report, &sources, surroundings, false);
            return launch::exit_of(&report);
        }
    };
    match &arguments.output {
        None => surroundings.print(&written.text),
        Some(output) => {
            let path = surroundings.working_dir.join(output);
            if let Err(error) = save(&path, &written.text, arguments) {
                complain(&match error.kind() {
                    io::ErrorKind::AlreadyExists => {
                        format!("{} is there already; --force writes over it", output.display())
                    }
                    _ => format!("cannot write {}: {error}", output.display()),
                });
                return Exit::Invalid;
            }
        }
    }
    remark(&arguments.file, &written);
    Exit::Ok
}

/// The format that is wanted, if it is another one than the file has.
fn target(arguments: &ConvertArguments) -> Result<Format, String> {
    let file = arguments.file.display();
    let from = Format::of(&arguments.file).ok_or_else(|| {
        format!("{file} does not end as a scenario does; name it .yaml, .yml, .toml or .json")
    })?;
    let named = arguments.to.map(To::format);
    let ending = match &arguments.output {
        Some(output) => Some(
            Format::of(output)
                .ok_or_else(|| format!("{} does not end in .yaml, .yml, .toml or .json", output.display()))?,
        ),
        None => None,
    };
    let to = match (named, ending) {
        (Some(named), Some(ending)) if named != ending => {
            return Err("--to and the ending of --output name two formats; leave one of them out".to_owned());
        }
        (named, ending) => named.or(ending).ok_or("name a format with --to, or a file with --output")?,
    };
    if to == from {
        return Err(format!("{file} is written in this format already"));
    }
    Ok(to)
}

/// The text in the other format, or what is wrong with the file.
fn written(
    file: &Path,
    to: Format,
    surroundings: &Surroundings,
    sources: &mut Sources,
) -> Result<Written, Report> {
    let mut report = Report::new();
    let source = match sources.read(&surroundings.working_dir.join(file), file) {
        Ok(source) => source,
        Err(error) => {
            report.push(Diagnostic::error(Code::UnreadableFile, error.to_string()));
            return Err(report);
        }
    };
    if let Err(errors) = sources.parse(source) {
        errors.into_iter().for_each(|error| report.push(Diagnostic::syntax(source, error)));
        return Err(report);
    }
    sources.convert(source, to).map_err(|error| {
        report.push(unwritable(&error, source));
        report
    })
}

fn unwritable(error: &Unwritable, source: SourceId) -> Diagnostic {
    let route = match error {
        Unwritable::Null(route) => route.clone(),
        Unwritable::NoMap | Unwritable::Changed => Route::root(),
    };
    Diagnostic::error(Code::Unwritable, error.to_string()).at(&Place::value(source, route))
}

fn save(path: &Path, text: &str, arguments: &ConvertArguments) -> io::Result<()> {
    if arguments.force {
        return fs::write(path, text);
    }
    fs::File::create_new(path)?.write_all(text.as_bytes())
}

/// What is not as it was, though it says the same.
fn remark(file: &Path, written: &Written) {
    if written.dropped > 0 {
        let comments = match written.dropped {
            1 => "1 comment was".to_owned(),
            many => format!("{many} comments were"),
        };
        tell(&format!("{}: {comments} left out, having no place in the new file\n", file.display()));
    }
    if written.is_expanded {
        tell(&format!("{}: aliases and merge keys are written out\n", file.display()));
    }
}
