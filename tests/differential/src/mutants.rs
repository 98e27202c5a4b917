//! Whether the cases catch mistakes: each of many small changes to the source of plugins and of
//! the evaluation, one at a time, must make an answer differ.
//!
//! The changes are made in a copy of the tree with a build folder of its own, outside the project. The oracle is asked once; each
//! changed program is then held against its recorded answers. What no case catches is held against the tests of its own crate:
//! some of it no case can show, as the order in which nodes are sampled.

mod operators;

use crate::case::Case;
use crate::generate;
use crate::judge::{Verdict, verdict};
use crate::oracle::{IN_FLIGHT_MAX, Oracle};
use crate::ours::Ours;
use anyhow::{Context, Result, bail};
use operators::{Mutation, mutations};
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A changed program that is not done by then runs in circles: it is caught.
const REPLAY_WITHIN: Duration = Duration::from_secs(300);

/// Which changes to try.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only in files whose path contains this.
    pub filter: String,
    /// At most so many, spread evenly.
    pub mutants_max: usize,
    /// Cases that each has to get past.
    pub cases: u64,
    /// Seed of the cases.
    pub seed: u64,
}

/// Writes the oracle's answers to random cases, one JSON array `[case, answer]` a line.
///
/// # Errors
/// The oracle has ended, or the file cannot be written.
pub fn write_answers(path: &Path, seed: u64, cases: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut out = BufWriter::new(file);
    let mut oracle = Oracle::start(&["-workers", "2"])?;
    let mut waiting: VecDeque<Case> = VecDeque::new();
    let mut next = 0;
    loop {
        while next < cases && waiting.len() < IN_FLIGHT_MAX {
            let case = generate::case(seed, next);
            oracle.send(&case)?;
            waiting.push_back(case);
            next += 1;
        }
        let Some(mut case) = waiting.pop_front() else { break };
        let answer = oracle.receive()?;
        // Our side reads the stored objects only.
        case.objects.clear();
        writeln!(out, "{}", serde_json::to_string(&(case, answer))?).context("cannot write the answers")?;
    }
    out.flush().context("cannot write the answers")
}

/// Holds this program against recorded answers; the first difference, with the number of the case.
///
/// # Errors
/// The file cannot be read.
pub fn replay(path: &Path) -> Result<Option<(usize, String)>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut ours = Ours::default();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        let (case, answer) = serde_json::from_str(&line).with_context(|| format!("line {}", number + 1))?;
        if let Verdict::Differs(difference) = verdict(&case, &answer, &mut ours) {
            return Ok(Some((number + 1, difference.to_string())));
        }
    }
    Ok(None)
}

/// Tries the changes; prints what becomes of each. Returns those that nothing caught.
///
/// # Errors
/// The copy cannot be made or built, or it differs from the oracle without any change.
pub fn run(options: &Options) -> Result<Vec<String>> {
    let base = base_folder()?;
    let (tree, target) = (base.join("tree"), base.join("target"));
    copy_tree(&tree)?;
    let answers = base.join("answers.jsonl");
    eprintln!("asking the oracle about {} cases of seed {}", options.cases, options.seed);
    write_answers(&answers, options.seed, options.cases)?;
    eprintln!("building the copy in {}", tree.display());
    if !build(&tree, &target)?.success() {
        bail!("the copy in {} does not build", tree.display());
    }
    if let Replay::Differs(text) = replay_with(&target, &answers)? {
        bail!("the unchanged program differs already: {text}; run the parity test first");
    }
    let all = mutations(&tree, &options.filter)?;
    let chosen = spread(all, options.mutants_max);
    // Tests that fail anyway would seem to catch everything.
    for crate_name in chosen.iter().map(|m| crate_of(&m.file)).collect::<Result<BTreeSet<_>>>()? {
        eprintln!("running the unchanged tests of {crate_name}");
        if fail_own_tests(&tree, &target, &crate_name)? {
            bail!("the tests of {crate_name} fail already, or do not end within {REPLAY_WITHIN:?}");
        }
    }
    let mut survivors = Vec::new();
    let mut by_tests = Vec::new();
    let (mut caught, mut refused) = (0, 0);
    for (number, mutation) in chosen.iter().enumerate() {
        let start = Instant::now();
        let path = tree.join(&mutation.file);
        let original =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        std::fs::write(&path, mutation.apply(&original))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let outcome = if build(&tree, &target)?.success() {
            match replay_with(&target, &answers)? {
                Replay::Same if fail_own_tests(&tree, &target, &crate_of(&mutation.file)?)? => {
                    by_tests.push(mutation.to_string());
                    "no case catches it; its crate's tests do".to_owned()
                }
                Replay::Same => {
                    survivors.push(mutation.to_string());
                    "SURVIVES".to_owned()
                }
                Replay::Differs(text) => {
                    caught += 1;
                    format!("caught: {}", text.lines().next().unwrap_or_default())
                }
                Replay::Hangs => {
                    caught += 1;
                    "caught: it does not end".to_owned()
                }
            }
        } else {
            refused += 1;
            "does not compile".to_owned()
        };
        std::fs::write(&path, original).with_context(|| format!("cannot restore {}", path.display()))?;
        println!(
            "{}/{} {mutation}\n    {outcome} ({:.0} s)",
            number + 1,
            chosen.len(),
            start.elapsed().as_secs_f64()
        );
    }
    println!(
        "{} changes: {caught} caught by cases, {} by tests of the crate only, {} survive, {refused} do not compile",
        chosen.len(),
        by_tests.len(),
        survivors.len()
    );
    for one in &by_tests {
        println!("  by tests only: {one}");
    }
    for survivor in &survivors {
        println!("  survives: {survivor}");
    }
    Ok(survivors)
}

