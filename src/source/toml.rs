//! How TOML becomes a tree of nodes, with every mistake of the text and not only the first.

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::lexer::TokenKind;

use super::mistake;
use super::node::{Entry, Node, NodeValue};
use super::plain::NoNumber;
use super::sources::SyntaxError;
use crate::limit;

/// Reads a text; an empty one is an empty map.
///
/// # Errors
/// Every mistake of the text, in its order.
pub(super) fn parse(text: &str) -> Result<Node, Vec<SyntaxError>> {
    bounded(text).map_err(|mistake| vec![mistake])?;
    let (table, errors) = DeTable::parse_recoverable(text);
    let shown = errors.iter().take(limit::SYNTAX_ERRORS + 1);
    let mut mistakes: Vec<SyntaxError> = shown.map(|error| syntax_error(error, text)).collect();
    let span = table.span();
    let map = map(table.get_ref(), 1, &mut mistakes);
    if mistakes.is_empty() {
        return Ok(Node { value: map, span });
    }
    mistakes.sort_by_key(|mistake| mistake.span.start);
    mistakes.dedup();
    if mistakes.len() > limit::SYNTAX_ERRORS {
        mistakes.truncate(limit::SYNTAX_ERRORS);
        if let Some(last) = mistakes.last_mut() {
            last.help = Some("there are more mistakes behind this one".to_owned());
        }
    }
    Err(mistakes)
}

/// Whether a text is worth reading: what it holds is counted, and how deep it leads, before anything is kept of it. The
/// reader bounds brackets and dots each, but not both together, and what it makes of them is dropped level by level.
fn bounded(text: &str) -> Result<(), SyntaxError> {
    let mut values = 0_usize;
    // Dots of the key that is open on each level of brackets; each part of a dotted key leads one level down.
    let mut dots = vec![0_usize];
    let mut depth = 0_usize;
    for token in toml_parser::Source::new(text).lex() {
        let level = dots.len() - 1;
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                values += 1;
                depth += 1;
                dots.push(0);
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket if level > 0 => {
                depth -= 1 + dots.pop().unwrap_or_default();
            }
            TokenKind::Dot => {
                depth += 1;
                dots[level] += 1;
            }
            TokenKind::Comma => {
                values += 1;
                depth -= std::mem::take(&mut dots[level]);
            }
            TokenKind::Newline if level == 0 => depth -= std::mem::take(&mut dots[0]),
            TokenKind::Equals => values += 1,
            _ => {}
        }
        let span = token.span().start()..token.span().end();
        if values > limit::SOURCE_NODES {
            return Err(mistake::too_many_values(span));
        }
        if depth > 2 * limit::SOURCE_DEPTH {
            return Err(mistake::too_deep(span));
        }
    }
    Ok(())
}

/// The reader's mistake; the two most frequent ones in clearer words.
fn syntax_error(error: &toml::de::Error, text: &str) -> SyntaxError {
    let span = error.span().unwrap_or(0..0);
    let marked = text.get(span.clone()).unwrap_or_default().trim();
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let (message, help) = if message.starts_with("string values must be quoted") && marked.is_empty() {
        ("a value is missing here".to_owned(), Some("write one, or remove the key"))
    } else if message == "duplicate key" {
        return mistake::duplicate_key(span.clone(), marked, first_line(text, span.start));
    } else {
        (message, None)
    };
    SyntaxError { span, message, help: help.map(str::to_owned) }
}

/// The line of the earlier one of two keys, if it is plain to see: the same header, or the same key below one header.
fn first_line(text: &str, second: usize) -> Option<usize> {
    let start = text[..second].rfind('\n').map_or(0, |end| end + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let before: Vec<&str> = text[..start].lines().collect();
    let key = |line: &str| line.split_once('=').map(|(key, _)| key.trim().to_owned());
    let found = match key(line) {
        Some(_) if line.trim_start().starts_with('[') => None,
        Some(wanted) => {
            let header =
                before.iter().rposition(|line| line.trim_start().starts_with('[')).map_or(0, |at| at + 1);
            before[header..].iter().position(|line| key(line).as_ref() == Some(&wanted)).map(|at| header + at)
        }
        None => before.iter().position(|other| other.trim() == line.trim()),
    };
    found.map(|at| at + 1)
}

fn map(table: &DeTable<'_>, depth: usize, mistakes: &mut Vec<SyntaxError>) -> NodeValue {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            value: node(value, depth, mistakes),
        })
        .collect();
    // The reader sorts by name; the order of a file means something (roles, inputs).
    entries.sort_by_key(|entry| entry.key_span.start);
    NodeValue::Map(entries)
}

