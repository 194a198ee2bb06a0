//! How the sections of a mount plan become modules, and what can be wrong with them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Map;

use super::Known;
use super::config::ConfigReader;
use crate::diagnostic::{Code, Diagnostic, Report, Severity, nearest};
use crate::plan::{ModuleInfo, ModuleKind, ModuleSpec, MountPlan};
use crate::source::{Node, Place, Route, SourceId};

/// The priority of a provider that names none, as in Amplifier.
const PRIORITY: i64 = 100;

const SECTIONS: [&str; 10] = [
    "session",
    "orchestrator",
    "context",
    "providers",
    "tools",
    "hooks",
    "agents",
    "spawn",
    "system",
    // What an editor reads the file by.
    "$schema",
];

const SESSION_KEYS: [&str; 8] = [
    "orchestrator",
    "context",
    "orchestrator_source",
    "context_source",
    "raw",
    "metadata",
    "injection_budget_per_turn",
    "injection_size_limit",
];

/// Reads one file.
pub(super) struct Reader<'a, 'r> {
    source: SourceId,
    known: Known<'a>,
    report: &'r mut Report,
    pub(super) failed: bool,
}

impl<'a, 'r> Reader<'a, 'r> {
    pub(super) fn new(source: SourceId, known: Known<'a>, report: &'r mut Report) -> Self {
        Self { source, known, report, failed: false }
    }

    pub(super) fn plan(mut self, root: &Node, shown: &Path) -> Option<MountPlan> {
        let top = Route::root();
        if root.as_map().is_none() {
            self.error(Code::WrongType, format!("a mount plan must be a map, not {}", root.kind()), &top);
            return None;
        }
        self.unknown_keys(root, &top, &SECTIONS, "a mount plan");
        self.text(root, "$schema", &top);
        let orchestrator = self.session_module(root, ModuleKind::Orchestrator);
        let context = self.session_module(root, ModuleKind::Context);
        self.session_extras(root);
        let providers = self.providers(root);
        let tools = self.modules(root, ModuleKind::Tool);
        self.refuse_same_tools(&tools);
        let hooks = self.modules(root, ModuleKind::Hook);
        let system = self.system(root);
        self.ignore(root, "spawn", "an agent has what its entry in `agents` says");
        // What is missing has been told of; agents are looked at all the same, so that all mistakes are found at once.
        let is_whole = orchestrator.is_some() && context.is_some();
        let missing = || ModuleSpec {
            module: String::new(),
            config: Map::new(),
            instance_id: None,
            place: Place::value(self.source, Route::root()),
        };
        let plan = MountPlan {
            file: shown.to_owned(),
            orchestrator: orchestrator.unwrap_or_else(missing),
            context: context.unwrap_or_else(missing),
            providers,
            tools,
            hooks,
            system,
            agents: Vec::new(),
        };
        let agents = self.agents(root, &plan);
        let plan = MountPlan { agents, ..plan };
        (is_whole && !self.failed).then_some(plan)
    }

    /// `session.orchestrator` or `session.context`, in either spelling.
    fn session_module(&mut self, root: &Node, kind: ModuleKind) -> Option<ModuleSpec> {
        let name = section(kind);
        let route = Route::root().key("session");
        let Some(session) = root.get("session").filter(|node| !node.is_null()) else {
            let message = "the mount plan has no `session`";
            self.push(
                Diagnostic::error(Code::MissingKey, message).help(
                    "add `session` with an orchestrator (loop-streaming) and a context (context-simple)",
                ),
                &Place::value(self.source, Route::root()),
            );
            return None;
        };
        if session.as_map().is_none() {
            let message = format!("`session` must be a map, not {}", session.kind());
            self.error(Code::WrongType, message, &route);
            return None;
        }
        let Some(node) = session.get(name).filter(|node| !node.is_null()) else {
            let diagnostic = Diagnostic::error(Code::MissingKey, format!("`session` has no `{name}`"))
                .help(format!("name one: {}", self.names_of(kind).join(", ")));
            self.push(diagnostic, &Place::of_key(self.source, route));
            return None;
        };
        let route = route.key(name);
        let beside = root.get(name).filter(|node| !node.is_null());
        if let Some(module) = node.as_text() {
            let info = self.module(module, kind, &route)?;
            let top = Route::root().key(name);
            if let Some(beside) = beside {
                self.unknown_keys(beside, &top, &["config"], &format!("the top-level `{name}`"));
            }
            let config = beside.and_then(|node| node.get("config"));
            let config = self.config(info, config, &top.key("config"));
            return Some(self.spec(info, config, route));
        }
        if beside.and_then(|node| node.get("config")).is_some_and(says_something) {
            let message = format!("the top-level `{name}` has no effect, because `session.{name}` is a map");
            self.warn(message, &format!("move it into `session.{name}.config`"), Route::root().key(name));
        }
        self.entry(node, kind, &route)
    }

