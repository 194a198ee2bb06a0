//! Which keys may a scenario file have, what does each take, and what does it mean? Said once: for the reader, the JSON
//! Schema and the reference page.

mod phase;

pub use phase::*;

use crate::plan::ISSUE_EVENTS;

/// What a map of the file may hold.
#[derive(Debug)]
pub struct Shape {
    /// Its name in the JSON Schema.
    pub name: &'static str,
    /// The heading of its part of the reference page; empty for one that another part tells of.
    pub heading: &'static str,
    /// Its keys, in the order in which they are told of.
    pub keys: &'static [Key],
    /// Of these keys exactly one is there.
    pub one_of: &'static [&'static str],
}

/// A key of a map.
#[derive(Debug)]
pub struct Key {
    /// How it is written.
    pub name: &'static str,
    /// What its value may be.
    pub takes: Takes,
    /// What holds when it is left out, in Markdown; `required` if it cannot be.
    pub default: &'static str,
    /// What it means, in Markdown.
    pub doc: &'static str,
}

/// What a value may be.
#[derive(Debug)]
pub enum Takes {
    /// The number 1.
    Version,
    /// A text that says something.
    Text,
    /// A path.
    Path,
    /// The id of a role.
    Role,
    /// The id of a phase.
    Phase,
    /// An id that is given here.
    Id,
    /// An expression that is true or false.
    Condition,
    /// An event of the queue.
    Event,
    /// True or false.
    Flag,
    /// True, and nothing else.
    True,
    /// A whole number, from the first to the second.
    Count(u32, u32),
    /// Dollars.
    Amount,
    /// A number with a unit.
    Duration,
    /// `sqlite:` and a path.
    Store,
    /// Whatever the type of the input says.
    Value,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list, which may be empty.
    List(&'static Takes),
    /// A list with at least one entry.
    Some(&'static Takes),
    /// A list of values, at least one.
    Values,
    /// One of them, or a list of at least one.
    OneOrMore(&'static Takes),
    /// A map by ids of roles.
    ByRole(&'static Shape),
    /// A map by ids of inputs.
    ByInput(&'static Shape),
    /// A map by names.
    ByName(&'static Takes),
    /// A map of this shape.
    Map(&'static Shape),
    /// A path, or a map of this shape.
    PathOr(&'static Shape),
    /// A filter on the metadata of issues.
    Filter,
    /// A map of anything.
    Anything,
    /// A command of a shell.
    Command,
    /// A name in templates.
    Name,
    /// A list of anything, or an expression whose value is one.
    Items,
    /// A JSON Schema, or the path of one.
    Schema,
    /// A text, a whole number, or true or false.
    Scalar,
    /// An exit code, or a list of at least one.
    ExitCodes,
    /// The key of an issue.
    Key,
    /// A number from 0 to 4, or the word for it.
    Priority,
}

impl Shape {
    /// The names of its keys.
    pub fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

impl Key {
    /// Whether it cannot be left out.
    pub fn is_required(&self) -> bool {
        self.default == "required"
    }
}

impl Takes {
    /// In words, as the reference page has it.
    pub fn words(&self) -> String {
        let list_of = |items: &Self| match items {
            Self::Condition | Self::Event | Self::Command | Self::Text | Self::Key => {
                format!("list of {}s", items.words())
            }
            Self::Phase => "list of phase ids".to_owned(),
            _ => "list".to_owned(),
        };
        match self {
            Self::Version => "`1`".to_owned(),
            Self::Text | Self::Id => "text".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Role => "role id".to_owned(),
            Self::Phase => "phase id".to_owned(),
            Self::Condition => "condition".to_owned(),
            Self::Event => "event".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::True => "`true`".to_owned(),
            Self::Count(..) => "whole number".to_owned(),
            Self::Amount => "number".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Store => "`sqlite:` and a path".to_owned(),
            Self::Value => "a value of the type".to_owned(),
            Self::Choice(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                let (last, before) = quoted.split_last().expect("there is something to choose");
                format!("{} or {last}", before.join(", "))
            }
            Self::List(items) | Self::Some(items) => list_of(items),
            Self::Values => "list".to_owned(),
            Self::OneOrMore(one) => format!("{0}, or list of {0}s", one.words()),
            Self::ByRole(_) | Self::ByInput(_) | Self::ByName(_) => "map".to_owned(),
            Self::Map(_) | Self::Filter | Self::Anything => "map".to_owned(),
            Self::PathOr(_) => "path or map".to_owned(),
            Self::Command => "command".to_owned(),
            Self::Name => "name".to_owned(),
            Self::Items => "list, or expression".to_owned(),
            Self::Schema => "path, or map".to_owned(),
            Self::Scalar => "text".to_owned(),
            Self::ExitCodes => "whole number, or list of them".to_owned(),
            Self::Key => "key".to_owned(),
            Self::Priority => "0 to 4, or a word".to_owned(),
        }
    }

    /// The shapes of maps in it.
    fn shapes(&self) -> Option<&'static Shape> {
        match self {
            Self::ByRole(shape) | Self::ByInput(shape) | Self::Map(shape) | Self::PathOr(shape) => {
                Some(shape)
            }
            Self::List(inner) | Self::Some(inner) | Self::OneOrMore(inner) | Self::ByName(inner) => {
                inner.shapes()
            }
            _ => None,
        }
    }
}

/// The shape of the whole file and of every map in it, each once.
pub fn all() -> Vec<&'static Shape> {
    let mut found: Vec<&'static Shape> = Vec::new();
    let mut waiting = vec![&SCENARIO];
    while let Some(shape) = waiting.pop() {
        if found.iter().any(|known| known.name == shape.name) {
            continue;
        }
        found.push(shape);
        waiting.extend(shape.keys.iter().filter_map(|key| key.takes.shapes()));
    }
    found
}

/// Where a key that a shape does not have stands instead, if another around or within it has it.
pub(super) fn elsewhere(shape: &Shape, key: &str) -> Option<String> {
    let has = |shape: &Shape| shape.names().contains(&key);
    let within: Vec<String> = shape
        .keys
        .iter()
        .filter(|own| own.takes.shapes().is_some_and(|inner| inner.name != shape.name && has(inner)))
        .map(|own| format!("`{}`", own.name))
        .collect();
    if !within.is_empty() {
        return Some(format!("it stands within {}", within.join(", ")));
    }
    let around = all().into_iter().filter(|outer| outer.name != shape.name && has(outer));
    let mut own = around.flat_map(|outer| {
        outer.keys.iter().filter(|own| own.takes.shapes().is_some_and(|inner| inner.name == shape.name))
    });
    own.next().map(|own| format!("it stands beside `{}`, not in it", own.name))
}

pub(super) const fn key(name: &'static str, takes: Takes, default: &'static str, doc: &'static str) -> Key {
    Key { name, takes, default, doc }
}

/// The events that a monitor may wait for.
pub fn events() -> Vec<String> {
    ISSUE_EVENTS.iter().map(|event| format!("issue.{event}")).collect()
}

pub(super) const MANY: u32 = u32::MAX;

/// The whole file.
pub static SCENARIO: Shape = Shape {
    name: "scenario",
    heading: "The file",
    one_of: &[],
    keys: &[
        key("version", Takes::Version, "required", "The version of this format."),
        key(
            "$schema",
            Takes::Text,
            "none",
            "The JSON Schema that an editor reads the file by, as [schema](cli.md#runner-schema) prints it. Nothing else looks at it.",
        ),
        key(
            "name",
            Takes::Text,
            "the file's name without its ending",
            "Shown at the start and in recordings.",
        ),
        key("description", Takes::Text, "empty", "One sentence for people."),
        key(
            "workspace",
            Takes::PathOr(&WORKSPACE),
            "the project root",
            "Where the agents work, see [below](#workspace).",
        ),
        key("inputs", Takes::ByInput(&INPUT), "none", "What can be set from outside."),
        key("roles", Takes::ByRole(&ROLE), "none", "Who there is; needed by phases with sessions."),
        key("phases", Takes::Some(&Takes::Map(&PHASE)), "required", "What is done, and in which order."),
        key("queue", Takes::Map(&QUEUE), "see there", "The issue queue."),
        key("limits", Takes::Map(&LIMITS), "none", "What the run may spend, see [below](#limits)."),
        key(
            "prices",
            Takes::ByName(&Takes::Map(&PRICE)),
            "built in",
            "What tokens cost, by model, see [below](#prices).",
        ),
        key("expect", Takes::List(&Takes::Condition), "none", "What must be true at the end of the run."),
        key("replay", Takes::Map(&REPLAY), "none", "Where the recording is and when it is played."),
        key(
            "faults",
            Takes::Some(&Takes::Map(&FAULT)),
            "none",
            "What goes wrong on purpose when the scenario is tested, see [below](#faults).",
        ),
    ],
};

/// `workspace`.
pub static WORKSPACE: Shape = Shape {
    name: "workspace",
    heading: "`workspace`",
    one_of: &[],
    keys: &[
        key("path", Takes::Path, "required", "The folder."),
        key("fresh", Takes::Flag, "`false`", "Empties the folder at the start of each run."),
        key(
            "isolation",
            Takes::Choice(&["shared", "per-worker"]),
            "`shared`",
            "With `per-worker` each worker of a pool works in a copy of its own, see [below](#a-folder-for-each-worker).",
        ),
        key(
            "setup",
            Takes::List(&Takes::Command),
            "none",
            "Run one after another before the first phase. If one fails, no phase begins.",
        ),
        key(
            "teardown",
            Takes::List(&Takes::Command),
            "none",
            "Run after the last phase, whatever happened; not when the run pauses or is ended by a second Ctrl-C.",
        ),
    ],
};

/// An entry of `inputs`.
pub static INPUT: Shape = Shape {
    name: "input",
    heading: "`inputs`",
    one_of: &[],
    keys: &[
        key(
            "type",
            Takes::Choice(&["string", "number", "boolean", "list", "path"]),
            "`string`",
            "What a value must be. A `path` stays inside the project.",
        ),
        key("description", Takes::Text, "none", "One sentence for people."),
        key("default", Takes::Value, "none", "Used when nothing is given."),
        key(
            "required",
            Takes::Flag,
            "`true`",
            "With `false` and without a default the value is null when nothing is given.",
        ),
        key("choices", Takes::Values, "none", "The only values allowed; of a `list`, the only items."),
        key(
            "secret",
            Takes::Flag,
            "`false`",
            "The value is the *name* of an environment variable that holds a secret, see below.",
        ),
    ],
};

/// An entry of `roles`.
pub static ROLE: Shape = Shape {
    name: "role",
    heading: "`roles`",
    one_of: &[],
    keys: &[
        key(
            "mount_plan",
            Takes::Path,
            "required",
            "What its sessions are made of: model, tools, loop. See [mount plans](mount-plans.md).",
        ),
        key("system", Takes::Path, "none", "A template, added to the system prompt of the mount plan."),
        key("takes", Takes::Filter, "everything", "Which issues its workers take, by metadata."),
        key(
            "model",
            Takes::Text,
            "the mount plan's",
            "A model in place of the one in the mount plan; with its provider: `provider-openai/gpt-x`.",
        ),
        key(
            "workspace",
            Takes::Path,
            "the whole workspace",
            "The folder of the workspace that its sessions work in and cannot leave; made if it is not there.",
        ),
        key("vars", Takes::Anything, "none", "Any values for its templates, as `role.vars.NAME`."),
        key(
            "limits",
            Takes::Map(&ROLE_LIMITS),
            "none",
            "What all its sessions in the whole run together may spend: [`limits`](#limits) without `timeout`.",
        ),
    ],
};

/// `queue`.
pub static QUEUE: Shape = Shape {
    name: "queue",
    heading: "`queue`",
    one_of: &[],
    keys: &[
        key("store", Takes::Store, "`sqlite:.beads/issues.db`", "The queue's file, inside the workspace."),
        key(
            "lease",
            Takes::Duration,
            "`15m`",
            "How long a claim lasts without renewal. The runner renews those of its sessions.",
        ),
        key(
            "max_attempts",
            Takes::Count(1, MANY),
            "`3`",
            "Claims without a result after which an issue is blocked.",
        ),
        key(
            "issues",
            Takes::Some(&Takes::Map(&SEED)),
            "none",
            "Issues that are made before the first phase, see below.",
        ),
    ],
};

const MAX_USD: Key = key(
    "max_usd",
    Takes::Amount,
    "unlimited",
    "Dollars that the model calls of all sessions together may cost, at the [prices](#prices) of their models.",
);
const MAX_TOKENS: Key = key(
    "max_tokens",
    Takes::Count(1, MANY),
    "unlimited",
    "Tokens of all sessions together, in and out, cached or not.",
);
const MAX_TURNS: Key =
    key("max_turns", Takes::Count(1, MANY), "unlimited", "Model calls of all sessions together.");
const TIMEOUT: Key =
    key("timeout", Takes::Duration, "unlimited", "How long it may take; counted anew when a run goes on.");

const MAX_SESSIONS: Key = key(
    "max_sessions",
    Takes::Count(1, MANY),
    "unlimited",
    "Sessions that may be at work at once; the others wait. Only of the run.",
);

/// `limits` of the run.
pub static LIMITS: Shape = Shape {
    name: "limits",
    heading: "`limits`",
    one_of: &[],
    keys: &[MAX_USD, MAX_TOKENS, MAX_TURNS, TIMEOUT, MAX_SESSIONS],
};

/// `limits` of a phase.
pub static PHASE_LIMITS: Shape = Shape {
    name: "phase-limits",
    heading: "",
    one_of: &[],
    keys: &[MAX_USD, MAX_TOKENS, MAX_TURNS, TIMEOUT],
};

/// `limits` of a role, which takes its time in phases.
pub static ROLE_LIMITS: Shape =
    Shape { name: "role-limits", heading: "", one_of: &[], keys: &[MAX_USD, MAX_TOKENS, MAX_TURNS] };

/// An entry of `prices`.
pub static PRICE: Shape = Shape {
    name: "price",
    heading: "`prices`",
    one_of: &[],
    keys: &[
        key("input", Takes::Amount, "required", "Input that no cache has to do with."),
        key("output", Takes::Amount, "required", "Output, thinking included."),
        key("cache_read", Takes::Amount, "that of `input`", "Input read from the provider's cache."),
        key(
            "cache_write",
            Takes::Amount,
            "that of `input`",
            "Input written to the provider's cache for five minutes; for an hour it costs 1.6 times as much.",
        ),
    ],
};

/// `replay`.
pub static REPLAY: Shape = Shape {
    name: "replay",
    heading: "`replay`",
    one_of: &[],
    keys: &[
        key("cassette", Takes::Path, "none", "The folder of the recording."),
        key(
            "when",
            Takes::Choice(&["never", "no_credentials"]),
            "`never`",
            "`no_credentials` plays the recording when a used role's provider lacks its credential.",
        ),
        key(
            "tools",
            Takes::ByName(&Takes::Choice(&["real", "tape", "deny"])),
            "each tool's own",
            "By tool name `real`, `tape` or `deny`: what a replay does with its calls.",
        ),
    ],
};

/// An entry of `faults`.
pub static FAULT: Shape = Shape {
    name: "fault",
    heading: "`faults`",
    one_of: &["http", "cut_after_event", "error_event", "stall"],
    keys: &[
        key(
            "at",
            Takes::Text,
            "required",
            "The model call, as the ledger of the recording names it: `PHASE/SESSION/NUMBER`.",
        ),
        key("http", Takes::Count(400, 599), "", "The server answers with this status, 400 to 599."),
        key(
            "cut_after_event",
            Takes::Count(0, MANY),
            "",
            "The stream of the reply breaks after so many events.",
        ),
        key("error_event", Takes::Text, "", "The stream brings an error of this type."),
        key("stall", Takes::True, "", "The server never answers; no time is spent waiting for it."),
        key(
            "times",
            Takes::Count(1, crate::limit::FAULT_TIMES),
            "`1`",
            "How many attempts in a row it happens to, at most 100.",
        ),
    ],
};
