//! The report: a table as it comes, and at the end a table in Markdown and a JSON file.

use crate::measure::Row;
use crate::memory::Memory;
use crate::options::Part;
use crate::plots;
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// Everything that was measured in one run.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// secondmate's release.
    pub version: &'static str,
    /// Cores of the machine.
    pub cores: usize,
    /// kube-scheduler's release.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kubernetes: String,
    /// Why kube-scheduler is not in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_left_out: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    pub rows: Vec<Row>,
}

impl Report {
    /// Adds a row, with its ratio to the row of the standing evaluation that was measured before it on the same.
    pub fn add(&mut self, mut row: Row) -> &Row {
        let same = |own: &&Row| {
            (own.part, &own.shape, own.nodes) == (row.part, &row.shape, row.nodes) && own.with == "standing"
        };
        if row.with != "standing" {
            let own = self.rows.iter().rfind(same);
            row.ratio = own.map(|own| row.step_p50_us / own.step_p50_us.max(0.001));
        }
        self.rows.push(row);
        self.rows.last().expect("it was added just now")
    }

    /// Writes core.md, core.json and the plots.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut files = vec![
            ("core.md", self.markdown()),
            ("core.json", serde_json::to_string_pretty(self).context("the report as JSON")? + "\n"),
        ];
        files.extend(plots::steps(self).map(|plot| ("core-steps.svg", plot)));
        files.extend(plots::growth(self).map(|plot| ("core-growth.svg", plot)));
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// The row of this part, shape, number of nodes and evaluation.
    pub fn row(&self, part: &str, shape: &str, nodes: usize, with: &str) -> Option<&Row> {
        self.rows.iter().find(|row| {
            (row.part, &*row.shape, row.nodes, row.with, row.scheduler == "kube-scheduler")
                == (part, shape, nodes, with, with == "every" || (with == "sampled" && self.has_peer()))
        })
    }

    /// Rows of secondmate's standing evaluation, in the order in which they were measured.
    pub fn standing(&self, part: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.part == part && row.with == "standing")
    }

    fn has_peer(&self) -> bool {
        self.rows.iter().any(|row| row.scheduler == "kube-scheduler")
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        self.write_markdown(&mut text).expect("a string takes everything");
        text
    }

    fn write_markdown(&self, text: &mut String) -> std::fmt::Result {
        write!(text, "secondmate {} on one thread", self.version)?;
        if !self.kubernetes.is_empty() {
            write!(text, ", kube-scheduler {} with its 16 workers", self.kubernetes)?;
        }
        writeln!(
            text,
            ", on {} cores. A step in microseconds: median / 99th percentile (the median is so many times secondmate's).",
            self.cores
        )?;
        if let Some(reason) = &self.peer_left_out {
            writeln!(text, "\nkube-scheduler was not measured: {reason}.")?;
        }
        for part in [Part::Shapes, Part::Large, Part::Growth] {
            if self.standing(part.name()).next().is_some() {
                self.write_table(text, part)?;
            }
        }
        if let Some(memory) = &self.memory {
            writeln!(text, "\n| memory | bytes |\n|---|---|")?;
            let objects = thousands(memory.objects);
            writeln!(text, "| a node, of {objects} | {} |", thousands(memory.bytes_a_node))?;
            writeln!(text, "| a pod on a node, of {objects} | {} |", thousands(memory.bytes_a_pod))?;
            let nodes = thousands(memory.class_nodes);
            writeln!(text, "| a class, with {nodes} nodes | {} |", thousands(memory.bytes_a_class))?;
        }
        Ok(())
    }

    fn write_table(&self, text: &mut String, part: Part) -> std::fmt::Result {
        let compared = ["plain", "sampled", "every"];
        let compared = compared.into_iter().filter(|with| {
            self.rows.iter().any(|row| {
                row.part == part.name()
                    && row.with == *with
                    && (*with == "plain" || row.scheduler == "kube-scheduler")
            })
        });
        let compared: Vec<_> = compared.collect();
        write!(text, "\n| {} | nodes | pods | secondmate | pods/s |", part.name())?;
        for with in &compared {
            let who = match *with {
                "plain" => "its plain pass",
                "sampled" => "kube-scheduler, sampled",
                _ => "kube-scheduler, every node",
            };
            write!(text, " {who} | pods/s |")?;
        }
        writeln!(text, "\n|---|---|---|---|---|{}", "---|---|".repeat(compared.len()))?;
        for row in self.standing(part.name()) {
            write!(text, "| {} | {} | {} |", row.shape, thousands(row.nodes), thousands(row.tried))?;
            write!(text, " {} |", measured(row))?;
            for with in &compared {
                match self.row(row.part, &row.shape, row.nodes, with) {
                    Some(other) => write!(text, " {} |", measured(other))?,
                    None => text.push_str(" | |"),
                }
            }
            text.push('\n');
        }
        Ok(())
    }
}

