//! Relay: the wire between the cores and the sidecar, which reads what it carries and does what wires do, and worse.
//!
//! Connections are cut at any byte. Messages are late, come twice, or in another order: for those the relay is a sidecar to the
//! core and a core to the sidecar. What comes first on a stream is never swapped: a sidecar that has lost its state
//! must be able to believe it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use conexus_proto::STREAM_PATH;
use conexus_proto::codec::Frames;
use conexus_proto::v1::{Batch, ToCore, ToSidecar, attribute, record, to_core, to_sidecar};
use conexus_sidecar::closing::{self, Closer, Closing};
use conexus_tests::storm::Seeded;
use conexusd::telemetry::{Connect, Wire};
use hyper_util::rt::TokioIo;
use prost::Message;
use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::StreamingService;
use tonic::{Request, Response, Status, Streaming};

use super::pipe::Pipe;
use super::{Seen, SeenBatch, Shared, lock};

/// The way to the present sidecar.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) pipes: mpsc::UnboundedSender<Pipe>,
    /// The sidecar is dead.
    pub(crate) dead: Closing,
}

/// The wire. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Relay {
    seeded: Shared<Seeded>,
    door: Shared<Door>,
    seen: Shared<Seen>,
    calm: Arc<AtomicBool>,
    /// What cuts each open connection.
    cutters: Shared<Vec<Closer>>,
}

impl Relay {
    pub(crate) fn new(seed: u64, door: Door) -> Self {
        Self {
            seeded: Arc::new(Seeded(seed).into()),
            door: Arc::new(door.into()),
            seen: Arc::default(),
            calm: Arc::default(),
            cutters: Arc::default(),
        }
    }

    pub(crate) fn seen(&self) -> &Shared<Seen> {
        &self.seen
    }

    /// There is another sidecar.
    pub(crate) fn lead_to(&self, door: Door) {
        *lock(&self.door) = door;
    }

    /// Cuts one of the connections.
    pub(crate) fn cut(&self) {
        let mut cutters = lock(&self.cutters);
        if !cutters.is_empty() {
            let which = lock(&self.seeded).below(cutters.len() as u64) as usize;
            cutters.swap_remove(which).close();
            lock(&self.seen).cuts += 1;
        }
    }

    /// From now on nothing happens to what it carries.
    pub(crate) fn calm(&self) {
        self.calm.store(true, Ordering::Release);
    }

    fn happens(&self, one_in: u64) -> bool {
        !self.calm.load(Ordering::Acquire) && lock(&self.seeded).below(one_in) == 0
    }

