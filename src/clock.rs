//! What time it is: the only caller of the system clock, and clocks that tests and recordings drive.

use std::sync::Mutex;
use std::time::{Duration, Instant};

pub use jiff::Timestamp;

/// A source of the present moment. Everything below the command line is handed one, or a moment that came from one.
pub trait Clock: Send + Sync {
    /// The present moment, UTC, to the microsecond.
    fn now(&self) -> Timestamp;
}

/// The machine's clock, held back from ever going backwards within the process.
#[derive(Debug, Default)]
pub struct SystemClock {
    last: Mutex<Option<Timestamp>>,
    /// How far it shows less than the machine's clock.
    behind: jiff::SignedDuration,
}

impl SystemClock {
    /// A clock that goes on from a moment of the past as if no time had gone by since.
    pub fn going_on_from(moment: Timestamp) -> Self {
        let behind = Self::default().now().duration_since(moment);
        Self { behind, ..Self::default() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        let now = micros(now.checked_sub(self.behind).unwrap_or(now));
        let mut last = self.last.lock().expect("no code panics while it holds the clock");
        let now = last.map_or(now, |last| last.max(now));
        *last = Some(now);
        now
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { now: Mutex::new(micros(start)) }
    }

    /// Moves the clock forward to `to`; never back.
    pub fn advance_to(&self, to: Timestamp) {
        let mut now = self.now.lock().expect("no code panics while it holds the clock");
        *now = (*now).max(micros(to));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().expect("no code panics while it holds the clock")
    }
}

/// Measures elapsed real time, for people (wall time in tables), never for a decision a model sees.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since `start`.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The instant of the process's own clock that lies this far ahead, for deadlines that only real time decides.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn instant_in(span: Duration) -> Instant {
    Instant::now() + span
}

/// Cuts a moment to microseconds, the precision in which the runner stores times.
pub fn micros(at: Timestamp) -> Timestamp {
    let below = at.subsec_nanosecond() % 1_000;
    // Towards zero, as seconds and their parts have one sign; so the cut moment is never outside the range.
    Timestamp::new(at.as_second(), at.subsec_nanosecond() - below).unwrap_or(at)
}

/// `at` plus `span`, held at the end of time instead of overflowing.
pub fn later(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// A duration as people write it: `5m`, `1h30m`, `250ms`. `None` for anything else, bare numbers included.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let part = match &rest[..unit] {
            "ms" => Duration::from_millis(amount),
            "s" => Duration::from_secs(amount),
            "m" => Duration::from_secs(amount.checked_mul(60)?),
            "h" => Duration::from_secs(amount.checked_mul(3_600)?),
            "d" => Duration::from_secs(amount.checked_mul(86_400)?),
            _ => return None,
        };
        rest = &rest[unit..];
        total = total.checked_add(part)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_time_can_be_cut() {
        let end = micros(later(Timestamp::UNIX_EPOCH, Duration::MAX));
        assert_eq!(end.to_string(), "9999-12-30T22:00:00.999999Z", "as it is stored");
        let before = Timestamp::new(-1, -1_999).unwrap();
        assert_eq!(micros(before), Timestamp::from_microsecond(before.as_microsecond()).unwrap());
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "5", "5 s", "s", "-5s", "1y", "99999999999999999999s", "5m3"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
