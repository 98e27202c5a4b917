//! Live progress on standard error: a bar on a terminal, plain lines elsewhere and if there are log lines.

use super::observations::Counts;
use indicatif::{ProgressBar, ProgressStyle};
use secondmate_telemetry::logging::print;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Minimum time between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Where progress is shown.
pub(super) enum Progress {
    /// A bar that is redrawn in place.
    Bar(ProgressBar),
    /// A line when something has changed, at a limited rate.
    Lines { last: Option<Instant>, shown: String },
}

impl Progress {
    /// A bar if standard error is a terminal and no log is written to it.
    pub fn new(expected: u64) -> Self {
        if !std::io::stderr().is_terminal() || tracing::enabled!(tracing::Level::INFO) {
            return Self::Lines { last: None, shown: String::new() };
        }
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pods bound  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self::Bar(ProgressBar::new(expected).with_style(style))
    }

    /// Prints a line that stays.
    pub fn note(&self, text: &str) {
        match self {
            // Above the bar, which is redrawn below it, so the line must have been written when this returns.
            Self::Bar(bar) => bar.suspend(|| {
                // If the terminal is gone, there is nobody to read it.
                let _ = writeln!(std::io::stderr(), "{text}");
            }),
            Self::Lines { .. } => print(text),
        }
    }

    /// Shows the progress.
    pub fn show(&mut self, counts: &Counts, expected: u64, elapsed: Duration, now: Instant) {
        let total = expected.max(counts.seen - counts.gone);
        match self {
            Self::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(counts.bound);
                bar.set_message(detail(counts, elapsed));
            }
            Self::Lines { last, shown } => {
                let line = format!("{}/{total} pods bound  {}", counts.bound, detail(counts, elapsed));
                let due = last.is_none_or(|last| now.duration_since(last) >= LINE_INTERVAL);
                let state = format!("{counts:?}");
                if due && *shown != state {
                    print(&line);
                    (*last, *shown) = (Some(now), state);
                }
            }
        }
    }

    /// Ends it; the last state stays visible.
    pub fn finish(&mut self, counts: &Counts, expected: u64, elapsed: Duration) {
        if let Self::Lines { last, .. } = self {
            *last = None;
        }
        self.show(counts, expected, elapsed, Instant::now());
        if let Self::Bar(bar) = self {
            bar.abandon();
        }
    }
}

fn detail(counts: &Counts, elapsed: Duration) -> String {
    let mut text = format!("{} waiting", counts.waiting);
    for (count, what) in [
        (counts.rejected, "unschedulable"),
        (counts.foreign, "of other schedulers"),
        (counts.terminating, "terminating"),
    ] {
        if count > 0 {
            text = format!("{text}, {count} {what}");
        }
    }
    format!("{text}  {:.1} s", elapsed.as_secs_f64())
}
