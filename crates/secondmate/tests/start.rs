//! Starts that hang, and starts behind a proxy: the program itself, against files, plugins, servers and proxies of all kinds.

mod support;

use anyhow::{Context, Result, ensure};
use secondmate_sandbox::{KubeletOptions, NodeShape, Options, Sandbox};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use support::{Killed, PATIENCE, terminate, until_ended};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Secrets that no error may contain.
const SECRET: &str = "t0ken-of-the-plugin";

/// A kubeconfig with more fields for the cluster and for the user, as YAML in braces.
fn kubeconfig(folder: &Path, server: &str, cluster: &str, user: &str) -> PathBuf {
    let path = folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{{name: x, context: {{cluster: x, user: x}}}}]\nclusters: [{{name: x, cluster: {{server: \"{server}\"{cluster}}}}}]\nusers: [{{name: x, user: {{{user}}}}}]\n"
    );
    std::fs::write(&path, text).expect("a writable folder");
    path
}

fn plugin(script: &str) -> String {
    format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, args: [\"-c\", \"{script}\"], interactiveMode: Never}}"
    )
}

struct Process {
    child: Killed,
    log: PathBuf,
}

impl Process {
    fn start(folder: &Path, kubeconfig: &Path, environment: &[(&str, &str)]) -> Result<Self> {
        let kubeconfig = kubeconfig.to_str().context("a path of letters")?;
        let run = ["run", "--scheduler-name", "mate", "--listen", "127.0.0.1:0", "--debug-listen", "off"];
        Self::start_as(folder, &[&run[..], &["--kubeconfig", kubeconfig]].concat(), environment)
    }

    fn start_as(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let log = folder.join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_secondmate"));
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?);
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.envs(environment.iter().copied());
        Ok(Self { child: Killed(command.spawn()?), log })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn until_logged(&mut self, what: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(what) {
            ensure!(self.child.try_wait()?.is_none(), "it ended before it said {what:?}:\n{}", self.log());
            ensure!(Instant::now() < end, "it never said {what:?}:\n{}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until it says what it is waiting for, and stops it; this never arrives, so only the signal can end it.
    async fn waits_for_and_stops(mut self, what: &str) -> Result<()> {
        self.until_logged(&format!("starting: waiting for {what}")).await?;
        terminate(&self.child)?;
        let code = until_ended(&mut self.child)?;
        ensure!(code == Some(0), "{code:?}:\n{}", self.log());
        Ok(())
    }
}

#[tokio::test]
async fn a_kubeconfig_to_which_nobody_writes_can_be_stopped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fifo = folder.path().join("fifo");
    ensure!(Command::new("mkfifo").arg(&fifo).status()?.success());
    let process = Process::start(folder.path(), &fifo, &[])?;
    process.waits_for_and_stops("kubeconfig ").await
}

/// The first process of a container is not ended by a signal that it does not handle, so it has to exit by itself.
#[tokio::test]
async fn a_configuration_to_which_nobody_writes_can_be_stopped() -> Result<()> {
    for command in [&["run"][..], &["run", "--shadow", "mate"], &["kube-scheduler", "--secure-port=0"]] {
        let folder = tempfile::tempdir()?;
        let fifo = folder.path().join("fifo");
        ensure!(Command::new("mkfifo").arg(&fifo).status()?.success());
        let config = format!("--config={}", fifo.display());
        let process = Process::start_as(folder.path(), &[command, &[&config]].concat(), &[])?;
        process.waits_for_and_stops("the configuration ").await.with_context(|| format!("{command:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_that_never_comes_can_be_stopped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // It accepts connections, but never responds.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let config = folder.path().join("config.yaml");
    let guest = format!("{{guestURL: \"http://{}/guest.wasm\"}}", silent.local_addr()?);
    std::fs::write(
        &config,
        format!(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{{schedulerName: mate, plugins: {{multiPoint: {{enabled: [{{name: guest}}]}}}}, pluginConfig: [{{name: guest, args: {guest}}}]}}]\n"
        ),
    )?;
    let config = config.to_str().context("a path of letters")?;
    let process = Process::start_as(folder.path(), &["run", "--config", config], &[])?;
    process.waits_for_and_stops("plugins and guests of the configuration ").await
}

#[tokio::test]
async fn a_credential_plugin_that_hangs_can_be_stopped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = kubeconfig(folder.path(), "http://127.0.0.1:1", "", &plugin("exec sleep 150"));
    let process = Process::start(folder.path(), &path, &[])?;
    process.waits_for_and_stops("the credential plugin \"sh\" of the kubeconfig").await
}

#[tokio::test]
async fn an_api_server_that_never_answers_can_be_left() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // It accepts connections, but never responds.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let path = kubeconfig(folder.path(), &format!("http://{}", silent.local_addr()?), "", "");
    let process = Process::start(folder.path(), &path, &[])?;
    process.waits_for_and_stops("the first answer of the API server at").await
}

/// A command that ends by itself is also ended by a signal while it waits for something that never arrives, even as the first process of a
/// container.
#[test]
fn a_command_that_waits_for_a_file_ends_on_a_signal() -> Result<()> {
    for command in [
        &["config", "check", "-f"][..],
        &["tenants", "render", "--dir", "overlay", "-f"],
        &["explain", "-f"],
        &["explain", "--config"],
        &["dump", "--config"],
        &["doctor", "--config"],
        &["doctor", "--kubeconfig"],
        &["kube-scheduler", "--write-config-to=all.yaml", "--config"],
    ] {
        let folder = tempfile::tempdir()?;
        let fifo = folder.path().join("fifo");
        ensure!(Command::new("mkfifo").arg(&fifo).status()?.success());
        let path = fifo.to_str().context("a path of letters")?;
        let mut process = Process::start_as(folder.path(), &[command, &[path]].concat(), &[])?;
        // It can be opened as soon as the program reads.
        let _silent = std::fs::OpenOptions::new().write(true).open(&fifo)?;
        terminate(&process.child)?;
        let code = until_ended(&mut process.child)?;
        ensure!(code == Some(143), "{command:?}: {code:?}:\n{}", process.log());
    }
    Ok(())
}

#[test]
fn a_cluster_that_never_answers_has_an_end() -> Result<()> {
    for command in ["doctor", "dump", "explain"] {
        let folder = tempfile::tempdir()?;
        // It accepts connections, but never responds.
        let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
        let server = format!("http://{}", silent.local_addr()?);
        let path = kubeconfig(folder.path(), &server, "", "");
        let there = [command, "--kubeconfig", path.to_str().context("a path of letters")?];
        let mut process =
            Process::start_as(folder.path(), &[&there[..], &["--timeout", "200ms"]].concat(), &[])?;
        let code = until_ended(&mut process.child)?;
        let told = format!("the API server at {server}/ did not answer everything within 200ms");
        ensure!(code == Some(1) && process.log().contains(&told), "{command}: {code:?}:\n{}", process.log());

        // The connection of the first one is not that of the second.
        let _first = silent.accept()?;
        let mut process = Process::start_as(folder.path(), &there, &[])?;
        let _second = silent.accept()?;
        terminate(&process.child)?;
        let code = until_ended(&mut process.child)?;
        ensure!(code == Some(143), "{command}: {code:?}:\n{}", process.log());
    }
    Ok(())
}

#[test]
fn a_context_that_is_not_there_is_told_with_those_that_are() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = kubeconfig(folder.path(), "http://127.0.0.1:1", "", "");
    let there = ["--kubeconfig", path.to_str().context("a path of letters")?, "--context", "production"];
    let run = ["run", "--scheduler-name", "mate", "--listen", "127.0.0.1:0", "--debug-listen", "off"];
    let secure = ["run", "--scheduler-name", "mate", "--secure-listen", "127.0.0.1:0"];
    let shadow = ["run", "--shadow", "mate", "--listen", "127.0.0.1:0", "--debug-listen", "off"];
    for command in [&run[..], &secure, &shadow, &["guard", "--listen", "127.0.0.1:0"], &["doctor"], &["dump"]]
    {
        let mut process = Process::start_as(folder.path(), &[command, &there].concat(), &[])?;
        let code = until_ended(&mut process.child)?;
        let told = format!("kubeconfig {}: there is no context \"production\"; it has x\n", path.display());
        ensure!(
            code == Some(1) && process.log().ends_with(&told),
            "{command:?}: {code:?}:\n{}",
            process.log()
        );
    }
    std::fs::write(
        &path,
        "apiVersion: v1\nkind: Config\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n",
    )?;
    let mut process = Process::start_as(folder.path(), &["doctor", there[0], there[1]], &[])?;
    ensure!(until_ended(&mut process.child)? == Some(1));
    let told = "there is no current-context: name one by --context; it has x\n";
    ensure!(process.log().ends_with(told), "{}", process.log());
    // Without a kubeconfig, there is no context either.
    let none = folder.path().to_str().context("a path of letters")?;
    let mut process = Process::start_as(
        folder.path(),
        &["doctor", "--context", "production"],
        &[("HOME", none), ("KUBECONFIG", "")],
    )?;
    ensure!(until_ended(&mut process.child)? == Some(1));
    ensure!(
        process.log().contains("no other kubeconfig that could have the context \"production\""),
        "{}",
        process.log()
    );
    Ok(())
}

#[tokio::test]
async fn what_a_credential_plugin_printed_is_never_repeated() -> Result<()> {
    for (script, said) in [
        (format!("echo {SECRET}; echo {SECRET} >&2; exit 3"), "credential plugin failed with exit status: 3"),
        (format!("echo '{SECRET}: ['"), "credential plugin printed no usable ExecCredential"),
        (
            format!("echo 'status: {{token: a, expirationTimestamp: {SECRET}}}'"),
            "printed an expirationTimestamp that is no time",
        ),
    ] {
        let folder = tempfile::tempdir()?;
        let path = kubeconfig(folder.path(), "http://127.0.0.1:1", "", &plugin(&script));
        let mut process = Process::start(folder.path(), &path, &[])?;
        ensure!(until_ended(&mut process.child)? == Some(1));
        let log = process.log();
        ensure!(log.contains(said), "{said:?} is not in {log}");
        ensure!(!log.contains(SECRET), "{log}");
    }
    Ok(())
}

async fn sandbox() -> Result<Sandbox> {
    let sandbox =
        Sandbox::start(Options { kubelets: KubeletOptions::default(), ..Options::default() }).await?;
    sandbox.add_nodes(0, 2, &NodeShape::default());
    Ok(sandbox)
}

/// A proxy on loopback that resolves every name to one address.
struct Proxy {
    address: String,
    connections: Arc<AtomicUsize>,
}

/// Forwards connections for this name.
const CLUSTER: &str = "cluster.test:6443";

impl Proxy {
    async fn start<H, F>(target: String, handshake: H) -> Result<Self>
    where
        H: Fn(TcpStream) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<TcpStream>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, counted) = (target.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let mut client = handshake(client).await?;
                    counted.fetch_add(1, Ordering::Relaxed);
                    let mut server = TcpStream::connect(target).await?;
                    copy_bidirectional(&mut client, &mut server).await?;
                    anyhow::Ok(())
                });
            }
        });
        Ok(Self { address, connections })
    }
}