/// Steps and pods a second.
fn measured(row: &Row) -> String {
    let ratio = row.ratio.map(|ratio| match ratio {
        ratio if ratio < 10.0 => format!(" ({ratio:.1}×)"),
        ratio => format!(" ({}×)", thousands(ratio.round() as usize)),
    });
    let pods = thousands(row.pods_per_second.round() as usize);
    let (p50, p99) = (microseconds(row.step_p50_us), microseconds(row.step_p99_us));
    format!("{p50} / {p99}{} | {pods}", ratio.unwrap_or_default())
}

/// Three significant digits or so.
fn microseconds(us: f64) -> String {
    if us < 100.0 { format!("{us:.1}") } else { thousands(us.round() as usize) }
}

/// With commas.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Part {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Shapes => "shapes",
            Self::Large => "large",
            Self::Growth => "growth",
        }
    }
}

/// The names of the columns.
#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
pub fn print_head() {
    println!(
        "{:<7} {:<32} {:>8} {:<14} {:<9} {:>8} {:>8} {:>9} {:>10} {:>10} {:>8} {:>9} {:>10} {:>6} {:>10} {:>8}",
        "part",
        "shape",
        "nodes",
        "scheduler",
        "with",
        "tried",
        "placed",
        "pods/s",
        "p50 us",
        "p99 us",
        "ratio",
        "nodes/pod",
        "groups/pod",
        "plain",
        "class KiB",
        "RSS MiB"
    );
}

