//! Worker: how does what waits in an outlet reach its destination?
//!
//! One attempt at a time. While attempts succeed, chunks go from the outlet straight to the destination. After a
//! failure that may pass, the circuit is open: what was tried and what comes goes to the spool, and after a growing
//! wait the oldest is tried again; a success closes the circuit and the spool is emptied before anything newer is
//! sent. Without a spool the queue waits, and refuses what it has no room for. What a destination refuses for good is
//! dropped and counted as `exporter_full`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use conexus_proto::facts::{DropReason, RecordKind};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Counts;
use super::backoff::Backoff;
use super::outlet::{Limits, Outlet, Piece};
use super::spool::{Spool, SpoolError, Stored};
use crate::aggregate::tally::{EXPORT_FAILURES, EXPORTERS};
use crate::aggregate::{Aggregate, chain};

/// What an exporter is like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Its number in `EXPORTERS`.
    pub number: usize,
    /// The kinds of records that it wants.
    pub wanted: &'static [RecordKind],
    /// What its queue holds at most.
    pub queue: Limits,
    /// What it sends at once at most.
    pub chunk: Limits,
    /// How long records wait for company.
    pub linger: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// What the log says when an attempt fails.
    pub failure: &'static str,
    /// Whether what failed goes to the spool.
    pub spool: bool,
}

/// What became of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Records of the chunk that the destination did not take, and why.
    pub refused: Option<(u64, String)>,
}

/// Why a chunk was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// It may be sent later, perhaps not before a wait that the destination asked for.
    Later(String, Option<Duration>),
    /// It will never be taken.
    Never(String),
}

/// Where records end.
pub trait Destination: Send + 'static {
    /// Sends records of one core. May be cancelled.
    fn send(&mut self, pieces: &[Piece]) -> impl Future<Output = Result<Sent, SendError>> + Send;

    /// Finds out whether it can be reached, with nothing to send.
    fn probe(&mut self) -> impl Future<Output = Result<Sent, SendError>> + Send {
        std::future::ready(Ok(Sent::default()))
    }
}

/// How often the queue goes to the spool while the circuit is open.
const STORE_EVERY: Duration = Duration::from_millis(250);
/// Time kept free at the end for what goes to the spool.
const STORE_WITHIN: Duration = Duration::from_millis(200);

/// Drains one outlet into one destination.
pub(super) struct Worker<D> {
    pub(super) plan: Plan,
    pub(super) outlet: Arc<Outlet>,
    pub(super) destination: D,
    pub(super) spool: Option<Arc<Spool>>,
    pub(super) aggregate: Aggregate,
    /// When everything must be over, once that is known.
    pub(super) stopping: watch::Receiver<Option<Instant>>,
    pub(super) backoff: Backoff,
    /// The circuit is open: no attempt before this.
    pub(super) open_until: Option<Instant>,
    /// Taken from the outlet, neither sent nor stored.
    pub(super) in_hand: Vec<Piece>,
}

impl<D: Destination> Worker<D> {
    pub(super) async fn run(mut self) {
        if !self.has_spooled() {
            self.attempt(None).await;
        }
        while self.deadline().is_none() {
            match self.open_until {
                Some(until) => self.wait_open(until).await,
                None => self.wait_closed().await,
            }
        }
        self.finish().await;
    }

    fn deadline(&self) -> Option<Instant> {
        *self.stopping.borrow()
    }

    fn has_spooled(&self) -> bool {
        self.spool.as_ref().is_some_and(|spool| !spool.is_empty(self.plan.number))
    }

    /// The circuit is closed: waits for work and does it.
    async fn wait_closed(&mut self) {
        if self.has_spooled() {
            if self.outlet.waiting().records > self.plan.queue.records / 2 {
                self.store().await;
            }
            return self.attempt_oldest().await;
        }
        if self.in_hand.is_empty() {
            self.gather().await;
            self.in_hand = self.outlet.take_chunk();
        }
        if !self.in_hand.is_empty() {
            self.attempt(None).await;
        }
    }

