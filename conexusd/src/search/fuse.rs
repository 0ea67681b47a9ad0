//! Fusion: several ranked lists in, one out.
//!
//! Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): a place in a list is worth `weight / (60 + rank)`,
//! rank from 1, so that the lists' scores need not be comparable.

use rustc_hash::FxHashMap;

use crate::ablation::{Signal, off};
use crate::index::snapshot::ChunkRow;

/// The constant of the formula: how little the first places differ.
pub const RRF_K: f32 = 60.0;

/// A ranked list, best first, and its weight.
#[derive(Clone, Copy, Debug)]
pub struct Lane<'a> {
    /// Chunks with the lane's own scores, which are not looked at.
    pub hits: &'a [(ChunkRow, f32)],
    /// Its share.
    pub weight: f32,
}

/// Fuses lists; equal scores stand in the order of their first appearance.
pub fn fuse(lanes: &[Lane<'_>]) -> Vec<(ChunkRow, f32)> {
    let mut places: FxHashMap<ChunkRow, usize> = FxHashMap::default();
    let mut fused: Vec<(ChunkRow, f32)> = Vec::new();
    for lane in lanes {
        for (rank, &(chunk, score)) in lane.hits.iter().enumerate() {
            let share = match off(Signal::RankFusion) {
                false => lane.weight / (RRF_K + 1.0 + rank as f32),
                true => lane.weight * scaled(lane.hits, score),
            };
            match places.get(&chunk) {
                Some(&place) => fused[place].1 += share,
                None => {
                    places.insert(chunk, fused.len());
                    fused.push((chunk, share));
                }
            }
        }
    }
    fused.sort_by(|a, b| b.1.total_cmp(&a.1));
    fused
}

/// A score between the least and the greatest of its list, as 0 to 1: what fusion by ranks is measured against.
fn scaled(hits: &[(ChunkRow, f32)], score: f32) -> f32 {
    let (Some(first), Some(last)) = (hits.first(), hits.last()) else { return 0.0 };
    if first.1 > last.1 { (score - last.1) / (first.1 - last.1) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(rows: &[u32]) -> Vec<(ChunkRow, f32)> {
        rows.iter().map(|&row| (ChunkRow(row), 0.0)).collect()
    }

    #[test]
    fn a_chunk_in_both_lists_beats_the_first_of_either() {
        let (a, b) = (hits(&[1, 2, 3]), hits(&[4, 2, 5]));
        let fused = fuse(&[Lane { hits: &a, weight: 0.5 }, Lane { hits: &b, weight: 0.5 }]);
        assert_eq!(fused[0].0, ChunkRow(2));
        assert!((fused[0].1 - 1.0 / 62.0).abs() < 1e-6);
        assert_eq!(fused.len(), 5);
    }

    #[test]
    fn weights_decide_between_equal_ranks_and_ties_keep_their_order() {
        let (a, b) = (hits(&[1]), hits(&[2]));
        let fused = fuse(&[Lane { hits: &a, weight: 0.3 }, Lane { hits: &b, weight: 0.7 }]);
        assert_eq!(fused[0].0, ChunkRow(2));
        let fused = fuse(&[Lane { hits: &a, weight: 0.5 }, Lane { hits: &b, weight: 0.5 }]);
        assert_eq!(fused[0].0, ChunkRow(1));
    }

    #[test]
    fn nothing_fused_is_nothing() {
        assert!(fuse(&[]).is_empty());
        assert!(fuse(&[Lane { hits: &[], weight: 1.0 }]).is_empty());
    }
}
