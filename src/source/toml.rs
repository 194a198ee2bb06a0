//! How TOML becomes a tree of nodes, with every mistake of the text and not only the first.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{Entry, Node, NodeValue};
use super::sources::SyntaxError;
use crate::limit;

/// Reads a text; an empty one is an empty map.
///
/// # Errors
/// Every mistake of the text, in its order.
pub(super) fn parse(text: &str) -> Result<Node, Vec<SyntaxError>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut mistakes: Vec<SyntaxError> = errors.iter().map(|error| syntax_error(error, text)).collect();
    let span = table.span();
    let map = map(table.get_ref(), 1, &mut mistakes);
    if mistakes.is_empty() {
        return Ok(Node { value: map, span });
    }
    mistakes.sort_by_key(|mistake| mistake.span.start);
    mistakes.dedup();
    Err(mistakes)
}

/// The reader's mistake; the two most frequent ones in clearer words.
fn syntax_error(error: &toml::de::Error, text: &str) -> SyntaxError {
    let span = error.span().unwrap_or(0..0);
    let marked = text.get(span.clone()).unwrap_or_default().trim();
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let (message, help) = if message.starts_with("string values must be quoted") && marked.is_empty() {
        ("a value is missing here".to_owned(), Some("write one, or remove the key"))
    } else if message == "duplicate key" {
        (format!("duplicate key `{marked}`"), Some("a key stands once in a table; remove one of the two"))
    } else {
        (message, None)
    };
    SyntaxError { span, message, help: help.map(str::to_owned) }
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
    let mut mistake = |message: String, help: Option<&str>| {
        mistakes.push(SyntaxError { span: span.clone(), message, help: help.map(str::to_owned) });
        NodeValue::Null
    };
    if depth > limit::SOURCE_DEPTH {
        let value = mistake(format!("this is nested more than {} levels deep", limit::SOURCE_DEPTH), None);
        return Node { value, span };
    }
    let value = match value.get_ref() {
        DeValue::String(text) => NodeValue::Text(text.to_string()),
        DeValue::Boolean(flag) => NodeValue::Bool(*flag),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => NodeValue::Integer(number),
            Err(_) => {
                mistake("this number is too large; whole numbers go up to 9223372036854775807".into(), None)
            }
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => NodeValue::Float(number),
            _ => mistake("this number is not finite".into(), Some("write an ordinary number")),
        },
        DeValue::Datetime(moment) => mistake(
            format!("`{moment}` is a date, and nothing here takes a date"),
            Some("put it in quotes to make it a string"),
        ),
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
    fn deep_nesting_is_refused() {
        let depth = limit::SOURCE_DEPTH + 2;
        parse(&format!("a = {}{}", "[".repeat(depth), "]".repeat(depth))).expect_err("too deep");
        parse(&format!("a = {}", "[".repeat(20_000))).expect_err("too deep");
    }
}
