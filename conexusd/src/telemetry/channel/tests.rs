//! Tests of the whole way: threads, rings, drain, outbox and channel against a sidecar that can refuse, die, forget and pause.

use std::collections::HashSet;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::thread::sleep;

use conexus_proto::facts::{self, DropReason, Fact, Gauge, RecordKind};
use conexus_proto::v1::ingest_server::{Ingest, IngestServer};
use conexus_proto::v1::record::Record;
use tokio_stream::{Stream, StreamExt};
use tonic::{Response, Status};

use super::super::slots::{KINDS, REASONS};
use super::super::{ErrorReport, LogFormat, RootInfo, Telemetry, TelemetryGuard, TelemetryOptions};
use super::*;

/// What a sidecar is told and how it behaves. Outlives the server, as a sidecar's disk does.
#[derive(Default)]
struct Book {
    hellos: Vec<v1::Hello>,
    last_sequence: u64,
    batches: Vec<v1::Batch>,
    duplicates: usize,
    goodbyes: usize,
    refuse: Option<v1::Refused>,
    forgetful: bool,
    /// Says that it has one batch less than it has, so that one comes twice if it was not acknowledged.
    modest: bool,
    silent: bool,
    die_after: Option<usize>,
    deaths: usize,
    throttle: Option<u32>,
    /// Refuses the next batch for good.
    reject: bool,
    rejected: u64,
}

impl Book {
    fn records(&self) -> impl Iterator<Item = &Record> {
        self.batches.iter().flat_map(|batch| &batch.records).filter_map(|record| record.record.as_ref())
    }

    /// The numbers that the test's logs and spans carry in their first attribute.
    fn span_numbers(&self) -> Vec<i64> {
        self.records()
            .filter_map(|record| match record {
                Record::Span(span) => match span.attributes.first()?.value {
                    Some(v1::attribute::Value::Integer(number)) => Some(number),
                    _ => None,
                },
                _ => None,
            })
            .collect()
    }

    fn last_cell(&self, fact: Fact) -> u64 {
        let facts::Addition::Count { cell, .. } = fact.addition() else { panic!("a count") };
        let snapshot = self.batches.iter().rev().find_map(|batch| batch.snapshot.as_ref());
        let at = |snapshot: &v1::Snapshot| snapshot.cells.iter().position(|&number| number as usize == cell);
        snapshot.and_then(|snapshot| Some(snapshot.values[at(snapshot)?])).unwrap_or(0)
    }

    /// At every batch: what is sent has arrived, and is never more than emitted less dropped. Cells never step back.
    fn check(&self) {
        let (mut arrived, mut cells) = ([0; KINDS], vec![0; facts::CELLS]);
        for (i, batch) in self.batches.iter().enumerate() {
            assert_eq!(batch.sequence, i as u64 + 1);
            for record in &batch.records {
                let kind = match record.record {
                    Some(Record::Span(_)) => RecordKind::Span,
                    Some(Record::Log(_)) => RecordKind::Log,
                    Some(Record::Error(_)) => RecordKind::Error,
                    None => panic!("an empty record"),
                };
                arrived[kind as usize] += 1;
            }
            let accounting = batch.accounting.as_ref().unwrap();
            assert_eq!(accounting.sent, arrived);
            for kind in 0..KINDS {
                let dropped: u64 = accounting.dropped[kind * REASONS..][..REASONS].iter().sum();
                assert!(accounting.emitted[kind] >= accounting.sent[kind] + dropped, "{accounting:?}");
            }
            let snapshot = batch.snapshot.iter().flat_map(|s| s.cells.iter().zip(&s.values));
            for (&cell, &value) in snapshot {
                assert!(value >= cells[cell as usize], "cell {cell} stepped back");
                cells[cell as usize] = value;
            }
        }
    }
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Book>>);

