//! The scenes: what is done, and when.

mod answers;
mod churn;
mod controllers;
mod election;
mod processes;
mod starvation;

use std::time::Instant;

use anyhow::{Context, Result};

use crate::arena::{Arena, Ground, Scale};
use crate::modes::MODES;
use crate::report::Row;

/// What came of a scene whose end is yet to be judged.
pub(crate) struct Played {
    /// What was done, for the table.
    pub done: String,
    /// How many pods that are bound may have been bound once more, in vain.
    pub in_vain_max: usize,
}

type Scene = fn(&mut Ground<'_>) -> Result<Played>;

/// Those that are not of broken answers.
const SCENES: &[(&str, Scene)] = &[
    ("freeze-apiserver", processes::freeze_apiserver),
    ("freeze-etcd", processes::freeze_etcd),
    ("freeze-controllers", controllers::freeze_controller_manager),
    ("freeze-kubelets", controllers::freeze_kubelets),
    ("freeze-leader", election::freeze_leader),
    ("kill-apiserver", processes::kill_apiserver),
    ("kill-etcd", processes::kill_etcd),
    ("kill-controllers", controllers::kill_controller_manager),
    ("kill-kubelets", controllers::kill_kubelets),
    ("kill-scheduler", processes::kill_scheduler),
    ("kill-leader", election::kill_leader),
    ("partition", election::partition),
    ("lease-lost", election::lease_lost),
    ("starvation", starvation::starvation),
    ("churn", churn::churn),
];

/// The names of all scenes, in their order.
#[must_use]
pub fn scene_names() -> Vec<&'static str> {
    SCENES.iter().map(|(name, _)| *name).chain(MODES.iter().map(|mode| mode.name)).collect()
}

/// Plays a scene and judges how it ended.
///
/// # Errors
///
/// When there is no such scene, or its namespace cannot be made. What goes wrong in the scene is in the row.
pub fn play(arena: &Arena, name: &str, seed: u64, scale: &Scale) -> Result<Row> {
    let names = scene_names();
    let scene =
        *names.iter().find(|scene| **scene == name).with_context(|| format!("there is no scene {name}"))?;
    eprintln!("== {scene}");
    let began = Instant::now();
    let mut ground = Ground::new(arena, scene, seed, *scale)?;
    let played = match SCENES.iter().find(|(name, _)| *name == scene) {
        Some((_, play)) => play(&mut ground),
        None => {
            let mode = MODES.iter().find(|mode| mode.name == scene).context("a scene is one or the other")?;
            answers::break_answers(&mut ground, mode)
        }
    };
    let (done, in_vain_max, failed) = match played {
        Ok(played) => (played.done, played.in_vain_max, None),
        Err(error) => ("aborted".to_owned(), usize::MAX, Some(error)),
    };
    let (count, judged) = ground.close(in_vain_max);
    let result = match (failed, judged) {
        (Some(error), Err(wrong)) => Err(error.context(wrong)),
        (Some(error), Ok(())) => Err(error),
        (None, judged) => judged,
    };
    let duration = began.elapsed();
    let said = result.as_ref().map_or_else(|error| format!("FAILED: {error:#}"), |()| "ok".to_owned());
    eprintln!("{scene}: {done}; {count:?}; {:.1} s; {said}", duration.as_secs_f64());
    Ok(Row { scene, done, count, duration, result })
}
