//! A standalone sandbox: prints a kubeconfig and serves until Ctrl-C.
//!
//! `cargo run -p secondmate-sandbox --example serve -- 100 > kubeconfig`; a second argument `still` leaves the
//! simulated kubelets out.

use secondmate_sandbox::{NodeShape, Options, Sandbox};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let nodes = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 10,
    };
    let mut options = Options::default();
    options.kubelets.enabled = std::env::args().nth(2).as_deref() != Some("still");
    let sandbox = Sandbox::start(options).await?;
    sandbox.add_nodes(0, nodes, &NodeShape::default());
    print!("{}", sandbox.kubeconfig());
    tokio::signal::ctrl_c().await?;
    sandbox.shutdown().await;
    Ok(())
}
