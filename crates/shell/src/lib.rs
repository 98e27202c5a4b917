//! The thin shell around the deterministic core: everything that talks to an API server.

pub mod lease;
