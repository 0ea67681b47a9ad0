//! Arguments: a tool's JSON arguments in, typed values out, and every mistake named at once.
//!
//! `null` counts as not given. Integral floats are integers (`20.0`); text is never a number.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use rmcp::model::JsonObject;
use serde_json::Value;

use crate::mcp::error::ToolError;

/// The arguments of one call, or of an object in it, read one by one.
pub(crate) struct Arguments<'a> {
    given: Option<&'a JsonObject>,
    /// What stands before a name in messages: empty, or `filters.`.
    prefix: String,
    known: BTreeSet<&'static str>,
    problems: Vec<String>,
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(given: &'a JsonObject) -> Self {
        Self { given: Some(given), prefix: String::new(), known: BTreeSet::new(), problems: Vec::new() }
    }

    /// Text.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<&'a str> {
        let value = self.value(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.problem(name, format!("{} is not allowed; use text", shown(value)));
        }
        text
    }

    /// Text that must be there.
    pub(crate) fn required_text(&mut self, name: &'static str, max_chars: usize) -> &'a str {
        let before = self.problems.len();
        let text = self.text(name);
        match text {
            Some("") => self.problem(name, "is empty; use text with at least one character"),
            Some(text) if text.chars().count() > max_chars => {
                self.problem(name, format!("is {} characters long; the most is {max_chars}", text.chars().count()));
            }
            None if self.problems.len() == before => self.problem(name, "is required and missing"),
            _ => {}
        }
        text.unwrap_or_default()
    }

    /// One of a few words.
    pub(crate) fn word(&mut self, name: &'static str, words: &[&'static str]) -> Option<&'static str> {
        let given = self.text(name)?;
        let word = words.iter().find(|word| **word == given).copied();
        if word.is_none() {
            let hint = nearest(given, words).map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
            self.problem(
                name,
                format!("{} is not allowed; use one of {}{hint}", shown(&given.into()), words.join(", ")),
            );
        }
        word
    }

    /// A whole number within bounds.
    pub(crate) fn integer(&mut self, name: &'static str, bounds: RangeInclusive<u64>, default: u64) -> usize {
        let Some(value) = self.value(name) else { return default as usize };
        let number = value.as_u64().or_else(|| {
            let float = value.as_f64().filter(|float| float.fract() == 0.0 && (0.0..=9e15).contains(float))?;
            Some(float as u64)
        });
        match number.filter(|number| bounds.contains(number)) {
            Some(number) => number as usize,
            None => {
                let (least, most) = (bounds.start(), bounds.end());
                self.problem(name, format!("{} is not allowed; use an integer from {least} to {most}", shown(value)));
                default as usize
            }
        }
    }

    /// True or false.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        match self.value(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.problem(name, format!("{} is not allowed; use true or false", shown(other)));
                false
            }
        }
    }

    /// A list of texts, none of them empty, at most `max`.
    pub(crate) fn texts(&mut self, name: &'static str, max: usize) -> Vec<&'a str> {
        let Some(value) = self.value(name) else { return Vec::new() };
        let Some(list) = value.as_array() else {
            self.problem(name, format!("{} is not allowed; use a list of texts", shown(value)));
            return Vec::new();
        };
        if list.len() > max {
            self.problem(name, format!("has {} entries; the most is {max}", list.len()));
        }
        let mut texts = Vec::new();
        for (i, entry) in list.iter().enumerate() {
            match entry.as_str().filter(|text| !text.is_empty()) {
                Some(text) => texts.push(text),
                None => self.problem(&format!("{name}[{i}]"), format!("{} is not allowed; use text", shown(entry))),
            }
        }
        texts
    }

    /// A list of words from a few.
    pub(crate) fn words(&mut self, name: &'static str, words: &[&'static str]) -> Vec<&'a str> {
        let texts = self.texts(name, 100);
        for (i, text) in texts.iter().enumerate().filter(|(_, text)| !words.contains(*text)) {
            let allowed = words.join(", ");
            self.problem(&format!("{name}[{i}]"), format!("{} is not allowed; use {allowed}", shown(&(*text).into())));
        }
        texts
    }

    /// An object with arguments of its own; `read` reads them.
    pub(crate) fn object<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Arguments<'a>) -> T) -> T {
        let given = match self.value(name) {
            Some(Value::Object(given)) => Some(given),
            Some(other) => {
                self.problem(name, format!("{} is not allowed; use an object", shown(other)));
                None
            }
            None => None,
        };
        let prefix = format!("{}{name}.", self.prefix);
        let mut inner = Arguments { given, prefix, known: BTreeSet::new(), problems: Vec::new() };
        let value = read(&mut inner);
        inner.name_unknown();
        self.problems.append(&mut inner.problems);
        value
    }

    /// Says that an argument cannot be used.
    pub(crate) fn problem(&mut self, name: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{}{name}: {problem}", self.prefix));
    }

    /// All is read: fails with every mistake, unknown arguments included.
    pub(crate) fn finish(mut self) -> Result<(), ToolError> {
        self.name_unknown();
        if self.problems.is_empty() { Ok(()) } else { Err(ToolError::Arguments(self.problems)) }
    }

    fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.insert(name);
        self.given?.get(name).filter(|value| !value.is_null())
    }

    fn name_unknown(&mut self) {
        let known: Vec<&str> = self.known.iter().copied().collect();
        let given = self.given.into_iter().flat_map(|given| given.keys());
        for name in given.filter(|name| !known.contains(&name.as_str())) {
            let hint = match nearest(name, &known) {
                Some(near) => format!("did you mean `{}{near}`?", self.prefix),
                None => format!("known are {}", known.join(", ")),
            };
            self.problems.push(format!("{}{}: unknown argument; {hint}", self.prefix, short(name)));
        }
    }
}

