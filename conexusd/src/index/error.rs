//! Errors: why the index could not be opened, read or written.

use std::path::{Path, PathBuf};

/// Why the index could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The root cannot be indexed.
    #[error("{0}")]
    Root(String),
    /// A setting of the index is wrong.
    #[error("{0}")]
    Options(String),
    /// Another process has the index open.
    #[error("{}: the index is in use by {}", .folder.display(), owner(.pid))]
    Owned {
        /// The index's folder.
        folder: PathBuf,
        /// The owner's process number, if it could be read.
        pid: Option<u32>,
    },
    /// A run goes on; another one has to wait.
    #[error("an indexing run is already running")]
    Busy,
    /// A file of the index cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store cannot be read or written.
    #[error("store: {0}")]
    Store(String),
    /// Something derived from the store cannot be read or written; it can be made anew.
    #[error("{0}")]
    Derived(String),
    /// The lexical index cannot be read or written.
    #[error("lexical index: {0}")]
    Lexical(String),
}

impl IndexError {
    /// Whether another process has the index.
    pub fn is_owned(&self) -> bool {
        matches!(self, Self::Owned { .. })
    }

    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// An error of the lexical index.
    pub fn from_tantivy(error: tantivy::TantivyError) -> Self {
        Self::Lexical(error.to_string())
    }
}

fn owner(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
