//! Arguments of plugins, as given in `pluginConfig`.

use secondmate_framework::PluginError;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads the arguments of a plugin; `null` gives the defaults. `apiVersion` and `kind`, which a configuration may spell out, are ignored.
///
/// # Errors
/// A field that the plugin does not know, or a field of the wrong type.
pub(crate) fn parse<T: DeserializeOwned + Default>(plugin: &str, args: &Value) -> Result<T, PluginError> {
    let mut args = args.clone();
    match &mut args {
        Value::Null => return Ok(T::default()),
        Value::Object(fields) => {
            fields.remove("apiVersion");
            fields.remove("kind");
        }
        _ => return Err(refused(plugin, "expected an object")),
    }
    serde_json::from_value(args).map_err(|error| refused(plugin, error.to_string()))
}

/// The error for arguments that a plugin cannot work with.
pub(crate) fn refused(plugin: &str, reason: impl Into<String>) -> PluginError {
    PluginError::Arguments { plugin: plugin.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
    struct Args {
        some_number: i64,
    }

    #[test]
    fn type_information_is_left_out_and_unknown_fields_are_refused() {
        let read = |args| parse::<Args>("P", &args);
        assert_eq!(read(Value::Null), Ok(Args { some_number: 0 }));
        assert_eq!(
            read(json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "PArgs", "someNumber": 3})),
            Ok(Args { some_number: 3 })
        );
        let error = read(json!({"someNumbr": 3})).expect_err("a misspelt field");
        assert_eq!(
            error.to_string(),
            "arguments of plugin \"P\" (pluginConfig): unknown field `someNumbr`, expected `someNumber`"
        );
        read(json!([])).expect_err("no object");
    }
}
