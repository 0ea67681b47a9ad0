//! Classes: what a file's path and head say about it besides its language.
//!
//! Nothing here is certain: these are conventions. The walker skips what is binary, generated or minified; ranking
//! uses the rest as weights.

mod generated;
mod paths;

use std::borrow::Cow;

use super::language::Language;

pub use generated::is_generated_or_minified;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SourceType {
    /// Program text.
    Code = 0,
    /// Prose.
    Docs = 1,
    /// Settings, build files, data.
    Config = 2,
    /// Program text or data that tests something.
    Test = 3,
}

impl SourceType {
    /// Every class, in the order of their numbers.
    pub const ALL: [SourceType; 4] = [Self::Code, Self::Docs, Self::Config, Self::Test];

    /// The name in filters and answers: `code`, `docs`, `config`, `test`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Docs => "docs",
            Self::Config => "config",
            Self::Test => "test",
        }
    }

    /// The class with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// The class with this number; unknown numbers are code.
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Code)
    }
}

/// What [`classify`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// What it is for.
    pub source_type: SourceType,
    /// A test, or a fixture of one.
    pub is_test: bool,
    /// An example, sample, demo or benchmark.
    pub is_example: bool,
    /// Written by a program, or minified.
    pub is_generated: bool,
    /// Somebody else's code, copied in (`vendor/`, `third_party/`, `node_modules/`).
    pub is_vendored: bool,
    /// An index, `mod` or `__init__` file that does little but pass on names of other files.
    pub is_barrel: bool,
}

impl Class {
    /// The flags as bits, from the lowest: test, example, generated, vendored, barrel.
    pub fn flags(self) -> u8 {
        let flags = [self.is_test, self.is_example, self.is_generated, self.is_vendored, self.is_barrel];
        flags.iter().enumerate().map(|(bit, &set)| u8::from(set) << bit).sum()
    }

    /// The class with these flags.
    pub fn from_flags(source_type: SourceType, flags: u8) -> Self {
        let set = |bit: u8| flags >> bit & 1 == 1;
        Self {
            source_type,
            is_test: set(0),
            is_example: set(1),
            is_generated: set(2),
            is_vendored: set(3),
            is_barrel: set(4),
        }
    }
}

/// Classifies a file by its path, relative to the root with `/`, and its text.
pub fn classify(path: &str, language: Language, text: &str) -> Class {
    let is_test = paths::is_test(path);
    let source_type = match (by_language(language), is_test) {
        (SourceType::Docs, _) => SourceType::Docs,
        (_, true) => SourceType::Test,
        (class, false) => class,
    };
    Class {
        source_type,
        is_test,
        is_example: paths::is_example(path),
        is_generated: is_generated_or_minified(path, text),
        is_vendored: paths::is_vendored(path),
        is_barrel: generated::is_barrel(path, text),
    }
}

fn by_language(language: Language) -> SourceType {
    match language {
        Language::MARKDOWN
        | Language::TEXT
        | Language::RESTRUCTUREDTEXT
        | Language::ASCIIDOC
        | Language::ORG
        | Language::LATEX => SourceType::Docs,
        Language::YAML
        | Language::TOML
        | Language::JSON
        | Language::XML
        | Language::INI
        | Language::DOCKERFILE
        | Language::MAKE
        | Language::CMAKE
        | Language::HCL
        | Language::NIX
        | Language::CSV
        | Language::DIFF
        | Language::IGNORE
        | Language::PUPPET
        | Language::STARLARK => SourceType::Config,
        _ => SourceType::Code,
    }
}

/// How much of a file is looked at to tell text from binary, in bytes.
pub const BINARY_LOOK_BYTES: usize = 8 * 1024;

/// Whether a file is not text: a NUL byte or many control characters in its first 8 KiB. UTF-16 with a byte order mark
/// is text, see [`text_of`]; other encodings without NUL bytes are text too.
pub fn is_binary(bytes: &[u8]) -> bool {
    if utf16_order(bytes).is_some() {
        return false;
    }
    let head = &bytes[..bytes.len().min(BINARY_LOOK_BYTES)];
    if head.starts_with(b"%PDF-") || memchr::memchr(0, head).is_some() {
        return true;
    }
    let control = head.iter().filter(|&&b| (b < 0x20 && !matches!(b, 8..=13 | 27)) || b == 0x7f).count();
    control * 10 > head.len()
}

/// A file's text: UTF-8 as it is, UTF-16 with a byte order mark converted, other bytes replaced by U+FFFD. `None` if it
/// is binary.
pub fn text_of(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if let Some(big) = utf16_order(bytes) {
        let unit = |pair: &[u8]| {
            let pair = [pair[0], pair[1]];
            if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(unit).collect();
        return Some(Cow::Owned(String::from_utf16_lossy(&units)));
    }
    if is_binary(bytes) { None } else { Some(String::from_utf8_lossy(bytes)) }
}

/// Whether the bytes begin as UTF-16 text does (not UTF-32), and if so whether in big-endian order.
fn utf16_order(bytes: &[u8]) -> Option<bool> {
    let big = match bytes.get(..2)? {
        [0xfe, 0xff] => true,
        [0xff, 0xfe] => false,
        _ => return None,
    };
    // No text has a NUL character; UTF-32 and binaries do.
    let head = &bytes[2..bytes.len().min(BINARY_LOOK_BYTES)];
    if head.chunks_exact(2).any(|pair| pair == [0, 0]) { None } else { Some(big) }
}

#[cfg(test)]
mod tests;
