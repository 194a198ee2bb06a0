//! What stands in a workspace that is no plain file, and what paths are called: none of it leads out, hangs, or is written through.

use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use runner::tool::{FilePatch, FileSnapshot, ToolOutput, bash, patch};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Place, Tools, json_of, nix_mkfifo, refused};

/// Every tool that takes a path, with this one.
async fn every_tool(files: &Tools, searches: &Tools, path: &str) -> [ToolOutput; 5] {
    [
        files.read(path).await,
        files.write(path, "harm").await,
        files.edit(path, "untouched", "harm").await,
        searches.grep(json!({"pattern": "", "path": path, "include_ignored": true})).await,
        searches.glob(json!({"pattern": "**", "path": path, "include_ignored": true})).await,
    ]
}

#[tokio::test]
async fn what_the_kernel_shows_of_a_process_is_outside() {
    let place = Place::new();
    let links = ["/proc/self/root", "/proc/self/cwd", "/proc/self/fd", "/dev/fd", "/proc/1/root"];
    for (n, to) in links.iter().enumerate() {
        symlink(to, place.root().join(format!("link-{n}"))).unwrap();
    }
    let outside = place.outside.join("target").display().to_string();
    let (files, searches) = (place.files(&json!({})), place.search(&json!({})));
    let mut paths: Vec<String> =
        (0..links.len()).flat_map(|n| [format!("link-{n}"), format!("link-{n}{outside}")]).collect();
    paths.extend([
        format!("/proc/self/root{outside}"),
        "/proc/self/cwd/Cargo.toml".to_owned(),
        "/proc/thread-self/fd/0".to_owned(),
        "/dev/stdin".to_owned(),
        "/work/../../proc/self/environ".to_owned(),
    ]);
    for path in &paths {
        for output in every_tool(&files, &searches, path).await {
            refused(&output, "outside the workspace");
        }
    }
    assert_eq!(std::fs::read_to_string(place.outside.join("target")).unwrap(), "untouched");
}

#[tokio::test]
async fn what_is_no_plain_file_is_neither_read_nor_written_nor_waited_for() {
    let place = Place::new();
    let root = place.root().to_owned();
    nix_mkfifo(&root.join("fifo"));
    let _listener = UnixListener::bind(root.join("socket")).unwrap();
    let mut special = vec![("fifo", "a FIFO"), ("socket", "a socket")];
    if make_device(&root.join("zero")) {
        special.push(("zero", "a device"));
    } else {
        println!("skipped: no device can be made here, which takes mknod");
    }
    symlink("fifo", root.join("to-fifo")).unwrap();
    special.push(("to-fifo", "a FIFO"));
    let (files, searches) = (place.files(&json!({})), place.search(&json!({})));
    for (path, kind) in &special {
        for output in every_tool(&files, &searches, path).await {
            refused(&output, kind);
        }
        for output in every_tool(&files, &searches, &format!("{path}/below")).await {
            refused(&output, "not a directory");
        }
        let config = json!({"working_dir": path});
        refused(&place.bash(&config).sh("pwd").await, "the working directory");
    }
    let all = json!({"pattern": "", "output_mode": "content", "include_ignored": true});
    assert_eq!(json_of(&searches.grep(all).await)["files"], 0);
    let any = json!({"pattern": "**", "type": "any", "include_ignored": true});
    assert_eq!(json_of(&searches.glob(any).await)["total"], 0);
    let kinds = |path: &str| std::fs::symlink_metadata(root.join(path)).unwrap().file_type();
    assert!(kinds("fifo").is_fifo() && kinds("socket").is_socket() && kinds("to-fifo").is_symlink());
}

/// A device like `/dev/zero`; not everybody may make one.
fn make_device(path: &Path) -> bool {
    let made = std::process::Command::new("mknod").arg(path).args(["c", "1", "5"]).output();
    made.is_ok_and(|made| made.status.success())
        && std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device())
}

