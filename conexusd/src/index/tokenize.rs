//! Terms: text in, the terms that the lexical index knows out. Documents and queries go through the same function.
//!
//! A word is a run of letters, digits and underscores. What comes of it:
//!
//! | word | terms |
//! |---|---|
//! | `parsers` | its stem: `parser` |
//! | `parseConfigs`, `parse_configs`, `PARSE_CONFIGS` | the stems of its parts and the whole: `pars`, `config`, `parseconfigs` |
//! | `HTTPServer`, `userIDs` | acronyms are one part: `http`, `server`, `httpserver`; `user`, `id`, `userids` |
//! | `sha256`, `utf8`, `i32` | as written, and what it is made of where that has two characters or more: `sha256`, `sha`, `256`; `utf8`, `utf`; `i32` |
//! | `0x1F`, `10_000` | a part that begins with a digit is never split: `0x1f`; `10`, `000`, `10000` |
//! | `get-user` | two words: `get`, `user` |
//! | `größeÄndern`, `имяФайла` | like ASCII, unstemmed: `größe`, `ändern`, `größeändern` |
//! | `検索` | each character and each pair: `検`, `検索`, `索` |
//!
//! Everything is lower-cased; parts are stemmed (Snowball's English), wholes are not, so that `addHandler` and
//! `addHandlers` stay apart. Wholes have no underscores and lose a final `e`, as stems do, so that `fileName`,
//! `file_name` and the plain word `filename` meet. Parts of one character are left out. Punctuation and emoji give
//! nothing. Order and positions mean nothing.

use std::cell::Cell;

mod identifier;
mod stem;
mod stop;
mod stream;
mod wide;

pub use stop::is_stop_word;
pub use stream::{CodeTokenStream, CodeTokenizer};

use stem::Stems;

/// Changes whenever the terms of a text do; stored in the index.
pub const IDENTITY: &str = "code-1";

/// The longest term in bytes; what is longer is cut, at a character.
pub const TERM_BYTES_MAX: usize = 64;

/// Longer words are data rather than names: they give one term, their beginning.
const WORD_CHARS_MAX: usize = 256;

/// What a byte of text is to a word, as bits.
mod class {
    pub(super) const LOWER: u8 = 1;
    pub(super) const UPPER: u8 = 2;
    pub(super) const DIGIT: u8 = 4;
    pub(super) const UNDERSCORE: u8 = 8;
    /// The first byte of a character beyond ASCII.
    pub(super) const WIDE: u8 = 16;
    /// Set beside `LOWER` for `s`, the plural of acronyms.
    pub(super) const PLURAL: u8 = 32;
    /// Set for a character that follows an underscore.
    pub(super) const BREAK: u8 = 64;

    pub(super) const LETTER: u8 = LOWER | UPPER;
    pub(super) const WORD: u8 = LETTER | DIGIT | UNDERSCORE;

    pub(super) const OF: [u8; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = match byte as u8 {
                b's' => LOWER | PLURAL,
                b'a'..=b'z' => LOWER,
                b'A'..=b'Z' => UPPER,
                b'0'..=b'9' => DIGIT,
                b'_' => UNDERSCORE,
                0x80.. => WIDE,
                _ => 0,
            };
            byte += 1;
        }
        table
    };
}

/// Calls `emit` with each term of `text`, a repeated one each time. No term is empty or longer than
/// [`TERM_BYTES_MAX`]; any text will do.
pub fn terms(text: &str, emit: &mut dyn FnMut(&str)) {
    let mut stems = Lease::take();
    let stems = stems.stems();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let mut seen = 0;
        while at < bytes.len() {
            let class = class::OF[bytes[at] as usize];
            if class & class::WORD == 0 {
                break;
            }
            seen |= class;
            at += 1;
        }
        if at < bytes.len() && bytes[at] >= 0x80 {
            at = wide::word(text, start, at, stems, emit);
        } else {
            if seen & !(class::LOWER | class::PLURAL) == 0 {
                if start < at {
                    emit(cut(stems.stem(&text[start..at])));
                }
            } else {
                identifier::ascii(&text[start..at], stems, emit);
            }
            at += 1;
        }
    }
}

/// Calls `emit` with the terms that stand for a path in each of its chunks: those of the file's stem twice, those of
/// the last three folders once. `path` is relative and has `/` between its components.
pub fn path_terms(path: &str, emit: &mut dyn FnMut(&str)) {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file_stem(name);
    terms(stem, emit);
    terms(stem, emit);
    for folder in folders.rsplit('/').take(3) {
        terms(folder, emit);
    }
}

/// A file name without its last extension; names that begin with their only dot are kept whole.
pub fn file_stem(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

/// The number of a term in the forward index: the same in every process and release (FNV-1a, 64 bits, folded).
#[inline]
pub fn term_hash(term: &str) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in term.as_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash ^ (hash >> 32)) as u32
}

/// The beginning of a term, as much as is kept.
#[inline]
fn cut(term: &str) -> &str {
    if term.len() <= TERM_BYTES_MAX { term } else { &term[..term.floor_char_boundary(TERM_BYTES_MAX)] }
}

thread_local! {
    static STEMS: Cell<Option<Box<Stems>>> = const { Cell::new(None) };
}

/// The thread's stems, given back when dropped. Taken rather than borrowed, so that `emit` may call [`terms`].
struct Lease(Option<Box<Stems>>);

impl Lease {
    fn take() -> Self {
        Self(STEMS.take())
    }

    fn stems(&mut self) -> &mut Stems {
        self.0.get_or_insert_with(Stems::boxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        STEMS.set(self.0.take());
    }
}

#[cfg(test)]
mod tests;
