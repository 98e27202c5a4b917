//! Quantities of resources, with the results of `k8s.io/apimachinery/pkg/api/resource` 0.36.
//!
//! Quantities are exact. Upstream keeps a quantity in one of two forms, which behave differently once a number leaves 64 bits:
//! the small one (a 64-bit mantissa and a power of ten) yields the result of a wrapping multiplication or 0, the large one yields
//! the low 64 bits. No machine has 2^63 bytes, but a pod may request them and kube-scheduler gives an answer, so both forms are
//! reproduced.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// An exact amount: `mantissa * 10^exponent`.
///
/// A number with more digits than a 127-bit mantissa can hold (at least some 10^29 units) is clamped, and its [`Quantity::value`]
/// is the nearest `i64`. Below that, results equal upstream's, including overflow.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    mantissa: i128,
    exponent: i32,
    form: Form,
}

/// Which form upstream holds the number in; see the module documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The mantissa fits an `i64` and the exponent is at least -9 (nano).
    Small,
    /// An arbitrary-precision decimal.
    Large,
}

/// Why a text is not a valid quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not `[sign]digits[.digits][suffix]`.
    #[error("it is not a number with an optional suffix")]
    Form,
    /// A digit is missing where one is required.
    #[error("its number has no digits")]
    Number,
    /// A suffix that means nothing.
    #[error(
        "its suffix is none of n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei, and no exponent such as e3"
    )]
    Suffix,
}

/// The finest unit: smaller amounts are rounded up to it, away from zero.
const NANO: i32 = -9;
const MILLI: i32 = -3;
/// Decimal digits that always fit an `i64`.
const SMALL_DIGITS: usize = 18;

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self::small(0, 0);

    /// A number of units: cores, bytes, devices.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self::small(units, 0)
    }

    /// A number of thousandths of a unit.
    #[must_use]
    pub const fn from_milli(milli: i64) -> Self {
        Self::small(milli, MILLI)
    }

    const fn small(mantissa: i64, exponent: i32) -> Self {
        Self { mantissa: mantissa as i128, exponent, form: Form::Small }
    }

    const fn large(mantissa: i128, exponent: i32) -> Self {
        Self { mantissa, exponent, form: Form::Large }
    }

    /// Parses a quantity as `ParseQuantity` does. Surrounding space is an error here; upstream's JSON decoding trims it.
    ///
    /// # Errors
    /// If the text is not a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let parts = Parts::split(text)?;
        let scale = Scale::of(parts.suffix)?;
        match parts.small(scale) {
            Some(quantity) => Ok(quantity),
            None => parts.large(scale),
        }
    }

    /// The amount in units, rounded up.
    #[must_use]
    pub fn value(self) -> i64 {
        self.scaled(0)
    }

    /// The amount in thousandths, rounded up.
    #[must_use]
    pub fn milli_value(self) -> i64 {
        self.scaled(MILLI)
    }

    /// Whether the amount is 0.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// The sum.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        if self.form == Form::Small
            && other.form == Form::Small
            && let Some(sum) = self.small_sum(other)
        {
            return sum;
        }
        let exponent = self.exponent.min(other.exponent);
        Self::large(self.mantissa_at(exponent).saturating_add(other.mantissa_at(exponent)), exponent)
    }

    /// The difference.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        self.saturating_add(Self { mantissa: negated(other.mantissa), ..other })
    }

    /// The greater of the two; `self` if they are equal.
    ///
    /// Upstream's comparison converts its receiver to the large form if the other side is large, and the accumulated maximum then
    /// keeps that copy.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        match other.cmp(&self) {
            Ordering::Greater if self.form == Form::Large => Self { form: Form::Large, ..other },
            Ordering::Greater => other,
            _ => self,
        }
    }

    /// The sum of two small ones, if it is small too.
    fn small_sum(self, other: Self) -> Option<Self> {
        if other.mantissa == 0 {
            return Some(self);
        }
        if self.mantissa == 0 {
            return Some(other);
        }
        if self.exponent == other.exponent {
            let sum = i64::try_from(self.mantissa + other.mantissa).ok()?;
            return Some(Self::small(sum, self.exponent));
        }
        let exponent = self.exponent.min(other.exponent);
        // The summands must fit as well as the sum: upstream scales them in 64 bits.
        let scaled =
            |q: Self| i64::try_from(q.mantissa.checked_mul(power_of_ten(q.exponent, exponent)?)?).ok();
        Some(Self::small(scaled(self)?.checked_add(scaled(other)?)?, exponent))
    }

    /// The mantissa at a lower exponent.
    fn mantissa_at(self, exponent: i32) -> i128 {
        if self.mantissa == 0 {
            return 0;
        }
        power_of_ten(self.exponent, exponent)
            .and_then(|power| self.mantissa.checked_mul(power))
            .unwrap_or(if self.mantissa > 0 { i128::MAX } else { i128::MIN })
    }

    /// The amount in units of `10^exponent`.
    fn scaled(self, exponent: i32) -> i64 {
        match self.form {
            Form::Small => self.small_scaled(exponent),
            Form::Large => self.large_scaled(exponent),
        }
    }

    fn small_scaled(self, exponent: i32) -> i64 {
        // A small mantissa fits an `i64`.
        let mantissa = self.mantissa as i64;
        if mantissa == 0 || self.exponent == exponent {
            return mantissa;
        }
        if self.exponent < exponent {
            // At most nine digits are cut off, so the power fits.
            let power = 10_i64.pow(self.exponent.abs_diff(exponent));
            return mantissa / power + (mantissa % power).signum();
        }
        match self.exponent.abs_diff(exponent) {
            // For these powers upstream multiplies without an overflow check and returns the wrapped result…
            digits @ (1 | 2 | 3 | 6 | 9) if mantissa != i64::MIN => mantissa.wrapping_mul(10_i64.pow(digits)),
            // …for all others it returns 0 on overflow.
            digits => 10_i64.checked_pow(digits).and_then(|power| mantissa.checked_mul(power)).unwrap_or(0),
        }
    }

    fn large_scaled(self, exponent: i32) -> i64 {
        match self.mantissa {
            i128::MAX => return i64::MAX,
            i128::MIN => return i64::MIN,
            _ => {}
        }
        let low = self.mantissa as i64;
        let digits = self.exponent.abs_diff(exponent);
        if self.exponent >= exponent {
            // From 10^19 on, upstream's power, computed in floating point, becomes the smallest integer (on x86-64).
            return low.wrapping_mul(10_i64.checked_pow(digits).unwrap_or(i64::MIN));
        }
        // At most nine digits are cut off, so the power fits. Negative numbers are truncated and then incremented, as upstream
        // does.
        let power = 10_i64.pow(digits);
        if self.mantissa < i128::from(i64::MAX) {
            low / power + i64::from(low % power != 0)
        } else {
            let power = i128::from(power);
            (self.mantissa / power + i128::from(self.mantissa % power != 0)) as i64
        }
    }

    /// Mantissa without trailing zeros, and its exponent: a unique pair for each amount.
    fn reduced(self) -> (i128, i32) {
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent);
        if mantissa == 0 {
            return (0, 0);
        }
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent = exponent.saturating_add(1);
        }
        (mantissa, exponent)
    }
}

