//! `runner clean`: removes the folders of old runs, and nothing else.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::refused;
use crate::cli::exit::Exit;
use crate::cli::find_run;
use crate::cli::issues::duration;
use crate::cli::surroundings::{Surroundings, complain, tell};
use crate::clock::{Clock, SystemClock};
use crate::id::RunId;
use crate::limit;

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct CleanArguments {
    /// Remove runs that began longer ago than this, such as 7d or 12h (7d when nothing else is said)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    older_than: Option<Duration>,
    /// Keep the newest N, however old
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// `runner clean`.
pub(in crate::cli) fn clean(arguments: &CleanArguments, surroundings: &Surroundings) -> Exit {
    let runs = match find_run::runs_folder(&surroundings.working_dir) {
        Ok(runs) => runs,
        Err(error) => return refused(Exit::Invalid, &error),
    };
    let verb = if arguments.dry_run { "would remove" } else { "removed" };
    let (mut count, mut freed, mut exit) = (0u32, 0u64, Exit::Ok);
    for name in chosen(arguments, &runs) {
        let folder = runs.join(&name);
        let size = size(&folder);
        match remove(&folder, arguments.dry_run) {
            Ok(true) => {
                surroundings.print(&format!("{verb} {name} ({})\n", bytes(size)));
                count += 1;
                freed += size;
            }
            Ok(false) => tell(&format!("{name} still runs and stays\n")),
            Err(error) => {
                complain(&format!("cannot remove {}: {error}", folder.display()));
                exit = Exit::Failed;
            }
        }
    }
    if !arguments.dry_run && count > 0 {
        point_latest(&runs);
    }
    let runs = if count == 1 { "run" } else { "runs" };
    tell(&format!("{verb} {count} {runs}, {}\n", bytes(freed)));
    exit
}

/// The runs that may go, the oldest first.
fn chosen(arguments: &CleanArguments, runs: &Path) -> Vec<String> {
    let names: Vec<String> =
        find_run::names(runs).into_iter().filter(|name| is_run(&runs.join(name), name)).collect();
    let may_go = names.len().saturating_sub(arguments.keep.unwrap_or(0));
    let age = match (arguments.older_than, arguments.keep) {
        (None, Some(_)) => Duration::ZERO,
        (age, _) => age.unwrap_or(limit::RUN_AGE),
    };
    let now = u64::try_from(SystemClock::default().now().as_second()).unwrap_or(0);
    let is_old = |name: &String| {
        let made = RunId::new(name.as_str()).made_at();
        made.is_some_and(|made| now.saturating_sub(made) >= age.as_secs())
    };
    names.into_iter().take(may_go).filter(is_old).collect()
}

/// Whether it is the folder of a run: a real folder whose manifest names it, whatever else a newer version writes there.
fn is_run(folder: &Path, name: &str) -> bool {
    let is_folder = folder.symlink_metadata().is_ok_and(|entry| entry.is_dir());
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
    is_folder && manifest["run"] == name
}

/// Removes a run's folder; `false` if it still runs. Its lock is held meanwhile, so that nobody takes it up.
fn remove(folder: &Path, dry_run: bool) -> std::io::Result<bool> {
    let lock = match File::options().append(true).open(folder.join("lock")) {
        Ok(file) => match file.try_lock() {
            Ok(()) => Some(file),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if !dry_run {
        std::fs::remove_dir_all(folder)?;
    }
    drop(lock);
    Ok(true)
}

/// Lets `latest` name the newest run that is left, if the one it named is gone.
fn point_latest(runs: &Path) {
    let latest = runs.join("latest");
    let named = std::fs::read_to_string(&latest).unwrap_or_default();
    if runs.join(named.trim()).is_dir() && !named.trim().is_empty() {
        return;
    }
    // A pointer that cannot be changed names a run that is gone, and is told so where it is used.
    let _ = match find_run::names(runs).last() {
        Some(name) => std::fs::write(&latest, format!("{name}\n")),
        None => std::fs::remove_file(&latest),
    };
}

/// Bytes below a folder; links are not followed.
fn size(folder: &Path) -> u64 {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    let mut total = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => total += found.len(),
                Err(_) => {}
            }
        }
    }
    total
}

fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{} kB", count / 1_000),
        _ => format!("{}.{} MB", count / 1_000_000, count / 100_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!([999, 1_000, 12_345_678].map(bytes), ["999 B", "1 kB", "12.3 MB"]);
    }
}
