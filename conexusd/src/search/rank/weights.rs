//! Weights: the linear model over [`super::FEATURE_NAMES`], made by `bench/retrieval/train.py`.

use super::features::FEATURES;
use crate::search::query::{Query, QueryKind};

/// For descriptions.
const PROSE: [f32; FEATURES] =
    [0.27, 0.23, 0.10, 0.43, 0.34, 0.10, 0.22, 0.29, 0.23, -0.47, -0.39, -0.26, -0.34, 0.29, 0.24, 0.25, -0.38];

/// For one named thing.
const SYMBOL: [f32; FEATURES] =
    [0.18, 0.18, 0.16, 0.16, 0.17, 0.19, 0.18, 0.20, 0.01, -0.33, -0.30, -0.20, -0.20, 0.28, 0.26, 0.18, -0.46];

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
