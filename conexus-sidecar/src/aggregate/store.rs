//! Store: what must survive a restart of the sidecar, in one small redb file.
//!
//! It holds the base, the last values of every epoch that has not ended, and the ids of those that have. A file of
//! an older layout is read by the slots' names; a damaged one is set aside, so that it never blocks the start.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::{Database, ReadableTable, TableDefinition};

use super::tally::{Tally, put_varint, slot_names, take_varint};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("epochs");
const ENDED: TableDefinition<'_, u64, u64> = TableDefinition::new("ended");

/// The file's name in the state directory.
pub const FILE_NAME: &str = "measures.redb";
/// How many ended epochs are remembered, so that one that returns is not counted twice.
const ENDED_KEPT: usize = 4096;
/// redb's page cache: the whole file is smaller.
const CACHE_BYTES: usize = 1 << 20;

/// Why the file could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("state file {path} is in use by another sidecar (observability.telemetry.state_dir must be its own)")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The folder cannot be made.
    #[error("cannot create the state directory {path} (observability.telemetry.state_dir)")]
    Directory {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Anything else.
    #[error("state file {path} (observability.telemetry.state_dir)")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
}

/// What is kept of an epoch that has not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The last batch taken or refused for good.
    pub sequence: u64,
    /// Its loss is a crash.
    pub serving: bool,
    /// Its stream ended without a goodbye, and not by the sidecar's doing.
    pub lost: bool,
    /// Its loss was counted as a crash.
    pub crashed: bool,
    /// Another core has taken its place.
    pub succeeded: bool,
    /// Its process is gone for good, and its last counts are in `tally`.
    pub dead: bool,
    /// Its last values.
    pub tally: Tally,
}

/// Everything in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persisted {
    /// Sum of all ended epochs, and the sidecar's own counts.
    pub base: Tally,
    /// Epochs that have not ended.
    pub rows: HashMap<u64, Row>,
    /// Epochs that have.
    pub ended: HashSet<u64>,
}

/// What one commit writes.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// The new base, if it changed.
    pub base: Option<Tally>,
    /// Rows that are new or changed.
    pub rows: Vec<(u64, Row)>,
    /// Epochs that ended: their rows go, their ids stay.
    pub ended: Vec<u64>,
}

/// The open file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    // None after a failed write: redb refuses everything after an I/O error, so it is opened anew.
    database: Option<Database>,
}

/// The result of opening the file.
#[derive(Debug)]
pub struct Opened {
    /// The open file.
    pub store: Store,
    /// What it held.
    pub persisted: Persisted,
    /// Where a damaged file was put, if there was one.
    pub set_aside: Option<PathBuf>,
}

impl Store {
    /// Opens or creates the file in `state_dir`.
    pub fn open(state_dir: &Path) -> Result<Opened, StoreError> {
        create_private_dir(state_dir)
            .map_err(|source| StoreError::Directory { path: state_dir.to_path_buf(), source })?;
        let path = state_dir.join(FILE_NAME);
        let mut set_aside = None;
        loop {
            match open_and_read(&path) {
                Ok((database, persisted)) => {
                    let store = Store { path, database: Some(database) };
                    return Ok(Opened { store, persisted, set_aside });
                }
                Err(error) if set_aside.is_none() && is_damage(&error) => {
                    set_aside = Some(put_aside(&path).map_err(|source| StoreError::File {
                        path: path.clone(),
                        source: Box::new(redb::Error::Io(source)),
                    })?);
                }
                Err(redb::Error::DatabaseAlreadyOpen) => return Err(StoreError::InUse { path }),
                Err(source) => return Err(StoreError::File { path, source: Box::new(source) }),
            }
        }
    }

    /// Writes a commit and waits until it is on the disk.
    pub fn commit(&mut self, writes: &Writes) -> Result<(), StoreError> {
        let result = self.try_commit(writes);
        if result.is_err() {
            self.database = None;
        }
        result.map_err(|source| StoreError::File { path: self.path.clone(), source: Box::new(source) })
    }

