//! How much of a storage class's capacity on a node the pod's volumes take, and what that scores.

use super::matching::Placement;
use crate::shape::Shape;
use secondmate_model::Atom;
use smallvec::SmallVec;

/// What the pod's volumes take of one class.
struct Class<'a> {
    name: Option<&'a Atom>,
    /// Bytes that the claims ask for.
    requested: i64,
    /// Bytes that there are.
    capacity: i64,
}

type Classes<'a> = SmallVec<[Class<'a>; 4]>;

/// The mean over the classes, rounded; 0 where none counts. Volumes that exist count by their size, and where there is one,
/// claims that a volume is made for do not count. The integers are upstream's, overflow included.
pub(super) fn of(placement: &Placement<'_>, shape: &Shape) -> i64 {
    let mut classes = Classes::new();
    for (volume, claim) in &placement.bindings {
        let class = class(&mut classes, Some(&volume.spec_class));
        class.requested = class.requested.wrapping_add(claim.request.value());
        class.capacity = class.capacity.wrapping_add(volume.capacity.value());
    }
    if placement.bindings.is_empty() {
        for (unbound, left) in &placement.provisions {
            let Some(left) = left else { continue };
            let class = class(&mut classes, unbound.claim.storage_class.as_ref());
            class.requested = class.requested.wrapping_add(unbound.claim.request.value());
            // All volumes of the class are made out of the same.
            class.capacity = *left;
        }
    }
    if classes.is_empty() {
        return 0;
    }
    let sum: i64 = classes.iter().map(|class| shape.score(class.requested, class.capacity)).sum();
    // A pod has far fewer claims than a float tells apart.
    (sum as f64 / classes.len() as f64).round() as i64
}

fn class<'a, 'c>(classes: &'c mut Classes<'a>, name: Option<&'a Atom>) -> &'c mut Class<'a> {
    let at = classes.iter().position(|class| class.name == name).unwrap_or_else(|| {
        classes.push(Class { name, requested: 0, capacity: 0 });
        classes.len() - 1
    });
    &mut classes[at]
}
