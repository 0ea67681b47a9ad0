//! Tests of the columns: what is written is read, merging loses and moves nothing.

use std::sync::Arc;

use proptest::prelude::*;

use super::build::SegmentBuilder;
use super::live::Live;
use super::merge::{merge, plan};
use super::*;
use crate::index::chunk::{Chunk, Definition};
use crate::index::classify::{Class, SourceType};
use crate::index::derive::Derived;
use crate::index::language::Language;

pub(crate) const DIMENSIONS: usize = 4;

/// A file whose every column depends on its number.
pub(crate) fn file(id: u32, chunks: u32) -> Derived {
    let chunk = |i: u32| Chunk {
        start_line: i * 10 + 1,
        end_line: i * 10 + 10,
        start_byte: i * 100,
        end_byte: i * 100 + 100,
        kind: if i.is_multiple_of(2) { Kind::Function } else { Kind::Block },
        symbol: i.is_multiple_of(2).then(|| format!("name_{id}_{i}").into()),
        scope: (i % 3 == 1).then(|| format!("Scope{id}").into()),
        signature: None,
    };
    let definition = |i: u32| Definition {
        name: format!("Name{}", (id + i) % 5).into(),
        scope: None,
        kind: Kind::Type,
        start_line: i * 10 + 2,
        end_line: i * 10 + 3,
    };
    let vector = |i: u32| (0..DIMENSIONS as u32).map(move |d| ((id * 31 + i * 7 + d * 13) % 255) as u8 as i8);
    Derived {
        path: format!("folder{}/file{id}.rs", id % 3),
        escaped: id.is_multiple_of(7),
        content: [id as u8; 16],
        language: Language::from_number((id % 4) as u8),
        class: Class::from_flags(SourceType::from_number((id % 4) as u8), (id % 32) as u8),
        bytes: u64::from(id) << 33,
        modified: -i64::from(id),
        lines: id * 3,
        chunks: (0..chunks).map(chunk).collect(),
        definitions: (0..chunks).map(definition).collect(),
        vectors: (0..chunks).flat_map(vector).collect(),
        mean: vector(99).collect(),
        forward: (0..id % 20).map(|term| (term * 1000 + id, (term + 1) as u16)).collect(),
        terms: id * 11,
        documents: Vec::new(),
    }
}

fn check(segment: &Segment, row: u32, id: u32, expected: &Derived) {
    assert_eq!(segment.id(row), id);
    assert_eq!(segment.row_of(id), Some(row));
    let found = segment.file(row);
    assert_eq!(found.path, expected.path);
    assert_eq!((found.bytes, found.modified, found.lines), (expected.bytes, expected.modified, expected.lines));
    assert_eq!((found.terms, found.escaped, found.content), (expected.terms, expected.escaped, expected.content));
    assert_eq!((found.language, found.class), (expected.language.number(), expected.class.flags()));
    assert_eq!(found.chunks as usize, expected.chunks.len());
    assert!(segment.files_with_path(&expected.path).any(|found| found == row));
    assert_eq!(segment.terms(row), expected.forward);
    for &(term, count) in &expected.forward {
        assert_eq!(segment.term_frequency(row, term), u32::from(count));
        assert_eq!(segment.term_frequency(row, term + 1), 0);
    }
    assert_eq!(segment.mean(row).0, expected.mean);
    for (i, chunk) in (0u32..).zip(&expected.chunks) {
        let found = segment.chunk(found.first_chunk + i);
        assert_eq!((found.file, found.start_line, found.end_line), (row, chunk.start_line, chunk.end_line));
        assert_eq!((found.start_byte, found.end_byte, found.kind), (chunk.start_byte, chunk.end_byte, chunk.kind));
        assert_eq!(found.symbol, chunk.symbol.as_deref().unwrap_or_default());
        assert_eq!(found.scope, chunk.scope.as_deref().unwrap_or_default());
        let (vector, norm) = segment.vector(segment.file(row).first_chunk + i);
        assert_eq!(vector, &expected.vectors[i as usize * DIMENSIONS..][..DIMENSIONS]);
        let length = vector.iter().map(|&x| f32::from(x) * f32::from(x)).sum::<f32>().sqrt();
        assert!(length == 0.0 || (norm * length - 1.0).abs() < 1e-4);
    }
    for definition in &expected.definitions {
        let mut found = segment.definitions_with(name_hash(&definition.name));
        let chunk = segment.file(row).first_chunk + (definition.start_line - 1) / 10;
        assert!(
            found.any(|found| found.name == &*definition.name
                && (found.file, found.chunk, found.start_line) == (row, chunk, definition.start_line)),
            "{definition:?}"
        );
    }
}

