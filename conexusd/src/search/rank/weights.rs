//! Weights: the linear model over [`super::FEATURE_NAMES`], made by `bench/retrieval/train.py`.

use super::features::FEATURES;
use crate::search::query::{Query, QueryKind};

/// For descriptions.
const PROSE: [f32; FEATURES] = [
    0.88, 0.73, 0.79, 1.21, 0.53, 0.35, 0.99, 0.83, 1.17, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    0.0,
];

/// For one named thing.
const SYMBOL: [f32; FEATURES] = [
    1.38, 0.62, 0.42, 0.55, 0.32, 0.11, 0.22, 0.34, 0.74, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    0.0,
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
