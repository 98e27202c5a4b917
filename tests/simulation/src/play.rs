//! Plays a history, and says what it broke.

use crate::{Options, Step, World};
use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a history broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The invariant, or the place where the program panicked.
    pub message: String,
    /// The index of the step in or before which it broke, or the number of steps if it broke after them.
    pub step: usize,
}

impl Broken {
    /// The message without names and numbers, which is the same for two histories that break in the same way.
    #[must_use]
    pub fn kind(&self) -> String {
        kind(&self.message)
    }
}

/// See [`Broken::kind`].
pub(crate) fn kind(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let words = line.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.take(12).collect::<Vec<_>>().join(" ")
}

/// A history that was played.
pub struct Played {
    /// The world at the end.
    pub world: World,
    /// What broke, if anything did.
    pub broken: Option<Broken>,
}

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Silences panics of this process from now on; their origin is part of what [`play`] returns.
pub fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        PLACE.with_borrow_mut(|noted| *noted = place);
    }));
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text");
    match PLACE.with_borrow_mut(Option::take) {
        Some(place) => format!("{text}\n({place})"),
        None => text.to_owned(),
    }
}

/// Plays these steps; `after` is called after each one, and says whether to continue.
pub fn play(
    seed: u64,
    options: Options,
    steps: impl IntoIterator<Item = Step>,
    mut after: impl FnMut(&World, &Step) -> bool,
) -> Played {
    let mut world = World::new(seed, options);
    let mut at = 0;
    let played = catch_unwind(AssertUnwindSafe(|| {
        for step in steps {
            world.perform(&step);
            at += 1;
            if !after(&world, &step) {
                break;
            }
        }
    }));
    let broken = played.err().map(|panic| Broken { message: message(&*panic), step: at });
    Played { world, broken }
}
