//! Faults on demand: what a real API server does once a year, as often as a test wants.
//!
//! A rule names a class of requests, a fault, and when it strikes. Each rule has its own seeded generator, so
//! the same requests in the same order meet the same faults. Every strike is counted and logged, so that a test
//! can assert that the fault it is about has happened.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::ApiError;
use crate::random::Random;
use crate::request::{RequestClass, Verb};

/// Maximum number of strikes in the log; counters continue beyond it.
const LOG_MAX: usize = 100_000;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// 409 without effect.
    Conflict,
    /// 429 with `Retry-After`, without effect.
    TooManyRequests {
        /// The header's value.
        retry_after_s: u32,
    },
    /// 500 without effect.
    InternalError,
    /// 503 without effect.
    ServiceUnavailable,
    /// 504 without effect.
    GatewayTimeout,
    /// The effect and the response are delayed.
    Slow {
        /// Minimum delay.
        min: Duration,
        /// Maximum delay.
        max: Duration,
    },
    /// The request takes effect, then the connection is closed without a response.
    LoseAnswer,
    /// The connection is closed before the request takes effect.
    LoseRequest,
    /// There is neither an effect nor a response, and the connection stays open until the faults end.
    BlackHole,
    /// A watch ends cleanly after some events.
    CloseWatch {
        /// Number of events that are still delivered.
        after_events: u32,
    },
    /// The connection of a watch breaks after some events.
    BreakWatch {
        /// Number of events that are still delivered.
        after_events: u32,
    },
    /// A watch gets a 410 after some events, and the events that it has not seen are forgotten.
    ExpireWatch {
        /// Number of events that are still delivered.
        after_events: u32,
    },
    /// Lists that allow it (`resourceVersion=0`, or not older than an older version) show an older state.
    StaleList {
        /// How many events of the resource that state lacks.
        events_back: usize,
    },
    /// A watch gets no bookmarks although it requested them.
    NoBookmarks,
    /// The events of a watch are late, each batch by its own delay, so watches are reordered relative to each other.
    DelayEvents {
        /// Maximum delay.
        max: Duration,
    },
}

/// Which of the matching requests a rule strikes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// Every one.
    Always,
    /// Each with this probability.
    Chance(f64),
    /// The next ones, up to this number.
    Next(u32),
    /// Every n-th one.
    Every(u32),
}

/// The requests that a rule matches. `None` matches any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The verb.
    pub verb: Option<Verb>,
    /// The plural name of the resource.
    pub resource: Option<String>,
    /// The subresource; `Some("")` is the resource itself.
    pub subresource: Option<String>,
}

impl Target {
    /// Every request.
    pub fn any() -> Target {
        Target::default()
    }

    /// Requests with this verb on this resource itself.
    pub fn of(verb: Verb, resource: &str) -> Target {
        Target { verb: Some(verb), resource: Some(resource.to_owned()), subresource: Some(String::new()) }
    }

    /// All requests with this verb.
    pub fn verb(verb: Verb) -> Target {
        Target { verb: Some(verb), ..Target::default() }
    }

    /// All requests to this resource and its subresources.
    pub fn resource(resource: &str) -> Target {
        Target { resource: Some(resource.to_owned()), ..Target::default() }
    }

    /// The POST that binds a pod.
    pub fn bind() -> Target {
        Target::of(Verb::Create, "pods").subresource("binding")
    }

    /// The same with a subresource.
    pub fn subresource(mut self, subresource: &str) -> Target {
        self.subresource = Some(subresource.to_owned());
        self
    }

    fn matches(&self, class: &RequestClass) -> bool {
        self.verb.is_none_or(|v| v == class.verb)
            && self.resource.as_ref().is_none_or(|r| *r == class.resource)
            && self.subresource.as_ref().is_none_or(|s| *s == class.subresource)
    }
}

/// An injected rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleId(usize);

/// One strike.
#[derive(Debug, Clone)]
pub struct Strike {
    /// The rule.
    pub rule: RuleId,
    /// The class of the request that was hit.
    pub class: RequestClass,
    /// What happened to it.
    pub fault: Fault,
}

#[derive(Debug)]
struct Rule {
    target: Target,
    fault: Fault,
    when: When,
    random: Random,
    active: bool,
    seen: u64,
    strikes: u64,
}

