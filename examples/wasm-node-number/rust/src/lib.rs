//! NodeNumber as a WebAssembly guest: a pod goes to a node whose name ends with the same digit as its own.
//!
//! The match scores 10, all else 0; `guestConfig: '{"reverse": true}'` turns it round. A pod whose name ends with no digit matches every
//! node. Build it with `cargo build --package wasm-node-number --release --target wasm32-unknown-unknown`.

#![cfg_attr(target_arch = "wasm32", no_std)]

use secondmate_guest::{Cycle, Enqueue, PreScore, Reading, Score, Status, config};

extern crate alloc;
use alloc::vec::Vec;

/// Made anew in each cycle.
#[derive(Default)]
struct NodeNumber {
    digit: Option<char>,
    reverse: bool,
}

fn last_digit(name: &str) -> Option<char> {
    name.chars().last().filter(char::is_ascii_digit)
}

impl Enqueue for NodeNumber {
    fn events() -> Vec<secondmate_guest::ClusterEvent> {
        use secondmate_guest::{ClusterEvent, Resource, action};
        Vec::from([ClusterEvent { resource: Resource::Node, actions: action::ADD }])
    }
}

/// The digit is all that counts of a pod, so what was scored for one pod holds for the next one with the same digit.
impl Reading for NodeNumber {
    fn reading(&mut self, cycle: &Cycle) -> Option<Vec<u8>> {
        Some(Vec::from_iter(last_digit(cycle.pod().name()).map(|digit| digit as u8)))
    }
}

impl PreScore for NodeNumber {
    fn pre_score(&mut self, cycle: &Cycle) -> Status {
        self.digit = last_digit(cycle.pod().name());
        self.reverse = config().replace(' ', "").contains("\"reverse\":true");
        Status::success()
    }
}

impl Score for NodeNumber {
    fn score(&mut self, _cycle: &Cycle, node: &str) -> Result<i32, Status> {
        let matches = self.digit.is_none() || last_digit(node) == self.digit;
        Ok(if matches == self.reverse { 0 } else { 10 })
    }
}

secondmate_guest::guest!(NodeNumber: Enqueue, Reading, PreScore, Score);
