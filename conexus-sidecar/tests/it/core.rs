//! A core that speaks the telemetry protocol, step by step.

use std::path::Path;
use std::time::Duration;

use conexus_proto::codec::Frames;
use conexus_proto::facts::{CELLS, FINGERPRINT, Fact, Gauge};
use conexus_proto::v1::ingest_client::IngestClient;
use conexus_proto::v1::{self, ToCore, ToSidecar, record, to_core, to_sidecar};
use conexus_proto::{PROTOCOL_VERSION, STREAM_PATH};
use conexus_sidecar::config::Options;
use conexus_sidecar::pipeline::{self, Sidecar};
use hyper_util::rt::TokioIo;
use prost::Message;
use prost::bytes::Bytes;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(5);

/// A channel to the socket.
pub(crate) async fn channel(socket: &Path) -> Channel {
    let path = socket.to_path_buf();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://sidecar").connect_with_connector(connector).await.expect("the sidecar listens")
}

/// A sidecar with default options that keeps everything below a folder of its own.
pub(crate) async fn running() -> (TempDir, Options, Sidecar) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = Options::below(folder.path()).expect("default options");
    let sidecar = pipeline::start(&options).await.expect("it starts");
    (folder, options, sidecar)
}

/// A stream that carries any bytes up.
pub(crate) async fn raw_stream(socket: &Path) -> (mpsc::Sender<Bytes>, Streaming<ToCore>) {
    let (up, messages) = mpsc::channel(64);
    let mut client = tonic::client::Grpc::new(channel(socket).await);
    client.ready().await.expect("the channel is open");
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(STREAM_PATH);
    let request = tonic::Request::new(ReceiverStream::new(messages));
    (up, client.streaming(request, path, Frames::<Bytes, ToCore>::new()).await.expect("a stream opens").into_inner())
}

/// A message as its bytes.
pub(crate) fn encoded(message: to_sidecar::Message) -> Bytes {
    ToSidecar { message: Some(message) }.encode_to_vec().into()
}

/// An open stream to the sidecar.
pub(crate) struct Stream {
    up: mpsc::Sender<ToSidecar>,
    down: Streaming<ToCore>,
}

impl Stream {
    pub(crate) async fn open(socket: &Path) -> Self {
        let (up, messages) = mpsc::channel(64);
        let mut client = IngestClient::new(channel(socket).await);
        let down = client.stream(ReceiverStream::new(messages)).await.expect("a stream opens").into_inner();
        Self { up, down }
    }

    pub(crate) async fn send(&self, message: to_sidecar::Message) {
        self.up.send(ToSidecar { message: Some(message) }).await.expect("the stream is open");
    }

    /// The next answer; `None` if the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<to_core::Message> {
        let answer = tokio::time::timeout(WITHIN, self.down.message()).await.expect("an answer in time");
        answer.ok().flatten().and_then(|answer| answer.message)
    }

    pub(crate) async fn acknowledged(&mut self, sequence: u64) {
        loop {
            match self.next().await {
                Some(to_core::Message::Ack(ack)) if ack.sequence >= sequence => return,
                Some(to_core::Message::Ack(_)) => {}
                other => panic!("batch {sequence} was to be acknowledged, got {other:?}"),
            }
        }
    }

    /// The next refusal of a batch; the stream goes on.
    pub(crate) async fn rejected(&mut self) -> v1::Rejected {
        loop {
            match self.next().await {
                Some(to_core::Message::Rejected(rejected)) => return rejected,
                Some(to_core::Message::Ack(_)) => {}
                other => panic!("a rejection was expected, got {other:?}"),
            }
        }
    }

    pub(crate) async fn refused(&mut self) -> v1::Refused {
        loop {
            match self.next().await {
                Some(to_core::Message::Refused(refused)) => return refused,
                Some(to_core::Message::Ack(_)) => {}
                other => panic!("a refusal was expected, got {other:?}"),
            }
        }
    }
}

/// One life of a core: what it has counted.
#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) sent: [u64; 3],
    cells: Vec<u64>,
}

impl Core {
    pub(crate) fn new(epoch: u64) -> Self {
        Self { epoch, sequence: 0, sent: [0; 3], cells: vec![0; CELLS] }
    }

    pub(crate) fn emit(&mut self, fact: Fact) {
        fact.addition().add_to(&mut self.cells);
    }

    pub(crate) fn hello(&self) -> v1::Hello {
        v1::Hello {
            boot_epoch: self.epoch,
            protocol_version: PROTOCOL_VERSION,
            facts_fingerprint: FINGERPRINT,
            build: Some(v1::Build { version: "7.7.7".into(), ..v1::Build::default() }),
            serving: true,
            pid: 42,
            started_unix_nanos: 1,
        }
    }

    /// Connects and returns the stream and the last sequence that the sidecar has.
    pub(crate) async fn connect(&self, socket: &Path) -> (Stream, u64) {
        let mut stream = Stream::open(socket).await;
        stream.send(to_sidecar::Message::Hello(self.hello())).await;
        match stream.next().await {
            Some(to_core::Message::Welcome(welcome)) => (stream, welcome.last_sequence),
            other => panic!("a welcome was expected, got {other:?}"),
        }
    }

    /// The next batch, with records and a snapshot of everything so far.
    pub(crate) fn batch(&mut self, records: Vec<record::Record>) -> v1::Batch {
        self.sequence += 1;
        for record in &records {
            let kind = match record {
                record::Record::Span(_) => 0,
                record::Record::Log(_) => 1,
                record::Record::Error(_) => 2,
            };
            self.sent[kind] += 1;
        }
        let told = (0..CELLS).filter(|&cell| self.cells[cell] > 0);
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is past 1970").as_nanos()
                as i64;
        v1::Batch {
            sequence: self.sequence,
            records: records.into_iter().map(|record| v1::Record { record: Some(record) }).collect(),
            snapshot: Some(v1::Snapshot {
                unix_nanos: now,
                cells: told.clone().map(|cell| cell as u32).collect(),
                values: told.map(|cell| self.cells[cell]).collect(),
                gauges: vec![Gauge::QueueDepth as u32, Gauge::ProcessCpuSeconds as u32],
                gauge_values: vec![3.0, 0.5],
            }),
            accounting: Some(v1::Accounting {
                emitted: self.sent.to_vec(),
                dropped: vec![0; 18],
                sent: self.sent.to_vec(),
            }),
        }
    }

    /// Sends a batch and waits until it is acknowledged.
    pub(crate) async fn report(&mut self, stream: &mut Stream, records: Vec<record::Record>) {
        let batch = self.batch(records);
        let sequence = batch.sequence;
        stream.send(to_sidecar::Message::Batch(batch)).await;
        stream.acknowledged(sequence).await;
    }
}
