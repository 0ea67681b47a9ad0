//! Epochs: what has each life of a core counted, and what is the sum of all?
//!
//! A pure state machine: no clock, no lock, no file. Values of live epochs are absolute, so taking a snapshot replaces
//! what was there; an epoch that ends is added to the base once. Nothing becomes visible, or is acknowledged, before
//! its owner has written [`Changes`] to disk and said [`Ledger::committed`].

mod epoch;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use conexus_proto::slots::Remains;
use tokio::sync::watch;

use self::epoch::Epoch;
use super::store::{Persisted, Row, Writes};
use super::tally::{BATCHES, CRASHES, KINDS, REFUSED, REJECTED, RESTARTS, Reason, SENT, Tally, VACANCIES};
use crate::ingest::admit::{Admitted, Rejection};

/// How long a serving core may be away before its loss counts as a crash.
pub const CRASH_AFTER: Duration = Duration::from_secs(5);
/// How long gauges of a lost core are shown.
pub const GAUGES_AFTER_LOSS: Duration = Duration::from_secs(15);
/// How long a lost epoch may return and go on counting where it was.
pub const RETURN_WITHIN: Duration = Duration::from_secs(3600);
/// Lost epochs kept; beyond that the ones lost first end, once they had time to come back.
pub const LOST_MAX: usize = 64;
/// Lost epochs kept at most, even if all were lost just now: a sidecar that starts has lost all of them.
pub const LOST_HARD_MAX: usize = 1024;
/// Cores connected at most.
pub const CORES_MAX: usize = 64;

/// What a core said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreInfo {
    /// Its version.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// Its process id, in its own PID namespace.
    pub pid: u32,
    /// Its loss is a crash.
    pub serving: bool,
}

/// A core's right to send batches, until the same core connects again.
#[derive(Debug)]
pub struct Link {
    /// The core's identity.
    pub epoch: u64,
    id: u64,
    /// Up to which batch everything is on disk.
    pub progress: watch::Receiver<Progress>,
}

impl Link {
    /// The last of the core's batches that is on disk; 0 if none.
    pub fn last_durable(&self) -> u64 {
        self.progress.borrow().sequence
    }

    /// Whether this is still the core's newest connection.
    pub fn is_current(&self) -> bool {
        self.progress.borrow().link == self.id
    }
}

/// What a link's owner waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    link: u64,
    /// The last batch that is on disk.
    pub sequence: u64,
    /// The epoch's end is on disk.
    pub ended: bool,
}

/// Why a core may not connect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The epoch said goodbye or was given up, and its counts are in the base.
    #[error("boot epoch {0:016x} has ended and its counts are closed; start conexusd again for a new one")]
    Ended(u64),
    /// Too many.
    #[error("{CORES_MAX} cores are connected already; that is the limit")]
    TooMany,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new; its records are to be passed on.
    New,
    /// It was taken before; its records were passed on then.
    Repeated,
    /// The same core has connected again; this link is dead.
    Superseded,
}

/// A core that vanished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Which.
    pub epoch: u64,
    /// What it was, unless that was said to an earlier life of the sidecar, or to none.
    pub core: Option<CoreInfo>,
    /// Batches of it were taken, perhaps by an earlier life of the sidecar.
    pub known: bool,
    /// When it was last seen alive, if it died while it had no connection; otherwise it died just now.
    pub last_seen: Option<SystemTime>,
}

/// What became of a dead core's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burial {
    /// Its stream is still open; ask again.
    Connected,
    /// They are taken, and not yet on disk.
    Taken,
    /// They are on disk.
    Done,
}

/// One commit: what to write, and what to do when that is done.
#[derive(Debug)]
pub struct Changes {
    /// What to write.
    pub writes: Writes,
    total: Tally,
    // When the snapshots in it were taken.
    snapshots: Vec<(u64, Option<i64>)>,
    endings: Vec<Ending>,
}

#[derive(Debug)]
struct Ending {
    epoch: u64,
    sequence: u64,
    progress: watch::Sender<Progress>,
}

