//! How the mistakes of a text are worded, each with what to do about it.

use std::ops::Range;

use granit_parser::{ErrorKind, ScanError};

use super::plain::NoNumber;
use super::sources::SyntaxError;
use crate::limit;

/// A mistake that the reader found.
pub(super) fn of_reader(error: &ScanError, text: &str) -> SyntaxError {
    let at = error.marker().byte_offset().unwrap_or(text.len());
    let start = text.floor_char_boundary(at.min(text.len()));
    let span =
        start..text[start..].chars().next().filter(|c| *c != '\n').map_or(start, |c| start + c.len_utf8());
    match error.kind() {
        ErrorKind::UnknownAnchor => {
            let rest = &text[start..];
            let end = rest.find(|c: char| c.is_whitespace() || ",[]{}".contains(c)).unwrap_or(rest.len());
            let name = rest[..end].trim_start_matches('*');
            SyntaxError::new(start..start + end, format!("there is no anchor `&{name}` before this alias"))
                .help("put the anchor where the value is written out, or quotes around a text that begins with `*`")
        }
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar
        | ErrorKind::TabAtBlockScalarStart => tab(tab_near(text, span)),
        ErrorKind::RecursionLimitExceeded => too_deep(span),
        ErrorKind::UnclosedFlowCollection { open } => {
            let close = if *open == '[' { ']' } else { '}' };
            SyntaxError::new(span, format!("this `{open}` is never closed"))
                .help(format!("put a `{close}` behind its last item"))
        }
        ErrorKind::UnclosedQuotedScalar => {
            SyntaxError::new(span, "this quote is never closed").help("put the same quote behind the text")
        }
        ErrorKind::MappingValueNotAllowed => SyntaxError::new(span.clone(), "a map cannot begin here").help(
            if is_first_colon(&text[..span.start]) {
                "indent this line as the one it goes with; a text that has `: ` in it stands in quotes"
            } else {
                "put a text that has `: ` in it in quotes"
            },
        ),
        ErrorKind::ExpectedDocumentStart => {
            SyntaxError::new(span, "what stands before this is a whole file already")
                .help("indent it, or take out what stands before it")
        }
        ErrorKind::UnexpectedCharacter { character } => unexpected(span, *character),
        ErrorKind::UnknownQuotedScalarEscape => SyntaxError::new(span, "an escape in this text is not known")
            .help("write `\\\\` for a backslash, or put the text in single quotes"),
        ErrorKind::UnsupportedYamlMajorVersion => SyntaxError::new(span, "this version of YAML is not known")
            .help("the runner reads YAML 1.2; remove the line"),
        ErrorKind::BomInsideDocument => SyntaxError::new(span, "a byte order mark stands inside the text")
            .help("remove it; it is the invisible character U+FEFF"),
        kind => SyntaxError::new(span, plain_words(&kind.to_string())),
    }
}

/// Whether nothing that looks like a key stands on the line before its end.
fn is_first_colon(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    !line.contains(": ") && line.len() < before.len()
}

fn unexpected(span: Range<usize>, character: char) -> SyntaxError {
    if character.is_ascii_punctuation() {
        return SyntaxError::new(span, format!("a text cannot begin with `{character}`"))
            .help("put it in quotes");
    }
    SyntaxError::new(span, format!("the character U+{:04X} cannot stand here", u32::from(character)))
        .help(format!("write it as `\\u{:04x}` in double quotes", u32::from(character)))
}

/// The reader's own words, without what it was doing.
fn plain_words(message: &str) -> String {
    let words = match message.split_once(", ") {
        Some((doing, rest)) if doing.starts_with("while ") => rest,
        _ => message,
    };
    words.trim_end_matches([',', ':']).replace("did not find expected", "expected")
}

/// The tab that the reader means: before the place that it names, or at or after it.
fn tab_near(text: &str, span: Range<usize>) -> Range<usize> {
    let blank = text[..span.start].trim_end_matches([' ', '\t']).len();
    let found = text[blank..span.start].find('\t').map(|at| blank + at);
    let found = found.or_else(|| text[span.start..].find('\t').map(|at| span.start + at));
    found.map_or(span, |at| at..at + 1)
}

pub(super) fn tab(span: Range<usize>) -> SyntaxError {
    SyntaxError::new(span, "a tab indents here; YAML indents with spaces").help("put spaces in its place")
}

pub(super) fn too_deep(span: Range<usize>) -> SyntaxError {
    SyntaxError::new(span, format!("this is nested more than {} levels deep", limit::SOURCE_DEPTH))
}

pub(super) fn too_many_values(span: Range<usize>) -> SyntaxError {
    SyntaxError::new(span, format!("this file holds more than {} values", limit::SOURCE_NODES))
        .help("no scenario needs as many; split it")
}

pub(super) fn aliases_multiply(span: Range<usize>) -> SyntaxError {
    SyntaxError::new(span, "with what its aliases bring in, this file is larger than allowed")
        .help("aliases that refer to aliases multiply; write the values out")
}

pub(super) fn unknown_tag(span: Range<usize>, tag: &str) -> SyntaxError {
    SyntaxError::new(span, format!("unsupported tag `{tag}`"))
        .help("remove it; a text that begins with `!` stands in quotes")
}

pub(super) fn duplicate_key(span: Range<usize>, key: &str, first: Option<usize>) -> SyntaxError {
    let first = first.map(|line| format!(", first in line {line}")).unwrap_or_default();
    SyntaxError::new(span, format!("duplicate key `{key}`{first}"))
        .help("a key stands once in a map; remove one of the two")
}

pub(super) fn no_number(span: Range<usize>, reason: NoNumber) -> SyntaxError {
    let help = match reason {
        NoNumber::NotFinite => "write an ordinary number, or put it in quotes to make it a string",
        NoNumber::TooLarge | NoNumber::TooSmall => "put it in quotes to make it a string",
    };
    SyntaxError::new(span, reason.to_string()).help(help)
}

pub(super) fn old_version(text: &str) -> SyntaxError {
    let start = text.find("%YAML").unwrap_or_default();
    let end = text[start..].find('\n').map_or(text.len(), |end| start + end);
    SyntaxError::new(start..end, "this file says that it is YAML 1.1")
        .help("the runner reads YAML 1.2, where `yes` and `010` are texts; remove the line")
}
