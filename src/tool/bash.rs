//! The tool `bash`: one shell command in the workspace, with a deadline, ended with every process it started; or one that goes
//! on in the background until its session ends, looked after with `bash_job`.
//!
//! Without `sandbox` the command is not confined: it may do what the user who started the runner may do. The safety profile
//! is a filter against accidents, and the environment holds no credentials.

mod attend;
mod jobs;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

pub use self::attend::TIMED_OUT;
use self::attend::{Output, Progress, attend};
use self::jobs::Jobs;
use self::watch::BashJob;
use super::arguments::{ArgumentError, Arguments};
use super::command_filter::{CommandFilter, Profile};
use super::sandbox::{Sandbox, Wanted};
use super::settings::{SettingError, Settings};
use super::workspace::{Kind, PathError, WorkPath, Workspace, plain};
use super::{Answers, Built, CallContext, Repeat, Tool, ToolOutput};
use crate::chat::ToolSpec;
use crate::event::{Access, Footprint, Policy};
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind, Variables};
use crate::process::Group;
use crate::{limit, secret};

/// What mount plans may say of this module.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "tool-bash",
    aliases: &[],
    kind: ModuleKind::Tool,
    summary: "runs shell commands in the workspace; not confined to it, unless `sandbox` says so",
    keys: &[
        KeyInfo {
            name: "timeout",
            shape: KeyShape::Integer,
            default: "30",
            doc: "seconds a command may take unless its call says otherwise; at most 3600",
        },
        KeyInfo {
            name: "allowed_commands",
            shape: KeyShape::TextList,
            default: "[]",
            doc: "the only commands that may run, by first words (`git status`) or with wildcards (`cargo *`); empty allows all",
        },
        KeyInfo {
            name: "denied_commands",
            shape: KeyShape::TextList,
            default: "[]",
            doc: "commands that may not run: a part of their text, or a wildcard for all of it; wins over allowed_commands",
        },
        KeyInfo {
            name: "safety_profile",
            shape: KeyShape::Text,
            default: "strict",
            doc: "strict, standard, permissive or unrestricted: which destructive commands a filter refuses; it is no sandbox",
        },
        KeyInfo {
            name: "working_dir",
            shape: KeyShape::Text,
            default: ".",
            doc: "where commands start, relative to the workspace",
        },
        KeyInfo {
            name: "max_output_bytes",
            shape: KeyShape::Integer,
            default: "100000",
            doc: "bytes of stdout and of stderr shown; beyond it the first and last 40 % are",
        },
        KeyInfo {
            name: "max_background_jobs",
            shape: KeyShape::Integer,
            default: "4",
            doc: "commands that a session may have in the background at once, at most 32; 0 takes `run_in_background` and `bash_job` away",
        },
        KeyInfo {
            name: "sandbox",
            shape: KeyShape::Text,
            default: "off",
            doc: "on: the kernel (Landlock) lets commands write only to the workspace and to TMPDIR, else /tmp; where it cannot, a notice says so; required: then the run does not begin",
        },
        KeyInfo {
            name: "require_approval",
            shape: KeyShape::Flag,
            default: "true",
            doc: "accepted; without effect, as only an approval hook reads it and none is built in",
        },
    ],
    tools: &["bash", watch::NAME],
    credential: None,
};

/// Variables a command is given, besides those that begin with `LC_`. None of them holds a credential by its nature;
/// one that does all the same is left out.
const ENVIRONMENT: [&str; 22] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TERM",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "GOPATH",
    "GOROOT",
    "JAVA_HOME",
    "NODE_PATH",
    "NVM_DIR",
    "PYENV_ROOT",
    "VIRTUAL_ENV",
];

/// Nobody can answer a question or leave a pager: what would ask is told so.
const UNATTENDED: [(&str, &str); 4] = [
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("DEBIAN_FRONTEND", "noninteractive"),
];

/// Builds the tool. Absent only where there is no shell.
///
/// # Errors
/// A value of the configuration cannot be used.
pub fn build(
    config: &Map<String, Value>,
    workspace: Arc<Workspace>,
    variables: &Variables,
) -> Result<Built, SettingError> {
    build_with(config, workspace, variables, &BTreeMap::new())
}

