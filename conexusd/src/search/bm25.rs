//! The lexical lane: terms in, the chunks that hold them out, best first by BM25.

use tantivy::query::{BooleanQuery, BoostQuery, EnableScoring, Occur, Query as _, TermQuery, Weight};
use tantivy::schema::{Field, IndexRecordOption, Schema};
use tantivy::{DocAddress, Searcher, Term};

use super::query::Part;
use crate::ablation::{Signal, off};
use crate::index::snapshot::{ChunkRow, FileRow, Snapshot};

/// More terms than this are cut to the rarest: a pasted log of 10 kB is found by the words that only few chunks hold.
pub const TERMS_MAX: usize = 48;

/// What a compound of two words weighs beside them.
const COMPOUND_WEIGHT: f32 = 0.6;

/// The fields that are searched, their weights, and what switches them off. A symbol's and a scope's words are in the text
/// too, and beside the ranker's own look at names their fields gain nothing: without them the lane takes a quarter less.
const FIELDS: [(&str, f32, Option<Signal>); 2] = [("text", 1.0, None), ("path", 1.0, Some(Signal::PathField))];

/// A term of the query and what the index knows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedTerm {
    /// As the tokenizer makes it.
    pub text: String,
    /// Robertson and Spärck Jones: `ln(1 + (N - n + 0.5) / (n + 0.5))`, N chunks, n of them with the term.
    pub idf: f32,
    /// Its weight in the query: the square root of how often it stands there.
    pub weight: f32,
}

/// The terms of a part that are worth looking up, the rarest first, with their weights.
pub fn weigh(snapshot: &Snapshot, part: &Part) -> tantivy::Result<Vec<WeightedTerm>> {
    let searcher = snapshot.searcher();
    let fields = fields_of(searcher.schema())?;
    let text_field = fields[0].0;
    let chunks = searcher.num_docs() as f32;
    let mut terms = Vec::with_capacity(part.terms.len());
    let written = part.terms.iter().map(|(text, count)| (text, (*count as f32).sqrt()));
    let joined = part.compounds.iter().filter(|text| !part.terms.iter().any(|(term, _)| term == *text));
    for (text, weight) in written.chain(joined.map(|text| (text, COMPOUND_WEIGHT))) {
        let holders = searcher.doc_freq(&Term::from_field_text(text_field, text))?;
        let holders = holders as f32;
        if holders == 0.0 && weight == COMPOUND_WEIGHT {
            continue;
        }
        let idf = (1.0 + (chunks - holders).max(0.0) / (holders + 0.5)).ln();
        terms.push(WeightedTerm { text: text.clone(), idf, weight });
    }
    if terms.len() > TERMS_MAX {
        // What no chunk holds has the highest idf and finds nothing.
        let unknown = (1.0 + chunks / 0.5).ln();
        terms.retain(|term| term.idf < unknown);
        terms.sort_by(|a, b| (b.idf * b.weight).total_cmp(&(a.idf * a.weight)).then_with(|| a.text.cmp(&b.text)));
        terms.truncate(TERMS_MAX);
    }
    Ok(terms)
}

/// The best `limit` chunks of the files that `keep` accepts.
pub fn search(
    snapshot: &Snapshot,
    terms: &[WeightedTerm],
    limit: usize,
    keep: &dyn Fn(FileRow) -> bool,
) -> tantivy::Result<Vec<(ChunkRow, f32)>> {
    if terms.is_empty() || limit == 0 || off(Signal::LexicalLane) {
        return Ok(Vec::new());
    }
    let searcher = snapshot.searcher();
    let weight = build(terms, searcher)?;
    let mut best = Best::new(limit);
    for (ordinal, segment) in searcher.segment_readers().iter().enumerate() {
        let alive = segment.alive_bitset();
        let threshold = best.threshold;
        weight.for_each_pruning(threshold, segment, &mut |document, score| {
            if alive.is_none_or(|alive| alive.is_alive(document))
                && let Some(chunk) = snapshot.chunk_of(DocAddress::new(ordinal as u32, document))
                && keep(snapshot.chunk(chunk).file)
            {
                best.push(chunk, score);
            }
            best.threshold
        })?;
    }
    Ok(best.into_sorted(snapshot))
}

/// The lexical fields and their weights. An index may do without any but the first.
fn fields_of(schema: &Schema) -> tantivy::Result<Vec<(Field, f32)>> {
    let mut fields = vec![(schema.get_field(FIELDS[0].0)?, FIELDS[0].1)];
    let on = FIELDS[1..].iter().filter(|(_, _, signal)| !signal.is_some_and(off));
    fields.extend(on.filter_map(|&(name, weight, _)| Some((schema.get_field(name).ok()?, weight))));
    Ok(fields)
}

fn build(terms: &[WeightedTerm], searcher: &Searcher) -> tantivy::Result<Box<dyn Weight>> {
    let fields = fields_of(searcher.schema())?;
    let mut clauses: Vec<(Occur, Box<dyn tantivy::query::Query>)> = Vec::with_capacity(terms.len() * fields.len());
    for term in terms {
        for &(field, weight) in &fields {
            let query = TermQuery::new(Term::from_field_text(field, &term.text), IndexRecordOption::WithFreqs);
            clauses.push((Occur::Should, Box::new(BoostQuery::new(Box::new(query), term.weight * weight))));
        }
    }
    BooleanQuery::new(clauses).weight(EnableScoring::enabled_from_searcher(searcher))
}

/// The best chunks so far: at most twice the limit are held, then the worse half goes.
struct Best {
    hits: Vec<(ChunkRow, f32)>,
    limit: usize,
    /// Scores not above this cannot be among the best.
    threshold: f32,
}

impl Best {
    fn new(limit: usize) -> Self {
        Self { hits: Vec::with_capacity(limit * 2), limit, threshold: f32::MIN }
    }

    fn push(&mut self, chunk: ChunkRow, score: f32) {
        self.hits.push((chunk, score));
        if self.hits.len() == self.limit * 2 {
            self.hits.select_nth_unstable_by(self.limit - 1, |a, b| b.1.total_cmp(&a.1));
            self.hits.truncate(self.limit);
            self.threshold = self.hits[self.limit - 1].1;
        }
    }

    /// Best first. Equal scores by path and line, so that two builds of one index answer alike.
    fn into_sorted(mut self, snapshot: &Snapshot) -> Vec<(ChunkRow, f32)> {
        self.hits.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| super::rank::by_place(snapshot, a.0, b.0)));
        self.hits.truncate(self.limit);
        self.hits
    }
}
