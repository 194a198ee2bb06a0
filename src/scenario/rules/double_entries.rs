//! RUN0309: naming a thing twice in a list does nothing.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::scenario::raw::{Located, RawKind};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for phase in &scene.raw.phases {
        check_list(phase.needs.as_deref().unwrap_or_default(), report);
        if let Some(RawKind::Monitor(monitor)) = &phase.kind {
            check_list(&monitor.on, report);
        }
    }
}

fn check_list(list: &[Located<String>], report: &mut Report) {
    for (at, entry) in list.iter().enumerate() {
        if list[..at].iter().any(|earlier| earlier.value == entry.value) {
            report.push(
                Diagnostic::warning(Code::DuplicateEntry, format!("`{}` stands here twice", entry.value))
                    .at(&entry.place)
                    .help("remove one of the two"),
            );
        }
    }
}
