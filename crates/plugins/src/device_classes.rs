//! Extended resources that are provided by a DeviceClass (dynamic resource allocation).

use secondmate_model::Atom;
use secondmate_model::objects::{Object, Objects};
use secondmate_model::resources::is_extended_resource_name;

/// Prefix of the implicit extended resource that each DeviceClass provides; the class's name follows.
const IMPLICIT_PREFIX: &str = "deviceclass.resource.kubernetes.io/";

/// Whether the name is one that a DeviceClass may provide.
pub(crate) fn may_provide(resource: &Atom) -> bool {
    is_extended_resource_name(resource.as_str()) || resource.as_str().starts_with(IMPLICIT_PREFIX)
}

/// The DeviceClass that provides the extended resource, under the name that it specifies or the implicit one. If there are several, the
/// first by name.
pub(crate) fn providing<'a>(objects: &'a Objects, resource: &Atom) -> Option<&'a Atom> {
    if objects.device_classes.is_empty() {
        return None;
    }
    let explicit = objects.device_classes.iter().find(|(_, name)| name.as_ref() == Some(resource));
    if let Some((class, _)) = explicit {
        return Some(class);
    }
    let class = resource.as_str().strip_prefix(IMPLICIT_PREFIX)?;
    objects.device_classes.get_key_value(&Atom::new(class)).map(|(class, _)| class)
}

/// Name of the class, and of the extended resource that it specifies, if the object is a DeviceClass.
pub(crate) fn of_object(object: &Object) -> Option<(&Atom, Option<&Atom>)> {
    match object {
        Object::DeviceClass(class, resource) => Some((class, resource.as_ref())),
        _ => None,
    }
}

/// Name of the implicit extended resource of a class.
pub(crate) fn implicit_resource(class: &Atom) -> String {
    format!("{IMPLICIT_PREFIX}{class}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::snapshot;
    use serde_json::json;

    #[test]
    fn a_class_provides_the_resource_that_it_names_and_its_implicit_one() {
        let snapshot = snapshot(vec![
            json!({"kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}}),
            json!({"kind": "DeviceClass", "metadata": {"name": "nic"}}),
        ]);
        for (resource, class) in [
            ("example.com/gpu", Some("gpu")),
            ("deviceclass.resource.kubernetes.io/gpu", Some("gpu")),
            ("deviceclass.resource.kubernetes.io/nic", Some("nic")),
            ("deviceclass.resource.kubernetes.io/fpga", None),
            ("example.com/nic", None),
        ] {
            let found = providing(snapshot.objects(), &Atom::new(resource));
            assert_eq!(found.map(Atom::as_str), class, "{resource}");
        }
        assert!(may_provide(&Atom::new("deviceclass.resource.kubernetes.io/nic")));
        assert!(!may_provide(&Atom::new("hugepages-2Mi")));
    }
}
