//! Durations in Go's notation (`1h2m3.5s`), which is what Kubernetes writes in configuration files and messages.

use std::time::Duration;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// The largest magnitude: that of `i64::MIN`.
const MAGNITUDE_MAX: u64 = 1 << 63;

/// Parses a duration as Go's `time.ParseDuration` does, in nanoseconds. `None` if the text is not a duration or does not fit.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let name = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (name, after) = after.split_at(name);
        let (_, unit) = UNITS.iter().find(|(known, _)| *known == name)?;
        rest = after;
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let amount = whole.checked_mul(*unit)?.checked_add(part_of(*unit, fraction))?;
        total = total.checked_add(amount).filter(|total| *total <= MAGNITUDE_MAX)?;
    }
    if negative { 0_i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() }
}

/// The leading digits, and the rest.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The fractional part of a unit, truncated to nanoseconds. Like Go, this computes in floating point, from as many digits as fit
/// 63 bits, so the result may be off by a nanosecond.
fn part_of(unit: u64, fraction: &str) -> u64 {
    const DECIMAL_MAX: u64 = i64::MAX.unsigned_abs() / 10;
    let (mut value, mut scale) = (0_u64, 1.0_f64);
    for digit in fraction.bytes().map(|digit| u64::from(digit - b'0')) {
        if value > DECIMAL_MAX || value * 10 + digit > MAGNITUDE_MAX {
            break;
        }
        value = value * 10 + digit;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// A duration as Go prints it: `15s`, `10m0s`, `1.5s`, `250ms`.
#[must_use]
pub fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    for (unit, name) in [(1_000, "ns"), (1_000_000, "\u{b5}s"), (1_000_000_000, "ms")] {
        if nanoseconds < unit {
            return format!("{}{name}", decimal(nanoseconds, unit / 1_000));
        }
    }
    let seconds = decimal(nanoseconds % 60_000_000_000, 1_000_000_000);
    let minutes = nanoseconds / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Like [`format()`], for nanoseconds that may be negative.
#[must_use]
pub fn format_signed(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    format!("{sign}{}", format(Duration::from_nanos(nanoseconds.unsigned_abs())))
}

fn decimal(value: u128, unit: u128) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.to_string().len() - 1;
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let table: &[(&str, Option<i64>)] = &[
            ("15s", Some(15_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("250ms", Some(250_000_000)),
            (".5s", Some(500_000_000)),
            ("0", Some(0)),
            ("-2s", Some(-2_000_000_000)),
            ("15", None),
            ("s", None),
            ("", None),
            ("-", None),
            ("15 s", None),
            ("1d", None),
            ("9999999999h", None),
            ("1sm", None),
            ("1.2.3s", None),
            ("+1s", Some(1_000_000_000)),
            ("--1s", None),
            ("1\u{b5}s1us", Some(2_000)),
            ("-9223372036854775808ns", Some(i64::MIN)),
            ("9223372036854775808ns", None),
            ("9223372036854775807ns", Some(i64::MAX)),
            ("-2562047h47m16.854775808s", Some(i64::MIN)),
            // Fractions of long units whose digits do not divide into whole nanoseconds.
            ("0.000000000009h", Some(32)),
            ("0.3333333333333333333h", Some(1_200_000_000_000)),
            ("0.100000000000000000000h", Some(360_000_000_000)),
            ("0.9223372036854775807m", Some(55_340_232_221)),
            ("0.830103483285477580700h", Some(2_988_372_539_827)),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn prints_what_go_prints() {
        for text in ["15s", "10m0s", "1.5s", "250ms", "1h0m0s", "2h3m4.5s", "0s", "7ns"] {
            let nanoseconds = parse(text).expect("the table holds valid durations");
            assert_eq!(format(Duration::from_nanos(nanoseconds.unsigned_abs())), text);
        }
    }
}
