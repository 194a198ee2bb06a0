//! What a session knew of files before its run was stopped: a file that it had read or written need not be read again,
//! unless it holds something else by now.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::ToolOutput;
use super::super::arguments::Arguments;
use super::{FileError, Files};

/// What no file hashes to: the session has seen the file, but not as it is.
const STALE: [u8; 32] = [0; 32];

/// Tells from a call and what came of it whether these bytes are what the session knows the file to hold.
pub type Knows = fn(&Files, Arguments<'_>, &Value, &[u8]) -> bool;

/// Takes note of a call that is done. What cannot be looked at any more is nothing that the session would have known.
pub async fn recall(files: &Arc<Files>, input: &Map<String, Value>, output: &ToolOutput, knows: Knows) {
    let Ok(said) = serde_json::from_str::<Value>(&output.content) else {
        // A result that is shown cut tells too little.
        return;
    };
    if output.is_error {
        return;
    }
    let (files, input) = (Arc::clone(files), input.clone());
    let look = move || -> Result<(), FileError> {
        let arguments = Arguments(&input);
        let path = files.path(arguments)?;
        let found = files.workspace.find(&path)?;
        let bytes = files.bytes(&path, &found)?;
        if knows(&files, arguments, &said, &bytes) {
            files.remember(&found.path, &bytes);
        } else {
            files.note(&found.path, STALE);
        }
        Ok(())
    };
    // Whether it was found or not: the session goes on with what it then knows.
    let _ = tokio::task::spawn_blocking(look).await;
}
