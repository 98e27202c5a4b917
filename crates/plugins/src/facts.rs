//! How the facts behind rejections are worded: amounts, and pods by name.

use secondmate_model::Pod;
use std::fmt::Write;

/// Maximum number of names in a list.
const NAMES_MAX: usize = 3;

/// Milli-CPU as people write it: `2`, `500m`.
pub(crate) fn cpu(milli: i64) -> String {
    if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") }
}

/// Bytes in the largest unit that gives a whole number, or else with one decimal, which is truncated so that less never looks like enough.
pub(crate) fn bytes(bytes: i64) -> String {
    const UNITS: [(&str, i64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    let whole = UNITS.iter().find(|(_, size)| bytes != 0 && bytes % size == 0);
    if let Some((unit, size)) = whole
        && bytes / size < 10_000
    {
        return format!("{}{unit}", bytes / size);
    }
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{}.{}{unit}", bytes / size, bytes % size * 10 / size),
        None => bytes.to_string(),
    }
}

/// The missing share of the request, in thousandths.
pub(crate) fn lacks(asked: i64, free: i64) -> u32 {
    let missing = i128::from(asked) - i128::from(free.max(0));
    let thousandths = missing.max(0) * 1000 / i128::from(asked.max(1));
    u32::try_from(thousandths).unwrap_or(u32::MAX)
}

/// A pod's name, with its scheduler if that differs from the scheduler of the pod in question.
pub(crate) fn named(other: &Pod, pod: &Pod) -> String {
    if other.scheduler_name == pod.scheduler_name {
        return other.full_name();
    }
    format!("{} (of {})", other.full_name(), other.scheduler_name)
}

/// The first of some pods, by name.
pub(crate) fn list<'a>(others: impl Iterator<Item = &'a Pod>, pod: &Pod) -> Option<String> {
    let mut others = others.peekable();
    let mut text = named(others.next()?, pod);
    for other in others.by_ref().take(NAMES_MAX - 1) {
        let _ = write!(text, ", {}", named(other, pod));
    }
    match others.count() {
        0 => {}
        more => {
            let _ = write!(text, " and {more} more");
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        for (milli, text) in [(0, "0"), (2000, "2"), (1500, "1500m"), (-250, "-250m")] {
            assert_eq!(cpu(milli), text);
        }
        for (amount, text) in [
            (0, "0"),
            (1000, "1000"),
            (4 << 30, "4Gi"),
            (1536 << 20, "1536Mi"),
            ((4 << 30) - 1, "3.9Gi"),
            (1_000_000_000, "953.6Mi"),
        ] {
            assert_eq!(bytes(amount), text);
        }
        assert_eq!((lacks(1000, 250), lacks(1000, -5), lacks(2, 4), lacks(0, 0)), (750, 1000, 0, 0));
    }
}
