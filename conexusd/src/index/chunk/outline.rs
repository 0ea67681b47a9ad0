//! The outline: what a reader of a file learns of its structure. Grammars, headings and indentation all write one; the
//! splitter reads it.

use super::{Definition, Kind};

/// Where the lines of a text begin, and how far they are indented.
pub(super) struct Lines<'a> {
    pub(super) text: &'a str,
    /// First byte of each line, then the length of the text.
    starts: Vec<u32>,
    /// Columns of leading white space; [`BLANK`] where there is nothing else.
    indents: Vec<u16>,
}

/// The indentation of a line without text.
pub(super) const BLANK: u16 = u16::MAX;
const TAB_COLUMNS: u16 = 4;

impl<'a> Lines<'a> {
    /// A last line without a newline counts; an empty text has no lines.
    pub(super) fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut starts = Vec::with_capacity(bytes.len() / 32 + 2);
        starts.push(0);
        starts.extend(memchr::memchr_iter(b'\n', bytes).map(|at| at as u32 + 1));
        if starts.last() != Some(&(bytes.len() as u32)) {
            starts.push(bytes.len() as u32);
        }
        let indents = starts.windows(2).map(|pair| indent(&bytes[pair[0] as usize..pair[1] as usize])).collect();
        Self { text, starts, indents }
    }

    /// How many lines there are.
    pub(super) fn count(&self) -> usize {
        self.indents.len()
    }

    /// First byte of a line; for the line after the last the length of the text.
    pub(super) fn start(&self, line: usize) -> u32 {
        self.starts[line]
    }

    /// The line with this byte.
    pub(super) fn line_of(&self, byte: usize) -> usize {
        self.starts
            .partition_point(|&start| start as usize <= byte)
            .saturating_sub(1)
            .min(self.count().saturating_sub(1))
    }

    pub(super) fn indent(&self, line: usize) -> u16 {
        self.indents[line]
    }

    pub(super) fn is_blank(&self, line: usize) -> bool {
        self.indents[line] == BLANK
    }

    /// A line with its newline.
    pub(super) fn get(&self, line: usize) -> &'a str {
        &self.text[self.starts[line] as usize..self.starts[line + 1] as usize]
    }

    /// Bytes of the lines `from..to`.
    pub(super) fn bytes(&self, from: usize, to: usize) -> usize {
        (self.starts[to] - self.starts[from]) as usize
    }
}

fn indent(line: &[u8]) -> u16 {
    let mut columns: u16 = 0;
    for byte in line {
        match byte {
            b' ' => columns = columns.saturating_add(1),
            b'\t' => columns = columns.saturating_add(TAB_COLUMNS),
            b'\r' | b'\n' | 0x0b | 0x0c => {}
            _ => return columns.min(BLANK - 1),
        }
    }
    BLANK
}

/// A thing with a name, or a stretch that encloses such things.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    /// Empty for what only encloses and has no name.
    pub(super) name: Box<str>,
    /// What the name is qualified with where it stands (`Foo` of `Foo::bar`, a method's receiver).
    pub(super) qualifier: Option<Box<str>>,
    /// The item that encloses it.
    pub(super) parent: Option<u32>,
    /// One more than the index of the last item inside it; items are in the order of their first lines.
    pub(super) end_item: u32,
    /// First line with its comments and attributes, from 0.
    pub(super) lead: u32,
    /// First line without them.
    pub(super) start: u32,
    /// Last line, inclusive.
    pub(super) end: u32,
    /// Bytes of the signature.
    pub(super) signature: (u32, u32),
    /// Whether it is a definition, or only encloses some (an `impl`, a namespace).
    pub(super) defines: bool,
    /// Whether it is worth a chunk of its own: a field or an enum's member is not.
    pub(super) unit: bool,
}

/// Everything the splitter knows of a file.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) items: Vec<Item>,
    /// For each line how bad it is to begin a chunk there; [`NEVER`] forbids it.
    pub(super) costs: Vec<u8>,
    /// With the byte at which each was found.
    pub(super) imports: Vec<(u32, String)>,
}

/// The cost of a line at which no chunk begins unless it must.
pub(super) const NEVER: u8 = u8::MAX;
/// Costs above this are all the same: deeper structure is not told apart.
pub(super) const COST_MAX: u8 = 120;

/// How many enclosing names a scope lists, the innermost ones.
const SCOPE_DEPTH: usize = 8;
/// Names longer than this are cut, in bytes: no real one is.
const NAME_MAX: usize = 160;

impl Outline {
    /// The chain of names around an item, outermost first, with its own qualifier last.
    pub(super) fn scope_of(&self, item: u32) -> Option<Box<str>> {
        let item = &self.items[item as usize];
        self.chain(item.parent, item.qualifier.as_deref())
    }

    /// The chain of names down to and with `item`.
    pub(super) fn chain(&self, item: Option<u32>, last: Option<&str>) -> Option<Box<str>> {
        let mut names: Vec<&str> = last.into_iter().collect();
        let mut at = item;
        while let Some(index) = at
            && names.len() < SCOPE_DEPTH
        {
            let item = &self.items[index as usize];
            if !item.name.is_empty() {
                names.push(&item.name);
                names.extend(item.qualifier.as_deref());
            }
            at = item.parent;
        }
        names.reverse();
        if names.is_empty() { None } else { Some(names.join(".").into_boxed_str()) }
    }

    /// Every definition, once: a name that stands twice in the same lines and scope is one.
    pub(super) fn definitions(&self) -> Vec<Definition> {
        let mut definitions: Vec<Definition> = Vec::with_capacity(self.items.len());
        for (index, item) in self.items.iter().enumerate() {
            if !item.defines || item.name.is_empty() {
                continue;
            }
            let definition = Definition {
                name: item.name.clone(),
                scope: self.scope_of(index as u32),
                kind: item.kind,
                start_line: item.start + 1,
                end_line: item.end + 1,
            };
            let near = definitions.iter().rev().take(3);
            let same = |other: &Definition| other.name == definition.name && other.start_line == definition.start_line;
            if !near.into_iter().any(same) {
                definitions.push(definition);
            }
        }
        definitions
    }
}

/// A name fit to be stored: without white space at its ends, not absurdly long.
pub(super) fn name(text: &str) -> Box<str> {
    let text = text.trim();
    let mut end = text.len().min(NAME_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if text[..end].contains(char::is_whitespace) {
        text[..end].split_whitespace().collect::<Vec<_>>().join(" ").into_boxed_str()
    } else {
        text[..end].into()
    }
}
