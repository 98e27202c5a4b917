//! `cargo xtask chaos`: plays scenes and prints the table.

mod options;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use options::{Options, SCENES};
use secondmate_chaos::{Arena, Row, Scale, play, print};
use secondmate_harness::{binaries, secondmate_binary};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    // It may have to be built, which belongs to no scene.
    secondmate_binary()?;
    let binaries = binaries().context("the real control plane")?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed {seed}");
    let scale = Scale { pods: usize::from(options.pods), ..Scale::default() };
    let folder = std::env::temp_dir().join(format!("secondmate-chaos-{}", std::process::id()));
    let mut arena: Option<Arena> = None;
    let mut rows: Vec<Row> = Vec::new();
    for (name, _) in SCENES
        .iter()
        .filter(|(name, _)| options.scenes.is_empty() || options.scenes.iter().any(|s| s == name))
    {
        let ground = match arena.take() {
            Some(arena) => arena,
            None => Arena::start(binaries, &folder.join(rows.len().to_string()))?,
        };
        let row = play(&ground, name, seed, &scale)?;
        // What a failed scene left behind is no ground for another.
        if row.result.is_ok() {
            arena = Some(ground);
        }
        rows.push(row);
    }
    drop(arena);
    print(&rows);
    let failed: Vec<&str> = rows.iter().filter(|row| row.result.is_err()).map(|row| row.scene).collect();
    if !failed.is_empty() {
        let folder = folder.display();
        bail!("failed with seed {seed}: {}; the audit logs are in {folder}", failed.join(", "));
    }
    std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scene_that_is_offered_can_be_played_and_the_other_way_round() {
        let offered: Vec<&str> = SCENES.iter().map(|(name, _)| *name).collect();
        assert_eq!(offered, secondmate_chaos::scene_names());
    }
}
