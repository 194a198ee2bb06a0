//! Whether a recording can be played: asked before one is kept of a run that did not go through without a break.

use super::arguments::FailOn;
use super::assembly::{self, Beginning, Place};
use super::launch::{Play, Scenario};
use super::outcome;
use super::people::Terminal;
use super::play;
use super::refusal::Granted;
use crate::diagnostic::Look;
use crate::effects::{Replay, Strictness};
use crate::event::Recording;
use crate::session::Stop;

/// Plays a recording once, in a folder that is gone afterwards. `Some` is why it cannot be played.
pub(super) async fn unplayable(scenario: &Scenario, recording: &Recording) -> Granted<Option<String>> {
    let beginning = Beginning {
        play: Play::Replay(Box::new(Replay::of(recording.clone(), Strictness::Total))),
        seed: None,
        place: Place::OwnFolder,
        listeners: Vec::new(),
        terminal: Terminal::Nobody,
        stop: Stop::default(),
    };
    let ready = assembly::prepare(scenario, beginning).await?;
    let played = play::play(ready, scenario, FailOn::Phase, None).await?;
    played.folder.discard();
    let is_played = played.end.halt.is_none() && played.end.broken.is_none();
    Ok((!is_played).then(|| outcome::failure(&played.end, scenario, Look::Plain)))
}
