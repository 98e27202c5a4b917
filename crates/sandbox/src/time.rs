//! Timestamps in the API's format, and ages in kubectl's.

use jiff::{SignedDuration, Timestamp};

/// The sandbox's clock: the system's, set forward by some amount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    ahead: SignedDuration,
}

impl Clock {
    pub(crate) fn now(self) -> Timestamp {
        Timestamp::now().saturating_add(self.ahead).unwrap_or(Timestamp::MAX)
    }

    /// In the API's format.
    pub(crate) fn now_seconds(self) -> String {
        format_seconds(self.now())
    }

    pub(crate) fn advance(&mut self, by: SignedDuration) {
        self.ahead = self.ahead.saturating_add(by);
    }
}

/// `2026-01-02T03:04:05Z`, by the system's clock.
pub(crate) fn now_seconds() -> String {
    Clock::default().now_seconds()
}

/// With a precision of seconds, like `metav1.Time`.
pub(crate) fn format_seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The age of an RFC 3339 timestamp, in the style of `kubectl get`; `<unknown>` if there is none.
pub(crate) fn age(timestamp: Option<&str>, now: Timestamp) -> String {
    match timestamp.and_then(|t| t.parse::<Timestamp>().ok()) {
        Some(at) => human_duration(now.duration_since(at).as_secs()),
        None => "<unknown>".to_owned(),
    }
}

/// At most two significant units, the coarser the older (the steps of `duration.HumanDuration`).
fn human_duration(seconds: i64) -> String {
    let two = |a: i64, a_unit: char, b: i64, b_unit: char| {
        if b == 0 { format!("{a}{a_unit}") } else { format!("{a}{a_unit}{b}{b_unit}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{days}d"),
        _ if hours < 24 * 365 * 8 => two(years, 'y', days % 365, 'd'),
        _ => format!("{years}y"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (135, "2m15s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (9 * 3600, "9h"),
            (50 * 3600, "2d2h"),
            (10 * 86400, "10d"),
            (3 * 365 * 86400 + 86400, "3y1d"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }
}
