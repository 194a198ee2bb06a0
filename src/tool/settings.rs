//! What the configuration of a tool module says: typed values by key, and what is wrong with one.

use serde_json::{Map, Value};

use super::workspace::{PathError, WorkPath, Workspace};

/// The configuration of one module.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    module: &'static str,
    config: &'a Map<String, Value>,
}

impl<'a> Settings<'a> {
    /// The configuration of `module`.
    pub fn new(module: &'static str, config: &'a Map<String, Value>) -> Self {
        Self { module, config }
    }

    /// A string. `None` when the key is absent or null.
    ///
    /// # Errors
    /// It is something else.
    pub fn text(&self, key: &'static str) -> Result<Option<&'a str>, SettingError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "must be a string")),
        }
    }

    /// A list of strings. `None` when the key is absent or null.
    ///
    /// # Errors
    /// It is something else.
    pub fn texts(&self, key: &'static str) -> Result<Option<Vec<&'a str>>, SettingError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let texts = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
        texts.map(Some).ok_or_else(|| self.wrong(key, "must be a list of strings"))
    }

    /// A whole number of at least 1. `None` when the key is absent or null.
    ///
    /// # Errors
    /// It is something else.
    pub fn count(&self, key: &'static str) -> Result<Option<u64>, SettingError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let count = value.as_u64().filter(|count| *count >= 1);
        count.map(Some).ok_or_else(|| self.wrong(key, "must be a whole number of at least 1"))
    }

    /// A whole number, 0 included. `None` when the key is absent or null.
    ///
    /// # Errors
    /// It is something else.
    pub fn number(&self, key: &'static str) -> Result<Option<u64>, SettingError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.wrong(key, "must be a whole number of at least 0"))
    }

    /// Where relative paths start: the `working_dir`, itself relative to the workspace; the top when it is absent.
    ///
    /// # Errors
    /// It is no path inside the workspace.
    pub fn working_dir(&self, workspace: &Workspace) -> Result<WorkPath, SettingError> {
        const KEY: &str = "working_dir";
        let Some(given) = self.text(KEY)? else { return Ok(WorkPath::top()) };
        workspace.read_path(&WorkPath::top(), given).map_err(|error| self.wrong_path(KEY, &error))
    }

    /// A list of paths inside the workspace, from `base`. `None` when the key is absent or null.
    ///
    /// # Errors
    /// It is something else, or one of them leads out of the workspace.
    pub fn paths(
        &self,
        key: &'static str,
        workspace: &Workspace,
        base: &WorkPath,
    ) -> Result<Option<Vec<WorkPath>>, SettingError> {
        let Some(texts) = self.texts(key)? else { return Ok(None) };
        let paths = texts.into_iter().map(|text| workspace.read_path(base, text)).collect::<Result<_, _>>();
        paths.map(Some).map_err(|error| self.wrong_path(key, &error))
    }

    /// An error about the value of a key.
    pub fn wrong(&self, key: &'static str, problem: impl Into<String>) -> SettingError {
        SettingError { module: self.module, key, problem: problem.into() }
    }

    /// An error about a path that the value of a key names.
    pub fn wrong_path(&self, key: &'static str, error: &PathError) -> SettingError {
        self.wrong(key, format!("names a path that cannot be used: {error}"))
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.config.get(key).filter(|value| !value.is_null())
    }
}

/// A value in a module's configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{module}: `{key}` {problem}")]
pub struct SettingError {
    /// The module.
    pub module: &'static str,
    /// The key.
    pub key: &'static str,
    /// What is wrong and what is allowed.
    pub problem: String,
}
