//! What searches cannot do: come to anything the file tools do not, or tell a secret.

use std::os::unix::fs::symlink;

use runner::tool::search;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Place, SECRET, json_of, nix_mkfifo, refused};

#[tokio::test]
async fn searches_meet_no_link_no_device_and_nothing_of_the_runner() {
    let place = Place::new();
    let root = place.root().to_owned();
    place.write("dir/file", "untouched\n");
    place.write(".beads/issues.db", "untouched");
    place.write(".runner/journal.jsonl", "untouched");
    place.write(".runner-workspace", "untouched");
    place.write("binary", b"untouched\0");
    symlink("../outside", root.join("link-dir")).unwrap();
    symlink("../outside/target", root.join("link-file")).unwrap();
    symlink("/proc/self/fd", root.join("link-proc")).unwrap();
    symlink("dir", root.join("link-inside")).unwrap();
    symlink("..", root.join("dir/up")).unwrap();
    nix_mkfifo(&root.join("fifo"));
    nix_mkfifo(&root.join("dir/.gitignore"));
    std::fs::File::create(root.join("huge")).unwrap().set_len(1 << 40).unwrap();
    std::fs::write(root.join("dir/bell\u{7}"), "untouched").unwrap();
    let tools = place.search(&json!({}));
    let found = json_of(&tools.grep(json!({"pattern": "untouched", "output_mode": "content"})).await);
    assert_eq!(found["results"], "dir/file:1:untouched");
    assert_eq!(found["warning"], "1 larger than 10485760 bytes were passed over");
    let names = json_of(&tools.glob(json!({"pattern": "*", "type": "any"})).await);
    assert_eq!(names["matches"], json!(["binary", "dir/", "dir/file", "huge"]));
    let up = json_of(&tools.glob(json!({"pattern": "**/*", "path": "dir/up/dir"})).await);
    assert_eq!(up["matches"], json!(["dir/file"]), "a link that is named and stays inside is followed");
    for pattern in ["../**", "/etc/*", "../outside/*"] {
        let none = json_of(&tools.glob(json!({"pattern": pattern})).await);
        assert_eq!(none["total"], 0, "{pattern}");
    }
}

#[tokio::test]
async fn searches_keep_to_the_lists_of_the_configuration() {
    let place = Place::new();
    place.write("open/a.txt", "word");
    place.write("shut/b.txt", "word");
    symlink("../shut", place.root().join("open/link")).unwrap();
    let tools = place.search(&json!({"allowed_read_paths": ["open"]}));
    for path in [".", "open", "shut", "open/link", "shut/b.txt"] {
        let files = json_of(&tools.grep(json!({"pattern": "word", "path": path})).await);
        let names = json_of(&tools.glob(json!({"pattern": "*.txt", "path": path})).await);
        let allowed = path == "." || path == "open";
        assert_eq!(files["results"], if allowed { "open/a.txt" } else { "" }, "{path}");
        assert_eq!(names["total"], u32::from(allowed), "{path}");
    }
    let outside = search::build(json!({"working_dir": "../outside"}).as_object().unwrap(), place.workspace);
    assert!(outside.err().unwrap().to_string().contains("outside the workspace"));
}

#[tokio::test]
async fn searches_leave_out_what_rules_name_unless_asked() {
    let place = Place::new();
    place.write(".gitignore", "*.log\n/made\n!kept.log\n");
    place.write("src/.ignore", "gen.rs\n");
    for path in
        ["a.log", "kept.log", "made/x.rs", "src/made/y.rs", "src/gen.rs", "src/main.rs", "target/z.rs"]
    {
        place.write(path, "word\n");
    }
    let tools = place.search(&json!({}));
    let seen = json_of(&tools.grep(json!({"pattern": "word"})).await);
    assert_eq!(seen["results"], "kept.log\nsrc/made/y.rs\nsrc/main.rs");
    let below = json_of(&tools.glob(json!({"pattern": "*.{rs,log}", "path": "src"})).await);
    assert_eq!(below["matches"], json!(["src/made/y.rs", "src/main.rs"]));
    let all = json_of(&tools.grep(json!({"pattern": "word", "include_ignored": true})).await);
    assert_eq!(all["files"], 7);
    let rust =
        json_of(&tools.grep(json!({"pattern": "WORD", "-i": true, "type": "rust", "head_limit": 1})).await);
    assert_eq!(rust["results"], "src/made/y.rs");
    assert_eq!(rust["warning"], "there are more; go on with offset 1 or use a narrower pattern");
    let but = json_of(&tools.glob(json!({"pattern": "**/*.rs", "exclude": ["made"]})).await);
    assert_eq!(but["matches"], json!(["src/main.rs"]));
    refused(&tools.grep(json!({"pattern": "("})).await, "pattern is no valid pattern");
    refused(&tools.grep(json!({"pattern": "x", "type": "nonsense"})).await, "there is no file type nonsense");
    refused(&tools.glob(json!({"pattern": "[a"})).await, "pattern is no valid pattern");
}

#[tokio::test]
async fn searches_show_and_match_no_secret() {
    let place = Place::new();
    place.write("env", format!("KEY={SECRET} in {}\n", place.root().display()));
    let tools = place.search(&json!({}));
    let shown = tools.grep(json!({"pattern": "KEY", "output_mode": "content"})).await;
    assert!(!shown.content.contains(SECRET) && shown.content.contains("in /work"), "{shown:?}");
    let guessed = json_of(&tools.grep(json!({"pattern": &SECRET[..9]})).await);
    assert_eq!(
        guessed["files"], 0,
        "a search that finds a secret by its beginning tells it letter by letter"
    );
}

#[tokio::test]
async fn a_search_that_is_cancelled_says_so() {
    let place = Place::new();
    place.write("a", "word");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let tools = place.search(&json!({}));
    refused(&tools.call_until("grep", json!({"pattern": "word"}), cancel).await, "was stopped");
}
