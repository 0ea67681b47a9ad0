//! Languages: which one a file is written in.
//!
//! A path decides where it can: file name, then extension. The text decides only what a path leaves open (`.h`, `.m`,
//! scripts without an extension). Whether a language has a grammar is known to `chunk` alone.

mod ambiguous;
mod table;

use std::collections::HashMap;
use std::sync::LazyLock;

use table::LANGUAGES;

/// A language by its lower-case name, as filters and answers spell it (`rust`, `python`, `typescript`, `tsx`, `text`).
/// What no rule knows is [`Language::TEXT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language(u8);

impl Language {
    /// The name.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The number in the index's columns. Never reused for another language.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The language with this number; unknown numbers are text.
    pub fn from_number(number: u8) -> Self {
        if usize::from(number) < LANGUAGES.len() { Self(number) } else { Self::TEXT }
    }

    /// The language with this name or a common other spelling of it (`c++`, `golang`, `js`), in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        LOOKUP.names.get(name.trim().to_ascii_lowercase().as_str()).copied()
    }

    /// By file name, extension, then the first line (`#!`). `path` is relative, with `/`.
    pub fn detect(path: &str, text: &str) -> Self {
        let file = path.rsplit('/').next().unwrap_or(path);
        by_file_name(file).or_else(|| by_extension(file, text)).or_else(|| by_first_line(text)).unwrap_or(Self::TEXT)
    }

    /// Every language, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..LANGUAGES.len() as u8).map(Self)
    }

    /// Whether a filter that names `other` lets files of this language through: the same language, or TSX where
    /// TypeScript is asked for.
    pub fn passes(self, other: Language) -> bool {
        self == other || (self == Self::TSX && other == Self::TYPESCRIPT)
    }

    fn entry(self) -> &'static table::Entry {
        &LANGUAGES[usize::from(self.0)]
    }
}

struct Lookup {
    names: HashMap<&'static str, Language>,
    files: HashMap<&'static str, Language>,
    extensions: HashMap<&'static str, Language>,
    interpreters: HashMap<&'static str, Language>,
}

static LOOKUP: LazyLock<Lookup> = LazyLock::new(|| {
    let mut lookup = Lookup {
        names: HashMap::new(),
        files: HashMap::new(),
        extensions: HashMap::new(),
        interpreters: HashMap::new(),
    };
    for language in Language::all() {
        let entry = language.entry();
        lookup.names.insert(entry.name, language);
        let lists = [
            (&mut lookup.names, entry.aliases),
            (&mut lookup.files, entry.files),
            (&mut lookup.extensions, entry.extensions),
            (&mut lookup.interpreters, entry.interpreters),
        ];
        for (map, words) in lists {
            map.extend(words.split_whitespace().map(|word| (word, language)));
        }
    }
    lookup
});

/// Names that say what a file is whatever follows (`Dockerfile.dev`, `README.old`).
const NAME_PREFIXES: [(&str, Language); 4] = [
    ("dockerfile.", Language::DOCKERFILE),
    ("containerfile.", Language::DOCKERFILE),
    ("makefile.", Language::MAKE),
    ("jenkinsfile.", Language::GROOVY),
];

fn by_file_name(file: &str) -> Option<Language> {
    if let Some(&language) = LOOKUP.files.get(file) {
        return Some(language);
    }
    let lower = file.to_ascii_lowercase();
    if let Some(&language) = LOOKUP.files.get(lower.as_str()) {
        return Some(language);
    }
    NAME_PREFIXES.iter().find(|(prefix, _)| lower.starts_with(prefix)).map(|&(_, language)| language)
}

/// Endings that wrap another one: `config.h.in`, `settings.py.tmpl`.
const TEMPLATE_ENDINGS: [&str; 9] = ["in", "tmpl", "tpl", "j2", "jinja", "dist", "example", "sample", "template"];

fn by_extension(file: &str, text: &str) -> Option<Language> {
    let mut file = file;
    for _ in 0..3 {
        let (stem, extension) = file.rsplit_once('.')?;
        if extension.len() > 20 {
            return None;
        }
        let lower = extension.to_ascii_lowercase();
        // `.C` and `.H` are C++ by old convention, `.R` and `.S` are not.
        if extension == "C" || extension == "H" {
            return Some(Language::CPP);
        }
        if let Some(language) = ambiguous::resolve(&lower, text) {
            return Some(language);
        }
        if let Some(&language) = LOOKUP.extensions.get(lower.as_str()) {
            return Some(language);
        }
        if !TEMPLATE_ENDINGS.contains(&lower.as_str()) {
            return None;
        }
        file = stem;
    }
    None
}

fn by_first_line(text: &str) -> Option<Language> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.starts_with("<?php") {
        return Some(Language::PHP);
    }
    if text.starts_with("<?xml") {
        return Some(Language::XML);
    }
    let line = text.strip_prefix("#!")?.lines().next()?;
    let mut words = line.split_whitespace();
    let mut program = words.next()?.rsplit('/').next()?;
    if program == "env" {
        program = words.find(|word| !word.starts_with('-') && !word.contains('='))?.rsplit('/').next()?;
    }
    let exact = LOOKUP.interpreters.get(program);
    let bare = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    exact.or_else(|| LOOKUP.interpreters.get(bare)).copied()
}

#[cfg(test)]
mod tests;
