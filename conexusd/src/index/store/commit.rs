//! Commit: what a batch of changed paths does to the tables: references, contents, what dies.

use std::collections::BTreeMap;

use redb::{ReadableTable, WriteTransaction};

use super::record::{self, ContentKey, Entry, FileRecord};
use super::{CONTENTS, DOOMED, FILES, META, Meta, REFS, TOUCHED, VECTORS, read_u64};

/// Changes to be made at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// New entries, or `None` where the path is gone.
    pub files: BTreeMap<Vec<u8>, Option<Entry>>,
    /// Contents that the new entries refer to, their rows and vectors.
    pub contents: BTreeMap<ContentKey, ContentRow>,
    /// Bytes of `contents`, for a bound on the batch.
    pub bytes: usize,
    /// Contents are written even where they exist, because they were parsed anew.
    pub replace: bool,
}

/// The rows of a content.
#[derive(Debug, Default)]
pub struct ContentRow {
    /// [`record::encode_content`].
    pub content: Vec<u8>,
    /// One vector a chunk, one after the other.
    pub vectors: Vec<u8>,
}

impl Batch {
    /// Adds a content.
    pub fn add_content(&mut self, key: ContentKey, row: ContentRow) {
        self.bytes += row.content.len() + row.vectors.len();
        self.contents.insert(key, row);
    }

    /// Whether a commit would change nothing.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// What a commit did.
#[derive(Debug, Default)]
pub struct Committed {
    /// The state after it.
    pub meta: Meta,
    /// File versions that are no longer part of the index.
    pub dead: Vec<u32>,
    /// File versions that kept their content and got a new modification time.
    pub touched: Vec<(u32, i64)>,
}

/// Makes the changes within a transaction.
pub(super) fn apply(
    write: &WriteTransaction,
    batch: &Batch,
    next_file: u32,
    doomed_bytes_max: u64,
) -> Result<Committed, redb::Error> {
    let mut committed = Committed::default();
    let mut references: BTreeMap<ContentKey, i64> = BTreeMap::new();
    {
        let mut files = write.open_table(FILES)?;
        for (path, entry) in &batch.files {
            let old = match entry {
                Some(entry) => files.insert(path.as_slice(), record::encode_entry(entry).as_slice())?,
                None => files.remove(path.as_slice())?,
            };
            let old = old.and_then(|value| record::decode_entry(value.value()));
            count_change(old.as_ref(), entry.as_ref(), &mut references, &mut committed);
        }
    }
    let mut meta = write.open_table(META)?;
    let generation = read_u64(&meta, "generation")? + 1;
    let doomed = read_u64(&meta, "doomed_bytes")?;
    let doomed = apply_contents(write, batch, &references, generation, doomed)?;
    let doomed = drop_doomed(write, generation, doomed, doomed_bytes_max)?;
    meta.insert("doomed_bytes", doomed.to_le_bytes().as_slice())?;
    meta.insert("generation", generation.to_le_bytes().as_slice())?;
    meta.insert("next_file", u64::from(next_file).to_le_bytes().as_slice())?;
    let mut touched = write.open_table(TOUCHED)?;
    for id in &committed.dead {
        touched.remove(id)?;
    }
    for (id, modified) in &committed.touched {
        touched.insert(id, modified)?;
    }
    committed.meta = Meta {
        generation,
        next_file,
        complete: meta.get("complete")?.is_some_and(|value| value.value() == [1]),
        checked: read_u64(&meta, "checked")? as i64,
    };
    Ok(committed)
}

/// What a change of one path means for its contents and for the derived data.
fn count_change(
    old: Option<&Entry>,
    new: Option<&Entry>,
    references: &mut BTreeMap<ContentKey, i64>,
    committed: &mut Committed,
) {
    let record = |entry: Option<&Entry>| -> Option<FileRecord> {
        match entry {
            Some(Entry::Indexed(record)) => Some(*record),
            _ => None,
        }
    };
    let (old, new) = (record(old), record(new));
    if let Some(old) = old {
        *references.entry(old.content).or_default() -= 1;
        match new {
            Some(new) if new.id == old.id => {
                if new.stat.modified != old.stat.modified {
                    committed.touched.push((new.id, new.stat.modified));
                }
            }
            _ => committed.dead.push(old.id),
        }
    }
    if let Some(new) = new {
        *references.entry(new.content).or_default() += 1;
    }
}

/// Counts references and writes new contents. Returns the bytes of contents without references that are kept.
fn apply_contents(
    write: &WriteTransaction,
    batch: &Batch,
    references: &BTreeMap<ContentKey, i64>,
    generation: u64,
    mut doomed_bytes: u64,
) -> Result<u64, redb::Error> {
    let mut refs = write.open_table(REFS)?;
    let mut contents = write.open_table(CONTENTS)?;
    let mut vectors = write.open_table(VECTORS)?;
    let mut doomed = write.open_table(DOOMED)?;
    for (key, change) in references {
        let before = refs.get(key)?.map_or(0, |value| value.value());
        let after = (i64::from(before) + change).max(0) as u32;
        if after == 0 {
            refs.remove(key)?;
            let bytes = contents.get(key)?.map_or(0, |value| value.value().len() as u64);
            doomed.insert((generation, key), bytes)?;
            doomed_bytes += bytes;
            continue;
        }
        if after != before {
            refs.insert(key, after)?;
        }
        if let Some(row) = batch.contents.get(key)
            && (batch.replace || before == 0 && contents.get(key)?.is_none())
        {
            contents.insert(key, row.content.as_slice())?;
            vectors.insert(key, row.vectors.as_slice())?;
        }
    }
    Ok(doomed_bytes)
}

/// Removes the oldest contents without files until no more than `max` bytes of them are left. Returns what is left.
fn drop_doomed(write: &WriteTransaction, generation: u64, mut doomed_bytes: u64, max: u64) -> Result<u64, redb::Error> {
    let refs = write.open_table(REFS)?;
    let mut contents = write.open_table(CONTENTS)?;
    let mut vectors = write.open_table(VECTORS)?;
    let mut doomed = write.open_table(DOOMED)?;
    while doomed_bytes > max {
        let Some((since, key, bytes)) = doomed.first()?.map(|(place, bytes)| {
            let (since, key) = place.value();
            (since, *key, bytes.value())
        }) else {
            break;
        };
        // What this very commit dooms may still be read by a search that began before it.
        if since == generation {
            break;
        }
        doomed.remove((since, &key))?;
        doomed_bytes = doomed_bytes.saturating_sub(bytes);
        if refs.get(&key)?.is_none() {
            contents.remove(&key)?;
            vectors.remove(&key)?;
        }
    }
    Ok(doomed_bytes)
}