/// HTTP CONNECT (RFC 9110, section 9.3.6), with a password.
async fn connect(mut client: TcpStream) -> Result<TcpStream> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head)?.to_lowercase();
    // user:p@ss
    let authorized = head.contains("proxy-authorization: basic dxnlcjpwqhnz");
    ensure!(head.starts_with(&format!("connect {CLUSTER} http/1.1\r\n")) && authorized, "{head}");
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    Ok(client)
}

/// SOCKS5 with user and password (RFC 1928, 1929); the client leaves the name to the proxy.
async fn socks5(mut client: TcpStream) -> Result<TcpStream> {
    let greeting = [client.read_u8().await?, client.read_u8().await?];
    let mut methods = vec![0; usize::from(greeting[1])];
    client.read_exact(&mut methods).await?;
    ensure!(greeting[0] == 5 && methods.contains(&2), "{greeting:?} {methods:?}");
    client.write_all(&[5, 2]).await?;
    ensure!(client.read_u8().await? == 1);
    for expected in ["user", "p@ss"] {
        let mut text = vec![0; usize::from(client.read_u8().await?)];
        client.read_exact(&mut text).await?;
        ensure!(text == expected.as_bytes(), "{text:?}");
    }
    client.write_all(&[1, 0]).await?;
    let mut request = [0; 5];
    client.read_exact(&mut request).await?;
    ensure!(request[..4] == [5, 1, 0, 3], "{request:?}");
    let mut name = vec![0; usize::from(request[4])];
    client.read_exact(&mut name).await?;
    let port = client.read_u16().await?;
    ensure!(format!("{}:{port}", String::from_utf8(name)?) == CLUSTER);
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok(client)
}

