//! What a test of the binary stands on: a project of its own, a scrubbed environment, a bounded run, snapshots without chance in them.
#![allow(dead_code, reason = "a test uses the part it needs")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::server::{AnthropicServer, KEY};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_runner");

/// Longest wait for a process, or for a line of it. Far above what any test needs, so that only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What of the repository a scenario may use.
const SHIPPED: [&str; 3] = ["scenarios", "prompts", "mount-plans"];

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of its own for one test: a project, an empty home beside it, and a folder for temporary files.
pub struct Project {
    folder: TempDir,
    root: PathBuf,
}

impl Project {
    /// An empty project.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("runner-test-").tempdir().expect("a temporary folder");
        let base = folder.path().canonicalize().expect("the folder was just made");
        for name in ["project", "home", "tmp"] {
            std::fs::create_dir(base.join(name)).expect("an empty folder takes folders");
        }
        Self { root: base.join("project"), folder }
    }

    /// A project with the shipped scenarios, prompts and mount plans.
    pub fn shipped() -> Self {
        let project = Self::new();
        for name in SHIPPED {
            let from = repository().join(name);
            if from.is_dir() {
                copy(&from, &project.root.join(name));
            }
        }
        project
    }

    /// Where it is; no symbolic link in the path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path in it.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, relative: &str, text: &str) -> &Self {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folders of a test file");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {relative}: {error}"));
        self
    }

    /// Reads a file.
    pub fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative))
            .unwrap_or_else(|error| panic!("cannot read {relative}: {error}"))
    }

    /// Replaces a text that stands in a file, every time it does.
    pub fn replace(&self, relative: &str, from: &str, to: &str) -> &Self {
        let text = self.read(relative);
        assert!(text.contains(from), "{relative} does not contain {from:?}:\n{text}");
        self.write(relative, &text.replace(from, to))
    }

    /// Points every Anthropic provider of the project's mount plans at a server.
    pub fn point_at(&self, server: &AnthropicServer) -> &Self {
        let mut pointed = 0;
        for (name, bytes) in self.files("mount-plans") {
            let mut plan: serde_json::Value =
                serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("mount-plans/{name}: {error}"));
            for provider in plan["providers"].as_array_mut().into_iter().flatten() {
                if provider["module"] == "provider-anthropic" {
                    provider["config"]["base_url"] = server.url().into();
                    pointed += 1;
                }
            }
            self.write(&format!("mount-plans/{name}"), &format!("{plan:#}\n"));
        }
        assert!(pointed > 0, "no mount plan has an Anthropic provider");
        self
    }

    /// Every file below a folder, by its path from that folder, with its bytes.
    pub fn files(&self, relative: &str) -> BTreeMap<String, Vec<u8>> {
        let base = self.path(relative);
        let mut found = BTreeMap::new();
        walk(&base, &mut |path| {
            let name =
                path.strip_prefix(&base).expect("a path below the folder").to_string_lossy().into_owned();
            found.insert(name, std::fs::read(path).expect("a file that was just listed"));
        });
        found
    }

    /// A command of the binary in the project's root.
    pub fn runner<I: AsRef<str>>(&self, args: impl IntoIterator<Item = I>) -> Runner {
        self.command(BINARY).args(args)
    }

    /// A command of another program under the same conditions.
    pub fn command(&self, program: &str) -> Runner {
        let base = self.folder.path().canonicalize().expect("the folder lives as long as the project");
        let mut command = Command::new(program);
        command.env_clear().current_dir(&self.root);
        command.env("HOME", base.join("home")).env("TMPDIR", base.join("tmp"));
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8").env("TZ", "UTC");
        Runner { command, root: self.root.clone(), stdin: None }
    }

    /// Makes snapshots of this thread free of chance until the guard is dropped.
    #[must_use]
    pub fn snapshots(&self) -> impl Drop + use<> {
        let base = self.folder.path().canonicalize().expect("the folder lives as long as the project");
        let mut settings = settings();
        settings.set_filters(Vec::<(&str, &str)>::new());
        // Each filter sees the text as the ones before it left it, so the places come first.
        for name in ["project", "home", "tmp"] {
            settings.add_filter(&literally(&base.join(name).to_string_lossy()), format!("[{name}]"));
        }
        settings.add_filter(&literally(BINARY), "runner");
        for (pattern, mark) in FILTERS {
            settings.add_filter(pattern, mark);
        }
        settings.bind_to_scope()
    }
}