#[derive(Debug)]
struct State {
    seed: u64,
    rules: Vec<Rule>,
    log: VecDeque<Strike>,
}

/// The faults of a sandbox.
#[derive(Debug)]
pub struct Faults {
    state: Mutex<State>,
    /// Incremented when all faults end.
    quiesced: watch::Sender<u64>,
    /// Incremented when all open watches are to break.
    cut: watch::Sender<u64>,
}

/// What will happen to one request.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub delay: Duration,
    pub refuse: Option<ApiError>,
    pub lose_request: bool,
    pub lose_answer: bool,
    pub black_hole: bool,
    pub stale_events_back: usize,
    pub watch: WatchPlan,
}

/// What will happen to one watch.
#[derive(Debug, Default, Clone)]
pub(crate) struct WatchPlan {
    pub end: Option<(WatchEnd, u32)>,
    pub no_bookmarks: bool,
    /// The maximum delay, and the generator for it.
    pub delay: Option<(Duration, Random)>,
}

/// How a watch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchEnd {
    Close,
    Break,
    Expire,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Faults {
        Faults {
            state: Mutex::new(State { seed, rules: Vec::new(), log: VecDeque::new() }),
            quiesced: watch::Sender::new(0),
            cut: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the faults")
    }

    /// Adds a rule.
    pub fn inject(&self, target: Target, fault: Fault, when: When) -> RuleId {
        let mut state = self.lock();
        let id = state.rules.len();
        let random = Random::new(state.seed ^ (id as u64 + 1).wrapping_mul(0xA076_1D64_78BD_642F));
        state.rules.push(Rule { target, fault, when, random, active: true, seen: 0, strikes: 0 });
        RuleId(id)
    }

    /// Ends one rule.
    pub fn remove(&self, rule: RuleId) {
        if let Some(rule) = self.lock().rules.get_mut(rule.0) {
            rule.active = false;
        }
    }

    /// Ends all faults: no rule strikes any more, delays end, and requests in a black hole are closed.
    pub fn quiesce(&self) {
        for rule in &mut self.lock().rules {
            rule.active = false;
        }
        self.quiesced.send_modify(|n| *n += 1);
    }

    /// Breaks the connections of all open watches now.
    pub fn break_watches(&self) {
        self.cut.send_modify(|n| *n += 1);
    }

    /// How often a rule has struck.
    pub fn strikes(&self, rule: RuleId) -> u64 {
        self.lock().rules.get(rule.0).map_or(0, |r| r.strikes)
    }

    /// How often any rule has struck.
    pub fn strikes_in_all(&self) -> u64 {
        self.lock().rules.iter().map(|r| r.strikes).sum()
    }

    /// The strikes, in order; beyond 100,000 the oldest are forgotten.
    pub fn log(&self) -> Vec<Strike> {
        self.lock().log.iter().cloned().collect()
    }

    pub(crate) fn subscribe_quiesced(&self) -> watch::Receiver<u64> {
        self.quiesced.subscribe()
    }

    pub(crate) fn subscribe_cut(&self) -> watch::Receiver<u64> {
        self.cut.subscribe()
    }

    /// Rolls the dice for one request.
    pub(crate) fn plan(&self, class: &RequestClass) -> Plan {
        let mut plan = Plan::default();
        let mut state = self.lock();
        let state = &mut *state;
        for (id, rule) in state.rules.iter_mut().enumerate() {
            if !rule.active || !rule.target.matches(class) || !fits(&rule.fault, class.verb) {
                continue;
            }
            rule.seen += 1;
            let strikes = match rule.when {
                When::Always => true,
                When::Chance(probability) => rule.random.chance(probability),
                When::Next(times) => rule.strikes < u64::from(times),
                When::Every(n) => rule.seen.is_multiple_of(u64::from(n.max(1))),
            };
            if !strikes {
                continue;
            }
            rule.strikes += 1;
            apply(rule, &mut plan, class);
            if state.log.len() == LOG_MAX {
                state.log.pop_front();
            }
            state.log.push_back(Strike { rule: RuleId(id), class: class.clone(), fault: rule.fault.clone() });
        }
        plan
    }
}

