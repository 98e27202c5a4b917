//! The command line of secondmate, as a library: a crate with its own plugins builds its own scheduler from it.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # struct MyPlugin;
//! # impl secondmate_framework::Plugin for MyPlugin { fn name(&self) -> &str { "MyPlugin" } }
//! fn main() -> std::process::ExitCode {
//!     secondmate::App::new().plugin("MyPlugin", |_args, _handle| Ok(Arc::new(MyPlugin))).main()
//! }
//! ```
//!
//! The program has all subcommands of `secondmate`; a configuration enables the plugin by its name, as it does the in-tree ones.

mod app;
mod cli;
mod cluster;
mod completion;
mod config;
mod configuration;
mod doctor;
mod dump;
mod endpoints;
mod explain;
mod guard;
mod guests;
mod kube_scheduler;
mod log;
mod man;
mod new_plugin;
mod output;
mod playground;
mod process;
mod run;
mod secure_args;
mod shadow;
mod started;
mod tenants;
mod version;

pub use app::App;
pub use configuration::{ConfigurationSource, profiles};
