//! Graph: an HNSW index (usearch) over the vectors of one large segment, kept beside it.
//!
//! Built in the background; until it is there, and where a filter leaves too little, the scan answers.

use std::path::{Path, PathBuf};

use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::{Hit, Query, best};
use crate::index::IndexError;
use crate::index::segment::Segment;

/// Chunks from which on a graph is built.
pub const GRAPH_MIN: u32 = 200_000;

/// Neighbours of a node, and how wide searches look.
const CONNECTIVITY: usize = 16;
const EXPANSION_ADD: usize = 64;
/// How wide a search looks (`ef`).
pub const EXPANSION_SEARCH: usize = 256;

/// The graph of a segment.
pub struct Graph {
    index: Index,
    path: PathBuf,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Graph {
    /// Whether a segment is large enough.
    pub fn pays(segment: &Segment) -> bool {
        segment.counts().chunks >= GRAPH_MIN
    }

    /// Maps the graph that was built for this very segment, if there is one.
    pub fn open(segment: &Segment) -> Option<Self> {
        let path = path_of(segment);
        if !path.exists() {
            return None;
        }
        let index = Index::new(&options(segment)).ok()?;
        index.view(path.to_str()?).ok()?;
        index.change_expansion_search(EXPANSION_SEARCH);
        let whole = index.size() == segment.counts().chunks as usize
            && index.dimensions() == segment.counts().dimensions as usize;
        whole.then_some(Self { index, path })
    }

    /// Builds the graph of a segment, with so many threads, unless `stop` says to. `None` if it did.
    pub fn build(
        segment: &Segment,
        threads: usize,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Self>, IndexError> {
        let path = path_of(segment);
        let failed = |error: &dyn std::fmt::Display| IndexError::Derived(format!("{}: {error}", path.display()));
        let index = Index::new(&options(segment)).map_err(|error| failed(&error))?;
        let (chunks, threads) = (segment.counts().chunks, threads.max(1));
        index.reserve_capacity_and_threads(chunks as usize, threads).map_err(|error| failed(&error))?;
        let next = std::sync::atomic::AtomicU32::new(0);
        let add = || -> Result<bool, String> {
            loop {
                let first = next.fetch_add(256, std::sync::atomic::Ordering::Relaxed);
                if first >= chunks {
                    return Ok(true);
                }
                if stop() {
                    return Ok(false);
                }
                for chunk in first..(first + 256).min(chunks) {
                    index.add(u64::from(chunk), segment.vector(chunk).0).map_err(|error| error.to_string())?;
                }
            }
        };
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(add)).collect();
            handles.into_iter().map(|handle| handle.join().unwrap_or(Err("panicked".to_owned()))).collect()
        });
        for outcome in outcomes {
            if !outcome.map_err(|error| failed(&error))? {
                return Ok(None);
            }
        }
        let partial = path.with_extension("partial");
        let name = partial.to_str().ok_or_else(|| failed(&"the path is not UTF-8"))?;
        index.save(name).map_err(|error| failed(&error))?;
        drop(index);
        let sync = || -> std::io::Result<()> {
            std::fs::File::open(&partial)?.sync_data()?;
            std::fs::rename(&partial, &path)
        };
        sync().map_err(|source| IndexError::io(&path, source))?;
        // The mapped form costs no memory of its own.
        Self::open(segment).map(Some).ok_or_else(|| failed(&"cannot be opened after it was built"))
    }

    /// About the `limit` nearest chunks of those that `keep` accepts, best first. May find fewer.
    pub fn search(&self, segment: &Segment, query: &Query, limit: usize, keep: &dyn Fn(u32) -> bool) -> Vec<Hit> {
        let rows = segment.counts().chunks;
        let accept = |key: u64| u32::try_from(key).is_ok_and(|chunk| chunk < rows && keep(segment.file_of(chunk)));
        let Ok(found) = self.index.filtered_search(query.values(), limit, accept) else { return Vec::new() };
        let hits = found.keys.iter().filter_map(|&key| {
            let chunk = u32::try_from(key).ok().filter(|&chunk| chunk < rows)?;
            Some(Hit { score: query.score(segment.vector(chunk)), chunk })
        });
        best(hits, limit)
    }

    /// Size of the file.
    pub fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }
}

fn options(segment: &Segment) -> IndexOptions {
    IndexOptions {
        dimensions: segment.counts().dimensions as usize,
        metric: MetricKind::Cos,
        quantization: ScalarKind::I8,
        connectivity: CONNECTIVITY,
        expansion_add: EXPANSION_ADD,
        expansion_search: EXPANSION_SEARCH,
        multi: false,
    }
}

/// The segment's checksum stands in the name, so that a graph is never taken for another segment's.
fn path_of(segment: &Segment) -> PathBuf {
    let stem = segment.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = format!("{stem}.{:016x}-graph", segment.checksum());
    segment.path().parent().unwrap_or(Path::new(".")).join(name)
}
