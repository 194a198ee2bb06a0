//! What is said of many measurements: the middle, the ends, and how it is written.

use std::time::{Duration, Instant};

/// The moment.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Measurements of one thing, in milliseconds, sorted.
#[derive(Debug, Clone, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// A sample of these.
    pub fn of(spans: impl IntoIterator<Item = Duration>) -> Self {
        Self::of_numbers(spans.into_iter().map(|span| span.as_secs_f64() * 1e3))
    }

    /// A sample of plain numbers.
    pub fn of_numbers(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = numbers.into_iter().collect();
        all.sort_by(f64::total_cmp);
        Self(all)
    }

    /// The value that this share of all lie below, from 0 to 1.
    pub fn at(&self, share: f64) -> f64 {
        assert!(!self.0.is_empty(), "nothing was measured");
        let last = self.0.len() - 1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of a short list"
        )]
        let index = (share * last as f64).round() as usize;
        self.0[index.min(last)]
    }

    /// The middle.
    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// `1.23 (1.10–1.60)`: the median, and between what the middle four fifths lie.
    pub fn spread(&self) -> String {
        format!("{} ({}–{})", short(self.median()), short(self.at(0.1)), short(self.at(0.9)))
    }
}

/// A number with as many digits as say something.
pub fn short(number: f64) -> String {
    match number {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}
