//! The sandbox over real HTTP, as its clients see it.

#![allow(clippy::unwrap_used)] // All of this is test code, where a panic is how a failure looks.

mod client;
mod kube_client;
mod reading;
mod watching;
