//! Scrub: which parts of a text are secrets, and what stands in their place?
//!
//! The one place that knows. Everything that conexusd and the sidecar write, send or show for diagnosis passes through here:
//! attributes of spans, log lines, error reports, messages to clients. It works in one pass without an allocation, so that a
//! query can be scrubbed on its way into a span, and it rather hides a harmless word than shows a secret. Recognised are
//! tokens with a known beginning, `Bearer` and `Basic` credentials, user and password of URLs, private-key blocks, e-mail
//! addresses, values behind names such as `password` or `api_key`, and long random texts.

use std::borrow::Cow;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// The text without its secrets.
pub fn scrubbed(text: &str) -> Cow<'_, str> {
    if Scanner::new(text).next().is_none() {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    pieces(text, |piece| {
        clean.push_str(piece);
        true
    });
    Cow::Owned(clean)
}

/// Calls `act` with the text without its secrets, cut at a character to `max` bytes, which must be at most `N`.
/// Allocates nothing.
#[inline]
pub fn with_scrubbed<const N: usize, R>(text: &str, max: usize, act: impl FnOnce(&str) -> R) -> R {
    // What is cut off need not be read, but a secret that begins before the cut must be seen as far as it matters.
    let text = &text[..text.floor_char_boundary(max.saturating_mul(4) + WINDOW)];
    if Scanner::new(text).next().is_none() {
        return act(&text[..text.floor_char_boundary(max)]);
    }
    let (mut bytes, mut length) = ([0; N], 0);
    let max = max.min(N);
    pieces(text, |piece| {
        let part = &piece.as_bytes()[..piece.floor_char_boundary(max - length)];
        bytes[length..length + part.len()].copy_from_slice(part);
        length += part.len();
        part.len() == piece.len()
    });
    act(std::str::from_utf8(&bytes[..length]).expect("pieces are cut at characters"))
}

/// Whether what goes by this name is a secret, whatever it looks like: `password`, `API_KEY`, `auth-token`.
pub fn is_secret_name(name: &str) -> bool {
    is_secret_word(name.as_bytes())
}

/// How much further than the cut a text is read.
const WINDOW: usize = 1_024;

/// The longest token that is hidden in one piece.
const RUN_MAX: usize = 4_096;

/// The text in order, with [`REDACTED`] for each secret, until `take` returns false.
fn pieces(text: &str, mut take: impl FnMut(&str) -> bool) {
    let (mut scanner, mut shown) = (Scanner::new(text), 0);
    while let Some((start, end)) = scanner.next() {
        if !take(&text[shown..start]) || !take(REDACTED) {
            return;
        }
        shown = end;
    }
    take(&text[shown..]);
}

/// Beginnings of tokens that services give out; the fewest bytes that such a token has; whether it must look random, because
/// words may begin so too.
const BEGINNINGS: [(&[u8], usize, bool); 32] = [
    (b"AGE-SECRET-KEY-", 20, false),
    (b"AIza", 30, false),
    (b"AKIA", 20, false),
    (b"ASIA", 20, false),
    (b"SG.", 20, false),
    (b"dop_v1_", 20, false),
    (b"eyJ", 20, true),
    (b"ghp_", 20, false),
    (b"gho_", 20, false),
    (b"ghs_", 20, false),
    (b"ghu_", 20, false),
    (b"ghr_", 20, false),
    (b"github_pat_", 20, false),
    (b"glpat-", 16, false),
    (b"glsa_", 16, false),
    (b"hf_", 20, true),
    (b"hvs.", 20, true),
    (b"npm_", 20, true),
    (b"pypi-", 20, true),
    (b"rk_live_", 12, false),
    (b"rk_test_", 12, false),
    (b"shpat_", 20, false),
    (b"sk-", 20, true),
    (b"sk_live_", 12, false),
    (b"sk_test_", 12, false),
    (b"whsec_", 16, false),
    (b"xapp-", 12, false),
    (b"xoxa-", 12, false),
    (b"xoxb-", 12, false),
    (b"xoxp-", 12, false),
    (b"xoxr-", 12, false),
    (b"xoxs-", 12, false),
];

