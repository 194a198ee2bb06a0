//! `runner issues`: the queue for people and scripts. Gives back what is to be printed; prints nothing itself.

pub(super) mod args;
mod drawing;
mod files;
mod table;
mod why;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(in crate::cli) use self::args::duration;
pub use self::args::{
    CreateArgs, DepCommand, FieldArgs, IssuesArgs, IssuesCommand, ListArgs, UpdateArgs, WhichArgs,
};
use self::why::Question;
use crate::clock::Clock;
use crate::id::{IdSource, IssueId, Seed, canonical_json};
use crate::issue::{Issue, Takes};
use crate::limit;
use crate::plan::{QUEUE_FILE, Variables};
use crate::store::jsonl::Unreadable;
use crate::store::{
    Answer, AttemptCount, Caller, Claim, Edit, Filter, Graph, IssueStore, NewIssue, Operation, Search,
    SqliteStore, StoreError, Update,
};
use crate::tool::issue::shape::{self, ListName, Rows};

/// What the command is given of the world.
pub struct Surroundings<'a> {
    /// The environment.
    pub variables: &'a Variables,
    /// The working directory.
    pub folder: &'a Path,
    /// The clock.
    pub clock: &'a dyn Clock,
}

/// What the command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// For standard output; empty, or ends with a line break.
    pub text: String,
    /// For standard error; empty, or ends with a line break.
    pub aside: String,
    /// The exit code.
    pub exit: u8,
}

