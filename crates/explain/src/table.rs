//! The answer for people: lines of at most 80 columns.

use crate::answer::{Explanation, NodeAnswer, ScoreAnswer, Verdict};
use crate::extenders::{AskedExtender, ExtenderAnswer};
use crate::facts::RejectedGroup;
use crate::lines::{COLUMNS, wrap};
use secondmate_framework::{EXTENDER_NAME, Fact, Status};
use secondmate_model::Atom;
use std::fmt::Write;

/// Name, total and scores of a feasible node.
type FeasibleNode<'a> = (&'a Atom, i64, &'a [(Atom, ScoreAnswer)]);

/// Maximum number of suggestions shown.
const HELP_MAX: usize = 3;

/// How much of an answer is shown.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Maximum number of nodes in the table of scores.
    pub nodes_max: usize,
    /// Maximum number of examples per group of rejected nodes.
    pub examples_max: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self { nodes_max: 5, examples_max: 3 }
    }
}

/// An answer as multi-line text. `others` are further pods that it applies to.
#[must_use]
pub fn render(explanation: &Explanation, others: &[String], style: Style) -> String {
    let mut text = String::new();
    let mut title = format!("{} ({})", explanation.pod, explanation.profile);
    if let Some(first) = others.first() {
        let _ = write!(title, " and {}", counted(others.len(), "pod"));
        let _ = write!(title, " like it ({first}{})", if others.len() > 1 { ", …" } else { "" });
    }
    let feasible: Vec<FeasibleNode<'_>> = explanation
        .nodes
        .iter()
        .filter_map(|(name, answer)| match answer {
            NodeAnswer::Feasible { scores, total } => Some((name, *total, scores.as_slice())),
            NodeAnswer::Rejected { .. } => None,
        })
        .collect();
    let verdict = match explanation.result {
        Verdict::Gated => held_back(explanation.facts.held_back_by.as_ref()),
        Verdict::Error if explanation.facts.asked.iter().any(AskedExtender::ended_the_attempt) => {
            "cannot be tried: an extender failed".to_owned()
        }
        Verdict::Error => "cannot be tried: a plugin failed".to_owned(),
        Verdict::Schedulable => match explanation.nodes.len() {
            1 => "fits on the only node".to_owned(),
            nodes => format!("fits on {} of {}", feasible.len(), counted(nodes, "node")),
        },
        Verdict::Unschedulable => match &explanation.pre_filter {
            Some(_) => "cannot be placed, whatever the node".to_owned(),
            None => match explanation.nodes.len() {
                1 => "does not fit on the only node".to_owned(),
                nodes => format!("fits on none of {}", counted(nodes, "node")),
            },
        },
    };
    wrap(&mut text, 0, 2, &format!("{title}: {verdict}"));
    if explanation.result == Verdict::Schedulable {
        best(&mut text, explanation, feasible, style);
    }
    if let Some(rejection) = &explanation.pre_filter {
        let plugin = rejection.plugin.as_ref().map_or("PreFilter", Atom::as_str);
        wrap(&mut text, 2, 2, &format!("{plugin}: {}", rejection.reasons.join("; ")));
        for Fact { text: fact, .. } in &explanation.facts.pre_filter {
            wrap(&mut text, 4, 2, fact);
        }
    }
    let groups = &explanation.facts.groups;
    if !groups.is_empty() {
        text.push_str("  does not fit on\n");
    }
    for group in groups {
        rejected(&mut text, group, style);
    }
    preemption(&mut text, explanation);
    asked(&mut text, &explanation.facts.asked);
    help(&mut text, explanation);
    if let Some(message) = &explanation.message {
        let what = if explanation.result == Verdict::Error { "error" } else { "event" };
        wrap(&mut text, 2, 2, &format!("{what}: {message}"));
    }
    text
}

fn held_back(by: Option<&Status>) -> String {
    let Some(status) = by else { return "is held back before it enters the queue".to_owned() };
    let plugin = status.plugin().map_or("PreEnqueue", Atom::as_str);
    format!("is held back by {plugin}: {}", status.message())
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The first names of a list, and the number of the remaining ones.
fn names(list: &[Atom], most: usize) -> String {
    let mut text = list.iter().take(most).map(Atom::as_str).collect::<Vec<_>>().join(", ");
    if list.len() > most {
        let _ = write!(text, " and {} more", list.len() - most);
    }
    text
}

fn best(text: &mut String, explanation: &Explanation, mut feasible: Vec<FeasibleNode<'_>>, style: Style) {
    match explanation.best.as_slice() {
        [one] => wrap(text, 2, 2, &format!("goes to {one}")),
        many => {
            let list = names(many, style.nodes_max);
            wrap(text, 2, 2, &format!("goes to one of {} alike: {list}", counted(many.len(), "node")));
        }
    }
    feasible.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.as_str().cmp(b.0.as_str())));
    let all = feasible.len();
    feasible.truncate(style.nodes_max.max(1));
    let scores = feasible.first().map_or(&[][..], |(_, _, scores)| scores);
    let by_extenders = |node: &FeasibleNode<'_>| {
        let by_plugins = node.2.iter().fold(0_i64, |sum, (_, score)| sum.wrapping_add(score.weighted));
        node.1.wrapping_sub(by_plugins)
    };
    let extenders =
        explanation.facts.asked.iter().any(|call| matches!(call.answer, ExtenderAnswer::Scored(_)));
    if scores.is_empty() && !extenders {
        return;
    }
    let mut columns = vec![vec!["SCORE".to_owned()]];
    columns[0].extend(scores.iter().map(|(plugin, _)| plugin.as_str().to_owned()));
    columns[0].extend(extenders.then(|| EXTENDER_NAME.to_owned()));
    columns[0].push("total".to_owned());
    for node in &feasible {
        let (name, total, scores) = node;
        let mut column = vec![name.as_str().to_owned()];
        column.extend(scores.iter().map(|(_, score)| score_cell(*score)));
        column.extend(extenders.then(|| by_extenders(node).to_string()));
        column.push(total.to_string());
        columns.push(column);
    }
    let shown = table(text, &columns);
    if all > shown {
        let _ = writeln!(text, "    … and {}", counted(all - shown, "node"));
    }
}

