//! What a configuration says about plugins, before any of it is checked: plugins that are described by their arguments can only be found
//! through them.

use crate::document::{self, Kind, Node};
use crate::problem::Path;
use serde_json::Value;

/// The arguments in an entry of `pluginConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenArguments {
    /// Their path, as `profiles[0].pluginConfig[1].args`.
    pub path: String,
    /// The plugin.
    pub plugin: String,
    /// The arguments as written.
    pub args: Value,
}

/// The arguments in every entry of `pluginConfig`, of all profiles in order. A text that cannot be read has none;
/// [`Configuration::parse`](crate::Configuration::parse) says why.
#[must_use]
pub fn plugin_arguments(text: &str) -> Vec<GivenArguments> {
    let list = |node: Option<&Node>| match node.map(|node| &node.kind) {
        Some(Kind::List(items)) => items.clone(),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for document in document::parse(text).unwrap_or_default() {
        for (at, profile) in list(document.field("profiles")).iter().enumerate() {
            let path = Path::default().child("profiles").index(at).child("pluginConfig");
            for (at, entry) in list(profile.field("pluginConfig")).iter().enumerate() {
                if let (Some(Kind::Text(plugin)), Some(args)) =
                    (entry.field("name").map(|name| &name.kind), entry.field("args"))
                {
                    found.push(GivenArguments {
                        path: path.index(at).child("args").as_str().to_owned(),
                        plugin: plugin.clone(),
                        args: args.to_json(),
                    });
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
        let given = |path: &str, args| GivenArguments { path: path.to_owned(), plugin: "A".to_owned(), args };
        let expected = [
            given("profiles[0].pluginConfig[0].args", json!({"guestURL": "file://a"})),
            given("profiles[1].pluginConfig[0].args", json!(1)),
        ];
        assert_eq!(plugin_arguments(text), expected);
        assert_eq!(plugin_arguments("{"), []);
    }
}