/// Ten gigabytes that take no room on the disk.
#[tokio::test]
async fn a_huge_file_is_passed_over() {
    const HUGE: u64 = 10 << 30;
    let place = Place::new();
    std::fs::File::create(place.root().join("huge")).unwrap().set_len(HUGE).unwrap();
    place.write("small", "word");
    let (files, searches) = (place.files(&json!({})), place.search(&json!({})));
    for output in
        [files.read("huge").await, files.write("huge", "x").await, files.edit("huge", "a", "b").await]
    {
        refused(&output, "huge has 10737418240 bytes, more than the 10485760");
    }
    for path in ["huge", "."] {
        let found = json_of(&searches.grep(json!({"pattern": ".", "path": path})).await);
        assert_eq!(found["warning"], "1 larger than 10485760 bytes were passed over", "{path}");
    }
    let names = json_of(&searches.glob(json!({"pattern": "*"})).await);
    assert_eq!(names["matches"], json!(["huge", "small"]));
    let shell = place.bash(&json!({"max_output_bytes": 1000}));
    let printed = json_of(&shell.sh("head -c 20000000 huge | tr '\\0' x").await);
    assert_eq!(printed["stdout_total_bytes"], 20_000_000);
    assert!(printed["stdout"].as_str().unwrap().len() < 1_100);
    // So huge that whoever reads it does not come to the end of this test.
    let file = std::fs::File::options().write(true).open(place.root().join("huge")).unwrap();
    file.set_len(1 << 42).unwrap();
    let taken = FileSnapshot::take(place.root()).unwrap();
    assert!(patch::diff(&taken, &taken.take_again().unwrap()).unwrap().is_empty());
    file.set_len((1 << 42) + 1).unwrap();
    let error = patch::diff(&taken, &taken.take_again().unwrap()).unwrap_err().to_string();
    assert!(error.contains("huge (4398046511105 bytes)"), "{error}");
}

/// Names that mean a way out elsewhere, or look like one, are names of files here.
#[tokio::test]
async fn odd_names_are_names() {
    let place = Place::new();
    let root = place.root().to_owned();
    let odd = [
        "..%2foutside%2ftarget",
        "%2e%2e/outside/target",
        "..\\outside\\target",
        ".. /outside/target",
        "... /target",
        ".../target",
        "\u{2024}\u{2024}/outside/target",
        "\u{ff0e}\u{ff0e}/outside/target",
        "..\u{2215}outside\u{2215}target",
        "..\u{ff0f}outside",
        "dir./target",
        "dir /target",
        "target ",
        " ",
        "file:target",
        "C:\\target",
        "target::$DATA",
        "-rf",
        "$(touch harm)",
    ];
    let (files, searches) = (place.files(&json!({})), place.search(&json!({})));
    for path in odd {
        refused(&files.read(path).await, "Path not found");
        refused(&files.edit(path, "untouched", "harm").await, "File not found");
        refused(&searches.grep(json!({"pattern": "", "path": path})).await, "not found");
        let written = files.write(path, "mine").await;
        assert!(!written.is_error, "{path}: {written:?}");
        assert_eq!(std::fs::read_to_string(root.join(path)).unwrap(), "mine", "{path}");
        assert!(json_of(&files.read(path).await)["content"].as_str().unwrap().ends_with("mine"), "{path}");
        assert_eq!(
            json_of(&searches.grep(json!({"pattern": "mine", "path": path})).await)["files"],
            1,
            "{path}"
        );
    }
    let beside: Vec<_> =
        std::fs::read_dir(root.parent().unwrap()).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
    assert_eq!(std::fs::read_to_string(place.outside.join("target")).unwrap(), "untouched");
}

/// File systems that fold case or leave characters out take these for the runner's own.
#[tokio::test]
async fn names_that_some_take_for_the_runners_are_the_runners() {
    let place = Place::new();
    place.write("dir/file", "x");
    let (files, searches) = (place.files(&json!({})), place.search(&json!({})));
    for name in [
        ".beads/x",
        ".BeAdS/x",
        ".bead\u{17f}/x",
        ".be\u{200c}ads/x",
        ".runner\u{feff}/x",
        "\u{200d}.runner/x",
        ".runner-wor\u{212a}space",
        "dir/../.bead\u{17f}/x",
    ] {
        for output in every_tool(&files, &searches, name).await {
            refused(&output, "belongs to the runner");
        }
    }
}

#[tokio::test]
async fn paths_without_end_are_refused() {
    let place = Place::new();
    let (files, searches) = (place.files(&json!({})), place.search(&json!({})));
    let long = format!("{}f", format!("{}/", "n".repeat(250)).repeat(20));
    let deep = format!("{}f", "d/".repeat(200));
    for (path, because) in [(&long, "longer than 4000 bytes"), (&deep, "more than 100 folders deep")] {
        for output in every_tool(&files, &searches, path).await {
            refused(&output, because);
        }
    }
    let bearable = format!("{}f", "d/".repeat(99));
    assert!(!files.write(&bearable, "x").await.is_error);
    assert!(FileSnapshot::take(place.root()).is_ok(), "what can be written can be recorded");
    let nul = json!({"pattern": "**", "path": "a\0b"});
    refused(&searches.glob(nul).await, "control character");
    let built = bash::build(
        json!({"working_dir": "a\0b"}).as_object().unwrap(),
        place.workspace.clone(),
        &runner::plan::Variables::default(),
    );
    assert!(built.err().unwrap().to_string().contains("control character"));
}

