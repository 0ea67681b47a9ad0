//! Exemplars: which kept trace shows a duration of this bucket?
//!
//! They come from the spans, never from snapshots, so each one leads to a trace that was exported. After a restart of
//! the sidecar they are missing until the next spans come.

use conexus_proto::facts::{CELLS, bucket_of};
use conexus_proto::v1;

use crate::ingest::admit::exemplar_cell;

/// A trace that shows a duration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span whose duration it is.
    pub span_id: u64,
    /// The duration.
    pub nanos: u64,
    /// When the span ended, since 1970.
    pub unix_nanos: i64,
}

/// The newest exemplar of each bucket of each histogram series.
#[derive(Debug)]
pub struct Exemplars(Vec<Option<Exemplar>>);

impl Default for Exemplars {
    fn default() -> Self {
        Self(vec![None; CELLS])
    }
}

impl Exemplars {
    /// Takes note of a span, if its duration was counted in a histogram.
    pub fn observe(&mut self, span: &v1::Span) {
        let Some(cell) = exemplar_cell(span.exemplar_series) else { return };
        let Ok(trace_id) = <[u8; 16]>::try_from(span.trace_id.as_slice()) else { return };
        let unix_nanos = span.start_unix_nanos.saturating_add_unsigned(span.duration_nanos);
        let newest = &mut self.0[cell + 1 + bucket_of(span.duration_nanos)];
        if newest.is_none_or(|old| old.unix_nanos <= unix_nanos) {
            *newest = Some(Exemplar { trace_id, span_id: span.span_id, nanos: span.duration_nanos, unix_nanos });
        }
    }

    /// The newest exemplar of a bucket, by the number of the bucket's cell.
    pub fn get(&self, bucket_cell: usize) -> Option<Exemplar> {
        self.0.get(bucket_cell).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conexus_proto::facts::Family;

    fn span(series: u32, start: i64, nanos: u64) -> v1::Span {
        v1::Span {
            trace_id: vec![7; 16],
            span_id: 1,
            start_unix_nanos: start,
            duration_nanos: nanos,
            exemplar_series: series,
            ..v1::Span::default()
        }
    }

    #[test]
    fn the_newest_span_of_a_bucket_is_its_exemplar() {
        let cell = Family::Searched.info().cell(2);
        let series = cell as u32 + 1;
        let mut exemplars = Exemplars::default();
        exemplars.observe(&span(series, 100, 400_000));
        exemplars.observe(&span(series, 50, 300_000));
        exemplars.observe(&span(series, 0, 700_000));
        assert_eq!(exemplars.get(cell + 1).unwrap().nanos, 400_000);
        assert_eq!(exemplars.get(cell + 2).unwrap().nanos, 700_000);
        assert_eq!(exemplars.get(cell + 3), None);
    }

    #[test]
    fn a_span_that_names_no_histogram_is_no_exemplar() {
        let mut exemplars = Exemplars::default();
        for series in [0, Family::RequestFailed.info().cell(0) as u32 + 1, u32::MAX] {
            exemplars.observe(&span(series, 0, 1));
        }
        assert!((0..CELLS).all(|cell| exemplars.get(cell).is_none()));
    }
}