/// The fewest bytes of any token with a known beginning.
const TOKEN_LEAST: usize = {
    let (mut least, mut i) = (usize::MAX, 0);
    while i < BEGINNINGS.len() {
        if BEGINNINGS[i].1 < least {
            least = BEGINNINGS[i].1;
        }
        i += 1;
    }
    least
};

/// Ends of names whose values are secrets, without `-` and `_`, in lower case.
const SECRET_NAMES: [&[u8]; 17] = [
    b"accesskey",
    b"apikey",
    b"authkey",
    b"authorization",
    b"cookie",
    b"credential",
    b"credentials",
    b"dsn",
    b"passphrase",
    b"passwd",
    b"password",
    b"privatekey",
    b"pwd",
    b"secret",
    b"secretkey",
    b"sessionid",
    b"token",
];

/// What code writes where data would have a value: types and literals.
const NO_VALUES: [&[u8]; 15] = [
    b"String",
    b"Token",
    b"Secret",
    b"None",
    b"Option",
    b"bool",
    b"char",
    b"false",
    b"null",
    b"nil",
    b"str",
    b"string",
    b"text",
    b"true",
    b"undefined",
];

/// Finds secrets, from the first to the last.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the run of bytes began that may stand before the `@` of an e-mail address.
    local: usize,
}

