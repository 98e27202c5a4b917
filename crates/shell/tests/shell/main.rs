//! The shell against the sandbox, over HTTP, with the default profile.

mod access;
mod binding;
mod budgets;
mod doctor;
mod events;
mod extenders;
mod fixture;
mod guard;
mod kubelets;
mod leading;
mod load_aware;
mod metrics;
mod own_kinds;
mod probes;
mod random;
mod reads;
mod shadow;
mod unserved;
mod watches;