/// TLS in front of an address, with the cluster's name; returns its address, and its certificate as PEM.
async fn with_tls(target: String) -> Result<(String, String)> {
    let (name, _) = CLUSTER.split_once(':').context("a port")?;
    let own = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (target, acceptor) = (target.clone(), acceptor.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(target).await?;
                copy_bidirectional(&mut client, &mut server).await?;
                anyhow::Ok(())
            });
        }
    });
    Ok((address, own.cert.pem()))
}

/// Starts it with this proxy and waits until everything is running: lists, watches and the Lease.
async fn runs_through(proxy: &Proxy, cluster: &str, environment: &[(&str, &str)]) -> Result<()> {
    reaches(&format!("http://{CLUSTER}"), proxy, cluster, environment).await
}

async fn reaches(server: &str, proxy: &Proxy, cluster: &str, environment: &[(&str, &str)]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = kubeconfig(folder.path(), server, cluster, "");
    let mut process = Process::start(folder.path(), &path, environment)?;
    process.until_logged("caches synced").await?;
    process.until_logged("became leader").await?;
    ensure!(proxy.connections.load(Ordering::Relaxed) > 1, "it found another way");
    ensure!(!process.log().contains("p@ss") && !process.log().contains("p%40ss"), "{}", process.log());
    terminate(&process.child)?;
    ensure!(until_ended(&mut process.child)? == Some(0), "{}", process.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_behind_a_connect_proxy_of_the_environment_and_of_the_kubeconfig() -> Result<()> {
    let sandbox = sandbox().await?;
    let target = sandbox.url().strip_prefix("http://").context("a URL")?.trim_end_matches('/').to_owned();
    let proxy = Proxy::start(target, connect).await?;
    let url = format!("http://user:p%40ss@{}", proxy.address);
    runs_through(&proxy, "", &[("HTTP_PROXY", url.as_str()), ("NO_PROXY", "10.0.0.0/8,other.test")]).await?;
    proxy.connections.store(0, Ordering::Relaxed);
    runs_through(&proxy, &format!(", proxy-url: \"{url}\""), &[("NO_PROXY", "*")]).await
}

/// TLS is end to end with the API server, through the tunnel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_with_tls_behind_a_connect_proxy() -> Result<()> {
    let sandbox = sandbox().await?;
    let target = sandbox.url().strip_prefix("http://").context("a URL")?.trim_end_matches('/').to_owned();
    let (address, certificate) = with_tls(target).await?;
    let proxy = Proxy::start(address, connect).await?;
    let folder = tempfile::tempdir()?;
    let authority = folder.path().join("ca.crt");
    std::fs::write(&authority, certificate)?;
    let url = format!("http://user:p%40ss@{}", proxy.address);
    let authority = format!(", certificate-authority: \"{}\"", authority.display());
    let environment = [("HTTPS_PROXY", url.as_str()), ("HTTP_PROXY", "http://127.0.0.1:1")];
    reaches(&format!("https://{CLUSTER}"), &proxy, &authority, &environment).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_behind_a_socks5_proxy() -> Result<()> {
    let sandbox = sandbox().await?;
    let target = sandbox.url().strip_prefix("http://").context("a URL")?.trim_end_matches('/').to_owned();
    let proxy = Proxy::start(target, socks5).await?;
    let url = format!("socks5://user:p%40ss@{}", proxy.address);
    runs_through(&proxy, &format!(", proxy-url: \"{url}\""), &[]).await?;
    proxy.connections.store(0, Ordering::Relaxed);
    runs_through(&proxy, "", &[("ALL_PROXY", url.as_str())]).await
}
