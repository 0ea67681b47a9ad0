//! Index bench: how fast, how large, how much memory? Indexes a folder, then times a second run and vector scans.
//!
//! `cargo run --release --example index_bench -- FOLDER DATABASE [--rebuild]`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use conexusd::index::embed::{EmbedderOptions, StaticOptions, build};
use conexusd::index::run::{Run, RunControl, RunReport};
use conexusd::index::{Index, IndexOptions};
use conexusd::telemetry::Telemetry;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().context("usage: index_bench FOLDER DATABASE [--rebuild]")?;
    let database = arguments.next().context("usage: index_bench FOLDER DATABASE [--rebuild]")?;
    let first = if arguments.next().is_some() { Run::Rebuild } else { Run::All };
    let telemetry = Telemetry::detached();
    let embedder = build(EmbedderOptions::Static(StaticOptions::default()), telemetry.clone())?;
    let began = Instant::now();
    let mut options = IndexOptions::new(Path::new(&root), Path::new(&database))?;
    if let Ok(nice) = std::env::var("INDEX_BENCH_NICE") {
        options.nice = nice.parse().context("INDEX_BENCH_NICE is a number")?;
    }
    let index = Index::open(options, Arc::clone(&embedder), telemetry)?;
    println!("open: {:.3} s", began.elapsed().as_secs_f64());
    report("first run", &run(&index, &first)?);
    print_sizes(&index);
    let began = Instant::now();
    let settled = index.settle(Duration::from_secs(1200))?;
    println!("settled ({settled}) after {:.1} s", began.elapsed().as_secs_f64());
    print_sizes(&index);
    report("second run", &run(&index, &Run::All)?);
    time_scans(&index)?;
    Ok(())
}

fn run(index: &Arc<Index>, run: &Run) -> anyhow::Result<RunReport> {
    let control = Arc::new(RunControl::new());
    let watched = Arc::clone(&control);
    let progress = std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(10));
            let progress = watched.progress();
            if progress.phase == conexusd::index::run::Phase::Done {
                return;
            }
            eprintln!(
                "  {:5.0} s {:?}: {} of {} done, {} chunks, {:.1} MB/s, {} MB resident",
                progress.elapsed.as_secs_f64(),
                progress.phase,
                progress.done,
                progress.discovered,
                progress.chunks,
                progress.megabytes_per_second(),
                memory("VmRSS:") >> 10,
            );
        }
    });
    let report = index.run(run, &control)?;
    drop(progress);
    Ok(report)
}

fn report(name: &str, report: &RunReport) {
    let progress = &report.progress;
    let skipped: Vec<String> =
        progress.skipped.iter().filter(|(_, n)| *n > 0).map(|(reason, n)| format!("{n} {reason}")).collect();
    println!(
        "{name}: {:.2} s ({:.1} s of CPU so far), {} files, {} chunks ({} embedded), {:.1} MB, {:.2} MB/s, skipped {}, failed {}, peak {} MB",
        progress.elapsed.as_secs_f64(),
        cpu_seconds(),
        progress.indexed,
        progress.chunks,
        progress.embedded,
        progress.bytes as f64 / 1e6,
        progress.megabytes_per_second(),
        skipped.join(", "),
        progress.failed_total(),
        memory("VmHWM:") >> 10,
    );
    if let Some(error) = &progress.last_error {
        println!("  last error: {error}");
    }
}

fn print_sizes(index: &Index) {
    let status = index.status();
    println!(
        "sizes: store {} MB, lexical {} MB, columns {} MB; {} files, {} chunks",
        status.store_bytes >> 20,
        status.lexical_bytes >> 20,
        status.columns_bytes >> 20,
        status.files,
        status.chunks
    );
}

fn time_scans(index: &Index) -> anyhow::Result<()> {
    let snapshot = index.snapshot();
    let queries = ["retry with exponential backoff", "parse a configuration file", "allocate a page", "open a socket"];
    for round in ["cold", "warm"] {
        let began = Instant::now();
        for query in queries {
            let vector = index.embedder().embed_query(query)?;
            let hits = snapshot.nearest(&vector, 50, &|_| true);
            if round == "warm" {
                let best = hits.first().map(|(chunk, score)| {
                    let view = snapshot.chunk(*chunk);
                    format!("{}:{} {score:.3}", snapshot.file(view.file).path, view.start_line)
                });
                println!("  {query}: {}", best.unwrap_or_default());
            }
        }
        println!("nearest, {round}: {:.2} ms a query", began.elapsed().as_secs_f64() * 1e3 / queries.len() as f64);
    }
    Ok(())
}

/// CPU time of the process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    // Fields 14 and 15 of the line, in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}

/// A line of `/proc/self/status`, in kB.
fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}
