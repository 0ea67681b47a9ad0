//! Sync: the primitives under counting. `tests/loom` puts loom's in their place and tries every order.

pub(crate) use std::sync::Mutex;
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
