//! Epoch: what does one life of a core count, and does a batch fit what came before?

use std::time::{Instant, SystemTime};

use conexus_proto::facts::{DropReason, Family, Gauge, HISTOGRAM_CELLS, Label, Method, Status};
use conexus_proto::slots::Remains;
use conexus_proto::v1;
use tokio::sync::watch;

use super::{CoreInfo, CoreView, Crash, GAUGES_AFTER_LOSS, Progress};
use crate::aggregate::store::Row;
use crate::aggregate::tally::{CORE_CPU_MICROS, CORE_DROPPED, DROPS, EMITTED, KINDS, REFUSED, Reason, SENT};
use crate::ingest::admit::{Admitted, Rejection};

/// One life of a core, from its first `Hello` to its end.
#[derive(Debug)]
pub(super) struct Epoch {
    pub(super) info: Option<CoreInfo>,
    pub(super) row: Row,
    pub(super) dirty: bool,
    pub(super) link: Option<u64>,
    // When the link was lost, or the sidecar started without one.
    pub(super) away_since: Instant,
    // When it was last seen alive, if it died without a link.
    last_seen: Option<SystemTime>,
    pub(super) fresh_link: bool,
    // The last batch was refused: the next one's accounting has no predecessor to be compared with.
    pub(super) resync: bool,
    // It is dead, and what it had counted last is on disk.
    pub(super) buried: bool,
    pub(super) gauges: Vec<Option<f64>>,
    pub(super) snapshot_unix_nanos: Option<i64>,
    pub(super) visible_unix_nanos: Option<i64>,
    pub(super) progress: watch::Sender<Progress>,
}

impl Epoch {
    pub(super) fn away(row: Row, now: Instant) -> Self {
        let buried = row.dead;
        let progress = watch::Sender::new(Progress { sequence: row.sequence, ..Progress::default() });
        Self {
            info: None,
            row,
            dirty: false,
            link: None,
            away_since: now,
            last_seen: None,
            fresh_link: false,
            resync: false,
            buried,
            gauges: Vec::new(),
            snapshot_unix_nanos: None,
            visible_unix_nanos: None,
            progress,
        }
    }

    /// Replaces the values by the batch's, or changes nothing and says why.
    pub(super) fn apply(&mut self, batch: &Admitted, contiguous: bool) -> Result<(), Rejection> {
        if let Some(accounting) = &batch.accounting {
            self.check_accounting(accounting, batch.records, contiguous)?;
        }
        if let Some(measures) = &batch.measures {
            for (cell, (old, new)) in self.row.tally.slots().iter().zip(&measures.cells).enumerate() {
                if new < old {
                    return Err(Rejection::new(Reason::Decreasing, format!("cell {cell} fell from {old} to {new}")));
                }
            }
            self.row.tally.slots_mut()[..measures.cells.len()].copy_from_slice(&measures.cells);
            if let Some(seconds) = measures.gauges[Gauge::ProcessCpuSeconds as usize] {
                let micros = (seconds.max(0.0) * 1e6) as u64;
                self.row.tally[CORE_CPU_MICROS] = self.row.tally[CORE_CPU_MICROS].max(micros);
            }
            self.gauges.clone_from(&measures.gauges);
            self.snapshot_unix_nanos = Some(measures.unix_nanos);
        }
        if let Some(accounting) = &batch.accounting {
            let slots = self.row.tally.slots_mut();
            if self.resync {
                // What was sent in refused batches that nobody could count came in none that was taken.
                for (kind, taken) in batch.records.into_iter().enumerate() {
                    slots[REFUSED + kind] += accounting.sent[kind] - slots[SENT + kind] - taken;
                }
            }
            slots[EMITTED..EMITTED + KINDS].copy_from_slice(&accounting.emitted);
            slots[CORE_DROPPED..CORE_DROPPED + DROPS].copy_from_slice(&accounting.dropped);
            slots[SENT..SENT + KINDS].copy_from_slice(&accounting.sent);
        }
        Ok(())
    }

