//! How YAML becomes a tree of nodes.
//!
//! The reader tells events, and this file gives them meaning: what words stand for ([`plain`]), what an alias and a
//! merge bring in, and what is refused. All that an alias brings in stands where the alias does.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle, Tag};

use super::node::{Entry, Node, NodeValue};
use super::sources::SyntaxError;
use super::{mistake, plain};
use crate::limit;

/// Reads a text; an empty one is nothing.
///
/// # Errors
/// The first mistake of the text: after it, nothing of a YAML text can be trusted.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let events = events(text)?;
    if events.is_empty() {
        return Ok(Node { value: NodeValue::Null, span: 0..0 });
    }
    let mut reading =
        Reading { text, events: &events, next: 0, anchors: HashMap::new(), values: 0, bytes: 0 };
    reading.node(1, None)
}

type Located<'t> = (Event<'t>, Range<usize>);

/// The events that make up the one document, each with its bytes.
fn events(text: &str) -> Result<Vec<Located<'_>>, SyntaxError> {
    let mut events = Vec::new();
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, options()) {
        let (event, span) = event.map_err(|error| mistake::of_reader(&error, text))?;
        let bytes = bytes(span.byte_range(), text);
        match event {
            Event::DocumentStart(_, version) => {
                documents += 1;
                if documents > 1 {
                    return Err(SyntaxError::new(bytes, "a second document starts here")
                        .help("one file holds one document; remove the rest"));
                }
                if version.is_some_and(|version| (version.major, version.minor) == (1, 1)) {
                    return Err(mistake::old_version(text));
                }
            }
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(_) => {
                if let Some(tag) = tag_of(&event).filter(|tag| !is_known(tag)) {
                    let place = span.tag_span().and_then(|span| span.byte_range());
                    return Err(mistake::unknown_tag(place.unwrap_or(bytes), &tag.original()));
                }
                events.push((event, bytes));
            }
            Event::SequenceEnd | Event::MappingEnd => events.push((event, bytes)),
            _ => {}
        }
        if events.len() > 2 * limit::SOURCE_NODES + 2 {
            let (_, place) = events.swap_remove(events.len() - 1);
            return Err(mistake::too_many_values(place));
        }
    }
    Ok(events)
}

fn options() -> granit_parser::Options {
    granit_parser::options! {
        emit_comments: false,
        // Keys are as long as they are; what bounds them is the size of the file.
        simple_key_max_lookahead: limit::SOURCE_BYTES,
    }
}

/// The bytes of an event, without the white space that the reader counts to it.
fn bytes(span: Option<Range<usize>>, text: &str) -> Range<usize> {
    let Some(span) = span else { return text.len()..text.len() };
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.floor_char_boundary(span.end.clamp(start, text.len()));
    start..start + text[start..end].trim_end().len()
}

fn tag_of<'e>(event: &'e Event<'_>) -> Option<&'e Tag> {
    match event {
        Event::Scalar(_, _, _, tag) | Event::SequenceStart(_, _, tag) | Event::MappingStart(_, _, tag) => {
            tag.as_deref()
        }
        _ => None,
    }
}

/// Whether a tag is one of the core schema, or `!`, which makes a word a string.
fn is_known(tag: &Tag) -> bool {
    tag.core_suffix().is_some() || tag.original() == "!"
}

/// A tree that is being made of events.
struct Reading<'e, 't> {
    text: &'t str,
    events: &'e [Located<'t>],
    next: usize,
    /// The events that anchored nodes begin with; those of nodes that have ended.
    anchors: HashMap<usize, usize>,
    /// Values so far, those that aliases bring in among them.
    values: usize,
    /// Bytes of text that aliases brought in.
    bytes: usize,
}

impl<'e, 't> Reading<'e, 't> {
    fn take(&mut self) -> &'e Located<'t> {
        let event = &self.events[self.next];
        self.next += 1;
        event
    }

    /// Whether the container that is read ends here; its end is then passed.
    fn ends(&mut self) -> bool {
        let ends = matches!(self.events[self.next].0, Event::SequenceEnd | Event::MappingEnd);
        self.next += usize::from(ends);
        ends
    }

