//! Index bench: how fast, how large, how much memory? Indexes a folder, then times a second run and vector scans.
//!
//! `cargo run --release --example index_bench -- FOLDER DATABASE [--rebuild]`

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use conexusd::index::embed::{EmbedderOptions, StaticOptions, build};
use conexusd::index::run::{Run, RunControl, RunReport};
use conexusd::index::{Index, IndexOptions};
use conexusd::telemetry::Telemetry;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::IndexRecordOption;

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
    time_scans(&index)?;
    let began = Instant::now();
    let settled = index.settle(Duration::from_secs(1200))?;
    println!("settled ({settled}) after {:.1} s, {:.1} s of CPU so far", began.elapsed().as_secs_f64(), cpu_seconds());
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
    let cancel_after = std::env::var("INDEX_BENCH_CANCEL_AFTER").ok().and_then(|seconds| seconds.parse().ok());
    if let Some(seconds) = cancel_after {
        let control = Arc::clone(&control);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(seconds));
            control.cancel();
        });
    }
    let stop = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let searcher = scope.spawn(|| search_meanwhile(index, &stop));
        let report = index.run(run, &control);
        if let Some(seconds) = cancel_after {
            let elapsed = control.progress().elapsed.as_secs_f64();
            println!("stopped {:.2} s after it was asked to", elapsed - seconds as f64);
        }
        stop.store(true, Ordering::Relaxed);
        match searcher.join() {
            Ok(mut times) => print_latencies(&mut times),
            Err(_) => println!("the searches panicked"),
        }
        report
    })?;
    drop(progress);
    Ok(report)
}

/// Searches every tenth of a second, both lanes; how long each took, in milliseconds.
fn search_meanwhile(index: &Index, stop: &AtomicBool) -> Vec<f64> {
    let mut times = Vec::new();
    let words = ["alloc", "page", "lock", "retry", "socket", "config", "parse", "error"];
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        let snapshot = index.snapshot();
        let (a, b) = (words[times.len() % 8], words[(times.len() / 8) % 8]);
        let Ok(vector) = index.embedder().embed_query(&format!("{a} {b}")) else { continue };
        let near = snapshot.nearest(&vector, 50, &|_| true);
        let fields = snapshot.lexical_fields();
        let clause = |word: &str| -> (Occur, Box<dyn Query>) {
            let term = tantivy::Term::from_field_text(fields.text, word);
            (Occur::Should, Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)))
        };
        let query = BooleanQuery::new(vec![clause(a), clause(b)]);
        let found = snapshot.searcher().search(&query, &TopDocs::with_limit(50).order_by_score());
        let chunks = found.unwrap_or_default().into_iter().filter_map(|(_, document)| snapshot.chunk_of(document));
        let text = near.first().and_then(|(chunk, _)| snapshot.file_text(snapshot.chunk(*chunk).file).ok());
        std::hint::black_box((chunks.count(), text));
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times
}

fn print_latencies(times: &mut [f64]) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)));
    if let (Some(half), Some(most), Some(last)) = (at(0.5), at(0.99), times.last()) {
        println!("{} searches meanwhile: p50 {half:.1} ms, p99 {most:.1} ms, max {last:.1} ms", times.len());
    }
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
    for round in ["cold", "warm", "again"] {
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