    /// Takes the last word of a core that will never speak again.
    pub(super) fn die(&mut self, remains: &Remains, last_seen: SystemTime, now: Instant) {
        let slots = self.row.tally.slots_mut();
        let mut raise = |first: usize, values: &[u64]| {
            for (slot, value) in slots[first..].iter_mut().zip(values) {
                *slot = (*slot).max(*value);
            }
        };
        raise(0, &remains.cells);
        raise(EMITTED, &remains.emitted);
        raise(CORE_DROPPED, &remains.dropped);
        (self.row.dead, self.dirty) = (true, true);
        let unexplained = !remains.ended && self.row.serving;
        if unexplained && !self.row.lost {
            // It died while nobody was connected.
            self.away_since = now;
            self.last_seen = Some(last_seen);
        }
        self.row.lost = unexplained;
    }

    /// Notes that its loss is a crash; none if it is none, or was noted before.
    pub(super) fn crash(&mut self, epoch: u64) -> Option<Crash> {
        if !self.row.lost || !self.row.serving || self.row.crashed {
            return None;
        }
        (self.row.crashed, self.dirty) = (true, true);
        let known = self.row.sequence > 0;
        Some(Crash { epoch, core: self.info.clone(), known, last_seen: self.last_seen })
    }

    /// Records that were neither taken nor dropped when the epoch ends are gone.
    pub(super) fn write_off(&mut self) {
        let reasons = DROPS / KINDS;
        let slots = self.row.tally.slots_mut();
        for kind in 0..KINDS {
            let dropped = CORE_DROPPED + kind * reasons;
            let told = slots[SENT + kind] + slots[dropped..dropped + reasons].iter().sum::<u64>();
            slots[dropped + DropReason::Shutdown as usize] += slots[EMITTED + kind].saturating_sub(told);
        }
    }

    fn check_accounting(
        &self,
        accounting: &v1::Accounting,
        records: [u64; KINDS],
        contiguous: bool,
    ) -> Result<(), Rejection> {
        let arrays = [
            ("emitted", EMITTED, &accounting.emitted),
            ("dropped", CORE_DROPPED, &accounting.dropped),
            ("sent", SENT, &accounting.sent),
        ];
        for (name, first, values) in arrays {
            for (i, (new, old)) in values.iter().zip(self.row.tally.range(first, values.len())).enumerate() {
                if new < old {
                    let detail = format!("{name}[{i}] fell from {old} to {new}");
                    return Err(Rejection::new(Reason::Decreasing, detail));
                }
            }
        }
        for (kind, count) in records.into_iter().enumerate() {
            let before = self.row.tally[SENT + kind];
            let grew = accounting.sent[kind] - before;
            if grew < count || (contiguous && grew != count) {
                let detail = format!("sent[{kind}] grew by {grew}, and the batch has {count} such records");
                return Err(Rejection::new(Reason::Accounting, detail));
            }
        }
        Ok(())
    }

    pub(super) fn view(&self, epoch: u64, now: Instant) -> CoreView {
        let away = now.duration_since(self.away_since) >= GAUGES_AFTER_LOSS || self.row.succeeded;
        let shown = self.snapshot_unix_nanos.is_some() && (self.link.is_some() || !away);
        CoreView {
            epoch,
            info: self.info.clone(),
            serving: self.row.serving,
            connected: self.link.is_some(),
            crashed: self.row.crashed,
            last_sequence: self.row.sequence,
            snapshot_unix_nanos: self.snapshot_unix_nanos,
            visible_unix_nanos: self.visible_unix_nanos,
            gauges: if shown { self.gauges.clone() } else { Vec::new() },
            in_flight: if shown { self.in_flight() } else { Vec::new() },
        }
    }

    fn in_flight(&self) -> Vec<u64> {
        let (started, finished) = (Family::RequestStarted.info(), Family::RequestFinished.info());
        let statuses = Status::VALUES.len();
        (0..Method::VALUES.len())
            .map(|method| {
                let done: u64 = (0..statuses)
                    .map(|status| finished.cell(method * statuses + status))
                    .flat_map(|cell| self.row.tally.range(cell + 1, HISTOGRAM_CELLS - 1))
                    .sum();
                // A request may end between the reads of the two cells.
                self.row.tally[started.cell(method)].saturating_sub(done)
            })
            .collect()
    }
}
