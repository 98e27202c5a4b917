//! The plugins' boundary: the code that runs them knows none of them by name.

use std::path::{Path, PathBuf};

/// The crates that run, judge or measure plugins.
const OUTSIDE: [&str; 7] = ["framework", "cycle", "core", "explain", "shell", "telemetry", "secondmate"];

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("a readable folder").path();
        let is_test = path.file_stem().is_some_and(|stem| stem.to_string_lossy().contains("test"));
        if is_test {
            continue;
        }
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn no_crate_outside_knows_a_plugin_by_name() {
    let registry = secondmate_plugins::registry().expect("no name twice");
    let names: Vec<String> = registry.names().map(|name| format!("\"{name}\"")).collect();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    let mut looked_at = 0;
    for outside in OUTSIDE {
        let mut files = Vec::new();
        rust_files(&crates.join(outside).join("src"), &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a source file");
            // Tests at the end of the file. `mod tests;` may be at its top.
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            looked_at += 1;
            let comment = |line: &&str| line.trim_start().starts_with("//");
            for line in code.lines().filter(|line| !comment(line)) {
                if names.iter().any(|name| line.contains(name.as_str())) {
                    found.push(format!("{}: {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(looked_at > 50, "only {looked_at} files were found");
    assert_eq!(found, Vec::<String>::new(), "declare it (Plugin::declaration), do not name it");
}
