//! Simulation: are the figures exact when processes die, rings overflow and several cores report at once?
//!
//! `make soak` runs the same storms with a hundred kills each.

mod killed;
mod duplex;

use conexus_tests::storm::{Outcome, Plan, compared, run};

const PLAN: Plan = Plan {
    cores: 1,
    rounds: 8,
    requests: 400,
    spans: 4,
    ring_records: 16_384,
    kill_core: false,
    kill_sidecar: false,
    cut_wire: false,
};

fn exact(outcome: &Outcome) {
    let (answered, sent) = outcome.truth.requests();
    assert_eq!((answered, outcome.counted), (sent, sent), "nobody was killed: {outcome:?}");
    assert_eq!(outcome.truth.spans.0, outcome.received + outcome.dropped);
    assert!(compared() > 300);
}

#[test]
fn a_ring_that_overflows_loses_records_counts_them_and_loses_no_measure() {
    let outcome = run(Plan { ring_records: 64, requests: 4_000, spans: 40, ..PLAN });
    exact(&outcome);
    assert!(outcome.dropped > 0 && outcome.received > 0, "{} {}", outcome.received, outcome.dropped);
}

#[test]
fn several_cores_are_summed_exactly() {
    exact(&run(Plan { cores: 4, rounds: 3, ..PLAN }));
}

#[test]
fn a_sidecar_that_is_killed_again_and_again_loses_no_measure() {
    exact(&run(Plan { kill_sidecar: true, ..PLAN }));
}

#[test]
fn a_core_that_is_killed_has_counted_everything_that_it_answered() {
    let outcome = run(Plan { kill_core: true, cores: 2, ..PLAN });
    let (answered, sent) = outcome.truth.requests();
    assert!(answered < sent, "somebody was killed in the middle of something");
    assert!((answered..=sent).contains(&outcome.counted), "{answered} <= {} <= {sent}", outcome.counted);
}

#[test]
fn both_may_be_killed() {
    let outcome = run(Plan { kill_core: true, kill_sidecar: true, cores: 3, ..PLAN });
    let (answered, sent) = outcome.truth.requests();
    assert!((answered..=sent).contains(&outcome.counted), "{answered} <= {} <= {sent}", outcome.counted);
}

#[test]
fn a_wire_that_is_cut_again_and_again_loses_nothing_and_counts_nothing_twice() {
    let outcome = run(Plan { cut_wire: true, cores: 3, rounds: 12, requests: 2_000, spans: 8, ..PLAN });
    assert!(outcome.cuts >= 3, "cut {} times", outcome.cuts);
    exact(&outcome);
}
