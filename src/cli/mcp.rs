//! `runner mcp`: the issue queue for the agents of other programs. Each connection is a holder of its own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use clap::Args;
use serde_json::{Map, Value};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::issues::{self, args};
use super::surroundings::{Surroundings, complain};
use crate::clock::{Clock, SystemClock, later};
use crate::event::EffectId;
use crate::id::{IdSource, RunId, Seed};
use crate::issue::Takes;
use crate::limit;
use crate::mcp::{About, Call, Hints, Offer, Reply, ServeError, Toolbox, serve_stdio};
use crate::store::{Caller, IssueStore, Operation, SqliteStore};
use crate::tool::issue::{
    Audience, HoldLog, Impact, IssueTool, IssueToolSetup, OperationTool, operation_tools,
};
use crate::tool::{CallContext, Tool};

/// The holder and, when nobody says otherwise, the actor.
const NAME: &str = "mcp";

const INSTRUCTIONS: &str = "An issue queue that several agents share. issue_get_ready lists what can be worked on. To \
    work on an issue, issue_claim it: nobody else can have it then. End with issue_close when it is done, issue_block when \
    you need an answer from somebody, or issue_release to give it back. A claim lasts while this connection does; what is \
    still held at its end is given back. Make issues with issue_create, and issue_add_dependency when one must wait for \
    another. A refusal says what to do instead and has changed nothing; messages name the tools without `issue_`.";

/// Serve the issue queue of a workspace to other agents, as an MCP server over standard input and output.
#[derive(Debug, Clone, Args)]
pub(super) struct McpArguments {
    /// The workspace; the nearest folder upwards with a queue when absent
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Who does it; the name under which the client presents itself when absent
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only issues with this are claimed and shown as ready; several values of one key mean any of them
    #[arg(long, value_name = "KEY=VALUE", value_parser = args::meta)]
    takes: Vec<(String, Value)>,
    /// How long claims outlast this program when it is killed; while it lives they are renewed
    #[arg(long, value_name = "TIME", value_parser = lease)]
    lease: Option<Duration>,
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = args::duration(text)?;
    if lease < Duration::from_secs(1) {
        return Err("it must be a second at least".to_owned());
    }
    Ok(lease)
}

/// Serves until the client's input ends or a signal comes, and gives back what is still held.
pub(super) async fn mcp(arguments: &McpArguments, surroundings: &Surroundings) -> Exit {
    let clock = Arc::new(SystemClock::default());
    let given = issues::Surroundings {
        variables: &surroundings.variables,
        folder: &surroundings.working_dir,
        clock: &*clock,
    };
    let store = issues::existing_queue(arguments.workspace.as_deref(), &given)
        .and_then(|path| Ok(SqliteStore::open(&path)?));
    let store = match store {
        Ok(store) => store,
        Err(error) => {
            complain(&error.to_string());
            return Exit::from_code(error.exit());
        }
    };
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return Exit::Configuration;
        }
    };
    let (ended, signalled) = serve(Arc::new(Connection::new(arguments, store, clock)), signals).await;
    if let Err(error) = &ended {
        complain(error);
    }
    match (signalled, ended) {
        (Some(exit), _) => exit,
        (None, Ok(())) => Exit::Ok,
        (None, Err(_)) => Exit::Failed,
    }
}

async fn serve(connection: Arc<Connection>, mut signals: Signals) -> (Result<(), String>, Option<Exit>) {
    let about = About {
        name: "runner".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instructions: INSTRUCTIONS.to_owned(),
    };
    let stop = CancellationToken::new();
    let toolbox: Arc<dyn Toolbox> = connection.clone();
    let serving = serve_stdio(about, toolbox, stop.clone());
    tokio::pin!(serving);
    let mut signalled = None;
    let served: Result<(), ServeError> = loop {
        tokio::select! {
            served = &mut serving => break served,
            never = connection.keep_leases() => match never {},
            exit = signals.next(), if signalled.is_none() => {
                signalled = Some(exit);
                stop.cancel();
            }
        }
    };
    let released = connection.give_back().await;
    (served.map_err(|error| error.to_string()).and(released), signalled)
}

