//! Ingest: how do batches get in?
//!
//! ```text
//! socket   who may connect, and whose is the file at the path?
//! service  the conversation with one core
//! admit    is this batch well formed?
//! ```

pub mod socket;
pub mod service;
pub mod admit;
