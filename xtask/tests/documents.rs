//! The documents agree with the repository: links have targets, quoted messages are the program's, quoted files are the example's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents at the top level and those in `docs`.
fn documents() -> Vec<PathBuf> {
    let folders = [root(), root().join("docs")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("a folder"));
    let paths = files.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    found.sort();
    assert!(found.len() >= 10, "{found:?}");
    found
}

/// A text without its fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The anchor that hosting sites give to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    let mut wrong = Vec::new();
    let mut links = 0;
    for document in documents() {
        let text = read(&document);
        let prose = prose(&text);
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                document.clone()
            } else {
                document.parent().expect("a folder").join(file)
            };
            let there = path.exists() && (heading.is_empty() || anchors(&read(&path)).contains(heading));
            if !there {
                wrong.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(links > 20, "only {links} links were found");
    assert!(wrong.is_empty(), "these links lead nowhere:\n{}", wrong.join("\n"));
}

fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&read(&path));
        }
    }
}

/// What is in backticks in a heading of `docs/troubleshooting.md`, apart from `…`, is part of a message in the code.
#[test]
fn the_messages_that_are_explained_are_those_of_the_program() {
    let mut code = String::new();
    sources(&root().join("crates"), &mut code);
    let text = read(&root().join("docs/troubleshooting.md"));
    let messages: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("### "))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect();
    assert!(messages.len() > 15, "{messages:?}");
    for message in messages {
        let parts = message.split('…').map(str::trim).filter(|part| !part.is_empty());
        for part in parts {
            assert!(code.contains(part), "the program does not say {part:?} any more: correct {message:?}");
        }
    }
}

/// `docs/plugin.md` quotes the files of the example, which is built and tested.
#[test]
fn the_plugin_that_is_written_is_the_example() {
    let text = read(&root().join("docs/plugin.md"));
    for file in ["src/lib.rs", "src/main.rs", "config.yaml"] {
        let content = read(&root().join("examples/node-number").join(file));
        assert!(
            text.contains(&format!("\n{content}```\n")),
            "docs/plugin.md does not quote examples/node-number/{file} as it is: copy it into its block"
        );
    }
}

/// The crates that `docs/plugin.md` depends on are those of the example, at the paths that it names.
#[test]
fn the_crate_that_is_written_depends_on_what_the_example_depends_on() {
    let text = read(&root().join("docs/plugin.md"));
    let example = read(&root().join("examples/node-number/Cargo.toml"));
    let (_, dependencies) = example.split_once("[dependencies]\n").expect("a table of dependencies");
    let names = dependencies.lines().take_while(|line| !line.starts_with('['));
    for name in names.filter_map(|line| line.split_once('.')).map(|(name, _)| name) {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} = ")));
        let line = line.unwrap_or_else(|| panic!("docs/plugin.md does not depend on {name}"));
        if let Some(path) = line.split("../secondmate/").nth(1).and_then(|rest| rest.split('"').next()) {
            assert!(root().join(path).join("Cargo.toml").exists(), "{path} is not there");
        }
    }
}
