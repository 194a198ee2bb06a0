//! The module `tool-mcp`: what a mount plan says of MCP servers, and how their tools are named to a model.

mod call;
mod servers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

pub use call::tools;
pub use servers::{Offered, OpenError, Servers};

use super::settings::{SettingError, Settings};
use crate::id::Fingerprint;
use crate::limit;
use crate::mcp::{Address, Program};
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind, Variables};
use crate::secret::{Scrubber, Secret, looks_like_a_token, names_a_credential, password_in};

/// What mount plans may say of this module.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "tool-mcp",
    aliases: &[],
    kind: ModuleKind::Tool,
    summary: "offers the tools of MCP servers, as mcp_{server}_{tool}, their resources and their prompts; the servers are started with the run and end with it",
    keys: &[
        KeyInfo {
            name: "servers",
            shape: KeyShape::Any,
            default: "{}",
            doc: "by name: `command`, `args`, `env` of a program, or `url`, `headers` of a streamable HTTP server; `type` is stdio, http or streamable-http",
        },
        KeyInfo {
            name: "timeout",
            shape: KeyShape::Integer,
            default: "60",
            doc: "seconds one call may take; at most 3600",
        },
        KeyInfo {
            name: "connect_timeout",
            shape: KeyShape::Integer,
            default: "30",
            doc: "seconds a server may take to start and to list its tools; at most 3600",
        },
        KeyInfo {
            name: "max_content_size",
            shape: KeyShape::Integer,
            default: "50000",
            doc: "bytes of a result shown; beyond it the first and last 40 % are",
        },
        KeyInfo {
            name: "verbose_servers",
            shape: KeyShape::Flag,
            default: "false",
            doc: "accepted; without effect, as what a server prints is shown when it fails",
        },
    ],
    tools: &[],
    credential: None,
};

/// Variables a server's program is given besides its own `env`. One that holds a credential all the same is left out.
const ENVIRONMENT: [&str; 6] = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"];

/// Longest name of a tool that models are told of.
const NAME_CHARS: usize = 64;

/// What servers are started with.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The project: what a command with a slash is relative to.
    pub root: &'a Path,
    /// Where programs start.
    pub workspace: &'a Path,
    /// The environment of the runner.
    pub variables: &'a Variables,
    /// What takes credentials out of texts.
    pub scrubber: &'a Scrubber,
}

/// A server that a mount plan names.
#[derive(Debug, Clone)]
pub struct ServerPlan {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// How long it may take to be there.
    pub connect_timeout: Duration,
    /// How long a call may take.
    pub timeout: Duration,
    /// How much of a result is shown. Bytes.
    pub keep: usize,
}

/// Reads the servers of a module's configuration.
///
/// # Errors
/// A value cannot be used.
pub fn read(config: &Map<String, Value>, ground: Ground<'_>) -> Result<Vec<ServerPlan>, SettingError> {
    let settings = Settings::new(INFO.name, config);
    let seconds = |key, default| {
        let time = Duration::from_secs(settings.count(key)?.unwrap_or(default));
        let fits = time <= limit::COMMAND_TIMEOUT;
        if fits { Ok(time) } else { Err(settings.wrong(key, "may be at most 3600 seconds")) }
    };
    let (timeout, connect_timeout) = (seconds("timeout", 60)?, seconds("connect_timeout", 30)?);
    let keep = usize::try_from(settings.count("max_content_size")?.unwrap_or(50_000))
        .map_err(|_| settings.wrong("max_content_size", "is too large"))?;
    let servers = match config.get("servers") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(servers)) => servers,
        Some(_) => return Err(settings.wrong("servers", "must be a map of servers by name")),
    };
    let mut plans: Vec<ServerPlan> = Vec::new();
    for (name, value) in servers {
        let address = address(value, ground)
            .map_err(|problem| settings.wrong("servers", format!("names {name}, which {problem}")))?;
        if let Some(other) = plans.iter().find(|plan| plain(&plan.name) == plain(name)) {
            let problem = format!("has {} and {name}, whose tools would have the same names", other.name);
            return Err(settings.wrong("servers", problem));
        }
        plans.push(ServerPlan { name: name.clone(), address, connect_timeout, timeout, keep });
    }
    Ok(plans)
}

/// The names of the servers in a configuration, whatever else is wrong with it.
pub fn names(config: &Map<String, Value>) -> impl Iterator<Item = &str> {
    config.get("servers").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str())
}

