//! How `${VAR}` in a string becomes the variable's value. Pure.
//!
//! | written | gives |
//! |---|---|
//! | `${VAR}` | the value; a mistake when it is not set |
//! | `${VAR:-text}` or `${VAR:text}` | the value, or the text when it is not set or empty |
//! | `$${` | `${` |
//!
//! A configuration value that variables leave empty as a whole counts as not written.

use crate::plan::Variables;

/// What a string came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Substituted {
    /// It holds no substitution; the text is as written, but for `$${`.
    Plain(String),
    /// At least one variable went into it.
    From(String),
    /// These variables are not set and have no default.
    Unset(Vec<String>),
}

/// A `${` that begins no substitution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSubstitution {
    #[error("`${{` has no `}}` after it")]
    Open,
    #[error("`{text}` names no variable")]
    Name { text: String },
}

/// Fills in the variables of a string.
pub(super) fn substitute(text: &str, variables: &Variables) -> Result<Substituted, BadSubstitution> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut found = false;
    let mut unset = Vec::new();
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let end = inner.find('}').ok_or(BadSubstitution::Open)?;
        let (name, default) = split_default(&inner[..end]);
        if !is_name(name) {
            return Err(BadSubstitution::Name { text: format!("${{{}}}", &inner[..end]) });
        }
        found = true;
        match (variables.get(name), default) {
            (Some(value), None) => out.push_str(value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(value),
            (_, Some(default)) => out.push_str(default),
            (None, None) => unset.push(name.to_owned()),
        }
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(match (found, unset.is_empty()) {
        (_, false) => Substituted::Unset(unset),
        (true, true) => Substituted::From(out),
        (false, true) => Substituted::Plain(out),
    })
}

fn split_default(inner: &str) -> (&str, Option<&str>) {
    match inner.split_once(':') {
        Some((name, default)) => (name, Some(default.strip_prefix('-').unwrap_or(default))),
        None => (inner, None),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_defaults_and_escapes() {
        let variables = [("A", "1"), ("EMPTY", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let run = |text: &str| substitute(text, &variables);
        let from = |text: &str| Ok(Substituted::From(text.to_owned()));
        let plain = |text: &str| Ok(Substituted::Plain(text.to_owned()));
        assert_eq!(run("x${A}y${A}"), from("x1y1"));
        assert_eq!(run("${B:-d}/${B:d}/${EMPTY:-d}/${EMPTY}|"), from("d/d/d/|"));
        assert_eq!(run("${B:-}"), from(""));
        assert_eq!(run("$${A} costs $5"), plain("${A} costs $5"));
        assert_eq!(run("${C} ${A} ${D}"), Ok(Substituted::Unset(vec!["C".to_owned(), "D".to_owned()])));
        assert_eq!(run("${A"), Err(BadSubstitution::Open));
        for wrong in ["${}", "${1A}", "${a b}", "${:-x}"] {
            assert_eq!(run(wrong), Err(BadSubstitution::Name { text: wrong.to_owned() }));
        }
        let values = [("A", "${A}")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(substitute("${A}", &values), Ok(Substituted::From("${A}".to_owned())));
    }
}