/// A core as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct CoreView {
    /// Its identity.
    pub epoch: u64,
    /// What it said about itself; `None` while it has not come back since the sidecar started.
    pub info: Option<CoreInfo>,
    /// It serves.
    pub serving: bool,
    /// Its stream is open.
    pub connected: bool,
    /// Its loss was counted as a crash.
    pub crashed: bool,
    /// The last batch taken.
    pub last_sequence: u64,
    /// When its last snapshot was taken, by its own clock; `None` before the first.
    pub snapshot_unix_nanos: Option<i64>,
    /// The same of the last snapshot that is on disk, and so to be seen.
    pub visible_unix_nanos: Option<i64>,
    /// Its gauges, by their numbers; empty once they are too old.
    pub gauges: Vec<Option<f64>>,
    /// Requests taken up and not finished, by the method's number; empty as `gauges`.
    pub in_flight: Vec<u64>,
}

/// All epochs and their base.
#[derive(Debug)]
pub struct Ledger {
    base: Tally,
    base_dirty: bool,
    epochs: HashMap<u64, Epoch>,
    ended: HashSet<u64>,
    // Those of `ended` that are on disk.
    settled: HashSet<u64>,
    endings: Vec<Ending>,
    visible: Tally,
    links: u64,
    urgent: bool,
}

impl Ledger {
    /// Takes up where an earlier life of the sidecar stopped.
    pub fn restore(persisted: Persisted, now: Instant) -> Self {
        let epochs: HashMap<u64, Epoch> =
            persisted.rows.into_iter().map(|(epoch, row)| (epoch, Epoch::away(row, now))).collect();
        let mut ledger = Self {
            base: persisted.base,
            base_dirty: false,
            epochs,
            settled: persisted.ended.clone(),
            ended: persisted.ended,
            endings: Vec::new(),
            visible: Tally::default(),
            links: 0,
            urgent: false,
        };
        ledger.visible = ledger.total();
        ledger
    }

    /// Lets a core in. A returning one goes on where it was.
    pub fn connect(&mut self, epoch: u64, info: CoreInfo, now: Instant) -> Result<Link, ConnectError> {
        if self.ended.contains(&epoch) {
            return Err(ConnectError::Ended(epoch));
        }
        let known = self.epochs.get(&epoch);
        let connected = self.epochs.values().filter(|core| core.link.is_some()).count();
        if known.is_none_or(|core| core.link.is_none()) && connected >= CORES_MAX {
            return Err(ConnectError::TooMany);
        }
        if known.is_none() && info.serving {
            self.succeed(now);
        }
        self.links += 1;
        let id = self.links;
        let core = self.epochs.entry(epoch).or_insert_with(|| Epoch::away(Row::default(), now));
        core.dirty |= core.row.lost || core.row.serving != info.serving;
        core.row.lost = false;
        core.row.crashed = false;
        core.row.serving = info.serving;
        core.info = Some(info);
        core.link = Some(id);
        core.fresh_link = true;
        core.progress.send_modify(|progress| progress.link = id);
        Ok(Link { epoch, id, progress: core.progress.subscribe() })
    }

    /// Counts a restart if a serving core is gone whose place nobody has taken.
    fn succeed(&mut self, now: Instant) {
        let gone = self.epochs.values_mut().find(|core| {
            let away = core.row.lost || now.duration_since(core.away_since) >= CRASH_AFTER;
            core.link.is_none() && core.row.serving && !core.row.succeeded && away
        });
        if let Some(core) = gone {
            core.row.succeeded = true;
            core.dirty = true;
        } else if self.base[VACANCIES] > 0 {
            self.base[VACANCIES] -= 1;
        } else {
            return;
        }
        self.count(RESTARTS, 1);
    }

