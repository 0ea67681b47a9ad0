//! Chunks: one file's text in, spans of whole lines out, such that every line is in at least one.
//!
//! ```text
//! grammar, rules, read → tree → walk ─┐
//! markdown ───────────────────────────┼→ outline → split → label → chunks
//! lines ──────────────────────────────┘
//! ```

mod grammar;
mod label;
mod lines;
mod markdown;
mod mask;
mod outline;
mod read;
mod rules;
mod split;
mod tree;
mod walk;

use std::collections::HashSet;

use super::language::Language;
use grammar::Grammar;
use outline::Lines;

/// What a file is, read once: its chunks, what it defines, what it imports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedFile {
    /// In the order of their first lines.
    pub chunks: Vec<Chunk>,
    /// Every definition of a named thing, also those inside a larger chunk.
    pub definitions: Vec<Definition>,
    /// What the file imports, as written without quotes and with groups written out
    /// (`std::fmt`, `./util`, `net/http`, `<stdio.h>`; Python's `from .a import b` is `.a.b`). Each once.
    pub imports: Vec<String>,
    /// Number of lines; a last line without a newline counts.
    pub lines: u32,
}

/// A span of whole lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// First line, from 1.
    pub start_line: u32,
    /// Last line, inclusive.
    pub end_line: u32,
    /// The same span in bytes of the text.
    pub start_byte: u32,
    /// End of the span in bytes, exclusive.
    pub end_byte: u32,
    /// What the chunk mainly is.
    pub kind: Kind,
    /// The name it defines, if it is a definition.
    pub symbol: Option<Box<str>>,
    /// What encloses it, outermost first, joined with `.` (`Client`, `mod.Impl`).
    pub scope: Option<Box<str>>,
    /// The signature of what it defines, on one line.
    pub signature: Option<Box<str>>,
}

/// Where a name is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The bare name (`parse_config`).
    pub name: Box<str>,
    /// What encloses it, like [`Chunk::scope`].
    pub scope: Option<Box<str>>,
    /// What it is.
    pub kind: Kind,
    /// First line, doc comment excluded, from 1.
    pub start_line: u32,
    /// Last line, inclusive.
    pub end_line: u32,
}

/// What a chunk or definition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Kind {
    /// Lines without a definition of their own.
    Block = 0,
    Function = 1,
    Method = 2,
    /// A class, struct, enum, union.
    Type = 3,
    /// A trait, interface, protocol, type class.
    Interface = 4,
    Module = 5,
    Constant = 6,
    Macro = 7,
    Field = 8,
    /// A Markdown section.
    Section = 9,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Kind; 10] = [
        Self::Block,
        Self::Function,
        Self::Method,
        Self::Type,
        Self::Interface,
        Self::Module,
        Self::Constant,
        Self::Macro,
        Self::Field,
        Self::Section,
    ];

    /// The name in answers, lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Function => "function",
            Self::Method => "method",
            Self::Type => "type",
            Self::Interface => "interface",
            Self::Module => "module",
            Self::Constant => "constant",
            Self::Macro => "macro",
            Self::Field => "field",
            Self::Section => "section",
        }
    }

    /// The kind with this number; unknown numbers are blocks.
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Block)
    }
}

/// Chunks a file. Never fails: what no grammar can parse is chunked by lines. `path` is relative, with `/`. Texts of
/// 4 GiB and more are cut there.
pub fn parse(path: &str, language: Language, text: &str) -> ParsedFile {
    let sizes = if language == Language::MARKDOWN { split::PROSE } else { split::CODE };
    parse_sized(path, language, text, &sizes.ablated())
}

fn parse_sized(path: &str, language: Language, text: &str, sizes: &split::Sizes) -> ParsedFile {
    let text = bounded(text);
    let lines = Lines::new(text);
    let grammar = Grammar::of(language);
    let outline = if language == Language::MARKDOWN {
        markdown::outline(&lines)
    } else {
        let outline = grammar.and_then(|grammar| tree::outline(grammar, path, &lines));
        outline.unwrap_or_else(|| lines::outline(&lines))
    };
    ParsedFile {
        chunks: split::split(&lines, &outline, sizes),
        definitions: outline.definitions(),
        imports: imports(grammar, text, outline.imports),
        lines: lines.count() as u32,
    }
}

/// Whether files of this language are parsed with a grammar.
pub fn has_grammar(language: Language) -> bool {
    Grammar::of(language).is_some()
}

/// Positions are stored in 32 bits.
fn bounded(text: &str) -> &str {
    let mut end = text.len().min(u32::MAX as usize);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Imports in the order of their places, each once.
fn imports(grammar: Option<&Grammar>, text: &str, mut found: Vec<(u32, String)>) -> Vec<String> {
    for call in grammar.map_or(&[][..], |grammar| grammar.import_calls) {
        read::import::calls(text, call, &mut |at, import| found.push((at, import)));
    }
    found.sort_by_key(|&(at, _)| at);
    let mut seen = HashSet::new();
    found
        .into_iter()
        .map(|(_, import)| import)
        .filter(|import| !import.is_empty() && seen.insert(import.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
