//! Retrieval: indexes the benchmark's repositories and writes ranked answers, or the ranker's features to train on.
//!
//! `bench/retrieval/run.py` and `ablate.py` call it; `--help` says how. `conexusd search --batch` gives the same answers
//! through the interface that users have; this shows what stands behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use conexus_config::settings::SearchMethod;
use conexusd::ablation::Signal;
use conexusd::index::chunk::Kind;
use conexusd::index::embed::{EmbedderOptions, StaticOptions, build};
use conexusd::index::run::{Run, RunControl};
use conexusd::index::snapshot::FileRow;
use conexusd::index::{Index, IndexOptions};
use conexusd::search::{LANE_LIMIT, Method, Options, SearchEngine, SearchRequest, SearchResult, bm25, query, vector};
use conexusd::telemetry::Telemetry;
use serde_json::{Value, json};

/// Results of one query: as many as the metric looks at.
const TOP_K: usize = 10;

/// Definitions of the kinds that a name asks for.
const NAMED: [Kind; 7] =
    [Kind::Function, Kind::Method, Kind::Type, Kind::Interface, Kind::Module, Kind::Constant, Kind::Macro];

/// Indexes each repository of the benchmark and asks its questions.
#[derive(Debug, Parser)]
struct Arguments {
    /// What bench/retrieval/fetch.py fetched
    corpora: PathBuf,
    /// Lines of {"id","repo","root","query"}
    queries: PathBuf,
    /// Where the indexes are kept
    #[arg(long, value_name = "FOLDER")]
    database: PathBuf,
    /// Write ranked answers, as bench/retrieval/score.py reads them
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Write the candidate files of each query with their features, as bench/retrieval/train.py reads them
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// Ask for every n-th distinct name that a repository defines, and say how often one of its definitions is first
    #[arg(long, value_name = "N")]
    definitions: Option<usize>,
    /// Print where the time goes
    #[arg(long)]
    times: bool,
    /// A folder with another embedding table than the built-in one; needs a database of its own
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// What orders are made from, as in the setting `search.method`
    #[arg(long, value_name = "METHOD", default_value = "full", value_parser = method)]
    method: Method,
    /// Signals to switch off, separated by commas (a build with the feature `ablation`)
    #[arg(long, value_name = "SIGNALS", value_delimiter = ',', value_parser = signal)]
    without: Vec<Signal>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    switch_off(&arguments.without)?;
    let mut results = arguments.results.as_ref().map(File::create).transpose()?.map(BufWriter::new);
    let mut features = arguments.features.as_ref().map(File::create).transpose()?.map(BufWriter::new);
    let mut by_root: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for line in std::fs::read_to_string(&arguments.queries)?.lines() {
        let query: Value = serde_json::from_str(line)?;
        by_root.entry((text(&query, "repo")?, text(&query, "root")?)).or_default().push(query);
    }
    let mut missed = 0;
    for ((repo, root), queries) in by_root {
        let repository = Repository::open(&arguments, &arguments.corpora.join(&repo).join(&root), &root)?;
        if let Some(results) = &mut results {
            repository.answer(&queries, results)?;
        }
        if let Some(features) = &mut features {
            repository.explain(&queries, features)?;
        }
        if arguments.times {
            repository.time(&repo, &queries)?;
        }
        if let Some(step) = arguments.definitions {
            missed += repository.define(&repo, step)?;
        }
    }
    anyhow::ensure!(missed == 0, "{missed} names whose definition is not first");
    Ok(())
}

#[cfg(feature = "ablation")]
fn switch_off(signals: &[Signal]) -> anyhow::Result<()> {
    conexusd::ablation::switch_off(signals);
    Ok(())
}

#[cfg(not(feature = "ablation"))]
fn switch_off(signals: &[Signal]) -> anyhow::Result<()> {
    anyhow::ensure!(signals.is_empty(), "--without needs a build with --features ablation");
    Ok(())
}

fn signal(name: &str) -> Result<Signal, String> {
    let known = || Signal::ALL.map(|(_, name)| name).join(", ");
    let found = Signal::ALL.iter().find(|(_, other)| *other == name);
    found.map(|(signal, _)| *signal).ok_or_else(|| format!("signals are {}", known()))
}

fn method(word: &str) -> Result<Method, String> {
    let found = SearchMethod::from_word(word).map(conexusd::wiring::method);
    found.ok_or_else(|| format!("methods are {}", SearchMethod::WORDS.join(", ")))
}

/// An indexed repository.
struct Repository {
    index: Arc<Index>,
    engine: SearchEngine,
    telemetry: Telemetry,
    /// What the paths of its answers begin with.
    prefix: String,
}

impl Repository {
    fn open(arguments: &Arguments, root: &Path, prefix: &str) -> anyhow::Result<Self> {
        let telemetry = Telemetry::detached();
        let model = StaticOptions { model: arguments.model.clone(), ..StaticOptions::default() };
        let embedder = build(EmbedderOptions::Static(model), telemetry.clone())?;
        let index = Index::open(IndexOptions::new(root, &arguments.database)?, embedder, telemetry.clone())?;
        index.run(&Run::All, &Arc::new(RunControl::new()))?;
        index.settle(Duration::from_secs(600))?;
        let embedder = Arc::clone(index.embedder());
        let options = Options { method: arguments.method, ..Options::default() };
        let engine = SearchEngine::new(options, index.current(), embedder, telemetry.clone());
        let prefix = if prefix == "." { String::new() } else { format!("{prefix}/") };
        Ok(Self { index, engine, telemetry, prefix })
    }

