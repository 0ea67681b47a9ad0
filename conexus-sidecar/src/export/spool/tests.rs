use conexus_proto::facts::RecordKind;
use conexus_proto::v1::record;

use super::*;
use crate::export::OTLP;

const MIB: u64 = 1 << 20;

fn piece(epoch: u64, name: &str, bytes: usize) -> Piece {
    let span = v1::Span { name: name.into(), error_message: "x".repeat(bytes), ..v1::Span::default() };
    let records = vec![v1::Record { record: Some(record::Record::Span(span)) }];
    Piece::whole(RecordBatch::new(epoch, records), &[RecordKind::Span])
}

fn open(folder: &Path, max_bytes: u64) -> Spool {
    let opened = Spool::open(folder, max_bytes).unwrap();
    assert_eq!(opened.set_aside, None);
    opened.spool
}

/// Takes everything out, oldest first: core and name.
fn drain(spool: &Spool) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    while let Some(stored) = spool.first(OTLP).unwrap() {
        for record in &stored.batch.records {
            let Some(record::Record::Span(span)) = &record.record else { panic!("{record:?}") };
            all.push((stored.batch.epoch, span.name.clone()));
        }
        spool.remove(OTLP, stored.key).unwrap();
    }
    all
}

#[test]
fn what_was_stored_comes_back_in_order_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 64 * MIB);
    let none = [Counts::default(); EXPORTERS.len()];
    assert_eq!(spool.put(OTLP, &[piece(1, "a", 10), piece(1, "b", 10), piece(2, "c", 5000)]).unwrap(), none);
    drop(spool);
    let spool = open(folder.path(), 64 * MIB);
    assert!(spool.bytes(OTLP) > 5000 && !spool.is_empty(OTLP));
    spool.put(OTLP, &[piece(2, "d", 10)]).unwrap();
    let expected = [(1, "a"), (1, "b"), (2, "c"), (2, "d")].map(|(epoch, name)| (epoch, name.to_owned()));
    assert_eq!(drain(&spool), expected);
    assert_eq!(spool.bytes(OTLP), 0);
}

#[test]
fn a_full_spool_gives_up_its_oldest_and_says_how_many() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), MIB);
    let mut dropped = 0;
    for number in 0..200 {
        dropped += spool.put(OTLP, &[piece(1, &number.to_string(), 10_000)]).unwrap()[OTLP][0];
        assert!(spool.bytes(OTLP) <= MIB);
    }
    let kept = drain(&spool);
    assert_eq!(kept.len() as u64 + dropped, 200);
    assert!(dropped > 100 && kept.len() > 50, "{dropped} dropped, {} kept", kept.len());
    assert_eq!(kept.last().unwrap().1, "199");
}

#[test]
fn the_file_stays_near_its_bound_and_shrinks_when_it_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 8 * MIB);
    let mut largest = 0;
    for round in 0..300 {
        let bytes = [700, 60_000, 200_000][round % 3];
        spool.put(OTLP, &[piece(1, "a", bytes)]).unwrap();
        largest = largest.max(std::fs::metadata(spool.path()).unwrap().len());
    }
    assert!(largest <= 24 * MIB, "{largest}");
    drain(&spool);
    let empty = std::fs::metadata(spool.path()).unwrap().len();
    assert!(empty <= 2 * MIB, "{empty}");
}

#[test]
fn what_is_too_old_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 64 * MIB);
    spool.put(OTLP, &[piece(1, "old", 10)]).unwrap();
    spool.inner().rows[OTLP].values_mut().for_each(|entry| entry.stored -= AGE_MAX.as_secs() + 1);
    assert_eq!(spool.put(OTLP, &[piece(1, "new", 10)]).unwrap()[OTLP], [1, 0, 0]);
    assert_eq!(drain(&spool), [(1, "new".to_owned())]);
}

#[test]
fn a_damaged_file_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 64 * MIB);
    spool.put(OTLP, &[piece(1, "a", 10)]).unwrap();
    let path = spool.path().to_path_buf();
    drop(spool);
    for damage in [b"this is no database".to_vec(), vec![0; 8192]] {
        std::fs::write(&path, &damage).unwrap();
        let opened = Spool::open(folder.path(), 64 * MIB).unwrap();
        let aside = opened.set_aside.expect("it was damaged");
        assert_eq!(std::fs::read(&aside).unwrap(), damage);
        std::fs::remove_file(aside).unwrap();
        assert!(opened.spool.is_empty(OTLP));
    }
}
