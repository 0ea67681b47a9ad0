//! Tests of the index as a whole: runs over real folders, compared by everything that a search can see.

mod incremental;
mod kill;
mod recovery;
mod runs;
mod trees;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use conexus_proto::facts::{EmbeddingError, Provider};
use tantivy::DocSet as _;
use tantivy::postings::Postings as _;
use tantivy::schema::IndexRecordOption;

use super::embed::{Document, Effort, EmbedError, Embedder};
use super::run::{Progress, Run, RunControl, RunReport};
use super::snapshot::{FileRow, Snapshot};
use super::{Index, IndexError, IndexOptions};
use crate::telemetry::Telemetry;

/// An embedder whose vectors depend on the words of a text; counts, and fails or dawdles when told to.
pub(super) struct WordEmbedder {
    identity: String,
    pub(super) texts: AtomicU64,
    pub(super) fails_on: Option<&'static str>,
    pub(super) failing: AtomicBool,
    pub(super) delay: Duration,
}

pub(super) const DIMENSIONS: usize = 32;

impl WordEmbedder {
    pub(super) fn new() -> Self {
        Self {
            identity: "words-1".to_owned(),
            texts: AtomicU64::new(0),
            fails_on: None,
            failing: AtomicBool::new(true),
            delay: Duration::ZERO,
        }
    }

    fn vector(text: &str) -> Vec<f32> {
        let mut vector = vec![0.0; DIMENSIONS];
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let hash = super::segment::hash64(word.to_lowercase().as_bytes());
            vector[hash as usize % DIMENSIONS] += 1.0;
            vector[(hash >> 32) as usize % DIMENSIONS] -= 0.5;
        }
        super::embed::normalize(&mut vector);
        vector
    }
}

impl Embedder for WordEmbedder {
    fn identity(&self) -> &str {
        &self.identity
    }
    fn dimensions(&self) -> usize {
        DIMENSIONS
    }
    fn provider(&self) -> Provider {
        Provider::Static
    }
    fn batch_size(&self) -> usize {
        8
    }
    fn embed_documents_unless(
        &self,
        documents: &[Document<'_>],
        cancelled: &dyn Fn() -> bool,
        _effort: &mut Effort,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let waited = std::time::Instant::now();
        while waited.elapsed() < self.delay && !cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let bad = self.fails_on.filter(|_| self.failing.load(Ordering::Relaxed));
        if documents.iter().any(|document| bad.is_some_and(|bad| document.text.contains(bad))) {
            return Err(EmbedError { class: EmbeddingError::Http, message: "the provider said no".to_owned() });
        }
        self.texts.fetch_add(documents.len() as u64, Ordering::Relaxed);
        Ok(documents.iter().map(|document| Self::vector(document.text)).collect())
    }
    fn path_vector(&self, path: &str) -> Option<Vec<f32>> {
        Some(Self::vector(path))
    }
    fn path_weight(&self) -> f32 {
        0.3
    }
    fn embed_query_noting(&self, query: &str, _effort: &mut Effort) -> Result<Vec<f32>, EmbedError> {
        Ok(Self::vector(query))
    }
}

/// A root and a place for its index.
pub(super) struct Bench {
    folder: tempfile::TempDir,
    pub(super) embedder: Arc<WordEmbedder>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(WordEmbedder::new())
    }

