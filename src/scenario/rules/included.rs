//! RUN0507, RUN0508, RUN0509: an included scenario is given the inputs that it declares.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::scenario::inputs::fits;
use crate::scenario::raw::{Located, RawInclude, RawIncluded, RawKind};
use serde_json::Value;

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for (at, kind) in scene.kinds() {
        let RawKind::Include(include) = kind else { continue };
        let Some(of) = &include.of else { continue };
        for (name, value) in &include.inputs {
            check_given(of, name, value, report);
        }
        check_missing(scene, at, include, of, report);
    }
}

fn check_given(of: &RawIncluded, name: &Located<String>, value: &Located<Value>, report: &mut Report) {
    let known = of.inputs.iter().map(|input| input.id.value.as_str());
    let Some(input) = of.inputs.iter().find(|input| input.id.value == name.value) else {
        let message = format!("`{}` has no input `{}`", of.file, name.value);
        let near = nearest(&name.value, known.clone());
        let diagnostic = Diagnostic::error(Code::UnknownInput, message).at(&name.place).did_you_mean(near);
        report.push(match known.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => diagnostic.help("it has no inputs at all"),
            some => diagnostic.help(format!("its inputs: {some}")),
        });
        return;
    };
    let is_template = value.value.as_str().is_some_and(|text| text.contains("{{") || text.contains("{%"));
    if is_template && input.is_secret() {
        let message = format!("input `{}` is secret: it names a variable, and no template", name.value);
        report.push(
            Diagnostic::error(Code::BadInput, message)
                .at(&value.place)
                .help("write the name of the environment variable that holds it"),
        );
    } else if !is_template && let Err(problem) = fits(input, &value.value) {
        let message = format!("the value of input `{}` {problem}", name.value);
        report.push(Diagnostic::error(Code::BadInput, message).at(&value.place));
    }
}

fn check_missing(scene: &Scene<'_>, at: usize, include: &RawInclude, of: &RawIncluded, report: &mut Report) {
    for input in &of.inputs {
        let id = &input.id.value;
        let is_given = include.inputs.iter().any(|(name, _)| name.value == *id);
        let may_lack = input.required.as_ref().is_some_and(|required| !required.value);
        if is_given || input.default.is_some() || may_lack {
            continue;
        }
        report.push(
            Diagnostic::error(Code::MissingInput, format!("input `{id}` of `{}` has no value", of.file))
                .at(&scene.raw.phases[at].place)
                .help(format!("give it under `inputs` of `include`: `inputs: {{ {id}: … }}`")),
        );
    }
}
