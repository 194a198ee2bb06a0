//! Which characters no file may hold as they are, whatever its format.

use super::sources::SyntaxError;

/// The first control character of a text that is neither a tab nor the end of a line.
///
/// # Errors
/// There is one: it cannot be seen, some readers take it for the end, and a terminal may obey it.
pub(super) fn check(text: &str) -> Result<(), SyntaxError> {
    let Some((at, found)) = text.char_indices().find(|(_, c)| is_refused(*c)) else { return Ok(()) };
    let number = u32::from(found);
    let help = match found {
        '\0' => "remove it; a file that is full of them is UTF-16, which is to be saved as UTF-8".to_owned(),
        _ => format!("remove it, or write it as `\\u{number:04x}` in double quotes"),
    };
    Err(SyntaxError::new(
        at..at + found.len_utf8(),
        format!("the control character U+{number:04X} stands here"),
    )
    .help(help))
}

/// U+0085 ends a line in some old texts, and does no harm.
fn is_refused(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\u{85}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_found_and_ordinary_ones_are_not() {
        check("a:\t'é \u{85}\u{2028}\u{feff}😀'\n").expect("nothing to refuse");
        for (text, at, message) in [
            ("a: x\0y", 4, "the control character U+0000 stands here"),
            ("ä: \u{1b}[31m", 4, "the control character U+001B stands here"),
            ("# \u{7f}", 2, "the control character U+007F stands here"),
            ("\u{9b}", 0, "the control character U+009B stands here"),
            ("a\rb", 1, "the control character U+000D stands here"),
        ] {
            let error = check(text).expect_err(text);
            assert_eq!((error.message.as_str(), error.span.start), (message, at));
        }
    }
}
