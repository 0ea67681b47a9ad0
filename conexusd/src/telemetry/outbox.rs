//! Outbox: which batches are still to be sent, sent again, or acknowledged?
//!
//! The drain puts records and snapshots in, the channel takes numbered batches out. A batch is made, and its number given, only
//! when the channel can send it, so that while there is no sidecar only the newest snapshot is held. Bytes are bounded: past the
//! limit the newest records are dropped and counted, and the snapshot still goes with a later batch.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use conexus_proto::facts::{DropReason, RecordKind};
use prost::bytes::Bytes;
use tokio::sync::Notify;

use super::encode::{Frames, member_bytes, nested, packed, varint};
use super::slots::{Accounts, KINDS, REASONS};

/// So many records make a batch worth sending before the next snapshot is due.
const BATCH_RECORDS_MIN: usize = 512;
/// A batch has at most so many records.
const BATCH_RECORDS_MAX: usize = 2_048;
/// A batch takes no more records once it has so many bytes.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What is on its way to the sidecar.
#[derive(Debug)]
pub(crate) struct Outbox {
    bytes_max: usize,
    state: Mutex<State>,
    /// Wakes the channel when there may be a batch for it.
    pub(crate) wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Chunk>,
    waiting_records: usize,
    waiting_bytes: usize,
    unacked: VecDeque<Sent>,
    unacked_bytes: usize,
    unacked_records: usize,
    /// How many of `unacked` were handed to the present connection.
    handed: usize,
    last_sequence: u64,
    /// The newest snapshot, until it is in a batch.
    snapshot: Option<Vec<u8>>,
    /// What the threads counted, as of the latest records.
    accounts: Accounts,
    dropped: [u64; KINDS * REASONS],
    sent: [u64; KINDS],
    /// Records in batches that the sidecar has refused.
    rejected_records: u64,
    closing: bool,
}

/// Records of a batch to be.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    counts: [u64; KINDS],
    records: usize,
}

#[derive(Debug)]
struct Sent {
    sequence: u64,
    records: usize,
    /// The sidecar refused it, and will acknowledge it so that it goes.
    rejected: bool,
    message: Bytes,
}

impl Outbox {
    /// An outbox that holds at most about `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default(), wake: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts records in. `accounts` were read after the records were taken from the rings.
    pub(crate) fn push(&self, frames: &Frames, accounts: Accounts) {
        let mut state = self.state();
        state.accounts = accounts;
        let mut start = 0;
        for &(end, kind) in &frames.ends {
            state.push_record(&frames.bytes[start..end], kind, self.bytes_max);
            start = end;
        }
        if state.waiting_records >= BATCH_RECORDS_MIN {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Replaces the snapshot that waits, if any, by a newer one (an encoded `Snapshot`).
    pub(crate) fn set_snapshot(&self, snapshot: Vec<u8>, accounts: Accounts) {
        let mut state = self.state();
        (state.snapshot, state.accounts) = (Some(snapshot), accounts);
        drop(state);
        self.wake.notify_one();
    }

    /// The next message for the present connection: an encoded `ToSidecar`, sent before or new. Without `records` (the sidecar asked
    /// for a pause) only a snapshot.
    pub(crate) fn next(&self, records: bool) -> Option<Bytes> {
        let mut state = self.state();
        if let Some(sent) = state.unacked.get(state.handed) {
            if sent.records > 0 && !records {
                return None;
            }
            let message = sent.message.clone();
            state.handed += 1;
            return Some(message);
        }
        let worth_it = state.waiting_records >= BATCH_RECORDS_MIN || (state.closing && state.waiting_records > 0);
        if !(state.snapshot.is_some() || records && worth_it) || state.unacked_bytes >= self.bytes_max {
            return None;
        }
        Some(state.make_batch(records))
    }

    /// Forgets every batch up to `sequence`.
    pub(crate) fn ack(&self, sequence: u64) {
        self.state().ack(sequence);
    }

    /// The sidecar refused a batch for good. The sidecar counts its records as dropped; here they only show in health.
    pub(crate) fn reject(&self, sequence: u64) {
        let mut state = self.state();
        let Some(sent) = state.unacked.iter_mut().find(|sent| sent.sequence == sequence && !sent.rejected) else {
            return;
        };
        sent.rejected = true;
        let records = sent.records as u64;
        state.rejected_records += records;
    }

    /// Records in batches that the sidecar has refused.
    pub(crate) fn rejected_records(&self) -> u64 {
        self.state().rejected_records
    }

    /// A new connection: the sidecar has everything up to `last_sequence`, the rest is sent again.
    pub(crate) fn resume(&self, last_sequence: u64) {
        let mut state = self.state();
        state.ack(last_sequence);
        state.handed = 0;
        state.last_sequence = state.last_sequence.max(last_sequence);
    }

    /// Nothing more will be put in; what waits goes out at once.
    pub(crate) fn close(&self) {
        self.state().closing = true;
        self.wake.notify_one();
    }

    /// Whether nothing more will be put in.
    pub(crate) fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// How far the outbox is.
    pub(crate) fn progress(&self) -> Progress {
        let state = self.state();
        Progress {
            all_handed: state.waiting_records == 0 && state.snapshot.is_none() && state.handed == state.unacked.len(),
            unacked_batches: state.unacked.len(),
            unsent_records: state.waiting_records + state.unacked_records,
            bytes: state.waiting_bytes + state.unacked_bytes,
        }
    }

    /// What was emitted and dropped, as of the latest records, drops of the outbox included.
    pub(crate) fn accounts(&self) -> Accounts {
        self.state().accounts()
    }
}

/// How far an outbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The present connection has everything.
    pub(crate) all_handed: bool,
    pub(crate) unacked_batches: usize,
    /// Records waiting or unacknowledged.
    pub(crate) unsent_records: usize,
    pub(crate) bytes: usize,
}

impl State {
    fn accounts(&self) -> Accounts {
        let mut accounts = self.accounts;
        for (sum, dropped) in accounts.dropped.iter_mut().zip(self.dropped) {
            *sum += dropped;
        }
        accounts
    }

