//! Sentry: how do errors, crashes and tool calls become Sentry's events, transactions and sessions?
//!
//! ```text
//! records ─▶ trail (what led to it, by core) ─┬─▶ event ─▶ repeats, sample ─┐
//!         └▶ calls (spans of one tool call) ──┼─▶ transaction ─▶ sample ────┼─▶ outlet ─▶ transport ─▶ POST, rate limits
//! lives   ─▶ sessions ────────────────────────┴─────────────────────────────┘
//! ```
//!
//! An envelope is complete when it enters the outlet, event id included: sent late or twice, from the queue or from the
//! spool after a restart, it is the same event.

mod calls;
mod event;
mod repeats;
mod sessions;
mod trail;
mod transaction;
mod transport;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use conexus_config::Dsn;
use conexus_proto::facts::{DropReason, Gauge, Label, RecordKind};
use conexus_proto::v1::{self, record};
use sentry::protocol::{Envelope, EnvelopeItem};

use super::outlet::{Limits, Outlet};
use super::worker::Plan;
use super::{Life, RecordBatch, RecordSink, SENTRY};
use crate::aggregate::Aggregate;
use crate::aggregate::tally::SIDECAR_DROPPED;

pub use transport::{Gate, Transport};

use calls::Calls;
use repeats::{Repeats, Seen};
use sessions::Sessions;
use trail::Trails;
use transport::Category;

/// The exporter: one envelope at a time, which is what Sentry takes.
pub const PLAN: Plan = Plan {
    number: SENTRY,
    wanted: &[RecordKind::Error, RecordKind::Span],
    queue: Limits { records: 1_000, bytes: 16 << 20 },
    chunk: Limits { records: 1, bytes: 1 << 20 },
    linger: Duration::ZERO,
    timeout: Duration::from_secs(10),
    failure: "error report export failed",
    spool: true,
};

/// What is sent, and as what.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to.
    pub dsn: Dsn,
    /// The environment that everything carries.
    pub environment: String,
    /// The release that everything carries.
    pub release: String,
    /// The share of errors that are sent. Crashes always are.
    pub sample_rate: f64,
    /// The share of tool calls that are sent, of those whose traces are kept.
    pub traces_sample_rate: f64,
}

impl Options {
    /// What is configured; `None` without a DSN.
    pub fn new(sentry: &conexus_config::settings::Sentry) -> Option<Self> {
        Some(Self {
            dsn: sentry.dsn.clone()?,
            environment: sentry.environment.clone(),
            release: sentry.release.clone(),
            sample_rate: sentry.sample_rate,
            traces_sample_rate: sentry.traces_sample_rate,
        })
    }
}

/// What every envelope says of where it comes from.
#[derive(Clone, Debug)]
struct Origin {
    environment: String,
    release: String,
    server_name: String,
    kernel: String,
    system: String,
}

/// Turns records into envelopes and puts them into an outlet.
#[derive(Debug)]
pub struct Reporter {
    options: Options,
    origin: Origin,
    aggregate: Aggregate,
    outlet: Arc<Outlet>,
    gate: Gate,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    trails: Trails,
    calls: Calls,
    repeats: Repeats,
    sessions: Sessions,
}

impl Reporter {
    /// Reports to the exporter behind `outlet`, whose transport shares `gate`.
    pub fn new(options: Options, aggregate: Aggregate, outlet: Arc<Outlet>, gate: Gate) -> Self {
        let origin = Origin {
            environment: options.environment.clone(),
            release: options.release.clone(),
            server_name: first_line("/proc/sys/kernel/hostname"),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            system: system_name(),
        };
        Self { options, origin, aggregate, outlet, gate, state: Mutex::default() }
    }

    /// Sends what has waited long enough: calls whose last span has come, errors that were repeated. To be called a few times
    /// a second.
    pub fn tick(&self) {
        let now = Instant::now();
        let mut state = self.state();
        for call in state.calls.finished(now) {
            self.send_call(call);
        }
        for (epoch, error, repeats) in state.repeats.ended(now) {
            self.send_error(&mut state, epoch, &error, repeats);
        }
    }

