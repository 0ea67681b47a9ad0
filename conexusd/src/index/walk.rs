//! Walk: a root in, the files that are to be indexed out, and why others are not.

pub mod filter;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use conexus_proto::facts::{FileError, SkipReason};
use ignore::{DirEntry, WalkState};

use super::store::record::Stat;
use filter::Filter;

/// What the walk comes upon.
#[derive(Debug)]
pub enum Found {
    /// A file to look at.
    File {
        /// Relative to the root, with `/`.
        path: Vec<u8>,
        /// To open it with.
        absolute: PathBuf,
        /// As of now.
        stat: Stat,
    },
    /// So many things that are left out, without looking into them.
    Skipped(SkipReason, u64),
    /// A file or folder that cannot be looked at. Nothing below it was seen.
    Failed {
        /// Relative to the root, with `/`.
        path: Vec<u8>,
        /// The class of the error.
        error: FileError,
        /// What is wrong, naming the path.
        message: String,
        /// It is not there or may not be read: then it is not to stay in the index either.
        gone: bool,
    },
    /// A folder whose entries were read, for who wants to watch it.
    Folder(PathBuf),
}

/// Which part of the root to walk.
#[derive(Clone, Debug, Default)]
pub enum Scope {
    /// All of it.
    #[default]
    All,
    /// Files, and folders with all below them; relative to the root. Ignore rules apply as in a walk of everything.
    Paths(Arc<BTreeSet<PathBuf>>),
}

impl Scope {
    /// Whether a path (relative) is in the scope.
    pub fn contains(&self, path: &Path) -> bool {
        match self {
            Scope::All => true,
            Scope::Paths(paths) => path.ancestors().any(|ancestor| paths.contains(ancestor)),
        }
    }

    /// The folders and files that the scope covers, as bytes; the root is empty.
    pub fn folders(&self) -> Vec<Vec<u8>> {
        match self {
            Scope::All => vec![Vec::new()],
            Scope::Paths(paths) => paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect(),
        }
    }

    /// Whether something in the scope is below a path.
    fn is_below(&self, path: &Path) -> bool {
        match self {
            Scope::All => true,
            Scope::Paths(paths) => paths.range(path.to_owned()..).next().is_some_and(|next| next.starts_with(path)),
        }
    }
}

/// Walks with so many threads and calls `each` from any of them, until it returns false. Returns when all is seen.
pub fn walk(filter: &Filter, scope: &Scope, threads: usize, each: &(dyn Fn(Found) -> bool + Sync)) {
    // Entries of the folders seen, less those that the walker let through: what ignore rules took out.
    let ignored = AtomicI64::new(0);
    let walker = filter.builder(scope).threads(threads.max(1)).build_parallel();
    walker.run(|| {
        let ignored = &ignored;
        Box::new(move |entry| {
            let go_on = match entry {
                Ok(entry) => visit(filter, scope, &entry, ignored, each),
                Err(error) => failed(filter, &error).is_none_or(each),
            };
            if go_on { WalkState::Continue } else { WalkState::Quit }
        })
    });
    let ignored = u64::try_from(ignored.into_inner()).unwrap_or(0);
    if ignored > 0 {
        each(Found::Skipped(SkipReason::Ignored, ignored));
    }
}

fn visit(
    filter: &Filter,
    scope: &Scope,
    entry: &DirEntry,
    ignored: &AtomicI64,
    each: &(dyn Fn(Found) -> bool + Sync),
) -> bool {
    let Ok(relative) = entry.path().strip_prefix(filter.root()) else { return true };
    let Some(kind) = entry.file_type() else { return true };
    if entry.depth() > 0 && scope.contains(relative.parent().unwrap_or(relative)) {
        ignored.fetch_sub(1, Ordering::Relaxed);
    }
    if kind.is_dir() {
        if scope.contains(relative) {
            let entries = std::fs::read_dir(entry.path()).map_or(0, Iterator::count);
            ignored.fetch_add(entries as i64, Ordering::Relaxed);
        }
        return each(Found::Folder(entry.path().to_owned()));
    }
    if kind.is_symlink() {
        return each(Found::Skipped(SkipReason::Symlink, 1));
    }
    if !kind.is_file() {
        return each(Found::Skipped(SkipReason::Ignored, 1));
    }
    let path = relative.as_os_str().as_bytes().to_vec();
    match entry.metadata() {
        Ok(metadata) if metadata.len() > filter.max_file_size() => each(Found::Skipped(SkipReason::TooLarge, 1)),
        Ok(metadata) => each(Found::File { path, absolute: entry.path().to_owned(), stat: stat_of(&metadata) }),
        Err(error) => failed(filter, &error).is_none_or(each),
    }
}

/// The part of a file's metadata that says whether it was touched.
pub fn stat_of(metadata: &std::fs::Metadata) -> Stat {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Stat {
        modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
        bytes: metadata.len(),
    }
}

/// The class of an input or output error.
pub fn class_of(error: &std::io::Error) -> FileError {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => FileError::Permission,
        _ => FileError::Io,
    }
}

/// What an error of the walker means; `None` if it is about an ignore file or something that is just gone.
fn failed(filter: &Filter, error: &ignore::Error) -> Option<Found> {
    let io = error.io_error()?;
    let path = path_in(error)?.strip_prefix(filter.root()).ok()?;
    if io.kind() == std::io::ErrorKind::NotFound {
        return None;
    }
    Some(Found::Failed {
        path: path.as_os_str().as_bytes().to_vec(),
        error: class_of(io),
        message: format!("{}: {io}", path.display()),
        gone: io.kind() == std::io::ErrorKind::PermissionDenied,
    })
}

fn path_in(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_in(err),
        ignore::Error::Partial(errors) => errors.iter().find_map(path_in),
        ignore::Error::Loop { child, .. } => Some(child),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
