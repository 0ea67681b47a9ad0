//! Service: the conversation with one core.
//!
//! `Hello` is answered by `Welcome` or `Refused`; then batches come and acknowledgements go, each when everything up
//! to that batch is on disk. A bad batch is refused whole, counted, answered by `Rejected` and acknowledged in its turn,
//! so that it is never sent again. A core that reports too fast is asked to pause by `Throttle`.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use conexus_proto::codec::Frames;
use conexus_proto::facts::FINGERPRINT;
use conexus_proto::v1::{self, ToCore, ToSidecar, to_core, to_sidecar};
use conexus_proto::{PROTOCOL_VERSION, facts};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::admit::{MESSAGE_BYTES_MAX, NAME_BYTES_MAX, Rejection};
use super::budget::Budget;
use super::codec::Inbound;
use crate::aggregate::Aggregate;
use crate::aggregate::epochs::{CoreInfo, Link, Taken};
use crate::aggregate::tally::{REJECTED, Reason};
use crate::closing::Closing;
use crate::export::{CoreStart, Life, Records};

/// How long a new connection may take to say `Hello`.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a version, commit or compiler name at most: the version is shown as a label.
const BUILD_BYTES_MAX: usize = 128;
/// How many batches a sidecar without its state believes a core that it has missed.
const SKIPPED_MAX: u64 = 1 << 40;
/// Answers that wait for a slow core.
const ANSWERS: usize = 16;

/// The service's name in gRPC.
pub const SERVICE: &str = "conexus.telemetry.v1.Ingest";

/// The ingest service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingest {
    aggregate: Aggregate,
    records: Records,
    closing: Closing,
    budget: Arc<Budget>,
}

impl Ingest {
    /// A service that puts measures into `aggregate`, passes records on to `records`, and ends its streams once
    /// `closing` says so.
    pub fn new(aggregate: Aggregate, records: Records, closing: Closing) -> Self {
        Self { aggregate, records, closing, budget: Arc::default() }
    }

    /// Takes records at another rate than the default.
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = Arc::new(budget);
        self
    }

    /// Answers a request for the method `Stream`. tonic's generated service would end the stream at a message that it cannot read.
    pub async fn serve(self, request: axum::extract::Request) -> axum::http::Response<tonic::body::Body> {
        let mut grpc =
            Grpc::new(Frames::<ToCore, Inbound>::new()).apply_max_message_size_config(Some(MESSAGE_BYTES_MAX), None);
        grpc.streaming(self, request).await
    }
}

type Answers = ReceiverStream<Result<ToCore, Status>>;

impl StreamingService<Inbound> for Ingest {
    type Response = ToCore;
    type ResponseStream = Answers;
    type Future = Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<Inbound>>) -> Self::Future {
        let (answers, stream) = mpsc::channel(ANSWERS);
        let inbound = request.into_inner();
        let conversation =
            Conversation { service: self.clone(), inbound, answers, next: 1, first: true, leaving: false };
        tokio::spawn(conversation.run());
        ready(Ok(Response::new(ReceiverStream::new(stream))))
    }
}

struct Conversation {
    service: Ingest,
    inbound: Streaming<Inbound>,
    answers: mpsc::Sender<Result<ToCore, Status>>,
    // The number of the batch that is due, and whether none has come on this stream.
    next: u64,
    first: bool,
    // The core has said goodbye: nothing more is read, its end only has to reach the disk.
    leaving: bool,
}

/// How a conversation ended.
enum End {
    /// The core said goodbye, and that is on disk.
    Goodbye,
    /// The core's side vanished.
    Vanished,
    /// The sidecar ended it.
    Ours,
}

impl Conversation {
    async fn run(mut self) {
        let Some(hello) = self.hello().await else { return };
        let epoch = hello.boot_epoch;
        let mut start = start_of(&hello);
        let mut link = match self.admit(hello) {
            Ok(link) => link,
            Err(refused) => return self.answer(to_core::Message::Refused(refused)).await,
        };
        let acknowledged = link.last_durable();
        start.known = acknowledged > 0;
        self.service.records.tell(epoch, &Life::Connected(start));
        self.next = acknowledged + 1;
        self.answer(to_core::Message::Welcome(v1::Welcome {
            last_sequence: acknowledged,
            sidecar_version: env!("CARGO_PKG_VERSION").into(),
            protocol_version: PROTOCOL_VERSION,
        }))
        .await;
        tracing::info!(epoch = format!("{epoch:016x}"), last_sequence = acknowledged, "core connected");
        let end = self.converse(&mut link, acknowledged).await;
        let how = match end {
            End::Goodbye => "it said goodbye",
            End::Vanished => "its stream ended without a goodbye",
            End::Ours => "the sidecar ended the stream",
        };
        self.service.aggregate.lost(&link, matches!(end, End::Vanished));
        tracing::info!(epoch = format!("{epoch:016x}"), how, "core disconnected");
    }

