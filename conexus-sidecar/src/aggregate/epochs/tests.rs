use conexus_proto::facts::{Addition, FAMILIES, Fact, SkipReason};
use conexus_proto::facts::{CELLS, DropReason, Gauge, Label, Method, RecordKind, Status};
use conexus_proto::v1::{self, record};

use super::*;
use crate::aggregate::tally::{CORE_DROPPED, DROPS, EMITTED};
use crate::ingest::admit;

mod model;

pub(super) fn serving() -> CoreInfo {
    CoreInfo { version: "1.2.3".into(), serving: true, ..CoreInfo::default() }
}

/// A cell that counts: files skipped because they are empty.
pub(super) fn cell() -> usize {
    match (Fact::FileSkipped { reason: SkipReason::Empty }).addition() {
        Addition::Count { cell, .. } => cell,
        Addition::Duration { .. } => panic!("a count is expected"),
    }
}

/// A batch with `records` log lines, `sent` of them in all batches so far, and a snapshot of the one cell.
pub(super) fn batch(sequence: u64, records: u64, sent: u64, value: Option<u64>) -> v1::Batch {
    let log = || v1::Record { record: Some(record::Record::Log(v1::Log::default())) };
    v1::Batch {
        sequence,
        records: (0..records).map(|_| log()).collect(),
        snapshot: value.map(|value| v1::Snapshot {
            unix_nanos: 1,
            cells: if value > 0 { vec![cell() as u32] } else { vec![] },
            values: if value > 0 { vec![value] } else { vec![] },
            gauges: vec![Gauge::QueueDepth as u32],
            gauge_values: vec![4.0],
        }),
        accounting: Some(v1::Accounting { emitted: vec![0, sent, 0], dropped: vec![0; DROPS], sent: vec![0, sent, 0] }),
    }
}

/// What a killed core that had counted `value` and emitted `emitted` log lines left behind.
pub(super) fn remains(epoch: u64, value: u64, emitted: u64) -> Remains {
    let mut remains = Remains {
        epoch,
        serving: true,
        ended: false,
        incomplete: false,
        cells: vec![0; CELLS],
        emitted: [0, emitted, 0],
        dropped: [0; DROPS],
    };
    remains.cells[cell()] = value;
    remains
}

fn take(ledger: &mut Ledger, link: &Link, batch: &v1::Batch) -> Result<Taken, Rejection> {
    ledger.take(link, batch.sequence, admit::check(batch))
}

fn bury(ledger: &mut Ledger, remains: &Remains, now: Instant) -> Burial {
    ledger.bury(remains, last_seen(), now)
}

/// When every dead core was seen last.
fn last_seen() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
}

fn commit(ledger: &mut Ledger) {
    if let Some(changes) = ledger.changes() {
        ledger.committed(changes);
    }
}

fn start() -> (Ledger, Instant) {
    let now = Instant::now();
    (Ledger::restore(Persisted::default(), now), now)
}

fn reason(outcome: Result<Taken, Rejection>) -> Reason {
    outcome.expect_err("must be refused").reason
}

#[test]
fn nothing_is_visible_or_acknowledged_before_it_is_on_disk() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    assert_eq!(take(&mut ledger, &link, &batch(1, 2, 2, Some(5))), Ok(Taken::New));
    assert_eq!((ledger.visible()[cell()], ledger.visible()[SENT + 1]), (0, 0));
    assert_eq!(link.progress.borrow().sequence, 0);
    commit(&mut ledger);
    assert_eq!((ledger.visible()[cell()], ledger.visible()[SENT + 1], ledger.visible()[BATCHES]), (5, 2, 1));
    assert_eq!(link.progress.borrow().sequence, 1);
}

#[test]
fn a_repeated_batch_changes_nothing() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    take(&mut ledger, &link, &batch(1, 1, 1, Some(5))).unwrap();
    assert_eq!(take(&mut ledger, &link, &batch(1, 1, 1, Some(9))), Ok(Taken::Repeated));
    commit(&mut ledger);
    assert_eq!((ledger.visible()[cell()], ledger.visible()[BATCHES]), (5, 1));
}

