//! How much something comes to at most, and which limit holds it there.

use std::ops::{Add, Mul};

use serde::{Serialize, Serializer};

use crate::plan::LimitsPlan;
use crate::price::{Price, Usd};

/// The most that something may come to. What is not known is never nothing: it is more than any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Most<T> {
    /// So much.
    Known(T),
    /// Nobody knows what the tokens of a model cost.
    Unpriced,
    /// Nothing bounds it.
    Unbounded,
}

/// The most that something may come to, with what holds it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figure<T: Serialize> {
    /// How much.
    pub most: Most<T>,
    /// The limits without which it would be more, as `--set` names them.
    pub held_by: Vec<String>,
}

/// Model calls, tokens and dollars, each at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Worst {
    /// Model calls.
    pub turns: Figure<u64>,
    /// Tokens, in and out.
    pub tokens: Figure<u64>,
    /// What they cost.
    pub usd: Figure<Usd>,
}

/// The dearest call of several, and the dearest token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dearest {
    /// Tokens of one call.
    pub tokens: Most<u64>,
    /// What one call costs.
    pub usd: Most<Usd>,
    /// Dollars for a million tokens; `None` if nobody knows.
    pub rate: Option<f64>,
}

/// A number that sums are made of without going over.
pub trait Quantity: Copy + Ord + Serialize {
    /// None of it.
    const NONE: Self;
    /// Both together.
    #[must_use]
    fn plus(self, other: Self) -> Self;
    /// So many times as much.
    #[must_use]
    fn times(self, times: u64) -> Self;
}

impl Quantity for u64 {
    const NONE: Self = 0;

    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }

    fn times(self, times: u64) -> Self {
        self.saturating_mul(times)
    }
}

impl Quantity for Usd {
    const NONE: Self = Self::ZERO;

    fn plus(self, other: Self) -> Self {
        self.add(other)
    }

    fn times(self, times: u64) -> Self {
        self.mul(times)
    }
}

impl<T: Quantity> Most<T> {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Known(one), Self::Known(other)) => Self::Known(one.plus(other)),
            (one, other) => one.max(other),
        }
    }

    /// So many times as much.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        match self {
            _ if times == 0 => Self::Known(T::NONE),
            Self::Known(one) => Self::Known(one.times(times)),
            unknown => unknown,
        }
    }
}

impl<T: Serialize> Serialize for Most<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(number) => number.serialize(serializer),
            Self::Unpriced => serializer.serialize_str("unpriced"),
            Self::Unbounded => serializer.serialize_str("unbounded"),
        }
    }
}

impl<T: Quantity> Figure<T> {
    /// So much, and no limit holds it.
    pub fn of(most: Most<T>) -> Self {
        Self { most, held_by: Vec::new() }
    }

    fn plus(mut self, other: Self) -> Self {
        self.most = self.most.plus(other.most);
        if !matches!(self.most, Most::Known(_)) {
            // Whatever holds one of them, nothing holds the sum.
            return Self::of(self.most);
        }
        for name in other.held_by {
            if !self.held_by.contains(&name) {
                self.held_by.push(name);
            }
        }
        self
    }

    /// Whichever is less.
    fn or_less(self, other: Self) -> Self {
        if other.most < self.most { other } else { self }
    }

    fn hold(&mut self, most: Most<T>, by: &str) {
        if most < self.most {
            *self = Self { most, held_by: vec![by.to_owned()] };
        }
    }
}

impl Worst {
    /// Nothing at all.
    pub fn nothing() -> Self {
        Self::of_calls(Most::Known(0), &Dearest::NOTHING)
    }

    /// So many calls of this size.
    pub fn of_calls(calls: Most<u64>, each: &Dearest) -> Self {
        let (tokens, usd) = match calls {
            Most::Known(calls) => (each.tokens.times(calls), each.usd.times(calls)),
            Most::Unpriced | Most::Unbounded => (Most::Unbounded, Most::Unbounded),
        };
        Self { turns: Figure::of(calls), tokens: Figure::of(tokens), usd: Figure::of(usd) }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            turns: self.turns.plus(other.turns),
            tokens: self.tokens.plus(other.tokens),
            usd: self.usd.plus(other.usd),
        }
    }

    /// Of each figure whichever is less.
    #[must_use]
    pub fn or_less(self, other: Self) -> Self {
        Self {
            turns: self.turns.or_less(other.turns),
            tokens: self.tokens.or_less(other.tokens),
            usd: self.usd.or_less(other.usd),
        }
    }

    /// What is left of it under limits that are named like this; no call is dearer than `each`.
    #[must_use]
    pub fn within(mut self, limits: &LimitsPlan, name: &str, each: &Dearest) -> Self {
        if let Some(most) = limits.max_turns {
            let by = format!("{name}.max_turns");
            self.turns.hold(Most::Known(most), &by);
            self.tokens.hold(each.tokens.times(most), &by);
            self.usd.hold(each.usd.times(most), &by);
        }
        if let Some(most) = limits.max_tokens {
            let by = format!("{name}.max_tokens");
            self.tokens.hold(Most::Known(most), &by);
            let usd = each.rate.map_or(Most::Unpriced, |rate| Most::Known(Price::sum(most, rate)));
            self.usd.hold(usd, &by);
        }
        // Calls that nobody can price are not held by a limit in dollars.
        if let Some(most) = limits.max_usd.filter(|_| each.rate.is_some()) {
            self.usd.hold(Most::Known(most), &format!("{name}.max_usd"));
        }
        self
    }
}

