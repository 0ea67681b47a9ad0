//! Query: a text in, what it asks for out: its kind, terms, symbols, paths and quoted phrases.
//!
//! Nothing here looks at the index: the same text is always understood in the same way.

mod mentions;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;

use crate::ablation::{Signal, off};
use crate::index::tokenize;
pub use mentions::{Certainty, PathMention, SymbolMention};
pub(crate) use words::split_words;

/// Bytes of a query that are looked at; what follows adds nothing that the first 32 KiB did not say.
pub const QUERY_BYTES_MAX: usize = 32 * 1024;

/// A first line up to this many bytes that is followed by more is a title.
const TITLE_BYTES_MAX: usize = 300;

/// Words of a part that compounds are made of.
const COMPOUND_WORDS_MAX: usize = 64;

/// What a query mainly is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueryKind {
    /// One identifier, perhaps qualified: `parse_config`, `HttpClient::send`, `class Router`.
    Symbol,
    /// One path or file name, perhaps with a line: `src/main.rs:12`.
    Path,
    /// The text of an error.
    ErrorMessage,
    /// Lines of a stack trace.
    StackTrace,
    /// Prose.
    NaturalLanguage,
    /// Prose that names identifiers.
    Mixed,
}

impl QueryKind {
    /// A lower-case name, for traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Symbol => "symbol",
            Self::Path => "path",
            Self::ErrorMessage => "error_message",
            Self::StackTrace => "stack_trace",
            Self::NaturalLanguage => "natural_language",
            Self::Mixed => "mixed",
        }
    }
}

/// A part of the query that is searched on its own: all of a short one, title and body of a long one.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The text as it was asked.
    pub text: String,
    /// Distinct terms in the order of their first appearance, with how often each stands there.
    pub terms: Vec<(String, u32)>,
    /// Neighbouring words written as one, as identifiers write them (`render template` as `rendertemplate`).
    pub compounds: Vec<String>,
    /// The part's share in the fusion; the shares of all parts sum to 1.
    pub weight: f32,
}

/// What a text asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What it mainly is.
    pub kind: QueryKind,
    /// At least one.
    pub parts: Vec<Part>,
    /// Identifiers in it, the surest first.
    pub symbols: Vec<SymbolMention>,
    /// Paths in it, in order.
    pub paths: Vec<PathMention>,
    /// What stands in quotes, without them.
    pub phrases: Vec<String>,
    /// Distinct content terms of the first part: what file names are compared with.
    pub words: Vec<String>,
    /// Whether it is one name or path and nothing else, so that `symbols` are the ways to read it, the likeliest first.
    pub names_one: bool,
    /// Whether it asks for tests, examples or benchmarks, so that they are not ranked down.
    pub wants_tests: bool,
    /// Whether it asks for documents.
    pub wants_docs: bool,
}

impl Query {
    /// Whether it asks for one named thing rather than describes something.
    pub fn is_symbol(&self) -> bool {
        self.kind == QueryKind::Symbol
    }
}

/// Understands a query. Any text is valid; one without a letter or digit has no terms.
pub fn analyse(text: &str) -> Query {
    let text = clip(text.trim(), QUERY_BYTES_MAX);
    let mentions = mentions::find(text);
    let kind = kind_of(text, &mentions);
    let parts = parts_of(text, kind);
    let words = parts[0].terms.iter().map(|(term, _)| term.clone()).collect();
    let wants_tests = words::mentions_any(&parts[0].text, words::TEST_WORDS);
    let wants_docs = words::mentions_any(&parts[0].text, words::DOCS_WORDS);
    let mentions::Mentions { symbols, paths, phrases, names_one, .. } = mentions;
    Query { kind, parts, symbols, paths, phrases, words, names_one, wants_tests, wants_docs }
}

/// The terms of a text with their counts, stop words left out unless nothing else is there.
pub fn count_terms(text: &str) -> Vec<(String, u32)> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut terms: Vec<(String, u32)> = Vec::new();
    tokenize::terms(text, &mut |term| match places.get(term) {
        Some(&place) => terms[place].1 += 1,
        None => {
            places.insert(term.to_owned(), terms.len());
            terms.push((term.to_owned(), 1));
        }
    });
    if terms.iter().any(|(term, _)| !tokenize::is_stop_word(term)) {
        terms.retain(|(term, _)| !tokenize::is_stop_word(term));
    }
    terms
}

fn kind_of(text: &str, mentions: &mentions::Mentions) -> QueryKind {
    let tokens = text.split_whitespace().take(4).count();
    let frames = mentions.paths.iter().filter(|path| path.is_frame).count();
    let lines = text.lines().filter(|line| !line.trim().is_empty()).take(4).count();
    let places = mentions.paths.iter().filter(|path| path.line.is_some()).count();
    if frames >= 2
        || (frames == 1 && tokens > 1 && lines <= 2)
        || (places > 0 && tokens > 3 && words::introduces_trace(text))
    {
        QueryKind::StackTrace
    } else if mentions.whole_is_symbol {
        QueryKind::Symbol
    } else if tokens == 1 && !mentions.paths.is_empty() {
        QueryKind::Path
    } else if tokens > 2 && words::states_error(text) {
        QueryKind::ErrorMessage
    } else if mentions.symbols.iter().any(|symbol| symbol.certainty == Certainty::Sure) || !mentions.paths.is_empty() {
        QueryKind::Mixed
    } else {
        QueryKind::NaturalLanguage
    }
}

/// A long text is searched as a title and a body, so that what it says first is not drowned by what it quotes.
fn parts_of(text: &str, kind: QueryKind) -> Vec<Part> {
    let (title, body) = match text.split_once('\n') {
        Some((title, body)) if title.len() <= TITLE_BYTES_MAX => (title.trim(), body.trim()),
        _ => (text, ""),
    };
    let (title_terms, body_terms) = (count_terms(title), count_terms(body));
    if title_terms.is_empty() || body_terms.is_empty() {
        return vec![part(text, count_terms(text), 1.0)];
    }
    // The first line of a stack trace is a heading ("Traceback (most recent call last):"); the frames are the matter.
    let weight = if kind == QueryKind::StackTrace { 0.2 } else { 0.6 };
    vec![part(title, title_terms, weight), part(body, body_terms, 1.0 - weight)]
}

fn part(text: &str, terms: Vec<(String, u32)>, weight: f32) -> Part {
    Part { text: text.to_owned(), terms, compounds: compounds(text), weight }
}

/// Pairs of plain neighbouring words as the one word that names make of them. Few are in an index; those that are
/// say much.
fn compounds(text: &str) -> Vec<String> {
    if off(Signal::Compounds) {
        return Vec::new();
    }
    let words: Vec<&str> = text.split_whitespace().take(COMPOUND_WORDS_MAX).collect();
    let plain = |word: &str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_alphabetic());
    let mut found: Vec<String> = Vec::new();
    for pair in words.windows(2) {
        if !pair.iter().all(|word| plain(word) && !tokenize::is_stop_word(&word.to_ascii_lowercase())) {
            continue;
        }
        // Written with an underscore, the tokenizer gives the parts, which are there already, and the whole.
        let mut whole = None;
        tokenize::terms(&format!("{}_{}", pair[0].to_lowercase(), pair[1].to_lowercase()), &mut |term| {
            whole = Some(term.to_owned());
        });
        found.extend(whole.filter(|whole| !found.contains(whole)));
    }
    found
}

/// The longest prefix of at most `bytes` bytes that ends between two characters.
fn clip(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
