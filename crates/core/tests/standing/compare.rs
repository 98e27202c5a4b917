//! Whether two answers are equal.

use secondmate_cycle::{Answer, Details, Outcome};
use secondmate_framework::{NodeIndex, Snapshot};
use std::fmt::Debug;

fn equal<T: PartialEq + Debug>(what: &str, plain: T, standing: T) -> Result<(), String> {
    if plain == standing {
        return Ok(());
    }
    Err(format!("{what} differs\n   plain {plain:?}\nstanding {standing:?}"))
}

/// Returns where the answers differ.
pub fn answers(plain: &Answer, standing: &Answer, snapshot: &Snapshot) -> Result<(), String> {
    match (&plain.details, &standing.details) {
        (Some(plain), Some(standing)) => details(plain, standing, snapshot)?,
        (plain, standing) => equal("whether there are details", plain.is_some(), standing.is_some())?,
    }
    equal("looked_at", plain.looked_at, standing.looked_at)?;
    match (&plain.outcome, &standing.outcome) {
        (Outcome::Placed { node: plain, .. }, Outcome::Placed { node: standing, .. }) => {
            equal("the node", plain.name(), standing.name())
        }
        // Compares everything visible: message, culprits, nomination, victims, nominations to clear.
        (Outcome::Rejected(plain), Outcome::Rejected(standing)) => {
            equal("the rejection", format!("{plain:?}"), format!("{standing:?}"))
        }
        (Outcome::Failed(plain), Outcome::Failed(standing)) => equal("the failure", plain, standing),
        (plain, standing) => equal("the outcome", kind(plain), kind(standing)),
    }
}

fn kind(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Placed { node, .. } => format!("placed on {}", node.name()),
        Outcome::Rejected(rejection) => format!("rejected: {}", rejection.message),
        Outcome::Failed(failure) => format!("failed: {failure}"),
    }
}

fn details(plain: &Details, standing: &Details, snapshot: &Snapshot) -> Result<(), String> {
    equal("PreFilter", &plain.pre_filter, &standing.pre_filter)?;
    equal("the verdict of others", plain.statuses.absent(), standing.statuses.absent())?;
    for (at, node) in (0..).zip(snapshot.nodes()) {
        let (one, other) =
            (plain.statuses.explicit(NodeIndex(at)), standing.statuses.explicit(NodeIndex(at)));
        equal(&format!("the verdict on {}", node.name()), one, other)?;
    }
    let names = |details: &Details| details.feasible.iter().map(|n| n.name().clone()).collect::<Vec<_>>();
    equal("the feasible nodes", names(plain), names(standing))?;
    for (one, other) in plain.scored.plugins.iter().zip(&standing.scored.plugins) {
        equal("a plugin's scores", one, other)?;
    }
    equal("the plugins that score", plain.scored.plugins.len(), standing.scored.plugins.len())?;
    equal("the totals", &plain.scored.totals, &standing.scored.totals)?;
    let best = |details: &Details| details.best().map(|n| n.name().clone()).collect::<Vec<_>>();
    equal("the best nodes", best(plain), best(standing))
}
