//! What tools cannot do: file tools leave the workspace, bash outlive its call or learn a secret.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking, in its helpers too")]

mod jobs;
mod searches;
mod tricks;

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runner::clock::Timestamp;
use runner::event::{EffectId, Policy};
use runner::id::{IdSource, Seed};
use runner::plan::Variables;
use runner::secret::{Scrubber, Secret};
use runner::tool::workspace::Workspace;
use runner::tool::{Built, CallContext, Tool, ToolOutput, bash, filesystem, search};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const SECRET: &str = "sk-test-8f2e9b7c4d1a";

/// A workspace beside a folder that nothing may reach.
pub struct Place {
    _folder: tempfile::TempDir,
    pub workspace: Arc<Workspace>,
    outside: std::path::PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("target"), "untouched").unwrap();
        let scrubber = Scrubber::new(&[("TEST_KEY".to_owned(), Secret::new(SECRET.to_owned()))]);
        let workspace = Arc::new(Workspace::open(&inside, scrubber).unwrap());
        Self { _folder: folder, workspace, outside: std::fs::canonicalize(outside).unwrap() }
    }

    fn root(&self) -> &Path {
        self.workspace.root()
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn files(&self, config: &Value) -> Tools {
        tools(filesystem::build(config.as_object().unwrap(), Arc::clone(&self.workspace)).unwrap())
    }

    fn search(&self, config: &Value) -> Tools {
        tools(search::build(config.as_object().unwrap(), Arc::clone(&self.workspace)).unwrap())
    }

    fn bash(&self, config: &Value) -> Tools {
        let path = std::env!("PATH").to_owned();
        let variables: Variables = [
            ("PATH", path.as_str()),
            ("HOME", "/home/somebody"),
            ("LC_ALL", "C"),
            ("ANTHROPIC_API_KEY", SECRET),
            ("GITHUB_TOKEN", "ghp_0123456789abcdef"),
            ("TERM", SECRET),
            ("LC_TOKEN", "x"),
            ("SOMETHING_ELSE", "x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        tools(bash::build(config.as_object().unwrap(), Arc::clone(&self.workspace), &variables).unwrap())
    }
}

pub struct Tools(Vec<Arc<dyn Tool>>);

pub fn tools(built: Built) -> Tools {
    match built {
        Built::Tools(tools) => Tools(tools),
        Built::Absent { notice } | Built::Partial { notice, .. } => panic!("{notice}"),
    }
}

impl Tools {
    pub fn get(&self, name: &str) -> &Arc<dyn Tool> {
        self.0.iter().find(|tool| tool.spec().name == name).unwrap()
    }

    pub async fn call(&self, name: &str, input: Value) -> ToolOutput {
        self.call_until(name, input, CancellationToken::new()).await
    }

    pub async fn call_until(&self, name: &str, input: Value, cancel: CancellationToken) -> ToolOutput {
        let call = CallContext {
            effect: EffectId::from_text("work/w/1.1"),
            at: Timestamp::UNIX_EPOCH,
            ids: Arc::new(IdSource::new(&Seed::new("s"), "work/w/1.1")),
            sequence: None,
            cancel,
        };
        self.get(name).run(input.as_object().unwrap().clone(), call).await
    }

    async fn read(&self, path: &str) -> ToolOutput {
        self.call("read_file", json!({"file_path": path})).await
    }

    async fn write(&self, path: &str, content: &str) -> ToolOutput {
        self.call("write_file", json!({"file_path": path, "content": content})).await
    }

    async fn edit(&self, path: &str, old: &str, new: &str) -> ToolOutput {
        self.call("edit_file", json!({"file_path": path, "old_string": old, "new_string": new})).await
    }

    async fn grep(&self, input: Value) -> ToolOutput {
        self.call("grep", input).await
    }

    async fn glob(&self, input: Value) -> ToolOutput {
        self.call("glob", input).await
    }

    async fn sh(&self, command: &str) -> ToolOutput {
        self.call("bash", json!({"command": command})).await
    }
}

pub fn json_of(output: &ToolOutput) -> Value {
    serde_json::from_str(&output.content).unwrap_or_else(|error| panic!("{error}: {}", output.content))
}

#[track_caller]
pub fn refused(output: &ToolOutput, because: &str) {
    assert!(output.is_error && output.content.contains(because), "wanted {because:?}, got {output:?}");
}

#[tokio::test]
async fn every_way_out_of_the_workspace_is_refused() {
    let place = Place::new();
    let root = place.root().to_owned();
    let outside = place.outside.clone();
    symlink("../outside", root.join("link-dir")).unwrap();
    symlink("../outside/target", root.join("link-file")).unwrap();
    symlink(&outside, root.join("link-absolute")).unwrap();
    symlink("/proc/self/fd", root.join("link-proc")).unwrap();
    symlink("link-dir", root.join("link-to-link")).unwrap();
    symlink("../outside/new", root.join("link-dangling")).unwrap();
    symlink("link-loop", root.join("link-loop")).unwrap();
    symlink(".beads", root.join("link-beads")).unwrap();
    place.write(".beads/issues.db", "queue");
    place.write(".runner/journal.jsonl", "journal");
    place.write("dir/file", "x");
    nix_mkfifo(&root.join("fifo"));
    let absolute = outside.join("target").display().to_string();
    let inside_absolute = root.join("dir/file").display().to_string();
    let long = "n".repeat(300);
    let attempts: Vec<(&str, &str)> = vec![
        ("../outside/target", "outside the workspace"),
        ("dir/../../outside/target", "outside the workspace"),
        ("/work/../outside/target", "outside the workspace"),
        ("dir/./.././../outside/target", "outside the workspace"),
        (&absolute, "outside the workspace"),
        (&inside_absolute, "outside the workspace"),
        ("/etc/passwd", "outside the workspace"),
        ("/proc/self/fd/0", "outside the workspace"),
        ("/dev/zero", "outside the workspace"),
        ("/workspace/x", "outside the workspace"),
        ("~/x", "outside the workspace"),
        ("link-dir/target", "outside the workspace"),
        ("link-file", "outside the workspace"),
        ("link-absolute/target", "outside the workspace"),
        ("link-proc/0", "outside the workspace"),
        ("link-to-link/target", "outside the workspace"),
        ("link-dangling", "outside the workspace"),
        ("link-loop", "too many links"),
        ("link-beads/issues.db", "belongs to the runner"),
        (".beads/issues.db", "belongs to the runner"),
        ("dir/../.beads/issues.db", "belongs to the runner"),
        (".BEADS/issues.db", "belongs to the runner"),
        (".runner/journal.jsonl", "belongs to the runner"),
        (".runner-workspace", "belongs to the runner"),
        ("dir/file/below", "not a directory"),
        ("fifo", "FIFO"),
        ("fifo/x", "not a directory"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        (&long, "longer than 255 bytes"),
        ("", "path is empty"),
    ];
    let (tools, searches) = (place.files(&json!({})), place.search(&json!({})));
    for (path, because) in attempts {
        for output in [
            tools.read(path).await,
            tools.write(path, "harm").await,
            tools.edit(path, "untouched", "harm").await,
            searches.grep(json!({"pattern": "", "path": path})).await,
            searches.glob(json!({"pattern": "**", "path": path})).await,
        ] {
            refused(&output, because);
            assert!(!output.content.contains(root.to_str().unwrap()), "{path}: {}", output.content);
        }
    }
    assert_eq!(std::fs::read_to_string(outside.join("target")).unwrap(), "untouched");
    assert!(!outside.join("new").exists());
}

fn nix_mkfifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn a_link_that_comes_between_two_calls_leads_nowhere() {
    let place = Place::new();
    place.write("dir/target", "inside");
    let tools = place.files(&json!({}));
    assert!(!tools.read("dir/target").await.is_error);
    std::fs::rename(place.root().join("dir"), place.root().join("moved")).unwrap();
    symlink(&place.outside, place.root().join("dir")).unwrap();
    refused(&tools.write("dir/target", "harm").await, "outside the workspace");
    std::fs::remove_file(place.root().join("moved/target")).unwrap();
    symlink(place.outside.join("target"), place.root().join("moved/target")).unwrap();
    refused(&tools.write("moved/target", "harm").await, "outside the workspace");
    assert_eq!(std::fs::read_to_string(place.outside.join("target")).unwrap(), "untouched");
}

/// A directory is swapped for a link to the outside again and again while files are written through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_comes_during_a_call_leads_nowhere() {
    let place = Place::new();
    place.write("dir/keep", "");
    let (root, outside) = (place.root().to_owned(), place.outside.clone());
    let stop = CancellationToken::new();
    let swapping = stop.clone();
    let swapper = std::thread::spawn(move || {
        while !swapping.is_cancelled() {
            let _ = std::fs::rename(root.join("dir"), root.join("aside"));
            let _ = symlink(&outside, root.join("dir"));
            let _ = std::fs::remove_file(root.join("dir"));
            let _ = std::fs::rename(root.join("aside"), root.join("dir"));
        }
    });
    let tools = place.files(&json!({}));
    for n in 0..300 {
        tools.write(&format!("dir/new-{n}"), "x").await;
    }
    stop.cancel();
    swapper.join().unwrap();
    let names: Vec<_> =
        std::fs::read_dir(&place.outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["target"]);
}

/// A hard link cannot be told from a file, but writing replaces the name and leaves the other file alone.
#[tokio::test]
async fn writing_to_a_hard_link_leaves_the_other_file_alone() {
    let place = Place::new();
    std::fs::hard_link(place.outside.join("target"), place.root().join("hard")).unwrap();
    let tools = place.files(&json!({}));
    tools.read("hard").await;
    assert!(!tools.edit("hard", "untouched", "changed").await.is_error);
    assert_eq!(std::fs::read_to_string(place.root().join("hard")).unwrap(), "changed");
    assert_eq!(std::fs::read_to_string(place.outside.join("target")).unwrap(), "untouched");
}

#[tokio::test]
async fn lists_of_the_configuration_hold_through_links() {
    let place = Place::new();
    place.write("src/a", "a");
    place.write("src/gen/b", "b");
    place.write("secret/c", "c");
    symlink("../secret", place.root().join("src/way")).unwrap();
    let tools = place.files(&json!({
        "allowed_read_paths": ["src"], "allowed_write_paths": ["/work/src"], "denied_write_paths": ["src/gen"],
    }));
    assert!(!tools.read("src/a").await.is_error);
    refused(&tools.read("secret/c").await, "Access denied: secret/c is not within allowed read paths (src)");
    refused(&tools.read("src/way/c").await, "not within allowed read paths");
    refused(&tools.write("src/way/d", "x").await, "not within allowed write paths (src)");
    refused(&tools.write("src/gen/new", "x").await, "is within denied directories (src/gen)");
    assert!(!tools.write("src/new", "x").await.is_error);
    for (key, value) in [("working_dir", json!("../x")), ("denied_write_paths", json!(["/etc"]))] {
        let config = json!({key: value});
        let built = filesystem::build(config.as_object().unwrap(), Arc::clone(&place.workspace));
        let error = built.err().expect("refused").to_string();
        assert!(error.starts_with(&format!("tool-filesystem: `{key}` names a path")), "{error}");
    }
}

#[tokio::test]
async fn a_file_is_read_before_it_is_overwritten() {
    let place = Place::new();
    place.write("a.txt", "one\ntwo\n");
    let (tools, other) = (place.files(&json!({})), place.files(&json!({})));
    refused(&tools.write("a.txt", "x").await, "has not been read in this session");
    refused(&tools.edit("a.txt", "one", "1").await, "has not been read in this session");
    let read = tools.read("a.txt").await;
    assert_eq!(
        read.content,
        r#"{"content":"     1\tone\n     2\ttwo","file_path":"a.txt","lines_read":2,"offset":1,"total_lines":2}"#
    );
    let edit = tools.edit("a.txt", "one", "1").await;
    assert_eq!(edit.content, r#"{"bytes_written":6,"file_path":"a.txt","replacements_made":1}"#);
    refused(&other.write("a.txt", "x").await, "has not been read");
    other.read("a.txt").await;
    assert_eq!(tools.write("/work/a.txt", "mine").await.content, r#"{"bytes":4,"file_path":"a.txt"}"#);
    refused(&other.write("a.txt", "theirs").await, "has changed since it was read");
    refused(&other.edit("a.txt", "mine", "theirs").await, "has changed since it was read");
    assert_eq!(std::fs::read_to_string(place.root().join("a.txt")).unwrap(), "mine");
}

#[tokio::test]
async fn files_that_cannot_be_shown_say_why() {
    let place = Place::new();
    place.write("binary", b"\x7fELF\0\xff");
    place.write("empty", "");
    place.write("long-line", "x".repeat(5_000));
    place.write("many", "line\n".repeat(3_000));
    place.write("dir/sub/x", "");
    place.write(".beads/x", "");
    place.write("key", format!("key={SECRET} at {}", place.root().display()));
    std::fs::File::create(place.root().join("huge")).unwrap().set_len(1 << 40).unwrap();
    let tools = place.files(&json!({}));
    refused(&tools.read("binary").await, "binary is not UTF-8 text (6 bytes)");
    refused(&tools.read("huge").await, "huge has 1099511627776 bytes, more than the 10485760");
    refused(&tools.write("huge", "x").await, "more than the 10485760");
    refused(&tools.read("none").await, "Path not found: none");
    refused(&tools.edit("none", "a", "b").await, "File not found: none");
    refused(&tools.write("dir", "x").await, "dir is a directory");
    assert_eq!(json_of(&tools.read("empty").await)["warning"], "the file is empty");
    let long = json_of(&tools.read("long-line").await);
    assert!(long["content"].as_str().unwrap().ends_with("xxx... [truncated]"));
    let many = json_of(&tools.read("many").await);
    assert_eq!((&many["lines_read"], &many["total_lines"]), (&json!(2000), &json!(3000)));
    assert_eq!(many["warning"], "there are more lines; go on with offset 2001");
    let rest = json!({"file_path": "many", "offset": 2999, "limit": 5});
    let rest = json_of(&tools.call("read_file", rest).await);
    assert_eq!(rest["content"], "  2999\tline\n  3000\tline");
    assert_eq!(json_of(&tools.read(".").await)["content"], "binary\ndir/\nempty\nhuge\nkey\nlong-line\nmany");
    assert_eq!(json_of(&tools.read("dir").await)["content"], "sub/");
    assert_eq!(json_of(&tools.read("key").await)["content"], "     1\tkey=[secret:TEST_KEY] at /work");
    refused(&tools.edit("key", "key=[secret:TEST_KEY]", "key=").await, "old_string holds the placeholder");
    refused(&tools.write("new", "[secret:TEST_KEY]").await, "content holds the placeholder");
    refused(&tools.call("read_file", json!({})).await, "file_path is required");
}

#[tokio::test]
async fn edits_are_exact_and_writes_keep_rights() {
    let place = Place::new();
    place.write("run.sh", "a a\n");
    let rights = std::os::unix::fs::PermissionsExt::from_mode(0o750);
    std::fs::set_permissions(place.root().join("run.sh"), rights).unwrap();
    let tools = place.files(&json!({}));
    tools.read("run.sh").await;
    refused(&tools.edit("run.sh", "a", "b").await, "old_string appears 2 times in file. Give more");
    refused(
        &tools.edit("run.sh", "c", "b").await,
        "old_string not found in file: run.sh. Read the file again",
    );
    refused(&tools.edit("run.sh", "a", "a").await, "must be different (no changes to make)");
    refused(&tools.edit("run.sh", "", "a").await, "old_string is empty");
    let all = json!({"file_path": "run.sh", "old_string": "a", "new_string": "b", "replace_all": true});
    assert_eq!(json_of(&tools.call("edit_file", all).await)["replacements_made"], 2);
    let metadata = std::fs::metadata(place.root().join("run.sh")).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o750);
    assert!(!tools.write("new/deep/file", "x").await.is_error);
    let left: Vec<_> = std::fs::read_dir(place.root().join("new/deep")).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left");
}

#[tokio::test]
async fn what_a_file_tool_does_not_find_depends_on_every_other_file() {
    let place = Place::new();
    let tools = place.files(&json!({}));
    let failed = tools.read("notes").await;
    assert!(failed.is_error);
    // Another session may make `notes` a folder by writing a file below it, and the read must stay before that.
    let read = failed.footprint.unwrap();
    let later = tools.write("notes/a.md", "x").await.footprint.unwrap();
    assert!(read.overlaps(&later), "{read} and {later}");
}

#[tokio::test]
async fn footprints_name_the_real_file() {
    let place = Place::new();
    place.write("dir/a", "x");
    symlink("dir/a", place.root().join("link")).unwrap();
    let tools = place.files(&json!({}));
    let input = json!({"file_path": "link"});
    let wide = tools.get("read_file").footprint(input.as_object().unwrap());
    assert_eq!(wide.to_string(), "r:[fs:dir/a,fs:link]");
    assert_eq!(tools.read("link").await.footprint, Some(wide));
    assert_eq!(tools.read("dir").await.footprint.unwrap().to_string(), "r:[fs:*]");
    assert_eq!(tools.write("b", "x").await.footprint.unwrap().to_string(), "w:[fs:b]");
    assert_eq!(tools.get("write_file").policy(), Policy::Real);
}

#[tokio::test]
async fn bash_says_what_the_command_said() {
    let place = Place::new();
    place.write("sub/x", "");
    let tools = place.bash(&json!({"working_dir": "sub"}));
    let output = tools.sh("pwd; ls; echo oops >&2").await;
    assert_eq!(output, ToolOutput::ok(r#"{"returncode":0,"stderr":"oops\n","stdout":"/work/sub\nx\n"}"#));
    let output = tools.sh("cat; exit 3").await;
    assert!(output.is_error);
    assert_eq!(output.content, r#"{"returncode":3,"stderr":"","stdout":""}"#);
    assert_eq!(json_of(&tools.sh("kill -9 $$").await)["returncode"], -9);
    refused(&tools.sh("sudo ls").await, "Command denied for safety: `sudo` is not available\n  Hint: ");
    refused(&tools.sh("  ").await, "Command is required");
    refused(&tools.sh("curl -H 'x: [secret:TEST_KEY]' x").await, "Commands are given no secrets");
    refused(&tools.call("bash", json!({"command": "ls", "timeout": 3601})).await, "at most 3600 seconds");
    let tool = tools.get("bash");
    assert_eq!(
        (tool.policy(), tool.footprint(&serde_json::Map::new()).to_string().as_str()),
        (Policy::Tape, "w:[fs:*]")
    );
    assert_eq!(
        tool.spec().input_schema["properties"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["command", "run_in_background", "timeout"]
    );
}

#[tokio::test]
async fn bash_is_given_no_secrets_and_shows_none() {
    let place = Place::new();
    let tools = place.bash(&json!({}));
    let output = json_of(&tools.sh("env | cut -d= -f1 | sort").await);
    let names: Vec<_> = output["stdout"].as_str().unwrap().lines().collect();
    for name in ["HOME", "LC_ALL", "PATH"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for name in ["ANTHROPIC_API_KEY", "GITHUB_TOKEN", "LC_TOKEN", "SOMETHING_ELSE"] {
        assert!(!names.contains(&name), "{names:?}");
    }
    // A shell may set TERM itself, but not to what was withheld.
    let length = json_of(&tools.sh("echo ${#TERM}").await);
    assert_ne!(length["stdout"].as_str().unwrap().trim(), SECRET.len().to_string());
    place.write("key", SECRET);
    assert_eq!(json_of(&tools.sh("cat key").await)["stdout"], "[secret:TEST_KEY]");
}

#[tokio::test]
async fn bash_keeps_head_and_tail() {
    let place = Place::new();
    let tools = place.bash(&json!({"max_output_bytes": 1000}));
    let output = json_of(&tools.sh("seq 1 200000; echo done >&2").await);
    let stdout = output["stdout"].as_str().unwrap();
    assert!(stdout.starts_with("1\n2\n3\n") && stdout.ends_with("\n199999\n200000\n"), "{stdout}");
    assert!(stdout.len() < 1000 && stdout.contains("bytes left out"), "{stdout}");
    assert_eq!(output["stdout_total_bytes"], 1_288_895);
    assert_eq!((&output["truncated"], &output["stderr"]), (&json!(true), &json!("done\n")));
}

/// Tells when the last process of a command has ended. Each holds the FIFO `alive` open as its descriptor 9, so that
/// reading it comes to an end exactly then.
struct Vigil(std::sync::mpsc::Receiver<()>);

impl Vigil {
    fn hold(place: &Place) -> Self {
        let fifo = place.root().join("alive");
        let _ = std::fs::remove_file(&fifo);
        nix_mkfifo(&fifo);
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            read_to_the_end(&fifo);
            let _ = sender.send(());
        });
        Self(receiver)
    }

    #[track_caller]
    fn ends(self) {
        self.0.recv_timeout(Duration::from_secs(60)).expect("a process lives on");
    }
}

fn read_to_the_end(fifo: &Path) {
    std::fs::read(fifo).unwrap();
}

/// Two processes that take no notice of SIGTERM.
const LINGER: &str = "exec 9>alive; trap '' TERM; (while :; do sleep 500; done) & echo begun | tee started; while :; do sleep 500; done";

#[tokio::test]
async fn a_timeout_ends_the_whole_group_even_if_it_will_not() {
    let place = Place::new();
    let tools = place.bash(&json!({}));
    let vigil = Vigil::hold(&place);
    let output = tools.call("bash", json!({"command": LINGER, "timeout": 2})).await;
    vigil.ends();
    assert!(output.is_error);
    let result = json_of(&output);
    assert!(result["error"].as_str().unwrap().starts_with("Command timed out after 2 seconds"), "{result}");
    assert_eq!(result["stdout"], "begun\n");
}

#[tokio::test]
async fn a_command_may_clean_up_when_its_time_is_over() {
    let place = Place::new();
    let tools = place.bash(&json!({"timeout": 1}));
    let output = tools.sh("trap 'echo cleaned up; exit 0' TERM; while :; do sleep 0.01; done").await;
    let result = json_of(&output);
    assert_eq!((&result["stdout"], output.is_error), (&json!("cleaned up\n"), true));
}

#[tokio::test]
async fn cancelling_ends_the_whole_group() {
    let place = Place::new();
    let tools = place.bash(&json!({"timeout": 600}));
    let vigil = Vigil::hold(&place);
    let started = place.root().join("started");
    nix_mkfifo(&started);
    let cancel = CancellationToken::new();
    let when_started = cancel.clone();
    std::thread::spawn(move || {
        read_to_the_end(&started);
        when_started.cancel();
    });
    let output = tools.call_until("bash", json!({"command": LINGER}), cancel).await;
    vigil.ends();
    assert_eq!(json_of(&output)["error"], "Command cancelled: the run is stopping");
}

#[tokio::test]
async fn a_dropped_call_ends_its_processes() {
    let place = Place::new();
    let tools = place.bash(&json!({"timeout": 600}));
    let vigil = Vigil::hold(&place);
    let started = place.root().join("started");
    nix_mkfifo(&started);
    let begun = tokio::task::spawn_blocking(move || read_to_the_end(&started));
    tokio::select! {
        output = tools.sh(LINGER) => panic!("{output:?}"),
        begun = begun => begun.unwrap(),
    }
    vigil.ends();
}

#[tokio::test]
async fn what_a_command_leaves_behind_neither_hangs_nor_outlives_the_call() {
    let place = Place::new();
    let tools = place.bash(&json!({"timeout": 600}));
    for (command, warns) in [
        ("exec 9>alive; sleep 500 >/dev/null 2>&1 & echo ok", false),
        ("exec 9>alive; sleep 500 & echo ok", true),
    ] {
        let vigil = Vigil::hold(&place);
        let output = tools.sh(command).await;
        vigil.ends();
        let result = json_of(&output);
        assert_eq!((&result["stdout"], &result["returncode"]), (&json!("ok\n"), &json!(0)), "{command}");
        assert_eq!(result.get("warning").is_some(), warns, "{result}");
    }
    let output = tools.sh("setsid sleep 500 & echo $! > child; echo ok").await;
    assert_eq!(json_of(&output)["stdout"], "ok\n");
    // It has left the group, out of this tool's reach; it did not hold the call up, and the test cleans up after itself.
    let pid = std::fs::read_to_string(place.root().join("child")).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}