    /// Sends everything that waits for something: the sidecar ends.
    pub fn finish(&self) {
        let mut state = self.state();
        for call in state.calls.all() {
            self.send_call(call);
        }
        for (epoch, error, repeats) in state.repeats.all() {
            self.send_error(&mut state, epoch, &error, repeats);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_error(&self, state: &mut State, epoch: u64, error: &v1::Error) {
        if let Some(update) = state.sessions.error(epoch) {
            self.send(Category::Session, EnvelopeItem::SessionUpdate(sessions::item(&update, &self.origin)));
        }
        let crash = error.error_type == "crash";
        if !crash && !is_sampled(error_share(epoch, error), self.options.sample_rate) {
            return;
        }
        match state.repeats.see(epoch, error, Instant::now()) {
            Seen::Again if !crash => {}
            _ => self.send_error(state, epoch, error, 0),
        }
    }

    fn send_error(&self, state: &mut State, epoch: u64, error: &v1::Error, repeats: u64) {
        let memory = self.memory(epoch);
        let event = event::event(&self.origin, state.trails.of(epoch), error, epoch, repeats, memory);
        self.send(Category::Error, EnvelopeItem::Event(Box::new(event)));
    }

    fn send_call(&self, call: calls::Call) {
        let transaction = transaction::transaction(&self.origin, call);
        self.send(Category::Transaction, EnvelopeItem::Transaction(Box::new(transaction)));
    }

    /// The core's resident memory, if it has said it lately.
    fn memory(&self, epoch: u64) -> Option<u64> {
        let core = self.aggregate.view().cores.into_iter().find(|core| core.epoch == epoch)?;
        core.gauges.get(Gauge::ProcessResidentBytes as usize).copied().flatten().map(|bytes| bytes as u64)
    }

    fn send(&self, category: Category, item: EnvelopeItem) {
        if self.gate.is_closed(category) {
            let slot = SIDECAR_DROPPED
                + category.kind().number() * DropReason::VALUES.len()
                + DropReason::ExporterFull.number();
            return self.aggregate.count(&[(slot, 1)], false);
        }
        let mut envelope = Envelope::new();
        envelope.add_item(item);
        self.outlet.offer(&Arc::new(RecordBatch::new(0, vec![transport::parcel(category, &envelope)])));
    }
}

impl RecordSink for Reporter {
    fn offer(&self, batch: &Arc<RecordBatch>) {
        let mut state = self.state();
        for record in &batch.records {
            match &record.record {
                Some(record::Record::Log(log)) => state.trails.log(batch.epoch, log),
                Some(record::Record::Error(error)) => {
                    self.take_error(&mut state, batch.epoch, error);
                    state.trails.error(batch.epoch, error);
                }
                Some(record::Record::Span(span)) => {
                    let rate = self.options.traces_sample_rate;
                    if let Some(call) = state.calls.span(batch.epoch, span, |id| is_sampled(trace_share(id), rate)) {
                        self.send_call(call);
                    }
                }
                None => {}
            }
        }
    }

    fn life(&self, epoch: u64, life: &Life) {
        let mut state = self.state();
        if let Life::Connected(start) = life {
            state.trails.connected(epoch, start);
        }
        if let Some(update) = state.sessions.life(epoch, life, SystemTime::now()) {
            self.send(Category::Session, EnvelopeItem::SessionUpdate(sessions::item(&update, &self.origin)));
        }
        if matches!(life, Life::Ended) {
            state.trails.forget(epoch);
        }
    }
}

/// A trace's place between 0 and 1: the one by which conexusd samples.
fn trace_share(trace_id: &[u8]) -> f64 {
    let low = trace_id.iter().rev().take(7).rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    low as f64 / (1_u64 << 56) as f64
}

/// An error's place between 0 and 1: its trace's, so that both are sent or neither, or one made of what it is.
fn error_share(epoch: u64, error: &v1::Error) -> f64 {
    match error.trace_id.is_empty() {
        false => trace_share(&error.trace_id),
        true => trace_share(&event::id(epoch, error).into_bytes()),
    }
}

fn is_sampled(share: f64, rate: f64) -> bool {
    share < rate
}

fn first_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn system_name() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests;
