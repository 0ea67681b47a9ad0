//! Passages: which candidate holds, word for word, what the question quotes?
//!
//! A program writes an error message as a text with gaps for values. Where three words and more stand in a file in the
//! order of the message, gaps aside, the message is very likely made there; the words alone stand in many files.

use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};

use super::Evidence;
use crate::ablation::{Signal, off};
use crate::index::snapshot::{ChunkRow, FileRow};
use crate::search::query::{Query, QueryKind};

/// Words that must follow each other.
const RUN: usize = 3;

/// Words of a passage that are looked at, and passages of a question.
const WORDS_MAX: usize = 64;
const PASSAGES_MAX: usize = 8;

/// Of a passage's words, the share that a file must hold in runs.
const SHARE_MIN: f32 = 0.5;

/// Files whose text is read, and bytes of each: a question takes a few milliseconds longer, not more.
const FILES_MAX: usize = 24;
const TEXT_BYTES_MAX: usize = 512 * 1024;

/// What a file that holds a passage stands before: everything that is only scored. Steps are quarters of the passage.
const TIER_PASSAGE: u16 = 10;
const STEPS: f32 = 4.0;

/// Where a file holds the most of a passage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The chunk with the line that holds the most of it.
    pub(super) chunk: ChunkRow,
    /// See [`super::ScoredFile::tier`].
    pub(super) tier: u16,
}

/// Those of the files, the likeliest first, that hold a passage of the question.
pub(super) fn find(evidence: &Evidence<'_>, files: impl Iterator<Item = FileRow>) -> FxHashMap<FileRow, Place> {
    let passages: Vec<Passage> = passages(evidence.query);
    if passages.is_empty() || off(Signal::Passages) {
        return FxHashMap::default();
    }
    let place = |file: FileRow| {
        // A file that changed meanwhile is found as it was, by what was scored.
        let text = evidence.snapshot.file_text(file).ok()?;
        let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        let found = passages.iter().filter_map(|passage| passage.in_text(text));
        let (share, line) = found.max_by(|a, b| a.0.total_cmp(&b.0))?;
        let tier = TIER_PASSAGE + (share * STEPS) as u16;
        let chunk = evidence.snapshot.chunk_at(file, line).unwrap_or(evidence.snapshot.file(file).first_chunk);
        Some((file, Place { chunk, tier }))
    };
    files.take(FILES_MAX).filter_map(place).collect()
}

/// What a question quotes: the message that it states, and what stands in quotes.
fn passages(query: &Query) -> Vec<Passage> {
    let message = (query.kind == QueryKind::ErrorMessage).then(|| &*query.parts[0].text);
    let quoted = match query.kind {
        QueryKind::Symbol | QueryKind::Path | QueryKind::StackTrace => &[][..],
        _ => &query.phrases[..],
    };
    let texts = message.into_iter().chain(quoted.iter().map(|phrase| &**phrase));
    texts.take(PASSAGES_MAX).filter_map(Passage::new).collect()
}

/// A text as runs of words.
struct Passage {
    /// Where each run of [`RUN`] words begins among the words.
    runs: FxHashMap<[u64; RUN], usize>,
    words: usize,
}

impl Passage {
    /// None for one of less than a run. Numbers are values: a run goes up to them.
    fn new(text: &str) -> Option<Self> {
        let all: Vec<&str> = words(text).map(|(word, _)| word).take(WORDS_MAX).collect();
        let is_value = |word: &&str| word.bytes().any(|byte| byte.is_ascii_digit());
        let mut runs = FxHashMap::default();
        for (at, run) in all.windows(RUN).enumerate() {
            if !run.iter().any(is_value) {
                runs.entry([0, 1, 2].map(|n| hash(run[n]))).or_insert(at);
            }
        }
        let words = all.iter().filter(|word| !is_value(word)).count();
        (!runs.is_empty()).then_some(Self { runs, words })
    }

    /// The share of the words that stand in a text in runs, if it is enough, and the line that holds the most of them.
    fn in_text(&self, text: &str) -> Option<(f32, u32)> {
        let mut held = [false; WORDS_MAX];
        let mut lines: FxHashMap<u32, u32> = FxHashMap::default();
        let mut last = [0; RUN];
        for (word, line) in words(text) {
            last.rotate_left(1);
            last[RUN - 1] = hash(word);
            if let Some(&at) = self.runs.get(&last) {
                held[at..at + RUN].fill(true);
                *lines.entry(line).or_default() += 1;
            }
        }
        let share = held.iter().filter(|&&held| held).count() as f32 / self.words as f32;
        let (line, _) = lines.into_iter().max_by_key(|&(line, count)| (count, std::cmp::Reverse(line)))?;
        (share >= SHARE_MIN).then_some((share.min(1.0), line))
    }
}

/// The words of a text with the line of each, from 1.
fn words(text: &str) -> impl Iterator<Item = (&str, u32)> {
    let lines = text.lines().zip(1..);
    lines.flat_map(|(text, line)| {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(move |word| (word, line))
    })
}

/// A word in lower case as a number: 64 bits, so that two of the few words of a question do not meet by chance.
fn hash(word: &str) -> u64 {
    let mut hasher = FxHasher::default();
    word.chars().flat_map(char::to_lowercase).for_each(|c| hasher.write_u32(u32::from(c)));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(passage: &str, text: &str) -> Option<(f32, u32)> {
        Passage::new(passage)?.in_text(text)
    }

    #[test]
    fn a_message_with_values_is_found_where_it_is_made() {
        let source = "fn check() {\n    fail(\"%s: a sheet of %zu columns does not fit on paper\");\n}";
        let (found, line) = share("a.ods: a sheet of 4194304 columns does not fit on paper", source).unwrap();
        assert_eq!((found > 0.7, line), (true, 2));
        assert_eq!(share("DOES NOT FIT ON PAPER", "does not fit on Paper").unwrap().0, 1.0);
        // The words in another order say nothing.
        assert_eq!(
            share("a sheet of 7 columns does not fit on paper", "paper does fit a not, columns sheet on of"),
            None
        );
    }

    #[test]
    fn a_part_of_less_than_half_is_chance() {
        let passage = "cannot open the file that was asked for by the user";
        assert_eq!(share(passage, "open the file"), None);
        assert!(share(passage, "open the file that was asked").is_some_and(|(share, _)| share < 0.6));
    }

    #[test]
    fn what_has_no_run_is_no_passage() {
        for text in ["", "two words", "one 1 two 2 three", "…"] {
            assert!(Passage::new(text).is_none(), "{text}");
        }
        let long = "word ".repeat(10_000);
        assert_eq!(share(&long, "word word word"), None, "most of it is not there");
    }
}
