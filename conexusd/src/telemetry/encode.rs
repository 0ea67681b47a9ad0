//! Encode: how does a record look on the wire?
//!
//! Cells are written straight as the protobuf messages of `telemetry.proto`, framed as elements of `Batch.records`, without
//! building the generated structs in between: the drain so spends no allocation a record. Lengths that are not known before
//! their content are written as varints of fixed width, which every protobuf reader takes.

use std::mem::take;

use conexus_proto::facts::RecordKind;
use conexus_proto::v1;
use prost::Message;
use prost::encoding::encode_varint;

use super::cell::{Cell, FAILED, REMOTE_PARENT, ROOT, Value, ValueRef, text_after, value_at};
use super::clock::Anchor;
use super::error::ErrorReport;
use super::ids::TraceId;

/// `Batch.records`.
const RECORDS: u32 = 2;
/// `Record.span`, `Record.log`, `Record.error`.
const RECORD_SPAN: u32 = 1;
const RECORD_LOG: u32 = 2;
const RECORD_ERROR: u32 = 3;

/// Encoded records, in order.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pub(crate) bytes: Vec<u8>,
    /// Where each record ends in `bytes`, and its kind.
    pub(crate) ends: Vec<(usize, RecordKind)>,
}

impl Frames {
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn record(&mut self, kind: RecordKind, number: u32, body: impl FnOnce(&mut Vec<u8>)) {
        let out = &mut self.bytes;
        nested(out, RECORDS, |out| nested(out, number, body));
        self.ends.push((self.bytes.len(), kind));
    }
}

/// Turns cells into frames. Keeps its working memory from call to call.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// For each cell of a trace: the first and last cell that it owns, and the next one of the same owner. 0 is none.
    owned: Vec<Owned>,
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Owned {
    first: u32,
    last: u32,
    next: u32,
}

impl Encoder {
    /// Writes every span of a trace, whose header is `cells[0]`.
    pub(crate) fn trace(&mut self, id: TraceId, cells: &[Cell], anchor: &Anchor, frames: &mut Frames) {
        self.index_owners(cells);
        for (at, cell) in cells.iter().enumerate() {
            if matches!(cell, Cell::Span { .. }) {
                frames.record(RecordKind::Span, RECORD_SPAN, |out| self.span(id, cells, at, anchor, out));
            }
        }
    }

    fn index_owners(&mut self, cells: &[Cell]) {
        self.owned.clear();
        self.owned.resize(cells.len(), Owned::default());
        for (at, cell) in cells.iter().enumerate() {
            let (Cell::Attribute { owner, .. }
            | Cell::Event { owner, .. }
            | Cell::Link { owner, .. }
            | Cell::Message { owner, .. }) = cell
            else {
                continue;
            };
            let (owner, at) = (*owner as usize, at as u32);
            if owner >= cells.len() {
                continue;
            }
            match take(&mut self.owned[owner].last) {
                0 => self.owned[owner].first = at,
                last => self.owned[last as usize].next = at,
            }
            self.owned[owner].last = at;
        }
    }

    fn span(&mut self, trace: TraceId, cells: &[Cell], at: usize, anchor: &Anchor, out: &mut Vec<u8>) {
        let Cell::Span { kind, flags, exemplar, id, parent, name, start, end } = &cells[at] else { return };
        bytes(out, 1, &trace.to_bytes());
        fixed64(out, 2, *id);
        fixed64(out, 3, *parent);
        bytes(out, 4, name.as_bytes());
        varint(out, 5, anchor.unix_nanos(*start) as u64);
        varint(out, 6, end.nanos_since(*start));
        varint(out, 7, *kind as u64);
        varint(out, 8, u64::from(flags & FAILED != 0));
        varint(out, 13, (*exemplar).into());
        varint(out, 14, u64::from(flags & ROOT != 0));
        varint(out, 15, u64::from(flags & REMOTE_PARENT != 0));
        let mut next = self.owned[at].first as usize;
        while next != 0 {
            match &cells[next] {
                Cell::Attribute { key, value, .. } => self.attribute(out, 10, cells, next, key, value),
                Cell::Message { length, .. } => {
                    bytes(out, 9, text_after(cells, next, *length, &mut self.text).as_bytes())
                }
                Cell::Event { name, at, .. } => {
                    let first = self.owned[next].first as usize;
                    let when = anchor.unix_nanos(*at);
                    nested(out, 11, |out| {
                        bytes(out, 1, name.as_bytes());
                        varint(out, 2, when as u64);
                        self.attributes_of(out, 3, cells, first);
                    });
                }
                Cell::Link { trace, span, .. } => nested(out, 12, |out| {
                    bytes(out, 1, &trace.to_bytes());
                    fixed64(out, 2, *span);
                }),
                _ => {}
            }
            next = self.owned[next].next as usize;
        }
    }

