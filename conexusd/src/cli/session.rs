//! Session: the index's owner, found or become, behind an MCP client.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use conexus_config::Config;
use serde_json::{Value, json};

use super::progress::Bar;
use super::{CliError, CliResult, INTERRUPTED};
use crate::owner::BoxedStream;
use crate::owner::client::Client;
use crate::owner::socket;
use crate::telemetry::Telemetry;
use crate::wiring::{self, App};

pub use crate::wiring::embedder;

/// How long an owner that holds the lock may take until it listens.
const OWNER_LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// A connection to the owner, which may be this process.
pub struct Session {
    /// Asks the owner.
    pub client: Client,
    own: Option<App>,
}

impl Session {
    /// Connects to the owner of the configured root's index, or becomes it for as long as the command takes.
    pub async fn open(config: &Config, name: &str) -> Result<Self, CliError> {
        let (stream, own) = reach(config, || Ok(Telemetry::detached())).await.map_err(CliError::failure)?;
        let client = Client::over(stream, name).await.map_err(CliError::failure)?;
        Ok(Self { client, own })
    }

    /// Whether another process owns the index.
    pub fn is_attached(&self) -> bool {
        self.own.is_none()
    }

    /// Runs the index to its end, with a bar; the status after it. Ctrl-C stops the run if it is this process' own; the
    /// error says which it was.
    pub async fn index(&mut self, action: &str, quiet: bool) -> Result<Value, CliError> {
        let bar = Bar::new(quiet);
        let mut update = |progress| bar.update(&progress);
        let run = self.client.call_tool("context_index_control", json!({"action": action}), None, &mut update);
        let ended = tokio::select! {
            ended = run => ended.map_err(CliError::failure),
            _ = tokio::signal::ctrl_c() => Err(CliError::interrupted()),
        };
        bar.finish();
        let interrupted = matches!(&ended, Err(error) if error.code == INTERRUPTED);
        let own = if ended.is_err() { self.own.take() } else { None };
        let message = if own.is_some() {
            "interrupted: the index is not complete; `conexusd index` goes on from what has been indexed"
        } else {
            "interrupted: the run goes on in the process that owns the index"
        };
        if let Some(own) = own {
            own.close().await;
        }
        ended.map_err(|error| if interrupted { CliError { message: message.to_owned(), ..error } } else { error })
    }

    /// The index's state.
    pub async fn status(&mut self) -> Result<Value, CliError> {
        let status =
            self.client.call_tool("context_index_control", json!({"action": "status"}), None, &mut |_| {}).await;
        status.map_err(CliError::failure)
    }

    /// Makes the index when nothing has been indexed yet.
    pub async fn index_if_there_is_none(&mut self, quiet: bool) -> Result<(), CliError> {
        let status = self.status().await?;
        let never = status["index"]["age_seconds"].is_null() && status["index"]["complete"] == false;
        if never && !self.is_attached() {
            if !quiet {
                anstream::eprintln!("There is no index yet: making it.");
            }
            self.index("start", quiet).await?;
        }
        Ok(())
    }

    /// Gives up the index, if it is this process' own.
    pub async fn close(self) -> CliResult {
        drop(self.client);
        if let Some(own) = self.own {
            own.close().await;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A stream to the owner; the second value is this process' own index if it had to become the owner. `report` says
/// where such an owner reports to, and is called just before it tries to become one.
pub async fn reach(
    config: &Config,
    mut report: impl FnMut() -> Result<Telemetry, String>,
) -> Result<(BoxedStream, Option<App>), String> {
    let root = wiring::root(config)?;
    let folder = wiring::folder(config, &root);
    let control = folder.join(socket::NAME);
    let start = Instant::now();
    let mut telemetry = None;
    loop {
        match socket::connect(&folder).await {
            Ok(Some(stream)) => return Ok((Box::new(stream), None)),
            Ok(None) => {}
            Err(error) => return Err(format!("{}: {error}", control.display())),
        }
        if !crate::index::folder::is_owned(&folder) {
            let telemetry = match &telemetry {
                Some(telemetry) => telemetry,
                None => telemetry.insert(report()?),
            };
            match App::open(config, telemetry) {
                Ok(mut app) => {
                    app.listen().map_err(|error| format!("{}: {error}", control.display()))?;
                    return Ok((app.connect(), Some(app)));
                }
                Err(error) if error.is_owned() => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        // Whoever has the lock listens in a moment, or ends.
        if start.elapsed() > OWNER_LISTENS_WITHIN {
            return Err(format!("another process has the index in {} and does not answer", folder.display()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
