//! Isolation: does a search slow down when telemetry's other end is broken?
//!
//! `make bench-isolation`. For each fault, interleaved pairs of runs: telemetry off, telemetry on with the fault. The median of the
//! throughput ratios must have a 95 % upper bound of at most 1.03. The sidecar is the real program, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use bench_speed::measure::{Counting, allocations, median_and_upper_bound, percentile, thread_cpu, waits};
use bench_speed::ours::Ours;
use bench_speed::sink::{self, Manner, Sink};
use bench_speed::work::{QUERIES, Work, search};
use bench_speed::{Off, Reporter};
use conexus_proto::facts::{DropReason, ErrorType};
use conexusd::search::SearchEngine;
use conexusd::telemetry::{ErrorReport, Telemetry, TelemetryOptions};
use rustix::process::{Pid, Signal, kill_process};
use tracing_subscriber::layer::SubscriberExt;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PAIRS: usize = 120;
const REQUESTS: usize = 32;
/// Pairs from one restart of the sidecar to the next.
const RESTART_EVERY: usize = 4;
/// Bytes of unsent records, little enough for a fault to fill.
const UNSENT_MAX: usize = 2 << 20;
const LIMIT: f64 = 1.03;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Absent,
    Stopped,
    Killed,
    Restarting,
    DiskFull,
    Otlp(Manner),
    Sentry(Manner),
}

const FAULTS: [(Fault, &str); 14] = [
    (Fault::None, "none: the sidecar works"),
    (Fault::Absent, "no sidecar"),
    (Fault::Stopped, "sidecar stopped (SIGSTOP)"),
    (Fault::Killed, "sidecar killed, socket left"),
    (Fault::Restarting, "sidecar killed and started again in a loop"),
    (Fault::DiskFull, "sidecar's disk full"),
    (Fault::Otlp(Manner::Silent), "OTLP accepts and never answers"),
    (Fault::Otlp(Manner::Fails), "OTLP answers 500"),
    (Fault::Otlp(Manner::Slow), "OTLP answers after 2 s"),
    (Fault::Otlp(Manner::BlackHole), "OTLP is a black hole"),
    (Fault::Sentry(Manner::Silent), "Sentry accepts and never answers"),
    (Fault::Sentry(Manner::Fails), "Sentry answers 500"),
    (Fault::Sentry(Manner::Slow), "Sentry answers after 2 s"),
    (Fault::Sentry(Manner::BlackHole), "Sentry is a black hole"),
];

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the repository")?;
    let program = std::env::args_os().nth(1).map(PathBuf::from).context("the first argument is conexus-sidecar")?;
    let work = Work::index(&root.join("conexusd/src"))?;
    println!(
        "{PAIRS} interleaved pairs of {REQUESTS} searches a fault. Ratio: time with telemetry and the fault / time without telemetry. Waits, reads and writes, \
         allocations and CPU: of the thread that searches, more with telemetry than without; the ratio of CPU times is what a busy machine disturbs least. Unsent records may take {} MiB; ten errors a second are reported beside the searches.\n",
        UNSENT_MAX >> 20
    );
    println!(
        "| fault | median ratio | 95 % upper bound | p50 with (without) | p99 | p99.9 | CPU/request, ratio (upper bound) | waits | reads, writes | allocations/request | core's memory, growth | all acknowledged | dropped |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---|");
    let mut worst = 0.0_f64;
    for (fault, name) in FAULTS {
        worst = worst.max(measure(&program, &work, fault, name)?);
    }
    println!(
        "\nThe worst upper bound is {worst:.3}; the bar, at most {LIMIT}, is {}.",
        if worst <= LIMIT { "met" } else { "**missed**" }
    );
    anyhow::ensure!(worst <= LIMIT, "a fault slows searches down");
    Ok(())
}

fn measure(program: &Path, work: &Work, fault: Fault, name: &str) -> anyhow::Result<f64> {
    let folder = tempfile::Builder::new().prefix("cx").tempdir_in("/dev/shm")?;
    let socket = folder.path().join("run/t.sock");
    let mut sidecar = Sidecar::start(program, folder.path(), &socket, fault)?;
    let options = TelemetryOptions {
        socket: Some(socket),
        serving: true,
        unsent_max_bytes: UNSENT_MAX,
        ..TelemetryOptions::default()
    };
    let (telemetry, guard) = Telemetry::start(options)?;
    sidecar.settle(&telemetry)?;
    let errors = Errors::start(&telemetry);
    let pairs = run_pairs(program, work, &mut sidecar, &telemetry)?;
    drop(errors);
    let grown = resident() as i64 - pairs.resident as i64;
    let dropped = dropped(&telemetry);
    let acknowledged = guard.shutdown(Duration::from_secs(3)).acknowledged;
    sidecar.check(acknowledged)?;
    sidecar.end();
    Ok(pairs.print(name, grown, acknowledged, &dropped))
}

