//! How many files the process may have open, which bounds the connections that it can accept.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// What the process has open besides connections to the guard: those to the API server, of a scheduler beside it, of probes, and its
/// files.
const OTHERS: u64 = 512;

/// How many of so many connections the process can have. Its limit on open files is raised for them if necessary and allowed: in many
/// places it is 1,024, which is meant for programs that use `select`, and may be raised.
pub(super) fn connections(wanted: usize) -> usize {
    let files = wanted as u64 + OTHERS;
    if let Some(higher) = raised(getrlimit(Resource::Nofile), files)
        && let Err(error) = setrlimit(Resource::Nofile, higher)
    {
        warn!(%error, "the limit on open files cannot be raised");
    }
    let limit = getrlimit(Resource::Nofile);
    let possible = within(limit, wanted);
    if possible < wanted {
        warn!(
            limit = limit.current,
            connections = possible,
            "few files may be open at once, and so the bind guard keeps few connections: raise the hard limit of the container or unit (LimitNOFILE) to {files}"
        );
    }
    possible
}

/// The limit to set if the present one is too low for so many files and may be raised.
fn raised(limit: Rlimit, files: u64) -> Option<Rlimit> {
    let current = limit.current.filter(|current| *current < files)?;
    let higher = limit.maximum.map_or(files, |maximum| maximum.min(files));
    (higher > current).then_some(Rlimit { current: Some(higher), ..limit })
}

/// How many of so many connections are possible. If even the others have too little, they get half of it.
fn within(limit: Rlimit, wanted: usize) -> usize {
    let Some(files) = limit.current else { return wanted };
    let possible = files.saturating_sub(OTHERS).max(files / 2);
    usize::try_from(possible).unwrap_or(usize::MAX).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(current: u64, maximum: u64) -> Rlimit {
        Rlimit { current: Some(current), maximum: Some(maximum) }
    }

    #[test]
    fn the_limit_is_raised_as_far_as_necessary_and_allowed() {
        for (present, expected) in [
            (limit(1024, 524_288), Some(limit(2560, 524_288))),
            (limit(1024, 2000), Some(limit(2000, 2000))),
            (limit(1024, 1024), None),
            (limit(4096, 524_288), None),
            (
                Rlimit { current: Some(1024), maximum: None },
                Some(Rlimit { current: Some(2560), maximum: None }),
            ),
            (Rlimit { current: None, maximum: None }, None),
        ] {
            assert_eq!(raised(present, 2560), expected, "{present:?}");
        }
    }

    #[test]
    fn connections_leave_files_for_the_rest() {
        for (current, expected) in [(1_048_576, 2048), (2560, 2048), (2000, 1488), (1024, 512), (256, 128)] {
            assert_eq!(within(limit(current, current), 2048), expected, "{current}");
        }
        assert_eq!(within(Rlimit { current: None, maximum: None }, 2048), 2048);
    }

    #[test]
    fn afterwards_the_limit_suffices_if_it_may() {
        let possible = connections(100);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(possible, within(limit, 100));
        assert_eq!(raised(limit, 100 + OTHERS), None);
    }
}
