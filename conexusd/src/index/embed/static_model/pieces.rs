//! Pieces: a text in, how often each token of the vocabulary stands in it out.

/// The longest piece of a word, in bytes; a whole word may be longer.
const PIECE_BYTES_MAX: usize = 20;

/// The vocabulary as a hash table.
pub(super) struct Pieces {
    /// Token number + 1 in the low 17 bits, the rest of the hash above; 0 is empty. Open addressing, linear probing.
    slots: Box<[u32]>,
    /// All tokens, one after the other.
    text: Box<[u8]>,
    /// Where each token begins, and the end of the last.
    starts: Box<[u32]>,
    /// The longest token in bytes.
    longest: usize,
}

const NUMBER_BITS: u32 = 17;
const NUMBER_MASK: u32 = (1 << NUMBER_BITS) - 1;

impl Pieces {
    /// Builds the table. Refuses what would never be found, or not unambiguously.
    pub(super) fn build(vocabulary: &[Box<str>]) -> Result<Self, String> {
        let mut pieces = Self {
            slots: vec![0; (vocabulary.len() * 2).next_power_of_two().max(2)].into_boxed_slice(),
            text: vocabulary.concat().into_bytes().into_boxed_slice(),
            starts: std::iter::once(0)
                .chain(vocabulary.iter().scan(0, |end, token| {
                    *end += token.len() as u32;
                    Some(*end)
                }))
                .collect(),
            longest: vocabulary.iter().map(|token| token.len()).max().unwrap_or(0),
        };
        for (number, token) in vocabulary.iter().enumerate() {
            let line = number + 1;
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
                return Err(format!(
                    "line {line} of vocab.txt is {token:?}, tokens are lower-case ASCII letters or digits"
                ));
            }
            if let Some(first) = pieces.find(token.as_bytes()) {
                return Err(format!("line {line} of vocab.txt repeats {token:?} of line {}", first + 1));
            }
            pieces.insert(token.as_bytes(), number as u32);
        }
        Ok(pieces)
    }

    /// The number of tokens.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Adds the pieces of a text to the bag.
    pub(super) fn count(&self, text: &str, bag: &mut Bag) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let end = word_end(bytes, at);
            if end == at {
                at += 1;
                continue;
            }
            self.count_word(&bytes[at..end], bag);
            at = end;
        }
    }

    /// Adds one word in any case.
    #[inline]
    fn count_word(&self, word: &[u8], bag: &mut Bag) {
        if word.len() > CACHED_BYTES {
            let mut lower = std::mem::take(&mut bag.long);
            lower.clear();
            lower.extend(word.iter().map(|byte| byte | 0x20));
            self.cut(&lower, |piece| bag.add(piece));
            bag.long = lower;
            return;
        }
        let mut key = [0; CACHED_BYTES];
        key[..word.len()].copy_from_slice(word);
        for byte in &mut key[..word.len()] {
            *byte |= 0x20;
        }
        let place = place_of(key);
        let mut known = bag.known[place];
        if known.word != key {
            known = Known { word: key, length: 0, pieces: [0; KNOWN_PIECES] };
            let mut total = 0;
            self.cut(&key[..word.len()], |piece| {
                if let Some(slot) = known.pieces.get_mut(total) {
                    *slot = piece;
                }
                total += 1;
            });
            if total > KNOWN_PIECES {
                return self.cut(&key[..word.len()], |piece| bag.add(piece));
            }
            known.length = total as u8;
            bag.known[place] = known;
        }
        for &piece in &known.pieces[..known.length as usize] {
            bag.add(piece);
        }
    }

    /// Calls `take` with the pieces of a lower-case word: itself, or the longest ones from the left.
    fn cut(&self, word: &[u8], mut take: impl FnMut(u16)) {
        if word.len() <= self.longest
            && let Some(number) = self.find(word)
        {
            return take(number as u16);
        }
        let mut rest = word;
        while !rest.is_empty() {
            match self.longest_prefix(rest) {
                Some((number, length)) => {
                    take(number as u16);
                    rest = &rest[length..];
                }
                None => rest = &rest[1..],
            }
        }
    }

    /// The longest token that a text begins with, and its length.
    fn longest_prefix(&self, text: &[u8]) -> Option<(u32, usize)> {
        let most = text.len().min(PIECE_BYTES_MAX).min(self.longest);
        let mut hashes = [0; PIECE_BYTES_MAX];
        let mut hash = HASH_START;
        for (place, &byte) in text[..most].iter().enumerate() {
            hash = step(hash, byte);
            hashes[place] = finish(hash);
        }
        (1..=most).rev().find_map(|length| Some((self.find_hashed(&text[..length], hashes[length - 1])?, length)))
    }

    fn find(&self, token: &[u8]) -> Option<u32> {
        self.find_hashed(token, hash_of(token))
    }

    #[inline]
    fn find_hashed(&self, token: &[u8], hash: u32) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut place = hash as usize & mask;
        loop {
            let slot = self.slots[place];
            if slot == 0 {
                return None;
            }
            let number = (slot & NUMBER_MASK) - 1;
            if (slot ^ hash) >> NUMBER_BITS == 0 && self.token(number) == token {
                return Some(number);
            }
            place = (place + 1) & mask;
        }
    }

    fn insert(&mut self, token: &[u8], number: u32) {
        let mask = self.slots.len() - 1;
        let hash = hash_of(token);
        let mut place = hash as usize & mask;
        // The table is at most half full, so there is an empty place.
        while self.slots[place] != 0 {
            place = (place + 1) & mask;
        }
        self.slots[place] = (number + 1) | (hash & !NUMBER_MASK);
    }

    fn token(&self, number: u32) -> &[u8] {
        let number = number as usize;
        &self.text[self.starts[number] as usize..self.starts[number + 1] as usize]
    }
}

