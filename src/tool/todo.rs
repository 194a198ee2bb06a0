//! The tool `todo`: a list of steps that a session keeps for itself.
//!
//! The list is that session's and of this run only; what others are to see belongs into the issue queue.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::arguments::{ArgumentError, Arguments};
use super::{Built, CallContext, Tool, ToolOutput};
use crate::chat::ToolSpec;
use crate::event::{Access, EffectId, Footprint, Policy};
use crate::limit;
use crate::plan::{ModuleInfo, ModuleKind};

/// What mount plans may say of this module.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "tool-todo",
    aliases: &[],
    kind: ModuleKind::Tool,
    summary: "a list of steps that a session keeps for itself; work that others are to see belongs into the queue",
    keys: &[],
    tools: &["todo"],
    credential: None,
};

/// Builds the tool with an empty list, for the session of this path.
pub fn build(session: &str) -> Built {
    Built::Tools(vec![Arc::new(Todo::new(session))])
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    content: String,
    #[serde(rename = "activeForm")]
    active_form: String,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Pending,
    InProgress,
    Completed,
}

/// What a call does to the list.
enum Action {
    Create(Vec<Step>),
    Update(Vec<Step>),
    List,
}

struct Todo {
    /// The list's name in footprints: calls of one message come in their order, other sessions are not in the way.
    resource: String,
    steps: Mutex<Vec<Step>>,
}

#[async_trait]
impl Tool for Todo {
    fn spec(&self) -> ToolSpec {
        let text = |what: &str| json!({"type": "string", "description": what});
        ToolSpec {
            name: "todo".to_owned(),
            description: "Keeps your own list of steps for work that takes several. create and update replace the \
                          whole list, list shows it. Make it when the work begins, have one step in_progress at a \
                          time, and set a step to completed as soon as it is done. Only you see the list."
                .to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "action": {
                        "type": "string",
                        "enum": ["create", "update", "list"],
                        "description": "What to do",
                    },
                    "todos": {
                        "type": "array",
                        "description": "The whole list; needed by create and update",
                        "items": {
                            "type": "object",
                            "properties": {
                                "content": text("What is to be done: Run the tests"),
                                "activeForm": text("The same while it is being done: Running the tests"),
                                "status": {"type": "string", "enum": ["pending", "in_progress", "completed"]},
                            },
                            "required": ["content", "status", "activeForm"],
                        },
                    },
                },
                "required": ["action"],
                "additionalProperties": false,
            }),
        }
    }

    fn policy(&self) -> Policy {
        Policy::Real
    }

    fn timeout(&self, _: &Map<String, Value>) -> Option<Duration> {
        None
    }

    fn footprint(&self, input: &Map<String, Value>) -> Footprint {
        let access = match read(Arguments(input)) {
            Ok(Action::List) => Access::Read,
            Ok(Action::Create(_) | Action::Update(_)) => Access::Write,
            Err(_) => return Footprint::none(),
        };
        Footprint::none().with(access, self.resource.as_str())
    }

    async fn run(&self, input: Map<String, Value>, _: CallContext) -> ToolOutput {
        match read(Arguments(&input)) {
            Ok(action) => ToolOutput::ok(self.act(action).to_string()),
            Err(error) => ToolOutput::error(error.to_string()),
        }
    }

    async fn recall(
        &self,
        input: &Map<String, Value>,
        _: &EffectId,
        output: &ToolOutput,
    ) -> Result<(), String> {
        if !output.is_error
            && let Ok(action) = read(Arguments(input))
        {
            self.act(action);
        }
        Ok(())
    }
}

impl Todo {
    fn new(session: &str) -> Self {
        Self { resource: format!("todo:{session}"), steps: Mutex::default() }
    }

    fn act(&self, action: Action) -> Value {
        let mut steps = self.steps.lock().expect("nothing panics while it holds the list");
        match action {
            Action::Create(new) => {
                *steps = new;
                json!({"status": "created", "count": steps.len(), "todos": *steps})
            }
            Action::Update(new) => {
                *steps = new;
                let count = |status| steps.iter().filter(|step| step.status == status).count();
                json!({
                    "status": "updated",
                    "count": steps.len(),
                    "pending": count(Status::Pending),
                    "in_progress": count(Status::InProgress),
                    "completed": count(Status::Completed),
                })
            }
            Action::List => json!({"status": "listed", "count": steps.len(), "todos": *steps}),
        }
    }
}

fn read(arguments: Arguments<'_>) -> Result<Action, TodoError> {
    match arguments.text("action")? {
        "create" => steps(arguments).map(Action::Create),
        "update" => steps(arguments).map(Action::Update),
        "list" => Ok(Action::List),
        other => Err(TodoError::Action { action: other.to_owned() }),
    }
}

