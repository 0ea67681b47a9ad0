//! Terms: text in, the terms that the lexical index knows out. Documents and queries go through the same function.

/// Changes whenever the terms of a text do; stored in the index.
pub const IDENTITY: &str = "code-1";

/// Calls `emit` with each term of `text` in order: identifiers whole and split (camelCase, snake_case, digits,
/// acronyms), lower-cased and stemmed where they are prose.
pub fn terms(_text: &str, _emit: &mut dyn FnMut(&str)) {}
