use std::path::Path;
use std::sync::Mutex;

use conexus_proto::facts::Label;
use conexus_proto::v1::{self, record};

use super::*;
use crate::aggregate::Committer;
use crate::aggregate::tally::SIDECAR_DROPPED;
use crate::export::exporters::{Exporters, States};
use crate::export::{OTLP, RecordBatch};

const PLAN: Plan = Plan {
    number: OTLP,
    wanted: &[RecordKind::Span],
    queue: Limits { records: 100, bytes: 1 << 20 },
    chunk: Limits { records: 10, bytes: 1 << 20 },
    linger: Duration::from_millis(5),
    timeout: Duration::from_millis(500),
    failure: "trace export failed",
    spool: true,
};

/// How a backend answers now, and what it has taken.
#[derive(Clone, Default)]
struct Backend(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    mood: Mood,
    taken: Vec<String>,
    calls: usize,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Takes,
    Away,
    Hangs,
    Refuses,
    RefusesOne,
}

impl Backend {
    fn set(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    fn taken(&self) -> Vec<String> {
        self.0.lock().unwrap().taken.clone()
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    fn called(&self) -> Mood {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        state.mood
    }

    fn answer(&self, names: Vec<String>) -> Result<Sent, SendError> {
        let mut state = self.0.lock().unwrap();
        match state.mood {
            Mood::Away | Mood::Hangs => Err(SendError::Later("away".into(), None)),
            Mood::Refuses => Err(SendError::Never("malformed".into())),
            mood => {
                state.taken.extend(names);
                Ok(Sent { refused: (mood == Mood::RefusesOne).then(|| (1, "one is odd".into())) })
            }
        }
    }
}

impl Destination for Backend {
    async fn send(&mut self, pieces: &[Piece]) -> Result<Sent, SendError> {
        let mood = self.called();
        if mood == Mood::Hangs {
            std::future::pending::<()>().await;
        }
        let names = pieces.iter().flat_map(Piece::records).map(|record| match &record.record {
            Some(record::Record::Span(span)) => span.name.clone(),
            other => panic!("not wanted: {other:?}"),
        });
        self.answer(names.collect())
    }

    async fn probe(&mut self) -> Result<Sent, SendError> {
        self.called();
        self.answer(Vec::new())
    }
}

/// A running exporter.
struct Running {
    backend: Backend,
    exporters: Exporters,
    states: States,
    aggregate: Aggregate,
    committer: Committer,
}

impl Running {
    fn start(folder: &Path, plan: Plan, mood: Mood) -> Self {
        let (aggregate, committer, _) = Aggregate::open(folder).unwrap();
        let backend = Backend::default();
        backend.set(mood);
        let spool = plan.spool.then(|| Spool::open(folder, 64 << 20).unwrap().spool);
        let mut exporters = Exporters::new(aggregate.clone(), spool);
        exporters.start(plan, backend.clone());
        Self { backend, states: exporters.states(), exporters, aggregate, committer }
    }

    fn offer(&self, names: &[String]) {
        let spans = names.iter().map(|name| v1::Span { name: name.clone(), ..v1::Span::default() });
        let records = spans.map(|span| v1::Record { record: Some(record::Record::Span(span)) }).collect();
        let batch = Arc::new(RecordBatch::new(1, records));
        self.exporters.sinks().for_each(|sink| sink.offer(&batch));
    }

    async fn until(&self, what: &str, check: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !check(self) {
            assert!(start.elapsed() < Duration::from_secs(30), "{what}: {:?}", self.states.now()[OTLP]);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it, well within a linger or a backend that hangs. Failures, and drops by reason.
    async fn stop(self) -> (u64, Vec<u64>) {
        tokio::time::timeout(Duration::from_secs(20), self.exporters.stop(Duration::from_millis(500)))
            .await
            .expect("it ends at its deadline");
        self.committer.stop();
        let total = self.aggregate.view().total;
        (total[EXPORT_FAILURES + OTLP], total.range(SIDECAR_DROPPED, DropReason::VALUES.len()).to_vec())
    }
}

fn names(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| number.to_string()).collect()
}

fn dropped(reason: DropReason, count: u64) -> Vec<u64> {
    let mut drops = vec![0; DropReason::VALUES.len()];
    drops[reason.number()] = count;
    drops
}

#[tokio::test]
async fn what_is_offered_arrives_in_order_and_in_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), PLAN, Mood::Takes);
    running.until("it is up before anything is sent", |r| r.states.now()[OTLP].up).await;
    for batch in names(0, 60).chunks(7) {
        running.offer(batch);
    }
    running.until("all arrive", |r| r.backend.taken().len() == 60).await;
    assert_eq!(running.backend.taken(), names(0, 60));
    running.until("nothing waits", |r| r.states.now()[OTLP].queued == 0).await;
    let (failures, drops) = running.stop().await;
    assert_eq!((failures, drops), (0, vec![0; DropReason::VALUES.len()]));
}