impl Fake {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    /// Takes a message; None ends the stream as a crash would.
    fn take(&self, message: v1::ToSidecar) -> Option<Option<to_core::Message>> {
        let mut book = self.book();
        match message.message? {
            to_sidecar::Message::Hello(hello) => {
                book.hellos.push(hello);
                if let Some(refused) = &book.refuse {
                    return Some(Some(to_core::Message::Refused(refused.clone())));
                }
                let modesty = u64::from(book.modest);
                let last_sequence = if book.forgetful { 0 } else { book.last_sequence.saturating_sub(modesty) };
                Some(Some(to_core::Message::Welcome(v1::Welcome { last_sequence, ..v1::Welcome::default() })))
            }
            to_sidecar::Message::Batch(batch) => {
                let sequence = batch.sequence;
                if std::mem::take(&mut book.reject) {
                    let rejected = v1::Rejected { sequence, reason: format!("batch {sequence}: ids: x") };
                    (book.last_sequence, book.rejected) = (sequence, sequence);
                    return Some(Some(to_core::Message::Rejected(rejected)));
                }
                if sequence > book.last_sequence {
                    book.last_sequence = sequence;
                    book.batches.push(batch);
                } else {
                    book.duplicates += 1;
                }
                match book.die_after {
                    // Dies with the batch taken and not acknowledged: it must come again and be discarded.
                    Some(0) => {
                        book.deaths += 1;
                        return None;
                    }
                    left => book.die_after = left.map(|left| left - 1),
                }
                if let Some(pause_millis) = book.throttle.take() {
                    return Some(Some(to_core::Message::Throttle(v1::Throttle { pause_millis })));
                }
                Some((!book.silent).then_some(to_core::Message::Ack(v1::Ack { sequence })))
            }
            to_sidecar::Message::Goodbye(_) => {
                book.goodbyes += 1;
                Some(None)
            }
        }
    }
}

#[tonic::async_trait]
impl Ingest for Fake {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<v1::ToCore, Status>> + Send>>;

    async fn stream(&self, request: Request<Streaming<v1::ToSidecar>>) -> Result<Response<Self::StreamStream>, Status> {
        let fake = self.clone();
        let answers = request.into_inner().map_while(move |message| fake.take(message.ok()?));
        let answers = answers.filter_map(|answer| answer.map(|message| Ok(v1::ToCore { message: Some(message) })));
        if self.book().silent {
            return Ok(Response::new(Box::pin(answers.chain(tokio_stream::pending()))));
        }
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A running sidecar. Dropping it kills it: connections break, the socket's file stays.
struct Running(Option<tokio::runtime::Runtime>);

impl Running {
    fn start(fake: &Fake, socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _ = std::fs::remove_file(socket);
        let listener = runtime.block_on(async { tokio::net::UnixListener::bind(socket).unwrap() });
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let server = tonic::transport::Server::builder();
        runtime.spawn(server.serve_with_incoming(IngestServer::new(fake.clone()), incoming));
        Self(Some(runtime))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct Bed {
    folder: tempfile::TempDir,
    fake: Fake,
}

impl Bed {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), fake: Fake::default() }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("t.sock")
    }

    fn run(&self) -> Running {
        Running::start(&self.fake, &self.socket())
    }

    fn core(&self, change: impl FnOnce(&mut TelemetryOptions)) -> (Telemetry, TelemetryGuard) {
        let mut options =
            TelemetryOptions { socket: Some(self.socket()), serving: true, ..TelemetryOptions::default() };
        change(&mut options);
        Telemetry::start(options).unwrap()
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        sleep(Duration::from_millis(2));
    }
}

fn work(telemetry: &Telemetry, number: i64) {
    let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
    trace.set(trace.root(), "number", number);
    trace.finish();
    telemetry.emit(Fact::SearchCacheMiss);
}

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn everything_emitted_arrives_and_goodbye_is_said() {
    let bed = Bed::new();
    let _running = bed.run();
    let (telemetry, guard) = bed.core(|options| options.build.version = "1.2.3".into());
    telemetry.set(Gauge::Documents, 12.5);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let telemetry = &telemetry;
            scope.spawn(move || {
                for i in 0..500 {
                    work(telemetry, thread * 500 + i);
                    if i % 50 == 0 {
                        sleep(Duration::from_millis(5));
                    }
                }
            });
        }
    });
    telemetry.error(ErrorReport::new(facts::ErrorType::Tool, "it broke"));
    wait_until("the sidecar is connected", || telemetry.health().connected);
    let report = guard.shutdown(DEADLINE);
    assert_eq!((report.acknowledged, report.unsent_records), (true, 0));

    let book = bed.fake.book();
    book.check();
    assert_eq!((book.goodbyes, book.duplicates, book.hellos.len()), (1, 0, 1));
    let hello = &book.hellos[0];
    assert_eq!((hello.facts_fingerprint, hello.serving), (facts::FINGERPRINT, true));
    assert_eq!((hello.pid, hello.build.as_ref().unwrap().version.as_str()), (std::process::id(), "1.2.3"));
    assert!(hello.boot_epoch != 0 && hello.started_unix_nanos > 0);
    assert_eq!(book.last_cell(Fact::SearchCacheMiss), 2_000);
    let numbers: HashSet<_> = book.span_numbers().into_iter().collect();
    assert_eq!((numbers.len(), book.span_numbers().len()), (2_000, 2_000));
    let last = book.batches.last().unwrap();
    let accounting = last.accounting.as_ref().unwrap();
    assert_eq!((&accounting.emitted[..], &accounting.sent[..]), (&[2_000, 0, 1][..], &[2_000, 0, 1][..]));
    let snapshot = last.snapshot.as_ref().unwrap();
    let at = snapshot.gauges.iter().position(|&gauge| gauge == Gauge::Documents as u32).unwrap();
    assert_eq!(snapshot.gauge_values[at], 12.5);
    assert!(snapshot.gauges.contains(&(Gauge::ProcessResidentBytes as u32)));
}