    /// The first message, if it is a `Hello` and comes in time.
    async fn hello(&mut self) -> Option<v1::Hello> {
        let mut closing = self.service.closing.clone();
        let first = tokio::select! {
            first = tokio::time::timeout(HELLO_WITHIN, self.inbound.message()) => first,
            () = closing.wait() => return None,
        };
        let problem = match first {
            Ok(Ok(Some(Inbound::Message(message)))) => match *message {
                ToSidecar { message: Some(to_sidecar::Message::Hello(hello)) } => return Some(hello),
                _ => "the first message must be Hello",
            },
            Ok(Ok(Some(Inbound::Unreadable { .. }))) => "the first message must be Hello",
            Ok(Ok(None)) | Ok(Err(_)) => return None,
            Err(_) => "no Hello within 10 seconds",
        };
        self.service.aggregate.count(&[(REJECTED + Reason::Protocol as usize, 1)], true);
        self.refuse(problem, true).await;
        None
    }

    fn admit(&self, hello: v1::Hello) -> Result<Link, v1::Refused> {
        check_hello(&hello).map_err(|reason| v1::Refused { reason, retry: false })?;
        let build = hello.build.unwrap_or_default();
        let info = CoreInfo { version: build.version, commit: build.commit, pid: hello.pid, serving: hello.serving };
        self.service.aggregate.connect(hello.boot_epoch, info).map_err(|error| {
            let retry = matches!(error, crate::aggregate::epochs::ConnectError::TooMany);
            v1::Refused { reason: error.to_string(), retry }
        })
    }

    async fn converse(&mut self, link: &mut Link, mut acknowledged: u64) -> End {
        let mut closing = self.service.closing.clone();
        loop {
            tokio::select! {
                biased;
                () = closing.wait() => return End::Ours,
                changed = link.progress.changed() => {
                    if changed.is_err() || !link.is_current() {
                        return End::Ours;
                    }
                    let progress = *link.progress.borrow();
                    if progress.sequence > acknowledged {
                        acknowledged = progress.sequence;
                        self.acknowledge(acknowledged).await;
                    }
                    if progress.ended {
                        return End::Goodbye;
                    }
                }
                message = self.inbound.message(), if !self.leaving => match self.receive(link, message, acknowledged).await {
                    Some(end) => return end,
                    None => continue,
                },
            }
        }
    }

    async fn receive(
        &mut self,
        link: &Link,
        message: Result<Option<Inbound>, Status>,
        acknowledged: u64,
    ) -> Option<End> {
        let message = match message {
            Ok(Some(Inbound::Message(message))) => message.message,
            Ok(Some(Inbound::Unreadable { sequence, error })) => {
                return self.refuse_unreadable(link, sequence, error).await;
            }
            Ok(None) => return Some(End::Vanished),
            Err(status) if too_large(&status) => return self.refuse_oversized(link, &status).await,
            Err(status) => {
                tracing::debug!(error = %status, "the stream of a core broke");
                return Some(End::Vanished);
            }
        };
        match message {
            Some(to_sidecar::Message::Batch(batch)) => self.receive_batch(link, batch, acknowledged).await,
            Some(to_sidecar::Message::Goodbye(goodbye)) => {
                tracing::info!(reason = clip(&goodbye.reason), "core says goodbye");
                self.service.aggregate.goodbye(link);
                self.service.records.tell(link.epoch, &Life::Ended);
                self.leaving = true;
                None
            }
            _ => {
                self.service.aggregate.count(&[(REJECTED + Reason::Protocol as usize, 1)], true);
                self.refuse("only batches and a goodbye may follow Hello", true).await;
                Some(End::Ours)
            }
        }
    }

    async fn receive_batch(&mut self, link: &Link, batch: v1::Batch, acknowledged: u64) -> Option<End> {
        let (sequence, taken) = (batch.sequence, self.service.aggregate.take(link, &batch));
        (self.next, self.first) = (sequence.saturating_add(1), false);
        match taken {
            Ok(Taken::New) => {
                let pause = self.service.budget.spend(batch.records.len());
                self.service.records.pass_on(link.epoch, batch.records);
                if let Some(pause) = pause {
                    let pause_millis = pause.as_millis() as u32;
                    self.answer(to_core::Message::Throttle(v1::Throttle { pause_millis })).await;
                }
                None
            }
            Ok(Taken::Repeated) => {
                if sequence <= acknowledged {
                    self.acknowledge(acknowledged).await;
                }
                None
            }
            Ok(Taken::Superseded) => Some(End::Ours),
            Err(rejection) => self.reject(link, sequence, rejection).await,
        }
    }