    /// Settings of a session that other programs read.
    fn session_extras(&mut self, root: &Node) {
        let Some(session) = root.get("session").filter(|node| node.as_map().is_some()) else { return };
        let route = Route::root().key("session");
        self.unknown_keys(session, &route, &SESSION_KEYS, "`session`");
        for key in &SESSION_KEYS[4..] {
            if session.get(key).is_some_and(says_something) {
                self.warn(format!("`session.{key}` has no effect here"), "remove it", route.key(*key));
            }
        }
    }

    fn providers(&mut self, root: &Node) -> Vec<ModuleSpec> {
        let mut providers = self.modules(root, ModuleKind::Provider);
        let route = Route::root().key("providers");
        let named = root.get("providers").and_then(Node::as_list).is_some_and(|list| !list.is_empty());
        let is_wrong = root.get("providers").is_some_and(|node| !node.is_null() && node.as_list().is_none());
        let mut keys = root.as_map().unwrap_or_default().iter().map(|entry| entry.key.as_str());
        let is_misspelt =
            keys.any(|key| !SECTIONS.contains(&key) && nearest(key, SECTIONS) == Some("providers"));
        self.failed |= is_misspelt;
        if !named && !is_wrong && !is_misspelt {
            let place = match root.get("providers") {
                Some(_) => Place::value(self.source, route),
                None => Place::value(self.source, Route::root()),
            };
            let diagnostic =
                Diagnostic::error(Code::NoProvider, "the mount plan has no provider, so nobody would answer")
                    .help(format!(
                        "add `providers` with one of {}",
                        self.names_of(ModuleKind::Provider).join(", ")
                    ));
            self.push(diagnostic, &place);
        }
        self.refuse_same_providers(&providers);
        let priority = |spec: &ModuleSpec| spec.config.get("priority").and_then(serde_json::Value::as_i64);
        providers.sort_by_key(|spec| priority(spec).unwrap_or(PRIORITY));
        providers
    }

    fn refuse_same_providers(&mut self, providers: &[ModuleSpec]) {
        let mut seen: BTreeMap<(&str, Option<&str>), &ModuleSpec> = BTreeMap::new();
        for spec in providers {
            let instance = spec.instance_id.as_deref();
            if seen.insert((&spec.module, instance), spec).is_none() {
                continue;
            }
            let message = match instance {
                Some(instance) => format!("two providers have the instance_id `{instance}`"),
                None => format!("`{}` is there twice without an instance_id", spec.module),
            };
            let diagnostic = Diagnostic::error(Code::DuplicateModule, message)
                .help("give each further entry of a module an `instance_id` of its own");
            self.push(diagnostic, &spec.place);
        }
    }

    pub(super) fn refuse_same_tools(&mut self, tools: &[ModuleSpec]) {
        let known = self.known.catalogue;
        let mut modules: BTreeMap<&str, &str> = BTreeMap::new();
        for spec in tools {
            let Some(info) = known.iter().find(|info| info.name == spec.module) else { continue };
            let shown = std::iter::once(info.name).chain(info.tools.iter().copied());
            let first = shown.clone().find_map(|name| modules.get(name).map(|module| (name, *module)));
            shown.for_each(|name| {
                modules.entry(name).or_insert(info.name);
            });
            let Some((name, module)) = first else { continue };
            let message = if module == info.name {
                format!("`{}` is there twice", info.name)
            } else {
                format!("`{}` and `{module}` both show the model a tool `{name}`", info.name)
            };
            let diagnostic = Diagnostic::error(Code::DuplicateModule, message).help("remove one of them");
            self.push(diagnostic, &spec.place);
        }
    }

    fn modules(&mut self, root: &Node, kind: ModuleKind) -> Vec<ModuleSpec> {
        self.modules_at(root, kind, &Route::root())
    }

    /// The modules of a section below this route.
    pub(super) fn modules_at(&mut self, root: &Node, kind: ModuleKind, top: &Route) -> Vec<ModuleSpec> {
        let section = section(kind);
        let route = top.key(section);
        let Some(node) = root.get(section).filter(|node| !node.is_null()) else { return Vec::new() };
        let Some(items) = node.as_list() else {
            let message = format!("`{section}` must be a list, not {}", node.kind());
            self.error(Code::WrongType, message, &route);
            return Vec::new();
        };
        items.iter().enumerate().filter_map(|(at, item)| self.entry(item, kind, &route.index(at))).collect()
    }

