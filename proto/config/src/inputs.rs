//! Inputs: everything outside the program that a configuration is made from, gathered once.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// One setting given on the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// The key that it sets: `indexer.root_path`.
    pub key: String,
    /// The flag as the user typed it, for messages: `--root`.
    pub name: String,
    /// The value as the user typed it.
    pub value: OsString,
}

impl Flag {
    /// A flag `name` that sets `key`.
    pub fn new(key: impl Into<String>, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        Flag { key: key.into(), name: name.into(), value: value.into() }
    }
}

/// What defaults depend on besides the environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// The effective user id.
    pub uid: u32,
    /// Cores that this process may use.
    pub cores: usize,
    /// What relative paths of flags and environment variables are relative to.
    pub working_dir: Option<PathBuf>,
    /// The file that is read when the user has none.
    pub system_file: PathBuf,
}

/// Everything that [`crate::load`] reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Settings of the command line. Of two for one key the later counts.
    pub flags: Vec<Flag>,
    /// The file that the command line names (`--config`); it must exist.
    pub config_file: Option<PathBuf>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The machine.
    pub machine: Machine,
}

impl Inputs {
    /// The inputs of this process. Nothing else in the program reads the environment.
    pub fn from_process(flags: Vec<Flag>, config_file: Option<PathBuf>) -> Self {
        let machine = Machine {
            uid: rustix::process::geteuid().as_raw(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            working_dir: std::env::current_dir().ok(),
            system_file: "/etc/conexus/config.yml".into(),
        };
        Inputs { flags, config_file, env: std::env::vars_os().collect(), machine }
    }

    /// Inputs that depend on nothing but a folder: it is the user's home, and holds runtime and temporary files too.
    /// For tests and tools that must not see the user's own settings.
    pub fn below(folder: &Path) -> Self {
        let machine = Machine {
            uid: rustix::process::geteuid().as_raw(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            working_dir: Some(folder.to_owned()),
            system_file: folder.join("etc/conexus/config.yml"),
        };
        let env = ["HOME", "XDG_RUNTIME_DIR", "TMPDIR"].map(|name| (name.into(), folder.into())).to_vec();
        Inputs { flags: Vec::new(), config_file: None, env, machine }
    }

    /// Adds a flag.
    pub fn flag(mut self, key: &str, name: &str, value: impl Into<OsString>) -> Self {
        self.flags.push(Flag::new(key, name, value));
        self
    }

    /// The value of an environment variable, if it is set and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<&OsStr> {
        let value = self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())?;
        (!value.is_empty()).then_some(value)
    }
}
