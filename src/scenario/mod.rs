//! How a scenario file becomes a `Plan`: read, lowered, checked by rules, resolved. All mistakes come in one report.
//!
//! ```text
//! text ──▶ Node ──lower──▶ RawScenario ──includes, inputs, mount plans, prompts──▶ Scene ──rules──▶ Plan
//! ```

mod attachments;
mod faults;
mod graph;
mod includes;
mod inputs;
mod lower;
mod mentions;
mod mount_plans;
mod names;
mod paths;
mod prompts;
mod providers;
mod queue_access;
mod raw;
mod resolve;
mod rules;
mod schema;
pub mod shape;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use inputs::variable as input_variable;
pub use paths::project_root;
pub use schema::schema;

use crate::diagnostic::{Code, Diagnostic, Report};
use crate::plan::{ModuleInfo, Plan, Variables};
use crate::source::{Change, Format, Sources};

/// What a scenario is loaded with.
#[derive(Debug, Clone)]
pub struct LoadRequest<'a> {
    /// The file, as it was given and as it is shown.
    pub file: PathBuf,
    /// The working directory, absolute.
    pub working_dir: PathBuf,
    /// The home directory, for a workspace that starts with `~`.
    pub home: Option<PathBuf>,
    /// The values of inputs, as `-i` gives them.
    pub inputs: BTreeMap<String, String>,
    /// The environment: `RUNNER_VAR_*` for inputs, and what mount plans refer to.
    pub variables: &'a Variables,
    /// The modules that mount plans may name.
    pub catalogue: &'a [ModuleInfo],
    /// Names of tools beside those of the catalogue (those of MCP servers).
    pub tool_names: Vec<String>,
    /// Values in place of those of the file.
    pub changes: Vec<Change>,
    /// A workspace in place of the scenario's, from the working directory.
    pub workspace: Option<PathBuf>,
}

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// The plan; none if the report has errors.
    pub plan: Option<Plan>,
    /// All that is wrong, sorted by position.
    pub report: Report,
}

/// Loads a scenario file. The texts it reads stay in `sources`, where the report's and the plan's places lead.
pub fn load(request: &LoadRequest<'_>, sources: &mut Sources) -> Loaded {
    let mut report = Report::new();
    let plan = load_into(request, sources, &mut report);
    report.sort(sources);
    let plan = plan.filter(|_| !report.has_errors());
    Loaded { plan, report }
}

fn load_into(request: &LoadRequest<'_>, sources: &mut Sources, report: &mut Report) -> Option<Plan> {
    let file = paths::normal(&request.working_dir.join(&request.file));
    if Format::of(&file).is_none() {
        report.push(unknown_format(&request.file));
        return None;
    }
    let source = match sources.read(&file, &request.file) {
        Ok(source) => source,
        Err(error) => {
            report.push(Diagnostic::error(Code::UnreadableFile, error.to_string()));
            return None;
        }
    };
    match sources.parse(source) {
        Ok(_) => {}
        Err(errors) => {
            for error in errors {
                report.push(Diagnostic::syntax(source, error));
            }
            return None;
        }
    }
    let tree = match sources.amend(source, &request.changes) {
        Ok(tree) => tree,
        Err(wrong) => {
            for (change, reason) in wrong {
                report.push(Diagnostic::error(Code::BadChange, format!("cannot set `{change}`: {reason}")));
            }
            return None;
        }
    };
    let mut raw = lower::lower(&tree, source, report)?;
    let paths = paths::Paths::new(&file, &request.working_dir, request.home.as_deref());
    includes::follow(&mut raw, &file, &paths, sources, report);
    let inputs = inputs::values(&raw.inputs, request, report);
    let mut mount_plans = mount_plans::load(&raw, &paths, request, sources, report);
    providers::choose(&mut raw, &mut mount_plans, request, report);
    let prompts = prompts::read(&raw, &paths, sources, report);
    let attachments = attachments::read(&raw, &paths, sources, report);
    let scene = rules::Scene {
        graph: graph::Graph::new(&raw.phases),
        declared: raw.inputs.iter().map(|input| (input.id.value.as_str(), input)).collect(),
        raw: &raw,
        request,
        sources,
        inputs: &inputs,
        mount_plans: &mount_plans,
        prompts: &prompts,
        attachments: &attachments,
    };
    rules::check(&scene, report);
    resolve::plan(&scene, &paths, &file, report)
}

fn unknown_format(file: &Path) -> Diagnostic {
    Diagnostic::error(Code::UnknownFormat, format!("{} does not end as a scenario does", file.display()))
        .help("name it `.yaml`, `.yml`, `.json` or `.toml`")
}