    fn attributes_of(&mut self, out: &mut Vec<u8>, number: u32, cells: &[Cell], mut next: usize) {
        while next != 0 {
            if let Cell::Attribute { key, value, .. } = &cells[next] {
                self.attribute(out, number, cells, next, key, value);
            }
            next = self.owned[next].next as usize;
        }
    }

    fn attribute(&mut self, out: &mut Vec<u8>, number: u32, cells: &[Cell], at: usize, key: &str, value: &Value) {
        let value = value_at(cells, at, value, &mut self.text);
        nested(out, number, |out| {
            bytes(out, 1, key.as_bytes());
            // A member of a oneof is written even when it has its type's default value.
            match value {
                ValueRef::Text(text) => member_bytes(out, 2, text.as_bytes()),
                ValueRef::Integer(value) => member_varint(out, 3, value as u64),
                ValueRef::Number(value) => {
                    key_of(out, 4, 1);
                    out.extend_from_slice(&value.to_le_bytes());
                }
                ValueRef::Flag(value) => member_varint(out, 5, value.into()),
            }
        });
    }

    /// Writes a log line, whose header is `cells[0]`.
    pub(crate) fn log(&mut self, cells: &[Cell], anchor: &Anchor, frames: &mut Frames) {
        let Some(Cell::Log { level, target, at, trace, span, .. }) = cells.first() else { return };
        frames.record(RecordKind::Log, RECORD_LOG, |out| {
            varint(out, 1, anchor.unix_nanos(*at) as u64);
            varint(out, 2, *level as u64);
            bytes(out, 4, target.as_bytes());
            if let Some(trace) = trace {
                bytes(out, 6, &trace.to_bytes());
                fixed64(out, 7, *span);
            }
            for (at, cell) in cells.iter().enumerate() {
                match cell {
                    Cell::Message { length, .. } => {
                        bytes(out, 3, text_after(cells, at, *length, &mut self.text).as_bytes());
                    }
                    Cell::Attribute { key, value, .. } => self.attribute(out, 5, cells, at, key, value),
                    _ => {}
                }
            }
        });
    }

    /// Writes an error report.
    pub(crate) fn error(&mut self, report: &ErrorReport, anchor: &Anchor, frames: &mut Frames) {
        let message: v1::Error = report.to_proto(anchor);
        frames.record(RecordKind::Error, RECORD_ERROR, |out| {
            message.encode(out).expect("a vector has room for any message");
        });
    }
}

/// A field that holds a message. Its length is a varint of four bytes, so up to 256 MiB.
pub(crate) fn nested(out: &mut Vec<u8>, number: u32, body: impl FnOnce(&mut Vec<u8>)) {
    key_of(out, number, 2);
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = out.len() - length_at - 4;
    for (i, byte) in out[length_at..length_at + 4].iter_mut().enumerate() {
        *byte = (length >> (7 * i)) as u8 & 0x7f | if i < 3 { 0x80 } else { 0 };
    }
}

#[inline]
fn key_of(out: &mut Vec<u8>, number: u32, wire_type: u32) {
    out.push((number << 3 | wire_type) as u8);
}

pub(crate) fn varint(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        member_varint(out, number, value);
    }
}

/// A packed list of numbers.
pub(crate) fn packed(out: &mut Vec<u8>, number: u32, values: &[u64]) {
    nested(out, number, |out| values.iter().for_each(|&value| encode_varint(value, out)));
}

fn member_varint(out: &mut Vec<u8>, number: u32, value: u64) {
    key_of(out, number, 0);
    encode_varint(value, out);
}

fn fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        key_of(out, number, 1);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    if !value.is_empty() {
        member_bytes(out, number, value);
    }
}

