//! Who owns the texts of a run: reads them, keeps them, and finds lines and columns in them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::change::Change;
use super::node::Node;
use super::route::{Place, SourceId};
use super::write::{Unwritable, Written};
use super::{characters, json, toml, write, yaml};
use crate::limit;

/// Every text a run was given, for as long as it may have to be quoted.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
    /// Texts that stand for files, whatever the disk holds now.
    pinned: Option<BTreeMap<PathBuf, String>>,
    others: Others,
}

/// What of files no text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Others {
    /// They are as the disk has them.
    #[default]
    OnDisk,
    /// They are not there.
    Absent,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    /// Where it was read from, if it was.
    file: Option<PathBuf>,
    text: String,
    /// The first byte of each line.
    lines: Vec<usize>,
    tree: Option<Arc<Node>>,
}

/// A line and a column of a text, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// How a text is written, by the ending of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.yaml`, `.yml`.
    Yaml,
    /// `.json`.
    Json,
    /// `.toml`.
    Toml,
}

impl Format {
    /// The format of a file of this name.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// A mistake that keeps a text from being read as values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where, in bytes of the text as `Sources` holds it.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

/// Reads a text in a format.
pub(super) fn parse(text: &str, format: Format) -> Result<Node, Vec<SyntaxError>> {
    characters::check(text).map_err(|error| vec![error])?;
    match format {
        Format::Yaml => yaml::parse(text).map_err(|error| vec![error]),
        Format::Json => json::parse(text).map_err(|error| vec![error]),
        Format::Toml => toml::parse(text),
    }
}

impl SyntaxError {
    /// A mistake of which nothing is known but what is wrong.
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    /// With what to do about it.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("there is no file {}", path.display())]
    Absent {
        /// As shown.
        path: PathBuf,
    },
    /// The system does not give it.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// As shown.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is larger than any scenario.
    #[error("{} is larger than {limit} bytes; split it", path.display())]
    TooLarge {
        /// As shown.
        path: PathBuf,
        /// The largest that is read.
        limit: usize,
    },
    /// It is UTF-16 or UTF-32, by the mark at its start.
    #[error("{} is UTF-16 or UTF-32; save the file as UTF-8", path.display())]
    OtherUnicode {
        /// As shown.
        path: PathBuf,
    },
    /// It is not UTF-8.
    #[error("{} is not UTF-8: byte {byte} in line {line} cannot be read; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// As shown.
        path: PathBuf,
        /// The first bad byte, from 0.
        byte: usize,
        /// Its line, from 1.
        line: usize,
    },
}

impl Sources {
    /// No texts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Texts that stand for the files of these paths: what a run was started with, whatever has become of the files since.
    pub fn pinned(files: BTreeMap<PathBuf, String>, others: Others) -> Self {
        Self { files: Vec::new(), pinned: Some(files), others }
    }

    /// The files read so far and their texts.
    pub fn read_files(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.files.iter().filter_map(|source| Some((source.file.as_deref()?, source.text.as_str())))
    }

    /// Whether a file of this path can be read.
    pub fn has_file(&self, file: &Path) -> bool {
        self.pinned_text(file).is_some() || (self.reads_disk() && file.is_file())
    }

    /// Takes a text in; `path` is how it is shown. A byte order mark is dropped, and CRLF and a lone CR become LF, so that
    /// places and values do not depend on the editor.
    pub fn add(&mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> SourceId {
        let mut text = text.into();
        if let Some(rest) = text.strip_prefix('\u{feff}') {
            text = rest.to_owned();
        }
        if text.contains('\r') {
            text = text.replace("\r\n", "\n").replace('\r', "\n");
        }
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let id = SourceId(u32::try_from(self.files.len()).expect("fewer than four billion files are read"));
        self.files.push(Source { path: path.into(), file: None, text, lines, tree: None });
        id
    }

    /// Reads a file; `shown` is how it is named in messages. A file that is shown under the same path is read once.
    ///
    /// # Errors
    /// It is absent, unreadable, too large or not UTF-8.
    pub fn read(&mut self, file: &Path, shown: &Path) -> Result<SourceId, ReadError> {
        if let Some(id) = self.find(shown) {
            return Ok(id);
        }
        let text = match self.pinned_text(file) {
            Some(text) => text.clone(),
            None if self.reads_disk() => Self::text_of(file, shown)?,
            None => return Err(ReadError::Absent { path: shown.to_owned() }),
        };
        let id = self.add(shown, text);
        self.files[id.0 as usize].file = Some(file.to_owned());
        Ok(id)
    }

    fn pinned_text(&self, file: &Path) -> Option<&String> {
        self.pinned.as_ref()?.get(file)
    }

    fn reads_disk(&self) -> bool {
        self.others == Others::OnDisk
    }

    fn text_of(file: &Path, shown: &Path) -> Result<String, ReadError> {
        let path = || shown.to_owned();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => ReadError::Absent { path: path() },
            _ => ReadError::Io { path: path(), error },
        };
        let mut bytes = Vec::new();
        let opened = fs::File::open(file).map_err(failed)?;
        let most = u64::try_from(limit::SOURCE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        opened.take(most).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > limit::SOURCE_BYTES {
            return Err(ReadError::TooLarge { path: path(), limit: limit::SOURCE_BYTES });
        }
        if [&[0xff, 0xfe][..], &[0xfe, 0xff], &[0, 0, 0xfe, 0xff]].iter().any(|mark| bytes.starts_with(mark))
        {
            return Err(ReadError::OtherUnicode { path: path() });
        }
        String::from_utf8(bytes).map_err(|error| {
            let byte = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..byte].iter().filter(|byte| **byte == b'\n').count() + 1;
            ReadError::NotUtf8 { path: path(), byte, line }
        })
    }