/// The negated mantissa. A value clamped at one end is clamped at the other.
fn negated(mantissa: i128) -> i128 {
    if mantissa == i128::MAX { i128::MIN } else { mantissa.saturating_neg() }
}

/// `10^(from - to)`, for `from >= to`, if it fits.
fn power_of_ten(from: i32, to: i32) -> Option<i128> {
    10_i128.checked_pow(from.abs_diff(to))
}

impl Default for Quantity {
    fn default() -> Self {
        Self::ZERO
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By amount, regardless of the form.
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.mantissa.signum().cmp(&other.mantissa.signum());
        if signs != Ordering::Equal || self.mantissa == 0 {
            return signs;
        }
        if self.exponent < other.exponent {
            return other.cmp(self).reverse();
        }
        match power_of_ten(self.exponent, other.exponent).and_then(|power| self.mantissa.checked_mul(power)) {
            Some(mantissa) => mantissa.cmp(&other.mantissa),
            // Too large for any mantissa.
            None => self.mantissa.cmp(&0),
        }
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.reduced().hash(state);
    }
}

/// A text split into its parts, all of them ASCII.
struct Parts<'a> {
    negative: bool,
    /// Whether the number has any digit, leading zeros included.
    has_digits: bool,
    /// Digits before the point without leading zeros.
    whole: &'a [u8],
    /// Digits after the point.
    fraction: &'a [u8],
    suffix: &'a str,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, QuantityError> {
        let bytes = text.as_bytes();
        let run = |from: usize, wanted: fn(&u8) -> bool| {
            from + bytes[from..].iter().position(|byte| !wanted(byte)).unwrap_or(bytes.len() - from)
        };
        let (negative, number) = match bytes.first() {
            None => return Err(QuantityError::Form),
            Some(b'-') => (true, 1),
            Some(b'+') => (false, 1),
            Some(_) => (false, 0),
        };
        let whole = run(number, |byte| *byte == b'0');
        if whole == bytes.len() {
            // Only zeros, or a bare sign, which upstream also treats as 0.
            return Ok(Self { negative, has_digits: true, whole: &[], fraction: &[], suffix: "" });
        }
        let point = run(whole, u8::is_ascii_digit);
        let (fraction, suffix) = match bytes.get(point) {
            Some(b'.') => (point + 1, run(point + 1, u8::is_ascii_digit)),
            _ => (point, point),
        };
        let letters = run(suffix, |byte| b"eEinumkKMGTP".contains(byte));
        let sign = usize::from(matches!(bytes.get(letters), Some(b'-' | b'+')));
        if run(letters + sign, u8::is_ascii_digit) != bytes.len() {
            return Err(QuantityError::Form);
        }
        Ok(Self {
            negative,
            has_digits: point > number || suffix > fraction,
            whole: &bytes[whole..point],
            fraction: &bytes[fraction..suffix],
            suffix: &text[suffix..],
        })
    }

    /// The number in the small form, if upstream would use it.
    fn small(&self, scale: Scale) -> Option<Quantity> {
        // An empty whole part counts as one digit.
        let whole_digits = self.whole.len().max(1);
        let (exponent, shift) = match scale {
            Scale::Decimal(exponent) if whole_digits + self.fraction.len() <= SMALL_DIGITS => (exponent, 0),
            // The number of digits of the power of two is estimated conservatively.
            Scale::Binary(shift)
                if self.fraction.is_empty() && whole_digits + shift as usize * 3 / 10 <= 14 =>
            {
                (0, shift)
            }
            _ => return None,
        };
        let exponent = exponent.wrapping_sub(self.fraction.len() as i32);
        if exponent < NANO {
            return None;
        }
        let digits = self.whole.iter().chain(self.fraction);
        let number = digits.fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'));
        let mantissa = number.checked_mul(1 << shift)?;
        Some(Quantity::small(if self.negative { -mantissa } else { mantissa }, exponent))
    }

    /// The number in the large form: rounded to nano, away from zero, and capped if binary.
    fn large(&self, scale: Scale) -> Result<Quantity, QuantityError> {
        if !self.has_digits {
            return Err(QuantityError::Number);
        }
        let mut digits: Vec<u8> = self
            .whole
            .iter()
            .chain(self.fraction)
            .map(|digit| digit - b'0')
            .skip_while(|digit| *digit == 0)
            .collect();
        let mut exponent = -(self.fraction.len() as i64);
        match scale {
            Scale::Decimal(power) => exponent += i64::from(power),
            Scale::Binary(shift) => {
                // Each binary suffix is a power of 1024.
                for _ in 0..shift / 10 {
                    multiply(&mut digits, 1024);
                }
            }
        }
        let cut = usize::try_from(i64::from(NANO) - exponent).unwrap_or(0).min(digits.len());
        let rest = digits.split_off(digits.len() - cut);
        let exponent = i32::try_from(exponent.max(i64::from(NANO))).unwrap_or(i32::MAX);
        let rounded_up = i128::from(rest.iter().any(|digit| *digit != 0));
        let mantissa = digits
            .iter()
            .try_fold(0_i128, |number, digit| number.checked_mul(10)?.checked_add(i128::from(*digit)))
            .and_then(|number| number.checked_add(rounded_up))
            .unwrap_or(i128::MAX);
        let mut quantity = if mantissa == 0 {
            Quantity::large(0, exponent)
        } else {
            let nanos = power_of_ten(exponent, NANO).and_then(|power| mantissa.checked_mul(power));
            Quantity::large(nanos.unwrap_or(i128::MAX), NANO)
        };
        if matches!(scale, Scale::Binary(_)) && quantity > Quantity::from_units(i64::MAX) {
            quantity = Quantity::large(i128::from(i64::MAX), 0);
        }
        if self.negative {
            quantity.mantissa = negated(quantity.mantissa);
        }
        Ok(quantity)
    }
}

