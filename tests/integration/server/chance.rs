//! What looks random in the server's bytes yet is the same in every run: a small generator seeded by a request.

/// A hash of bytes (FNV-1a, 64 bits), and a generator (SplitMix64) that starts from it.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Equal bytes give equal chances.
    pub fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("smaller than a usize")
    }

    /// An id such as the API gives out: the prefix and 22 letters and digits.
    pub fn id(&mut self, prefix: &str) -> String {
        const LETTERS: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
        let letters = (0..22).map(|_| char::from(LETTERS[self.below(LETTERS.len())]));
        format!("{prefix}_01{}", letters.collect::<String>())
    }

    /// How many bytes or characters the next piece of `rest` has: mostly few, now and then all.
    pub fn piece(&mut self, rest: usize) -> usize {
        let size = match self.below(16) {
            0 => rest,
            1..=4 => 1 + self.below(48),
            _ => 1 + self.below(7),
        };
        size.clamp(1, rest.max(1))
    }
}