    /// What a core connects through.
    pub(crate) fn connect(&self) -> Connect {
        let relay = self.clone();
        Arc::new(move || {
            let (closer, cut) = closing::pair();
            lock(&relay.cutters).push(closer);
            let [near, far] = Pipe::pair(relay.room(), &cut);
            let stream = Stream(relay.clone());
            let router = Router::new().route(STREAM_PATH, post(move |request| answer(stream.clone(), request)));
            let incoming = tokio_stream::once(Ok::<_, std::convert::Infallible>(far));
            tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(router, incoming));
            Box::pin(async move { Ok(Box::new(near) as Box<dyn Wire>) })
        })
    }

    /// Bytes that a pipe holds: often less than a message has.
    fn room(&self) -> usize {
        64 << lock(&self.seeded).below(9)
    }

    async fn carry(self, mut from_core: Streaming<Bytes>, to_core: mpsc::Sender<Result<Bytes, Status>>) {
        let (to_sidecar, messages) = mpsc::channel(2);
        let Some(mut from_sidecar) = self.open(messages).await else { return };
        let epoch = std::sync::OnceLock::new();
        let up = async {
            self.carry_up(&mut from_core, to_sidecar, &epoch).await?;
            // The core has said all; the sidecar may still have to answer.
            std::future::pending::<Option<()>>().await
        };
        let down = async {
            while let Ok(Some(message)) = from_sidecar.message().await {
                self.late().await;
                self.note_answer(epoch.get().copied(), &message);
                to_core.send(Ok(message)).await.ok()?;
            }
            Some(())
        };
        tokio::select! {
            _ = up => {}
            _ = down => {}
        }
    }

    async fn open(&self, messages: mpsc::Receiver<Bytes>) -> Option<Streaming<Bytes>> {
        let door = lock(&self.door).clone();
        let [near, far] = Pipe::pair(self.room(), &door.dead);
        door.pipes.send(far).ok()?;
        let mut near = Some(near);
        let connector = tower::service_fn(move |_| {
            let near = near.take().ok_or(std::io::ErrorKind::NotConnected);
            async move { near.map(TokioIo::new).map_err(std::io::Error::from) }
        });
        let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
        let channel = endpoint.connect_with_connector(connector).await.ok()?;
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.ok()?;
        let request = Request::new(ReceiverStream::new(messages));
        let path = PathAndQuery::from_static(STREAM_PATH);
        Some(client.streaming(request, path, Plain::new()).await.ok()?.into_inner())
    }

    /// None when the connection broke.
    async fn carry_up(
        &self,
        from_core: &mut Streaming<Bytes>,
        to_sidecar: mpsc::Sender<Bytes>,
        epoch: &std::sync::OnceLock<u64>,
    ) -> Option<()> {
        let (mut held, mut batches) = (None::<Bytes>, 0);
        loop {
            let next = match held {
                Some(_) => tokio::time::timeout(Duration::from_millis(3), from_core.message()).await,
                None => Ok(from_core.message().await),
            };
            let Ok(next) = next else {
                to_sidecar.send(held.take()?).await.ok()?;
                continue;
            };
            let next = next.ok()?;
            self.late().await;
            let is_batch = next.as_ref().is_some_and(|message| self.note_message(epoch, message));
            batches += u64::from(is_batch);
            if is_batch && batches > 1 && held.is_none() && self.happens(8) {
                held = next;
                continue;
            }
            let (first, second) = if is_batch { (next, held.take()) } else { (held.take(), next) };
            lock(&self.seen).swapped += u64::from(is_batch && second.is_some());
            let end = first.is_none() && second.is_none();
            for message in [first, second].into_iter().flatten() {
                if is_batch && self.happens(6) {
                    lock(&self.seen).repeated += 1;
                    to_sidecar.send(message.clone()).await.ok()?;
                }
                to_sidecar.send(message).await.ok()?;
            }
            if end {
                return Some(());
            }
        }
    }

    async fn late(&self) {
        if self.happens(6) {
            let micros = lock(&self.seeded).below(2_000);
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
    }

    /// Reads what a core says; whether it is a batch.
    fn note_message(&self, epoch: &std::sync::OnceLock<u64>, message: &Bytes) -> bool {
        let message = ToSidecar::decode(message.clone()).expect("a core speaks the protocol");
        match message.message {
            Some(to_sidecar::Message::Hello(hello)) => {
                epoch.get_or_init(|| hello.boot_epoch);
                false
            }
            Some(to_sidecar::Message::Batch(batch)) => {
                let epoch = epoch.get().expect("a core says hello first");
                let mut seen = lock(&self.seen);
                let batches = &mut seen.cores.entry(*epoch).or_default().batches;
                let spans = numbers(&batch);
                let known = batches.entry(batch.sequence).or_insert_with(|| SeenBatch {
                    accounting: batch.accounting.clone().expect("a core accounts for its records"),
                    spans: spans.clone(),
                });
                assert_eq!(known.spans, spans, "batch {} is another one when it is sent again", batch.sequence);
                true
            }
            _ => false,
        }
    }

    fn note_answer(&self, epoch: Option<u64>, message: &Bytes) {
        let message = ToCore::decode(message.clone()).expect("a sidecar speaks the protocol");
        match (message.message, epoch) {
            (Some(to_core::Message::Ack(ack)), Some(epoch)) => {
                lock(&self.seen).cores.entry(epoch).or_default().acknowledged.push(ack.sequence);
            }
            (Some(to_core::Message::Rejected(rejected)), _) => panic!("refused: {}", rejected.reason),
            _ => {}
        }
    }
}

/// The numbers of a batch's spans.
pub(crate) fn numbers(batch: &Batch) -> Vec<u64> {
    batch.records.iter().filter_map(|record| number(record.record.as_ref()?)).collect()
}

/// The number of a span.
pub(crate) fn number(record: &record::Record) -> Option<u64> {
    let record::Record::Span(span) = record else { return None };
    match span.attributes.first()?.value {
        Some(attribute::Value::Integer(number)) => Some(number as u64),
        _ => None,
    }
}

/// The service that a core talks to.
#[derive(Clone)]
struct Stream(Relay);

impl StreamingService<Bytes> for Stream {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (answers, stream) = mpsc::channel(2);
        tokio::spawn(self.0.clone().carry(request.into_inner(), answers));
        Box::pin(std::future::ready(Ok(Response::new(ReceiverStream::new(stream)))))
    }
}

/// Messages as they are.
type Plain = Frames<Bytes, Bytes>;

async fn answer(stream: Stream, request: axum::extract::Request) -> axum::http::Response<tonic::body::Body> {
    tonic::server::Grpc::new(Plain::new()).streaming(stream, request).await
}
