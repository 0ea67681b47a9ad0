//! Tests of the outbox against a model of a channel and a sidecar that lose connections, acknowledgements and memory.

use std::collections::BTreeMap;

use conexus_proto::v1::{self, to_sidecar::Message as Up};
use proptest::prelude::*;
use prost::Message;

use super::super::encode::member_bytes;
use super::*;

/// Records of one kind, each telling its number in the place of a span's id.
fn frames(first: u64, count: u64, padding: usize) -> Frames {
    let mut frames = Frames::default();
    for number in first..first + count {
        let span = v1::Span { span_id: number, name: "x".repeat(padding), ..v1::Span::default() };
        let record = v1::Record { record: Some(v1::record::Record::Span(span)) };
        member_bytes(&mut frames.bytes, 2, &record.encode_to_vec());
        frames.ends.push((frames.bytes.len(), RecordKind::Span));
    }
    frames
}

fn accounts(emitted: u64) -> Accounts {
    Accounts { emitted: [emitted, 0, 0], ..Accounts::default() }
}

fn snapshot(value: u64) -> Vec<u8> {
    v1::Snapshot { cells: vec![0], values: vec![value], ..v1::Snapshot::default() }.encode_to_vec()
}

fn batch(message: &Bytes) -> v1::Batch {
    match v1::ToSidecar::decode(&**message).unwrap().message {
        Some(Up::Batch(batch)) => batch,
        other => panic!("{other:?}"),
    }
}

fn numbers(batch: &v1::Batch) -> Vec<u64> {
    let number = |record: &v1::Record| match &record.record {
        Some(v1::record::Record::Span(span)) => span.span_id,
        other => panic!("{other:?}"),
    };
    batch.records.iter().map(number).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    Snapshot,
    Send(usize),
    Ack(u64),
    Reconnect { remembers: bool },
    Pause(bool),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..700_u64).prop_map(Step::Push),
        2 => Just(Step::Snapshot),
        3 => (1..4_usize).prop_map(Step::Send),
        2 => (0..3_u64).prop_map(Step::Ack),
        1 => prop::bool::ANY.prop_map(|remembers| Step::Reconnect { remembers }),
        1 => prop::bool::ANY.prop_map(Step::Pause),
    ]
}

/// A sidecar that discards what it has seen.
#[derive(Default)]
struct Sidecar {
    last_sequence: u64,
    records: Vec<u64>,
    snapshot: u64,
    batches: BTreeMap<u64, Bytes>,
}

