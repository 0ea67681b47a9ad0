//! Addresses: where the requests go, and how the address is shown without the secrets that may be in it.

use std::net::IpAddr;

use ureq::http::Uri;

/// The address of the embeddings endpoint.
#[derive(Clone, Debug)]
pub(super) struct Address {
    url: String,
    shown: String,
    host: String,
    port: u16,
    loopback: bool,
}

impl Address {
    /// From `embedding.base_url`. The problem names the key, and shows nothing secret.
    pub(super) fn parse(base_url: &str) -> Result<Self, String> {
        let problem = |what: &str| format!("embedding.base_url {:?} {what}", without_secrets(base_url));
        let uri: Uri = base_url.trim().parse().map_err(|error| problem(&format!("is no address: {error}")))?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(problem("is no address that begins with http:// or https://"));
        };
        if authority.as_str().contains('@') {
            return Err(problem("has a user or a password in it; a key belongs into embedding.api_key"));
        }
        let path = match uri.path().trim_end_matches('/') {
            "" => "/v1/embeddings".to_owned(),
            path if path.ends_with("/embeddings") => path.to_owned(),
            path => format!("{path}/embeddings"),
        };
        let shown = format!("{scheme}://{authority}{path}");
        let url = match uri.query() {
            Some(query) => format!("{shown}?{query}"),
            None => shown.clone(),
        };
        let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let host = authority.host().to_owned();
        Ok(Self { url, shown, loopback: is_loopback(&host), host, port })
    }

    /// Where requests go.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// For messages: without the query, which may hold a key.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Host and port, as a client of HTTP has them.
    pub(super) fn server(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Whether the server is this machine, which no proxy leads to.
    pub(super) fn is_loopback(&self) -> bool {
        self.loopback
    }
}

/// An address as it was written, without user, password and query.
pub(super) fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    // The password may contain anything, so all up to the last `@` goes.
    format!("{scheme}{}", rest.rsplit_once('@').map_or(rest, |(_, rest)| rest))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base_url: &str, expect: &str) {
        match Address::parse(base_url) {
            Ok(address) => assert_eq!(address.url(), expect),
            Err(problem) => assert_eq!(problem, expect),
        }
    }

    #[test]
    fn the_endpoint_is_appended_where_it_is_missing() {
        check("https://api.openai.com/v1", "https://api.openai.com/v1/embeddings");
        check("https://api.openai.com/v1/", "https://api.openai.com/v1/embeddings");
        check(" http://localhost:11434 ", "http://localhost:11434/v1/embeddings");
        check("http://[::1]:8080/", "http://[::1]:8080/v1/embeddings");
        check("http://tei/embeddings", "http://tei/embeddings");
        check(
            "https://h/openai/deployments/d?api-version=1",
            "https://h/openai/deployments/d/embeddings?api-version=1",
        );
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_secrets() {
        check("ftp://h/v1", "embedding.base_url \"ftp://h/v1\" is no address that begins with http:// or https://");
        check(
            "localhost:1234",
            "embedding.base_url \"localhost:1234\" is no address that begins with http:// or https://",
        );
        check(
            "https://me:pa@ss@h/v1?key=k",
            "embedding.base_url \"https://h/v1\" has a user or a password in it; a key belongs into embedding.api_key",
        );
        check(
            "https://me:secret@h/v1",
            "embedding.base_url \"https://h/v1\" has a user or a password in it; a key belongs into embedding.api_key",
        );
        check("http://a b/", "embedding.base_url \"http://a b/\" is no address: invalid uri character");
        check("", "embedding.base_url \"\" is no address: empty string");
    }

    #[test]
    fn a_query_is_sent_and_never_shown() {
        let address = Address::parse("https://h/v1?key=secret").expect("good");
        assert_eq!(address.shown(), "https://h/v1/embeddings");
        assert!(address.url().ends_with("?key=secret"));
    }

    #[test]
    fn loopback_is_recognised_in_every_form() {
        for (url, expect) in [
            ("http://localhost:1", true),
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://10.0.0.1:1", false),
            ("http://localhost.example.org", false),
        ] {
            assert_eq!(Address::parse(url).expect("good").is_loopback(), expect, "{url}");
        }
    }
}