#[test]
fn a_gap_is_refused_within_a_connection_and_taken_at_its_start() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    // The state was lost: what was acknowledged before is contained in the absolute values.
    assert_eq!(take(&mut ledger, &link, &batch(8, 1, 70, Some(5))), Ok(Taken::New));
    assert_eq!(reason(take(&mut ledger, &link, &batch(10, 1, 72, Some(6)))), Reason::Sequence);
    assert_eq!(take(&mut ledger, &link, &batch(9, 1, 71, Some(6))), Ok(Taken::New));
    commit(&mut ledger);
    assert_eq!((ledger.visible()[cell()], ledger.visible()[SENT + 1]), (6, 71));
    assert_eq!(ledger.visible()[REJECTED + Reason::Sequence as usize], 1);
}

#[test]
fn a_gap_behind_a_known_batch_is_refused_even_on_a_new_connection() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    (1..3)
        .for_each(|sequence| assert_eq!(take(&mut ledger, &link, &batch(sequence, 1, sequence, None)), Ok(Taken::New)));
    // Nothing is on disk yet, so the core begins again with the first.
    let link = ledger.connect(1, serving(), now).unwrap();
    assert_eq!(take(&mut ledger, &link, &batch(1, 1, 1, None)), Ok(Taken::Repeated));
    assert_eq!(reason(take(&mut ledger, &link, &batch(4, 1, 4, None))), Reason::Sequence);
    assert_eq!(take(&mut ledger, &link, &batch(3, 1, 3, None)), Ok(Taken::New));
}

#[test]
fn a_falling_value_is_refused_whole_and_its_records_count_as_dropped() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    take(&mut ledger, &link, &batch(1, 0, 0, Some(5))).unwrap();
    assert_eq!(reason(take(&mut ledger, &link, &batch(2, 3, 3, Some(4)))), Reason::Decreasing);
    assert_eq!(reason(take(&mut ledger, &link, &batch(3, 1, 4, Some(0)))), Reason::Decreasing, "0 is left out");
    assert_eq!(take(&mut ledger, &link, &batch(4, 2, 6, Some(7))), Ok(Taken::New));
    commit(&mut ledger);
    let visible = ledger.visible();
    assert_eq!((visible[cell()], visible[SENT + 1], visible[REFUSED + 1]), (7, 6, 4));
    assert_eq!(link.progress.borrow().sequence, 4);
}

#[test]
fn records_that_disagree_with_their_accounting_are_refused() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    assert_eq!(reason(take(&mut ledger, &link, &batch(1, 2, 3, None))), Reason::Accounting);
    assert_eq!(reason(take(&mut ledger, &link, &batch(2, 2, 2, None))), Reason::Accounting);
    assert_eq!(reason(take(&mut ledger, &link, &batch(3, 0, 1, None))), Reason::Decreasing);
}

#[test]
fn a_returning_core_goes_on_where_it_was() {
    let (mut ledger, now) = start();
    let first = ledger.connect(1, serving(), now).unwrap();
    take(&mut ledger, &first, &batch(1, 0, 0, Some(5))).unwrap();
    ledger.lost(&first, true, now);
    let second = ledger.connect(1, serving(), now + Duration::from_secs(3)).unwrap();
    assert!(ledger.tick(now + Duration::from_secs(60)).is_empty());
    take(&mut ledger, &second, &batch(2, 0, 0, Some(8))).unwrap();
    commit(&mut ledger);
    assert_eq!((ledger.visible()[cell()], ledger.visible()[RESTARTS], ledger.visible()[CRASHES]), (8, 0, 0));
}

#[test]
fn a_newer_connection_of_the_same_core_silences_the_older() {
    let (mut ledger, now) = start();
    let old = ledger.connect(1, serving(), now).unwrap();
    let new = ledger.connect(1, serving(), now).unwrap();
    assert!(!old.is_current() && new.is_current());
    assert_eq!(take(&mut ledger, &old, &batch(1, 0, 0, Some(5))), Ok(Taken::Superseded));
    ledger.lost(&old, true, now);
    assert_eq!(take(&mut ledger, &new, &batch(1, 0, 0, Some(5))), Ok(Taken::New));
}

#[test]
fn a_goodbye_ends_an_epoch_and_its_counts_stay() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    take(&mut ledger, &link, &batch(1, 0, 0, Some(5))).unwrap();
    ledger.goodbye(&link);
    assert!(!link.progress.borrow().ended);
    commit(&mut ledger);
    assert!(link.progress.borrow().ended);
    assert_eq!(link.progress.borrow().sequence, 1);
    assert_eq!(ledger.visible()[cell()], 5);
    assert!(ledger.cores(now).is_empty());
    assert_eq!(ledger.connect(1, serving(), now).unwrap_err(), ConnectError::Ended(1));
    assert!(ledger.tick(now + RETURN_WITHIN).is_empty());
}