/// What differs from run to run, in the order in which it is replaced.
const FILTERS: [(&str, &str); 9] = [
    (r"/[^\s:'`]*/runner-test-\w+", "[temp]"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b", "[run]"),
    (r"\b[0-9a-f]{32}\b", "[seed]"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", "[time]"),
    (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "[clock]"),
    (r"\b(127\.0\.0\.1|localhost):\d+", "$1:[port]"),
    // Whole seconds stay: they are mostly what a file says, not what a clock measured.
    (r"\b(\d+h ?)?(\d+m ?)?\d+\.\d+ ?s\b", "[duration]"),
    (r"\b\d+(\.\d+)? ?(ms|µs)\b", "[duration]"),
    (r"\brunner \d+\.\d+\.\d+\b", "runner [version]"),
];

/// Where snapshots lie and how they look, for tests without a project as well.
pub fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_filters(FILTERS);
    settings
}

fn literally(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let special = r"\.+*?()|[]{}^$#&-~".contains(character);
            special.then_some('\\').into_iter().chain([character])
        })
        .collect()
}

pub fn copy(from: &Path, to: &Path) {
    walk(from, &mut |path| {
        let target = to.join(path.strip_prefix(from).expect("a path below the folder"));
        std::fs::create_dir_all(target.parent().expect("a file has a folder")).expect("folders of a copy");
        std::fs::copy(path, target).expect("a readable file");
    });
}

/// Calls `visit` with every file below a folder, in order of their names.
pub fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry of a folder").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}

/// A command that is being put together. Nothing of the test's own environment reaches it.
pub struct Runner {
    command: Command,
    root: PathBuf,
    stdin: Option<String>,
}

impl Runner {
    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<str>) -> Self {
        self.command.arg(arg.as_ref());
        self
    }

    /// More arguments.
    pub fn args<I: AsRef<str>>(mut self, args: impl IntoIterator<Item = I>) -> Self {
        self.command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.command.env(name, value.as_ref());
        self
    }

    /// With the credential that the test server accepts.
    pub fn with_key(self) -> Self {
        self.env("ANTHROPIC_API_KEY", KEY)
    }

    /// As a CI service would start it.
    pub fn ci(self) -> Self {
        self.env("CI", "true")
    }

    /// In this folder of the project.
    pub fn cwd(mut self, relative: &str) -> Self {
        self.command.current_dir(self.root.join(relative));
        self
    }

    /// With this on its standard input, which is otherwise empty and closed.
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = Some(text.into());
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.spawn().finish()
    }

    /// Starts it, for a test that has something to say while it runs.
    pub fn spawn(mut self) -> Running {
        let input = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        // A group of its own: what it leaves behind ends with it.
        self.command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let shown = format!("{:?}", self.command);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        let state = Arc::new(Watched::default());
        let mut threads = Vec::new();
        if let Some(text) = self.stdin {
            let mut pipe = child.stdin.take().expect("the input is a pipe");
            threads.push(thread::spawn(move || {
                // A process that does not read all of its input is free not to.
                let _ = pipe.write_all(text.as_bytes());
            }));
        }
        let stdout = BufReader::new(child.stdout.take().expect("the output is a pipe"));
        let stderr = BufReader::new(child.stderr.take().expect("the errors are a pipe"));
        threads.push(collect(stdout, &state, |seen| &mut seen.stdout));
        threads.push(collect(stderr, &state, |seen| &mut seen.stderr));
        let watched = Arc::clone(&state);
        threads.push(thread::spawn(move || {
            let status = child.wait().expect("a child can be waited for");
            watched.change(|seen| seen.status = Some(status));
        }));
        Running { shown, pid, state, threads }
    }
}

