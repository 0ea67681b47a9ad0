//! Isolation: does a search slow down when telemetry's other end is broken?
//!
//! `make bench-isolation`. For each fault, interleaved pairs of runs: telemetry off, telemetry on with the fault. The median of the
//! throughput ratios must have a 95 % upper bound of at most 1.03. The sidecar is the real program, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use bench_telemetry::measure::{Counting, allocations, median_and_upper_bound, percentile, thread_cpu, waits};
use bench_telemetry::ours::Ours;
use bench_telemetry::sink::{self, Manner};
use bench_telemetry::work::{QUERIES, Work, search};
use bench_telemetry::{Off, Reporter};
use conexus_proto::facts::DropReason;
use conexusd::search::SearchEngine;
use conexusd::telemetry::{Telemetry, TelemetryOptions};
use rustix::process::{Pid, Signal, kill_process};
use tracing_subscriber::layer::SubscriberExt;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PAIRS: usize = 24;
const REQUESTS: usize = 96;
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
    println!("{PAIRS} interleaved pairs of {REQUESTS} searches a fault; the ratio is time with telemetry / time without.\n");
    println!(
        "| fault | median ratio | 95 % upper bound | p50 | p99 | p99.9 | CPU/request | waits | reads and writes | allocations/request | memory | dropped |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|");
    let mut worst = 0.0_f64;
    for (fault, name) in FAULTS {
        worst = worst.max(measure(&program, &work, fault, name)?);
    }
    println!("\nThe worst upper bound is {worst:.3}; at most {LIMIT} is wanted.");
    anyhow::ensure!(worst <= LIMIT, "a fault slows searches down");
    Ok(())
}

fn measure(program: &Path, work: &Work, fault: Fault, name: &str) -> anyhow::Result<f64> {
    let folder = tempfile::Builder::new().prefix("cx").tempdir_in("/dev/shm")?;
    let socket = folder.path().join("run/t.sock");
    let mut sidecar = Sidecar::start(program, folder.path(), &socket, fault)?;
    let options = TelemetryOptions { socket: Some(socket), serving: true, ..TelemetryOptions::default() };
    let (telemetry, guard) = Telemetry::start(options)?;
    sidecar.settle(&telemetry);
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(telemetry.layer()));
    let ours = Ours("on", telemetry.clone());
    let (off, on) = (work.engine(Telemetry::detached()), work.engine(telemetry.clone()));
    let (mut ratios, mut wall, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    let (mut waited, mut called, mut allocated) = (0, 0, 0.0);
    for pair in 0..=PAIRS {
        sidecar.disturb(program)?;
        // The order within a pair changes, so that what drifts favours nobody.
        let mut runs = [Run::default(), Run::default()];
        for which in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
            runs[which] = match which {
                0 => run(&Off, &off),
                _ => tracing::dispatcher::with_default(&dispatch, || run(&ours, &on)),
            };
        }
        let [without, with] = runs;
        if pair > 0 {
            ratios.push(with.total / without.total);
            cpu.push((with.cpu - without.cpu) / REQUESTS as f64);
            wall.extend(with.wall);
            waited += with.waits as i64 - without.waits as i64;
            called += with.calls as i64 - without.calls as i64;
            allocated += (with.allocations as f64 - without.allocations as f64) / REQUESTS as f64;
        }
    }
    let (median, bound) = median_and_upper_bound(&ratios);
    let at = [0.5, 0.99, 0.999].map(|share| format!("{:.0} µs", percentile(&mut wall, share) / 1e3));
    println!(
        "| {name} | {median:.3} | {bound:.3} | {} | {} | {} | {:+.2} µs | {waited:+} | {called:+} | {:+.2} | {} MB | {} |",
        at[0],
        at[1],
        at[2],
        percentile(&mut cpu, 0.5) / 1e3,
        allocated / PAIRS as f64,
        resident() >> 20,
        dropped(&telemetry)
    );
    sidecar.end();
    guard.shutdown(Duration::from_millis(500));
    Ok(bound)
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
    child: Option<Child>,
}

impl Sidecar {
    fn start(program: &Path, folder: &Path, socket: &Path, fault: Fault) -> anyhow::Result<Self> {
        let settings = match fault {
            Fault::Otlp(manner) => vec![
                "observability.tracing.enabled=true".into(),
                format!("observability.tracing.endpoint=http://{}", sink::start(manner)?),
            ],
            Fault::Sentry(manner) => vec![
                "observability.sentry.enabled=true".into(),
                format!("observability.sentry.dsn=http://key@{}/1", sink::start(manner)?),
            ],
            _ => Vec::new(),
        };
        let mut sidecar = Self { fault, folder: folder.into(), socket: socket.into(), settings, child: None };
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
            "observability.metrics.port=0".into(),
        ];
        for setting in own.iter().chain(&self.settings) {
            command.args(["--set", setting]);
        }
        self.child = Some(command.arg("run").spawn()?);
        Ok(())
    }

    /// Waits until the core is connected, then lets the fault happen.
    fn settle(&mut self, telemetry: &Telemetry) {
        let started = Instant::now();
        while self.fault != Fault::Absent && !telemetry.health().connected && started.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        match self.fault {
            Fault::Stopped => self.signal(Signal::STOP),
            Fault::Killed => self.signal(Signal::KILL),
            Fault::DiskFull => self.fill_disk(),
            _ => {}
        }
    }

    fn disturb(&mut self, program: &Path) -> anyhow::Result<()> {
        if self.fault == Fault::Restarting {
            self.end();
            self.spawn(program)?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(child.id() as i32));
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }

    fn fill_disk(&self) {
        use rustix::process::{Resource, Rlimit, prlimit};
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(child.id() as i32));
        let _ = prlimit(pid, Resource::Fsize, Rlimit { current: Some(1000), maximum: None });
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
