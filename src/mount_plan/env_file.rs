//! What a `.env` file says, without touching the environment of the process.

use crate::plan::Variables;

/// Reads the text of a `.env` file: `NAME=value` lines, `export` before them if wanted, quotes, `#` remarks. Of two
/// lines with one name the first counts, as where the file is loaded by others.
///
/// A `$` that would begin a substitution is refused rather than expanded: passwords hold it, and half a password is a
/// mistake nobody finds.
///
/// # Errors
/// The first line that cannot be read.
pub fn read_env_file(text: &str) -> Result<Variables, EnvFileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(line) = substitution(text) {
        return Err(EnvFileError::Dollar { line });
    }
    let mut variables = Variables::new();
    // The last line counts too when nothing ends it.
    for item in dotenvy::from_read_iter(format!("{text}\n").as_bytes()) {
        match item {
            Ok((name, value)) => {
                variables.entry(name).or_insert(value);
            }
            Err(dotenvy::Error::LineParse(near, _)) => {
                return Err(EnvFileError::Line { line: line_of(text, &near) });
            }
            Err(_) => return Err(EnvFileError::Line { line: text.lines().count().max(1) }),
        }
    }
    Ok(variables)
}

/// Why a `.env` file cannot be read. The text of the line is not part of it: it may be a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvFileError {
    /// A line that is no assignment.
    #[error("line {line} is not NAME=value; put a value with spaces, quotes or # into single quotes")]
    Line {
        /// From 1.
        line: usize,
    },
    /// A line with a substitution.
    #[error("line {line} holds a $ that would be substituted; put the value into single quotes")]
    Dollar {
        /// From 1.
        line: usize,
    },
}

/// The line that holds this text first; the reader tells the text it stopped at, not where it was.
fn line_of(text: &str, near: &str) -> usize {
    let near = near.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim_end();
    let whole = text.lines().position(|line| line.trim_end() == near);
    let part = || text.lines().position(|line| !line.trim_start().starts_with('#') && line.contains(near));
    whole.or_else(part).map_or(1, |at| at + 1)
}

/// The first line with a `$` outside single quotes that is not escaped.
fn substitution(text: &str) -> Option<usize> {
    #[derive(PartialEq)]
    enum State {
        Bare,
        Single,
        Double,
        Remark,
    }
    let (mut state, mut line, mut before) = (State::Bare, 1, '\n');
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        state = match (state, c) {
            (State::Bare | State::Double, '$') => return Some(line),
            (State::Bare, '\'') => State::Single,
            (State::Single, '\'') | (State::Double, '"') | (State::Remark, '\n') => State::Bare,
            (State::Bare, '"') => State::Double,
            (State::Bare, '#') if before.is_whitespace() => State::Remark,
            (state @ (State::Bare | State::Double), '\\') => {
                line += usize::from(chars.next() == Some('\n'));
                state
            }
            (state, _) => state,
        };
        line += usize::from(c == '\n');
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_lines_are_read() {
        let text = "\u{feff}# keys\nA=1\nexport B = 'two words'\n\nC=\"x#y\" # remark\nD=\nA=again\r\nE='pa$$'\nF=a\\$b";
        let read = read_env_file(text).unwrap();
        let read: Vec<_> = read.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(read, ["A=1", "B=two words", "C=x#y", "D=", "E=pa$$", "F=a$b"]);
        assert_eq!(read_env_file(""), Ok(Variables::new()));
    }

    #[test]
    fn a_mistake_is_named_by_its_line() {
        for (text, line) in [
            ("A=1\nwhat is this\nB=2\n", 2),
            ("A=1\n\nB=two words\n", 3),
            ("1A=x", 1),
            ("A=1\nB='open\nC=3\n", 2),
            ("# B=b c\nB=b c\n", 2),
        ] {
            assert_eq!(read_env_file(text), Err(EnvFileError::Line { line }), "{text:?}");
        }
        assert_eq!(read_env_file("A=1\n# $x\nB=pa$word\n"), Err(EnvFileError::Dollar { line: 3 }));
        assert_eq!(read_env_file("A='a\nb'\nB=\"$x\""), Err(EnvFileError::Dollar { line: 3 }));
    }
}