fn node(value: &Spanned<DeValue<'_>>, depth: usize, mistakes: &mut Vec<SyntaxError>) -> Node {
    let span = value.span();
    let no_number = |reason| mistake::no_number(span.clone(), reason);
    let mut refuse = |mistake: SyntaxError| {
        mistakes.push(mistake);
        NodeValue::Null
    };
    if depth > limit::SOURCE_DEPTH {
        return Node { value: refuse(mistake::too_deep(span.clone())), span };
    }
    let value = match value.get_ref() {
        DeValue::String(text) => NodeValue::Text(text.to_string()),
        DeValue::Boolean(flag) => NodeValue::Bool(*flag),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => NodeValue::Integer(number),
            Err(_) if number.as_str().starts_with('-') => refuse(no_number(NoNumber::TooSmall)),
            Err(_) => refuse(no_number(NoNumber::TooLarge)),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => NodeValue::Float(number),
            _ => refuse(no_number(NoNumber::NotFinite)),
        },
        DeValue::Datetime(moment) => {
            let message = format!("`{moment}` is a date, and nothing here takes a date");
            refuse(SyntaxError::new(span.clone(), message).help("put it in quotes to make it a string"))
        }
        DeValue::Array(items) => {
            NodeValue::List(items.iter().map(|item| node(item, depth + 1, mistakes)).collect())
        }
        DeValue::Table(table) => map(table, depth + 1, mistakes),
    };
    Node { value, span }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_values_in_the_order_of_the_text() {
        let text =
            "z = 0x1F\na = [1.5, true, 'x']\n[roles.b]\nk = 1_000\n[roles.a]\n[[phases]]\nid = \"p\"\n";
        let tree = parse(text).expect("valid TOML");
        assert_eq!(
            tree.to_json(),
            json!({"z": 31, "a": [1.5, true, "x"], "roles": {"b": {"k": 1000}, "a": {}}, "phases": [{"id": "p"}]})
        );
        let keys = |node: &Node| -> Vec<String> {
            node.as_map().expect("a map").iter().map(|entry| entry.key.clone()).collect()
        };
        assert_eq!(keys(&tree), ["z", "a", "roles", "phases"]);
        assert_eq!(keys(tree.get("roles").expect("there")), ["b", "a"]);
        let role = tree.get("roles").and_then(|roles| roles.entry("b")).expect("there");
        assert_eq!((&text[role.key_span.clone()], &text[role.value.span.clone()]), ("b", "[roles.b]"));
    }

    #[test]
    fn tells_every_mistake() {
        let errors = parse("a = \nb = 1\nb = 2\nc = 2020-01-01\nd = nan\ne = 99999999999999999999\n")
            .expect_err("wrong");
        assert_eq!(errors.len(), 5, "{errors:#?}");
        assert!(
            errors.iter().any(|error| error.help.as_deref() == Some("put it in quotes to make it a string"))
        );
    }

    #[test]
    fn a_second_key_names_the_line_of_the_first() {
        let cases = [
            ("b = 1\n[x]\nb = 2\na = 1\nb = 3\n", "duplicate key `b`, first in line 3", 22),
            ("[x.y]\na = 1\n[z]\n[x.y]\n", "duplicate key `y`, first in line 1", 19),
            ("a = 1\n\"a\" = 2\n", "duplicate key `\"a\"`", 6),
            ("x = { a = 1, a = 2 }\n", "duplicate key `a`", 13),
        ];
        for (text, message, start) in cases {
            let errors = parse(text).expect_err(text);
            assert_eq!((errors[0].message.as_str(), errors[0].span.start), (message, start), "{text}");
        }
    }

    #[test]
    fn a_text_full_of_mistakes_is_told_of_in_part() {
        let errors = parse(&"a = \n".repeat(5_000)).expect_err("wrong");
        assert_eq!(errors.len(), limit::SYNTAX_ERRORS);
        assert_eq!(errors[99].help.as_deref(), Some("there are more mistakes behind this one"));
    }

    #[test]
    fn numbers_are_not_taken_for_depth_nor_is_their_number() {
        let floats = format!("a = [{}]\nb = [\n{}]\n", "1.5,".repeat(5_000), "2.5,\n".repeat(5_000));
        assert_eq!(
            parse(&floats).expect("valid").get("a").and_then(Node::as_list).map(<[_]>::len),
            Some(5_000)
        );
        let errors = parse(&format!("a = [{}]", "1,".repeat(limit::SOURCE_NODES + 1))).expect_err("too many");
        assert_eq!(errors[0].message, "this file holds more than 200000 values");
    }

    #[test]
    fn deep_nesting_is_refused() {
        let dotted = vec!["a"; 70].join(".");
        let tables = format!("{dotted} = {{").repeat(60);
        for text in [format!("x = {{{tables}"), format!("[{dotted}]\nb = 1\n"), format!("{dotted} = 1\n")] {
            let errors = parse(&text).expect_err("too deep");
            assert!(errors[0].message.starts_with("this is nested more than"), "{errors:?}");
        }
        let depth = limit::SOURCE_DEPTH + 2;
        parse(&format!("a = {}{}", "[".repeat(depth), "]".repeat(depth))).expect_err("too deep");
        parse(&format!("a = {}", "[".repeat(20_000))).expect_err("too deep");
    }
}
