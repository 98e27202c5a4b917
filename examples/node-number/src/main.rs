//! A scheduler with one plugin more than the in-tree ones. See `lib.rs` for the plugin.

use node_number::NodeNumber;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    secondmate::App::new().plugin("NodeNumber", |args, _| Ok(Arc::new(NodeNumber::new(args)?))).main()
}