    pub(super) fn with(embedder: WordEmbedder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        Self { folder, embedder: Arc::new(embedder) }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub(super) fn database(&self) -> PathBuf {
        self.folder.path().join("database")
    }

    pub(super) fn options(&self) -> IndexOptions {
        IndexOptions { workers: 2, nice: 0, ..IndexOptions::new(&self.root(), &self.database()).unwrap() }
    }

    pub(super) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn remove(&self, path: &str) {
        std::fs::remove_file(self.root().join(path)).unwrap();
    }

    pub(super) fn open(&self) -> Arc<Index> {
        self.try_open(self.options()).unwrap()
    }

    pub(super) fn try_open(&self, options: IndexOptions) -> Result<Arc<Index>, IndexError> {
        Index::open(options, Arc::clone(&self.embedder) as Arc<dyn Embedder>, Telemetry::detached())
    }

    /// Everything that a search sees of an index made afresh from what is on disk.
    pub(super) fn fresh_dump(&self) -> BTreeMap<String, String> {
        let database = tempfile::tempdir().unwrap();
        let options = IndexOptions { folder: database.path().join("fresh"), ..self.options() };
        let index = self.try_open(options).unwrap();
        run(&index, Run::All);
        dump(&index.snapshot())
    }
}

pub(super) fn run(index: &Index, run: Run) -> Progress {
    try_run(index, run).unwrap().progress
}

pub(super) fn try_run(index: &Index, run: Run) -> Result<RunReport, IndexError> {
    index.run(&run, &Arc::new(RunControl::new()))
}

pub(super) fn paths(snapshot: &Snapshot) -> BTreeSet<String> {
    snapshot.live_files().map(|file| snapshot.file(file).path.to_owned()).collect()
}

/// Everything that a search can see, by path, independent of the order in which it was indexed.
pub(super) fn dump(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for file in snapshot.live_files() {
        let path = snapshot.file(file).path.to_owned();
        assert_eq!(snapshot.find_file(&path), Some(file), "{path} is found by its path");
        assert!(all.insert(path.clone(), dump_file(snapshot, file)).is_none(), "{path} is there once");
    }
    for ((path, ordinal), terms) in dump_lexical(snapshot) {
        let file = all.get_mut(&path).unwrap_or_else(|| panic!("{path} has documents and no columns"));
        file.push_str(&format!("document {ordinal}: {terms:?}\n"));
    }
    let (files, chunks) = snapshot.counts();
    let mean = snapshot.mean_file_terms();
    all.insert(String::new(), format!("{files} files, {chunks} chunks, {mean:.3} terms a file"));
    all
}

fn dump_file(snapshot: &Snapshot, file: FileRow) -> String {
    let view = snapshot.file(file);
    let mut text = format!(
        "{} {:?} {} bytes {} lines {} chunks {} terms, modified {:?}\n",
        view.language.name(),
        view.class,
        view.bytes,
        view.lines,
        view.chunks,
        view.terms,
        view.modified
    );
    text.push_str(&format!("text {:?}\n", snapshot.file_text(file).unwrap()));
    text.push_str(&format!("parsed {:?}\n", snapshot.file_parsed(file).unwrap()));
    text.push_str(&format!("terms {:?}\nmean {:?}\n", snapshot.file_terms(file), snapshot.file_vector(file)));
    for row in view.first_chunk.0..view.first_chunk.0 + view.chunks {
        let row = super::snapshot::ChunkRow(row);
        let chunk = snapshot.chunk(row);
        assert_eq!(chunk.file, file);
        assert_eq!([chunk.start_line, chunk.end_line].map(|line| snapshot.chunk_at(file, line)), [Some(row); 2]);
        text.push_str(&format!(
            "chunk {}-{} {}-{} {:?} {:?} {:?} {:?}\n",
            chunk.start_line,
            chunk.end_line,
            chunk.start_byte,
            chunk.end_byte,
            chunk.kind,
            chunk.symbol,
            chunk.scope,
            snapshot.chunk_vector(row)
        ));
    }
    for definition in snapshot.file_parsed(file).unwrap().definitions {
        let hits = snapshot.definitions(&definition.name, usize::MAX);
        let mut own: Vec<_> = hits.iter().filter(|hit| hit.file == file).collect();
        own.sort_by_key(|hit| (hit.start_line, hit.end_line));
        let own: Vec<_> = own
            .iter()
            .map(|hit| (hit.kind, hit.start_line, hit.end_line, hit.same_case, hit.chunk.0 - view.first_chunk.0))
            .collect();
        assert!(!own.is_empty(), "{} is found by name", definition.name);
        text.push_str(&format!("definition {} {own:?} of {}\n", definition.name, hits.len()));
    }
    text
}

type Terms = BTreeMap<(String, Vec<u8>), u32>;

fn dump_lexical(snapshot: &Snapshot) -> BTreeMap<(String, u32), Terms> {
    let mut documents: BTreeMap<(String, u32), Terms> = BTreeMap::new();
    let searcher = snapshot.searcher();
    let fields = snapshot.lexical_fields();
    for (ordinal, segment) in searcher.segment_readers().iter().enumerate() {
        let place = |document: u32| {
            let chunk = snapshot.chunk_of(tantivy::DocAddress::new(ordinal as u32, document))?;
            let file = snapshot.chunk(chunk).file;
            let view = snapshot.file(file);
            Some((view.path.to_owned(), chunk.0 - view.first_chunk.0))
        };
        for document in segment.doc_ids_alive() {
            let place = place(document).expect("every document belongs to a file");
            assert!(documents.insert(place.clone(), Terms::new()).is_none(), "{place:?} has one document");
        }
        for (name, field) in
            [("text", fields.text), ("path", fields.path), ("symbol", fields.symbol), ("scope", fields.scope)]
        {
            let inverted = segment.inverted_index(field).unwrap();
            let mut terms = inverted.terms().stream().unwrap();
            while let Some((term, info)) = terms.next() {
                let mut postings = inverted.read_postings_from_terminfo(info, IndexRecordOption::WithFreqs).unwrap();
                while postings.doc() != tantivy::TERMINATED {
                    if segment.alive_bitset().is_none_or(|alive| alive.is_alive(postings.doc())) {
                        let place = place(postings.doc()).unwrap();
                        let key = (name.to_owned(), term.to_vec());
                        documents.get_mut(&place).unwrap().insert(key, postings.term_freq());
                    }
                    postings.advance();
                }
            }
        }
    }
    documents
}

/// Fails with the first difference that a person can read.
pub(super) fn assert_same(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>, why: &str) {
    let keys: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    for key in keys {
        let (found, expected) = (found.get(key), expected.get(key));
        if found != expected {
            panic!("{why}: `{key}` is\n{}\nand should be\n{}", text(found), text(expected));
        }
    }
}

fn text(dump: Option<&String>) -> &str {
    dump.map_or("(missing)", String::as_str)
}

/// Some files of several languages.
pub(super) fn fill(bench: &Bench) {
    bench.write("src/lib.rs", "//! Library.\n\npub mod net;\n\npub fn parse_config(text: &str) -> Config {\n    Config\n}\n\npub struct Config;\n");
    bench.write("src/net/mod.rs", "use std::io;\n\npub struct Client {\n    port: u16,\n}\n\nimpl Client {\n    /// Opens a connection.\n    pub fn open(&self) -> io::Result<()> {\n        Ok(())\n    }\n}\n");
    bench.write("tool.py", "import os\n\nclass Client:\n    def open(self):\n        return os.getcwd()\n\ndef main():\n    Client().open()\n");
    bench.write("README.md", "# Title\n\nHow to retry.\n\n## Setup\n\nRun it.\n");
    bench.write("copy/tool.py", std::fs::read(bench.root().join("tool.py")).unwrap());
    bench.write(".github/workflows/ci.yml", "on: push\njobs:\n  test:\n    runs-on: x\n");
    bench.write("notes.txt", "one\ntwo\nthree");
}
