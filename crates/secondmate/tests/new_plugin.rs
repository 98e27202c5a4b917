//! `secondmate new-plugin`: the generated crate builds, and its tests pass.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A longer wait would never end. Only a build takes this long.
const PATIENCE: Duration = Duration::from_secs(1800);
const PAUSE: Duration = Duration::from_millis(50);

fn new_plugin(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secondmate"))
        .arg("new-plugin")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = new_plugin(folder, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_cannot_be_made_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("taken")).expect("a folder");
    std::fs::write(folder.path().join("taken/file"), "").expect("a file");
    for (arguments, part) in [
        (&["green nodes"][..], "is no name for a plugin"),
        (&["NodeName"], "plugin NodeName is there already"),
        (&["tokio"], "cannot be called \"tokio\""),
        (
            &["type"],
            "cannot be called \"type\", which is a keyword of Rust: choose another name, such as my-type",
        ),
        (&["status"], "cannot be called Status, as the files that are written use that name"),
        (&["GreenNodes", "--dir", "taken"], "taken is there and not empty"),
        (&["GreenNodes", "--source", "taken"], "is no clone of secondmate: give one by --source"),
        (&["GreenNodes", "--source", "nowhere"], "is no clone of secondmate: give one by --source"),
    ] {
        let error = refused(folder.path(), arguments);
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn the_crate_that_is_written_builds_and_its_tests_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = new_plugin(folder.path(), &["GreenNodes"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.ends_with("next: cd green-nodes && cargo test\n"), "{said}");
    let new = folder.path().join("green-nodes");
    for file in ["Cargo.toml", "Cargo.lock", "config.yaml", "Containerfile", "src/lib.rs", "tests/sandbox.rs"]
    {
        let text = std::fs::read_to_string(new.join(file)).expect("it is written");
        assert!(
            !text.contains("@Name@") && !text.contains("@source@") && !text.contains("@crate@"),
            "{file}"
        );
    }

    // Nothing that was built for this test is rebuilt, thanks to the same target folder, lock file and profile.
    let target = PathBuf::from(env!("CARGO_BIN_EXE_secondmate"));
    let target = target.ancestors().nth(2).expect("a target folder");
    let (out, errors) = (folder.path().join("out"), folder.path().join("errors"));
    let file = |path: &Path| std::fs::File::create(path).expect("a file");
    let mut tested = secondmate_harness::cargo()
        .args(["test", "--offline"])
        .current_dir(&new)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
        .env("CARGO_INCREMENTAL", "0")
        .env_remove("KUBECONFIG")
        .env_remove("RUST_LOG")
        .stdout(file(&out))
        .stderr(file(&errors))
        .spawn()
        .expect("cargo starts");
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = tested.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > end {
            let _ = tested.kill();
            panic!("cargo does not end");
        }
        std::thread::sleep(PAUSE);
    };
    let text = |path: &Path| std::fs::read_to_string(path).expect("cargo has written it");
    let (out, errors) = (text(&out), text(&errors));
    assert!(status.success(), "{out}\n{errors}");
    for test in ["tests::arguments_are_checked ... ok", "pods_go_to_the_nodes_with_the_label ... ok"] {
        assert!(out.contains(test), "{test} is not in\n{out}\n{errors}");
    }
    assert!(!errors.contains("warning"), "{errors}");
}
