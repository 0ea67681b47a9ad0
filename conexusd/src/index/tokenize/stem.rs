//! Stems: a word in, its Snowball English stem out, remembered so that a text's common words are stemmed once.

use rust_stemmers::{Algorithm, Stemmer};

use crate::ablation::{Signal, off};

/// Words up to this length are remembered.
const WORD_BYTES: usize = 16;

/// Places for remembered words, a power of two. A word has one place; the latest that wants it gets it.
const PLACES: usize = 8192;

/// A stemmer and what it found lately. One a thread.
pub(super) struct Stems {
    stemmer: Stemmer,
    places: Box<[Place]>,
    long: String,
}

#[derive(Clone, Copy)]
struct Place {
    /// The word, padded with zeros. All zeros: empty, since no word is.
    word: [u8; WORD_BYTES],
    stem: [u8; WORD_BYTES],
    length: u8,
    /// Whether the stem is the beginning of the word.
    prefix: bool,
}

impl Stems {
    pub(super) fn boxed() -> Box<Self> {
        let empty = Place { word: [0; WORD_BYTES], stem: [0; WORD_BYTES], length: 0, prefix: true };
        Box::new(Self {
            stemmer: Stemmer::create(Algorithm::English),
            places: vec![empty; PLACES].into_boxed_slice(),
            long: String::new(),
        })
    }

    /// The stem of a lower-case ASCII word.
    #[inline]
    pub(super) fn stem<'a>(&'a mut self, word: &'a str) -> &'a str {
        // No rule changes words this short.
        if word.len() <= 2 || off(Signal::Stemming) {
            return word;
        }
        if word.len() > WORD_BYTES {
            self.long.clear();
            // The rules look at the end, so what will be cut is left alone.
            if word.len() > super::TERM_BYTES_MAX {
                return word;
            }
            self.long.push_str(&self.stemmer.stem(word));
            return &self.long;
        }
        let mut key = [0; WORD_BYTES];
        key[..word.len()].copy_from_slice(word.as_bytes());
        let place = &mut self.places[place_of(key)];
        if place.word != key {
            fill(place, key, &self.stemmer.stem(word));
        }
        let length = place.length as usize;
        if place.prefix {
            &word[..length]
        } else {
            std::str::from_utf8(&place.stem[..length]).expect("the stem of an ASCII word is ASCII")
        }
    }
}

fn fill(place: &mut Place, word: [u8; WORD_BYTES], stem: &str) {
    let length = stem.len().min(WORD_BYTES);
    let stem = &stem.as_bytes()[..length];
    place.word = word;
    place.prefix = word[..length] == *stem;
    place.length = length as u8;
    place.stem[..length].copy_from_slice(stem);
}

#[inline]
fn place_of(word: [u8; WORD_BYTES]) -> usize {
    let word = u128::from_le_bytes(word);
    let mixed = (word as u64 ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93)
        ^ ((word >> 64) as u64).wrapping_mul(0xa076_1d64_78bd_642f);
    (mixed.wrapping_mul(0xe703_7ed1_a0b4_28db) >> (64 - PLACES.trailing_zeros())) as usize
}
