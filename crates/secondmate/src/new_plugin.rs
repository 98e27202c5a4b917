//! `secondmate new-plugin`: creates a crate with a plugin, its configuration, a test on the sandbox and a Containerfile.

use crate::output::print;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) const EXAMPLES: &str = "\
Examples:
  secondmate new-plugin green-nodes && cd green-nodes && cargo test
  secondmate new-plugin GreenNodes --dir plugins/green --source ../secondmate";

/// The source directory that this program was built from. It may no longer exist.
const BUILT_FROM: &str = env!("CARGO_MANIFEST_DIR");

/// The files: the path and the content of each.
const FILES: [(&str, &str); 8] = [
    ("Cargo.toml", include_str!("new_plugin/template/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("new_plugin/template/lib.rs.txt")),
    ("src/main.rs", include_str!("new_plugin/template/main.rs.txt")),
    ("config.yaml", include_str!("new_plugin/template/config.yaml.txt")),
    ("tests/sandbox.rs", include_str!("new_plugin/template/sandbox.rs.txt")),
    ("Containerfile", include_str!("new_plugin/template/Containerfile.txt")),
    (".gitignore", include_str!("new_plugin/template/gitignore.txt")),
    (".dockerignore", include_str!("new_plugin/template/dockerignore.txt")),
];

/// The keywords of Rust, including reserved ones, as the reference lists them for the edition of the template.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// Crates that the new one is built with, and folders that cargo creates beside its program.
const TAKEN: [&str; 14] = [
    "secondmate",
    "secondmate-framework",
    "secondmate-sandbox",
    "alloc",
    "core",
    "proc-macro",
    "std",
    "test",
    "serde",
    "tokio",
    "build",
    "deps",
    "examples",
    "incremental",
];

/// Options of `new-plugin`.
#[derive(Debug, Args)]
pub(crate) struct NewPluginArgs {
    /// Name of the plugin, such as GreenNodes or green-nodes.
    #[arg(value_name = "NAME")]
    name: String,
    /// Directory of the new crate [default: the name, such as green-nodes].
    #[arg(long, alias = "path", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Clone of secondmate to build the crate with [default: the one that this program was built from].
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
}

/// The forms of a name.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    /// `GreenNodes`, of the plugin and its type.
    plugin: String,
    /// `green-nodes`, of the crate and its program.
    package: String,
    /// `green_nodes`, of the library.
    library: String,
}

impl Names {
    /// Makes all forms from either of the first two.
    fn new(given: &str) -> Result<Self> {
        let mut words: Vec<String> = Vec::new();
        for part in given.split(['-', '_']) {
            for letter in part.chars() {
                ensure!(
                    letter.is_ascii_alphanumeric(),
                    "{given:?} is no name for a plugin: {letter:?} is no letter or digit; write GreenNodes or green-nodes"
                );
            }
            let mut last_was_small = false;
            let mut begins = true;
            for letter in part.chars() {
                if begins || (letter.is_ascii_uppercase() && last_was_small) {
                    words.push(String::new());
                }
                begins = false;
                last_was_small = !letter.is_ascii_uppercase();
                if let Some(word) = words.last_mut() {
                    word.push(letter.to_ascii_lowercase());
                }
            }
        }
        let starts = words.first().and_then(|word| word.chars().next());
        ensure!(
            starts.is_some_and(|letter| letter.is_ascii_lowercase()),
            "{given:?} is no name for a plugin: it must begin with a letter; write GreenNodes or green-nodes"
        );
        let capital = |word: &String| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        };
        Ok(Self {
            plugin: words.iter().map(capital).collect(),
            package: words.join("-"),
            library: words.join("_"),
        })
    }

    /// Whether a crate and a type can have this name, given the contents of the files.
    fn check(&self) -> Result<()> {
        let Self { plugin, package, library } = self;
        ensure!(
            !KEYWORDS.contains(&library.as_str()),
            "a crate cannot be called {package:?}, which is a keyword of Rust: choose another name, such as my-{package}"
        );
        ensure!(
            !TAKEN.contains(&package.as_str()),
            "a crate cannot be called {package:?}: choose another name, such as my-{package}"
        );
        ensure!(
            !FILES.iter().any(|(file, text)| file.starts_with("src/") && uses(text, plugin)),
            "the plugin cannot be called {plugin}, as the files that are written use that name for something else: choose another name, such as my-{package}"
        );
        Ok(())
    }
}

