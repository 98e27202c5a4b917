//! Probes: each part that could get stuck has its check.

use crate::fixture::*;
use secondmate_telemetry::Admin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// The answer to `/livez?verbose`, without its head.
pub async fn livez(admin: &Admin) -> String {
    let listener = Admin::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let mut stream = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("listening");
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    tokio::spawn(admin.clone().serve(listener, end));
    stream.write_all(b"GET /livez?verbose HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_part_of_the_scheduler_that_could_be_stuck_fails_livez() {
    let sandbox = sandbox(1).await;
    let options = options(&sandbox);
    let admin = options.admin.clone();
    let shell = try_start(options).await.expect("the scheduler starts");
    assert_eq!(
        livez(&admin).await,
        "[+]ping ok\n[+]scheduling-thread ok\n[+]watches ok\n[+]writers ok\n[+]leaderElection ok\nlivez check passed\n"
    );
    shell.stop().await;
}
