//! Cost: CPU time of the thread that serves, per request, for telemetry off, ours and the usual libraries in process.
//!
//! `make bench-telemetry`. Rounds are interleaved, so that a busy machine disturbs all alike; the table shows medians over rounds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench_telemetry::baseline::Baseline;
use bench_telemetry::measure::{Counting, allocations, median, percentile, thread_cpu};
use bench_telemetry::ours::Ours;
use bench_telemetry::work::{QUERIES, Work, search};
use bench_telemetry::{Off, Reporter};
use conexusd::telemetry::{Telemetry, TelemetryOptions};
use tracing_subscriber::layer::SubscriberExt;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 30;
/// Requests of a round without work, and with a search each.
const BARE: usize = 2_000;
const SEARCHES: usize = 64;

#[derive(Default)]
struct Figures {
    cpu_nanos: Vec<f64>,
    wall_nanos: Vec<f64>,
    allocations: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    eprintln!("indexing {}", root.join("conexusd/src").display());
    let work = Work::index(&root.join("conexusd/src"))?;
    let engine = work.engine(Telemetry::detached());
    let folder = tempfile::tempdir()?;
    // No sidecar: the drain runs and empties the rings as it does with one.
    let options = |rate| TelemetryOptions {
        socket: Some(folder.path().join("run/absent.sock")),
        sample_rate: rate,
        ..TelemetryOptions::default()
    };
    let (kept, _kept) = Telemetry::start(options(1.0))?;
    let (sampled, _sampled) = Telemetry::start(options(0.01))?;
    let baseline = Baseline::start()?;
    let (kept_layer, sampled_layer) = (subscriber(&kept), subscriber(&sampled));
    let ours = [
        (Ours("conexus, every trace kept", kept), Some(kept_layer)),
        (Ours("conexus, 1 % of traces kept", sampled), Some(sampled_layer)),
    ];
    let mut reporters: Vec<(&dyn Reporter, Option<&tracing::Dispatch>)> = vec![(&Off, None)];
    reporters.extend(ours.iter().map(|(ours, layer)| (ours as &dyn Reporter, layer.as_ref())));
    reporters.push((&baseline, None));

    let trace_source = Telemetry::detached();
    let searching = |query: &str| search(&engine, query, &mut trace_source.trace("work"));
    println!("Telemetry alone (no work), {ROUNDS} interleaved rounds of {BARE} requests:\n");
    table(&measure(&reporters, BARE, &|_| {}), &reporters);
    println!("\nWith a search each, {ROUNDS} interleaved rounds of {SEARCHES} requests:\n");
    table(&measure(&reporters, SEARCHES, &searching), &reporters);
    Ok(())
}

fn subscriber(telemetry: &Telemetry) -> tracing::Dispatch {
    tracing::Dispatch::new(tracing_subscriber::registry().with(telemetry.layer()))
}

fn measure(
    reporters: &[(&dyn Reporter, Option<&tracing::Dispatch>)],
    requests: usize,
    work: &dyn Fn(&str),
) -> Vec<Figures> {
    let mut figures: Vec<Figures> = reporters.iter().map(|_| Figures::default()).collect();
    for round in 0..=ROUNDS {
        for (figures, (reporter, dispatch)) in figures.iter_mut().zip(reporters) {
            let mut run = || batch(*reporter, requests, work);
            let batch = match dispatch {
                Some(dispatch) => tracing::dispatcher::with_default(dispatch, run),
                None => run(),
            };
            // The first round opens tables, rings and caches.
            if round > 0 {
                figures.cpu_nanos.push(batch.0);
                figures.wall_nanos.extend(batch.1);
                figures.allocations.push(batch.2);
            }
            // Rings are emptied every 5 ms; a client does not send 2,000 requests in one of them.
            std::thread::sleep(Duration::from_millis(12));
        }
    }
    figures
}

/// CPU nanoseconds a request, each one's wall nanoseconds, allocations a request.
fn batch(reporter: &dyn Reporter, requests: usize, work: &dyn Fn(&str)) -> (f64, Vec<f64>, f64) {
    let mut wall = Vec::with_capacity(requests);
    let (allocated, cpu) = (allocations(), thread_cpu());
    for i in 0..requests {
        let query = QUERIES[i % QUERIES.len()];
        let started = Instant::now();
        reporter.request(query, &mut || work(query));
        wall.push(started.elapsed().as_nanos() as f64);
    }
    let cpu = (thread_cpu() - cpu).as_nanos() as f64 / requests as f64;
    (cpu, wall, (allocations() - allocated) as f64 / requests as f64)
}

fn table(figures: &[Figures], reporters: &[(&dyn Reporter, Option<&tracing::Dispatch>)]) {
    let off = &figures[0];
    println!("| telemetry | thread CPU/request | of it telemetry | allocations | p50 | p99 | p99.9 |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut costs = Vec::new();
    for (figures, (reporter, _)) in figures.iter().zip(reporters) {
        // Paired with the run of the same round, so that a slow minute is in both.
        let cost: Vec<f64> = figures.cpu_nanos.iter().zip(&off.cpu_nanos).map(|(with, without)| with - without).collect();
        costs.push(median(&cost));
        let allocated = median(&figures.allocations) - median(&off.allocations);
        let mut wall = figures.wall_nanos.clone();
        let at = [0.5, 0.99, 0.999].map(|share| micros(percentile(&mut wall, share)));
        println!(
            "| {} | {} | {} | {allocated:.1} | {} | {} | {} |",
            reporter.name(),
            micros(median(&figures.cpu_nanos)),
            micros(median(&cost)),
            at[0],
            at[1],
            at[2]
        );
    }
    println!("\nin process / every trace kept: {:.1} times; / 1 % kept: {:.1} times", costs[3] / costs[1], costs[3] / costs[2]);
}

fn micros(nanos: f64) -> String {
    format!("{:.2} µs", nanos / 1e3)
}
