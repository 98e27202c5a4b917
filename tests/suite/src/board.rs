//! The queries of the Grafana board that are meant for every scheduler with kube-scheduler's metrics, and whether what a scheduler shows
//! has the series that they ask for.

use crate::repository;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The row of the board whose panels show all schedulers side by side.
const ROW: &str = "Schedulers side by side (kube-scheduler's metrics)";
/// Labels that Prometheus adds to what it scrapes.
const OF_PROMETHEUS: [&str; 2] = ["job", "instance"];

/// A query, taken apart as far as is needed to find its series.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// Panel or variable.
    pub place: String,
    metric: String,
    /// Labels with the value that they have to have; the board's own choices match whatever is there.
    matchers: BTreeMap<String, Option<String>>,
    /// Labels by which it is grouped, and which its legend shows.
    labels: BTreeSet<String>,
}

/// The queries of the panels side by side, and of the variables by which all panels are chosen.
///
/// # Errors
///
/// The board is not as it is expected.
pub fn queries_side_by_side() -> Result<Vec<Query>> {
    let path = repository().join("manifests/components/grafana-dashboard/secondmate.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let board: Value = serde_json::from_str(&text)?;
    let panels = board["panels"].as_array().context("panels")?;
    let row = panels.iter().position(|panel| panel["title"] == ROW).context(ROW)?;
    let mut queries = Vec::new();
    for panel in panels[row + 1..].iter().take_while(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let place = panel["title"].as_str().context("a title")?;
            let text = target["expr"].as_str().context("an expression")?;
            queries.push(Query::new(place, text, target["legendFormat"].as_str().unwrap_or_default())?);
        }
    }
    for variable in board["templating"]["list"].as_array().context("variables")? {
        let Some(text) = variable["query"]["query"].as_str() else { continue };
        let inside = text.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (text, label) = inside.and_then(|inside| inside.rsplit_once(", ")).context("label_values")?;
        let place = format!("variable {}", variable["name"]);
        queries.push(Query::new(&place, &format!("{text} "), &format!("{{{{{label}}}}}"))?);
    }
    Ok(queries)
}

impl Query {
    /// Of the one metric that the text names.
    fn new(place: &str, text: &str, legend: &str) -> Result<Self> {
        let mut labels: BTreeSet<&str> = legend.split("{{").skip(1).filter_map(until("}}")).collect();
        labels.extend(text.split(" by (").skip(1).filter_map(until(")")).flat_map(|by| by.split(", ")));
        // Its name is the word before the braces, or all there is.
        let (before, inside) = text.split_once('{').unwrap_or((text, "}"));
        let inside = until("}")(inside).with_context(|| format!("{place}: {text}"))?;
        ensure!(text.matches('{').count() <= 1, "{place} asks for several metrics: {text}");
        let metric = before.trim_end().rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
        let mut matchers = BTreeMap::new();
        for matcher in inside.split(", ").filter(|matcher| !matcher.is_empty()) {
            let (label, value) =
                matcher.split_once(['=', '!']).with_context(|| format!("{place}: {matcher}"))?;
            let value = value.trim_matches('"');
            let chosen = value.starts_with("~\"$");
            ensure!(chosen || value.chars().all(char::is_alphanumeric), "{place}: {matcher}");
            matchers.insert(label.to_owned(), (!chosen).then(|| value.to_owned()));
        }
        let own = |label: &&str| !OF_PROMETHEUS.contains(label);
        matchers.retain(|label, _| own(&label.as_str()));
        Ok(Self {
            place: place.to_owned(),
            metric: metric.unwrap_or_default().to_owned(),
            matchers,
            labels: labels.into_iter().filter(own).map(str::to_owned).collect(),
        })
    }

    /// Whether one of the series that a scheduler shows is what it asks for, with all labels that it needs.
    #[must_use]
    pub fn is_answered_by(&self, exposition: &str) -> bool {
        exposition.lines().filter_map(|line| series(line)).any(|(name, labels)| {
            let matches = |(label, value): (&String, &Option<String>)| {
                let found = labels.get(label.as_str());
                value.as_ref().map_or(found.is_some(), |value| found == Some(&value.as_str()))
            };
            name == self.metric
                && self.matchers.iter().all(matches)
                && self.labels.iter().all(|label| labels.contains_key(label.as_str()))
        })
    }
}

/// The names of the labels of each metric that a scheduler shows.
#[must_use]
pub fn labels_by_metric(exposition: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, labels) in exposition.lines().filter_map(series) {
        found.entry(name).or_default().extend(labels.into_keys());
    }
    found
}

fn until<'a>(end: &'static str) -> impl Fn(&'a str) -> Option<&'a str> {
    move |text| Some(text.split_once(end)?.0)
}

/// Name and labels of a line of the text format. A comma or a brace in a value would cut it off, which no label has that is asked for.
fn series(line: &str) -> Option<(&str, BTreeMap<&str, &str>)> {
    if line.starts_with('#') {
        return None;
    }
    let Some((name, rest)) = line.split_once('{') else {
        return Some((line.split_once(' ')?.0, BTreeMap::new()));
    };
    let pairs = rest.rsplit_once('}')?.0.split(',').filter_map(|pair| pair.split_once('='));
    Some((name, pairs.map(|(label, value)| (label, value.trim_matches('"'))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "# TYPE a_total counter\na_total{profile=\"p\",result=\"ok\"} 3\nplain 1\n";

    #[test]
    fn a_query_needs_its_metric_its_labels_and_their_values() {
        let answered =
            |text: &str, legend: &str| Query::new("panel", text, legend).unwrap().is_answered_by(SHOWN);
        let chosen = "{job=~\"$job\", profile=~\"$profile\"";
        assert!(answered(
            &format!("sum by (job, result) (rate(a_total{chosen}}}[5m]))"),
            "{{job}} {{profile}}"
        ));
        assert!(answered(&format!("max(a_total{chosen}, result=\"ok\"}})"), ""));
        assert!(answered("plain{job=~\"$job\"}", "{{instance}}"));
        for (text, legend) in [
            (format!("a{chosen}}}"), ""),
            (format!("a_total{chosen}, result=\"no\"}}"), ""),
            (format!("sum by (queue) (a_total{chosen}}})"), ""),
            (format!("a_total{chosen}}}"), "{{queue}}"),
            ("plain{profile=~\"$profile\"}".to_owned(), ""),
        ] {
            assert!(!answered(&text, legend), "{text} {legend}");
        }
    }

    #[test]
    fn the_board_has_such_queries() {
        let queries = queries_side_by_side().unwrap();
        assert!(queries.len() > 20, "{}", queries.len());
        let variable = queries.iter().find(|query| query.place.contains("profile")).unwrap();
        assert_eq!(variable.metric, "scheduler_schedule_attempts_total");
    }
}
