//! How a report is shown: to people with the line that is wrong, to programs as JSON, to GitHub as workflow commands.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::report::{Diagnostic, Report, Severity};
use crate::source::Sources;

const NO_PARTS: [Snippet<'static, Annotation<'static>>; 0] = [];

/// Whether a rendering has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It has none.
    Plain,
    /// It has them, as ANSI sequences.
    Styled,
}

impl Report {
    /// The report for people: every mistake with its line.
    pub fn render(&self, sources: &Sources, look: Look) -> String {
        let mut out = String::new();
        for diagnostic in self.diagnostics() {
            out.push_str(&diagnostic.render(sources, look));
            out.push_str("\n\n");
        }
        out.truncate(out.trim_end_matches('\n').len());
        if !out.is_empty() {
            out.push('\n');
        }
        out
    }

    /// The command that tells more about the errors, as a line for people; nothing where there are none.
    pub fn pointer(&self) -> String {
        pointer(self.diagnostics())
    }

    /// The report for programs: one object a mistake.
    pub fn to_json(&self, sources: &Sources) -> Vec<Value> {
        self.diagnostics().iter().map(|diagnostic| diagnostic.to_json(sources)).collect()
    }

    /// The report as workflow commands of GitHub Actions, a line each.
    pub fn to_github(&self, sources: &Sources) -> String {
        let mut out = String::new();
        for diagnostic in self.diagnostics() {
            let _ = writeln!(out, "{}", diagnostic.to_github(sources));
        }
        out
    }
}

impl Diagnostic {
    /// The mistake for people.
    pub fn render(&self, sources: &Sources, look: Look) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let location =
            self.location(sources).map(|(source, span)| (source, visible(sources.text(source), span)));
        let mut group =
            level.primary_title(one_line(&brief(&self.message))).id(self.code.as_str()).elements(NO_PARTS);
        if let Some((source, span)) = location {
            let label = self
                .label
                .clone()
                .or_else(|| self.did_you_mean.as_ref().map(|name| format!("did you mean `{name}`?")));
            // The renderer looks at all that it is given, and one line is all that is shown.
            let line = sources.position(source, span.start).line;
            let bytes = sources.line(source, line);
            let span = span.start - bytes.start..span.end - bytes.start;
            // The renderer draws the other control characters; these are as long as what stands for them.
            let text = sources.text(source)[bytes].replace(|c: char| ('\u{80}'..'\u{a0}').contains(&c), "·");
            group = group.element(
                Snippet::source(text)
                    .line_start(line)
                    .path(sources.path(source).display().to_string())
                    .annotation(AnnotationKind::Primary.span(span).label(label)),
            );
        }
        // Without a line there is no mark that the suggestion could stand under.
        if let (None, Some(name)) = (self.place.as_ref(), &self.did_you_mean) {
            group = group.element(Level::HELP.message(format!("did you mean `{name}`?")));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(brief(help)));
        }
        let renderer = match look {
            Look::Plain => Renderer::plain(),
            Look::Styled => Renderer::styled(),
        };
        let text = renderer.decor_style(DecorStyle::Unicode).render(&[group]);
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    /// The mistake for programs.
    pub fn to_json(&self, sources: &Sources) -> Value {
        let location = self.location(sources).map(|(source, span)| {
            let at = sources.position(source, span.start);
            json!({"file": sources.path(source).display().to_string(), "line": at.line, "column": at.column})
        });
        json!({
            "code": self.code.as_str(),
            "severity": self.severity.as_str(),
            "title": self.code.title().trim_end_matches('.'),
            "detail": brief(&self.message),
            "location": location,
            "label": self.label,
            "did_you_mean": self.did_you_mean,
            "suggested_fix": self.help,
            "exit_code": match self.severity {
                Severity::Error => self.code.exit_code(),
                Severity::Warning => 0,
            },
        })
    }

    /// The mistake as a workflow command of GitHub Actions.
    pub fn to_github(&self, sources: &Sources) -> String {
        let mut fields = Vec::new();
        if let Some((source, span)) = self.location(sources) {
            let at = sources.position(source, span.start);
            fields.push(format!("file={}", property(&sources.path(source).display().to_string())));
            fields.push(format!("line={}", at.line));
            fields.push(format!("col={}", at.column));
        }
        fields.push(format!("title={}", self.code));
        let mut message = brief(&self.message);
        if let Some(label) = self.label.as_ref().filter(|label| !label.starts_with("expected ")) {
            let _ = write!(message, "; {label}");
        }
        if let Some(name) = &self.did_you_mean {
            let _ = write!(message, "; did you mean `{name}`?");
        }
        if let Some(help) = &self.help {
            let _ = write!(message, "\n{help}");
        }
        format!("::{} {}::{}", self.severity.as_str(), fields.join(","), data(&message))
    }
}

/// The part of a span that is marked: its first line, and at least one character where there is one.
fn visible(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.floor_char_boundary(span.end.clamp(start, text.len()));
    let first = text[start..end].find('\n').map_or(end, |at| start + at);
    if first > start {
        return start..first;
    }
    let width = text[start..].chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
    start..start + width
}