    fn answer(&self, queries: &[Value], output: &mut impl Write) -> anyhow::Result<()> {
        // The first round pays for pages that are not in memory yet: the times are those of a warm index.
        for round in 0..2 {
            for query in queries {
                let response =
                    self.engine.search(&request(text(query, "query")?), &mut self.telemetry.trace("mcp.search"))?;
                let results: Vec<Value> = response.results.iter().map(|result| self.place(result)).collect();
                if round > 0 {
                    writeln!(
                        output,
                        "{}",
                        json!({"id": query["id"], "results": results, "ms": response.query_time_ms})
                    )?;
                }
            }
        }
        Ok(())
    }

    fn place(&self, result: &SearchResult) -> Value {
        let path = format!("{}{}", self.prefix, result.path);
        json!({"path": path, "start_line": result.start_line, "end_line": result.end_line, "score": result.score})
    }

    fn explain(&self, queries: &[Value], output: &mut impl Write) -> anyhow::Result<()> {
        for query in queries {
            let request = request(text(query, "query")?);
            let files = self.engine.explain(&request)?.into_iter().map(|(path, file)| {
                json!({"path": format!("{}{path}", self.prefix), "tier": file.tier, "features": file.features.to_vec()})
            });
            let files: Vec<Value> = files.collect();
            let symbol = query::analyse(&request.query).is_symbol();
            writeln!(output, "{}", json!({"id": query["id"], "symbol": symbol, "files": files}))?;
        }
        Ok(())
    }

    /// The time of each lane alone and of whole searches, each question three times, on a warm index.
    fn time(&self, repo: &str, queries: &[Value]) -> anyhow::Result<()> {
        let snapshot = self.index.snapshot();
        let everything = |_: FileRow| true;
        let mut taken: [Vec<f64>; 3] = Default::default();
        for query in queries.iter().cycle().take(queries.len() * 3) {
            let request = request(text(query, "query")?);
            let analysed = query::analyse(&request.query);
            let started = Instant::now();
            for part in &analysed.parts {
                let terms = bm25::weigh(&snapshot, part)?;
                bm25::search(&snapshot, &terms, LANE_LIMIT, &everything)?;
            }
            taken[0].push(started.elapsed().as_secs_f64() * 1e3);
            let started = Instant::now();
            for part in &analysed.parts {
                let vector = self.index.embedder().embed_query(&part.text)?;
                vector::search(&snapshot, &vector, LANE_LIMIT, &everything);
            }
            taken[1].push(started.elapsed().as_secs_f64() * 1e3);
            let response = self.engine.search(&request, &mut self.telemetry.trace("mcp.search"))?;
            taken[2].push(response.query_time_ms);
        }
        print!("{repo:15} {:9} chunks, ms p50 p99:", snapshot.counts().1);
        for (name, mut times) in ["words", "vectors", "whole"].into_iter().zip(taken) {
            times.sort_by(f64::total_cmp);
            print!("  {name} {:.2} {:.2}", times[times.len() / 2], times[times.len() * 99 / 100]);
        }
        println!();
        Ok(())
    }

    /// How many of the sampled names have something else than a definition of theirs first.
    fn define(&self, repo: &str, step: usize) -> anyhow::Result<usize> {
        let snapshot = self.index.snapshot();
        let mut names = BTreeSet::new();
        for file in snapshot.live_files() {
            let parsed = snapshot.file_parsed(file)?;
            let named = parsed.definitions.into_iter().filter(|definition| NAMED.contains(&definition.kind));
            names.extend(named.map(|definition| definition.name.to_string()).filter(|name| !name.trim().is_empty()));
        }
        let (mut asked, mut missed) = (0, Vec::new());
        for name in names.iter().step_by(step.max(1)) {
            let response = self.engine.search(&request(name.clone()), &mut self.telemetry.trace("mcp.search"))?;
            let is_definition = response.results.first().is_some_and(|first| {
                let file = snapshot.find_file(&first.path);
                let holds = |line| (first.start_line..=first.end_line).contains(&line);
                let hits = snapshot.definitions(name, usize::MAX);
                hits.iter().any(|hit| hit.same_case && Some(hit.file) == file && holds(hit.start_line))
            });
            asked += 1;
            if !is_definition {
                missed.push((name, response.results.first().map(|first| first.id.clone()).unwrap_or_default()));
            }
        }
        println!("{repo:15} {asked:6} of {:6} names asked, {:4} without a definition first", names.len(), missed.len());
        for (name, first) in missed.iter().take(20) {
            println!("    {name:?}: {first}");
        }
        Ok(missed.len())
    }
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

fn text(query: &Value, key: &str) -> anyhow::Result<String> {
    Ok(query[key].as_str().with_context(|| format!("a query has no {key}"))?.to_owned())
}
