//! Which scenarios `runner test` and `runner check` take: the files that are named, and those in folders.

use std::path::{Path, PathBuf};

use crate::cassette;
use crate::source::{Format, Sources};

/// A scenario that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// From the working directory where it lies below it.
    pub(super) file: PathBuf,
    pub(super) named: Named,
}

impl Found {
    /// For people.
    pub(super) fn shown(&self) -> String {
        self.file.display().to_string()
    }
}

/// How a scenario was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// Its file was named.
    Itself,
    /// It lies in a folder.
    ByFolder,
}

/// Why there is nothing to take.
#[derive(Debug, thiserror::Error)]
pub(super) enum FindError {
    /// Nothing was named, and there is no folder that would be taken.
    #[error("there is no folder scenarios/ here or above; name scenario files or folders")]
    NoDefault,
    /// Something that was named is not there.
    #[error("there is no {}", path.display())]
    Absent {
        /// As it was named.
        path: PathBuf,
    },
    /// A folder cannot be listed.
    #[error("cannot list {}: {error}", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The folders hold no scenario.
    #[error("no scenario in {places}; one is a .yaml, .yml, .toml or .json file with `version` and `phases`")]
    Nothing {
        /// Where was looked.
        places: String,
    },
    /// The filter leaves nothing over.
    #[error("`{filter}` fits none of {count} scenarios, such as {example}")]
    FilteredOut {
        /// The filter.
        filter: String,
        /// How many there are without it.
        count: usize,
        /// One of them.
        example: String,
    },
}

/// The scenarios of these paths, or of the project's `scenarios/`.
pub(super) fn find(
    paths: &[PathBuf],
    filter: Option<&str>,
    working_dir: &Path,
) -> Result<Vec<Found>, FindError> {
    let default;
    let paths = if paths.is_empty() {
        default = [default_folder(working_dir)?];
        &default
    } else {
        paths
    };
    let mut found: Vec<Found> = Vec::new();
    for path in paths {
        let path = working_dir.join(path);
        let shown = path.strip_prefix(working_dir).unwrap_or(&path).to_owned();
        if path.is_dir() {
            let files = below(&path, working_dir)?;
            found.extend(files.into_iter().map(|file| Found { file, named: Named::ByFolder }));
        } else if path.is_file() {
            found.push(Found { file: shown, named: Named::Itself });
        } else {
            return Err(FindError::Absent { path: shown });
        }
    }
    // Named itself comes first, and is what stays of one that was found twice.
    found.sort_by(|a, b| (&a.file, a.named as u8).cmp(&(&b.file, b.named as u8)));
    found.dedup_by(|later, earlier| later.file == earlier.file);
    if found.is_empty() {
        let places: Vec<_> = paths
            .iter()
            .map(|path| path.strip_prefix(working_dir).unwrap_or(path).display().to_string())
            .collect();
        return Err(FindError::Nothing { places: places.join(", ") });
    }
    let Some(filter) = filter else { return Ok(found) };
    let (count, example) = (found.len(), found[0].shown());
    found.retain(|found| fits(filter, &found.shown()));
    if found.is_empty() {
        return Err(FindError::FilteredOut { filter: filter.to_owned(), count, example });
    }
    Ok(found)
}

/// The project's `scenarios/`: the nearest one, here or above.
pub(super) fn default_folder(working_dir: &Path) -> Result<PathBuf, FindError> {
    let above = working_dir.ancestors().map(|folder| folder.join("scenarios"));
    above.into_iter().find(|folder| folder.is_dir()).ok_or(FindError::NoDefault)
}

/// The scenarios below a folder, sorted; from the working directory where they lie below it.
pub(super) fn below(folder: &Path, working_dir: &Path) -> Result<Vec<PathBuf>, FindError> {
    let mut files = Vec::new();
    list(&working_dir.join(folder), &mut files)?;
    files.sort();
    Ok(files.iter().map(|file| file.strip_prefix(working_dir).unwrap_or(file).to_owned()).collect())
}

