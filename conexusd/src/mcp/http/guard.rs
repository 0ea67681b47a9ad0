//! Guard: may this request come in? Its host, its web origin, its token.
//!
//! A browser sends the page's origin, and the host name that it resolved: checking both keeps pages from reaching a server
//! on this machine, also by a name that is made to point here (DNS rebinding).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::HttpOptions;

/// Written so that nothing in it looks like a credential, which would be hidden.
const HOW_TO_ASK: &str = "send the header `Authorization` with the scheme `Bearer`, a space, and one of auth.tokens";

/// What may come in.
pub(super) struct Guard {
    hosts: Vec<(String, Option<u16>)>,
    host_names: String,
    origins: Vec<String>,
    /// Of each token its hash and its name.
    token_hashes: Option<Vec<(blake3::Hash, Arc<str>)>>,
}

/// Why a request may not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Guard {
    pub(super) fn new(options: &HttpOptions, address: SocketAddr) -> Self {
        let mut hosts = Vec::new();
        for host in &options.allowed_hosts {
            match host.trim() {
                "localhost" => hosts.extend(["localhost", "127.0.0.1", "::1"].map(|name| (name.to_owned(), None))),
                other => hosts.extend(parse_host(other)),
            }
        }
        // A literal address cannot be rebound.
        if !address.ip().is_unspecified() {
            hosts.push((address.ip().to_string(), None));
        }
        let token_hashes = options
            .tokens
            .as_ref()
            .map(|tokens| tokens.iter().map(|t| (blake3::hash(t.secret.as_bytes()), t.name.as_str().into())).collect());
        let origins = options.allowed_origins.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase());
        Self { hosts, host_names: options.allowed_hosts.join(", "), origins: origins.collect(), token_hashes }
    }

    /// Checks host and origin. The origin comes back if it is another one that may ask, and so needs CORS headers.
    pub(super) fn check_source(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let named = named.or_else(|| uri.authority().map(Authority::as_str));
        let host = named.and_then(parse_host);
        let (Some(named), Some(host)) = (named, host) else {
            return Err(refuse(StatusCode::BAD_REQUEST, "the request names no host, or not a valid one".to_owned()));
        };
        let known = |(name, port): &(String, Option<u16>)| *name == host.0 && (port.is_none() || *port == host.1);
        if !self.hosts.iter().any(known) {
            let allowed = &self.host_names;
            let text = format!("host `{named}` is not allowed; server.allowed_hosts names {allowed}");
            return Err(refuse(StatusCode::FORBIDDEN, text));
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
        let text = origin.to_str().unwrap_or("?").to_ascii_lowercase();
        let own = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        if own == Some(named.to_ascii_lowercase().as_str()) {
            return Ok(None);
        }
        if self.origins.iter().any(|allowed| origin_matches(allowed, &text)) {
            return Ok(Some(origin.clone()));
        }
        let text = format!("origin `{text}` is not allowed; add it to server.allowed_origins to let its pages in");
        Err(refuse(StatusCode::FORBIDDEN, text))
    }

    /// Checks the token, if tokens are asked for, and says its name.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<Option<Arc<str>>, Refusal> {
        let Some(hashes) = &self.token_hashes else { return Ok(None) };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(given) = given else {
            return Err(refuse(StatusCode::UNAUTHORIZED, format!("a token is required: {HOW_TO_ASK}")));
        };
        let (scheme, token) = given.split_once(' ').unwrap_or((given, ""));
        let hash = blake3::hash(token.trim().as_bytes());
        // Comparing hashes takes the same time wherever they differ, and every token is compared.
        let known =
            hashes.iter().fold(None, |known, (allowed, name)| if *allowed == hash { Some(name) } else { known });
        if !scheme.eq_ignore_ascii_case("bearer") || known.is_none() {
            let text = format!("the header `Authorization` holds none of auth.tokens: {HOW_TO_ASK}");
            return Err(refuse(StatusCode::UNAUTHORIZED, text));
        }
        Ok(known.cloned())
    }
}

fn refuse(status: StatusCode, message: String) -> Refusal {
    Refusal { status, message }
}

/// A host name in lower case, without brackets, and its port.
fn parse_host(text: &str) -> Option<(String, Option<u16>)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address.to_string(), None));
    }
    let authority = Authority::try_from(text).ok().filter(|authority| !authority.as_str().contains('@'))?;
    let name = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
    (!name.is_empty()).then(|| (name, authority.port_u16()))
}

