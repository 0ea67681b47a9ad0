//! Configuration: which of the settings does the sidecar use?
//!
//! The schema, its sources and its checks are `conexus_config`'s; this is the only place that maps its keys to what
//! the sidecar's parts need.

use std::path::{Path, PathBuf};

use conexus_config::settings::{Sentry, Tracing};
use conexus_config::{Config, ConfigErrors, Flag, Inputs, LogFormat, LogLevel};

use crate::export::logs;

/// Where settings come from, on the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Settings {
    /// Read this configuration file (default: CONEXUS_CONFIG_FILE, the user's, /etc/conexus/config.yml)
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set a key, over the file and the environment: --set observability.metrics.port=0
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// What the sidecar's parts need.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// `observability.metrics.enabled`: without it the port has only the health endpoints.
    pub metrics_enabled: bool,
    /// `observability.metrics.host`
    pub metrics_host: String,
    /// `observability.metrics.port`; 0 takes any free one.
    pub metrics_port: u16,
    /// `observability.metrics.path`
    pub metrics_path: String,
    /// `observability.metrics.go_compat`
    pub go_compat: bool,
    /// `observability.telemetry.socket`
    pub socket: PathBuf,
    /// `observability.telemetry.state_dir`
    pub state_dir: PathBuf,
    /// `observability.tracing`, if traces are exported.
    pub tracing: Option<Tracing>,
    /// `observability.sentry`, if errors are reported.
    pub sentry: Option<Sentry>,
    /// `observability.log_dir` and what bounds the files in it.
    pub logs: logs::Limits,
    /// `observability.telemetry.spool_max_bytes`
    pub spool_max_bytes: u64,
    /// `observability.log_level`
    pub log_level: LogLevel,
    /// `observability.log_format`
    pub log_format: LogFormat,
    /// `observability.debug.port` plus 1 (0 stays 0), if `observability.debug.enabled`
    pub debug_port: Option<u16>,
    /// What is odd in the configuration and was ignored.
    pub warnings: Vec<String>,
}

impl Options {
    /// The sidecar's part of a configuration.
    pub fn new(config: &Config, warnings: Vec<String>) -> Self {
        let observability = &config.observability;
        Self {
            metrics_enabled: observability.metrics.enabled,
            metrics_host: observability.metrics.host.clone(),
            metrics_port: observability.metrics.port,
            metrics_path: observability.metrics.path.clone(),
            go_compat: observability.metrics.go_compat,
            socket: observability.telemetry.socket.clone(),
            state_dir: observability.telemetry.state_dir.clone(),
            tracing: observability.tracing.enabled.then(|| observability.tracing.clone()),
            sentry: observability.sentry.enabled.then(|| observability.sentry.clone()),
            logs: logs::Limits {
                folder: observability.log_dir.clone(),
                rotation: observability.log_rotation,
                files_max: observability.log_max_files,
                bytes_max: observability.log_max_bytes,
            },
            spool_max_bytes: observability.telemetry.spool_max_bytes,
            log_level: observability.log_level,
            log_format: observability.log_format,
            debug_port: observability.debug.enabled.then(|| next_port(observability.debug.port)),
            warnings,
        }
    }

    /// Everything below a folder and any free port, nothing from the environment: for tests.
    pub fn below(folder: &Path) -> Result<Self, ConfigErrors> {
        Self::below_with(folder, &[])
    }

    /// The same, with keys set to values.
    pub fn below_with(folder: &Path, settings: &[(&'static str, &str)]) -> Result<Self, ConfigErrors> {
        let inputs = Inputs::below(folder)
            .flag("observability.metrics.port", "--set", "0")
            .flag("observability.telemetry.socket", "--set", folder.join("run/telemetry.sock"))
            .flag("observability.telemetry.state_dir", "--set", folder.join("state"));
        let inputs = settings.iter().fold(inputs, |inputs, (key, value)| inputs.flag(key, "--set", value));
        conexus_config::load(&inputs).map(|loaded| Self::new(&loaded.config, loaded.warnings))
    }
}

/// The port beside conexusd's; after the last one comes any that is free, as for 0.
fn next_port(port: u16) -> u16 {
    if port == 0 { 0 } else { port.checked_add(1).unwrap_or(0) }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `--set` without a key and a value.
    #[error("--set {0:?}: KEY=VALUE is needed, like observability.metrics.port=9091")]
    Set(String),
    /// The configuration is not valid.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

impl ConfigError {
    /// How the error is to be written.
    pub fn log_format(&self) -> LogFormat {
        match self {
            Self::Set(_) => LogFormat::Json,
            Self::Invalid(errors) => errors.log_format(),
        }
    }
}

/// Reads the configuration from the command line, the environment and the file.
pub fn load(settings: &Settings) -> Result<Options, ConfigError> {
    let flags = settings
        .set
        .iter()
        .map(|set| match set.split_once('=') {
            Some((key, value)) => Ok(Flag::new(key.trim(), format!("--set {key}"), value)),
            None => Err(ConfigError::Set(set.clone())),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let loaded = conexus_config::load(&Inputs::from_process(flags, settings.config.clone()))?;
    Ok(Options::new(&loaded.config, loaded.warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_below_a_folder_touch_nothing_outside_it() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::below(folder.path()).unwrap();
        assert!(options.socket.starts_with(folder.path()) && options.state_dir.starts_with(folder.path()));
        assert_eq!((options.metrics_port, options.metrics_host.as_str()), (0, "127.0.0.1"));
    }

    #[test]
    fn a_setting_without_a_value_is_shown_with_an_example() {
        let settings = Settings { config: None, set: vec!["observability.metrics.port".into()] };
        let error = load(&settings).unwrap_err().to_string();
        assert!(error.contains("KEY=VALUE") && error.contains("observability.metrics.port"), "{error}");
    }

    #[test]
    fn a_wrong_key_and_a_wrong_value_are_both_named() {
        let set = vec!["observability.metrics.prot=1".into(), "observability.metrics.port=x".into()];
        let error = load(&Settings { config: None, set }).unwrap_err().to_string();
        assert!(
            error.contains("observability.metrics.prot") && error.contains("observability.metrics.port is"),
            "{error}"
        );
    }
}
