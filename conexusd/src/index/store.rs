//! Store: the truth of the index, in one redb file.
//!
//! ```text
//! meta      schema, identities, generation, next file number, completeness
//! files     path bytes → Entry (indexed or skipped, with the stat when it was read)
//! contents  content key → text (lz4), chunks, definitions, imports
//! refs      content key → number of files that have it
//! vectors   content key → one i8 vector a chunk: the persistent embedding cache
//! touched   file number → modification time, where it is newer than in the derived columns
//! doomed    generation, content key → bytes: contents without files, kept a while
//! ```
//!
//! Everything else in the index's folder is derived from this and can be made again.

mod commit;
pub mod record;

pub use commit::{Batch, Committed, ContentRow};

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::IndexError;
use super::chunk::ParsedFile;
use record::{ContentKey, Entry};

/// Changes when the meaning of the stored bytes does, or what files are parsed into; another number reindexes.
const SCHEMA: u32 = 2;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const FILES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("files");
const CONTENTS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("contents");
const REFS: TableDefinition<'_, &[u8; 16], u32> = TableDefinition::new("refs");
const VECTORS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("vectors");
const TOUCHED: TableDefinition<'_, u32, i64> = TableDefinition::new("touched");
const DOOMED: TableDefinition<'_, (u64, &[u8; 16]), u64> = TableDefinition::new("doomed");

/// Contents that no file has any more are kept up to so many bytes, the latest ones, for branches that come back.
const DOOMED_BYTES_MAX: u64 = 128 << 20;

/// The store's state beside its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// One more with every commit that changes what can be searched.
    pub generation: u64,
    /// The number of the next file version.
    pub next_file: u32,
    /// Whether a whole run has finished since the index was made, and none was broken off since.
    pub complete: bool,
    /// When the last whole run began, nanoseconds since 1970; 0 if never.
    pub checked: i64,
}

/// The open store.
#[derive(Debug)]
pub struct Store {
    database: Database,
    path: PathBuf,
    doomed_bytes_max: u64,
}

