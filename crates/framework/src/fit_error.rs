//! Why a pod fits on no node, in kube-scheduler's words: the text of the FailedScheduling event and of the pod's condition.

use crate::verdicts::NodeStatuses;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The text for a pod that fits on none of `node_count` nodes.
///
/// If PreFilter rejected the pod, only its message is given (the reasons joined by `, `). Otherwise the reasons of the nodes are
/// counted, each node once per reason, and sorted as text, so `10 x` comes before `2 y`. `post_filter` is the message of the
/// PostFilter plugins, empty if they gave none. The text is not truncated here; only the event is.
#[must_use]
pub fn fit_error_message(
    node_count: usize,
    pre_filter_message: Option<&str>,
    statuses: &NodeStatuses,
    post_filter: &str,
) -> String {
    let mut text = format!("0/{node_count} nodes are available:");
    match pre_filter_message.filter(|message| !message.is_empty()) {
        Some(message) => {
            // Writing to a string cannot fail.
            let _ = write!(text, " {message}.");
        }
        None => {
            let histogram = histogram(node_count, statuses);
            if !histogram.is_empty() {
                let _ = write!(text, " {}.", histogram.join(", "));
            }
        }
    }
    if !post_filter.is_empty() {
        let _ = write!(text, " {post_filter}");
    }
    text
}

/// `COUNT REASON` for each reason, sorted as text.
fn histogram(node_count: usize, statuses: &NodeStatuses) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (status, nodes) in statuses.tally() {
        for reason in status.reasons() {
            *counts.entry(reason).or_insert(0) += nodes;
        }
    }
    let absent = node_count.saturating_sub(statuses.len());
    if absent > 0 {
        for reason in statuses.absent().reasons() {
            *counts.entry(reason).or_insert(0) += absent;
        }
    }
    let mut lines: Vec<String> =
        counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    lines.sort_unstable();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::NodeIndex;
    use crate::status::{Code, Status};

    fn statuses(rejected: u32, reasons: &'static [&'static str], absent: Status) -> NodeStatuses {
        let mut statuses = NodeStatuses::new(absent);
        for node in 0..rejected {
            let reasons = reasons.iter().map(|r| (*r).into());
            statuses.set(NodeIndex(node), Status::with_reasons(Code::Unschedulable, reasons));
        }
        statuses
    }

    #[test]
    fn counts_are_sorted_as_text_and_a_node_counts_for_each_reason() {
        let mut statuses = statuses(12, &["Insufficient cpu", "Too many pods"], Status::SUCCESS);
        for node in 12..14 {
            statuses.set(NodeIndex(node), Status::unresolvable("node(s) were unschedulable"));
        }
        assert_eq!(
            fit_error_message(14, None, &statuses, "preemption: not eligible due to preemptionPolicy=Never."),
            "0/14 nodes are available: 12 Insufficient cpu, 12 Too many pods, 2 node(s) were unschedulable. \
             preemption: not eligible due to preemptionPolicy=Never."
        );
    }

    #[test]
    fn nodes_without_a_verdict_have_that_of_the_others() {
        let absent = Status::unresolvable("Preemption is not helpful for scheduling");
        assert_eq!(
            fit_error_message(10, None, &statuses(3, &["x"], absent), ""),
            "0/10 nodes are available: 3 x, 7 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn a_rejection_before_the_filters_stands_alone() {
        let absent = Status::unresolvable("claim not found");
        assert_eq!(
            fit_error_message(5, Some("claim not found"), &statuses(0, &[], absent), "not found"),
            "0/5 nodes are available: claim not found. not found"
        );
    }

    #[test]
    fn without_reasons_there_is_no_histogram() {
        let none = statuses(0, &[], Status::with_reasons(Code::Unschedulable, []));
        assert_eq!(fit_error_message(2, None, &none, ""), "0/2 nodes are available:");
    }
}
