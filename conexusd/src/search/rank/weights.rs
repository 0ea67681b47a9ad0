//! Weights: the linear model over [`super::FEATURE_NAMES`], made by `bench/retrieval/train.py`.

use super::features::FEATURES;
use crate::search::query::{Query, QueryKind};

/// For descriptions.
const PROSE: [f32; FEATURES] = [
    0.15, 0.16, 0.24, 0.46, 0.33, 0.03, 0.28, 0.24, 0.19, 0.19, 0.15, 0.13, -0.43, -0.38, -0.28, -0.39, 0.30, 0.27,
    0.29,
];

/// For one named thing.
const SYMBOL: [f32; FEATURES] = [
    0.15, 0.19, 0.19, 0.18, 0.20, 0.17, 0.19, 0.20, 0.01, 0.00, 0.10, 0.10, -0.32, -0.30, -0.20, -0.21, 0.28, 0.26,
    0.17,
];

/// The weights for a query.
pub(super) fn of(query: &Query) -> &'static [f32; FEATURES] {
    if query.is_symbol() { &SYMBOL } else { &PROSE }
}

/// The vectors' share in the fusion; the rest is BM25's. Names and error texts are found by their letters.
pub(super) fn semantic_share(query: &Query) -> f32 {
    match query.kind {
        QueryKind::Symbol | QueryKind::Path | QueryKind::ErrorMessage | QueryKind::StackTrace => 0.3,
        QueryKind::NaturalLanguage | QueryKind::Mixed => 0.5,
    }
}
