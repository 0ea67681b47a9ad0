//! Channel: how do batches reach the sidecar, whether it is there, away or back again?
//!
//! One thread with a small tokio runtime holds one bidirectional stream on the unix socket: `Hello` up, `Welcome` down, then batches up
//! and acknowledgements down. When the stream breaks it connects again, after 50 ms growing to 2 s, and the outbox sends again
//! what was not acknowledged. Nothing here is ever waited for by the rest of conexusd, but for the end of a shutdown.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use conexus_proto::STREAM_PATH;
use conexus_proto::codec::Frames;
use conexus_proto::v1::{self, ToCore, to_core, to_sidecar};
use hyper_util::rt::TokioIo;
use prost::Message;
use prost::bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Streaming};

use super::ids::Random;
use super::outbox::Outbox;
use super::{Hub, crash};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A sidecar that is slower than this to say Welcome is not there.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long without an acknowledgement that is due, the stream is given up.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// The shortest and the longest pause before a sidecar is looked for again.
pub(crate) const BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// How long a sidecar that has acknowledged everything may take to see the goodbye and end the stream.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a sidecar that can never be talked to is asked again: it may have been replaced.
const REFUSED_INTERVAL: Duration = Duration::from_secs(60);
/// The longest pause that a sidecar can ask for at once.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What the channel's thread works with.
pub(crate) struct Channel {
    pub(crate) hub: Arc<Hub>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) way: Way,
    pub(crate) hello: v1::Hello,
    /// The shortest and the longest pause before it connects again.
    pub(crate) backoff: [Duration; 2],
    /// Set when conexusd shuts down: by when the channel has to be done.
    pub(crate) deadline: watch::Receiver<Option<Instant>>,
}

/// Where the sidecar is.
#[derive(Clone)]
pub(crate) enum Way {
    /// Behind a unix socket.
    Socket(PathBuf),
    /// At the other end of what the caller makes.
    Made(Connect),
}

/// Makes a connection to the sidecar.
pub type Connect = Arc<dyn Fn() -> Connecting + Send + Sync>;
/// A connection in the making.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>>;

/// Something that bytes go through in both directions.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Way {
    fn connect(&self) -> Connecting {
        match self {
            Self::Socket(path) => {
                let path = path.clone();
                Box::pin(async move { Ok(Box::new(UnixStream::connect(path).await?) as Box<dyn Wire>) })
            }
            Self::Made(connect) => connect(),
        }
    }

    fn socket(&self) -> Option<&Path> {
        match self {
            Self::Socket(path) => Some(path),
            Self::Made(_) => None,
        }
    }
}

/// Why a session ended.
enum End {
    /// Everything is sent and acknowledged, and goodbye was said.
    Done,
    /// The sidecar is gone, or was not there.
    Lost(String),
    /// The sidecar does not want this core.
    Refused(v1::Refused),
}

impl Channel {
    /// Runs until the outbox is closed and empty, or the deadline of the shutdown has passed.
    pub(crate) async fn run(self) {
        let mut deadline = self.deadline.clone();
        tokio::select! {
            () = self.serve() => {}
            () = passed(&mut deadline) => {}
        }
        self.hub.status.set_connected(false);
    }

    async fn serve(&self) {
        let [backoff_min, backoff_max] = self.backoff;
        let (mut backoff, mut random) = (backoff_min, Random::seeded());
        let mut quiet = false;
        // It may die before it meets a sidecar. The next one learns of that from its counts, and of the cause from this.
        if self.hello.serving && self.hub.seats.tables.private().is_none() {
            self.prepare_for_a_crash();
        }
        loop {
            let (was_connected, started) = (self.hub.status.was_connected(), Instant::now());
            let end = self.session().await;
            let connected = self.hub.status.set_connected(false);
            quiet &= !connected;
            // A sidecar that takes a stream and ends it at once is not to be asked ever faster.
            if connected && started.elapsed() > backoff_max {
                backoff = backoff_min;
            }
            let wait = match end {
                End::Done => return,
                End::Lost(reason) => {
                    self.report_lost(connected, &mut quiet, reason);
                    backoff
                }
                End::Refused(refused) => {
                    tracing::error!(error = %refused.reason, retry = refused.retry, "the sidecar refused this core");
                    self.hub.status.set_error(format!("the sidecar refused: {}", refused.reason));
                    if refused.retry { backoff } else { REFUSED_INTERVAL }
                }
            };
            if self.outbox.is_closing() && !was_connected && !connected {
                return;
            }
            // Between half of the time and all of it, so that several cores do not come back at the same instant.
            let wait = wait / 2 + wait.mul_f64((random.nonzero() >> 11) as f64 / (1_u64 << 53) as f64 / 2.0);
            tokio::select! {
                () = sleep(wait) => {}
                () = self.closing() => sleep(wait.min(backoff_min)).await,
            }
            backoff = (backoff * 2).min(backoff_max);
        }
    }

