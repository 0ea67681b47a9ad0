//! Features: what speaks for a file, as numbers of about 0 to 1 that a linear model can weigh.

use rustc_hash::FxHashMap;

use super::Evidence;
use super::candidates::Candidate;
use super::paths;
use crate::index::classify::SourceType;
use crate::index::snapshot::ChunkRow;
use crate::index::tokenize;
use crate::search::bm25::WeightedTerm;
use crate::search::query::split_words;

/// How many features there are.
pub const FEATURES: usize = 17;

/// What each feature is. Those marked with `*` are divided by the query's greatest.
pub const FEATURE_NAMES: [&str; FEATURES] = [
    "fused",         // * best reciprocal rank score of a chunk
    "fused_rank",    // 10 / (10 + rank by fused)
    "fused_sum",     // * reciprocal rank scores of all found chunks together
    "cosine_best",   // * best cosine of a found chunk
    "cosine_file",   // * cosine of the mean of the file's vectors
    "stem_share",    // share of the file name's words that the query has
    "lines",         // ln(1 + lines) / 10
    "definition",    // how well it defines a symbol of the query or is at a path of it
    "symbol_words",  // share of the query's words, by idf, that are in names it defines
    "docs",          // 1 for prose and data where the query does not ask for them
    "platform",      // 1 for code of another platform than this machine's
    "paired_header", // 1 for a header whose implementation is beside it
    "depth",         // folders / 10
    "mentions",      // ln(1 + chunks that hold the file's name as a word) / 10
    "bm25_named",    // * BM25 of the whole file, a word in the path counting as four in the text
    "bm25_best",     // * best BM25 score of a found chunk
    "aside",         // 1 for a test or an example not asked for, and for what is vendored, generated or for old callers
];

/// Places of the features that are made from others, or scaled.
const FUSED: usize = 0;
const FUSED_RANK: usize = 1;
const SCALED: [usize; 6] = [FUSED, 2, 3, 4, 14, 15];

/// Chunks of a file whose symbols are looked at: more say nothing of it.
const SYMBOL_CHUNKS_MAX: u32 = 128;

/// Words of file names that say nothing of what is in them.
const NEUTRAL_WORDS: &[&str] = &["util", "utils", "utilities", "helper", "helpers", "common", "impl", "inl"];

/// BM25 over whole files: saturation and length normalisation.
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// Occurrences in the text that one in the path is worth.
const PATH_COUNT: f32 = 4.0;

/// The features of all candidates.
pub(super) fn compute(evidence: &Evidence<'_>, candidates: &[Candidate]) -> Vec<[f32; FEATURES]> {
    let mut words = QueryWords::of(evidence);
    let mut rows: Vec<[f32; FEATURES]> =
        candidates.iter().map(|candidate| describe(evidence, candidate, candidates, &mut words)).collect();
    add_ranks(&mut rows);
    for feature in SCALED {
        scale(&mut rows, feature);
    }
    rows
}

fn describe(
    evidence: &Evidence<'_>,
    candidate: &Candidate,
    candidates: &[Candidate],
    words: &mut QueryWords,
) -> [f32; FEATURES] {
    let view = evidence.snapshot.file(candidate.file);
    let file_cosine: f32 = evidence
        .vectors
        .iter()
        .zip(&evidence.query.parts)
        .map(|(vector, part)| part.weight * evidence.snapshot.file_similarity(candidate.file, vector))
        .sum();
    let stem = paths::stem_of(view.path);
    let is_docs = match view.class.source_type {
        SourceType::Docs => !evidence.query.wants_docs,
        SourceType::Config => true,
        SourceType::Code | SourceType::Test => false,
    };
    let flag = |is: bool| f32::from(u8::from(is));
    [
        candidate.chunks.iter().map(|found| found.fused).fold(0.0, f32::max),
        0.0,
        candidate.chunks.iter().map(|found| found.fused).sum(),
        candidate.chunks.iter().map(|found| found.cosine).fold(0.0, f32::max),
        file_cosine,
        words.share_of(stem),
        (1.0 + view.lines as f32).ln() / 10.0,
        candidate.place.map_or(0.0, |place| place.strength),
        symbol_words(evidence, candidate, words),
        flag(is_docs),
        paths::other_platform(view.path, &evidence.query.parts[0].text),
        flag(has_implementation(evidence, candidates, view.path)),
        view.path.matches('/').count() as f32 / 10.0,
        mentions(evidence, stem),
        file_bm25(evidence, candidate, words),
        candidate.chunks.iter().map(|found| found.bm25).fold(0.0, f32::max),
        flag(paths::is_aside(&view, evidence.query.wants_tests)),
    ]
}

/// How often the index speaks of a file by its name.
fn mentions(evidence: &Evidence<'_>, stem: &str) -> f32 {
    let mut whole = String::new();
    tokenize::terms(stem, &mut |term| {
        if term.len() >= whole.len() {
            whole = term.to_owned();
        }
    });
    let term = tantivy::Term::from_field_text(evidence.snapshot.lexical_fields().text, &whole);
    let holders = evidence.snapshot.searcher().doc_freq(&term).unwrap_or(0);
    (1.0 + holders as f32).ln() / 10.0
}

