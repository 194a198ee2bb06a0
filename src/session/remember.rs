//! How a session begins with what earlier runs and files say, and keeps what it says for later ones.
//!
//! Reading is an effect: a replay and a resumed run begin with what the recording says was read. Writing is none: the
//! file is made of the conversation alone, and a replay leaves it as it is.

use super::{PromptEnd, Session, ask};
use crate::chat::{Message, Part};
use crate::context::{Remembered, Sources};
use crate::effects::{Asked, Busy, Halt, Ran};
use crate::event::{EffectId, EffectKind, Happening, Policy};

impl Session {
    /// Begins with what is remembered, once. `Some` ends the prompt: it cannot be read.
    pub(super) async fn remember(&mut self, busy: &Busy) -> Result<Option<PromptEnd>, Halt> {
        let Some(sources) = self.context.sources().filter(|_| !self.has_remembered).cloned() else {
            return Ok(None);
        };
        let phase = self.identity.place.phase.as_ref().expect("a session is in a phase");
        let path = &self.identity.path;
        let name = path.strip_prefix(phase.as_str()).unwrap_or(path).trim_start_matches('/');
        let id = EffectId::engine(phase, &format!("remember.{name}"), 1);
        let asked = Asked::engine(id.clone(), EffectKind::Render, Policy::Tape);
        let result = self.stage.effects.perform(busy, asked, |_| read(sources)).await?;
        let result: Result<Remembered, String> =
            serde_json::from_value(result).map_err(|error| Halt::Unreadable(id, error.to_string()))?;
        let remembered = match result {
            Ok(remembered) => remembered,
            Err(reason) => return Ok(Some(ask::failed(reason, None))),
        };
        self.has_remembered = true;
        if !remembered.memory.is_empty() {
            let parts = remembered.memory.into_iter().map(Part::text).collect();
            let memory = Message { speaker: crate::chat::Speaker::User, parts };
            self.said.push(ask::segment(self.said.len(), &memory));
            self.context.pin(memory);
        }
        for message in remembered.messages {
            self.push(message);
        }
        Ok(None)
    }

    /// Keeps the conversation for later runs, if the mount plan says so.
    pub(super) async fn keep_for_later(&self) {
        let Some(sources) = self.context.sources().filter(|_| !self.stage.effects.is_replay()).cloned()
        else {
            return;
        };
        let messages = self.context.messages().to_vec();
        let kept = tokio::task::spawn_blocking(move || sources.keep(&messages)).await;
        if let Err(trouble) = kept.expect("writing a file does not panic") {
            self.tell(Happening::Notice { text: format!("{}: {trouble}", self.identity.path) });
        }
    }
}

async fn read(sources: Sources) -> Option<Ran> {
    let read = tokio::task::spawn_blocking(move || sources.load()).await;
    let read = read.expect("reading files does not panic");
    Some(Ran::plain(serde_json::to_value(read).expect("what is remembered holds only plain data")))
}
