//! Which failed calls are tried again, and after how long.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;

use super::{CallError, ErrorClass, RetryPolicy};
use crate::clock::Timestamp;
use crate::limit;

/// How far the wait a server asks for is stretched at most, so that many sessions told the same do not return at once.
const FLOOR_SPREAD: f64 = 0.25;

impl RetryPolicy {
    /// The wait before the next attempt, after attempt number `attempt` (from 1) failed with `error`; `None` if there
    /// is to be no other. `jitter` is a number from 0 to below 1 that spreads the waits: half to one and a half of the
    /// policy's own, and never less than what the server asked for.
    pub fn delay(&self, attempt: u32, error: &CallError, jitter: f64) -> Option<Duration> {
        if attempt > self.max_retries || !may_help(error) || asks_too_long(error).is_some() {
            return None;
        }
        let jitter = jitter.clamp(0.0, 1.0);
        let doubled = 2f64.powi(attempt.saturating_sub(1).min(62) as i32);
        let own = (self.first_delay.as_secs_f64() * doubled).min(self.max_delay.as_secs_f64());
        let factor = if error.class == ErrorClass::Overloaded { self.overloaded_factor } else { 1.0 };
        let own = own * factor * (0.5 + jitter);
        let floor = error.retry_after_ms.unwrap_or(0) as f64 / 1_000.0;
        let spread = (floor * FLOOR_SPREAD).min(self.max_delay.as_secs_f64()) * jitter;
        Some(Duration::try_from_secs_f64(own.max(floor + spread)).unwrap_or(Duration::MAX))
    }
}

/// How long the server asks to wait, if that is longer than anybody waits.
pub fn asks_too_long(error: &CallError) -> Option<Duration> {
    error.retry_after_ms.map(Duration::from_millis).filter(|wait| *wait > limit::RETRY_AFTER)
}

/// Whether the same request may succeed later.
fn may_help(error: &CallError) -> bool {
    if matches!(error.class, ErrorClass::Cancelled | ErrorClass::Script) {
        return false;
    }
    if let Some(said) = error.should_retry {
        return said;
    }
    match error.class {
        ErrorClass::RateLimit
        | ErrorClass::Overloaded
        | ErrorClass::Server
        | ErrorClass::Transport
        | ErrorClass::Timeout => true,
        ErrorClass::Credential
        | ErrorClass::Billing
        | ErrorClass::Request
        | ErrorClass::Protocol
        | ErrorClass::Script
        | ErrorClass::Cancelled => matches!(error.status, Some(408 | 409)),
    }
}

/// What a response's headers say about trying again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Advice {
    /// How long to wait. Milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Whether to try at all.
    pub should_retry: Option<bool>,
    /// How long until an allowance that is used up is whole again. Milliseconds.
    pub allowance_ms: Option<u64>,
}

impl Advice {
    /// Reads `retry-after-ms`, `retry-after` (seconds, or a date measured from the response's own `date`), `x-should-retry`
    /// and when allowances that are used up are whole again (`anthropic-ratelimit-…`, `x-ratelimit-…`). Names are in lower
    /// case. What makes no sense is as good as absent.
    pub fn from_headers(headers: &[(String, String)]) -> Self {
        let find = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
        let millis = find("retry-after-ms").and_then(|text| whole_millis(text.parse().ok()?));
        let seconds = || whole_millis(find("retry-after")?.parse::<f64>().ok()? * 1_000.0);
        let date = || millis_between(find("date")?, find("retry-after")?);
        let should_retry = match find("x-should-retry") {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        };
        let allowance_ms = headers.iter().filter_map(|(name, value)| used_up(name, value, find)).max();
        Self { retry_after_ms: millis.or_else(seconds).or_else(date), should_retry, allowance_ms }
    }
}

/// How long until the allowance whose remainder this header tells is whole again, if nothing of it is left.
fn used_up<'a>(name: &str, value: &str, find: impl Fn(&str) -> Option<&'a str>) -> Option<u64> {
    let is_allowance = name.starts_with("anthropic-ratelimit-") || name.starts_with("x-ratelimit-");
    if !is_allowance || !name.contains("remaining") || value.trim() != "0" {
        return None;
    }
    let reset = find(&name.replace("remaining", "reset"))?;
    // Some write `6m0s` or `1.5s`, some a number of seconds, some a moment.
    let span = || parse_span(reset);
    let moment = || {
        let now = moment_of(find("date")?)?;
        let then: Timestamp = reset.parse().ok()?;
        u64::try_from(then.as_millisecond() - now.as_millisecond()).ok()
    };
    span().or_else(moment)
}