/// Why the command failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IssuesError {
    /// No queue where one was looked for.
    #[error(
        "there is no issue queue {place}; `runner issues init` begins one, a run of a scenario has its own, and \
         --workspace names the folder that holds {QUEUE_FILE}"
    )]
    NoQueue {
        /// Where it was looked for.
        place: String,
    },
    /// No folder for a new queue.
    #[error(
        "there is no folder for a queue {place}; make the folder first, or name another one with --workspace"
    )]
    NoWorkspace {
        /// Where it was looked for.
        place: String,
    },
    /// No issue has this id, or one that starts so.
    #[error("Issue not found: {start}; `runner issues list` shows the ids there are")]
    Unknown {
        /// As typed.
        start: String,
    },
    /// The start of an id that several issues have.
    #[error("`{start}` is the start of several issues: {}; write more of it", matches.join(", "))]
    Ambiguous {
        /// As typed.
        start: String,
        /// Some of them.
        matches: Vec<String>,
    },
    /// A file that was to be imported.
    #[error("cannot read {path}: {reason}")]
    CannotRead {
        /// Which.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A file that an export goes to.
    #[error("cannot write {path}: {reason}")]
    CannotWrite {
        /// Which.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// An export that needs a place.
    #[error("issue-manager has three files; name the folder they go to with --to DIR")]
    NoPlace,
    /// Lines of a file that was to be imported.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The queue refuses.
    #[error(transparent)]
    Refused(#[from] StoreError),
}

impl IssuesError {
    /// 2 when the command was wrong, 1 when the queue refuses.
    pub fn exit(&self) -> u8 {
        match self {
            Self::NoQueue { .. }
            | Self::NoWorkspace { .. }
            | Self::Ambiguous { .. }
            | Self::CannotRead { .. }
            | Self::NoPlace
            | Self::Unreadable(_) => 2,
            Self::Refused(_) | Self::Unknown { .. } | Self::CannotWrite { .. } => 1,
        }
    }
}

/// Carries the command out.
///
/// # Errors
/// There is no queue, the issue is not named clearly, or the queue refuses; nothing has changed then.
pub async fn run(args: &IssuesArgs, surroundings: &Surroundings<'_>) -> Result<Output, IssuesError> {
    let import = match &args.command {
        IssuesCommand::Import { path } => Some(files::read(surroundings.folder, path)?),
        _ => None,
    };
    let path = queue(args, surroundings)?;
    if matches!(args.command, IssuesCommand::Init) {
        return begin(&path, surroundings.folder, args.json.into());
    }
    if matches!(args.command, IssuesCommand::Verify) {
        return verify(&path, args.json.into());
    }
    let actor = args.actor.clone().or_else(|| surroundings.variables.get("USER").cloned());
    let actor = actor.filter(|actor| !actor.is_empty()).unwrap_or_else(|| "person".to_owned());
    let desk = Desk { store: SqliteStore::open(&path)?, actor, clock: surroundings.clock };
    if let Some(import) = import {
        let answer = desk.ask(Operation::Import(Box::new(import))).await?;
        return Ok(files::imported(&answer, args.json));
    }
    if let IssuesCommand::Export { format, to } = &args.command {
        let answer = desk.ask(Operation::Export).await?;
        return files::export(&answer, surroundings.folder, *format, to.as_deref(), args.json);
    }
    let format = Format::from(args.json);
    let text = match &args.command {
        IssuesCommand::Why { id, takes } => {
            desk.why(&desk.named(id).await?, &args::takes(takes), format).await?
        }
        IssuesCommand::Graph => desk.draw(format).await?,
        command => desk.operate(command, format).await?,
    };
    Ok(Output { text, aside: String::new(), exit: 0 })
}

/// Makes the queue, unless it is there.
fn begin(path: &Path, folder: &Path, format: Format) -> Result<Output, IssuesError> {
    let was_there = path.is_file();
    SqliteStore::open(path)?;
    let shown = path.strip_prefix(folder).unwrap_or(path).display().to_string();
    let text = match (format, was_there) {
        (Format::Json, _) => line(&serde_json::json!({"queue": shown, "made": !was_there})),
        (Format::Words, true) => format!("{shown} is a queue already; nothing has changed\n"),
        (Format::Words, false) => format!("{shown} is a new queue; `runner issues create` makes an issue\n"),
    };
    Ok(Output { text, aside: String::new(), exit: 0 })
}

/// Checks the queue, as it is.
fn verify(path: &Path, format: Format) -> Result<Output, IssuesError> {
    let soundness = SqliteStore::examine(path)?;
    let text = match format {
        Format::Json => line(&serde_json::json!(soundness)),
        Format::Words => table::soundness(&soundness),
    };
    Ok(Output { text, aside: String::new(), exit: u8::from(!soundness.findings.is_empty()) })
}

/// For whom the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Words,
    Json,
}

impl From<bool> for Format {
    fn from(json: bool) -> Self {
        if json { Self::Json } else { Self::Words }
    }
}

fn line(value: &serde_json::Value) -> String {
    format!("{}\n", canonical_json(value))
}

fn queue(args: &IssuesArgs, surroundings: &Surroundings<'_>) -> Result<PathBuf, IssuesError> {
    let workspace = args.workspace.as_deref();
    match args.command {
        // A new queue begins here, whatever there is above.
        IssuesCommand::Init if named(workspace, surroundings).is_none() => {
            new_queue(Some(surroundings.folder.join(QUEUE_FILE)), String::new(), surroundings)
        }
        IssuesCommand::Init | IssuesCommand::Import { .. } => {
            let (found, place) = look(workspace, surroundings);
            new_queue(found, place, surroundings)
        }
        _ => existing_queue(workspace, surroundings),
    }
}

/// The file of a queue that may be new: in the folder that was named, or here.
fn new_queue(
    found: Option<PathBuf>,
    place: String,
    surroundings: &Surroundings<'_>,
) -> Result<PathBuf, IssuesError> {
    let path = found.unwrap_or_else(|| surroundings.folder.join(QUEUE_FILE));
    let workspace = path.parent().and_then(Path::parent).is_some_and(Path::is_dir);
    if workspace { Ok(path) } else { Err(IssuesError::NoWorkspace { place }) }
}

/// The file of the queue that is there.
pub(super) fn existing_queue(
    workspace: Option<&Path>,
    surroundings: &Surroundings<'_>,
) -> Result<PathBuf, IssuesError> {
    let (found, place) = look(workspace, surroundings);
    found.filter(|path| path.is_file()).ok_or(IssuesError::NoQueue { place })
}

fn named(workspace: Option<&Path>, surroundings: &Surroundings<'_>) -> Option<PathBuf> {
    workspace.map(Path::to_owned).or_else(|| {
        let variable = surroundings.variables.get("RUNNER_WORKSPACE").filter(|folder| !folder.is_empty());
        variable.map(PathBuf::from)
    })
}

/// Where the queue is or would be, and how that place is told.
fn look(workspace: Option<&Path>, surroundings: &Surroundings<'_>) -> (Option<PathBuf>, String) {
    match named(workspace, surroundings) {
        Some(folder) => {
            let folder = surroundings.folder.join(folder);
            let place = format!("in {}", folder.display());
            (Some(folder.join(QUEUE_FILE)), place)
        }
        None => {
            let found = surroundings.folder.ancestors().map(|folder| folder.join(QUEUE_FILE));
            let place = format!("in {} or a folder above it", surroundings.folder.display());
            (found.into_iter().find(|path| path.is_file()), place)
        }
    }
}

/// One person at one queue.
struct Desk<'a> {
    store: Arc<SqliteStore>,
    actor: String,
    clock: &'a dyn Clock,
}

