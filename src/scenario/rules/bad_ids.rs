//! RUN0301, RUN0302: ids are written in one way, and a phase's id is its own.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::raw::Located;

/// Longest id: it becomes a part of file names.
const LONGEST: usize = 64;

/// Which signs may stand between words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joints {
    /// `-`, for phases and roles.
    Dash,
    /// `-` and `_`, for inputs, which templates name.
    DashOrUnderscore,
}

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for role in &scene.raw.roles {
        let id = Located::new(role.local().to_owned(), role.id.place.clone());
        check_id(ROLE, &id, Joints::Dash, report);
    }
    for input in &scene.raw.inputs {
        check_id(INPUT, &input.id, Joints::DashOrUnderscore, report);
    }
    for (at, phase) in scene.raw.phases.iter().enumerate() {
        let Some(id) = &phase.id else { continue };
        check_id(PHASE, id, Joints::Dash, report);
        if id.value == RUN {
            report.push(
                Diagnostic::error(Code::BadId, format!("`{RUN}` cannot be the id of {PHASE}"))
                    .at(&id.place)
                    .help("it names what belongs to the run as a whole; say what the phase does, as `work`"),
            );
        }
        if let Some(first) = scene.graph.beside(at, &id.value).filter(|first| *first < at) {
            report.push(
                Diagnostic::error(Code::DuplicatePhase, format!("there are two phases `{}`", id.value))
                    .at(&id.place)
                    .label(format!("phase {} has this id already", scene.graph.number(first))),
            );
        }
    }
}

/// What effects of no phase are named after: the expectations of a phase of this name could not be told from the run's.
const RUN: &str = "run";

/// A kind of id, with its article.
const ROLE: &str = "a role";
const INPUT: &str = "an input";
const PHASE: &str = "a phase";

fn check_id(what: &str, id: &Located<String>, joints: Joints, report: &mut Report) {
    if is_id(&id.value, joints) {
        return;
    }
    if is_id(id.value.get(..LONGEST).unwrap_or_default().trim_end_matches(['-', '_']), joints) {
        let message = format!("`{}` cannot be the id of {what}", id.value);
        let label = format!("has {} characters, and may have {LONGEST}", id.value.chars().count());
        report.push(Diagnostic::error(Code::BadId, message).at(&id.place).label(label));
        return;
    }
    let suggestion = suggestion(&id.value, joints);
    report.push(
        Diagnostic::error(Code::BadId, format!("`{}` cannot be the id of {what}", id.value))
            .at(&id.place)
            .did_you_mean(suggestion.as_deref())
            .help(match joints {
                Joints::Dash => "ids are lower-case words joined by `-`, as `code-review`",
                Joints::DashOrUnderscore => "ids are lower-case words joined by `_` or `-`, as `max_price`",
            }),
    );
}

fn is_id(text: &str, joints: Joints) -> bool {
    let joint = |c: char| c == '-' || (c == '_' && joints == Joints::DashOrUnderscore);
    text.len() <= LONGEST
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.split(joint).all(|word| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        })
}

fn suggestion(text: &str, joints: Joints) -> Option<String> {
    let mut words = String::new();
    let mut previous = None;
    for c in text.chars() {
        if c.is_ascii_uppercase() && previous.is_some_and(|p: char| p.is_ascii_lowercase()) {
            words.push('-');
        }
        words.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
        previous = Some(c);
    }
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let joined = words.join(if joints == Joints::Dash { "-" } else { "_" });
    is_id(&joined, joints).then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lower_case_words() {
        for right in ["work", "create-issues", "a1-2b"] {
            assert!(is_id(right, Joints::Dash), "{right}");
        }
        for wrong in ["", "Work", "a_b", "-a", "a-", "a--b", "1a", "ä", "a/b", "a.b", &"a".repeat(65)] {
            assert!(!is_id(wrong, Joints::Dash), "{wrong}");
        }
        assert!(is_id("a_b-c", Joints::DashOrUnderscore));
        assert_eq!(suggestion("Create Issues", Joints::Dash).as_deref(), Some("create-issues"));
        assert_eq!(suggestion("codeReview", Joints::Dash).as_deref(), Some("code-review"));
        assert_eq!(suggestion("Max Price", Joints::DashOrUnderscore).as_deref(), Some("max_price"));
        assert_eq!(suggestion("123", Joints::Dash), None);
    }
}
