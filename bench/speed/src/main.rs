//! Cost: CPU time of the thread that serves, for telemetry off, ours and the usual libraries in process.
//!
//! `make bench-telemetry`. Rounds are interleaved, so that a busy machine disturbs all alike; the tables show medians over
//! rounds. A round reports no more than every queue holds, because a record that is dropped is cheaper than one that is not.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench_speed::baseline::Baseline;
use bench_speed::measure::{Counting, allocations, median, median_and_upper_bound, percentile, thread_cpu};
use bench_speed::ours::Ours;
use bench_speed::work::{QUERIES, Work, search};
use bench_speed::{Off, Reporter};
use conexusd::telemetry::{RootInfo, Telemetry, TelemetryOptions};
use tracing::Dispatch;
use tracing_subscriber::layer::SubscriberExt;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rings are emptied every 5 ms and the batch exporter's queue at once when it is half full.
const PAUSE: Duration = Duration::from_millis(12);
const PIECE_ROUNDS: usize = 100;
const BARE_ROUNDS: usize = 300;
const BARE: usize = 200;
const SEARCH_ROUNDS: usize = 60;
const SEARCHES: usize = 64;
/// Spans of one trace of the pieces.
const SPANS: u64 = 100;

/// Who reports, and where its spans and log lines go.
type Entry<'a> = (&'a dyn Reporter, Dispatch);

#[derive(Clone, Default)]
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
    let folder = tempfile::tempdir_in("/dev/shm")?;
    // No sidecar: the drain runs and empties the rings as it does with one.
    let options = |rate| TelemetryOptions {
        socket: Some(folder.path().join("run/absent.sock")),
        sample_rate: rate,
        ..TelemetryOptions::default()
    };
    let (kept, _kept) = Telemetry::start(options(1.0))?;
    let (sampled, _sampled) = Telemetry::start(options(0.01))?;
    let baseline = Baseline::start()?;
    let layers = [subscriber(&kept), subscriber(&sampled)];
    let ours = [Ours("conexus, every trace kept", kept), Ours("conexus, 1 % of traces kept", sampled)];
    let [kept_layer, sampled_layer] = layers;
    let entries: [Entry<'_>; 4] = [
        (&Off, Dispatch::none()),
        (&ours[0], kept_layer),
        (&ours[1], sampled_layer),
        (&baseline, baseline.dispatch().clone()),
    ];
    println!("{}\n", what_a_search_reports(&work));

    let trace_source = Telemetry::detached();
    let searching = |query: &str| search(&engine, query, &mut trace_source.trace("work"));
    let pieces = pieces(&entries);
    println!("\nA request's telemetry alone, without work; {BARE_ROUNDS} interleaved rounds of {BARE}:\n");
    let alone = table(&measure(&entries, BARE_ROUNDS, BARE, &|_| {}), &entries);
    println!("\nWith a search each, which bypasses the cache; {SEARCH_ROUNDS} interleaved rounds of {SEARCHES}:\n");
    table(&measure(&entries, SEARCH_ROUNDS, SEARCHES, &searching), &entries);
    let dropped: Vec<String> = entries
        .iter()
        .filter_map(|(reporter, _)| Some(format!("{}: {}", reporter.name(), reporter.dropped()?)))
        .collect();
    println!("\nRecords that did not fit on the thread that reports: {}.\n", dropped.join("; "));
    bars(&pieces, &alone)
}

fn subscriber(telemetry: &Telemetry) -> Dispatch {
    Dispatch::new(tracing_subscriber::registry().with(telemetry.layer()))
}

/// How much a search of the real engine reports, to compare with the request of the tables.
fn what_a_search_reports(work: &Work) -> String {
    let (telemetry, capture) = Telemetry::captured(&TelemetryOptions::default());
    let engine = work.engine(telemetry.clone());
    let mut trace = telemetry.trace(RootInfo::request("mcp.search", None));
    search(&engine, QUERIES[0], &mut trace);
    trace.finish();
    let spans = capture.spans();
    let attributes: usize = spans.iter().map(|span| span.attributes.len()).sum();
    format!(
        "A search of the engine itself reports {} spans with {attributes} attributes; the request of the tables 8 with 11, 12 measures and a log line.",
        spans.len()
    )
}