    fn push_record(&mut self, bytes: &[u8], kind: RecordKind, bytes_max: usize) {
        if self.waiting_bytes + self.unacked_bytes + bytes.len() > bytes_max {
            self.dropped[kind as usize * REASONS + DropReason::UnsentFull as usize] += 1;
            return;
        }
        let full = |chunk: &Chunk| chunk.records >= BATCH_RECORDS_MAX || chunk.bytes.len() >= BATCH_BYTES_MAX;
        if self.waiting.back().is_none_or(full) {
            self.waiting.push_back(Chunk::default());
        }
        let Some(chunk) = self.waiting.back_mut() else { return };
        chunk.bytes.extend_from_slice(bytes);
        chunk.counts[kind as usize] += 1;
        chunk.records += 1;
        self.waiting_records += 1;
        self.waiting_bytes += bytes.len();
    }

    fn make_batch(&mut self, records: bool) -> Bytes {
        let chunk = if records { self.waiting.pop_front().unwrap_or_default() } else { Chunk::default() };
        self.waiting_records -= chunk.records;
        self.waiting_bytes -= chunk.bytes.len();
        for (sent, count) in self.sent.iter_mut().zip(chunk.counts) {
            *sent += count;
        }
        self.last_sequence += 1;
        let (sequence, accounts) = (self.last_sequence, self.accounts());
        let mut message = Vec::with_capacity(chunk.bytes.len() + 8_192);
        nested(&mut message, 2, |out| {
            varint(out, 1, sequence);
            out.extend_from_slice(&chunk.bytes);
            if let Some(snapshot) = self.snapshot.take() {
                member_bytes(out, 3, &snapshot);
            }
            nested(out, 4, |out| {
                packed(out, 1, &accounts.emitted);
                packed(out, 2, &accounts.dropped);
                packed(out, 3, &self.sent);
            });
        });
        message.shrink_to_fit();
        let message = Bytes::from(message);
        self.unacked_bytes += message.len();
        self.unacked_records += chunk.records;
        self.unacked.push_back(Sent { sequence, records: chunk.records, rejected: false, message: message.clone() });
        self.handed += 1;
        message
    }

    fn ack(&mut self, sequence: u64) {
        while let Some(sent) = self.unacked.front()
            && sent.sequence <= sequence
        {
            self.unacked_bytes -= sent.message.len();
            self.unacked_records -= sent.records;
            self.unacked.pop_front();
            self.handed = self.handed.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