/// Whether a fault can happen to requests of this verb.
fn fits(fault: &Fault, verb: Verb) -> bool {
    match fault {
        Fault::CloseWatch { .. }
        | Fault::BreakWatch { .. }
        | Fault::ExpireWatch { .. }
        | Fault::NoBookmarks
        | Fault::DelayEvents { .. } => verb == Verb::Watch,
        Fault::StaleList { .. } => verb == Verb::List,
        Fault::LoseAnswer => verb != Verb::Watch,
        Fault::Conflict => !matches!(verb, Verb::Get | Verb::List | Verb::Watch),
        _ => true,
    }
}

fn apply(rule: &mut Rule, plan: &mut Plan, class: &RequestClass) {
    let resource = &class.resource;
    let refuse = |code, reason, message: String| Some(ApiError::new(code, reason, message));
    match &rule.fault {
        Fault::Conflict => {
            plan.refuse = Some(ApiError::modified(&class.group, resource, "injected"));
        }
        Fault::TooManyRequests { retry_after_s } => {
            plan.refuse = Some(ApiError::too_many_requests(
                *retry_after_s,
                "Too many requests, please try again later.",
            ));
        }
        Fault::InternalError => {
            plan.refuse = refuse(500, "InternalError", "Internal error occurred: injected fault".into());
        }
        Fault::ServiceUnavailable => {
            plan.refuse = refuse(
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request".into(),
            );
        }
        Fault::GatewayTimeout => {
            plan.refuse = refuse(
                504,
                "Timeout",
                "Timeout: request did not complete within the allotted timeout".into(),
            );
        }
        Fault::Slow { min, max } => {
            let spread_us = max.saturating_sub(*min).as_micros() as u64;
            plan.delay += *min + Duration::from_micros(rule.random.below(spread_us + 1));
        }
        Fault::LoseAnswer => plan.lose_answer = true,
        Fault::LoseRequest => plan.lose_request = true,
        Fault::BlackHole => plan.black_hole = true,
        Fault::CloseWatch { after_events } => plan.watch.end = Some((WatchEnd::Close, *after_events)),
        Fault::BreakWatch { after_events } => plan.watch.end = Some((WatchEnd::Break, *after_events)),
        Fault::ExpireWatch { after_events } => plan.watch.end = Some((WatchEnd::Expire, *after_events)),
        Fault::StaleList { events_back } => plan.stale_events_back = *events_back,
        Fault::NoBookmarks => plan.watch.no_bookmarks = true,
        Fault::DelayEvents { max } => {
            plan.watch.delay = Some((*max, Random::new(rule.random.next())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(verb: Verb, resource: &str, subresource: &str) -> RequestClass {
        RequestClass {
            verb,
            group: String::new(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    #[test]
    fn a_rule_strikes_only_what_it_is_for_and_as_often_as_it_says() {
        let faults = Faults::new(1);
        let rule = faults.inject(Target::bind(), Fault::LoseAnswer, When::Next(2));
        let bind = class(Verb::Create, "pods", "binding");
        assert!(!faults.plan(&class(Verb::Create, "pods", "")).lose_answer);
        assert!(faults.plan(&bind).lose_answer);
        assert!(faults.plan(&bind).lose_answer);
        assert!(!faults.plan(&bind).lose_answer);
        assert_eq!((faults.strikes(rule), faults.log().len()), (2, 2));
    }

    #[test]
    fn the_same_seed_and_requests_meet_the_same_faults() {
        let history = |seed| {
            let faults = Faults::new(seed);
            faults.inject(Target::any(), Fault::InternalError, When::Chance(0.3));
            let get = class(Verb::Get, "pods", "");
            (0..64).map(|_| faults.plan(&get).refuse.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(history(5), history(5));
        assert_ne!(history(5), history(6));
    }

    #[test]
    fn after_quiesce_nothing_strikes() {
        let faults = Faults::new(1);
        faults.inject(Target::any(), Fault::InternalError, When::Always);
        assert!(faults.plan(&class(Verb::Get, "pods", "")).refuse.is_some());
        faults.quiesce();
        assert!(faults.plan(&class(Verb::Get, "pods", "")).refuse.is_none());
    }
}
