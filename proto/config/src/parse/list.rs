//! Lists: hosts, origins, globs and tokens, each from a sequence in the file or from text with commas.

use std::collections::BTreeSet;

use globset::Glob;

use crate::key::{Kind, TOKEN_MIN};
use crate::parse::host;
use crate::raw::{Raw, quoted};
use crate::secret::{Secret, Token};
use crate::value::Value;

/// Reads a list. An error names the item by its position, and by its text unless it is a secret.
pub(super) fn parse(kind: Kind, raw: &Raw) -> Result<Value, String> {
    let items = items(raw).map_err(|reason| format!("{reason}; must be {}", kind.allowed()))?;
    if kind == Kind::Tokens {
        return tokens(&items).map(Value::Tokens);
    }
    let mut texts = Vec::with_capacity(items.len());
    for (position, item) in items.iter().enumerate() {
        let shown = item.shown(kind);
        let wrong = |reason: &str| format!("item {} is {shown}{reason}; must be {}", position + 1, kind.allowed());
        let text = text(item).ok_or_else(|| wrong(""))?;
        let valid = match kind {
            Kind::Hosts => is_host(text),
            Kind::Origins => is_origin(text),
            _ => Glob::new(text).map(|_| true).map_err(|error| wrong(&format!(", {}", error.kind())))?,
        };
        if !valid || text.is_empty() {
            return Err(wrong(""));
        }
        if !texts.iter().any(|known| known == text) {
            texts.push(text.to_owned());
        }
    }
    if kind == Kind::Hosts && texts.is_empty() {
        return Err(format!("must be {}", kind.allowed()));
    }
    Ok(Value::List(texts))
}

fn items(raw: &Raw) -> Result<Vec<Raw>, &'static str> {
    match raw {
        Raw::List(items) => Ok(items.clone()),
        Raw::Scalar(text) => {
            let text = text.to_str().ok_or("is not valid UTF-8")?;
            Ok(split(text).into_iter().map(|item| Raw::Scalar(item.into())).collect())
        }
        Raw::Null | Raw::Map(_) => Err("is no list"),
    }
}

fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Scalar(text) => text.to_str().map(str::trim),
        _ => None,
    }
}

/// Splits at commas that are not inside the braces or brackets of a glob; blank text has no items.
fn split(text: &str) -> Vec<&str> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .collect()
}

/// A host with or without a port, IPv6 with or without brackets.
fn is_host(text: &str) -> bool {
    host::parse(text).is_some() || host::parse_with_port(text).is_some()
}

/// `scheme://host`, with a port, `:*` for every port, or neither.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b));
    scheme_ok && host::parse_with_port(authority.strip_suffix(":*").unwrap_or(authority)).is_some()
}

fn tokens(items: &[Raw]) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::with_capacity(items.len());
    let (mut names, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for (position, item) in items.iter().enumerate() {
        let at = |reason: &str| format!("item {}: {reason}; must be {}", position + 1, Kind::Tokens.allowed());
        let (name, token) = token(item).map_err(|reason| at(&reason))?;
        if !names.insert(name.to_owned()) {
            return Err(at(&format!("the name {} is there twice", quoted(name))));
        }
        if !secrets.insert(token.to_owned()) {
            return Err(at("its token is that of an item before it"));
        }
        tokens.push(Token { name: name.to_owned(), token: Secret::new(token) });
    }
    Ok(tokens)
}

