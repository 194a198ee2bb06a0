//! How the agents of a mount plan become plans of their own: what they name themselves, laid over the plan they stand in.

use serde_json::{Map, Value};

use super::read::Reader;
use crate::diagnostic::{Code, Diagnostic};
use crate::plan::{AgentPlan, ModuleKind, ModuleSpec, MountPlan};
use crate::source::{Node, Place, Route};

const KEYS: [&str; 6] = ["description", "session", "providers", "tools", "hooks", "system"];

/// Lists of a configuration that an agent adds to instead of replacing them.
const UNITED: [&str; 3] = ["allowed_write_paths", "allowed_read_paths", "denied_write_paths"];

/// The module that starts sub-agents. They have none of their own: depth ends at one.
const TASK: &str = "tool-task";

impl Reader<'_, '_> {
    /// The agents of a file, each as it would be as a session.
    pub(super) fn agents(&mut self, root: &Node, parent: &MountPlan) -> Vec<AgentPlan> {
        let top = Route::root().key("agents");
        let Some(node) = root.get("agents").filter(|node| !node.is_null()) else { return Vec::new() };
        let Some(entries) = node.as_map() else {
            let message = format!("`agents` must be a map, not {}", node.kind());
            self.error(Code::WrongType, message, &top);
            return Vec::new();
        };
        // What the tools are is not known where one of them could not be read.
        let is_known = !self.failed;
        let mut agents = Vec::new();
        for entry in entries {
            let route = top.key(entry.key.as_str());
            if let Some(agent) = self.agent(&entry.key, &entry.value, &route, parent) {
                agents.push(agent);
            }
        }
        let has_tool = parent.tools.iter().any(|spec| spec.module == TASK);
        match (agents.is_empty(), has_tool) {
            (false, false) if is_known => self.warn(
                "`agents` has no effect without `tool-task`, which starts them".to_owned(),
                "add {\"module\": \"tool-task\"} to `tools`",
                top,
            ),
            (true, true) => {
                let diagnostic = Diagnostic::error(Code::MissingKey, "`tool-task` has no agents to start")
                    .help("add `agents`, a map of names with at least a `description`");
                let place =
                    parent.tools.iter().find(|spec| spec.module == TASK).map(|spec| spec.place.clone());
                self.push(diagnostic, &place.expect("it was found a moment ago"));
            }
            _ => {}
        }
        agents
    }

    fn agent(&mut self, name: &str, node: &Node, route: &Route, parent: &MountPlan) -> Option<AgentPlan> {
        let is_name =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !is_name {
            let message = format!("`{name}` is no name for an agent");
            let help = "use letters, digits, `-` and `_`";
            let place = Place::of_key(self.source(), route.clone());
            self.push(Diagnostic::error(Code::BadId, message).help(help), &place);
            return None;
        }
        if node.as_map().is_none() {
            self.error(Code::WrongType, format!("`{route}` must be a map, not {}", node.kind()), route);
            return None;
        }
        self.unknown_keys(node, route, &KEYS, &format!("`{route}`"));
        let description = self.text(node, "description", route).map(|(text, _)| text).unwrap_or_default();
        let mut plan = MountPlan { agents: Vec::new(), ..parent.clone() };
        plan.tools.retain(|spec| spec.module != TASK);
        for kind in [ModuleKind::Orchestrator, ModuleKind::Context] {
            if let Some(own) = self.session_of_agent(node, kind, route) {
                match kind {
                    ModuleKind::Orchestrator => plan.orchestrator = laid_over(&plan.orchestrator, own),
                    _ => plan.context = laid_over(&plan.context, own),
                }
            }
        }
        let providers = self.modules_at(node, ModuleKind::Provider, route);
        // What an agent names comes before what it inherits.
        plan.providers = united(&plan.providers, providers, Order::OwnFirst);
        plan.tools = united(&plan.tools, self.modules_at(node, ModuleKind::Tool, route), Order::OwnLast);
        plan.hooks = united(&plan.hooks, self.modules_at(node, ModuleKind::Hook, route), Order::OwnLast);
        self.refuse_same_tools(&plan.tools);
        if let Some(system) = self.system_at(node, route) {
            plan.system = Some(system);
        }
        Some(AgentPlan { name: name.to_owned(), description, plan })
    }

