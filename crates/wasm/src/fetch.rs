//! Fetches a guest's bytes from its URL.

use crate::LoadError;
use secondmate_model::url::shown;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::io::Read;
use std::time::Duration;

/// Maximum size of a guest: known ones have one or two MiB.
const BYTES_MAX: u64 = 64 << 20;
/// Maximum duration of a download.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The bytes at a URL.
pub(crate) fn fetch(url: &str, checksum: Option<&str>) -> Result<Vec<u8>, LoadError> {
    let shown = shown(url);
    // The client's error may contain the URL as well.
    let read = |error: String| LoadError::Reading { url: shown.clone(), error: error.replace(url, &shown) };
    let (scheme, _) = url.split_once(':').ok_or_else(|| LoadError::Url(format!("invalid URL: {shown}")))?;
    let bytes = match scheme {
        // As upstream: what follows is a path, so that `file://../guest.wasm` works too.
        "file" => file(url.strip_prefix("file://").unwrap_or_default()).map_err(read)?,
        "http" | "https" => download(url).map_err(read)?,
        other => return Err(LoadError::Url(format!("unsupported URL scheme: {other}"))),
    };
    let digest = sha256(&bytes);
    match checksum {
        Some(wanted) if !wanted.eq_ignore_ascii_case(&format!("sha256:{digest}")) => {
            Err(LoadError::Checksum { url: shown, found: digest, wanted: wanted.to_owned() })
        }
        _ => Ok(bytes),
    }
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn too_large() -> String {
    format!("it has more than {} MiB", BYTES_MAX >> 20)
}

fn file(path: &str) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > BYTES_MAX) {
        return Err(too_large());
    }
    Ok(bytes)
}

fn download(url: &str) -> Result<Vec<u8>, String> {
    let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build();
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .tls_config(tls)
        .build();
    let mut response =
        ureq::Agent::new_with_config(config).get(url).call().map_err(|error| error.to_string())?;
    if response.status() != 200 {
        return Err(format!("received {} status code", response.status().as_u16()));
    }
    match response.body_mut().with_config().limit(BYTES_MAX).read_to_vec() {
        Ok(bytes) => Ok(bytes),
        Err(ureq::Error::BodyExceedsLimit(_)) => Err(too_large()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_a_url_without_credentials_and_query() {
        let told = |url: &str| fetch(url, None).expect_err(url).to_string();
        for url in [
            // Nothing listens there.
            "http://me:s3cret@127.0.0.1:1/guest.wasm?token=s3cret#s3cret",
            "https://me:s3cret@127.0.0.1:1/guest.wasm?token=s3cret",
            "http://me:s3cret@[/guest.wasm",
            "http://me:s3cret@127.0.0.1:1/g uest.wasm?token=s3cret",
            "ftp://me:s3cret@127.0.0.1/guest.wasm",
            "guest.wasm?token=s3cret",
        ] {
            let error = told(url);
            assert!(!error.contains("s3cret"), "{url}: {error}");
        }
        assert!(told("http://me:s3cret@127.0.0.1:1/g?x=y").contains("guestURL http://127.0.0.1:1/g: "));
        // All of it is the path of a file.
        assert!(told("file://no/such@guest?.wasm").contains("file://no/such@guest?.wasm: "));
    }
}
