//! The complete table of the machine, and what must hold on every path through it.

use super::ask::AskBind;
use super::*;
use expect_test::expect_file;
use secondmate_framework::ApiWrite;
use std::collections::BTreeSet;
use std::fmt::Write;

const TIMES: Times = Times {
    now: Timestamp::from_secs(100),
    confirm_within: Duration::from_secs(30),
    look_again_after: Duration::from_secs(1),
    reads: true,
};

/// How long a pod waits at most for others.
const AT_MOST: Duration = Duration::from_secs(30);

/// It has waited since then, for the node to become quiet.
fn waits_since(since: i64) -> Wait {
    Wait { since: at(since), why: Contention::OnTheNode, why_since: at(since) }
}

/// Others are binding pods to the node until then.
fn contended(look_at: Timestamp) -> Room {
    Room::Contended { why: Contention::OnTheNode, look_at, at_most: AT_MOST }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn atom(name: &str) -> Atom {
    Atom::new(name)
}

fn pod() -> Arc<Pod> {
    let wire = serde_json::json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "p"},
        "spec": {"schedulerName": "my-scheduler", "containers": []},
    });
    let wire: secondmate_model::wire::Pod = serde_json::from_value(wire).expect("a pod");
    Arc::new(Pod::new(&wire).expect("a pod that compiles"))
}

fn writes() -> Vec<ApiWrite> {
    let body = serde_json::Value::Null;
    vec![ApiWrite { verb: secondmate_framework::WriteVerb::MergePatch, path: "/pv".to_owned(), body }]
}

/// One of each kind of stage, and more where events have different effects.
fn stages() -> Vec<Stage> {
    let permit = |plugins: &[(&str, i64)]| {
        let plugins = plugins.iter().map(|(name, secs)| (atom(name), at(*secs))).collect();
        Stage::Held(Held::Permit { plugins, since: at(90) })
    };
    let unless = |unless_bound, look| {
        Stage::Sent(Sent::Unknown { message: "time-out".to_owned(), look, unless_bound })
    };
    let unknown = |look| unless(UnlessBound::Fail, look);
    let bound = |secs| Stage::Sent(Sent::Bound { look_at: at(secs) });
    vec![
        permit(&[("A", 120)]),
        permit(&[("A", 120), ("B", 150)]),
        permit(&[("A", 100), ("B", 95)]),
        Stage::Held(Held::Writing { plugin: 1 }),
        Stage::Held(Held::Waiting { plugin: 1, deadline: at(120) }),
        Stage::Held(Held::Waiting { plugin: 1, deadline: at(100) }),
        Stage::Held(Held::Yielding { by: Binders::All, wait: waits_since(98), look_at: at(100) }),
        Stage::Held(Held::Yielding { by: Binders::All, wait: waits_since(98), look_at: at(101) }),
        Stage::Held(Held::Reading { by: Binders::All, since: at(100) }),
        Stage::TakenBack(None),
        Stage::TakenBack(Some(Cause::Told(Status::error("no room")))),
        Stage::Sent(Sent::Awaited),
        Stage::Sent(Sent::Deleted),
        Stage::Sent(Sent::Seen),
        Stage::Sent(Sent::Ended),
        unknown(Look::Asked),
        unknown(Look::At(at(101))),
        unknown(Look::At(at(100))),
        unless(UnlessBound::FailByExtender, Look::Asked),
        unless(UnlessBound::AskPlugins, Look::Asked),
        bound(130),
        bound(100),
    ]
}

