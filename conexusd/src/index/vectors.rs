//! Vectors: a query's vector in, the nearest chunks of the living files out.
//!
//! Exact: every vector is looked at, which is fast enough up to some hundred thousand; larger segments have a graph
//! (see [`graph`]).

pub mod graph;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::quantize::{dot, dots, inverse_length, quantize};
use super::segment::Segment;

/// From so many chunks on, an exact scan is split over threads.
const PARALLEL_MIN: u32 = 150_000;

/// A query as the scan wants it.
#[derive(Clone, Debug)]
pub struct Query {
    values: Box<[i8]>,
    /// 1 / the length of `values`.
    norm: f32,
}

/// A hit: the cosine, and the chunk's row in its segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// From -1 to 1.
    pub score: f32,
    /// The row.
    pub chunk: u32,
}

impl Query {
    /// The query of a unit vector; `None` if it is all zeros.
    pub fn new(vector: &[f32]) -> Option<Self> {
        let values = quantize(vector);
        let norm = inverse_length(&values);
        (norm > 0.0).then_some(Self { values, norm })
    }

    /// Number of dimensions.
    pub fn dimensions(&self) -> usize {
        self.values.len()
    }

    /// The values, scaled so that the greatest is 127.
    pub fn values(&self) -> &[i8] {
        &self.values
    }

    #[inline]
    fn score(&self, (vector, norm): (&[i8], f32)) -> f32 {
        dot(&self.values, vector) as f32 * norm * self.norm
    }
}

/// The `limit` chunks of a segment nearest to the query, of the files (rows of the segment) that `keep` accepts, best
/// first. Looks at every vector; `keep` is only asked about those that are good enough.
pub fn scan(segment: &Segment, query: &Query, limit: usize, threads: usize, keep: &dyn Fn(u32) -> bool) -> Vec<Hit> {
    let chunks = segment.counts().chunks;
    let mut scores = vec![0.0; chunks as usize];
    score_all(segment, query, if chunks < PARALLEL_MIN { 1 } else { threads.clamp(1, 8) }, &mut scores);
    top(&scores, limit, &|chunk| keep(segment.file_of(chunk)))
}

/// The scores of all chunks, with so many threads.
fn score_all(segment: &Segment, query: &Query, threads: usize, scores: &mut [f32]) {
    let share = scores.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let mut shares = scores.chunks_mut(share).zip((0u32..).step_by(share));
        let own = shares.next();
        for (scores, first) in shares {
            scope.spawn(move || score(segment, first, query, scores));
        }
        if let Some((scores, first)) = own {
            score(segment, first, query, scores);
        }
    });
}

/// The scores of the chunks from `first` on.
fn score(segment: &Segment, first: u32, query: &Query, scores: &mut [f32]) {
    const BLOCK: usize = 512;
    let mut products = [0; BLOCK];
    for (block, first) in scores.chunks_mut(BLOCK).zip((first..).step_by(BLOCK)) {
        let products = &mut products[..block.len()];
        let (rows, norms) = segment.vectors(first, block.len() as u32);
        dots(&query.values, rows, products);
        for ((score, product), norm) in block.iter_mut().zip(products).zip(norms) {
            *score = *product as f32 * norm * query.norm;
        }
    }
}

/// The best `limit` of those that `accept` takes, best first; equal scores by row.
fn top(scores: &[f32], limit: usize, accept: &dyn Fn(u32) -> bool) -> Vec<Hit> {
    let mut heap: BinaryHeap<Reverse<Ranked>> = BinaryHeap::with_capacity(limit + 1);
    let mut threshold = f32::NEG_INFINITY;
    for (chunk, &score) in (0..).zip(scores) {
        if score <= threshold || limit == 0 || !accept(chunk) {
            continue;
        }
        heap.push(Reverse(Ranked(Hit { score, chunk })));
        if heap.len() > limit {
            heap.pop();
        }
        if heap.len() == limit {
            threshold = heap.peek().map_or(f32::NEG_INFINITY, |worst| worst.0.0.score);
        }
    }
    best(heap.into_iter().map(|ranked| ranked.0.0), limit)
}

/// The best `limit` of some hits, best first; equal scores by row.
pub(crate) fn best(hits: impl IntoIterator<Item = Hit>, limit: usize) -> Vec<Hit> {
    let mut all: Vec<Hit> = hits.into_iter().collect();
    all.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.chunk.cmp(&b.chunk)));
    all.truncate(limit);
    all
}

/// The cosine of a segment's vector and a unit vector.
pub fn cosine((vector, norm): (&[i8], f32), unit: &[f32]) -> f32 {
    let sum: f32 = vector.iter().zip(unit).map(|(&x, y)| f32::from(x) * y).sum();
    sum * norm
}

/// Ordered by score, then by row backwards, so that of equal scores the later row goes first.
#[derive(PartialEq)]
struct Ranked(Hit);

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.score.total_cmp(&other.0.score).then(other.0.chunk.cmp(&self.0.chunk))
    }
}

#[cfg(test)]
mod tests;
