//! Spool: what failed to export, kept on disk until the backend is back.
//!
//! One redb file with a table for each exporter, bounded by bytes and by age: what is oldest goes first, and is
//! counted by the caller. A damaged file is set aside. Everything here blocks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conexus_proto::v1;
use prost::Message;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::outlet::Piece;
use super::{Counts, RecordBatch};
use crate::aggregate::store;
use crate::aggregate::tally::{EXPORTERS, KINDS};

/// The file's name in the state directory.
pub const FILE_NAME: &str = "spool.redb";
/// How long something waits before it is given up.
pub const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// redb's page cache.
const CACHE_BYTES: usize = 1 << 20;
/// What a row takes beside its records.
const ROW_BYTES: u64 = 64;
/// Rows up to this size share a page, larger ones fill pages of their own.
const SHARED_PAGE_BYTES: u64 = 2048;

/// Core, time of storing (seconds since 1970), records by kind, the records one after another with their lengths.
type Row = (u64, u64, [u64; KINDS], &'static [u8]);

const TABLES: [TableDefinition<'_, u64, Row>; EXPORTERS.len()] =
    [TableDefinition::new(EXPORTERS[0]), TableDefinition::new(EXPORTERS[1]), TableDefinition::new(EXPORTERS[2])];

const NOTHING: [Counts; EXPORTERS.len()] = [[0; KINDS]; EXPORTERS.len()];

/// Why the file could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
#[error("spool {path} (observability.telemetry.state_dir)")]
pub struct SpoolError {
    path: PathBuf,
    source: Box<redb::Error>,
    /// What was lost because the file turned out to be damaged and was set aside, by exporter and kind.
    pub lost: [Counts; EXPORTERS.len()],
}

/// The open file.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    max_bytes: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    // None after an error: redb refuses everything after one, so the file is opened anew.
    database: Option<Database>,
    // What is in the file, by exporter and key.
    rows: [BTreeMap<u64, Entry>; EXPORTERS.len()],
    next_key: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    bytes: u64,
    stored: u64,
    counts: Counts,
}

/// The result of opening the file.
#[derive(Debug)]
pub struct Opened {
    /// The open file.
    pub spool: Spool,
    /// Where a damaged file was put, if there was one.
    pub set_aside: Option<PathBuf>,
}

/// Records that wait, and the key to remove them by.
#[derive(Debug)]
pub struct Stored {
    /// The key.
    pub key: u64,
    /// The records.
    pub batch: RecordBatch,
}

impl Spool {
    /// Opens or creates the file in `state_dir`, which may grow to about `max_bytes`.
    pub fn open(state_dir: &Path, max_bytes: u64) -> Result<Opened, SpoolError> {
        let path = state_dir.join(FILE_NAME);
        let fail = |source: redb::Error| SpoolError { path: path.clone(), source: Box::new(source), lost: NOTHING };
        store::create_private_dir(state_dir).map_err(|error| fail(redb::Error::Io(error)))?;
        let (inner, set_aside) = match Inner::open(&path) {
            Ok(inner) => (inner, None),
            Err(error) if store::is_damage(&error) => {
                let aside = store::put_aside(&path).map_err(|error| fail(redb::Error::Io(error)))?;
                (Inner::open(&path).map_err(fail)?, Some(aside))
            }
            Err(error) => return Err(fail(error)),
        };
        Ok(Opened { spool: Self { path, max_bytes, inner: Mutex::new(inner) }, set_aside })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of what waits for an exporter.
    pub fn bytes(&self, exporter: usize) -> u64 {
        self.inner().rows[exporter].values().map(|entry| entry.bytes).sum()
    }

    /// Whether something waits for an exporter.
    pub fn is_empty(&self, exporter: usize) -> bool {
        self.inner().rows[exporter].is_empty()
    }

    /// Stores pieces for an exporter, on the disk when this returns. What has to go for them, or is too old, is
    /// returned by kind, for each exporter.
    pub fn put(&self, exporter: usize, pieces: &[Piece]) -> Result<[Counts; EXPORTERS.len()], SpoolError> {
        self.act(|inner, database| inner.put(database, exporter, pieces, self.max_bytes))
    }

    /// The oldest that waits for an exporter.
    pub fn first(&self, exporter: usize) -> Result<Option<Stored>, SpoolError> {
        self.act(|inner, database| inner.first(database, exporter))
    }

    /// Removes what was sent. Gives disk space back when nothing is left.
    pub fn remove(&self, exporter: usize, key: u64) -> Result<(), SpoolError> {
        self.act(|inner, database| inner.remove(database, &[(exporter, key)]))?;
        let mut inner = self.inner();
        if inner.rows.iter().all(BTreeMap::is_empty)
            && let Some(database) = &mut inner.database
            && database.compact().is_err()
        {
            inner.database = None;
        }
        Ok(())
    }

    fn act<T>(&self, act: impl FnOnce(&mut Inner, &Database) -> Result<T, redb::Error>) -> Result<T, SpoolError> {
        let mut inner = self.inner();
        let database = match inner.database.take() {
            Some(database) => Ok(database),
            None => Inner::open(&self.path).map(|fresh| {
                inner.rows = fresh.rows;
                inner.next_key = fresh.next_key;
                fresh.database.expect("a file just opened is open")
            }),
        };
        let result = database.and_then(|database| {
            let result = act(&mut inner, &database)?;
            inner.database = Some(database);
            Ok(result)
        });
        result.map_err(|source| {
            let lost = if store::is_damage(&source) { inner.give_up(&self.path) } else { NOTHING };
            SpoolError { path: self.path.clone(), source: Box::new(source), lost }
        })
    }
}

impl Inner {
    /// Sets a damaged file aside and forgets what was in it.
    fn give_up(&mut self, path: &Path) -> [Counts; EXPORTERS.len()] {
        self.database = None;
        if store::put_aside(path).is_err() {
            return NOTHING;
        }
        let mut lost = NOTHING;
        for (lost, rows) in lost.iter_mut().zip(&mut self.rows) {
            std::mem::take(rows).values().for_each(|entry| add(lost, entry.counts));
        }
        lost
    }

    fn open(path: &Path) -> Result<Self, redb::Error> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let mut rows: [BTreeMap<u64, Entry>; EXPORTERS.len()] = Default::default();
        let transaction = database.begin_write()?;
        for (table, rows) in TABLES.iter().zip(&mut rows) {
            for row in transaction.open_table(*table)?.iter()? {
                let (key, value) = row?;
                let (_, stored, counts, bytes) = value.value();
                rows.insert(key.value(), Entry { bytes: bytes.len() as u64, stored, counts });
            }
        }
        transaction.commit()?;
        let last = rows.iter().filter_map(|rows| rows.keys().next_back()).max();
        let next_key = last.map_or(1, |last| last + 1);
        Ok(Self { database: Some(database), rows, next_key })
    }

    fn put(
        &mut self,
        database: &Database,
        exporter: usize,
        pieces: &[Piece],
        max_bytes: u64,
    ) -> Result<[Counts; EXPORTERS.len()], redb::Error> {
        let now = unix_seconds();
        let mut new = Vec::new();
        for run in pieces.chunk_by(|a, b| a.epoch() == b.epoch()) {
            let mut bytes = Vec::new();
            let mut counts = Counts::default();
            for piece in run {
                piece.records().for_each(|record| put_record(record, &mut bytes));
                add(&mut counts, piece.counts());
            }
            new.push((run[0].epoch(), Entry { bytes: bytes.len() as u64, stored: now, counts }, bytes));
        }
        let added: u64 = new.iter().map(|(_, entry, _)| entry.cost()).sum();
        let gone = self.to_evict(now, max_bytes.saturating_sub(added));
        let mut dropped = NOTHING;
        for &(exporter, key) in &gone {
            add(&mut dropped[exporter], self.rows[exporter][&key].counts);
        }
        let mut rows = Vec::new();
        let transaction = database.begin_write()?;
        for &(exporter, key) in &gone {
            transaction.open_table(TABLES[exporter])?.remove(key)?;
        }
        {
            let mut table = transaction.open_table(TABLES[exporter])?;
            for (epoch, entry, bytes) in new {
                let key = self.next_key + rows.len() as u64;
                table.insert(key, (epoch, entry.stored, entry.counts, bytes.as_slice()))?;
                rows.push((key, entry));
            }
        }
        transaction.commit()?;
        for (exporter, key) in gone {
            self.rows[exporter].remove(&key);
        }
        self.next_key += rows.len() as u64;
        self.rows[exporter].extend(rows);
        Ok(dropped)
    }

    /// What is too old, and then the oldest of all until the rest takes no more than `room`.
    fn to_evict(&self, now: u64, room: u64) -> Vec<(usize, u64)> {
        let mut all: Vec<(u64, usize, Entry)> = Vec::new();
        for (exporter, rows) in self.rows.iter().enumerate() {
            all.extend(rows.iter().map(|(&key, &entry)| (key, exporter, entry)));
        }
        all.sort_unstable_by_key(|(key, ..)| *key);
        let mut total: u64 = all.iter().map(|(.., entry)| entry.cost()).sum();
        let mut gone = Vec::new();
        for (key, exporter, entry) in all {
            if total > room || entry.stored.saturating_add(AGE_MAX.as_secs()) < now {
                total -= entry.cost();
                gone.push((exporter, key));
            }
        }
        gone
    }

    fn first(&mut self, database: &Database, exporter: usize) -> Result<Option<Stored>, redb::Error> {
        let Some((&key, _)) = self.rows[exporter].first_key_value() else { return Ok(None) };
        let transaction = database.begin_read()?;
        let table = transaction.open_table(TABLES[exporter])?;
        let row = table.get(key)?.ok_or_else(|| redb::Error::Corrupted(format!("row {key} is gone")))?;
        let (epoch, _, _, bytes) = row.value();
        let records = take_records(bytes)
            .map_err(|error| redb::Error::Corrupted(format!("row {key} cannot be decoded: {error}")))?;
        Ok(Some(Stored { key, batch: RecordBatch::new(epoch, records) }))
    }

    fn remove(&mut self, database: &Database, keys: &[(usize, u64)]) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        for &(exporter, key) in keys {
            transaction.open_table(TABLES[exporter])?.remove(key)?;
        }
        transaction.commit()?;
        for (exporter, key) in keys {
            self.rows[*exporter].remove(key);
        }
        Ok(())
    }
}

impl Entry {
    /// What the row takes in the file: large values have pages of their own, whose sizes are powers of two.
    fn cost(&self) -> u64 {
        let bytes = self.bytes + ROW_BYTES;
        if bytes <= SHARED_PAGE_BYTES { bytes } else { bytes.next_power_of_two() }
    }
}

fn add(sum: &mut Counts, counts: Counts) {
    sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

fn put_record(record: &v1::Record, out: &mut Vec<u8>) {
    record.encode_length_delimited(out).expect("a vector has room for any message");
}

fn take_records(mut bytes: &[u8]) -> Result<Vec<v1::Record>, prost::DecodeError> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        records.push(v1::Record::decode_length_delimited(&mut bytes)?);
    }
    Ok(records)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