/// The same for commands that are given variables of their own.
///
/// # Errors
/// A value of the configuration cannot be used.
pub fn build_with(
    config: &Map<String, Value>,
    workspace: Arc<Workspace>,
    variables: &Variables,
    own: &BTreeMap<String, String>,
) -> Result<Built, SettingError> {
    let settings = Settings::new(INFO.name, config);
    let directory = settings.working_dir(&workspace)?;
    let timeout = Duration::from_secs(settings.count("timeout")?.unwrap_or(30));
    if timeout > limit::COMMAND_TIMEOUT {
        return Err(settings.wrong("timeout", "may be at most 3600 seconds"));
    }
    let profile = match settings.text("safety_profile")? {
        None => Profile::Strict,
        Some(name) => Profile::from_text(name).ok_or_else(|| {
            settings.wrong("safety_profile", "must be strict, standard, permissive or unrestricted")
        })?,
    };
    let filter = CommandFilter::new(
        profile,
        &settings.texts("allowed_commands")?.unwrap_or_default(),
        &settings.texts("denied_commands")?.unwrap_or_default(),
    );
    let keep = settings.count("max_output_bytes")?.map_or(Ok(limit::TOOL_OUTPUT_BYTES), |count| {
        usize::try_from(count).map_err(|_| settings.wrong("max_output_bytes", "is too large"))
    })?;
    let most = settings.number("max_background_jobs")?.map_or(Some(4), |count| usize::try_from(count).ok());
    let most = most
        .filter(|most| *most <= limit::BACKGROUND_JOBS)
        .ok_or_else(|| settings.wrong("max_background_jobs", "may be at most 32"))?;
    let Some(shell) = find_shell(variables) else {
        return Ok(Built::Absent {
            notice: "tool-bash: neither bash nor sh was found, so the tool `bash` is absent".to_owned(),
        });
    };
    let mut environment = environment(variables, &workspace);
    environment.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
    let temporary = variables.get("TMPDIR").map_or("/tmp", String::as_str);
    let sandbox = match sandbox(config)? {
        Wanted::Off => None,
        Wanted::Where | Wanted::Required => Some(Sandbox::new(workspace.root(), Path::new(temporary))),
    };
    let jobs = Arc::new(Jobs::new(most, workspace.jobs().clone()));
    let mut tools: Vec<Arc<dyn Tool>> = vec![Arc::new(Bash {
        workspace: workspace.clone(),
        directory,
        shell,
        environment,
        timeout,
        keep,
        filter,
        sandbox,
        jobs: jobs.clone(),
    })];
    if most > 0 {
        tools.push(Arc::new(BashJob { workspace, jobs }));
    }
    Ok(Built::Tools(tools))
}

/// What a configuration says of the sandbox.
///
/// # Errors
/// It is none of the words there are.
pub fn sandbox(config: &Map<String, Value>) -> Result<Wanted, SettingError> {
    let settings = Settings::new(INFO.name, config);
    let Some(text) = settings.text("sandbox")? else { return Ok(Wanted::Off) };
    Wanted::from_text(text).ok_or_else(|| settings.wrong("sandbox", "must be off, on or required"))
}

struct Bash {
    workspace: Arc<Workspace>,
    directory: WorkPath,
    shell: PathBuf,
    environment: Vec<(String, String)>,
    timeout: Duration,
    keep: usize,
    filter: CommandFilter,
    sandbox: Option<Sandbox>,
    jobs: Arc<Jobs>,
}

#[async_trait]
impl Tool for Bash {
    fn spec(&self) -> ToolSpec {
        let seconds = self.timeout.as_secs();
        let confined = match &self.sandbox {
            Some(_) => " Only the workspace and the folder for temporary files can be written.",
            None => "",
        };
        let mut properties = json!({
            "command": {"type": "string", "description": "The command"},
            "timeout": {
                "type": "integer",
                "minimum": 1,
                "maximum": limit::COMMAND_TIMEOUT.as_secs(),
                "description": format!("Seconds it may take; {seconds} when absent"),
            },
        });
        let mut background = "";
        if self.jobs.most() > 0 {
            background = " For a server or a long build, run_in_background returns a job_id at once; look after it with \
                          bash_job. It is ended with this session.";
            properties["run_in_background"] = json!({
                "type": "boolean",
                "description": "true returns at once; the command then has no timeout unless one is given",
            });
        }
        ToolSpec {
            name: "bash".to_owned(),
            description: format!(
                "Runs a shell command in the workspace and returns stdout, stderr and returncode. It starts anew each \
                 time: directory changes and variables do not last. There is no terminal and no input. A command may \
                 take {seconds} seconds unless timeout says otherwise; whatever it leaves behind is ended \
                 with it.{background} Use relative paths. To read and change files, the file tools are better where \
                 there are any.{confined}"
            ),
            input_schema: json!({
                "type": "object",
                "properties": properties,
                "required": ["command"],
                "additionalProperties": false,
            }),
        }
    }

    fn policy(&self) -> Policy {
        Policy::Tape
    }

    fn answers(&self, input: &Map<String, Value>) -> Answers {
        if is_background(input) { Answers::ByChance } else { Answers::ByInput }
    }

    fn repeat(&self) -> Repeat {
        Repeat::Harmful
    }

    fn timeout(&self, _: &Map<String, Value>) -> Option<Duration> {
        None
    }

    fn footprint(&self, _: &Map<String, Value>) -> Footprint {
        Footprint::none().with(Access::Write, "fs:*")
    }