    /// A message that cannot be read is the batch that is due: a core sends them in order. The first on a stream may be a later
    /// one, if the sidecar has lost its state, and then only the message itself can say which.
    async fn refuse_unreadable(&mut self, link: &Link, sequence: Option<u64>, error: String) -> Option<End> {
        let later = sequence.filter(|sequence| self.first && (self.next..self.next + SKIPPED_MAX).contains(sequence));
        let sequence = later.unwrap_or(self.next);
        (self.next, self.first) = (sequence + 1, false);
        let rejection = Rejection::new(Reason::Protocol, format!("cannot be read: {error}"));
        match self.service.aggregate.refuse(link, sequence, rejection) {
            Ok(Taken::Superseded) => Some(End::Ours),
            Ok(_) => None,
            Err(rejection) => self.reject(link, sequence, rejection).await,
        }
    }

    /// Nothing can be read behind a message that is too large, so the stream ends; the core goes on behind it.
    async fn refuse_oversized(&mut self, link: &Link, status: &Status) -> Option<End> {
        let rejection = Rejection::new(Reason::Size, status.message());
        if let Err(rejection) = self.service.aggregate.refuse(link, self.next, rejection) {
            tracing::warn!(epoch = format!("{:016x}", link.epoch), sequence = self.next, %rejection, "refused a batch");
        }
        self.refuse(status.message(), true).await;
        Some(End::Ours)
    }

    async fn reject(&self, link: &Link, sequence: u64, rejection: Rejection) -> Option<End> {
        let reason = format!("batch {sequence}: {rejection}");
        tracing::warn!(epoch = format!("{:016x}", link.epoch), reason, "refused a batch");
        if rejection.reason == Reason::Sequence {
            // What is missing comes again on a new stream.
            self.refuse(&reason, true).await;
            return Some(End::Ours);
        }
        self.answer(to_core::Message::Rejected(v1::Rejected { sequence, reason })).await;
        None
    }

    async fn acknowledge(&self, sequence: u64) {
        self.answer(to_core::Message::Ack(v1::Ack { sequence })).await;
    }

    async fn refuse(&self, reason: &str, retry: bool) {
        self.answer(to_core::Message::Refused(v1::Refused { reason: reason.into(), retry })).await;
    }

    async fn answer(&self, message: to_core::Message) {
        // A core that is gone needs no answer; its loss shows on the inbound side.
        let _ = self.answers.send(Ok(ToCore { message: Some(message) })).await;
    }
}

fn check_hello(hello: &v1::Hello) -> Result<(), String> {
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(format!(
            "conexusd speaks telemetry protocol {}, this sidecar {PROTOCOL_VERSION}: run the same version of both",
            hello.protocol_version
        ));
    }
    if hello.facts_fingerprint != FINGERPRINT {
        return Err(format!(
            "conexusd numbers its facts differently ({:016x}, this sidecar {:016x}): run the same version of both",
            hello.facts_fingerprint,
            facts::FINGERPRINT
        ));
    }
    if hello.boot_epoch == 0 {
        return Err("boot_epoch is 0".into());
    }
    let build = hello.build.clone().unwrap_or_default();
    for (name, text) in [("version", &build.version), ("commit", &build.commit), ("rustc", &build.rustc)] {
        if text.len() > BUILD_BYTES_MAX {
            return Err(format!("build.{name} has {} bytes, at most {BUILD_BYTES_MAX} are allowed", text.len()));
        }
    }
    Ok(())
}

fn start_of(hello: &v1::Hello) -> CoreStart {
    let build = hello.build.clone().unwrap_or_default();
    CoreStart {
        version: build.version,
        commit: build.commit,
        rustc: build.rustc,
        pid: hello.pid,
        serving: hello.serving,
        started_unix_nanos: hello.started_unix_nanos,
        known: false,
    }
}

fn too_large(status: &Status) -> bool {
    matches!(status.code(), tonic::Code::OutOfRange | tonic::Code::ResourceExhausted)
}

fn clip(text: &str) -> &str {
    let end = (0..=NAME_BYTES_MAX.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}
