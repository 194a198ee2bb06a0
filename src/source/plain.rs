//! What an unquoted word of YAML means: the core schema of YAML 1.2, and where this program is stricter.
//!
//! Stricter in three ways, each against a value that one reader takes for another: only `true` and `false` are
//! booleans, a number with needless zeros in front is a string, and a number that no value can hold is refused.

use super::node::NodeValue;

/// Why a word that looks like a number is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoNumber {
    /// It is beyond 64 bits, or beyond the largest fraction.
    #[error("this number is too large; whole numbers go up to 9223372036854775807")]
    TooLarge,
    /// It is below 64 bits.
    #[error("this number is too small; whole numbers go down to -9223372036854775808")]
    TooSmall,
    /// It is infinite or no number at all.
    #[error("this number is not finite")]
    NotFinite,
}

/// The value of an unquoted word.
pub(super) fn value(word: &str) -> Result<NodeValue, NoNumber> {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(NodeValue::Null),
        "true" => return Ok(NodeValue::Bool(true)),
        "false" => return Ok(NodeValue::Bool(false)),
        _ => {}
    }
    Ok(number(word)?.unwrap_or_else(|| NodeValue::Text(word.to_owned())))
}

/// The number that a word stands for, if it is written as one.
pub(super) fn number(word: &str) -> Result<Option<NodeValue>, NoNumber> {
    if let Some(digits) = word.strip_prefix("0o") {
        return whole(digits, 8, '+');
    }
    if let Some(digits) = word.strip_prefix("0x") {
        return whole(digits, 16, '+');
    }
    let (sign, rest) = match word.as_bytes() {
        [b'-', ..] => ('-', &word[1..]),
        [b'+', ..] => ('+', &word[1..]),
        _ => ('+', word),
    };
    if matches!(rest, ".inf" | ".Inf" | ".INF") || matches!(word, ".nan" | ".NaN" | ".NAN") {
        return Err(NoNumber::NotFinite);
    }
    if !is_decimal(rest) {
        return Ok(None);
    }
    if rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return whole(rest, 10, sign);
    }
    match word.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Some(NodeValue::Float(number))),
        Ok(_) => Err(NoNumber::NotFinite),
        Err(_) => Ok(None),
    }
}

/// Whether a word without its sign is a decimal number: `12`, `1.5`, `.5`, `1.`, `1e3`. No needless zeros in front.
fn is_decimal(word: &str) -> bool {
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (word, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !unsigned.is_empty() && digits(unsigned)
    });
    let needless = before.len() > 1 && before.starts_with('0');
    digits(before) && digits(after) && before.len() + after.len() > 0 && exponent_fits && !needless
}

fn whole(digits: &str, radix: u32, sign: char) -> Result<Option<NodeValue>, NoNumber> {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Ok(None);
    }
    let signed = if sign == '-' { format!("-{digits}") } else { digits.to_owned() };
    let beyond = if sign == '-' { NoNumber::TooSmall } else { NoNumber::TooLarge };
    i64::from_str_radix(&signed, radix).map(|number| Some(NodeValue::Integer(number))).map_err(|_| beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(word: &str) -> NodeValue {
        value(word).expect(word)
    }

    #[test]
    fn nothing_and_booleans() {
        for word in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(of(word), NodeValue::Null, "{word}");
        }
        assert_eq!((of("true"), of("false")), (NodeValue::Bool(true), NodeValue::Bool(false)));
        let words = ["True", "TRUE", "False", "yes", "Yes", "no", "on", "off", "y", "n", "nil", "nULL"];
        for word in words {
            assert_eq!(of(word), NodeValue::Text(word.to_owned()));
        }
    }

    #[test]
    fn whole_numbers() {
        let numbers = [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("12", 12),
            ("+5", 5),
            ("-7", -7),
            ("0o17", 15),
            ("0x1F", 31),
            ("0xff", 255),
            ("0o007", 7),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ];
        for (word, number) in numbers {
            assert_eq!(of(word), NodeValue::Integer(number), "{word}");
        }
    }

    #[test]
    fn fractions() {
        let numbers = [
            ("1e3", 1000.0),
            ("1E3", 1000.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("-.5", -0.5),
            ("+1.5e-05", 1.5e-5),
            ("0.10", 0.1),
            ("1e-999", 0.0),
        ];
        for (word, number) in numbers {
            assert_eq!(of(word), NodeValue::Float(number), "{word}");
        }
        let NodeValue::Float(zero) = of("-0.0") else { panic!("a number with a fraction") };
        assert!(zero == 0.0 && zero.is_sign_negative());
    }

    #[test]
    fn what_only_looks_like_a_number_is_a_string() {
        let words = [
            "010",
            "00",
            "-012",
            "01.5",
            "1_000",
            "0x",
            "0o8",
            "0X1F",
            "0O17",
            "0b11",
            "-0x1",
            "+0o7",
            "1:30",
            "1:30:00",
            "2024-05-01",
            "2024-05-01T10:00:00Z",
            "1e",
            "e3",
            ".",
            "+",
            "-",
            "..5",
            "1.2.3",
            "inf",
            "-inf",
            "nan",
            "NaN",
            "infinity",
            ".Nan",
            "-.nan",
            "1e3.5",
            "0x_f",
            "１２",
        ];
        for word in words {
            assert_eq!(of(word), NodeValue::Text(word.to_owned()));
        }
    }

    #[test]
    fn numbers_that_no_value_can_hold_are_refused() {
        let cases = [
            ("9223372036854775808", NoNumber::TooLarge),
            ("99999999999999999999999999999999999999999999999", NoNumber::TooLarge),
            ("0xFFFFFFFFFFFFFFFF", NoNumber::TooLarge),
            ("0o7777777777777777777777777", NoNumber::TooLarge),
            ("-9223372036854775809", NoNumber::TooSmall),
            (".inf", NoNumber::NotFinite),
            ("-.INF", NoNumber::NotFinite),
            ("+.Inf", NoNumber::NotFinite),
            (".nan", NoNumber::NotFinite),
            (".NaN", NoNumber::NotFinite),
            ("1e999", NoNumber::NotFinite),
        ];
        for (word, reason) in cases {
            assert_eq!(value(word), Err(reason), "{word}");
        }
    }
}