#[test]
fn a_serving_core_that_stays_away_has_crashed_once() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    take(&mut ledger, &link, &batch(1, 0, 0, Some(5))).unwrap();
    ledger.lost(&link, true, now);
    assert!(ledger.tick(now + Duration::from_millis(4900)).is_empty());
    let crashes = ledger.tick(now + CRASH_AFTER);
    assert_eq!(crashes, [Crash { epoch: 1, core: Some(serving()), known: true, last_seen: None }]);
    assert!(ledger.tick(now + CRASH_AFTER * 2).is_empty());
    ledger.connect(2, serving(), now + CRASH_AFTER * 2).unwrap();
    commit(&mut ledger);
    assert_eq!((ledger.visible()[CRASHES], ledger.visible()[RESTARTS], ledger.visible()[cell()]), (1, 1, 5));
}

#[test]
fn a_core_that_does_not_serve_or_was_sent_away_does_not_crash() {
    let (mut ledger, now) = start();
    let tool = ledger.connect(1, CoreInfo::default(), now).unwrap();
    let refused = ledger.connect(2, serving(), now).unwrap();
    ledger.lost(&tool, true, now);
    ledger.lost(&refused, false, now);
    assert!(ledger.tick(now + CRASH_AFTER).is_empty());
}

#[test]
fn a_loss_is_remembered_over_a_restart_of_the_sidecar() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    ledger.lost(&link, true, now);
    let changes = ledger.changes().unwrap();
    let rows = changes.writes.rows.into_iter().collect();
    let mut restored = Ledger::restore(Persisted { rows, ..Persisted::default() }, now);
    assert_eq!(restored.tick(now + CRASH_AFTER), [Crash { epoch: 1, core: None, known: false, last_seen: None }]);
}

#[test]
fn a_second_core_beside_the_first_is_no_restart() {
    let (mut ledger, now) = start();
    let first = ledger.connect(1, serving(), now).unwrap();
    ledger.connect(2, serving(), now).unwrap();
    ledger.goodbye(&first);
    commit(&mut ledger);
    assert_eq!(ledger.visible()[RESTARTS], 0);
    ledger.connect(3, serving(), now).unwrap();
    ledger.connect(4, serving(), now).unwrap();
    commit(&mut ledger);
    assert_eq!(ledger.visible()[RESTARTS], 1);
}

#[test]
fn gauges_end_with_the_core_and_15_seconds_after_its_loss() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    assert!(ledger.cores(now)[0].gauges.is_empty(), "nothing before the first snapshot");
    take(&mut ledger, &link, &batch(1, 0, 0, Some(0))).unwrap();
    assert_eq!(ledger.cores(now)[0].gauges[Gauge::QueueDepth as usize], Some(4.0));
    assert_eq!(ledger.cores(now)[0].in_flight, vec![0; Method::VALUES.len()]);
    ledger.lost(&link, true, now);
    assert!(!ledger.cores(now + Duration::from_secs(14))[0].gauges.is_empty());
    assert!(ledger.cores(now + GAUGES_AFTER_LOSS)[0].gauges.is_empty());
    ledger.connect(2, serving(), now + Duration::from_secs(1)).unwrap();
    assert!(ledger.cores(now + Duration::from_secs(2))[0].gauges.is_empty(), "a successor ends them at once");
}

#[test]
fn lost_epochs_are_bounded_in_number_and_time() {
    let (mut ledger, now) = start();
    for epoch in 0..LOST_MAX as u64 + 10 {
        let link = ledger.connect(epoch + 1, serving(), now).unwrap();
        take(&mut ledger, &link, &batch(1, 0, 0, Some(1))).unwrap();
        ledger.lost(&link, true, now + Duration::from_millis(epoch));
    }
    ledger.tick(now + Duration::from_secs(1));
    assert_eq!(ledger.cores(now).len(), LOST_MAX + 10, "they may still come back");
    ledger.tick(now + CRASH_AFTER + Duration::from_secs(1));
    assert_eq!(ledger.cores(now).len(), LOST_MAX);
    assert_eq!(ledger.cores(now)[0].epoch, 11, "the one lost first ends first");
    ledger.tick(now + RETURN_WITHIN + Duration::from_secs(1));
    assert!(ledger.cores(now).is_empty());
    commit(&mut ledger);
    assert_eq!(ledger.visible()[cell()], LOST_MAX as u64 + 10);
}