impl Desk<'_> {
    async fn ask(&self, operation: Operation) -> Result<Answer, IssuesError> {
        let caller = Caller {
            run: None,
            effect: None,
            actor: self.actor.clone(),
            holder: self.actor.clone(),
            // A person's commands are separate processes; who holds what is known by name.
            epochs: BTreeMap::new(),
            at: self.clock.now(),
            ids: Arc::new(IdSource::new(&Seed::fresh(), "issues")),
            sequence: None,
        };
        match self.store.apply(caller, operation).await {
            Ok(applied) => Ok(applied.answer),
            Err(refused) => Err(refused.error.into()),
        }
    }

    async fn all(&self) -> Result<Vec<Issue>, IssuesError> {
        match self.ask(Operation::List(Filter::default())).await? {
            Answer::Issues { issues, .. } => Ok(issues),
            other => unreachable!("a list answers with issues, not {other:?}"),
        }
    }

    /// The issue of this id, or of the only id that starts so, with or without `bd-`.
    async fn named(&self, start: &str) -> Result<IssueId, IssuesError> {
        let all = self.all().await?;
        let ids = || all.iter().map(|issue| &issue.id);
        if let Some(exact) = ids().find(|id| id.as_str() == start) {
            return Ok(exact.clone());
        }
        let prefixed = format!("bd-{start}");
        let starts =
            |id: &&IssueId| id.as_str().starts_with(start) || id.as_str().starts_with(prefixed.as_str());
        let found: Vec<_> = ids().filter(starts).collect();
        match found.as_slice() {
            [only] if !start.is_empty() => Ok((*only).clone()),
            [_, _, ..] => Err(IssuesError::Ambiguous {
                start: start.to_owned(),
                matches: found.iter().take(5).map(ToString::to_string).collect(),
            }),
            _ => Err(IssuesError::Unknown { start: start.to_owned() }),
        }
    }

    /// Carries out a command that is one operation.
    async fn operate(&self, command: &IssuesCommand, format: Format) -> Result<String, IssuesError> {
        let answer = self.carry_out(command).await?;
        match format {
            Format::Words => Ok(Self::words(command, &answer)),
            Format::Json => {
                let name = match command {
                    IssuesCommand::Ready(_) => ListName::Ready,
                    _ => ListName::Issues,
                };
                Ok(line(&shape::answer(&answer, name, Rows::Full)))
            }
        }
    }

    async fn graph(&self) -> Result<Graph, IssuesError> {
        match self.ask(Operation::Graph).await? {
            Answer::Graph(graph) => Ok(*graph),
            other => unreachable!("a graph is answered with one, not {other:?}"),
        }
    }

    async fn why(&self, id: &IssueId, takes: &Takes, format: Format) -> Result<String, IssuesError> {
        let Answer::History(history) = self.ask(Operation::History { id: id.clone() }).await? else {
            unreachable!("a history is answered with one")
        };
        let graph = self.graph().await?;
        let question = Question { id, takes, graph: &graph, history: &history, now: self.clock.now() };
        let why = question.answer().ok_or_else(|| StoreError::NotFound { id: id.to_string() })?;
        Ok(match format {
            Format::Words => why.words(),
            Format::Json => line(&serde_json::json!(why)),
        })
    }

    async fn draw(&self, format: Format) -> Result<String, IssuesError> {
        let graph = self.graph().await?;
        Ok(match format {
            Format::Words => drawing::mermaid(&graph),
            Format::Json => line(&drawing::data(&graph)),
        })
    }

    async fn maybe_named(&self, start: Option<&String>) -> Result<Option<IssueId>, IssuesError> {
        match start {
            Some(start) => self.named(start).await.map(Some),
            None => Ok(None),
        }
    }

    async fn carry_out(&self, command: &IssuesCommand) -> Result<Answer, IssuesError> {
        let operation = match command {
            IssuesCommand::List(list) => Operation::List(filter(list)),
            IssuesCommand::Ready(which) => Operation::Ready(among(which)),
            IssuesCommand::Blocked(list) => Operation::Blocked(filter(list)),
            IssuesCommand::Search { words, list } => {
                let filter = filter(list);
                let limit = filter.limit.or(Some(limit::LIST_ROWS));
                Operation::Search(Search { query: words.join(" "), filter: Filter { limit, ..filter } })
            }
            IssuesCommand::Show { id } => Operation::Get { id: self.named(id).await? },
            IssuesCommand::History { id } => Operation::History { id: self.named(id).await? },
            IssuesCommand::Create(create) => Operation::Create(self.new_issue(create).await?),
            IssuesCommand::Update(change) => {
                Operation::Update(self.named(&change.id).await?, self.update(change).await?)
            }
            IssuesCommand::Claim { id, labels, meta, lease } => Operation::Claim(Claim {
                id: self.maybe_named(id.as_ref()).await?,
                takes: args::takes(meta),
                labels: labels.clone(),
                lease: lease.unwrap_or(limit::PERSON_LEASE),
                max_attempts: limit::ATTEMPTS,
            }),
            IssuesCommand::Release { id, force } => {
                Operation::Release { id: self.named(id).await?, attempt: AttemptCount::Free, force: *force }
            }
            IssuesCommand::Block { id, notes, force } => {
                Operation::Block { id: self.named(id).await?, notes: notes.clone(), force: *force }
            }
            IssuesCommand::Unblock { id, answer } => {
                Operation::Unblock { id: self.named(id).await?, answer: answer.clone().unwrap_or_default() }
            }
            IssuesCommand::Close { id, reason, force } => Operation::Close {
                id: self.named(id).await?,
                reason: reason.clone().unwrap_or_default(),
                force: *force,
            },
            IssuesCommand::Reopen { id } => Operation::Reopen { id: self.named(id).await? },
            IssuesCommand::Comment { id, body } => {
                Operation::Comment { id: self.named(id).await?, body: body.clone() }
            }
            IssuesCommand::Dep(DepCommand::Add { from, to, edge }) => Operation::AddDependency {
                from: self.named(from).await?,
                to: self.named(to).await?,
                edge: *edge,
            },
            IssuesCommand::Import { .. } | IssuesCommand::Export { .. } => {
                unreachable!("whole queues go through `files`")
            }
            IssuesCommand::Dep(DepCommand::Remove { from, to }) => {
                Operation::RemoveDependency { from: self.named(from).await?, to: self.named(to).await? }
            }
            IssuesCommand::Init
            | IssuesCommand::Why { .. }
            | IssuesCommand::Graph
            | IssuesCommand::Verify => unreachable!("`run` carries these out itself"),
        };
        self.ask(operation).await
    }

    async fn new_issue(&self, create: &CreateArgs) -> Result<NewIssue, IssuesError> {
        let fields = &create.fields;
        Ok(NewIssue {
            title: create.title.clone(),
            description: fields.description.clone().unwrap_or_default(),
            priority: fields.priority,
            issue_type: fields.issue_type.clone(),
            assignee: create.assignee.clone(),
            parent_id: self.parent(fields).await?.apply(None),
            discovered_from: self.maybe_named(create.discovered_from.as_ref()).await?,
            metadata: args::metadata(&fields.meta),
            labels: create.labels.clone(),
            estimate_minutes: fields.estimate.unwrap_or_default().apply(None),
            defer_until: fields.defer.unwrap_or_default().apply(None),
            blocking_notes: create.blocked.clone(),
        })
    }

    async fn update(&self, change: &UpdateArgs) -> Result<Update, IssuesError> {
        let fields = &change.fields;
        Ok(Update {
            title: change.title.clone(),
            description: fields.description.clone(),
            status: change.status,
            priority: fields.priority,
            issue_type: fields.issue_type.clone(),
            assignee: change.assignee.clone(),
            blocking_notes: change.notes.clone(),
            metadata: args::metadata(&fields.meta),
            add_labels: change.add_labels.clone(),
            remove_labels: change.remove_labels.clone(),
            parent_id: self.parent(fields).await?,
            estimate_minutes: fields.estimate.unwrap_or_default(),
            defer_until: fields.defer.unwrap_or_default(),
            lease: Some(limit::PERSON_LEASE),
            max_attempts: Some(limit::ATTEMPTS),
            takes: Takes::default(),
            force: change.force,
        })
    }

    async fn parent(&self, fields: &FieldArgs) -> Result<Edit<IssueId>, IssuesError> {
        match fields.parent.as_deref() {
            None => Ok(Edit::Keep),
            Some("") => Ok(Edit::Clear),
            Some(start) => self.named(start).await.map(Edit::Set),
        }
    }

    fn words(command: &IssuesCommand, answer: &Answer) -> String {
        match answer {
            Answer::Issue(view) => match command {
                IssuesCommand::Show { .. } => table::whole(view),
                _ => table::issues(std::slice::from_ref(&view.issue), 1, ""),
            },
            Answer::Nothing => format!("{}\n", none(command)),
            Answer::Issues { issues, total } => table::issues(issues, *total, none(command)),
            Answer::Blocked { issues, total } => table::blocked(issues, *total, none(command)),
            Answer::Dependency(dependency) => match command {
                IssuesCommand::Dep(DepCommand::Remove { .. }) => {
                    format!("removed: {}\n", table::edge(dependency))
                }
                _ => format!("{}\n", table::edge(dependency)),
            },
            Answer::History(changes) => table::history(changes),
            Answer::Left(_)
            | Answer::Snapshot(_)
            | Answer::Counts(_)
            | Answer::Applied(_)
            | Answer::Graph(_)
            | Answer::Imported(_)
            | Answer::Exported(_) => {
                unreachable!("no command asks for these here")
            }
        }
    }
}

