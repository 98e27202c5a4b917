//! What a resource's name says about its kind (upstream: `pkg/apis/core/v1/helper`, `pkg/scheduler/util`).

/// Whether the scheduler counts resources of this name as scalar, besides CPU, memory and ephemeral storage: extended resources,
/// huge pages, attachable volumes, and names in any domain that ends in `kubernetes.io`.
#[must_use]
pub fn is_scalar_resource_name(name: &str) -> bool {
    is_extended_resource_name(name)
        || name.starts_with("hugepages-")
        || is_kubernetes_name(name)
        || name.starts_with("attachable-volumes-")
}

/// Whether the name is that of an extended resource: `DOMAIN/NAME`, well formed and outside of `kubernetes.io`.
#[must_use]
pub fn is_extended_resource_name(name: &str) -> bool {
    if is_kubernetes_name(name) || name.starts_with(QUOTA_PREFIX) {
        return false;
    }
    // The name must also be valid for a quota, as `requests.DOMAIN/NAME`; what matters is the length that the prefix adds.
    match name.split_once('/') {
        Some((domain, name)) => {
            QUOTA_PREFIX.len() + domain.len() <= 253
                && domain.split('.').all(is_dns_label)
                && is_name_part(name)
        }
        None => false,
    }
}

const QUOTA_PREFIX: &str = "requests.";

/// Upstream looks for the domain anywhere in the name, not only at its start.
fn is_kubernetes_name(name: &str) -> bool {
    name.contains("kubernetes.io/")
}

/// A label of a domain name, without the length limit, which upstream does not enforce for subdomains.
fn is_dns_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    ends_match(label, inner, |byte| inner(byte) || byte == b'-')
}

fn is_name_part(name: &str) -> bool {
    name.len() <= 63
        && ends_match(
            name,
            |byte| byte.is_ascii_alphanumeric(),
            |byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte),
        )
}

/// Not empty, all bytes allowed by `within`, and the first and last ones by `at_ends`.
fn ends_match(text: &str, at_ends: impl Fn(u8) -> bool, within: impl Fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [only] => at_ends(*only),
        [first, middle @ .., last] => {
            at_ends(*first) && at_ends(*last) && middle.iter().all(|byte| within(*byte))
        }
        [] => false,
    }
}
