//! A scheduler with one plugin more than the in-tree ones. See `lib.rs` for the plugin.

use image_node::{ImageNode, NAME};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    secondmate::App::new().plugin(NAME, |args, _| Ok(Arc::new(ImageNode::new(args)?))).main()
}
