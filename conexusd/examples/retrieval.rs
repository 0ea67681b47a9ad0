//! Retrieval: indexes the benchmark's repositories and writes ranked answers, or the ranker's features to train on.
//!
//! `cargo run --release -p conexusd --example retrieval -- CORPORA QUERIES RESULTS [FEATURES [METHOD [MODEL]]]`
//!
//! CORPORA is what `bench/retrieval/fetch.py` fetched. Each line of RESULTS is what `bench/retrieval/score.py` reads;
//! each line of FEATURES is `{"id", "symbol", "files": [{"path", "tier", "features"}]}`. METHOD is a word of
//! `search.method` (`full`), MODEL a folder with another embedding table.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use conexusd::index::embed::{EmbedderOptions, StaticOptions, build};
use conexusd::index::run::{Run, RunControl};
use conexusd::index::{Index, IndexOptions};
use conexusd::search::{Method, Options, SearchEngine, SearchRequest, query};
use conexusd::telemetry::Telemetry;
use serde_json::{Value, json};

/// Results of one query: as many as the metric looks at.
const TOP_K: usize = 10;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let usage = "usage: retrieval CORPORA QUERIES RESULTS [FEATURES [METHOD [MODEL]]]";
    let (corpora, queries) = (arguments.next().context(usage)?, arguments.next().context(usage)?);
    let mut results = BufWriter::new(File::create(arguments.next().context(usage)?)?);
    let mut features = arguments.next().map(File::create).transpose()?.map(BufWriter::new);
    let method = arguments.next().map_or(Ok(Method::Full), |word| method(&word.to_string_lossy()))?;
    let model = StaticOptions { model: arguments.next(), ..StaticOptions::default() };
    let mut by_root: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for line in std::fs::read_to_string(&queries)?.lines() {
        let query: Value = serde_json::from_str(line)?;
        by_root.entry((text(&query, "repo")?, text(&query, "root")?)).or_default().push(query);
    }
    let telemetry = Telemetry::detached();
    for ((repo, root), queries) in by_root {
        let index = index(&corpora.join(&repo).join(&root), &corpora.join(".index"), &model, &telemetry)?;
        let options = Options { method, ..Options::default() };
        let engine = SearchEngine::new(options, index.current(), Arc::clone(index.embedder()), telemetry.clone());
        let prefix = if root == "." { String::new() } else { format!("{root}/") };
        // The first queries pay for pages that are not in memory yet: the figures are those of a warm index.
        for query in &queries {
            engine.search(&request(text(query, "query")?), &mut telemetry.trace("mcp.search"))?;
        }
        for query in &queries {
            let request = request(text(query, "query")?);
            answer(&engine, &telemetry, query, &request, &prefix, &mut results)?;
            if let Some(features) = &mut features {
                explain(&engine, query, &request, &prefix, features)?;
            }
        }
    }
    Ok(())
}

fn method(word: &str) -> anyhow::Result<Method> {
    Ok(match word {
        "full" => Method::Full,
        "full_without_vectors" => Method::FullWithoutVectors,
        "fused" => Method::Fused,
        "words" => Method::Words,
        "vectors" => Method::Vectors,
        other => anyhow::bail!("no method {other:?}"),
    })
}

fn index(
    root: &Path,
    database: &Path,
    model: &StaticOptions,
    telemetry: &Telemetry,
) -> anyhow::Result<Arc<Index>> {
    let embedder = build(EmbedderOptions::Static(model.clone()), telemetry.clone())?;
    let index = Index::open(IndexOptions::new(root, database)?, embedder, telemetry.clone())?;
    index.run(&Run::All, &Arc::new(RunControl::new()))?;
    index.settle(Duration::from_secs(600))?;
    Ok(index)
}

fn request(query: String) -> SearchRequest {
    SearchRequest {
        query,
        top_k: TOP_K,
        offset: 0,
        filters: Default::default(),
        work_context: Default::default(),
        max_tokens: None,
        cache: false,
    }
}

fn answer(
    engine: &SearchEngine,
    telemetry: &Telemetry,
    query: &Value,
    request: &SearchRequest,
    prefix: &str,
    output: &mut impl Write,
) -> anyhow::Result<()> {
    let response = engine.search(request, &mut telemetry.trace("mcp.search"))?;
    let place = |result: &conexusd::search::SearchResult| {
        let (path, lines) = (format!("{prefix}{}", result.path), (result.start_line, result.end_line));
        json!({"path": path, "start_line": lines.0, "end_line": lines.1, "score": result.score, "bytes": result.content.len()})
    };
    let results: Vec<Value> = response.results.iter().map(place).collect();
    writeln!(output, "{}", json!({"id": query["id"], "results": results, "ms": response.query_time_ms}))?;
    Ok(())
}

fn explain(
    engine: &SearchEngine,
    query: &Value,
    request: &SearchRequest,
    prefix: &str,
    output: &mut impl Write,
) -> anyhow::Result<()> {
    let file = |(path, file): (String, conexusd::search::rank::ScoredFile)| json!({"path": format!("{prefix}{path}"), "tier": file.tier, "features": file.features.to_vec()});
    let files: Vec<Value> = engine.explain(request)?.into_iter().map(file).collect();
    let symbol = query::analyse(&request.query).is_symbol();
    writeln!(output, "{}", json!({"id": query["id"], "symbol": symbol, "files": files}))?;
    Ok(())
}

fn text(query: &Value, key: &str) -> anyhow::Result<String> {
    Ok(query[key].as_str().with_context(|| format!("a query has no {key}"))?.to_owned())
}
