//! Lines: what stands in the log line that conexusd writes to stderr?

pub(crate) use conexus_proto::line::LineWriter;
pub use conexus_proto::line::LogFormat;

use std::fmt::Display;

use super::cell::{Cell, text_after, value_at};
use super::clock::Anchor;

/// Writes the log line whose header is `cells[0]`.
pub(crate) fn write_log(out: &mut String, format: LogFormat, cells: &[Cell], anchor: &Anchor, scratch: &mut Vec<u8>) {
    let Some(Cell::Log { level, target, at, trace, span, .. }) = cells.first() else { return };
    let message = cells.iter().enumerate().find_map(|(at, cell)| match cell {
        Cell::Message { length, .. } => Some((at, *length)),
        _ => None,
    });
    let message = message.map(|(at, length)| text_after(cells, at, length, scratch));
    let when = anchor.unix_nanos(*at);
    let mut line = LineWriter::begin(out, format, when, level.as_str(), target, message.unwrap_or_default());
    for (at, cell) in cells.iter().enumerate() {
        if let Cell::Attribute { key, value, .. } = cell {
            line.field(key, value_at(cells, at, value, scratch));
        }
    }
    line.end(trace.as_ref().map(|trace| (trace as &dyn Display, *span)));
}
