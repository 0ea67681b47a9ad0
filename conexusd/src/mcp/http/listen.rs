//! Listen: binds, serves connections within bounds, and stops in time.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{HttpOptions, router};
use crate::mcp::server::Server;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;

/// How long a client may take to send the head of a request, and stay without sending one.
const HEAD_TIME_MAX: Duration = Duration::from_secs(20);

/// How long requests in flight may take once the server is told to stop.
const FINISH_TIME: Duration = Duration::from_millis(1000);

/// How long answers may take to leave after that.
const FLUSH_TIME: Duration = Duration::from_millis(200);

/// How long connections may take to end once their streams are closed.
const CLOSE_TIME: Duration = Duration::from_millis(500);

/// A bound port, not served yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why a port could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has it.
    #[error("port {port} on {host} is taken (server.port); stop what listens there, or set another port")]
    Taken {
        /// `server.host`.
        host: String,
        /// `server.port`.
        port: u16,
    },
    /// Anything else: no such host, no permission.
    #[error("cannot listen on {host}:{port} (server.host, server.port): {source}")]
    Failed {
        /// `server.host`.
        host: String,
        /// `server.port`.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
}

/// Binds `server.host` and `server.port`; port 0 takes a free one.
pub async fn bind(host: &str, port: u16) -> Result<Bound, BindError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { host: host.to_owned(), port },
        _ => BindError::Failed { host: host.to_owned(), port, source: error },
    };
    let listener = TcpListener::bind((host, port)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound { listener, address })
}

impl Bound {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled, then ends within two seconds, open streams included.
    pub async fn serve(self, server: Server, options: &HttpOptions, stop: CancellationToken) {
        let closed = CancellationToken::new();
        let app = router(server.clone(), options, self.address, stop.clone(), closed.clone());
        let closing = CancellationToken::new();
        let mut connections = self.accept(app, &closing, &stop).await;
        let _ = tokio::time::timeout(FINISH_TIME, server.desk().idle()).await;
        closing.cancel();
        if !ended_within(FLUSH_TIME, &mut connections).await {
            closed.cancel();
            if !ended_within(CLOSE_TIME, &mut connections).await {
                connections.shutdown().await;
            }
        }
        closed.cancel();
    }

    async fn accept(&self, app: Router, closing: &CancellationToken, stop: &CancellationToken) -> JoinSet<()> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let place = tokio::select! {
                place = places.clone().acquire_owned() => place,
                () = stop.cancelled() => return connections,
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return connections,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _)) => {
                    let work = connection(stream, app.clone(), closing.clone());
                    connections.spawn(async move {
                        work.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, or a client that went away: both pass.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn ended_within(time: Duration, connections: &mut JoinSet<()>) -> bool {
    tokio::time::timeout(time, async { while connections.join_next().await.is_some() {} }).await.is_ok()
}

async fn connection(stream: TcpStream, app: Router, closing: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended with an error");
    }
}
