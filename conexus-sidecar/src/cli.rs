//! Command line: what can a person ask of the sidecar?

pub mod health;
pub mod metrics;
pub mod client;
pub mod snapshot;
pub mod tail;
pub mod top;
pub mod style;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{self, Options, Settings};

/// Exit code of bad usage or configuration.
pub const USAGE: u8 = 64;
/// Exit code of an interrupted command.
pub const INTERRUPTED: u8 = 130;

/// Turns what conexusd reports into metrics, and shows it.
///
/// The sidecar listens on a unix socket for conexusd, keeps its measures exact over restarts of either, and serves
/// them to Prometheus at http://127.0.0.1:9091/metrics and its health at /health.
#[derive(Debug, Parser)]
#[command(name = "conexus-sidecar", version, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 success, 1 failure, 64 bad usage or configuration, 130 interrupted.\n\
    Colours only on a terminal, and not if NO_COLOR is set.")]
pub struct Cli {
    /// Where settings come from.
    #[command(flatten)]
    pub settings: Settings,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the sidecar until SIGTERM or SIGINT
    ///
    /// Writes one line a event to stderr. The line "sidecar ready" carries what was bound: metrics_address (with the
    /// real port where 0 was configured), socket, state_dir.
    Run,
    /// Ask a running sidecar for its health; exit code 0 if it is well
    Health(health::Args),
    /// List every metric that the sidecar serves
    Metrics(metrics::Args),
    /// Show spans, log lines, errors and moving measures as they come
    Tail(tail::Args),
    /// Show rates and latencies, refreshed every second
    Top(top::Args),
    /// Show the whole state of a running sidecar once
    Snapshot(snapshot::Args),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Executes every command but `run`.
pub fn execute(command: Command, settings: &Settings) -> ExitCode {
    let outcome = match command {
        Command::Run => unreachable!("the life cycle is in main"),
        Command::Metrics(args) => metrics::execute(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "conexus-sidecar", &mut script);
            io::stdout().write_all(&script).map(|()| ExitCode::SUCCESS).map_err(Failure::from)
        }
        Command::Health(args) => with_options(settings, |options| health::execute(&args, options)),
        Command::Tail(args) => with_options(settings, |options| client::block_on(tail::execute(&args, options))),
        Command::Top(args) => with_options(settings, |options| client::block_on(top::execute(&args, options))),
        Command::Snapshot(args) => {
            with_options(settings, |options| client::block_on(snapshot::execute(&args, options)))
        }
    };
    outcome.unwrap_or_else(|failure| {
        // A reader that closed the pipe has seen what it wanted.
        let closed = matches!(&failure, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe);
        if closed {
            return ExitCode::SUCCESS;
        }
        let _ = writeln!(io::stderr(), "conexus-sidecar: {failure}");
        match failure {
            Failure::Usage(_) => ExitCode::from(USAGE),
            _ => ExitCode::FAILURE,
        }
    })
}

fn with_options(
    settings: &Settings,
    command: impl FnOnce(&Options) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    command(&config::load(settings).map_err(|error| Failure::Usage(error.to_string()))?)
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The user can fix it on the command line or in the configuration.
    #[error("{0}")]
    Usage(String),
    /// The sidecar does not answer, or not as it should.
    #[error("{0}")]
    Sidecar(String),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Prints what clap has to say; help and version are no errors.
pub fn usage_error(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}
