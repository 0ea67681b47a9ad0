//! Tests of the scan and of the graph: the same answers as a plain sort, or nearly.

use std::path::Path;

use proptest::prelude::*;

use super::graph::Graph;
use super::*;
use crate::index::derive::Derived;
use crate::index::segment::build::SegmentBuilder;
use crate::index::segment::tests::file;

const DIMENSIONS: usize = 32;

/// Numbers that look random and are always the same.
fn numbers(mut seed: u64) -> impl FnMut() -> f32 {
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Files of four chunks each, with vectors in a few loose clusters.
fn segment(folder: &Path, files: u32) -> Segment {
    let mut next = numbers(7);
    let centres: Vec<Vec<f32>> = (0..20).map(|_| (0..DIMENSIONS).map(|_| next()).collect()).collect();
    let mut builder = SegmentBuilder::new(DIMENSIONS);
    for id in 0..files {
        let mut vector = |chunk: u32| {
            let centre = &centres[((id + chunk) % 20) as usize];
            quantize(&centre.iter().map(|x| x + next() * 0.7).collect::<Vec<f32>>()).into_vec()
        };
        let vectors = (0..4).flat_map(&mut vector).collect();
        let mean = vec![1; DIMENSIONS];
        builder.push(id + 1, &Derived { vectors, mean, ..file(id, 4) });
    }
    let path = folder.join("1.seg");
    builder.write(&path).unwrap();
    Segment::open(&path).unwrap()
}

/// All chunks by a plain sort.
fn sorted(segment: &Segment, query: &Query, keep: impl Fn(u32) -> bool) -> Vec<Hit> {
    let all = (0..segment.counts().chunks).filter(|&chunk| keep(segment.file_of(chunk)));
    let hits = all.map(|chunk| {
        let (vector, norm) = segment.vector(chunk);
        Hit { score: dot(query.values(), vector) as f32 * norm * query.norm, chunk }
    });
    best(hits, usize::MAX)
}

fn query(seed: u64) -> Query {
    let mut next = numbers(seed);
    Query::new(&(0..DIMENSIONS).map(|_| next()).collect::<Vec<f32>>()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_scan_finds_what_a_sort_finds(seed in 1u64.., limit in 0usize..40, part in 1u32..5) {
        let folder = tempfile::tempdir().unwrap();
        let segment = segment(folder.path(), 60);
        let query = query(seed);
        let keep = |file: u32| file.is_multiple_of(part);
        let mut expected = sorted(&segment, &query, keep);
        expected.truncate(limit);
        prop_assert_eq!(scan(&segment, &query, limit, 2, &keep), expected);
    }
}

#[test]
fn threads_find_what_one_finds() {
    let folder = tempfile::tempdir().unwrap();
    let segment = segment(folder.path(), 3000);
    let query = query(5);
    let mut scores = vec![0.0; 12_000];
    for threads in [1, 2, 3, 7] {
        let mut parallel = vec![0.0; 12_000];
        score_all(&segment, &query, threads, &mut parallel);
        if threads == 1 {
            scores.clone_from(&parallel);
        }
        assert_eq!(parallel, scores);
    }
}

#[test]
fn a_graph_finds_nearly_what_a_scan_finds_and_only_what_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let segment = segment(folder.path(), 1500);
    assert!(Graph::open(&segment).is_none());
    assert!(Graph::build(&segment, 2, &|| true).unwrap().is_none(), "stopped");
    let built = Graph::build(&segment, 2, &|| false).unwrap().unwrap();
    let opened = Graph::open(&segment).unwrap();
    let (mut found, mut wanted) = (0, 0);
    for seed in 1..30 {
        let query = query(seed);
        for keep in [&(|_| true) as &dyn Fn(u32) -> bool, &|file| file % 3 == 1] {
            let exact = scan(&segment, &query, 20, 1, keep);
            let near = built.search(&segment, &query, 20, keep);
            assert_eq!(opened.search(&segment, &query, 20, keep), near);
            assert!(near.iter().all(|hit| keep(segment.file_of(hit.chunk))));
            assert!(near.windows(2).all(|pair| pair[0].score >= pair[1].score));
            wanted += exact.len();
            found += exact.iter().filter(|hit| near.contains(hit)).count();
        }
    }
    assert!(found * 100 >= wanted * 95, "{found} of {wanted}");
}

#[test]
fn a_graph_of_another_segment_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let first = segment(folder.path(), 300);
    Graph::build(&first, 1, &|| false).unwrap().unwrap();
    let other = segment(folder.path(), 301);
    assert!(Graph::open(&other).is_none());
}

#[test]
fn zeros_and_other_lengths_find_nothing() {
    assert!(Query::new(&[0.0; DIMENSIONS]).is_none());
    assert!(Query::new(&[]).is_none());
    assert_eq!(cosine((&[0, 0], 0.0), &[1.0, 0.0]), 0.0);
}
