//! The table.

use std::time::Duration;

use anyhow::Result;

use crate::judge::Count;

/// One scene.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub scene: &'static str,
    /// What was done, as it came out.
    pub done: String,
    pub(crate) count: Count,
    /// How long it took.
    pub duration: Duration,
    /// Nothing, or what is wrong.
    pub result: Result<()>,
}

/// Prints the table, and below it what is wrong in full.
#[allow(clippy::print_stdout, reason = "the report is what the program is for")]
pub fn print(rows: &[Row]) {
    print!("{}", table(rows));
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.done.chars().count()).max().unwrap_or(0).max("done".len());
    let mut text = format!(
        "\n{:<18} {:<width$} {:>5} {:>5} {:>5} {:>5} {:>7} {:>6} {:>5}  result\n",
        "scene", "done", "pods", "bound", "binds", "twice", "refused", "unsure", "s"
    );
    for row in rows {
        let count = row.count;
        text += &format!(
            "{:<18} {:<width$} {:>5} {:>5} {:>5} {:>5} {:>7} {:>6} {:>5.0}  {}\n",
            row.scene,
            row.done,
            count.pods,
            count.bound,
            count.done,
            count.twice,
            count.refused,
            count.unanswered,
            row.duration.as_secs_f64(),
            if row.result.is_ok() { "ok" } else { "FAILED" },
        );
    }
    text += "\nbinds: bindings that were carried out, from the API server's audit log; twice: pods with more than one;\n\
             refused: bindings that the API server refused; unsure: bindings whose outcome is not in the log.\n";
    for row in rows {
        if let Err(error) = &row.result {
            text += &format!("\n{}: {error:#}\n", row.scene);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_a_scene_and_what_is_wrong_below() {
        let row = |scene, result| Row {
            scene,
            done: "frozen for 8 s".to_owned(),
            count: Count { pods: 301, bound: 300, done: 299, refused: 2, unanswered: 1, twice: 0 },
            duration: Duration::from_millis(12_300),
            result,
        };
        let text = table(&[row("freeze-etcd", Ok(())), row("churn", Err(anyhow::anyhow!("3 pods lost")))]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1..4],
            [
                "scene              done            pods bound binds twice refused unsure     s  result",
                "freeze-etcd        frozen for 8 s   301   300   299     0       2      1    12  ok",
                "churn              frozen for 8 s   301   300   299     0       2      1    12  FAILED",
            ]
        );
        assert!(text.ends_with("\nchurn: 3 pods lost\n"), "{text}");
    }
}
