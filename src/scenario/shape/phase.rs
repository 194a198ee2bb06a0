//! Which keys may a phase have, and what may stand below each?

use super::{MANY, PHASE_LIMITS, Shape, Takes, key};

/// An entry of `phases`.
pub static PHASE: Shape = Shape {
    name: "phase",
    heading: "`phases`",
    one_of: &["session", "workers", "monitor", "issues", "shell", "approval", "repeat", "include"],
    keys: &[
        key("id", Takes::Id, "required", "Its name."),
        key(
            "needs",
            Takes::List(&Takes::Phase),
            "the phase before it in the file",
            "Starts when all of these have ended, however they ended. `[]` starts at once.",
        ),
        key(
            "when",
            Takes::Condition,
            "none",
            "When it is false, the phase is skipped. When it cannot be evaluated, the phase fails.",
        ),
        key(
            "on_failure",
            Takes::Choice(&["stop", "continue"]),
            "`stop`",
            "What a failed or stalled phase does to the rest of the run.",
        ),
        key(
            "finally",
            Takes::Flag,
            "`false`",
            "Runs at the end, whatever happened: after failures and after the first Ctrl-C. Without `needs` it waits for all other phases.",
        ),
        key(
            "for_each",
            Takes::Map(&FOR_EACH),
            "none",
            "Does the phase once for each of some items, see [`for_each`](#for_each).",
        ),
        key(
            "retry",
            Takes::Map(&RETRY),
            "once",
            "How often a `session` or `shell` phase is tried, see [`retry`](#retry).",
        ),
        key("timeout", Takes::Duration, "unlimited", "Short for `timeout` under `limits`."),
        key(
            "limits",
            Takes::Map(&PHASE_LIMITS),
            "none",
            "What its sessions together may spend, and how long it may take, see [`limits`](#limits).",
        ),
        key(
            "expect",
            Takes::List(&Takes::Condition),
            "none",
            "What must be true at its end; a false one fails the phase. Not asked of a phase that failed already.",
        ),
        key("session", Takes::Map(&SESSION), "", "One conversation."),
        key("workers", Takes::Map(&WORKERS), "", "Concurrent sessions on the queue."),
        key("monitor", Takes::Map(&MONITOR), "", "A session that watches workers."),
        key("issues", Takes::Map(&ISSUES), "", "Issues made without a model."),
        key("shell", Takes::Map(&SHELL), "", "A command in the workspace."),
        key("approval", Takes::Map(&APPROVAL), "", "A question to a person."),
        key("repeat", Takes::Map(&REPEAT), "", "Phases again and again."),
        key("include", Takes::Map(&INCLUDE), "", "The phases of another scenario."),
    ],
};

/// `session` of a phase.
pub static SESSION: Shape = Shape {
    name: "session",
    heading: "`session`",
    one_of: &[],
    keys: &[
        key("role", Takes::Role, "required", "Who."),
        key(
            "prompt",
            Takes::OneOrMore(&Takes::Path),
            "required",
            "Sent one after another, in the same conversation.",
        ),
        key("output", Takes::Map(&OUTPUT), "none", "What its last answer must be, see [`output`](#output)."),
    ],
};

/// `workers` of a phase.
pub static WORKERS: Shape = Shape {
    name: "workers",
    heading: "`workers`",
    one_of: &[],
    keys: &[
        key("pool", Takes::Some(&Takes::Map(&POOL)), "required", "Who, and how many."),
        key("prompt", Takes::Path, "required", "The template of one iteration."),
        key(
            "claim",
            Takes::Choice(&["engine", "agent"]),
            "`engine`",
            "Who claims issues: the runner, or the model through the issue tool.",
        ),
        key("max_iterations", Takes::Count(1, MANY), "`10`", "Iterations of each worker, at most."),
        key(
            "session",
            Takes::Choice(&["keep", "fresh"]),
            "`fresh` with `claim: engine`, `keep` with `claim: agent`",
            "One conversation for all iterations, or a new one for each.",
        ),
        key(
            "when_empty",
            Takes::Choice(&["stop", "wait"]),
            "`stop`",
            "What a worker does when nothing is ready for it.",
        ),
    ],
};

/// An entry of `pool`.
pub static POOL: Shape = Shape {
    name: "pool",
    heading: "`pool`",
    one_of: &[],
    keys: &[
        key("role", Takes::Role, "required", "Who."),
        key(
            "count",
            Takes::Count(1, MANY),
            "`1`",
            "How many of them. Their names are `ROLE-1`, `ROLE-2` and so on, counted within the role.",
        ),
        key("takes", Takes::Filter, "the role's", "Which issues they take."),
    ],
};

/// `monitor` of a phase.
pub static MONITOR: Shape = Shape {
    name: "monitor",
    heading: "`monitor`",
    one_of: &[],
    keys: &[
        key("role", Takes::Role, "required", "Who."),
        key("prompt", Takes::Path, "required", "The template of a check."),
        key("watches", Takes::Phase, "required", "A `workers` phase; the monitor ends with it."),
        key("when", Takes::Condition, "required", "Prompts only if this is true at the time of a look."),
        key("every", Takes::Duration, "none", "Looks this often."),
        key("on", Takes::List(&Takes::Event), "none", "Looks when one of these happens."),
        key("max_checks", Takes::Count(1, MANY), "`10`", "Prompts at most this often, then ends."),
    ],
};

