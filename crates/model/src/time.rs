//! Points in time. They are passed in from outside: nothing below the shell reads a clock.

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds since the Unix epoch, or since another origin that the caller uses consistently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// The count.
    pub nanos: i64,
}

impl Timestamp {
    /// From whole seconds; saturates at the first or last point in time.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self { nanos: secs.saturating_mul(1_000_000_000) }
    }

    /// From milliseconds; saturates at the first or last point in time.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self { nanos: millis.saturating_mul(1_000_000) }
    }

    /// Parses RFC 3339, the format of `metav1.Time`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        Some(Self { nanos: i64::try_from(time.as_nanosecond()).ok()? })
    }

    /// Rounds down to the whole second, as upstream does with backoff times.
    #[must_use]
    pub const fn truncate_to_second(self) -> Self {
        Self { nanos: self.nanos.saturating_sub(self.nanos.rem_euclid(1_000_000_000)) }
    }

    /// Time elapsed since an earlier point; zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.nanos.saturating_sub(earlier.nanos)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self { nanos: self.nanos.saturating_add(nanos) }
    }
}