    /// Takes a batch that was checked by itself, if it fits what came before.
    pub fn take(
        &mut self,
        link: &Link,
        sequence: u64,
        checked: Result<Admitted, (Rejection, [u64; KINDS])>,
    ) -> Result<Taken, Rejection> {
        let Some(core) = self.epochs.get_mut(&link.epoch).filter(|core| core.link == Some(link.id)) else {
            return Ok(Taken::Superseded);
        };
        if sequence <= core.row.sequence {
            core.fresh_link = false;
            return Ok(Taken::Repeated);
        }
        let expected = core.row.sequence + 1;
        // A core begins a connection with its oldest batch that was not acknowledged. What is missing before it was
        // acknowledged by an earlier life whose state is gone, and is contained in the absolute values. That goes for the
        // first on a connection only, even if that one is known.
        if sequence != expected && !core.fresh_link {
            self.count(REJECTED + Reason::Sequence as usize, 1);
            return Err(Rejection::new(Reason::Sequence, format!("batch {sequence} came where {expected} was due")));
        }
        let contiguous = sequence == expected && !core.resync;
        core.fresh_link = false;
        core.dirty = true;
        let outcome = match checked {
            Ok(batch) => {
                core.apply(&batch, contiguous).map_err(|r| (r, batch.records)).map(|()| batch.measures.is_some())
            }
            Err(rejected) => Err(rejected),
        };
        core.row.sequence = sequence;
        core.resync = outcome.is_err();
        match outcome {
            Ok(urgent) => {
                self.urgent |= urgent;
                self.count(BATCHES, 1);
                Ok(Taken::New)
            }
            Err((rejection, records)) => {
                for (kind, count) in records.into_iter().enumerate() {
                    core.row.tally[SENT + kind] += count;
                    core.row.tally[REFUSED + kind] += count;
                }
                // The core waits to hear that the batch is done with.
                self.urgent = true;
                self.count(REJECTED + rejection.reason as usize, 1);
                Err(rejection)
            }
        }
    }

    /// Ends an epoch that said goodbye.
    pub fn goodbye(&mut self, link: &Link) {
        if self.holds(link) {
            self.end(link.epoch);
        }
    }

    /// Notes that a link is gone. `unexplained`: the core's end of the stream vanished, and not by our doing.
    pub fn lost(&mut self, link: &Link, unexplained: bool, now: Instant) {
        if !self.holds(link) {
            return;
        }
        if let Some(core) = self.epochs.get_mut(&link.epoch) {
            core.link = None;
            core.away_since = now;
            core.row.lost = unexplained;
            core.dirty |= unexplained;
            self.urgent |= unexplained;
        }
    }

    /// Takes what a dead core had counted. Absolute values, so doing so again changes nothing.
    /// `last_seen` is when the core last said that it lives.
    pub fn bury(&mut self, remains: &Remains, last_seen: SystemTime, now: Instant) -> Burial {
        if self.settled.contains(&remains.epoch) {
            return Burial::Done;
        }
        if self.ended.contains(&remains.epoch) {
            return Burial::Taken;
        }
        // One that no sidecar has met: whether another took its place, nobody knows, so it leaves none to be taken.
        let stranger = || Row { serving: remains.serving, succeeded: true, ..Row::default() };
        let core = self.epochs.entry(remains.epoch).or_insert_with(|| Epoch::away(stranger(), now));
        if core.link.is_some() {
            return Burial::Connected;
        }
        if core.row.dead {
            return if core.buried { Burial::Done } else { Burial::Taken };
        }
        core.die(remains, last_seen, now);
        self.urgent = true;
        Burial::Taken
    }

    fn holds(&self, link: &Link) -> bool {
        self.epochs.get(&link.epoch).is_some_and(|core| core.link == Some(link.id))
    }

    /// Does what is due by now: counts crashes, ends epochs that stayed away too long.
    pub fn tick(&mut self, now: Instant) -> Vec<Crash> {
        let mut crashes = Vec::new();
        let mut away = Vec::new();
        for (&epoch, core) in self.epochs.iter_mut().filter(|(_, core)| core.link.is_none()) {
            let since = now.duration_since(core.away_since);
            if since >= CRASH_AFTER {
                crashes.extend(core.crash(epoch));
            }
            // A dead core that is no crash, or was counted as one, has nothing more to wait for.
            let over = core.row.dead && (core.row.crashed || !core.row.lost || !core.row.serving);
            away.push((over || since >= RETURN_WITHIN, core.row.dead, since, epoch));
        }
        // Beyond the limits the dead end first, then those that have been away longest, once they had time to come back.
        away.sort_unstable_by(|a, b| b.cmp(a));
        let excess = away.len().saturating_sub(LOST_MAX);
        let far = away.len().saturating_sub(LOST_HARD_MAX);
        for (i, (over, dead, since, epoch)) in away.into_iter().enumerate() {
            let had_time = dead || since >= CRASH_AFTER;
            if over || i < far || i < excess && had_time {
                // A dead core will not come back, so nothing speaks against telling its crash early.
                let core = self.epochs.get_mut(&epoch).filter(|_| dead);
                crashes.extend(core.and_then(|core| core.crash(epoch)));
                self.end(epoch);
            }
        }
        self.count(CRASHES, crashes.len() as u64);
        self.urgent |= !crashes.is_empty();
        crashes
    }

