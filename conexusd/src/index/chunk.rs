//! Chunks: one file's text in, spans of whole lines out, such that every line is in at least one.

use super::language::Language;

/// What a file is, read once: its chunks, what it defines, what it imports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedFile {
    /// In the order of their first lines.
    pub chunks: Vec<Chunk>,
    /// Every definition of a named thing, also those inside a larger chunk.
    pub definitions: Vec<Definition>,
    /// What the file imports, as written (`std::fmt`, `./util`, `"net/http"`).
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

/// Chunks a file. Never fails: what no grammar can parse is chunked by lines.
pub fn parse(_path: &str, _language: Language, _text: &str) -> ParsedFile {
    ParsedFile::default()
}
