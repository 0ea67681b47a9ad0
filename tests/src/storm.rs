//! Storm: cores under load, killed and restarted with their sidecar, against what the load generator knows.
//!
//! The generator tells each core what to count, so it knows every number. What it has sent may have been counted, what was
//! answered must have been: `answered <= counted <= sent` for a core that was killed, equality for every other, for each
//! method, status and latency bucket. The figures are read at `/metrics` and in a real Prometheus, which also says whether
//! any of them ever fell.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conexus_proto::facts::{Addition, BUCKET_BOUNDS_NANOS, BUCKETS, CELLS, Fact, Label, Method, Status};
use rustix::process::Signal;

use crate::cable::Cable;
use crate::home::Home;
use crate::prometheus::Prometheus;
use crate::stack::{Sidecar, sum};
use crate::{eventually, free_port};

/// Bytes of one request to a core.
pub const FRAME_BYTES: usize = 16;
/// Requests that a core may have before it answers.
const WINDOW: u64 = 400;
const SOON: Duration = Duration::from_secs(60);

/// What a core is to count.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What was asked for.
    pub method: Method,
    /// How it ended.
    pub status: Status,
    /// How long it took.
    pub nanos: u64,
    /// Spans of its trace; 0 for none.
    pub spans: u64,
}

impl Request {
    /// The request as a core reads it.
    pub fn encode(&self) -> [u8; FRAME_BYTES] {
        let mut frame = [0; FRAME_BYTES];
        (frame[0], frame[1], frame[2]) = (self.method as u8, self.status as u8, self.spans as u8);
        frame[8..].copy_from_slice(&self.nanos.to_le_bytes());
        frame
    }

    /// The request in a frame.
    pub fn decode(frame: &[u8; FRAME_BYTES]) -> Self {
        Self {
            method: Method::ALL[frame[0] as usize],
            status: Status::ALL[frame[1] as usize],
            spans: frame[2].into(),
            nanos: u64::from_le_bytes(frame[8..].try_into().expect("eight bytes")),
        }
    }

    /// The fact at its start.
    pub fn started(&self) -> Fact {
        Fact::RequestStarted { method: self.method }
    }

    /// The fact at its end.
    pub fn finished(&self) -> Fact {
        Fact::RequestFinished { method: self.method, status: self.status, nanos: self.nanos }
    }
}

/// A generator of numbers that are the same in every run (splitmix64).
#[derive(Clone, Debug)]
pub struct Seeded(pub u64);

impl Seeded {
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// Any request; half of the durations stand at the edge of a bucket.
    pub fn request(&mut self, spans: u64) -> Request {
        let edge = BUCKET_BOUNDS_NANOS[self.below(BUCKET_BOUNDS_NANOS.len() as u64) as usize];
        let nanos = if self.below(2) == 0 { edge - 1 + self.below(3) } else { self.below(12_000_000_000) };
        let method = Method::ALL[self.below(Method::ALL.len() as u64) as usize];
        let status = Status::ALL[self.below(2) as usize];
        Request { method, status, nanos, spans: self.below(spans + 1) }
    }
}

/// Lower and upper bounds of every cell of the facts, and of the records emitted.
#[derive(Clone, Debug)]
pub struct Truth {
    answered: Vec<u64>,
    sent: Vec<u64>,
    /// Spans that were emitted for sure, and that may have been.
    pub spans: (u64, u64),
}

impl Default for Truth {
    fn default() -> Self {
        Self { answered: vec![0; CELLS], sent: vec![0; CELLS], spans: (0, 0) }
    }
}

impl Truth {
    fn add(&mut self, requests: &[Request], answered: usize) {
        for (i, request) in requests.iter().enumerate() {
            request.finished().addition().add_to(&mut self.sent);
            self.spans.1 += request.spans;
            if i < answered {
                request.finished().addition().add_to(&mut self.answered);
                self.spans.0 += request.spans;
            }
        }
    }

    /// Requests answered, and requests sent.
    pub fn requests(&self) -> (u64, u64) {
        let total = |cells: &[u64]| series(cells).values().map(|(buckets, _)| buckets.iter().sum::<u64>()).sum();
        (total(&self.answered), total(&self.sent))
    }