    fn try_commit(&mut self, writes: &Writes) -> Result<(), redb::Error> {
        let database = match &mut self.database {
            Some(database) => database,
            none => none.insert(builder().open(&self.path)?),
        };
        let transaction = database.begin_write()?;
        {
            let mut bytes = Vec::with_capacity(2048);
            if let Some(base) = &writes.base {
                base.encode(&mut bytes);
                transaction.open_table(META)?.insert("base", bytes.as_slice())?;
            }
            let mut rows = transaction.open_table(ROWS)?;
            for (epoch, row) in &writes.rows {
                bytes.clear();
                encode_row(row, &mut bytes);
                rows.insert(epoch, bytes.as_slice())?;
            }
            let mut ended = transaction.open_table(ENDED)?;
            for epoch in &writes.ended {
                rows.remove(epoch)?;
                ended.insert(epoch, unix_seconds())?;
            }
            if !writes.ended.is_empty() {
                forget_oldest(&mut ended)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn forget_oldest(ended: &mut redb::Table<'_, u64, u64>) -> Result<(), redb::Error> {
    let mut all = Vec::new();
    for entry in ended.iter()? {
        let (epoch, at) = entry?;
        all.push((at.value(), epoch.value()));
    }
    if all.len() > ENDED_KEPT {
        all.sort_unstable();
        for (_, epoch) in &all[..all.len() - ENDED_KEPT] {
            ended.remove(epoch)?;
        }
    }
    Ok(())
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn open_and_read(path: &Path) -> Result<(Database, Persisted), redb::Error> {
    let database = builder().create(path)?;
    let names = slot_names();
    let layout = names.join("\n");
    let transaction = database.begin_write()?;
    let persisted = {
        let mut meta = transaction.open_table(META)?;
        let mut rows = transaction.open_table(ROWS)?;
        let ended = transaction.open_table(ENDED)?;
        let old_layout = meta.get("layout")?.map(|value| value.value().to_vec());
        let persisted = match &old_layout {
            None => Persisted::default(),
            Some(old) => {
                let reader = Reader::new(old, &names)?;
                read_all(&reader, &meta, &rows, &ended)?
            }
        };
        if old_layout.as_deref() != Some(layout.as_bytes()) {
            meta.insert("layout", layout.as_bytes())?;
            write_all(&persisted, &mut meta, &mut rows)?;
        }
        persisted
    };
    transaction.commit()?;
    Ok((database, persisted))
}

fn read_all(
    reader: &Reader,
    meta: &redb::Table<'_, &str, &[u8]>,
    rows: &redb::Table<'_, u64, &[u8]>,
    ended: &redb::Table<'_, u64, u64>,
) -> Result<Persisted, redb::Error> {
    let mut persisted = Persisted::default();
    if let Some(base) = meta.get("base")? {
        persisted.base = reader.tally(base.value())?;
    }
    for entry in rows.iter()? {
        let (epoch, bytes) = entry?;
        persisted.rows.insert(epoch.value(), reader.row(bytes.value())?);
    }
    for entry in ended.iter()? {
        persisted.ended.insert(entry?.0.value());
    }
    Ok(persisted)
}

fn write_all(
    persisted: &Persisted,
    meta: &mut redb::Table<'_, &str, &[u8]>,
    rows: &mut redb::Table<'_, u64, &[u8]>,
) -> Result<(), redb::Error> {
    let mut bytes = Vec::new();
    persisted.base.encode(&mut bytes);
    meta.insert("base", bytes.as_slice())?;
    for (epoch, row) in &persisted.rows {
        bytes.clear();
        encode_row(row, &mut bytes);
        rows.insert(epoch, bytes.as_slice())?;
    }
    Ok(())
}

/// Reads values written under a layout, which may be an older one, into today's slots.
struct Reader {
    // For each slot of the file its slot today; None if there is none any more.
    slots: Vec<Option<usize>>,
}

impl Reader {
    fn new(layout: &[u8], names: &[String]) -> Result<Self, redb::Error> {
        let layout = std::str::from_utf8(layout).map_err(|_| damaged("its layout is not text"))?;
        let today: HashMap<&str, usize> = names.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
        Ok(Self { slots: layout.split('\n').map(|name| today.get(name).copied()).collect() })
    }

    fn tally(&self, bytes: &[u8]) -> Result<Tally, redb::Error> {
        let values = Tally::decode_raw(bytes, self.slots.len()).ok_or_else(|| damaged("a tally cannot be read"))?;
        let mut tally = Tally::default();
        for (slot, value) in self.slots.iter().zip(values) {
            if let Some(slot) = slot {
                tally[*slot] = value;
            }
        }
        Ok(tally)
    }

    fn row(&self, mut bytes: &[u8]) -> Result<Row, redb::Error> {
        let mut take = || take_varint(&mut bytes).ok_or_else(|| damaged("an epoch cannot be read"));
        let (flags, sequence) = (take()?, take()?);
        Ok(Row {
            sequence,
            serving: flags & 1 != 0,
            lost: flags & 2 != 0,
            crashed: flags & 4 != 0,
            succeeded: flags & 8 != 0,
            dead: flags & 16 != 0,
            tally: self.tally(bytes)?,
        })
    }
}

fn encode_row(row: &Row, out: &mut Vec<u8>) {
    let flags = [row.serving, row.lost, row.crashed, row.succeeded, row.dead];
    let flags = flags.into_iter().enumerate().fold(0, |flags, (bit, set)| flags | u64::from(set) << bit);
    put_varint(out, flags);
    put_varint(out, row.sequence);
    row.tally.encode(out);
}

fn damaged(what: &str) -> redb::Error {
    redb::Error::Corrupted(what.into())
}

/// Whether an error means that the file itself is no good.
pub(crate) fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_) => true,
        redb::Error::Io(error) => {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

/// Renames a damaged file; returns its new name.
pub(crate) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_extension(format!("redb.damaged-{}", unix_seconds()));
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

/// Makes a folder, and those above it, that only this user may enter.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
