//! `args` of a guest in `pluginConfig`.

use serde::Deserialize;
use serde_json::Value;

/// Memory of one instance where nothing is said.
const MEMORY_MIB: u32 = 128;
/// What one call may use where nothing is said: the work of a second or less.
const FUEL_PER_CALL: u64 = 1_000_000_000;
/// The address space of WebAssembly.
const MEMORY_MIB_MAX: u32 = 4096;
/// The field by which a plugin is known to be a guest.
pub(crate) const URL_FIELD: &str = "guestURL";

/// What a configuration says about a guest. The first four are those of kube-scheduler-wasm-extension.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestArgs {
    /// Where the guest is: `file://PATH`, `http://…` or `https://…`.
    #[serde(rename = "guesturl", default)]
    pub url: String,
    /// Handed to the guest as it is.
    #[serde(rename = "guestconfig", default)]
    pub config: String,
    /// Least severity that is logged: 0 info, 1 warning, 2 error, 3 fatal.
    #[serde(rename = "logseverity", default)]
    pub log_severity: i32,
    /// Command line of the guest.
    #[serde(default)]
    pub args: Vec<String>,
    /// `sha256:` and the digest that the file must have.
    #[serde(rename = "guestchecksum", default)]
    pub checksum: Option<String>,
    /// Largest memory of one instance, in MiB.
    #[serde(rename = "memorymib", default = "memory_mib")]
    pub memory_mib: u32,
    /// Largest use of one call, in units of fuel: about an instruction each.
    #[serde(rename = "fuelpercall", default = "fuel_per_call")]
    pub fuel_per_call: u64,
}

fn memory_mib() -> u32 {
    MEMORY_MIB
}

fn fuel_per_call() -> u64 {
    FUEL_PER_CALL
}

impl GuestArgs {
    /// Whether these are the arguments of a guest: they name a `guestURL`.
    #[must_use]
    pub fn are_in(args: &Value) -> bool {
        args.as_object().is_some_and(|fields| fields.keys().any(|key| key.eq_ignore_ascii_case(URL_FIELD)))
    }

    /// Reads the arguments. As in Go, the case of field names does not matter.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn read(args: &Value) -> Result<Self, String> {
        let fields = args.as_object().ok_or("they must be an object with guestURL")?;
        let lower = fields.iter().map(|(key, value)| (key.to_ascii_lowercase(), value.clone())).collect();
        let read: Self = serde_json::from_value(Value::Object(lower)).map_err(|error| {
            format!(
                "{error}; the fields are guestURL, guestConfig, logSeverity, args, guestChecksum, memoryMiB and fuelPerCall"
            )
        })?;
        if read.url.is_empty() {
            return Err("wasm: guestURL is required".to_owned());
        }
        if !(0..=3).contains(&read.log_severity) {
            return Err(format!(
                "logSeverity is {}: give 0 (info), 1 (warning), 2 (error) or 3 (fatal)",
                read.log_severity
            ));
        }
        if !(1..=MEMORY_MIB_MAX).contains(&read.memory_mib) {
            return Err(format!("memoryMiB is {}: give 1 to {MEMORY_MIB_MAX}", read.memory_mib));
        }
        if read.fuel_per_call == 0 {
            return Err(
                "fuelPerCall is 0, so that no call can do anything: remove it, or give more".to_owned()
            );
        }
        let digest = read.checksum.as_ref().map(|text| text.strip_prefix("sha256:").unwrap_or_default());
        if digest.is_some_and(|hex| hex.len() != 64 || hex.bytes().any(|b| !b.is_ascii_hexdigit())) {
            return Err("guestChecksum must be sha256: and 64 hexadecimal digits".to_owned());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn upstreams_fields_are_read_in_any_case() {
        let args = json!({"guestURL": "file://x.wasm", "guestConfig": "{}", "LogSeverity": 2, "Args": ["test", "mode"]});
        assert!(GuestArgs::are_in(&args) && !GuestArgs::are_in(&json!({"x": 1})));
        let read = GuestArgs::read(&args).expect("right");
        assert_eq!((read.url.as_str(), read.config.as_str(), read.log_severity), ("file://x.wasm", "{}", 2));
        assert_eq!((read.args.len(), read.memory_mib, read.fuel_per_call), (2, MEMORY_MIB, FUEL_PER_CALL));
    }

    #[test]
    fn wrong_arguments_are_told() {
        let refused = [
            (json!({"guestURL": ""}), "guestURL is required"),
            (json!({"guestURL": "x", "logSeverity": 4}), "logSeverity"),
            (json!({"guestURL": "x", "memoryMiB": 0}), "memoryMiB"),
            (json!({"guestURL": "x", "fuelPerCall": 0}), "fuelPerCall"),
            (json!({"guestURL": "x", "guestChecksum": "md5:1"}), "sha256:"),
            (json!({"guestURL": "x", "checksum": "y"}), "guestChecksum"),
            (json!([]), "an object"),
        ];
        for (args, part) in refused {
            let error = GuestArgs::read(&args).expect_err("wrong");
            assert!(error.contains(part), "{args}: {error}");
        }
    }
}