    /// Waits until conexusd shuts down.
    async fn closing(&self) {
        let mut deadline = self.deadline.clone();
        // An error means that the guard is gone, which is a shutdown too.
        let _ = deadline.wait_for(Option::is_some).await;
    }

    fn report_lost(&self, connected: bool, quiet: &mut bool, reason: String) {
        if connected {
            tracing::warn!(error = %reason, "telemetry lost the sidecar");
        } else if !*quiet {
            let socket = self.way.socket().unwrap_or(Path::new("")).display();
            tracing::info!(%socket, error = %reason, "no sidecar yet; telemetry is kept within its limits until one appears");
        }
        *quiet = true;
        self.hub.status.set_error(reason);
    }

    async fn session(&self) -> End {
        match self.try_session().await {
            Ok(end) => end,
            Err(reason) => End::Lost(reason),
        }
    }

    async fn try_session(&self) -> Result<End, String> {
        let (up, messages) = mpsc::channel(2);
        let hello = to_sidecar::Message::Hello(self.hello.clone());
        up.try_send(encoded(hello)).map_err(|_| "the new stream takes no message".to_owned())?;
        let opened = timeout(WELCOME_TIMEOUT, self.open(messages)).await;
        let mut down = opened.map_err(|_| format!("no answer within {WELCOME_TIMEOUT:?}"))??;
        let first = timeout(WELCOME_TIMEOUT, down.message()).await;
        let first =
            first.map_err(|_| format!("no welcome within {WELCOME_TIMEOUT:?}"))?.map_err(|s| status_text(&s))?;
        match first.and_then(|message| message.message) {
            Some(to_core::Message::Welcome(welcome)) => {
                self.outbox.resume(welcome.last_sequence);
                let (first, tables) = (!self.hub.status.was_connected(), &self.hub.seats.tables);
                self.hub.status.set_connected(true);
                self.prepare_for_a_crash();
                tracing::info!(sidecar = %welcome.sidecar_version, "telemetry connected to the sidecar");
                if let Some(reason) = tables.private().filter(|_| first) {
                    tracing::warn!(
                        reason,
                        "counts do not outlive this process: killed, it loses a quarter of a second of them"
                    );
                }
                Session { channel: self, up: Some(up), down, paused_until: None, heard: Instant::now() }.run().await
            }
            Some(to_core::Message::Refused(refused)) => Ok(End::Refused(refused)),
            _ => Err("the sidecar's first message was neither Welcome nor Refused".to_owned()),
        }
    }

    /// Without a crash file a crash is seen all the same, but its cause is not.
    fn prepare_for_a_crash(&self) {
        let Some(socket) = self.way.socket() else { return };
        let version = self.hello.build.as_ref().map_or("", |build| &build.version);
        if let Err(error) = crash::prepare(socket, self.hello.boot_epoch, version) {
            tracing::warn!(%error, "no crash file beside the telemetry socket: the cause of a crash will not be known");
        }
    }

    async fn open(&self, messages: mpsc::Receiver<Bytes>) -> Result<Streaming<ToCore>, String> {
        let way = self.way.clone();
        let connector = tower::service_fn(move |_| {
            let connecting = way.connect();
            async move { connecting.await.map(TokioIo::new) }
        });
        // The address only fills the `:authority` header: the connector knows where to go.
        let endpoint = tonic::transport::Endpoint::from_static("http://localhost").connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint.connect_with_connector(connector).await.map_err(|error| root_cause(&error))?;
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|error| root_cause(&error))?;
        let path = PathAndQuery::from_static(STREAM_PATH);
        let request = Request::new(ReceiverStream::new(messages));
        let response = client
            .streaming(request, path, Frames::<Bytes, ToCore>::new())
            .await
            .map_err(|status| status_text(&status))?;
        Ok(response.into_inner())
    }
}