/// What is said when nothing is there: another thing where a filter may be the cause.
fn none(command: &IssuesCommand) -> &'static str {
    let is_narrow = |filter: Filter| filter != Filter { limit: filter.limit, ..Filter::default() };
    match command {
        IssuesCommand::List(list) if !is_narrow(filter(list)) => "no issues",
        IssuesCommand::Ready(which) if !is_narrow(among(which)) => "nothing is ready",
        IssuesCommand::Claim { labels, meta, .. } if labels.is_empty() && meta.is_empty() => {
            "nothing is ready"
        }
        IssuesCommand::Blocked(list) if !is_narrow(filter(list)) => "nothing is blocked",
        IssuesCommand::Ready(_) | IssuesCommand::Claim { .. } => "nothing that matches is ready",
        IssuesCommand::Blocked(_) => "nothing that matches is blocked",
        _ => "no issue matches",
    }
}

fn filter(list: &ListArgs) -> Filter {
    Filter { statuses: list.statuses.clone(), deferred: list.deferred, ..among(&list.which) }
}

fn among(which: &WhichArgs) -> Filter {
    Filter {
        priority: which.priority,
        issue_type: which.issue_type.clone(),
        assignee: which.assignee.clone(),
        unassigned: which.unassigned,
        labels: which.labels.clone(),
        takes: args::takes(&which.meta),
        limit: which.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        ..Filter::default()
    }
}
