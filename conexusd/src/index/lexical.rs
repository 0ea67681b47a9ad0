//! Lexical: the BM25 index (tantivy), one document a chunk.
//!
//! Derived from the store. Terms are made once, by the workers, and handed over joined with a separator; tantivy's own
//! tokenizer only splits them again. Nothing is stored in it: a hit is a chunk's number, its columns are elsewhere.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;
use tantivy::directory::MmapDirectory;
use tantivy::directory::error::LockError;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy, UserOperation};
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, NumericOptions, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{TextAnalyzer, Token, TokenStream, Tokenizer};
use tantivy::{
    Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError, Term,
};

use super::IndexError;

/// Stands between the terms of a document's field.
pub const SEPARATOR: char = '\u{0}';

/// Memory of all indexing threads together; a full one writes a segment.
const BUDGET_BYTES: usize = 160 << 20;

/// How long a writer waits for the lock of the one before it.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// The fields of a chunk's document. All hold terms of [`super::tokenize::terms`], with frequencies, no positions.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// The chunk's text.
    pub text: Field,
    /// The file's stem twice, its extension and its last three folders.
    pub path: Field,
    /// The name the chunk defines, if any.
    pub symbol: Field,
    /// What encloses it, and its signature.
    pub scope: Field,
    /// The number of the file version, indexed: what deletions name.
    pub(crate) file: Field,
    /// The number of the file version times 2^32, plus the chunk's place in the file; a column.
    pub(crate) chunk: Field,
}

/// The open lexical index.
pub struct Lexical {
    index: Index,
    reader: IndexReader,
    writer: Option<IndexWriter>,
    fields: Fields,
    folder: PathBuf,
    identity: String,
    threads: usize,
}

impl Lexical {
    /// Opens or makes the index in `folder`. One that cannot be read, or has another schema or another identity (of
    /// whatever its terms depend on; without line breaks), is made anew, empty.
    pub fn open(folder: &Path, identity: &str, threads: usize) -> Result<Self, IndexError> {
        let (schema, fields) = schema();
        let opened = Self::open_index(folder, &schema, Some(identity)).or_else(|_| Self::make_anew(folder, &schema));
        let (index, reader) = opened.map_err(IndexError::from_tantivy)?;
        let (folder, identity) = (folder.to_owned(), identity.to_owned());
        Ok(Self { index, reader, writer: None, fields, folder, identity, threads })
    }

    /// Throws everything away and starts with an empty index.
    pub fn reset(&mut self) -> Result<(), IndexError> {
        self.writer = None;
        let (index, reader) = Self::make_anew(&self.folder, &schema().0).map_err(IndexError::from_tantivy)?;
        (self.index, self.reader) = (index, reader);
        Ok(())
    }

    fn make_anew(folder: &Path, schema: &Schema) -> tantivy::Result<(Index, IndexReader)> {
        std::fs::remove_dir_all(folder).or_else(ignore_missing)?;
        Self::open_index(folder, schema, None)
    }

    fn open_index(folder: &Path, schema: &Schema, identity: Option<&str>) -> tantivy::Result<(Index, IndexReader)> {
        let other = |what: &str| tantivy::TantivyError::SchemaError(what.to_owned());
        std::fs::create_dir_all(folder)?;
        let directory = MmapDirectory::open(folder)?;
        let index = if Index::exists(&directory)? {
            let index = Index::open(directory)?;
            if index.schema() != *schema {
                return Err(other("another schema"));
            }
            index
        } else {
            Index::create(directory, schema.clone(), IndexSettings::default())?
        };
        if identity.is_some_and(|identity| committed(&index).is_some_and(|(_, found)| found != identity)) {
            return Err(other("another identity"));
        }
        index.tokenizers().register("terms", TextAnalyzer::builder(SplitTokenizer::default()).build());
        let builder = index.reader_builder().reload_policy(ReloadPolicy::Manual).doc_store_cache_num_blocks(0);
        // Opens every segment: what is missing or cut shows here.
        let reader = builder.try_into()?;
        Ok((index, reader))
    }

