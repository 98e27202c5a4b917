//! The core piece by piece: small clusters in a small language, and the complete output.

mod binding;
mod budgets;
mod cache;
mod cycle;
mod extenders;
mod extreme;
mod fixture;
mod futile;
mod kinds;
mod last_room;
mod loops;
mod neighbours;
mod nomination;
mod own_kinds;
mod panics;
mod post_filters;
mod preemption;
mod probe;
mod queue;
mod reads;
mod scripted;
mod shadow;
mod wake_ups;