impl Sidecar {
    fn take(&mut self, message: &Bytes) {
        let batch = batch(message);
        if let Some(same) = self.batches.get(&batch.sequence) {
            assert_eq!(same, message, "a batch that is sent again is the same batch");
        }
        if batch.sequence <= self.last_sequence {
            return;
        }
        assert_eq!(batch.sequence, self.last_sequence + 1, "batches come in order");
        self.last_sequence = batch.sequence;
        self.records.extend(numbers(&batch));
        if let Some(snapshot) = &batch.snapshot {
            assert!(snapshot.values[0] >= self.snapshot, "snapshots never step back");
            self.snapshot = snapshot.values[0];
        }
        let accounting = batch.accounting.as_ref().unwrap();
        let dropped: u64 = accounting.dropped.iter().sum();
        assert_eq!(accounting.sent[0], self.records.len() as u64, "sent is what has arrived");
        assert!(accounting.emitted[0] >= accounting.sent[0] + dropped);
        self.batches.insert(batch.sequence, message.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_record_arrives_once_and_in_order_or_is_counted(steps in prop::collection::vec(steps(), 1..60)) {
        const BYTES_MAX: usize = 60_000;
        let outbox = Outbox::new(BYTES_MAX);
        let mut sidecar = Sidecar::default();
        let (mut emitted, mut measured, mut paused) = (0, 0, false);
        for step in steps {
            match step {
                Step::Push(count) => {
                    outbox.push(&frames(emitted, count, 20), accounts(emitted + count));
                    emitted += count;
                }
                Step::Snapshot => {
                    measured += 1;
                    outbox.set_snapshot(snapshot(measured), accounts(emitted));
                }
                Step::Send(count) => (0..count).filter_map(|_| outbox.next(!paused)).for_each(|m| {
                    assert!(!paused || batch(&m).records.is_empty());
                    sidecar.take(&m);
                }),
                Step::Ack(behind) => outbox.ack(sidecar.last_sequence.saturating_sub(behind)),
                Step::Reconnect { remembers } => outbox.resume(if remembers { sidecar.last_sequence } else { 0 }),
                Step::Pause(on) => paused = on,
            }
            let progress = outbox.progress();
            prop_assert!(progress.bytes <= BYTES_MAX + (64 << 10), "{progress:?}");
        }
        measured += 1;
        outbox.set_snapshot(snapshot(measured), accounts(emitted));
        outbox.close();
        outbox.resume(sidecar.last_sequence);
        while let Some(message) = outbox.next(true) {
            sidecar.take(&message);
            outbox.ack(sidecar.last_sequence);
        }
        let progress = outbox.progress();
        prop_assert!(progress.all_handed && progress.unacked_batches == 0 && progress.bytes == 0, "{progress:?}");
        prop_assert_eq!(sidecar.snapshot, measured);
        prop_assert!(sidecar.records.is_sorted_by(|a, b| a < b), "each once and in order");
        prop_assert_eq!(sidecar.records.len() as u64 + outbox.accounts().dropped_total(), emitted);
    }
}

#[test]
fn a_full_outbox_drops_the_newest_and_still_sends_the_snapshot() {
    let outbox = Outbox::new(10_000);
    outbox.push(&frames(0, 600, 20), accounts(600));
    outbox.set_snapshot(snapshot(1), accounts(600));
    let dropped = outbox.accounts().dropped[DropReason::UnsentFull as usize];
    assert!(dropped > 0);
    let batch = batch(&outbox.next(true).unwrap());
    assert_eq!(numbers(&batch), (0..600 - dropped).collect::<Vec<_>>());
    assert_eq!(batch.snapshot.unwrap().values, [1]);
    assert_eq!(batch.accounting.unwrap().dropped[DropReason::UnsentFull as usize], dropped);
}

#[test]
fn without_a_sidecar_only_the_newest_snapshot_is_held() {
    let outbox = Outbox::new(10_000);
    (1..1_000).for_each(|value| outbox.set_snapshot(snapshot(value), accounts(0)));
    assert_eq!(outbox.progress().bytes, 0);
    assert_eq!(batch(&outbox.next(true).unwrap()).snapshot.unwrap().values, [999]);
    assert_eq!(outbox.next(true), None);
}

#[test]
fn batches_are_of_the_agreed_size() {
    let outbox = Outbox::new(16 << 20);
    outbox.push(&frames(0, 511, 1), accounts(511));
    assert_eq!(outbox.next(true), None, "too few to be worth a batch before a snapshot is due");
    outbox.push(&frames(511, 4_000, 1), accounts(4_511));
    let sizes: Vec<_> = std::iter::from_fn(|| outbox.next(true)).map(|m| batch(&m).records.len()).collect();
    assert_eq!(sizes, [2_048, 2_048]);
    outbox.close();
    assert_eq!(numbers(&batch(&outbox.next(true).unwrap())), (4_096..4_511).collect::<Vec<_>>());
}

#[test]
fn a_sidecar_that_never_acknowledges_does_not_make_the_outbox_grow() {
    let outbox = Outbox::new(50_000);
    for value in 0..10_000 {
        outbox.push(&frames(value * 10, 10, 20), accounts(value * 10 + 10));
        outbox.set_snapshot(snapshot(value), accounts(value * 10 + 10));
        while outbox.next(true).is_some() {}
    }
    assert!(outbox.progress().bytes <= 2 * 50_000, "{:?}", outbox.progress());
}

#[test]
fn a_refused_batch_is_told_once_and_goes_with_its_acknowledgement() {
    let outbox = Outbox::new(1 << 20);
    outbox.push(&frames(0, 600, 1), accounts(600));
    outbox.push(&frames(600, 600, 1), accounts(1_200));
    assert_eq!(numbers(&batch(&outbox.next(true).unwrap())).len(), 1_200);
    outbox.push(&frames(1_200, 600, 1), accounts(1_800));
    let behind = batch(&outbox.next(true).unwrap());
    outbox.reject(1);
    outbox.reject(1);
    outbox.reject(99);
    assert_eq!(
        (outbox.rejected_records(), outbox.accounts().dropped_total()),
        (1_200, 0),
        "the sidecar counts the drop"
    );
    outbox.ack(1);
    // After a reconnect only what is behind it comes again.
    outbox.resume(1);
    assert_eq!(batch(&outbox.next(true).unwrap()), behind);
    assert_eq!(outbox.next(true), None);
}