type Range = (usize, usize);

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0, local: 0 }
    }

    /// Where the next secret is. Both ends are ASCII, so at characters.
    fn next(&mut self) -> Option<Range> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !is_word(byte) {
                self.at += 1;
                if !matches!(byte, b'.' | b'%' | b'+') {
                    self.local = self.at;
                }
                continue;
            }
            let start = self.at;
            self.at = self.run(start, is_word);
            if let Some(found) = self.secret(start, self.at) {
                (self.at, self.local) = (found.1, found.1);
                return Some(found);
            }
        }
        None
    }

    /// The end of the run of bytes from `from` on that `belongs` accepts.
    fn run(&self, from: usize, belongs: impl Fn(u8) -> bool) -> usize {
        self.bytes[from..].iter().position(|&byte| !belongs(byte)).map_or(self.bytes.len(), |length| from + length)
    }

    /// The same, but no further than [`RUN_MAX`]: what is read again and again must be short.
    fn bounded_run(&self, from: usize, belongs: impl Fn(u8) -> bool) -> usize {
        let part = &self.bytes[from..self.bytes.len().min(from + RUN_MAX)];
        part.iter().position(|&byte| !belongs(byte)).map_or(from + part.len(), |length| from + length)
    }

    /// The secret that a word is, or leads to.
    fn secret(&self, start: usize, end: usize) -> Option<Range> {
        let (word, rest) = (&self.bytes[start..end], &self.bytes[end..]);
        if word.starts_with(b"-----BEGIN") {
            return self.private_key(start, end);
        }
        if let Some(found) = self.known_token(start, end).or_else(|| self.random(start, end)) {
            return Some(found);
        }
        match rest.first()? {
            b':' if rest.starts_with(b"://") => self.url(end + 3),
            b'@' => self.email(end),
            b' ' if word.eq_ignore_ascii_case(b"bearer") => self.credentials(end, 16),
            b' ' if word.eq_ignore_ascii_case(b"basic") => self.credentials(end, 12),
            b' ' if word.starts_with(b"--") && is_secret_word(word) => {
                let value = (end + 1, self.run(end + 1, |byte| !byte.is_ascii_whitespace()));
                (value.0 < value.1 && self.bytes[value.0] != b'-').then_some(value)
            }
            b':' | b'=' | b' ' | b'"' | b'\'' | b'\\' => self.value(word, end),
            _ => None,
        }
    }

    /// A token with a known beginning, perhaps behind a `-` or `_` of its word.
    fn known_token(&self, start: usize, end: usize) -> Option<Range> {
        if end - start < TOKEN_LEAST && self.bytes.get(end) != Some(&b'.') {
            return None;
        }
        let mut at = start;
        loop {
            let word = &self.bytes[at..end];
            let dotted = || self.bounded_run(at, |byte| is_word(byte) || byte == b'.');
            // Most words begin as no token does.
            let beginnings: &[_] = if CLASSES[usize::from(word[0])] & BEGINS != 0 { &BEGINNINGS } else { &[] };
            for &(beginning, least, must_look_random) in beginnings {
                // A beginning with a dot goes beyond the word.
                if beginning[0] == word[0] && self.bytes[at..].starts_with(beginning) {
                    let stop = dotted();
                    let token = &self.bytes[at..stop];
                    let random = || token[beginning.len()..].iter().any(u8::is_ascii_digit) && mixes(token) >= 0.2;
                    if token.len() >= least && (!must_look_random || random()) {
                        return Some((at, stop));
                    }
                }
            }
            at += word.iter().position(|byte| matches!(byte, b'-' | b'_'))? + 1;
            if at >= end {
                return None;
            }
        }
    }

    /// A long text that no person would write as a word, which ends at `end` or goes on behind a `+`.
    fn random(&self, start: usize, end: usize) -> Option<Range> {
        const LEAST: usize = 24;
        if end - start < LEAST && self.bytes.get(end) != Some(&b'+') {
            return None;
        }
        let stop = self.bounded_run(start, |byte| is_word(byte) || byte == b'+');
        let text = &self.bytes[start..stop];
        let random = text.len() >= LEAST && digits(text) >= 2 && mixes(text) >= 0.45;
        random.then(|| (start, self.run(stop, |byte| byte == b'=')))
    }

    /// User and password of a URL whose authority begins at `start`.
    fn url(&self, start: usize) -> Option<Range> {
        let ends = |byte: u8| byte.is_ascii_whitespace() || b"/?#\"'`<>\\".contains(&byte);
        let authority = &self.bytes[start..self.run(start, |byte| !ends(byte))];
        let at = authority.iter().rposition(|&byte| byte == b'@')?;
        (at > 0).then_some((start, start + at))
    }

    /// The e-mail address whose `@` is at `at`.
    fn email(&self, at: usize) -> Option<Range> {
        let stop = self.run(at + 1, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        let domain = self.bytes[at + 1..stop].trim_ascii_end();
        let domain = domain.strip_suffix(b".").unwrap_or(domain);
        let dot = domain.iter().rposition(|&byte| byte == b'.')?;
        let top = &domain[dot + 1..];
        let real = dot > 0 && top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic);
        (real && self.local < at).then_some((self.local, at + 1 + domain.len()))
    }

    /// What follows the name of a scheme of HTTP authentication. Words of `sure` bytes are credentials; shorter ones if
    /// they have a digit.
    fn credentials(&self, end: usize, sure: usize) -> Option<Range> {
        let start = self.run(end, |byte| matches!(byte, b' ' | b'"' | b'\'' | b'<'));
        let stop = self.run(start, |byte| is_word(byte) || b".~+/=".contains(&byte));
        let token = &self.bytes[start..stop];
        (token.len() >= sure || token.len() >= 6 && digits(token) > 0).then_some((start, stop))
    }

    /// A block from its `BEGIN` to its `END`, or to the end of the text.
    fn private_key(&self, start: usize, end: usize) -> Option<Range> {
        let head = &self.bytes[end..self.bytes.len().min(end + 48)];
        find(head, b"PRIVATE KEY")?;
        let after = match find(&self.bytes[end..], b"-----END") {
            Some(at) => self.run(end + at + 8, |byte| byte != b'-' && byte != b'\n'),
            None => self.bytes.len(),
        };
        Some((start, self.run(after, |byte| byte == b'-')))
    }

    /// The value that stands behind a name that ends at `end`: `name=value`, `"name": "value"`, `name: value`.
    fn value(&self, name: &[u8], end: usize) -> Option<Range> {
        if let [b' ', next, ..] = self.bytes[end..]
            && is_word(next)
        {
            return None;
        }
        let quotes = |byte| matches!(byte, b'"' | b'\'' | b'\\');
        let blank = |byte| matches!(byte, b' ' | b'\t');
        let separator = self.run(self.run(end, quotes), blank);
        let behind = self.run(separator, |byte| matches!(byte, b'=' | b':'));
        let shape = &self.bytes[separator..behind];
        // `a::b` is a path of a program's names, and `a == b` compares.
        if !matches!(shape, b"=" | b":" | b":=" | b"==") {
            return None;
        }
        let behind = if self.bytes.get(behind) == Some(&b'>') { behind + 1 } else { behind };
        let from = self.run(behind, blank);
        let start = self.run(from, quotes);
        let secret = is_secret_word(name);
        let quote = self.bytes[from..start].iter().rev().find(|&&byte| byte != b'\\').copied();
        let belongs = |byte: u8| match quote {
            Some(quote) => byte != quote && byte != b'\\' && byte != b'\n',
            None => !byte.is_ascii_whitespace() && !b",;&)}]\"'<>\\".contains(&byte),
        };
        if !secret {
            let stop = self.bounded_run(start, belongs);
            let value = &self.bytes[start..stop];
            let plain = value.iter().all(|&byte| is_word(byte) || b"+/=.~".contains(&byte));
            return (plain && value.len() >= 20 && digits(value) >= 2 && mixes(value) >= 0.35).then_some((start, stop));
        }
        let stop = match quote {
            Some(_) => self.run(start, belongs),
            // Compared with another name.
            None if shape == b"==" => return None,
            None => self.unquoted(name, start, self.bounded_run(start, belongs))?,
        };
        (start < stop).then_some((start, stop))
    }

    /// The end of a secret that stands without quotes, unless it is no value but code.
    fn unquoted(&self, name: &[u8], start: usize, stop: usize) -> Option<usize> {
        let value = &self.bytes[start..stop];
        let code = match value.first()? {
            b'$' | b'{' | b'(' | b'[' | b'&' | b'<' | b'*' => true,
            b'/' => is_named(name, b"pwd"),
            _ => NO_VALUES.contains(&value) || value.ends_with(b"(") || self.bytes.get(stop) == Some(&b'<'),
        };
        let called = value.iter().position(|&byte| byte == b'(').is_some_and(|at| at > 0 && is_word(value[at - 1]));
        if code || called {
            return None;
        }
        // A header's value has several words: the scheme and the credentials, or pairs.
        if is_named(name, b"cookie") {
            return Some(self.run(stop, |byte| !b"\r\n\"'".contains(&byte)));
        }
        if is_named(name, b"authorization") && self.bytes.get(stop) == Some(&b' ') {
            return Some(self.run(stop + 1, |byte| !byte.is_ascii_whitespace() && !b",\"'".contains(&byte)));
        }
        Some(stop)
    }
}

