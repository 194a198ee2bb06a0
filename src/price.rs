//! What the tokens of a model cost: exact sums of money, the built-in prices with their date, and which model has which.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};

use serde::{Deserialize, Serialize};

/// A sum of US dollars, to the trillionth: what tokens cost adds up exactly, in whatever order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct Usd(u64);

const TRILLION: f64 = 1e12;

/// More than anybody spends, and far from where sums overflow.
const MOST_DOLLARS: f64 = 1e6;

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many dollars; `None` if it is negative, no number, or more than a million.
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        (0.0..=MOST_DOLLARS).contains(&dollars).then(|| Self((dollars * TRILLION).round() as u64))
    }

    /// In dollars.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / TRILLION
    }
}

impl From<Usd> for f64 {
    fn from(sum: Usd) -> Self {
        sum.dollars()
    }
}

impl TryFrom<f64> for Usd {
    type Error = String;

    fn try_from(dollars: f64) -> Result<Self, String> {
        Self::from_dollars(dollars).ok_or_else(|| format!("{dollars} is no sum of dollars"))
    }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Usd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Usd {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        sums.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Usd {
    /// Cents from a dollar on, below it as many digits as say something.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dollars() {
            dollars if dollars >= 1.0 || self.0 == 0 => write!(f, "${dollars:.2}"),
            dollars if dollars >= 0.0001 => write!(f, "${dollars:.4}"),
            _ => f.write_str("<$0.0001"),
        }
    }
}

/// What the tokens of one model cost, in dollars for a million.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input that no cache has to do with.
    pub input: f64,
    /// Output.
    pub output: f64,
    /// Input read from the provider's cache.
    pub cache_read: f64,
    /// Input written to the provider's cache.
    pub cache_write: f64,
}

impl Price {
    /// What so many tokens cost at so many dollars for a million.
    pub fn sum(tokens: u64, per_million: f64) -> Usd {
        // A dollar for a million tokens is a millionth of a dollar for one.
        let each = (per_million * TRILLION / 1e6).round().max(0.0) as u64;
        Usd(each.saturating_mul(tokens))
    }

    /// The most that a token of input can cost.
    pub fn dearest_input(&self) -> f64 {
        self.input.max(self.cache_read).max(self.cache_write)
    }
}

/// Prices by model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prices(BTreeMap<String, Price>);

#[derive(Deserialize)]
struct BuiltIn {
    as_of: String,
    #[serde(rename = "usd_per_million_tokens")]
    prices: Prices,
}

fn built_in() -> BuiltIn {
    serde_json::from_str(include_str!("price/built_in.json")).expect("a test reads the built-in table")
}

impl Prices {
    /// The built-in prices.
    pub fn built_in() -> Self {
        built_in().prices
    }

    /// The day of which the built-in prices are.
    pub fn built_in_as_of() -> String {
        built_in().as_of
    }

    /// These prices, and those of `more` in place of any for the same model.
    #[must_use]
    pub fn with(mut self, more: impl IntoIterator<Item = (String, Price)>) -> Self {
        self.0.extend(more);
        self
    }

    /// What a model costs: by its name, or by the name that it is a dated snapshot of. `None` is unpriced, which is not free.
    pub fn of(&self, model: &str) -> Option<Price> {
        self.0.get(model).or_else(|| self.0.get(undated(model)?)).copied()
    }

    /// Only those of these models, under the names the models have.
    #[must_use]
    pub fn only(&self, models: impl IntoIterator<Item = String>) -> Self {
        let priced = |model: String| self.of(&model).map(|price| (model, price));
        Self(models.into_iter().filter_map(priced).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The models that have one.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// `claude-opus-4-5` of `claude-opus-4-5-20251101`.
fn undated(model: &str) -> Option<&str> {
    let (name, date) = model.rsplit_once('-')?;
    (date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_whole_and_dated() {
        let prices = Prices::built_in();
        assert!(prices.models().count() > 5);
        for model in prices.models() {
            let price = prices.of(model).unwrap();
            assert!(price.cache_read < price.input && price.input < price.cache_write, "{model}");
            assert!(price.cache_write < price.output, "{model}");
        }
        assert!(Prices::built_in_as_of().starts_with("20"));
    }

    #[test]
    fn a_snapshot_costs_what_its_model_costs_and_an_unknown_model_is_unpriced() {
        let prices = Prices::built_in();
        assert_eq!(prices.of("claude-sonnet-4-5-20250929"), prices.of("claude-sonnet-4-5"));
        for unknown in ["claude-sonnet-4-5-latest", "claude-sonnet-4", "gpt-x", ""] {
            assert_eq!(prices.of(unknown), None, "{unknown}");
        }
        let own = Price { input: 1.0, output: 2.0, cache_read: 0.0, cache_write: 0.0 };
        let prices = prices.with([("gpt-x".to_owned(), own)]);
        assert_eq!(prices.of("gpt-x"), Some(own));
        assert_eq!(prices.only(["gpt-x".to_owned(), "y".to_owned()]).models().collect::<Vec<_>>(), ["gpt-x"]);
    }

    #[test]
    fn money_adds_up_exactly_and_is_read_back_as_it_was_written() {
        let sums: Usd = (0..1_000_000).map(|_| Price::sum(1, 0.075)).sum();
        assert_eq!(sums, Usd::from_dollars(0.075).unwrap());
        let json = serde_json::to_string(&Price::sum(1_234_567, 3.75)).unwrap();
        assert_eq!(json, "4.62962625");
        assert_eq!(serde_json::from_str::<Usd>(&json).unwrap(), Price::sum(1_234_567, 3.75));
        assert!(serde_json::from_str::<Usd>("-1").is_err());
        let shown = |dollars: f64| Usd::from_dollars(dollars).unwrap().to_string();
        assert_eq!(
            [shown(0.0), shown(0.000_01), shown(0.012_34), shown(12.345)],
            ["$0.00", "<$0.0001", "$0.0123", "$12.35"].map(str::to_owned)
        );
    }
}
