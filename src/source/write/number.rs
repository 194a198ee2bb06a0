//! How a number is written: as it was, where the other format reads that as the same number.

use super::super::node::{Node, NodeValue};
use super::super::sources::{Format, parse};
use super::Source;

/// The text of a number; `None` for what is none.
pub(super) fn number(node: &Node, source: &Source<'_>, to: Format) -> Option<String> {
    let plain = match node.value {
        NodeValue::Integer(number) => number.to_string(),
        // Rust's debug form has a point or an exponent in it, so it stays a fraction.
        NodeValue::Float(number) => format!("{number:?}"),
        _ => return None,
    };
    let raw = source.text.get(node.span.clone()).unwrap_or_default();
    let is_number = raw.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) && raw.len() < 64;
    let is_same = || {
        let (text, key) = match to {
            Format::Toml => (format!("n = {raw}"), true),
            Format::Yaml | Format::Json => (raw.to_owned(), false),
        };
        let tree = parse(&text, to).ok()?;
        let read = if key { tree.get("n")? } else { &tree };
        (read.value == node.value && !raw.contains(['\n', '#', ' '])).then_some(())
    };
    if is_number && is_same().is_some() { Some(raw.to_owned()) } else { Some(plain) }
}
