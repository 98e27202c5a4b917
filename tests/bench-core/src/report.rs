//! The table, a row at a time.

use crate::measure::Row;
use anyhow::Result;
use clap::ValueEnum;

/// The names of the columns.
#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
pub fn head() {
    println!(
        "{:<27} {:>8} {:>8} {:<9} {:>8} {:>9} {:>10} {:>10} {:>9} {:>10} {:>6} {:>10} {:>9}",
        "shape",
        "nodes",
        "pods",
        "with",
        "tried",
        "pods/s",
        "p50 us",
        "p99 us",
        "nodes/pod",
        "groups/pod",
        "plain",
        "class KiB",
        "RSS MiB"
    );
}

/// A row.
///
/// # Errors
/// None in practice: a row is JSON.
#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
pub fn row(row: &Row, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(row)?);
        return Ok(());
    }
    let shape = row.shape.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    println!(
        "{shape:<27} {:>8} {:>8} {:<9} {:>8} {:>9.0} {:>10.1} {:>10.1} {:>9.1} {:>10.1} {:>5.0}% {:>10.1} {:>9.0}",
        row.nodes,
        row.pods,
        row.evaluation,
        row.attempts,
        row.pods_per_second,
        row.step_p50_us,
        row.step_p99_us,
        row.nodes_per_pod,
        row.groups_per_pod,
        row.plain * 100.0,
        row.class_bytes as f64 / 1024.0,
        row.memory_mib
    );
    Ok(())
}
