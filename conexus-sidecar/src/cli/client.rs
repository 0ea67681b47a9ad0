//! Client: how does a command reach the running sidecar?

use std::future::Future;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use conexus_proto::v1::debug_client::DebugClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::{Failure, INTERRUPTED};
use crate::ingest::admit::MESSAGE_BYTES_MAX;

/// How long to wait for the sidecar to answer the connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Connects to the debug service on the telemetry socket.
pub async fn connect(socket: &Path) -> Result<DebugClient<Channel>, Failure> {
    let path = socket.to_path_buf();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address is not used: the connector knows the path.
    let endpoint = Endpoint::from_static("http://sidecar").connect_timeout(CONNECT_WITHIN);
    let channel = endpoint.connect_with_connector(connector).await.map_err(|error| {
        let cause = crate::aggregate::chain(&error);
        Failure::Sidecar(format!(
            "no sidecar answers at {}: {cause}; is `conexus-sidecar run` running?",
            socket.display()
        ))
    })?;
    Ok(DebugClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// Runs a command until it ends or is interrupted.
pub fn block_on(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = command => outcome,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    })
}

/// The failure of a call.
pub fn failed(status: &tonic::Status) -> Failure {
    match status.code() {
        tonic::Code::InvalidArgument => Failure::Usage(status.message().to_owned()),
        _ => Failure::Sidecar(format!("the sidecar answered: {}", status.message())),
    }
}
