//! Resource quantities, exact to a billionth.
//!
//! Admission and the simulated kubelets judge the scheduler's placements, so they have their own parser for
//! quantities instead of using the scheduler's.

use std::fmt;

use serde_json::Value;

/// A quantity in billionths, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Quantity {
    nano: i128,
}

/// The exponent of the smallest unit, as a power of ten.
const NANO: i32 = -9;
/// This many zeros make any number too large.
const DIGITS_MAX: usize = 39;
/// The largest power of two, `Ti`, with which an API server can read a one-digit number in 64 bits.
const FACTOR_WITHOUT_DIGITS_MAX: i128 = 1 << 40;

impl Quantity {
    /// Parses `100m`, `1.5Gi`, `2e3`, `-1`. As in an API server, a text without a digit (`m`, `.`, `+`) is 0, except with
    /// suffixes that it does not read in 64 bits, which require a digit.
    pub fn parse(text: &str) -> Option<Quantity> {
        let (negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let digits_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(digits_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') {
            return None;
        }
        let (multiplier, power) = suffix_factor(suffix)?;
        if whole.is_empty() && fraction.is_empty() {
            return (power >= NANO && multiplier <= FACTOR_WITHOUT_DIGITS_MAX).then_some(Quantity::default());
        }
        let point = i64::try_from(whole.len()).ok()? + i64::from(power) - i64::from(NANO);
        let nano = scaled([whole, fraction].concat().as_bytes(), point, multiplier);
        Some(Quantity { nano: if negative { -nano } else { nano } })
    }

    /// The quantity in a field: a string, or a plain number as people write it.
    pub fn of(value: &Value) -> Option<Quantity> {
        match value {
            Value::String(text) => Quantity::parse(text),
            Value::Number(number) => Quantity::parse(&number.to_string()),
            _ => None,
        }
    }

    /// The sum, saturating.
    pub fn plus(self, other: Quantity) -> Quantity {
        Quantity { nano: self.nano.saturating_add(other.nano) }
    }

    /// Whether it is negative.
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    /// In thousandths, rounded up.
    pub fn milli(self) -> i64 {
        clamp(ceil_div(self.nano, 1_000_000))
    }

    /// In whole units, rounded up.
    pub fn units(self) -> i64 {
        clamp(ceil_div(self.nano, 1_000_000_000))
    }
}

impl fmt::Display for Quantity {
    /// In the largest decimal unit that needs no fraction: `2`, `1500m`, `1n`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (size, suffix) in [(1_000_000_000, ""), (1_000_000, "m"), (1000, "u")] {
            if self.nano % size == 0 {
                return write!(f, "{}{suffix}", self.nano / size);
            }
        }
        write!(f, "{}n", self.nano)
    }
}

fn ceil_div(value: i128, by: i128) -> i128 {
    let quotient = value.div_euclid(by);
    if value.rem_euclid(by) == 0 { quotient } else { quotient + 1 }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// The number that these digits stand for, with the decimal point after the first `point` of them, times `multiplier`, rounded up and
/// saturating. Any number of digits is read exactly.
///
/// A point before the first digit (a negative one) requires a multiplier of 1: units of powers of two have no negative power of ten.
fn scaled(digits: &[u8], point: i64, multiplier: i128) -> i128 {
    let digit = |byte: &u8| i128::from(byte - b'0');
    let whole_digits = usize::try_from(point).unwrap_or(0);
    let (whole, fraction) = digits.split_at(whole_digits.min(digits.len()));
    let mut units =
        whole.iter().fold(0_i128, |units, byte| units.saturating_mul(10).saturating_add(digit(byte)));
    for _ in 0..(whole_digits - whole.len()).min(DIGITS_MAX) {
        units = units.saturating_mul(10);
    }
    // From the last digit to the first, so that the carry stays small. What is cut off each time only decides whether there is a
    // remainder.
    let (mut carried, mut left_over) = (0, false);
    for byte in fraction.iter().rev() {
        let tenths = digit(byte) * multiplier + carried;
        carried = tenths / 10;
        left_over |= tenths % 10 != 0;
    }
    units.saturating_mul(multiplier).saturating_add(carried).saturating_add(i128::from(left_over))
}

/// A multiplier and a power of ten.
fn suffix_factor(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent: i64 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            // An API server truncates it to 32 bits.
            (1, exponent as i32)
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // All of this is test code, where a panic is how a failure looks.

    use super::*;

    #[test]
    fn a_sum_is_shown_without_a_fraction() {
        let sum =
            |a: &str, b: &str| Quantity::parse(a).unwrap().plus(Quantity::parse(b).unwrap()).to_string();
        assert_eq!(sum("500m", "1.5"), "2");
        assert_eq!(sum("100m", "1"), "1100m");
        assert_eq!(sum("1Ki", "1"), "1025");
        assert_eq!(sum("1n", "1u"), "1001n");
    }

    #[test]
    fn quantities_are_read_exactly_and_rounded_up() {
        for (text, milli, units) in [
            ("100m", 100, 1),
            ("1", 1000, 1),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("0.1", 100, 1),
            ("1n", 1, 1),
            ("2e3", 2_000_000, 2000),
            ("1E", i64::MAX, 1_000_000_000_000_000_000),
            ("-1", -1000, -1),
            (".5", 500, 1),
            ("1.", 1000, 1),
        ] {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!(quantity.milli(), milli, "{text}");
            assert_eq!(quantity.units(), units, "{text}");
        }
        assert!(Quantity::parse("1000m") == Quantity::parse("1"));
    }

    /// As `resource.ParseQuantity`, which reads any number of digits and rounds up anything finer than a billionth.
    #[test]
    fn any_number_of_digits_is_read_exactly() {
        let zeros = "0".repeat(1_200);
        for (text, nano) in [
            (format!("2.{zeros}"), 2_000_000_000),
            (format!("2.{zeros}1"), 2_000_000_001),
            (format!("{zeros}2.5{zeros}"), 2_500_000_000),
            (format!("0.{zeros}1"), 1),
            (format!("0.{zeros}1e1201"), 1_000_000_000),
            (format!("3{zeros}e-1200"), 3_000_000_000),
            (format!("0.5{zeros}Ki"), 512_000_000_000),
            // Slightly more than a third of 2^60.
            (format!("0.{}Ei", "3".repeat(1_200)), 384_307_168_202_282_325_333_333_334),
            (format!("7{zeros}"), i128::MAX),
            (format!("0.7{zeros}e2000000000"), i128::MAX),
            (format!("{zeros}e2000000000"), 0),
        ] {
            let read = Quantity::parse(&text).unwrap();
            let shown = format!("{}...{} ({} bytes)", &text[..6], &text[text.len() - 6..], text.len());
            assert_eq!(read, Quantity { nano }, "{shown}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in
            ["", "x", "1x", "1 Gi", "1.2.3", "--1", "1ee3", "1Kii", "..", "Ei", "-Pi", ".e-10", "1e", "--"]
        {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    /// As `resource.ParseQuantity` of apimachinery 0.37.2.
    #[test]
    fn a_text_without_digits_is_nothing_as_for_an_api_server() {
        for text in ["m", "+", "-", ".", "-.", "k", "E", "Ki", "-Ti", "e5", "e+5", ".n"] {
            assert_eq!(Quantity::parse(text), Some(Quantity::default()), "{text}");
        }
        assert_eq!(Quantity::parse("1e4294967296"), Quantity::parse("1"));
    }
}
