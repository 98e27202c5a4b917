//! The server of a kubeconfig's cluster, interpreted as by client-go (`rest.DefaultServerURL`).

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use kube_client::Config;

/// The URL of the server. A bare `HOST:PORT` means HTTPS if the kubeconfig configures certificates, and HTTP otherwise.
///
/// # Errors
/// It cannot be connected to; the text says why.
pub(super) fn url(config: &Config) -> Result<Uri, String> {
    let server = &config.cluster_url;
    let wrong =
        |what: &str| Err(format!("the server of its cluster, {server}, {what}: give https://HOST:PORT"));
    let Some(authority) = server.authority().filter(|authority| !authority.host().is_empty()) else {
        return wrong("has no host");
    };
    if !has_usable_port(authority) {
        return wrong("has a port that is no number below 65536");
    }
    match server.scheme_str() {
        Some("https" | "http") => Ok(server.clone()),
        Some(_) => wrong("is of no scheme that API servers are reached by"),
        None => {
            let mut parts = server.clone().into_parts();
            parts.scheme = Some(if speaks_tls(config) { Scheme::HTTPS } else { Scheme::HTTP });
            parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
            Uri::from_parts(parts).or_else(|error| wrong(&format!("is no URL ({error})")))
        }
    }
}

/// Whether the host is followed by nothing, by a colon, or by a colon and a port.
fn has_usable_port(authority: &Authority) -> bool {
    let host_and_port = authority.as_str().rsplit('@').next().unwrap_or_default();
    matches!(host_and_port.strip_prefix(authority.host()), Some("" | ":")) || authority.port_u16().is_some()
}

fn speaks_tls(config: &Config) -> bool {
    let auth = &config.auth_info;
    config.root_cert.is_some()
        || config.accept_invalid_certs
        || auth.client_certificate.is_some()
        || auth.client_certificate_data.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(server: &str, insecure: bool) -> Result<String, String> {
        let mut config = Config::new(server.parse().expect("what the http crate takes for a URI"));
        config.accept_invalid_certs = insecure;
        url(&config).map(|url| url.to_string())
    }

    /// As `rest.DefaultServerUrlFor` in client-go.
    #[test]
    fn a_server_without_a_scheme_is_https_where_certificates_are_spoken_of() {
        let own = |text: &str| Ok(text.to_owned());
        assert_eq!(read("https://10.0.0.1:6443", false), own("https://10.0.0.1:6443/"));
        assert_eq!(read("http://api.example.com/prefix", true), own("http://api.example.com/prefix"));
        assert_eq!(read("10.0.0.1:6443", true), own("https://10.0.0.1:6443/"));
        assert_eq!(read("[::1]:6443", true), own("https://[::1]:6443/"));
        assert_eq!(read("localhost:8080", false), own("http://localhost:8080/"));
        assert_eq!(read("localhost", false), own("http://localhost/"));
    }

    #[test]
    fn a_server_that_cannot_be_connected_to_is_refused() {
        for (server, what) in [
            ("/api", "has no host"),
            ("/", "has no host"),
            ("*", "has no host"),
            ("https://:6443", "has no host"),
            ("ftp://10.0.0.1", "is of no scheme that API servers are reached by"),
            ("https://10.0.0.1:66443", "has a port that is no number below 65536"),
        ] {
            let reason = read(server, false).expect_err("refused");
            assert!(reason.contains(what) && reason.contains("give https://HOST:PORT"), "{server}: {reason}");
        }
    }
}