impl Dearest {
    /// No call.
    pub const NOTHING: Self = Self { tokens: Most::Known(0), usd: Most::Known(Usd::ZERO), rate: Some(0.0) };

    /// The dearest of both.
    #[must_use]
    pub fn or_dearer(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.max(other.tokens),
            usd: self.usd.max(other.usd),
            rate: self.rate.zip(other.rate).map(|(one, other)| one.max(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(dollars: f64) -> Usd {
        Usd::from_dollars(dollars).unwrap()
    }

    /// Calls of 1,000 tokens for a cent.
    const EACH: f64 = 10.0;

    fn each() -> Dearest {
        Dearest { tokens: Most::Known(1_000), usd: Most::Known(dollars(0.01)), rate: Some(EACH) }
    }

    fn limits(max_turns: Option<u64>, max_tokens: Option<u64>, max_usd: Option<f64>) -> LimitsPlan {
        LimitsPlan { max_turns, max_tokens, max_usd: max_usd.map(dollars), ..LimitsPlan::default() }
    }

    #[test]
    fn what_is_not_known_is_more_than_any_number() {
        let known = Most::Known(7);
        assert_eq!(known.plus(Most::Unpriced).plus(Most::Known(1)), Most::Unpriced);
        assert_eq!(known.plus(Most::Unbounded).plus(Most::Unpriced), Most::Unbounded);
        assert_eq!(Most::<u64>::Unbounded.times(0), Most::Known(0));
        assert_eq!(Most::Known(u64::MAX).times(2), Most::Known(u64::MAX));
        assert_eq!(Worst::of_calls(Most::Unbounded, &each()).usd.most, Most::Unbounded);
    }

    #[test]
    fn a_limit_of_calls_holds_tokens_and_dollars_too() {
        let worst =
            Worst::of_calls(Most::Unbounded, &each()).within(&limits(Some(3), None, None), "l", &each());
        assert_eq!(worst.turns.most, Most::Known(3));
        assert_eq!(
            worst.tokens,
            Figure { most: Most::Known(3_000), held_by: vec!["l.max_turns".to_owned()] }
        );
        assert_eq!(worst.usd.most, Most::Known(dollars(0.03)));
    }

    #[test]
    fn the_tightest_limit_is_named_and_a_loose_one_is_not() {
        let worst = Worst::of_calls(Most::Known(10), &each());
        assert_eq!(worst.clone().within(&limits(Some(10), Some(10_000), Some(0.1)), "l", &each()), worst);
        let tight = worst.within(&limits(Some(9), Some(5_000), Some(0.04)), "l", &each());
        assert_eq!(tight.turns.held_by, ["l.max_turns"]);
        assert_eq!(
            (tight.tokens.most, tight.tokens.held_by),
            (Most::Known(5_000), vec!["l.max_tokens".to_owned()])
        );
        assert_eq!(
            (tight.usd.most, tight.usd.held_by),
            (Most::Known(dollars(0.04)), vec!["l.max_usd".to_owned()])
        );
    }

    #[test]
    fn a_sum_is_held_by_what_holds_its_parts_unless_one_is_not_held() {
        let held = |most, by: &str| Figure { most: Most::Known(most), held_by: vec![by.to_owned()] };
        assert_eq!(held(1, "a").plus(held(2, "b")).plus(held(3, "a")).held_by, ["a", "b"]);
        assert_eq!(held(1, "a").plus(Figure::of(Most::Unbounded)), Figure::of(Most::Unbounded));
    }

    #[test]
    fn calls_without_a_price_stay_unpriced_under_every_limit() {
        let each = Dearest { usd: Most::Unpriced, rate: None, ..each() };
        let worst = Worst::of_calls(Most::Known(10), &each);
        let held = worst.within(&limits(Some(2), Some(5), Some(1.0)), "l", &each);
        assert_eq!((held.tokens.most, held.usd.most), (Most::Known(5), Most::Unpriced));
    }
}