fn events() -> Vec<Event> {
    let refused = |code| BindOutcome::Refused { code, message: "refused".to_owned() };
    let failed = |ignorable| BindOutcome::ExtenderFailed { message: "cannot bind".to_owned(), ignorable };
    vec![
        Event::Allowed(atom("A")),
        Event::Allowed(atom("C")),
        Event::Rejected(Status::unschedulable("not today").by(&atom("A"))),
        Event::Preempted(atom("P")),
        Event::NoRoom(Status::error("no room")),
        Event::ObjectChanged,
        Event::Due,
        Event::Written(Ok(())),
        Event::Written(Err("503".to_owned())),
        Event::Answered(BindOutcome::Bound),
        Event::Answered(refused(409)),
        Event::Answered(refused(403)),
        Event::Answered(BindOutcome::Unknown { message: "lost".to_owned() }),
        Event::Answered(failed(false)),
        Event::Answered(failed(true)),
        Event::Answered(BindOutcome::NotSent),
        Event::Looked(Sight::Failed),
        Event::Looked(Sight::Gone),
        Event::Looked(Sight::Here(pod())),
        Event::Looked(Sight::Elsewhere(pod())),
        Event::Looked(Sight::Unbound),
        Event::NodeRead { requested: at(99) },
        Event::NodeRead { requested: at(100) },
        Event::Seen { here: true },
        Event::Seen { here: false },
        Event::Ended,
        Event::Deleted,
        Event::LeftPending,
    ]
}

/// The questions with every possible answer, by the question's name.
fn answers() -> Vec<(String, Step)> {
    let mut all = Vec::new();
    let wait = |secs| PreBindAnswer::Wait { plugin: 2, deadline: at(secs) };
    for late in [false, true] {
        for answer in [
            PreBindAnswer::Done,
            PreBindAnswer::Write { plugin: 2, writes: writes() },
            wait(120),
            wait(100),
            PreBindAnswer::Fail { plugin: 2, status: Status::error("broken") },
            PreBindAnswer::Fail { plugin: 2, status: Status::unschedulable("taken") },
        ] {
            let ask = AskPreBind { first: 1, late };
            let name = if late { "PreBind (late)" } else { "PreBind" };
            all.push((format!("{name} + {}", text(&answer)), ask.answered(answer, TIMES.now)));
        }
    }
    for (by, before) in [
        (Binders::All, Before::Nothing),
        (Binders::Plugins, Before::Nothing),
        (Binders::All, Before::Yielded(waits_since(98))),
        (Binders::All, Before::Yielded(waits_since(95))),
        (Binders::All, Before::Yielded(Wait { why: Contention::InQueues, ..waits_since(94) })),
        (Binders::All, Before::Read),
    ] {
        for room in rooms() {
            let name = match before {
                Before::Nothing => "Room",
                Before::Yielded(Wait { why: Contention::InQueues, .. }) => "Room (yielded for queues)",
                Before::Yielded(wait) if wait.since == at(98) => "Room (yielding)",
                Before::Yielded(_) => "Room (yielded long enough)",
                Before::Read => "Room (read)",
            };
            let name = format!("{name} for {by:?} + {}", text(&room));
            all.push((name, AskRoom { by, before }.answered(room, &TIMES)));
        }
    }
    for room in rooms() {
        let times = Times { reads: false, ..TIMES };
        let room = match room {
            Ok(Room::Contended { why, look_at, .. }) => {
                Ok(Room::Contended { why, look_at, at_most: Duration::ZERO })
            }
            other => other,
        };
        let name = format!("Room, neither yielding nor reading, + {}", text(&room));
        all.push((name, AskRoom { by: Binders::All, before: Before::Nothing }.answered(room, &times)));
    }
    for call in [
        Ok(BindCall::Binding(BTreeMap::new())),
        Ok(BindCall::Write(writes().remove(0))),
        Ok(BindCall::Extender),
        Err(Status::error("broken")),
        Err(Status::unschedulable("not here").by(&atom("B"))),
    ] {
        all.push((format!("Bind + {}", text(&call)), AskBind::of(Binders::All).answered(call)));
    }
    all
}

fn rooms() -> [Result<Room, Status>; 4] {
    [Ok(Room::Enough), Ok(Room::Scarce), Ok(contended(at(101))), Err(Status::error("no room"))]
}

/// A value as `Debug` prints it, but shortened where that helps the reader.
fn text(value: &impl std::fmt::Debug) -> String {
    let mut text = format!("{value:?}");
    text = text.replace(&format!("{:?}", pod()), "POD");
    text = text.replace(&format!("{:?}", writes()[0]), "WRITE");
    text = text.replace("Status(Some(Inner {", "Status {").replace("plugin: None }))", "plugin: None }");
    text = text.replace(") }))", ") }");
    for secs in 0..200 {
        text = text.replace(&format!("{:?}", at(secs)), &format!("{secs}s"));
    }
    for name in ["A", "B", "C", "P"] {
        text = text.replace(&format!("{:?}", atom(name)), name);
    }
    text
}

