//! The guard from outside: requests, watches, looks and time go in, verdicts come out.

mod fixture;
mod histories;
mod lives;
mod verdicts;
