//! WebAssembly guests, or a substitute in a program that was built without them: it rejects each guest that a configuration names, and says
//! how to build a program that has them.

#[cfg(not(feature = "guests"))]
pub(crate) use absent::{GuestAnswers, GuestArgs, GuestFault, Guests, default_cache_folder};
#[cfg(feature = "guests")]
pub(crate) use secondmate_wasm::{GuestAnswers, GuestArgs, GuestFault, Guests, default_cache_folder};

/// Whether this program has them.
pub(crate) const BUILT_IN: bool = cfg!(feature = "guests");

#[cfg(not(feature = "guests"))]
mod absent {
    use secondmate_config::ExtensionPoint;
    use secondmate_framework::{Handle, Plugin, PluginError};
    use secondmate_record::Recorder;
    use serde_json::Value;
    use serde_json::value::RawValue;
    use std::path::PathBuf;
    use std::sync::Arc;

    /// The field that identifies a plugin as a guest. As in Go, its case does not matter.
    const URL_FIELD: &str = "guestURL";
    const REASON: &str = "this secondmate was built without WebAssembly guests (--no-default-features): use one that was built with them, \
                          or remove the plugin";

    pub(crate) struct GuestArgs;

    impl GuestArgs {
        pub fn are_in(args: &Value) -> bool {
            args.as_object().is_some_and(|args| args.keys().any(|name| name.eq_ignore_ascii_case(URL_FIELD)))
        }
    }

    pub(crate) struct GuestFault {
        pub field: Option<String>,
        pub reason: String,
    }

    #[derive(Default)]
    pub(crate) struct GuestAnswers {}

    impl GuestAnswers {
        /// Recognises the answers of guests in a record, and skips them.
        pub fn take(&mut self, kind: &str, _: &RawValue) -> Result<bool, serde_json::Error> {
            Ok(matches!(kind, "guest" | "call"))
        }
    }

    pub(crate) struct Guests;

    impl Guests {
        pub fn new(_: Option<PathBuf>) -> Result<Self, String> {
            Ok(Self)
        }

        pub fn recorded(self, _: Arc<Recorder>) -> Self {
            self
        }

        pub fn of_record(_: GuestAnswers) -> Self {
            Self
        }

        pub fn check(&self, _: &str, _: &Value) -> Result<Vec<ExtensionPoint>, Vec<GuestFault>> {
            Err(vec![GuestFault { field: None, reason: REASON.to_owned() }])
        }

        pub fn plugin(&self, name: &str, _: &Value, _: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
            Err(PluginError::Arguments { plugin: name.to_owned(), reason: REASON.to_owned() })
        }
    }

    pub(crate) fn default_cache_folder() -> Option<PathBuf> {
        None
    }

    #[cfg(test)]
    mod tests {
        use crate::App;
        use secondmate_config::Configuration;
        use secondmate_framework::Handle;
        use serde_json::json;

        const CONFIGURATION: &str = "\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: my-scheduler
  plugins: {multiPoint: {enabled: [{name: Mine}]}}
  pluginConfig:
  - name: Mine
    args: {GuestURL: file:///guest.wasm}
";

        #[test]
        fn a_guest_is_refused_by_name_and_the_remedy_is_told() {
            let catalogue = App::new().catalogue_for(CONFIGURATION).expect("no plugin has that name");
            let error = Configuration::parse(CONFIGURATION, &catalogue).expect_err("there are no guests");
            let text = error.to_string();
            assert!(text.contains("Mine") && text.contains("without WebAssembly guests"), "{text}");
            let made = App::new().registry().expect("no plugin has that name").make(
                "Mine",
                &json!({"guestURL": "file:///guest.wasm"}),
                &Handle::default(),
            );
            let text = made.err().expect("there are no guests").to_string();
            assert!(text.contains("Mine") && text.contains("without WebAssembly guests"), "{text}");
        }
    }
}
