//! CPU profiles below `/debug/pprof/`, in the format that `go tool pprof` reads.
//!
//! A profile interrupts the process 100 times per second of CPU time and records the stack; while none is being taken, this costs nothing.
//! Only one is taken at a time.

mod format;

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::{Admin, DebugResponse, parameters};
use format::Taken;

/// Default duration, as in Go.
const SECONDS_DEFAULT: u64 = 30;
/// Maximum duration of a profile; the connection lives a little longer.
pub const SECONDS_MAX: u64 = 60;
/// Samples per second of CPU time, as in Go.
const FREQUENCY: i32 = 100;
/// Unwinding takes locks of these libraries, so a sample that interrupts them is left out.
const NOT_UNWOUND: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// The process has a single profiling timer.
static TURN: Semaphore = Semaphore::const_new(1);

/// The list of profiles.
pub(super) async fn index(State(admin): State<Admin>) -> DebugResponse {
    if !admin.shared.profiling.load(Ordering::Relaxed) {
        return off();
    }
    DebugResponse::text(format!(
        "/debug/pprof/profile\tCPU profile of ?seconds=N (1 to {SECONDS_MAX}, {SECONDS_DEFAULT} by default), for go tool pprof\n\
         /debug/pprof/cmdline\tthe command line\n"
    ))
}

/// Serves one of them.
pub(super) async fn serve(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    if !admin.shared.profiling.load(Ordering::Relaxed) {
        return off().into_response();
    }
    match name.as_str() {
        "profile" => profile(query.as_deref().unwrap_or_default()).await,
        "cmdline" => {
            let arguments: Vec<String> =
                std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
            DebugResponse::text(arguments.join("\0")).into_response()
        }
        "allocs" | "block" | "goroutine" | "heap" | "mutex" | "symbol" | "threadcreate" | "trace" => {
            let why = format!("there is no /debug/pprof/{name}: it is of Go's runtime; see /debug/pprof/");
            DebugResponse::error(404, why).into_response()
        }
        _ => DebugResponse::error(404, format!("there is no /debug/pprof/{name}; see /debug/pprof/"))
            .into_response(),
    }
}

fn off() -> DebugResponse {
    DebugResponse::error(404, "profiles are off (enableProfiling, --profiling)")
}

async fn profile(query: &str) -> Response {
    let seconds = match seconds(query) {
        Ok(seconds) => seconds,
        Err(why) => return DebugResponse::error(400, why).into_response(),
    };
    let Ok(_turn) = TURN.try_acquire() else {
        return DebugResponse::error(429, "another profile is being taken; try again when it has ended")
            .into_response();
    };
    match sample(Duration::from_secs(seconds)).await {
        Ok(profile) => {
            let head = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"profile\""),
            ];
            (head, profile).into_response()
        }
        Err(why) => DebugResponse::error(500, format!("no profile could be taken: {why}")).into_response(),
    }
}

fn seconds(query: &str) -> Result<u64, String> {
    let given = parameters(query).into_iter().rfind(|(name, _)| name == "seconds");
    let Some((_, given)) = given else { return Ok(SECONDS_DEFAULT) };
    given
        .parse()
        .ok()
        .filter(|seconds| (1..=SECONDS_MAX).contains(seconds))
        .ok_or_else(|| format!("seconds={given}: expected 1 to {SECONDS_MAX}"))
}

async fn sample(time: Duration) -> pprof::Result<Vec<u8>> {
    let guard =
        pprof::ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&NOT_UNWOUND).build()?;
    sleep(time).await;
    // This looks up symbols, which takes a while.
    let report = tokio::task::spawn_blocking(move || {
        let report = guard.report().build()?;
        let timing = report.timing;
        let taken = Taken { since: timing.start_time, lasted: timing.duration, frequency: FREQUENCY };
        Ok(format::encode(&report.data, &taken))
    });
    report.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_a_default_and_bounds() {
        assert_eq!(seconds(""), Ok(30));
        assert_eq!(seconds("seconds=5&x=1"), Ok(5));
        for wrong in ["seconds=0", "seconds=61", "seconds=1.5", "seconds="] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