/// One stream, from Welcome on.
struct Session<'a> {
    channel: &'a Channel,
    /// None once goodbye is said.
    up: Option<mpsc::Sender<Bytes>>,
    down: Streaming<ToCore>,
    paused_until: Option<Instant>,
    /// When the sidecar last said anything, or had nothing to say.
    heard: Instant,
}

impl Session<'_> {
    async fn run(mut self) -> Result<End, String> {
        let outbox = &self.channel.outbox;
        let mut ready = true;
        loop {
            if outbox.is_closing() && self.say_goodbye().await? {
                // The goodbye is on its way as long as the stream is open: the sidecar closes it, having read all.
                let _ = timeout(GOODBYE_TIMEOUT, self.down.message()).await;
                return Ok(End::Done);
            }
            let now = Instant::now();
            if outbox.progress().unacked_batches == 0 {
                self.heard = now;
            } else if now - self.heard > ACK_TIMEOUT {
                return Err(format!("no acknowledgement within {ACK_TIMEOUT:?}"));
            }
            self.paused_until = self.paused_until.filter(|until| *until > now);
            // What waits at the end goes out at once: there will be no later.
            let paused = self.paused_until.is_some() && !outbox.is_closing();
            let check = self.paused_until.unwrap_or(now + Duration::from_secs(1));
            let up = self.up.clone();
            tokio::select! {
                message = self.down.message() => match message.map_err(|status| status_text(&status))? {
                    Some(message) => self.take(message)?,
                    None => return Err("the sidecar closed the stream".to_owned()),
                },
                permit = reserve(up.as_ref()), if ready && up.is_some() => {
                    let permit = permit.ok_or_else(|| "the stream takes no more messages".to_owned())?;
                    match outbox.next(!paused) {
                        Some(message) => permit.send(message),
                        None => ready = false,
                    }
                }
                () = outbox.wake.notified() => ready = true,
                () = sleep_until(check) => ready = true,
            }
        }
    }

    /// Says goodbye behind the last batch. Whether it is said and everything is acknowledged.
    async fn say_goodbye(&mut self) -> Result<bool, String> {
        let progress = self.channel.outbox.progress();
        if progress.all_handed
            && let Some(up) = self.up.take()
        {
            let goodbye = v1::Goodbye { reason: "shutdown".to_owned() };
            let sent = up.send(encoded(to_sidecar::Message::Goodbye(goodbye))).await;
            sent.map_err(|_| "the stream takes no goodbye".to_owned())?;
        }
        Ok(self.up.is_none() && progress.unacked_batches == 0)
    }

    fn take(&mut self, message: ToCore) -> Result<(), String> {
        self.heard = Instant::now();
        match message.message {
            Some(to_core::Message::Ack(ack)) => self.channel.outbox.ack(ack.sequence),
            Some(to_core::Message::Throttle(throttle)) => {
                let pause = Duration::from_millis(throttle.pause_millis.into()).min(PAUSE_MAX);
                self.paused_until = Some(Instant::now() + pause);
            }
            Some(to_core::Message::Rejected(rejected)) => {
                tracing::error!(error = %rejected.reason, "the sidecar refused a batch of telemetry; its records are lost");
                self.channel.hub.status.set_error(format!("the sidecar refused {}", rejected.reason));
                self.channel.outbox.reject(rejected.sequence);
            }
            Some(to_core::Message::Refused(refused)) => return Err(format!("the sidecar refused: {}", refused.reason)),
            Some(to_core::Message::Welcome(_)) | None => {}
        }
        Ok(())
    }
}

/// Waits for room in the stream. Lazy, so that a branch that is switched off does nothing.
async fn reserve(up: Option<&mpsc::Sender<Bytes>>) -> Option<mpsc::Permit<'_, Bytes>> {
    up?.reserve().await.ok()
}

async fn passed(deadline: &mut watch::Receiver<Option<Instant>>) {
    let at = deadline.wait_for(Option::is_some).await.map(|at| *at);
    if let Ok(Some(at)) = at {
        sleep_until(at).await;
    }
}

fn encoded(message: to_sidecar::Message) -> Bytes {
    v1::ToSidecar { message: Some(message) }.encode_to_vec().into()
}

/// Why something failed, without the layers around it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn status_text(status: &tonic::Status) -> String {
    match status.message() {
        "" => status.code().description().to_lowercase(),
        message => message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