/// Multiplies a decimal number, given most significant digit first, without leading zeros.
fn multiply(digits: &mut Vec<u8>, factor: u32) {
    let mut carry = 0;
    for digit in digits.iter_mut().rev() {
        carry += u32::from(*digit) * factor;
        *digit = (carry % 10) as u8;
        carry /= 10;
    }
    let mut head = Vec::new();
    while carry > 0 {
        head.push((carry % 10) as u8);
        carry /= 10;
    }
    digits.splice(..0, head.into_iter().rev());
}

/// The factor that a suffix stands for.
#[derive(Clone, Copy)]
enum Scale {
    /// `10^n`
    Decimal(i32),
    /// `2^n`
    Binary(u32),
}

impl Scale {
    fn of(suffix: &str) -> Result<Self, QuantityError> {
        Ok(match suffix {
            "" => Self::Decimal(0),
            "m" => Self::Decimal(-3),
            "Ki" => Self::Binary(10),
            "Mi" => Self::Binary(20),
            "Gi" => Self::Binary(30),
            "Ti" => Self::Binary(40),
            "Pi" => Self::Binary(50),
            "Ei" => Self::Binary(60),
            "n" => Self::Decimal(-9),
            "u" => Self::Decimal(-6),
            "k" => Self::Decimal(3),
            "M" => Self::Decimal(6),
            "G" => Self::Decimal(9),
            "T" => Self::Decimal(12),
            "P" => Self::Decimal(15),
            "E" => Self::Decimal(18),
            _ => match suffix.strip_prefix(['e', 'E']).map(str::parse::<i64>) {
                // Upstream truncates the exponent to 32 bits.
                Some(Ok(exponent)) => Self::Decimal(exponent as i32),
                _ => return Err(QuantityError::Suffix),
            },
        })
    }
}

#[cfg(test)]
#[path = "resources/quantity_tests.rs"]
mod tests;