    async fn run(&self, input: Map<String, Value>, call: CallContext) -> ToolOutput {
        let background = is_background(&input);
        if background && !self.jobs.has_room() {
            return ToolOutput::error(BashError::NoRoom { running: self.jobs.running() }.to_string());
        }
        let (child, timeout) = match self.start(Arguments(&input)) {
            Ok(started) => started,
            Err(error) => return ToolOutput::error(error.to_string()),
        };
        let output = Output::new(self.keep);
        if background {
            let id = format!("job-{}", call.ids.next());
            self.jobs.add(id.clone(), child, output, timeout);
            let result = json!({"job_id": id, "status": "running", "note": "look after it with bash_job"});
            return ToolOutput::ok(result.to_string());
        }
        self.attend(child, output, timeout.unwrap_or(self.timeout), &call.cancel).await
    }
}

fn is_background(input: &Map<String, Value>) -> bool {
    input.get("run_in_background").and_then(Value::as_bool) == Some(true)
}

impl Bash {
    /// Starts the command of a call; with it goes the time it may take, if the call says so.
    fn start(&self, arguments: Arguments<'_>) -> Result<(Child, Option<Duration>), BashError> {
        let command = match arguments.text("command") {
            Ok(command) if !command.trim().is_empty() => command,
            Ok(_) => return Err(BashError::Empty),
            Err(error) if error.problem == "is required" => return Err(BashError::Empty),
            Err(error) => return Err(error.into()),
        };
        let timeout = arguments.count("timeout")?.map(Duration::from_secs);
        if timeout.is_some_and(|timeout| timeout > limit::COMMAND_TIMEOUT) {
            return Err(BashError::TooLong);
        }
        if self.workspace.scrubber().has_mark(command) {
            return Err(BashError::Mark);
        }
        self.filter
            .check(command)
            .map_err(|denied| BashError::Denied { reason: denied.reason, hint: denied.hint })?;
        let found = self.workspace.find(&self.directory)?;
        if found.kind != Kind::Directory {
            return Err(BashError::NoDirectory { path: self.directory.to_string() });
        }
        let mut shell = Command::new(&self.shell);
        shell
            .arg("-c")
            .arg(command)
            .current_dir(self.workspace.root().join(found.path.to_string()))
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = match &self.sandbox {
            Some(sandbox) => sandbox.spawn(&mut shell),
            None => shell.spawn(),
        };
        let child =
            child.map_err(|error| BashError::Start { reason: self.workspace.show(&plain(&error)) })?;
        Ok((child, timeout))
    }

    async fn attend(
        &self,
        child: Child,
        output: Output,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> ToolOutput {
        let group = Arc::new(Mutex::new(Group::led_by(&child)));
        let ended = attend(child, &group, &output, Some(timeout), cancel).await;
        let mut result = output.printed(Progress::Over, |text| self.workspace.show(text)).result();
        ended.tell(&mut result, Some(timeout));
        ToolOutput { is_error: !ended.is_success(), ..ToolOutput::ok(result.to_string()) }
    }
}

/// The shell that commands run in: bash where there is one, else sh.
pub fn find_shell(variables: &Variables) -> Option<PathBuf> {
    let path = variables.get("PATH").map_or("", String::as_str);
    let folders: Vec<&Path> = path
        .split(':')
        .filter(|folder| folder.starts_with('/'))
        .chain(["/bin", "/usr/bin"])
        .map(Path::new)
        .collect();
    ["bash", "sh"]
        .iter()
        .flat_map(|shell| folders.iter().map(move |folder| folder.join(shell)))
        .find(|file| file.is_file())
}

fn environment(variables: &Variables, workspace: &Workspace) -> Vec<(String, String)> {
    let harmless = |name: &str, value: &str| {
        !secret::names_a_credential(name) && workspace.scrubber().scrub(value) == value
    };
    let given = variables
        .iter()
        .filter(|(name, _)| ENVIRONMENT.contains(&name.as_str()) || name.starts_with("LC_"))
        .filter(|(name, value)| harmless(name, value))
        .map(|(name, value)| (name.clone(), value.clone()));
    given.chain(UNATTENDED.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
}

/// Why a command is not run. The first words are those of the original tool where it has the error too.
#[derive(Debug, thiserror::Error)]
enum BashError {
    #[error("Command is required")]
    Empty,
    #[error("{0}")]
    Argument(#[from] ArgumentError),
    #[error("timeout may be at most {} seconds", limit::COMMAND_TIMEOUT.as_secs())]
    TooLong,
    #[error(
        "The command holds the placeholder of a secret, which stands for text that is not shown. Commands are given no secrets: do it without"
    )]
    Mark,
    #[error("Command denied for safety: {reason}\n  Hint: {hint}")]
    Denied { reason: String, hint: String },
    #[error("{0}")]
    Path(#[from] PathError),
    #[error(
        "the working directory {path} of tool-bash is not there; make it with write_file, or change the mount plan"
    )]
    NoDirectory { path: String },
    #[error(
        "Not run: as many commands are in the background as may be ({}). End one with bash_job, or wait for one",
        watch::listed(running)
    )]
    NoRoom { running: Vec<String> },
    #[error("the shell cannot be started: {reason}; if the command is very long, write it to a file first")]
    Start { reason: String },
}
