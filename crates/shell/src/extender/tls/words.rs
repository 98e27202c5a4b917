//! TLS errors in Go's words.

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Why there is no connection, if Go has a wording for it.
pub(in super::super) fn words(error: &Error) -> Option<String> {
    Some(match error {
        Error::InvalidCertificate(why) => {
            format!("tls: failed to verify certificate: x509: {}", certificate(why)?)
        }
        Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_words(*alert)?),
        // What arrived is not TLS.
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        _ => return None,
    })
}

fn alert_words(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::UnrecognisedName => "unrecognized name",
        _ => return None,
    })
}

fn certificate(why: &CertificateError) -> Option<String> {
    let outdated = "certificate has expired or is not yet valid";
    Some(match why {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::NotValidYet => outdated.to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("{outdated}: current time {} is after {}", shown(*time), shown(*not_after))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("{outdated}: current time {} is before {}", shown(*time), shown(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => for_others(expected, presented),
        _ => return None,
    })
}

fn for_others(expected: &ServerName<'_>, presented: &[String]) -> String {
    let wanted = expected.to_str();
    // As rustls prints them.
    let names = |before: &str, after: &str| {
        let strip = |name: &String| Some(name.strip_prefix(before)?.strip_suffix(after)?.to_owned());
        presented.iter().filter_map(strip).collect::<Vec<_>>().join(", ")
    };
    let address = matches!(expected, ServerName::IpAddress(_));
    let names = if address { names("IpAddress(", ")") } else { names("DnsName(\"", "\")") };
    match (names.is_empty(), address) {
        (true, true) => {
            format!("cannot validate certificate for {wanted} because it doesn't contain any IP SANs")
        }
        (true, false) => format!("certificate is not valid for any names, but wanted to match {wanted}"),
        (false, _) => format!("certificate is valid for {names}, not {wanted}"),
    }
}

fn shown(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