    /// `{module, source, config}`, wherever it stands.
    pub(super) fn entry(&mut self, node: &Node, kind: ModuleKind, route: &Route) -> Option<ModuleSpec> {
        if node.as_map().is_none() {
            let mut diagnostic =
                Diagnostic::error(Code::WrongType, format!("`{route}` must be a map, not {}", node.kind()));
            if let Some(name) = node.as_text() {
                diagnostic = diagnostic.help(format!("write {{\"module\": \"{name}\"}}"));
            }
            self.push(diagnostic, &Place::value(self.source, route.clone()));
            return None;
        }
        let keys: &[&str] = match kind {
            ModuleKind::Provider => &["module", "source", "config", "instance_id"],
            _ => &["module", "source", "config"],
        };
        self.unknown_keys(node, route, keys, &format!("`{route}`"));
        let module = self.text(node, "module", route);
        let Some((module, at)) = module.or_else(|| self.fallback(node, kind, route)) else {
            if node.get("module").is_none_or(Node::is_null) {
                let diagnostic = Diagnostic::error(Code::MissingKey, format!("`{route}` has no `module`"))
                    .help(format!("name one: {}", self.names_of(kind).join(", ")));
                self.push(diagnostic, &Place::value(self.source, route.clone()));
            }
            return None;
        };
        let info = self.module(&module, kind, &at);
        self.text(node, "source", route);
        let instance_id = match kind {
            ModuleKind::Provider => self.text(node, "instance_id", route).map(|(text, _)| text),
            _ => None,
        };
        let is_nameless = instance_id.is_none() && node.get("instance_id").is_some_and(|id| !id.is_null());
        let info = info?;
        let config = self.config(info, node.get("config"), &route.key("config"));
        // What has an unusable name is not also a second entry without one.
        (kind != ModuleKind::Provider || !is_nameless)
            .then(|| ModuleSpec { instance_id, ..self.spec(info, config, at) })
    }

    /// The module Amplifier takes when a session's map names none.
    fn fallback(&mut self, node: &Node, kind: ModuleKind, route: &Route) -> Option<(String, Route)> {
        let module = match kind {
            ModuleKind::Orchestrator => "loop-basic",
            ModuleKind::Context => "context-simple",
            _ => return None,
        };
        if node.get("module").is_some_and(|node| !node.is_null()) {
            return None;
        }
        let message = format!("`{route}` names no module, so `{module}` is used");
        self.warn(message, "name the module you want", route.clone());
        Some((module.to_owned(), route.clone()))
    }

    fn system(&mut self, root: &Node) -> Option<String> {
        self.system_at(root, &Route::root())
    }

    pub(super) fn system_at(&mut self, root: &Node, top: &Route) -> Option<String> {
        let node = root.get("system").filter(|node| !node.is_null())?;
        let route = top.key("system");
        if node.as_map().is_none() {
            let diagnostic =
                Diagnostic::error(Code::WrongType, format!("`system` must be a map, not {}", node.kind()))
                    .help("write {\"instruction\": \"…\"}");
            self.push(diagnostic, &Place::value(self.source, route));
            return None;
        }
        self.unknown_keys(node, &route, &["instruction"], "`system`");
        self.text(node, "instruction", &route).map(|(text, _)| text).filter(|text| !text.is_empty())
    }

    /// A key that other programs read.
    fn ignore(&mut self, root: &Node, key: &str, help: &str) {
        if root.get(key).is_some_and(says_something) {
            self.warn(format!("`{key}` has no effect here"), help, Route::root().key(key));
        }
    }

