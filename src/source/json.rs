//! What keeps a text from being JSON. Its values are then read as YAML, which JSON is a part of.

use serde::de::IgnoredAny;

use super::node::Node;
use super::sources::SyntaxError;
use super::yaml;

/// Reads a text; an empty one is nothing.
///
/// # Errors
/// Its first mistake.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    if !text.trim().is_empty() {
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| syntax_error(&error, text))?;
    }
    yaml::parse(text)
}

fn syntax_error(error: &serde_json::Error, text: &str) -> SyntaxError {
    let line = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    let at = text.floor_char_boundary((line + error.column().saturating_sub(1)).min(text.len()));
    let found = text[at..].chars().next();
    let span = at..at + found.filter(|c| *c != '\n').map_or(0, char::len_utf8);
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    let own = |message: &str, help: &str| SyntaxError::new(span.clone(), message).help(help);
    let before = text[..at].trim_end();
    match (words, found) {
        (_, Some('#' | '/')) => own("JSON has no comments", "remove it, or write the file as YAML or TOML"),
        (_, Some('}' | ']')) if before.ends_with(',') => {
            SyntaxError::new(before.len() - 1..before.len(), "a comma stands behind the last item")
                .help("remove it")
        }
        (_, Some('\'')) => own("a text stands in double quotes in JSON", "write `\"` in place of `'`"),
        ("key must be a string", _) => {
            own("a key must be a string in double quotes", "write `\"key\": value`")
        }
        ("trailing characters", _) => {
            own("the file is at its end before this", "remove it, or a bracket too many")
        }
        ("expected `,` or `}`" | "expected `,` or `]`", Some(close @ ('}' | ']'))) => {
            let open = if close == '}' { ']' } else { '}' };
            own(&format!("a `{open}` is missing before this `{close}`"), "close what was opened last first")
        }
        ("expected `,` or `}`" | "expected `,` or `]`", _) => {
            own("a comma is missing before this", "write `,`")
        }
        _ => SyntaxError::new(span, words),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_json_is_read_as_what_it_says() {
        let text = "{\n\t\"a\":\t\"\\ud83d\\ude00\\/\\u0000\", \"b\": [1e3, -2, {}, null, true, -0.5E-1],\n\"c\"\n:\n\"x\u{2028}\"\n,\"<<\":[],\"\":\"no\"}";
        let expected: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(parse(text).expect("valid JSON").to_json(), expected);
        assert_eq!(parse(" \n").expect("nothing").to_json(), json!(null));
        let long = format!("{{\"{0}\": \"{0}\"}}", "k".repeat(100_000));
        assert_eq!(parse(&long).expect("valid JSON").as_map().map(<[_]>::len), Some(1));
    }

    #[test]
    fn mistakes_have_a_place() {
        let cases = [
            ("{\"a\": 1,}", 7, "a comma stands behind the last item"),
            ("[1, ]", 2, "a comma stands behind the last item"),
            ("{\n  // x\n  \"a\": 1}", 4, "JSON has no comments"),
            ("# x\n{}", 0, "JSON has no comments"),
            ("{'a': 1}", 1, "a text stands in double quotes in JSON"),
            ("{a: 1}", 1, "a key must be a string in double quotes"),
            ("{\"a\": yes}", 6, "expected value"),
            ("{\"é\": 1\n", 9, "EOF while parsing an object"),
            ("{\"a\": 010}", 7, "invalid number"),
            ("{} {}", 3, "the file is at its end before this"),
            ("{\"a\": [1}", 8, "a `]` is missing before this `}`"),
            ("{\"a\": 1 \"b\": 2}", 8, "a comma is missing before this"),
            ("a: 1", 0, "expected value"),
            ("{\"a\": 1, \"\\u0061\": 2}", 9, "duplicate key `a`, first in line 1"),
            (
                "{\"a\": 18446744073709551616}",
                6,
                "this number is too large; whole numbers go up to 9223372036854775807",
            ),
            ("{\"a\": 1e999}", 6, "this number is not finite"),
        ];
        for (text, start, message) in cases {
            let error = parse(text).expect_err(text);
            assert_eq!((error.message.as_str(), error.span.start), (message, start), "{text}");
        }
        let error = parse(&format!("{}{}", "[".repeat(20_000), "]".repeat(20_000))).expect_err("too deep");
        assert_eq!(error.message, "this is nested more than 64 levels deep");
    }
}
