use super::{guest, handle, load, load_bytes, module, refusal};
use crate::{GuestArgs, Guests};
use secondmate_framework::{ActionType, EventRegistration, EventResource, ExtensionPoint, Handle};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;

const MEMORY: &str = r#"(memory (export "memory") 1)"#;

fn exporting(exports: &[(&str, &str)]) -> String {
    let functions = exports.iter().map(|(name, result)| {
        let (result, value) = match *result {
            "" => (String::new(), String::new()),
            of => (format!("(result {of})"), format!("({of}.const 0)")),
        };
        format!(r#"(func (export "{name}") {result} {value})"#)
    });
    format!("(module {MEMORY} {})", functions.collect::<String>())
}

#[test]
fn a_guest_that_cannot_be_one_is_refused_with_the_reason() {
    let refused = [
        (
            r#"(module (func (export "filter") (result i32) (i32.const 0)))"#.to_owned(),
            "guest doesn't export memory[memory]",
        ),
        (exporting(&[]), "does not export any plugin functions"),
        (
            exporting(&[("prefilter", "i32"), ("enqueue", "")]),
            "filter, score, reserve, permit or bind must be exported",
        ),
        (exporting(&[("score", "i32")]), "wrong signature for func[score]. should be () -> (i64)"),
        (exporting(&[("filter", "i64")]), "wrong signature for func[filter]. should be () -> (i32)"),
        (
            exporting(&[("filter", "i32"), ("enqueue", "i32")]),
            "wrong signature for func[enqueue]. should be () -> ()",
        ),
        (exporting(&[("filter", "i32"), ("prescore", "i32")]), "exports prescore without score"),
        (exporting(&[("score", "i64"), ("postfilter", "i64")]), "exports postfilter without filter"),
        (exporting(&[("score", "i64"), ("postbind", "")]), "exports postbind without bind"),
        (
            format!(
                r#"(module (import "k8s.io/api" "podInfo" (func (param i32 i32) (result i32))) {MEMORY} (func (export "filter") (result i32) (i32.const 0)))"#
            ),
            "imports k8s.io/api.podInfo, which this host does not have",
        ),
        (
            format!(
                r#"(module (import "k8s.io/api" "node" (func (param i32 i32) (result i32))) {MEMORY} (func (export "filter") (result i32) (i32.const 0)))"#
            ),
            "instantiate error: incompatible import type for `k8s.io/api::node`",
        ),
        (
            format!(
                r#"(module {MEMORY} (func (export "_start") unreachable) (func (export "filter") (result i32) (i32.const 0)))"#
            ),
            "instantiate error: \nwasm trap: wasm `unreachable` instruction executed",
        ),
        (
            format!(
                r#"(module {MEMORY} (func (export "enqueue") unreachable) (func (export "filter") (result i32) (i32.const 0)))"#
            ),
            "wasm: enqueue error: \nwasm trap: wasm `unreachable` instruction executed",
        ),
    ];
    for (text, part) in refused {
        let error = refusal(&text, json!({}));
        assert!(error.contains(part), "{text}\n{error}");
        assert!(error.contains("\"Guest\""), "{error}");
    }
    let error = load_bytes(b"#!/bin/sh", json!({}), &Handle::default()).err().expect("no module").to_string();
    assert!(error.contains("wasm: error compiling guest"), "{error}");
}

#[test]
fn every_combination_of_main_points_is_taken() {
    let main = [("filter", "i32"), ("score", "i64"), ("reserve", "i32"), ("permit", "i64"), ("bind", "i32")];
    for chosen in 1..32_usize {
        let exports: Vec<_> =
            main.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, e)| *e).collect();
        load(&exporting(&exports), json!({}), &handle()).unwrap_or_else(|e| panic!("{exports:?}: {e}"));
    }
    guest(&exporting(&[("prefilter", "i32")]));
}

