//! `context-simple`: the whole conversation in memory, with an estimate of its size and a bound that is honoured.

use serde_json::{Map, Value};

use super::{ContextFull, ContextManager};
use crate::chat::{Message, Usage};
use crate::plan::{KeyInfo, KeyShape, ModuleInfo, ModuleKind};

/// What mount plans may say of it. Compaction is not built in: the keys of the original that steer it are unknown here.
pub const INFO: ModuleInfo = ModuleInfo {
    name: "context-simple",
    aliases: &[],
    kind: ModuleKind::Context,
    summary: "keeps the whole conversation in memory",
    keys: &[KeyInfo {
        name: "max_tokens",
        shape: KeyShape::Integer,
        default: "200000",
        doc: "bound on the estimated size of the conversation; a session that outgrows it fails with this reason",
    }],
    tools: &[],
    credential: None,
};

const MAX_TOKENS: u64 = 200_000;
/// Bytes of JSON a token stands for, as long as no provider has said how many there were.
const BYTES_PER_TOKEN: u64 = 4;

/// The conversation of one session.
#[derive(Debug)]
pub struct Simple {
    messages: Vec<Message>,
    bound: u64,
    /// Bytes of all messages.
    bytes: u64,
    /// Bytes and tokens of the last request that a provider counted.
    counted: Option<(u64, u64)>,
}

impl Simple {
    /// An empty conversation with the bound of this configuration.
    pub fn new(config: &Map<String, Value>) -> Self {
        let bound = config.get("max_tokens").and_then(Value::as_u64).unwrap_or(MAX_TOKENS);
        Self { messages: Vec::new(), bound, bytes: 0, counted: None }
    }
}

impl ContextManager for Simple {
    fn push(&mut self, message: Message) {
        self.bytes += serde_json::to_string(&message).map_or(0, |text| text.len() as u64);
        self.messages.push(message);
    }

    fn view(&self) -> Result<&[Message], ContextFull> {
        let estimate = self.estimate();
        if estimate > self.bound {
            return Err(ContextFull { estimate, bound: self.bound });
        }
        Ok(&self.messages)
    }

    fn learn(&mut self, usage: Usage) {
        if usage.total_input() > 0 {
            self.counted = Some((self.bytes, usage.total_input()));
        }
    }

    fn estimate(&self) -> u64 {
        match self.counted {
            Some((bytes, tokens)) => tokens + (self.bytes - bytes) / BYTES_PER_TOKEN,
            None => self.bytes / BYTES_PER_TOKEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_the_provider_and_the_bound_holds() {
        let config = Map::from_iter([("max_tokens".to_owned(), Value::from(1_000))]);
        let mut context = Simple::new(&config);
        context.push(Message::user("x".repeat(400)));
        assert!(context.estimate() >= 100);
        context.learn(Usage { input: 900, ..Usage::default() });
        assert_eq!(context.estimate(), 900);
        assert_eq!(context.view().unwrap().len(), 1);
        context.push(Message::user("y".repeat(800)));
        assert!(context.view().unwrap_err().to_string().contains("max_tokens of 1000"));
    }
}