#[test]
fn too_many_cores_are_refused_and_a_returning_one_is_not() {
    let (mut ledger, now) = start();
    for epoch in 1..=CORES_MAX as u64 {
        ledger.connect(epoch, serving(), now).unwrap();
    }
    assert_eq!(ledger.connect(1000, serving(), now).unwrap_err(), ConnectError::TooMany);
    ledger.connect(5, serving(), now).unwrap();
}

#[test]
fn a_failed_commit_is_written_by_the_next() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    take(&mut ledger, &link, &batch(1, 0, 0, Some(5))).unwrap();
    let changes = ledger.changes().unwrap();
    ledger.goodbye(&link);
    ledger.failed(changes);
    assert_eq!(ledger.visible()[cell()], 0);
    let changes = ledger.changes().unwrap();
    assert_eq!((changes.writes.ended.as_slice(), changes.writes.rows.len()), ([1].as_slice(), 0));
    ledger.committed(changes);
    assert_eq!(ledger.visible()[cell()], 5);
    assert!(link.progress.borrow().ended);
}

#[test]
fn requests_in_flight_are_those_started_and_not_finished() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    let mut cells = vec![0u64; conexus_proto::facts::CELLS];
    let mut emit = |fact: Fact| fact.addition().add_to(&mut cells);
    for _ in 0..5 {
        emit(Fact::RequestStarted { method: Method::Ping });
    }
    emit(Fact::RequestFinished { method: Method::Ping, status: Status::Ok, nanos: 3 });
    emit(Fact::RequestFinished { method: Method::Ping, status: Status::Error, nanos: u64::MAX / 4 });
    let numbers = (0..cells.len() as u32).filter(|&cell| cells[cell as usize] > 0);
    let snapshot = v1::Snapshot {
        cells: numbers.clone().collect(),
        values: numbers.map(|cell| cells[cell as usize]).collect(),
        ..v1::Snapshot::default()
    };
    take(&mut ledger, &link, &v1::Batch { sequence: 1, snapshot: Some(snapshot), ..v1::Batch::default() }).unwrap();
    let in_flight = &ledger.cores(now)[0].in_flight;
    assert_eq!(in_flight[Method::Ping as usize], 3);
    assert_eq!(in_flight.iter().sum::<u64>(), 3);
    assert_eq!(FAMILIES.len(), 17, "a new family of requests must be thought of here");
}

#[test]
fn the_age_of_what_is_shown_is_that_of_the_last_commit() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    take(&mut ledger, &link, &batch(1, 0, 0, Some(5))).unwrap();
    assert_eq!(ledger.cores(now)[0].visible_unix_nanos, None);
    commit(&mut ledger);
    assert_eq!(ledger.cores(now)[0].visible_unix_nanos, Some(1));
}

#[test]
fn a_killed_core_loses_nothing_that_it_counted_and_its_lost_records_are_told() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    take(&mut ledger, &link, &batch(1, 2, 2, Some(5))).unwrap();
    commit(&mut ledger);
    let grave = remains(1, 9, 12);
    assert_eq!(bury(&mut ledger, &grave, now), Burial::Connected, "its stream is not known to have ended");
    ledger.lost(&link, true, now);
    assert_eq!(bury(&mut ledger, &grave, now), Burial::Taken);
    assert_eq!(ledger.visible()[cell()], 5, "not on disk yet");
    commit(&mut ledger);
    assert_eq!(ledger.visible()[cell()], 9);
    assert_eq!(bury(&mut ledger, &grave, now), Burial::Done);
    // Its crash is still told in its time, and then it is closed: nothing of it can come again.
    assert!(ledger.tick(now + Duration::from_secs(4)).is_empty());
    assert_eq!(ledger.tick(now + Duration::from_secs(5)).len(), 1);
    assert!(ledger.tick(now + Duration::from_secs(6)).is_empty());
    commit(&mut ledger);
    assert!(matches!(ledger.connect(1, serving(), now), Err(ConnectError::Ended(1))));
    let lost = CORE_DROPPED + RecordKind::Log as usize * (DROPS / KINDS) + DropReason::Shutdown as usize;
    let visible = ledger.visible();
    assert_eq!((visible[cell()], visible[CRASHES]), (9, 1));
    assert_eq!((visible[EMITTED + 1], visible[SENT + 1], visible[lost]), (12, 2, 10), "emitted = received + dropped");
    assert_eq!(bury(&mut ledger, &grave, now), Burial::Done);
}

