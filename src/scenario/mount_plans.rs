//! The mount plans of the roles, each file loaded once.

use std::collections::BTreeMap;

use super::LoadRequest;
use super::paths::Paths;
use super::raw::RawScenario;
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::mount_plan::{self, Known, MountPlanFile};
use crate::plan::MountPlan;
use crate::source::Sources;

/// The mount plan of each role; those that cannot be loaded are reported and left out.
pub(super) fn load(
    raw: &RawScenario,
    paths: &Paths,
    request: &LoadRequest<'_>,
    sources: &mut Sources,
    report: &mut Report,
) -> BTreeMap<String, MountPlan> {
    let mut files: BTreeMap<String, Option<MountPlan>> = BTreeMap::new();
    let mut found = BTreeMap::new();
    let known = std::cell::OnceCell::new();
    for role in &raw.roles {
        let Some(written) = &role.mount_plan else { continue };
        let Some(name) = paths.inside(written, report) else { continue };
        let file = paths.root.join(&name);
        if !sources.has_file(&file) {
            let known = known.get_or_init(|| listing(paths));
            report.push(
                Diagnostic::error(Code::MissingMountPlan, format!("there is no mount plan `{name}`"))
                    .at(&written.place)
                    .did_you_mean(nearest(&name, known.iter().map(String::as_str)))
                    .help(format!("paths start at {}", paths.shown_root())),
            );
            continue;
        }
        let plan = files.entry(name).or_insert_with(|| {
            let shown = paths.shown(&file);
            let file = MountPlanFile { file: &file, shown: &shown };
            let known = Known { catalogue: request.catalogue, variables: request.variables };
            let mut told = Report::new();
            let plan = mount_plan::load(file, sources, known, &mut told);
            for diagnostic in told.diagnostics() {
                // What is wrong with the file as a whole is told of where it is named.
                let place = diagnostic.place.as_ref().unwrap_or(&written.place);
                report.push(Diagnostic { place: Some(place.clone()), ..diagnostic.clone() });
            }
            let plan = plan?;
            let inside = file.file.strip_prefix(&paths.root).unwrap_or(file.file).to_owned();
            Some(MountPlan { file: inside, ..plan })
        });
        if let Some(plan) = plan {
            found.insert(role.id.value.clone(), plan.clone());
        }
    }
    found
}

fn listing(paths: &Paths) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(paths.root.join("mount-plans")) else { return Vec::new() };
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(format!("mount-plans/{}", entry.ok()?.file_name().to_str()?)))
        .collect();
    names.sort();
    names
}
