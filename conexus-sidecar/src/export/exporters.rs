//! Exporters: which ones run, how are they, and how do they end?

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::backoff::Backoff;
use super::logs::Logs;
use super::outlet::Outlet;
use super::spool::Spool;
use super::worker::{Destination, Plan, Worker};
use super::{ExporterStates, LOG, RecordSink};
use crate::aggregate::Aggregate;

/// The running exporters.
#[derive(Debug)]
pub struct Exporters {
    aggregate: Aggregate,
    spool: Option<Arc<Spool>>,
    outlets: Vec<Arc<Outlet>>,
    sinks: Vec<Arc<dyn RecordSink>>,
    logs: Option<Logs>,
    workers: Vec<JoinHandle<()>>,
    stop: watch::Sender<Option<Instant>>,
}

impl Exporters {
    /// None yet. They count failures and drops in `aggregate`, and share `spool`.
    pub fn new(aggregate: Aggregate, spool: Option<Spool>) -> Self {
        let spool = spool.map(Arc::new);
        let stop = watch::Sender::new(None);
        Self { aggregate, spool, outlets: Vec::new(), sinks: Vec::new(), logs: None, workers: Vec::new(), stop }
    }

    /// Starts one. Must run in a tokio runtime.
    pub fn start(&mut self, plan: Plan, destination: impl Destination) {
        self.start_behind(plan, destination, |outlet| outlet);
    }

    /// Starts one whose records come from `front`, which is made with its outlet and takes what comes in.
    pub fn start_behind<S: RecordSink + 'static>(
        &mut self,
        plan: Plan,
        destination: impl Destination,
        front: impl FnOnce(Arc<Outlet>) -> Arc<S>,
    ) -> Arc<S> {
        let outlet = Outlet::new(plan.number, plan.wanted, plan.queue, plan.chunk, self.aggregate.clone());
        let outlet = Arc::new(outlet);
        let worker = Worker {
            plan,
            outlet: outlet.clone(),
            destination,
            spool: self.spool.clone().filter(|_| plan.spool),
            aggregate: self.aggregate.clone(),
            stopping: self.stop.subscribe(),
            backoff: Backoff::default(),
            open_until: None,
            in_hand: Vec::new(),
        };
        let front = front(outlet.clone());
        self.outlets.push(outlet);
        self.sinks.push(front.clone());
        self.workers.push(tokio::spawn(worker.run()));
        front
    }

    /// Adds the log files, which have a worker of their own.
    pub fn add_logs(&mut self, logs: Logs) {
        self.sinks.push(Arc::new(logs.clone()));
        self.logs = Some(logs);
    }

    /// Where records go in.
    pub fn sinks(&self) -> impl Iterator<Item = Arc<dyn RecordSink>> {
        self.sinks.iter().cloned()
    }

    /// Their states from now on.
    pub fn states(&self) -> States {
        States { outlets: self.outlets.clone().into(), logs: self.logs.clone(), spool: self.spool.clone() }
    }

    /// Ends all of them at the same time: each sends what it still can, and what is left goes to the spool or is
    /// dropped and counted. Returns within `limit`.
    pub async fn stop(self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let logs = self.logs.map(|logs| tokio::task::spawn_blocking(move || logs.stop()));
        self.stop.send_replace(Some(deadline));
        for worker in self.workers {
            // A worker keeps to the deadline by itself, unless the disk hangs.
            let abort = worker.abort_handle();
            if timeout_at(deadline + Duration::from_millis(50), worker).await.is_err() {
                abort.abort();
                tracing::error!("an exporter did not end in time");
            }
        }
        if let Some(logs) = logs
            && timeout_at(deadline, logs).await.is_err()
        {
            tracing::error!("the last log lines could not be written in time");
        }
    }
}

/// Tells the exporters' states. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct States {
    outlets: Arc<[Arc<Outlet>]>,
    logs: Option<Logs>,
    spool: Option<Arc<Spool>>,
}

impl States {
    /// The states now. One that is switched off has its type's defaults.
    pub fn now(&self) -> ExporterStates {
        let mut states = ExporterStates::default();
        for outlet in self.outlets.iter() {
            let spooled_bytes = self.spool.as_ref().map_or(0, |spool| spool.bytes(outlet.number()));
            states[outlet.number()] = super::ExporterState { spooled_bytes, ..outlet.state() };
        }
        if let Some(logs) = &self.logs {
            states[LOG] = logs.state();
        }
        states
    }
}