/// CPU nanoseconds of each piece, by reporter: a count, a duration, a span, a log line.
fn pieces(entries: &[Entry<'_>]) -> Vec<[f64; 4]> {
    println!("One piece at a time, CPU time of the thread and allocations; {PIECE_ROUNDS} interleaved rounds:\n");
    println!(
        "| telemetry | a count | a duration and a count | a span of {SPANS} in a trace, with its look at the clock | a log line |"
    );
    println!("|---|---:|---:|---:|---:|");
    type Piece<'a> = (u64, u64, &'a dyn Fn(&dyn Reporter));
    let pieces: [Piece<'_>; 4] = [
        (20_000, 1, &|reporter| reporter.count()),
        (20_000, 1, &|reporter| reporter.duration(std::hint::black_box(1_234_567))),
        (10, SPANS, &|reporter| reporter.spans(SPANS)),
        (500, 1, &|reporter| reporter.log()),
    ];
    let mut found = vec![[(); 4].map(|()| Figures::default()); entries.len()];
    for round in 0..=PIECE_ROUNDS {
        for (figures, (reporter, dispatch)) in found.iter_mut().zip(entries) {
            for (figures, (times, of_each, act)) in figures.iter_mut().zip(pieces) {
                let (cpu, allocated) = tracing::dispatcher::with_default(dispatch, || {
                    let (allocated, cpu) = (allocations(), thread_cpu());
                    (0..times).for_each(|_| act(*reporter));
                    ((thread_cpu() - cpu).as_nanos() as f64, allocations() - allocated)
                });
                if round > 0 {
                    figures.cpu_nanos.push(cpu / (times * of_each) as f64);
                    figures.allocations.push(allocated as f64 / (times * of_each) as f64);
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
    let off: [f64; 4] = std::array::from_fn(|piece| median(&found[0][piece].cpu_nanos));
    let mut costs = Vec::new();
    for (figures, (reporter, _)) in found.iter().zip(entries) {
        let cost: [f64; 4] = std::array::from_fn(|piece| median(&figures[piece].cpu_nanos) - off[piece]);
        costs.push(cost);
        if reporter.name() != Off.name() {
            let text = |piece: usize| format!("{:.1} ns, {:.1}", cost[piece], median(&figures[piece].allocations));
            println!("| {} | {} | {} | {} | {} |", reporter.name(), text(0), text(1), text(2), text(3));
        }
    }
    costs
}

fn measure(entries: &[Entry<'_>], rounds: usize, requests: usize, work: &dyn Fn(&str)) -> Vec<Figures> {
    let mut figures: Vec<Figures> = entries.iter().map(|_| Figures::default()).collect();
    for round in 0..=rounds {
        for (figures, (reporter, dispatch)) in figures.iter_mut().zip(entries) {
            let batch = tracing::dispatcher::with_default(dispatch, || batch(*reporter, requests, work));
            // The first round opens tables, rings and caches.
            if round > 0 {
                figures.cpu_nanos.push(batch.0);
                figures.wall_nanos.extend(batch.1);
                figures.allocations.push(batch.2);
            }
            std::thread::sleep(PAUSE);
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

/// Prints, and returns the CPU nanoseconds of each reporter's telemetry.
fn table(figures: &[Figures], entries: &[Entry<'_>]) -> Vec<f64> {
    let off = &figures[0];
    println!(
        "| telemetry | thread CPU/request | of it telemetry (95 % upper bound) | allocations | wall p50 | p99 | p99.9 |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut costs = Vec::new();
    for (figures, (reporter, _)) in figures.iter().zip(entries) {
        // Paired with the run of the same round, so that a slow minute is in both.
        let cost: Vec<f64> =
            figures.cpu_nanos.iter().zip(&off.cpu_nanos).map(|(with, without)| with - without).collect();
        let (cost, bound) = median_and_upper_bound(&cost);
        costs.push(cost);
        let allocated = median(&figures.allocations) - median(&off.allocations);
        let mut wall = figures.wall_nanos.clone();
        let at = [0.5, 0.99, 0.999].map(|share| micros(percentile(&mut wall, share)));
        println!(
            "| {} | {} | {} ({}) | {allocated:.1} | {} | {} | {} |",
            reporter.name(),
            micros(median(&figures.cpu_nanos)),
            micros(cost),
            micros(bound),
            at[0],
            at[1],
            at[2]
        );
    }
    costs
}

fn bars(pieces: &[[f64; 4]], alone: &[f64]) -> anyhow::Result<()> {
    let bars = [
        ("a count, at most 5 ns", pieces[1][0], "ns", pieces[1][0] <= 5.0),
        ("a duration and a count, each at most 5 ns", pieces[1][1], "ns", pieces[1][1] <= 10.0),
        ("a span, at most 40 ns", pieces[1][2], "ns", pieces[1][2] <= 40.0),
        ("a request's telemetry, every trace kept, at most 1 µs", alone[1] / 1e3, "µs", alone[1] <= 1e3),
        ("in process / every trace kept, at least 20", alone[3] / alone[1], "times", alone[3] >= 20.0 * alone[1]),
        ("in process / 1 % kept, at least 20", alone[3] / alone[2], "times", alone[3] >= 20.0 * alone[2]),
    ];
    println!("| bar | measured | |");
    println!("|---|---:|---|");
    for (name, value, unit, met) in bars {
        println!("| {name} | {value:.2} {unit} | {} |", if met { "met" } else { "**missed**" });
    }
    anyhow::ensure!(bars.iter().all(|bar| bar.3), "a bar is missed");
    Ok(())
}

fn micros(nanos: f64) -> String {
    format!("{:.2} µs", nanos / 1e3)
}