fn steps(arguments: Arguments<'_>) -> Result<Vec<Step>, TodoError> {
    let Some(Value::Array(items)) = arguments.0.get("todos") else { return Err(TodoError::NoList) };
    if items.len() > limit::TODO_STEPS {
        return Err(TodoError::TooMany { count: items.len() });
    }
    let mut steps = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let has = |name: &&str| item.get(name).is_some_and(Value::is_string);
        if !["content", "status", "activeForm"].iter().all(has) {
            return Err(TodoError::Fields { at });
        }
        let status =
            || TodoError::Status { at, status: item["status"].as_str().unwrap_or_default().to_owned() };
        steps.push(Step::deserialize(item).map_err(|_| status())?);
    }
    Ok(steps)
}

/// Why a call does nothing. The first words are those of the original tool where it has the error too.
#[derive(Debug, thiserror::Error)]
enum TodoError {
    #[error("{0}")]
    Argument(#[from] ArgumentError),
    #[error("Unknown action: {action}. Valid actions: create, update, list")]
    Action { action: String },
    #[error("todos is required and must be the whole list of steps")]
    NoList,
    #[error("todos has {count} steps, more than {}; put work of that size into issues", limit::TODO_STEPS)]
    TooMany { count: usize },
    #[error("Todo {at} missing required fields (content, status, activeForm); each must be a string")]
    Fields { at: usize },
    #[error("Todo {at} has invalid status: {status}; it must be pending, in_progress or completed")]
    Status { at: usize, status: String },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::{IdSource, Seed};
    use tokio_util::sync::CancellationToken;

    async fn call(todo: &Todo, input: &Value) -> ToolOutput {
        let call = CallContext {
            effect: EffectId::from_text("work/w/1.1"),
            at: Timestamp::UNIX_EPOCH,
            ids: Arc::new(IdSource::new(&Seed::new("s"), "work/w/1.1")),
            sequence: None,
            cancel: CancellationToken::new(),
        };
        todo.run(input.as_object().unwrap().clone(), call).await
    }

    fn step(status: &str) -> Value {
        json!({"content": "Run tests", "activeForm": "Running tests", "status": status})
    }

    async fn listed(todo: &Todo) -> Value {
        serde_json::from_str(&call(todo, &json!({"action": "list"})).await.content).unwrap()
    }

    #[tokio::test]
    async fn a_list_is_replaced_and_shown() {
        let todo = Todo::new("work/w");
        assert_eq!(listed(&todo).await, json!({"status": "listed", "count": 0, "todos": []}));
        let made = call(&todo, &json!({"action": "create", "todos": [step("pending")]})).await;
        assert_eq!(
            made.content,
            json!({"status": "created", "count": 1, "todos": [step("pending")]}).to_string()
        );
        let update =
            json!({"action": "update", "todos": [step("completed"), step("in_progress"), step("pending")]});
        let told: Value = serde_json::from_str(&call(&todo, &update).await.content).unwrap();
        assert_eq!(
            told,
            json!({"status": "updated", "count": 3, "pending": 1, "in_progress": 1, "completed": 1})
        );
        assert_eq!(listed(&todo).await["todos"], update["todos"]);
    }

    #[test]
    fn calls_of_one_session_keep_their_order() {
        let footprint = |session, input: Value| Todo::new(session).footprint(input.as_object().unwrap());
        let update = |session| footprint(session, json!({"action": "update", "todos": []}));
        let list = |session| footprint(session, json!({"action": "list"}));
        assert!(update("a").overlaps(&update("a")) && update("a").overlaps(&list("a")));
        assert!(!list("a").overlaps(&list("a")) && !update("a").overlaps(&update("b")));
    }

    #[tokio::test]
    async fn a_call_that_makes_no_sense_changes_nothing() {
        let todo = Todo::new("work/w");
        call(&todo, &json!({"action": "create", "todos": [step("pending")]})).await;
        let long = vec![step("pending"); limit::TODO_STEPS + 1];
        for (input, because) in [
            (json!({"action": "drop"}), "Unknown action: drop. Valid actions: create, update, list"),
            (json!({}), "action is required"),
            (json!({"action": "update"}), "todos is required"),
            (
                json!({"action": "update", "todos": [step("pending"), {"content": "x"}]}),
                "Todo 1 missing required",
            ),
            (json!({"action": "create", "todos": [step("done")]}), "Todo 0 has invalid status: done"),
            (json!({"action": "create", "todos": long}), "put work of that size into issues"),
        ] {
            let output = call(&todo, &input).await;
            assert!(output.is_error && output.content.contains(because), "{output:?}");
        }
        assert_eq!(listed(&todo).await["todos"], json!([step("pending")]));
    }

    #[tokio::test]
    async fn what_was_done_before_the_run_stopped_is_recalled() {
        let todo = Todo::new("work/w");
        let effect = EffectId::from_text("work/w/1.1");
        let input = json!({"action": "update", "todos": [step("in_progress")]});
        let input = input.as_object().unwrap();
        todo.recall(input, &effect, &ToolOutput::error("Interrupted")).await.unwrap();
        assert_eq!(listed(&todo).await["count"], 0);
        todo.recall(input, &effect, &ToolOutput::ok("{}")).await.unwrap();
        assert_eq!(listed(&todo).await["todos"], json!([step("in_progress")]));
    }
}