fn base_folder() -> Result<PathBuf> {
    let from = |variable: &str| std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = from("XDG_CACHE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".cache")))
        .context("there is no place for a cache: set HOME or XDG_CACHE_HOME")?;
    Ok(base.join("secondmate/parity-mutants"))
}

/// The project's files as they stand, new ones included, without what git ignores.
fn copy_tree(tree: &Path) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(&root)
        .output()
        .context("cannot start git")?;
    if !listed.status.success() {
        bail!("git cannot list the files: {}", String::from_utf8_lossy(&listed.stderr).trim());
    }
    for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root.join(name), tree.join(name));
        // Listed and deleted since.
        let Ok(bytes) = std::fs::read(&from) else { continue };
        // What has not changed keeps its time, so that it is not built again.
        if std::fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        let folder = to.parent().context("a file is in a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        std::fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    }
    // What the project has no more must not be changed either: nothing would notice.
    for file in operators::files(tree)? {
        if !file.strip_prefix(tree).is_ok_and(|name| root.join(name).is_file()) {
            std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
    }
    Ok(())
}

fn build(tree: &Path, target: &Path) -> Result<ExitStatus> {
    cargo(tree, target, &["build", "--quiet", "--package", "secondmate-differential", "--bin", "parity"])
        .status()
        .context("cannot start cargo")
}

/// The folder of the crate that the file belongs to.
fn crate_of(file: &Path) -> Result<String> {
    let name = file.components().nth(1).context("the file is in a crate")?;
    Ok(name.as_os_str().to_string_lossy().into_owned())
}

/// Whether a test of the crate fails, or its tests do not end in time.
fn fail_own_tests(tree: &Path, target: &Path, name: &str) -> Result<bool> {
    let package = format!("secondmate-{name}");
    let mut arguments = vec!["test", "--quiet", "--package", &package];
    if name == "cycle" {
        // Its tests need a queue and a cache, and are the core's.
        arguments.extend(["--package", "secondmate-core"]);
    }
    // Building them takes what it takes.
    let mut build = cargo(tree, target, &arguments);
    if !build.arg("--no-run").stdout(Stdio::null()).status().context("cannot start cargo")?.success() {
        return Ok(true);
    }
    let mut child = cargo(tree, target, &arguments)
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start cargo")?;
    Ok(!ends_within(&mut child, REPLAY_WITHIN)?.is_some_and(|status| status.success()))
}

fn cargo(tree: &Path, target: &Path, arguments: &[&str]) -> Command {
    let mut cargo = secondmate_harness::cargo();
    cargo
        .args(arguments)
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target)
        // Building costs more than running.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .stderr(Stdio::null());
    cargo
}

/// Ends a program that leads a process group, and all that it has started.
fn end_group(child: &mut Child) -> std::io::Result<()> {
    let group = format!("-{}", child.id());
    Command::new("kill").args(["-KILL", "--", &group]).status()?;
    child.wait().map(drop)
}

/// Waits for the end of a program; `None` when it was ended for taking too long.
fn ends_within(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a program")? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            end_group(child).context("cannot end a program")?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

enum Replay {
    Same,
    Differs(String),
    Hangs,
}

fn replay_with(target: &Path, answers: &Path) -> Result<Replay> {
    let program = target.join("debug/parity");
    let mut child = Command::new(&program)
        .arg("--replay")
        .arg(answers)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let Some(status) = ends_within(&mut child, REPLAY_WITHIN)? else { return Ok(Replay::Hangs) };
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        std::io::Read::read_to_string(&mut stdout, &mut text)
            .context("cannot read the changed program's output")?;
    }
    Ok(if status.success() { Replay::Same } else { Replay::Differs(text) })
}

/// At most `wanted` of them, from all over.
fn spread(all: Vec<Mutation>, wanted: usize) -> Vec<Mutation> {
    let count = all.len();
    if count <= wanted {
        return all;
    }
    all.into_iter()
        .enumerate()
        .filter(|(at, _)| at * wanted / count != (at + 1) * wanted / count)
        .map(|(_, m)| m)
        .collect()
}