    /// The fields.
    pub fn fields(&self) -> Fields {
        self.fields
    }

    /// The generation of the last commit; 0 if there is none.
    pub fn generation(&self) -> u64 {
        committed(&self.index).map_or(0, |(generation, _)| generation)
    }

    /// The file versions that have documents.
    pub fn files(&self) -> Result<FxHashSet<u32>, IndexError> {
        let collect = || -> tantivy::Result<FxHashSet<u32>> {
            let mut files = FxHashSet::default();
            for segment in self.searcher()?.segment_readers() {
                let chunks = segment.fast_fields().u64("chunk")?.first_or_default_col(u64::MAX);
                for document in segment.doc_ids_alive() {
                    files.insert((chunks.get_val(document) >> 32) as u32);
                }
            }
            Ok(files)
        };
        collect().map_err(IndexError::from_tantivy)
    }

    /// Adds the documents of a file version. Visible after [`Lexical::commit`].
    pub fn add(&mut self, id: u32, documents: Vec<TantivyDocument>) -> Result<(), IndexError> {
        let fields = self.fields;
        let operations = documents.into_iter().enumerate().map(|(ordinal, mut document)| {
            document.add_u64(fields.file, u64::from(id));
            document.add_u64(fields.chunk, u64::from(id) << 32 | ordinal as u64);
            UserOperation::Add(document)
        });
        self.writer()?.run(operations).map_err(IndexError::from_tantivy)?;
        Ok(())
    }

    /// Deletes the documents of file versions. Visible after [`Lexical::commit`].
    pub fn delete(&mut self, ids: &[u32]) -> Result<(), IndexError> {
        let field = self.fields.file;
        let writer = self.writer()?;
        for &id in ids {
            writer.delete_term(Term::from_field_u64(field, u64::from(id)));
        }
        Ok(())
    }

    /// Makes everything since the last commit durable and visible, as of `generation`.
    pub fn commit(&mut self, generation: u64) -> Result<(), IndexError> {
        let payload = format!("{generation}\n{}", self.identity);
        let writer = self.writer()?;
        let mut commit = writer.prepare_commit().map_err(IndexError::from_tantivy)?;
        commit.set_payload(&payload);
        commit.commit().map_err(IndexError::from_tantivy)?;
        Ok(())
    }

    /// The searcher of the last commit.
    pub fn searcher(&self) -> tantivy::Result<Searcher> {
        self.reader.reload()?;
        Ok(self.reader.searcher())
    }

    /// Waits until no segments are being merged. The next write opens a new writer.
    pub fn settle(&mut self) -> Result<(), IndexError> {
        match self.writer.take() {
            Some(writer) => writer.wait_merging_threads().map_err(IndexError::from_tantivy),
            None => Ok(()),
        }
    }

    /// Throws away what was added since the last commit, and the writer with it.
    pub fn discard(&mut self) {
        self.writer = None;
    }

    /// The writer. Its threads inherit the calling thread's priority.
    fn writer(&mut self) -> Result<&mut IndexWriter, IndexError> {
        if self.writer.is_none() {
            let options = IndexWriterOptions::builder()
                .num_worker_threads(self.threads)
                .memory_budget_per_thread(BUDGET_BYTES / self.threads)
                .num_merge_threads(1)
                .build();
            let writer = self.open_writer(options).map_err(IndexError::from_tantivy)?;
            let mut policy = LogMergePolicy::default();
            policy.set_min_num_segments(8);
            policy.set_max_docs_before_merge(2_000_000);
            writer.set_merge_policy(Box::new(policy));
            // A writer that died may have left files whose names this one would use again.
            writer.garbage_collect_files().wait().map_err(IndexError::from_tantivy)?;
            self.writer = Some(writer);
        }
        Ok(self.writer.as_mut().expect("it was just made"))
    }