/// `for_each` of a phase.
pub static FOR_EACH: Shape = Shape {
    name: "for-each",
    heading: "`for_each`",
    one_of: &[],
    keys: &[
        key(
            "items",
            Takes::Items,
            "required",
            "The items: written out, or an expression whose value is a list, such as `phases.plan.output.topics`. At most 1000.",
        ),
        key("as", Takes::Name, "`item`", "What templates call the item."),
        key("max_parallel", Takes::Count(1, MANY), "`4`", "How many are done at a time."),
        key(
            "on_failure",
            Takes::Choice(&["stop", "continue"]),
            "`stop`",
            "Whether those that have not begun are done after one has failed.",
        ),
    ],
};

/// `retry` of a phase.
pub static RETRY: Shape = Shape {
    name: "retry",
    heading: "`retry`",
    one_of: &[],
    keys: &[
        key(
            "attempts",
            Takes::Count(1, crate::limit::PHASE_ATTEMPTS),
            "required",
            "How often the phase is tried in all, at most 10.",
        ),
        key(
            "backoff",
            Takes::Duration,
            "`1s`",
            "How long to wait before the second try; twice as long before each further one.",
        ),
    ],
};

/// `output` of a session.
pub static OUTPUT: Shape = Shape {
    name: "output",
    heading: "`output`",
    one_of: &[],
    keys: &[key(
        "schema",
        Takes::Schema,
        "required",
        "A JSON Schema: the path of a JSON file, or the schema itself.",
    )],
};

/// `issues` of a phase.
pub static ISSUES: Shape = Shape {
    name: "issues",
    heading: "`issues`",
    one_of: &[],
    keys: &[
        key(
            "create",
            Takes::Some(&Takes::Map(&SEED)),
            "none",
            "Issues, see [issues of a scenario](#issues-of-a-scenario). All of them are made at once, or none.",
        ),
        key("from", Takes::Path, "none", "A file of JSON lines, as `runner issues import` takes it."),
    ],
};

/// `shell` of a phase.
pub static SHELL: Shape = Shape {
    name: "shell",
    heading: "`shell`",
    one_of: &[],
    keys: &[
        key("run", Takes::Text, "required", "The command; several lines are a script."),
        key(
            "env",
            Takes::ByName(&Takes::Scalar),
            "none",
            "Variables for it, by name. Their values are templates.",
        ),
        key(
            "expect_exit",
            Takes::ExitCodes,
            "`0`",
            "The exit codes that are a success; another one fails the phase.",
        ),
        key(
            "capture",
            Takes::Choice(&["text", "json", "none"]),
            "`text`",
            "Whether what it prints is `phases.ID.text`, or is read as JSON into `phases.ID.output`.",
        ),
    ],
};

/// `approval` of a phase.
pub static APPROVAL: Shape = Shape {
    name: "approval",
    heading: "`approval`",
    one_of: &[],
    keys: &[
        key("message", Takes::Text, "required", "What is asked; a template."),
        key("timeout", Takes::Duration, "unlimited", "How long an answer is waited for."),
        key("default", Takes::Choice(&["yes", "no"]), "`no`", "The answer if none comes in time."),
    ],
};

/// `repeat` of a phase.
pub static REPEAT: Shape = Shape {
    name: "repeat",
    heading: "`repeat`",
    one_of: &[],
    keys: &[
        key(
            "phases",
            Takes::Some(&Takes::Map(&PHASE)),
            "required",
            "What a round does. Their `needs` name phases of the round.",
        ),
        key(
            "until",
            Takes::Condition,
            "required",
            "Looked at after each round; when it holds, there is no further one. It sees how the phases of the round ended.",
        ),
        key("max", Takes::Count(1, MANY), "required", "Rounds at most."),
        key(
            "or_continue",
            Takes::Flag,
            "`false`",
            "Whether the phase is completed, not failed, if `until` never held.",
        ),
    ],
};

/// `include` of a phase.
pub static INCLUDE: Shape = Shape {
    name: "include",
    heading: "`include`",
    one_of: &[],
    keys: &[
        key("file", Takes::Path, "required", "The scenario, in the same project."),
        key(
            "inputs",
            Takes::Anything,
            "none",
            "Values for its inputs; texts may be templates over what this phase sees.",
        ),
    ],
};

/// An issue that stands in the scenario.
pub static SEED: Shape = Shape {
    name: "issue",
    heading: "Issues of a scenario",
    one_of: &[],
    keys: &[
        key("title", Takes::Text, "required", "One line; a template."),
        key("key", Takes::Key, "none", "What the other issues of the list call it."),
        key("description", Takes::Text, "empty", "A template."),
        key("priority", Takes::Priority, "`2`", "`critical`, `high`, `medium`, `low`, `deferred`."),
        key(
            "issue_type",
            Takes::Choice(&["bug", "feature", "task", "epic", "chore"]),
            "`task`",
            "What it is.",
        ),
        key(
            "metadata",
            Takes::Anything,
            "none",
            "What workers look for with `takes`; texts in it are templates.",
        ),
        key("labels", Takes::List(&Takes::Text), "none", "Templates."),
        key("estimate_minutes", Takes::Count(1, MANY), "none", "Estimated work."),
        key("blocking_notes", Takes::Text, "none", "The issue begins blocked, waiting for this; a template."),
        key("parent", Takes::Key, "none", "The issue it is a part of."),
        key(
            "depends_on",
            Takes::List(&Takes::Key),
            "none",
            "The issues that must be closed before it is ready.",
        ),
    ],
};