    /// The text shown under this path, if it was taken in.
    pub fn find(&self, shown: &Path) -> Option<SourceId> {
        let at = self.files.iter().position(|file| file.path == shown)?;
        u32::try_from(at).ok().map(SourceId)
    }

    /// A text.
    pub fn text(&self, id: SourceId) -> &str {
        &self.file(id).text
    }

    /// How a text is shown.
    pub fn path(&self, id: SourceId) -> &Path {
        &self.file(id).path
    }

    /// Reads a text as values in the format of its file's ending, or in YAML if that says nothing. Done once; places
    /// into the text can be located afterwards. A text without any value is nothing (YAML) or an empty map (TOML).
    ///
    /// # Errors
    /// Its mistakes: all of a TOML text, the first of a YAML text.
    pub fn parse(&mut self, id: SourceId) -> Result<Arc<Node>, Vec<SyntaxError>> {
        let file = &mut self.files[id.0 as usize];
        if let Some(tree) = &file.tree {
            return Ok(Arc::clone(tree));
        }
        let tree = parse(&file.text, Format::of(&file.path).unwrap_or(Format::Yaml))?;
        Ok(Arc::clone(file.tree.insert(Arc::new(tree))))
    }

    /// A text that was read as values, in another format.
    ///
    /// # Errors
    /// The other format has no way to say it.
    pub fn convert(&self, id: SourceId, to: Format) -> Result<Written, Unwritable> {
        let file = self.file(id);
        let tree = file.tree.as_deref().expect("only a text that was parsed is converted");
        write::write(&file.text, tree, Format::of(&file.path).unwrap_or(Format::Yaml), to)
    }

