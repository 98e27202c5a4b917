//! The sandbox over real HTTP, as its clients see it.

#![allow(clippy::unwrap_used)] // All of this is test code, where a panic is how a failure looks.

mod binding;
mod bounds;
mod client;
mod controllers;
mod events;
mod faults;
mod kube_client;
mod kubectl;
mod kubelets;
mod pods;
mod reading;
mod volumes;
mod watching;
mod workloads;
mod writing;