/// A value as a message shows it: JSON, cut.
fn shown(value: &Value) -> String {
    short(&value.to_string())
}

fn short(text: &str) -> String {
    const MAX: usize = 60;
    if text.chars().count() <= MAX {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(MAX).collect::<String>())
    }
}

/// The word most like `given`, if one is like it at all.
fn nearest<'a>(given: &str, words: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase();
    let scored = words.iter().map(|word| (distance(&given, word), *word));
    let (distance, word) = scored.min()?;
    let same_start = !given.is_empty() && (word.starts_with(&given) || given.starts_with(word));
    (same_start || distance <= word.chars().count() / 3 + 1).then_some(word)
}

/// Insertions, deletions and changes between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(given: Value) -> Vec<String> {
        let Value::Object(given) = given else { panic!("arguments are an object") };
        let mut arguments = Arguments::new(&given);
        arguments.required_text("query", 100);
        arguments.integer("top_k", 1..=100, 20);
        arguments.flag("deep");
        arguments.word("action", &["start", "stop"]);
        arguments.object("filters", |filters| {
            filters.words("source_types", &["code", "docs"]);
            filters.texts("paths", 2);
        });
        match arguments.finish() {
            Err(ToolError::Arguments(problems)) => problems,
            Err(other) => panic!("{other:?}"),
            Ok(()) => Vec::new(),
        }
    }

    #[test]
    fn every_mistake_is_named_with_its_value_and_what_is_allowed() {
        let found = problems(json!({
            "querry": "x", "top_k": 101, "deep": "yes", "action": "stat",
            "filters": {"source_types": ["code", "doc"], "paths": ["a", 3, "c"], "zzz": 1},
        }));
        assert_eq!(
            found,
            [
                "query: is required and missing",
                "top_k: 101 is not allowed; use an integer from 1 to 100",
                "deep: \"yes\" is not allowed; use true or false",
                "action: \"stat\" is not allowed; use one of start, stop; did you mean `start`?",
                "filters.source_types[1]: \"doc\" is not allowed; use code, docs",
                "filters.paths: has 3 entries; the most is 2",
                "filters.paths[1]: 3 is not allowed; use text",
                "filters.zzz: unknown argument; known are paths, source_types",
                "querry: unknown argument; did you mean `query`?",
            ]
        );
    }

    #[test]
    fn integral_floats_are_integers_and_texts_are_not() {
        assert!(problems(json!({"query": "x", "top_k": 20.0})).is_empty());
        assert!(problems(json!({"query": "x", "top_k": null, "filters": null})).is_empty());
        for bad in [json!("20"), json!(0), json!(1.5), json!(-1), json!(1e300), json!([20]), json!(true)] {
            let found = problems(json!({"query": "x", "top_k": bad}));
            assert!(found.len() == 1 && found[0].starts_with("top_k: "), "{found:?}");
        }
    }

    #[test]
    fn empty_and_oversize_texts_are_refused_and_long_values_are_cut() {
        assert!(problems(json!({"query": " \n"})).is_empty());
        assert_eq!(problems(json!({"query": ""})), ["query: is empty; use text with at least one character"]);
        assert_eq!(problems(json!({"query": "x".repeat(101)})), ["query: is 101 characters long; the most is 100"]);
        let long = problems(json!({"query": ["y".repeat(500)]}));
        assert!(long[0].len() < 150, "{long:?}");
    }
}
