//! Words: which words of a query carry no meaning of their own, and which say what kind of query it is.

/// Words by which a query says that it wants what is otherwise ranked down.
pub(super) const TEST_WORDS: &[&str] = &[
    "test",
    "tests",
    "testing",
    "tested",
    "spec",
    "specs",
    "unittest",
    "pytest",
    "fixture",
    "fixtures",
    "mock",
    "mocks",
    "example",
    "examples",
    "sample",
    "samples",
    "demo",
    "benchmark",
    "benchmarks",
    "bench",
    "fuzz",
    "fuzzing",
];

/// Words by which a query asks for documents.
pub(super) const DOCS_WORDS: &[&str] = &[
    "docs",
    "documentation",
    "readme",
    "changelog",
    "guide",
    "tutorial",
    "manual",
    "license",
    "contributing",
    "markdown",
];

const TRACE_WORDS: &[&str] =
    &["traceback", "backtrace", "stack trace", "stacktrace", "panicked at", "goroutine", "exception in thread"];

const ERROR_STARTS: &[&str] =
    &["error", "fatal", "panic", "exception", "uncaught", "unhandled", "failed to", "cannot "];

const ERROR_MARKS: &[&str] =
    &["error:", "exception:", "panicked at", "failed:", "fatal:", "warning:", "panic:", "error[", "errno"];

/// The words of an identifier or path, split at every change (`HTTPServer2` to `http`, `server`, `2`), lower-cased and
/// not stemmed.
pub(crate) fn split_words(text: &str, emit: &mut dyn FnMut(&str)) {
    if text.is_ascii() {
        split_ascii(text.as_bytes(), emit);
    } else {
        let characters: Vec<char> = text.chars().collect();
        split_characters(&characters, emit);
    }
}

/// Most names are ASCII and this runs for thousands of them a query: one buffer, no look at Unicode's tables.
fn split_ascii(bytes: &[u8], emit: &mut dyn FnMut(&str)) {
    let mut word = String::with_capacity(32);
    for (i, &b) in bytes.iter().enumerate() {
        let before = i.checked_sub(1).map_or(b' ', |i| bytes[i]);
        let after = bytes.get(i + 1).copied().unwrap_or(b' ');
        let hump = b.is_ascii_uppercase()
            && (before.is_ascii_lowercase() || (before.is_ascii_uppercase() && after.is_ascii_lowercase()));
        let digits = before.is_ascii_alphanumeric() && before.is_ascii_digit() != b.is_ascii_digit();
        if (!b.is_ascii_alphanumeric() || hump || digits) && !word.is_empty() {
            emit(&word);
            word.clear();
        }
        if b.is_ascii_alphanumeric() {
            word.push(b.to_ascii_lowercase() as char);
        }
    }
    if !word.is_empty() {
        emit(&word);
    }
}

fn split_characters(characters: &[char], emit: &mut dyn FnMut(&str)) {
    let mut word = String::new();
    for (i, &c) in characters.iter().enumerate() {
        let before = i.checked_sub(1).map_or(' ', |i| characters[i]);
        let after = characters.get(i + 1).copied().unwrap_or(' ');
        let hump = c.is_uppercase() && (before.is_lowercase() || (before.is_uppercase() && after.is_lowercase()));
        let digits = before.is_alphanumeric() && before.is_numeric() != c.is_numeric();
        if (!c.is_alphanumeric() || hump || digits) && !word.is_empty() {
            emit(&word);
            word.clear();
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
    }
    if !word.is_empty() {
        emit(&word);
    }
}

/// Whether one of `wanted` is among the words of a text.
pub(super) fn mentions_any(text: &str, wanted: &[&str]) -> bool {
    let mut found = false;
    split_words(text, &mut |word| found |= wanted.contains(&word));
    found
}

pub(super) fn introduces_trace(text: &str) -> bool {
    let text = text.to_lowercase();
    TRACE_WORDS.iter().any(|mark| text.contains(mark)) || text.lines().any(|line| line.trim_start().starts_with("at "))
}

pub(super) fn states_error(text: &str) -> bool {
    let text = text.to_lowercase();
    let first = text.lines().next().unwrap_or_default().trim_start();
    // "error handling and ..." describes, "error: ..." and "TypeError: ..." state.
    ERROR_MARKS.iter().any(|mark| text.contains(mark))
        || (ERROR_STARTS.iter().any(|start| first.starts_with(start)) && first.contains([':', '\'', '"', '`']))
}
