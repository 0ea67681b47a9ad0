//! Candidates: which files are looked at closely, and which of their chunks were found.

use rustc_hash::FxHashMap;

use super::signals::{self, NamedPlace};
use super::{Evidence, passages, weights};
use crate::index::snapshot::{ChunkRow, FileRow};
use crate::search::fuse::{self, Lane};

/// Chunks of each lane whose files are candidates, and which vote in the fusion.
const LANE_HEAD: usize = 100;
const FUSED_HEAD: usize = 50;

/// A file that may be an answer.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) file: FileRow,
    /// Found chunks, at least one; the best by fused score first.
    pub(super) chunks: Vec<Found>,
    /// Where it defines a symbol of the query or is a path of it.
    pub(super) place: Option<NamedPlace>,
    /// Where it holds words that the query quotes.
    pub(super) passage: Option<passages::Place>,
    /// See [`super::ScoredFile::tier`].
    pub(super) tier: u16,
}

/// A chunk that a lane found. Scores are 0 where the lane did not find it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) chunk: ChunkRow,
    /// Reciprocal ranks of all lanes.
    pub(super) fused: f32,
    /// Cosine.
    pub(super) cosine: f32,
    /// The lexical lane's own score, each part by its weight.
    pub(super) bm25: f32,
}

impl Candidate {
    /// The chunk that stands for the file.
    pub(super) fn best_chunk(&self) -> ChunkRow {
        match (self.place, self.passage) {
            (Some(place), None) => place.chunk,
            (Some(place), Some(passage)) if place.tier >= passage.tier => place.chunk,
            (_, Some(passage)) => passage.chunk,
            (None, None) => self.chunks[0].chunk,
        }
    }
}

/// The candidate files in no particular order, and all found chunks by fused score.
pub(super) fn gather(evidence: &Evidence<'_>) -> (Vec<Candidate>, Vec<(ChunkRow, f32)>) {
    let found = score_chunks(evidence);
    let fused = fuse_lanes(evidence, usize::MAX);
    let mut by_file: FxHashMap<FileRow, Candidate> = FxHashMap::default();
    let mut add = |chunk: ChunkRow, found: Option<Found>| {
        let file = evidence.snapshot.chunk(chunk).file;
        let candidate = by_file.entry(file).or_insert_with(|| Candidate {
            file,
            chunks: Vec::new(),
            place: None,
            passage: None,
            tier: 0,
        });
        if let Some(found) = found {
            candidate.chunks.push(found);
        }
    };
    for found in found.values() {
        add(found.chunk, Some(*found));
    }
    let places = signals::named_places(evidence);
    for place in places.values() {
        add(place.chunk, (!found.contains_key(&place.chunk)).then(|| named(evidence, place)));
    }
    let mut candidates: Vec<Candidate> = by_file.into_values().collect();
    for candidate in &mut candidates {
        candidate.chunks.sort_by(|a, b| {
            b.fused.total_cmp(&a.fused).then_with(|| super::by_place(evidence.snapshot, a.chunk, b.chunk))
        });
        candidate.place = places.get(&candidate.file).copied();
        candidate.tier = candidate.place.map_or(0, |place| place.tier);
    }
    candidates.sort_by(|a, b| b.chunks[0].fused.total_cmp(&a.chunks[0].fused).then(a.file.cmp(&b.file)));
    let passages = passages::find(evidence, candidates.iter().map(|candidate| candidate.file));
    for candidate in &mut candidates {
        candidate.passage = passages.get(&candidate.file).copied();
        candidate.tier = candidate.tier.max(candidate.passage.map_or(0, |passage| passage.tier));
    }
    candidates.sort_by_key(|candidate| candidate.file);
    (candidates, fused)
}

/// A definition that no lane found.
fn named(evidence: &Evidence<'_>, place: &NamedPlace) -> Found {
    Found { chunk: place.chunk, fused: 0.0, cosine: cosine(evidence, place.chunk), bm25: 0.0 }
}

/// All scores of the chunks at the head of a lane.
fn score_chunks(evidence: &Evidence<'_>) -> FxHashMap<ChunkRow, Found> {
    let mut found: FxHashMap<ChunkRow, Found> = FxHashMap::default();
    for lane in evidence.lexical.iter().chain(evidence.semantic) {
        for &(chunk, _) in lane.iter().take(LANE_HEAD) {
            found.entry(chunk).or_insert(Found { chunk, fused: 0.0, cosine: 0.0, bm25: 0.0 });
        }
    }
    for (chunk, score) in fuse_lanes(evidence, FUSED_HEAD) {
        if let Some(found) = found.get_mut(&chunk) {
            found.fused = score;
        }
    }
    for (lane, part) in evidence.lexical.iter().zip(&evidence.query.parts) {
        for (chunk, score) in lane {
            if let Some(found) = found.get_mut(chunk) {
                found.bm25 += part.weight * score;
            }
        }
    }
    for found in found.values_mut() {
        found.cosine = cosine(evidence, found.chunk);
    }
    found
}

/// The cosine of a chunk and the query, each part by its weight; 0 without vectors.
fn cosine(evidence: &Evidence<'_>, chunk: ChunkRow) -> f32 {
    let parts = evidence.vectors.iter().zip(&evidence.query.parts);
    parts.map(|(vector, part)| part.weight * evidence.snapshot.similarity(chunk, vector)).sum()
}

/// Fuses the first `depth` of each lane, each part by its weight.
pub(super) fn fuse_lanes(evidence: &Evidence<'_>, depth: usize) -> Vec<(ChunkRow, f32)> {
    let semantic_share = weights::semantic_share(evidence.query);
    let parts = &evidence.query.parts;
    let mut lanes = Vec::with_capacity(parts.len() * 2);
    for (hits, part) in evidence.lexical.iter().zip(parts) {
        lanes.push(Lane { hits: &hits[..hits.len().min(depth)], weight: part.weight * (1.0 - semantic_share) });
    }
    for (hits, part) in evidence.semantic.iter().zip(parts) {
        lanes.push(Lane { hits: &hits[..hits.len().min(depth)], weight: part.weight * semantic_share });
    }
    fuse::fuse(&lanes)
}
