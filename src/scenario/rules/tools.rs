//! RUN0305: `replay.tools` speaks of tools that exist.

use super::Scene;
use crate::diagnostic::{Code, Diagnostic, Report, nearest};
use crate::tool::mcp;

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let built_in = scene.request.catalogue.iter().flat_map(|module| module.tools.iter().copied());
    let mut known: Vec<&str> = built_in.chain(scene.request.tool_names.iter().map(String::as_str)).collect();
    known.sort_unstable();
    known.dedup();
    let specs = scene.mount_plans.values().flat_map(|plan| &plan.tools);
    let servers =
        specs.filter(|spec| spec.module == mcp::INFO.name).flat_map(|spec| mcp::names(&spec.config));
    // What a server offers is known only when it runs.
    let prefixes: Vec<String> = servers.map(mcp::prefix).collect();
    for (tool, _) in &scene.raw.replay.tools {
        let of_server = |prefix: &String| tool.value.starts_with(prefix.as_str());
        if known.contains(&tool.value.as_str()) || prefixes.iter().any(of_server) {
            continue;
        }
        let mut diagnostic =
            Diagnostic::error(Code::UnknownTool, format!("there is no tool `{}`", tool.value))
                .at(&tool.place)
                .did_you_mean(nearest(&tool.value, known.iter().copied()));
        if !known.is_empty() {
            diagnostic = diagnostic.help(format!("there are: {}", known.join(", ")));
        }
        report.push(diagnostic);
    }
}
