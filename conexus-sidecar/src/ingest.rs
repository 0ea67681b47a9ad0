//! Ingest: how do batches get in?
//!
//! ```text
//! socket   who may connect, and whose is the file at the path?
//! codec    what does a core's message say, and what if nobody can read it?
//! service  the conversation with one core
//! budget   do records come faster than they are taken?
//! admit    is this batch well formed?
//! ```

pub mod socket;
pub mod codec;
pub mod service;
pub mod budget;
pub mod admit;
