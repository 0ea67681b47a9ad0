//! Cells: how does a span or a log line lie in memory on its way to the drain?
//!
//! Everything is a run of [`Cell`]s of 64 bytes, a cache line, that are plain data: no pointer but to static text. A trace
//! is `Trace`, then its spans, attributes, events and links in the order in which they came; what belongs to a span names it by
//! the index of its cell, so nothing is ever moved or nested and a trace of any size is one copy into the ring. Text up to 38
//! bytes stands in the attribute itself, longer text in `Text` cells behind it. A log line is `Log`, its message, its fields.
//! One span with two attributes so takes 3 cells, 192 bytes; a fixed record with room for eight attributes would take 400.
//! Text that is not part of the program loses its secrets on the way in, before it is cut.

/// A value as the drain reads it.
pub(crate) use conexus_proto::line::ValueRef;
use conexus_proto::scrub::with_scrubbed;

use super::clock::Tick;
use super::ids::TraceId;

/// Attribute text is cut at this many bytes.
pub(crate) const ATTRIBUTE_BYTES_MAX: usize = 256;
/// A message, or a field of a log line, is cut at this many bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024;

const SHORT: usize = 38;
const TEXT: usize = 63;

/// What a span is to other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SpanKind {
    /// Work inside this process.
    Internal = 0,
    /// A request taken from elsewhere.
    Server = 1,
    /// A request made elsewhere.
    Client = 2,
}

/// How serious a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// For developers.
    Debug = 0,
    /// Normal and worth a line.
    Info = 1,
    /// Wrong, and handled.
    Warn = 2,
    /// Wrong, and somebody's request or file suffered.
    Error = 3,
}

impl Level {
    /// The level's name in log lines and configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }

    /// The level with this name.
    pub fn from_text(text: &str) -> Option<Self> {
        [Level::Debug, Level::Info, Level::Warn, Level::Error].into_iter().find(|level| level.as_str() == text)
    }

    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            0 => Level::Debug,
            1 => Level::Info,
            2 => Level::Warn,
            _ => Level::Error,
        }
    }
}

/// The span ended with an error.
pub(crate) const FAILED: u8 = 1;
/// The span is the last of its trace in this process.
pub(crate) const ROOT: u8 = 2;
/// The span's parent lives in another process.
pub(crate) const REMOTE_PARENT: u8 = 4;
/// The span has not ended.
pub(crate) const OPEN: u8 = 8;

