//! URLs as shown to people: without credentials, and without a query that may hold a token.

/// `NAME:PASSWORD` from a URL, still percent-encoded.
#[must_use]
pub fn credentials(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("//")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@').map(|(credentials, _)| credentials)
}

/// The URL without its credentials.
#[must_use]
pub fn bare(url: &str) -> String {
    match credentials(url) {
        Some(credentials) => url.replacen(&format!("//{credentials}@"), "//", 1),
        None => url.to_owned(),
    }
}

/// The URL of a file to load, without credentials and without the query, which may be a signature. After `file://` comes a path,
/// which is kept in full.
#[must_use]
pub fn shown(url: &str) -> String {
    if url.starts_with("file:") {
        return url.to_owned();
    }
    let mut bare = bare(url);
    bare.truncate(bare.find(['?', '#']).unwrap_or(bare.len()));
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_a_url_is_found_and_left_out() {
        for (url, known, without, seen) in [
            (
                "https://me:se%20cret@host:8443/p?q=a@b",
                Some("me:se%20cret"),
                "https://host:8443/p?q=a@b",
                "https://host:8443/p",
            ),
            ("http://me@host", Some("me"), "http://host", "http://host"),
            ("http://host/a@b#c", None, "http://host/a@b#c", "http://host/a@b"),
            ("http://host", None, "http://host", "http://host"),
            ("host?a", None, "host?a", "host"),
            ("file:///a?b#c", None, "file:///a?b#c", "file:///a?b#c"),
        ] {
            assert_eq!((credentials(url), &*bare(url), &*shown(url)), (known, without, seen));
        }
    }
}