    /// The node that begins with the next event; `at` is the alias that brings it in, if one does.
    fn node(&mut self, depth: usize, at: Option<&Range<usize>>) -> Result<Node, SyntaxError> {
        let start = self.next;
        let (event, span) = self.take();
        let span = at.unwrap_or(span).clone();
        if let Event::Alias(anchor) = event {
            return self.alias(*anchor, depth, &span);
        }
        self.count(event, &span, at)?;
        let value = match event {
            Event::Scalar(text, style, _, tag) => scalar(text, *style, tag.as_deref(), &span)?,
            Event::SequenceStart(_, _, tag) => {
                self.open(depth, &span, tag.as_deref(), "seq")?;
                let mut items = Vec::new();
                while !self.ends() {
                    items.push(self.node(depth + 1, at)?);
                }
                NodeValue::List(items)
            }
            Event::MappingStart(style, _, tag) => {
                self.open(depth, &span, tag.as_deref(), "map")?;
                NodeValue::Map(self.entries(*style, depth, at)?)
            }
            _ => unreachable!("only events of nodes are kept, and ends are taken by whoever waits for them"),
        };
        self.anchor(event, start);
        let span = container(span, &value);
        Ok(Node { value, span })
    }

    /// Remembers where a node begins that has an anchor.
    fn anchor(&mut self, event: &Event<'_>, start: usize) {
        if let Some(anchor) = event.anchor_id() {
            self.anchors.insert(anchor, start);
        }
    }

    /// The node that an alias stands for, with all its parts where the alias stands.
    fn alias(&mut self, anchor: usize, depth: usize, span: &Range<usize>) -> Result<Node, SyntaxError> {
        let Some(start) = self.anchors.get(&anchor).copied() else {
            return Err(SyntaxError::new(span.clone(), "an alias cannot stand in what it refers to")
                .help("nothing can hold itself; write the value out"));
        };
        let back = std::mem::replace(&mut self.next, start);
        let node = self.node(depth, Some(span))?;
        self.next = back;
        Ok(node)
    }

    fn count(
        &mut self,
        event: &Event<'_>,
        span: &Range<usize>,
        at: Option<&Range<usize>>,
    ) -> Result<(), SyntaxError> {
        self.values += 1;
        if let (Some(_), Event::Scalar(text, ..)) = (at, event) {
            self.bytes += text.len();
        }
        match at {
            Some(_) if self.values > limit::SOURCE_NODES || self.bytes > limit::SOURCE_BYTES => {
                Err(mistake::aliases_multiply(span.clone()))
            }
            None if self.values > limit::SOURCE_NODES => Err(mistake::too_many_values(span.clone())),
            _ => Ok(()),
        }
    }

    /// What holds of lists and maps alike.
    fn open(
        &self,
        depth: usize,
        span: &Range<usize>,
        tag: Option<&Tag>,
        own: &str,
    ) -> Result<(), SyntaxError> {
        if depth > limit::SOURCE_DEPTH {
            return Err(mistake::too_deep(span.clone()));
        }
        match tag {
            Some(tag) if tag.core_suffix().is_some_and(|suffix| suffix != own) => Err(SyntaxError::new(
                span.clone(),
                format!("`{}` does not fit what it stands before", tag.original()),
            )
            .help("remove it")),
            _ => Ok(()),
        }
    }

