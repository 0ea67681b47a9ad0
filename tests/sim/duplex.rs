//! Duplex: are the figures exact when the wire is cut, late, repeats itself and changes the order, and the sidecar dies?
//!
//! The channel of conexusd and the ingest of the sidecar as they are, in one process and on one thread, joined by pipes in memory
//! instead of a socket. A seed decides what happens next: load, a drain, a snapshot, a commit, a cut in the middle of
//! anything, a sidecar that begins again with what is on disk. What a wire says is also read between the two.

mod pipe;
mod relay;
mod sidecar;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conexus_proto::facts::{CELLS, Fact, RecordKind, TraceDecision};
use conexus_proto::v1;
use conexus_sidecar::aggregate::tally::{CORE_DROPPED, DROPS, EMITTED, KINDS, REFUSED, SENT, Tally};
use conexus_tests::storm::Seeded;
use conexusd::telemetry::{Connect, RootInfo, Stepped, Telemetry, TelemetryOptions};
use tokio::task::JoinHandle;

use self::relay::Relay;
use self::sidecar::{Received, Sidecar};

/// How many different stories are told.
const SEEDS: u64 = 48;
/// What happens in one of them.
const STEPS: u64 = 160;
const REASONS: usize = DROPS / KINDS;
const SPAN: usize = RecordKind::Span as usize;

/// What was seen between core and sidecar, by the core's epoch.
#[derive(Debug, Default)]
struct Seen {
    cores: HashMap<u64, SeenCore>,
    cuts: u64,
    repeated: u64,
    swapped: u64,
}

#[derive(Debug, Default)]
struct SeenCore {
    /// Batches by their numbers, as the core sent them.
    batches: HashMap<u64, SeenBatch>,
    acknowledged: Vec<u64>,
}

#[derive(Debug)]
struct SeenBatch {
    accounting: v1::Accounting,
    /// The numbers of its spans.
    spans: Vec<u64>,
}

type Shared<T> = Arc<Mutex<T>>;

fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A core, and what it knows to be true.
struct Core {
    telemetry: Telemetry,
    stepped: Stepped,
    channel: JoinHandle<()>,
    drains_first: bool,
    cells: Vec<u64>,
    spans: u64,
}

impl Core {
    fn start(seeded: &mut Seeded, connect: Connect) -> Self {
        // Rings and queues that overflow, and ones that do not.
        let ring_records = [64, 512, 16_384][seeded.below(3) as usize];
        let unsent_max_bytes = [6_000, 1 << 20][seeded.below(2) as usize];
        let options = TelemetryOptions { ring_records, unsent_max_bytes, serving: true, ..TelemetryOptions::default() };
        let backoff = [Duration::from_micros(100), Duration::from_millis(4)];
        let (telemetry, stepped, channel) = Telemetry::stepped(&options, connect, backoff);
        let (channel, drains_first) = (tokio::spawn(channel), seeded.below(2) == 0);
        Self { telemetry, stepped, channel, drains_first, cells: vec![0; CELLS], spans: 0 }
    }

    fn emit(&mut self, fact: Fact) {
        self.telemetry.emit(fact);
        self.counts(fact);
    }

    fn counts(&mut self, fact: Fact) {
        fact.addition().add_to(&mut self.cells);
    }

    /// The drain takes a snapshot right behind records, but more of them may come in between.
    fn snapshot(&mut self) {
        if self.drains_first {
            self.stepped.drain();
        }
        self.stepped.snapshot();
    }

    /// Some requests; the spans of each are numbered.
    fn load(&mut self, seeded: &mut Seeded) {
        for _ in 0..seeded.below(30) {
            let request = seeded.request(6);
            self.emit(request.started());
            if request.spans > 0 {
                let mut trace = self.telemetry.trace(RootInfo::request("mcp.search", None));
                let root = trace.root();
                for i in 0..request.spans {
                    let span = if i == 0 { root } else { trace.add(root, "stage", root.start(), root.start()) };
                    trace.set(span, "number", self.spans);
                    self.spans += 1;
                }
                trace.finish();
                self.counts(Fact::TraceDecided { decision: TraceDecision::Kept });
            }
            self.emit(request.finished());
        }
    }
}