/// 64 bytes of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell {
    /// A trace of this many cells, this one included.
    Trace { cells: u32, id: TraceId },
    /// A span. `exemplar` is the number of the histogram's first cell plus 1, or 0.
    Span { kind: SpanKind, flags: u8, exemplar: u32, id: u64, parent: u64, name: &'static str, start: Tick, end: Tick },
    /// Something that happened in the span or event at index `owner`.
    Event { owner: u32, name: &'static str, at: Tick },
    /// Another span that the owner belongs to.
    Link { owner: u32, trace: TraceId, span: u64 },
    /// A key and a value of the owner.
    Attribute { owner: u32, key: &'static str, value: Value },
    /// A span's error, or a log line's message: so many bytes in `Text` cells that follow.
    Message { owner: u32, length: u16 },
    /// A log line of this many cells, this one included.
    Log { level: Level, cells: u32, target: &'static str, at: Tick, trace: Option<TraceId>, span: u64 },
    /// A part of a text.
    Text([u8; TEXT]),
}

const _: () = assert!(size_of::<Cell>() <= 64, "a cell is one cache line");

/// An attribute's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Static(&'static str),
    Integer(i64),
    Number(f64),
    Flag(bool),
    /// So many bytes, here.
    Short(u8, [u8; SHORT]),
    /// So many bytes, in `Text` cells that follow.
    Long(u16),
}

/// A value to be stored. Text that is not static is copied, and cut at 256 bytes.
#[derive(Clone, Debug)]
pub enum AttributeValue<'a> {
    /// Text that is part of the program: not copied.
    Static(&'static str),
    /// Text.
    Text(String),
    /// Borrowed text.
    Str(&'a str),
    /// A whole number.
    Integer(i64),
    /// Any number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

macro_rules! attribute_from {
    ($($type:ty => |$value:ident| $made:expr),+ $(,)?) => {$(
        impl<'a> From<$type> for AttributeValue<'a> {
            #[inline]
            fn from($value: $type) -> Self { $made }
        }
    )+};
}

attribute_from! {
    &'a str => |value| Self::Str(value),
    &'a String => |value| Self::Str(value),
    String => |value| Self::Text(value),
    i64 => |value| Self::Integer(value),
    i32 => |value| Self::Integer(value.into()),
    u32 => |value| Self::Integer(value.into()),
    u64 => |value| i64::try_from(value).map_or(Self::Number(value as f64), Self::Integer),
    usize => |value| Self::from(value as u64),
    f32 => |value| Self::Number(value.into()),
    f64 => |value| Self::Number(value),
    bool => |value| Self::Flag(value),
}

/// The longest start of `text` that has at most `max` bytes and ends at a character.
#[inline]
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Appends an attribute; text is cut at `max` bytes.
#[inline]
pub(crate) fn push_attribute(
    cells: &mut Vec<Cell>,
    owner: u32,
    key: &'static str,
    value: AttributeValue<'_>,
    max: usize,
) {
    let simple = match &value {
        AttributeValue::Static(text) if text.len() <= max => Value::Static(text),
        AttributeValue::Static(text) => return push_text_attribute(cells, owner, key, text, max),
        AttributeValue::Text(text) => return push_text_attribute(cells, owner, key, text, max),
        AttributeValue::Str(text) => return push_text_attribute(cells, owner, key, text, max),
        AttributeValue::Integer(value) => Value::Integer(*value),
        AttributeValue::Number(value) => Value::Number(*value),
        AttributeValue::Flag(value) => Value::Flag(*value),
    };
    cells.push(Cell::Attribute { owner, key, value: simple });
}

fn push_text_attribute(cells: &mut Vec<Cell>, owner: u32, key: &'static str, text: &str, max: usize) {
    with_scrubbed::<MESSAGE_BYTES_MAX, _>(text, max, |text| {
        if text.len() <= SHORT {
            let mut bytes = [0; SHORT];
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            cells.push(Cell::Attribute { owner, key, value: Value::Short(text.len() as u8, bytes) });
        } else {
            cells.push(Cell::Attribute { owner, key, value: Value::Long(text.len() as u16) });
            push_text(cells, text);
        }
    });
}

/// Appends a message, cut at `max` bytes, at most [`MESSAGE_BYTES_MAX`].
pub(crate) fn push_message(cells: &mut Vec<Cell>, owner: u32, text: &str, max: usize) {
    with_scrubbed::<MESSAGE_BYTES_MAX, _>(text, max, |text| {
        cells.push(Cell::Message { owner, length: text.len() as u16 });
        push_text(cells, text);
    });
}

fn push_text(cells: &mut Vec<Cell>, text: &str) {
    for part in text.as_bytes().chunks(TEXT) {
        let mut bytes = [0; TEXT];
        bytes[..part.len()].copy_from_slice(part);
        cells.push(Cell::Text(bytes));
    }
}

/// The value of the attribute whose cell is `cells[at]`; long text is put together in `scratch`.
pub(crate) fn value_at<'a>(cells: &'a [Cell], at: usize, value: &'a Value, scratch: &'a mut Vec<u8>) -> ValueRef<'a> {
    match value {
        Value::Static(text) => ValueRef::Text(text),
        Value::Integer(value) => ValueRef::Integer(*value),
        Value::Number(value) => ValueRef::Number(*value),
        Value::Flag(value) => ValueRef::Flag(*value),
        Value::Short(length, bytes) => ValueRef::Text(as_text(&bytes[..usize::from(*length)])),
        Value::Long(length) => ValueRef::Text(text_after(cells, at, *length, scratch)),
    }
}

/// The `length` bytes of text in the cells behind `cells[at]`.
pub(crate) fn text_after<'a>(cells: &[Cell], at: usize, length: u16, scratch: &'a mut Vec<u8>) -> &'a str {
    scratch.clear();
    for cell in &cells[at + 1..] {
        let Cell::Text(bytes) = cell else { break };
        let missing = usize::from(length) - scratch.len();
        scratch.extend_from_slice(&bytes[..missing.min(TEXT)]);
        if scratch.len() == usize::from(length) {
            break;
        }
    }
    as_text(scratch)
}

fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text is cut and joined at character boundaries")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use conexus_proto::scrub::scrubbed;

    use super::*;

    proptest! {
        #[test]
        fn any_text_comes_back_cut_at_a_character(text in "\\PC{0,300}") {
            let mut cells = vec![];
            push_attribute(&mut cells, 7, "key", AttributeValue::Str(&text), ATTRIBUTE_BYTES_MAX);
            push_message(&mut cells, 7, &text, MESSAGE_BYTES_MAX);
            let Cell::Attribute { owner: 7, key: "key", value } = cells[0] else { panic!("{:?}", cells[0]) };
            let mut scratch = vec![];
            let ValueRef::Text(stored) = value_at(&cells, 0, &value, &mut scratch) else { panic!("text") };
            let text = scrubbed(&text);
            prop_assert!(text.starts_with(stored) && stored.len() <= ATTRIBUTE_BYTES_MAX);
            prop_assert!(stored.len() == text.len() || stored.len() > ATTRIBUTE_BYTES_MAX - 4);
            let at = cells.iter().position(|cell| matches!(cell, Cell::Message { .. })).unwrap();
            let Cell::Message { length, .. } = cells[at] else { unreachable!() };
            prop_assert_eq!(text_after(&cells, at, length, &mut scratch), cut(&text, MESSAGE_BYTES_MAX));
        }
    }

    #[test]
    fn large_unsigned_numbers_keep_their_sign() {
        assert!(matches!(AttributeValue::from(u64::MAX), AttributeValue::Number(n) if n > 1e19));
        assert!(matches!(AttributeValue::from(5_usize), AttributeValue::Integer(5)));
    }
}