    /// The entries of a map whose start has been taken, with what a merge brings in.
    fn entries(
        &mut self,
        style: StructureStyle,
        depth: usize,
        at: Option<&Range<usize>>,
    ) -> Result<Vec<Entry>, SyntaxError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Range<usize>> = HashMap::new();
        let mut merge: Option<(usize, Vec<Entry>)> = None;
        while !self.ends() {
            let (key, key_span) = self.key(at)?;
            let tab = self.tab_before(&key_span).filter(|_| style == StructureStyle::Block && at.is_none());
            if let Some(tab) = tab {
                return Err(mistake::tab(tab));
            }
            let (name, is_merge) = match key {
                Key::Name(name) => (name, false),
                Key::Merge => ("<<".to_owned(), true),
            };
            // The name in quotes is a key like any other.
            let unique = if is_merge { "<< merge".to_owned() } else { name.clone() };
            if let Some(first) = seen.insert(unique, key_span.clone()) {
                let line = self.text[..first.start].matches('\n').count() + 1;
                return Err(mistake::duplicate_key(key_span, &name, Some(line)));
            }
            let value = self.node(depth + 1, at)?;
            if is_merge {
                merge = Some((entries.len(), merged(value)?));
            } else {
                entries.push(Entry { key: name, key_span, value });
            }
        }
        if let Some((place, merged)) = merge {
            let brought = merged.into_iter().filter(|entry| !seen.contains_key(&entry.key));
            entries.splice(place..place, brought);
        }
        Ok(entries)
    }

    fn key(&mut self, at: Option<&Range<usize>>) -> Result<(Key, Range<usize>), SyntaxError> {
        let start = self.next;
        let (event, span) = self.take();
        let span = at.unwrap_or(span).clone();
        let named = match event {
            Event::Alias(anchor) => self.anchors.get(anchor).map(|start| &self.events[*start].0),
            event => Some(event),
        };
        if let Some(Event::Scalar(text, style, _, tag)) = named {
            let tag = tag.as_deref();
            let is_bare = *style == ScalarStyle::Plain && tag.is_none();
            let is_nothing = matches!(scalar(text, *style, tag, &span)?, NodeValue::Null);
            if matches!(event, Event::Scalar(..)) {
                self.anchor(event, start);
                if is_bare && text == "<<" {
                    return Ok((Key::Merge, span));
                }
            }
            if !is_nothing {
                return Ok((Key::Name(text.to_string()), span));
            }
        }
        let is_template = self.text[..span.start].ends_with('{') && self.text[span.start..].starts_with('{');
        let help = match is_template {
            true => "put a text with `{{ … }}` in quotes",
            false => "write a word or a text in quotes before the `:`",
        };
        Err(SyntaxError::new(span, "a key must be a string").help(help))
    }

    /// The tab in the white space that a line begins with, if this stands right behind it.
    fn tab_before(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let before = self.text[..span.start].trim_end_matches([' ', '\t']);
        let tab = before.len() + self.text[before.len()..span.start].find('\t')?;
        (before.is_empty() || before.ends_with('\n')).then_some(tab..tab + 1)
    }
}

/// What stands before a colon.
enum Key {
    Name(String),
    /// `<<`, without quotes.
    Merge,
}

/// The entries that the value of `<<` brings in; of two maps with the same key the first one wins.
fn merged(value: Node) -> Result<Vec<Entry>, SyntaxError> {
    let maps = match value.value {
        NodeValue::Map(entries) => return Ok(entries),
        NodeValue::List(items) => items,
        _ => return Err(no_merge(value.span)),
    };
    let mut all: Vec<Entry> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for map in maps {
        let NodeValue::Map(entries) = map.value else { return Err(no_merge(map.span)) };
        all.extend(entries.into_iter().filter(|entry| seen.insert(entry.key.clone())));
    }
    Ok(all)
}

fn no_merge(span: Range<usize>) -> SyntaxError {
    SyntaxError::new(span, "`<<` takes a map or a list of maps")
        .help("write `<<: *name` with the anchor of a map, or put `\"<<\"` in quotes for a key of that name")
}

/// What a word or text stands for.
fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    span: &Range<usize>,
) -> Result<NodeValue, SyntaxError> {
    let refused = |reason: plain::NoNumber| mistake::no_number(span.clone(), reason);
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain => plain::value(text).map_err(refused),
            _ => Ok(NodeValue::Text(text.to_owned())),
        };
    };
    let fits = match (tag.core_suffix(), plain::value(text)) {
        (None | Some("str"), _) => Some(NodeValue::Text(text.to_owned())),
        (_, Err(reason)) => return Err(refused(reason)),
        (Some("int"), Ok(value @ NodeValue::Integer(_)))
        | (Some("bool"), Ok(value @ NodeValue::Bool(_)))
        | (Some("null"), Ok(value @ NodeValue::Null))
        | (Some("float"), Ok(value @ NodeValue::Float(_))) => Some(value),
        (Some("float"), Ok(NodeValue::Integer(number))) => Some(NodeValue::Float(number as f64)),
        _ => None,
    };
    fits.ok_or_else(|| {
        SyntaxError::new(span.clone(), format!("`{}` does not fit what it stands before", tag.original()))
            .help("remove it")
    })
}