    fn session_of_agent(&mut self, node: &Node, kind: ModuleKind, route: &Route) -> Option<ModuleSpec> {
        let session = node.get("session").filter(|node| !node.is_null())?;
        let name = if kind == ModuleKind::Orchestrator { "orchestrator" } else { "context" };
        let own = session.get(name).filter(|node| !node.is_null())?;
        let route = route.key("session").key(name);
        match own.as_text() {
            Some(module) => self.named(module, kind, &route),
            None => self.entry(own, kind, &route),
        }
    }
}

/// Which of two lists comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    OwnFirst,
    OwnLast,
}

/// The modules of a plan with those of an agent: one that is there is changed, others are added.
fn united(parent: &[ModuleSpec], own: Vec<ModuleSpec>, order: Order) -> Vec<ModuleSpec> {
    let mut inherited = parent.to_vec();
    let mut added = Vec::new();
    for spec in own {
        let is_same = |known: &ModuleSpec| {
            known.module == spec.module
                && (spec.instance_id.is_none() || known.instance_id == spec.instance_id)
        };
        let at = inherited.iter().position(is_same);
        match (at, order) {
            (Some(at), Order::OwnLast) => inherited[at] = laid_over(&inherited[at], spec),
            (Some(at), Order::OwnFirst) => added.push(laid_over(&inherited.remove(at), spec)),
            (None, _) => added.push(spec),
        }
    }
    match order {
        Order::OwnFirst => added.into_iter().chain(inherited).collect(),
        Order::OwnLast => inherited.into_iter().chain(added).collect(),
    }
}

/// A module as an agent has it: its own settings over those of the plan, if it is the same module.
fn laid_over(parent: &ModuleSpec, own: ModuleSpec) -> ModuleSpec {
    if parent.module != own.module {
        return own;
    }
    let mut config = parent.config.clone();
    merge(&mut config, own.config);
    ModuleSpec { config, instance_id: own.instance_id.or_else(|| parent.instance_id.clone()), ..own }
}

fn merge(parent: &mut Map<String, Value>, own: Map<String, Value>) {
    for (key, value) in own {
        match (parent.get_mut(&key), value) {
            (Some(Value::Object(parent)), Value::Object(own)) => merge(parent, own),
            (Some(Value::Array(parent)), Value::Array(own)) if UNITED.contains(&key.as_str()) => {
                let new: Vec<_> = own.into_iter().filter(|item| !parent.contains(item)).collect();
                parent.extend(new);
            }
            (_, value) => {
                parent.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::SourceId;

    fn spec(module: &str, config: &Value) -> ModuleSpec {
        let place = Place::value(SourceId(0), Route::root());
        let config = config.as_object().cloned().expect("a test writes an object");
        ModuleSpec { module: module.to_owned(), config, instance_id: None, place }
    }

    #[test]
    fn an_agent_changes_what_it_names_and_inherits_the_rest() {
        let parent = [
            spec("a", &json!({"x": 1, "deep": {"y": 1}, "allowed_read_paths": ["p"], "list": [1]})),
            spec("b", &json!({})),
        ];
        let own = vec![
            spec("a", &json!({"deep": {"z": 2}, "allowed_read_paths": ["q", "p"], "list": [2]})),
            spec("c", &json!({})),
        ];
        let names = |specs: &[ModuleSpec]| specs.iter().map(|spec| spec.module.clone()).collect::<Vec<_>>();
        let last = united(&parent, own.clone(), Order::OwnLast);
        assert_eq!(names(&last), ["a", "b", "c"]);
        assert_eq!(
            Value::Object(last[0].config.clone()),
            json!({"x": 1, "deep": {"y": 1, "z": 2}, "allowed_read_paths": ["p", "q"], "list": [2]})
        );
        assert_eq!(names(&united(&parent, own, Order::OwnFirst)), ["a", "c", "b"]);
    }
}
