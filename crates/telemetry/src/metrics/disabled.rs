//! Metrics that have been disabled.

use std::collections::BTreeSet;

/// OpenMetrics text without the metrics of these names; a counter may be named with or without its `_total`.
pub(crate) fn without(text: String, disabled: &BTreeSet<String>) -> String {
    if disabled.is_empty() {
        return text;
    }
    let is_disabled = |name: &str| disabled.contains(name) || disabled.contains(&format!("{name}_total"));
    let mut kept = String::with_capacity(text.len());
    let mut skipped = false;
    for line in text.split_inclusive('\n') {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP" | "TYPE" | "UNIT"), Some(name)) => skipped = is_disabled(name),
            (Some("#"), ..) => skipped = false,
            _ => {}
        }
        if !skipped {
            kept.push_str(line);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_goes_with_all_its_lines() {
        let text = "# HELP a A.\n# TYPE a counter\na_total{x=\"1\"} 3\n# HELP b B.\n# TYPE b histogram\n# UNIT b seconds\nb_sum 1\nb_count 2\n# HELP ab C.\nab 1\n# EOF\n";
        let left = |names: &[&str]| {
            let disabled = names.iter().map(|name| (*name).to_owned()).collect();
            let text = without(text.to_owned(), &disabled);
            text.lines().filter(|line| !line.starts_with("# ")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(left(&[]), ["a_total{x=\"1\"} 3", "b_sum 1", "b_count 2", "ab 1"]);
        assert_eq!(left(&["a_total"]), ["b_sum 1", "b_count 2", "ab 1"]);
        assert_eq!(left(&["a", "b"]), ["ab 1"]);
        let names = BTreeSet::from(["ab".to_owned()]);
        assert!(without(text.to_owned(), &names).ends_with("b_count 2\n# EOF\n"));
    }
}
