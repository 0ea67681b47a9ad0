//! Known: what the index holds of each path when a run begins, by hash, and which of them the walk came upon.

use std::sync::atomic::{AtomicBool, Ordering};

use conexus_proto::facts::SkipReason;
use rustc_hash::FxHashMap;

use crate::index::IndexError;
use crate::index::store::Store;
use crate::index::store::record::{Entry, Stat};
use crate::index::walk::Scope;

/// The paths of the index. Some 50 bytes each: paths themselves stay in the store.
#[derive(Debug, Default)]
pub(super) struct Known {
    entries: FxHashMap<u128, KnownEntry>,
}

#[derive(Debug)]
struct KnownEntry {
    stat: Stat,
    /// Left out for this reason, when it was read.
    skipped: Option<SkipReason>,
    seen: AtomicBool,
}

/// What the index knows of a file that the walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new or was touched: read it.
    Read,
    /// It is in the index as it is.
    Unchanged,
    /// It was read before as it is, and left out.
    Skipped(SkipReason),
}

impl Known {
    /// The paths of the store that are in the scope.
    pub(super) fn load(store: &Store, scope: &Scope) -> Result<Self, IndexError> {
        let mut entries = FxHashMap::default();
        let mut add = |path: &[u8], entry: Entry| {
            let skipped = match entry {
                Entry::Skipped { reason, .. } => SkipReason::ALL.get(usize::from(reason)).copied(),
                Entry::Indexed(_) => None,
            };
            let seen = AtomicBool::new(false);
            entries.insert(hash(path), KnownEntry { stat: entry.stat(), skipped, seen });
        };
        for folder in scope.folders() {
            store.for_each_under(&folder, &mut add)?;
        }
        Ok(Self { entries })
    }

    /// Notes that a path was found, and says whether it is to be read.
    pub(super) fn see(&self, path: &[u8], stat: Stat) -> Verdict {
        let Some(entry) = self.entries.get(&hash(path)) else { return Verdict::Read };
        entry.seen.store(true, Ordering::Relaxed);
        match entry.skipped {
            _ if entry.stat != stat => Verdict::Read,
            Some(reason) => Verdict::Skipped(reason),
            None => Verdict::Unchanged,
        }
    }

    /// Whether a path was known when the run began and was not found. What came during the run is not asked about.
    pub(super) fn is_missed(&self, path: &[u8]) -> bool {
        self.entries.get(&hash(path)).is_some_and(|entry| !entry.seen.load(Ordering::Relaxed))
    }
}

/// Of 128 bits: with millions of paths a collision is out of the question.
fn hash(path: &[u8]) -> u128 {
    let digest = blake3::hash(path);
    let bytes: [u8; 16] = digest.as_bytes()[..16].try_into().expect("sixteen bytes");
    u128::from_le_bytes(bytes)
}
