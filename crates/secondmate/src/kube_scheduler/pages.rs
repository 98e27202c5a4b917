//! `/flagz` and `/statusz`, for people.

use crate::version::VERSION;
use secondmate_telemetry::{Admin, DebugResponse};
use std::fmt::Write;
use std::time::Instant;

/// The flags of this process as they were given, each on a line.
pub(super) fn flags() -> String {
    let given = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let flags: Vec<String> = given.skip_while(|argument| !argument.starts_with('-')).collect();
    listed(&flags)
}

fn listed(arguments: &[String]) -> String {
    let mut text =
        "kube-scheduler flagz (secondmate): the flags that were given; all others have their defaults\n"
            .to_owned();
    let mut arguments = arguments.iter().peekable();
    while let Some(argument) = arguments.next() {
        let name = argument.trim_start_matches('-');
        let line = match name.split_once('=') {
            Some((name, value)) => format!("{name}={value}"),
            None => match arguments.next_if(|next| !next.starts_with('-') || next.parse::<f64>().is_ok()) {
                Some(value) => format!("{name}={value}"),
                None => format!("{name}=true"),
            },
        };
        text.push('\n');
        text.push_str(&line);
    }
    text.push('\n');
    text
}

/// Serves the pages.
pub(crate) fn mount(admin: &Admin, flagz: Option<String>, statusz: bool) {
    if let Some(text) = flagz {
        admin.add_page("/flagz", move |_| {
            let text = text.clone();
            async move { DebugResponse::text(text) }
        });
    }
    if statusz {
        let (began, since) = (jiff::Timestamp::now(), Instant::now());
        let of = admin.clone();
        admin.add_page("/statusz", move |_| {
            let text = status(began, since.elapsed().as_secs(), &of.paths());
            async move { DebugResponse::text(text) }
        });
    }
}

fn status(began: jiff::Timestamp, up_seconds: u64, paths: &[String]) -> String {
    let mut text = "kube-scheduler statusz (secondmate)\n\n".to_owned();
    let (hours, minutes, seconds) = (up_seconds / 3600, up_seconds / 60 % 60, up_seconds % 60);
    let written = write!(
        text,
        "Started: {}\nUp: {hours} hr {minutes:02} min {seconds:02} sec\nBinary version: {} (commit {})\nEmulation version: {}\nPaths: {}\n",
        began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        VERSION.version,
        VERSION.commit,
        VERSION.kubernetes,
        paths.join(" ")
    );
    written.expect("writing to a String does not fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_listed_with_their_values() {
        let given = ["--a=1", "--b", "-2", "--c", "-v=4"].map(str::to_owned);
        let text = listed(&given);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines, ["a=1", "b=-2", "c=true", "v=4"]);
    }
}