    /// Compares with what `value` says of a metric and its labels: the first difference, if there is one.
    pub fn difference(&self, mut value: impl FnMut(&str, &[(&str, &str)]) -> Option<f64>) -> Option<String> {
        let (low, high) = (series(&self.answered), series(&self.sent));
        let mut check = |metric: &str, labels: &[(&str, &str)], low: f64, high: f64| {
            let found = value(metric, labels);
            let fits = found.is_some_and(|found| (low - 1e-6..=high + 1e-6).contains(&found));
            (!fits).then(|| format!("{metric}{labels:?} is {found:?}, not from {low} to {high}"))
        };
        for method in Method::ALL {
            let name = method.as_str();
            let mut buckets = ([0; BUCKETS], [0; BUCKETS]);
            let mut sums = (0, 0);
            for status in Status::ALL {
                let key = (*method as usize, *status as usize);
                let (low, high) = (&low[&key], &high[&key]);
                let labels = [("method", name), ("status", status.as_str())];
                let counts = (low.0.iter().sum::<u64>(), high.0.iter().sum::<u64>());
                let wrong = check("conexus_mcp_requests_total", &labels, counts.0 as f64, counts.1 as f64);
                if wrong.is_some() {
                    return wrong;
                }
                for bucket in 0..BUCKETS {
                    buckets.0[bucket] += low.0[bucket];
                    buckets.1[bucket] += high.0[bucket];
                }
                sums = (sums.0 + low.1, sums.1 + high.1);
            }
            let histogram = "conexus_mcp_request_duration_seconds";
            let (mut low, mut high) = (0, 0);
            for bucket in 0..BUCKETS {
                low += buckets.0[bucket];
                high += buckets.1[bucket];
                let le = bound(bucket);
                let labels = [("method", name), ("le", le.as_str())];
                let wrong = check(&format!("{histogram}_bucket"), &labels, low as f64, high as f64);
                if wrong.is_some() {
                    return wrong;
                }
            }
            let seconds = (sums.0 as f64 / 1e9, sums.1 as f64 / 1e9);
            let wrong = check(&format!("{histogram}_sum"), &[("method", name)], seconds.0, seconds.1)
                .or_else(|| check(&format!("{histogram}_count"), &[("method", name)], low as f64, high as f64));
            if wrong.is_some() {
                return wrong;
            }
        }
        None
    }
}

/// Buckets and sum of the durations by method and status.
fn series(cells: &[u64]) -> BTreeMap<(usize, usize), (Vec<u64>, u64)> {
    let mut found = BTreeMap::new();
    for method in Method::ALL {
        for status in Status::ALL {
            let fact = Fact::RequestFinished { method: *method, status: *status, nanos: 0 };
            let Addition::Duration { cell, .. } = fact.addition() else { unreachable!() };
            let buckets = cells[cell + 1..][..BUCKETS].to_vec();
            found.insert((*method as usize, *status as usize), (buckets, cells[cell]));
        }
    }
    found
}

/// A bucket's `le` as Prometheus writes it.
fn bound(bucket: usize) -> String {
    BUCKET_BOUNDS_NANOS.get(bucket).map_or("+Inf".into(), |nanos| format!("{:?}", *nanos as f64 / 1e9))
}

/// A core under load.
#[derive(Debug)]
pub struct LoadCore {
    child: Child,
    input: Option<ChildStdin>,
    requests: Vec<Request>,
    answered: Arc<AtomicU64>,
    reader: Option<JoinHandle<Option<u8>>>,
}