    /// Waits for records and then a little for company, or for the end.
    async fn gather(&mut self) {
        let gathered = async {
            while self.outlet.waiting().records == 0 {
                self.outlet.filled().await;
            }
            let until = Instant::now() + self.plan.linger;
            while !self.outlet.has_chunk() && timeout_at(until, self.outlet.filled()).await.is_ok() {}
        };
        tokio::select! {
            () = gathered => {}
            _ = end(self.stopping.clone()) => {}
        }
    }

    /// The circuit is open: stores what comes until it is time for the next attempt.
    async fn wait_open(&mut self, until: Instant) {
        tokio::select! {
            () = sleep_until(until.min(Instant::now() + STORE_EVERY)) => {}
            _ = end(self.stopping.clone()) => return,
        }
        self.store().await;
        if Instant::now() >= until {
            self.attempt_oldest().await;
        }
    }

    async fn attempt_oldest(&mut self) {
        let stored = self.first_stored().await;
        if stored.is_none() && self.in_hand.is_empty() {
            self.in_hand = self.outlet.take_chunk();
        }
        self.attempt(stored).await;
    }

    /// Tries once, unless the end comes first: what was stored, else what is in hand, else only whether it works.
    async fn attempt(&mut self, stored: Option<Stored>) {
        let key = stored.as_ref().map(|stored| stored.key);
        let pieces = match stored {
            Some(stored) => vec![Piece::whole(stored.batch, self.plan.wanted)],
            None => self.in_hand.clone(),
        };
        let destination = &mut self.destination;
        let sending =
            async { if pieces.is_empty() { destination.probe().await } else { destination.send(&pieces).await } };
        let stopping = self.stopping.clone();
        let result = tokio::select! {
            result = timeout(self.plan.timeout, sending) => result,
            // The attempt may go on, but leaves time to store what it was about.
            () = async move { sleep_until(stop_sending(end(stopping).await)).await } => return,
        };
        let late = || SendError::Later(format!("no answer within {:?}", self.plan.timeout), None);
        self.note(result.unwrap_or_else(|_| Err(late())), sum(&pieces), key).await;
    }

    async fn note(&mut self, result: Result<Sent, SendError>, counts: Counts, stored: Option<u64>) {
        match result {
            Ok(sent) => {
                self.forget(stored).await;
                self.succeeded(sent);
            }
            Err(SendError::Never(reason)) => {
                self.outlet.count_dropped(counts, DropReason::ExporterFull);
                self.forget(stored).await;
                self.backoff.succeed();
                self.open_until = None;
                self.failed(reason, counts, None);
            }
            Err(SendError::Later(reason, asked)) => {
                let wait = self.backoff.fail(asked);
                self.open_until = Some(Instant::now() + wait);
                self.failed(reason, counts, Some(wait));
                self.store().await;
            }
        }
    }

    fn succeeded(&mut self, sent: Sent) {
        self.backoff.succeed();
        self.open_until = None;
        let outcome = match sent.refused {
            None => Ok(()),
            Some((records, reason)) => {
                let mut counts = Counts::default();
                counts[self.plan.wanted[0] as usize] = records;
                self.outlet.count_dropped(counts, DropReason::ExporterFull);
                self.count_failure();
                tracing::warn!(records, error = reason, "{}: a part was refused", self.plan.failure);
                Ok(())
            }
        };
        let (_, error) = self.outlet.note(outcome);
        if error.is_some() {
            tracing::info!(exporter = EXPORTERS[self.plan.number], "the exporter's destination takes records again");
        }
    }

    fn failed(&mut self, reason: String, counts: Counts, wait: Option<Duration>) {
        self.count_failure();
        tracing::error!(
            exporter = EXPORTERS[self.plan.number],
            error = reason,
            records = counts.iter().sum::<u64>(),
            retry_in_ms = wait.map(|wait| wait.as_millis() as u64),
            "{}",
            self.plan.failure
        );
        self.outlet.note(Err(reason));
    }

