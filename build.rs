//! Which files do the templates of `runner init` consist of? Makes the table of them that is compiled in.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const FOLDER: &str = "src/cli/init";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let mut text = String::new();
    for (name, folder) in [("SHARED", "shared"), ("CI", "ci")] {
        write!(text, "pub(super) const {name}: &[File] = &{};\n\n", files(&base.join(folder))?)?;
    }
    text.push_str("pub(super) const TEMPLATES: &[Template] = &[\n");
    for folder in sorted(&base.join("templates"))? {
        let name = folder.file_name().and_then(|name| name.to_str()).ok_or("a template's name is UTF-8")?;
        writeln!(text, "    Template {{ name: {name:?}, files: &{} }},", files(&folder)?)?;
    }
    text.push_str("];\n");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    Ok(fs::write(PathBuf::from(out).join("templates.rs"), text)?)
}

/// The files of a folder as an array. `dot.x` stands for `.x`, which tools would take for their own here.
fn files(folder: &Path) -> Result<String, Box<dyn Error>> {
    let mut found = Vec::new();
    walk(folder, &mut found)?;
    let mut text = String::from("[\n");
    for file in found {
        let path = file.strip_prefix(folder)?.to_str().ok_or("a template's path is UTF-8")?;
        let parts: Vec<String> = path
            .split('/')
            .map(|part| part.strip_prefix("dot.").map_or(part.to_owned(), |rest| format!(".{rest}")))
            .collect();
        writeln!(text, "    File {{ path: {:?}, text: include_str!({:?}) }},", parts.join("/"), file)?;
    }
    text.push(']');
    Ok(text)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for path in sorted(folder)? {
        match path.is_dir() {
            true => walk(&path, found)?,
            false => found.push(path),
        }
    }
    Ok(())
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut paths =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    Ok(paths)
}