impl LoadCore {
    /// Starts one that reports to `socket`, with rings of so many cells.
    pub fn start(socket: &Path, ring_records: usize) -> Self {
        let mut command = std::process::Command::new(crate::program("conexus-load-core"));
        command.arg(socket).arg(ring_records.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the core starts");
        let mut output = child.stdout.take().expect("it is piped");
        let answered = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&answered);
        let reader = std::thread::spawn(move || {
            let (mut buffer, mut last) = ([0; 4096], None);
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                let answers = buffer[..read].iter().filter(|byte| **byte == b'.').count();
                last = Some(buffer[read - 1]);
                counted.fetch_add(answers as u64, Ordering::AcqRel);
            }
            last
        });
        let input = child.stdin.take();
        Self { child, input, requests: Vec::new(), answered, reader: Some(reader) }
    }

    /// Sends requests, never more than the window ahead of the answers.
    pub fn load(&mut self, count: u64, spans: u64, seeded: &mut Seeded) {
        for _ in 0..count {
            while self.requests.len() as u64 - self.answered.load(Ordering::Acquire) >= WINDOW {
                std::thread::sleep(Duration::from_micros(200));
            }
            let request = seeded.request(spans);
            self.requests.push(request);
            self.input.as_mut().expect("the core takes requests").write_all(&request.encode()).expect("it reads them");
        }
    }

    /// Kills it in the middle of what it does; adds what is known to `truth`.
    pub fn kill(mut self, truth: &mut Truth) {
        self.child.kill().expect("the core runs until it is killed");
        self.settle(truth);
    }

    /// Ends it in order; whether everything was acknowledged.
    pub fn end(mut self, truth: &mut Truth) -> bool {
        self.input = None;
        let last = self.settle(truth);
        assert_eq!(
            self.answered.load(Ordering::Acquire),
            self.requests.len() as u64,
            "a core that ends has answered all"
        );
        last == Some(b'Y')
    }

    fn settle(&mut self, truth: &mut Truth) -> Option<u8> {
        let last = self.reader.take().expect("it settles once").join().expect("the reader does not panic");
        self.child.wait().expect("it has ended");
        truth.add(&self.requests, self.answered.load(Ordering::Acquire) as usize);
        last
    }
}

impl Drop for LoadCore {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What to do to the processes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Cores at a time.
    pub cores: usize,
    /// Rounds; in each, every core gets load and somebody may be killed.
    pub rounds: usize,
    /// Requests to each core in a round.
    pub requests: u64,
    /// Spans of a request, at most.
    pub spans: u64,
    /// Cells of a ring.
    pub ring_records: usize,
    /// A core is killed in each round.
    pub kill_core: bool,
    /// The sidecar is killed in each round.
    pub kill_sidecar: bool,
    /// The wire between them is cut again and again, in the middle of anything.
    pub cut_wire: bool,
}

/// How a storm went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the load generator knows.
    pub truth: Truth,
    /// Cores killed.
    pub cores_killed: u64,
    /// Sidecars killed.
    pub sidecars_killed: u64,
    /// Times that the wire was cut.
    pub cuts: u64,
    /// Requests counted in the end.
    pub counted: u64,
    /// Spans received and dropped in the end.
    pub received: u64,
    /// Spans dropped in the end.
    pub dropped: u64,
}

/// A sidecar at one place, killed and started again, and a Prometheus that watches it.
#[derive(Debug)]
struct Place {
    home: Home,
    run: tempfile::TempDir,
    port: u16,
}

impl Place {
    fn new() -> Self {
        let run = tempfile::Builder::new().prefix("cx").tempdir_in("/dev/shm").expect("shared memory takes a folder");
        Self { home: Home::new(), run, port: free_port() }
    }

    fn socket(&self) -> PathBuf {
        self.run.path().join("conexus/telemetry.sock")
    }

    fn sidecar(&self) -> Sidecar {
        let mut command = self.home.command("conexus-sidecar");
        command.arg("run").env("XDG_RUNTIME_DIR", self.run.path()).env("CONEXUS_METRICS_PORT", self.port.to_string());
        Sidecar::start_command(command)
    }
}

/// Runs a storm and checks everything that can be checked; panics with what differs.
pub fn run(plan: Plan) -> Outcome {
    let place = Place::new();
    let mut sidecar = place.sidecar();
    let prometheus = Prometheus::start(&place.home, std::slice::from_ref(&sidecar.address));
    let wire = plan.cut_wire.then(|| {
        let path = place.run.path().join("wire.sock");
        Cable::start(&path, &place.socket(), plan.rounds as u64)
    });
    let socket = if plan.cut_wire { place.run.path().join("wire.sock") } else { place.socket() };
    let (mut outcome, mut seeded) = (Outcome::default(), Seeded(plan.rounds as u64 * 31 + plan.cores as u64));
    let mut cores: Vec<LoadCore> = (0..plan.cores).map(|_| LoadCore::start(&socket, plan.ring_records)).collect();
    for _ in 0..plan.rounds {
        cores.iter_mut().for_each(|core| core.load(plan.requests, plan.spans, &mut seeded));
        std::thread::sleep(Duration::from_millis(seeded.below(60)));
        if plan.kill_core {
            let victim = seeded.below(plan.cores as u64) as usize;
            cores.swap_remove(victim).kill(&mut outcome.truth);
            outcome.cores_killed += 1;
            cores.push(LoadCore::start(&socket, plan.ring_records));
        }
        if plan.kill_sidecar {
            sidecar.process.signal(Signal::KILL);
            outcome.sidecars_killed += 1;
            cores.iter_mut().for_each(|core| core.load(plan.requests / 4, plan.spans, &mut seeded));
            sidecar.process.kill();
            sidecar = place.sidecar();
        }
    }
    if let Some(wire) = &wire {
        wire.calm();
        outcome.cuts = wire.cuts();
    }
    let all_acknowledged = cores.into_iter().all(|core| core.end(&mut outcome.truth));
    assert!(all_acknowledged, "a core that ended in order was not acknowledged\n{}", sidecar.process.log());
    settle(&sidecar, &prometheus, &mut outcome);
    outcome
}

