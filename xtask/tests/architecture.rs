//! ARCHITECTURE.md names what exists.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sources of a crate's program: each file with its text, without tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let (root, mut folders, mut sources) = (root(), vec![PathBuf::from(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = folder.join(entry.file_name());
            let name = path.display().to_string();
            if entry.path().is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs")
                && !name.ends_with("tests.rs")
                && !name.ends_with("test_server.rs")
            {
                let text = fs::read_to_string(entry.path()).expect("a file");
                let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                sources.push((name, program.to_owned()));
            }
        }
    }
    sources.sort();
    sources
}

/// Tasks and threads that `shell::tasks` does not start, by file, and why their end is noticed nevertheless. Each has a row in the
/// table of tasks.
const STARTED_OTHERWISE: [(&str, usize, &str); 13] = [
    ("crates/sandbox/src/webhooks.rs", 2, "connections: their requests fail"),
    ("crates/secondmate/src/playground/observer.rs", 1, "its channel closes, and Observer::failed is asked"),
    ("crates/secondmate/src/process.rs", 1, "the thread of the signals: its end is that of the process"),
    ("crates/shell/src/connect.rs", 1, "the start waits for it"),
    ("crates/shell/src/connect/client.rs", 1, "the start waits for it"),
    ("crates/shell/src/connect/step.rs", 1, "the start waits for it"),
    ("crates/shell/src/elect.rs", 1, "Shell::ended waits for the election itself"),
    ("crates/shell/src/extender.rs", 1, "the scheduling thread waits for the answer"),
    ("crates/shell/src/poll/ask.rs", 1, "the poll waits for it"),
    ("crates/shell/src/shell/thread.rs", 1, "the scheduling thread: tells of its end and of a panic itself"),
    ("crates/shell/src/tasks.rs", 1, "the one place"),
    ("crates/telemetry/src/admin/profile.rs", 1, "the request waits for it"),
    ("crates/telemetry/src/logging/output.rs", 1, "the log's thread: nobody is left who could tell"),
];

#[test]
fn no_task_is_started_past_those_who_notice_its_end() {
    let starts =
        ["tokio::spawn(", "thread::spawn(", "thread::Builder::new()", "spawn_blocking(", "runtime.spawn("];
    let mut found = Vec::new();
    for folder in ["sandbox", "secondmate", "shell", "telemetry"] {
        for (file, text) in sources(&format!("crates/{folder}/src")) {
            let count: usize = starts.iter().map(|start| text.matches(start).count()).sum();
            if count > 0 {
                found.push((file, count));
            }
        }
    }
    let mut expected = STARTED_OTHERWISE.map(|(file, count, _)| (file.to_owned(), count));
    expected.sort();
    assert_eq!(found, expected, "start it through shell::tasks, or say here who notices its end");
}

/// The constant part of the first argument of a call: a text, the beginning of a `format!`, or a constant of the file.
fn name_of_task<'a>(call: &'a str, text: &'a str) -> Option<&'a str> {
    let argument = call.trim_start();
    let argument = argument.strip_prefix("format!(").unwrap_or(argument);
    let quoted = |text: &'a str| text.strip_prefix('"')?.split(['"', '{']).next();
    quoted(argument).or_else(|| {
        let constant = argument.split(',').next()?;
        let (_, value) = text.split_once(&format!("const {constant}: &str = "))?;
        quoted(value)
    })
}

#[test]
fn each_task_of_the_shell_has_a_row() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (_, table) = text.split_once("\n| task | started in |").expect("the table of tasks");
    let table: String =
        table.lines().take_while(|line| line.starts_with('|') || line.starts_with(' ')).collect();
    let mut tasks = 0;
    for (file, text) in sources("crates/shell/src") {
        for start in ["tasks.spawn(", "tasks.spawn_lasting("] {
            for (_, call) in text.match_indices(start).map(|(at, _)| text.split_at(at + start.len())) {
                let name = name_of_task(call, &text);
                let name = name.unwrap_or_else(|| panic!("{file}: a task without a name after {start}"));
                let written = [format!("`{name}`"), format!("`{name}…`")];
                assert!(
                    written.iter().any(|name| table.contains(name)),
                    "{file}: the task {name:?} has no row in ARCHITECTURE.md"
                );
                tasks += 1;
            }
        }
    }
    assert!(tasks > 20, "only {tasks} tasks were found");
}

/// The rows "`file` | `function`, `function` | …" of its tables.
#[test]
fn the_functions_that_a_pod_passes_are_there() {
    let root = root();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with("| `crates/") && line.contains(".rs` |")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let file = cells[1].trim_matches('`');
        let source = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        for name in cells[2].split(", ").map(|name| name.trim_matches('`')) {
            let found = ["(", "<"].iter().any(|after| source.contains(&format!("fn {name}{after}")));
            assert!(found, "{file} has no function {name}");
        }
        rows += 1;
    }
    assert!(rows > 20, "only {rows} rows were found");
}
