//! Free loopback ports that stay ours across restarts of the programs that use them.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};

use crate::binaries::cache_root;

/// Below the range from which systems take the ports of outgoing connections (32768 on Linux). Otherwise, while an API
/// server is down, a client that tries to reach it could be given that very port as its own.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port that no other harness takes while this value lives.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// Locked for as long as the port is ours, across all processes of this user.
    _claim: File,
}

impl Port {
    /// Claims a port on 127.0.0.1 on which nobody listens.
    pub(crate) fn claim() -> Result<Self> {
        let dir = cache_root()?.join("ports");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        // The starting point does not matter; different ones are faster.
        let begin = (std::process::id() % u32::from(COUNT)) as u16;
        for step in 0..COUNT {
            let number = FIRST + (begin + step) % COUNT;
            let path = dir.join(number.to_string());
            let claim = File::options()
                .create(true)
                .append(true)
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            if claim.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _claim: claim });
            }
        }
        bail!("no port from {FIRST} to {} is free on 127.0.0.1", FIRST + COUNT - 1)
    }

    pub(crate) const fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_port_is_not_given_twice() {
        let (one, two) = (Port::claim().unwrap(), Port::claim().unwrap());
        assert_ne!(one.number(), two.number());
    }
}