    /// Sets values of a text that was read as values, whatever the text says.
    ///
    /// # Errors
    /// A route leads nowhere: which change, and where it ends.
    pub fn amend(&mut self, id: SourceId, changes: &[Change]) -> Result<Arc<Node>, Vec<(Change, String)>> {
        let file = &mut self.files[id.0 as usize];
        let mut tree = file.tree.as_deref().expect("only a text that was parsed is amended").clone();
        let wrong: Vec<_> = changes
            .iter()
            .filter_map(|change| Some((change.clone(), change.apply(&mut tree).err()?)))
            .collect();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Arc::clone(file.tree.insert(Arc::new(tree))))
    }

    /// The values of a text, if it was parsed.
    pub fn tree(&self, id: SourceId) -> Option<&Arc<Node>> {
        self.file(id).tree.as_ref()
    }

    /// The bytes of a place; `None` if its text was not parsed or has no such node.
    pub fn locate(&self, place: &Place) -> Option<Range<usize>> {
        self.file(place.source).tree.as_ref()?.locate(&place.route, place.part)
    }

    /// The line and column of a byte.
    pub fn position(&self, id: SourceId, byte: usize) -> Position {
        let file = self.file(id);
        let byte = file.text.floor_char_boundary(byte.min(file.text.len()));
        let line = file.lines.partition_point(|start| *start <= byte);
        let start = file.lines[line - 1];
        Position { line, column: file.text[start..byte].chars().count() + 1 }
    }

    /// The bytes of a line, from 1, without its end; a line beyond the last is the end of the text.
    pub fn line(&self, id: SourceId, line: usize) -> Range<usize> {
        let file = self.file(id);
        let Some(start) = file.lines.get(line.saturating_sub(1)).copied() else {
            return file.text.len()..file.text.len();
        };
        let end = file.lines.get(line.max(1)).map_or(file.text.len(), |next| next - 1);
        start..end
    }

    fn file(&self, id: SourceId) -> &Source {
        &self.files[id.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Route;

    #[test]
    fn a_mark_and_carriage_returns_do_not_move_places() {
        let mut sources = Sources::new();
        let id = sources.add("a.yaml", "\u{feff}a: 1\r\nbé: [x]\r\n");
        assert_eq!(sources.text(id), "a: 1\nbé: [x]\n");
        sources.parse(id).expect("valid");
        let span = sources.locate(&Place::value(id, Route::root().key("bé").index(0))).expect("there");
        assert_eq!(sources.position(id, span.start), Position { line: 2, column: 6 });
        assert_eq!(&sources.text(id)[sources.line(id, 2)], "bé: [x]");
        assert_eq!(sources.line(id, 99), 14..14);
        assert_eq!(sources.locate(&Place::value(id, Route::root().key("c"))), None);
    }

    #[test]
    fn lone_carriage_returns_end_lines_in_every_format() {
        for (path, text) in
            [("a.yaml", "a: 1\rb: 2\r"), ("a.toml", "a = 1\rb = 2\r"), ("a.json", "{\"a\": 1,\r\"b\": 2}\r")]
        {
            let mut sources = Sources::new();
            let id = sources.add(path, text);
            sources.parse(id).expect(path);
            let span = sources.locate(&Place::value(id, Route::root().key("b"))).expect("there");
            assert_eq!(sources.position(id, span.start).line, 2, "{path}");
        }
    }

    #[test]
    fn both_formats_name_places_in_the_same_way() {
        let mut sources = Sources::new();
        let yaml = sources.add("a.yml", "phases:\n  - id: x\n");
        let toml = sources.add("a.TOML", "[[phases]]\nid = \"x\"\n");
        for id in [yaml, toml] {
            sources.parse(id).expect("valid");
            let route = Route::root().key("phases").index(0).key("id");
            let key = sources.locate(&Place::of_key(id, route.clone())).expect("there");
            assert_eq!(&sources.text(id)[key], "id");
            let value = sources.locate(&Place::value(id, route)).expect("there");
            assert_eq!(sources.text(id)[value].trim_matches('"'), "x");
        }
    }

    #[test]
    fn files_that_cannot_be_had_say_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut sources = Sources::new();
        let mut read =
            |name: &str| sources.read(&folder.path().join(name), Path::new(name)).map_err(|e| e.to_string());
        assert_eq!(read("none.yaml"), Err("there is no file none.yaml".to_owned()));
        fs::write(folder.path().join("latin.yaml"), b"a: 1\nb: \xe9\n").expect("written");
        assert_eq!(
            read("latin.yaml"),
            Err("latin.yaml is not UTF-8: byte 8 in line 2 cannot be read; save the file as UTF-8".to_owned())
        );
        for (name, text) in [
            ("le.yaml", &b"\xff\xfea\0:\0"[..]),
            ("be.toml", b"\xfe\xff\0a\0="),
            ("32.json", b"\0\0\xfe\xff\0\0\0{"),
        ] {
            fs::write(folder.path().join(name), text).expect("written");
            assert_eq!(read(name), Err(format!("{name} is UTF-16 or UTF-32; save the file as UTF-8")));
        }
        fs::write(folder.path().join("big.yaml"), vec![b'#'; limit::SOURCE_BYTES + 1]).expect("written");
        assert_eq!(read("big.yaml"), Err("big.yaml is larger than 10485760 bytes; split it".to_owned()));
        fs::write(folder.path().join("most.yaml"), vec![b'#'; limit::SOURCE_BYTES]).expect("written");
        assert!(read("most.yaml").is_ok());
        assert!(read(".").is_err());
    }

    #[test]
    fn an_empty_text_is_read() {
        let mut sources = Sources::new();
        for (path, text) in [("a.yaml", ""), ("b.yaml", "# only a remark\n"), ("c.toml", ""), ("d.json", " ")]
        {
            let id = sources.add(path, text);
            let tree = sources.parse(id).expect(path);
            assert!(tree.is_null() || tree.as_map() == Some(&[]), "{path}: {tree:?}");
        }
    }
}
