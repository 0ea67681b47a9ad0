//! Load: the inputs in, a valid configuration with the origin of every value out, or every mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{ConfigErrors, Mistake};
use crate::inputs::{Flag, Inputs};
use crate::key::{DefaultValue, Key, Surroundings};
use crate::parse::{self, Bases};
use crate::paths::Paths;
use crate::raw::{Raw, Setting};
use crate::settings::{self, Config};
use crate::value::{Value, Values};
use crate::{env, file, rules};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line of the key, counted from 1.
        line: usize,
    },
    /// The environment variable of this name.
    Env(String),
    /// The flag of this name.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Env(name) => write!(f, "environment {}", name.escape_debug()),
            Origin::Flag(name) => write!(f, "flag {}", name.escape_debug()),
        }
    }
}

/// A valid configuration and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where the value of each key comes from; every key is there.
    pub origins: BTreeMap<&'static str, Origin>,
    /// What is odd and was ignored; each on one line, to be logged.
    pub warnings: Vec<String>,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    pub(crate) values: Values,
}

/// Makes the configuration: flags before environment before file before defaults. Every source is checked whole, also
/// where a later one overrides it, and all mistakes are reported together.
pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigErrors> {
    let paths = Paths::new(inputs);
    let file = file::read(inputs, &paths);
    let env = env::read(inputs);
    let (flags, flag_mistakes) = flags(&inputs.flags);

    let mut merge = Merge { mistakes: flag_mistakes, ..Merge::default() };
    merge.mistakes.extend(env.mistakes);
    merge.mistakes.extend(file.mistakes);
    let bases = |relative| Bases { home: paths.home(), relative };
    let working_dir: Option<&Path> = inputs.machine.working_dir.as_deref();
    // The least important first: what comes later replaces.
    merge.apply(file.settings, bases(None));
    merge.apply(env.settings, bases(working_dir));
    merge.apply(flags, bases(working_dir));
    merge.fill(&paths, inputs.machine.cores);

    let config = Config::from_values(&merge.values);
    let mut warnings = env.warnings;
    rules::check(&config, &merge.origins, &merge.bad, &mut merge.mistakes, &mut warnings);
    if merge.mistakes.is_empty() {
        return Ok(Loaded { config, origins: merge.origins, warnings, file: file.path, values: merge.values });
    }
    let Merge { mut mistakes, .. } = merge;
    mistakes.sort_by_key(|mistake| rank(mistake.origin.as_ref()));
    Err(ConfigErrors { mistakes, warnings, log_format: config.observability.log_format })
}

/// The order in which mistakes are listed. Those of a file stand in the order of its lines.
fn rank(origin: Option<&Origin>) -> (u8, usize) {
    match origin {
        Some(Origin::Flag(_)) => (0, 0),
        Some(Origin::Env(_)) => (1, 0),
        Some(Origin::File { line, .. }) => (2, *line),
        None => (3, 0),
        Some(Origin::Default) => (4, 0),
    }
}

fn flags(flags: &[Flag]) -> (Vec<Setting>, Vec<Mistake>) {
    let (mut settings, mut mistakes) = (Vec::new(), Vec::new());
    for flag in flags {
        let origin = Origin::Flag(flag.name.clone());
        match settings::key(&flag.key) {
            Some(key) => settings.push(Setting { key, raw: Raw::Scalar(flag.value.clone()), origin }),
            None => mistakes.push(Mistake::new(Some(origin), None, file::unknown_key(&flag.key, false))),
        }
    }
    (settings, mistakes)
}

/// Values as they are put together.
#[derive(Default)]
struct Merge {
    values: Values,
    origins: BTreeMap<&'static str, Origin>,
    /// Keys whose value somewhere is wrong: rules that read them say nothing more.
    bad: BTreeSet<&'static str>,
    mistakes: Vec<Mistake>,
}

impl Merge {
    fn apply(&mut self, settings: Vec<Setting>, bases: Bases<'_>) {
        for Setting { key, raw, origin } in settings {
            match parse::parse(key.kind, &raw, bases) {
                Ok(value) => {
                    self.values.set(key.path, value);
                    self.origins.insert(key.path, origin);
                }
                Err(reason) => {
                    let message = format!("{} is {}: {reason}", key.path, raw.shown(key.kind));
                    self.bad.insert(key.path);
                    self.mistakes.push(Mistake::new(Some(origin), Some(key.path), message));
                }
            }
        }
    }

    /// Gives every key that nobody set its default: the constant ones first, since the others may depend on them.
    fn fill(&mut self, paths: &Paths, cores: usize) {
        let derived_last = |key: &&Key| matches!(key.default, DefaultValue::Derived(..));
        let (derived, constant): (Vec<&Key>, Vec<&Key>) = settings::keys().partition(derived_last);
        for key in constant.into_iter().chain(derived) {
            if self.origins.contains_key(key.path) {
                continue;
            }
            self.origins.insert(key.path, Origin::Default);
            match default_of(key, &Surroundings { paths, cores, values: &self.values }) {
                Ok(Some(value)) => self.values.set(key.path, value),
                Ok(None) => {}
                // The typed configuration is made only to check the rest; it is never handed out.
                Err(reason) => {
                    self.values.set(key.path, Value::Path(PathBuf::new()));
                    if self.bad.insert(key.path) {
                        let message = format!("{} {reason}", key.path);
                        self.mistakes.push(Mistake::new(Some(Origin::Default), Some(key.path), message));
                    }
                }
            }
        }
    }
}

/// The default of a key. Only a derived path can fail.
pub(crate) fn default_of(key: &Key, surroundings: &Surroundings<'_>) -> Result<Option<Value>, String> {
    match key.default {
        DefaultValue::Unset => Ok(None),
        DefaultValue::Is(text) => Ok(Some(constant(key, text))),
        DefaultValue::Derived(_, derive) => {
            let value = derive(surroundings)?;
            match &value {
                Some(Value::Path(path)) => {
                    let raw = Raw::Scalar(path.clone().into_os_string());
                    parse::parse(key.kind, &raw, Bases { home: None, relative: None })
                        .map(Some)
                        .map_err(|reason| format!("would be {}: {reason}", raw.shown(key.kind)))
                }
                _ => Ok(value),
            }
        }
    }
}

/// A default that stands in the table.
pub(crate) fn constant(key: &Key, text: &str) -> Value {
    parse::parse(key.kind, &Raw::Scalar(text.into()), Bases { home: None, relative: None })
        .expect("a default that stands in the table is valid")
}
