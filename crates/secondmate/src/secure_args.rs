//! HTTPS for `run`: the same port as kube-scheduler's, with flags of our own.

use crate::endpoints::{Endpoints, Reviews, SecureEndpoint};
use clap::{ArgAction, Args};
use secondmate_shell::{ServingCertificate, TlsOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How long the API server's reviews are cached, as in kube-scheduler.
const REMEMBER: Duration = Duration::from_secs(10);

/// How `run` serves HTTPS.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "HTTPS")]
pub(crate) struct SecureArgs {
    /// Serve probes, metrics and debug endpoints over HTTPS at this address, in place of --listen and --debug-listen. As
    /// kube-scheduler does, it authenticates and authorizes clients through the API server (TokenReview, SubjectAccessReview)
    /// [default: off].
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["listen", "debug_listen", "shadow"])]
    pub secure_listen: Option<SocketAddr>,
    /// Certificate chain (PEM) for --secure-listen, reloaded when it changes [default: self-signed].
    #[arg(long, value_name = "FILE", requires_all = ["secure_listen", "secure_tls_private_key_file"])]
    pub secure_tls_cert_file: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "secure_tls_cert_file")]
    pub secure_tls_private_key_file: Option<PathBuf>,
    /// CA bundle (PEM) for client certificates, reloaded when it changes [default: the cluster's, from the ConfigMap
    /// kube-system/extension-apiserver-authentication].
    #[arg(long, value_name = "FILE", requires = "secure_listen")]
    pub secure_client_ca_file: Option<PathBuf>,
    /// Path served without authorization; a trailing * matches any suffix. May be repeated [default: /healthz, /readyz, /livez].
    #[arg(long = "secure-always-allow-path", value_name = "PATH", action = ArgAction::Append, requires = "secure_listen")]
    pub secure_always_allow_paths: Vec<String>,
}

impl SecureArgs {
    /// The port, if one is requested. The scheduler finds its cluster through this context of this kubeconfig.
    pub fn endpoint(self, kubeconfig: Option<PathBuf>, context: Option<String>) -> Option<Endpoints> {
        let address = self.secure_listen?;
        let own = || {
            let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let ip = address.ip().to_string();
            if !address.ip().is_unspecified() && !names.contains(&ip) {
                names.push(ip);
            }
            ServingCertificate::Own { names }
        };
        let files = self.secure_tls_cert_file.zip(self.secure_tls_private_key_file);
        let files = files.map(|(certificate, key)| ServingCertificate::Files { certificate, key });
        let mut paths = self.secure_always_allow_paths;
        if paths.is_empty() {
            paths = ["/healthz", "/readyz", "/livez"].map(str::to_owned).to_vec();
        }
        Some(Endpoints::Secure(Box::new(SecureEndpoint {
            address,
            share_port: false,
            certificate: files.unwrap_or_else(own),
            named: Vec::new(),
            tls: TlsOptions::default(),
            reviews: Reviews::OfTheScheduler { kubeconfig, context },
            client_authority: self.secure_client_ca_file,
            request_headers: None,
            skip_lookup: false,
            tolerate_lookup_failure: true,
            remember_tokens: REMEMBER,
            always_allow_paths: paths,
            remember_allowed: REMEMBER,
            remember_denied: REMEMBER,
            flagz: None,
            statusz: false,
        })))
    }
}
