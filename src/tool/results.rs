//! Where results of tools are kept that are too large to be shown: files of the workspace that are read and not written.
//!
//! The folder is in no listing, no snapshot and no patch, so that keeping a result changes nothing that anybody sees
//! who was not told of it.

use std::io;
use std::path::Path;

use cap_std::fs::Dir;
use serde_json::Value;

use super::workspace::RESULTS;
use crate::event::EffectId;

/// A line longer than this is not shown whole by a tool that reads files. Characters.
const LINE_CHARS: usize = 1_500;

/// The path of a call's result within the workspace.
pub fn path_of(call: &EffectId) -> String {
    format!("{RESULTS}/{}.txt", call.without_attempt())
}

/// A result as it is kept: JSON on one long line is broken into lines, and so are the texts in it, for a file is read by
/// lines.
pub fn readable(content: &str) -> String {
    if content.lines().all(|line| line.chars().nth(LINE_CHARS).is_none()) {
        return content.to_owned();
    }
    match serde_json::from_str::<Value>(content) {
        Ok(json) => break_lines(&serde_json::to_string_pretty(&json).expect("what was read as JSON prints")),
        Err(_) => content.to_owned(),
    }
}

/// JSON with line breaks and tabs in its texts where it had escapes for them.
fn break_lines(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut rest = json.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some('t')) => text.push('\t'),
            (c, escaped) => text.extend([Some(c), escaped].into_iter().flatten()),
        }
    }
    text
}

/// Keeps a result, in place of an older one of the same call. Never leads out of the workspace.
///
/// # Errors
/// The file cannot be written.
pub fn keep(root: &Path, call: &EffectId, text: &str) -> io::Result<()> {
    let dir = Dir::open_ambient_dir(root, cap_std::ambient_authority())?;
    let path = path_of(call);
    let folder = Path::new(&path).parent().expect("it is in a folder");
    dir.create_dir_all(folder)?;
    dir.write(format!("{RESULTS}/.gitignore"), "*\n")?;
    dir.write(&path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_kept_under_the_name_of_its_call_and_never_outside() {
        let root = tempfile::tempdir().unwrap();
        let call = EffectId::turn("work/coder:2", 7).call(1).attempt(2);
        keep(root.path(), &call, "all of it").unwrap();
        let kept = root.path().join(".runner-results/work/coder:2/7.1.txt");
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "all of it");

        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), root.path().join(RESULTS)).unwrap();
        assert!(keep(root.path(), &call, "x").is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn json_on_one_long_line_is_broken_into_lines() {
        let long = serde_json::json!({"a": vec!["word"; 500]}).to_string();
        assert!(readable(&long).lines().count() > 500);
        assert_eq!(readable("{\"a\": 1}"), "{\"a\": 1}");
        let text = serde_json::json!({"stdout": "a line\n".repeat(900)}).to_string();
        assert_eq!(readable(&text).lines().filter(|line| line.ends_with("a line")).count(), 900);
        assert_eq!(break_lines(r#"{"a": "b\\n\tc\"d"}"#), "{\"a\": \"b\\\\n\tc\\\"d\"}");
        assert_eq!(readable(&"x".repeat(9_000)).len(), 9_000);
    }
}