/// Milliseconds of `6m0s`, `1.5s`, `20ms` or `3`.
fn parse_span(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return whole_millis(seconds * 1_000.0);
    }
    let (mut millis, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        millis += amount
            * match &rest[..unit] {
                "ms" => 1.0,
                "s" => 1_000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    whole_millis(millis)
}

fn whole_millis(millis: f64) -> Option<u64> {
    (millis.is_finite() && millis >= 0.0).then(|| millis.ceil() as u64)
}

fn millis_between(now: &str, then: &str) -> Option<u64> {
    let (now, then) = (moment_of(now)?, moment_of(then)?);
    u64::try_from(then.as_millisecond() - now.as_millisecond()).ok()
}

/// The moment of an HTTP date.
fn moment_of(text: &str) -> Option<Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    PARSER.parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        max_retries: 5,
        first_delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(60),
        overloaded_factor: 10.0,
    };

    fn error(class: ErrorClass) -> CallError {
        CallError::new(class, "x")
    }

    fn seconds(attempt: u32, error: &CallError, jitter: f64) -> Option<f64> {
        POLICY.delay(attempt, error, jitter).map(|delay| delay.as_secs_f64())
    }

    #[test]
    fn waits_double_up_to_the_bound_and_end() {
        let error = error(ErrorClass::Server);
        let waits: Vec<_> = (1..=6).map(|attempt| seconds(attempt, &error, 0.5)).collect();
        assert_eq!(waits, [Some(1.0), Some(2.0), Some(4.0), Some(8.0), Some(16.0), None]);
        let patient = RetryPolicy { max_retries: 100, ..POLICY };
        assert_eq!(patient.delay(100, &error, 0.5), Some(Duration::from_secs(60)));
        assert_eq!(seconds(1, &error, 0.0), Some(0.5));
        assert_eq!(seconds(1, &error, 0.75), Some(1.25));
    }

    #[test]
    fn an_overloaded_server_is_given_more_time() {
        assert_eq!(seconds(2, &error(ErrorClass::Overloaded), 0.5), Some(20.0));
    }

    #[test]
    fn only_failures_that_pass_are_tried_again() {
        use ErrorClass::*;
        for class in [RateLimit, Overloaded, Server, Transport, Timeout] {
            assert!(POLICY.delay(1, &error(class), 0.5).is_some(), "{class:?}");
        }
        for class in [Credential, Billing, Request, Protocol, Script, Cancelled] {
            assert!(POLICY.delay(1, &error(class), 0.5).is_none(), "{class:?}");
        }
        for status in [408, 409] {
            let error = CallError { status: Some(status), ..error(Request) };
            assert!(POLICY.delay(1, &error, 0.5).is_some(), "{status}");
        }
    }

    #[test]
    fn the_servers_word_wins() {
        let no = CallError { should_retry: Some(false), ..error(ErrorClass::Overloaded) };
        let yes = CallError { should_retry: Some(true), ..error(ErrorClass::Request) };
        assert_eq!(POLICY.delay(1, &no, 0.5), None);
        assert!(POLICY.delay(1, &yes, 0.5).is_some());
        let stopped = CallError { should_retry: Some(true), ..error(ErrorClass::Cancelled) };
        assert_eq!(POLICY.delay(1, &stopped, 0.5), None);
    }

    #[test]
    fn retry_after_is_a_floor_not_a_cap() {
        let floor = CallError { retry_after_ms: Some(90_000), ..error(ErrorClass::RateLimit) };
        assert_eq!(seconds(1, &floor, 0.0), Some(90.0));
        assert!(seconds(1, &floor, 0.9).unwrap() > 90.0);
        let short = CallError { retry_after_ms: Some(10), ..error(ErrorClass::RateLimit) };
        assert_eq!(seconds(3, &short, 0.5), Some(4.0));
    }

    #[test]
    fn a_wait_longer_than_anybody_waits_ends_the_attempts() {
        let asks = |seconds: u64| CallError {
            retry_after_ms: Some(seconds * 1_000),
            ..error(ErrorClass::RateLimit)
        };
        assert!(POLICY.delay(1, &asks(600), 0.0).is_some());
        assert_eq!(POLICY.delay(1, &asks(601), 0.0), None);
        assert_eq!(asks_too_long(&asks(7_200)), Some(Duration::from_secs(7_200)));
    }

    #[test]
    fn an_allowance_that_is_used_up_says_when_it_is_whole_again() {
        let wait = |headers: &[(&str, &str)]| advice(headers).allowance_ms;
        let date = ("date", "Wed, 21 Oct 2026 07:28:00 GMT");
        let left = ("anthropic-ratelimit-input-tokens-remaining", "0");
        let reset = ("anthropic-ratelimit-input-tokens-reset", "2026-10-21T07:28:30Z");
        assert_eq!(wait(&[left, reset, date]), Some(30_000));
        assert_eq!(wait(&[left, reset]), None, "without the server's own time its moments mean nothing");
        assert_eq!(wait(&[("anthropic-ratelimit-input-tokens-remaining", "12"), reset, date]), None);
        let requests = ("x-ratelimit-remaining-requests", "0");
        for (text, millis) in [("6m0s", 360_000), ("1.5s", 1_500), ("20ms", 20), ("3", 3_000)] {
            assert_eq!(wait(&[requests, ("x-ratelimit-reset-requests", text)]), Some(millis), "{text}");
        }
        assert_eq!(wait(&[requests, ("x-ratelimit-reset-requests", "soon")]), None);
    }

    fn advice(headers: &[(&str, &str)]) -> Advice {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Advice::from_headers(&headers)
    }

    #[test]
    fn headers_speak_in_milliseconds_seconds_or_dates() {
        let wait = |headers: &[(&str, &str)]| advice(headers).retry_after_ms;
        assert_eq!(wait(&[("retry-after", "9"), ("retry-after-ms", "1500")]), Some(1_500));
        assert_eq!(wait(&[("retry-after", "9"), ("retry-after-ms", "soon")]), Some(9_000));
        assert_eq!(wait(&[("retry-after", "1.25")]), Some(1_250));
        let then = ("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT");
        assert_eq!(wait(&[then, ("date", "Wed, 21 Oct 2026 07:28:00 GMT")]), Some(30_000));
        assert_eq!(wait(&[then, ("date", "Wed, 21 Oct 2026 07:29:00 GMT")]), None);
        assert_eq!(wait(&[then]), None);
        for garbage in ["-5", "NaN", "inf", "tomorrow", ""] {
            assert_eq!(wait(&[("retry-after", garbage)]), None, "{garbage}");
        }
        assert_eq!(advice(&[("x-should-retry", "false")]).should_retry, Some(false));
        assert_eq!(advice(&[("x-should-retry", "true")]).should_retry, Some(true));
        assert_eq!(advice(&[("x-should-retry", "maybe")]).should_retry, None);
    }
}