/// What a process has said and done so far.
#[derive(Debug, Default)]
struct Seen {
    stdout: String,
    stderr: String,
    open_pipes_closed: u8,
    status: Option<ExitStatus>,
}

impl Seen {
    fn is_over(&self) -> bool {
        self.open_pipes_closed == 2 && self.status.is_some()
    }
}

#[derive(Default)]
struct Watched {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Watched {
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().expect("nobody panics while holding it"));
        self.changed.notify_all();
    }

    /// Waits, at most `PATIENCE`; `None` when that was not enough.
    fn wait(&self, mut until: impl FnMut(&Seen) -> bool) -> Option<MutexGuard<'_, Seen>> {
        let seen = self.seen.lock().expect("nobody panics while holding it");
        let (seen, waited) = self
            .changed
            .wait_timeout_while(seen, PATIENCE, |seen| !until(seen))
            .expect("nobody panics while holding it");
        (!waited.timed_out()).then_some(seen)
    }
}

fn collect(
    mut pipe: impl BufRead + Send + 'static,
    state: &Arc<Watched>,
    which: fn(&mut Seen) -> &mut String,
) -> thread::JoinHandle<()> {
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            state.change(|seen| which(seen).push_str(&String::from_utf8_lossy(&line)));
            line.clear();
        }
        state.change(|seen| seen.open_pipes_closed += 1);
    })
}

/// A process that runs. It is killed, with all it started, when this is dropped before its end.
pub struct Running {
    shown: String,
    pid: Pid,
    state: Arc<Watched>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Running {
    /// Waits for a text on stdout or stderr; fails the test when the process ends without having said it.
    pub fn wait_for(&self, text: &str) -> &Self {
        let said = |seen: &Seen| seen.stdout.contains(text) || seen.stderr.contains(text);
        let held = self.state.wait(|seen| said(seen) || seen.is_over()).is_some_and(|seen| said(&seen));
        assert!(held, "{} never said {text:?}: {:#?}", self.shown, self.state.seen.lock());
        self
    }

    /// What it has said on stdout so far.
    pub fn stdout(&self) -> String {
        self.state.seen.lock().expect("nobody panics while holding it").stdout.clone()
    }

    /// Sends a signal to the process alone, as `kill` does.
    pub fn signal(&self, signal: Signal) -> &Self {
        kill(self.pid, signal)
            .unwrap_or_else(|error| panic!("cannot send {signal} to {}: {error}", self.shown));
        self
    }

    /// The id of the process.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Outcome {
        if self.state.wait(Seen::is_over).is_none() {
            panic!("{} has not ended within {PATIENCE:?}: {:#?}", self.shown, self.state.seen.lock());
        }
        for thread in self.threads.drain(..) {
            thread.join().expect("the threads of a process do not panic");
        }
        let mut seen = self.state.seen.lock().expect("nobody panics while holding it");
        let status = seen.status.expect("it is over");
        Outcome {
            shown: self.shown.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: std::mem::take(&mut seen.stdout),
            stderr: std::mem::take(&mut seen.stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.state.seen.lock().is_ok_and(|seen| !seen.is_over()) {
            // The group may be gone already; then there is nothing to end.
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// How a process ended and what it said.
#[derive(Debug, Clone)]
pub struct Outcome {
    shown: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Outcome {
    /// Fails the test unless it ended with this code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{} ended otherwise:\n{}", self.shown, self.text());
        self
    }

    /// All of it, as a snapshot shows it.
    pub fn text(&self) -> String {
        let end = match (self.code, self.signal) {
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        format!("{end}\n----- stdout -----\n{}----- stderr -----\n{}", self.stdout, self.stderr)
    }

    /// Its standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}):\n{}", self.text()))
    }

    /// Its standard output as JSON values, one a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("no JSON ({error}): {line}\n{}", self.text()))
        };
        self.stdout.lines().map(parse).collect()
    }
}
