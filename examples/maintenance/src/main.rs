//! A scheduler with one plugin more than the in-tree ones. See `lib.rs` for the plugin.

use maintenance::{MaintenanceFilter, NAME};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    secondmate::App::new().plugin(NAME, |_, _| Ok(Arc::new(MaintenanceFilter))).main()
}