/// The scenarios below a folder. Hidden folders, recordings and links are not looked into.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), FindError> {
    if cassette::is_one(folder) {
        return Ok(());
    }
    let unreadable = |error| FindError::Unreadable { path: folder.to_owned(), error };
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            list(&entry.path(), files)?;
        } else if entry.path().is_file() && is_scenario(&entry.path()) {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Whether a file means to be a scenario: it has `phases`, and `version` or `roles` beside them, so that one that forgot
/// either is reported and not passed over. Of one that cannot be read as values, a line that begins the phases is enough,
/// for the same reason.
fn is_scenario(file: &Path) -> bool {
    if Format::of(file).is_none() {
        return false;
    }
    let mut sources = Sources::new();
    let Ok(id) = sources.read(file, file) else { return false };
    match sources.parse(id) {
        Ok(tree) => {
            let has = |key| tree.as_map().is_some_and(|entries| entries.iter().any(|entry| entry.key == key));
            has("phases") && (has("version") || has("roles"))
        }
        Err(_) => sources.text(id).lines().any(begins_phases),
    }
}

/// Whether a line begins the phases of a whole file, in one of the formats.
fn begins_phases(line: &str) -> bool {
    let line = line.trim_end();
    let starts = ["phases:", "[[phases", "phases =", "{\"phases\"", "  \"phases\"", "\"phases\""];
    starts.iter().any(|start| line.starts_with(start))
}

/// Whether a path contains a text or, if that has `*` or `?` in it, matches it as a whole.
fn fits(filter: &str, path: &str) -> bool {
    if !filter.contains(['*', '?']) {
        return path.contains(filter);
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (filter.chars().collect(), path.chars().collect());
    // Where the pattern's last `*` stands, and how much of the text it takes so far.
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                read = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_text_or_a_pattern() {
        for (filter, path, expected) in [
            ("demo", "scenarios/demo.yaml", true),
            ("demo", "scenarios/hello.yaml", false),
            ("scenarios/*.toml", "scenarios/demo.toml", true),
            ("scenarios/*.toml", "scenarios/demo.yaml", false),
            ("*/d?mo*", "scenarios/demo.yaml", true),
            ("demo*", "scenarios/demo.yaml", false),
            ("*a*b*c", "xaxbxbxc", true),
            ("*a*b*c", "xaxbxcx", false),
        ] {
            assert_eq!(fits(filter, path), expected, "{filter} {path}");
        }
    }

    #[test]
    fn a_broken_scenario_is_one_and_other_files_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.yaml", "version: 1\nphases: []\n");
        write("b.yml", "name: [\nversion: 1\nphases:\n");
        write("c.toml", "version = 1\n[[phases]]\nid = \"x\"\n");
        write("d.script.yaml", "version: 1\nrules: []\n");
        write("e.yaml", "version: 1\nnotes:\n  phases: 3\n");
        write("f.json", "{\"version\": 1, \"phases\": []}");
        write("i.yaml", "versoin: 1\nroles: {}\nphases: []\n");
        write("j.yaml", "phases: []\n");
        write("k.json", "{\n  \"version\": 1,\n  \"phases\": [\n");
        write("l.toml", "roles.x = 1\n[[phases]\n");
        std::fs::create_dir(folder.path().join("g.cassette")).unwrap();
        write("g.cassette/cassette.yaml", "version: 1\nphases: 1\n");
        std::fs::create_dir(folder.path().join(".hidden")).unwrap();
        write(".hidden/h.yaml", "version: 1\nphases: []\n");
        let found = find(&["a.yaml".into(), ".".into()], None, folder.path()).unwrap();
        let shown: Vec<_> = found.iter().map(|found| (found.shown(), found.named)).collect();
        assert_eq!(
            shown,
            [
                ("a.yaml".to_owned(), Named::Itself),
                ("b.yml".to_owned(), Named::ByFolder),
                ("c.toml".to_owned(), Named::ByFolder),
                ("f.json".to_owned(), Named::ByFolder),
                ("i.yaml".to_owned(), Named::ByFolder),
                ("k.json".to_owned(), Named::ByFolder),
                ("l.toml".to_owned(), Named::ByFolder),
            ]
        );
    }
}
