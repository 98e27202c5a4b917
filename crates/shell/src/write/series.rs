//! Decides which events repeat earlier ones, as client-go's recorder does.
//!
//! The first event of its kind is created. The second turns it into a series, which is written; from then on repetitions are only counted,
//! and the count is written every half hour, and once the series has been idle for six minutes. The text is not part of what makes two
//! events the same: a later text is lost, as it is upstream. Source: `tools/events` in client-go.

use super::PodRef;
use secondmate_model::Atom;
use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// A series without events for this long has ended.
const IDLE: Duration = Duration::from_secs(6 * 60);
/// Interval between two writes of the count of an ongoing series.
const REFRESH: Duration = Duration::from_secs(30 * 60);
/// Maximum number of kinds remembered; at the bound, the eighth that has been idle longest is forgotten, so that its next event is created
/// as a new one.
const REMEMBERED_MAX: usize = 8192;

/// What makes two events the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EventKind {
    pub warning: bool,
    pub reason: Cow<'static, str>,
    pub action: Cow<'static, str>,
    pub controller: Atom,
    pub regarding: PodRef,
    pub related: Option<PodRef>,
}

/// How an event is stored, and its first form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub name: String,
    pub note: String,
    pub first: jiff::Timestamp,
}

#[derive(Debug)]
struct Series {
    stored: Stored,
    count: u32,
    /// The last count that was written.
    written: u32,
    written_at: Instant,
    last: Instant,
    last_time: jiff::Timestamp,
}

/// What has to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Create(EventKind, Stored),
    /// The series of an event: its count and last time. If the event is gone, it is created again with these.
    Series(EventKind, Stored, u32, jiff::Timestamp),
}

/// The kinds of events seen recently.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    series: HashMap<EventKind, Series>,
}

impl Correlator {
    /// Adds an event; returns what has to be written, if anything.
    pub fn add(&mut self, kind: EventKind, stored: Stored, now: Instant) -> Option<Write> {
        let time = stored.first;
        if let Some(series) = self.series.get_mut(&kind) {
            series.count += 1;
            (series.last, series.last_time) = (now, time);
            if series.count > 2 {
                return None;
            }
            (series.written, series.written_at) = (series.count, now);
            return Some(Write::Series(kind, series.stored.clone(), series.count, time));
        }
        if self.series.len() >= REMEMBERED_MAX {
            self.forget_idlest();
        }
        let series = Series {
            stored: stored.clone(),
            count: 1,
            written: 1,
            written_at: now,
            last: now,
            last_time: time,
        };
        self.series.insert(kind.clone(), series);
        Some(Write::Create(kind, stored))
    }

    /// The counts that are due to be written. Call this about once a minute.
    pub fn sweep(&mut self, now: Instant) -> Vec<Write> {
        let mut writes = Vec::new();
        self.series.retain(|kind, series| {
            let ended = now.duration_since(series.last) >= IDLE;
            let due = ended || now.duration_since(series.written_at) >= REFRESH;
            if due && series.count > series.written {
                (series.written, series.written_at) = (series.count, now);
                let write =
                    Write::Series(kind.clone(), series.stored.clone(), series.count, series.last_time);
                writes.push(write);
            }
            !ended
        });
        writes
    }

    fn forget_idlest(&mut self) {
        let mut times: Vec<Instant> = self.series.values().map(|s| s.last).collect();
        let eighth = times.len() / 8;
        let (_, limit, _) = times.select_nth_unstable(eighth);
        let limit = *limit;
        self.series.retain(|_, series| series.last > limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_model::Uid;

    fn kind(pod: &str) -> EventKind {
        EventKind {
            warning: true,
            reason: "FailedScheduling".into(),
            action: "Scheduling".into(),
            controller: Atom::new("s"),
            regarding: PodRef {
                namespace: Atom::new("n"),
                name: pod.into(),
                uid: Uid::from(pod),
                resource_version: "1".into(),
            },
            related: None,
        }
    }

    fn stored(second: i64) -> Stored {
        let first = jiff::Timestamp::from_second(second).expect("a time");
        Stored { name: format!("e{second}"), note: format!("note {second}"), first }
    }

    fn second(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn the_second_event_makes_a_series_and_later_ones_are_counted() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut events = Correlator::default();
        assert_eq!(events.add(kind("a"), stored(1), at(1)), Some(Write::Create(kind("a"), stored(1))));
        let series = |count, time| Some(Write::Series(kind("a"), stored(1), count, second(time)));
        assert_eq!(events.add(kind("a"), stored(2), at(2)), series(2, 2));
        assert_eq!(events.add(kind("a"), stored(3), at(3)), None);
        assert_eq!(events.add(kind("b"), stored(4), at(4)), Some(Write::Create(kind("b"), stored(4))));
        assert_eq!(events.sweep(at(60)), []);
        // Idle for six minutes: the counts are written, and the kinds are forgotten.
        assert_eq!(events.sweep(at(4 + 360)), series(3, 3).into_iter().collect::<Vec<_>>());
        assert_eq!(events.add(kind("a"), stored(400), at(400)), Some(Write::Create(kind("a"), stored(400))));
    }

    #[test]
    fn a_series_that_goes_on_is_written_every_half_hour() {
        let start = Instant::now();
        let mut events = Correlator::default();
        let mut written = Vec::new();
        for minute in 0..=40 {
            let now = start + Duration::from_secs(60 * minute);
            events.add(kind("a"), stored(60 * i64::try_from(minute).expect("small")), now);
            for write in events.sweep(now) {
                match write {
                    Write::Series(_, _, count, _) => written.push((minute, count)),
                    Write::Create(..) => panic!("created twice"),
                }
            }
        }
        assert_eq!(written, [(31, 32)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let start = Instant::now();
        let mut events = Correlator::default();
        for i in 0..2 * REMEMBERED_MAX {
            let now = start + Duration::from_millis(i as u64);
            events.add(kind(&i.to_string()), stored(1), now);
        }
        assert!(events.series.len() <= REMEMBERED_MAX);
        assert!(events.series.contains_key(&kind(&(2 * REMEMBERED_MAX - 1).to_string())));
    }
}
