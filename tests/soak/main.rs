//! Soak: the storms of the simulation with a hundred kills each. Not part of `make test`; `make soak` runs it and prints the figures.

use std::time::Instant;

use conexus_tests::storm::{Plan, compared, run};

const PLAN: Plan = Plan {
    cores: 3,
    rounds: 100,
    requests: 300,
    spans: 4,
    ring_records: 16_384,
    kill_core: false,
    kill_sidecar: false,
    cut_wire: false,
};

fn soak(name: &str, plan: Plan) {
    let started = Instant::now();
    let outcome = run(plan);
    let (answered, sent) = outcome.truth.requests();
    println!(
        "{name}: {} cores and {} sidecars killed, wire cut {} times, {answered} <= {} <= {sent} requests, {} spans received + {} dropped of {}..={}, \
         {} values compared at /metrics and in Prometheus, {:.0?}",
        outcome.cores_killed,
        outcome.sidecars_killed,
        outcome.cuts,
        outcome.counted,
        outcome.received,
        outcome.dropped,
        outcome.truth.spans.0,
        outcome.truth.spans.1,
        compared(),
        started.elapsed()
    );
    assert!((answered..=sent).contains(&outcome.counted));
}

#[test]
fn a_hundred_sidecars_are_killed() {
    soak("sidecar killed", Plan { kill_sidecar: true, ..PLAN });
}

#[test]
fn a_hundred_cores_are_killed() {
    soak("core killed", Plan { kill_core: true, ..PLAN });
}

#[test]
fn a_hundred_of_both_are_killed() {
    soak("both killed", Plan { kill_core: true, kill_sidecar: true, ..PLAN });
}

#[test]
fn rings_overflow_for_long() {
    soak("rings of 64 cells", Plan { cores: 2, rounds: 20, requests: 10_000, spans: 60, ring_records: 64, ..PLAN });
}

#[test]
fn the_wire_is_cut_for_long() {
    soak("wire cut", Plan { cut_wire: true, rounds: 60, requests: 3_000, spans: 8, ..PLAN });
}
