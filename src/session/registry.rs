//! Which modules mount plans may name: those that are built in, and those that a program of its own brings along.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::modules::{BASIC, STREAMING};
use crate::chat::Room;
use crate::context::{self, ConfigError, ContextManager};
use crate::hook::{self, Hook, HookError};
use crate::plan::{ModuleInfo, ModuleKind, ModuleSpec, Need, Plan, Variables};
use crate::provider::{BuildError, FAMILY, Fallback, Provider, mock};
use crate::tool::settings::SettingError;
use crate::tool::workspace::Workspace;
use crate::tool::{Built, bash, filesystem, issue, mcp, search, task, todo, web};

/// What a tool of one's own is made from, for one session.
pub struct ToolParts<'a> {
    /// The `config` of the mount plan.
    pub config: &'a Map<String, Value>,
    /// Where the session works: the workspace of the run, or a folder of it.
    pub workspace: &'a Arc<Workspace>,
    /// The environment.
    pub variables: &'a Variables,
    /// The session's path within the run.
    pub session: &'a str,
}

type MakeTool = dyn Fn(&ToolParts<'_>) -> Result<Built, SettingError> + Send + Sync;
type MakeHook = dyn Fn(&Map<String, Value>) -> Result<Arc<dyn Hook>, HookError> + Send + Sync;
type MakeContext =
    dyn Fn(&ModuleSpec, Option<Room>) -> Result<Box<dyn ContextManager>, ConfigError> + Send + Sync;
type MakeProvider =
    dyn Fn(&ModuleSpec, &Variables, Option<&str>) -> Result<Arc<dyn Provider>, BuildError> + Send + Sync;

/// The modules that mount plans may name. A program that brings its own along adds them to those that are built in and
/// hands all of them to [`crate::cli::run`].
#[derive(Clone, Default)]
pub struct Registry {
    tools: Vec<(ModuleInfo, Arc<MakeTool>)>,
    hooks: Vec<(ModuleInfo, Arc<MakeHook>)>,
    contexts: Vec<(ModuleInfo, Arc<MakeContext>)>,
    providers: Vec<(ModuleInfo, Arc<MakeProvider>)>,
}

/// A credential that sessions of a plan ask models with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialUse {
    /// The variable that holds it.
    pub variable: &'static str,
    /// Whether there is no answer without it.
    pub need: Need,
    /// Where it is found.
    pub found: CredentialFound,
    /// The roles that use it.
    pub roles: Vec<String>,
}

/// Where a credential is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialFound {
    /// It is not there.
    Nowhere,
    /// In its variable.
    InVariable,
    /// In the mount plan, or in a variable that the mount plan names in its place.
    InMountPlan,
}

/// A module cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// There is one of this name.
    #[error("there is a module `{0}` already; give yours another name")]
    Taken(String),
    /// It says of itself that it is something else.
    #[error(
        "`{name}` says that it is {told:?}, and is added as {wanted:?}; change the `kind` of its `ModuleInfo`"
    )]
    OtherKind {
        /// The module.
        name: String,
        /// What it says.
        told: ModuleKind,
        /// As what it is added.
        wanted: ModuleKind,
    },
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.catalogue().iter().map(|info| info.name)).finish()
    }
}

impl Registry {
    /// The modules that are built in.
    pub fn builtin() -> Self {
        Self::default()
    }

