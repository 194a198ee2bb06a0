//! `runner init`: a project to begin with, made from a template, that runs at once and without a key.

mod templates;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::Exit;
use super::refusal::{Granted, Refusal};
use super::surroundings::Surroundings;
use crate::diagnostic::nearest;
use templates::{CI, File, SHARED, TEMPLATES, Template};

#[derive(Debug, Clone, Args)]
pub(super) struct InitArguments {
    /// Where; it is made if it is not there
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// What to begin with; --list shows all there are
    #[arg(long, value_name = "TEMPLATE", default_value = "foreman-workers")]
    template: String,
    /// Add a workflow for GitHub Actions that checks and tests the scenarios
    #[arg(long)]
    ci: bool,
    /// List the templates
    #[arg(long, conflicts_with_all = ["folder", "template", "ci"])]
    list: bool,
}

/// `runner init [DIR]`.
pub(super) fn init(arguments: &InitArguments, surroundings: &Surroundings) -> Exit {
    if arguments.list {
        surroundings.print(&list());
        return Exit::Ok;
    }
    match make(arguments, surroundings) {
        Ok(()) => Exit::Ok,
        Err(refusal) => refusal.complain(),
    }
}

fn list() -> String {
    let width = TEMPLATES.iter().map(|template| template.name.len()).max().unwrap_or(0);
    TEMPLATES.iter().fold(String::new(), |mut text, template| {
        let _ = writeln!(text, "{:width$}  {}", template.name, template.description());
        text
    })
}

/// How a file of a template meets what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is not there.
    Made,
    /// It is there as it would be made.
    Same,
    /// Another file is there, and stays.
    Kept,
}

fn make(arguments: &InitArguments, surroundings: &Surroundings) -> Granted<()> {
    let template = found(&arguments.template)?;
    let folder = surroundings.working_dir.join(&arguments.folder);
    let ci: &[File] = if arguments.ci { CI } else { &[] };
    let own = fates(template.files, &folder)?;
    let others: Vec<&str> =
        own.iter().filter(|(_, fate)| *fate == Fate::Kept).map(|(file, _)| file.path).collect();
    if !others.is_empty() {
        let files = others.iter().fold(String::new(), |text, path| format!("{text}\n  {path}"));
        return Err(Refusal::invalid(format!(
            "nothing was made: other files of these names are in {} already, and none is overwritten; take another folder{files}",
            arguments.folder.display()
        )));
    }
    let shared = [fates(SHARED, &folder)?, fates(ci, &folder)?].concat();
    let mut made = Vec::new();
    for (file, _) in own.iter().chain(&shared).filter(|(_, fate)| *fate == Fate::Made) {
        write(file, &folder)?;
        made.push(file.path);
    }
    let mut text = told(&made);
    for (file, _) in shared.iter().filter(|(_, fate)| *fate == Fate::Kept) {
        text += &kept(file, &folder);
    }
    surroundings.print(&format!("{text}\n{}", next(template, &arguments.folder)));
    Ok(())
}

fn found(name: &str) -> Granted<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name).ok_or_else(|| {
        let near = nearest(name, TEMPLATES.iter().map(|template| template.name));
        let guess = near.map(|near| format!(" did you mean {near}?")).unwrap_or_default();
        Refusal::invalid(format!("there is no template {name};{guess} `runner init --list` shows all"))
    })
}

fn fates(files: &'static [File], folder: &Path) -> Granted<Vec<(&'static File, Fate)>> {
    files
        .iter()
        .map(|file| {
            let path = folder.join(file.path);
            let fate = match std::fs::symlink_metadata(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Fate::Made,
                Err(error) => return Err(unusable(&path, &error)),
                Ok(_) if std::fs::read(&path).is_ok_and(|there| there == file.text.as_bytes()) => Fate::Same,
                Ok(_) => Fate::Kept,
            };
            Ok((file, fate))
        })
        .collect()
}

/// Writes a file that is not there; one that appeared meanwhile is not overwritten either.
fn write(file: &File, folder: &Path) -> Granted<()> {
    let path = folder.join(file.path);
    let written = || {
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        std::fs::File::create_new(&path)?.write_all(file.text.as_bytes())
    };
    written().map_err(|error| unusable(&path, &error))
}

fn unusable(path: &Path, error: &std::io::Error) -> Refusal {
    Refusal::configuration(format!("cannot make {}: {error}", path.display()))
}

/// The files that were made; those of a recording as one.
fn told(made: &[&str]) -> String {
    if made.is_empty() {
        return "nothing was made: all of it is there already\n".to_owned();
    }
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for path in made {
        let line =
            path.split_once(".cassette/").map_or((*path).to_owned(), |(name, _)| format!("{name}.cassette/"));
        *lines.entry(line).or_default() += 1;
    }
    lines.into_iter().fold(String::new(), |mut text, (line, count)| {
        let _ = match line.ends_with('/') {
            true => writeln!(text, "made  {line} ({count} files)"),
            false => writeln!(text, "made  {line}"),
        };
        text
    })
}

/// A file that stays as it is, with what of the template's it lacks.
fn kept(file: &File, folder: &Path) -> String {
    let there = std::fs::read_to_string(folder.join(file.path)).unwrap_or_default();
    let is_rule = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let lacks: Vec<&str> =
        file.text.lines().filter(is_rule).filter(|line| !there.lines().any(|other| other == *line)).collect();
    let is_list = file.path == ".gitignore" || file.path == ".gitattributes";
    match is_list && !lacks.is_empty() {
        true => format!("kept  {}, which is there already; add to it: {}\n", file.path, lacks.join("  ")),
        false => format!("kept  {}, which is there already\n", file.path),
    }
}

fn next(template: &Template, folder: &Path) -> String {
    let run = match folder == Path::new(".") {
        true => format!("runner {}", template.scenario()),
        false => format!("cd {} && runner {}", folder.display(), template.scenario()),
    };
    format!(
        "next: {run}\nWithout a key its recording is played. To ask models, copy .env.example to .env and fill in a key.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use templates::TEMPLATES;

    #[test]
    fn every_template_has_a_scenario_of_its_name_and_says_what_it_is() {
        assert!(TEMPLATES.iter().any(|template| template.name == "foreman-workers"));
        for template in TEMPLATES {
            let has = |end: &str| {
                template.files.iter().any(|file| file.path == template.scenario().replace(".yaml", end))
            };
            assert!(
                has(".yaml") && has(".script.yaml") && has(".cassette/cassette.yaml"),
                "{}",
                template.name
            );
            assert!(template.description().ends_with('.'), "{}", template.name);
        }
        assert!(SHARED.iter().any(|file| file.path == ".gitignore"), "dot. stands for a dot");
        assert!(CI.iter().any(|file| file.path == ".github/workflows/scenarios.yml"));
    }
}
