//! `runner logs RUN [SESSION]`: what happened, line by line, or what one session said; also while it happens.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Args;

use super::transcript::{Scribe, Source};
use super::{Found, refused, which};
use crate::cli::exit::Exit;
use crate::cli::surroundings::{Surroundings, complain, tell};
use crate::event::{Listener, Mode};
use crate::journal::{self, Follower, Line};
use crate::limit;
use crate::progress::PlainLines;

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct LogsArguments {
    /// The run: its id, the beginning or end of it, or `latest`
    run: Option<String>,
    /// Show what this session said, as a conversation
    session: Option<String>,
    /// Show the effects in the order in which they were committed, by the names that other commands take
    #[arg(long, conflicts_with = "session")]
    effects: bool,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    /// Go on while the run does
    #[arg(short, long)]
    follow: bool,
}

/// `runner logs RUN [SESSION]`.
pub(in crate::cli) async fn logs(arguments: &LogsArguments, surroundings: &Surroundings) -> Exit {
    let found = match which(surroundings, arguments.run.as_deref()) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let mut printer = Printer::new(arguments, &found);
    let shown = if arguments.follow {
        follow(&found, &mut printer).await
    } else {
        whole(&found.journal(), &mut printer)
    };
    if let Err(exit) = shown {
        return exit;
    }
    match &printer.scribe {
        Some(scribe) if !scribe.found() => {
            let name = arguments.session.as_deref().unwrap_or_default();
            let known = scribe.sessions().join(", ");
            complain(&format!("the run has no session `{name}`; it has {known}"));
            Exit::Invalid
        }
        _ => Exit::Ok,
    }
}

fn whole(path: &Path, printer: &mut Printer) -> Result<(), Exit> {
    let mut reading = journal::read_whole(path).map_err(|error| refused(Exit::Failed, &error))?;
    if printer.what == What::Effects {
        // The queue says in which order its changes were made; their lines are written when they are safe on disk.
        reading.lines.sort_by_key(|line| match line {
            Line::Effect { record, .. } => record.seq,
            Line::Intent { .. } | Line::Resumed { .. } | Line::Event { .. } => 0,
        });
    }
    for line in &reading.lines {
        printer.print(line)?;
    }
    if reading.foreign > 0 {
        tell(&format!("note: {} events of a newer version are left out\n", reading.foreign));
    }
    Ok(())
}

/// Shows lines as they are written, until the run holds its lock no more.
async fn follow(found: &Found, printer: &mut Printer) -> Result<(), Exit> {
    let path = found.journal();
    let unreadable = |error: std::io::Error| {
        refused(Exit::Failed, &format!("cannot read the run's journal {}: {error}", path.display()))
    };
    let mut follower = Follower::open(&path).map_err(unreadable)?;
    loop {
        // Asked first: what was written before the lock was given back is read below.
        let goes_on = found.is_running();
        for text in follower.more().map_err(unreadable)? {
            // What another version wrote is passed over; `runner logs` without --follow says so.
            if let Ok(line) = serde_json::from_str(&text) {
                printer.print(&line)?;
            }
        }
        if !goes_on {
            return Ok(());
        }
        tokio::time::sleep(limit::FOLLOW_POLL).await;
    }
}

/// Where plain lines are collected before they are printed.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().expect("nothing panics while it writes"))
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nothing panics while it writes").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Turns lines of the journal into what is shown.
struct Printer {
    json: bool,
    page: Page,
    lines: PlainLines,
    /// Present when a session is asked for.
    scribe: Option<Scribe>,
    what: What,
}

/// What of a journal is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Events,
    Effects,
}

impl Printer {
    fn new(arguments: &LogsArguments, found: &Found) -> Self {
        let page = Page::default();
        let source = match found.manifest.mode {
            Mode::Live => Source::Effects,
            Mode::Replay => Source::Events,
        };
        if source == Source::Events && arguments.session.is_some() {
            tell(
                "note: a replay keeps no results of its own; inputs and results of tools are cut to a line here, and whole in its recording\n",
            );
        }
        Self {
            json: arguments.json,
            lines: PlainLines::new(Box::new(page.clone())),
            page,
            what: if arguments.effects { What::Effects } else { What::Events },
            scribe: arguments.session.as_deref().map(|session| Scribe::new(session, source)),
        }
    }

    /// Prints what a line comes to. `Err` when nobody reads it any more.
    fn print(&mut self, line: &Line) -> Result<(), Exit> {
        let text = match (&mut self.scribe, line) {
            (Some(scribe), line) => scribe.read(line, self.json).into_bytes(),
            (None, Line::Effect { record, .. }) if self.what == What::Effects => match self.json {
                true => serde_json::to_string(record).expect("an effect holds only plain data") + "\n",
                false => format!("{:>5} {:<6} {}\n", record.seq, record.kind.as_str(), record.id),
            }
            .into_bytes(),
            (None, _) if self.what == What::Effects => return Ok(()),
            (None, Line::Event { event }) if self.json => {
                let text = serde_json::to_string(event).expect("a happening holds only plain data");
                (text + "\n").into_bytes()
            }
            (None, Line::Event { event }) => {
                self.lines.heard(event);
                self.page.take()
            }
            (None, _) => return Ok(()),
        };
        let mut out = std::io::stdout().lock();
        out.write_all(&text).and_then(|()| out.flush()).map_err(|_| Exit::Ok)
    }
}
