//! ARCHITECTURE.md names what is there.

use std::fs;
use std::path::Path;

/// The rows "`file` | `function`, `function` | …" of its tables.
#[test]
fn the_functions_that_a_pod_passes_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
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