/// `weighted`, and how it was computed if it differs from the raw score.
fn score_cell(score: ScoreAnswer) -> String {
    let ScoreAnswer { raw, normalized, weighted } = score;
    match (raw == normalized, normalized == weighted) {
        (true, true) => weighted.to_string(),
        (true, false) => format!("{weighted} ({normalized})"),
        (false, _) => format!("{weighted} ({normalized}, raw {raw})"),
    }
}

/// Writes as many columns side by side as there is room for, at least one beside the first; returns how many were written beside
/// it.
fn table(text: &mut String, columns: &[Vec<String>]) -> usize {
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let (mut shown, mut used) = (2, 4 + widths[0] + 2 + widths[1]);
    while shown < columns.len() && used + 2 + widths[shown] <= COLUMNS {
        used += 2 + widths[shown];
        shown += 1;
    }
    for row in 0..columns[0].len() {
        let mut line = String::from("  ");
        for (column, width) in columns.iter().zip(&widths).take(shown) {
            let _ = write!(line, "  {:width$}", column[row]);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    shown - 1
}

/// The nodes with one verdict: how many there are, and the facts about the nearest ones.
fn rejected(text: &mut String, group: &RejectedGroup, style: Style) {
    let plugin = group.plugin.as_ref().map_or("PreFilter", Atom::as_str);
    let why = if group.reasons.is_empty() { group.code.name().to_owned() } else { group.reasons.join("; ") };
    let count = counted(group.nodes.len(), "node");
    if group.facts.is_empty() {
        let list = names(&group.nodes, style.examples_max);
        wrap(text, 4, 2, &format!("{count} ({plugin}): {why}: {list}"));
        return;
    }
    wrap(text, 4, 2, &format!("{count} ({plugin}): {why}"));
    for (fact, nodes) in group.facts.iter().take(style.examples_max) {
        wrap(text, 6, 2, &format!("{}: {}", names(nodes, style.examples_max), fact.text));
    }
    if group.facts.len() > style.examples_max {
        let told: Vec<&Atom> =
            group.facts[..style.examples_max].iter().flat_map(|(_, nodes)| nodes).collect();
        let left = group.nodes.iter().filter(|node| !told.contains(node)).count();
        if left > 0 {
            let _ = writeln!(text, "      … and {}", counted(left, "node"));
        }
    }
    if let Some(first) = group.nominated.first() {
        let node = first.nominated_node_name.as_ref().map_or("a node", Atom::as_str);
        let more = match group.nominated.len() {
            1 => String::new(),
            all => format!(", and {} more like it", all - 1),
        };
        let pod = format!("pod {} (of {})", first.full_name(), first.scheduler_name);
        wrap(text, 6, 2, &format!("counted as there: {pod}, nominated to {node}{more}"));
    }
}

/// What extenders were asked. A failure that ends the attempt is covered by its message.
fn asked(text: &mut String, asked: &[AskedExtender]) {
    for call in asked.iter().filter(|call| !call.ended_the_attempt()) {
        let said = match &call.answer {
            ExtenderAnswer::Filtered { asked, dropped } => {
                format!("lets {} of {} pass", asked - dropped.len(), counted(*asked, "node"))
            }
            ExtenderAnswer::Scored(nodes) => format!("scores {}", counted(*nodes, "node")),
            ExtenderAnswer::Preempted { asked, left } => {
                format!("leaves {left} of {} for preemption", counted(*asked, "node"))
            }
            ExtenderAnswer::Failed { verb: "preempt", error } if !call.ignorable => {
                format!("preempt failed: {error}")
            }
            ExtenderAnswer::Failed { verb, error } => format!("{verb} failed, which is ignored: {error}"),
        };
        wrap(text, 2, 2, &format!("extender {}: {said}", call.extender));
    }
}

fn preemption(text: &mut String, explanation: &Explanation) {
    let Some(answer) = &explanation.post_filter else { return };
    let node = &answer.nominated_node;
    let line = match answer.victims.as_slice() {
        [] => format!("preemption: would be promised node {node}"),
        victims => {
            let pods = counted(victims.len(), "pod");
            format!("preemption: would evict {pods} from node {node}: {}", victims.join(", "))
        }
    };
    wrap(text, 2, 2, &line);
}

/// What would help a pod that fits nowhere; if preemption finds a node, no other help is needed.
fn help(text: &mut String, explanation: &Explanation) {
    if explanation.result != Verdict::Unschedulable || explanation.post_filter.is_some() {
        return;
    }
    let help = explanation.facts.help();
    if !help.is_empty() {
        let told = help.iter().take(HELP_MAX).copied().collect::<Vec<_>>().join("; or ");
        wrap(text, 2, 2, &format!("would help: {told}"));
    }
}
