//! The channel: hello, batches, acknowledgements, refusals.

use conexus_proto::STREAM_PATH;
use conexus_proto::facts::{CELLS, Fact, Method, RecordKind, SkipReason, Status};
use conexus_proto::v1::{self, record, to_sidecar};
use conexus_sidecar::aggregate::Aggregate;
use conexus_sidecar::aggregate::tally::SENT;
use conexus_sidecar::config::Options;
use conexus_sidecar::export::Records;
use conexus_sidecar::ingest::budget::Budget;
use conexus_sidecar::ingest::service::Ingest;
use conexus_sidecar::pipeline;

use super::core::{Core, Stream, encoded, raw_stream, running};
use super::http::{never_fell, scrape};

const SKIPPED: &str = "conexus_indexer_files_skipped_total{reason=\"empty\"}";
const REJECTED: &str = "conexus_telemetry_batches_rejected_total";

fn log() -> record::Record {
    record::Record::Log(v1::Log { message: "hello".into(), ..v1::Log::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_shown_and_survives_the_sidecar() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::below(folder.path()).unwrap();
    let mut core = Core::new(11);

    let sidecar = pipeline::start(&options).await.unwrap();
    let (mut stream, last) = core.connect(&options.socket).await;
    assert_eq!(last, 0);
    core.emit(Fact::FileSkipped { reason: SkipReason::Empty });
    core.emit(Fact::RequestFinished { method: Method::Ping, status: Status::Ok, nanos: 2_000_000 });
    core.report(&mut stream, vec![log(), log()]).await;
    let first = scrape(sidecar.metrics_address).await;
    assert_eq!(first[SKIPPED], 1.0);
    assert_eq!(first["conexus_mcp_requests_total{method=\"ping\",status=\"ok\"}"], 1.0);
    assert_eq!(first["conexus_mcp_request_duration_seconds_sum{method=\"ping\"}"], 0.002);
    assert_eq!(first["conexus_telemetry_records_received_total{kind=\"log\"}"], 2.0);
    assert_eq!((first["conexus_up"], first["conexus_indexer_queue_depth"]), (1.0, 3.0));
    sidecar.stop().await;
    assert_eq!(stream.next().await, None, "the sidecar's end is the end of the stream");

    // The same epoch goes on, and what was taken is known.
    let sidecar = pipeline::start(&options).await.unwrap();
    let second = scrape(sidecar.metrics_address).await;
    never_fell(&first, &second);
    assert_eq!((second["conexus_up"], second.get("conexus_indexer_queue_depth")), (0.0, None));
    let (mut stream, last) = core.connect(&options.socket).await;
    assert_eq!(last, 1);
    core.emit(Fact::FileSkipped { reason: SkipReason::Empty });
    core.report(&mut stream, vec![]).await;
    stream.send(to_sidecar::Message::Goodbye(v1::Goodbye { reason: "SIGTERM".into() })).await;
    assert_eq!(stream.next().await, None);

    // Another life of the core counts on top of it.
    let mut core = Core::new(12);
    let (mut stream, _) = core.connect(&options.socket).await;
    core.emit(Fact::FileSkipped { reason: SkipReason::Empty });
    core.report(&mut stream, vec![log()]).await;
    let third = scrape(sidecar.metrics_address).await;
    never_fell(&second, &third);
    assert_eq!(third[SKIPPED], 3.0);
    assert_eq!(third["conexus_telemetry_records_received_total{kind=\"log\"}"], 3.0);
    assert_eq!((third["conexus_core_restarts_total"], third["conexus_core_crashes_total"]), (1.0, 0.0));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_without_a_snapshot_are_acknowledged_too() {
    let (_folder, options, sidecar) = running().await;
    let mut core = Core::new(1);
    let (mut stream, _) = core.connect(&options.socket).await;
    let mut batch = core.batch(vec![log()]);
    batch.snapshot = None;
    stream.send(to_sidecar::Message::Batch(batch.clone())).await;
    stream.acknowledged(1).await;
    stream.send(to_sidecar::Message::Batch(batch)).await;
    stream.acknowledged(1).await;
    let samples = scrape(sidecar.metrics_address).await;
    assert_eq!(samples["conexus_telemetry_records_received_total{kind=\"log\"}"], 1.0, "the second was a repetition");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_fit_is_refused_for_good() {
    let (_folder, options, sidecar) = running().await;
    let hello = Core::new(1).hello();
    for (hello, words) in [
        (v1::Hello { protocol_version: 0, ..hello.clone() }, "speaks telemetry protocol 0, this sidecar 1"),
        (v1::Hello { protocol_version: 99, ..hello.clone() }, "speaks telemetry protocol 99, this sidecar 1"),
        (v1::Hello { facts_fingerprint: 5, ..hello.clone() }, "numbers its facts differently (0000000000000005"),
        (v1::Hello { boot_epoch: 0, ..hello.clone() }, "boot_epoch is 0"),
        (
            v1::Hello { build: Some(v1::Build { version: "x".repeat(600), ..v1::Build::default() }), ..hello },
            "600 bytes",
        ),
    ] {
        let mut stream = Stream::open(&options.socket).await;
        stream.send(to_sidecar::Message::Hello(hello)).await;
        let refused = stream.refused().await;
        assert!(refused.reason.contains(words) && !refused.retry, "{refused:?}");
        assert_eq!(stream.next().await, None);
    }
    let mut stream = Stream::open(&options.socket).await;
    stream.send(to_sidecar::Message::Batch(v1::Batch::default())).await;
    assert!(stream.refused().await.reason.contains("first message must be Hello"));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_batch_is_refused_whole_and_counted_and_the_core_goes_on_behind_it() {
    let (_folder, options, sidecar) = running().await;
    let mut core = Core::new(1);
    core.emit(Fact::FileSkipped { reason: SkipReason::Empty });
    let (mut stream, _) = core.connect(&options.socket).await;
    core.report(&mut stream, vec![]).await;

    core.emit(Fact::FileSkipped { reason: SkipReason::Empty });
    let mut bad = core.batch(vec![log()]);
    let snapshot = bad.snapshot.as_mut().unwrap();
    snapshot.cells.push(CELLS as u32);
    snapshot.values.push(1);
    stream.send(to_sidecar::Message::Batch(bad)).await;
    let rejected = stream.rejected().await;
    assert!(rejected.reason.starts_with("batch 2: cells: cell ") && rejected.sequence == 2, "{rejected:?}");
    stream.acknowledged(2).await;
    core.report(&mut stream, vec![log()]).await;
    let samples = scrape(sidecar.metrics_address).await;
    assert_eq!(samples[SKIPPED], 2.0, "values are absolute, so nothing is missing");
    assert_eq!(samples[&format!("{REJECTED}{{reason=\"cells\"}}")], 1.0);
    assert_eq!(samples["conexus_telemetry_records_received_total{kind=\"log\"}"], 1.0);
    let dropped = "conexus_telemetry_records_dropped_total{kind=\"log\",reason=\"ingest_limit\"}";
    assert_eq!(samples[dropped], 1.0);

    let mut gap = core.batch(vec![]);
    gap.sequence += 5;
    stream.send(to_sidecar::Message::Batch(gap)).await;
    assert!(stream.refused().await.reason.contains("sequence: batch 9 came where 4 was due"));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_limit_is_refused_and_counted() {
    let (_folder, options, sidecar) = running().await;
    let mut core = Core::new(1);
    let (mut stream, _) = core.connect(&options.socket).await;
    let huge = v1::Log { message: "x".repeat(17 << 20), ..v1::Log::default() };
    let batch = core.batch(vec![record::Record::Log(huge)]);
    stream.send(to_sidecar::Message::Batch(batch)).await;
    let refused = stream.refused().await;
    assert!(refused.reason.contains("too large"), "{refused:?}");
    let (mut stream, _) = Core::new(2).connect(&options.socket).await;
    Core::new(2).report(&mut stream, vec![]).await;
    let samples = scrape(sidecar.metrics_address).await;
    assert_eq!(samples[&format!("{REJECTED}{{reason=\"size\"}}")], 1.0);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_stream_of_the_same_core_ends_the_first() {
    let (_folder, options, sidecar) = running().await;
    let mut core = Core::new(1);
    let (mut first, _) = core.connect(&options.socket).await;
    let (mut second, _) = core.connect(&options.socket).await;
    assert_eq!(first.next().await, None);
    core.report(&mut second, vec![]).await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_cores_are_summed() {
    let (_folder, options, sidecar) = running().await;
    let mut streams = Vec::new();
    for epoch in 1..=5 {
        let mut core = Core::new(epoch);
        core.emit(Fact::RequestStarted { method: Method::Ping });
        core.emit(Fact::FileSkipped { reason: SkipReason::Empty });
        let (mut stream, _) = core.connect(&options.socket).await;
        core.report(&mut stream, vec![]).await;
        streams.push(stream);
    }
    let samples = scrape(sidecar.metrics_address).await;
    assert_eq!((samples[SKIPPED], samples["conexus_indexer_queue_depth"]), (5.0, 15.0));
    assert_eq!(samples["conexus_mcp_requests_in_flight{method=\"ping\"}"], 5.0);
    assert_eq!(samples["process_cpu_seconds_total{process=\"conexusd\"}"], 2.5);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_vanishes_is_counted_as_crashed_after_five_seconds() {
    let (_folder, options, sidecar) = running().await;
    let mut core = Core::new(1);
    let (mut stream, _) = core.connect(&options.socket).await;
    core.report(&mut stream, vec![]).await;
    drop(stream);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    let started = tokio::time::Instant::now();
    while scrape(sidecar.metrics_address).await["conexus_core_crashes_total"] < 1.0 {
        assert!(tokio::time::Instant::now() < deadline, "no crash was counted");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(started.elapsed() > std::time::Duration::from_millis(4500), "it had five seconds to come back");
    sidecar.stop().await;
}

/// A stream of bytes that a core could have sent and nobody can read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_cannot_be_read_is_refused_acknowledged_and_never_holds_up_what_is_behind_it() {
    let (_folder, options, sidecar) = running().await;
    let mut core = Core::new(1);
    let (up, mut down) = raw_stream(&options.socket).await;
    up.send(encoded(to_sidecar::Message::Hello(core.hello()))).await.unwrap();
    core.emit(Fact::FileSkipped { reason: SkipReason::Empty });
    let unreadable = core.batch(vec![log(), log()]);
    let mut bytes = encoded(to_sidecar::Message::Batch(unreadable)).to_vec();
    let last = bytes.len() - 1;
    bytes[last] = 0xff;
    up.send(bytes.into()).await.unwrap();
    up.send(encoded(to_sidecar::Message::Batch(core.batch(vec![log()])))).await.unwrap();
    let (mut rejected, mut acknowledged) = (vec![], 0);
    while acknowledged < 2 {
        match down.message().await.unwrap().unwrap().message.unwrap() {
            v1::to_core::Message::Rejected(found) => rejected.push(found.sequence),
            v1::to_core::Message::Ack(ack) => acknowledged = ack.sequence,
            _ => {}
        }
    }
    assert_eq!(rejected, [1]);
    let samples = scrape(sidecar.metrics_address).await;
    assert_eq!(samples[SKIPPED], 1.0);
    assert_eq!(samples[&format!("{REJECTED}{{reason=\"protocol\"}}")], 1.0);
    assert_eq!(samples["conexus_telemetry_records_received_total{kind=\"log\"}"], 1.0);
    let dropped = "conexus_telemetry_records_dropped_total{kind=\"log\",reason=\"ingest_limit\"}";
    assert_eq!(samples[dropped], 2.0, "what nobody could count is told by the next batch");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_batch_is_not_waited_for_again() {
    let (_folder, options, sidecar) = running().await;
    let mut core = Core::new(1);
    let (mut stream, _) = core.connect(&options.socket).await;
    core.report(&mut stream, vec![]).await;
    let huge = v1::Log { message: "x".repeat(17 << 20), ..v1::Log::default() };
    let batch = core.batch(vec![record::Record::Log(huge)]);
    stream.send(to_sidecar::Message::Batch(batch)).await;
    assert!(stream.refused().await.reason.contains("too large"));
    // It is committed shortly after.
    let rejected = format!("{REJECTED}{{reason=\"size\"}}");
    while scrape(sidecar.metrics_address).await[&rejected] < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (mut stream, last) = core.connect(&options.socket).await;
    assert_eq!(last, 2);
    core.report(&mut stream, vec![log()]).await;
    let samples = scrape(sidecar.metrics_address).await;
    assert_eq!(samples[&rejected], 1.0);
    assert_eq!(samples["conexus_telemetry_records_received_total{kind=\"log\"}"], 1.0);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_floods_is_asked_to_pause_and_loses_nothing_here() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("t.sock");
    let (aggregate, committer, _) = Aggregate::open(folder.path()).unwrap();
    let (_closer, closing) = conexus_sidecar::closing::pair();
    let ingest = Ingest::new(aggregate.clone(), Records::default(), closing).with_budget(Budget::new(10_000.0, 100.0));
    let router =
        axum::Router::new().route(STREAM_PATH, axum::routing::post(move |request| ingest.clone().serve(request)));
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(router, incoming));

    let mut core = Core::new(1);
    let (mut stream, _) = core.connect(&socket).await;
    core.report(&mut stream, vec![log(); 100]).await;
    stream.send(to_sidecar::Message::Batch(core.batch(vec![log(); 1_000]))).await;
    match stream.next().await {
        Some(v1::to_core::Message::Throttle(throttle)) => {
            assert!((20..=110).contains(&throttle.pause_millis), "{throttle:?}");
        }
        other => panic!("a pause was expected, got {other:?}"),
    }
    stream.acknowledged(2).await;
    assert_eq!(aggregate.view().total[SENT + RecordKind::Log as usize], 1_100);
    server.abort();
    committer.stop();
}
