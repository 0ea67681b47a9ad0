//! Value: a valid setting of any kind, how it becomes a typed field, and how it is written out again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::secret::{MASK, Secret, Token};
use crate::url::{Dsn, HttpUrl};

/// A valid value, as [`crate::Kind`] has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Switch(bool),
    Integer(u64),
    Ratio(f64),
    Bytes(u64),
    Time(Duration),
    Text(String),
    List(Vec<String>),
    Path(PathBuf),
    Url(HttpUrl),
    Secret(Secret),
    Dsn(Dsn),
    Tokens(Vec<Token>),
}

/// Valid values by key path.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Values(BTreeMap<&'static str, Value>);

impl Values {
    pub(crate) fn set(&mut self, path: &'static str, value: Value) {
        self.0.insert(path, value);
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Value> {
        self.0.get(path)
    }

    pub(crate) fn is_word(&self, path: &str, word: &str) -> bool {
        matches!(self.get(path), Some(Value::Text(text)) if text == word)
    }

    /// The typed field for a key. The table gives every key that is no `Option` a default, and every kind the bounds
    /// of its field's type; a test builds a `Config` at both ends of every range.
    pub(crate) fn field<T: Field>(&self, path: &str) -> T {
        match self.get(path) {
            Some(value) => T::from_value(value).expect("the kind of a key fits the type of its field"),
            None => T::absent().expect("a key that is no Option has a default"),
        }
    }
}

/// A type that a setting can have in the typed configuration.
pub(crate) trait Field: Sized {
    fn from_value(value: &Value) -> Option<Self>;

    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Field> Field for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        T::from_value(value).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

macro_rules! field {
    ($($ty:ty: $pattern:pat => $result:expr;)+) => { $(
        impl Field for $ty {
            fn from_value(value: &Value) -> Option<Self> {
                match value { $pattern => $result, _ => None }
            }
        }
    )+ };
}

field! {
    bool: Value::Switch(on) => Some(*on);
    u16: Value::Integer(number) => u16::try_from(*number).ok();
    u32: Value::Integer(number) => u32::try_from(*number).ok();
    usize: Value::Integer(number) => usize::try_from(*number).ok();
    u64: Value::Bytes(bytes) => Some(*bytes);
    f64: Value::Ratio(ratio) => Some(*ratio);
    Duration: Value::Time(time) => Some(*time);
    String: Value::Text(text) => Some(text.clone());
    Vec<String>: Value::List(items) => Some(items.clone());
    PathBuf: Value::Path(path) => Some(path.clone());
    HttpUrl: Value::Url(url) => Some(url.clone());
    Secret: Value::Secret(secret) => Some(secret.clone());
    Dsn: Value::Dsn(dsn) => Some(dsn.clone());
    Vec<Token>: Value::Tokens(tokens) => Some(tokens.clone());
}

impl Value {
    /// The value as JSON, secrets masked. Sizes and times are text with their unit.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Switch(on) => json!(on),
            Value::Integer(number) => json!(number),
            Value::Ratio(ratio) => json!(ratio),
            Value::Bytes(bytes) => json!(bytes_text(*bytes)),
            Value::Time(time) => json!(duration_text(*time)),
            Value::Text(text) => json!(text),
            Value::List(items) => json!(items),
            Value::Path(path) => json!(path.to_string_lossy()),
            Value::Url(url) => json!(url.to_string()),
            Value::Secret(_) => json!(MASK),
            Value::Dsn(dsn) => json!(dsn.to_string()),
            Value::Tokens(tokens) => tokens.iter().map(|token| json!(token.to_string())).collect(),
        }
    }

    /// The value as YAML on one line, secrets masked.
    pub(crate) fn to_yaml(&self) -> String {
        match self {
            Value::Bytes(_) | Value::Time(_) => self.to_json().as_str().unwrap_or_default().to_owned(),
            _ => yaml_flow(&self.to_json()),
        }
    }
}

fn yaml_flow(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) if is_plain(text) => text.clone(),
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(yaml_flow).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Whether every YAML reader takes the bare text as a string: nothing that could be a number, a switch, null or syntax.
fn is_plain(text: &str) -> bool {
    const WORDS: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let first_ok = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') || text == ".";
    let address = text.parse::<std::net::Ipv4Addr>().is_ok();
    (first_ok || address)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./:-".contains(c))
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// A number of bytes in the largest binary unit that divides it: `64 MiB`, `1000 B`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    const UNITS: &[(&str, u64)] = &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes > 0 && bytes.is_multiple_of(*size)) {
        Some((unit, size)) => format!("{} {unit}", bytes / size),
        None => format!("{bytes} B"),
    }
}

/// A length of time without loss, in the units that it needs: `30s`, `1m30s`, `250ms`, `0s`.
pub(crate) fn duration_text(time: Duration) -> String {
    const UNITS: &[(&str, u128)] = &[
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let mut rest = time.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in UNITS {
        if rest >= *nanos {
            text.push_str(&format!("{}{unit}", rest / nanos));
            rest %= nanos;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}
