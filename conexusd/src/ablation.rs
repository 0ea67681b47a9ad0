//! Ablation: which signals are switched off, so that what each is worth can be measured?
//!
//! Only a build with the feature `ablation` (`bench/retrieval/ablate.py` makes one) can switch anything off. In every
//! other build [`off`] is a constant, and the compiler removes the questions.

/// A signal of the index or of the search that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Signal {
    // Of the index: to be made anew.
    /// The parts of identifiers as terms.
    Splitting,
    /// Whole identifiers as terms beside their parts.
    Wholes,
    Stemming,
    /// The path's share in vectors.
    PathVector,
    /// Comments above a definition in its chunk.
    DocComments,
    /// Chunks of the size that is used: half of it instead.
    HalfChunks,
    /// Chunks of the size that is used: twice of it instead.
    DoubleChunks,
    // Of the search.
    LexicalLane,
    SemanticLane,
    PathField,
    /// Neighbouring words of the query as one.
    Compounds,
    /// Fusion by ranks: by scores, each lane's scaled to 0 to 1, instead.
    RankFusion,
    /// The learnt order: by the fused lanes instead.
    Ranker,
    /// Definitions of the very symbol before everything else.
    DefinitionFirst,
    /// One chunk a file at first.
    DistinctFiles,
    /// Files with the very words of a message first.
    Passages,
}

impl Signal {
    /// All of them with their names.
    pub const ALL: [(Self, &'static str); 16] = [
        (Self::Splitting, "splitting"),
        (Self::Wholes, "wholes"),
        (Self::Stemming, "stemming"),
        (Self::PathVector, "path-vector"),
        (Self::DocComments, "doc-comments"),
        (Self::HalfChunks, "half-chunks"),
        (Self::DoubleChunks, "double-chunks"),
        (Self::LexicalLane, "lexical-lane"),
        (Self::SemanticLane, "semantic-lane"),
        (Self::PathField, "path-field"),
        (Self::Compounds, "compounds"),
        (Self::RankFusion, "rank-fusion"),
        (Self::Ranker, "ranker"),
        (Self::DefinitionFirst, "definition-first"),
        (Self::DistinctFiles, "distinct-files"),
        (Self::Passages, "passages"),
    ];

    /// Whether an index made without it is another one.
    pub fn is_of_the_index(self) -> bool {
        (self as u8) < Self::LexicalLane as u8
    }
}

/// Whether a signal is switched off.
#[cfg(not(feature = "ablation"))]
#[inline(always)]
pub const fn off(_: Signal) -> bool {
    false
}

#[cfg(feature = "ablation")]
pub use switches::{off, switch_off};

/// One process measures one ablation, and the switches reach into functions that have no options: hence a static.
#[cfg(feature = "ablation")]
mod switches {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Signal;

    static OFF: AtomicU32 = AtomicU32::new(0);

    /// Whether a signal is switched off.
    #[inline]
    pub fn off(signal: Signal) -> bool {
        OFF.load(Ordering::Relaxed) & (1 << signal as u32) != 0
    }

    /// Switches signals off, for the rest of the process.
    pub fn switch_off(signals: &[Signal]) {
        let mask = signals.iter().fold(0, |mask, &signal| mask | 1 << signal as u32);
        OFF.fetch_or(mask, Ordering::Relaxed);
    }
}