pub(crate) fn member_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    key_of(out, number, 2);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use conexus_proto::v1::attribute;

    use super::super::cell::{
        ATTRIBUTE_BYTES_MAX, AttributeValue, Level, MESSAGE_BYTES_MAX, SpanKind, push_attribute, push_message,
    };
    use super::super::clock::Tick;
    use super::super::ids::Random;
    use super::*;

    fn decode(frames: &Frames) -> Vec<v1::record::Record> {
        let batch = v1::Batch::decode(&*frames.bytes).unwrap();
        batch.records.into_iter().map(|record| record.record.unwrap()).collect()
    }

    fn text(key: &str, text: &str) -> v1::Attribute {
        v1::Attribute { key: key.into(), value: Some(attribute::Value::Text(text.into())) }
    }

    #[test]
    fn a_trace_reads_back_with_everything_at_its_span() {
        let id = Random::seeded().trace_id();
        let (anchor, start) = (Anchor::now(), Tick::now());
        let end = Tick::now();
        let span = |id, parent, flags, name| Cell::Span {
            kind: SpanKind::Server,
            flags,
            exemplar: 9,
            id,
            parent,
            name,
            start,
            end,
        };
        let mut cells = vec![Cell::Trace { cells: 0, id }, span(5, 4, ROOT | REMOTE_PARENT, "root")];
        cells.push(span(6, 5, FAILED, "leaf"));
        let (long, owner) = ("é".repeat(100), 2);
        push_attribute(&mut cells, 1, "empty", AttributeValue::Str(""), ATTRIBUTE_BYTES_MAX);
        push_attribute(&mut cells, owner, "long", AttributeValue::Str(&long), ATTRIBUTE_BYTES_MAX);
        push_message(&mut cells, owner, "it broke", MESSAGE_BYTES_MAX);
        let event = cells.len() as u32;
        cells.push(Cell::Event { owner, name: "retry", at: start });
        push_attribute(&mut cells, event, "zero", AttributeValue::Integer(0), ATTRIBUTE_BYTES_MAX);
        cells.push(Cell::Link { owner: 1, trace: id, span: 77 });
        push_attribute(&mut cells, 1, "half", AttributeValue::Number(0.5), ATTRIBUTE_BYTES_MAX);
        push_attribute(&mut cells, 1, "no", AttributeValue::Flag(false), ATTRIBUTE_BYTES_MAX);

        let mut frames = Frames::default();
        Encoder::default().trace(id, &cells, &anchor, &mut frames);
        let records = decode(&frames);
        let [v1::record::Record::Span(root), v1::record::Record::Span(leaf)] = &records[..] else {
            panic!("{records:?}")
        };
        assert_eq!(root.trace_id, id.to_bytes());
        assert_eq!((root.span_id, root.parent_span_id, root.name.as_str()), (5, 4, "root"));
        assert_eq!((root.root, root.parent_is_remote, root.error, root.exemplar_series), (true, true, false, 9));
        assert_eq!((root.start_unix_nanos, root.duration_nanos), (anchor.unix_nanos(start), end.nanos_since(start)));
        assert_eq!(root.kind(), v1::SpanKind::Server);
        let number = v1::Attribute { key: "half".into(), value: Some(attribute::Value::Number(0.5)) };
        let flag = v1::Attribute { key: "no".into(), value: Some(attribute::Value::Flag(false)) };
        assert_eq!(root.attributes, [text("empty", ""), number, flag]);
        assert_eq!(root.links, [v1::SpanLink { trace_id: id.to_bytes().into(), span_id: 77 }]);
        assert_eq!((leaf.error, leaf.error_message.as_str()), (true, "it broke"));
        assert_eq!(leaf.attributes, [text("long", &long)]);
        let zero = v1::Attribute { key: "zero".into(), value: Some(attribute::Value::Integer(0)) };
        assert_eq!((leaf.events.len(), &leaf.events[0].attributes[..]), (1, &[zero][..]));
        assert_eq!(frames.ends.iter().map(|end| end.1).collect::<Vec<_>>(), [RecordKind::Span; 2]);
        assert_eq!(frames.ends[1].0, frames.bytes.len());
    }

    #[test]
    fn a_log_line_reads_back() {
        let id = Random::seeded().trace_id();
        let (anchor, at) = (Anchor::now(), Tick::now());
        let mut cells = vec![Cell::Log { level: Level::Warn, cells: 0, target: "here", at, trace: Some(id), span: 3 }];
        push_message(&mut cells, 0, &"m".repeat(200), MESSAGE_BYTES_MAX);
        push_attribute(&mut cells, 0, "n", AttributeValue::Integer(-4), ATTRIBUTE_BYTES_MAX);
        let mut frames = Frames::default();
        Encoder::default().log(&cells, &anchor, &mut frames);
        let expected = v1::Log {
            unix_nanos: anchor.unix_nanos(at),
            level: v1::Level::Warn.into(),
            message: "m".repeat(200),
            target: "here".into(),
            fields: vec![v1::Attribute { key: "n".into(), value: Some(attribute::Value::Integer(-4)) }],
            trace_id: id.to_bytes().into(),
            span_id: 3,
        };
        assert_eq!(decode(&frames), [v1::record::Record::Log(expected)]);
    }
}
