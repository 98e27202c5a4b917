//! How many bindings are in flight at once: as many as the API server carries out without becoming slower, within bounds.
//!
//! More would wait inside the API server instead of here, where a later choice of nodes can still use newer information. And if another
//! scheduler floods the server with its bindings, these finish sooner, and what it has bound is seen before our remaining pods are decided.
//! So the yardstick is how long a binding takes at the minimum concurrency. While bindings take up to twice as long with more in flight,
//! the limit grows; when they take more than two and a half times as long, or fail for a reason on the server's side, it shrinks. The
//! yardstick is measured again every ten seconds, by briefly going down to the minimum. The shortest time measured counts for a minute; a
//! server that has been slow for longer than that is sent as much as any other.

use secondmate_telemetry::Gauge;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Minimum concurrency, if there is that much to send: enough to keep a small API server busy.
const LEAST: usize = 8;
/// Minimum number of answers from which the duration of a binding is judged.
const ANSWERS_MIN: usize = 16;
/// How often the duration of a binding at the minimum concurrency is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// For how long a measurement counts while later ones are worse.
const COUNTS_FOR: Duration = Duration::from_secs(60);

/// Hands out slots for bindings.
#[derive(Debug)]
pub(super) struct Pace {
    slots: Semaphore,
    limit: AtomicUsize,
    state: Mutex<State>,
    shown: Gauge,
}

#[derive(Debug)]
struct State {
    regulator: Regulator,
    /// Slots to be taken away when their holders return them.
    owed: usize,
}

/// Permission to have a binding in flight.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    permit: SemaphorePermit<'a>,
    began: Instant,
    /// There was no other slot left after this one.
    was_last: bool,
}

impl Pace {
    /// A pace with at most this many at a time.
    pub fn new(most: usize, shown: Gauge) -> Self {
        let regulator = Regulator::new(most.max(1));
        let limit = regulator.limit;
        shown.set(i64::try_from(limit).unwrap_or(i64::MAX));
        let state = Mutex::new(State { regulator, owed: 0 });
        Self { slots: Semaphore::new(limit), limit: AtomicUsize::new(limit), state, shown }
    }

    /// The current maximum number of bindings in flight.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Waits for a slot.
    pub async fn slot(&self) -> Slot<'_> {
        let permit = self.slots.acquire().await.expect("the semaphore is never closed");
        Slot { permit, began: Instant::now(), was_last: self.slots.available_permits() == 0 }
    }

    /// Returns a slot; `went_well` says whether the API server was working; `None` if it was not asked.
    pub fn done(&self, slot: Slot<'_>, went_well: Option<bool>) {
        let (began, ended, was_last) = (slot.began, Instant::now(), slot.was_last);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        give_back(&mut state, slot.permit);
        let before = state.regulator.limit;
        if let Some(went_well) = went_well {
            state.regulator.answered(Answer { began, ended, went_well, was_last });
        }
        let limit = state.regulator.limit;
        self.resize(&mut state, before, limit);
        drop(state);
        self.limit.store(limit, Ordering::Relaxed);
        self.shown.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    /// If too many slots are out, those that come back are taken away.
    fn resize(&self, state: &mut State, before: usize, limit: usize) {
        if limit > before {
            let more = limit - before;
            let still_out = more.min(state.owed);
            state.owed -= still_out;
            self.slots.add_permits(more - still_out);
        } else if limit < before {
            let fewer = before - limit;
            state.owed += fewer - self.slots.forget_permits(fewer);
        }
    }
}

fn give_back(state: &mut State, permit: SemaphorePermit<'_>) {
    if state.owed > 0 {
        state.owed -= 1;
        permit.forget();
    }
}

/// The result of one binding.
#[derive(Clone, Copy, Debug)]
struct Answer {
    began: Instant,
    ended: Instant,
    went_well: bool,
    was_last: bool,
}

/// Adjusts the limit according to the answers.
#[derive(Debug)]
struct Regulator {
    least: usize,
    most: usize,
    limit: usize,
    /// How long a binding takes at the minimum concurrency, and when that was measured.
    usual: Option<(Duration, Instant)>,
    /// When the last measurement was made, whatever its result.
    measured: Option<Instant>,
    /// The limit before it was lowered for a measurement.
    back_to: Option<usize>,
    /// Answers to bindings that were sent since the limit last changed.
    since: Option<Instant>,
    answers: usize,
    took: Duration,
    went_well: bool,
    was_full: bool,
}

