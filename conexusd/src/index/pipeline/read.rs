//! Read: a file on disk in, its text parsed, or why it is left out.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use conexus_proto::facts::{FileError, SkipReason};

use crate::index::chunk::{self, ParsedFile};
use crate::index::classify;
use crate::index::derive::display_path;
use crate::index::language::Language;
use crate::index::store::Store;
use crate::index::store::record::{ContentKey, Entry, FileRecord, Stat};
use crate::index::walk::{class_of, stat_of};

/// A file to read.
#[derive(Debug)]
pub(crate) struct Job {
    /// Relative to the root.
    pub(crate) path: Vec<u8>,
    /// To open it with.
    pub(crate) absolute: PathBuf,
    /// As the walk saw it.
    pub(crate) stat: Stat,
}

/// A file that was read and parsed.
#[derive(Debug)]
pub(crate) struct ReadFile {
    /// Relative to the root.
    pub(crate) path: Vec<u8>,
    /// As it was when it was read.
    pub(crate) stat: Stat,
    /// Of its bytes and language.
    pub(crate) key: ContentKey,
    /// By path and text.
    pub(crate) language: Language,
    /// Decoded.
    pub(crate) text: String,
    /// Of the text.
    pub(crate) parsed: ParsedFile,
    /// The version that is in the index now, if any.
    pub(crate) old: Option<FileRecord>,
}

/// What reading a file gave.
#[derive(Debug)]
pub(crate) enum Reading {
    /// A new version.
    File(Box<ReadFile>),
    /// The content is as before: only the stat is new.
    Same(FileRecord),
    /// It is left out, and need not be read again while its stat is the same.
    Skip(Stat, SkipReason),
    /// It is left out because of what it is now: nothing to remember.
    Unfit(SkipReason),
    /// It is gone.
    Gone,
    /// It could not be read. What the index has of it stays, unless it may not be read any more.
    Failed { error: FileError, message: String, remove: bool },
}

/// Reads a file. `anew`: parse it even if the index has this content.
pub(crate) fn read(job: &Job, store: &Store, max_bytes: u64, anew: bool) -> Reading {
    let (bytes, stat) = match read_bytes(&job.absolute, max_bytes) {
        Ok(read) => read,
        Err(reading) => return reading,
    };
    if bytes.is_empty() {
        return Reading::Skip(stat, SkipReason::Empty);
    }
    let Some(text) = classify::text_of(&bytes) else { return Reading::Skip(stat, SkipReason::Binary) };
    let text = text.into_owned();
    let shown = display_path(&job.path).0;
    let language = Language::detect(&shown, &text);
    let key = content_key(&bytes, language);
    drop(bytes);
    let old = match store.entry(&job.path) {
        Ok(Some(Entry::Indexed(record))) => Some(record),
        Ok(_) => None,
        Err(error) => {
            return Reading::Failed { error: FileError::Store, message: error.to_string(), remove: false };
        }
    };
    if let Some(old) = old
        && old.content == key
        && !anew
    {
        return Reading::Same(FileRecord { stat, ..old });
    }
    if classify::classify(&shown, language, &text).is_generated {
        return Reading::Skip(stat, SkipReason::Generated);
    }
    let stored = if anew { None } else { store.parsed(&key).ok().flatten() };
    let parsed = stored.unwrap_or_else(|| chunk::parse(&shown, language, &text));
    Reading::File(Box::new(ReadFile { path: job.path.clone(), stat, key, language, text, parsed, old }))
}

/// The bytes of a regular file that is not too large, and its stat before they were read.
fn read_bytes(path: &Path, max_bytes: u64) -> Result<(Vec<u8>, Stat), Reading> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Reading::Gone,
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Reading::Unfit(SkipReason::Symlink)
        }
        kind => Reading::Failed {
            error: class_of(&error),
            message: format!("{}: {error}", path.display()),
            remove: kind == std::io::ErrorKind::PermissionDenied,
        },
    };
    // What was a file a moment ago may be a pipe or a link now: neither is waited for or followed.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Reading::Unfit(SkipReason::Ignored));
    }
    if metadata.len() > max_bytes {
        return Err(Reading::Unfit(SkipReason::TooLarge));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    file.by_ref().take(max_bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max_bytes {
        return Err(Reading::Unfit(SkipReason::TooLarge));
    }
    Ok((bytes, settled(stat_of(&metadata))))
}

/// A stat that can be relied upon. A file that was changed within the clock's grain may change again without its
/// times moving: such a stat is made one that no file has, so that the file is read again in the next run.
fn settled(stat: Stat) -> Stat {
    const GRAIN_NANOS: i64 = 20_000_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i64);
    if now.saturating_sub(stat.modified.max(stat.changed)) < GRAIN_NANOS { Stat { changed: 0, ..stat } } else { stat }
}

/// The key of a content.
pub(crate) fn content_key(bytes: &[u8], language: Language) -> ContentKey {
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytes);
    hasher.update(&[language.number()]);
    hasher.finalize().as_bytes()[..16].try_into().expect("sixteen bytes")
}
