//! The proxy through which the API server is reached: the kubeconfig's `proxy-url`, or the one from the environment, as for kubectl.

use super::ConnectError;
use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use std::net::IpAddr;

/// How an error names the kubeconfig as a proxy's source.
const OF_KUBECONFIG: &str = "proxy-url in the kubeconfig";
const OF_ENVIRONMENT: &str = "the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY)";

/// The kind of proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// HTTP CONNECT.
    Http,
    /// SOCKS5; the proxy resolves names.
    Socks5,
}

/// A proxy that can be used.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    pub kind: Kind,
    pub intercept: Intercept,
}

/// The environment variables that count.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    pub https: String,
    pub http: String,
    pub all: String,
    /// What is reached without the proxy: names (with their subdomains), addresses, networks (CIDR), or `*`.
    pub no: String,
}

impl Environment {
    pub fn read() -> Self {
        let first = |upper: &str, lower: &str| {
            let value = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
            value(upper).or_else(|| value(lower)).unwrap_or_default()
        };
        Self {
            https: first("HTTPS_PROXY", "https_proxy"),
            http: first("HTTP_PROXY", "http_proxy"),
            all: first("ALL_PROXY", "all_proxy"),
            no: first("NO_PROXY", "no_proxy"),
        }
    }
}

/// The proxy for a server. A kubeconfig's `proxy-url` takes precedence over the environment; a proxy from the environment is not used for
/// loopback addresses or for what `NO_PROXY` lists, as in client-go.
///
/// # Errors
/// This kind of proxy is not supported.
pub(super) fn proxy(
    server: &Uri,
    configured: Option<&Uri>,
    environment: &Environment,
) -> Result<Option<Proxy>, ConnectError> {
    if let Some(url) = configured {
        let matcher = Matcher::builder().all(url.to_string()).build();
        return match matcher.intercept(server) {
            Some(intercept) => usable(intercept, OF_KUBECONFIG).map(Some),
            None => Err(unsupported(url, OF_KUBECONFIG)),
        };
    }
    if is_loopback(server) {
        return Ok(None);
    }
    let Environment { https, http, all, no } = environment;
    let matcher = Matcher::builder()
        .all(all.as_str())
        .https(https.as_str())
        .http(http.as_str())
        .no(without_stars(no))
        .build();
    matcher.intercept(server).map(|intercept| usable(intercept, OF_ENVIRONMENT)).transpose()
}

fn usable(intercept: Intercept, from: &'static str) -> Result<Proxy, ConnectError> {
    let kind = match intercept.uri().scheme_str() {
        Some("http") => Kind::Http,
        Some("socks5" | "socks5h") => Kind::Socks5,
        _ => return Err(unsupported(intercept.uri(), from)),
    };
    Ok(Proxy { kind, intercept })
}

/// The message contains no user or password from the URL.
fn unsupported(url: &Uri, from: &'static str) -> ConnectError {
    let scheme = url.scheme_str().unwrap_or("none");
    let host = url.host().unwrap_or_default();
    ConnectError::Proxy { proxy: format!("{scheme}://{host}"), from }
}

/// People write `*.example.com`, which becomes `.example.com`.
fn without_stars(no: &str) -> String {
    let entries = no.split(',').map(|entry| entry.trim());
    let entries =
        entries.map(|entry| entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry));
    entries.collect::<Vec<_>>().join(",")
}

fn is_loopback(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(server: &str, configured: Option<&str>, environment: &Environment) -> String {
        let configured = configured.map(|url| url.parse().expect("a URL"));
        match proxy(&server.parse().expect("a URL"), configured.as_ref(), environment) {
            Ok(Some(proxy)) => format!("{:?} {}", proxy.kind, proxy.intercept.uri()),
            Ok(None) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_kubeconfig_comes_first_then_the_environment() {
        let environment = Environment { https: "http://env:3128".to_owned(), ..Environment::default() };
        let server = "https://api.example.com:6443/";
        assert_eq!(chosen(server, None, &Environment::default()), "none");
        assert_eq!(chosen(server, None, &environment), "Http http://env:3128/");
        assert_eq!(
            chosen(server, Some("socks5://user:secret@conf:1080"), &environment),
            "Socks5 socks5://conf:1080/"
        );
        // Written without a scheme, as is usual for kubectl.
        let bare = Environment { https: "env:3128".to_owned(), ..Environment::default() };
        assert_eq!(chosen(server, None, &bare), "Http http://env:3128/");
        assert_eq!(chosen("https://127.0.0.1:6443/", None, &environment), "none");
        assert_eq!(
            chosen("https://127.0.0.1:6443/", Some("http://conf:1"), &environment),
            "Http http://conf:1/"
        );
        let refused = chosen(server, Some("https://user:secret@conf:1080"), &environment);
        assert!(refused.contains("https://conf") && !refused.contains("secret"), "{refused}");
        // TLS to the proxy itself, which no connector here supports.
        let tls = Environment { https: "https://user:secret@env:3128".to_owned(), ..Environment::default() };
        assert_eq!(
            chosen(server, None, &tls),
            "the proxy https://env, from the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY), cannot be used: give http://HOST:PORT (HTTP CONNECT) or socks5://HOST:PORT"
        );
    }

    #[test]
    fn no_proxy_names_domains_addresses_and_networks() {
        for (no, server, direct) in [
            ("example.com", "https://api.example.com:6443/", true),
            (".example.com", "https://api.example.com:6443/", true),
            ("*.example.com", "https://api.example.com:6443/", true),
            ("example.com", "https://notexample.com:6443/", false),
            ("other, 10.0.0.0/8", "https://10.1.2.3:6443/", true),
            ("10.0.0.0/8", "https://11.1.2.3:6443/", false),
            ("fd00::/8", "https://[fd00::1]:6443/", true),
            ("10.1.2.3", "https://10.1.2.3/", true),
            ("*", "https://anything/", true),
            (",,", "https://anything/", false),
        ] {
            let environment = Environment {
                https: "http://env:3128".to_owned(),
                no: no.to_owned(),
                ..Environment::default()
            };
            let expected = if direct { "none" } else { "Http http://env:3128/" };
            assert_eq!(chosen(server, None, &environment), expected, "{no} {server}");
        }
    }
}
