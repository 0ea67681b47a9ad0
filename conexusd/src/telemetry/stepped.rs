//! Stepped: telemetry whose drain works when it is told to and whose wire the caller makes.
//!
//! For simulations, which decide what happens when: no thread and no socket, everything else as in service. Counts lie in
//! private memory.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::channel::{Channel, Connect, Way};
use super::drain::{Collector, Drain};
use super::encode::Frames;
use super::ids::Random;
use super::life::hello;
use super::slots::Tables;
use super::{Hub, Telemetry, TelemetryOptions};

/// The drain's work, and the end of the channel.
pub struct Stepped {
    drain: Drain,
    collector: Collector,
    frames: Frames,
    deadline: watch::Sender<Option<Instant>>,
}

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// A handle, what makes it move, and its channel: a future that connects, sends and connects again, after a pause from
    /// `backoff[0]` to `backoff[1]`, until everything is acknowledged after [`Stepped::close`].
    pub fn stepped(
        options: &TelemetryOptions,
        connect: Connect,
        backoff: [Duration; 2],
    ) -> (Self, Stepped, impl Future<Output = ()> + Send + use<>) {
        let options = TelemetryOptions { socket: Some("stepped".into()), mirror: None, ..options.clone() };
        let hub = Arc::new(Hub::new(&options, None, Tables::default()));
        let outbox = hub.outbox.clone().expect("there is an outbox where there is a socket");
        let (deadline, deadline_seen) = watch::channel(None);
        let hello = hello(&options.build, options.serving, Random::seeded().nonzero());
        let way = Way::Made(connect);
        let channel = Channel {
            hub: Arc::clone(&hub),
            outbox: Arc::clone(&outbox),
            way,
            hello,
            backoff,
            deadline: deadline_seen,
        };
        let drain =
            Drain { hub: Arc::clone(&hub), outbox: Some(outbox), mirror: None, stop: Arc::new(AtomicBool::new(false)) };
        let stepped = Stepped { drain, collector: Collector::default(), frames: Frames::default(), deadline };
        (Self { hub }, stepped, channel.run())
    }
}

impl Stepped {
    /// Takes what the rings hold, as the drain does every 5 ms.
    pub fn drain(&mut self) {
        self.drain.poll(&mut self.collector, &mut self.frames);
    }

    /// Takes a snapshot of the counts, as the drain does every 250 ms.
    pub fn snapshot(&mut self) {
        self.drain.snapshot();
    }

    /// Drains, takes the last snapshot and lets the channel end when that is acknowledged, or after `within`.
    pub fn close(&mut self, within: Duration) {
        self.drain();
        self.snapshot();
        if let Some(outbox) = &self.drain.outbox {
            outbox.close();
        }
        self.deadline.send_replace(Some(Instant::now() + within));
    }

    /// Records that no sidecar has acknowledged yet.
    pub fn unsent_records(&self) -> usize {
        self.drain.outbox.as_ref().map_or(0, |outbox| outbox.progress().unsent_records)
    }
}