/// A story's stage.
struct Stage {
    seeded: Seeded,
    folder: tempfile::TempDir,
    sidecar: Sidecar,
    relay: Relay,
    received: Arc<Received>,
    cores: Vec<Core>,
    /// What was to be seen after the last commit.
    visible: Tally,
}

impl Stage {
    fn set(seed: u64) -> Self {
        let mut seeded = Seeded(seed);
        let folder = tempfile::Builder::new().prefix("cx").tempdir_in("/dev/shm").expect("memory takes a folder");
        let received = Arc::new(Received::default());
        let sidecar = Sidecar::start(folder.path(), &received, &mut seeded);
        let relay = Relay::new(seeded.below(u64::MAX), sidecar.door());
        let cores = (0..1 + seeded.below(3)).map(|_| Core::start(&mut seeded, relay.connect())).collect();
        Self { seeded, folder, sidecar, relay, received, cores, visible: Tally::default() }
    }

    async fn play(mut self) -> (u64, u64, u64) {
        for _ in 0..STEPS {
            let which = self.seeded.below(self.cores.len() as u64) as usize;
            match self.seeded.below(20) {
                0..=5 => self.cores[which].load(&mut self.seeded),
                6..=9 => self.cores[which].stepped.drain(),
                10..=12 => self.cores[which].snapshot(),
                13..=16 => self.commit(),
                17 if self.seeded.below(4) == 0 => self.restart(),
                17 => self.relay.cut(),
                _ => tokio::time::sleep(Duration::from_micros(self.seeded.below(3_000))).await,
            }
            for _ in 0..self.seeded.below(12) {
                tokio::task::yield_now().await;
            }
        }
        self.end().await
    }

    fn commit(&mut self) {
        self.sidecar.commit();
        let visible = self.sidecar.visible();
        // Vacancies are the only number that may fall, and stand behind these.
        for slot in 0..SENT + KINDS {
            assert!(visible[slot] >= self.visible[slot], "slot {slot} fell to {}", visible[slot]);
        }
        self.visible = visible;
        let seen = lock(self.relay.seen());
        for (kind, label) in [(EMITTED, "emitted"), (SENT, "sent")] {
            let acknowledged = seen.cores.values().filter_map(|core| {
                let last = core.acknowledged.iter().max()?;
                let accounting = &core.batches[last].accounting;
                Some(if kind == SENT { accounting.sent[SPAN] } else { accounting.emitted[SPAN] })
            });
            let least: u64 = acknowledged.sum();
            assert!(
                self.visible[kind + SPAN] >= least,
                "{label}: acknowledged are {least}, to be seen {}",
                self.visible[kind + SPAN]
            );
        }
    }

    /// Kills the sidecar, committed or not, and starts one with what is on disk.
    fn restart(&mut self) {
        self.sidecar.kill();
        self.sidecar = Sidecar::start(self.folder.path(), &self.received, &mut self.seeded);
        self.relay.lead_to(self.sidecar.door());
        for slot in 0..SENT + KINDS {
            assert_eq!(self.sidecar.visible()[slot], self.visible[slot], "slot {slot} after a restart");
        }
    }

