//! Which run folder is meant: by the whole id of a run, the beginning or end of it, or `latest`.

use std::path::{Path, PathBuf};

/// Why no run folder is meant.
#[derive(Debug, thiserror::Error)]
pub(super) enum FindError {
    /// No folder from here upwards has runs.
    #[error("there are no runs: neither {} nor a folder above it has .runner/runs", from.display())]
    NoRuns {
        /// Where the search began.
        from: PathBuf,
    },
    /// No run is called so.
    #[error("there is no run `{name}` in {}; the last is {latest}", runs.display())]
    Unknown {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        runs: PathBuf,
        /// The last run.
        latest: String,
    },
    /// Several are.
    #[error("`{name}` may be each of {}; give more of it", found.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Those it may be.
        found: Vec<String>,
    },
}

/// The folder of all runs, from this folder upwards.
pub(super) fn runs_folder(from: &Path) -> Result<PathBuf, FindError> {
    let found = from.ancestors().map(|folder| folder.join(".runner").join("runs")).find(|runs| runs.is_dir());
    found.ok_or_else(|| FindError::NoRuns { from: from.to_owned() })
}

/// The names of all runs, the oldest first.
pub(super) fn names(runs: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(runs) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| entry.path().join("manifest.json").is_file());
    let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    // An id begins with its time.
    names.sort();
    names
}

/// The folder of the run that is meant; `None` means the latest.
pub(super) fn find(runs: &Path, name: Option<&str>) -> Result<PathBuf, FindError> {
    let names = names(runs);
    let latest = std::fs::read_to_string(runs.join("latest")).map(|text| text.trim().to_owned());
    let latest = latest.ok().or_else(|| names.last().cloned()).unwrap_or_else(|| "none".to_owned());
    let name = match name {
        None | Some("latest") => latest.as_str(),
        Some(name) => name,
    };
    let mut found: Vec<String> = names.iter().filter(|known| known.as_str() == name).cloned().collect();
    if found.is_empty() && !name.is_empty() {
        let fits = |known: &&String| known.starts_with(name) || known.ends_with(name);
        found = names.iter().filter(fits).cloned().collect();
    }
    match found.as_slice() {
        [one] => Ok(runs.join(one)),
        [] => {
            Err(FindError::Unknown { name: name.to_owned(), runs: runs.to_owned(), latest: latest.clone() })
        }
        _ => Err(FindError::Ambiguous { name: name.to_owned(), found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_any_part_that_only_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join(".runner/runs");
        for name in ["0190-aa", "0190-ab", "0191-cb"] {
            std::fs::create_dir_all(runs.join(name)).unwrap();
            std::fs::write(runs.join(name).join("manifest.json"), "{}").unwrap();
        }
        std::fs::write(runs.join("latest"), "0191-cb\n").unwrap();
        let inside = runs.join("0190-aa");
        assert_eq!(runs_folder(&inside).unwrap(), runs);
        let end = |name| {
            find(&runs, name).map(|path| path.file_name().unwrap().to_owned()).map_err(|e| e.to_string())
        };
        assert_eq!(end(None).unwrap(), "0191-cb");
        assert_eq!(end(Some("latest")).unwrap(), "0191-cb");
        assert_eq!(end(Some("ab")).unwrap(), "0190-ab");
        assert_eq!(end(Some("0191")).unwrap(), "0191-cb");
        assert_eq!(end(Some("0190")).unwrap_err(), "`0190` may be each of 0190-aa, 0190-ab; give more of it");
        assert!(end(Some("x")).unwrap_err().ends_with("the last is 0191-cb"));
    }
}
