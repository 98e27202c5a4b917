//! How much of a storage class's capacity on a node the pod's volumes use, and the resulting score.

use super::matching::Placement;
use crate::shape::Shape;
use secondmate_model::Atom;
use smallvec::SmallVec;

/// What the pod's volumes use of one class.
struct Class<'a> {
    name: Option<&'a Atom>,
    /// Bytes that the claims request.
    requested: i64,
    /// Bytes that are available.
    capacity: i64,
}

type Classes<'a> = SmallVec<[Class<'a>; 4]>;

/// The mean over the classes, rounded; 0 if none counts. Existing volumes count by their size, and if there are any, claims for which a
/// volume is provisioned do not count. The integers are upstream's, overflow included.
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
            // All volumes of the class are provisioned from the same capacity.
            class.capacity = *left;
        }
    }
    if classes.is_empty() {
        return 0;
    }
    let sum: i64 = classes.iter().map(|class| shape.score(class.requested, class.capacity)).sum();
    // A pod has far fewer claims than a float can distinguish.
    (sum as f64 / classes.len() as f64).round() as i64
}

fn class<'a, 'c>(classes: &'c mut Classes<'a>, name: Option<&'a Atom>) -> &'c mut Class<'a> {
    let at = classes.iter().position(|class| class.name == name).unwrap_or_else(|| {
        classes.push(Class { name, requested: 0, capacity: 0 });
        classes.len() - 1
    });
    &mut classes[at]
}