/// A message without most of what is too long to be read: a key of a megabyte is quoted by its beginning and its end.
fn brief(message: &str) -> String {
    const WORD: usize = 160;
    const MESSAGE: usize = 600;
    let cut = |text: &str, longest: usize| -> Option<String> {
        let (head, _) = text.char_indices().nth(longest * 3 / 4)?;
        let tail = text.char_indices().rev().nth(longest / 4 - 1).map_or(text.len(), |(at, _)| at);
        (text.chars().count() > longest).then(|| format!("{}…{}", &text[..head], &text[tail..]))
    };
    let words = message.split(' ').map(|word| cut(word, WORD).unwrap_or_else(|| word.to_owned()));
    let message = words.collect::<Vec<_>>().join(" ");
    let message = cut(&message, MESSAGE).unwrap_or(message);
    let seen = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
    message.chars().map(seen).collect()
}

/// The command that tells more about the errors among these; warnings are told of often, and need no page each time.
pub fn pointer<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> String {
    let errors = diagnostics.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let codes: BTreeSet<&str> = errors.map(|diagnostic| diagnostic.code.as_str()).collect();
    if codes.is_empty() {
        return String::new();
    }
    format!("help: runner explain {}\n", codes.into_iter().collect::<Vec<_>>().join(" "))
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

/// An error of no diagnostic as a workflow command of GitHub Actions, at a line of a file.
pub fn github_error((file, line): (&str, usize), title: &str, message: &str) -> String {
    let (file, title) = (property(file), property(title));
    format!("::error file={file},line={line},title={title}::{}", data(message.trim_end()))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Code;
    use crate::source::{Place, Route, SourceId};

    fn sample() -> (Sources, Report, SourceId) {
        let mut sources = Sources::new();
        let text = "version: 1\nphases:\n  - id: work\n    workers:\n      promt: prompts/work.md\n";
        let id = sources.add("scenarios/demo.yaml", text);
        sources.parse(id).expect("valid YAML");
        let work = Route::root().key("phases").index(0);
        let mut report = Report::new();
        report.push(
            Diagnostic::error(Code::UnknownKey, "unknown key `promt` in phase `work`")
                .at(&Place::of_key(id, work.key("workers").key("promt")))
                .did_you_mean(Some("prompt")),
        );
        report.push(
            Diagnostic::warning(Code::UnusedInput, "nothing uses 100% of\nit")
                .help("remove it")
                .at_bytes(id, 9..28),
        );
        report.push(Diagnostic::error(Code::UnreadableFile, "there is no file x"));
        report.push(
            Diagnostic::error(Code::MissingKey, "no `pool`")
                .at(&Place::value(id, work.key("workers").key("pool"))),
        );
        report.sort(&sources);
        (sources, report, id)
    }

    #[test]
    fn people_see_the_line() {
        let (sources, report, _) = sample();
        insta::assert_snapshot!(report.render(&sources, Look::Plain));
    }

    #[test]
    fn styles_are_nothing_but_styles() {
        let (sources, report, _) = sample();
        let styled = report.render(&sources, Look::Styled);
        assert!(styled.contains("\u{1b}["));
        let mut plain = Vec::new();
        let mut stream = anstream::StripStream::new(&mut plain);
        std::io::Write::write_all(&mut stream, styled.as_bytes()).expect("written");
        let plain = String::from_utf8(plain).expect("UTF-8");
        assert_eq!(plain.replace(' ', ""), report.render(&sources, Look::Plain).replace(' ', ""));
    }

    #[test]
    fn programs_see_objects_and_commands() {
        let (sources, report, _) = sample();
        insta::assert_snapshot!(serde_json::to_string_pretty(&report.to_json(&sources)).expect("serialises"));
        insta::assert_snapshot!("github", report.to_github(&sources));
    }

    #[test]
    fn errors_have_a_page_each_and_warnings_are_not_pointed_at() {
        let (_, report, _) = sample();
        assert_eq!(report.pointer(), "help: runner explain RUN0101 RUN0201 RUN0202\n");
        let mut warned = Report::new();
        warned.push(Diagnostic::warning(Code::UnusedInput, "nothing uses it"));
        assert_eq!(warned.pointer(), "");
    }

    #[test]
    fn every_place_can_be_shown() {
        let mut sources = Sources::new();
        let empty = sources.add("empty.yaml", "");
        let text = sources.add("text.yaml", "é: 1\n");
        for (source, span) in
            [(empty, 0..0), (empty, 5..9), (text, 5..6), (text, 6..6), (text, 1..99), (text, 0..2)]
        {
            let shown =
                Diagnostic::error(Code::Syntax, "x").at_bytes(source, span).render(&sources, Look::Plain);
            assert!(shown.contains(".yaml:1") || shown.contains(".yaml:2"), "{shown}");
        }
    }
}