#[tokio::test]
async fn what_a_backend_misses_waits_on_disk_and_arrives_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), PLAN, Mood::Away);
    running.until("the failure shows", |r| r.states.now()[OTLP].last_error.as_deref() == Some("away")).await;
    // More than the queue holds.
    for batch in names(0, 300).chunks(50) {
        running.offer(batch);
        running.until("the queue is stored", |r| r.states.now()[OTLP].queued == 0).await;
    }
    let state = running.states.now()[OTLP].clone();
    assert!(!state.up && state.enabled && state.spooled_bytes > 300, "{state:?}");
    running.backend.set(Mood::Takes);
    running.until("all arrive", |r| r.backend.taken().len() == 300).await;
    assert_eq!(running.backend.taken(), names(0, 300));
    running.until("the spool is empty", |r| r.states.now()[OTLP].spooled_bytes == 0).await;
    let state = running.states.now()[OTLP].clone();
    assert!(state.up && state.last_error.is_none(), "{state:?}");
    let (failures, drops) = running.stop().await;
    assert!(failures >= 1);
    assert_eq!(drops, vec![0; DropReason::VALUES.len()]);
}

#[tokio::test]
async fn what_is_left_at_the_end_is_sent_by_the_next_life() {
    let folder = tempfile::tempdir().unwrap();
    for mood in [Mood::Away, Mood::Hangs] {
        let running = Running::start(folder.path(), PLAN, mood);
        running.offer(&names(0, 50));
        running.until("it is tried", |r| r.backend.calls() > 0).await;
        let (_, drops) = running.stop().await;
        assert_eq!(drops, vec![0; DropReason::VALUES.len()]);
    }
    let running = Running::start(folder.path(), PLAN, Mood::Takes);
    running.until("both lives' records arrive", |r| r.backend.taken().len() == 100).await;
    assert_eq!(running.backend.taken(), [names(0, 50), names(0, 50)].concat());
    running.stop().await;
}

#[tokio::test]
async fn what_waits_when_the_end_comes_is_sent_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), Plan { linger: Duration::from_secs(60), ..PLAN }, Mood::Takes);
    running.until("it is up", |r| r.states.now()[OTLP].up).await;
    running.offer(&names(0, 5));
    let backend = running.backend.clone();
    running.stop().await;
    assert_eq!(backend.taken(), names(0, 5));
}

#[tokio::test]
async fn without_a_spool_the_queue_waits_and_refuses_what_is_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), Plan { spool: false, ..PLAN }, Mood::Away);
    running.until("the failure shows", |r| r.states.now()[OTLP].last_error.is_some()).await;
    running.offer(&names(0, 130));
    running.backend.set(Mood::Takes);
    running.until("what fitted arrives", |r| r.backend.taken().len() == 100).await;
    assert_eq!(running.backend.taken(), names(0, 100));
    assert_eq!(running.stop().await.1, dropped(DropReason::ExporterFull, 30));

    let running = Running::start(folder.path(), Plan { spool: false, ..PLAN }, Mood::Away);
    running.until("the failure shows", |r| r.states.now()[OTLP].last_error.is_some()).await;
    running.offer(&names(0, 20));
    let drops = running.stop().await.1;
    assert_eq!(drops[DropReason::Shutdown.number()], 20);
}

#[tokio::test]
async fn what_is_refused_for_good_is_dropped_and_does_not_hold_up_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), PLAN, Mood::Takes);
    running.until("it is up", |r| r.states.now()[OTLP].up).await;
    running.backend.set(Mood::Refuses);
    running.offer(&names(0, 10));
    running.until("the refusal shows", |r| r.states.now()[OTLP].last_error.as_deref() == Some("malformed")).await;
    running.backend.set(Mood::RefusesOne);
    running.offer(&names(10, 20));
    running.until("the rest arrives", |r| r.backend.taken() == names(10, 20)).await;
    let (failures, drops) = running.stop().await;
    assert_eq!((failures, drops), (2, dropped(DropReason::ExporterFull, 11)));
}

#[tokio::test]
async fn an_attempt_that_hangs_is_given_up_and_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), Plan { timeout: Duration::from_millis(80), ..PLAN }, Mood::Takes);
    running.until("it is up", |r| r.states.now()[OTLP].up).await;
    running.backend.set(Mood::Hangs);
    running.offer(&names(0, 3));
    let error = |r: &Running| r.states.now()[OTLP].last_error.clone();
    running.until("it is given up", |r| error(r).as_deref() == Some("no answer within 80ms")).await;
    running.backend.set(Mood::Takes);
    running.until("it arrives", |r| r.backend.taken() == names(0, 3)).await;
    running.stop().await;
}
