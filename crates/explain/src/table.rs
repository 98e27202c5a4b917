//! The answer for people.

use crate::answer::{Explanation, NodeAnswer, ScoreAnswer, Verdict};
use secondmate_framework::Code;
use secondmate_model::Atom;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Name, total and scores of a feasible node.
type FeasibleNode<'a> = (&'a Atom, i64, &'a [(Atom, ScoreAnswer)]);

/// How much of an answer is shown.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Most nodes in the table of scores.
    pub nodes_max: usize,
    /// Most examples of a group of rejected nodes.
    pub examples_max: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self { nodes_max: 5, examples_max: 3 }
    }
}

/// An answer as text of several lines. `others` are the further pods for which it holds.
#[must_use]
pub fn render(explanation: &Explanation, others: &[String], style: Style) -> String {
    let mut text = format!("{} ({})", explanation.pod, explanation.profile);
    if let Some(first) = others.first() {
        let _ = write!(text, " and {}", counted(others.len(), "pod"));
        let _ = write!(text, " like it ({first}{})", if others.len() > 1 { ", …" } else { "" });
    }
    let feasible: Vec<FeasibleNode<'_>> = explanation
        .nodes
        .iter()
        .filter_map(|(name, answer)| match answer {
            NodeAnswer::Feasible { scores, total } => Some((name, *total, scores.as_slice())),
            NodeAnswer::Rejected { .. } => None,
        })
        .collect();
    text += ": ";
    match explanation.result {
        Verdict::Gated => text += "is held back by its scheduling gates; it is tried when they are removed\n",
        Verdict::Error => text += "cannot be tried: a plugin failed\n",
        Verdict::Schedulable => {
            let all = explanation.nodes.len();
            let _ = writeln!(text, "fits on {} of {}", feasible.len(), counted(all, "node"));
            best(&mut text, explanation, feasible, style);
        }
        Verdict::Unschedulable => {
            let _ = match &explanation.pre_filter {
                Some(_) => writeln!(text, "cannot be placed, whatever the node"),
                None => writeln!(text, "fits on none of {}", counted(explanation.nodes.len(), "node")),
            };
        }
    }
    if let Some(rejection) = &explanation.pre_filter {
        let plugin = rejection.plugin.as_ref().map_or("PreFilter", Atom::as_str);
        let _ = writeln!(text, "  {plugin}: {}", rejection.reasons.join("; "));
    }
    rejected(&mut text, explanation, style);
    preemption(&mut text, explanation);
    if let Some(message) = &explanation.message {
        let what = if explanation.result == Verdict::Error { "error" } else { "event" };
        let _ = writeln!(text, "  {what}: {message}");
    }
    text
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn best(text: &mut String, explanation: &Explanation, mut feasible: Vec<FeasibleNode<'_>>, style: Style) {
    let shown = |names: &[Atom]| {
        let mut list: Vec<&str> = names.iter().take(style.nodes_max).map(Atom::as_str).collect();
        if names.len() > style.nodes_max {
            list.push("…");
        }
        list.join(", ")
    };
    match explanation.best.as_slice() {
        [one] => {
            let _ = writeln!(text, "  goes to {one}");
        }
        many => {
            let _ = writeln!(text, "  goes to one of {} alike: {}", counted(many.len(), "node"), shown(many));
        }
    }
    let Some((_, _, scores)) = feasible.first() else { return };
    if scores.is_empty() {
        return;
    }
    feasible.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.as_str().cmp(b.0.as_str())));
    let left = feasible.len().saturating_sub(style.nodes_max);
    feasible.truncate(style.nodes_max);
    let mut rows = vec![vec!["NODE".to_owned(), "TOTAL".to_owned()]];
    rows[0].extend(feasible[0].2.iter().map(|(plugin, _)| plugin.as_str().to_owned()));
    for (name, total, scores) in &feasible {
        let mut row = vec![name.as_str().to_owned(), total.to_string()];
        row.extend(scores.iter().map(|(_, score)| score_cell(*score)));
        rows.push(row);
    }
    columns(text, &rows);
    if left > 0 {
        let _ = writeln!(text, "    … and {}", counted(left, "node"));
    }
}

/// `weighted`, and where it comes from where that is not the same number.
fn score_cell(score: ScoreAnswer) -> String {
    let ScoreAnswer { raw, normalized, weighted } = score;
    match (raw == normalized, normalized == weighted) {
        (true, true) => weighted.to_string(),
        (true, false) => format!("{weighted} ({normalized})"),
        (false, _) => format!("{weighted} ({normalized}, raw {raw})"),
    }
}

fn columns(text: &mut String, rows: &[Vec<String>]) {
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let mut line = String::from("   ");
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, " {cell:width$} ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// Nodes of one verdict, grouped: how many there are, and some names.
fn rejected(text: &mut String, explanation: &Explanation, style: Style) {
    type Group<'a> = (Code, &'a str, &'a [String]);
    let mut groups: Vec<(Group<'_>, Vec<&Atom>)> = Vec::new();
    let mut places: BTreeMap<(i32, &str, &[String]), usize> = BTreeMap::new();
    for (name, answer) in &explanation.nodes {
        let NodeAnswer::Rejected { code, plugin, reasons } = answer else { continue };
        let plugin = plugin.as_ref().map_or("PreFilter", Atom::as_str);
        let at = *places.entry((*code as i32, plugin, reasons)).or_insert_with(|| {
            groups.push(((*code, plugin, reasons), Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(name);
    }
    if groups.is_empty() {
        return;
    }
    groups.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    text.push_str("  does not fit on\n");
    let width = groups[0].1.len().to_string().len();
    for ((code, plugin, reasons), names) in groups {
        let why = if reasons.is_empty() { code.name().to_owned() } else { reasons.join("; ") };
        let examples: Vec<&str> = names.iter().take(style.examples_max).map(|n| n.as_str()).collect();
        let more = if names.len() > style.examples_max { ", …" } else { "" };
        let count = names.len();
        let _ = writeln!(text, "    {count:width$}  {plugin}: {why} ({}{more})", examples.join(", "));
    }
}

fn preemption(text: &mut String, explanation: &Explanation) {
    let Some(answer) = &explanation.post_filter else { return };
    let node = &answer.nominated_node;
    let _ = match answer.victims.as_slice() {
        [] => writeln!(text, "  preemption: would be promised node {node}"),
        victims => writeln!(
            text,
            "  preemption: would evict {} from node {node}: {}",
            counted(victims.len(), "pod"),
            victims.join(", ")
        ),
    };
}
