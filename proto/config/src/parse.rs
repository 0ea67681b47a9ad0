//! Parse: a raw value in, a valid value or what is wrong with it out.

pub(crate) mod host;
mod list;
mod quantity;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::key::{Kind, SOCKET_PATH_MAX};
use crate::raw::Raw;
use crate::secret::Secret;
use crate::url::{Dsn, HttpUrl};
use crate::value::Value;

/// What relative paths and `~` refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bases<'a> {
    /// What `~/` stands for.
    pub(crate) home: Option<&'a Path>,
    /// What a relative path is relative to; none in a file.
    pub(crate) relative: Option<&'a Path>,
}

/// Reads a raw value as one of its kind. The error is a fragment such as "must be true or false", which never repeats
/// a secret.
pub(crate) fn parse(kind: Kind, raw: &Raw, bases: Bases<'_>) -> Result<Value, String> {
    if kind.is_list() {
        return list::parse(kind, raw);
    }
    let Raw::Scalar(text) = raw else { return Err(must_be(kind)) };
    match kind {
        Kind::Path | Kind::SocketPath | Kind::WorkingPath => path(kind, text, bases),
        _ => match text.to_str() {
            Some(text) => scalar(kind, text.trim()),
            None => Err(format!("is not valid UTF-8; must be {}", kind.allowed())),
        },
    }
}

fn scalar(kind: Kind, text: &str) -> Result<Value, String> {
    let wrong = || must_be(kind);
    let detailed = |detail: &str| format!("{} ({detail})", must_be(kind));
    match kind {
        Kind::Switch => quantity::switch(text).map(Value::Switch).ok_or_else(wrong),
        Kind::Integer { min, max } => {
            quantity::integer(text).filter(|number| (min..=max).contains(number)).map(Value::Integer).ok_or_else(wrong)
        }
        Kind::Ratio => quantity::ratio(text).map(Value::Ratio).ok_or_else(wrong),
        Kind::Bytes { min, max } => {
            quantity::bytes(text).filter(|bytes| (min..=max).contains(bytes)).map(Value::Bytes).ok_or_else(wrong)
        }
        Kind::Time { min_ms, max_ms } => {
            let allowed = |time: &std::time::Duration| {
                (u128::from(min_ms) * 1_000_000..=u128::from(max_ms) * 1_000_000).contains(&time.as_nanos())
            };
            quantity::duration(text).filter(allowed).map(Value::Time).ok_or_else(wrong)
        }
        Kind::Choice(words) => {
            let word = text.to_ascii_lowercase();
            words.contains(&word.as_str()).then_some(Value::Text(word)).ok_or_else(wrong)
        }
        Kind::Text { max_bytes } => {
            (is_line(text) && text.len() <= max_bytes).then(|| Value::Text(text.to_owned())).ok_or_else(wrong)
        }
        Kind::Host => host::parse(text).map(Value::Text).ok_or_else(wrong),
        Kind::UrlPath => is_url_path(text).then(|| Value::Text(text.to_owned())).ok_or_else(wrong),
        Kind::Url => HttpUrl::parse(text).map(Value::Url).map_err(detailed),
        Kind::Secret => is_line(text).then(|| Value::Secret(Secret::new(text))).ok_or_else(wrong),
        Kind::Dsn => Dsn::parse(text).map(Value::Dsn).map_err(detailed),
        Kind::Hosts
        | Kind::Origins
        | Kind::Globs
        | Kind::Tokens
        | Kind::Path
        | Kind::WorkingPath
        | Kind::SocketPath => Err(wrong()),
    }
}

/// Paths keep bytes that are not UTF-8. `.` and doubled slashes go, `..` stays: only the file system knows what it means.
fn path(kind: Kind, text: &OsStr, bases: Bases<'_>) -> Result<Value, String> {
    if text.is_empty() || text.as_bytes().contains(&0) {
        return Err(must_be(kind));
    }
    let home = home_relative(text);
    if home.is_none() && text.as_bytes().starts_with(b"~") {
        return Err(format!("{}; write ./~ for a name that begins with ~", must_be(kind)));
    }
    let full = match (home, kind, bases.relative) {
        (Some(rest), _, _) => match bases.home {
            Some(home) => home.join(rest),
            None => return Err("begins with ~, and HOME is not set to an absolute path".into()),
        },
        (None, Kind::WorkingPath, _) => PathBuf::from(text),
        (None, _, Some(base)) => base.join(text),
        (None, _, None) if text.as_bytes().starts_with(b"/") => PathBuf::from(text),
        (None, _, None) => {
            return Err(format!("{}: a relative path would mean something else to each process", must_be(kind)));
        }
    };
    let length = full.as_os_str().len();
    if kind == Kind::SocketPath && (length > SOCKET_PATH_MAX || full.file_name().is_none()) {
        return Err(format!("{}; this one has {length}", must_be(kind)));
    }
    Ok(Value::Path(full))
}

/// What follows `~/`, or nothing for `~` itself.
fn home_relative(text: &OsStr) -> Option<&OsStr> {
    match text.as_bytes() {
        b"~" => Some(OsStr::new("")),
        bytes => bytes.strip_prefix(b"~/").map(OsStr::from_bytes),
    }
}

/// A path from outside the table (the configuration file's own): absolute, or below the user's home.
pub(crate) fn absolute_path(text: &OsStr, home: Option<&Path>) -> Result<PathBuf, String> {
    match path(Kind::Path, text, Bases { home, relative: None })? {
        Value::Path(path) => Ok(path),
        _ => Err(must_be(Kind::Path)),
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

fn is_url_path(text: &str) -> bool {
    text.len() > 1
        && text.starts_with('/')
        && !text.contains("//")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._~-".contains(&b))
        && !["/health", "/healthz", "/readyz"].contains(&text.trim_end_matches('/'))
}

fn must_be(kind: Kind) -> String {
    format!("must be {}", kind.allowed())
}
