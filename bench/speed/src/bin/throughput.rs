//! Throughput: what do records and snapshots cost the sidecar, and what does the drain cost the core?
//!
//! `make bench-telemetry`. The sidecar is the real program behind its real socket. CPU times are the kernel's
//! (`schedstat`), of all threads of the sidecar and of the core's drain and channel threads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench_speed::measure::percentile;
use bench_speed::sink::{self, Manner, Sink};
use conexus_proto::PROTOCOL_VERSION;
use conexus_proto::facts::{CELLS, FINGERPRINT};
use conexus_proto::v1::ingest_client::IngestClient;
use conexus_proto::v1::{self, ToSidecar, to_core, to_sidecar};
use conexusd::telemetry::{RootInfo, Telemetry, TelemetryOptions};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const SECONDS: u64 = 5;
/// Peak resident bytes of the sidecar.
const MEMORY_MAX: u64 = 64 << 20;
/// Spans of one trace, as of a search.
const SPANS: u64 = 8;

fn main() -> anyhow::Result<()> {
    let program = std::env::args_os().nth(1).map(PathBuf::from).context("the first argument is conexus-sidecar")?;
    println!(
        "{SECONDS} s each; CPU times of threads are the kernel's. A record is a span with an attribute; traces have {SPANS}.\n"
    );
    println!(
        "| what | rate | sidecar CPU | core's drain thread | core's channel thread | sidecar memory, peak | dropped |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let slow = records(&program, 50_000, false)?;
    let fast = records(&program, 200_000, false)?;
    let exported = records(&program, 50_000, true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let snapshots = runtime.block_on(snapshots(&program))?;
    println!(
        "\nFrom a snapshot of {CELLS} cells to its acknowledgement, which is behind its way to the disk: p50 {:.1} ms, p99 {:.1} ms.\n",
        snapshots.trips[0], snapshots.trips[1]
    );
    let memory = [slow.memory, fast.memory, exported.memory, snapshots.memory].into_iter().max().unwrap_or(0) as f64
        / f64::from(1 << 20);
    bars(&[
        ("sidecar, a record, at most 1 µs", fast.sidecar_micros, "µs", fast.sidecar_micros <= 1.0),
        ("core's drain thread at 50,000 records/s, under 1 %", slow.drain_percent, "%", slow.drain_percent < 1.0),
        ("cells of snapshots, at least 100,000/s", snapshots.cells, "/s", snapshots.cells >= 100_000.0),
        ("sidecar's memory, under 64 MiB", memory, "MiB", memory < MEMORY_MAX as f64 / f64::from(1 << 20)),
    ])
}

fn bars(bars: &[(&str, f64, &str, bool)]) -> anyhow::Result<()> {
    println!("| bar | measured | |");
    println!("|---|---:|---|");
    for (name, value, unit, met) in bars {
        println!("| {name} | {value:.2} {unit} | {} |", if *met { "met" } else { "**missed**" });
    }
    anyhow::ensure!(bars.iter().all(|bar| bar.3), "a bar is missed");
    Ok(())
}

/// What records cost.
struct OfRecords {
    sidecar_micros: f64,
    drain_percent: f64,
    memory: u64,
}

/// What snapshots cost.
struct OfSnapshots {
    cells: f64,
    memory: u64,
    /// Milliseconds from a snapshot to its acknowledgement: p50, p99.
    trips: [f64; 2],
}

/// A core that reports `rate` spans a second.
fn records(program: &Path, rate: u64, exported: bool) -> anyhow::Result<OfRecords> {
    let folder = tempfile::Builder::new().prefix("cx").tempdir_in("/dev/shm")?;
    let sink = exported.then(|| sink::start(Manner::Good)).transpose()?;
    let sidecar = Sidecar::start(program, folder.path(), sink.as_ref())?;
    let options =
        TelemetryOptions { socket: Some(sidecar.socket.clone()), ring_records: 65_536, ..TelemetryOptions::default() };
    let (telemetry, guard) = Telemetry::start(options)?;
    wait(|| telemetry.health().connected)?;
    let (started, before) =
        (Instant::now(), (sidecar.cpu(), thread_cpu("telemetry-drain"), thread_cpu("telemetry-chann")));
    let mut spans = 0;
    while started.elapsed() < Duration::from_secs(SECONDS) {
        while spans < (started.elapsed().as_secs_f64() * rate as f64) as u64 {
            trace(&telemetry);
            spans += SPANS;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let seconds = started.elapsed().as_secs_f64();
    let (drain, channel) = (thread_cpu("telemetry-drain") - before.1, thread_cpu("telemetry-chann") - before.2);
    let report = guard.shutdown(Duration::from_secs(10));
    anyhow::ensure!(report.acknowledged, "the sidecar did not acknowledge everything");
    let cpu = sidecar.cpu() - before.0;
    let taken = spans - telemetry.accounts().dropped_total();
    let (sidecar_micros, drain_percent) = (cpu * 1e6 / taken as f64, drain / seconds * 100.0);
    println!(
        "| spans{} | {:.0}/s | {:.2} µs a record | {:.2} % of a processor | {:.2} % | {} MiB | {} |",
        if exported { ", all exported through OTLP" } else { "" },
        spans as f64 / seconds,
        sidecar_micros,
        drain_percent,
        channel / seconds * 100.0,
        sidecar.memory() >> 20,
        telemetry.accounts().dropped_total()
    );
    Ok(OfRecords { sidecar_micros, drain_percent, memory: sidecar.memory() })
}

fn trace(telemetry: &Telemetry) {
    let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
    let root = trace.root();
    trace.set(root, "query", "where is the session token refreshed");
    (1..SPANS).for_each(|_| {
        let stage = trace.add(root, "stage", root.start(), root.start());
        trace.set(stage, "candidates", 200_usize);
    });
    trace.finish();
}

/// Snapshots of every cell, as fast as they are acknowledged, and then as fast as they are taken.
async fn snapshots(program: &Path) -> anyhow::Result<OfSnapshots> {
    let folder = tempfile::Builder::new().prefix("cx").tempdir_in("/dev/shm")?;
    let sidecar = Sidecar::start(program, folder.path(), None)?;
    let path = sidecar.socket.clone();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://sidecar");
    let mut client = IngestClient::new(endpoint.connect_with_connector(connector).await?);
    let (up, messages) = mpsc::channel(8);
    up.send(ToSidecar { message: Some(to_sidecar::Message::Hello(hello())) }).await?;
    let mut down = client.stream(ReceiverStream::new(messages)).await?.into_inner();
    down.message().await?.context("a welcome")?;
    let (mut trips, mut sequence, before, started) = (Vec::new(), 0, sidecar.cpu(), Instant::now());
    while started.elapsed() < Duration::from_secs(SECONDS) {
        sequence += 1;
        let sent = Instant::now();
        up.send(snapshot(sequence)).await?;
        while acknowledged(&mut down).await? < sequence {}
        trips.push(sent.elapsed().as_nanos() as f64);
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), sidecar.cpu() - before);
    let cells = sequence as f64 * CELLS as f64;
    let one_by_one = cells / seconds;
    println!(
        "| snapshots of {CELLS} cells, each acknowledged before the next | {:.0} cells/s | {:.3} µs a cell | - | - | {} MiB | 0 |",
        cells / seconds,
        cpu * 1e6 / cells,
        sidecar.memory() >> 20
    );
    let (before, started, first) = (sidecar.cpu(), Instant::now(), sequence);
    let pushing = tokio::spawn(async move {
        while started.elapsed() < Duration::from_secs(SECONDS) {
            sequence += 1;
            up.send(snapshot(sequence)).await?;
        }
        anyhow::Ok((up, sequence))
    });
    let mut last = first;
    while !pushing.is_finished() {
        last = last.max(acknowledged(&mut down).await?);
    }
    let (_up, sequence) = pushing.await??;
    while last < sequence {
        last = last.max(acknowledged(&mut down).await?);
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), sidecar.cpu() - before);
    let cells = (sequence - first) as f64 * CELLS as f64;
    println!(
        "| the same, one behind the other | {:.0} cells/s | {:.3} µs a cell | - | - | {} MiB | 0 |",
        cells / seconds,
        cpu * 1e6 / cells,
        sidecar.memory() >> 20
    );
    let trips = [0.5, 0.99].map(|share| percentile(&mut trips, share) / 1e6);
    Ok(OfSnapshots { cells: one_by_one.min(cells / seconds), memory: sidecar.memory(), trips })
}

async fn acknowledged(down: &mut tonic::Streaming<v1::ToCore>) -> anyhow::Result<u64> {
    match down.message().await?.context("the stream ended")?.message {
        Some(to_core::Message::Ack(ack)) => Ok(ack.sequence),
        other => bail!("an acknowledgement was expected, got {other:?}"),
    }
}

fn hello() -> v1::Hello {
    v1::Hello {
        boot_epoch: 1,
        protocol_version: PROTOCOL_VERSION,
        facts_fingerprint: FINGERPRINT,
        ..v1::Hello::default()
    }
}

fn snapshot(sequence: u64) -> ToSidecar {
    let snapshot = v1::Snapshot {
        cells: (0..CELLS as u32).collect(),
        values: (0..CELLS as u64).map(|cell| cell * 1_000 + sequence).collect(),
        ..v1::Snapshot::default()
    };
    let batch = v1::Batch { sequence, snapshot: Some(snapshot), ..v1::Batch::default() };
    ToSidecar { message: Some(to_sidecar::Message::Batch(batch)) }
}

struct Sidecar {
    child: Child,
    socket: PathBuf,
}

impl Sidecar {
    fn start(program: &Path, folder: &Path, traces: Option<&Sink>) -> anyhow::Result<Self> {
        let socket = folder.join("run/t.sock");
        let mut command = Command::new(program);
        command.env_clear().env("HOME", folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // State on a disk, as in service: a commit waits for it.
        let state = std::env::temp_dir().join(format!("conexus-bench-{}", std::process::id()));
        let exporting = traces.map(|sink| format!("observability.tracing.endpoint=http://{}", sink.address));
        let enabled = exporting.as_ref().map(|_| "observability.tracing.enabled=true".to_owned());
        let own = [
            format!("observability.telemetry.socket={}", socket.display()),
            format!("observability.telemetry.state_dir={}", state.display()),
            format!("observability.log_dir={}", folder.join("log").display()),
            "observability.metrics.port=0".into(),
            "observability.debug.enabled=false".into(),
        ];
        for setting in own.into_iter().chain(exporting).chain(enabled) {
            command.args(["--set", &setting]);
        }
        let sidecar = Self { child: command.arg("run").spawn()?, socket };
        wait(|| sidecar.socket.exists())?;
        Ok(sidecar)
    }

    /// Seconds of CPU time so far.
    fn cpu(&self) -> f64 {
        cpu_of_threads(&format!("/proc/{}/task", self.child.id()), |_| true)
    }

    /// Peak resident bytes.
    fn memory(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(std::env::temp_dir().join(format!("conexus-bench-{}", std::process::id())));
    }
}

/// Seconds of CPU time of the living threads in a `task` folder whose names fit.
fn cpu_of_threads(tasks: &str, fits: impl Fn(&str) -> bool) -> f64 {
    let tasks = fs::read_dir(tasks).into_iter().flatten().flatten().map(|task| task.path());
    let fitting = tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| fits(name.trim())));
    let nanos = fitting.filter_map(|task| {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

/// The same of this process's threads of one name.
fn thread_cpu(name: &str) -> f64 {
    cpu_of_threads("/proc/self/task", |found| found == name)
}

fn wait(mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !ready() {
        anyhow::ensure!(started.elapsed() < Duration::from_secs(20), "the sidecar did not appear");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
