//! Configuration: which of the settings does the sidecar use?
//!
//! The schema, its sources and its checks are `conexus_config`'s; this is the only place that maps its keys to what
//! the sidecar's parts need.

use std::path::{Path, PathBuf};

use crate::log::{LogFormat, LogLevel};

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
    /// `observability.log_level`
    pub log_level: LogLevel,
    /// `observability.log_format`
    pub log_format: LogFormat,
    /// What is odd in the configuration and was ignored.
    pub warnings: Vec<String>,
}

impl Options {
    /// Everything below a folder, and any free port: for tests.
    pub fn below(folder: &Path) -> Self {
        Self {
            metrics_enabled: true,
            metrics_host: "127.0.0.1".into(),
            metrics_port: 0,
            metrics_path: "/metrics".into(),
            go_compat: true,
            socket: folder.join("telemetry.sock"),
            state_dir: folder.join("state"),
            log_level: LogLevel::default(),
            log_format: LogFormat::default(),
            warnings: Vec::new(),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `--set` without a key and a value.
    #[error("--set {0:?}: KEY=VALUE is needed, like observability.metrics.port=9091")]
    Set(String),
}

impl ConfigError {
    /// How the error is to be written.
    pub fn log_format(&self) -> LogFormat {
        LogFormat::default()
    }
}

/// Reads the configuration.
pub fn load(settings: &Settings) -> Result<Options, ConfigError> {
    let mut options = Options::below(&std::env::temp_dir().join("conexus"));
    for set in &settings.set {
        let (key, value) = set.split_once('=').ok_or_else(|| ConfigError::Set(set.clone()))?;
        match key {
            "observability.metrics.port" => {
                options.metrics_port = value.parse().map_err(|_| ConfigError::Set(set.clone()))?
            }
            "observability.telemetry.socket" => options.socket = value.into(),
            "observability.telemetry.state_dir" => options.state_dir = value.into(),
            "observability.log_format" => {
                options.log_format = if value == "text" { LogFormat::Text } else { LogFormat::Json }
            }
            _ => return Err(ConfigError::Set(set.clone())),
        }
    }
    Ok(options)
}