/// What comes next, then what has to be done first.
fn outcome((next, actions): &Step) -> String {
    let actions: Vec<String> = actions.iter().map(text).collect();
    let actions = if actions.is_empty() { String::new() } else { format!("      {}\n", actions.join("; ")) };
    format!("{}\n{actions}", text(next))
}

#[test]
fn every_event_in_every_stage_does_what_the_table_says() {
    let mut table = String::new();
    for stage in stages() {
        writeln!(table, "{}", text(&stage)).expect("a string takes everything");
        let mut ignored = Vec::new();
        for event in events() {
            let step = step(stage.clone(), event.clone(), &TIMES);
            if step == (Next::Rest(stage.clone()), Actions::new()) {
                ignored.push(text(&event));
            } else {
                write!(table, "  {} => {}", text(&event), outcome(&step)).expect("a string takes everything");
            }
        }
        writeln!(table, "  nothing happens: {}\n", ignored.join(", ")).expect("a string takes everything");
    }
    for (question, step) in answers() {
        write!(table, "{question} => {}", outcome(&step)).expect("a string takes everything");
    }
    let first = |plugins: &[&str]| start(plugins.iter().map(|p| (atom(p), at(150))).collect(), TIMES.now);
    for plugins in [&[][..], &["A"]] {
        write!(table, "start {plugins:?} => {}", outcome(&first(plugins)))
            .expect("a string takes everything");
    }
    expect_file!["table.txt"].assert_eq(&table);
}

/// The combined effect of the machine's actions on one path through it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Books {
    /// The extension point that is running, according to the probe.
    running: Option<Point>,
    freed: bool,
    unreserved: bool,
    sent: bool,
    placed: bool,
    /// Back in the queue, or parked.
    returned: bool,
    /// The assigned watch or a look has shown the pod on a node, or the watch has shown its end.
    shown: bool,
    /// Outstanding answers.
    outstanding: BTreeSet<Awaited>,
}

impl Books {
    fn enter(&mut self, action: &Action) {
        let once = |done: &mut bool| assert!(!std::mem::replace(done, true), "twice: {action:?}");
        match action {
            Action::BeginPoint(point) => assert_eq!(self.running.replace(*point), None),
            Action::EndPoint(_) => assert!(self.running.take().is_some(), "a point ends that did not begin"),
            Action::Write(_) => assert!(self.outstanding.insert(Awaited::Write)),
            Action::Send(_) => {
                once(&mut self.sent);
                assert!(!self.freed, "sent without room");
                assert!(self.outstanding.insert(Awaited::Bind));
            }
            // A second look may be requested while the answer to the first one is late.
            Action::Look => {
                self.outstanding.insert(Awaited::Look);
            }
            // A read concerns the node, so the answer to one requested in an earlier attempt serves a later one.
            Action::ReadNode => {
                assert!(!self.sent, "read after it was sent");
                self.outstanding.insert(Awaited::Read);
            }
            Action::Placed => {
                once(&mut self.placed);
                assert!(self.sent, "placed and not sent");
            }
            Action::FreeRoom => once(&mut self.freed),
            Action::Unreserve => once(&mut self.unreserved),
            Action::Retry { .. } | Action::Park => {
                once(&mut self.returned);
                assert!(self.freed, "back in the queue, and its room is held");
            }
            Action::AnnounceRoom { .. } => assert!(self.freed),
            Action::TakeAsAssigned(_) => self.shown = true,
            Action::Observe(_) | Action::StopEvents => {}
        }
    }