/// `allowed` is an origin; with `:*` for any port.
fn origin_matches(allowed: &str, origin: &str) -> bool {
    match allowed.strip_suffix(":*") {
        None => allowed == origin,
        Some(base) => origin.strip_prefix(base).is_some_and(|port| {
            port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::AccessToken;
    use super::*;

    fn guard(hosts: &[&str], origins: &[&str], tokens: Option<&[&str]>) -> Guard {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let token = |secret: &&str| AccessToken { name: "someone".to_owned(), secret: secret.to_string() };
        let options = HttpOptions {
            allowed_hosts: owned(hosts),
            allowed_origins: owned(origins),
            tokens: tokens.map(|tokens| tokens.iter().map(token).collect()),
        };
        Guard::new(&options, "127.0.0.1:8080".parse().unwrap())
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn hosts_are_checked_with_and_without_ports() {
        let guard = guard(&["localhost", "code.example.com", "other.example.com:9000"], &[], None);
        let check = |host: &str| {
            let found = guard.check_source(&Uri::from_static("/mcp"), &headers(&[("host", host)]));
            found.map_err(|refusal| refusal.status.as_u16())
        };
        for good in [
            "localhost",
            "localhost:8080",
            "LOCALHOST:1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "code.example.com:443",
            "other.example.com:9000",
        ] {
            assert_eq!(check(good), Ok(None), "{good}");
        }
        for bad in [
            "evil.example.com",
            "localhost.evil.com",
            "other.example.com",
            "127.0.0.2",
            "code.example.com.",
            "10.0.0.1",
        ] {
            assert_eq!(check(bad), Err(403), "{bad}");
        }
        for bad in ["", "a b", "user@localhost", "http://localhost"] {
            assert_eq!(check(bad), Err(400), "{bad}");
        }
        assert_eq!(guard.check_source(&Uri::from_static("/mcp"), &HeaderMap::new()).unwrap_err().status, 400);
    }

    #[test]
    fn origins_are_the_servers_own_or_listed() {
        let guard = guard(&["localhost"], &["https://app.example.com", "http://localhost:*"], None);
        let check = |host: &str, origin: &str| {
            let found = guard.check_source(&Uri::from_static("/mcp"), &headers(&[("host", host), ("origin", origin)]));
            found.map(|origin| origin.is_some()).map_err(|refusal| refusal.status.as_u16())
        };
        assert_eq!(check("127.0.0.1:8080", "http://127.0.0.1:8080"), Ok(false));
        assert_eq!(check("127.0.0.1:8080", "https://app.example.com"), Ok(true));
        assert_eq!(check("127.0.0.1:8080", "http://localhost:3000"), Ok(true));
        for bad in [
            "http://127.0.0.1:8081",
            "http://app.example.com",
            "https://app.example.com.evil.com",
            "null",
            "http://localhost:3000.evil.com",
            "http://localhost.evil.com",
            "https://localhost:3000",
        ] {
            assert_eq!(check("127.0.0.1:8080", bad), Err(403), "{bad}");
        }
    }

    #[test]
    fn tokens_let_in_only_their_holders() {
        let open = guard(&[], &[], None);
        assert_eq!(open.check_token(&HeaderMap::new()), Ok(None));
        let guard = guard(&[], &[], Some(&["first-token", "second-token"]));
        let check = |value: &str| guard.check_token(&headers(&[("authorization", value)])).is_ok();
        assert!(check("Bearer first-token") && check("bearer second-token"));
        for bad in ["Bearer third", "Bearer", "Bearer ", "first-token", "Basic first-token", "Bearer first-token2"] {
            assert!(!check(bad), "{bad}");
        }
        let missing = guard.check_token(&HeaderMap::new()).unwrap_err();
        assert_eq!(missing.status, 401);
        let wrong = guard.check_token(&headers(&[("authorization", "Basic first-token")])).unwrap_err();
        for text in [missing.message, wrong.message] {
            assert!(text.contains("`Authorization` with the scheme `Bearer`"), "{text}");
            assert_eq!(conexus_proto::scrub::scrubbed(&text), text, "the client reads all of it");
        }
    }
}
