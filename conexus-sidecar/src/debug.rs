//! Debug: what is going on right now?
//!
//! `Tail` shows records and moving measures as they come, `Snapshot` the whole state. They only look: a slow reader
//! misses events, which it is told, and delays nothing.

pub mod tail;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use conexus_proto::v1::{self, debug_server, tail_event};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use self::tail::{Filter, Live};
use crate::aggregate::tally::EXPORTERS;
use crate::catalog::Kind;
use crate::catalog::samples::{Sampled, Value};
use crate::export::RecordBatch;
use crate::export::prometheus::BOUNDS;
use crate::health::age_seconds;
use crate::http::Observatory;

/// Events that wait for one reader of `Tail`.
const WAITING: usize = 256;

/// The debug service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Debug {
    observatory: Observatory,
    live: Arc<Live>,
}

impl Debug {
    /// Shows what `observatory` sees and what passes `live`.
    pub fn new(observatory: Observatory, live: Arc<Live>) -> Self {
        Self { observatory, live }
    }
}

#[tonic::async_trait]
impl debug_server::Debug for Debug {
    type TailStream = Pin<Box<dyn Stream<Item = Result<v1::TailEvent, Status>> + Send>>;

    async fn tail(&self, request: Request<v1::TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let filter = Filter::new(request.into_inner()).map_err(Status::invalid_argument)?;
        let (events, stream) = mpsc::channel(WAITING);
        // Before the client has its answer: whatever happens after that, it sees.
        let (batches, commits) = (self.live.subscribe(), self.observatory.aggregate.commits());
        let mut reader = Reader { observatory: self.observatory.clone(), filter, events, seen: HashMap::new() };
        if reader.filter.measures() {
            reader.moved();
        }
        tokio::spawn(reader.run(batches, commits));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn snapshot(&self, _: Request<v1::SnapshotRequest>) -> Result<Response<v1::SnapshotReply>, Status> {
        Ok(Response::new(snapshot(&self.observatory)))
    }
}

/// One client of `Tail`.
struct Reader {
    observatory: Observatory,
    filter: Filter,
    events: mpsc::Sender<Result<v1::TailEvent, Status>>,
    // Values of counters when they were last looked at.
    seen: HashMap<String, f64>,
}

impl Reader {
    async fn run(mut self, mut batches: broadcast::Receiver<Arc<RecordBatch>>, mut commits: watch::Receiver<u64>) {
        let mut closing = self.observatory.closing.clone();
        loop {
            let events = tokio::select! {
                () = closing.wait() => return,
                () = self.events.closed() => return,
                batch = batches.recv() => match batch {
                    Ok(batch) => self.filter.records(&batch),
                    Err(broadcast::error::RecvError::Lagged(missed)) => vec![event(0, tail_event::Event::Missed(missed))],
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                changed = commits.changed(), if self.filter.measures() => match changed {
                    Ok(()) => self.moved(),
                    Err(_) => return,
                },
            };
            for event in events {
                if self.events.send(Ok(event)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// The counters that moved since the last call.
    fn moved(&mut self) -> Vec<v1::TailEvent> {
        let first = self.seen.is_empty();
        let mut events = Vec::new();
        for series in series(&self.observatory.samples(), false) {
            let key = format!("{}{:?}", series.metric, series.labels);
            let before = self.seen.insert(key, series.value);
            let change = series.value - before.unwrap_or(0.0);
            if !first && change != 0.0 && self.filter.measure(&series.metric) {
                let v1::Series { metric, labels, value } = series;
                let measure = v1::MeasureChange { metric, labels, value, change };
                events.push(event(0, tail_event::Event::Measure(measure)));
            }
        }
        events
    }
}

fn event(boot_epoch: u64, event: tail_event::Event) -> v1::TailEvent {
    v1::TailEvent { boot_epoch, event: Some(event) }
}

/// The whole state.
pub fn snapshot(observatory: &Observatory) -> v1::SnapshotReply {
    let cores = observatory.aggregate.view().cores.into_iter().map(|core| {
        let info = core.info.unwrap_or_default();
        v1::Core {
            boot_epoch: core.epoch,
            version: info.version,
            pid: info.pid,
            serving: core.serving,
            connected: core.connected,
            last_sequence: core.last_sequence,
            snapshot_age_seconds: core.snapshot_unix_nanos.map_or(0.0, age_seconds),
        }
    });
    let exporters = EXPORTERS.iter().zip(observatory.exporters()).map(|(name, state)| v1::Exporter {
        name: (*name).into(),
        enabled: state.enabled,
        up: state.up,
        last_error: state.last_error.unwrap_or_default(),
    });
    v1::SnapshotReply {
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_seconds: observatory.health.uptime().as_secs_f64(),
        cores: cores.collect(),
        series: series(&observatory.samples(), true),
        exporters: exporters.collect(),
    }
}

/// The samples one value each. `all`: gauges and buckets too, not only what counts events.
fn series(samples: &[Sampled], all: bool) -> Vec<v1::Series> {
    let mut out = Vec::new();
    for Sampled { metric, series } in samples {
        if !all && metric.kind != Kind::Counter && metric.kind != Kind::Histogram {
            continue;
        }
        for one in series {
            let labels: Vec<v1::Label> = one
                .labels
                .iter()
                .map(|(name, value)| v1::Label { name: (*name).into(), value: value.to_string() })
                .collect();
            let mut push = |suffix: &str, extra: Option<&str>, value: f64| {
                let mut labels = labels.clone();
                labels.extend(extra.map(|le| v1::Label { name: "le".into(), value: le.into() }));
                out.push(v1::Series { metric: format!("{}{suffix}", metric.name), labels, value });
            };
            match &one.value {
                Value::Count(value) => push("", None, *value as f64),
                Value::Number(value) => push("", None, *value),
                Value::EmptySummary => push("_count", None, 0.0),
                Value::Histogram(histogram) => {
                    let mut count = 0;
                    for (bucket, bound) in histogram.buckets.iter().zip(BOUNDS) {
                        count += bucket;
                        if all {
                            push("_bucket", Some(bound), count as f64);
                        }
                    }
                    push("_count", None, count as f64);
                    if all {
                        push("_sum", None, histogram.sum_nanos as f64 / 1e9);
                    }
                }
            }
        }
    }
    out
}