    /// The same with a tool module. `make` is called for each session, so that what it builds may keep state.
    ///
    /// # Errors
    /// There is a module of this name, or it says that it is no tool.
    pub fn with_tool(
        mut self,
        info: ModuleInfo,
        make: impl Fn(&ToolParts<'_>) -> Result<Built, SettingError> + Send + Sync + 'static,
    ) -> Result<Self, RegisterError> {
        self.check(&info, ModuleKind::Tool)?;
        self.tools.push((info, Arc::new(make)));
        Ok(self)
    }

    /// The same with a hook module. `make` is called for each session.
    ///
    /// # Errors
    /// There is a module of this name, or it says that it is no hook.
    pub fn with_hook(
        mut self,
        info: ModuleInfo,
        make: impl Fn(&Map<String, Value>) -> Result<Arc<dyn Hook>, HookError> + Send + Sync + 'static,
    ) -> Result<Self, RegisterError> {
        self.check(&info, ModuleKind::Hook)?;
        self.hooks.push((info, Arc::new(make)));
        Ok(self)
    }

    /// The same with a context module. `make` is called for each session, with the room that its model has.
    ///
    /// # Errors
    /// There is a module of this name, or it says that it is no context.
    pub fn with_context(
        mut self,
        info: ModuleInfo,
        make: impl Fn(&ModuleSpec, Option<Room>) -> Result<Box<dyn ContextManager>, ConfigError>
        + Send
        + Sync
        + 'static,
    ) -> Result<Self, RegisterError> {
        self.check(&info, ModuleKind::Context)?;
        self.contexts.push((info, Arc::new(make)));
        Ok(self)
    }

    /// The same with a provider module. `make` is given the mount plan's entry, the environment and the model of the role,
    /// if it names one.
    ///
    /// # Errors
    /// There is a module of this name, or it says that it is no provider.
    pub fn with_provider(
        mut self,
        info: ModuleInfo,
        make: impl Fn(&ModuleSpec, &Variables, Option<&str>) -> Result<Arc<dyn Provider>, BuildError>
        + Send
        + Sync
        + 'static,
    ) -> Result<Self, RegisterError> {
        self.check(&info, ModuleKind::Provider)?;
        self.providers.push((info, Arc::new(make)));
        Ok(self)
    }

    fn check(&self, info: &ModuleInfo, wanted: ModuleKind) -> Result<(), RegisterError> {
        if info.kind != wanted {
            return Err(RegisterError::OtherKind { name: info.name.to_owned(), told: info.kind, wanted });
        }
        let same = |known: &ModuleInfo| known.name == info.name || known.aliases.contains(&info.name);
        match self.catalogue().iter().any(same) {
            true => Err(RegisterError::Taken(info.name.to_owned())),
            false => Ok(()),
        }
    }

    /// What there is to know of every module, without building one.
    pub fn catalogue(&self) -> Vec<ModuleInfo> {
        let mut modules = vec![STREAMING, BASIC, context::SIMPLE, context::PERSISTENT];
        modules.extend(FAMILY.iter().map(|member| member.info));
        modules.extend([
            mock::INFO,
            issue::INFO,
            filesystem::INFO,
            bash::INFO,
            search::INFO,
            todo::INFO,
            task::INFO,
            web::INFO,
            mcp::INFO,
        ]);
        modules.extend([
            hook::shell::INFO,
            hook::approval::INFO,
            hook::logging::INFO,
            hook::redaction::INFO,
            hook::cost::INFO,
        ]);
        modules.extend(self.tools.iter().map(|(info, _)| *info));
        modules.extend(self.hooks.iter().map(|(info, _)| *info));
        modules.extend(self.contexts.iter().map(|(info, _)| *info));
        modules.extend(self.providers.iter().map(|(info, _)| *info));
        modules
    }

    pub(super) fn tool(&self, name: &str) -> Option<&MakeTool> {
        found(&self.tools, name)
    }

    pub(super) fn hook(&self, name: &str) -> Option<&MakeHook> {
        found(&self.hooks, name)
    }

    pub(super) fn context(&self, name: &str) -> Option<&MakeContext> {
        found(&self.contexts, name)
    }

    /// Makes the provider of a mount plan's entry; the model replaces the plan's own. `None` for one that is no client of a
    /// server.
    pub(super) fn provider(
        &self,
        spec: &ModuleSpec,
        variables: &Variables,
        model: Option<&str>,
    ) -> Option<Result<Arc<dyn Provider>, BuildError>> {
        let built_in = FAMILY.iter().find(|member| member.info.name == spec.module);
        match built_in {
            Some(member) => Some((member.build)(spec, variables, model)),
            None => found(&self.providers, &spec.module).map(|make| make(spec, variables, model)),
        }
    }

    /// The credentials that the plan's sessions need and that are not there: the variable, with the roles that need it.
    pub fn missing_credentials(
        &self,
        plan: &Plan,
        variables: &Variables,
    ) -> BTreeMap<&'static str, Vec<String>> {
        let uses = self.credential_uses(plan, variables).into_iter();
        let missing =
            uses.filter(|used| used.need == Need::Required && used.found == CredentialFound::Nowhere);
        missing.map(|used| (used.variable, used.roles)).collect()
    }

