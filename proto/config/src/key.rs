//! Key: what is said about one setting, and what values each kind of setting takes.

use crate::paths::Paths;
use crate::value::{Value, Values};

/// One setting: its path, what it takes, and the words that every reference prints about it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted path, as in the file: `server.port`.
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: DefaultValue,
    pub(crate) doc: &'static str,
    pub(crate) short_env: Option<&'static str>,
    pub(crate) example: Option<&'static str>,
}

/// A mapping of the file: its own keys and a sentence about them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    pub(crate) path: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [Key],
}

/// What a key is when nobody sets it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DefaultValue {
    /// The text that a file would hold.
    Is(&'static str),
    /// Nothing: the typed field is an `Option`.
    Unset,
    /// Worked out at start, once everything that somebody set is known: the words for the reference, and the function
    /// that does it.
    Derived(&'static str, fn(&Surroundings<'_>) -> Result<Option<Value>, String>),
}

/// What a derived default may depend on.
pub(crate) struct Surroundings<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) cores: usize,
    /// What somebody set.
    pub(crate) values: &'a Values,
}

/// What values a key takes. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Integer {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A number from 0 to 1.
    Ratio,
    /// A number of bytes, with or without a unit.
    Bytes {
        /// The smallest, in bytes.
        min: u64,
        /// The largest, in bytes.
        max: u64,
    },
    /// A length of time with its unit.
    Time {
        /// The shortest, in milliseconds.
        min_ms: u64,
        /// The longest, in milliseconds.
        max_ms: u64,
    },
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// One line of text.
    Text {
        /// The longest, in bytes.
        max_bytes: usize,
    },
    /// A host name or an IP address.
    Host,
    /// Host names or addresses, each with or without a port.
    Hosts,
    /// Browser origins, `scheme://host`, each with or without a port.
    Origins,
    /// Globs over paths relative to the root.
    Globs,
    /// A path. A relative one is refused in the file, where its meaning would depend on who reads it.
    Path,
    /// A path that may be relative to the working directory, wherever it is written.
    WorkingPath,
    /// The path of a Unix socket.
    SocketPath,
    /// The path part of a URL that this process serves.
    UrlPath,
    /// An `http` or `https` URL.
    Url,
    /// A secret text.
    Secret,
    /// A Sentry DSN.
    Dsn,
    /// Named bearer tokens.
    Tokens,
}

/// The longest path of a Unix socket, in bytes: `sun_path` on Linux less its terminating zero.
pub(crate) const SOCKET_PATH_MAX: usize = 107;

/// The shortest bearer token, in characters.
pub(crate) const TOKEN_MIN: usize = 16;

impl Kind {
    /// What is allowed, to follow the words "must be".
    pub fn allowed(&self) -> String {
        match *self {
            Kind::Switch => "true or false".into(),
            Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Ratio => "a number from 0 to 1".into(),
            Kind::Bytes { min, max } => {
                format!(
                    "a size from {} to {} (such as 64 MiB)",
                    crate::value::bytes_text(min),
                    crate::value::bytes_text(max)
                )
            }
            Kind::Time { min_ms, max_ms } => {
                let text = |ms| crate::value::duration_text(std::time::Duration::from_millis(ms));
                format!("a time from {} to {} with its unit (such as 250ms, 30s or 1m)", text(min_ms), text(max_ms))
            }
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::Text { max_bytes } => format!("one line of text of 1 to {max_bytes} bytes"),
            Kind::Host => "a host name or an IP address".into(),
            Kind::Hosts => "a list of at least one host name or IP address, each with or without a port".into(),
            Kind::Origins => "a list of origins (such as https://app.example.com:443 or http://localhost:*)".into(),
            Kind::Globs => "a list of globs (such as src/** or *.{rs,py})".into(),
            Kind::Path => "an absolute path or one that starts with ~/".into(),
            Kind::WorkingPath => "a path".into(),
            Kind::SocketPath => {
                format!("an absolute path or one that starts with ~/, of at most {SOCKET_PATH_MAX} bytes")
            }
            Kind::UrlPath => "a path that starts with / and is not /health, /healthz or /readyz".into(),
            Kind::Url => "an http:// or https:// URL with a host and without query or fragment".into(),
            Kind::Secret => "one line of text".into(),
            Kind::Dsn => "a Sentry DSN (https://KEY@HOST/PROJECT)".into(),
            Kind::Tokens => format!(
                "a list of name:token, where a token has at least {TOKEN_MIN} characters of A-Z a-z 0-9 - . _ ~ + / ="
            ),
        }
    }

    /// Whether values of this kind are hidden wherever they would be shown.
    pub fn is_secret(&self) -> bool {
        matches!(self, Kind::Secret | Kind::Tokens | Kind::Dsn)
    }

    /// Whether the value is a list; in the environment and in flags its items are separated by commas.
    pub fn is_list(&self) -> bool {
        matches!(self, Kind::Hosts | Kind::Origins | Kind::Globs | Kind::Tokens)
    }
}

impl Key {
    pub(crate) const fn new(path: &'static str, doc: &'static str, kind: Kind, default: DefaultValue) -> Self {
        Key { path, kind, default, doc, short_env: None, example: None }
    }

    /// The name kept from the original server, accepted beside the regular one.
    pub(crate) const fn short_env(mut self, name: &'static str) -> Self {
        self.short_env = Some(name);
        self
    }

    /// What the default file shows, commented out, for a key without a constant default.
    pub(crate) const fn example(mut self, text: &'static str) -> Self {
        self.example = Some(text);
        self
    }

    /// Dotted path, as in the file: `server.port`.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// What values the key takes.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the key does, in a sentence or two.
    pub fn doc(&self) -> String {
        self.doc.trim().to_owned()
    }

    /// The default as the file would hold it, where it is a constant.
    pub fn default_text(&self) -> Option<&'static str> {
        match self.default {
            DefaultValue::Is(text) => Some(text),
            DefaultValue::Unset | DefaultValue::Derived(..) => None,
        }
    }

    /// The last part of the path: `port`.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The regular environment name: `CONEXUS_` and the path in upper case without `observability.`.
    pub fn env_name(&self) -> String {
        let path = self.path.strip_prefix("observability.").unwrap_or(self.path);
        format!("CONEXUS_{}", path.replace('.', "_").to_ascii_uppercase())
    }

    /// Every environment name that sets the key, the regular one first.
    pub fn env_names(&self) -> Vec<String> {
        std::iter::once(self.env_name()).chain(self.short_env.map(str::to_owned)).collect()
    }
}