#[test]
fn a_guest_acts_at_the_points_that_it_exports() {
    let plugin = guest(&exporting(&[
        ("prefilter", "i32"),
        ("filter", "i32"),
        ("score", "i64"),
        ("secondmate_score_nodes", "i64"),
        ("unreserve", ""),
    ]));
    let points: Vec<_> = ExtensionPoint::ALL.into_iter().filter(|point| point.is_point_of(&plugin)).collect();
    use ExtensionPoint::{Filter, PreFilter, PreScore, Reserve, Score};
    assert_eq!(points, [PreFilter, Filter, Reserve, PreScore, Score]);
    // It asks for no object, so none has to be kept in full.
    assert!(!plugin.declaration().whole_objects);
}

#[test]
fn a_program_that_has_come_to_its_end_can_be_called_all_the_same() {
    let text = |code: i32| {
        format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) {MEMORY}
                (func (export "_start") (call $exit (i32.const {code})))
                (func (export "filter") (result i32) (i32.const 0)))"#
        )
    };
    assert!(super::filter(&guest(&text(0))).is_success());
    assert!(refusal(&text(3), json!({})).contains("exit code 3"));
}

#[test]
fn a_library_is_prepared_before_it_is_called() {
    let text = format!(
        r#"(module {MEMORY} (global $ready (mut i32) (i32.const 2))
            (func (export "_initialize") (global.set $ready (i32.const 0)))
            (func (export "filter") (result i32) (global.get $ready)))"#
    );
    assert!(super::filter(&guest(&text)).is_success());
}

#[test]
fn events_are_registered_by_the_guest() {
    let text = |body: &str| {
        format!(
            r#"(module
                (import "k8s.io/scheduler" "result.cluster_events" (func $events (param i32 i32)))
                {MEMORY} (data (i32.const 8) "\01\00\00\00\01\00\00\00\02\00\00\00\02\00\00\00\ff")
                (func (export "enqueue") {body})
                (func (export "filter") (result i32) (i32.const 0)))"#
        )
    };
    let plugin = guest(&text("(call $events (i32.const 8) (i32.const 17))"));
    assert_eq!(
        plugin.events(),
        [
            EventRegistration::new(EventResource::Node, ActionType::ADD),
            EventRegistration::new(EventResource::PersistentVolume, ActionType::DELETE),
        ]
    );
    assert_eq!(guest(&text("")).events().len(), 6);
    assert_eq!(guest(&module(r#"(func (export "filter") (result i32) (i32.const 0))"#)).events().len(), 6);
}

/// Serves one answer to each request.
fn serve(answer: &'static [u8], requests: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/guest.wasm", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for _ in 0..requests {
            let (mut stream, _) = listener.accept().expect("a request");
            let _ = stream.read(&mut [0; 4096]);
            stream.write_all(answer).expect("sent");
        }
    });
    url
}

#[test]
fn guests_are_loaded_by_url() {
    let bytes = wat::parse_str(exporting(&[("filter", "i32")])).expect("text");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
    let answer: &'static [u8] = Vec::leak([head.as_bytes(), &bytes].concat());
    let guests = Guests::new(None).expect("this machine runs guests");
    let points = |args: serde_json::Value| {
        guests
            .check("Guest", &args)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<String>())
    };
    let url = serve(answer, 2);
    let wrong = format!("sha256:{:064}", 0);
    let error = points(json!({"guestURL": url, "guestChecksum": wrong})).expect_err("another file");
    assert!(error.contains("its checksum is sha256:"), "{error}");
    let checksum = format!("sha256:{}", crate::fetch::sha256(&bytes));
    let args = json!({"guestURL": url, "guestChecksum": checksum});
    assert_eq!(points(args.clone()), Ok(vec![ExtensionPoint::Filter]));
    // It is known now, and not fetched again.
    assert!(GuestArgs::are_in(&args) && points(args).is_ok());
    let gone = serve(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 1);
    let error = points(json!({"guestURL": gone})).expect_err("not there");
    assert!(
        error.contains("error reading guestURL") && error.contains("received 404 status code"),
        "{error}"
    );
    for (url, part) in [
        ("ftp://x", "unsupported URL scheme: ftp"),
        ("guest.wasm", "invalid URL: guest.wasm"),
        ("file:///no/such/guest.wasm", "error reading guestURL file:///no/such/guest.wasm: No such file"),
    ] {
        let error = points(json!({"guestURL": url})).expect_err("no guest");
        assert!(error.contains(part), "{error}");
    }
}
