//! Pipeline: how are the parts joined?
//!
//! The one wiring function of the sidecar, and how what it started is stopped in the order of the flow.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use conexus_proto::v1::debug_server::DebugServer;
use conexus_proto::{FILE_DESCRIPTOR_SET, STREAM_PATH, v1};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::server::NamedService;
use tonic_health::ServingStatus;

use crate::aggregate::remains::Graveyard;
use crate::aggregate::store::StoreError;
use crate::aggregate::tally::EXPORT_FAILURES;
use crate::aggregate::{Aggregate, Committer, chain};
use crate::closing::{self, Closer, Closing};
use crate::config::Options;
use crate::crash;
use crate::debug::Debug;
use crate::debug::tail::Live;
use crate::export::exporters::Exporters;
use crate::export::logs::Logs;
use crate::export::otlp::{self, Otlp, OtlpError};
use crate::export::sentry::{self, Reporter};
use crate::export::spool::{Opened, Spool};
use crate::export::{Life, OTLP, RecordSink, Records, SENTRY};
use crate::health::Health;
use crate::http::{self, ListenError, Observatory};
use crate::ingest::admit::MESSAGE_BYTES_MAX;
use crate::ingest::service::{self, Ingest};
use crate::ingest::socket::{Socket, SocketError};
use crate::log::Levels;
use crate::process::Process;

/// How often what depends on time is looked at.
const TICK: Duration = Duration::from_millis(250);
/// How long connected cores may take to say goodbye when the sidecar is told to stop: `make run` stops both at once.
const GOODBYE_WITHIN: Duration = Duration::from_millis(800);
/// How long open requests may take after that.
const CLOSE_WITHIN: Duration = Duration::from_millis(300);
/// How long the exporters may take after that, all at the same time.
const EXPORT_WITHIN: Duration = Duration::from_millis(500);
/// How long the last commit may take.
const COMMIT_WITHIN: Duration = Duration::from_millis(200);
/// Received bytes that wait for the ingest, a stream.
const STREAM_WINDOW: u32 = 1 << 20;
/// Received bytes that wait for the ingest, a connection.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Why the sidecar could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The telemetry socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The metrics port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Where traces go.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The descriptors for gRPC reflection.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    /// Where metrics and health are.
    pub metrics_address: SocketAddr,
    /// The telemetry socket.
    pub socket: PathBuf,
    /// What it sees.
    pub observatory: Observatory,
    /// The switch for which lines go to the log files.
    pub levels: Levels,
    closer: Closer,
    exporters: Exporters,
    reporter: Option<Arc<Reporter>>,
    committer: Committer,
    servers: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
}

/// Starts everything: state, socket, port, and the tasks between them. Must run in a tokio runtime.
pub async fn start(options: &Options) -> Result<Sidecar, StartError> {
    let socket = Socket::bind(&options.socket).await?;
    let (listener, metrics_address) = http::listen(&options.metrics_host, options.metrics_port).await?;
    let (aggregate, committer, set_aside) = Aggregate::open(&options.state_dir)?;
    if let Some(path) = set_aside {
        tracing::error!(path = %path.display(), "the state file was damaged and is set aside; counters begin anew");
    }
    let (closer, closing) = closing::pair();
    let process = Process::new();
    let live = Arc::new(Live::default());
    let levels = Levels::new(options.log_level);
    let (exporters, reporter) = start_exporters(options, &aggregate, &levels)?;
    let mut sinks: Vec<Arc<dyn RecordSink>> = vec![live.clone()];
    sinks.extend(exporters.sinks());
    let observatory = Observatory {
        aggregate: aggregate.clone(),
        process: process.clone(),
        health: Health::new(aggregate.clone()),
        exporters: exporters.states(),
        go_compat: options.go_compat,
        closing: closing.clone(),
    };
    let records = Records::new(sinks);
    crash::sweep(&options.socket);
    let graveyard = Graveyard::of(&options.socket);
    let ticking = tick(aggregate.clone(), graveyard, records.clone(), reporter.clone(), options.socket.clone());
    let ingest = Ingest::new(aggregate.clone(), records, closing.clone());
    let grpc = grpc_router(ingest, Debug::new(observatory.clone(), live))?;
    let metrics_path = options.metrics_enabled.then_some(options.metrics_path.as_str());
    let web = http::router(observatory.clone(), metrics_path);
    Ok(Sidecar {
        metrics_address,
        socket: options.socket.clone(),
        observatory,
        levels,
        closer,
        exporters,
        reporter,
        committer,
        servers: vec![
            tokio::spawn(serve_grpc(socket, grpc, closing.clone())),
            tokio::spawn(serve_http(listener, web, closing)),
        ],
        background: vec![tokio::spawn(ticking), tokio::spawn(process.report(aggregate))],
    })
}

impl Sidecar {
    /// Stops in the order of the flow: waits shortly for the cores' goodbyes, ends the streams, lets the exporters send
    /// or store what they have, commits what is left.
    /// Takes less than 2 seconds.
    pub async fn stop(self) {
        let deadline = Instant::now() + GOODBYE_WITHIN;
        while Instant::now() < deadline && self.has_connected_cores() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.closer.close();
        let deadline = Instant::now() + CLOSE_WITHIN;
        for server in self.servers {
            let abort = server.abort_handle();
            if tokio::time::timeout_at(deadline, server).await.is_err() {
                abort.abort();
            }
        }
        self.background.iter().for_each(JoinHandle::abort);
        if let Some(reporter) = &self.reporter {
            reporter.finish();
        }
        self.exporters.stop(EXPORT_WITHIN).await;
        let last_commit = tokio::task::spawn_blocking(move || self.committer.stop());
        if tokio::time::timeout(COMMIT_WITHIN, last_commit).await.is_err() {
            tracing::error!("the last measures could not be written in time");
        }
    }

