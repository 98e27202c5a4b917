//! `docs/plugin.md`, followed from an empty folder: its files are written and its commands run, in its order, and what it shows of their
//! output is what they say. Two things are otherwise than for a reader: the clone lies elsewhere than in `../secondmate`, and what is
//! built for these tests is not built again (the same target folder and lock file, and no `--release`).

use secondmate_harness::{Lines, run};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Whoever waits longer waits for ever. Nothing but a build takes so long.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A step of the document.
#[derive(Debug)]
enum Step {
    /// Write this file.
    File { name: String, content: String },
    /// Run this; these lines are shown of its output.
    Run { command: String, shown: Vec<String> },
}

/// The fenced blocks of a document: those after a line that ends with a name in backticks and a colon are files.
fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines();
    let mut last = "";
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            last = if line.is_empty() { last } else { line };
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let name = last.strip_suffix("`:").and_then(|line| line.rsplit_once('`'));
        match (kind, name) {
            ("console", _) => {
                for line in block {
                    match (line.strip_prefix("$ "), steps.last_mut()) {
                        (Some(command), _) => {
                            steps.push(Step::Run { command: command.to_owned(), shown: Vec::new() });
                        }
                        (None, Some(Step::Run { shown, .. })) => shown.push(line.to_owned()),
                        (None, _) => panic!("output before any command: {line}"),
                    }
                }
            }
            (_, Some((_, name))) => {
                steps.push(Step::File { name: name.to_owned(), content: block.join("\n") + "\n" });
            }
            (_, None) => panic!("a block that is no file and no command, after: {last}"),
        }
        last = "";
    }
    steps
}

/// Where the reader is.
struct Reader {
    clone: PathBuf,
    folder: PathBuf,
    target: PathBuf,
}

impl Reader {
    /// With the clone where it is.
    fn here(&self, text: &str) -> String {
        text.replace("../secondmate/", &format!("{}/", self.clone.display()))
    }

    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("bash");
        shell
            .args(["-c", command])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TERM_COLOR", "never")
            // As in the profile of this workspace, so that its libraries fit; and nobody edits what is built here.
            .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
            .env("CARGO_INCREMENTAL", "0")
            .env_remove("KUBECONFIG")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        shell
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder is made");
        std::fs::write(path, self.here(content)).expect("the file is written");
    }

    fn run(&mut self, command: &str, shown: &[String]) {
        if let Some(folder) = command.strip_prefix("cd ") {
            self.folder = self.folder.join(folder);
            return;
        }
        let command = self.here(command).replace(" --release ", " ");
        if command.starts_with("cargo run -- run ") {
            return self.schedule(&command);
        }
        let output = run(self.shell(&command), b"", PATIENCE).expect("it ends");
        let (out, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command}:\n{errors}");
        let out: Vec<&str> = out.lines().collect();
        for line in shown {
            assert!(out.contains(&line.as_str()), "{command}: {line:?} is not in\n{}", out.join("\n"));
        }
    }

    /// The scheduler in a cluster: it leads, and binds a pod that names it.
    fn schedule(&self, command: &str) {
        let kubeconfig = self.folder.join("kubeconfig");
        let _playground = Running::start(
            Command::new(self.target.join("debug/node-number"))
                .args(["playground", "--keep", "--nodes", "3", "--pods", "0", "--scheduler-name", "another"])
                .arg("--kubeconfig-out")
                .arg(&kubeconfig),
            "Pods with `schedulerName: ",
        );
        let text = std::fs::read_to_string(&kubeconfig).expect("a kubeconfig");
        let server = text.lines().find_map(|line| line.trim().strip_prefix("server: http://"));
        // The usual ports may be taken on the machine of a test.
        let mut shell = self.shell(&format!("{command} --listen 127.0.0.1:0 --debug-listen off"));
        let scheduler = Running::start(shell.env("KUBECONFIG", &kubeconfig), "became leader");
        create_pod(server.expect("a server"), "web-1");
        scheduler.until("web-1");
    }
}

/// A program that is killed with the test, and the lines of its standard error.
struct Running {
    child: Child,
    lines: Lines,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts it and reads up to the line with this text.
    fn start(command: &mut Command, text: &str) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = Lines::of(child.stderr.take().expect("it is piped"));
        let this = Self { child, lines };
        this.until(text);
        this
    }

    fn until(&self, text: &str) {
        self.lines.until(PATIENCE, text, |line| line.contains(text)).expect("it says so");
    }
}

fn create_pod(server: &str, name: &str) {
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "schedulerName": "my-scheduler", "containers": [{ "name": "c", "image": "c" }] },
    });
    let pod = pod.to_string();
    let mut connection = TcpStream::connect(server).expect("the playground is up");
    let head = "POST /api/v1/namespaces/default/pods HTTP/1.1\r\nhost: playground\r\nconnection: close\r\n";
    let length = pod.len();
    write!(connection, "{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{pod}")
        .expect("it takes the request");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[test]
fn the_document_can_be_followed() {
    let clone = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository");
    let text = std::fs::read_to_string(clone.join("docs/plugin.md")).expect("the document");
    let steps = steps(&text);
    let files: Vec<&str> = steps
        .iter()
        .filter_map(|step| match step {
            Step::File { name, .. } => Some(name.as_str()),
            Step::Run { .. } => None,
        })
        .collect();
    assert_eq!(files, ["Cargo.toml", "src/lib.rs", "src/main.rs", "config.yaml"]);
    assert!(steps.len() - files.len() >= 6, "{steps:?}");

    let work = tempfile::tempdir().expect("a folder");
    let target =
        Path::new(env!("CARGO_BIN_EXE_example-node-number")).ancestors().nth(2).expect("a target folder");
    let mut reader = Reader { clone, folder: work.path().to_owned(), target: target.to_owned() };
    for step in &steps {
        match step {
            Step::File { name, content } => reader.write(name, content),
            Step::Run { command, shown } => reader.run(command, shown),
        }
    }
}
