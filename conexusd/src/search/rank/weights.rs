//! Weights: the linear model over [`super::FEATURE_NAMES`], made by `bench/retrieval/train.py`.

use super::features::FEATURES;
use crate::search::query::{Query, QueryKind};

/// For descriptions.
const PROSE: [f32; FEATURES] = [
    0.14, 0.20, 0.10, 0.60, -0.03, 0.21, 0.14, 0.24, 0.02, 0.17, 0.19, 0.04, 0.08, 0.10, 0.04, 0.04, 0.08, -0.35,
    -0.34, -0.20, -0.39, 0.33, -0.03, 0.26, -0.12,
];

/// For one named thing.
const SYMBOL: [f32; FEATURES] = [
    0.04, 0.11, 0.17, 0.22, -0.02, 0.11, 0.17, 0.19, 0.08, 0.05, 0.00, -0.07, -0.16, -0.01, 0.13, 0.12, 0.03, -0.11,
    0.00, 0.00, -0.06, 0.25, 0.10, 0.17, 0.00,
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
