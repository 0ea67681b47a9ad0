//! Drain: who empties the rings and sums the slots?
//!
//! One thread outside tokio. Every 5 ms it takes what the rings hold, encodes it for the outbox and hands log lines to the
//! mirror; every 250 ms it adds the slots up into a snapshot. It never waits for the channel or for stderr.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use conexus_proto::facts::Gauge;
use conexus_proto::v1;
use prost::Message;
use rtrb::Consumer;

use super::Hub;
use super::cell::Cell;
use super::clock::{Anchor, Tick};
use super::encode::{Encoder, Frames};
use super::line::write_log;
use super::mirror::{Mirror, unix_nanos_now};
use super::outbox::Outbox;
use super::process::Sampler;
use super::ring;
use super::storm::Storms;

const POLL_INTERVAL: Duration = Duration::from_millis(5);
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(250);
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// Takes records out of the rings. Used by the drain thread, and by tests that look at records.
#[derive(Default)]
pub(crate) struct Collector {
    consumers: Vec<Consumer<Cell>>,
    scratch: Vec<Cell>,
    text: Vec<u8>,
    encoder: Encoder,
    storms: Storms,
}

impl Collector {
    /// Takes everything that is in the rings and the error queue now. `frames` gets the records, `line` each log line.
    pub(crate) fn collect(
        &mut self,
        hub: &Hub,
        frames: &mut Frames,
        mirror: Option<&Mirror>,
        mut line: impl FnMut(&Mirror, String),
    ) {
        let now = Instant::now();
        self.storms.say(hub, now, false);
        self.consumers.extend(hub.seats.rings.take_new());
        let anchor = Anchor::now();
        let Self { consumers, scratch, text, encoder, storms } = self;
        for consumer in consumers {
            ring::drain(consumer, scratch, |cells| {
                for_each_record(cells, |record| match record[0] {
                    Cell::Trace { id, .. } => encoder.trace(id, record, &anchor, frames),
                    Cell::Log { target, .. } if !storms.lets(target, now) => {}
                    _ => {
                        if hub.records {
                            encoder.log(record, &anchor, frames);
                        }
                        if let Some(mirror) = mirror {
                            let mut out = String::with_capacity(256);
                            write_log(&mut out, mirror.format(), record, &anchor, text);
                            line(mirror, out);
                        }
                    }
                });
            });
        }
        storms.count(hub);
        for report in hub.errors.1.try_iter() {
            encoder.error(&report, &anchor, frames);
        }
    }
}

/// Splits cells at the headers of traces and log lines.
fn for_each_record(mut cells: &[Cell], mut each: impl FnMut(&[Cell])) {
    while let Some(Cell::Trace { cells: length, .. } | Cell::Log { cells: length, .. }) = cells.first() {
        let length = (*length as usize).clamp(1, cells.len());
        let (record, rest) = cells.split_at(length);
        each(record);
        cells = rest;
    }
}

/// The absolute values of all cells and gauges, encoded.
pub(crate) fn snapshot(hub: &Hub) -> Vec<u8> {
    let totals = hub.totals();
    let nonzero = || totals.cells.iter().enumerate().filter(|(_, value)| **value > 0);
    let set = || Gauge::ALL.iter().filter_map(|gauge| Some((*gauge as u32, totals.gauge(*gauge)?)));
    let snapshot = v1::Snapshot {
        unix_nanos: unix_nanos_now(),
        cells: nonzero().map(|(cell, _)| cell as u32).collect(),
        values: nonzero().map(|(_, value)| *value).collect(),
        gauges: set().map(|(gauge, _)| gauge).collect(),
        gauge_values: set().map(|(_, value)| value).collect(),
    };
    snapshot.encode_to_vec()
}

/// What the drain thread works with.
pub(crate) struct Drain {
    pub(crate) hub: Arc<Hub>,
    pub(crate) outbox: Option<Arc<Outbox>>,
    pub(crate) mirror: Option<Mirror>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Drain {
    /// Runs until stopped, then once more, and closes the outbox behind the last snapshot.
    pub(crate) fn run(self) {
        let (mut collector, mut frames, mut sampler) = (Collector::default(), Frames::default(), Sampler::default());
        let mut probe = None;
        let (mut snapshot_due, mut sample_due, mut probe_due) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            let last = self.stop.load(Ordering::Acquire);
            if last {
                self.poll(&mut collector, &mut frames);
                collector.storms.say(&self.hub, Instant::now(), true);
            }
            self.poll(&mut collector, &mut frames);
            let now = Instant::now();
            if let Some(observed) = self.hub.take_runtime() {
                sampler.observe_runtime(observed.metrics);
                probe = Some(observed.probe);
            }
            if now >= sample_due || last {
                sampler.sample(&self.hub.gauges);
                self.hub.seats.tables.touch();
                sample_due = now + SAMPLE_INTERVAL;
            }
            if let Some(probe) = probe.as_ref().filter(|_| now >= probe_due) {
                // A probe that is still on its way will report for both.
                let _ = probe.try_send(Tick::now());
                probe_due = now + PROBE_INTERVAL;
            }
            if now >= snapshot_due || last {
                self.snapshot();
                snapshot_due = now + SNAPSHOT_INTERVAL;
            }
            if last {
                break;
            }
            std::thread::park_timeout(POLL_INTERVAL);
        }
        if let Some(outbox) = &self.outbox {
            outbox.close();
        }
    }

    /// Adds the slots up for the outbox.
    pub(crate) fn snapshot(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.set_snapshot(snapshot(&self.hub), self.hub.seats.tables.accounts());
        }
    }

    /// Takes what the rings hold.
    pub(crate) fn poll(&self, collector: &mut Collector, frames: &mut Frames) {
        collector.collect(&self.hub, frames, self.mirror.as_ref(), Mirror::line);
        if let Some(outbox) = self.outbox.as_ref().filter(|_| !frames.is_empty()) {
            outbox.push(frames, self.hub.seats.tables.accounts());
        }
        frames.clear();
    }
}
