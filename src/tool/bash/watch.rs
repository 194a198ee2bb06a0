//! The tool `bash_job`: what a command in the background has printed since, whether it has ended, and its end if that is wanted.
//!
//! What it answers is chance, so a replay always hands out what was recorded, and with it what the command did to files.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::attend::{End, Progress};
use super::jobs::Jobs;
use crate::chat::ToolSpec;
use crate::event::{Access, Footprint, Policy};
use crate::limit;
use crate::tool::arguments::{ArgumentError, Arguments};
use crate::tool::workspace::Workspace;
use crate::tool::{Answers, CallContext, Tool, ToolOutput};

/// The name models know.
pub(super) const NAME: &str = "bash_job";

pub(super) struct BashJob {
    pub(super) workspace: Arc<Workspace>,
    pub(super) jobs: Arc<Jobs>,
}

#[async_trait]
impl Tool for BashJob {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: NAME.to_owned(),
            description: "Looks after a command that bash runs in the background: returns what it has printed since the \
                          last look, whether it is running or has ended, and then its returncode. A line is shown when \
                          it is whole."
                .to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "job_id": {"type": "string", "description": "The job_id that bash returned"},
                    "wait": {
                        "type": "integer",
                        "minimum": 0,
                        "maximum": limit::JOB_WAIT.as_secs(),
                        "description": "Seconds to wait for its end at most; 0 when absent",
                    },
                    "kill": {"type": "boolean", "description": "true ends it, with all it started, before looking"},
                },
                "required": ["job_id"],
                "additionalProperties": false,
            }),
        }
    }

    fn policy(&self) -> Policy {
        Policy::Tape
    }

    fn answers(&self, _: &Map<String, Value>) -> Answers {
        Answers::ByChance
    }

    fn timeout(&self, _: &Map<String, Value>) -> Option<Duration> {
        None
    }

    fn footprint(&self, _: &Map<String, Value>) -> Footprint {
        Footprint::none().with(Access::Write, "fs:*")
    }

    async fn run(&self, input: Map<String, Value>, call: CallContext) -> ToolOutput {
        match self.look(Arguments(&input), &call).await {
            Ok(result) => ToolOutput::ok(result.to_string()),
            Err(error) => ToolOutput::error(error.to_string()),
        }
    }
}

impl BashJob {
    async fn look(&self, arguments: Arguments<'_>, call: &CallContext) -> Result<Value, LookError> {
        let id = arguments.text("job_id")?;
        let wait = Duration::from_secs(arguments.number("wait")?.unwrap_or_default());
        if wait > limit::JOB_WAIT {
            return Err(LookError::TooLong);
        }
        let is_kill = arguments.flag("kill")?;
        let Some(job) = self.jobs.find(id) else {
            return Err(LookError::Unknown { id: self.workspace.show(id), running: self.jobs.running() });
        };
        if is_kill {
            job.kill();
            job.wait().await;
        } else {
            tokio::select! {
                biased;
                () = job.wait() => {}
                () = call.cancel.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        let ended = job.end();
        let progress = if ended.is_some() { Progress::Over } else { Progress::Running };
        let mut result = job.output.printed(progress, |text| self.workspace.show(text)).result();
        result["job_id"] = id.into();
        result["status"] = match &ended {
            None => "running",
            Some(ended) if matches!(ended.end, End::Cancelled) => "killed",
            Some(_) => "ended",
        }
        .into();
        if let Some(ended) = ended {
            if !matches!(ended.end, End::Cancelled) {
                ended.tell(&mut result, job.timeout);
            }
            self.jobs.forget(id);
        }
        Ok(result)
    }
}

/// Why a job cannot be looked after.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("{0}")]
    Argument(#[from] ArgumentError),
    #[error("wait may be at most {} seconds", limit::JOB_WAIT.as_secs())]
    TooLong,
    #[error(
        "There is no job {id} here. A job is this session's alone, ends with it, when it ends or the run is stopped, and is forgotten when its end has been told. Running: {}. Start the command again if it is needed",
        listed(running)
    )]
    Unknown { id: String, running: Vec<String> },
}

/// Names for people.
pub(super) fn listed(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}
