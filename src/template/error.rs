//! What is wrong with a template or condition, and where in it.

use std::ops::Range;

use minijinja::{Error, ErrorKind};

/// What kind of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// It is not written as templates are.
    Syntax,
    /// It looks up a name that it is never given.
    UnknownName,
    /// It includes a template that does not exist.
    MissingTemplate,
    /// It cannot be rendered with what it is given.
    Failure,
}

/// Why a template cannot be compiled or rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}{}", place(template, *line), did_you_mean.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())]
pub struct TemplateError {
    /// What kind of mistake it is.
    pub mistake: Mistake,
    /// The template that is wrong, an included one perhaps; empty for a condition.
    pub template: String,
    /// Its line, from 1.
    pub line: usize,
    /// The bytes of its text, where they are known.
    pub range: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// The name that was most likely meant.
    pub did_you_mean: Option<String>,
}

fn place(template: &str, line: usize) -> String {
    if template.is_empty() { String::new() } else { format!("{template}:{line}: ") }
}

impl TemplateError {
    /// The name that is never given, where that is what is wrong.
    pub fn unknown_name(&self) -> Option<&str> {
        let message = self.message.strip_prefix('`')?.strip_suffix("` is undefined")?;
        (self.mistake == Mistake::UnknownName).then_some(message)
    }

    pub(super) fn new(error: &Error, template: &str) -> Self {
        let error = innermost(error);
        let range = error.range().filter(|range| {
            error.template_source().is_some_and(|text| range.end <= text.len() && range.start < range.end)
        });
        // The mark of an attribute starts at its dot; the name it belongs to stands before.
        let range = range.map(|range| {
            let before = error.template_source().and_then(|text| text.get(..range.start)).unwrap_or_default();
            let dotted = error.template_source().is_some_and(|text| text[range.start..].starts_with('.'));
            let name = before.trim_end_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.'));
            if dotted { name.len()..range.end } else { range }
        });
        let quoted = range.clone().and_then(|range| error.template_source()?.get(range)).unwrap_or_default();
        let mistake = match error.kind() {
            ErrorKind::SyntaxError | ErrorKind::BadEscape => Mistake::Syntax,
            ErrorKind::TemplateNotFound => Mistake::MissingTemplate,
            _ => Mistake::Failure,
        };
        Self {
            mistake,
            template: error.name().filter(|name| *name != EXPRESSION).unwrap_or(template).to_owned(),
            line: error.line().unwrap_or(1),
            range,
            message: words(error, quoted),
            did_you_mean: None,
        }
    }
}

/// The name minijinja gives to an expression.
pub(super) const EXPRESSION: &str = "<expression>";

/// An error within an included template says more than that the include failed.
fn innermost(error: &Error) -> &Error {
    let mut found = error;
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        if let Some(inner) = source.downcast_ref::<Error>() {
            found = inner;
        }
        next = source.source();
    }
    found
}

fn words(error: &Error, quoted: &str) -> String {
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::UndefinedError if quoted.is_empty() || quoted.contains('\n') => {
            if detail.is_empty() {
                "a name is undefined".to_owned()
            } else {
                detail.to_owned()
            }
        }
        ErrorKind::UndefinedError => format!("`{quoted}` is undefined"),
        ErrorKind::OutOfFuel => "this takes too many steps; loop over less".to_owned(),
        ErrorKind::TemplateNotFound => format!("{detail}; an included template lies below prompts/"),
        kind if detail.is_empty() => kind.to_string(),
        ErrorKind::SyntaxError | ErrorKind::InvalidOperation => detail.to_owned(),
        kind => format!("{kind}: {detail}"),
    }
}
