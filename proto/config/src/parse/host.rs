//! Hosts: which names and addresses are valid, and which of them only this machine can reach.

use std::net::{IpAddr, Ipv6Addr};

/// Whether only this machine can reach the host: a loopback address, or the name `localhost`. Other names are not
/// resolved and count as reachable from outside.
pub fn is_loopback(host: &str) -> bool {
    let host = unbracketed(host);
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback())
        }
        Err(_) => host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    }
}

/// Whether two hosts to bind can mean the same address, so that one port does not suffice for both.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let addresses = |host: &str| -> Vec<IpAddr> {
        match unbracketed(host).parse::<IpAddr>() {
            Ok(address) => vec![address.to_canonical()],
            Err(_) if is_loopback(host) => vec![IpAddr::V4([127, 0, 0, 1].into()), IpAddr::V6(Ipv6Addr::LOCALHOST)],
            Err(_) => Vec::new(),
        }
    };
    let (ones, others) = (addresses(one), addresses(other));
    if ones.is_empty() || others.is_empty() {
        return one.eq_ignore_ascii_case(other) || ones.iter().chain(&others).any(IpAddr::is_unspecified);
    }
    // An IPv6 wildcard takes IPv4 as well, an IPv4 wildcard only its own family.
    let covers = |wide: &IpAddr, narrow: &IpAddr| wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    ones.iter().any(|a| others.iter().any(|b| a == b || covers(a, b) || covers(b, a)))
}

/// A host name (RFC 1123, with `_` as Docker and Kubernetes services have it) or an IP address, IPv6 with or without
/// brackets. Answers it without brackets.
pub(crate) fn parse(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return inner.parse::<Ipv6Addr>().ok().map(|_| inner.to_owned());
    }
    let valid = text.parse::<IpAddr>().is_ok() || is_name(text);
    valid.then(|| text.to_owned())
}

/// `host`, `host:port` or `[v6]:port`. A bare IPv6 address needs its brackets here, as in a URL.
pub(crate) fn parse_with_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = split_port(text);
    if host.contains(':') && !text.starts_with('[') {
        return None;
    }
    let port = match port {
        Some(port) if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) => return None,
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    Some((parse(host)?, port))
}

/// Splits `host:port` at the port's colon, if it has one; a bare IPv6 address stays whole.
pub(crate) fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.starts_with('[') {
        return match text.find(']').map(|end| text.split_at(end + 1)) {
            Some((host, rest)) => match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => (text, None),
            },
            None => (text, None),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

/// The host as it stands before a port.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// `host:port`, IPv6 in brackets.
pub(crate) fn with_port(host: &str, port: u16) -> String {
    format!("{}:{port}", bracketed(host))
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn is_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Four numbers with dots that are no address are a mistyped address, not a name.
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    name.len() <= 253 && !numeric && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_what_others_can_reach() {
        for host in
            ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LocalHost", "localhost.", "::ffff:127.0.0.1"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["0.0.0.0", "::", "[::]", "10.0.0.1", "localhost.example.com", "example.com", "", "::ffff:10.0.0.1"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn hosts_overlap_when_one_socket_could_take_the_others_port() {
        for (one, other, expect) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "localhost", true),
            ("localhost", "[::1]", true),
            ("127.0.0.1", "::1", false),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0", "127.0.0.1", true),
            ("0.0.0.0", "::1", false),
            ("::", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("a.example", "A.example", true),
            ("a.example", "b.example", false),
            ("a.example", "0.0.0.0", true),
        ] {
            assert_eq!(overlap(one, other), expect, "{one} {other}");
            assert_eq!(overlap(other, one), expect, "{other} {one}");
        }
    }

    #[test]
    fn names_and_addresses_are_valid_and_typos_of_addresses_are_not() {
        for text in ["a", "conexus-sidecar", "my_service", "a.b.c.", "10.0.0.1", "::1", "[fe80::1]", "1a.example"] {
            assert!(parse(text).is_some(), "{text}");
        }
        for text in
            ["", "a b", "-a", "a-", "a..b", "256.0.0.1", "1.2.3", "[::1", "[a]", "http://a", "a:80", "é.example", "*"]
        {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_port_is_split_from_every_form_of_host() {
        for (text, expect) in [
            ("a", Some(("a", None))),
            ("a:80", Some(("a", Some(80)))),
            ("[::1]", Some(("::1", None))),
            ("[::1]:80", Some(("::1", Some(80)))),
            ("::1", None),
            ("a:", None),
            ("a:+1", None),
            ("a:65536", None),
            ("[::1]80", None),
        ] {
            let expect = expect.map(|(host, port): (&str, Option<u16>)| (host.to_owned(), port));
            assert_eq!(parse_with_port(text), expect, "{text}");
        }
    }
}