/// A row of the table, as it comes, or of the JSON lines.
///
/// # Errors
/// None in practice: a row is JSON.
#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
pub fn print_row(row: &Row, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(row)?);
        return Ok(());
    }
    let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"));
    let mut line = format!(
        "{:<7} {:<32} {:>8} {:<14} {:<9} {:>8} {:>8} {:>9.0} {:>10.1} {:>10.1} {ratio:>8}",
        row.part,
        row.shape,
        row.nodes,
        row.scheduler,
        row.with,
        row.tried,
        row.placed,
        row.pods_per_second,
        row.step_p50_us,
        row.step_p99_us,
    );
    if let Some(own) = &row.own {
        write!(
            line,
            " {:>9.1} {:>10.1} {:>5.0}% {:>10.1} {:>8.0}",
            own.nodes_per_pod,
            own.groups_per_pod,
            own.plain * 100.0,
            own.class_bytes as f64 / 1024.0,
            own.memory_mib
        )?;
    }
    println!("{line}");
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use expect_test::expect;

    /// A row with round numbers.
    pub fn row(
        part: &'static str,
        shape: &str,
        nodes: usize,
        (scheduler, with): (&'static str, &'static str),
        step_p50_us: f64,
    ) -> Row {
        Row {
            part,
            shape: shape.to_owned(),
            scheduler,
            with,
            nodes,
            tried: 1000,
            placed: 1000,
            gated: 0,
            evicted: 0,
            pods_per_second: 1e6 / (2.0 * step_p50_us),
            step_p50_us,
            step_p99_us: step_p50_us * 3.0,
            ratio: None,
            own: None,
        }
    }

    /// A report of two shapes, and the growth of one.
    pub fn report() -> Report {
        let mut report = Report {
            version: "0.1.0",
            cores: 2,
            kubernetes: "1.37.2".to_owned(),
            memory: Some(Memory {
                objects: 200_000,
                bytes_a_node: 1234,
                bytes_a_pod: 567,
                class_nodes: 5000,
                bytes_a_class: 89_012,
            }),
            ..Report::default()
        };
        for (part, shape, nodes) in [
            ("shapes", "basic", 5000),
            ("shapes", "spread-hard", 5000),
            ("growth", "basic", 1000),
            ("growth", "basic", 100_000),
        ] {
            report.add(row(part, shape, nodes, ("secondmate", "standing"), 5.0));
            if part == "shapes" {
                report.add(row(part, shape, nodes, ("secondmate", "plain"), 700.0));
            }
            report.add(row(part, shape, nodes, ("kube-scheduler", "sampled"), 1500.0));
            if part == "shapes" {
                report.add(row(part, shape, nodes, ("kube-scheduler", "every"), 20_000.0));
            }
        }
        report
    }

    #[test]
    fn the_markdown_has_a_table_for_each_part() {
        expect![[r#"
            secondmate 0.1.0 on one thread, kube-scheduler 1.37.2 with its 16 workers, on 2 cores. A step in microseconds: median / 99th percentile (the median is so many times secondmate's).

            | shapes | nodes | pods | secondmate | pods/s | its plain pass | pods/s | kube-scheduler, sampled | pods/s | kube-scheduler, every node | pods/s |
            |---|---|---|---|---|---|---|---|---|---|---|
            | basic | 5,000 | 1,000 | 5.0 / 15.0 | 100,000 | 700 / 2,100 (140×) | 714 | 1,500 / 4,500 (300×) | 333 | 20,000 / 60,000 (4,000×) | 25 |
            | spread-hard | 5,000 | 1,000 | 5.0 / 15.0 | 100,000 | 700 / 2,100 (140×) | 714 | 1,500 / 4,500 (300×) | 333 | 20,000 / 60,000 (4,000×) | 25 |

            | growth | nodes | pods | secondmate | pods/s | kube-scheduler, sampled | pods/s |
            |---|---|---|---|---|---|---|
            | basic | 1,000 | 1,000 | 5.0 / 15.0 | 100,000 | 1,500 / 4,500 (300×) | 333 |
            | basic | 100,000 | 1,000 | 5.0 / 15.0 | 100,000 | 1,500 / 4,500 (300×) | 333 |

            | memory | bytes |
            |---|---|
            | a node, of 200,000 | 1,234 |
            | a pod on a node, of 200,000 | 567 |
            | a class, with 5,000 nodes | 89,012 |
        "#]].assert_eq(&report().markdown());
    }

    #[test]
    fn without_kube_scheduler_the_report_says_why() {
        let mut report = Report {
            version: "0.1.0",
            cores: 2,
            peer_left_out: Some("no Go".to_owned()),
            ..Report::default()
        };
        report.add(row("shapes", "basic", 5000, ("secondmate", "standing"), 5.0));
        expect![[r#"
            secondmate 0.1.0 on one thread, on 2 cores. A step in microseconds: median / 99th percentile (the median is so many times secondmate's).

            kube-scheduler was not measured: no Go.

            | shapes | nodes | pods | secondmate | pods/s |
            |---|---|---|---|---|
            | basic | 5,000 | 1,000 | 5.0 / 15.0 | 100,000 |
        "#]]
        .assert_eq(&report.markdown());
    }

    #[test]
    fn the_files_are_written_where_they_were_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("deeper");
        report().write(&out).expect("written");
        let mut names: Vec<_> = std::fs::read_dir(&out)
            .expect("the folder")
            .map(|entry| entry.expect("a file").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        assert_eq!(names, ["core-growth.svg", "core-steps.svg", "core.json", "core.md"]);
        let json = std::fs::read_to_string(out.join("core.json")).expect("the JSON file");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["rows"].as_array().map(Vec::len), Some(12));
        assert_eq!(json["rows"][2]["ratio"], 300.0);
        assert_eq!(json["memory"]["bytesAPod"], 567);
    }
}
