//! What a configuration says about plugins, before anything of it is checked: whoever has plugins that are described by their
//! arguments needs them to know what there is.

use crate::document::{self, Kind, Node};
use serde_json::Value;

/// Name and arguments of every entry of `pluginConfig`, of all profiles in order. A text that cannot be read has none:
/// [`Configuration::parse`](crate::Configuration::parse) says why.
#[must_use]
pub fn plugin_arguments(text: &str) -> Vec<(String, Value)> {
    let list = |node: Option<&Node>| match node.map(|node| &node.kind) {
        Some(Kind::List(items)) => items.clone(),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for document in document::parse(text).unwrap_or_default() {
        for profile in list(document.field("profiles")) {
            for entry in list(profile.field("pluginConfig")) {
                if let (Some(Kind::Text(name)), Some(args)) =
                    (entry.field("name").map(|name| &name.kind), entry.field("args"))
                {
                    found.push((name.clone(), args.to_json()));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_of_all_profiles_are_found_without_a_check() {
        let text = "kind: x\nprofiles:\n- pluginConfig:\n  - name: A\n    args: {guestURL: file://a}\n  - name: B\n- pluginConfig: [{name: A, args: 1}]\n- 7\n";
        let expected = [("A".to_owned(), json!({"guestURL": "file://a"})), ("A".to_owned(), json!(1))];
        assert_eq!(plugin_arguments(text), expected);
        assert_eq!(plugin_arguments("{"), []);
    }
}