/// Whether a C or C++ header has a source file of the same name in its folder.
fn has_implementation(evidence: &Evidence<'_>, candidates: &[Candidate], path: &str) -> bool {
    let Some((stem, extension)) = path.rsplit_once('.') else { return false };
    matches!(extension, "h" | "hpp" | "hh" | "hxx")
        && candidates.iter().any(|other| {
            let path = evidence.snapshot.file(other.file).path;
            path.rsplit_once('.').is_some_and(|(other, extension)| {
                other == stem && matches!(extension, "c" | "cc" | "cpp" | "cxx" | "m" | "mm")
            })
        })
}

/// Fills in the places in the order of the fused lanes.
fn add_ranks(rows: &mut [[f32; FEATURES]]) {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| rows[b][FUSED].total_cmp(&rows[a][FUSED]));
    for (rank, row) in order.into_iter().enumerate() {
        rows[row][FUSED_RANK] = 10.0 / (11.0 + rank as f32);
    }
}

fn scale(rows: &mut [[f32; FEATURES]], feature: usize) {
    let top = rows.iter().map(|row| row[feature]).fold(0.0, f32::max);
    for row in rows {
        row[feature] = if top > 0.0 { row[feature].max(0.0) / top } else { 0.0 };
    }
}

fn file_bm25(evidence: &Evidence<'_>, candidate: &Candidate, words: &mut QueryWords) -> f32 {
    let view = evidence.snapshot.file(candidate.file);
    let mut named: Vec<String> = Vec::new();
    split_words(view.path, &mut |word| {
        if words.place_of(word).is_some() {
            named.push(term_of(word));
        }
    });
    let length = view.terms as f32 / evidence.snapshot.mean_file_terms().max(1.0);
    let norm = K1 * (1.0 - B + B * length);
    let score = |term: &WeightedTerm| {
        let count = evidence.snapshot.term_frequency(candidate.file, &term.text) as f32
            + if named.contains(&term.text) { PATH_COUNT } else { 0.0 };
        term.idf * term.weight * count * (K1 + 1.0) / (count + norm)
    };
    evidence.terms.iter().map(score).sum()
}

/// The share of the query's words, by idf, that are in the file's symbols.
fn symbol_words(evidence: &Evidence<'_>, candidate: &Candidate, words: &mut QueryWords) -> f32 {
    let view = evidence.snapshot.file(candidate.file);
    let first = view.first_chunk.0;
    let rows = first..first + view.chunks.min(SYMBOL_CHUNKS_MAX);
    words.coverage(rows.map(|row| evidence.snapshot.chunk(ChunkRow(row)).symbol))
}

/// The query's words and a memory of which words of names are among them.
struct QueryWords {
    places: FxHashMap<String, usize>,
    /// By place, their idf.
    weights: Vec<f32>,
    total: f32,
    memory: FxHashMap<String, Option<usize>>,
}

impl QueryWords {
    fn of(evidence: &Evidence<'_>) -> Self {
        let idf: FxHashMap<&str, f32> = evidence.terms.iter().map(|term| (term.text.as_str(), term.idf)).collect();
        let mut words =
            Self { places: FxHashMap::default(), weights: Vec::new(), total: 0.0, memory: FxHashMap::default() };
        // A query's identifiers count by their parts, as names do; the whole is a word of its own only if it has none.
        for part in &evidence.query.parts {
            split_words(&part.text, &mut |word| {
                let term = term_of(word);
                if let Some(&idf) = idf.get(term.as_str())
                    && !words.places.contains_key(&term)
                {
                    words.places.insert(term, words.weights.len());
                    words.weights.push(idf);
                    words.total += idf;
                }
            });
        }
        words
    }

    /// The number of the query's word that this word of a name is a form of.
    fn place_of(&mut self, word: &str) -> Option<usize> {
        if let Some(place) = self.memory.get(word) {
            return *place;
        }
        let place = self.places.get(&term_of(word)).copied();
        self.memory.insert(word.to_owned(), place);
        place
    }

    /// The share of a name's words that are the query's.
    fn share_of(&mut self, name: &str) -> f32 {
        let (mut count, mut held, mut neutral) = (0_u32, 0_u32, 0_u32);
        split_words(name, &mut |word| {
            let holds = self.place_of(word).is_some();
            count += 1;
            held += u32::from(holds);
            neutral += u32::from(!holds && NEUTRAL_WORDS.contains(&word));
        });
        if held == 0 { 0.0 } else { held as f32 / (count - neutral) as f32 }
    }

    /// The share of the query's words, by idf, that are in these names.
    fn coverage<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> f32 {
        let mut seen = vec![false; self.weights.len()];
        for name in names {
            split_words(name, &mut |word| {
                if let Some(place) = self.place_of(word) {
                    seen[place] = true;
                }
            });
        }
        let covered: f32 = seen.iter().zip(&self.weights).filter(|(seen, _)| **seen).map(|(_, weight)| weight).sum();
        if self.total > 0.0 { covered / self.total } else { 0.0 }
    }
}

/// The term that a single word becomes in the index.
fn term_of(word: &str) -> String {
    let mut term = None;
    tokenize::terms(word, &mut |emitted| {
        term.get_or_insert_with(|| emitted.to_owned());
    });
    term.unwrap_or_default()
}