    /// A calm end: everything is acknowledged and compared.
    async fn end(mut self) -> (u64, u64, u64) {
        self.relay.calm();
        self.cores.iter_mut().for_each(|core| core.stepped.close(Duration::from_secs(30)));
        let waiting = std::time::Instant::now();
        while self.cores.iter().any(|core| !core.channel.is_finished()) {
            assert!(waiting.elapsed() < Duration::from_secs(20), "a core is not acknowledged");
            self.commit();
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        self.commit();
        let spans: u64 = self.cores.iter().map(|core| core.spans).sum();
        for cell in 0..CELLS {
            let truth: u64 = self.cores.iter().map(|core| core.cells[cell]).sum();
            assert_eq!(self.visible[cell], truth, "cell {cell}");
        }
        let dropped: u64 = self.visible.range(CORE_DROPPED + SPAN * REASONS, REASONS).iter().sum();
        let sent = self.visible[SENT + SPAN];
        assert_eq!((self.visible[EMITTED + SPAN], sent + dropped), (spans, spans));
        assert_eq!(self.visible[REFUSED + SPAN], 0, "nothing was wrong with a batch");
        assert!(self.cores.iter().all(|core| core.stepped.unsent_records() == 0));
        let seen = lock(self.relay.seen());
        seen.cores.values().for_each(SeenCore::check);
        // Every record in a batch was passed on, those of batches taken by two lives of the sidecar twice.
        let passed_on = self.received.numbers();
        assert_eq!(passed_on.values().map(|numbers| numbers.len() as u64).sum::<u64>(), sent);
        for (epoch, core) in &seen.cores {
            let told: HashSet<u64> = core.batches.values().flat_map(|batch| batch.spans.iter().copied()).collect();
            assert_eq!(passed_on.get(epoch).cloned().unwrap_or_default(), told);
        }
        (seen.cuts, seen.repeated, seen.swapped)
    }
}

impl SeenCore {
    /// At every acknowledged batch: emitted = received + dropped + in flight. What was received is counted in the batches up
    /// to it; what was in flight came in later ones, or was dropped later.
    fn check(&self) {
        assert!(!self.acknowledged.is_empty());
        let accounting = |sequence: &u64| {
            let accounting = &self.batches[sequence].accounting;
            let dropped: u64 = accounting.dropped[SPAN * REASONS..][..REASONS].iter().sum();
            (accounting.emitted[SPAN], accounting.sent[SPAN], dropped)
        };
        let end = self.batches.keys().max().map(accounting).unwrap_or_default();
        let mut exact = 0;
        for last in &self.acknowledged {
            let (emitted, sent, dropped) = accounting(last);
            let spans = |when: &dyn Fn(&u64) -> bool| {
                let batches = self.batches.iter().filter(|(sequence, _)| when(sequence));
                batches.flat_map(|(_, batch)| &batch.spans).filter(|number| **number < emitted).count() as u64
            };
            let (received, in_flight) = (spans(&|sequence| sequence <= last), spans(&|sequence| sequence > last));
            assert_eq!(received, sent, "batch {last}");
            let told = received + dropped + in_flight;
            let later = end.2 - dropped;
            assert!(
                (told..=told + later).contains(&emitted),
                "batch {last}: {emitted} of {received} {dropped} {in_flight}"
            );
            exact += u64::from(emitted == told);
        }
        // Without a drop behind a snapshot every one is.
        assert!(exact > 0 && end.0 == end.1 + end.2);
    }
}

/// Says which seed it was, should its story end badly.
struct Name(u64);

impl Drop for Name {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was the story of seed {}", self.0);
        }
    }
}

#[test]
fn whatever_the_wire_and_the_sidecar_do_everything_is_counted_once() {
    let tell = |seeds: std::ops::Range<u64>| {
        let mut total = [0; 3];
        for seed in seeds {
            let _name = Name(seed);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            // Channels and servers are spawned as the stage is set.
            let (cuts, repeated, swapped) = runtime.block_on(async { Stage::set(seed).play().await });
            total = [total[0] + cuts, total[1] + repeated, total[2] + swapped];
        }
        total
    };
    let halves = std::thread::scope(|scope| {
        [0..SEEDS / 2, SEEDS / 2..SEEDS].map(|seeds| scope.spawn(|| tell(seeds))).map(|half| half.join())
    });
    let [one, two] = halves.map(|half| half.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    let [cuts, repeated, swapped] = [0, 1, 2].map(|i| one[i] + two[i]);
    assert!(
        cuts > SEEDS && repeated > SEEDS && swapped > SEEDS / 4,
        "{cuts} cuts, {repeated} twice, {swapped} swapped"
    );
}