    /// An answer comes only if it was requested; a watch may show anything at any time.
    fn may_happen(&mut self, event: &Event, stage: &Stage) -> bool {
        match event {
            Event::Written(_) => self.outstanding.remove(&Awaited::Write),
            Event::Answered(_) => self.outstanding.remove(&Awaited::Bind),
            Event::Looked(sight) => {
                // The pod is not bound, so it may be bound once more.
                self.sent &= *sight != Sight::Unbound;
                self.outstanding.remove(&Awaited::Look)
            }
            // If the read was requested earlier, another one follows.
            Event::NodeRead { requested } => {
                *requested < TIMES.now || self.outstanding.remove(&Awaited::Read)
            }
            Event::Seen { .. } => {
                self.shown = true;
                true
            }
            // Until the binding is sent, this tells nothing.
            Event::Ended if matches!(stage, Stage::Sent(_)) => {
                self.shown = true;
                true
            }
            Event::Ended => false,
            _ => true,
        }
    }

    fn close(&self) {
        assert!(self.placed || self.returned || self.shown, "the pod is lost: {self:?}");
        assert!(self.freed || self.shown, "its room is never given back: {self:?}");
        assert!(self.unreserved || self.placed, "Reserve is not undone: {self:?}");
        assert_eq!(self.running, None, "{self:?}");
        let waits_for_write = self.outstanding.contains(&Awaited::Write);
        assert!(!waits_for_write || self.shown, "an answer may be taken for a later attempt's: {self:?}");
    }
}

/// Follows every path through the machine and checks what must hold on each.
fn follow(step: Step, mut books: Books, seen: &mut BTreeSet<(String, Books)>, over: &mut usize) {
    let (next, actions) = step;
    for action in &actions {
        books.enter(action);
    }
    match next {
        Next::Over => {
            *over += 1;
            books.close();
        }
        Next::Rest(stage) => {
            if !seen.insert((format!("{stage:?}"), books.clone())) {
                return;
            }
            if let WayOut::Answer(answer) = stage.way_out() {
                assert!(
                    books.outstanding.contains(&answer),
                    "{stage:?} waits for what nobody sends: {books:?}"
                );
            }
            assert_eq!(stage.holds_room(), !(books.freed || books.shown), "{stage:?}: {books:?}");
            for event in events() {
                let mut books = books.clone();
                if books.may_happen(&event, &stage) {
                    follow(super::step(stage.clone(), event, &TIMES), books, seen, over);
                }
            }
        }
        Next::Ask(Ask::PreBind(ask)) => {
            for answer in [
                PreBindAnswer::Done,
                PreBindAnswer::Write { plugin: 0, writes: writes() },
                PreBindAnswer::Wait { plugin: 0, deadline: at(120) },
                PreBindAnswer::Wait { plugin: 0, deadline: at(100) },
                PreBindAnswer::Fail { plugin: 0, status: Status::error("broken") },
            ] {
                follow(ask.clone().answered(answer, TIMES.now), books.clone(), seen, over);
            }
        }
        Next::Ask(Ask::Room(ask)) => {
            // Includes one that is quiet at once, so that the path continues at this very time.
            for room in rooms().into_iter().chain([Ok(contended(TIMES.now))]) {
                follow(ask.clone().answered(room, &TIMES), books.clone(), seen, over);
            }
        }
        Next::Ask(Ask::Bind(ask)) => {
            let extender = (ask.by() == Binders::All).then_some(Ok(BindCall::Extender));
            let plugins = [Ok(BindCall::Binding(BTreeMap::new())), Err(Status::error("broken"))];
            for call in plugins.into_iter().chain(extender) {
                follow(ask.clone().answered(call), books.clone(), seen, over);
            }
        }
    }
}

#[test]
fn on_every_way_the_binding_is_sent_at_most_once_and_its_room_and_pod_are_settled_once() {
    let (mut seen, mut over) = (BTreeSet::new(), 0);
    for plugins in [&[][..], &["A"], &["A", "B"]] {
        let plugins = plugins.iter().map(|p| (atom(p), at(100))).collect();
        follow(start(plugins, at(90)), Books::default(), &mut seen, &mut over);
    }
    let stages: BTreeSet<&String> = seen.iter().map(|(stage, _)| stage).collect();
    assert!(stages.len() >= 12 && over > 100, "{} stages, {over} ends", stages.len());
}