fn run_pairs(program: &Path, work: &Work, sidecar: &mut Sidecar, telemetry: &Telemetry) -> anyhow::Result<Pairs> {
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(telemetry.layer()));
    let ours = Ours("on", telemetry.clone());
    let (off, on) = (work.engine(Telemetry::detached()), work.engine(telemetry.clone()));
    let mut pairs = Pairs::default();
    for pair in 0..=PAIRS {
        if pair % RESTART_EVERY == 0 {
            sidecar.disturb(program)?;
        }
        if pair == 1 {
            // The first pair opened tables, rings and caches.
            pairs.resident = resident();
        }
        // The order within a pair changes, so that what drifts favours nobody.
        let mut runs = [Run::default(), Run::default()];
        for which in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
            runs[which] = match which {
                0 => run(&Off, &off),
                _ => tracing::dispatcher::with_default(&dispatch, || run(&ours, &on)),
            };
        }
        if pair > 0 {
            pairs.add(runs);
        }
    }
    Ok(pairs)
}

/// Something to report to Sentry while searches are measured, with telemetry and without.
struct Errors {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Errors {
    fn start(telemetry: &Telemetry) -> Self {
        let (stop, telemetry) = (Arc::new(AtomicBool::new(false)), telemetry.clone());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                telemetry.error(ErrorReport::new(ErrorType::Tool, format!("failure number {number}")));
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the pairs of one fault differ by.
#[derive(Default)]
struct Pairs {
    ratios: Vec<f64>,
    cpu_ratios: Vec<f64>,
    cpu: Vec<f64>,
    wall: [Vec<f64>; 2],
    waits: i64,
    calls: i64,
    allocations: f64,
    /// Bytes of this process before the first pair that counts.
    resident: u64,
}

impl Pairs {
    fn add(&mut self, [without, with]: [Run; 2]) {
        self.ratios.push(with.total / without.total);
        self.cpu_ratios.push(with.cpu / without.cpu);
        self.cpu.push((with.cpu - without.cpu) / REQUESTS as f64);
        self.waits += with.waits as i64 - without.waits as i64;
        self.calls += with.calls as i64 - without.calls as i64;
        self.allocations += (with.allocations as f64 - without.allocations as f64) / REQUESTS as f64;
        self.wall[0].extend(without.wall);
        self.wall[1].extend(with.wall);
    }

    /// Prints the fault's row; returns the upper bound.
    fn print(mut self, name: &str, grown: i64, acknowledged: bool, dropped: &str) -> f64 {
        let (median, bound) = median_and_upper_bound(&self.ratios);
        let (cpu, cpu_bound) = median_and_upper_bound(&self.cpu_ratios);
        let mut at = |share| {
            let [without, with] = [0, 1].map(|which| percentile(&mut self.wall[which], share) / 1e3);
            format!("{with:.0} ({without:.0}) µs")
        };
        println!(
            "| {name} | {median:.3} | {bound:.3} | {} | {} | {} | {:+.1} µs, {cpu:.3} ({cpu_bound:.3}) | {:+} | {:+} | {:+.2} | {:+.1} MiB | {} | {dropped} |",
            at(0.5),
            at(0.99),
            at(0.999),
            percentile(&mut self.cpu, 0.5) / 1e3,
            self.waits,
            self.calls,
            self.allocations / PAIRS as f64,
            grown as f64 / f64::from(1 << 20),
            if acknowledged { "yes" } else { "no" },
        );
        bound
    }
}

#[derive(Default)]
struct Run {
    total: f64,
    cpu: f64,
    wall: Vec<f64>,
    waits: u64,
    calls: u64,
    allocations: u64,
}

fn run(reporter: &dyn Reporter, engine: &SearchEngine) -> Run {
    let source = Telemetry::detached();
    let mut wall = Vec::with_capacity(REQUESTS);
    let ((waited, called), allocated, cpu, started) = (waits(), allocations(), thread_cpu(), Instant::now());
    for i in 0..REQUESTS {
        let query = QUERIES[i % QUERIES.len()];
        let began = Instant::now();
        reporter.request(query, &mut || search(engine, query, &mut source.trace("work")));
        wall.push(began.elapsed().as_nanos() as f64);
    }
    let (total, cpu) = (started.elapsed().as_nanos() as f64, (thread_cpu() - cpu).as_nanos() as f64);
    let (allocations, (waits, calls)) = (allocations() - allocated, waits());
    Run { total, cpu, wall, waits: waits - waited, calls: calls - called, allocations }
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn dropped(telemetry: &Telemetry) -> String {
    let accounts = telemetry.accounts();
    let reasons = DropReason::ALL.len();
    let by_reason = DropReason::ALL.iter().filter_map(|reason| {
        let count: u64 = accounts.dropped.chunks(reasons).map(|kind| kind[*reason as usize]).sum();
        (count > 0).then(|| format!("{count} {reason}"))
    });
    let text: Vec<_> = by_reason.collect();
    if text.is_empty() { "0".into() } else { text.join(", ") }
}

/// The real sidecar and what is wrong with it.
struct Sidecar {
    fault: Fault,
    folder: PathBuf,
    socket: PathBuf,
    settings: Vec<String>,
    sink: Option<Sink>,
    child: Option<Child>,
}

impl Sidecar {
    fn start(program: &Path, folder: &Path, socket: &Path, fault: Fault) -> anyhow::Result<Self> {
        let sink = match fault {
            Fault::Otlp(manner) | Fault::Sentry(manner) => Some(sink::start(manner)?),
            _ => None,
        };
        let address = sink.as_ref().map_or("", |sink| &sink.address);
        let settings = match fault {
            Fault::Otlp(_) => vec![
                "observability.tracing.enabled=true".into(),
                format!("observability.tracing.endpoint=http://{address}"),
            ],
            Fault::Sentry(_) => vec![
                "observability.sentry.enabled=true".into(),
                format!("observability.sentry.dsn=http://key@{address}/1"),
            ],
            _ => Vec::new(),
        };
        let mut sidecar = Self { fault, folder: folder.into(), socket: socket.into(), settings, sink, child: None };
        if fault != Fault::Absent {
            sidecar.spawn(program)?;
        }
        Ok(sidecar)
    }

    fn spawn(&mut self, program: &Path) -> anyhow::Result<()> {
        // A write over the limit of a file's size fails instead of ending the program.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(program);
        command.env_clear().env("HOME", &self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let own = [
            format!("observability.telemetry.socket={}", self.socket.display()),
            format!("observability.telemetry.state_dir={}", self.folder.join("state").display()),
            format!("observability.log_dir={}", self.folder.join("log").display()),
            "observability.metrics.port=0".into(),
            "observability.debug.enabled=false".into(),
        ];
        for setting in own.iter().chain(&self.settings) {
            command.args(["--set", setting]);
        }
        self.child = Some(command.arg("run").spawn()?);
        Ok(())
    }

    /// Waits until the core is connected, then lets the fault happen.
    fn settle(&mut self, telemetry: &Telemetry) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.fault != Fault::Absent && !telemetry.health().connected {
            anyhow::ensure!(started.elapsed() < Duration::from_secs(20), "the sidecar did not appear");
            std::thread::sleep(Duration::from_millis(20));
        }
        match self.fault {
            Fault::Stopped => self.signal(Signal::STOP)?,
            Fault::Killed => self.signal(Signal::KILL)?,
            Fault::DiskFull => self.fill_disk()?,
            _ => {}
        }
        Ok(())
    }

    /// Whether the fault was one: a fault that did not happen slows nobody down.
    fn check(&self, acknowledged: bool) -> anyhow::Result<()> {
        let deaf = matches!(self.fault, Fault::Absent | Fault::Stopped | Fault::Killed | Fault::DiskFull);
        anyhow::ensure!(acknowledged != deaf, "{:?}: everything acknowledged is {acknowledged}", self.fault);
        if let (Some(sink), Fault::Otlp(manner) | Fault::Sentry(manner)) = (&self.sink, self.fault) {
            let asked = sink.requests() > 0;
            anyhow::ensure!(asked == (manner != Manner::BlackHole), "{:?}: asked is {asked}", self.fault);
        }
        Ok(())
    }

    fn disturb(&mut self, program: &Path) -> anyhow::Result<()> {
        if self.fault == Fault::Restarting {
            self.end();
            self.spawn(program)?;
        }
        Ok(())
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        self.child.as_ref().and_then(|child| Pid::from_raw(child.id() as i32)).context("the sidecar runs")
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// From now on every write behind a file's first 1,000 bytes fails.
    fn fill_disk(&self) -> anyhow::Result<()> {
        use rustix::process::{Resource, Rlimit, prlimit};
        prlimit(Some(self.pid()?), Resource::Fsize, Rlimit { current: Some(1000), maximum: None })?;
        Ok(())
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.end();
    }
}
