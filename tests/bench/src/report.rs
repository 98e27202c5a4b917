//! The table, on standard output and in files.

use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Where.
    pub target: String,
    /// Who.
    pub subject: String,
    /// `throughput` or `latency`.
    pub scenario: &'static str,
    /// What the pods are like.
    pub shape: String,
    /// Number of nodes.
    pub nodes: usize,
    /// Number of pods.
    pub pods: usize,
    /// Between the first pod that was bound and the last.
    pub pods_per_s: f64,
    /// From the scheduler's start to the last pod bound; for latency, the time in which the pods were bound.
    pub seconds_from_start: f64,
    /// Of the scheduler's process, its start included; for latency, while the pods arrived.
    pub cpu_seconds: f64,
    /// Of the scheduler's process.
    pub peak_memory_mib: f64,
    /// From creation to bound: median and 99th percentile.
    pub latency_ms: Option<[f64; 2]>,
}

/// Writes bench.md and bench.json.
///
/// # Errors
/// The folder cannot be written to.
pub fn write(rows: &[Row], folder: &Path) -> Result<()> {
    write_as("bench", markdown(rows), rows, folder)
}

/// Writes a table and its rows as JSON, as files of this name.
///
/// # Errors
/// The folder cannot be written to.
pub fn write_as<R: Serialize>(name: &str, markdown: String, rows: &[R], folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let json = serde_json::to_string_pretty(rows).context("the rows as JSON")? + "\n";
    for (ending, text) in [("md", markdown), ("json", json)] {
        let path = folder.join(format!("{name}.{ending}"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The table as README has it.
fn markdown(rows: &[Row]) -> String {
    let mut text = "| | where | shape | nodes | pods | pods/s | CPU s | peak MiB | p50 ms | p99 ms |\n|---|---|---|---|---|---|---|---|---|---|\n".to_owned();
    for row in rows {
        let latency = |at: usize| row.latency_ms.map_or_else(String::new, |l| format!("{:.1}", l[at]));
        text += &format!(
            "| {}{} | {} | {} | {} | {} | {:.0} | {:.1} | {:.0} | {} | {} |\n",
            row.subject,
            if row.latency_ms.is_some() { ", at a steady rate" } else { "" },
            row.target,
            row.shape,
            row.nodes,
            row.pods,
            row.pods_per_s,
            row.cpu_seconds,
            row.peak_memory_mib,
            latency(0),
            latency(1)
        );
    }
    text
}

/// Prints the rows, and behind each of secondmate's that has a peer the ratios to it.
#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
pub fn print(rows: &[Row], json: bool) {
    if json {
        for row in rows {
            if let Ok(line) = serde_json::to_string(row) {
                println!("{line}");
            }
        }
        return;
    }
    println!(
        "{:<14} {:<11} {:<18} {:>6} {:>6}  {:<15} {:>8} {:>9} {:>7} {:>9} {:>8} {:>8}",
        "where",
        "what",
        "shape",
        "nodes",
        "pods",
        "who",
        "pods/s",
        "total s",
        "CPU s",
        "peak MiB",
        "p50 ms",
        "p99 ms"
    );
    for row in rows {
        let latency = |at: usize| row.latency_ms.map_or_else(|| "-".to_owned(), |l| format!("{:.1}", l[at]));
        println!(
            "{:<14} {:<11} {:<18} {:>6} {:>6}  {:<15} {:>8.0} {:>9.1} {:>7.2} {:>9.1} {:>8} {:>8}",
            row.target,
            row.scenario,
            row.shape,
            row.nodes,
            row.pods,
            row.subject,
            row.pods_per_s,
            row.seconds_from_start,
            row.cpu_seconds,
            row.peak_memory_mib,
            latency(0),
            latency(1)
        );
    }
    for row in rows.iter().filter(|r| r.subject == "secondmate") {
        let same = |r: &&Row| {
            r.subject != row.subject
                && (&r.target, r.scenario, &r.shape, r.nodes, r.pods)
                    == (&row.target, row.scenario, &row.shape, row.nodes, row.pods)
        };
        let Some(peer) = rows.iter().find(same) else { continue };
        let latency = match (row.latency_ms, peer.latency_ms) {
            (Some(own), Some(other)) => {
                format!(", p50 {:.2}x, p99 {:.2}x", own[0] / other[0], own[1] / other[1])
            }
            _ => String::new(),
        };
        println!(
            "{} {} {} nodes, secondmate / {}: pods/s {:.2}x, CPU {:.2}x, memory {:.2}x{latency}",
            row.scenario,
            row.shape,
            row.nodes,
            peer.subject,
            row.pods_per_s / peer.pods_per_s,
            row.cpu_seconds / peer.cpu_seconds,
            row.peak_memory_mib / peer.peak_memory_mib
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_hold_every_row() {
        let row = Row {
            target: "control-plane".to_owned(),
            subject: "secondmate".to_owned(),
            scenario: "latency",
            shape: "basic".to_owned(),
            nodes: 1000,
            pods: 6000,
            pods_per_s: 199.6,
            seconds_from_start: 30.0,
            cpu_seconds: 5.51,
            peak_memory_mib: 38.6,
            latency_ms: Some([4.31, 37.31]),
        };
        let rows = [Row { latency_ms: None, scenario: "throughput", ..row.clone() }, row];
        let text = markdown(&rows);
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| secondmate | control-plane | basic | 1000 | 6000 | 200 | 5.5 | 39 |  |  |",
                "| secondmate, at a steady rate | control-plane | basic | 1000 | 6000 | 200 | 5.5 | 39 | 4.3 | 37.3 |",
            ]
        );
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("deeper");
        write(&rows, &out).expect("written");
        let json = std::fs::read_to_string(out.join("bench.json")).expect("the JSON file");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json.as_array().map(Vec::len), Some(2));
    }
}