    fn count_failure(&self) {
        self.aggregate.count(&[(EXPORT_FAILURES + self.plan.number, 1)], true);
    }

    /// What was tried is done with.
    async fn forget(&mut self, stored: Option<u64>) {
        match stored {
            None => {
                let records = std::mem::take(&mut self.in_hand).iter().map(Piece::len).sum();
                self.outlet.done(records);
            }
            Some(key) => {
                let number = self.plan.number;
                if let Some(Err(error)) = self.on_disk(move |spool| spool.remove(number, key)).await {
                    self.spool_failed(&error);
                }
            }
        }
    }

    async fn first_stored(&mut self) -> Option<Stored> {
        let number = self.plan.number;
        match self.on_disk(move |spool| spool.first(number)).await? {
            Ok(stored) => stored,
            Err(error) => {
                self.spool_failed(&error);
                None
            }
        }
    }

    /// Puts what is in hand and what waits into the spool, if there is one. Returns whether all of it is there.
    async fn store(&mut self) -> bool {
        loop {
            if self.in_hand.is_empty() {
                self.in_hand = self.outlet.take_chunk();
            }
            if self.in_hand.is_empty() {
                return true;
            }
            let (number, pieces) = (self.plan.number, self.in_hand.clone());
            match self.on_disk(move |spool| spool.put(number, &pieces)).await {
                None => return false,
                Some(Ok(dropped)) => {
                    dropped.into_iter().for_each(|counts| self.outlet.count_dropped(counts, DropReason::SpoolFull));
                    self.forget(None).await;
                }
                Some(Err(error)) => {
                    self.spool_failed(&error);
                    return false;
                }
            }
        }
    }

    /// Runs something that blocks with the spool; `None` without one.
    async fn on_disk<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&Spool) -> Result<T, SpoolError> + Send + 'static,
    ) -> Option<Result<T, SpoolError>> {
        let spool = self.spool.clone()?;
        tokio::task::spawn_blocking(move || act(&spool)).await.ok()
    }

    fn spool_failed(&self, error: &SpoolError) {
        error.lost.into_iter().for_each(|counts| self.outlet.count_dropped(counts, DropReason::SpoolFull));
        self.count_failure();
        tracing::error!(exporter = EXPORTERS[self.plan.number], "{}", chain(error));
    }

    /// The end: sends what is left while there is time, and stores the rest.
    async fn finish(mut self) {
        let deadline = self.deadline().unwrap_or_else(Instant::now);
        while self.open_until.is_none() && Instant::now() < stop_sending(deadline) {
            if self.in_hand.is_empty() {
                self.in_hand = self.outlet.take_chunk();
            }
            if self.in_hand.is_empty() {
                return;
            }
            self.attempt(None).await;
        }
        if timeout_at(deadline, self.store()).await != Ok(true) {
            self.drop_rest();
        }
    }

    fn drop_rest(&mut self) {
        loop {
            self.outlet.count_dropped(sum(&self.in_hand), DropReason::Shutdown);
            self.in_hand = self.outlet.take_chunk();
            if self.in_hand.is_empty() {
                return;
            }
        }
    }
}

/// Waits until the end is announced, and says when it is.
async fn end(mut stopping: watch::Receiver<Option<Instant>>) -> Instant {
    let announced = stopping.wait_for(Option::is_some).await.ok().and_then(|end| *end);
    announced.unwrap_or_else(Instant::now)
}

/// From this moment on time is for the spool.
fn stop_sending(deadline: Instant) -> Instant {
    deadline.checked_sub(STORE_WITHIN).unwrap_or(deadline)
}

fn sum(pieces: &[Piece]) -> Counts {
    let mut sum = Counts::default();
    for piece in pieces {
        sum.iter_mut().zip(piece.counts()).for_each(|(sum, count)| *sum += count);
    }
    sum
}

#[cfg(test)]
mod tests;
