//! URLs: the two forms that settings take, an `http(s)` address and a Sentry DSN, without their credentials in any output.

use std::fmt;

use crate::parse::host;
use crate::secret::MASK;

/// An `http` or `https` URL with a host, without query and fragment. `Debug` and `Display` hide user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    text: String,
    parts: Parts,
}

/// Where the parts of a URL are, checked.
#[derive(Clone, PartialEq, Eq)]
struct Parts {
    https: bool,
    user_info: Option<String>,
    host: String,
    port: Option<u16>,
    /// Empty or beginning with `/`.
    path: String,
}

impl HttpUrl {
    /// Reads a URL; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let parts = Parts::parse(text)?;
        Ok(HttpUrl { text: text.trim_end_matches('/').to_owned(), parts })
    }

    /// A URL that stands in this crate.
    pub(crate) fn known(text: &'static str) -> Self {
        Self::parse(text).expect("a URL that stands in this crate is valid")
    }

    /// The URL without a slash at its end, credentials included: `https://api.openai.com/v1`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.parts.https
    }

    /// The host, IPv6 addresses without brackets.
    pub fn host(&self) -> &str {
        &self.parts.host
    }

    /// The path without a slash at its end: empty or beginning with one.
    pub fn path(&self) -> &str {
        self.parts.path.trim_end_matches('/')
    }

    /// The port, as written or the scheme's own.
    pub fn port(&self) -> u16 {
        self.parts.port.unwrap_or(if self.parts.https { 443 } else { 80 })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.parts, f)
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.parts, f)
    }
}

/// A Sentry DSN, `https://KEY@HOST[:PORT][/PATH]/PROJECT`. `Debug` and `Display` hide the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    text: String,
    parts: Parts,
}

impl Dsn {
    /// Reads a DSN; the error says what is wrong with it and repeats nothing of it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let parts = Parts::parse(text)?;
        let key = parts.user_info.as_deref().unwrap_or_default().split(':').next().unwrap_or_default();
        if key.is_empty() {
            return Err("it has no key before the @");
        }
        let project = parts.path.rsplit('/').next().unwrap_or_default();
        if project.is_empty() || !project.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            return Err("it does not end with /PROJECT");
        }
        Ok(Dsn { text: text.to_owned(), parts })
    }

    /// The DSN with its key, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The key that authenticates, for the `X-Sentry-Auth` header.
    pub fn public_key(&self) -> &str {
        self.parts.user_info.as_deref().unwrap_or_default().split(':').next().unwrap_or_default()
    }

    /// Where envelopes are posted: `https://HOST[:PORT][/PATH]/api/PROJECT/envelope/`.
    pub fn envelope_url(&self) -> String {
        let (prefix, project) = self.parts.path.rsplit_once('/').unwrap_or_default();
        format!("{}{prefix}/api/{project}/envelope/", self.parts.authority(""))
    }
}

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.parts, f)
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.parts, f)
    }
}

impl Parts {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err("it has a space, a backslash or a control character in it");
        }
        let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err("its scheme is not http or https"),
        };
        if rest.contains(['?', '#']) {
            return Err("it has a query or a fragment");
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (user_info, address) = match authority.rsplit_once('@') {
            Some((user_info, address)) => (Some(user_info.to_owned()), address),
            None => (None, authority),
        };
        let (host, port) = host::parse_with_port(address).ok_or("its host or port is not valid")?;
        if port == Some(0) {
            return Err("its port is 0");
        }
        Ok(Parts { https, user_info, host, port, path: path.to_owned() })
    }

    /// Scheme, credentials (with their `@`), host and port.
    fn authority(&self, user_info: &str) -> String {
        let scheme = if self.https { "https" } else { "http" };
        let host = host::bracketed(&self.host);
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{user_info}{host}{port}")
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mask = if self.user_info.is_some() { format!("{MASK}@") } else { String::new() };
        write!(f, "{}{}", self.authority(&mask), self.path.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_what_matters_and_hides_credentials() {
        let url = HttpUrl::parse("HTTPS://user:pa@ss@Example.com:8443/otlp/").unwrap();
        assert_eq!(url.to_string(), "https://***@Example.com:8443/otlp");
        assert_eq!(format!("{url:?}"), "https://***@Example.com:8443/otlp");
        assert_eq!((url.is_https(), url.host(), url.port(), url.path()), (true, "Example.com", 8443, "/otlp"));
        assert_eq!(url.as_str(), "HTTPS://user:pa@ss@Example.com:8443/otlp");
        let v6 = HttpUrl::parse("http://[::1]").unwrap();
        assert_eq!((v6.host(), v6.port(), v6.to_string().as_str()), ("::1", 80, "http://[::1]"));
    }

    #[test]
    fn a_url_without_a_host_or_with_anything_odd_is_refused() {
        for text in [
            "",
            "localhost:4318",
            "http://",
            "http:///v1",
            "http://:80",
            "ftp://a",
            "http://a b",
            "http://a:0",
            "http://a:70000",
            "http://a:x",
            "http://a?x=1",
            "http://a/#b",
            "http://[::1",
            "http://::1",
            "http://a_b!",
            "http://user@",
            "://a",
            "http://a\\b",
        ] {
            assert!(HttpUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_dsn_says_where_to_post_and_hides_its_key() {
        let check = |text: &str, key: &str, url: &str, shown: &str| {
            let dsn = Dsn::parse(text).unwrap();
            assert_eq!((dsn.public_key(), dsn.envelope_url().as_str()), (key, url));
            assert_eq!((dsn.to_string().as_str(), format!("{dsn:?}").as_str()), (shown, shown));
            assert_eq!(dsn.expose(), text);
        };
        check("https://abc@sentry.io/1", "abc", "https://sentry.io/api/1/envelope/", "https://***@sentry.io/1");
        check(
            "http://abc:old@[::1]:9000/base/7",
            "abc",
            "http://[::1]:9000/base/api/7/envelope/",
            "http://***@[::1]:9000/base/7",
        );
        check(
            "https://your-dsn@sentry.io/project-id",
            "your-dsn",
            "https://sentry.io/api/project-id/envelope/",
            "https://***@sentry.io/project-id",
        );
        for text in
            ["https://sentry.io/1", "https://@sentry.io/1", "https://abc@sentry.io", "https://abc@sentry.io/", "abc"]
        {
            assert!(Dsn::parse(text).is_err(), "{text}");
        }
    }
}
