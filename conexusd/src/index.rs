//! The index: from files on disk to a snapshot that can be searched.

pub mod chunk;
pub mod classify;
pub mod embed;
pub mod language;
pub mod quantize;
pub mod snapshot;
pub mod tokenize;

/// Why the index could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct IndexError(pub String);
