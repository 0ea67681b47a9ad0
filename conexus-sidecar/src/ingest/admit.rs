//! Admission: is this batch well formed?
//!
//! Looks at one batch by itself; whether it fits what came before is for the ledger to say. A bad batch is refused
//! whole, with the reason and the place.

use conexus_proto::facts::{CELLS, Gauge};
use conexus_proto::v1::{self, attribute, record};

use crate::aggregate::tally::{DROPS, KINDS, Reason};

/// Records of one batch at most.
pub const RECORDS_MAX: usize = 16_384;
/// Bytes of one message at most.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a name, key, target, method or id at most.
pub const NAME_BYTES_MAX: usize = 4 << 10;
/// Bytes of a message or an attribute's text at most.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Attributes, events, links or stack frames of one record at most.
pub const LIST_MAX: usize = 16_384;

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", reason.as_str())]
pub struct Rejection {
    /// The reason, as it is counted.
    pub reason: Reason,
    /// What exactly was wrong.
    pub detail: String,
}

impl Rejection {
    /// A rejection.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// A well-formed batch without its records.
#[derive(Clone, Debug, Default)]
pub struct Admitted {
    /// How many records it has, by kind.
    pub records: [u64; KINDS],
    /// Its snapshot.
    pub measures: Option<Measures>,
    /// Its accounting; every array has its full length.
    pub accounting: Option<v1::Accounting>,
}

/// A well-formed snapshot.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// When it was taken, by the core's clock.
    pub unix_nanos: i64,
    /// Every cell's value.
    pub cells: Vec<u64>,
    /// Every gauge's value, if it was set.
    pub gauges: Vec<Option<f64>>,
}

/// Checks a batch. A refused one comes with the count of its records, by kind.
pub fn check(batch: &v1::Batch) -> Result<Admitted, (Rejection, [u64; KINDS])> {
    let records = count(&batch.records);
    check_parts(batch, records).map_err(|rejection| (rejection, records))
}

fn check_parts(batch: &v1::Batch, records: [u64; KINDS]) -> Result<Admitted, Rejection> {
    if batch.records.len() > RECORDS_MAX {
        let detail = format!("{} records, at most {RECORDS_MAX} are allowed", batch.records.len());
        return Err(Rejection::new(Reason::Size, detail));
    }
    for (i, record) in batch.records.iter().enumerate() {
        check_record(record).map_err(|r| Rejection::new(r.reason, format!("record {i}: {}", r.detail)))?;
    }
    let measures = batch.snapshot.as_ref().map(check_snapshot).transpose()?;
    match &batch.accounting {
        Some(accounting) => check_accounting(accounting)?,
        None if batch.records.is_empty() => {}
        None => return Err(Rejection::new(Reason::Accounting, "records without accounting")),
    }
    Ok(Admitted { records, measures, accounting: batch.accounting.clone() })
}

fn count(records: &[v1::Record]) -> [u64; KINDS] {
    let mut counts = [0; KINDS];
    for record in records {
        match &record.record {
            Some(record::Record::Span(_)) => counts[0] += 1,
            Some(record::Record::Log(_)) => counts[1] += 1,
            Some(record::Record::Error(_)) => counts[2] += 1,
            None => {}
        }
    }
    counts
}

fn check_snapshot(snapshot: &v1::Snapshot) -> Result<Measures, Rejection> {
    same_length("cells", &snapshot.cells, "values", &snapshot.values)?;
    same_length("gauges", &snapshot.gauges, "gauge_values", &snapshot.gauge_values)?;
    let mut cells = vec![None; CELLS];
    for (&cell, &value) in snapshot.cells.iter().zip(&snapshot.values) {
        place(&mut cells, "cell", cell, value)?;
    }
    let mut gauges = vec![None; Gauge::ALL.len()];
    for (&gauge, &value) in snapshot.gauges.iter().zip(&snapshot.gauge_values) {
        if !value.is_finite() {
            return Err(Rejection::new(Reason::Cells, format!("gauge {gauge} is {value}")));
        }
        place(&mut gauges, "gauge", gauge, value)?;
    }
    let cells = cells.into_iter().map(Option::unwrap_or_default).collect();
    Ok(Measures { unix_nanos: snapshot.unix_nanos, cells, gauges })
}

fn same_length<A, B>(a_name: &str, a: &[A], b_name: &str, b: &[B]) -> Result<(), Rejection> {
    if a.len() == b.len() {
        return Ok(());
    }
    let detail = format!("{} {a_name} with {} {b_name}", a.len(), b.len());
    Err(Rejection::new(Reason::Arrays, detail))
}

fn place<T>(table: &mut [Option<T>], what: &str, number: u32, value: T) -> Result<(), Rejection> {
    let size = table.len();
    match table.get_mut(number as usize) {
        None => Err(Rejection::new(Reason::Cells, format!("{what} {number} does not exist, there are {size}"))),
        Some(Some(_)) => Err(Rejection::new(Reason::Cells, format!("{what} {number} stands twice"))),
        Some(empty) => {
            *empty = Some(value);
            Ok(())
        }
    }
}

