//! Sidecar: one life of a sidecar's ingest and aggregate, committed when the story says so.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use conexus_proto::STREAM_PATH;
use conexus_sidecar::aggregate::tally::Tally;
use conexus_sidecar::aggregate::{Aggregate, Stepper};
use conexus_sidecar::closing::{self, Closer, Closing};
use conexus_sidecar::export::{RecordBatch, RecordSink, Records};
use conexus_sidecar::ingest::budget::Budget;
use conexus_sidecar::ingest::service::Ingest;
use conexus_tests::storm::Seeded;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::lock;
use super::pipe::Pipe;
use super::relay::{Door, number};

/// The numbers of the spans that were passed on, by core, over all lives.
#[derive(Debug, Default)]
pub(crate) struct Received(Arc<Mutex<HashMap<u64, HashSet<u64>>>>);

impl Received {
    pub(crate) fn numbers(&self) -> HashMap<u64, HashSet<u64>> {
        lock(&self.0).clone()
    }
}

impl RecordSink for Received {
    fn offer(&self, batch: &Arc<RecordBatch>) {
        let numbers = batch.records.iter().filter_map(|record| number(record.record.as_ref()?));
        lock(&self.0).entry(batch.epoch).or_default().extend(numbers);
    }
}

/// A life.
pub(crate) struct Sidecar {
    aggregate: Aggregate,
    stepper: Option<Stepper>,
    server: JoinHandle<()>,
    pipes: mpsc::UnboundedSender<Pipe>,
    dead: Closing,
    death: Closer,
    // Never used: a sidecar that is killed tells its streams nothing.
    _closer: Closer,
}

impl Sidecar {
    /// Begins with what is on disk.
    pub(crate) fn start(folder: &Path, received: &Arc<Received>, seeded: &mut Seeded) -> Self {
        let (aggregate, stepper) = Aggregate::open_stepped(folder).expect("the state can be opened");
        let (closer, closing) = closing::pair();
        let (death, dead) = closing::pair();
        let sink: Arc<dyn RecordSink> = Arc::clone(received) as Arc<dyn RecordSink>;
        let ingest = Ingest::new(aggregate.clone(), Records::new(vec![sink]), closing);
        // One in three asks for pauses.
        let ingest = if seeded.below(3) == 0 { ingest.with_budget(Budget::new(20_000.0, 100.0)) } else { ingest };
        let router = Router::new().route(STREAM_PATH, post(move |request| ingest.clone().serve(request)));
        let (pipes, incoming) = mpsc::unbounded_channel();
        let incoming = UnboundedReceiverStream::new(incoming).map(Ok::<Pipe, Infallible>);
        let server = tokio::spawn(async move {
            let served = tonic::transport::Server::builder().serve_with_incoming(router, incoming).await;
            served.expect("a pipe that breaks is no error of the server");
        });
        Self { aggregate, stepper: Some(stepper), server, pipes, dead, death, _closer: closer }
    }

    pub(crate) fn door(&self) -> Door {
        Door { pipes: self.pipes.clone(), dead: self.dead.clone() }
    }

    pub(crate) fn commit(&mut self) {
        self.stepper.as_mut().expect("it lives").commit();
        assert_eq!(self.aggregate.view().error, None);
    }

    /// What is to be seen.
    pub(crate) fn visible(&self) -> Tally {
        self.aggregate.view().total
    }

    /// Everything ends at once: what was not committed is gone.
    pub(crate) fn kill(&mut self) {
        self.death.close();
        self.server.abort();
        self.stepper = None;
    }
}
