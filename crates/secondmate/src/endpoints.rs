//! The addresses that `run` serves: one for probes and metrics, one for debugging.

use secondmate_telemetry::{Admin, AdminError};
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Where debug endpoints are served unless told otherwise: on loopback, so that who reaches them is on the machine, in the pod,
/// or may forward its ports (`kubectl port-forward`, which the API server authorizes).
const DEBUG_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10360);

/// `--debug-listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DebugListen {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

impl DebugListen {
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl FromStr for DebugListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let wrong = |_| format!("expected an address such as {DEBUG_DEFAULT}, or off");
        text.parse().map(Self::At).map_err(wrong)
    }
}

/// What is served.
pub(crate) struct Serving {
    pub tasks: JoinSet<()>,
    /// Probes and metrics.
    pub listen: SocketAddr,
    /// Debug endpoints.
    pub debug_listen: Option<SocketAddr>,
}

/// Takes the addresses and serves until cancelled.
///
/// # Errors
/// An address that was asked for cannot be had.
pub(crate) async fn serve(
    admin: &Admin,
    listen: SocketAddr,
    debug_listen: Option<DebugListen>,
    cancel: &CancellationToken,
) -> Result<Serving, AdminError> {
    let mut tasks = JoinSet::new();
    let listener = Admin::listen(listen).await?;
    let listen = listener.local_addr().unwrap_or(listen);
    tasks.spawn(admin.clone().serve(listener, cancel.clone()));
    let debug_listener = match debug_listen {
        Some(DebugListen::Off) => None,
        Some(DebugListen::At(address)) => Some(Admin::listen_debug(address).await?),
        None => match Admin::listen_debug(DEBUG_DEFAULT).await {
            Ok(listener) => Some(listener),
            Err(error) => {
                // Another scheduler on this machine, most likely. Debugging is not worth a failed start.
                warn!("debug endpoints are off: {error}");
                None
            }
        },
    };
    let mut debug_listen = None;
    if let Some(listener) = debug_listener {
        let address = listener.local_addr().unwrap_or(DEBUG_DEFAULT);
        debug_listen = Some(address);
        if !address.ip().is_loopback() {
            warn!(
                %address,
                "debug endpoints show pod names of all namespaces to anyone who can connect: restrict access to the port"
            );
        }
        tasks.spawn(admin.clone().serve_debug(listener, cancel.clone()));
    }
    Ok(Serving { tasks, listen, debug_listen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_off() {
        assert_eq!("off".parse(), Ok(DebugListen::Off));
        let any: SocketAddr = "[::]:1".parse().expect("an address");
        assert_eq!("[::]:1".parse(), Ok(DebugListen::At(any)));
        let wrong = "expected an address such as 127.0.0.1:10360, or off".to_owned();
        assert_eq!("10360".parse::<DebugListen>(), Err(wrong));
    }
}
