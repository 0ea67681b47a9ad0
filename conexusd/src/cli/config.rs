//! `conexusd config`: the defaults, what is in force, the schema.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{CliResult, Globals};

/// Flags of `conexusd config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A commented configuration file with every key at its default
    Default,
    /// Every key's value in force, and where it came from (secrets masked)
    Show,
    /// The JSON schema of the configuration file
    Schema,
}

/// Prints what was asked for.
pub fn run(args: &ConfigArgs, globals: &Globals) -> CliResult {
    let text = match args.what {
        What::Default => conexus_config::default_file(),
        What::Show => globals.load(&[])?.show(),
        What::Schema => format!("{:#}\n", conexus_config::schema()),
    };
    let _ = anstream::stdout().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}