fn build(folder: &Path, name: &str, files: &[(u32, u32)]) -> Arc<Segment> {
    let mut builder = SegmentBuilder::new(DIMENSIONS);
    for &(id, chunks) in files {
        builder.push(id, &file(id, chunks));
    }
    let path = folder.join(name);
    builder.write(&path).unwrap();
    assert!(builder.is_empty());
    Arc::new(Segment::open(&path).unwrap())
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let files = [(3, 2), (4, 0), (9, 5), (700, 1)];
    let segment = build(folder.path(), "1.seg", &files);
    for (row, &(id, chunks)) in (0..).zip(&files) {
        check(&segment, row, id, &file(id, chunks));
    }
    assert_eq!((segment.row_of(5), segment.row_of(701)), (None, None));
    assert_eq!(segment.files_with_path("folder0/absent").count(), 0);
}

#[test]
fn a_segment_that_is_cut_or_changed_in_its_header_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = build(folder.path(), "1.seg", &[(1, 3)]).path().to_owned();
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 10, HEADER_BYTES, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(Segment::open(&path).is_err(), "cut at {length}");
    }
    for at in [0, 9, 40, HEADER_BYTES - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert!(Segment::open(&path).is_err(), "changed at {at}");
    }
}

#[test]
fn eight_of_a_size_are_merged_and_mostly_dead_ones_too() {
    const MB: u64 = 1 << 20;
    assert_eq!(plan(&[(MB, 0.0); 7], 100 * MB), None);
    assert_eq!(plan(&[(MB, 0.0); 8], 100 * MB), Some(0..8));
    let mut sizes = vec![(900 * MB, 0.0)];
    sizes.extend([(MB / 2, 0.1); 9]);
    assert_eq!(plan(&sizes, 3000 * MB), Some(1..10));
    assert_eq!(plan(&[(900 * MB, 0.0); 8], 1000 * MB), None, "they would be too large");
    assert_eq!(plan(&[(MB, 0.0), (MB, 0.6), (MB, 0.0)], 100 * MB), Some(1..2));
    assert_eq!(plan(&[], 100 * MB), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn merging_keeps_the_living_and_only_them(
        sizes in proptest::collection::vec(proptest::collection::vec((0u32..4, any::<bool>()), 1..8), 1..5)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut next = 1;
        let (mut inputs, mut expected) = (Vec::new(), Vec::new());
        for (i, files) in sizes.iter().enumerate() {
            let numbered: Vec<(u32, u32)> = files.iter().map(|&(chunks, _)| { next += 2; (next, chunks) }).collect();
            let segment = build(folder.path(), &format!("{i}.seg"), &numbered);
            let mut live = Live::all(files.len() as u32);
            for (row, (&(_, dead), &(id, chunks))) in (0..).zip(files.iter().zip(&numbered)) {
                if dead { live.remove(row); } else { expected.push((id, chunks)); }
            }
            inputs.push((segment, Arc::new(live)));
        }
        let path = folder.path().join("merged.seg");
        merge(&inputs, &path, &|| false).unwrap();
        let merged = Segment::open(&path).unwrap();
        prop_assert_eq!(merged.counts().files as usize, expected.len());
        for (row, &(id, chunks)) in (0..).zip(&expected) {
            check(&merged, row, id, &file(id, chunks));
        }
    }
}
