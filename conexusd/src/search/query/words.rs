//! Words: which words of a query carry no meaning of their own, and which say what kind of query it is.

/// Words by which a query says that it wants what is otherwise ranked down.
const TEST_WORDS: &[&str] = &[
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

const TRACE_WORDS: &[&str] =
    &["traceback", "backtrace", "stack trace", "stacktrace", "panicked at", "goroutine", "exception in thread"];

const ERROR_STARTS: &[&str] =
    &["error", "fatal", "panic", "exception", "uncaught", "unhandled", "failed to", "cannot "];

const ERROR_MARKS: &[&str] =
    &["error:", "exception:", "panicked at", "failed:", "fatal:", "warning:", "panic:", "error[", "errno"];

/// The words of an identifier or path, split at every change (`HTTPServer2` to `http`, `server`, `2`), lower-cased and
/// not stemmed.
pub(crate) fn split_words(text: &str, emit: &mut dyn FnMut(&str)) {
    let mut word = String::new();
    let mut flush = |word: &mut String| {
        if !word.is_empty() {
            emit(word);
            word.clear();
        }
    };
    let characters: Vec<char> = text.chars().collect();
    for (i, &c) in characters.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| characters[i]);
        let after = characters.get(i + 1).copied();
        if !c.is_alphanumeric() {
            flush(&mut word);
            continue;
        }
        let hump = c.is_uppercase()
            && before.is_some_and(|b| b.is_lowercase() || (b.is_uppercase() && after.is_some_and(char::is_lowercase)));
        let digits = before.is_some_and(|b| b.is_alphanumeric() && b.is_numeric() != c.is_numeric());
        if hump || digits {
            flush(&mut word);
        }
        word.extend(c.to_lowercase());
    }
    flush(&mut word);
}

pub(super) fn mentions_tests(text: &str) -> bool {
    let mut found = false;
    split_words(text, &mut |word| found |= TEST_WORDS.contains(&word));
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