impl Store {
    /// Opens or makes the store. Rows of another schema or embedder (its identity and dimensions) are dropped: the second
    /// value says why, if so.
    pub fn open(path: &Path, embedder: &str, cache_bytes: usize) -> Result<(Self, Option<String>), IndexError> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let (database, mut reset) = match builder.create(path) {
            Ok(database) => (database, None),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                return Err(IndexError::Store(format!("{}: opened by another process", path.display())));
            }
            Err(error @ redb::DatabaseError::Storage(redb::StorageError::Io(_))) if !is_damage(&error) => {
                return Err(IndexError::Store(format!("{}: {error}", path.display())));
            }
            Err(error) => {
                let aside = path.with_extension("damaged");
                std::fs::rename(path, &aside).map_err(|source| IndexError::io(path, source))?;
                let database = builder.create(path).map_err(|error| store_error(path, error))?;
                (
                    database,
                    Some(format!("the store could not be read ({error}), it was set aside as {}", aside.display())),
                )
            }
        };
        let store = Self { database, path: path.to_owned(), doomed_bytes_max: DOOMED_BYTES_MAX };
        if let Some(reason) = store.prepare(embedder)? {
            reset.get_or_insert(reason);
        }
        Ok((store, reset))
    }

    /// Makes the tables, and empties them where they were written for another identity.
    fn prepare(&self, embedder: &str) -> Result<Option<String>, IndexError> {
        let write = self.begin()?;
        let reset = self.check_identity(&write, embedder)?;
        let outcome = (|| -> Result<(), redb::Error> {
            if reset.is_some() {
                write.delete_table(FILES)?;
                write.delete_table(CONTENTS)?;
                write.delete_table(REFS)?;
                write.delete_table(VECTORS)?;
                write.delete_table(TOUCHED)?;
                write.delete_table(DOOMED)?;
            }
            write.open_table(FILES)?;
            write.open_table(CONTENTS)?;
            write.open_table(REFS)?;
            write.open_table(VECTORS)?;
            write.open_table(TOUCHED)?;
            write.open_table(DOOMED)?;
            let mut meta = write.open_table(META)?;
            meta.insert("schema", SCHEMA.to_le_bytes().as_slice())?;
            meta.insert("embedder", embedder.as_bytes())?;
            if reset.is_some() {
                meta.insert("complete", [0].as_slice())?;
                meta.insert("checked", 0i64.to_le_bytes().as_slice())?;
                meta.insert("doomed_bytes", 0u64.to_le_bytes().as_slice())?;
                let generation = read_u64(&meta, "generation")? + 1;
                meta.insert("generation", generation.to_le_bytes().as_slice())?;
            }
            Ok(())
        })();
        outcome.map_err(|error| store_error(&self.path, error))?;
        write.commit().map_err(|error| store_error(&self.path, error))?;
        Ok(reset)
    }

    fn check_identity(&self, write: &WriteTransaction, embedder: &str) -> Result<Option<String>, IndexError> {
        let check = || -> Result<Option<String>, redb::Error> {
            let meta = write.open_table(META)?;
            let Some(schema) = meta.get("schema")?.map(|value| value.value().to_vec()) else { return Ok(None) };
            if schema != SCHEMA.to_le_bytes() {
                return Ok(Some("the index was written by another version".to_owned()));
            }
            let found = meta.get("embedder")?.map(|value| String::from_utf8_lossy(value.value()).into_owned());
            let found = found.unwrap_or_default();
            Ok((found != embedder)
                .then(|| format!("the index was made with the embedder `{found}`, now it is `{embedder}`")))
        };
        check().map_err(|error| store_error(&self.path, error))
    }

    /// The state beside the rows.
    pub fn meta(&self) -> Result<Meta, IndexError> {
        self.read(|read| {
            let table = read.open_table(META)?;
            Ok(Meta {
                generation: read_u64(&table, "generation")?,
                next_file: read_u64(&table, "next_file")? as u32,
                complete: table.get("complete")?.is_some_and(|value| value.value() == [1]),
                checked: read_u64(&table, "checked")? as i64,
            })
        })
    }

    /// Calls `each` with every path and its entry, in the order of the path's bytes.
    pub fn for_each(&self, each: impl FnMut(&[u8], Entry)) -> Result<(), IndexError> {
        self.for_each_under(b"", each)
    }

    /// What is known of a path.
    pub fn entry(&self, path: &[u8]) -> Result<Option<Entry>, IndexError> {
        self.read(|read| Ok(read.open_table(FILES)?.get(path)?.and_then(|value| record::decode_entry(value.value()))))
    }

    /// Calls `each` with every path at or below `folder` (empty: all) and its entry.
    pub fn for_each_under(&self, folder: &[u8], mut each: impl FnMut(&[u8], Entry)) -> Result<(), IndexError> {
        self.read(|read| {
            for row in read.open_table(FILES)?.range(folder..)? {
                let (path, value) = row?;
                if !path.value().starts_with(folder) {
                    break;
                }
                if let Some(entry) = record::decode_entry(value.value())
                    && is_under(path.value(), folder)
                {
                    each(path.value(), entry);
                }
            }
            Ok(())
        })
    }

    /// The text of a content.
    pub fn text(&self, key: &ContentKey) -> Result<Option<String>, IndexError> {
        self.content(key, record::decode_text)
    }

    /// The same, not looked at: it was UTF-8 when it was written.
    pub fn text_bytes(&self, key: &ContentKey) -> Result<Option<Vec<u8>>, IndexError> {
        self.content(key, record::decode_bytes)
    }

    /// What was parsed from a content.
    pub fn parsed(&self, key: &ContentKey) -> Result<Option<ParsedFile>, IndexError> {
        self.content(key, record::decode_parsed)
    }

    fn content<T>(&self, key: &ContentKey, decode: fn(&[u8]) -> Option<T>) -> Result<Option<T>, IndexError> {
        let decoded = self.read(|read| Ok(read.open_table(CONTENTS)?.get(key)?.map(|value| decode(value.value()))))?;
        match decoded {
            Some(None) => Err(IndexError::Store(format!("{}: a content cannot be read", self.path.display()))),
            Some(found) => Ok(found),
            None => Ok(None),
        }
    }

    /// The vectors of a content's chunks, one after the other.
    pub fn vectors(&self, key: &ContentKey) -> Result<Option<Vec<u8>>, IndexError> {
        self.read(|read| Ok(read.open_table(VECTORS)?.get(key)?.map(|value| value.value().to_vec())))
    }

    /// File versions whose modification time is newer than in the derived columns.
    pub fn touched(&self) -> Result<Vec<(u32, i64)>, IndexError> {
        self.read(|read| {
            let mut all = Vec::new();
            for row in read.open_table(TOUCHED)?.iter()? {
                let (id, modified) = row?;
                all.push((id.value(), modified.value()));
            }
            Ok(all)
        })
    }

    /// Makes all changes of a batch, durably, or none.
    pub fn commit(&self, batch: &Batch, next_file: u32) -> Result<Committed, IndexError> {
        let write = self.begin()?;
        let committed = commit::apply(&write, batch, next_file, self.doomed_bytes_max)
            .map_err(|error| store_error(&self.path, error))?;
        write.commit().map_err(|error| store_error(&self.path, error))?;
        Ok(committed)
    }

    /// Sets whether the index is complete, and since when what it shows is known to be so. Not a change of generation.
    pub fn set_checked(&self, complete: bool, checked: i64) -> Result<(), IndexError> {
        let write = self.begin()?;
        let outcome = (|| -> Result<(), redb::Error> {
            let mut meta = write.open_table(META)?;
            meta.insert("complete", [complete as u8].as_slice())?;
            meta.insert("checked", checked.to_le_bytes().as_slice())?;
            Ok(())
        })();
        outcome.map_err(|error| store_error(&self.path, error))?;
        write.commit().map_err(|error| store_error(&self.path, error))
    }

    /// Bytes that the file takes on disk: it has holes.
    pub fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.blocks() * 512)
    }

    fn begin(&self) -> Result<WriteTransaction, IndexError> {
        let mut write = self.database.begin_write().map_err(|error| store_error(&self.path, error))?;
        // After a crash the whole file would be walked otherwise.
        write.set_quick_repair(true);
        Ok(write)
    }

    fn read<T>(&self, body: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, IndexError> {
        let read = self.database.begin_read().map_err(|error| store_error(&self.path, error))?;
        body(&read).map_err(|error| store_error(&self.path, error))
    }
}

/// Whether `path` is `folder` or below it.
pub fn is_under(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn read_u64(table: &impl ReadableTable<&'static str, &'static [u8]>, key: &str) -> Result<u64, redb::Error> {
    Ok(table.get(key)?.and_then(|value| value.value().try_into().ok().map(u64::from_le_bytes)).unwrap_or(0))
}

fn store_error(path: &Path, error: impl Into<redb::Error>) -> IndexError {
    IndexError::Store(format!("{}: {}", path.display(), error.into()))
}

/// Input and output errors that mean a damaged file rather than a disk or permission problem.
fn is_damage(error: &redb::DatabaseError) -> bool {
    matches!(error, redb::DatabaseError::Storage(redb::StorageError::Io(io))
        if matches!(io.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof))
}

#[cfg(test)]
mod tests;