/// The end of the word that begins at `at`: `[A-Z]+(?![a-z]) | [A-Z]?[a-z]+ | [0-9]+`; `at` itself if none does.
#[inline]
fn word_end(bytes: &[u8], at: usize) -> usize {
    let run = |from: usize, of: fn(&u8) -> bool| {
        from + bytes[from..].iter().position(|byte| !of(byte)).unwrap_or(bytes.len() - from)
    };
    match bytes[at] {
        b'a'..=b'z' => run(at + 1, u8::is_ascii_lowercase),
        b'0'..=b'9' => run(at + 1, u8::is_ascii_digit),
        b'A'..=b'Z' => {
            let end = run(at + 1, u8::is_ascii_uppercase);
            match bytes.get(end) {
                // The last capital belongs to the lower-case letters after it.
                Some(b'a'..=b'z') if end - at > 1 => end - 1,
                Some(b'a'..=b'z') => run(end, u8::is_ascii_lowercase),
                _ => end,
            }
        }
        _ => at,
    }
}

const HASH_START: u32 = 0x9747_b28c;

#[inline]
fn step(hash: u32, byte: u8) -> u32 {
    (hash.rotate_left(5) ^ u32::from(byte)).wrapping_mul(0x9e37_79b1)
}

#[inline]
fn finish(hash: u32) -> u32 {
    let hash = (hash ^ (hash >> 15)).wrapping_mul(0x85eb_ca6b);
    hash ^ (hash >> 13)
}

fn hash_of(token: &[u8]) -> u32 {
    finish(token.iter().fold(HASH_START, |hash, &byte| step(hash, byte)))
}

/// Words up to this length are remembered.
const CACHED_BYTES: usize = 16;
const KNOWN_PIECES: usize = 7;
/// Places for remembered words, a power of two; the latest word that wants a place gets it.
const KNOWN_PLACES: usize = 8192;

/// A word met before and its pieces.
#[derive(Clone, Copy)]
struct Known {
    /// Lower-case, padded with zeros. No word is all zeros.
    word: [u8; CACHED_BYTES],
    length: u8,
    pieces: [u16; KNOWN_PIECES],
}

/// Counts of tokens, and working memory.
pub(super) struct Bag {
    /// One a token; all 0 between texts.
    counts: Box<[u32]>,
    /// Tokens whose count is not 0, in the order in which they were met first.
    met: Vec<u16>,
    drained: Vec<(u16, f32)>,
    known: Box<[Known]>,
    long: Vec<u8>,
}