/// The credentials in a configuration: headers, and variables whose names say so.
pub fn secrets(config: &Map<String, Value>) -> Vec<(String, Secret)> {
    let servers = config.get("servers").and_then(Value::as_object).into_iter().flatten();
    let mut secrets = Vec::new();
    for (_, server) in servers {
        let texts = |key: &str| {
            let map = server.get(key).and_then(Value::as_object).into_iter().flatten();
            map.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        };
        let is_given =
            |(name, value): &(String, String)| names_a_credential(name) || looks_like_a_token(value);
        let is_sent = |(name, value): &(String, String)| is_secret_header(name) || looks_like_a_token(value);
        let list = server.get("args").and_then(Value::as_array).into_iter().flatten();
        // `--token=abc`, or `abc` behind `--token`.
        let words =
            list.filter_map(Value::as_str).map(|word| word.rsplit_once('=').map_or(word, |(_, last)| last));
        let words = words.filter(|word| looks_like_a_token(word));
        secrets.extend(words.map(|word| ("args".to_owned(), Secret::new(word.to_owned()))));
        let addresses = texts("env")
            .chain(server.get("url").and_then(Value::as_str).map(|url| ("url".to_owned(), url.to_owned())));
        let passwords =
            addresses.filter_map(|(name, value)| Some((name, Secret::new(password_in(&value)?.to_owned()))));
        secrets.extend(passwords);
        for (name, value) in texts("env").filter(is_given).chain(texts("headers").filter(is_sent)) {
            // `Bearer abc`: the word that counts stands alone elsewhere.
            if let Some((_, last)) = value.rsplit_once(' ') {
                secrets.push((name.clone(), Secret::new(last.to_owned())));
            }
            secrets.push((name, Secret::new(value)));
        }
    }
    secrets
}

fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["auth", "key", "token", "secret", "cookie"].iter().any(|word| name.contains(word))
}

/// How a model is told of a server's tool. Names that are too long keep their beginning and are told apart by a hash.
pub fn shown_name(server: &str, tool: &str) -> String {
    let name = format!("{}{}", prefix(server), plain(tool));
    if name.len() <= NAME_CHARS { name } else { hashed(&name, &format!("{server}\n{tool}")) }
}

/// The same for something whose name another has already: `own` is what tells it apart.
pub fn told_apart(server: &str, name: &str, own: &str) -> String {
    hashed(&format!("{}{}", prefix(server), plain(name)), &format!("{server}\n{name}\n{own}"))
}

/// As much of a name as there is room for, and a hash of this.
fn hashed(name: &str, of: &str) -> String {
    let hash = Fingerprint::of(of.as_bytes()).to_string();
    let hash: String = hash.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("{}_{hash}", &name[..name.len().min(NAME_CHARS - 1 - hash.len())])
}

/// What the names of all of a server's tools begin with.
pub fn prefix(server: &str) -> String {
    format!("mcp_{}_", plain(server))
}

fn plain(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// Reads where a server is; an error says what is wrong with it.
fn address(value: &Value, ground: Ground<'_>) -> Result<Address, String> {
    let Value::Object(server) = value else {
        return Err("must be a map with `command` or `url`".to_owned());
    };
    const KNOWN: [&str; 6] = ["command", "args", "env", "url", "headers", "type"];
    if let Some(key) = server.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(format!("has an unknown key `{key}`; there are: {}", KNOWN.join(", ")));
    }
    let text = |key: &str| match server.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
        Some(_) => Err(format!("needs a string under `{key}`")),
    };
    let (command, url, kind) = (text("command")?, text("url")?, text("type")?);
    match (command, url, kind) {
        (_, _, Some("sse")) => Err("is of type sse, which the protocol has given up; use http".to_owned()),
        (Some(command), None, None | Some("stdio")) => {
            let mut environment = inherited(ground);
            environment.extend(pairs(server, "env")?);
            Ok(Address::Program(Program {
                command: program(command, ground.root),
                arguments: arguments(server)?,
                environment,
                folder: ground.workspace.to_owned(),
            }))
        }
        (None, Some(url), None | Some("http" | "streamable-http" | "streamable_http")) => {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err("needs an http:// or https:// address under `url`".to_owned());
            }
            let headers = pairs(server, "headers")?.into_iter();
            let headers = headers.map(|(name, value)| (name, Secret::new(value))).collect();
            Ok(Address::Http { url: url.to_owned(), headers })
        }
        (_, _, Some(kind)) if !["stdio", "http", "streamable-http", "streamable_http"].contains(&kind) => {
            Err(format!("is of type {kind}; it may be stdio, http or streamable-http"))
        }
        _ => Err("needs either `command` (type stdio) or `url` (type http)".to_owned()),
    }
}

fn program(command: &str, root: &Path) -> PathBuf {
    if command.contains('/') { root.join(command) } else { PathBuf::from(command) }
}

fn inherited(ground: Ground<'_>) -> Vec<(String, String)> {
    let named =
        ENVIRONMENT.iter().filter_map(|name| Some(((*name).to_owned(), ground.variables.get(*name)?)));
    let harmless = named.filter(|(_, value)| ground.scrubber.scrub(value) == **value);
    harmless.map(|(name, value)| (name, value.clone())).collect()
}

fn arguments(server: &Map<String, Value>) -> Result<Vec<String>, String> {
    let items = match server.get("args") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        }),
    };
    items.ok_or_else(|| "needs a list of strings under `args`".to_owned())
}

fn pairs(server: &Map<String, Value>, key: &str) -> Result<Vec<(String, String)>, String> {
    let map = match server.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_object().and_then(|map| {
            map.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        }),
    };
    map.ok_or_else(|| format!("needs a map of strings under `{key}`"))
}

#[cfg(test)]
mod tests;
