//! Who may change the queue while a scenario runs, as far as its files tell: what is not known may.

use super::raw::RawKind;
use super::rules::Scene;

/// The modules whose tools leave the queue as it is. Any other, of another program too, may change it.
const APART: [&str; 5] = ["tool-filesystem", "tool-search", "tool-web", "tool-todo", "tool-task"];

/// The hook that runs commands.
const COMMANDS: &str = "hooks-shell";

/// Whether sessions of this role may change the queue: by the issue tool, by a command, over a server.
pub(super) fn may_change(scene: &Scene<'_>, role: &str) -> bool {
    let Some(plan) = scene.mount_plans.get(role) else { return true };
    plan.and_agents().any(|plan| {
        plan.tools.iter().any(|tool| !APART.contains(&tool.module.as_str()))
            || plan.hooks.iter().any(|hook| hook.module == COMMANDS)
    })
}

/// Whether a session outside any pool may change the queue.
pub(super) fn sessions_may(scene: &Scene<'_>) -> bool {
    scene.kinds().any(|(_, kind)| match kind {
        RawKind::Session(_) | RawKind::Monitor(_) => {
            kind.roles().iter().any(|role| may_change(scene, &role.value))
        }
        _ => false,
    })
}

/// Whether a command of the scenario that speaks of such words may run.
pub(super) fn commands_say(scene: &Scene<'_>, speaks: impl Fn(&str) -> bool) -> bool {
    let setup = scene.raw.workspace.iter().flat_map(|workspace| &workspace.setup);
    let phases = scene.kinds().filter_map(|(_, kind)| match kind {
        RawKind::Shell(shell) => shell.run.as_ref(),
        _ => None,
    });
    setup.chain(phases).any(|command| speaks(&command.value))
}
