//! How a tool result that is too large is shown: its beginning and its end, and where all of it is.

use std::path::Path;

use super::Session;
use crate::chat::ToolSpec;
use crate::event::EffectId;
use crate::tool::results;

/// How results of one call are shown.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    call: EffectId,
    /// Largest result that is shown whole. Bytes.
    most: usize,
    reader: Reader,
}

/// With what the session can read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    ReadFile,
    Bash,
    Nothing,
}

impl Reader {
    fn of(specs: &[ToolSpec]) -> Self {
        let has = |name: &str| specs.iter().any(|spec| spec.name == name);
        match () {
            () if has("read_file") => Self::ReadFile,
            () if has("bash") => Self::Bash,
            () => Self::Nothing,
        }
    }
}

impl Session {
    /// How the result of a call is shown; `at` is its place in the message.
    pub(super) fn shelf(&self, at: usize) -> Shelf {
        Shelf {
            call: self.turn_id().call(at + 1),
            most: self.context.most_result_bytes(),
            reader: Reader::of(self.kit.specs()),
        }
    }
}

impl Shelf {
    /// What is shown of a result and, when that is not all of it, what is kept.
    pub(super) async fn place(&self, content: String, root: &Path) -> (String, Option<String>) {
        if content.len() <= self.most {
            return (content, None);
        }
        let whole = results::readable(&content);
        match self.keep(whole.clone(), root).await {
            Ok(()) => (self.show(&content, &self.remedy(&whole)), Some(whole)),
            Err(error) => (self.show(&content, &format!("The rest could not be kept ({error}).")), None),
        }
    }

    /// Keeps the whole of a result that is known from a recording.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) async fn keep(&self, whole: String, root: &Path) -> Result<(), String> {
        let (call, root) = (self.call.clone(), root.to_owned());
        let written = tokio::task::spawn_blocking(move || results::keep(&root, &call, &whole)).await;
        let path = results::path_of(&self.call);
        written.expect("writing a file does not panic").map_err(|error| format!("{path}: {error}"))
    }

    fn remedy(&self, whole: &str) -> String {
        let (path, lines) = (results::path_of(&self.call), whole.lines().count());
        match self.reader {
            Reader::ReadFile => {
                format!(
                    "All {lines} lines of it are in {path}: read what you need with read_file, by offset and limit."
                )
            }
            Reader::Bash => {
                format!("All {lines} lines of it are in {path}: look at parts of it, with sed or grep.")
            }
            Reader::Nothing => "Ask for less at a time to see the rest.".to_owned(),
        }
    }

    fn show(&self, content: &str, remedy: &str) -> String {
        let note = format!(
            "\n\n[This result has {} bytes and is shown cut, its beginning above and its end below. {remedy}]\n\n",
            content.len()
        );
        let room = self.most.saturating_sub(note.len());
        let tail = room / 4;
        let head = floor(content, room - tail);
        let tail = ceil(content, content.len() - tail);
        format!("{}{note}{}", &content[..head], &content[tail..])
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(most: usize, reader: Reader) -> Shelf {
        Shelf { call: EffectId::turn("p/s", 3).call(2), most, reader }
    }

    #[tokio::test]
    async fn a_large_result_is_kept_whole_and_shown_within_its_bound() {
        let root = tempfile::tempdir().unwrap();
        let content = "é line\n".repeat(1_000);
        let (shown, whole) = shelf(2_000, Reader::ReadFile).place(content.clone(), root.path()).await;
        assert!(shown.len() <= 2_000 && shown.len() > 1_900, "{}", shown.len());
        assert!(shown.starts_with("é line") && shown.ends_with("é line\n"));
        assert!(
            shown.contains("All 1000 lines of it are in .runner-results/p/s/3.2.txt: read what"),
            "{shown}"
        );
        assert_eq!(whole.as_deref(), Some(content.as_str()));
        let kept = std::fs::read_to_string(root.path().join(".runner-results/p/s/3.2.txt")).unwrap();
        assert_eq!(kept, content);
        let (shown, whole) = shelf(8_000, Reader::Nothing).place(content.clone(), root.path()).await;
        assert_eq!((shown, whole), (content, None));
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_shown_cut_and_said() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(".runner-results"), "in the way").unwrap();
        let (shown, whole) = shelf(2_000, Reader::Bash).place("x".repeat(3_000), root.path()).await;
        assert!(shown.contains("could not be kept (.runner-results/p/s/3.2.txt"), "{shown}");
        assert_eq!(whole, None);
    }
}