impl Regulator {
    fn new(most: usize) -> Self {
        let least = LEAST.min(most);
        Self {
            least,
            most,
            limit: least,
            usual: None,
            measured: None,
            back_to: None,
            since: None,
            answers: 0,
            took: Duration::ZERO,
            went_well: true,
            was_full: false,
        }
    }

    fn answered(&mut self, answer: Answer) {
        if self.since.is_some_and(|since| answer.began < since) {
            return;
        }
        self.answers += 1;
        self.took += answer.ended - answer.began;
        self.went_well &= answer.went_well;
        self.was_full |= answer.was_last;
        if self.answers < self.limit.max(ANSWERS_MIN) {
            return;
        }
        let took = self.took / u32::try_from(self.answers).unwrap_or(u32::MAX);
        self.limit = self.judge(took, answer.ended);
        self.since = Some(answer.ended);
        (self.answers, self.took, self.went_well, self.was_full) = (0, Duration::ZERO, true, false);
    }

    /// The new limit, given that a binding takes this long with the current one.
    fn judge(&mut self, took: Duration, now: Instant) -> usize {
        if !self.went_well {
            self.back_to = None;
            return (self.limit / 2).max(self.least);
        }
        if self.limit == self.least && self.was_full {
            self.measured = Some(now);
            let still_counts =
                self.usual.filter(|(usual, since)| *usual <= took && now - *since < COUNTS_FOR);
            self.usual = still_counts.or(Some((took, now)));
            if let Some(limit) = self.back_to.take() {
                return limit;
            }
        }
        let (Some((usual, _)), Some(measured)) = (self.usual, self.measured) else { return self.limit };
        if took > usual * 4 {
            return (self.limit / 2).max(self.least);
        }
        if took > usual * 5 / 2 {
            return (self.limit * 3 / 4).max(self.least);
        }
        if now - measured >= MEASURE_EVERY {
            self.back_to = Some(self.limit);
            return self.least;
        }
        let grows = self.was_full && took <= usual * 2;
        if grows { (self.limit + self.limit.div_ceil(4)).min(self.most) } else { self.limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An API server that binds this many pods per second, each in at least `base`, while other clients ask for as much as is given here.
    struct Server {
        per_second: f64,
        base: Duration,
        others: usize,
    }

    impl Server {
        fn takes(&self, at_once: usize) -> Duration {
            self.base.max(Duration::from_secs_f64((at_once + self.others) as f64 / self.per_second))
        }
    }

    /// Binds with as many in flight as are allowed, for some seconds; returns the range of the limit during the second half.
    fn run(regulator: &mut Regulator, now: &mut Instant, server: &Server, seconds: u64) -> (usize, usize) {
        let (began, all) = (*now, Duration::from_secs(seconds));
        let (mut fewest, mut most) = (usize::MAX, 0);
        while *now - began < all {
            let (began_now, at_once) = (*now, regulator.limit);
            *now += server.takes(at_once);
            for _ in 0..at_once {
                let answer = Answer { began: began_now, ended: *now, went_well: true, was_last: true };
                regulator.answered(answer);
            }
            if *now - began > all / 2 {
                (fewest, most) = (fewest.min(regulator.limit), most.max(regulator.limit));
            }
        }
        (fewest, most)
    }

    fn server(per_second: f64, base_ms: u64, others: usize) -> Server {
        Server { per_second, base: Duration::from_millis(base_ms), others }
    }

    #[test]
    fn it_sends_as_many_as_the_server_carries_out_without_becoming_slower() {
        // A server that is busy with only a few is not sent many more.
        let (mut regulator, mut now) = (Regulator::new(64), Instant::now());
        let (_, most) = run(&mut regulator, &mut now, &server(800.0, 3, 0), 60);
        assert!((LEAST..=24).contains(&most), "{most}");
        // A server that could do with more gets more: 5,000 per second at 10 ms each are 50 at once.
        let (mut regulator, mut now) = (Regulator::new(64), Instant::now());
        run(&mut regulator, &mut now, &server(5000.0, 10, 0), 9);
        assert!(regulator.limit >= 50, "{regulator:?}");
        let (_, most) = run(&mut regulator, &mut now, &server(5000.0, 10, 0), 60);
        assert_eq!(most, 64, "as many as it may");
    }

    #[test]
    fn it_sends_fewer_when_the_server_slows_down_and_more_when_it_is_itself_again() {
        let (mut regulator, mut now) = (Regulator::new(64), Instant::now());
        run(&mut regulator, &mut now, &server(5000.0, 10, 0), 8);
        let before = regulator.limit;
        assert!(before >= 50, "{before}");
        run(&mut regulator, &mut now, &server(5000.0, 10, 500), 2);
        assert_eq!(regulator.limit, LEAST);
        run(&mut regulator, &mut now, &server(5000.0, 10, 500), 20);
        assert_eq!(regulator.limit, LEAST, "whoever floods it goes first");
        run(&mut regulator, &mut now, &server(5000.0, 10, 0), 20);
        assert!(regulator.limit >= 50, "{regulator:?}");
    }

    #[test]
    fn a_server_that_is_slow_whatever_is_sent_is_sent_as_much_as_any() {
        let (mut regulator, mut now) = (Regulator::new(64), Instant::now());
        let (_, most) = run(&mut regulator, &mut now, &server(5000.0, 1000, 0), 120);
        assert_eq!(most, 64);
        let (mut regulator, mut now) = (Regulator::new(64), Instant::now());
        run(&mut regulator, &mut now, &server(5000.0, 10, 0), 8);
        let (_, most) = run(&mut regulator, &mut now, &server(5000.0, 1000, 0), 200);
        assert_eq!(most, 64, "it has been slow for long");
    }

    #[test]
    fn failures_of_the_server_halve_it_and_few_bindings_do_not_raise_it() {
        let (mut regulator, mut now) = (Regulator::new(64), Instant::now());
        run(&mut regulator, &mut now, &server(5000.0, 10, 0), 8);
        let before = regulator.limit;
        let mut answer = |regulator: &mut Regulator, went_well| {
            let began = now;
            now += Duration::from_millis(10);
            regulator.answered(Answer { began, ended: now, went_well, was_last: false });
        };
        // The answer to one of them was lost.
        answer(&mut regulator, false);
        for _ in 1..before {
            answer(&mut regulator, true);
        }
        assert_eq!(regulator.limit, before / 2);
        let mut regulator = Regulator::new(64);
        for _ in 0..1000 {
            answer(&mut regulator, true);
        }
        assert_eq!(regulator.limit, LEAST, "there were never as many as may be");
        assert_eq!(Regulator::new(3).limit, 3, "no more than is allowed");
    }

    #[test]
    fn how_fast_a_server_that_is_down_says_no_is_no_yardstick() {
        let (mut regulator, mut now) = (Regulator::new(64), Instant::now());
        for _ in 0..100 {
            let began = now;
            now += Duration::from_micros(100);
            regulator.answered(Answer { began, ended: now, went_well: false, was_last: true });
        }
        run(&mut regulator, &mut now, &server(5000.0, 10, 0), 9);
        assert!(regulator.limit >= 50, "{regulator:?}");
    }

    #[tokio::test]
    async fn slots_follow_the_limit() {
        let pace = Pace::new(64, Gauge::default());
        let mut slots = Vec::new();
        let out = |pace: &Pace| (pace.slots.available_permits(), pace.state.lock().expect("no panic").owed);
        let resize = |before, limit| pace.resize(&mut pace.state.lock().expect("no panic"), before, limit);
        for _ in 0..LEAST {
            slots.push(pace.slot().await);
        }
        assert!(slots.last().is_some_and(|slot| slot.was_last) && !slots[0].was_last);
        resize(8, 12);
        assert_eq!(out(&pace), (4, 0), "more are there at once");
        for _ in 0..2 {
            slots.push(pace.slot().await);
        }
        resize(12, 6);
        assert_eq!(out(&pace), (0, 4), "two were free, four are taken when they come back");
        resize(6, 7);
        assert_eq!(out(&pace), (0, 3));
        for expected in [(0, 2), (0, 1), (0, 0), (1, 0)] {
            let slot = slots.pop().expect("ten were taken");
            give_back(&mut pace.state.lock().expect("no panic"), slot.permit);
            assert_eq!(out(&pace), expected);
        }
    }
}
