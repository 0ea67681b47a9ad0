//! Environment: which variables set which keys, and which belong to someone else.
//!
//! A variable that is set to nothing counts as not set, as in a compose file with `${PORT:-}`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::error::Mistake;
use crate::file::FILE_ENV;
use crate::inputs::Inputs;
use crate::key::Key;
use crate::load::Origin;
use crate::raw::{Raw, Setting};
use crate::{settings, suggest};

const PREFIX: &str = "CONEXUS_";

/// What the environment says.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) settings: Vec<Setting>,
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) warnings: Vec<String>,
}

/// Reads every variable that begins with `CONEXUS_`.
pub(crate) fn read(inputs: &Inputs) -> Found {
    let names: BTreeMap<String, &'static Key> =
        settings::keys().flat_map(|key| key.env_names().into_iter().map(move |name| (name, key))).collect();
    let mut found = Found::default();
    let mut variables: BTreeMap<&OsString, &OsString> = BTreeMap::new();
    for (name, value) in inputs.env.iter().filter(|(name, _)| name.as_bytes().starts_with(PREFIX.as_bytes())) {
        variables.entry(name).or_insert(value);
    }
    for (name, value) in variables {
        let shown = name.to_string_lossy();
        let known = name.to_str().and_then(|name| names.get(name).copied());
        if is_from_kubernetes(&shown, value, known.is_some()) {
            let origin = Origin::Env(shown.to_string());
            found.warnings.push(format!("{origin}: ignored, because Kubernetes sets it for a service"));
        } else if let Some(key) = known {
            if !value.is_empty() {
                found.add(key, &shown, value);
            }
        } else if shown != FILE_ENV {
            let origin = Origin::Env(shown.to_string());
            found.mistakes.push(Mistake::new(Some(origin), None, unknown(&shown, &names)));
        }
    }
    found
}

impl Found {
    /// Adds a setting unless the key's other name says something else.
    fn add(&mut self, key: &'static Key, name: &str, value: &OsStr) {
        let raw = Raw::Scalar(value.to_owned());
        let origin = Origin::Env(name.to_owned());
        match self.settings.iter().find(|setting| setting.key.path == key.path) {
            Some(other) if other.raw != raw => {
                let message = format!(
                    "{} is {}, but {} says {}; set one of them",
                    key.path,
                    raw.shown(key.kind),
                    other.origin,
                    other.raw.shown(key.kind)
                );
                self.mistakes.push(Mistake::new(Some(origin), Some(key.path), message));
            }
            Some(_) => {}
            None => self.settings.push(Setting { key, raw, origin }),
        }
    }
}

/// Whether a variable is one that Kubernetes injects for a service whose name begins with `conexus`: addresses in
/// `*_PORT` (known as a key or not), `*_SERVICE_*` and `*_PORT_*`.
fn is_from_kubernetes(name: &str, value: &OsStr, known: bool) -> bool {
    let address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.as_bytes().starts_with(scheme.as_bytes()));
    let rest = name.strip_prefix("CONEXUS").unwrap_or_default();
    (name.ends_with("_PORT") && address) || (!known && (rest.contains("_SERVICE_") || rest.contains("_PORT_")))
}

/// What to say about an unknown variable. Its value is not repeated: it may be a secret under a mistyped name.
fn unknown(name: &str, names: &BTreeMap<String, &'static Key>) -> String {
    let known = names.keys().map(String::as_str).chain([FILE_ENV]);
    let hint = match suggest::nearest(name, known) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("every variable that begins with {PREFIX} must set a key"),
    };
    format!("unknown variable; {hint}")
}
