//! The `args` of a guest in `pluginConfig`.

use crate::GuestFault;
use serde_json::Value;

/// Default memory of one instance.
const MEMORY_MIB: u32 = 128;
/// Default fuel for one call: a second's work or less.
const FUEL_PER_CALL: u64 = 1_000_000_000;
/// The address space of WebAssembly.
const MEMORY_MIB_MAX: u32 = 4096;
/// The field that identifies a plugin as a guest.
pub(crate) const URL_FIELD: &str = "guestURL";
/// The field with the digest of the guest's file.
pub(crate) const CHECKSUM_FIELD: &str = "guestChecksum";

/// What a configuration says about a guest. The first four fields are those of kube-scheduler-wasm-extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestArgs {
    /// Where the guest is: `file://PATH`, `http://…` or `https://…`.
    pub url: String,
    /// Passed to the guest as it is.
    pub config: String,
    /// Minimum severity that is logged: 0 info, 1 warning, 2 error, 3 fatal.
    pub log_severity: i32,
    /// Command line of the guest.
    pub args: Vec<String>,
    /// `sha256:` and the digest that the file must have.
    pub checksum: Option<String>,
    /// Maximum memory of one instance, in MiB.
    pub memory_mib: u32,
    /// Maximum fuel for one call; a unit is about one instruction.
    pub fuel_per_call: u64,
}

impl Default for GuestArgs {
    fn default() -> Self {
        Self {
            url: String::new(),
            config: String::new(),
            log_severity: 0,
            args: Vec::new(),
            checksum: None,
            memory_mib: MEMORY_MIB,
            fuel_per_call: FUEL_PER_CALL,
        }
    }
}

impl GuestArgs {
    /// Whether these are the arguments of a guest: they contain a `guestURL`.
    #[must_use]
    pub fn are_in(args: &Value) -> bool {
        field(args, URL_FIELD).is_some()
    }

    /// Reads the arguments. As in Go, the case of field names does not matter, and `null` counts as absent.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(args: &Value) -> Result<Self, Vec<GuestFault>> {
        let (read, faults) = Self::read_in_part(args);
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }

    /// Reads what can be read, and returns what is wrong with the rest.
    pub(crate) fn read_in_part(args: &Value) -> (Self, Vec<GuestFault>) {
        let (mut read, mut faults) = (Self::default(), Vec::new());
        let Some(fields) = args.as_object() else {
            return (read, vec![GuestFault::new("they must be an object with guestURL")]);
        };
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            if let Err(reason) = read.take(&name.to_ascii_lowercase(), value) {
                faults.push(GuestFault::of_field(name, reason));
            }
        }
        if read.url.is_empty() && !faults.iter().any(|fault| fault.is_of(URL_FIELD)) {
            let name = field(args, URL_FIELD).unwrap_or(URL_FIELD);
            faults.push(GuestFault::of_field(name, "wasm: guestURL is required"));
        }
        (read, faults)
    }

    fn take(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let expected = |what: &str| format!("expected {what}, not {value}");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match name {
            "guesturl" => self.url = text(value).ok_or_else(|| expected("a string"))?,
            "guestconfig" => self.config = text(value).ok_or_else(|| expected("a string"))?,
            "logseverity" => {
                let given = value.as_i64().and_then(|given| i32::try_from(given).ok());
                self.log_severity = given
                    .filter(|given| (0..=3).contains(given))
                    .ok_or_else(|| expected("0 (info), 1 (warning), 2 (error) or 3 (fatal)"))?;
            }
            "args" => {
                let list = value.as_array().and_then(|list| list.iter().map(text).collect());
                self.args = list.ok_or_else(|| expected("a list of strings"))?;
            }
            "guestchecksum" => {
                let hex = value.as_str().and_then(|checksum| checksum.strip_prefix("sha256:"));
                if hex.is_none_or(|hex| hex.len() != 64 || hex.bytes().any(|b| !b.is_ascii_hexdigit())) {
                    return Err(expected("sha256: and 64 hexadecimal digits"));
                }
                self.checksum = text(value);
            }
            "memorymib" => {
                let given = value.as_u64().and_then(|given| u32::try_from(given).ok());
                self.memory_mib = given
                    .filter(|given| (1..=MEMORY_MIB_MAX).contains(given))
                    .ok_or_else(|| expected(&format!("1 to {MEMORY_MIB_MAX}")))?;
            }
            "fuelpercall" => {
                let given = value.as_u64().filter(|given| *given > 0);
                self.fuel_per_call = given.ok_or_else(|| expected("a number above 0"))?;
            }
            _ => {
                return Err(
                    "there is no such field: the fields are guestURL, guestConfig, logSeverity, args, guestChecksum, memoryMiB and fuelPerCall"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

/// The name of a field as spelled in the arguments.
pub(crate) fn field<'a>(args: &'a Value, name: &str) -> Option<&'a str> {
    args.as_object()?.keys().map(String::as_str).find(|key| key.eq_ignore_ascii_case(name))
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
            (json!({"guestConfig": "x"}), "guestURL is required"),
            (json!([]), "an object"),
        ];
        for (args, part) in refused {
            let faults = GuestArgs::read(&args).expect_err("wrong");
            let [fault] = &faults[..] else { panic!("{args}: {faults:?}") };
            assert!(fault.to_string().contains(part), "{args}: {fault}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let args =
            json!({"GuestURL": 7, "guestConfig": null, "memoryMB": 1, "args": ["a", 1], "logSeverity": "x"});
        let faults = GuestArgs::read(&args).expect_err("wrong");
        let fields: Vec<_> = faults.iter().filter_map(|fault| fault.field.as_deref()).collect();
        assert_eq!(fields, ["GuestURL", "args", "logSeverity", "memoryMB"]);
    }
}
