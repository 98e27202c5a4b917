//! Shrinks a history that breaks something.

use crate::play::kind;
use crate::{Broken, History, Step, play};

/// Gaps between steps, in milliseconds, to which longer ones are cut if the history still breaks.
const GAPS: [u64; 6] = [500, 5_000, 60_000, 600_000, 7_200_000, 86_400_000];
/// The shortest tail of the history that is tried.
const SHORTEST_TAIL: usize = 16;

struct Shrinker<P> {
    history: History,
    kind: String,
    /// Number of steps that may still be played.
    left: usize,
    /// Plays steps, and says what they break.
    play: P,
}

impl<P: FnMut(&[Step]) -> Option<Broken>> Shrinker<P> {
    /// Whether these steps break the same invariant; if so, they become the history.
    fn breaks(&mut self, mut steps: Vec<Step>) -> bool {
        if self.left == 0 {
            return false;
        }
        let broken = (self.play)(&steps);
        let played = broken.as_ref().map_or(steps.len(), |broken| broken.step + 1);
        self.left = self.left.saturating_sub(played);
        let Some(broken) = broken.filter(|broken| broken.kind() == self.kind) else { return false };
        steps.truncate(broken.step + 1);
        self.history.steps = steps;
        self.history.broke = broken.message;
        true
    }

    /// Most of what happened long before is irrelevant.
    fn cut_the_beginning(&mut self) {
        let steps = self.history.steps.clone();
        let mut tail = SHORTEST_TAIL;
        while tail < steps.len() {
            if self.breaks(steps[steps.len() - tail..].to_vec()) {
                return;
            }
            tail *= 2;
        }
    }

    /// Removes parts, larger ones first.
    fn take_parts_out(&mut self) {
        let mut size = self.history.steps.len() / 2;
        while size > 0 {
            let mut smaller = false;
            // The last step is the one that breaks it.
            let mut end = self.history.steps.len().saturating_sub(1);
            while end > 0 {
                let begin = end.saturating_sub(size);
                let mut steps = self.history.steps.clone();
                steps.drain(begin..end);
                smaller |= self.breaks(steps);
                end = begin.min(self.history.steps.len().saturating_sub(1));
            }
            if size > 1 || !smaller {
                size /= 2;
            }
        }
    }

    /// Removes irrelevant waiting.
    fn shorten_gaps(&mut self) {
        for longest in GAPS {
            let mut steps = self.history.steps.clone();
            let (mut before, mut at) = (0, 0);
            for step in &mut steps {
                at += (step.at - before).min(longest);
                before = std::mem::replace(&mut step.at, at);
            }
            if self.breaks(steps) {
                return;
            }
        }
    }
}

/// A shorter history that breaks the same invariant, found by playing at most this many steps. The given one broke at `broken`.
#[must_use]
pub fn shrink(history: History, broken: &Broken, steps_at_most: usize) -> History {
    let (seed, options) = (history.seed, history.options);
    let play = |steps: &[Step]| play(seed, options, steps.iter().copied(), |_, _| true).broken;
    shrink_by(history, broken, steps_at_most, play)
}

fn shrink_by(
    mut history: History,
    broken: &Broken,
    steps_at_most: usize,
    play: impl FnMut(&[Step]) -> Option<Broken>,
) -> History {
    history.steps.truncate(broken.step + 1);
    let kind = kind(&broken.message);
    let mut shrinker = Shrinker { history, kind, left: steps_at_most, play };
    shrinker.cut_the_beginning();
    shrinker.take_parts_out();
    shrinker.shorten_gaps();
    shrinker.take_parts_out();
    shrinker.history
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Options};

    /// Breaks if 700, 650 and 123 came before 800, whatever else did; breaks in another way if 700 is missing.
    fn rule(steps: &[Step]) -> Option<Broken> {
        let has = |number| steps.iter().any(|step| step.number == number);
        let step = steps.iter().position(|step| step.number == 800)?;
        let kind = if has(700) { "one" } else { "another" };
        (has(650) && has(123)).then(|| Broken { message: format!("{kind} p{}", steps.len()), step })
    }

    #[test]
    fn only_what_it_takes_is_left() {
        let steps: Vec<Step> =
            (0..1000).map(|number| Step { at: number * 60_000, number, action: Action::Nothing }).collect();
        let broken = rule(&steps).expect("it breaks");
        let history = History { broke: broken.message.clone(), seed: 1, options: Options::default(), steps };
        let shrunk = shrink_by(history, &broken, 1_000_000, rule);
        let left: Vec<(u64, u64)> = shrunk.steps.iter().map(|step| (step.number, step.at)).collect();
        assert_eq!(left, [(123, 500), (650, 1_000), (700, 1_500), (800, 2_000)]);
        assert_eq!(shrunk.broke, "one p4");
        assert_eq!(History::from_text(&shrunk.to_text()).expect("a history"), shrunk);
    }
}