/// A folder's list is a line for each entry, whatever the entries are called.
#[tokio::test]
async fn a_name_with_a_line_break_is_one_entry() {
    let place = Place::new();
    place.write("plain", "");
    std::fs::write(place.root().join("b\nforged"), "").unwrap();
    std::fs::write(place.root().join("bell\u{7}"), "").unwrap();
    let listed = json_of(&place.files(&json!({})).read(".").await);
    assert_eq!(listed["content"], "b\\nforged\nbell\\u{7}\nplain");
}

#[tokio::test]
async fn a_command_does_not_start_outside() {
    let place = Place::new();
    place.write("file", "x");
    symlink("../outside", place.root().join("link")).unwrap();
    symlink(".", place.root().join("here")).unwrap();
    for (path, because) in [
        ("link", "outside the workspace"),
        ("link/x", "outside the workspace"),
        ("file", "the working directory file of tool-bash is not there"),
        ("file/x", "leads through a file"),
        ("none", "the working directory none of tool-bash is not there"),
    ] {
        for input in [json!({"command": "pwd"}), json!({"command": "pwd", "run_in_background": true})] {
            let output = place.bash(&json!({"working_dir": path})).call("bash", input).await;
            refused(&output, because);
        }
    }
    for path in ["../outside", "/etc", ".beads", "~", ""] {
        let config = json!({"working_dir": path});
        let variables = runner::plan::Variables::default();
        let built = bash::build(config.as_object().unwrap(), place.workspace.clone(), &variables);
        assert!(built.is_err(), "{path}");
    }
    assert_eq!(json_of(&place.bash(&json!({"working_dir": "here"})).sh("pwd").await)["stdout"], "/work\n");
}

/// A hard link to a file of somebody's is a file of the workspace, as a package cache's are: whoever could make the link may
/// read the file. Nothing but a command writes through it.
#[tokio::test]
async fn a_hard_link_is_read_and_never_written_through() {
    let place = Place::new();
    let (root, target) = (place.root().to_owned(), place.outside.join("target"));
    for name in ["read", "write", "patch"] {
        std::fs::hard_link(&target, root.join(name)).unwrap();
    }
    let (files, searches) = (place.files(&json!({})), place.search(&json!({})));
    assert!(json_of(&files.read("read").await)["content"].as_str().unwrap().ends_with("untouched"));
    assert_eq!(json_of(&searches.grep(json!({"pattern": "untouched"})).await)["files"], 3);
    files.read("write").await;
    assert!(!files.write("write", "mine").await.is_error);
    let changes: FilePatch = serde_json::from_value(json!({"patch": {"text": {"content": "mine"}}})).unwrap();
    changes.apply(&root).unwrap();
    for name in ["write", "patch"] {
        assert_eq!(std::fs::read_to_string(root.join(name)).unwrap(), "mine");
    }
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "untouched");
}

/// Folders and files are swapped for links to the outside again and again while searches go through them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_comes_during_a_search_leads_nowhere() {
    let place = Place::new();
    std::fs::create_dir(place.outside.join("deep")).unwrap();
    std::fs::write(place.outside.join("deep/target"), "untouched").unwrap();
    for n in 0..20 {
        place.write(&format!("before-{n}/file"), "word\n");
    }
    place.write("dir/deep/file", "word\n");
    place.write("file", "word\n");
    let (root, outside) = (place.root().to_owned(), place.outside.clone());
    let stop = CancellationToken::new();
    let swapping = stop.clone();
    let swapper = std::thread::spawn(move || {
        let mut swaps = 0_u32;
        while !swapping.is_cancelled() {
            for (name, to) in [("dir", outside.clone()), ("file", outside.join("target"))] {
                let _ = std::fs::rename(root.join(name), root.join(format!(".aside-{name}")));
                let _ = symlink(&to, root.join(name));
                let _ = std::fs::remove_file(root.join(name));
                let _ = std::fs::rename(root.join(format!(".aside-{name}")), root.join(name));
                swaps += 1;
            }
        }
        swaps
    });
    let (files, searches) = (place.files(&json!({})), place.search(&json!({})));
    let mut whole = 0;
    for _ in 0..200 {
        for path in [".", "dir", "dir/deep", "file"] {
            let found = searches.grep(json!({"pattern": "untouched", "path": path})).await;
            assert!(found.is_error || json_of(&found)["files"] == 0, "{path}: {found:?}");
            let names = searches.glob(json!({"pattern": "**", "path": path, "type": "any"})).await;
            assert!(!names.content.contains("target"), "{path}: {names:?}");
            whole += u32::from(names.content.contains("dir/deep/file"));
        }
        let listed = files.read("dir").await;
        assert!(!listed.content.contains("target"), "{listed:?}");
        let read = files.read("file").await;
        assert!(!read.content.contains("untouched"), "{read:?}");
    }
    stop.cancel();
    assert!(swapper.join().unwrap() > 0);
    assert!(whole > 0, "the folder was never met");
}
