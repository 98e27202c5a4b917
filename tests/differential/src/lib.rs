//! The differential test: random clusters, asked of the real kube-scheduler framework and of secondmate.
//!
//! A [`generate`]d case goes to the [`oracle`] (`tests/parity/`, a Go program around the real framework), which puts its objects
//! through an API server's defaulting and validation and evaluates each pending pod; the objects as they would be stored go to
//! secondmate's own `explain`; [`compare`] demands that the answers are equal. A case that differs is made small ([`shrink`]) and
//! written as a file; files in `tests/parity/cases/` are the regression [`corpus`], with the oracle's answers recorded, so that it
//! runs where there is no Go. [`coverage`] says what the cases have hit and what they have not.

pub mod case;
pub mod compare;
pub mod corpus;
pub mod corrupt;
pub mod coverage;
pub mod extenders;
pub mod generate;
pub mod judge;
pub mod mutants;
pub mod oracle;
pub mod ours;
pub mod production;
pub mod random;
pub mod run;
pub mod self_check;
pub mod shrink;
pub mod timing;