#[test]
fn a_sidecar_that_appears_later_gets_what_was_kept() {
    let bed = Bed::new();
    let (telemetry, guard) = bed.core(|_| {});
    (0..100).for_each(|number| work(&telemetry, number));
    wait_until("the failure is known", || telemetry.health().last_error.is_some());
    assert!(!telemetry.health().connected);
    let _running = bed.run();
    wait_until("it is connected", || telemetry.health().connected);
    assert!(guard.shutdown(DEADLINE).acknowledged);
    let book = bed.fake.book();
    book.check();
    assert_eq!(book.span_numbers(), (0..100).collect::<Vec<_>>());
    assert_eq!(book.last_cell(Fact::SearchCacheMiss), 100);
}

#[test]
fn a_sidecar_that_keeps_dying_gets_everything_once() {
    let bed = Bed::new();
    bed.fake.book().modest = true;
    let (telemetry, guard) = bed.core(|_| {});
    let mut number = 0;
    for death in 0..8 {
        bed.fake.book().die_after = Some(death % 3);
        let running = bed.run();
        let before = bed.fake.book().deaths;
        for _ in 0..300 {
            work(&telemetry, number);
            number += 1;
        }
        wait_until("the sidecar died", || bed.fake.book().deaths > before);
        drop(running);
    }
    bed.fake.book().die_after = None;
    let _running = bed.run();
    wait_until("it is connected again", || telemetry.health().connected);
    assert!(guard.shutdown(DEADLINE).acknowledged);
    let book = bed.fake.book();
    book.check();
    assert!(book.duplicates > 0, "some batches came twice");
    assert_eq!(book.span_numbers(), (0..number).collect::<Vec<_>>());
    assert_eq!(book.last_cell(Fact::SearchCacheMiss), number as u64);
    let epochs: HashSet<_> = book.hellos.iter().map(|hello| hello.boot_epoch).collect();
    assert_eq!(epochs.len(), 1);
}