/// A metric's value in a text of metrics.
fn value(text: &str, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    sum(text, metric, &labels.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Waits until everything is counted and compares it.
fn settle(sidecar: &Sidecar, prometheus: &Prometheus, outcome: &mut Outcome) {
    let crashes = outcome.cores_killed as f64;
    // A crash is told five seconds after the death, so not all of them have to be here yet. All spans of a dead core may have
    // come before its last counts are read, so those are waited for too; what is still missing then is told below.
    let began = Instant::now();
    eventually("the dead are buried", SOON, || {
        let text = sidecar.metrics();
        let counted = |metric: &str, labels: &[(&str, &str)]| value(&text, metric, labels);
        let is_late = outcome.truth.difference(counted).is_some() && began.elapsed() < SOON / 2;
        let spans = |metric: &str| sum(&text, metric, &["kind=\"span\""]).unwrap_or_default();
        outcome.received = spans("conexus_telemetry_records_received_total") as u64;
        outcome.dropped = spans("conexus_telemetry_records_dropped_total") as u64;
        outcome.counted = sum(&text, "conexus_mcp_requests_total", &[]).unwrap_or_default() as u64;
        let told = outcome.received + outcome.dropped;
        let crashed = sum(&text, "conexus_core_crashes_total", &[]).unwrap_or_default();
        let complete = (outcome.truth.spans.0..=outcome.truth.spans.1).contains(&told);
        (complete && !is_late && crashed <= crashes && sum(&text, "conexus_up", &[]) == Some(0.0)).then_some(())
    });
    let text = sidecar.metrics();
    if let Some(difference) = outcome.truth.difference(|metric, labels| value(&text, metric, labels)) {
        panic!("at /metrics: {difference}");
    }
    // What was true at /metrics is true in Prometheus once it has looked again.
    eventually("Prometheus has the last values", SOON, || {
        let all = stored(prometheus);
        outcome.truth.difference(|metric, labels| look_up(&all, metric, labels)).is_none().then_some(())
    });
    for metric in [
        "conexus_mcp_requests_total",
        "conexus_mcp_request_duration_seconds_bucket",
        "conexus_mcp_request_duration_seconds_sum",
        "conexus_telemetry_records_received_total",
        "conexus_telemetry_records_dropped_total",
    ] {
        let resets = prometheus.value(&format!("sum(resets({metric}[1h]))"));
        assert_eq!(resets, Some(0.0), "{metric} went backwards");
    }
}

type Stored = Vec<(String, BTreeMap<String, String>, f64)>;

fn stored(prometheus: &Prometheus) -> Stored {
    let result = prometheus.query("{__name__=~\"conexus_mcp_requests_total|conexus_mcp_request_duration_seconds_.+\"}");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let parsed = result.iter().filter_map(|series| {
        let metric = series["metric"].as_object()?;
        let labels = metric.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        Some((text(&series["metric"]["__name__"]), labels, text(&series["value"][1]).parse().ok()?))
    });
    parsed.collect()
}

fn look_up(stored: &Stored, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |(name, found, _): &&(String, BTreeMap<String, String>, f64)| {
        name == metric && labels.iter().all(|(label, value)| found.get(*label).is_some_and(|found| found == value))
    };
    stored.iter().find(fits).map(|(_, _, value)| *value)
}

/// How many values [`Truth::difference`] compares.
pub fn compared() -> usize {
    Method::VALUES.len() * (Status::VALUES.len() + BUCKETS + 2)
}