#[test]
fn a_core_that_ended_by_itself_or_does_not_serve_is_counted_and_is_no_crash() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    take(&mut ledger, &link, &batch(1, 0, 0, Some(5))).unwrap();
    ledger.lost(&link, true, now);
    assert_eq!(bury(&mut ledger, &Remains { ended: true, ..remains(1, 6, 0) }, now), Burial::Taken);
    assert_eq!(bury(&mut ledger, &Remains { ended: true, ..remains(2, 10, 0) }, now), Burial::Taken);
    assert_eq!(bury(&mut ledger, &Remains { serving: false, ..remains(3, 90, 0) }, now), Burial::Taken);
    for seconds in [0, 10] {
        assert!(ledger.tick(now + Duration::from_secs(seconds)).is_empty());
        commit(&mut ledger);
    }
    assert_eq!((ledger.visible()[cell()], ledger.visible()[CRASHES]), (106, 0));
    assert_eq!(ledger.cores(now).len(), 0);
}

#[test]
fn a_core_that_no_sidecar_ever_met_is_a_crash_once_and_its_place_is_nobodys() {
    let (mut ledger, now) = start();
    let grave = remains(2, 100, 0);
    assert_eq!(bury(&mut ledger, &grave, now), Burial::Taken);
    assert!(ledger.tick(now).is_empty(), "its cause may still be written down");
    let crash = Crash { epoch: 2, core: None, known: false, last_seen: Some(last_seen()) };
    assert_eq!(ledger.tick(now + CRASH_AFTER), [crash]);
    let changes = ledger.changes().unwrap();
    let Writes { base, ended, .. } = changes.writes.clone();
    ledger.committed(changes);
    assert_eq!(bury(&mut ledger, &grave, now), Burial::Done);
    // The file may still be there when the next sidecar starts.
    let persisted = Persisted { base: base.unwrap(), ended: ended.into_iter().collect(), ..Persisted::default() };
    let mut ledger = Ledger::restore(persisted, now);
    assert_eq!(bury(&mut ledger, &grave, now), Burial::Done);
    assert!(ledger.tick(now + CRASH_AFTER).is_empty());
    ledger.connect(3, serving(), now).unwrap();
    commit(&mut ledger);
    assert_eq!((ledger.visible()[cell()], ledger.visible()[CRASHES], ledger.visible()[RESTARTS]), (100, 1, 0));
}

#[test]
fn a_core_that_died_while_the_sidecar_was_away_is_a_crash_of_now() {
    let (mut ledger, now) = start();
    let link = ledger.connect(1, serving(), now).unwrap();
    take(&mut ledger, &link, &batch(1, 0, 0, Some(5))).unwrap();
    let changes = ledger.changes().unwrap();
    let rows = changes.writes.rows.iter().cloned().collect();
    let mut ledger = Ledger::restore(Persisted { rows, ..Persisted::default() }, now);
    let later = now + Duration::from_secs(60);
    assert_eq!(bury(&mut ledger, &remains(1, 8, 0), later), Burial::Taken);
    assert!(ledger.tick(later).is_empty());
    assert_eq!(ledger.tick(later + CRASH_AFTER).len(), 1);
}

#[test]
fn a_sidecar_that_starts_again_among_many_dead_keeps_the_place_of_the_living() {
    let (mut ledger, now) = start();
    for epoch in 1..=LOST_MAX as u64 + 40 {
        assert_eq!(bury(&mut ledger, &remains(epoch * 2, 1, 0), now), Burial::Taken);
    }
    let link = ledger.connect(1, serving(), now).unwrap();
    take(&mut ledger, &link, &batch(1, 0, 0, Some(5))).unwrap();
    let rows = ledger.changes().unwrap().writes.rows.into_iter().collect();
    let mut ledger = Ledger::restore(Persisted { rows, ..Persisted::default() }, now);
    let early = ledger.tick(now);
    assert_eq!(early.len(), 41, "those beyond the limit, told before their time rather than never");
    ledger.connect(1, serving(), now).expect("it has come back at once");
    assert_eq!(early.len() + ledger.tick(now + CRASH_AFTER).len(), LOST_MAX + 40, "each has crashed once");
    assert_eq!(ledger.cores(now).len(), 1, "the dead have nothing more to wait for");
}