/// Letters, digits, `_` and `-`.
const WORD: u8 = 1;
/// First bytes of [`BEGINNINGS`].
const BEGINS: u8 = 2;

/// What each byte may be.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'_' | b'-') {
            classes[byte] = WORD;
        }
        byte += 1;
    }
    let mut i = 0;
    while i < BEGINNINGS.len() {
        classes[BEGINNINGS[i].0[0] as usize] |= BEGINS;
        i += 1;
    }
    classes
};

#[inline]
fn is_word(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & WORD != 0
}

fn is_secret_word(name: &[u8]) -> bool {
    SECRET_NAMES.iter().any(|secret| is_named(name, secret))
}

/// Whether a name ends with `end` when its `-` and `_` and its case do not count.
fn is_named(name: &[u8], end: &[u8]) -> bool {
    let mut letters = name.iter().rev().filter(|byte| !matches!(byte, b'-' | b'_'));
    end.iter().rev().all(|byte| letters.next().is_some_and(|letter| letter.eq_ignore_ascii_case(byte)))
}

fn digits(text: &[u8]) -> usize {
    text.iter().filter(|byte| byte.is_ascii_digit()).count()
}

/// How often upper case, lower case and digits follow each other, as a share of the length: about 0.6 in random texts of
/// letters and digits, less than 0.4 in names that people give. 0 without upper or lower case.
fn mixes(text: &[u8]) -> f32 {
    let class = |byte: &u8| (byte.is_ascii_uppercase(), byte.is_ascii_lowercase());
    if !text.iter().any(u8::is_ascii_uppercase) || !text.iter().any(u8::is_ascii_lowercase) {
        return 0.0;
    }
    let changes = text.windows(2).filter(|pair| class(&pair[0]) != class(&pair[1])).count();
    changes as f32 / text.len() as f32
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

#[cfg(test)]
mod tests;
