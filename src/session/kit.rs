//! Which tools a session has: what the model is told of them, and which of them a call means. Asked for once, used in every turn.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use super::validate::{Schema, Validators};
use crate::chat::{ToolCall, ToolInput, ToolSpec};
use crate::tool::Tool;

/// The tool that a call means, and what it is called with.
pub(super) type Meant<'a> = (&'a Arc<dyn Tool>, &'a Map<String, Value>);

/// The tools of one session.
pub(super) struct Kit {
    tools: Vec<Mounted>,
    /// What the model is told of them, in the same order.
    specs: Vec<ToolSpec>,
}

struct Mounted {
    tool: Arc<dyn Tool>,
    /// Its compiled schema, once a call has needed it.
    schema: OnceLock<Schema>,
}

impl Kit {
    pub(super) fn new(tools: Vec<Arc<dyn Tool>>) -> Self {
        let specs = tools.iter().map(|tool| tool.spec()).collect();
        let tools = tools.into_iter().map(|tool| Mounted { tool, schema: OnceLock::new() }).collect();
        Self { tools, specs }
    }

    pub(super) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// The tool that is called and what it is called with; else what is wrong with the call, fit for a model.
    pub(super) fn find<'a>(
        &'a self,
        call: &'a ToolCall,
        validators: &Validators,
    ) -> Result<Meant<'a>, String> {
        let Some(at) = self.specs.iter().position(|spec| spec.name == call.name) else {
            let known: Vec<&str> = self.specs.iter().map(|spec| spec.name.as_str()).collect();
            return Err(format!("There is no tool {}. The tools are: {}.", call.name, known.join(", ")));
        };
        let input = match &call.input {
            ToolInput::Object(input) => input,
            ToolInput::Invalid(text) => {
                return Err(format!(
                    "The arguments of {} are not a JSON object ({} characters came). Nothing was done. Call it again with valid JSON.",
                    call.name,
                    text.chars().count()
                ));
            }
        };
        let (mounted, spec) = (&self.tools[at], &self.specs[at]);
        let schema = mounted.schema.get_or_init(|| validators.schema(&spec.input_schema));
        schema.check(&call.name, input).map(|()| (&mounted.tool, input))
    }
}