/// The reader gives a block no width; it gets that of its first part, so that a mark under it can be seen.
fn container(span: Range<usize>, value: &NodeValue) -> Range<usize> {
    let first = match value {
        NodeValue::List(items) => items.first().map(|item| &item.span),
        NodeValue::Map(entries) => entries.first().map(|entry| &entry.key_span),
        _ => None,
    };
    match first {
        Some(first) if span.is_empty() && first.start >= span.start => span.start..first.end,
        _ => span,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Part, Route};
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
    fn merge_keys_and_aliases_bring_values_in() {
        let text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\nagain: *base\n";
        assert_eq!(
            read(text),
            json!({"base": {"a": 1, "b": 2}, "more": {"a": 1, "b": 3}, "again": {"a": 1, "b": 2}})
        );
    }

    #[test]
    fn a_merge_stands_where_it_is_written_and_gives_way() {
        let text = "x: &x {a: 1, b: 2}\ny: {c: 0, b: 9, <<: [*x, {a: 5, d: 4}], e: 6}\n";
        let tree = parse(text).expect("valid YAML");
        let entries = tree.get("y").and_then(Node::as_map).expect("a map");
        let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["c", "b", "a", "d", "e"]);
        assert_eq!(tree.get("y").expect("there").to_json(), json!({"a": 1, "b": 9, "c": 0, "d": 4, "e": 6}));
        assert_eq!(read("{\"<<\": {a: 1}}"), json!({"<<": {"a": 1}}));
    }

    #[test]
    fn what_an_alias_brings_in_stands_where_the_alias_does() {
        let text = "x: &x {a: [1, {b: 2}]}\ny: *x\nz: { <<: *x }\n*x : 1\n".replace("*x : 1\n", "");
        let tree = parse(&text).expect("valid YAML");
        let shown = |route: Route, part| text[tree.locate(&route, part).expect("there")].to_owned();
        let deep = |key: &str| Route::root().key(key).key("a").index(1).key("b");
        assert_eq!(shown(deep("x"), Part::Key), "b");
        for key in ["y", "z"] {
            assert_eq!(
                (shown(deep(key), Part::Key), shown(deep(key), Part::Value)),
                ("*x".into(), "*x".into())
            );
        }
        assert_eq!(shown(Route::root().key("z").key("a"), Part::Key), "*x");
        assert_eq!(read("a: &k b\n*k : [&m x, *m]\n"), json!({"a": "b", "b": ["x", "x"]}));
        assert_eq!(read("a: &x 1\nb: &x 2\nc: *x\n"), json!({"a": 1, "b": 2, "c": 2}));
    }

    #[test]
    fn keys_are_strings_as_they_are_written() {
        assert_eq!(
            read("1: a\ntrue: b\n0x1F: c\n1.50: d\n'': e\n2024-05-01: f\n"),
            json!({"1": "a", "true": "b", "0x1F": "c", "1.50": "d", "": "e", "2024-05-01": "f"})
        );
        let long = "k".repeat(100_000);
        assert_eq!(
            read(&format!("{long}: 1\n\"{long}x\": 2\n{{}}",).replace("{}", ""))
                .as_object()
                .map(serde_json::Map::len),
            Some(2)
        );
    }

    #[test]
    fn tags_of_the_core_schema_say_what_they_say() {
        assert_eq!(
            read("[!!str 5, !!int '5', !!float 5, !!bool 'true', !!null '', ! 5, !!map {a: 1}, !!seq [x]]"),
            json!(["5", 5, 5.0, true, null, "5", {"a": 1}, ["x"]])
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
            ("a: 1\na: 2\n", "a", 5, "duplicate key `a`, first in line 1"),
            ("x: {\n b: 1,\n 'b': 2}\n", "'b'", 13, "duplicate key `b`, first in line 2"),
            ("1: a\n\"\\x31\": b\n", "\"\\x31\"", 5, "duplicate key `1`, first in line 1"),
            ("{<<: {a: 1}, <<: {b: 1}}", "<<", 13, "duplicate key `<<`, first in line 1"),
            ("a:\n\tb: 1\n", "\t", 3, "a tab indents here; YAML indents with spaces"),
            ("\ta: 1\n", "\t", 0, "a tab indents here; YAML indents with spaces"),
            ("a: |\n\tb\n", "\t", 5, "a tab indents here; YAML indents with spaces"),
            ("a:\n  - b\n\t- c\n", "\t", 9, "a tab indents here; YAML indents with spaces"),
            ("a: 1\n---\nb: 2\n", "---", 5, "a second document starts here"),
            ("a: 1\n---\n", "---", 5, "a second document starts here"),
            ("%YAML 1.1\n---\na: yes\n", "%YAML 1.1", 0, "this file says that it is YAML 1.1"),
            ("a: .inf\n", ".inf", 3, "this number is not finite"),
            ("a: b: c\n", ":", 4, "a map cannot begin here"),
            ("? [a]\n: 1\n", "[", 2, "a key must be a string"),
            ("~: 1\n", "~", 0, "a key must be a string"),
            (": 1\n", "", 0, "a key must be a string"),
            ("a: !foo b\n", "!foo", 3, "unsupported tag `!foo`"),
            ("!foo\na: b\n", "!foo", 0, "unsupported tag `!foo`"),
            ("a: !!binary aGk=\n", "!!binary", 3, "unsupported tag `!!binary`"),
            ("a: !!int x\n", "x", 9, "`!!int` does not fit what it stands before"),
            ("a: !!seq {}\n", "{", 9, "`!!seq` does not fit what it stands before"),
            ("a: &x [1, *x]\n", "*x", 10, "an alias cannot stand in what it refers to"),
            ("a: [*nope, 1]\n", "*nope", 4, "there is no anchor `&nope` before this alias"),
            ("a: *x\nb: &x 1\n", "*x", 3, "there is no anchor `&x` before this alias"),
            ("a: {<<: [1]}\n", "1", 9, "`<<` takes a map or a list of maps"),
            ("a: [1, 2\n", "[", 3, "this `[` is never closed"),
            ("a: 'b\n", "'", 3, "this quote is never closed"),
            ("a: @b\n", "@", 3, "a text cannot begin with `@`"),
            ("a: \"\\q\"\n", "\"", 3, "an escape in this text is not known"),
            (
                "a: 18446744073709551615\n",
                "18446744073709551615",
                3,
                "this number is too large; whole numbers go up to 9223372036854775807",
            ),
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
        assert!(error.message.starts_with("with what its aliases bring in"), "{error:?}");
        let wide = format!("a: &a {}\nb: [{}]\n", "x".repeat(limit::SOURCE_BYTES / 50), "*a,".repeat(60));
        let error = parse(&wide).expect_err("a bomb of bytes");
        assert!(error.message.starts_with("with what its aliases bring in"), "{error:?}");
        let mut tower = "a0: &a0 [x]\n".to_owned();
        for level in 1..=limit::SOURCE_DEPTH {
            tower.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        let error = parse(&tower).expect_err("a tower of aliases");
        assert_eq!(error.message, "this is nested more than 64 levels deep");
        let many = format!("[{}]", "1,".repeat(limit::SOURCE_NODES + 1));
        assert_eq!(parse(&many).expect_err("many").message, "this file holds more than 200000 values");
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        parse(&deep(limit::SOURCE_DEPTH)).expect("just deep enough");
        for text in
            [deep(limit::SOURCE_DEPTH + 1), "[".repeat(20_000), "- ".repeat(20_000), "{a: ".repeat(20_000)]
        {
            assert_eq!(
                parse(&text).expect_err("too deep").message,
                "this is nested more than 64 levels deep"
            );
        }
    }
}