/// Whether the code of a template has this word. Comments do not count, and neither does the placeholder of the plugin's name.
fn uses(template: &str, word: &str) -> bool {
    let text = template.replace("@Name@", "");
    let code = text.lines().filter_map(|line| line.split("//").next());
    code.flat_map(|code| code.split(is_between_words)).any(|found| found == word)
}

fn is_between_words(letter: char) -> bool {
    !(letter.is_ascii_alphanumeric() || letter == '_')
}

/// Runs it.
///
/// # Errors
/// The name is invalid or taken, the clone or the folder is unsuitable, or a file cannot be written.
pub(crate) fn new_plugin(app: &crate::App, args: &NewPluginArgs) -> Result<ExitCode> {
    let names = Names::new(&args.name)?;
    let taken = app.catalogue()?.points(&names.plugin).is_some();
    ensure!(!taken, "plugin {} is there already: choose another name", names.plugin);
    names.check()?;
    let source = source(args.source.as_deref())?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(&names.package));
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} is there and not empty: give another directory by --dir", folder.display());
    }
    for (name, text) in FILES {
        let text = text
            .replace("@Name@", &names.plugin)
            .replace("@crate@", &names.package)
            .replace("@lib@", &names.library)
            .replace("@source@", &source);
        write(&folder.join(name), text.as_bytes())?;
    }
    // The same versions of all libraries that were tested.
    let lock = Path::new(&source).join("Cargo.lock");
    let lock = std::fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    write(&folder.join("Cargo.lock"), &lock)?;
    let shown = folder.display();
    print(
        format!(
            "{shown}: plugin {} in src/lib.rs, its arguments in config.yaml, its test in tests/sandbox.rs\n\
             next: cd {shown} && cargo test\n",
            names.plugin
        )
        .as_bytes(),
    )
}

/// The path of the clone, as it is written into the files.
fn source(given: Option<&Path>) -> Result<String> {
    let built_from = || Path::new(BUILT_FROM).join("../..");
    let folder = given.map_or_else(built_from, Path::to_owned);
    let wrong = || match given {
        Some(folder) => format!("{} is no clone of secondmate: give one by --source", folder.display()),
        None => "the clone that this program was built from is gone: give one by --source".to_owned(),
    };
    let folder = folder.canonicalize().with_context(wrong)?;
    for file in ["Cargo.lock", "crates/secondmate/Cargo.toml", "crates/framework/Cargo.toml"] {
        ensure!(folder.join(file).is_file(), wrong());
    }
    let text = folder.to_str().with_context(wrong)?;
    ensure!(
        !text.contains(['"', '\\', '\n', ' ']),
        "the path {text:?} cannot stand in a Containerfile: move the clone to a folder without spaces and quotes"
    );
    Ok(text.to_owned())
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    let written =
        path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, text));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_three_forms() {
        for (given, plugin, package) in [
            ("GreenNodes", "GreenNodes", "green-nodes"),
            ("green-nodes", "GreenNodes", "green-nodes"),
            ("green_nodes2", "GreenNodes2", "green-nodes2"),
            ("GPUFirst", "Gpufirst", "gpufirst"),
        ] {
            let names = Names::new(given).expect("a name");
            assert_eq!((&*names.plugin, &*names.package), (plugin, package), "{given}");
            assert_eq!(names.library, package.replace('-', "_"));
        }
        for wrong in ["", "7up", "green nodes", "grün", "../x"] {
            assert!(Names::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_with_which_nothing_would_compile_is_refused() {
        let check =
            |given: &str| Names::new(given).expect("a name").check().map_err(|error| error.to_string());
        for keyword in ["type", "match", "move", "where", "async", "gen", "yield", "Self", "super"] {
            let refused = check(keyword).expect_err(keyword);
            assert!(refused.contains("is a keyword of Rust: choose another name, such as my-"), "{refused}");
        }
        for taken in ["tokio", "secondmate_framework", "deps"] {
            assert!(check(taken).is_err(), "{taken}");
        }
        // Imported, defined, and in the prelude.
        let names =
            ["status", "score", "pod", "atom", "context", "arguments", "plugin-error", "arc", "exit-code"];
        for used in names.into_iter().chain(["option", "result", "string", "vec", "default", "deserialize"]) {
            let refused = check(used).expect_err(used);
            assert!(refused.contains(&format!("choose another name, such as my-{used}")), "{refused}");
        }
        // Words in comments, the placeholder of the name itself, and a keyword as part of a longer name.
        for free in ["labels", "name", "lib", "green-nodes", "match-type", "my-status", "my-type"] {
            assert_eq!(check(free), Ok(()), "{free}");
        }
    }
}
