//! Speed of the parts of the write path that touch every byte, and of the scan over all vectors.
//!
//! `make bench-index`; `BENCH_SOURCES` names a folder of sources to read instead of the core's own.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use conexusd::index::embed::{Document, Embedder, StaticEmbedder, StaticOptions};
use conexusd::index::quantize::dots;
use conexusd::index::tokenize::terms;
use conexusd::telemetry::Telemetry;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// At most so many bytes of sources.
const SOURCE_BYTES: usize = 16 << 20;

/// About the size of a chunk.
const CHUNK_BYTES: usize = 750;

fn sources() -> String {
    let folder = std::env::var("BENCH_SOURCES").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned() + "/../../conexusd/src");
    let (mut text, mut folders) = (String::new(), vec![Path::new(&folder).to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if text.len() < SOURCE_BYTES {
                text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    text
}

/// Pieces of whole lines.
fn chunks(text: &str) -> Vec<&str> {
    let (mut chunks, mut start) = (Vec::new(), 0);
    for (at, _) in text.match_indices('\n') {
        if at + 1 - start >= CHUNK_BYTES {
            chunks.push(&text[start..=at]);
            start = at + 1;
        }
    }
    chunks.push(&text[start..]);
    chunks
}

fn benches(criterion: &mut Criterion) {
    let text = sources();
    let chunks = chunks(&text);
    let mut group = criterion.benchmark_group("index");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));

    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("terms", |bencher| {
        bencher.iter(|| {
            let mut bytes = 0;
            chunks.iter().for_each(|chunk| terms(chunk, &mut |term| bytes += term.len()));
            bytes
        });
    });
    let options = StaticOptions::default();
    let embedder = StaticEmbedder::load(&options, Telemetry::detached()).expect("the built-in model is good");
    let documents: Vec<_> = chunks.iter().map(|text| Document { path: "", text }).collect();
    group.bench_function("embed", |bencher| {
        bencher.iter(|| documents.chunks(64).for_each(|batch| drop(black_box(embedder.embed_documents(batch)))));
    });

    let (rows, width) = (700_000, 512);
    let vectors: Vec<i8> = (0..rows * width).map(|place| (place * 31 % 251) as i8).collect();
    let mut products = vec![0; rows];
    group.throughput(Throughput::Bytes(vectors.len() as u64));
    group.bench_function("dots", |bencher| bencher.iter(|| dots(&vectors[..width], &vectors, &mut products)));

    group.throughput(Throughput::Elements(1));
    group.bench_function("load", |bencher| {
        bencher.iter(|| StaticEmbedder::load(&options, Telemetry::detached()).map(|model| model.dimensions()));
    });
    group.bench_function("query", |bencher| bencher.iter(|| embedder.embed_query("how are failed requests retried")));
}

criterion_group!(all, benches);
criterion_main!(all);