fn check_accounting(accounting: &v1::Accounting) -> Result<(), Rejection> {
    let arrays = [
        ("emitted", &accounting.emitted, KINDS),
        ("dropped", &accounting.dropped, DROPS),
        ("sent", &accounting.sent, KINDS),
    ];
    for (name, values, expected) in arrays {
        if values.len() != expected {
            let detail = format!("accounting.{name} has {} values, not {expected}", values.len());
            return Err(Rejection::new(Reason::Arrays, detail));
        }
    }
    Ok(())
}

fn check_record(record: &v1::Record) -> Result<(), Rejection> {
    match &record.record {
        Some(record::Record::Span(span)) => check_span(span),
        Some(record::Record::Log(log)) => check_log(log),
        Some(record::Record::Error(error)) => check_error(error),
        None => Err(Rejection::new(Reason::Protocol, "no content, or of a kind that this version does not know")),
    }
}

fn check_span(span: &v1::Span) -> Result<(), Rejection> {
    trace_id(&span.trace_id)?;
    if span.span_id == 0 {
        return Err(Rejection::new(Reason::Ids, "span_id is 0"));
    }
    if span.exemplar_series != 0 && exemplar_cell(span.exemplar_series).is_none() {
        let detail = format!("exemplar_series {} is no histogram's", span.exemplar_series);
        return Err(Rejection::new(Reason::Ids, detail));
    }
    text("name", &span.name, NAME_BYTES_MAX)?;
    text("error_message", &span.error_message, TEXT_BYTES_MAX)?;
    attributes(&span.attributes)?;
    list("events", span.events.len())?;
    for event in &span.events {
        text("event name", &event.name, NAME_BYTES_MAX)?;
        attributes(&event.attributes)?;
    }
    list("links", span.links.len())?;
    span.links.iter().try_for_each(|link| trace_id(&link.trace_id))
}

fn check_log(log: &v1::Log) -> Result<(), Rejection> {
    optional_trace_id(&log.trace_id)?;
    text("message", &log.message, TEXT_BYTES_MAX)?;
    text("target", &log.target, NAME_BYTES_MAX)?;
    attributes(&log.fields)
}

fn check_error(error: &v1::Error) -> Result<(), Rejection> {
    optional_trace_id(&error.trace_id)?;
    text("message", &error.message, TEXT_BYTES_MAX)?;
    let names = [
        ("error_type", &error.error_type),
        ("method", &error.method),
        ("request_id", &error.request_id),
        ("tool", &error.tool),
    ];
    names.into_iter().try_for_each(|(name, value)| text(name, value, NAME_BYTES_MAX))?;
    attributes(&error.context)?;
    list("stack", error.stack.len())?;
    for frame in &error.stack {
        text("function", &frame.function, TEXT_BYTES_MAX)?;
        text("file", &frame.file, TEXT_BYTES_MAX)?;
    }
    Ok(())
}

/// The first cell of the histogram series that `Span.exemplar_series` names: that cell's number plus 1. `None` if it
/// names none.
pub fn exemplar_cell(exemplar_series: u32) -> Option<usize> {
    use conexus_proto::facts::{FAMILIES, HISTOGRAM_CELLS, Shape};
    let cell = (exemplar_series as usize).checked_sub(1)?;
    FAMILIES
        .iter()
        .filter(|info| info.shape == Shape::Histogram)
        .find(|info| (info.first_cell..info.cell(info.series())).contains(&cell))
        .filter(|info| (cell - info.first_cell).is_multiple_of(HISTOGRAM_CELLS))
        .map(|_| cell)
}

fn attributes(attributes: &[v1::Attribute]) -> Result<(), Rejection> {
    list("attributes", attributes.len())?;
    for attribute in attributes {
        text("attribute key", &attribute.key, NAME_BYTES_MAX)?;
        if let Some(attribute::Value::Text(value)) = &attribute.value {
            text(&attribute.key, value, TEXT_BYTES_MAX)?;
        }
    }
    Ok(())
}

fn text(name: &str, value: &str, limit: usize) -> Result<(), Rejection> {
    if value.len() <= limit {
        return Ok(());
    }
    Err(Rejection::new(Reason::Size, format!("{name} of {} bytes, at most {limit} are allowed", value.len())))
}

fn list(name: &str, length: usize) -> Result<(), Rejection> {
    if length <= LIST_MAX {
        return Ok(());
    }
    Err(Rejection::new(Reason::Size, format!("{length} {name}, at most {LIST_MAX} are allowed")))
}

fn trace_id(id: &[u8]) -> Result<(), Rejection> {
    if id.len() == 16 && id.iter().any(|&byte| byte != 0) {
        return Ok(());
    }
    Err(Rejection::new(Reason::Ids, format!("trace_id of {} bytes or all 0, not 16 bytes", id.len())))
}

fn optional_trace_id(id: &[u8]) -> Result<(), Rejection> {
    if id.is_empty() { Ok(()) } else { trace_id(id) }
}

#[cfg(test)]
mod tests;
