//! The life cycle: read the command line, run the command, say what went wrong, end with its exit code.

use std::process::ExitCode;

use clap::CommandFactory;
use conexusd::cli::{self, Cli, CliError, CliResult, Command};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Lets heap profiles be switched on while the program runs; jemalloc looks for this name.
// SAFETY: nothing else in the program has this name, and jemalloc reads it as a pointer to a C string, which it is.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; conexus_profiles::MALLOC_CONF.len()] = conexus_profiles::MALLOC_CONF;

fn main() -> ExitCode {
    let cli = cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(run(cli));
            // What still blocks (a read of standard input, say) must not hold up the end.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(CliError::failure(format!("the runtime does not start: {error}"))),
    };
    ended.unwrap_or_else(|error| {
        if !error.message.is_empty() {
            eprintln!("conexusd: {}", error.message);
        }
        ExitCode::from(error.code)
    })
}

async fn run(cli: Cli) -> CliResult {
    let globals = &cli.globals;
    match cli.command {
        Command::Index(args) => cli::index::run(args, globals).await,
        Command::Search(args) => cli::search::run(args, globals).await,
        Command::Serve(args) => cli::serve::run(args, globals).await,
        Command::Mcp(args) => cli::mcp::run(args, globals).await,
        Command::Status(args) => cli::status::run(args, globals).await,
        Command::Health(args) => cli::health::run(args, globals).await,
        Command::Doctor(args) => cli::doctor::run(args, globals).await,
        Command::Config(args) => cli::config::run(&args, globals),
        Command::CrashSymbols { file } => conexusd::telemetry::symbolise_crash(&file)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| CliError::failure(format!("{}: {error}", file.display()))),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "conexusd", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}