/// Name and token of one item: `name:token`, or a mapping of `name` and `token`. An error names no value: the parts of
/// a malformed item cannot be told apart.
fn token(item: &Raw) -> Result<(&str, &str), String> {
    let (name, token) = match item {
        Raw::Map(entries) => {
            if let Some(other) = entries.iter().find(|entry| !["name", "token"].contains(&entry.key.as_str())) {
                return Err(format!("unknown key {}", quoted(&other.key)));
            }
            let field = |key: &str| entries.iter().find(|entry| entry.key == key).and_then(|entry| text(&entry.value));
            (field("name").ok_or("it has no name")?, field("token").ok_or("it has no token")?)
        }
        _ => text(item).and_then(|text| text.split_once(':')).ok_or("it is not name:token")?,
    };
    let (name, token) = (name.trim(), token.trim());
    let name_ok =
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b));
    if !name_ok {
        return Err("its name is not 1 to 64 characters of A-Z a-z 0-9 . _ @ -".into());
    }
    if token.chars().count() < TOKEN_MIN {
        return Err(format!("its token is shorter than {TOKEN_MIN} characters"));
    }
    if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
        return Err("its token has a character that a bearer token cannot have".into());
    }
    Ok((name, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, text: &str) -> Result<Value, String> {
        parse(kind, &Raw::Scalar(text.into()))
    }

    #[test]
    fn commas_inside_a_glob_do_not_split_it() {
        let check = |text: &str, expect: &[&str]| {
            let expect = expect.iter().map(|&item| item.to_owned()).collect();
            assert_eq!(of(Kind::Globs, text), Ok(Value::List(expect)), "{text}");
        };
        check("src/**, *.{rs,py} ,[a,b].txt", &["src/**", "*.{rs,py}", "[a,b].txt"]);
        check("", &[]);
        check(" ", &[]);
        check("a,a", &["a"]);
    }

    #[test]
    fn a_bad_item_is_named_with_its_position() {
        for (kind, text, expect) in [
            (Kind::Globs, "a,b{", "item 2 is \"b{\", unclosed"),
            (Kind::Globs, "a,,b", "item 2 is \"\"; must be a list of globs"),
            (Kind::Hosts, "localhost,http://a", "item 2 is \"http://a\"; must be a list of at least one host"),
            (Kind::Hosts, "", "must be a list of at least one"),
            (Kind::Origins, "app.example.com", "item 1 is \"app.example.com\"; must be a list of origins"),
            (Kind::Origins, "https://app.example.com/x", "item 1"),
            (Kind::Origins, "null", "item 1"),
        ] {
            let error = of(kind, text).unwrap_err();
            assert!(error.starts_with(expect), "{text}: {error}");
        }
    }

    #[test]
    fn hosts_and_origins_take_every_form_that_servers_compare() {
        assert!(of(Kind::Hosts, "localhost,127.0.0.1:8080,::1,[::1]:80,conexus.example.com").is_ok());
        assert!(
            of(Kind::Origins, "https://app.example.com:443,http://localhost:*,vscode-webview://abc,http://[::1]:3000")
                .is_ok()
        );
    }

    #[test]
    fn tokens_are_read_from_text_and_from_mappings() {
        let entry =
            |key: &str, value: &str| crate::raw::Entry { key: key.into(), line: 1, value: Raw::Scalar(value.into()) };
        let raw = Raw::List(vec![
            Raw::Scalar("ana:0123456789abcdef".into()),
            Raw::Map(vec![entry("token", "fedcba9876543210"), entry("name", "ben")]),
        ]);
        let Ok(Value::Tokens(tokens)) = parse(Kind::Tokens, &raw) else { panic!("valid tokens") };
        let pairs: Vec<_> = tokens.iter().map(|token| (token.name.as_str(), token.token.expose())).collect();
        assert_eq!(pairs, [("ana", "0123456789abcdef"), ("ben", "fedcba9876543210")]);
    }

    #[test]
    fn a_wrong_token_is_refused_without_being_repeated() {
        for text in [
            "SECRETSECRETSECRET",
            "ana:SECRET",
            "ana:SECRETSECRETSECRET,ana:SECRETSECRETSECRET2",
            "ana:SECRETSECRETSECRET,ben:SECRETSECRETSECRET",
            ":SECRETSECRETSECRET",
            "a na:SECRETSECRETSECRET",
            "ana:SECRETSECRET:SECRET",
            "ana:SECRETSECRETSECRET,",
        ] {
            let error = of(Kind::Tokens, text).unwrap_err();
            assert!(error.contains("name:token") && !error.contains("SECRET"), "{text}: {error}");
        }
    }
}
