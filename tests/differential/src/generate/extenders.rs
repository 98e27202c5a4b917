//! Extenders: how they are configured, and what they answer.

use super::Generator;
use crate::extenders::{Broken, Table};
use serde_json::{Value, json};

/// What is no answer to any verb, and errors.
const BROKEN: &[(u16, &str)] = &[
    (500, "{}"),
    (404, "not found"),
    (204, ""),
    (200, ""),
    (200, "null"),
    (200, "{}"),
    (200, "[]"),
    (200, "{\"NodeNames\":[\"n0\"],"),
    (200, "{\"nodenames\":[\"n0\",\"n1\"]}"),
    (200, "{\"NodeNames\":7}"),
    (200, "{\"Error\":\"out of order\"}"),
    (200, "[{\"host\":\"n0\",\"score\":3}]"),
    (200, "[{\"Host\":\"n0\",\"Score\":\"3\"}]"),
];

impl Generator {
    /// One or two extenders for the case, whose hosts no other case has.
    pub(super) fn extenders(&mut self, case: &str) -> (Value, Vec<Table>) {
        let (mut configured, mut tables) = (Vec::new(), Vec::new());
        for number in 0..1 + self.random.below(2) {
            let mut extender =
                json!({"urlPrefix": format!("http://x{number}.case-{case}.example/scheduler")});
            if self.chance(80) {
                extender["filterVerb"] = "filter".into();
            }
            if self.chance(60) {
                extender["prioritizeVerb"] = "prioritize".into();
                extender["weight"] = self.random.between(1, 30).into();
            }
            if self.chance(50) {
                extender["preemptVerb"] = "preempt".into();
            }
            let by_name = self.chance(50);
            extender["nodeCacheCapable"] = by_name.into();
            extender["ignorable"] = self.chance(30).into();
            // A resource has one extender at most.
            if number == 0 && self.chance(35) {
                let name = self.one(&["example.com/gpu", "example.com/nic"]);
                let ignored = self.chance(50);
                extender["managedResources"] = json!([{"name": name, "ignoredByScheduler": ignored}]);
                self.drop_overhead_of(name);
            }
            configured.push(extender);
            let mut table = self.table();
            if !by_name {
                // A whole node that was not asked about is taken by upstream, and refused by secondmate.
                table.add.clear();
            }
            tables.push(table);
        }
        // Where preemption finds that a pod fits without evicting anybody, which only an extender can bring about, that is an error; upstream
        // tells those of several nodes in the order in which its workers end.
        let mut rejected: Option<String> = None;
        for Table { reject, unresolvable, .. } in &mut tables {
            reject.retain(|node, _| {
                unresolvable.contains_key(node) || rejected.get_or_insert_with(|| node.clone()) == node
            });
        }
        (configured.into(), tables)
    }

    /// A pod of which nothing but the overhead names a managed resource concerns secondmate's extenders, and not upstream's.
    fn drop_overhead_of(&mut self, resource: &str) {
        for object in &mut self.objects {
            let overhead = object.pointer_mut("/spec/overhead").and_then(Value::as_object_mut);
            if let Some(overhead) = overhead {
                overhead.remove(resource);
            }
        }
    }

    fn table(&mut self) -> Table {
        let mut table = Table::default();
        for node in self.nodes.clone() {
            match self.random.below(12) {
                0 => drop(table.reject.insert(node.clone(), "the extender has no room there".to_owned())),
                1 => drop(table.unresolvable.insert(node.clone(), "the extender cannot go there".to_owned())),
                2 => table.drop.push(node.clone()),
                // In both lists: the second one counts.
                3 if self.chance(30) => {
                    table.reject.insert(node.clone(), "not yet".to_owned());
                    table.unresolvable.insert(node.clone(), "never".to_owned());
                }
                _ => {}
            }
            if self.chance(60) {
                table.scores.insert(node.clone(), self.random.between(0, 10));
            }
            if self.chance(12) {
                table.spare.push(node.clone());
            }
            if self.chance(12) {
                let kept = if is_sound(&table) { self.random.below(3) } else { 1 + self.random.below(2) };
                table.keep.insert(node.clone(), kept);
            }
            if self.chance(10) {
                table.violations.insert(node.clone(), self.random.between(0, 3));
            }
            if self.chance(1) && is_sound(&table) {
                table.ghosts.push(node);
            }
        }
        if self.chance(4) {
            table.add.push("nowhere".to_owned());
        }
        if self.chance(4) {
            table.error = "the extender is not well".to_owned();
        }
        if self.chance(10) {
            let verb = self.one(&["filter", "prioritize", "preempt"]);
            let (status, body) = *self.random.element(BROKEN);
            table.broken.insert(verb.to_owned(), Broken { status, body: body.to_owned() });
        }
        table
    }
}

/// Whether no node has a wrong answer about its victims yet. Of several upstream names any: it goes through a map of Go.
fn is_sound(table: &Table) -> bool {
    table.ghosts.is_empty() && table.keep.values().all(|kept| *kept > 0)
}