    /// The folder is ours alone, so whatever still holds the lock of a dropped writer is a child process that is being
    /// started: it has copies of all descriptors until it runs its own program.
    fn open_writer(&self, options: IndexWriterOptions) -> tantivy::Result<IndexWriter> {
        let started = Instant::now();
        loop {
            match self.index.writer_with_options(options.clone()) {
                Err(TantivyError::LockFailure(LockError::LockBusy, _)) if started.elapsed() < LOCK_WAIT => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                opened => return opened,
            }
        }
    }
}

/// The generation and the identity of the last commit.
fn committed(index: &Index) -> Option<(u64, String)> {
    let payload = index.load_metas().ok()?.payload?;
    let (generation, identity) = payload.split_once('\n')?;
    Some((generation.parse().ok()?, identity.to_owned()))
}

fn schema() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let indexing = || {
        let indexing =
            TextFieldIndexing::default().set_tokenizer("terms").set_index_option(IndexRecordOption::WithFreqs);
        TextOptions::default().set_indexing_options(indexing)
    };
    let fields = Fields {
        text: builder.add_text_field("text", indexing()),
        path: builder.add_text_field("path", indexing()),
        symbol: builder.add_text_field("symbol", indexing()),
        scope: builder.add_text_field("scope", indexing()),
        file: builder.add_u64_field("file", NumericOptions::from(INDEXED)),
        chunk: builder.add_u64_field("chunk", NumericOptions::from(FAST)),
    };
    (builder.build(), fields)
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Splits at [`SEPARATOR`].
#[derive(Clone, Debug, Default)]
struct SplitTokenizer {
    token: Token,
}

struct SplitStream<'a> {
    token: &'a mut Token,
    rest: Option<&'a str>,
}

impl Tokenizer for SplitTokenizer {
    type TokenStream<'a> = SplitStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> SplitStream<'a> {
        self.token.reset();
        SplitStream { token: &mut self.token, rest: (!text.is_empty()).then_some(text) }
    }
}

impl TokenStream for SplitStream<'_> {
    fn advance(&mut self) -> bool {
        let Some(rest) = self.rest else { return false };
        let (term, rest) = match memchr::memchr(SEPARATOR as u8, rest.as_bytes()) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        self.rest = rest;
        self.token.text.clear();
        self.token.text.push_str(term);
        self.token.position = self.token.position.wrapping_add(1);
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_come_back_from_the_splitter_as_they_were_joined() {
        let mut tokenizer = SplitTokenizer::default();
        for (text, expected) in [("", &[][..]), ("a", &["a"]), ("a\0bc\0ü", &["a", "bc", "ü"])] {
            let mut stream = tokenizer.token_stream(text);
            let mut terms = Vec::new();
            while stream.advance() {
                terms.push(stream.token().text.clone());
            }
            assert_eq!(terms, expected);
        }
    }

    #[test]
    fn a_folder_that_is_no_index_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("meta.json"), "{").unwrap();
        let open = |identity| Lexical::open(folder.path(), identity, 1).unwrap();
        let mut lexical = open("a");
        assert_eq!(lexical.generation(), 0);
        lexical.commit(7).unwrap();
        drop(lexical);
        assert_eq!(open("a").generation(), 7);
        assert_eq!(open("b").generation(), 0, "another identity");
    }

    #[test]
    fn a_writer_waits_for_the_lock_that_a_child_being_started_still_has() {
        let folder = tempfile::tempdir().unwrap();
        let mut lexical = Lexical::open(folder.path(), "a", 1).unwrap();
        let held = std::fs::File::create(folder.path().join(".tantivy-writer.lock")).unwrap();
        held.try_lock().unwrap();
        let child = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(held);
        });
        lexical.commit(1).unwrap();
        assert!(child.is_finished(), "the lock was the one that counts");
        child.join().unwrap();
    }
}