    fn end(&mut self, epoch: u64) {
        let Some(mut core) = self.epochs.remove(&epoch) else { return };
        core.write_off();
        self.base.add(&core.row.tally);
        if core.row.serving && !core.row.succeeded {
            self.base[VACANCIES] += 1;
        }
        self.base_dirty = true;
        self.urgent = true;
        self.ended.insert(epoch);
        self.endings.push(Ending { epoch, sequence: core.row.sequence, progress: core.progress });
    }

    /// Adds to one of the sidecar's own counts.
    pub fn count(&mut self, slot: usize, amount: u64) {
        if amount > 0 {
            self.base[slot] = self.base[slot].saturating_add(amount);
            self.base_dirty = true;
        }
    }

    /// Whether something waits to be written.
    pub fn is_dirty(&self) -> bool {
        self.base_dirty || !self.endings.is_empty() || self.epochs.values().any(|core| core.dirty)
    }

    /// Whether what waits should not wait longer: a snapshot, an end, a crash.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// What to write now, if anything. Must be followed by `committed` or `failed`.
    pub fn changes(&mut self) -> Option<Changes> {
        if !self.is_dirty() {
            self.urgent = false;
            return None;
        }
        let endings = std::mem::take(&mut self.endings);
        let rows = self.epochs.iter_mut().filter(|(_, core)| core.dirty);
        let rows = rows
            .map(|(epoch, core)| {
                core.dirty = false;
                (*epoch, core.row.clone())
            })
            .collect();
        let writes = Writes {
            base: std::mem::take(&mut self.base_dirty).then(|| self.base.clone()),
            rows,
            ended: endings.iter().map(|ending| ending.epoch).collect(),
        };
        self.urgent = false;
        let snapshots = self.epochs.iter().map(|(epoch, core)| (*epoch, core.snapshot_unix_nanos)).collect();
        Some(Changes { writes, total: self.total(), snapshots, endings })
    }

    /// The changes are on disk: makes them visible and acknowledges them.
    pub fn committed(&mut self, changes: Changes) {
        self.visible = changes.total;
        for (epoch, taken) in changes.snapshots {
            if let Some(core) = self.epochs.get_mut(&epoch) {
                core.visible_unix_nanos = taken;
            }
        }
        for (epoch, row) in changes.writes.rows {
            if let Some(core) = self.epochs.get_mut(&epoch) {
                core.buried = core.row.dead && core.row.tally == row.tally;
                core.progress.send_modify(|progress| progress.sequence = row.sequence);
            } else if let Some(ending) = self.endings.iter().find(|ending| ending.epoch == epoch) {
                ending.progress.send_modify(|progress| progress.sequence = row.sequence);
            }
        }
        for ending in changes.endings {
            self.settled.insert(ending.epoch);
            ending.progress.send_modify(|progress| {
                progress.sequence = ending.sequence;
                progress.ended = true;
            });
        }
    }

    /// The changes could not be written: they wait for the next attempt.
    pub fn failed(&mut self, changes: Changes) {
        self.base_dirty |= changes.writes.base.is_some();
        for (epoch, _) in changes.writes.rows {
            if let Some(core) = self.epochs.get_mut(&epoch) {
                core.dirty = true;
            }
        }
        self.endings.extend(changes.endings);
        self.urgent = true;
    }

    /// The sum of everything that is on disk.
    pub fn visible(&self) -> &Tally {
        &self.visible
    }

    fn total(&self) -> Tally {
        let mut total = self.base.clone();
        for core in self.epochs.values() {
            total.add(&core.row.tally);
        }
        total
    }

    /// Every epoch that has not ended.
    pub fn cores(&self, now: Instant) -> Vec<CoreView> {
        let mut cores: Vec<_> = self.epochs.iter().map(|(&epoch, core)| core.view(epoch, now)).collect();
        cores.sort_by_key(|core| core.epoch);
        cores
    }
}

#[cfg(test)]
mod tests;