/// SIGINT and SIGTERM: both end the connection in the same orderly way.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// One client at the queue. To the queue it is a run of one session, so that two clients of one name are two holders and
/// its leases can be renewed together.
struct Connection {
    store: Arc<SqliteStore>,
    clock: Arc<SystemClock>,
    run: RunId,
    seed: Seed,
    actor: Option<String>,
    takes: Takes,
    lease: Duration,
    calls: AtomicU64,
    operations: Vec<OperationTool>,
    /// Made by the first call: only then is it known how the client presents itself.
    tool: OnceLock<IssueTool>,
}

impl Connection {
    fn new(arguments: &McpArguments, store: Arc<SqliteStore>, clock: Arc<SystemClock>) -> Self {
        Self {
            store,
            clock,
            run: RunId::fresh(),
            seed: Seed::fresh(),
            actor: arguments.actor.clone().filter(|actor| !actor.is_empty()),
            takes: args::takes(&arguments.takes),
            lease: arguments.lease.unwrap_or(limit::LEASE),
            calls: AtomicU64::new(0),
            operations: operation_tools(),
            tool: OnceLock::new(),
        }
    }

    fn tool(&self, client: Option<String>) -> &IssueTool {
        self.tool.get_or_init(|| {
            let client = client.filter(|name| !name.trim().is_empty());
            IssueTool::new(IssueToolSetup {
                store: self.store.clone(),
                run: Some(self.run.clone()),
                holder: NAME.to_owned(),
                actor: self.actor.clone().or(client).unwrap_or_else(|| NAME.to_owned()),
                takes: self.takes.clone(),
                lease: self.lease,
                max_attempts: limit::ATTEMPTS,
                holds: HoldLog::new(),
                audience: Audience::Outside,
            })
        })
    }

    fn context(&self) -> CallContext {
        let effect =
            EffectId::from_text(format!("{NAME}/{}", self.calls.fetch_add(1, Ordering::Relaxed) + 1));
        CallContext {
            at: self.clock.now(),
            ids: Arc::new(IdSource::new(&self.seed, effect.as_str())),
            effect,
            sequence: None,
            // A call that was begun is finished.
            cancel: CancellationToken::new(),
        }
    }

    /// Renews the leases of this connection, so that no client ever has to.
    async fn keep_leases(&self) -> std::convert::Infallible {
        let mut tick = tokio::time::interval(self.lease / 3);
        loop {
            tick.tick().await;
            // A queue that cannot be written is told to the next call, with the reason.
            let _ = self.store.renew(&self.run, later(self.clock.now(), self.lease)).await;
        }
    }

    /// Gives back what is still held.
    async fn give_back(&self) -> Result<(), String> {
        let Some(tool) = self.tool.get() else { return Ok(()) };
        let context = self.context();
        let caller = Caller {
            run: Some(self.run.clone()),
            effect: Some(context.effect),
            actor: tool.actor().to_owned(),
            holder: NAME.to_owned(),
            epochs: tool.hold_log().epochs(),
            at: context.at,
            ids: context.ids,
            sequence: None,
        };
        let given_back = self.store.apply(caller, Operation::ReleaseAll).await;
        given_back.map(drop).map_err(|refused| format!("cannot give back what is held: {refused}"))
    }
}

#[async_trait]
impl Toolbox for Connection {
    fn tools(&self) -> Vec<Offer> {
        let offer = |operation: &OperationTool| Offer {
            spec: operation.spec.clone(),
            hints: hints(operation.impact),
        };
        self.operations.iter().map(offer).collect()
    }

    async fn call(&self, call: Call) -> Reply {
        let Some(operation) = self.operations.iter().find(|operation| operation.spec.name == call.tool)
        else {
            return Reply::Refusal(format!("Unknown tool: {}", call.tool));
        };
        let mut input = Map::new();
        input.insert("operation".to_owned(), operation.operation.into());
        input.insert("params".to_owned(), call.arguments.into());
        let output = self.tool(call.client).run(input, self.context()).await;
        if output.is_error {
            return Reply::Refusal(output.content);
        }
        Reply::Result(serde_json::from_str(&output.content).expect("the issue tool answers with JSON"))
    }
}

fn hints(impact: Impact) -> Hints {
    Hints {
        read_only: impact == Impact::Reads,
        destructive: impact == Impact::Replaces,
        idempotent: impact != Impact::Adds,
    }
}
