//! Recovery: the derived data brought to the store's generation, whatever became of it.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Core;
use crate::index::IndexError;
use crate::index::derive::{Derived, Source, derive};
use crate::index::language::Language;
use crate::index::lexical::Lexical;
use crate::index::run::{RunControl, lock};
use crate::index::segment::build::SegmentBuilder;
use crate::index::segment::signed;
use crate::index::store::record::{Entry, FileRecord};

/// Columns that recovery holds in memory before it writes a segment.
const RECOVERY_BYTES: usize = 96 << 20;

/// Files that recovery derives at once.
const RECOVERY_WINDOW: usize = 256;

/// The difference between the store and what is derived from it, in numbers of file versions.
struct Gap {
    /// Of the store: path and record.
    wanted: FxHashMap<u32, (Vec<u8>, FileRecord)>,
    in_lexical: FxHashSet<u32>,
    in_columns: FxHashSet<u32>,
    dead_in_lexical: Vec<u32>,
    dead_in_columns: Vec<u32>,
    /// Lacking in one or both, ascending.
    missing: Vec<u32>,
}

impl Core {
    /// Recovers at once if it is little work.
    pub(crate) fn recover_a_little(&self) -> Result<(), IndexError> {
        const FILES_MAX: usize = 2000;
        if !self.is_stale() {
            return Ok(());
        }
        let mut lexical = lock(&self.lexical);
        let mut files = 0usize;
        self.store.for_each(|_, entry| files += usize::from(matches!(entry, Entry::Indexed(_))))?;
        let there = lexical.files()?.len().min(lock(&self.columns).ids().len());
        if files.saturating_sub(there) <= FILES_MAX {
            self.recover(&mut lexical, &RunControl::new())?;
        }
        Ok(())
    }

    /// Brings the derived data to the store's generation. Stops half-way, consistent, when `control` is cancelled.
    pub(crate) fn recover(&self, lexical: &mut Lexical, control: &RunControl) -> Result<(), IndexError> {
        match self.close_gap(lexical, control) {
            // Damaged in a way that shows only in writing: made anew from the store.
            Err(IndexError::Lexical(_)) => {
                lexical.reset()?;
                self.close_gap(lexical, control)
            }
            done => done,
        }
    }

    fn close_gap(&self, lexical: &mut Lexical, control: &RunControl) -> Result<(), IndexError> {
        lexical.discard();
        let meta = self.store.meta()?;
        let gap = self.gap(lexical)?;
        lexical.delete(&gap.dead_in_lexical)?;
        let mut builder = SegmentBuilder::new(self.embedder.dimensions());
        for window in gap.missing.chunks(RECOVERY_WINDOW) {
            for (id, mut derived) in self.derive_again(window, &gap.wanted, lexical)? {
                if !gap.in_lexical.contains(&id) {
                    lexical.add(id, std::mem::take(&mut derived.documents))?;
                }
                if !gap.in_columns.contains(&id) {
                    builder.push(id, &derived);
                }
            }
            // Not yet the store's generation: should this be cut off, it is recovered again.
            if control.is_cancelled() {
                lexical.commit(0)?;
                return lock(&self.columns).commit(&mut builder, &[], 0);
            }
            if builder.bytes() > RECOVERY_BYTES || builder.is_full() {
                lexical.commit(0)?;
                lock(&self.columns).commit(&mut builder, &[], 0)?;
            }
        }
        lexical.commit(meta.generation)?;
        lock(&self.columns).commit(&mut builder, &gap.dead_in_columns, meta.generation)?;
        {
            let mut state = lock(&self.state);
            state.searcher = lexical.searcher().map_err(IndexError::from_tantivy)?;
            state.touched = Arc::new(self.store.touched()?.into_iter().collect());
            state.meta = meta;
            (state.stale, state.committing) = (false, false);
        }
        self.publish()
    }

    /// What the derived data has and what it should have.
    fn gap(&self, lexical: &Lexical) -> Result<Gap, IndexError> {
        let mut wanted = FxHashMap::default();
        self.store.for_each(|path, entry| {
            if let Entry::Indexed(record) = entry {
                wanted.insert(record.id, (path.to_vec(), record));
            }
        })?;
        let in_lexical = lexical.files()?;
        let mut columns = lock(&self.columns);
        let mut in_columns = columns.ids();
        let newest = in_columns.iter().max().copied().unwrap_or(0);
        if wanted.keys().any(|id| *id < newest && !in_columns.contains(id)) {
            // Versions ascend over the segments: one missing in between cannot be put back where it was.
            let all: Vec<u32> = in_columns.drain().collect();
            columns.commit(&mut SegmentBuilder::new(self.embedder.dimensions()), &all, 0)?;
        }
        let dead = |has: &FxHashSet<u32>| has.iter().filter(|id| !wanted.contains_key(id)).copied().collect();
        let (dead_in_lexical, dead_in_columns) = (dead(&in_lexical), dead(&in_columns));
        let lacking = |id: &u32| !in_lexical.contains(id) || !in_columns.contains(id);
        let mut missing: Vec<u32> = wanted.keys().copied().filter(lacking).collect();
        missing.sort_unstable();
        Ok(Gap { wanted, in_lexical, in_columns, dead_in_lexical, dead_in_columns, missing })
    }

    /// Derives files anew from the store, in the order of their numbers.
    fn derive_again(
        &self,
        ids: &[u32],
        wanted: &FxHashMap<u32, (Vec<u8>, FileRecord)>,
        lexical: &Lexical,
    ) -> Result<Vec<(u32, Derived)>, IndexError> {
        let fields = lexical.fields();
        let share = ids.len().div_ceil(self.threads.max(1)).max(1);
        let one = |id: u32| -> Result<(u32, Derived), IndexError> {
            let (path, record) = &wanted[&id];
            let lost = || IndexError::Store(format!("{}: its content is missing", String::from_utf8_lossy(path)));
            let text = self.store.text(&record.content)?.ok_or_else(lost)?;
            let parsed = self.store.parsed(&record.content)?.ok_or_else(lost)?;
            let vectors = self.store.vectors(&record.content)?.ok_or_else(lost)?;
            let source = Source {
                path,
                content: record.content,
                language: Language::from_number(record.language),
                bytes: record.stat.bytes,
                modified: record.stat.modified,
                text: &text,
                parsed: &parsed,
                vectors: signed(&vectors),
            };
            Ok((id, derive(source, &fields, &*self.embedder)))
        };
        std::thread::scope(|scope| {
            let handles: Vec<_> = ids
                .chunks(share)
                .map(|ids| scope.spawn(move || ids.iter().map(|&id| one(id)).collect::<Result<Vec<_>, _>>()))
                .collect();
            let mut all = Vec::with_capacity(ids.len());
            for handle in handles {
                let part = handle.join().map_err(|_| IndexError::Derived("deriving panicked".to_owned()))?;
                all.extend(part?);
            }
            Ok(all)
        })
    }
}
