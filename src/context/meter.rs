//! How many tokens a conversation is: counted by the provider where it has counted, else estimated from its bytes.

use crate::chat::Usage;

/// Bytes of JSON a token stands for, as long as no provider has said how many there were.
const BYTES_PER_TOKEN: u64 = 4;

/// What is known of the size of a token.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Tokens of what goes with every request besides the conversation: system prompt and tools.
    overhead: u64,
    /// Bytes and tokens of the last request that a provider counted.
    counted: Option<(u64, u64)>,
}

impl Meter {
    /// A request whose conversation had so many bytes was counted.
    pub(super) fn learn(&mut self, bytes: u64, usage: Usage) {
        let tokens = usage.total_input();
        if tokens == 0 {
            return;
        }
        if self.counted.is_none() {
            self.overhead = tokens.saturating_sub(bytes / BYTES_PER_TOKEN);
        }
        self.counted = Some((bytes, tokens));
    }

    /// The tokens of a request whose conversation has so many bytes.
    pub(super) fn estimate(&self, bytes: u64) -> u64 {
        match self.counted {
            None => bytes / BYTES_PER_TOKEN,
            Some((counted, tokens)) if bytes >= counted => tokens + (bytes - counted) / BYTES_PER_TOKEN,
            Some((counted, tokens)) => {
                let overhead = self.overhead.min(tokens);
                let said = u128::from(tokens - overhead) * u128::from(bytes) / u128::from(counted);
                overhead + u64::try_from(said).expect("a part of a u64 is one")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(tokens: u64) -> Usage {
        Usage { input: tokens, ..Usage::default() }
    }

    #[test]
    fn bytes_until_the_provider_has_counted() {
        let mut meter = Meter::default();
        assert_eq!(meter.estimate(400), 100);
        meter.learn(400, Usage::default());
        assert_eq!(meter.estimate(400), 100, "no count is no news");
        meter.learn(
            400,
            Usage { input: 100, cache_read: 700, cache_write: 100, output: 9, ..Usage::default() },
        );
        assert_eq!(meter.estimate(400), 900);
        assert_eq!(meter.estimate(800), 1_000);
    }

    #[test]
    fn what_is_not_the_conversation_does_not_shrink_with_it() {
        let mut meter = Meter::default();
        meter.learn(400, input(1_100));
        meter.learn(4_000, input(3_000));
        assert_eq!(meter.estimate(2_000), 1_000 + 1_000);
        assert_eq!(meter.estimate(0), 1_000);
    }
}