impl Bag {
    pub(super) fn new(tokens: usize) -> Self {
        let empty = Known { word: [0; CACHED_BYTES], length: 0, pieces: [0; KNOWN_PIECES] };
        Self {
            counts: vec![0; tokens].into_boxed_slice(),
            met: Vec::new(),
            drained: Vec::new(),
            known: vec![empty; KNOWN_PLACES].into_boxed_slice(),
            long: Vec::new(),
        }
    }

    #[inline]
    fn add(&mut self, token: u16) {
        let count = &mut self.counts[token as usize];
        if *count == 0 {
            self.met.push(token);
        }
        *count = count.saturating_add(1);
    }

    /// Hands over the distinct tokens with the square roots of their counts, and forgets them.
    pub(super) fn drain(&mut self, work: impl FnOnce(&[(u16, f32)])) {
        self.drained.clear();
        for &token in &self.met {
            let count = std::mem::take(&mut self.counts[token as usize]);
            self.drained.push((token, (count as f32).sqrt()));
        }
        self.met.clear();
        work(&self.drained);
    }
}

#[inline]
fn place_of(word: [u8; CACHED_BYTES]) -> usize {
    let word = u128::from_le_bytes(word);
    let mixed = (word as u64 ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93)
        ^ ((word >> 64) as u64).wrapping_mul(0xa076_1d64_78bd_642f);
    (mixed.wrapping_mul(0xe703_7ed1_a0b4_28db) >> (64 - KNOWN_PLACES.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let (mut all, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let end = word_end(text.as_bytes(), at);
            if end > at {
                all.push(&text[at..end]);
            }
            at = end.max(at + 1);
        }
        all
    }

    #[test]
    fn words_end_where_the_expression_says() {
        assert_eq!(
            words("HTTPServer_v2.getURL(Aa)ABc x"),
            ["HTTP", "Server", "v", "2", "get", "URL", "Aa", "A", "Bc", "x"]
        );
        assert_eq!(words("éa Éb größe"), ["a", "b", "gr", "e"]);
        assert!(words("-_ é").is_empty());
    }

    fn pieces(vocabulary: &[&str], text: &str) -> Vec<(String, f32)> {
        let vocabulary: Vec<Box<str>> = vocabulary.iter().map(|&token| token.into()).collect();
        let pieces = Pieces::build(&vocabulary).expect("a good vocabulary");
        let mut bag = Bag::new(pieces.len());
        pieces.count(text, &mut bag);
        let mut all = Vec::new();
        bag.drain(|met| {
            all.extend(met.iter().map(|&(token, root)| (vocabulary[token as usize].to_string(), root * root)))
        });
        bag.drain(|met| assert!(met.is_empty()));
        all.iter().map(|(token, count)| (token.clone(), count.round())).collect()
    }

    #[test]
    fn unknown_words_are_cut_into_the_longest_known_pieces() {
        let vocabulary = ["par", "parse", "r", "config", "8"];
        let expect =
            [("parse".to_owned(), 2.0), ("r".to_owned(), 1.0), ("config".to_owned(), 1.0), ("8".to_owned(), 2.0)];
        assert_eq!(pieces(&vocabulary, "Parse parserzzz CONFIG 8 98"), expect);
    }

    #[test]
    fn pieces_are_at_most_twenty_bytes_and_whole_words_may_be_longer() {
        let (twenty, more) = ("a".repeat(20), "a".repeat(24));
        let vocabulary = [twenty.as_str(), more.as_str(), "b"];
        assert_eq!(pieces(&vocabulary, &more), [(more.clone(), 1.0)]);
        assert_eq!(pieces(&vocabulary, &format!("{more}b")), [(twenty.clone(), 1.0), ("b".into(), 1.0)]);
    }

    #[test]
    fn a_word_of_many_pieces_counts_them_all() {
        assert_eq!(pieces(&["a", "b"], "abababababab abababababab"), [("a".into(), 12.0), ("b".into(), 12.0)]);
    }
}
