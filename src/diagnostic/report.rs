//! One thing that is wrong, and all that is wrong together.

use std::collections::HashSet;
use std::ops::Range;

use super::Code;
use crate::source::{Place, Route, SourceId, Sources, SyntaxError};

/// Whether it keeps a scenario from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but is most likely not meant.
    Warning,
}

impl Severity {
    /// The word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Which mistake it is.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line without a full stop.
    pub message: String,
    /// The node that is wrong.
    pub place: Option<Place>,
    /// The bytes that are wrong, where that is more exact than the node, or where a text has no nodes.
    pub span: Option<Range<usize>>,
    /// What stands under the mark.
    pub label: Option<String>,
    /// What was most likely meant.
    pub did_you_mean: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            place: None,
            span: None,
            label: None,
            did_you_mean: None,
            help: None,
        }
    }

    /// A warning without a place.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// A mistake that keeps a text from being read as values.
    pub fn syntax(source: SourceId, error: SyntaxError) -> Self {
        let mut diagnostic = Self::error(Code::Syntax, error.message).at_bytes(source, error.span);
        diagnostic.help = error.help;
        diagnostic
    }

    /// At this node.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// At these bytes of a text.
    #[must_use]
    pub fn at_bytes(mut self, source: SourceId, span: Range<usize>) -> Self {
        self.place = Some(Place::value(source, Route::root()));
        self.span = Some(span);
        self
    }

    /// With this under the mark.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// With the name that was most likely meant, if there is one.
    #[must_use]
    pub fn did_you_mean(mut self, name: Option<&str>) -> Self {
        self.did_you_mean = name.map(str::to_owned);
        self
    }

    /// With a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The text and the bytes that are wrong. A node that is not there (any more) leads to the nearest one around it.
    pub fn location(&self, sources: &Sources) -> Option<(SourceId, Range<usize>)> {
        let place = self.place.as_ref()?;
        if let Some(span) = &self.span {
            return Some((place.source, span.clone()));
        }
        if let Some(span) = sources.locate(place) {
            return Some((place.source, span));
        }
        let mut route = place.route.clone();
        while !route.0.is_empty() {
            route = route.parent();
            if let Some(span) = sources.locate(&Place::of_key(place.source, route.clone())) {
                return Some((place.source, span));
            }
        }
        Some((place.source, 0..0))
    }
}

/// All that is wrong with the files of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
    /// The same, to be found.
    known: HashSet<Diagnostic>,
}

impl Report {
    /// Nothing is wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a mistake, unless exactly this one is there.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.known.insert(diagnostic.clone()) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Adds another report's mistakes.
    pub fn extend(&mut self, other: Report) {
        for diagnostic in other.diagnostics {
            self.push(diagnostic);
        }
    }

    /// The mistakes, in their present order.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// Whether anything keeps the scenario from running.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// Sorts by file and position; what has no place comes first.
    pub fn sort(&mut self, sources: &Sources) {
        self.diagnostics.sort_by_cached_key(|diagnostic| {
            let location = diagnostic.location(sources).map(|(source, span)| (source, span.start, span.end));
            (location, diagnostic.code, diagnostic.message.clone())
        });
    }
}
