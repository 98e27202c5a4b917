//! The order of nodes: round robin over the zones, as in upstream's node tree.

use rustc_hash::FxHashMap;
use secondmate_model::Atom;

/// Node names by zone. Zones are in order of their first appearance, nodes in order of their arrival in the zone.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    zones: Vec<(String, Vec<Atom>)>,
    zone_of: FxHashMap<Atom, String>,
}

impl Zones {
    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.zone_of.len()
    }

    /// Puts a node into a zone; returns whether that changed the order.
    pub fn set(&mut self, node: &Atom, zone: String) -> bool {
        if self.zone_of.get(node) == Some(&zone) {
            return false;
        }
        self.remove(node);
        match self.zones.iter_mut().find(|(z, _)| *z == zone) {
            Some((_, nodes)) => nodes.push(node.clone()),
            None => self.zones.push((zone.clone(), vec![node.clone()])),
        }
        self.zone_of.insert(node.clone(), zone);
        true
    }

    /// Removes a node. An empty zone is removed too; if it comes back, it is the last one.
    pub fn remove(&mut self, node: &Atom) {
        let Some(zone) = self.zone_of.remove(node) else { return };
        let at = self.zones.iter().position(|(z, _)| *z == zone).expect("a node's zone is listed");
        let nodes = &mut self.zones[at].1;
        nodes.retain(|n| n != node);
        if nodes.is_empty() {
            self.zones.remove(at);
        }
    }

    /// All nodes: the first of every zone, then the second, and so on.
    pub fn round_robin(&self) -> Vec<Atom> {
        let mut order = Vec::with_capacity(self.len());
        let longest = self.zones.iter().map(|(_, n)| n.len()).max().unwrap_or(0);
        for turn in 0..longest {
            order.extend(self.zones.iter().filter_map(|(_, nodes)| nodes.get(turn).cloned()));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(zones: &Zones) -> String {
        zones.round_robin().iter().map(Atom::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn nodes_are_taken_from_the_zones_in_turn() {
        let mut zones = Zones::default();
        for (node, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("c1", "c")] {
            assert!(zones.set(&Atom::new(node), zone.to_owned()));
        }
        assert_eq!(order(&zones), "a1 b1 c1 a2 a3");
        assert!(!zones.set(&Atom::new("a2"), "a".to_owned()));
        assert!(zones.set(&Atom::new("a2"), "b".to_owned()));
        assert_eq!(order(&zones), "a1 b1 c1 a3 b2".replace("b2", "a2"));
        zones.remove(&Atom::new("c1"));
        zones.set(&Atom::new("c2"), "c".to_owned());
        zones.set(&Atom::new("d1"), "d".to_owned());
        assert_eq!(order(&zones), "a1 b1 c2 d1 a3 a2");
    }
}
