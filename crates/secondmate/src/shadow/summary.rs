//! What a shadow prints when it ends.

use secondmate_core::shadow::{Agreement, Comparison, Tally};
use std::fmt::Write;

/// Maximum number of disagreements to print; the latest are kept.
const ROWS_MAX: usize = 100;
/// Maximum number of plugins in a row.
const PLUGINS_MAX: usize = 3;
/// Maximum number of characters of a reason in a row.
const REASON_MAX: usize = 120;

/// The numbers, and a table of the disagreements.
pub(super) fn text(name: &str, tally: &Tally) -> String {
    let (compared, agreed) = (tally.compared(), tally.agreed());
    let mut text = format!("shadow of {name}: {compared} decisions compared");
    if compared > 0 {
        // Rounded down: with a single disagreement it is not 100 %.
        let tenths = u128::from(agreed) * 1000 / u128::from(compared);
        let _ = write!(text, ", {agreed} agreed ({}.{} %)", tenths / 10, tenths % 10);
    }
    text.push('\n');
    for agreement in Agreement::ALL {
        let count = tally.count(agreement);
        if count > 0 {
            let _ = writeln!(text, "{count:>9}  {}{}", words(agreement), more(agreement, tally));
        }
    }
    let disagreements = tally.disagreements();
    let count = disagreements.len();
    if count > 0 {
        let rows: Vec<[String; 6]> = disagreements.skip(count.saturating_sub(ROWS_MAX)).map(row).collect();
        let _ = writeln!(text, "\nthe latest {} disagreements:", rows.len());
        table(&rows, &mut text);
    }
    text
}

fn words(agreement: Agreement) -> &'static str {
    match agreement {
        Agreement::Same => "same node",
        Agreement::EquallyGood => "a node with our highest score",
        Agreement::BothUnschedulable => "neither finds a node",
        Agreement::Worse => "a node of lower score",
        Agreement::Unfit => "a node that we reject",
        Agreement::UnschedulableHere => "placed there, and we find no node",
        Agreement::UnschedulableThere => "rejected there, and we find a node",
        Agreement::Failed => "a plugin of ours failed",
        Agreement::NotCompared => "not compared: the state on which it was decided is not known",
    }
}

fn more(agreement: Agreement, tally: &Tally) -> String {
    if agreement != Agreement::Worse {
        return String::new();
    }
    let (most, mean) = tally.differences();
    let plugins: Vec<String> = tally
        .by_plugin()
        .into_iter()
        .take(PLUGINS_MAX)
        .map(|(plugin, count)| format!("{plugin} ({count})"))
        .collect();
    let by = if plugins.is_empty() { String::new() } else { format!("; mostly by {}", plugins.join(", ")) };
    format!(": by {most} at most, {mean:.1} on average{by}")
}

fn row(comparison: &Comparison) -> [String; 6] {
    let node = |node: &Option<_>| node.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let difference = match comparison.agreement {
        Agreement::Worse => comparison.difference.to_string(),
        _ => "-".to_owned(),
    };
    let why = match comparison.agreement {
        Agreement::Worse => comparison
            .plugins
            .iter()
            .take(PLUGINS_MAX)
            .map(|plugin| format!("{} {:+}", plugin.plugin, plugin.difference()))
            .collect::<Vec<_>>()
            .join(", "),
        _ if comparison.reason.chars().count() > REASON_MAX => {
            comparison.reason.chars().take(REASON_MAX).chain(['…']).collect()
        }
        _ => comparison.reason.clone(),
    };
    [
        comparison.pod.clone(),
        comparison.agreement.label().to_owned(),
        node(&comparison.theirs),
        node(&comparison.ours),
        difference,
        why,
    ]
}

fn table(rows: &[[String; 6]], text: &mut String) {
    let head = ["POD", "DECISION", "THEIRS", "OURS", "DIFFERENCE", "WHY"].map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    for row in std::iter::once(&head).chain(rows) {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_core::shadow::PluginDifference;
    use secondmate_model::Atom;

    fn comparison(agreement: Agreement, reason: &str) -> Comparison {
        let plugin = |plugin, theirs, ours| PluginDifference { plugin: Atom::new(plugin), theirs, ours };
        let worse = agreement == Agreement::Worse;
        Comparison {
            pod: "shop/web-1".to_owned(),
            agreement,
            theirs: Some(Atom::new("n1")),
            ours: worse.then(|| Atom::new("n2")),
            best: 1,
            difference: if worse { 9 } else { 0 },
            plugins: if worse {
                vec![plugin("ImageLocality", 0, 12), plugin("NodeAffinity", 5, 2)]
            } else {
                Vec::new()
            },
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn the_share_is_rounded_down() {
        let mut tally = Tally::default();
        for _ in 0..9_999 {
            tally.add(comparison(Agreement::Same, ""));
        }
        let all = "shadow of a: 9999 decisions compared, 9999 agreed (100.0 %)\n";
        assert!(text("a", &tally).starts_with(all), "{}", text("a", &tally));
        tally.add(comparison(Agreement::Unfit, ""));
        let but_one = "shadow of a: 10000 decisions compared, 9999 agreed (99.9 %)\n";
        assert!(text("a", &tally).starts_with(but_one), "{}", text("a", &tally));
    }

    #[test]
    fn numbers_and_a_table() {
        let mut tally = Tally::default();
        assert_eq!(text("default-scheduler", &tally), "shadow of default-scheduler: 0 decisions compared\n");
        for agreement in [Agreement::Same, Agreement::Same, Agreement::NotCompared] {
            tally.add(comparison(agreement, ""));
        }
        tally.add(comparison(Agreement::Worse, ""));
        tally.add(comparison(Agreement::UnschedulableHere, "0/2 nodes are available: 2 Insufficient cpu."));
        assert_eq!(
            text("default-scheduler", &tally),
            "\
shadow of default-scheduler: 4 decisions compared, 2 agreed (50.0 %)
        2  same node
        1  a node of lower score: by 9 at most, 9.0 on average; mostly by ImageLocality (1)
        1  placed there, and we find no node
        1  not compared: the state on which it was decided is not known

the latest 2 disagreements:
POD         DECISION            THEIRS  OURS  DIFFERENCE  WHY
shop/web-1  worse               n1      n2    9           ImageLocality +12, NodeAffinity -3
shop/web-1  unschedulable_here  n1      -     -           0/2 nodes are available: 2 Insufficient cpu.
"
        );
    }
}