    /// The credentials that the plan's sessions ask models with, by variable, and where each is found.
    pub fn credential_uses(&self, plan: &Plan, variables: &Variables) -> Vec<CredentialUse> {
        let mut uses: Vec<CredentialUse> = Vec::new();
        let used: BTreeSet<_> =
            plan.every_phase().flat_map(crate::plan::PhasePlan::sessions).map(|(_, role)| role).collect();
        let used = used.iter().filter_map(|role| plan.roles.get(role));
        let specs =
            used.flat_map(|role| role.mount_plan.and_agents().map(move |plan| (role, plan.provider())));
        for (role, spec) in specs {
            let info = self.catalogue().into_iter().find(|info| info.name == spec.module);
            let Some(credential) = info.and_then(|info| info.credential) else { continue };
            let filled = |value: &&str| !value.trim().is_empty();
            let in_config = spec.config.get(credential.key).and_then(Value::as_str).filter(filled);
            let in_variable = variables.get(credential.variable).map(String::as_str).filter(filled);
            let found = match (in_config, in_variable) {
                (None, None) => CredentialFound::Nowhere,
                (Some(config), variable) if variable != Some(config) => CredentialFound::InMountPlan,
                _ => CredentialFound::InVariable,
            };
            let role = role.id.to_string();
            let is_same = |used: &&mut CredentialUse| {
                (used.variable, used.need, used.found) == (credential.variable, credential.need, found)
            };
            match uses.iter_mut().find(is_same) {
                Some(used) if used.roles.contains(&role) => {}
                Some(used) => used.roles.push(role),
                None => uses.push(CredentialUse {
                    variable: credential.variable,
                    need: credential.need,
                    found,
                    roles: vec![role],
                }),
            }
        }
        uses.sort_by_key(|used| used.variable);
        uses
    }

    /// What is wrong with the providers that ask a server, each mistake once: what a run would find before it begins.
    pub fn wrong_providers(&self, plan: &Plan, variables: &Variables) -> Vec<BuildError> {
        let mut wrong: Vec<BuildError> = Vec::new();
        let roles = plan.roles.values();
        let specs =
            roles.flat_map(|role| role.mount_plan.and_agents().map(move |plan| (role, plan.provider())));
        for (role, spec) in specs {
            let built = match self.provider(spec, variables, role.model.as_deref()) {
                Some(Ok(provider)) => self.build_stand_ins(spec, variables, provider.model()),
                Some(Err(error)) => Err(error),
                None => Ok(()),
            };
            if let Err(error) = built
                && !wrong.contains(&error)
            {
                wrong.push(error);
            }
        }
        wrong
    }
}

impl Registry {
    fn build_stand_ins(
        &self,
        spec: &ModuleSpec,
        variables: &Variables,
        model: &str,
    ) -> Result<(), BuildError> {
        let models = Fallback::read(spec, model)?.models;
        let mut built = models.iter().filter_map(|model| self.provider(spec, variables, Some(model)));
        built.try_for_each(|provider| provider.map(drop))
    }
}

fn found<'m, M: ?Sized>(modules: &'m [(ModuleInfo, Arc<M>)], name: &str) -> Option<&'m M> {
    modules.iter().find(|(info, _)| info.name == name).map(|(_, make)| make.as_ref())
}
