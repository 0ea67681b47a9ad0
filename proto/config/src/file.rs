//! File: which configuration file is read, and what raw values it holds on which lines.
//!
//! Values stay text until their key says what they are, so that `release: 1.10` is not the number 1.1. Anchors and
//! aliases are refused: what a key is should be readable where it stands.

mod yaml;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::Mistake;
use crate::inputs::Inputs;
use crate::load::Origin;
use crate::parse;
use crate::paths::Paths;
use crate::raw::{Entry, Raw, Setting, quoted};
use crate::settings::{self, SECTIONS};
use crate::suggest;

/// The variable that names the configuration file.
pub(crate) const FILE_ENV: &str = "CONEXUS_CONFIG_FILE";

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// What was found in the first file that there is.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) path: Option<PathBuf>,
    pub(crate) settings: Vec<Setting>,
    pub(crate) mistakes: Vec<Mistake>,
}

/// Reads the file that the command line or the environment names, which must exist, or else the first of the user's
/// and the system's that does.
pub(crate) fn read(inputs: &Inputs, paths: &Paths) -> Found {
    let failed = |origin: Option<Origin>, message: String| Found {
        mistakes: vec![Mistake::new(origin, None, message)],
        ..Found::default()
    };
    let named = match (&inputs.config_file, inputs.var(FILE_ENV)) {
        (Some(path), _) => Some((path.clone(), "--config".to_owned())),
        (None, Some(text)) => match parse::absolute_path(text, paths.home()) {
            Ok(path) => Some((path, FILE_ENV.to_owned())),
            Err(reason) => {
                let origin = Origin::Env(FILE_ENV.into());
                return failed(Some(origin), format!("is {}: {reason}", quoted(&text.to_string_lossy())));
            }
        },
        (None, None) => None,
    };
    if let Some((path, by)) = named {
        return match read_text(&path) {
            Ok(text) => parse_text(&path, &text),
            Err(reason) => failed(
                None,
                format!("{}: cannot read the configuration file that {by} names: {reason}", path.display()),
            ),
        };
    }
    for path in paths.config_file().into_iter().chain([inputs.machine.system_file.clone()]) {
        match read_text(&path) {
            Ok(text) => return parse_text(&path, &text),
            Err(Unreadable::Io(error)) if is_absent(&error) => {}
            Err(reason) => {
                return failed(None, format!("{}: cannot read the configuration file: {reason}", path.display()));
            }
        }
    }
    Found::default()
}

#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("{0}")]
    Io(io::Error),
    #[error("it is larger than {} KiB", FILE_MAX >> 10)]
    TooLarge,
    #[error("line {0} is not valid UTF-8")]
    NotUtf8(usize),
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read_text(path: &Path) -> Result<String, Unreadable> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Unreadable::Io)?;
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(Unreadable::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Unreadable::NotUtf8(1 + valid.iter().filter(|&&byte| byte == b'\n').count())
    })
}

fn parse_text(path: &Path, text: &str) -> Found {
    let mut found = Found { path: Some(path.to_owned()), ..Found::default() };
    let (root, faults) = yaml::read(text);
    let mut walk = Walk { path, found: &mut found };
    for fault in faults {
        walk.mistake(fault.line, None, fault.message);
    }
    match root {
        Raw::Null => {}
        Raw::Map(entries) => walk.section("", entries),
        Raw::List(_) | Raw::Scalar(_) => {
            walk.mistake(1, None, "must be a mapping of sections, such as \"server:\"".into())
        }
    }
    found
}

/// A walk through the mappings of a file that collects settings and mistakes.
struct Walk<'a> {
    path: &'a Path,
    found: &'a mut Found,
}

impl Walk<'_> {
    fn section(&mut self, prefix: &str, entries: Vec<Entry>) {
        for Entry { key: name, line, value } in entries {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let dotted = name.contains('.');
            if let Some(key) = settings::key(&path).filter(|_| !dotted) {
                if value != Raw::Null {
                    let origin = self.origin(line);
                    self.found.settings.push(Setting { key, raw: value, origin });
                }
            } else if !dotted && SECTIONS.iter().any(|section| section.path == path) {
                match value {
                    Raw::Map(entries) => self.section(&path, entries),
                    Raw::Null => {}
                    Raw::List(_) | Raw::Scalar(_) => {
                        self.mistake(
                            line,
                            None,
                            format!("{path} must be a mapping of keys, such as \"{}:\"", first_key(&path)),
                        );
                    }
                }
            } else {
                self.mistake(line, None, unknown_key(&path, dotted));
            }
        }
    }

    fn origin(&self, line: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line }
    }

    fn mistake(&mut self, line: usize, key: Option<&'static str>, message: String) {
        let origin = self.origin(line);
        self.found.mistakes.push(Mistake::new(Some(origin), key, message));
    }
}

fn first_key(section: &str) -> &'static str {
    let found = SECTIONS.iter().find(|known| known.path == section).and_then(|section| section.keys.first());
    found.map_or("enabled", |key| key.name())
}

/// What to say about a key that is not in the table. Its value is not repeated: it may be a secret under a mistyped name.
pub(crate) fn unknown_key(path: &str, dotted: bool) -> String {
    if dotted && settings::key(path).is_some() {
        let nested = path.split('.').map(|part| format!("{part}:")).collect::<Vec<_>>().join(" ");
        return format!("unknown key {}; in the file keys are nested: {nested}", quoted(path));
    }
    let known = SECTIONS.iter().map(|section| section.path).chain(settings::keys().map(|key| key.path));
    match suggest::nearest(path, known) {
        Some(nearest) => format!("unknown key {}; did you mean {nearest}?", quoted(path)),
        None => match siblings(path) {
            Some((section, keys)) => format!("unknown key {}; {section} has {keys}", quoted(path)),
            None => format!("unknown key {}; the sections are {}", quoted(path), top_sections()),
        },
    }
}

/// The longest known section that a path is in, and what that section holds.
fn siblings(path: &str) -> Option<(&'static str, String)> {
    let section = SECTIONS
        .iter()
        .filter(|section| path.strip_prefix(section.path).is_some_and(|rest| rest.starts_with('.')))
        .max_by_key(|section| section.path.len())?;
    let keys = section.keys.iter().map(|key| key.name());
    let inner = SECTIONS.iter().filter_map(|inner| inner.path.strip_prefix(section.path)?.strip_prefix('.'));
    Some((section.path, keys.chain(inner).collect::<Vec<_>>().join(", ")))
}

fn top_sections() -> String {
    SECTIONS.iter().map(|section| section.path).filter(|path| !path.contains('.')).collect::<Vec<_>>().join(", ")
}
