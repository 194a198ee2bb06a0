//! `runner issues import` and `export`: files in, files out, and what is said about it.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;

use serde_json::json;

use super::{IssuesError, Output};
use crate::id::canonical_json;
use crate::limit;
use crate::store::jsonl::{self, FILES, Part};
use crate::store::{Answer, Format, Import, Remarks};

/// Places shown of each remark; `--json` lists all.
const SHOWN: usize = 5;

/// Reads a file, or the files of a folder that are there.
pub(super) fn read(folder: &Path, path: &Path) -> Result<Import, IssuesError> {
    let whole = folder.join(path);
    let mut files = Vec::new();
    if whole.is_dir() {
        if !whole.join(FILES[0]).is_file() {
            let reason = format!("there is no {} in it; name the file, or the folder that has one", FILES[0]);
            return Err(IssuesError::CannotRead { path: path.display().to_string(), reason });
        }
        for role in FILES {
            if whole.join(role).is_file() {
                files.push((path.join(role).display().to_string(), role, bytes(folder, &path.join(role))?));
            }
        }
    } else {
        files.push((path.display().to_string(), FILES[0], bytes(folder, path)?));
    }
    let parts: Vec<_> = files.iter().map(|(name, role, bytes)| Part { name, role, bytes }).collect();
    Ok(jsonl::read(&parts)?)
}

fn bytes(folder: &Path, path: &Path) -> Result<Vec<u8>, IssuesError> {
    let wrong = |reason: String| IssuesError::CannotRead { path: path.display().to_string(), reason };
    let file = std::fs::File::open(folder.join(path)).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Vec::new();
    let mut bounded = file.take(limit::IMPORT_BYTES + 1);
    bounded.read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > limit::IMPORT_BYTES {
        let most = limit::IMPORT_BYTES / (1024 * 1024);
        return Err(wrong(format!("it is larger than {most} MiB; split it into several files")));
    }
    Ok(bytes)
}

/// What an import came to, in words or as JSON.
pub(super) fn imported(answer: &Answer, as_json: bool) -> Output {
    let Answer::Imported(imported) = answer else {
        unreachable!("an import answers with what it came to, not {answer:?}")
    };
    if as_json {
        let text = format!("{}\n", canonical_json(&json!({"imported": imported})));
        return Output { text, aside: String::new(), exit: 0 };
    }
    let mut text = format!(
        "{} new, {} changed, {} as before\n",
        counted(imported.created, "issue"),
        imported.updated,
        imported.unchanged
    );
    if imported.lines > 0 {
        let _ = writeln!(text, "kept for an export: {} besides the issues", counted(imported.lines, "line"));
    }
    if !imported.kept_fields.is_empty() {
        let fields = imported.kept_fields.iter().map(|(field, n)| format!("{field} ({n})"));
        let fields = fields.collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "kept for an export, not looked at here: {fields}");
    }
    text.push_str(&words(&imported.remarks));
    Output { text, aside: String::new(), exit: 0 }
}

/// Writes the queue out: to standard output, a file or a folder.
pub(super) fn export(
    answer: &Answer,
    folder: &Path,
    format: Format,
    to: Option<&Path>,
    as_json: bool,
) -> Result<Output, IssuesError> {
    let Answer::Exported(export) = answer else {
        unreachable!("an export answers with the queue, not {answer:?}")
    };
    let printed = jsonl::print(export, format);
    let Some(to) = to else {
        return match (format, printed.files.into_iter().next()) {
            (Format::Beads, Some((_, text))) => Ok(Output { text, aside: words(&printed.remarks), exit: 0 }),
            _ => Err(IssuesError::NoPlace),
        };
    };
    let mut written = Vec::new();
    for (name, text) in &printed.files {
        let path = match format {
            Format::Beads => to.to_owned(),
            Format::IssueManager => to.join(name),
        };
        write(folder, &path, text)?;
        written.push(path.display().to_string());
    }
    let text = if as_json {
        let exported = json!({"issues": printed.issues, "files": written, "remarks": printed.remarks});
        format!("{}\n", canonical_json(&json!({"exported": exported})))
    } else {
        format!("{} in {}\n{}", counted(printed.issues, "issue"), written.join(", "), words(&printed.remarks))
    };
    Ok(Output { text, aside: String::new(), exit: 0 })
}

/// Puts a whole file in place at once: whoever reads it finds the old one or the new one.
fn write(folder: &Path, shown: &Path, text: &str) -> Result<(), IssuesError> {
    let wrong = |error: std::io::Error| IssuesError::CannotWrite {
        path: shown.display().to_string(),
        reason: error.to_string(),
    };
    let path = &folder.join(shown);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(wrong)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let put = || {
        let mut file = std::fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    put().map_err(|error| {
        // What is half written is of no use; that it cannot be removed either adds nothing to the error.
        let _ = std::fs::remove_file(&new);
        wrong(error)
    })
}

fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Remarks, each with the first places it is said of.
fn words(remarks: &Remarks) -> String {
    let mut text = String::new();
    for (remark, places) in remarks {
        let _ = writeln!(text, "{} ({}):", remark.words(), places.len());
        for place in places.iter().take(SHOWN) {
            let _ = writeln!(text, "  {place}");
        }
        if places.len() > SHOWN {
            let _ = writeln!(text, "  and {} more; --json lists all", places.len() - SHOWN);
        }
    }
    text
}
