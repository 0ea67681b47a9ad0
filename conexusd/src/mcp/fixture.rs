//! Fixture: an index in memory for the tests of the protocol, over a real folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::app::{IndexStatus, IndexedFile, Indexing, Job, RunOutcome, RunRefused, Search, SearchFailure, Services};
use crate::grep::GrepLimits;
use crate::index::snapshot::Freshness;
use crate::index::walk::filter::Filter;
use crate::root::Root;
use crate::search::{SearchRequest, SearchResponse, SearchResult};
use crate::telemetry::{Telemetry, Trace};

/// Steps of a run, and how long each takes.
const STEPS: u64 = 40;
const STEP: Duration = Duration::from_millis(50);

pub(crate) struct Memory {
    root: Root,
    run: AtomicU64,
    running: AtomicBool,
    stop: AtomicBool,
    done: AtomicU64,
    outcome: Mutex<RunOutcome>,
}

/// Services over a folder.
pub(crate) fn services(root: &Path, telemetry: Telemetry) -> Arc<Services> {
    let root = Root::new(root).expect("the folder is there");
    let memory = Arc::new(Memory {
        root: root.clone(),
        run: AtomicU64::new(0),
        running: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        done: AtomicU64::new(0),
        outcome: Mutex::new(RunOutcome::None),
    });
    let filter = Filter::new(root.path(), Path::new("/nowhere"), &[], &[], 1 << 20).expect("a filter");
    let services = Services {
        root,
        filter,
        search: memory.clone(),
        index: Arc::new(Shared(memory)),
        telemetry,
        top_k: 20,
        max_tokens: None,
        grep: GrepLimits::default(),
        started: Instant::now(),
    };
    Arc::new(services)
}

/// A folder with a few files.
pub(crate) fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    write("src/client.rs", "/// Connects again.\npub fn retry_with_backoff() {\n    sleep();\n}\n");
    write("src/[slug].tsx", "export const page = 1;\n");
    write("docs/guide.md", "# Guide\n\nHow retries work.\n");
    write("secret.log", "token\n");
    write(".git/HEAD", "ref: refs/heads/main\n");
    write(".gitignore", "*.log\n");
    dir
}

fn freshness() -> Freshness {
    Freshness { checked: Some(SystemTime::now() - Duration::from_secs(3)), pending: 2, complete: true }
}

impl Search for Memory {
    fn search(&self, request: &SearchRequest, _: &mut Trace) -> Result<SearchResponse, SearchFailure> {
        match request.query.as_str() {
            "panic" => panic!("asked to"),
            "fail" => return Err(SearchFailure::Failed("the index cannot be read".into())),
            "slow" => std::thread::sleep(Duration::from_millis(1500)),
            _ => {}
        }
        let files = self.files_now();
        let word = request.query.split_whitespace().next().unwrap_or_default().to_lowercase();
        let found: Vec<_> = files
            .iter()
            .filter_map(|file| Some((file, std::fs::read_to_string(self.root.path().join(&file.path)).ok()?)))
            .filter(|(_, text)| text.to_lowercase().contains(&word))
            .collect();
        let page = found.iter().skip(request.offset).take(request.top_k);
        let results: Vec<_> = page
            .map(|(file, text)| SearchResult {
                id: format!("{}:1-{}", file.path, file.lines),
                path: file.path.clone(),
                start_line: 1,
                end_line: file.lines,
                symbol: file.path.ends_with(".rs").then(|| "retry_with_backoff".into()),
                scope: None,
                kind: "function",
                language: file.language,
                source_type: "code",
                score: 0.83,
                content: text.clone(),
                enclosing: None,
                truncated: false,
            })
            .collect();
        Ok(SearchResponse {
            total_count: found.len(),
            query_time_ms: 0.5,
            offset: request.offset,
            limit: request.top_k,
            has_more: request.offset + results.len() < found.len(),
            results,
            freshness: freshness(),
        })
    }
}

impl Memory {
    fn files_now(&self) -> Vec<IndexedFile> {
        let walk = ignore::WalkBuilder::new(self.root.path()).require_git(false).sort_by_file_path(Ord::cmp).build();
        let files = walk.flatten().filter(|entry| entry.path().is_file());
        files
            .map(|entry| IndexedFile {
                path: self.root.relative_text(entry.path()),
                language: "text",
                bytes: entry.metadata().map_or(0, |metadata| metadata.len()),
                lines: std::fs::read_to_string(entry.path()).map_or(0, |text| text.lines().count() as u32),
            })
            .collect()
    }
}

struct Shared(Arc<Memory>);

impl Indexing for Shared {
    fn status(&self) -> IndexStatus {
        let memory = &self.0;
        let running = memory.running.load(Ordering::SeqCst);
        let done = memory.done.load(Ordering::SeqCst);
        IndexStatus {
            run: memory.run.load(Ordering::SeqCst),
            running,
            phase: if running { "indexing" } else { "idle" },
            outcome: *memory.outcome.lock().expect("not poisoned"),
            files_total: STEPS,
            files_done: done,
            files_indexed: done,
            files_failed: 0,
            skipped: BTreeMap::from([("ignored", 1)]),
            chunks_done: done * 2,
            bytes_done: 0,
            elapsed_seconds: done as f64 * STEP.as_secs_f64(),
            files_per_second: 20.0,
            eta_seconds: running.then(|| (STEPS - done) as f64 / 20.0),
            last_error: None,
            indexed_files: memory.files_now().len() as u64,
            indexed_chunks: 9,
            freshness: freshness(),
        }
    }

    fn start(&self, _: Job) -> Result<(), RunRefused> {
        let memory = self.0.clone();
        if memory.running.swap(true, Ordering::SeqCst) {
            return Err(RunRefused::Running);
        }
        memory.stop.store(false, Ordering::SeqCst);
        memory.done.store(0, Ordering::SeqCst);
        memory.run.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            let mut outcome = RunOutcome::Completed;
            for _ in 0..STEPS {
                if memory.stop.load(Ordering::SeqCst) {
                    outcome = RunOutcome::Stopped;
                    break;
                }
                std::thread::sleep(STEP);
                memory.done.fetch_add(1, Ordering::SeqCst);
            }
            *memory.outcome.lock().expect("not poisoned") = outcome;
            memory.running.store(false, Ordering::SeqCst);
        });
        Ok(())
    }

    fn stop(&self) -> bool {
        self.0.stop.store(true, Ordering::SeqCst);
        self.0.running.load(Ordering::SeqCst)
    }

    fn files(&self, folder: &str, after: Option<&str>, limit: usize) -> Vec<IndexedFile> {
        let below =
            |path: &str| folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let mut files = self.0.files_now();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let files = files.into_iter().filter(|file| below(&file.path));
        files.filter(|file| after.is_none_or(|after| file.path.as_str() > after)).take(limit).collect()
    }
}
