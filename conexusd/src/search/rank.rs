//! Ranking: what the lanes found in, one order out.
//!
//! Files are ranked, each shown by its best chunk: a linear model over the fused lanes and other evidence of the whole file
//! gives the order. Definitions of the very symbol asked for, files at the very path asked for, and files that hold the
//! very words of an error message come before everything else.

mod candidates;
mod features;
mod order;
mod passages;
mod paths;
mod signals;
#[cfg(test)]
mod tests;
mod weights;

use std::cmp::Ordering;
use std::sync::Arc;

use super::bm25::WeightedTerm;
use super::query::Query;
use crate::ablation::{Signal, off};
use crate::index::snapshot::{ChunkRow, FileRow, Snapshot};

pub use features::{FEATURE_NAMES, FEATURES};
pub use signals::Context;
pub(super) use signals::enclosing_definition;

/// Length of the longest ranking: deeper pages are empty.
pub const RANKING_MAX: usize = 1_000;

/// The first places go to one chunk a file; further chunks of the same files follow.
const DISTINCT_FILES: usize = 10;

/// One place of a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The file.
    pub file: FileRow,
    /// The chunk that was found.
    pub chunk: ChunkRow,
    /// The lines to show: the chunk's, or those of the definition that it is a part of.
    pub start_line: u32,
    /// Inclusive.
    pub end_line: u32,
    /// 1 for the first, never rising.
    pub score: f32,
}

/// Everything that the order is made from.
pub struct Evidence<'a> {
    /// The index.
    pub snapshot: &'a Snapshot,
    /// The question.
    pub query: &'a Query,
    /// What the asker works on.
    pub context: &'a Context,
    /// The terms of all parts together.
    pub terms: &'a [WeightedTerm],
    /// What BM25 found, a list a part.
    pub lexical: &'a [Vec<(ChunkRow, f32)>],
    /// What the vectors found, a list a part.
    pub semantic: &'a [Vec<(ChunkRow, f32)>],
    /// The vector of each part; none where there are no vectors.
    pub vectors: &'a [Arc<Vec<f32>>],
    /// What the filters let through.
    pub keep: &'a dyn Fn(FileRow) -> bool,
}

/// A file and the evidence for it.
#[derive(Clone, Debug)]
pub struct ScoredFile {
    /// The file.
    pub file: FileRow,
    /// Its best chunk.
    pub chunk: ChunkRow,
    /// In the order of [`FEATURE_NAMES`].
    pub features: [f32; FEATURES],
    /// The weighted sum of the features and the work context's boost.
    pub score: f32,
    /// What stands before all that is scored: the symbol or path asked for itself, or the words that are quoted. 0 if it
    /// is none of them.
    pub tier: u16,
}

/// The whole ranking.
pub fn rank(evidence: &Evidence<'_>) -> Vec<Ranked> {
    let (candidates, fused) = candidates::gather(evidence);
    let files = score(evidence, &candidates);
    let first = || files.iter().take_while(|file| file.tier > 0).count();
    let distinct = if off(Signal::DistinctFiles) { first() } else { DISTINCT_FILES };
    order::arrange(evidence.snapshot, &files, &fused, distinct, RANKING_MAX)
}

/// The candidate files, best first, with their features: what the weights are trained on.
pub fn explain(evidence: &Evidence<'_>) -> Vec<ScoredFile> {
    let (candidates, _) = candidates::gather(evidence);
    score(evidence, &candidates)
}

/// The order of the fused lanes alone, each file's best chunk first.
pub fn fused(evidence: &Evidence<'_>) -> Vec<Ranked> {
    let chunks = candidates::fuse_lanes(evidence, usize::MAX);
    order::arrange(evidence.snapshot, &[], &order::files_first(evidence.snapshot, chunks), 0, RANKING_MAX)
}

fn score(evidence: &Evidence<'_>, candidates: &[candidates::Candidate]) -> Vec<ScoredFile> {
    let features = features::compute(evidence, candidates);
    let weights = weights::of(evidence.query);
    let mut files: Vec<ScoredFile> = candidates
        .iter()
        .zip(features)
        .map(|(candidate, features)| {
            let sum: f32 = match off(Signal::Ranker) {
                false => features.iter().zip(weights).map(|(feature, weight)| feature * weight).sum(),
                true => features[0],
            };
            let score = sum * (1.0 + evidence.context.boost(evidence.snapshot, candidate.file));
            ScoredFile { file: candidate.file, chunk: candidate.best_chunk(), features, score, tier: candidate.tier }
        })
        .collect();
    files.sort_by(|a, b| {
        let scores = b.tier.cmp(&a.tier).then_with(|| b.score.total_cmp(&a.score));
        scores.then_with(|| by_place(evidence.snapshot, a.chunk, b.chunk))
    });
    files
}

/// The order of two chunks by path, then line: how ties are broken everywhere.
pub(super) fn by_place(snapshot: &Snapshot, a: ChunkRow, b: ChunkRow) -> Ordering {
    let (a, b) = (snapshot.chunk(a), snapshot.chunk(b));
    snapshot.file(a.file).path.cmp(snapshot.file(b.file).path).then(a.start_line.cmp(&b.start_line))
}
