//! A sandbox of its own: prints a kubeconfig and serves until Ctrl-C.
//!
//! `cargo run -p secondmate-sandbox --example serve -- 100 > kubeconfig`

use secondmate_sandbox::{NodeShape, Options, Sandbox};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let nodes = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 10,
    };
    let sandbox = Sandbox::start(Options::default()).await?;
    sandbox.add_nodes(0, nodes, &NodeShape::default());
    print!("{}", sandbox.kubeconfig());
    tokio::signal::ctrl_c().await?;
    sandbox.shutdown().await;
    Ok(())
}
