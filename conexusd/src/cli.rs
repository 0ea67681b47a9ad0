//! The command line: which command was asked for, and with what.
//!
//! ```text
//! session   the index's owner, found or become, behind an MCP client
//! index     search   batch   serve   mcp   status   health   doctor   config
//! render    results and numbers for people
//! progress  a bar for long work
//! ```

pub mod session;
pub mod render;
pub mod progress;
pub mod index;
pub mod search;
pub mod batch;
pub mod serve;
pub mod mcp;
pub mod status;
pub mod health;
pub mod doctor;
pub mod config;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use conexus_config::{Config, ConfigErrors, Flag, Inputs, Loaded, LogFormat};

use crate::life;
use crate::telemetry::Level;

/// Exit code of a failure.
pub const FAILURE: u8 = 1;
/// Exit code of bad usage or a bad configuration.
pub const USAGE: u8 = 64;
/// Exit code after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

const EXAMPLES: &str = "\
Examples:
  conexusd index --root ~/src/project            index it, with a progress bar
  conexusd search --root ~/src/project \"where are sessions expired\"
  conexusd serve --root ~/src/project            MCP at http://127.0.0.1:8080/mcp
  conexusd mcp --root ~/src/project              MCP on standard input and output

Every setting is a key of the configuration file, a CONEXUS_* variable, or --set key=value: `conexusd config default` lists them.";

/// Gives AI coding agents the right piece of a codebase, over the Model Context Protocol.
#[derive(Debug, Parser)]
#[command(name = "conexusd", version, long_version = env!("CONEXUS_BUILD_VERSION"), about, after_help = EXAMPLES)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Clone, Debug, Args)]
pub struct Globals {
    /// The configuration file [default: $CONEXUS_CONFIG_FILE, ~/.config/conexus/config.yml, /etc/conexus/config.yml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one configuration key, over file and environment; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Only results and errors: no progress, no remarks
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// Which code is meant.
#[derive(Clone, Debug, Args)]
pub struct Root {
    /// The folder that is indexed [default: indexer.root_path, else the working directory]
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "clap shows these as the commands' help")]
pub enum Command {
    /// Index a folder once and say what was done
    Index(index::IndexArgs),
    /// Ask a question, or a file of them with --batch
    Search(search::SearchArgs),
    /// Serve MCP over HTTP, keep the index fresh
    Serve(serve::ServeArgs),
    /// Serve MCP over standard input and output
    Mcp(mcp::McpArgs),
    /// What is indexed, how fresh, how large
    Status(status::StatusArgs),
    /// Ask a serving conexusd how it is (for probes)
    Health(health::HealthArgs),
    /// Check configuration, index, model, socket and ports, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Show the configuration: its defaults, what is in force, its schema
    Config(config::ConfigArgs),
    /// Name the addresses in a crash file: started by a conexusd that dies
    #[command(hide = true)]
    CrashSymbols {
        /// The file
        file: PathBuf,
    },
    /// Write completions for a shell to standard output
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
}

/// Why a command failed, and with which exit code.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub code: u8,
    /// In words, for standard error. Empty when everything has been said.
    pub message: String,
}

impl CliError {
    /// A failure of the work itself.
    pub fn failure(message: impl ToString) -> Self {
        Self { code: FAILURE, message: message.to_string() }
    }

    /// Bad usage or configuration.
    pub fn usage(message: impl ToString) -> Self {
        Self { code: USAGE, message: message.to_string() }
    }

    /// The same, written to standard error in the format of the logs: for commands that serve, whose standard error a program
    /// reads.
    pub fn logged(self, format: LogFormat) -> Self {
        life::write_lines(format, Level::Error, &self.message);
        Self { code: self.code, message: String::new() }
    }

    /// Ctrl-C.
    pub fn interrupted() -> Self {
        Self { code: INTERRUPTED, message: "interrupted".to_owned() }
    }
}

/// What a command ends with.
pub type CliResult = Result<ExitCode, CliError>;

/// Reads the command line, or ends the process with its help or its mistakes.
pub fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        let code = if error.use_stderr() { USAGE } else { 0 };
        // A closed pipe (`conexusd --help | head`) is no failure.
        let _ = error.print();
        std::process::exit(code.into());
    })
}

impl Globals {
    /// The configuration in force, with what the command's own flags set. Warnings go to standard error.
    pub fn load(&self, flags: &[Option<Flag>]) -> Result<Loaded, CliError> {
        let loaded = self.read(flags).map_err(CliError::usage)?;
        if !self.quiet {
            for warning in &loaded.warnings {
                anstream::eprintln!("warning: {warning}");
            }
        }
        Ok(loaded)
    }

    /// The same for a command that serves: mistakes, warnings and panics go to standard error in the format of the logs.
    pub fn load_to_serve(&self, flags: &[Option<Flag>]) -> Result<Loaded, CliError> {
        let loaded = match self.read(flags) {
            Ok(loaded) => loaded,
            Err(errors) => {
                life::write_lines(errors.log_format(), Level::Warn, &errors.warnings().join("\n"));
                return Err(CliError::usage(&errors).logged(errors.log_format()));
            }
        };
        let format = loaded.config.observability.log_format;
        life::log_panics(format);
        life::write_lines(format, Level::Warn, &loaded.warnings.join("\n"));
        Ok(loaded)
    }

    /// The configuration as it is now, or what is wrong with it, for a process that says so itself.
    pub fn reload(&self, flags: &[Option<Flag>]) -> Result<Config, String> {
        self.read(flags).map(|loaded| loaded.config).map_err(|errors| errors.to_string())
    }

    fn read(&self, flags: &[Option<Flag>]) -> Result<Loaded, ConfigErrors> {
        let set = self.set.iter().map(|(key, value)| Flag::new(key.as_str(), "--set", value));
        let all = set.chain(flags.iter().flatten().cloned()).collect();
        conexus_config::load(&Inputs::from_process(all, self.config.clone()))
    }
}

impl Root {
    /// The flag for [`Globals::load`].
    pub fn flag(&self) -> Option<Flag> {
        self.root.as_ref().map(|path| Flag::new("indexer.root_path", "--root", path))
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected key=value, for example server.port=8081")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_is_followed_by_what_it_was_made_with() {
        let shown = Cli::command().render_long_version();
        assert!(shown.starts_with(concat!("conexusd ", env!("CARGO_PKG_VERSION"), " (")), "{shown}");
        assert!(shown.trim_end().ends_with(concat!(env!("CONEXUS_BUILD_RUSTC"), ")")), "{shown}");
    }

    #[test]
    fn a_setting_without_a_value_is_refused_with_an_example() {
        let error = Cli::try_parse_from(["conexusd", "--set", "server.port", "health"]).unwrap_err();
        assert!(error.to_string().contains("server.port=8081"), "{error}");
    }
}
