//! How a tree of values is written down in a format: the other way round of reading it.

mod json;
mod number;
mod toml;
mod yaml;

use super::node::{Node, NodeValue};
use super::remarks::Remarks;
use super::route::Route;
use super::sources::Format;

/// A text in another format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The text.
    pub text: String,
    /// Comments that could not be carried over.
    pub dropped: usize,
    /// Whether aliases or merge keys were replaced by what they stand for.
    pub is_expanded: bool,
}

/// Why a tree has no text in a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// TOML has no word for nothing.
    #[error("TOML cannot say null; remove the key, or give it a value")]
    Null(Route),
    /// A TOML text is a map.
    #[error("a TOML file holds a map, and this is none")]
    NoMap,
    /// What was written does not say the same. A mistake of this program.
    #[error("this text cannot be converted without changing what it says; please report it")]
    Changed,
}

/// What is written, and from where.
struct Source<'s> {
    text: &'s str,
    remarks: Remarks,
}

/// Writes the tree of a text in another format.
pub(super) fn write(text: &str, tree: &Node, from: Format, to: Format) -> Result<Written, Unwritable> {
    let mut source = Source { text, remarks: Remarks::of(text, tree, from) };
    let schema = schema(&mut source.remarks);
    let (text, carried) = match to {
        Format::Yaml => yaml::write(tree, &source),
        Format::Toml => toml::write(tree, &source)?,
        Format::Json => (json::write(tree, &source), 0),
    };
    let text = match (schema, to) {
        (Some(address), Format::Yaml) => format!("# yaml-language-server: $schema={address}\n{text}"),
        (Some(address), Format::Toml) => format!("#:schema {address}\n{text}"),
        _ => text,
    };
    let again = super::sources::parse(&text, to).map_err(|_| Unwritable::Changed)?;
    // As JSON, since TOML has a map's values before the maps in it.
    if again.to_json() != tree.to_json() {
        return Err(Unwritable::Changed);
    }
    Ok(Written { text, dropped: source.remarks.count - carried, is_expanded: source.remarks.has_aliases })
}

/// The address of the schema that editors check the file against. Its line is then no comment any longer.
fn schema(remarks: &mut Remarks) -> Option<String> {
    let address = |line: &String| {
        let address = line.trim_start().strip_prefix("yaml-language-server: $schema=");
        address.or_else(|| line.strip_prefix(":schema ")).map(|address| address.trim().to_owned())
    };
    let (at, found) = remarks.head.iter().enumerate().find_map(|(at, line)| Some((at, address(line)?)))?;
    remarks.head.remove(at);
    remarks.count -= 1;
    Some(found)
}

/// Whether a value is neither list nor map.
fn is_scalar(node: &Node) -> bool {
    !matches!(node.value, NodeValue::List(_) | NodeValue::Map(_))
}

/// Whether a value fits into one line of brackets: scalars, and lists of them, in texts of one line.
fn is_flat(node: &Node) -> bool {
    let is_short = |node: &Node| node.as_text().is_none_or(|text| !text.contains('\n'));
    match &node.value {
        NodeValue::List(items) => items.iter().all(|item| is_scalar(item) && is_short(item)),
        NodeValue::Map(entries) => entries.iter().all(|entry| match entry.value.value {
            NodeValue::Map(_) => false,
            NodeValue::List(_) => is_flat(&entry.value),
            _ => is_short(&entry.value),
        }),
        _ => is_short(node),
    }
}

/// A text in double quotes, with the escapes that JSON, YAML and TOML share.
fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_hidden(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether a character is one that some reader refuses, or that nobody sees.
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// How wide a line may become that is written in brackets.
const WIDTH: usize = 100;