    fn has_connected_cores(&self) -> bool {
        self.observatory.aggregate.view().cores.iter().any(|core| core.connected)
    }
}

/// The exporters, and what feeds the one of error reports.
type Started = (Exporters, Option<Arc<Reporter>>);

/// Starts the exporters that are switched on, and the log files.
fn start_exporters(options: &Options, aggregate: &Aggregate, levels: &Levels) -> Result<Started, StartError> {
    let spooling: Vec<usize> =
        options.tracing.iter().map(|_| OTLP).chain(options.sentry.iter().map(|_| SENTRY)).collect();
    let spool = if spooling.is_empty() { None } else { open_spool(options, aggregate, &spooling) };
    let mut exporters = Exporters::new(aggregate.clone(), spool);
    if let Some(tracing) = &options.tracing {
        exporters.start(otlp::PLAN, Otlp::new(tracing)?);
    }
    exporters.add_logs(Logs::start(options.logs.clone(), options.log_format, levels.clone(), aggregate.clone()));
    let reporter = options.sentry.as_ref().and_then(sentry::Options::new).map(|sentry| {
        let gate = sentry::Gate::default();
        let transport = sentry::Transport::new(&sentry.dsn, gate.clone());
        let front = |outlet| Arc::new(Reporter::new(sentry, aggregate.clone(), outlet, gate));
        exporters.start_behind(sentry::PLAN, transport, front)
    });
    Ok((exporters, reporter))
}

/// Opens the spool. One that cannot be opened never keeps the sidecar from starting: exporters then do without.
fn open_spool(options: &Options, aggregate: &Aggregate, exporters: &[usize]) -> Option<Spool> {
    let failed = || exporters.iter().map(|exporter| (EXPORT_FAILURES + exporter, 1)).collect::<Vec<_>>();
    match Spool::open(&options.state_dir, options.spool_max_bytes) {
        Ok(Opened { spool, set_aside }) => {
            if let Some(path) = set_aside {
                aggregate.count(&failed(), true);
                tracing::error!(path = %path.display(), "the spool was damaged and is set aside; what it held is not exported");
            }
            Some(spool)
        }
        Err(error) => {
            aggregate.count(&failed(), true);
            tracing::error!("there is no spool, what fails to export is kept in memory only: {}", chain(&error));
            None
        }
    }
}

async fn tick(
    aggregate: Aggregate,
    mut graveyard: Graveyard,
    records: Records,
    reporter: Option<Arc<Reporter>>,
    socket: PathBuf,
) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        if let Some(reporter) = &reporter {
            reporter.tick();
        }
        let looking = tokio::task::spawn_blocking(move || {
            let dead = graveyard.dead();
            (graveyard, dead)
        });
        let Ok((again, dead)) = looking.await else { return };
        graveyard = again;
        aggregate.bury(dead);
        for crash in aggregate.tick() {
            let error = crash::report(&socket, &crash, crash.last_seen.unwrap_or_else(SystemTime::now));
            let cause = error.message.clone();
            records.pass_on(crash.epoch, vec![v1::Record { record: Some(v1::record::Record::Error(error)) }]);
            records.tell(crash.epoch, &Life::Crashed { known: crash.known });
            let core = crash.core.unwrap_or_default();
            tracing::error!(
                cause,
                epoch = format!("{:016x}", crash.epoch),
                pid = core.pid,
                version = core.version,
                "core crashed: its stream ended without a goodbye and it did not come back"
            );
        }
    }
}

async fn serve_http(listener: TcpListener, router: Router, closing: Closing) {
    let server = axum::serve(listener, router).with_graceful_shutdown(until(closing));
    if let Err(error) = server.await {
        tracing::error!(%error, "the metrics port failed");
    }
}

async fn serve_grpc(socket: Socket, router: Router, closing: Closing) {
    let (connections, incoming) = mpsc::channel::<Result<UnixStream, Infallible>>(1);
    let accepting = tokio::spawn(async move {
        loop {
            let stream = socket.accept().await;
            if connections.send(Ok(stream)).await.is_err() {
                return;
            }
        }
    });
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_with_incoming_shutdown(router, ReceiverStream::new(incoming), until(closing));
    if let Err(error) = server.await {
        tracing::error!(%error, "the telemetry socket failed");
    }
    accepting.abort();
    // The socket's file goes with the task that holds it.
    let _ = accepting.await;
}

async fn until(mut closing: Closing) {
    closing.wait().await;
}

/// Ingest, debug, health and reflection on one router.
fn grpc_router(ingest: Ingest, debug: Debug) -> Result<Router, tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(async move {
        reporter.set_service_status(service::SERVICE, ServingStatus::Serving).await;
        reporter.set_serving::<DebugServer<Debug>>().await;
    });
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let debug = DebugServer::new(debug).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let ingest = post(move |request| ingest.clone().serve(request));
    let router = Router::new().route(STREAM_PATH, ingest);
    let router = add(router, debug);
    let router = add(router, health);
    let router = add(router, reflection().build_v1()?);
    let router = add(router, reflection().build_v1alpha()?);
    Ok(router.fallback(unimplemented))
}

fn add<S>(router: Router, service: S) -> Router
where
    S: tower::Service<axum::extract::Request, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    router.route_service(&format!("/{}/{{*method}}", S::NAME), service)
}

/// gRPC's answer to a method that is not there.
async fn unimplemented() -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(tonic::Code::Unimplemented as i32));
    response
}