    /// What is known of a module that is named here, if it may be used here.
    fn module(&mut self, name: &str, kind: ModuleKind, route: &Route) -> Option<&'a ModuleInfo> {
        let known = self.known.catalogue;
        let place = Place::value(self.source, route.clone());
        let found = known.iter().find(|info| info.name == name || info.aliases.contains(&name));
        let Some(info) = found else {
            let fitting = known.iter().filter(|info| info.kind == kind);
            let names =
                fitting.flat_map(|info| std::iter::once(info.name).chain(info.aliases.iter().copied()));
            let names: Vec<_> = names.collect();
            let mut help = format!(
                "modules are built in, a `source` is not fetched; there is {}",
                self.names_of(kind).join(", ")
            );
            if names.is_empty() {
                help = format!(
                    "modules are built in, a `source` is not fetched; there is no {} yet",
                    word(kind)
                );
            }
            let diagnostic =
                Diagnostic::error(Code::UnknownModule, format!("there is no {} `{name}`", word(kind)))
                    .did_you_mean(nearest(name, names))
                    .help(help);
            self.push(diagnostic, &place);
            return None;
        };
        if info.kind != kind {
            let message = format!("`{name}` is {} and cannot be {}", article(info.kind), article(kind));
            let diagnostic = Diagnostic::error(Code::WrongModuleKind, message)
                .help(format!("it belongs in `{}`", home(info.kind)));
            self.push(diagnostic, &place);
            return None;
        }
        Some(info)
    }

    fn config(
        &mut self,
        info: &ModuleInfo,
        node: Option<&Node>,
        route: &Route,
    ) -> Map<String, serde_json::Value> {
        let mut report = Report::new();
        let config = ConfigReader { source: self.source, known: self.known, report: &mut report }
            .read(info, node, route);
        self.failed |= report.has_errors();
        self.report.extend(report);
        config
    }

    fn spec(&self, info: &ModuleInfo, config: Map<String, serde_json::Value>, route: Route) -> ModuleSpec {
        let place = Place::value(self.source, route);
        ModuleSpec { module: info.name.to_owned(), config, instance_id: None, place }
    }

    /// A string that says something, with its route.
    pub(super) fn text(&mut self, node: &Node, key: &str, route: &Route) -> Option<(String, Route)> {
        let value = node.get(key).filter(|node| !node.is_null())?;
        let route = route.key(key);
        match value.as_text() {
            Some("") if key != "instruction" => {
                self.error(Code::Empty, format!("`{route}` is empty"), &route);
                None
            }
            Some(text) => Some((text.to_owned(), route)),
            None => {
                let message = format!("`{route}` must be a string, not {}", value.kind());
                self.error(Code::WrongType, message, &route);
                None
            }
        }
    }

    /// Keys nobody reads: a slip of a known one is an error, anything else may be meant for another program.
    pub(super) fn unknown_keys(&mut self, node: &Node, route: &Route, known: &[&str], whose: &str) {
        for entry in node.as_map().unwrap_or_default() {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let place = Place::of_key(self.source, route.key(entry.key.as_str()));
            let meant = nearest(&entry.key, known.iter().copied());
            let diagnostic = match meant {
                Some(_) => Diagnostic::error(Code::UnknownKey, format!("{whose} has no key `{}`", entry.key)),
                None => Diagnostic::warning(
                    Code::IgnoredMount,
                    format!("`{}` has no effect in {whose}", entry.key),
                ),
            };
            self.push(diagnostic.did_you_mean(meant).help(format!("known: {}", known.join(", "))), &place);
        }
    }

    fn names_of(&self, kind: ModuleKind) -> Vec<&'static str> {
        self.known.catalogue.iter().filter(|info| info.kind == kind).map(|info| info.name).collect()
    }

    /// The file that is read.
    pub(super) fn source(&self) -> SourceId {
        self.source
    }

    /// A module that is named without a configuration.
    pub(super) fn named(&mut self, module: &str, kind: ModuleKind, route: &Route) -> Option<ModuleSpec> {
        let info = self.module(module, kind, route)?;
        let config = self.config(info, None, route);
        Some(self.spec(info, config, route.clone()))
    }

    pub(super) fn error(&mut self, code: Code, message: String, route: &Route) {
        self.push(Diagnostic::error(code, message), &Place::value(self.source, route.clone()));
    }

    pub(super) fn warn(&mut self, message: String, help: &str, route: Route) {
        let diagnostic = Diagnostic::warning(Code::IgnoredMount, message).help(help);
        self.push(diagnostic, &Place::of_key(self.source, route));
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic, place: &Place) {
        self.failed |= diagnostic.severity == Severity::Error;
        self.report.push(diagnostic.at(place));
    }
}

/// Whether a setting that has no effect asks for anything.
fn says_something(node: &Node) -> bool {
    !node.is_null()
        && node.as_bool() != Some(false)
        && !node.as_map().is_some_and(<[_]>::is_empty)
        && !node.as_list().is_some_and(<[_]>::is_empty)
}

pub(super) fn section(kind: ModuleKind) -> &'static str {
    match kind {
        ModuleKind::Orchestrator => "orchestrator",
        ModuleKind::Context => "context",
        ModuleKind::Provider => "providers",
        ModuleKind::Tool => "tools",
        ModuleKind::Hook => "hooks",
    }
}

fn home(kind: ModuleKind) -> &'static str {
    match kind {
        ModuleKind::Orchestrator => "session.orchestrator",
        ModuleKind::Context => "session.context",
        other => section(other),
    }
}

fn word(kind: ModuleKind) -> &'static str {
    match kind {
        ModuleKind::Orchestrator => "orchestrator",
        ModuleKind::Context => "context",
        ModuleKind::Provider => "provider",
        ModuleKind::Tool => "tool",
        ModuleKind::Hook => "hook",
    }
}

fn article(kind: ModuleKind) -> String {
    let article = if kind == ModuleKind::Orchestrator { "an" } else { "a" };
    format!("{article} {}", word(kind))
}