#[test]
fn a_sidecar_that_forgot_everything_gets_the_rest() {
    let bed = Bed::new();
    let running = bed.run();
    let (telemetry, guard) = bed.core(|_| {});
    work(&telemetry, 0);
    wait_until("the first is there", || !bed.fake.book().span_numbers().is_empty());
    wait_until("and acknowledged", || telemetry.hub.outbox.as_ref().unwrap().progress().unsent_records == 0);
    drop(running);
    bed.fake.book().forgetful = true;
    let _running = bed.run();
    work(&telemetry, 1);
    wait_until("it is connected again", || bed.fake.book().hellos.len() > 1);
    assert!(guard.shutdown(DEADLINE).acknowledged);
    let book = bed.fake.book();
    assert_eq!((book.span_numbers(), book.last_cell(Fact::SearchCacheMiss)), (vec![0, 1], 2));
}

#[test]
fn a_refusal_for_good_is_told_and_not_repeated_often() {
    let bed = Bed::new();
    bed.fake.book().refuse = Some(v1::Refused { reason: "too old".into(), retry: false });
    let _running = bed.run();
    let (telemetry, guard) = bed.core(|_| {});
    wait_until("the refusal is known", || telemetry.health().last_error.is_some());
    sleep(Duration::from_millis(400));
    let health = telemetry.health();
    assert_eq!((health.connected, health.last_error.as_deref()), (false, Some("the sidecar refused: too old")));
    assert_eq!(bed.fake.book().hellos.len(), 1);
    let started = std::time::Instant::now();
    assert!(!guard.shutdown(DEADLINE).acknowledged);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_refusal_for_now_is_tried_again() {
    let bed = Bed::new();
    bed.fake.book().refuse = Some(v1::Refused { reason: "busy".into(), retry: true });
    let _running = bed.run();
    let (telemetry, _guard) = bed.core(|_| {});
    wait_until("it was asked twice", || bed.fake.book().hellos.len() >= 2);
    bed.fake.book().refuse = None;
    wait_until("it is connected", || telemetry.health().connected);
}

#[test]
fn during_a_pause_only_snapshots_are_sent() {
    let bed = Bed::new();
    bed.fake.book().throttle = Some(900);
    let _running = bed.run();
    let (telemetry, guard) = bed.core(|_| {});
    wait_until("the pause was asked for", || bed.fake.book().throttle.is_none());
    let before = bed.fake.book().batches.len();
    (0..600).for_each(|number| work(&telemetry, number));
    wait_until("snapshots go on", || bed.fake.book().batches.len() >= before + 2);
    assert!(bed.fake.book().span_numbers().is_empty());
    wait_until("the records follow", || bed.fake.book().span_numbers().len() == 600);
    assert!(guard.shutdown(DEADLINE).acknowledged);
    bed.fake.book().check();
}

#[test]
fn what_does_not_fit_is_dropped_and_counted_and_measures_stay_exact() {
    let bed = Bed::new();
    let (telemetry, guard) = bed.core(|options| options.unsent_max_bytes = 20_000);
    for number in 0..3_000 {
        work(&telemetry, number);
        if number % 500 == 0 {
            sleep(Duration::from_millis(10));
        }
    }
    wait_until("records are dropped", || telemetry.health().dropped > 0);
    let _running = bed.run();
    wait_until("it is connected", || telemetry.health().connected);
    assert!(guard.shutdown(DEADLINE).acknowledged);
    let book = bed.fake.book();
    book.check();
    let accounting = book.batches.last().unwrap().accounting.as_ref().unwrap();
    let dropped: u64 = accounting.dropped.iter().sum();
    assert!(accounting.dropped[DropReason::UnsentFull as usize] > 0);
    assert_eq!((accounting.emitted[0], accounting.sent[0] + dropped), (3_000, 3_000));
    assert_eq!(book.span_numbers().len() as u64, accounting.sent[0]);
    assert_eq!(book.last_cell(Fact::SearchCacheMiss), 3_000);
}

#[test]
fn a_shutdown_waits_for_nobody_who_is_not_there_and_only_so_long_for_who_is() {
    let bed = Bed::new();
    let (telemetry, guard) = bed.core(|_| {});
    work(&telemetry, 0);
    let started = std::time::Instant::now();
    let report = guard.shutdown(DEADLINE);
    assert_eq!((report.acknowledged, report.unsent_records), (false, 1));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    bed.fake.book().silent = true;
    let _running = bed.run();
    let (telemetry, guard) = bed.core(|_| {});
    work(&telemetry, 1);
    wait_until("it is connected", || telemetry.health().connected);
    let started = std::time::Instant::now();
    assert!(!guard.shutdown(Duration::from_millis(700)).acknowledged);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(600) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(bed.fake.book().goodbyes, 1);
}

#[test]
fn several_cores_in_one_process_do_not_mix() {
    let (one, two) = (Bed::new(), Bed::new());
    let _running = (one.run(), two.run());
    let ((first, first_guard), (second, second_guard)) = (one.core(|_| {}), two.core(|_| {}));
    (0..10).for_each(|number| work(&first, number));
    (0..20).for_each(|number| work(&second, number));
    wait_until("both are connected", || first.health().connected && second.health().connected);
    assert!(first_guard.shutdown(DEADLINE).acknowledged && second_guard.shutdown(DEADLINE).acknowledged);
    for (bed, count) in [(&one, 10), (&two, 20)] {
        let book = bed.fake.book();
        assert_eq!((book.span_numbers().len(), book.last_cell(Fact::SearchCacheMiss)), (count, count as u64));
    }
}

#[test]
fn a_runtime_under_observation_reports_its_load_and_delay() {
    let bed = Bed::new();
    let (telemetry, _guard) = bed.core(|_| {});
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    telemetry.observe_runtime(runtime.handle());
    let delay = Fact::SchedulingDelay { nanos: 0 };
    wait_until("the probe ran", || telemetry.snapshot().count(delay) > 2);
    wait_until("the load is known", || telemetry.snapshot().gauge(Gauge::RuntimeBusyRatio).is_some());
    assert!(telemetry.snapshot().gauge(Gauge::RuntimeTasks).is_some_and(|tasks| tasks >= 1.0));
}

#[test]
fn log_lines_reach_stderr_as_json_without_any_sidecar() {
    use tracing_subscriber::layer::SubscriberExt;
    let (mut read, write) = std::io::pipe().unwrap();
    let options = TelemetryOptions { mirror: Some(LogFormat::Json), ..TelemetryOptions::default() };
    let (telemetry, guard) = Telemetry::start_with_mirror_to(options, write).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(telemetry.layer()), || {
        tracing::info!(target: "conexusd", results = 3, "MCP request completed");
    });
    assert!(guard.shutdown(DEADLINE).acknowledged);
    drop(telemetry);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut read, &mut text).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((&line["message"], &line["results"]), (&"MCP request completed".into(), &3.into()));
    assert_eq!((&line["level"], &line["target"]), (&"info".into(), &"conexusd".into()));
}

#[test]
fn a_refused_batch_is_not_sent_again_and_shows_in_health() {
    let bed = Bed::new();
    bed.fake.book().reject = true;
    let (telemetry, guard) = bed.core(|_| {});
    (0..700).for_each(|number| work(&telemetry, number));
    let _running = bed.run();
    wait_until("a batch is refused", || bed.fake.book().rejected > 0);
    wait_until("it is in health", || telemetry.health().last_error.is_some_and(|error| error.contains("ids: x")));
    work(&telemetry, 999);
    assert!(guard.shutdown(DEADLINE).acknowledged);
    let book = bed.fake.book();
    assert!(book.batches.iter().all(|batch| batch.sequence > book.rejected), "it never came again");
    assert!(book.duplicates == 0 && book.span_numbers().contains(&999));
    assert_eq!(book.last_cell(Fact::SearchCacheMiss), 701);
}
