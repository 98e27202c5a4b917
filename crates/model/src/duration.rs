//! Durations in Go's notation (`1h2m3.5s`), which is what Kubernetes writes in configuration files and messages.

use std::time::Duration;

const UNITS: [(&str, i64); 8] = [
    // Longer names first: "ms" is not "m" followed by "s".
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// Nanoseconds of a duration as Go's `time.ParseDuration` reads it; none where the text is none, or what it says does not fit.
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
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (whole, after) = rest.split_at(digits);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => {
                let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                after.split_at(digits)
            }
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (name, unit) = UNITS.iter().find(|(name, _)| after.starts_with(name))?;
        rest = &after[name.len()..];
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*unit)?)?;
        let mut scale = *unit;
        for digit in fraction.bytes() {
            scale /= 10;
            total = total.checked_add(i64::from(digit - b'0') * scale)?;
        }
    }
    Some(if negative { -total } else { total })
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

/// As [`format()`], for nanoseconds that may be negative.
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
