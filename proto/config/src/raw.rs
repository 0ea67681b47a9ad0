//! Raw value: what a file, the environment or a flag holds, before anyone asks whether it is allowed.

use std::ffi::OsString;

use crate::key::{Key, Kind};
use crate::load::Origin;
use crate::secret::MASK;

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    /// Nothing after the colon, `~` or `null`.
    Null,
    Scalar(OsString),
    List(Vec<Raw>),
    Map(Vec<Entry>),
}

/// One key of a mapping in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) value: Raw,
}

/// A raw value for a known key.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) key: &'static Key,
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
}

/// The most characters of a wrong value that a message repeats.
const SHOWN_MAX: usize = 120;

impl Raw {
    /// The value on one line for a message about a key of this kind: quoted, escaped, cut, and masked where it may
    /// hold a secret.
    pub(crate) fn shown(&self, kind: Kind) -> String {
        if kind.is_secret() {
            return MASK.into();
        }
        match self {
            Raw::Null => "nothing".into(),
            Raw::List(_) => "a list".into(),
            Raw::Map(_) => "a mapping".into(),
            Raw::Scalar(text) => match (kind, text.to_string_lossy().rsplit_once('@')) {
                (Kind::Url, Some((_, rest))) => quoted(&format!("{MASK}@{rest}")),
                _ => quoted(&text.to_string_lossy()),
            },
        }
    }
}

/// Text in double quotes, cut to a readable length, with nothing in it that a terminal would obey.
pub(crate) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", cut.escape_debug())
}
