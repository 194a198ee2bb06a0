//! How YAML, and JSON as a part of it, becomes a tree of nodes. The only file that knows the YAML reader.
//!
//! Strict YAML 1.2: only `true` and `false` are booleans; `no`, `on`, `012` and `1_000` are strings. Duplicate keys,
//! second documents, unknown tags, numbers beyond their range and alias bombs are refused with their place.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, MergeKeyPolicy, Options, Spanned};

use super::node::{Entry, Node, NodeValue};
use super::sources::SyntaxError;
use crate::limit;

/// Reads a text; an empty one is nothing.
///
/// # Errors
/// The first mistake of the text: after it, nothing of a YAML text can be trusted.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    serde_saphyr::from_str_with_options::<Spanned<Loose>>(text, options())
        .map(|tree| place(tree, text))
        .map_err(|error| syntax_error(&error, text))
}

fn options() -> Options {
    serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        legacy_octal_numbers: false,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        reject_unsupported_tags: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: limit::SOURCE_DEPTH,
            max_nodes: limit::SOURCE_NODES,
            max_events: 4 * limit::SOURCE_NODES,
            max_total_scalar_bytes: limit::SOURCE_BYTES,
        },
    }
}

/// A value whose parts carry the reader's places.
enum Loose {
    Scalar(NodeValue),
    List(Vec<Spanned<Loose>>),
    Map(Vec<(Spanned<String>, Spanned<Loose>)>),
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, a boolean, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Scalar(NodeValue::Null))
    }

    fn visit_none<E>(self) -> Result<Loose, E> {
        Ok(Loose::Scalar(NodeValue::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Loose, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Loose, E> {
        Ok(Loose::Scalar(NodeValue::Bool(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
        Ok(Loose::Scalar(NodeValue::Integer(number)))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Loose, E> {
        i64::try_from(number)
            .map(|number| Loose::Scalar(NodeValue::Integer(number)))
            .map_err(|_| E::custom(TOO_LARGE))
    }

    fn visit_i128<E: serde::de::Error>(self, number: i128) -> Result<Loose, E> {
        i64::try_from(number)
            .map(|number| Loose::Scalar(NodeValue::Integer(number)))
            .map_err(|_| E::custom(TOO_LARGE))
    }

    fn visit_u128<E: serde::de::Error>(self, _: u128) -> Result<Loose, E> {
        Err(E::custom(TOO_LARGE))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Loose, E> {
        Ok(Loose::Scalar(NodeValue::Float(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Scalar(NodeValue::Text(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Loose, E> {
        Ok(Loose::Scalar(NodeValue::Text(text)))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Loose, E> {
        Err(E::custom("binary data has no use here; write a string"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Loose::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Loose, A::Error> {
        let mut map: Vec<(Spanned<String>, Spanned<Loose>)> = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            if map.len() >= limit::SOURCE_NODES {
                return Err(A::Error::custom("too many entries in one map"));
            }
            let value = entries.next_value()?;
            map.push((key, value));
        }
        Ok(Loose::Map(map))
    }
}

const TOO_LARGE: &str = "this number is too large; whole numbers go up to 9223372036854775807";

/// Turns the reader's places into stretches of bytes. What an alias or a merge brings in stands where it was written.
fn place(loose: Spanned<Loose>, text: &str) -> Node {
    let span = bytes(loose.defined, text);
    match loose.value {
        Loose::Scalar(value) => Node { value, span },
        Loose::List(items) => {
            let items: Vec<Node> = items.into_iter().map(|item| place(item, text)).collect();
            let first = items.first().map(|item| item.span.clone());
            Node { value: NodeValue::List(items), span: container(&span, first) }
        }
        Loose::Map(entries) => {
            let entries: Vec<Entry> = entries
                .into_iter()
                .map(|(key, value)| Entry {
                    key_span: bytes(key.defined, text),
                    key: key.value,
                    value: place(value, text),
                })
                .collect();
            let first = entries.first().map(|entry| entry.key_span.clone());
            Node { value: NodeValue::Map(entries), span: container(&span, first) }
        }
    }
}

/// The reader gives a container no width; it gets that of its first part, so that a mark under it can be seen.
fn container(start: &Range<usize>, first: Option<Range<usize>>) -> Range<usize> {
    match first {
        _ if !start.is_empty() => start.clone(),
        Some(first) if first.start >= start.start => start.start..first.end,
        _ => start.clone(),
    }
}

fn bytes(location: Location, text: &str) -> Range<usize> {
    let span = location.span();
    let read = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok());
    let (Some(start), Some(len)) = (read(span.byte_offset()), read(span.byte_len())) else {
        return 0..0;
    };
    let start = floor(text, start);
    let end = floor(text, start.saturating_add(len));
    // The reader counts the white space after a plain scalar to it.
    let shown = text[start..end].trim_end().len();
    start..start + shown
}

fn floor(text: &str, byte: usize) -> usize {
    text.floor_char_boundary(byte.min(text.len()))
}

fn syntax_error(error: &serde_saphyr::Error, text: &str) -> SyntaxError {
    use serde_saphyr::Error;
    let mut error = error.without_snippet();
    let span = error.location().map_or(0..0, |location| error_span(location, text));
    while let Error::AliasError { error: inner, .. } = error {
        error = inner;
    }
    let own = |message: String, help: &str| (message, Some(help.to_owned()));
    let (message, help) = match error {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or(&text[span.clone()]);
            own(format!("duplicate key `{key}`"), "a key stands once in a map; remove one of the two")
        }
        Error::MultipleDocuments { .. } => {
            own("a second document starts here".to_owned(), "one file holds one document; remove the rest")
        }
        Error::NonFiniteFloat { .. } => {
            own("this number is not finite".to_owned(), "write an ordinary number")
        }
        Error::Budget { .. } => own(
            "this is larger or deeper than allowed".to_owned(),
            "aliases that refer to aliases multiply; write the values out",
        ),
        other => (plain_words(&other.to_string()), None),
    };
    SyntaxError { span, message, help }
}

/// The reader's own words without the place at their end, which is shown in another way.
fn plain_words(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let words = first.split(" at line ").next().unwrap_or(first);
    match words {
        "expected string scalar" => "a key must be a string".to_owned(),
        words if words.starts_with("cannot deserialize null into string") => {
            "a key must be a string".to_owned()
        }
        words if words.starts_with("tabs disallowed") => {
            "a tab indents here; YAML indents with spaces".to_owned()
        }
        words => words.trim_end_matches([',', ':']).to_owned(),
    }
}

/// Mistakes found before there are values come with line and column only.
fn error_span(location: Location, text: &str) -> Range<usize> {
    if location.span().byte_offset().is_some() {
        return bytes(location, text);
    }
    let number = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(line) = text.split_inclusive('\n').nth(number(location.line())) else {
        return text.len()..text.len();
    };
    let start = line.as_ptr() as usize - text.as_ptr() as usize;
    let mut rest = line.trim_end_matches('\n').char_indices().skip(number(location.column()));
    match rest.next() {
        Some((at, c)) => start + at..start + at + c.len_utf8(),
        None => {
            let end = start + line.trim_end_matches('\n').len();
            end..end
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> serde_json::Value {
        parse(text).expect("valid YAML").to_json()
    }

    #[test]
    fn only_true_and_false_are_booleans_and_only_plain_digits_are_numbers() {
        assert_eq!(
            read(
                "[true, false, yes, no, on, off, y, 012, 1_000, 0x10, 12, 1.5, ~, null, '', \"true\", 1:30]"
            ),
            json!([
                true, false, "yes", "no", "on", "off", "y", "012", "1_000", 16, 12, 1.5, null, null, "",
                "true", "1:30"
            ])
        );
    }

    #[test]
    fn json_is_yaml() {
        assert_eq!(
            read("{\n\t\"a\":\t\"\\ud83d\\ude00\\/\", \"b\": [1e3, -2, {}]\n}\n"),
            json!({"a": "😀/", "b": [1000.0, -2, {}]})
        );
    }

    #[test]
    fn merge_keys_and_aliases_bring_values_in() {
        let text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\nagain: *base\n";
        assert_eq!(
            read(text),
            json!({"base": {"a": 1, "b": 2}, "more": {"a": 1, "b": 3}, "again": {"a": 1, "b": 2}})
        );
    }

    #[test]
    fn spans_cover_what_was_written() {
        let text = "ä: 'x y'   # c\nlist:\n  - k: plain words  # c\n";
        let tree = parse(text).expect("valid YAML");
        let shown = |node: &Node| text[node.span.clone()].to_owned();
        assert_eq!(shown(tree.get("ä").expect("there")), "'x y'");
        let item = &tree.get("list").and_then(Node::as_list).expect("a list")[0];
        assert_eq!(shown(item), "k");
        assert_eq!(shown(item.get("k").expect("there")), "plain words");
        assert_eq!(&text[tree.entry("list").expect("there").key_span.clone()], "list");
    }

    #[test]
    fn mistakes_have_a_place() {
        let cases = [
            ("a: 1\na: 2\n", "a", 5, "duplicate key `a`"),
            ("a:\n\tb: 1\n", "b", 4, "a tab indents here; YAML indents with spaces"),
            ("a: 1\n---\nb: 2\n", "", 9, "a second document starts here"),
            ("a: .inf\n", ".inf", 3, "this number is not finite"),
            ("a: b: c\n", ":", 4, "mapping values are not allowed in this context"),
            ("? [a]\n: 1\n", "[", 2, "a key must be a string"),
            ("~: 1\n", "~", 0, "a key must be a string"),
            ("a: !foo b\n", "b", 8, "unsupported tag `!foo`"),
            ("a: 18446744073709551615\n", "18446744073709551615", 3, TOO_LARGE),
        ];
        for (text, shown, start, message) in cases {
            let error = parse(text).expect_err(text);
            assert_eq!(
                (error.message.as_str(), &text[error.span.clone()], error.span.start),
                (message, shown, start)
            );
        }
    }

    #[test]
    fn an_alias_bomb_and_deep_nesting_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [below.as_str(); 9].join(", ")));
        }
        let error = parse(&bomb).expect_err("a bomb");
        assert!(error.message.contains("larger or deeper than allowed"), "{error:?}");
        parse(&"[".repeat(20_000)).expect_err("too deep");
        let deep = format!("{}{}", "[".repeat(limit::SOURCE_DEPTH + 2), "]".repeat(limit::SOURCE_DEPTH + 2));
        parse(&deep).expect_err("too deep");
    }
}
